//! Finding a store again in what a damaged medium has left of it.
//!
//! Everything is found under its own checksum, but from any moment: pages of the log as they were before they
//! grew, rows that were replaced long ago. The pages are put together to the most that fits; of a record the
//! latest state is kept, for what the log may have lost of it. The rest follows from the log. A
//! [repair](crate::repair) then makes a store of it, before it takes the place of the damaged medium.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Author, Digest, NodeId, OwnRow, Point, StoreError, Time, Transaction};

use crate::backend::{Backend, Batch, Durability, Remains, Table};
use crate::encoding::page::Page;
use crate::encoding::{key, put, recognise, record, row, unseal};
use crate::migrate::Chain;
use crate::repair::{Repair, Repaired, every, whole};
use crate::staging::PIECE_BYTES;

/// Bytes that wait to be written together.
const WAITING_BYTES: usize = 4 << 20;

/// What became of it.
pub(crate) enum Salvaged {
    /// A store is in the place of the damaged medium.
    Store(Repaired),
    /// Nothing of a store was found: the medium is as it was.
    Nothing,
    /// The backend cannot look.
    NotOffered,
}

/// Makes a store of what a medium has left.
pub(crate) fn salvage(
    backend: &Arc<dyn Backend>,
    node: Option<NodeId>,
    chain: &Chain,
) -> Result<Salvaged, StoreError> {
    let mut repaired = None;
    let mut is_nothing = false;
    let kept = backend.salvage(&mut |remains, fresh| {
        let found = Found::in_all(remains)?;
        is_nothing = found.is_nothing();
        if is_nothing {
            return Err(StoreError::Corrupt { what: "nothing of a store is left".to_owned() });
        }
        found.save(remains, &fresh)?;
        let doubles = doubles(&fresh)?;
        repaired = Some(Repair::begin(fresh, node, chain)?.salvaged(doubles).run()?);
        Ok(())
    });
    match (kept, repaired) {
        (Ok(kept @ Some(_)), Some(repaired)) => Ok(Salvaged::Store(Repaired { kept, ..repaired })),
        (Err(_), _) if is_nothing => Ok(Salvaged::Nothing),
        (Err(error), _) => Err(error),
        (Ok(_), _) => Ok(Salvaged::NotOffered),
    }
}

/// What was found, but for what is large: that is looked for again when it is known what of it is wanted.
#[derive(Default)]
struct Found {
    own: Option<OwnRow>,
    /// The rows of the store and of its peers.
    rows: BTreeMap<Bytes, Bytes>,
    names: BTreeMap<Bytes, Bytes>,
    /// Whether one number stood for two words. Nobody knows then which of them a record means.
    are_names_ambiguous: bool,
    pages: Vec<Leaf>,
}

/// A state of a page of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Leaf {
    first: u64,
    before: Digest,
    end: Point,
}

impl Leaf {
    fn of(key: &[u8], content: Bytes) -> Option<Self> {
        let page = Page::new(key::page_offset(key)?, content);
        whole(&page)?;
        let mut walk = page.walk()?;
        let before = walk.at().digest;
        while !walk.is_over() {
            walk.step()?;
        }
        Some(Self { first: page.first(), before, end: walk.at() })
    }
}

impl Found {
    fn in_all(remains: &dyn Remains) -> Result<Self, StoreError> {
        let mut found = Self::default();
        remains.each(&mut |key, sealed| {
            let Some((table, content)) = recognise(&key, &sealed) else {
                return Ok(false);
            };
            match table {
                Table::Rows => found.row(key, content),
                Table::Log => found.pages.extend(Leaf::of(&key, content)),
                Table::Names => {
                    let other = found.names.insert(key, content.clone());
                    found.are_names_ambiguous |= other.is_some_and(|other| other != content);
                }
                Table::Records | Table::Stamps => {}
            }
            Ok(true)
        })?;
        found.pages.sort_unstable();
        found.pages.dedup();
        Ok(found)
    }

    fn is_nothing(&self) -> bool {
        self.own.is_none() && self.pages.is_empty()
    }

    fn row(&mut self, key: Bytes, content: Bytes) {
        if key == key::OWN {
            let Some(row) = row::read_own(&content) else {
                return;
            };
            let last = self.own.take();
            let clock = last.as_ref().map_or(row.clock, |last| last.clock.max(row.clock));
            let further = last.filter(|last| last.end.offset > row.end.offset).unwrap_or(row);
            self.own = Some(OwnRow { clock, ..further });
        } else if key == key::FORMAT {
            let version = |content: &Bytes| row::read_version(content);
            let last = self.rows.get(&key).and_then(version);
            if version(&content) >= last {
                self.rows.insert(key, content);
            }
        } else if key::peer_node(&key).is_some() {
            self.rows.insert(key, content);
        }
    }

