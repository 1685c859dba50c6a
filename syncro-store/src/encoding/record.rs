//! Records: their few distinct stamps written once, names and authors by number.
//!
//! `number of stamps, stamps of author and time 8; created, destroyed: 0 or 1 + index of a stamp; number
//! of registers, registers of name, shape, element, index of the stamp, value; checksum of the words, 4`.
//!
//! The last is a CRC-32 over the words that the numbers stand for, in their order: a record and the dictionary of
//! another moment, in which a number had another meaning, do not go together.

use std::cell::Cell;

use bytes::Bytes;
use syncro_core::{
    Author, Element, ElementRef, Kind, Name, Path, PathRef, Record, RegisterRef, ScribeRef, Stamp,
    StoreError, Time, Written,
};

use super::{In, Out, key};

/// Turns names and authors into numbers, for writing.
pub(crate) trait Numbers {
    fn name(&mut self, name: &str) -> Result<u32, StoreError>;
    fn author(&mut self, author: Author) -> Result<u32, StoreError>;
}

/// Turns numbers into names and authors, for reading.
pub(crate) trait Words {
    fn name(&self, number: u32) -> Result<Option<Name>, StoreError>;
    fn author(&self, number: u32) -> Result<Option<Author>, StoreError>;
}

const WHOLE: u8 = 0;
const ENTRY: u8 = 1;
const MEMBER: u8 = 2;
const COUNTER: u8 = 3;

/// Memory for what is gathered while records are written or read, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    stamps: Vec<Stamp>,
    said: Said,
}

impl Gathered {
    /// What is kept for the next record: nothing where one has had much.
    pub(crate) fn kept(self) -> Self {
        let words = self.said.words.capacity().max(self.said.known.capacity());
        let is_much = words > KEPT_WORDS_BYTES || self.stamps.capacity() > KEPT_STAMPS;
        if is_much { Self::default() } else { self }
    }
}

/// Appends a record.
pub(crate) fn write(
    record: &Record,
    numbers: &mut impl Numbers,
    out: &mut Out,
    gathered: &mut Gathered,
) -> Result<(), StoreError> {
    let Gathered { stamps, said } = gathered;
    stamps.clear();
    said.words.clear();
    for stamp in record.stamps() {
        // What one transaction wrote lies together.
        if stamps.last() != Some(&stamp) {
            stamps.push(stamp);
        }
    }
    stamps.sort_unstable();
    stamps.dedup();
    // Every stamp asked for is in the list.
    let index = |stamp: Stamp| stamps.binary_search(&stamp).unwrap_or_default() as u64;

    out.varint(stamps.len() as u64);
    for stamp in stamps.iter() {
        said.author(stamp.author);
        out.varint(u64::from(numbers.author(stamp.author)?));
        out.fixed(&stamp.time.bits().to_be_bytes());
    }
    for mark in [record.created(), record.destroyed()] {
        out.varint(mark.map_or(0, |stamp| 1 + index(stamp)));
    }
    out.varint(record.registers().len() as u64);
    for RegisterRef { path, stamp, value } in record.registers() {
        write_register(path.as_ref(), index(stamp), value.as_bytes(), numbers, out, said)?;
    }
    out.fixed(&said.sum());
    Ok(())
}

/// Appends what a scribe of a transaction makes of a record of which nothing else is known, as if it had been made and
/// [written](write). `None` where it cannot be read.
pub(crate) fn write_scribe(
    scribe: &ScribeRef<'_>,
    numbers: &mut impl Numbers,
    out: &mut Out,
    gathered: &mut Gathered,
) -> Result<Option<()>, StoreError> {
    let Gathered { said, .. } = gathered;
    said.words.clear();
    let Stamp { time, author } = scribe.stamp();
    out.varint(1);
    said.author(author);
    out.varint(u64::from(numbers.author(author)?));
    out.fixed(&time.bits().to_be_bytes());
    for is_marked in [scribe.mark().creates(), scribe.mark().destroys()] {
        out.varint(u64::from(is_marked));
    }
    let fields = scribe.fields();
    out.varint(fields.len() as u64);
    for field in fields {
        let Ok((path, value)) = field else { return Ok(None) };
        write_register(path, 0, value, numbers, out, said)?;
    }
    out.fixed(&said.sum());
    Ok(Some(()))
}

#[inline]
fn write_register(
    path: PathRef<'_>,
    stamp: u64,
    value: &[u8],
    numbers: &mut impl Numbers,
    out: &mut Out,
    said: &mut Said,
) -> Result<(), StoreError> {
    said.name(path.field);
    out.varint(u64::from(numbers.name(path.field)?));
    match path.element {
        None => out.byte(WHOLE),
        Some(ElementRef::Entry(key)) => {
            out.byte(ENTRY);
            out.bytes(key.as_bytes());
        }
        Some(ElementRef::Member(member)) => {
            out.byte(MEMBER);
            out.bytes(member);
        }
        Some(ElementRef::Author(author)) => {
            out.byte(COUNTER);
            said.author(author);
            out.varint(u64::from(numbers.author(author)?));
        }
    }
    out.varint(stamp);
    out.bytes(value);
    Ok(())
}

/// Sees to it that each word of a record has a number.
pub(crate) fn number_words(record: &Record, numbers: &mut impl Numbers) -> Result<(), StoreError> {
    number_authors(record, numbers)?;
    for register in record.registers() {
        numbers.name(register.path.field.as_str())?;
        if let Some(Element::Author(author)) = register.path.element {
            numbers.author(author)?;
        }
    }
    Ok(())
}

