//! The list: what classic peers are told, in order, and what they were pulled up to.
//!
//! A peer of 2010 asks for what follows an id and takes every change as it comes, so whoever tells it must know
//! what it holds: an update of a record that it lacks breaks it. That depends on who was told of a record when,
//! which is not in the node's log. So the list keeps what was told, as the original did. It lies beside the
//! node's store in a file of its own, since what is in the store goes to native peers.
//!
//! # The rows
//!
//! The list is a [`Backend`] with these rows; the value of each is a CRC-32 (little-endian) of the key and what
//! follows, then JSON.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rows` | `head` | the format, the next number, and the point of the node's log up to which the list covers it |
//! | `rows` | `last` | the last row that everyone is told |
//! | `rows` | `last/` uid | the last row that this client is told, and others are not |
//! | `rows` | `peer/` uid | the sync point in that peer's log; see [`PeerRow`] |
//! | `log` | number, 8 bytes, big-endian | a [`Row`] |
//! | `records` | [`key_of`] the record | who holds it, and its last row: [`Held`] |
//!
//! Numbers are the ids of scribes on the wire. They begin at a distance from the last one that the node's epoch
//! gives, at every opening: an id that was issued and then lost, with a file that was put back, is not issued
//! again for something else.

mod row;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncro::store::{Batch, Durability, Table};
use syncro::{Backend, Point, StoreError};

pub(crate) use row::{Ahead, Held, PeerRow, Row, What, key_of};

use crate::class::{Audience, Uid};
use crate::error::Error;
use crate::limits::ROWS_PER_READ;

/// The list, and what is about to be written to it.
pub(crate) struct List {
    backend: Box<dyn Backend>,
    /// The last row that was written.
    end: u64,
    /// The last row that is about to be.
    staged_end: u64,
    /// The node's log is covered up to here, once what is staged is written.
    mark: Point,
    batch: Batch,
    /// Rows and records that are about to be written, for reading them back.
    staged: BTreeMap<(Table, Vec<u8>), Bytes>,
}

impl List {
    /// Opens the list. Numbers begin at `distance` after the last one.
    pub(crate) fn open(backend: Box<dyn Backend>, distance: u64) -> Result<Self, Error> {
        let (batch, staged) = (Batch::new(), BTreeMap::new());
        let mut list = Self { backend, end: 0, staged_end: 0, mark: Point::START, batch, staged };
        if let Some(head) = list.get::<row::Head>(Table::Rows, HEAD).map_err(Error::List)? {
            if head.format != FORMAT {
                return Err(Error::Version { found: head.format, known: FORMAT });
            }
            list.end = head.next - 1;
            list.mark = head.mark();
        }
        let room = NUMBER_MAX.saturating_sub(list.end) / 2;
        list.end += distance.min(room);
        list.staged_end = list.end;
        // What is issued from here on is beyond what this opening could have issued before.
        list.cover(list.mark);
        list.write().map_err(Error::List)?;
        Ok(list)
    }

    /// The last number that is written. A row of it need not exist.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The point of the node's log that the list covers, with what is staged.
    pub(crate) fn mark(&self) -> Point {
        self.mark
    }

