//! Batches that are durable before the database has them.
//!
//! A commit of redb writes some six pages here and there, and a header. So a file of ours has a journal before
//! its database, to which a durable batch is appended, with one flush and nothing else; many of them go to the
//! database as one commit, later.
//!
//! ```text
//! file    = title, journal, database
//! title   = `TITLE`, and 0 up to 4 KiB: written when the database is complete
//! journal = two halves, up to 512 KiB and up to 1 MiB from the beginning of the file
//! half    = entries
//! entry   = blocks, which together have: length of the changes 4, CRC-32 of generation and changes 4, changes; 0 up to the end
//! block   = generation 8, number of the block in its entry 4, a piece of the entry 4084
//! change  = table 1, length of the key 2, key, length of the value 4, or 0xffffffff for a delete, value
//! ```
//!
//! Numbers are little-endian. Each half has entries of one generation. An entry counts if it is of the generation that
//! stands in the database, or of the next one in the other half, and follows another one or is the first there. When one
//! half is full, what comes next begins the next generation in the other one, and a durable commit of the database takes
//! over what is in the first, with that generation; meanwhile more is appended. A commit that takes over both begins a
//! generation beyond theirs. What lies in a half from before means nothing then. No block of an entry is written again
//! before the commit that takes it over is durable. Commits that are not durable leave the journal and its generations
//! alone: it is appended to while they are made, and a crash takes them, and nothing of it. Where redb makes them durable
//! by itself, when it is closed or checked, the entries are done again over them: the two are of different tables, so that
//! is the same.

use std::io;
use std::ops::Range;

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

/// Where the halves begin and end.
const HALVES: [Range<u64>; 2] = [BLOCK_BYTES as u64..DATABASE_AT / 2, DATABASE_AT / 2..DATABASE_AT];

/// Bytes for which room is made the first time. A flush takes longer where the file system has to give room.
const PREPARED_BYTES: u64 = 32 << 10;

/// The journal of an open file.
#[derive(Debug)]
pub(super) struct Journal {
    storage: Storage,
    /// Bytes of each half that are used at most.
    half_bytes: u64,
    /// The generation of what is appended, and where: the half, and the place in it.
    generation: u64,
    half: usize,
    at: u64,
    /// Whether the other half has what the database has not taken over.
    is_other_taken: bool,
    /// Up to where in each half the file system has given room.
    prepared: [u64; 2],
    /// Whether the file was flushed since it was opened: whoever wrote last may have been killed before.
    is_flushed: bool,
}

/// What became of a batch that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// There is no place for it.
    Nowhere,
    /// It follows the one before it.
    Behind,
    /// It is the first one in the other half: this one is full.
    InOtherHalf,
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
        let [first, second] = HALVES.map(|half| half.end - half.start);
        let mut journal = Self {
            storage: storage.clone(),
            half_bytes: first.min(second).min(bytes as u64 / 2),
            generation: generation(database)?,
            half: 0,
            at: HALVES[0].start,
            is_other_taken: false,
            prepared: HALVES.map(|half| half.start),
            is_flushed: false,
        };
        let pending = entries(storage, journal.generation)?;
        if !pending.is_empty() {
            // Whether what another process has left there is durable nobody knows, and a flush need not tell: what is
            // there goes to the database first, and nothing of it means anything then.
            journal.generation = after(journal.generation);
            (journal.at, journal.is_other_taken) = (HALVES[0].end, true);
        }
        Ok((journal, pending))
    }

    /// Appends a batch, which is durable then, and all before it.
    pub(super) fn append(&mut self, batch: &Batch) -> io::Result<Appended> {
        let is_in_use = self.generation != NONE && self.half_bytes > 0;
        if !is_in_use || batch.bytes() as u64 > self.half_bytes {
            return Ok(Appended::Nowhere);
        }
        if batch.is_empty() {
            let has_room = !self.is_full();
            return if has_room {
                self.flush_once().map(|()| Appended::Behind)
            } else {
                Ok(Appended::Nowhere)
            };
        }
        let mut bytes = encode(batch, self.generation);
        let length = bytes.len() as u64;
        let mut appended = Appended::Behind;
        if length > self.room() {
            if self.is_other_taken || length > self.half_bytes {
                return Ok(Appended::Nowhere);
            }
            self.turn();
            bytes = encode(batch, self.generation);
            appended = Appended::InOtherHalf;
        }
        self.write(&bytes)?;
        self.at += length;
        Ok(appended)
    }

    /// What is left of the half that is appended to.
    fn room(&self) -> u64 {
        (HALVES[self.half].start + self.half_bytes).saturating_sub(self.at)
    }

    /// Whether nothing can be appended before the database takes something over.
    fn is_full(&self) -> bool {
        self.room() == 0 && self.is_other_taken
    }

    /// Goes on in the other half.
    fn turn(&mut self) {
        self.generation = after(self.generation);
        self.half = 1 - self.half;
        self.at = HALVES[self.half].start;
        self.is_other_taken = true;
    }

    /// Writes what comes next. Where the file system has to give room for it, it gives some for what comes then.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush_once()?;
        let (half, prepared) = (&HALVES[self.half], &mut self.prepared[self.half]);
        let end = self.at + bytes.len() as u64;
        if end <= *prepared {
            return self.storage.write_durably(self.at, bytes);
        }
        let step = (*prepared - half.start).clamp(PREPARED_BYTES, DATABASE_AT / 4);
        let more = (end + step).min(half.end);
        let mut padded = bytes.to_vec();
        padded.resize((more - self.at) as usize, 0);
        if self.storage.write(self.at, &padded).is_ok() {
            *prepared = more;
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

    /// The generation of what is appended, with which the database takes over the other half.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The database has taken over the other half, durably.
    pub(super) fn other_taken_over(&mut self) {
        self.is_flushed = true;
        self.is_other_taken = false;
    }

    /// The generation with which the database takes over everything, and more: not the next one, so that no entry ever
    /// follows what it was not written after.
    pub(super) fn generation_of_all(&self) -> u64 {
        after(after(self.generation))
    }

    /// The database has taken over everything, durably.
    pub(super) fn taken_over(&mut self) {
        self.generation = self.generation_of_all();
        self.is_flushed = true;
        self.is_other_taken = false;
        (self.half, self.at) = (0, HALVES[0].start);
    }
}

