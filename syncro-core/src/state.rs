//! The encoding of a record's whole state, as views are told of it.
//!
//! `[[node, epoch, ...], created, destroyed, [field, kind, element, time, author, value, ...]]`. Authors are written
//! once, and meant by their place; a mark is nil or `[time, author]`; an element is nil, a map's key as text, `[member]`,
//! or the author whose part of a counter it is. The same record has the same bytes everywhere.

use bytes::Bytes;

use crate::digest::Digest;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::encoding::scratch;
use crate::id::{Name, NodeId, RecordKey};
use crate::limits::{MEMBER_BYTES_MAX, NAME_BYTES_MAX, STATE_PIECE_BYTES, VALUE_BYTES_MAX};
use crate::record::{Element, Kind, Path, Record, Register, RegisterRef};
use crate::stamp::{Author, Epoch, Stamp, Time};
use crate::value::Encoded;

/// What tells two states of a record apart: the hash of its key and of all of its state, stamps included.
pub(crate) fn hash(key: &RecordKey, record: &Record) -> Digest {
    let mut writer = Writer(scratch::take());
    key.write(&mut writer);
    write(record, &mut writer);
    let hash = Digest::EMPTY.then(&writer.0);
    scratch::give_back(writer.0);
    hash
}

/// The record in pieces of about 256 KiB, which joined are the record again: at least one.
pub(crate) fn pieces(record: &Record) -> Vec<Record> {
    let mut pieces = Vec::new();
    let (mut registers, mut bytes) = (Vec::new(), 0);
    let (mut created, mut destroyed) = (record.created(), record.destroyed());
    for register in record.registers() {
        let more = register.path.bytes_with(register.value);
        if bytes + more > STATE_PIECE_BYTES && !registers.is_empty() {
            let registers = std::mem::take(&mut registers);
            pieces.push(Record::new(created.take(), destroyed.take(), registers));
            bytes = 0;
        }
        bytes += more;
        registers.push(register.into());
    }
    pieces.push(Record::new(created, destroyed, registers));
    pieces
}

pub(crate) fn write(record: &Record, writer: &mut Writer) {
    let mut authors: Vec<Author> = Vec::new();
    let stamps = record.created().into_iter().chain(record.destroyed());
    let mut note = |author: Author| {
        if let Err(place) = authors.binary_search(&author) {
            authors.insert(place, author);
        }
    };
    stamps.for_each(|stamp| note(stamp.author));
    for register in record.registers() {
        note(register.stamp.author);
        if let Some(Element::Author(author)) = &register.path.element {
            note(*author);
        }
    }
    let place = |author: &Author| authors.binary_search(author).unwrap_or_default() as u64;
    writer.array(4);
    writer.array(2 * authors.len());
    for author in &authors {
        writer.bytes(author.node.as_bytes());
        writer.uint(author.epoch.0);
    }
    for mark in [record.created(), record.destroyed()] {
        match mark {
            None => writer.nil(),
            Some(stamp) => {
                writer.array(2);
                writer.uint(stamp.time.bits());
                writer.uint(place(&stamp.author));
            }
        }
    }
    writer.array(6 * record.registers().len());
    for RegisterRef { path, stamp, value } in record.registers() {
        writer.text(path.field.as_str());
        writer.uint(u64::from(path.kind.code()));
        match &path.element {
            None => writer.nil(),
            Some(Element::Entry(key)) => writer.text(key),
            Some(Element::Member(member)) => {
                writer.array(1);
                writer.encoded(member.as_bytes());
            }
            Some(Element::Author(author)) => writer.uint(place(author)),
        }
        writer.uint(stamp.time.bits());
        writer.uint(place(&stamp.author));
        writer.encoded(value.as_bytes());
    }
}

/// Bytes of the state for a store.
pub(crate) fn to_bytes(record: &Record) -> Bytes {
    let mut writer = Writer::default();
    write(record, &mut writer);
    writer.0.into()
}

/// Reads what [`to_bytes`] has written.
pub(crate) fn from_bytes(bytes: &Bytes) -> Result<Record, Malformed> {
    let mut reader = Reader::new(bytes);
    let record = read(&mut reader, &|slice| bytes.slice_ref(slice))?;
    reader.finish()?;
    Ok(record)
}

/// Reads a state; `keep` gives the memory of a value that is kept.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    keep: &dyn Fn(&[u8]) -> Bytes,
) -> Result<Record, Malformed> {
    let Begun { authors, created, destroyed, count } = begin(reader)?;
    // What it claims to hold costs nothing until it is there.
    let there_max = reader.rest().len() / REGISTER_BYTES_MIN;
    let mut registers: Vec<Register> = Vec::with_capacity(count.min(there_max));
    for _ in 0..count {
        let register = register(reader, &authors, keep)?;
        check_order(registers.last().map(|last| &last.path), &register.path)?;
        registers.push(register);
    }
    Ok(Record::new(created, destroyed, registers))
}

/// Reads a state and keeps nothing of it: a record takes far more memory than its state has bytes.
pub(crate) fn check(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let Begun { authors, count, .. } = begin(reader)?;
    let mut last = None;
    for _ in 0..count {
        let Register { path, .. } = register(reader, &authors, &Bytes::copy_from_slice)?;
        check_order(last.as_ref(), &path)?;
        last = Some(path);
    }
    Ok(())
}

