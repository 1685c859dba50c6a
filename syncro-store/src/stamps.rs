//! Where an author's transactions are in the log.
//!
//! They come in the order of their times, unless a machine was cloned while it ran. So a row of an author, a *run*, says
//! where the first of some is, and from which time on they are there: in as many bytes of the log as a page has, wherever pages
//! end. A transaction that comes out of order, a *stray*, has a row of its own.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::FixedState;
use syncro_core::{Author, Stamp, StoreError, Time, Transaction};

use crate::backend::Table;
use crate::encoding::page::{PAGE_BYTES, Page};
use crate::encoding::{damaged, key};
use crate::layers::Layers;

/// Authors whose ends are kept in memory; forgotten together when there are this many.
const KNOWN_MAX: usize = 16_384;

/// The ends of authors, so that to append takes no look at the log.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// By the author's number, which is given here; `None` for one who has written nothing.
    ends: HashMap<u32, Option<End>, FixedState>,
    /// Bytes of the log that were noted: where the next transaction is, counted from some place before.
    noted: u64,
}

/// The last of an author's transactions that came in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    time: Time,
    /// Where its run begins, counted as what is noted; or how far back that is, when it is looked up.
    run: u64,
}

/// Bytes of the log in a run at most, unless it has a single transaction. In stores of before it is one page.
const RUN_BYTES: u64 = PAGE_BYTES as u64;

/// The bytes of a transaction and at least of what a page has before it.
fn bytes_in_run(transaction: &[u8]) -> u64 {
    transaction.len() as u64 + 2
}

impl Stamps {
    /// Whether an author is known to have written nothing at a time.
    pub(crate) fn is_new(&self, author: u32, time: Time) -> bool {
        match self.ends.get(&author) {
            None => false,
            Some(None) => true,
            Some(Some(end)) => time > end.time,
        }
    }

    /// Makes room for as many authors as come together.
    pub(crate) fn make_room(&mut self) {
        if self.ends.len() >= KNOWN_MAX {
            self.forget();
        }
    }

    /// Forgets the ends of all authors.
    pub(crate) fn forget(&mut self) {
        self.ends.clear();
    }

    /// Whether the end of an author is known.
    pub(crate) fn knows(&self, author: u32) -> bool {
        self.ends.contains_key(&author)
    }

    /// Knows the end of an author from here on, as it was [looked up](end_of).
    pub(crate) fn know(&mut self, author: u32, end: Option<End>) {
        let end = end.map(|end| End { run: self.noted.wrapping_sub(end.run), ..end });
        self.ends.insert(author, end);
    }

    /// Notes a transaction of an author who is known, and returns the row that finds it, if it needs one.
    pub(crate) fn place(
        &mut self,
        author: u32,
        time: Time,
        offset: u64,
        transaction: &[u8],
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let begins = self.noted;
        self.noted = begins.wrapping_add(bytes_in_run(transaction));
        let end = self.ends.entry(author).or_default();
        match end {
            Some(end) if time <= end.time => Some((key::stray(author, time, offset), Vec::new())),
            Some(end) if self.noted.wrapping_sub(end.run) <= RUN_BYTES => {
                end.time = time;
                None
            }
            _ => {
                *end = Some(End { time, run: begins });
                Some((key::run(author, time), offset.to_be_bytes().to_vec()))
            }
        }
    }
}

/// Where the transactions of one stamp are, when there are several: a hostile peer may send thousands, and asks for
/// each whether it is held.
#[derive(Debug)]
pub(crate) struct Alike {
    stamp: Stamp,
    /// The end of the log for which it is so.
    end: u64,
    offsets: HashMap<Bytes, u64>,
}

impl Alike {
    /// What is to be remembered of the transactions of a stamp, if there is more than one.
    pub(crate) fn of(stamp: Stamp, end: u64, found: &[(u64, Bytes)]) -> Option<Self> {
        let offsets = || found.iter().rev().map(|(offset, bytes)| (bytes.clone(), *offset));
        (found.len() > 1).then(|| Self { stamp, end, offsets: offsets().collect() })
    }

    /// Where a transaction of the stamp is, if this is about the stamp and the log as it is.
    pub(crate) fn find(&self, stamp: Stamp, end: u64, bytes: &Bytes) -> Option<Option<u64>> {
        let is_it = self.stamp == stamp && self.end == end;
        is_it.then(|| self.offsets.get(bytes).copied())
    }
}