/// The generation after another one.
fn after(generation: u64) -> u64 {
    generation.checked_add(1).unwrap_or(NONE + 1)
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

/// The entries of one generation, one after the other.
#[derive(Default)]
struct Run {
    /// Where they are; empty where there are none.
    at: Range<usize>,
    batch: Batch,
}

impl Run {
    fn of(generation: u64, region: &[u8]) -> Self {
        let runs = HALVES.map(|half| {
            let start = half.start as usize;
            let mut run = Self { at: start..start, batch: Batch::new() };
            while generation != NONE
                && let Some((of, batch, next)) = entry(region, run.at.end)
                && of == generation
            {
                run.batch.append(&batch);
                run.at.end = next;
            }
            run
        });
        runs.into_iter().find(|run| !run.is_empty()).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Whether an entry of theirs may begin at a place. A crash cuts off the last one, of which nobody was told that it
    /// is durable.
    fn may_have(&self, at: usize) -> bool {
        match self.is_empty() {
            true => HALVES.iter().any(|half| half.start as usize == at),
            false => (self.at.start..=self.at.end).contains(&at),
        }
    }
}

/// What the entries do that the database of a generation does not have, one after the other.
fn entries(storage: &Storage, generation: u64) -> Result<Batch, RedbError> {
    let damaged = |what: &str| Err(RedbError::Corrupted(what.to_owned()));
    let region = region(storage)?;
    let next = after(generation);
    let [mut older, newer] = [generation, next].map(|generation| Run::of(generation, &region));
    if older.is_empty() && !newer.is_empty() {
        // A half is full before there is anything in the other one.
        return damaged("it has lost its last commit");
    }
    for at in (BLOCK_BYTES..region.len()).step_by(BLOCK_BYTES) {
        let Some((of, 0, _)) = block(&region, at) else { continue };
        let run = if of == generation { &older } else { &newer };
        if of == NONE {
            continue;
        } else if of == generation || of == next {
            if !run.may_have(at) {
                return damaged("a part of its journal is damaged");
            }
        } else if of > next && entry(&region, at).is_some() {
            // The generation before it is durable in the database before any entry is of it.
            return damaged("it has lost its last commit");
        }
    }
    older.batch.append(&newer.batch);
    Ok(older.batch)
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

/// Lets a durable commit of the database begin a generation.
pub(super) fn begin_generation(
    transaction: &mut WriteTransaction,
    generation: u64,
) -> Result<(), RedbError> {
    // Opening after a crash then reads no more than the journal, for a second flush; a file without one has no commits
    // but these.
    transaction.set_quick_repair(true);
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
