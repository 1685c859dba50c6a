//! The places of registers in their records.

use std::fmt;
use std::sync::Arc;

use crate::encoding::msgpack::{Head, Malformed, Reader};
use crate::id::Name;
use crate::stamp::Author;
use crate::value::Encoded;

/// How the values of a register merge. Part of the register's key, since kinds mixed on one path would
/// not be associative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The last writer wins: the greater stamp.
    Lww,
    /// An author's own running total; the field's value is the sum over all authors.
    Counter,
}

impl Kind {
    /// The number that stands for the kind on the wire and on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Lww => 0,
            Self::Counter => 1,
        }
    }

    /// The kind of a number.
    pub const fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Lww),
            1 => Some(Self::Counter),
            _ => None,
        }
    }
}

/// What follows the field name in a path: which part of the field a register holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// The entry of a map, by its key; nil means that there is none.
    Entry(Arc<str>),
    /// The member of a set; the register holds true, or nil when it was removed.
    Member(Encoded),
    /// The part of a counter that one author raised.
    Author(Author),
}

/// The place of a register in its record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The field.
    pub field: Name,
    /// The part of the field, or `None` for the field as a whole.
    pub element: Option<Element>,
    /// How the register merges.
    pub kind: Kind,
}

impl Path {
    /// The path of a plain field.
    pub fn field(field: Name) -> Self {
        Self { field, element: None, kind: Kind::Lww }
    }

    /// The path of a map's entry.
    pub fn entry(field: Name, key: &str) -> Self {
        Self { field, element: Some(Element::Entry(key.into())), kind: Kind::Lww }
    }

    /// The path of a set's member.
    pub fn member(field: Name, member: Encoded) -> Self {
        Self { field, element: Some(Element::Member(member)), kind: Kind::Lww }
    }

    /// The path of an author's part of a counter.
    pub fn counter(field: Name, author: Author) -> Self {
        Self { field, element: Some(Element::Author(author)), kind: Kind::Counter }
    }

    /// The path, borrowed.
    pub fn as_ref(&self) -> PathRef<'_> {
        let element = self.element.as_ref().map(|element| match element {
            Element::Entry(key) => ElementRef::Entry(key),
            Element::Member(member) => ElementRef::Member(member.as_bytes()),
            Element::Author(author) => ElementRef::Author(*author),
        });
        PathRef { field: self.field.as_str(), element, kind: self.kind }
    }

    /// Whether it is a path that is borrowed.
    #[inline]
    pub(crate) fn is(&self, path: PathRef<'_>) -> bool {
        let is_alike = self.field.as_str() == path.field && self.kind == path.kind;
        // Most have no element.
        is_alike
            && match (&self.element, path.element) {
                (None, None) => true,
                (Some(_), Some(_)) => self.as_ref().element == path.element,
                _ => false,
            }
    }

    /// About the bytes that it takes with a value: name, element and value, and 64 for the rest.
    pub(crate) fn bytes_with(&self, value: &Encoded) -> usize {
        let element = match &self.element {
            None | Some(Element::Author(_)) => 0,
            Some(Element::Entry(key)) => key.len(),
            Some(Element::Member(member)) => member.as_bytes().len(),
        };
        64 + self.field.as_str().len() + element + value.as_bytes().len()
    }

    /// The bytes that it keeps elsewhere in memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.element {
            None | Some(Element::Author(_)) => 0,
            Some(Element::Entry(key)) => key.len(),
            Some(Element::Member(member)) => member.heap_bytes(),
        }
    }

    /// Whether both are fields as a whole, entries, members or counters.
    pub(crate) fn has_shape_of(&self, other: &Self) -> bool {
        match (&self.element, &other.element) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                std::mem::discriminant(one) == std::mem::discriminant(other)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.element {
            None => write!(f, "{}", self.field),
            Some(Element::Entry(key)) => write!(f, "{}.{key}", self.field),
            Some(Element::Member(member)) => write!(f, "{}[{member:?}]", self.field),
            Some(Element::Author(author)) => write!(f, "{}+{author:?}", self.field),
        }
    }
}

/// A [`Path`] in encoded input, in the same order. A set's member is in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRef<'a> {
    /// The field.
    pub field: &'a str,
    /// The part of the field, or `None` for the field as a whole.
    pub element: Option<ElementRef<'a>>,
    /// How the register merges.
    pub kind: Kind,
}

/// An [`Element`] in encoded input, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementRef<'a> {
    /// The entry of a map, by its key.
    Entry(&'a str),
    /// The member of a set, encoded.
    Member(&'a [u8]),
    /// The part of a counter that one author raised.
    Author(Author),
}

impl<'a> PathRef<'a> {
    /// A path of kind `lww`, whose names have been looked at.
    pub(crate) fn new(field: &'a str, element: Option<ElementRef<'a>>) -> Self {
        Self { field, element, kind: Kind::Lww }
    }

    /// The path of an author's part of a counter.
    pub(crate) fn counter(field: &'a str, author: Author) -> Self {
        Self { field, element: Some(ElementRef::Author(author)), kind: Kind::Counter }
    }

    /// The path; `keep` makes a value of a set's member.
    pub(crate) fn to_path(self, keep: impl FnOnce(&[u8]) -> Encoded) -> Path {
        let element = self.element.map(|element| match element {
            ElementRef::Entry(key) => Element::Entry(key.into()),
            ElementRef::Member(member) => Element::Member(keep(member)),
            ElementRef::Author(author) => Element::Author(author),
        });
        Path { field: Name::trusted(self.field), element, kind: self.kind }
    }

    /// Whether a value may be under the path.
    pub(crate) fn check_value(&self, value: &[u8]) -> Result<(), Malformed> {
        match self.element {
            Some(ElementRef::Author(_)) => match Reader::new(value).head() {
                Ok(Head::Int(int)) if i64::try_from(int).is_ok() => Ok(()),
                _ => Err(Malformed::Expected("a total in the range of a 64-bit integer")),
            },
            Some(ElementRef::Member(_)) if !matches!(value, [0xc3] | [0xc0]) => {
                Err(Malformed::Expected("true or nil for a set member"))
            }
            _ => Ok(()),
        }
    }
}