    /// Whether something waits to be written.
    pub(crate) fn is_staged(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Says that the list covers the node's log up to a point.
    pub(crate) fn cover(&mut self, mark: Point) {
        self.mark = mark;
    }

    /// Puts a row at the end, and returns its number.
    pub(crate) fn append(&mut self, row: &Row) -> Result<u64, StoreError> {
        let number = self.reserve(1);
        self.put(Table::Log, &number.to_be_bytes(), row);
        for to in row.audiences() {
            match to {
                Audience::Everyone => self.put(Table::Rows, LAST, &number),
                Audience::Only(uids) => {
                    uids.iter().for_each(|uid| self.put(Table::Rows, &of(LAST_OF, uid), &number));
                }
            }
        }
        Ok(number)
    }

    /// Gives out numbers that stand for nothing, and returns the first.
    pub(crate) fn reserve(&mut self, count: u64) -> u64 {
        self.staged_end += count;
        self.staged_end + 1 - count
    }

    /// Writes what is staged, durably and as a whole.
    pub(crate) fn write(&mut self) -> Result<(), StoreError> {
        let head = row::Head::new(FORMAT, self.staged_end + 1, self.mark);
        self.put(Table::Rows, HEAD, &head);
        self.staged.clear();
        let batch = std::mem::take(&mut self.batch);
        self.backend.write(&batch, Durability::Durable)?;
        self.end = self.staged_end;
        Ok(())
    }

    /// The row of a number.
    pub(crate) fn row(&self, number: u64) -> Result<Option<Row>, StoreError> {
        self.get(Table::Log, &number.to_be_bytes())
    }

    /// The first rows after a number that are written, with their numbers.
    pub(crate) fn rows(&self, after: u64, limit: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        let start = (after + 1).to_be_bytes();
        let limit = limit.min(ROWS_PER_READ);
        let rows = self.backend.scan(Table::Log, &start, None, limit)?;
        let rows = rows.iter().map(|(key, value)| {
            let number = <[u8; 8]>::try_from(&key[..]).map_err(|_| damaged(Table::Log, key))?;
            Ok((u64::from_be_bytes(number), read(Table::Log, key, value)?))
        });
        rows.collect()
    }

    /// Who holds a record.
    pub(crate) fn held(&self, key: &[u8]) -> Result<Held, StoreError> {
        Ok(self.get(Table::Records, key)?.unwrap_or_default())
    }

    pub(crate) fn set_held(&mut self, key: &[u8], held: &Held) {
        self.put(Table::Records, key, held);
    }

    /// Records after a key, and who holds them. What is staged is left out.
    pub(crate) fn all_held(
        &self,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Held)>, StoreError> {
        let start = [after, &[0]].concat();
        let pairs = self.backend.scan(Table::Records, &start, None, limit)?;
        let pairs = pairs.into_iter().map(|(key, value)| {
            let held = read(Table::Records, &key, &value)?;
            Ok((key, held))
        });
        pairs.collect()
    }

    /// The last row that a client is told; `None` if there is none.
    pub(crate) fn last_of(&self, uid: &Uid) -> Result<Option<u64>, StoreError> {
        let everyone: Option<u64> = self.get(Table::Rows, LAST)?;
        Ok(everyone.max(self.get(Table::Rows, &of(LAST_OF, uid))?))
    }

    pub(crate) fn peer(&self, uid: &Uid) -> Result<PeerRow, StoreError> {
        Ok(self.get(Table::Rows, &of(PEER, uid))?.unwrap_or_default())
    }

    pub(crate) fn set_peer(&mut self, uid: &Uid, peer: &PeerRow) {
        self.put(Table::Rows, &of(PEER, uid), peer);
    }

    fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        let value = match self.staged.get(&(table, key.to_vec())) {
            Some(value) => Some(value.clone()),
            None => self.backend.get(table, key)?,
        };
        value.map(|value| read(table, key, &value)).transpose()
    }

    fn put<T: Serialize>(&mut self, table: Table, key: &[u8], content: &T) {
        // Texts, numbers, lists, and maps with text keys: JSON can say all of it.
        let json = serde_json::to_vec(content).unwrap_or_default();
        let value: Bytes = [&checksum(key, &json).to_le_bytes()[..], &json].concat().into();
        self.batch.put(table, key.to_vec(), value.clone());
        self.staged.insert((table, key.to_vec()), value);
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("end", &self.end).finish_non_exhaustive()
    }
}

fn of(prefix: &[u8], uid: &Uid) -> Vec<u8> {
    [prefix, uid.as_str().as_bytes()].concat()
}

fn checksum(key: &[u8], json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(json);
    hasher.finalize()
}

fn read<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    let content = value
        .split_first_chunk::<4>()
        .filter(|(sum, json)| u32::from_le_bytes(**sum) == checksum(key, json))
        .and_then(|(_, json)| serde_json::from_slice(json).ok());
    content.ok_or_else(|| damaged(table, key))
}

fn damaged(table: Table, key: &[u8]) -> StoreError {
    let what = format!("a row of the table {} with the key {key:02x?}", table.name());
    StoreError::Corrupt { what }
}

const FORMAT: u64 = 1;
const HEAD: &[u8] = b"head";
const LAST: &[u8] = b"last";
const LAST_OF: &[u8] = b"last/";
const PEER: &[u8] = b"peer/";

/// JavaScript's numbers skip integers beyond this.
const NUMBER_MAX: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests;
