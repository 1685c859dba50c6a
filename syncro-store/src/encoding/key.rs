//! Keys: in their order, tables are read.

use std::cell::Cell;

use syncro_core::{Epoch, IdRef, KeyRef, Name, NodeId, RecordId, RecordKey, Time};
use uuid::Uuid;

use super::Out;

/// The key of a log page: the offset of its first scribe.
pub(crate) fn page(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

/// The offset of a page's key.
pub(crate) fn page_offset(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// The key of a record: the model's length and name, then the id. One model's records are neighbours, in
/// the order of their ids.
pub(crate) fn record(key: &RecordKey) -> Vec<u8> {
    let id_bytes = match &key.id {
        RecordId::Int(_) => 8,
        RecordId::Uuid(_) => 16,
        RecordId::Text(text) => text.as_str().len(),
    };
    let mut out = Out(Vec::with_capacity(2 + key.model.as_str().len() + id_bytes));
    write_record(key.as_ref(), &mut out);
    out.0
}

thread_local! {
    /// Memory for the key that is looked up.
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Looks something up by the key of a record.
pub(crate) fn with_record<T>(key: &RecordKey, look: impl FnOnce(&[u8]) -> T) -> T {
    let mut out = Out(KEPT.take());
    out.0.clear();
    write_record(key.as_ref(), &mut out);
    let found = look(&out.0);
    KEPT.set(out.0);
    found
}

/// Appends the key of a record.
pub(crate) fn write_record(key: KeyRef<'_>, out: &mut Out) {
    write_model(key.model, out);
    match key.id {
        IdRef::Int(int) => {
            out.byte(1);
            // The sign bit flipped, so that bytes order as numbers do.
            out.fixed(&((int as u64) ^ (1 << 63)).to_be_bytes());
        }
        IdRef::Uuid(uuid) => {
            out.byte(2);
            out.fixed(uuid.as_bytes());
        }
        IdRef::Text(text) => {
            out.byte(3);
            out.fixed(text.as_bytes());
        }
    }
}

/// The least key that a record may have: names are not empty, so none begins with zero.
pub(crate) const FIRST_RECORD: &[u8] = &[1];

/// The key of a further piece of a record, from 1 on: zero, the length of the record's key, the key, the
/// number of the piece. They lie before all records.
pub(crate) fn piece(record: &[u8], number: u32) -> Vec<u8> {
    // Keys have at most 1024 bytes.
    let length = (record.len() as u16).to_be_bytes();
    [&[0], length.as_slice(), record, &number.to_be_bytes()].concat()
}

/// The key of the record that a further piece belongs to.
pub(crate) fn piece_record(piece: &[u8]) -> Option<&[u8]> {
    let (length, rest) = piece.strip_prefix(&[0])?.split_first_chunk()?;
    let (record, number) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    (number.len() == 4).then_some(record)
}

/// What the keys of a model's records begin with.
pub(crate) fn model(model: &Name) -> Vec<u8> {
    let mut out = Out::default();
    write_model(model.as_str(), &mut out);
    out.0
}

fn write_model(model: &str, out: &mut Out) {
    let name = model.as_bytes();
    // Names have at most 255 bytes.
    out.byte(name.len() as u8);
    out.fixed(name);
}

/// The first key after all of a model's.
pub(crate) fn after_model(name: &Name) -> Vec<u8> {
    let mut bytes = model(name);
    bytes.push(0xff);
    bytes
}

/// The record of a key.
pub(crate) fn read_record(key: &[u8]) -> Option<RecordKey> {
    let (length, rest) = key.split_first()?;
    let (model, rest) = rest.split_at_checked(usize::from(*length))?;
    let model = Name::new(std::str::from_utf8(model).ok()?).ok()?;
    let (sort, rest) = rest.split_first()?;
    let id = match sort {
        1 => RecordId::Int((u64::from_be_bytes(rest.try_into().ok()?) ^ (1 << 63)) as i64),
        2 => RecordId::Uuid(Uuid::from_slice(rest).ok()?),
        3 => RecordId::text(std::str::from_utf8(rest).ok()?).ok()?,
        _ => return None,
    };
    Some(RecordKey { model, id })
}

/// The key of a run: the author by number, zero, the time of the author's first transaction in a page.
pub(crate) fn run(author: u32, first: Time) -> Vec<u8> {
    [author.to_be_bytes().as_slice(), &[0], &first.bits().to_be_bytes()].concat()
}

/// The time of a run's key, if it is one of an author's.
pub(crate) fn run_time(key: &[u8], author: u32) -> Option<Time> {
    let time = key.strip_prefix(&author.to_be_bytes())?.strip_prefix(&[0])?;
    Some(Time::from_bits(u64::from_be_bytes(time.try_into().ok()?)))
}

/// The key of a stray: the author by number, one, the time, the offset.
pub(crate) fn stray(author: u32, time: Time, offset: u64) -> Vec<u8> {
    [strays(author, time).as_slice(), &offset.to_be_bytes()].concat()
}

/// What the keys of the strays of one stamp begin with.
pub(crate) fn strays(author: u32, time: Time) -> Vec<u8> {
    [author.to_be_bytes().as_slice(), &[1], &time.bits().to_be_bytes()].concat()
}

/// The offset of a stray's key.
pub(crate) fn stray_offset(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(13..)?.try_into().ok()?))
}

/// The author, the time and, of a stray, the offset of the key of a run or a stray.
pub(crate) fn read_place(key: &[u8]) -> Option<(u32, Time, Option<u64>)> {
    let (author, rest) = key.split_first_chunk()?;
    let (sort, rest) = rest.split_first()?;
    let (time, offset) = rest.split_first_chunk()?;
    let offset = match (sort, offset.len()) {
        (0, 0) => None,
        (1, 8) => Some(u64::from_be_bytes(offset.try_into().ok()?)),
        _ => return None,
    };
    let time = Time::from_bits(u64::from_be_bytes(*time));
    Some((u32::from_be_bytes(*author), time, offset))
}

/// The key of the format version.
pub(crate) const FORMAT: &[u8] = b"format";
/// The key of the node's own row.
pub(crate) const OWN: &[u8] = b"own";
/// The key of the point up to which records and stamps follow the log.
pub(crate) const MARK: &[u8] = b"mark";
/// What the keys of peers' rows begin with.
pub(crate) const PEER: &[u8] = b"peer/";

/// The first key after all peers' rows.
pub(crate) fn after_peers() -> Vec<u8> {
    [PEER, &[0xff; 17]].concat()
}

/// The key of a peer's row.
pub(crate) fn peer(node: NodeId) -> Vec<u8> {
    [PEER, node.as_bytes()].concat()
}

/// The node of a peer's key.
pub(crate) fn peer_node(key: &[u8]) -> Option<NodeId> {
    Some(NodeId::from_bytes(key.strip_prefix(PEER)?.try_into().ok()?))
}

/// What the keys of the engine's own rows begin with.
pub(crate) const ENGINE: &[u8] = b"row/";

/// The key of one of the engine's own rows.
pub(crate) fn engine(key: &[u8]) -> Vec<u8> {
    [ENGINE, key].concat()
}

/// The first key after all of the engine's own rows that begin in some way.
pub(crate) fn after_engine(prefix: &[u8]) -> Vec<u8> {
    let mut end = engine(prefix);
    while end.pop_if(|last| *last == 0xff).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The bytes that stand for an author in the dictionary.
pub(crate) fn author(node: NodeId, epoch: Epoch) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (first, second) = bytes.split_at_mut(16);
    first.copy_from_slice(node.as_bytes());
    second.copy_from_slice(&epoch.0.to_be_bytes());
    bytes
}
