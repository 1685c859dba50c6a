//! Names and authors by number: each is written once per store, however many records it is in.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::quality::RandomState;
use syncro_core::{Author, Epoch, Name, NodeId, StoreError};

use crate::backend::{Backend, Table};
use crate::encoding::{damaged, key};
use crate::layers::Layers;

/// Words of one sort kept in memory, each way; forgotten together when there are this many, between two
/// commits: a word that a commit has numbered is nowhere else until it is published. Authors number one per
/// opening of every node ever met, so they cannot all be held.
const CACHED_MAX: usize = 16_384;

/// What a dictionary holds.
pub(crate) trait Word: Clone + Eq + Hash {
    /// The first byte of the keys of this sort of word.
    const SORT: u8;
    fn to_bytes(&self) -> Bytes;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Word for Name {
    const SORT: u8 = 0;
    fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_str().as_bytes())
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl Word for Author {
    const SORT: u8 = 1;
    fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&key::author(self.node, self.epoch))
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (node, epoch) = bytes.split_at_checked(16)?;
        let epoch = Epoch(u64::from_be_bytes(epoch.try_into().ok()?));
        Some(Self { node: NodeId::from_bytes(node.try_into().ok()?), epoch })
    }
}

/// A cache over the rows of one sort of word.
#[derive(Debug)]
pub(crate) struct Dictionary<W> {
    cache: Mutex<Cache<W>>,
}

#[derive(Debug)]
struct Cache<W> {
    /// Hashed with a seed of this process: words come from peers.
    numbers: HashMap<W, u32, RandomState>,
    words: BTreeMap<u32, W>,
}

impl<W: Word> Dictionary<W> {
    pub(crate) fn new() -> Self {
        let cache = Cache { numbers: HashMap::default(), words: BTreeMap::new() };
        Self { cache: Mutex::new(cache) }
    }

    /// The number of a word, if it has one.
    pub(crate) fn number(&self, word: &W, rows: &Layers<'_>) -> Result<Option<u32>, StoreError> {
        if let Some(number) = self.lock().numbers.get(word) {
            return Ok(Some(*number));
        }
        let Some(row) = rows.get(Table::Names, &number_key::<W>(word))? else {
            return Ok(None);
        };
        let number = row.as_ref().try_into().map(u32::from_be_bytes);
        let number = number.map_err(|_| damaged(Table::Names, &number_key(word)))?;
        self.remember_if_room(word, number);
        Ok(Some(number))
    }

    /// The word of a number.
    pub(crate) fn word(&self, number: u32, rows: &Layers<'_>) -> Result<Option<W>, StoreError> {
        if let Some(word) = self.lock().words.get(&number) {
            return Ok(Some(word.clone()));
        }
        let Some(row) = rows.get(Table::Names, &word_key::<W>(number))? else {
            return Ok(None);
        };
        let word = W::from_bytes(&row);
        if let Some(word) = &word {
            self.remember_if_room(word, number);
        }
        Ok(word)
    }

    /// Gives a word a number, and returns the rows that keep it.
    pub(crate) fn assign(&self, word: &W, number: u32) -> [(Vec<u8>, Bytes); 2] {
        self.remember(word, number);
        let number_row = Bytes::copy_from_slice(&number.to_be_bytes());
        [(number_key(word), number_row), (word_key::<W>(number), word.to_bytes())]
    }

    /// Makes room for the words of the next commit.
    pub(crate) fn make_room(&mut self) {
        let cache = self.cache.get_mut().unwrap_or_else(PoisonError::into_inner);
        if cache.numbers.len() >= CACHED_MAX {
            cache.numbers.clear();
            cache.words.clear();
        }
    }

    fn remember_if_room(&self, word: &W, number: u32) {
        if self.lock().numbers.len() < CACHED_MAX {
            self.remember(word, number);
        }
    }

    fn remember(&self, word: &W, number: u32) {
        let mut cache = self.lock();
        cache.numbers.insert(word.clone(), number);
        cache.words.insert(number, word.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Cache<W>> {
        // The maps are whole between any two operations.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number that the next word of a sort gets: one more than the last.
pub(crate) fn next_number<W: Word>(backend: &dyn Backend) -> Result<u32, StoreError> {
    let last = word_key::<W>(u32::MAX);
    let Some((key, _)) = backend.floor(Table::Names, &last)? else {
        return Ok(0);
    };
    match key.strip_prefix(&last[..2]) {
        // What lies before the words of a sort is of the sort before.
        None => Ok(0),
        Some(number) => match number.try_into().map(u32::from_be_bytes) {
            Ok(number) if number < u32::MAX => Ok(number + 1),
            _ => Err(damaged(Table::Names, &key)),
        },
    }
}

/// What the other row of a word must be, for one of its two: its key and content. `None` where the row is
/// damaged, or is not of the word whose turn it is.
pub(crate) fn check<W: Word>(
    key: &[u8],
    content: Option<&Bytes>,
    next: &mut u32,
) -> Option<(Vec<u8>, Bytes)> {
    let content = content?;
    match key.get(1)? {
        0 => {
            let number = u32::from_be_bytes(key.get(2..)?.try_into().ok()?);
            let is_next = number == *next;
            *next = number.saturating_add(1);
            let word = W::from_bytes(content).filter(|_| is_next)?;
            Some((number_key(&word), Bytes::copy_from_slice(&number.to_be_bytes())))
        }
        1 => {
            let number = u32::from_be_bytes(content[..].try_into().ok()?);
            let word = W::from_bytes(key.get(2..)?)?;
            Some((word_key::<W>(number), word.to_bytes()))
        }
        _ => None,
    }
}

/// Lies after the key of the number's word, so that a number that is found has its word.
fn number_key<W: Word>(word: &W) -> Vec<u8> {
    [&[W::SORT, 1], word.to_bytes().as_ref()].concat()
}

fn word_key<W: Word>(number: u32) -> Vec<u8> {
    [&[W::SORT, 0], number.to_be_bytes().as_slice()].concat()
}
