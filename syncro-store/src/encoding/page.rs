//! Pages of the log: many small transactions in one value.

use std::ops::Range;

use bytes::Bytes;
use syncro_core::{Digest, Entry, Point, StoreError, Transaction};

use super::pack::{self, Packer, UNPACKED_MAX};
use super::{In, Out, damaged, key, unseal};
use crate::backend::Table;

/// Bytes at which a page is full. A larger transaction has a page of its own.
pub(crate) const PAGE_BYTES: usize = 8 << 10;

/// Bytes at which a page is full, packed: with its key, its checksum and 12 bytes of redb's own it fills a leaf of
/// 4 KiB, the least that redb has.
const PACKED_BYTES: usize = 4096 - (8 + 4 + 12);

/// A piece of the log: `digest before 16`, then per transaction the number of its scribes, its length and
/// its bytes. The offset of the first scribe is the page's key.
///
/// In the store it is packed, unless it has more than a MiB or is of an older version: what follows the digest is
/// then zero, which is no number of scribes, and the [packed](pack) rest. That begins with zero again, which packs nothing,
/// where the page has a head: its length as it is unpacked, and which records it is about, a hash of 4 bytes for each scribe.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    first: u64,
    content: Bytes,
    head: Option<Head>,
}

/// What a page says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Its bytes as it is unpacked.
    pub(crate) bytes: u64,
    /// The hashes of its records, scribe by scribe.
    hashes: Bytes,
}

/// What the packed rest of a page begins with.
const PACKED: u8 = 0;

/// What it goes on with where a head comes next.
const HEADED: u8 = 0;

/// The hash of a record's key, as transactions write it.
pub(crate) fn key_hash(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

const DIGEST_BYTES: usize = 16;

impl Page {
    /// The page that was put under a key, with its checksum.
    pub(crate) fn unseal(key: &[u8], sealed: &Bytes) -> Result<Self, StoreError> {
        let stored = unseal(Table::Log, key, sealed.clone())?;
        let page = key::page_offset(key).and_then(|first| Self::read(first, stored));
        page.ok_or_else(|| damaged(Table::Log, key))
    }

    /// The page that is stored from an offset on; `None` where it is damaged.
    pub(crate) fn read(first: u64, stored: Bytes) -> Option<Self> {
        let mut input = In::new(&stored);
        let digest = input.fixed::<DIGEST_BYTES>()?;
        if stored.get(DIGEST_BYTES) != Some(&PACKED) {
            return Some(Self { first, content: stored, head: None });
        }
        input.byte()?;
        let head = Head::read(&mut input)?;
        let mut content = Vec::with_capacity(2 * stored.len());
        content.extend_from_slice(&digest);
        pack::unpack(input, &mut content)?;
        Some(Self { first, content: content.into(), head })
    }

    /// What a page under a key says of itself, without a look at the rest of it; `None` where it says nothing.
    pub(crate) fn unseal_head(key: &[u8], sealed: &Bytes) -> Result<Option<Head>, StoreError> {
        let stored = unseal(Table::Log, key, sealed.clone())?;
        if stored.get(DIGEST_BYTES) != Some(&PACKED) {
            return Ok(None);
        }
        let mut rest = In::new(&stored);
        let begins = rest.fixed::<{ DIGEST_BYTES + 1 }>();
        begins.and_then(|_| Head::read(&mut rest)).ok_or_else(|| damaged(Table::Log, key))
    }

    /// Whether what it says of itself, if anything, is so.
    pub(crate) fn is_as_it_says(&self) -> bool {
        let Some(head) = &self.head else { return true };
        let again = OpenPage::resume(self).filter(|page| page.is_hashed);
        head.bytes == self.content.len() as u64
            && again.is_some_and(|page| page.hashes.0 == head.hashes)
    }

    /// The offset of the first scribe.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The point at which it begins, if it has that much.
    pub(crate) fn begins(&self) -> Option<Point> {
        self.walk().map(|walk| walk.at())
    }

    /// About the bytes of its transactions.
    pub(crate) fn bytes(&self) -> usize {
        self.content.len()
    }

    /// All of it as it is unpacked.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Walks over the transactions. Ends early, with `None`, at damage.
    pub(crate) fn walk(&self) -> Option<Walk<'_>> {
        let mut rest = In::new(&self.content);
        let digest = Digest(rest.fixed()?);
        Some(Walk { rest, at: Point { offset: self.first, digest } })
    }

    /// Walks over the transactions from a place on that an earlier walk has been at.
    pub(crate) fn walk_from(&self, at: Point) -> Option<Walk<'_>> {
        let mut walk = self.walk()?;
        let mut offset = self.first;
        while offset < at.offset {
            offset += step(&mut walk.rest)?.0;
        }
        walk.at = at;
        (offset == at.offset).then_some(walk)
    }

    /// The page without what begins at an offset or after it, and where it ends then; `None` where it is
    /// damaged.
    pub(crate) fn up_to(&self, end: u64) -> Option<(Point, Bytes)> {
        let mut walk = self.walk()?;
        let mut cut = OpenPage::begin(walk.at());
        while walk.at().offset < end && !walk.is_over() {
            let (offset, bytes) = walk.step()?;
            cut.push_bytes(walk.at().offset - offset, &bytes, walk.at());
        }
        Some((cut.end, cut.stored().into()))
    }

    /// Where in the log it begins, and where it ends; `None` where it is damaged.
    pub(crate) fn ends(&self) -> Option<(Point, Point)> {
        let mut walk = self.walk()?;
        let begins = walk.at();
        while !walk.is_over() {
            walk.step()?;
        }
        Some((begins, walk.at()))
    }

    /// The transactions, each with its offset and that of the next one, without digests. `None` stands for damage, and is the
    /// last.
    pub(crate) fn transactions(&self) -> Option<impl Iterator<Item = Option<(Range<u64>, Bytes)>>> {
        let mut rest = In::new(&self.content);
        rest.fixed::<DIGEST_BYTES>()?;
        let mut next = Some(self.first);
        Some(std::iter::from_fn(move || {
            let offset = next.take()?;
            if rest.is_empty() {
                return None;
            }
            let step = step(&mut rest);
            next = step.as_ref().and_then(|(scribes, _)| offset.checked_add(*scribes));
            Some(step.zip(next).map(|((_, bytes), end)| (offset..end, bytes)))
        }))
    }
}