/// Sees to it that whoever wrote in a record has a number.
pub(crate) fn number_authors(
    record: &Record,
    numbers: &mut impl Numbers,
) -> Result<(), StoreError> {
    let Some(Stamp { author: mut last, .. }) = record.stamps().next() else {
        return Ok(());
    };
    numbers.author(last)?;
    if record.is_all_by(last) {
        return Ok(());
    }
    for Stamp { author, .. } in record.stamps() {
        if last != author {
            numbers.author(author)?;
            last = author;
        }
    }
    Ok(())
}

/// The words of a record.
#[derive(Debug, Default)]
struct Said {
    words: Vec<u8>,
    /// Those that were summed up last, and their sum: nearly all records of a model have the same.
    known: Vec<u8>,
    sum: [u8; 4],
}

impl Said {
    fn name(&mut self, name: &str) {
        let name = name.as_bytes();
        self.words.extend_from_slice(name);
        // So that no two lists of words are alike.
        self.words.push(name.len() as u8);
    }

    fn author(&mut self, author: Author) {
        self.words.extend_from_slice(&key::author(author.node, author.epoch));
    }

    fn sum(&mut self) -> [u8; 4] {
        if self.words != self.known || self.known.is_empty() {
            self.sum = sum(&self.words);
            self.known.clone_from(&self.words);
        }
        self.sum
    }
}

fn sum(words: &[u8]) -> [u8; 4] {
    crc32fast::hash(words).to_be_bytes()
}

/// Bytes of words, and stamps, for which memory is kept from one record to the next: more than most have.
const KEPT_WORDS_BYTES: usize = 1 << 10;
const KEPT_STAMPS: usize = 64;

thread_local! {
    /// Memory for the record that is read.
    static KEPT: Cell<Gathered> = Cell::default();
}

/// Bytes of a register at least: what is in a store may be damaged, and say that there are more.
const REGISTER_BYTES_MIN: usize = 4;

/// Reads a record; `None` where the bytes are not one.
pub(crate) fn read(content: &Bytes, words: &impl Words) -> Result<Option<Record>, StoreError> {
    let mut gathered = KEPT.take();
    let record = read_with(content, words, &mut gathered);
    KEPT.set(gathered.kept());
    record
}

fn read_with(
    content: &Bytes,
    words: &impl Words,
    gathered: &mut Gathered,
) -> Result<Option<Record>, StoreError> {
    let Gathered { stamps, said } = gathered;
    stamps.clear();
    said.words.clear();
    let mut input = In::new(content);
    let Some(count) = input.varint() else {
        return Ok(None);
    };
    for _ in 0..count {
        let (Some(author), Some(time)) = (number(&mut input), input.fixed()) else {
            return Ok(None);
        };
        let Some(author) = words.author(author)? else {
            return Ok(None);
        };
        said.author(author);
        stamps.push(Stamp { time: Time::from_bits(u64::from_be_bytes(time)), author });
    }
    let mark = |input: &mut In<'_>| match input.varint()? {
        0 => Some(None),
        index => Some(Some(stamp_at(stamps, index - 1)?)),
    };
    let (Some(created), Some(destroyed)) = (mark(&mut input), mark(&mut input)) else {
        return Ok(None);
    };
    let most = (content.len() / REGISTER_BYTES_MIN) as u64;
    let Some(count) = input.varint().filter(|count| *count <= most) else {
        return Ok(None);
    };
    let mut written = Written::new(Some(count as usize));
    for _ in 0..count {
        if read_register(&mut input, stamps, words, said, &mut written)?.is_none() {
            return Ok(None);
        }
    }
    let is_whole = input.fixed() == Some(said.sum()) && input.is_empty();
    Ok(is_whole.then(|| written.into_record(created, destroyed)))
}

fn read_register(
    input: &mut In<'_>,
    stamps: &[Stamp],
    words: &impl Words,
    said: &mut Said,
    written: &mut Written,
) -> Result<Option<()>, StoreError> {
    let (Some(name), Some(shape)) = (number(input), input.byte()) else {
        return Ok(None);
    };
    let Some(field) = words.name(name)? else {
        return Ok(None);
    };
    said.name(field.as_str());
    let element = match shape {
        WHOLE => None,
        ENTRY => match input.bytes().map(std::str::from_utf8) {
            Some(Ok(key)) => Some(ElementRef::Entry(key)),
            _ => return Ok(None),
        },
        MEMBER => match input.bytes() {
            Some(member) => Some(ElementRef::Member(member)),
            None => return Ok(None),
        },
        COUNTER => {
            let Some(author) = number(input) else {
                return Ok(None);
            };
            let Some(author) = words.author(author)? else {
                return Ok(None);
            };
            said.author(author);
            Some(ElementRef::Author(author))
        }
        _ => return Ok(None),
    };
    let kind = if shape == COUNTER { Kind::Counter } else { Kind::Lww };
    let stamp = input.varint().and_then(|index| stamp_at(stamps, index));
    let (Some(stamp), Some(value)) = (stamp, input.value()) else {
        return Ok(None);
    };
    let path = PathRef { field: field.as_str(), element, kind };
    written.push(path, stamp, value, || {
        let element = element.map(|element| match element {
            ElementRef::Entry(key) => Element::Entry(key.into()),
            ElementRef::Member(member) => Element::Member(input.trusted(member)),
            ElementRef::Author(author) => Element::Author(author),
        });
        Path { field: field.clone(), element, kind }
    });
    Ok(Some(()))
}

fn number(input: &mut In<'_>) -> Option<u32> {
    u32::try_from(input.varint()?).ok()
}

fn stamp_at(stamps: &[Stamp], index: u64) -> Option<Stamp> {
    stamps.get(usize::try_from(index).ok()?).copied()
}
