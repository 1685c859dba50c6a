//! Pages of the log: many small transactions in one value.

use bytes::Bytes;
use syncro_core::{Digest, Entry, Point, Transaction};

use super::{In, Out};

/// Bytes at which a page is full. A larger transaction has a page of its own.
pub(crate) const PAGE_BYTES: usize = 8 << 10;

/// A piece of the log: `digest before 16`, then per transaction the number of its scribes, its length and
/// its bytes. The offset of the first scribe is the page's key.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    first: u64,
    content: Bytes,
}

impl Page {
    pub(crate) fn new(first: u64, content: Bytes) -> Self {
        Self { first, content }
    }

    /// The offset of the first scribe.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// About the bytes of its transactions.
    pub(crate) fn bytes(&self) -> usize {
        self.content.len()
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
        Some((cut.end, cut.out.0.into()))
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

    /// The transactions, each with its offset, without digests. `None` stands for damage, and is the last.
    pub(crate) fn transactions(&self) -> Option<impl Iterator<Item = Option<(u64, Bytes)>>> {
        let mut rest = In::new(&self.content);
        rest.fixed::<16>()?;
        let mut next = Some(self.first);
        Some(std::iter::from_fn(move || {
            let offset = next.take()?;
            if rest.is_empty() {
                return None;
            }
            let step = step(&mut rest);
            next = step.as_ref().and_then(|(scribes, _)| offset.checked_add(*scribes));
            Some(step.map(|(_, bytes)| (offset, bytes)))
        }))
    }
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
    out: Out,
}

impl OpenPage {
    /// Begins a page at a place in the log.
    pub(crate) fn begin(at: Point) -> Self {
        let mut out = Out::default();
        out.fixed(&at.digest.0);
        Self { first: at.offset, end: at, out }
    }

    /// Goes on with the last page of a store; `None` where it is damaged.
    pub(crate) fn resume(page: &Page) -> Option<Self> {
        let (_, end) = page.ends()?;
        Some(Self { first: page.first, end, out: Out(page.content.to_vec()) })
    }

    /// Whether a transaction of so many bytes belongs on the next page.
    pub(crate) fn is_full_for(&self, bytes: usize) -> bool {
        !self.is_empty() && self.out.0.len() + bytes > PAGE_BYTES
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        self.push_bytes(entry.transaction.len(), entry.transaction.bytes(), entry.end());
    }

    /// Appends an encoded transaction of so many scribes, after which the log ends at a point.
    pub(crate) fn push_bytes(&mut self, scribes: u64, bytes: &[u8], end: Point) {
        self.out.varint(scribes);
        self.out.bytes(bytes);
        self.end = end;
    }

    /// The offset of the first scribe.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The end of the log.
    pub(crate) fn end(&self) -> Point {
        self.end
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.out.0
    }

    /// Whether nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.offset == self.first
    }

    pub(crate) fn to_page(&self) -> Page {
        Page::new(self.first, Bytes::copy_from_slice(&self.out.0))
    }
}