impl Head {
    /// Reads what comes next in a packed page: the head, if there is one.
    fn read(rest: &mut In<'_>) -> Option<Option<Self>> {
        if rest.peek() != Some(HEADED) {
            return Some(None);
        }
        rest.byte()?;
        Some(Some(Self { bytes: rest.varint()?, hashes: rest.shared_bytes()? }))
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.hashes.as_chunks().0.iter().map(|hash| u32::from_be_bytes(*hash))
    }
}

/// What a page begins with that is packed, after a digest.
fn begins(digest: &Digest) -> [u8; DIGEST_BYTES + 1] {
    let mut first = [PACKED; DIGEST_BYTES + 1];
    first[..DIGEST_BYTES].copy_from_slice(&digest.0);
    first
}

/// Reads the number of scribes of a transaction, and its bytes.
fn step(rest: &mut In<'_>) -> Option<(u64, Bytes)> {
    Some((rest.varint().filter(|scribes| *scribes > 0)?, rest.shared_bytes()?))
}

/// A place in a page.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    rest: In<'a>,
    at: Point,
}

impl Walk<'_> {
    /// The place in the log before the next transaction.
    pub(crate) fn at(&self) -> Point {
        self.at
    }

    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over the next transaction, and returns where it began and its bytes.
    pub(crate) fn step(&mut self) -> Option<(u64, Bytes)> {
        let offset = self.at.offset;
        let (scribes, bytes) = step(&mut self.rest)?;
        self.at = self.at.then(scribes, &bytes);
        Some((offset, bytes))
    }

    /// Decodes the next transaction.
    pub(crate) fn entry(&mut self) -> Option<Entry> {
        let (offset, bytes) = self.step()?;
        let transaction = Transaction::trusted(bytes).ok()?;
        let entry = Entry { offset, transaction, digest: self.at.digest };
        (entry.end().offset == self.at.offset).then_some(entry)
    }
}

/// The page at the end of the log, which still grows.
#[derive(Debug)]
pub(crate) struct OpenPage {
    first: u64,
    end: Point,
    content: Out,
    packer: Packer,
    /// The hashes of the records, scribe by scribe, unless something in it is for this node's log alone.
    hashes: Out,
    is_hashed: bool,
}

impl OpenPage {
    /// Begins a page at a place in the log.
    pub(crate) fn begin(at: Point) -> Self {
        let mut content = Out(Vec::with_capacity(PAGE_BYTES));
        content.fixed(&at.digest.0);
        let packer = Packer::after(&begins(&at.digest));
        Self { first: at.offset, end: at, content, packer, hashes: Out::default(), is_hashed: true }
    }

    /// Begins the next page where this one ends, in the same memory.
    pub(crate) fn turn(&mut self) {
        let Self { first, end, content, packer, hashes, is_hashed } = self;
        *first = end.offset;
        content.0.clear();
        content.0.shrink_to(PAGE_BYTES);
        content.fixed(&end.digest.0);
        packer.begin(&begins(&end.digest));
        hashes.0.clear();
        *is_hashed = true;
    }

