//! What of the log nobody has read since the store was opened.
//!
//! After a crash the log goes on beyond what follows from it. Its pages say which records they are about: so to read one record
//! takes those pages that are about it, and nothing else needs to be read before somebody lists records, asks for what
//! a peer has sent, or writes behind.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use syncro_core::{
    Author, Commit, Entry, Epoch, OwnRow, Record, RecordKey, StoreError, Transaction,
};

use crate::backend::Table;
use crate::encoding::page::{Page, key_hash};
use crate::encoding::{damaged, key};
use crate::layers::Layers;
use crate::rows;
use crate::unplayed::{SCRIBE_BYTES, Said};

/// Records that are read before it is worth while to read all: each takes a look at every hash.
const READS_MAX: u32 = if cfg!(test) { 6 } else { 1000 };

/// So many times as many bytes of pages may be read for them as all of it has.
const TIMES_MAX: usize = if cfg!(test) { 16 } else { 4 };

/// Scribes of one hash beyond which it takes as long to find them as to read all.
const ALIKE_MAX: usize = if cfg!(test) { 4 } else { 64 };

/// Hashes for which there is room at first.
const HASHES_AT_FIRST: u64 = 1 << 20;

/// Hashes that are looked at together.
const CHUNK: usize = 256;

/// Pages that are looked at together when a store is opened.
const PAGES_AT_ONCE: usize = 64;

/// A stretch of the log, which nobody has appended to since.
#[derive(Debug)]
pub(crate) struct Unread {
    scribes: Range<u64>,
    /// The node's epoch when it ended.
    epoch: Epoch,
    /// Its bytes, about.
    log_bytes: usize,
    /// The hashes of its records, scribe by scribe, from the beginning of a page on.
    first: u64,
    hashes: Vec<u32>,
    /// How many records were read, and how many bytes of pages for them.
    reads: AtomicU32,
    page_bytes: AtomicUsize,
}

impl Unread {
    /// A stretch up to the end of the log, if all its pages say which records they are about.
    pub(crate) fn of(
        rows: &Layers<'_>,
        scribes: Range<u64>,
        epoch: Epoch,
    ) -> Result<Option<Self>, StoreError> {
        let lost = |at| damaged(Table::Log, &key::page(at));
        let Some((first, _)) = rows.backend.floor(Table::Log, &key::page(scribes.start))? else {
            return Err(lost(scribes.start));
        };
        let first = key::page_offset(&first).ok_or_else(|| damaged(Table::Log, &first))?;
        let mut hashes = Vec::with_capacity((scribes.end - first).min(HASHES_AT_FIRST) as usize);
        let scan = |start: &[u8]| rows.backend.scan(Table::Log, start, None, PAGES_AT_ONCE);
        let mut log_bytes = 0_usize;
        for pages in rows::pieces(&key::page(first), scan) {
            for (key, sealed) in &pages? {
                let begins = first + hashes.len() as u64;
                if key::page_offset(key) != Some(begins) {
                    return Err(lost(begins));
                }
                let Some(head) = Page::unseal_head(key, sealed)? else { return Ok(None) };
                log_bytes = log_bytes.saturating_add(head.bytes as usize);
                hashes.extend(head.hashes());
            }
        }
        let ends = first + hashes.len() as u64;
        if ends != scribes.end {
            return Err(lost(ends));
        }
        let (reads, page_bytes) = Default::default();
        Ok(Some(Self { scribes, epoch, log_bytes, first, hashes, reads, page_bytes }))
    }

    /// The offsets of what is left to be read.
    pub(crate) fn scribes(&self) -> Range<u64> {
        self.scribes.clone()
    }

    /// Notes that it is read up to an offset, and returns what is left.
    pub(crate) fn read_up_to(mut self, offset: u64) -> Option<Self> {
        self.scribes.start = offset;
        (!self.scribes.is_empty()).then_some(self)
    }

    /// Whether a commit is of what the node has written itself since the store was opened, which began an epoch.
    pub(crate) fn may_be_followed_by(&self, commit: &Commit) -> bool {
        let OwnRow { node, epoch, .. } = commit.own;
        let is_own = |entry: &Entry| {
            epoch != self.epoch && entry.transaction.stamp().author == Author { node, epoch }
        };
        commit.is_played && commit.entries.iter().all(is_own)
    }

    /// About the bytes of the log that are unread.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// About the bytes that it takes in memory once it is read.
    pub(crate) fn bytes_once_read(&self) -> usize {
        self.log_bytes + SCRIBE_BYTES * self.hashes.len()
    }

    /// Whether so much was asked of it that it is worth while to read all before the next record.
    pub(crate) fn is_worn(&self) -> bool {
        self.reads.load(Ordering::Relaxed) >= READS_MAX
            || self.page_bytes.load(Ordering::Relaxed) > TIMES_MAX * self.log_bytes
    }

    /// A record with what is said of it here, where this is what is known of it otherwise.
    pub(crate) fn over(
        &self,
        rows: &Layers<'_>,
        key: &RecordKey,
        known: Option<Arc<Record>>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let mut said = Said::of(key);
        let hash = key_hash(said.key());
        let offsets: Vec<u64> = self.offsets(hash).collect();
        let reads = if offsets.len() > ALIKE_MAX { READS_MAX } else { 1 };
        self.reads.fetch_add(reads, Ordering::Relaxed);
        let mut next = 0;
        for offset in offsets {
            // Another scribe of a transaction that was read, whose hash is the same.
            if offset < next {
                continue;
            }
            let lost = || damaged(Table::Log, &key::page(offset));
            let page = rows.stored_page(offset)?.ok_or_else(lost)?;
            self.page_bytes.fetch_add(page.bytes(), Ordering::Relaxed);
            let mut transactions = page.transactions().ok_or_else(lost)?;
            let found = transactions.find(|it| it.as_ref().is_none_or(|(it, _)| it.end > offset));
            let (place, bytes) = found.flatten().ok_or_else(lost)?;
            said.merge(&Transaction::trusted(bytes).map_err(|_| lost())?)?;
            next = place.end;
        }
        Ok(said.over(known))
    }

    /// Where there are scribes of records with a hash.
    fn offsets(&self, hash: u32) -> impl Iterator<Item = u64> {
        let chunks = (self.first..).step_by(CHUNK).zip(self.hashes.chunks(CHUNK));
        // Nearly all have none, which is seen many at a time.
        let some = chunks.filter(move |(_, chunk)| chunk.contains(&hash));
        some.flat_map(move |(first, chunk)| {
            (first..).zip(chunk).filter(move |(_, it)| **it == hash).map(|(offset, _)| offset)
        })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod lives;
