//! Who has written in a record.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::stamp::{Author, Stamp, Time};

/// The authors of a record's stamps, by number. Nearly all records have one or two, and without them a stamp takes half
/// of the memory.
///
/// One may be there more than once, and be nobody's stamp any more: records are compared by their stamps.
#[derive(Clone, Debug, Default)]
pub(super) enum Authors {
    #[default]
    Nobody,
    One(Author),
    More(Arc<Vec<Author>>),
}

/// Those of a record without stamps.
pub(super) static NOBODY: Authors = Authors::Nobody;

/// A stamp in brief: only the authors of its record know whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) time: Time,
    /// The number of the author, from 1 on.
    author: NonZeroU32,
}

/// The number of the first author.
const FIRST: NonZeroU32 = NonZeroU32::MIN;

/// Authors among which one is looked for: a peer may send a record that has as many as registers.
const LOOKED_AT: usize = 8;

impl Authors {
    /// The stamp in brief, whose author is one of these from here on.
    #[inline]
    pub(super) fn at(&mut self, Stamp { time, author }: Stamp) -> At {
        match self {
            Self::One(one) if *one == author => At { time, author: FIRST },
            _ => At { time, author: self.number(author) },
        }
    }

    /// The stamp that was put in brief.
    #[inline]
    pub(super) fn stamp(&self, At { time, author }: At) -> Stamp {
        let author = match self {
            Self::One(one) => *one,
            Self::More(all) => all[author.get() as usize - 1],
            Self::Nobody => unreachable!("a stamp in brief has an author"),
        };
        Stamp { time, author }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::More(all) => all.len(),
        }
    }

    /// The only one, if there is no other.
    pub(super) fn only(&self) -> Option<Author> {
        match self {
            Self::One(one) => Some(*one),
            Self::Nobody | Self::More(_) => None,
        }
    }

    /// About the bytes that they keep elsewhere in memory.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Nobody | Self::One(_) => 0,
            Self::More(all) => size_of::<Vec<Author>>() + all.len() * size_of::<Author>(),
        }
    }

    fn number(&mut self, author: Author) -> NonZeroU32 {
        match self {
            Self::Nobody => *self = Self::One(author),
            Self::One(one) if *one == author => {}
            Self::One(one) => *self = Self::More(Arc::new(vec![*one, author])),
            Self::More(all) => {
                let first = all.len().saturating_sub(LOOKED_AT);
                if let Some(place) = all[first..].iter().position(|it| *it == author) {
                    return nth(first + place);
                }
                Arc::make_mut(all).push(author);
            }
        }
        nth(self.len() - 1)
    }
}

/// The number of the author at a place. Long before there are more, memory is full.
fn nth(place: usize) -> NonZeroU32 {
    FIRST.saturating_add(place as u32)
}
