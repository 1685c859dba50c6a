//! Batches that are durable before the database has them.
//!
//! A commit of redb writes some six pages here and there, and a header. So a file of ours has a journal before
//! its database, to which a durable batch is appended, with one flush and nothing else; many of them go to the
//! database as one commit, later.
//!
//! ```text
//! file    = title, journal, database
//! title   = `TITLE`, and 0 up to 4 KiB: written when the database is complete
//! journal = entries, up to 1 MiB from the beginning of the file
//! entry   = blocks, which together have: length of the changes 4, CRC-32 of generation and changes 4, changes; 0 up to the end
//! block   = generation 8, number of the block in its entry 4, a piece of the entry 4084
//! change  = table 1, length of the key 2, key, length of the value 4, or 0xffffffff for a delete, value
//! ```
//!
//! Numbers are little-endian. An entry counts if it is of the generation that stands in the database, and follows another
//! one or is the first. Each durable commit of the database begins the next generation, and takes over what is in the
//! journal: what lies there from before means nothing then. No block of an entry is written again before that commit is
//! durable. Commits that are not durable leave the journal and its generation alone: it is appended to while they are
//! made, and a crash takes them, and nothing of it. Where redb makes them durable by itself, when it is closed or checked,
//! the entries are done again over them: the two are of different tables, so that is the same.

use std::io;

use ::redb::{
    Database, Error as RedbError, ReadableDatabase, StorageBackend, TableDefinition, TableError,
    WriteTransaction,
};
use bytes::{Buf, Bytes};

use super::storage::Storage;
use crate::backend::{Batch, Table};

/// Where the database begins.
pub(super) const DATABASE_AT: u64 = 1 << 20;

/// What a file begins with.
pub(super) const TITLE: &[u8] = b"syncro: journal, and a redb database from 1048576 on\n";

/// What a database begins with, once its creation is complete.
pub(super) const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

const BLOCK_BYTES: usize = 4096;

/// What a block begins with.
const HEAD_BYTES: usize = 12;

/// What an entry begins with.
const SUM_BYTES: usize = 8;

/// The generation of a database before its first commit. No entry is of it.
const NONE: u64 = 0;

/// Says that a key is gone.
const DELETED: u32 = u32::MAX;

/// The largest batch that goes to the journal, in bytes. To write more of them twice would cost more than a commit.
const BATCH_BYTES_MAX: usize = DATABASE_AT as usize / 2;

/// Bytes for which room is made the first time. A flush takes longer where the file system has to give room.
const PREPARED_BYTES: u64 = 32 << 10;

/// The journal of an open file.
#[derive(Debug)]
pub(super) struct Journal {
    storage: Storage,
    /// Where it is full.
    end: u64,
    /// What stands in the database.
    generation: u64,
    /// Where the next entry begins.
    at: u64,
    /// Up to where the file system has given room.
    prepared: u64,
    /// Whether the file was flushed since it was opened: whoever wrote last may have been killed before.
    is_flushed: bool,
}

impl Journal {
    /// Reads the journal of a file, to be used up to so many bytes. Returns what the database does not have.
    ///
    /// # Errors
    ///
    /// [`RedbError::Corrupted`] where something is damaged that was durable.
    pub(super) fn open(
        storage: &Storage,
        bytes: usize,
        database: &Database,
    ) -> Result<(Self, Batch), RedbError> {
        let end = DATABASE_AT.min(bytes.saturating_add(BLOCK_BYTES) as u64);
        let generation = generation(database)?;
        let pending = entries(storage, generation)?;
        // Whether what another process has left there is durable nobody knows, and a flush need not tell: what is there
        // goes to the database first.
        let at = if pending.is_empty() { BLOCK_BYTES as u64 } else { end };
        let storage = storage.clone();
        let (prepared, is_flushed) = (BLOCK_BYTES as u64, false);
        Ok((Self { storage, end, generation, at, prepared, is_flushed }, pending))
    }

    /// Appends a batch, which is durable then, and all before it. Returns whether there was a place for it.
    pub(super) fn append(&mut self, batch: &Batch) -> io::Result<bool> {
        let room = self.end.saturating_sub(self.at);
        let is_in_use = self.generation != NONE;
        if !is_in_use || room == 0 || batch.bytes() > BATCH_BYTES_MAX.min(room as usize) {
            return Ok(false);
        }
        if batch.is_empty() {
            self.flush_once()?;
            return Ok(true);
        }
        let bytes = encode(batch, self.generation);
        if bytes.len() as u64 > room {
            return Ok(false);
        }
        self.write(&bytes)?;
        self.at += bytes.len() as u64;
        Ok(true)
    }