    /// Goes on with the last page of a store; `None` where it is damaged.
    pub(crate) fn resume(page: &Page) -> Option<Self> {
        let mut walk = page.walk()?;
        let mut open = Self::begin(walk.at());
        while !walk.is_over() {
            let (offset, bytes) = walk.step()?;
            open.push_bytes(walk.at().offset - offset, &bytes, walk.at());
        }
        Some(open)
    }

    /// Appends an encoded transaction of so many scribes, after which the log ends at a point, unless it belongs on
    /// the next page. Returns whether it did.
    #[must_use]
    pub(crate) fn try_push(&mut self, scribes: u64, bytes: &[u8], end: Point) -> bool {
        let before = (self.content.0.len(), self.packer.packed().len(), self.end);
        let is_first = self.is_empty();
        if !is_first && before.0 + bytes.len() > PAGE_BYTES {
            return false;
        }
        let hashed = (self.hashes.0.len(), self.is_hashed);
        self.push_bytes(scribes, bytes, end);
        if !is_first && self.packer.packed().len() + self.head_bytes() > PACKED_BYTES {
            self.content.0.truncate(before.0);
            self.packer.truncate(before.1);
            self.end = before.2;
            self.hashes.0.truncate(hashed.0);
            self.is_hashed = hashed.1;
            return false;
        }
        true
    }

    fn push_bytes(&mut self, scribes: u64, bytes: &[u8], end: Point) {
        let from = self.content.0.len();
        self.content.varint(scribes);
        self.content.bytes(bytes);
        self.end = end;
        self.hash(scribes, bytes);
        if self.is_packed() {
            self.packer.pack(&self.content.0, from);
        }
    }

    fn is_packed(&self) -> bool {
        self.content.0.len() <= UNPACKED_MAX
    }

    /// The offset of the first scribe.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The end of the log.
    pub(crate) fn end(&self) -> Point {
        self.end
    }

    /// Notes which records a transaction is about.
    fn hash(&mut self, scribes: u64, bytes: &[u8]) {
        let (mut count, hashes) = (0, &mut self.hashes);
        let keys = Transaction::read_keys(bytes);
        let all = keys.and_then(|mut keys| {
            keys.try_for_each(|key| {
                hashes.fixed(&key_hash(key?).to_be_bytes());
                count += 1;
                Ok(())
            })
        });
        self.is_hashed &= all.is_ok() && count == scribes;
    }

    /// The bytes of the head at most.
    fn head_bytes(&self) -> usize {
        if self.is_hashed { 1 + 3 + 3 + self.hashes.0.len() } else { 0 }
    }

    /// What is put into the store.
    pub(crate) fn stored(&self) -> Vec<u8> {
        if !self.is_packed() {
            return self.content.0.clone();
        }
        let (begins, pieces) = self.packer.packed().split_at(DIGEST_BYTES + 1);
        let mut stored = Out(Vec::with_capacity(begins.len() + self.head_bytes() + pieces.len()));
        stored.fixed(begins);
        if self.is_hashed {
            stored.byte(HEADED);
            stored.varint(self.content.0.len() as u64);
            stored.bytes(&self.hashes.0);
        }
        stored.fixed(pieces);
        stored.0
    }

    /// Whether nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.offset == self.first
    }
}

/// A piece has a little more than a page where its last transaction just fits: its length is said before it.
const PIECE_CAPACITY: usize = PAGE_BYTES + 8;

/// A stretch of the log that still grows, and is not packed: as long as a page at most, unless it has a single transaction.
#[derive(Debug)]
pub(crate) struct OpenPiece {
    first: u64,
    content: Out,
}

impl OpenPiece {
    /// Begins at a place in the log.
    pub(crate) fn begin(at: Point) -> Self {
        let mut content = Out(Vec::with_capacity(PIECE_CAPACITY));
        content.fixed(&at.digest.0);
        Self { first: at.offset, content }
    }

    /// Begins anew where the log ends, and returns what there was.
    pub(crate) fn turn(&mut self, end: Point) -> Page {
        let Self { first, content } = std::mem::replace(self, Self::begin(end));
        Page { first, content: content.0.into(), head: None }
    }

    /// Whether one more transaction belongs here.
    pub(crate) fn has_room_for(&self, bytes: &[u8]) -> bool {
        let length = self.content.0.len();
        length == DIGEST_BYTES || length + bytes.len() <= PAGE_BYTES
    }

    /// Appends a transaction, and returns where its bytes end.
    pub(crate) fn push(&mut self, scribes: u64, bytes: &[u8]) -> usize {
        self.content.varint(scribes);
        self.content.bytes(bytes);
        self.content.0.len()
    }

    /// The offset of the first scribe.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// All of it.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content.0
    }

    pub(crate) fn to_page(&self) -> Page {
        let content = Bytes::copy_from_slice(&self.content.0);
        Page { first: self.first, content, head: None }
    }
}

#[cfg(test)]
mod tests;