    /// Writes a store of it, which has to be repaired.
    fn save(mut self, remains: &dyn Remains, fresh: &Arc<dyn Backend>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        if let Some(own) = self.own {
            self.rows.insert(Bytes::from_static(key::OWN), row::write_own(&own).into());
        }
        for (table, rows) in [(Table::Rows, &self.rows), (Table::Names, &self.names)] {
            for (key, content) in rows {
                put(&mut batch, table, key, content);
            }
        }
        fresh.write(&batch, Durability::Buffered)?;
        let pages: HashSet<Leaf> = most(&self.pages).into_iter().collect();
        let mut waiting = Waiting { fresh, rows: BTreeMap::new(), bytes: 0 };
        remains.each(&mut |key, sealed| {
            let Some((table, content)) = recognise(&key, &sealed) else {
                return Ok(false);
            };
            match table {
                Table::Log
                    if Leaf::of(&key, content.clone()).is_some_and(|it| pages.contains(&it)) =>
                {
                    waiting.put(table, key, sealed)?;
                }
                // Of a record in several rows some may be of one moment and some of another.
                Table::Records if !self.are_names_ambiguous && content.len() < PIECE_BYTES => {
                    waiting.put_later(key, sealed)?;
                }
                _ => {}
            }
            Ok(true)
        })?;
        waiting.write()
    }
}

/// Rows that are to be written.
struct Waiting<'a> {
    fresh: &'a Arc<dyn Backend>,
    rows: BTreeMap<(Table, Bytes), Bytes>,
    bytes: usize,
}

impl Waiting<'_> {
    /// Puts the state of a record, unless there is a later one.
    fn put_later(&mut self, key: Bytes, sealed: Bytes) -> Result<(), StoreError> {
        let waiting = self.rows.get(&(Table::Records, key.clone())).cloned();
        let last = match waiting {
            Some(last) => Some(last),
            None => self.fresh.get(Table::Records, &key)?,
        };
        let rank =
            |sealed: &Bytes| (record::latest(&sealed.slice(4.min(sealed.len())..)), sealed.len());
        if last.is_none_or(|last| rank(&last) < rank(&sealed)) {
            self.put(Table::Records, key, sealed)?;
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: Bytes, sealed: Bytes) -> Result<(), StoreError> {
        self.bytes += key.len() + sealed.len();
        self.rows.insert((table, key), sealed);
        if self.bytes > WAITING_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for ((table, key), sealed) in std::mem::take(&mut self.rows) {
            batch.put(table, key, sealed);
        }
        self.bytes = 0;
        self.fresh.write(&batch, Durability::Buffered)
    }
}

/// The pages that have the most of the log together and do not overlap; of several such choices the one in which
/// the most of them go on where the one before ends. (The pages are in order. This is the scheduling of weighted
/// intervals, from the last to the first.)
fn most(pages: &[Leaf]) -> Vec<Leaf> {
    /// What a choice comes to, and its first page.
    type Choice = ((u64, usize), Option<usize>);
    // Of the choices that begin with a page, and of those from a page on.
    let mut with: Vec<(Choice, Option<usize>)> = vec![Default::default(); pages.len()];
    let mut from: Vec<Choice> = vec![Default::default(); pages.len() + 1];
    for (nth, page) in pages.iter().enumerate().rev() {
        let after = pages.partition_point(|other| other.first < page.end.offset);
        let next = pages[after..].iter().take_while(|other| other.first == page.end.offset);
        let linked = (after..).zip(next).filter(|(_, next)| next.before == page.end.digest);
        let linked = linked.map(|(next, _)| {
            let ((scribes, links), _) = with[next].0;
            ((scribes, links + 1), Some(next))
        });
        let (rest, next) = linked.chain([from[after]]).max().unwrap_or_default();
        let own = ((rest.0 + page.end.offset - page.first, rest.1), Some(nth));
        with[nth] = (own, next);
        from[nth] = from[nth + 1].max(own);
    }
    let first = from.first().and_then(|(_, first)| *first);
    std::iter::successors(first, |nth| with[*nth].1).map(|nth| pages[nth]).collect()
}

/// The transactions that a log has twice: in a gap there may be pages of another life, when it had other offsets.
fn doubles(fresh: &Arc<dyn Backend>) -> Result<HashSet<Bytes>, StoreError> {
    let each = |visit: &mut dyn FnMut(Transaction)| -> Result<(), StoreError> {
        for rows in every(fresh, Table::Log, &[], None) {
            for (key, sealed) in &rows? {
                let content = unseal(Table::Log, key, sealed)?;
                let page = Page::new(key::page_offset(key).unwrap_or_default(), content);
                whole(&page).unwrap_or_default().into_iter().for_each(&mut *visit);
            }
        }
        Ok(())
    };
    // An author's transactions come in the order of their times, but for those of cloned machines.
    let mut last: HashMap<Author, Time> = HashMap::new();
    let mut late: HashMap<Bytes, usize> = HashMap::new();
    each(&mut |transaction| {
        let stamp = transaction.stamp();
        let last = last.entry(stamp.author).or_default();
        if stamp.time <= *last {
            late.insert(Bytes::copy_from_slice(transaction.bytes()), 0);
        }
        *last = stamp.time.max(*last);
    })?;
    if !late.is_empty() {
        each(&mut |transaction| {
            late.get_mut(transaction.bytes()).into_iter().for_each(|times| *times += 1);
        })?;
    }
    Ok(late.into_iter().filter(|(_, times)| *times > 1).map(|(bytes, _)| bytes).collect())
}

#[cfg(test)]
mod tests;