/// What a state says before its registers, and how many those are.
struct Begun {
    authors: Vec<Author>,
    created: Option<Stamp>,
    destroyed: Option<Stamp>,
    count: usize,
}

fn begin(reader: &mut Reader<'_>) -> Result<Begun, Malformed> {
    reader.array_of(4, "a state of four parts")?;
    let count = reader.array()?;
    let mut authors = Vec::new();
    for _ in 0..count / 2 {
        let node = NodeId::from_bytes(reader.bytes_of()?);
        authors.push(Author { node, epoch: Epoch(reader.uint()?) });
    }
    let created = mark(reader, &authors)?;
    let destroyed = mark(reader, &authors)?;
    let parts = reader.array()?;
    if count % 2 == 1 || parts % 6 != 0 {
        return Err(Malformed::Expected("whole authors and registers"));
    }
    Ok(Begun { authors, created, destroyed, count: parts / 6 })
}

fn check_order(last: Option<&Path>, path: &Path) -> Result<(), Malformed> {
    match last.is_none_or(|last| last < path) {
        true => Ok(()),
        false => Err(Malformed::Expected("registers in the order of their paths")),
    }
}

/// Bytes of the least register there can be.
const REGISTER_BYTES_MIN: usize = 7;

fn mark(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Option<Stamp>, Malformed> {
    match reader.head()? {
        Head::Nil => Ok(None),
        Head::Array(2) => stamp(reader, authors).map(Some),
        _ => Err(Malformed::Expected("a mark")),
    }
}

fn stamp(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Stamp, Malformed> {
    let time = Time::from_bits(reader.uint()?);
    if time >= Time::END {
        return Err(Malformed::Limit("a stamp"));
    }
    Ok(Stamp { time, author: author(reader.uint()?, authors)? })
}

fn author(place: u64, authors: &[Author]) -> Result<Author, Malformed> {
    let author = usize::try_from(place).ok().and_then(|place| authors.get(place));
    author.copied().ok_or(Malformed::Expected("the place of an author"))
}

fn register(
    reader: &mut Reader<'_>,
    authors: &[Author],
    keep: &dyn Fn(&[u8]) -> Bytes,
) -> Result<Register, Malformed> {
    let field = Name::new(reader.text()?).map_err(|_| Malformed::Limit("a name"))?;
    let kind = Kind::from_code(reader.uint()?).ok_or(Malformed::Limit("a kind"))?;
    let path = match (reader.head()?, kind) {
        (Head::Nil, Kind::Lww) => Path::field(field),
        (Head::Text(key), Kind::Lww) if key.len() <= NAME_BYTES_MAX => Path::entry(field, key),
        (Head::Array(1), Kind::Lww) => {
            let member = value(reader, MEMBER_BYTES_MAX, keep)?;
            Path::member(field, member)
        }
        (Head::Int(place), Kind::Counter) => {
            let place = u64::try_from(place).map_err(|_| Malformed::Expected("an author"))?;
            Path::counter(field, author(place, authors)?)
        }
        _ => return Err(Malformed::Expected("an element that fits its kind")),
    };
    let stamp = stamp(reader, authors)?;
    let value = value(reader, VALUE_BYTES_MAX, keep)?;
    path.as_ref().check_value(value.as_bytes())?;
    Ok(Register { path, stamp, value })
}

fn value(
    reader: &mut Reader<'_>,
    bytes_max: usize,
    keep: &dyn Fn(&[u8]) -> Bytes,
) -> Result<Encoded, Malformed> {
    let value = Encoded::read(reader, |slice| keep(slice))?;
    match value.as_bytes().len() {
        bytes if bytes > bytes_max => Err(Malformed::Limit("a value")),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::record;

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_was_and_joined_of_its_pieces(record in record()) {
            prop_assert_eq!(&from_bytes(&to_bytes(&record)).unwrap(), &record);
            let mut joined = Record::default();
            for piece in pieces(&record) {
                joined.merge(&from_bytes(&to_bytes(&piece)).unwrap());
            }
            prop_assert_eq!(joined, record);
        }

        #[test]
        fn what_is_no_state_is_refused_and_never_panics(
            record in record(),
            change in (any::<prop::sample::Index>(), any::<u8>()),
        ) {
            let mut bytes = to_bytes(&record).to_vec();
            let at = change.0.index(bytes.len());
            prop_assert!(from_bytes(&Bytes::copy_from_slice(&bytes[..at])).is_err());
            bytes[at] = change.1;
            if let Ok(read) = from_bytes(&bytes.into()) {
                prop_assert_eq!(from_bytes(&to_bytes(&read)).unwrap(), read);
            }
        }
    }

    #[test]
    fn large_records_are_said_in_pieces_that_fit_a_message() {
        let value = Encoded::of(&"x".repeat(200 << 10)).unwrap();
        let author = Author { node: NodeId::named("a"), epoch: Epoch(1) };
        let stamp = Stamp { time: Time::from_ms(1), author };
        let registers = ["a", "b", "c"].map(|field| {
            let path = Path::field(Name::new(field).unwrap());
            Register { path, stamp, value: value.clone() }
        });
        let record = Record::new(Some(stamp), None, registers.to_vec());
        let pieces = pieces(&record);
        assert_eq!(pieces.len(), 3);
        assert!(pieces[0].is_alive() && !pieces[1].is_alive());
    }
}