    /// Writes what comes next. Where the file system has to give room for it, it gives some for what comes then.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush_once()?;
        let end = self.at + bytes.len() as u64;
        if end <= self.prepared {
            return self.storage.write_durably(self.at, bytes);
        }
        let step = self.prepared.clamp(PREPARED_BYTES, DATABASE_AT / 4);
        let prepared = (end + step).min(DATABASE_AT);
        let mut padded = bytes.to_vec();
        padded.resize((prepared - self.at) as usize, 0);
        if self.storage.write(self.at, &padded).is_ok() {
            self.prepared = prepared;
        } else {
            self.storage.write(self.at, bytes)?;
        }
        self.storage.sync_data()
    }

    /// Makes durable what whoever wrote last has left.
    fn flush_once(&mut self) -> io::Result<()> {
        if !self.is_flushed {
            self.storage.sync_data()?;
            self.is_flushed = true;
        }
        Ok(())
    }

    /// The generation that the next commit puts into the database. Each has another one, so that no entry ever follows
    /// what it was not written after.
    pub(super) fn next_generation(&self) -> u64 {
        self.generation.checked_add(1).unwrap_or(NONE + 1)
    }

    /// The database has committed everything durably, with the next generation.
    pub(super) fn committed(&mut self) {
        self.generation = self.next_generation();
        self.is_flushed = true;
        self.at = BLOCK_BYTES as u64;
    }
}

/// The blocks of an entry.
fn encode(batch: &Batch, generation: u64) -> Vec<u8> {
    let mut entry = Vec::with_capacity(SUM_BYTES + batch.bytes() + batch.len() * 7);
    entry.extend_from_slice(&[0; SUM_BYTES]);
    for (table, key, value) in batch.iter() {
        entry.push(table.code());
        entry.extend_from_slice(&(key.len() as u16).to_le_bytes());
        entry.extend_from_slice(key);
        let length = value.map_or(DELETED, |value| value.len() as u32);
        entry.extend_from_slice(&length.to_le_bytes());
        entry.extend_from_slice(value.map_or(&[], |value| value));
    }
    let changes = &entry[SUM_BYTES..];
    let (length, checksum) = (changes.len() as u32, checksum(generation, changes));
    entry[..4].copy_from_slice(&length.to_le_bytes());
    entry[4..SUM_BYTES].copy_from_slice(&checksum.to_le_bytes());

    let pieces = entry.chunks(BLOCK_BYTES - HEAD_BYTES);
    let mut blocks = Vec::with_capacity(pieces.len() * BLOCK_BYTES);
    for (number, piece) in (0_u32..).zip(pieces) {
        blocks.extend_from_slice(&generation.to_le_bytes());
        blocks.extend_from_slice(&number.to_le_bytes());
        blocks.extend_from_slice(piece);
    }
    blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    blocks
}

fn checksum(generation: u64, changes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(changes);
    hasher.finalize()
}

