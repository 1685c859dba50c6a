//! Five tables in one tree, and values in pieces.
//!
//! sled writes a page that is larger than an eighth of a megabyte to a file of its own, which it never
//! flushes, and whose absence it overlooks when it recovers: a batch could be found in part. Pages hold
//! up to 16 values, so values are cut into pieces that keep every page small.
//!
//! | key | value |
//! |---|---|
//! | the table's number, the key | the number of further pieces `u32`, the first piece |
//! | 128 + the table's number, the length of the key `u16`, the key, the number of the piece `u32` from 1 | the piece |

use std::ops::Bound;

use ::sled::{Batch as SledBatch, IVec, Tree};
use bytes::{BufMut, Bytes, BytesMut};
use syncro_core::StoreError;

use crate::backend::place::{Blame, Place};
use crate::backend::{Batch, KEY_BYTES_MAX, Table};

/// Reads what a batch replaces, and turns it into one of sled's.
pub(super) fn prepare(tree: &Tree, batch: &Batch, place: &Place) -> Result<SledBatch, StoreError> {
    let mut ready = SledBatch::default();
    for (table, key, value) in batch.iter() {
        let head = head_key(table, key);
        let old = tree.get(&head).map_err(|error| error.blame(place))?;
        let old = old.map_or(Ok(0), |old| split(&old, place).map(|(further, _)| further))?;
        let mut new = 0;
        if let Some(value) = value {
            let (first, rest) = value.split_at(value.len().min(PIECE_BYTES));
            for piece in rest.chunks(PIECE_BYTES) {
                new += 1;
                ready.insert(piece_key(table, key, new), piece);
            }
            ready.insert(head, [&new.to_be_bytes(), first].concat());
        } else {
            ready.remove(head);
        }
        for number in new + 1..=old {
            ready.remove(piece_key(table, key, number));
        }
    }
    Ok(ready)
}

pub(super) fn get(
    tree: &Tree,
    table: Table,
    key: &[u8],
    place: &Place,
) -> Result<Option<Bytes>, StoreError> {
    // A longer one is not there, and its length is not for a piece's key.
    if key.len() > KEY_BYTES_MAX {
        return Ok(None);
    }
    let head = tree.get(head_key(table, key)).map_err(|error| error.blame(place))?;
    head.map(|head| join(tree, table, key, &head, place)).transpose()
}

pub(super) fn scan(
    tree: &Tree,
    table: Table,
    start: &[u8],
    end: Option<&[u8]>,
    limit: usize,
    place: &Place,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    if end.is_some_and(|end| end <= start) {
        return Ok(Vec::new());
    }
    let start = head_key(table, start);
    let end = end.map_or_else(|| vec![table.code() + 1], |end| head_key(table, end));
    let heads = tree.range::<Vec<u8>, _>((Bound::Included(start), Bound::Excluded(end)));
    let pairs = heads.take(limit).map(|head| {
        let (key, value) = head.map_err(|error| error.blame(place))?;
        pair(tree, table, &key, &value, place)
    });
    pairs.collect()
}

pub(super) fn floor(
    tree: &Tree,
    table: Table,
    at: &[u8],
    place: &Place,
) -> Result<Option<(Bytes, Bytes)>, StoreError> {
    let mut up_to = tree.range(vec![table.code()]..=head_key(table, at));
    let Some(head) = up_to.next_back() else { return Ok(None) };
    let (key, value) = head.map_err(|error| error.blame(place))?;
    pair(tree, table, &key, &value, place).map(Some)
}

fn pair(
    tree: &Tree,
    table: Table,
    head_key: &[u8],
    head: &IVec,
    place: &Place,
) -> Result<(Bytes, Bytes), StoreError> {
    let key = head_key.get(1..).ok_or_else(|| place.corrupt("a key is empty"))?;
    let value = join(tree, table, key, head, place)?;
    Ok((Bytes::copy_from_slice(key), value))
}

/// The value whose first piece a head holds.
fn join(
    tree: &Tree,
    table: Table,
    key: &[u8],
    head: &IVec,
    place: &Place,
) -> Result<Bytes, StoreError> {
    let (further, first) = split(head, place)?;
    if further == 0 {
        return Ok(Bytes::copy_from_slice(first));
    }
    let mut value = BytesMut::from(first);
    let mut numbers = 1..=further;
    let pieces = tree.range(piece_key(table, key, 1)..=piece_key(table, key, further));
    // The pieces come first: a number is not taken in vain.
    for (piece, number) in pieces.zip(numbers.by_ref()) {
        let (found, piece) = piece.map_err(|error| error.blame(place))?;
        if found != piece_key(table, key, number) {
            return Err(place.corrupt("a part of a value is gone"));
        }
        value.put_slice(&piece);
    }
    match numbers.is_empty() {
        true => Ok(value.freeze()),
        false => Err(place.corrupt("the end of a value is gone")),
    }
}

/// How many pieces follow a head, and the first one, which is in it.
fn split<'a>(head: &'a IVec, place: &Place) -> Result<(u32, &'a [u8]), StoreError> {
    let parts =
        head.split_first_chunk().map(|(further, first)| (u32::from_be_bytes(*further), first));
    parts.ok_or_else(|| place.corrupt("a value is cut short"))
}

fn head_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table.code()], key].concat()
}

fn piece_key(table: Table, key: &[u8], number: u32) -> Vec<u8> {
    // At most 1024, which `u16` holds.
    let length = (key.len() as u16).to_be_bytes();
    [&[PIECES | table.code()], &length[..], key, &number.to_be_bytes()].concat()
}

/// What sets the keys of pieces apart.
const PIECES: u8 = 128;

/// Seventeen of these with keys of 1 KiB are 85 KiB, well below what sled keeps in a page.
const PIECE_BYTES: usize = 4 * 1024;
