//! Finding a store again in what a damaged medium has left of it.
//!
//! Everything is found under its own checksum, but from any moment: pages of the log as they were before they
//! grew, rows that were replaced long ago. The pages are put together to the most that fits. A
//! [repair](crate::repair) then makes a store of it, with whatever else the remains have, before it takes the place of
//! the damaged medium.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Author, Digest, NodeId, OwnRow, Point, StoreError, Time, Transaction};

use crate::backend::{Backend, Batch, Durability, Remains, Table};
use crate::encoding::page::Page;
use crate::encoding::{key, put, recognise, row};
use crate::migrate::Chain;
use crate::repair::{Repair, Repaired, each_page, whole};

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
    let Some(remains) = backend.remains() else {
        return Ok(Salvaged::NotOffered);
    };
    let found = Found::in_all(&*remains)?;
    if found.is_nothing() {
        return Ok(Salvaged::Nothing);
    }
    let mut remains = Some(remains);
    let mut repaired = None;
    let kept = backend.salvage(&mut |fresh| {
        if let Some(remains) = remains.take() {
            found.save(&*remains, node, &fresh)?;
            let doubles = doubles(&fresh)?;
            let repair = Repair::begin(fresh, node, chain)?.salvaged(doubles);
            repaired = Some(repair.run(Some(remains))?);
        }
        Ok(())
    })?;
    Ok(match (kept, repaired) {
        (Some(kept), Some(repaired)) => Salvaged::Store(Repaired { kept: Some(kept), ..repaired }),
        _ => Salvaged::NotOffered,
    })
}

/// What was found, but for what is large: that is looked for again when it is known what of it is wanted.
#[derive(Default)]
struct Found {
    /// States of the node's own row.
    own: HashSet<Bytes>,
    /// The rows of the store and of its peers.
    rows: BTreeMap<Bytes, Bytes>,
    /// The dictionary. Where a number had two meanings, records vouch for the one that they mean.
    names: BTreeMap<Bytes, Bytes>,
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
        let page = Page::read(key::page_offset(key)?, content)?;
        whole(&page)?;
        let (begins, end) = page.ends()?;
        Some(Self { first: page.first(), before: begins.digest, end })
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
                    found.names.insert(key, content);
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
        self.own.is_empty() && self.pages.is_empty()
    }

    fn row(&mut self, key: Bytes, content: Bytes) {
        if key == key::OWN {
            self.own.insert(content);
        } else if key == key::FORMAT {
            let version = |content: &Bytes| row::read_version(content);
            let last = self.rows.get(&key).and_then(version);
            if version(&content) >= last {
                self.rows.insert(key, content);
            }
        } else if key::peer_node(&key).is_some() || key.starts_with(key::ENGINE) {
            self.rows.insert(key, content);
        }
    }

    /// The own row: as far as any state of it says that the log went. A clock is believed where it goes with a
    /// page that was found; beyond that it is what the transactions say.
    fn own(&self, wanted: Option<NodeId>) -> Option<OwnRow> {
        let rows: Vec<OwnRow> = self.own.iter().filter_map(row::read_own).collect();
        let wanted = wanted.filter(|wanted| rows.iter().any(|row| row.node == *wanted));
        let node = wanted.or_else(|| most_frequent(rows.iter().map(|row| row.node)))?;
        let ends: HashSet<Point> = self.pages.iter().map(|page| page.end).collect();
        let mine = || rows.iter().filter(|row| row.node == node);
        let last = mine().max_by_key(|row| row.end.offset)?;
        let clocks = mine().filter(|row| ends.contains(&row.end)).map(|row| row.clock);
        Some(OwnRow { clock: clocks.max().unwrap_or_default(), ..last.clone() })
    }

    /// Writes a store of it, which has to be repaired.
    fn save(
        &self,
        remains: &dyn Remains,
        node: Option<NodeId>,
        fresh: &Arc<dyn Backend>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        if let Some(own) = self.own(node) {
            put(&mut batch, Table::Rows, key::OWN, &row::write_own(&own));
        }
        for (table, rows) in [(Table::Rows, &self.rows), (Table::Names, &self.names)] {
            for (key, content) in rows {
                put(&mut batch, table, key, content);
            }
        }
        let pages: HashSet<Leaf> = most(&self.pages).into_iter().collect();
        remains.each(&mut |key, sealed| {
            let Some((table, content)) = recognise(&key, &sealed) else {
                return Ok(false);
            };
            if table == Table::Log
                && Leaf::of(&key, content).is_some_and(|leaf| pages.contains(&leaf))
            {
                batch.put(table, key, sealed);
                if batch.bytes() > WAITING_BYTES {
                    fresh.write(&std::mem::take(&mut batch), Durability::Buffered)?;
                }
            }
            Ok(true)
        })?;
        fresh.write(&batch, Durability::Buffered)
    }
}

fn most_frequent<T: Ord>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    all.for_each(|it| *counts.entry(it).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(it, _)| it)
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
        each_page(fresh, |_, page| {
            whole(&page?).unwrap_or_default().into_iter().for_each(&mut *visit);
            Ok(())
        })
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