/// The transactions of a stamp in the log up to an offset, each with its own offset.
pub(crate) fn of_stamp(
    rows: &Layers<'_>,
    author: u32,
    stamp: Stamp,
    end: u64,
) -> Result<Vec<(u64, Bytes)>, StoreError> {
    let mut found = Vec::new();
    if let Some((_, first)) = run_at(rows, author, stamp.time)?
        && first < end
    {
        each_in_run(rows, first, end, |offset, bytes, it| {
            if it == stamp {
                found.push((offset, bytes));
            }
            // Another one is a stray.
            found.is_empty()
        })?;
    }
    let strays = key::strays(author, stamp.time);
    let after = [strays.as_slice(), &[0xff; 9]].concat();
    let of_run = found.len();
    let mut offsets = Vec::new();
    for (key, _) in rows.scan(Table::Stamps, &strays, Some(&after), usize::MAX)? {
        let offset = key::stray_offset(&key).ok_or_else(|| damaged(Table::Stamps, &key))?;
        let is_known = found[..of_run].binary_search_by_key(&offset, |(at, _)| *at).is_ok();
        if offset < end && !is_known {
            offsets.push(offset);
        }
    }
    // A page may have many of them.
    let mut rest = offsets.into_iter().peekable();
    while let Some(first) = rest.next() {
        for (at, bytes) in in_page(&page_at(rows, first)?, end, stamp)? {
            if at == first || rest.next_if_eq(&at).is_some() {
                found.push((at, bytes));
            }
        }
    }
    Ok(found)
}

/// The last transaction in order of an author in the log up to an offset.
pub(crate) fn end_of(
    rows: &Layers<'_>,
    number: u32,
    author: Author,
    before: u64,
) -> Result<Option<End>, StoreError> {
    let mut at = Time::from_bits(u64::MAX);
    while let Some((first, run)) = run_at(rows, number, at)? {
        // A checkpoint that did not come to its end has left rows of what is to be played again.
        if run < before {
            let mut last = None;
            let bytes = each_in_run(rows, run, before, |_, _, stamp| {
                // Earlier ones are strays.
                if stamp.author == author && stamp.time >= first {
                    last = last.max(Some(stamp.time));
                }
                true
            })?;
            if let Some(time) = last {
                return Ok(Some(End { time, run: bytes }));
            }
        }
        match first.bits().checked_sub(1) {
            Some(earlier) => at = Time::from_bits(earlier),
            None => break,
        }
    }
    Ok(None)
}

/// The last run of an author that begins at a time or before: when, and where.
fn run_at(rows: &Layers<'_>, author: u32, time: Time) -> Result<Option<(Time, u64)>, StoreError> {
    let Some((key, page)) = rows.floor(Table::Stamps, &key::run(author, time))? else {
        return Ok(None);
    };
    let Some(first) = key::run_time(&key, author) else {
        return Ok(None);
    };
    let page = page[..].try_into().map_err(|_| damaged(Table::Stamps, &key))?;
    Ok(Some((first, u64::from_be_bytes(page))))
}

fn page_at(rows: &Layers<'_>, offset: u64) -> Result<Page, StoreError> {
    rows.page(offset)?.ok_or_else(|| damaged(Table::Log, &key::page(offset)))
}

/// Calls with each transaction of a run up to an offset: where it is, its bytes and its stamp, until that is enough. Returns the
/// bytes from the run's beginning on to the offset, or to the end of the log, or more than a run has.
fn each_in_run(
    rows: &Layers<'_>,
    from: u64,
    end: u64,
    mut visit: impl FnMut(u64, Bytes, Stamp) -> bool,
) -> Result<u64, StoreError> {
    let end = end.min(rows.state.tail.end().offset);
    let (mut at, mut bytes) = (from, 0);
    while at < end {
        let page = page_at(rows, at)?;
        let lost = || damaged(Table::Log, &key::page(page.first()));
        let before = at;
        for transaction in page.transactions().ok_or_else(lost)? {
            let (place, content) = transaction.ok_or_else(lost)?;
            if place.start < at {
                continue;
            }
            let is_first = bytes == 0;
            if place.start >= end {
                return Ok(bytes);
            }
            bytes += bytes_in_run(&content);
            if bytes > RUN_BYTES && !is_first {
                return Ok(bytes);
            }
            let stamp = read_stamp(&content, &page)?;
            at = place.end;
            if !visit(place.start, content, stamp) {
                return Ok(bytes);
            }
        }
        if at == before {
            return Err(lost());
        }
    }
    Ok(bytes)
}

/// The transactions of a page, up to an offset, that have a stamp.
fn in_page(page: &Page, end: u64, stamp: Stamp) -> Result<Vec<(u64, Bytes)>, StoreError> {
    let lost = || damaged(Table::Log, &key::page(page.first()));
    let mut found = Vec::new();
    for transaction in page.transactions().ok_or_else(lost)? {
        let (Range { start, .. }, bytes) = transaction.ok_or_else(lost)?;
        if start >= end {
            break;
        }
        if read_stamp(&bytes, page)? == stamp {
            found.push((start, bytes));
        }
    }
    Ok(found)
}

fn read_stamp(transaction: &Bytes, page: &Page) -> Result<Stamp, StoreError> {
    let lost = |_| damaged(Table::Log, &key::page(page.first()));
    Transaction::read_stamp(transaction).map_err(lost)
}

#[cfg(test)]
mod tests;
