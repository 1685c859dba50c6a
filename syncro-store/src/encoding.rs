//! Our own encodings on disk, so that no database's version can make data unreadable.
//!
//! Every value of every table is sealed: a CRC-32 over table, key and content comes first, so that
//! neither a flipped bit nor a value under another's key is ever taken for data.

pub(crate) mod key;
pub(crate) mod pack;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod row;

use bytes::{Buf, Bytes};
use syncro_core::{Encoded, StoreError};

use crate::backend::{Batch, Table};

/// The version of everything in this module, stated once per store.
pub const FORMAT_VERSION: u32 = 4;

/// Puts the checksum before a value.
pub(crate) fn seal(table: Table, key: &[u8], content: &[u8]) -> Bytes {
    let mut sealed = Vec::with_capacity(4 + content.len());
    sealed.extend_from_slice(&checksum(table, key, content).to_be_bytes());
    sealed.extend_from_slice(content);
    sealed.into()
}

/// Puts a row under its checksum.
pub(crate) fn put(batch: &mut Batch, table: Table, key: &[u8], content: &[u8]) {
    batch.put(table, Bytes::copy_from_slice(key), seal(table, key, content));
}

/// Checks and takes off the checksum of a value.
pub(crate) fn unseal(table: Table, key: &[u8], sealed: Bytes) -> Result<Bytes, StoreError> {
    content(table, key, sealed).ok_or_else(|| damaged(table, key))
}

/// The table in which a value was put under a key, and the value.
pub(crate) fn recognise(key: &[u8], sealed: &Bytes) -> Option<(Table, Bytes)> {
    Table::ALL.into_iter().find_map(|table| Some((table, content(table, key, sealed.clone())?)))
}

fn content(table: Table, key: &[u8], mut sealed: Bytes) -> Option<Bytes> {
    let (sum, content) = sealed.split_first_chunk()?;
    let is_whole = *sum == checksum(table, key, content).to_be_bytes();
    // A piece of it would share its memory, and take some more to count who does.
    sealed.advance(size_of_val(sum));
    is_whole.then_some(sealed)
}

/// The error for a value that is not what was written.
pub(crate) fn damaged(table: Table, key: &[u8]) -> StoreError {
    let shown: String =
        key.iter().take(40).flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    StoreError::Corrupt { what: format!("a value in table {} under key \"{shown}\"", table.name()) }
}

fn checksum(table: Table, key: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[table.code()]);
    hasher.update(key);
    hasher.update(content);
    hasher.finalize()
}

/// Appends the small things that encodings are made of.
#[derive(Debug, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the least significant first; the high bit says that more follow.
    pub(crate) fn varint(&mut self, mut int: u64) {
        while int >= 0x80 {
            self.0.push(int as u8 | 0x80);
            int >>= 7;
        }
        self.0.push(int as u8);
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A length, then the bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.fixed(bytes);
    }
}

/// Reads what [`Out`] wrote. `None` means damage that the checksum did not see, or a foreign writer.
#[derive(Debug)]
pub(crate) struct In<'a> {
    content: &'a Bytes,
    place: usize,
}

impl<'a> In<'a> {
    pub(crate) fn new(content: &'a Bytes) -> Self {
        Self { content, place: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.place >= self.content.len()
    }

    /// The next byte, which stays.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.content.get(self.place).copied()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut int = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            int |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(int);
            }
        }
        None
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A length, then the bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    /// Like [`bytes`](Self::bytes), sharing the memory of the whole.
    pub(crate) fn shared_bytes(&mut self) -> Option<Bytes> {
        let bytes = self.bytes()?;
        Some(self.content.slice_ref(bytes))
    }

    /// Like [`bytes`](Self::bytes), of one value.
    pub(crate) fn value(&mut self) -> Option<Encoded> {
        let value = self.bytes()?;
        Some(self.trusted(value))
    }

    /// Makes a value of bytes that were read.
    pub(crate) fn trusted(&self, value: &[u8]) -> Encoded {
        Encoded::trusted(value, self.content)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.place.checked_add(length)?;
        let taken = self.content.get(self.place..end)?;
        self.place = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests;