/// What the entries of a generation do, one after the other.
fn entries(storage: &Storage, generation: u64) -> Result<Batch, RedbError> {
    let damaged = |what: &str| Err(RedbError::Corrupted(what.to_owned()));
    let region = region(storage)?;
    let (mut found, mut end) = (Batch::new(), BLOCK_BYTES);
    while generation != NONE
        && let Some((of, batch, next)) = entry(&region, end)
        && of == generation
    {
        found.append(&batch);
        end = next;
    }
    for at in (BLOCK_BYTES..region.len()).step_by(BLOCK_BYTES) {
        match block(&region, at) {
            // A crash cuts off the last one, of which nobody was told that it is durable.
            Some((of, 0, _)) if of == generation && generation != NONE && at > end => {
                return damaged("a part of its journal is damaged");
            }
            // A generation is durable in the database before any entry is of it.
            Some((of, 0, _)) if of > generation && entry(&region, at).is_some() => {
                return damaged("it has lost its last commit");
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Every entry that can be read, of whatever generation.
pub(super) fn remains(storage: &Storage) -> Vec<Batch> {
    let mut region = vec![0; DATABASE_AT as usize];
    for (nth, block) in region.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        // What cannot be read has nothing left.
        if storage.read((nth * BLOCK_BYTES) as u64, block).is_err() {
            block.fill(0);
        }
    }
    let blocks = (BLOCK_BYTES..region.len()).step_by(BLOCK_BYTES);
    blocks.filter_map(|at| entry(&region, at)).map(|(_, batch, _)| batch).collect()
}

/// Where the database of a file begins, which may not be there yet.
///
/// # Errors
///
/// Of kind `UnexpectedEof` for a file that ends before its database does begin.
pub(super) fn place_of_database(storage: &Storage) -> io::Result<u64> {
    let length = storage.len()?;
    if length == 0 {
        return Ok(DATABASE_AT);
    }
    if begins_with(storage, 0, MAGIC) {
        return Ok(0);
    }
    let has_title = begins_with(storage, 0, TITLE);
    if has_title && length <= DATABASE_AT {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // What is neither here nor there is said by redb.
    Ok(if has_title || begins_with(storage, DATABASE_AT, MAGIC) { DATABASE_AT } else { 0 })
}

/// Gives a file its title, whose database is complete.
pub(super) fn put_title(storage: &Storage) -> io::Result<()> {
    if begins_with(storage, 0, &[0; TITLE.len()]) { storage.write(0, TITLE) } else { Ok(()) }
}

/// Whether something is at a place, as far as the file goes. What cannot be read is said by redb, which locks it first.
fn begins_with(storage: &Storage, at: u64, bytes: &[u8]) -> bool {
    let length = storage.len().unwrap_or_default().saturating_sub(at);
    let mut found = vec![0; bytes.len().min(length as usize)];
    storage
        .read(at, &mut found)
        .is_ok_and(|()| found.len() >= MAGIC.len() && bytes.starts_with(&found))
}

/// Where the generation stands, once as it is and once inverted.
const GENERATION: TableDefinition<'static, &[u8], (u64, u64)> = TableDefinition::new("journal");
const GENERATION_KEY: &[u8] = b"generation";

pub(super) fn put_generation(
    transaction: &WriteTransaction,
    generation: u64,
) -> Result<(), RedbError> {
    transaction.open_table(GENERATION)?.insert(GENERATION_KEY, (generation, !generation))?;
    Ok(())
}

fn generation(database: &Database) -> Result<u64, RedbError> {
    let table = match database.begin_read()?.open_table(GENERATION) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(NONE),
        table => table?,
    };
    match table.get(GENERATION_KEY)?.map(|found| found.value()) {
        None => Ok(NONE),
        Some((generation, inverted)) if generation == !inverted => Ok(generation),
        Some(_) => Err(RedbError::Corrupted("the generation of its journal is damaged".to_owned())),
    }
}

/// What is before the database.
fn region(storage: &Storage) -> io::Result<Vec<u8>> {
    let mut region = vec![0; storage.len()?.min(DATABASE_AT) as usize];
    storage.read(0, &mut region)?;
    Ok(region)
}

/// The generation of a block, its number, and its piece of an entry.
fn block(region: &[u8], at: usize) -> Option<(u64, u32, &[u8])> {
    let mut block = region.get(at..at + BLOCK_BYTES)?;
    let generation = block.try_get_u64_le().ok()?;
    let number = block.try_get_u32_le().ok()?;
    Some((generation, number, block))
}

/// The entry that begins at a place, if it is whole: its generation, what it does, and where it ends.
fn entry(region: &[u8], mut at: usize) -> Option<(u64, Batch, usize)> {
    let (generation, 0, mut first) = block(region, at)? else { return None };
    let length = first.try_get_u32_le().ok()? as usize;
    let sum = first.try_get_u32_le().ok()?;
    let mut changes = first.get(..length.min(first.len()))?.to_vec();
    at += BLOCK_BYTES;
    for expected in 1.. {
        if changes.len() == length {
            break;
        }
        let (of, number, piece) = block(region, at)?;
        if (of, number) != (generation, expected) {
            return None;
        }
        changes.extend_from_slice(&piece[..piece.len().min(length - changes.len())]);
        at += BLOCK_BYTES;
    }
    if sum != checksum(generation, &changes) {
        return None;
    }
    Some((generation, decode(changes.into())?, at))
}

fn decode(mut changes: Bytes) -> Option<Batch> {
    let mut batch = Batch::new();
    while changes.has_remaining() {
        let code = changes.get_u8();
        let table = Table::ALL.into_iter().find(|table| table.code() == code)?;
        let key = piece(&mut changes, |it| it.try_get_u16_le().ok().map(u32::from))?;
        match changes.chunk().get(..4)? {
            [0xff, 0xff, 0xff, 0xff] => {
                changes.advance(4);
                batch.delete(table, key);
            }
            _ => batch.put(table, key, piece(&mut changes, |it| it.try_get_u32_le().ok())?),
        }
    }
    Some(batch)
}

/// Takes as many bytes as are said before them.
fn piece(bytes: &mut Bytes, length: impl FnOnce(&mut Bytes) -> Option<u32>) -> Option<Bytes> {
    let length = length(bytes)? as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests;
