//! Looking at everything that a store has, and naming what is damaged.
//!
//! Reads check what they read. Nobody reads everything, though, and a row that is not there looks like one
//! that never was. So each part is held against another: the log against its digests, what follows from
//! the log against the log.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use syncro_core::{
    Author, Held, Name, Point, Record, RecordKey, Scribe, Stamp, StoreError, Transaction, VIEW_ROW,
    View,
};

use crate::backend::Table;
use crate::dictionary::{self, Word};
use crate::encoding::page::Page;
use crate::encoding::record::Words;
use crate::encoding::{key, row, unseal};
use crate::log_store::Reader;
use crate::rows;
use crate::snapshot::Snapshot;

/// Rows read at once: one may have a few MiB.
const ROWS_AT_ONCE: usize = 64;

/// Findings that are told one by one; of more there is only the number.
const TOLD_MAX: usize = 1000;

/// What is damaged in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The database below fails its own checks.
    Database {
        /// In its words.
        what: String,
    },
    /// A row of the node or of a peer is gone or is not what was written.
    Row {
        /// Its key.
        key: String,
    },
    /// A stretch of the log is gone or is not what was written.
    Log {
        /// The offset at which it begins.
        from: u64,
        /// The offset at which it ends.
        to: u64,
    },
    /// A record is gone, is not what was written, or lacks what the log says of it.
    Record {
        /// The record, or the bytes of its row's key.
        record: String,
    },
    /// The name of a field or an author is gone or is not what was written.
    Name {
        /// The key of its row.
        key: String,
    },
    /// What finds a transaction in the log is gone or is not what was written.
    Stamp {
        /// The transaction, or the bytes of the row's key.
        stamp: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { what } => write!(f, "database: {what}"),
            Self::Row { key } => write!(f, "row {key}"),
            Self::Log { from, to } => write!(f, "log from offset {from} to {to}"),
            Self::Record { record } => write!(f, "record {record}"),
            Self::Name { key } => write!(f, "name {key}"),
            Self::Stamp { stamp } => write!(f, "index of {stamp}"),
        }
    }
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The transactions read.
    pub transactions: u64,
    /// The records read, tombstones included.
    pub records: u64,
    /// What is damaged, the first thousand findings at most.
    pub damage: Vec<Damage>,
    /// All findings.
    pub findings: u64,
    is_log_damaged: bool,
}

impl Verified {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.findings == 0
    }

    /// Whether the log is damaged: what was in it must come back from a peer or a backup. Everything else
    /// follows from the log.
    pub fn is_log_damaged(&self) -> bool {
        self.is_log_damaged
    }

    fn find(&mut self, damage: Damage) {
        // One scribe after the other says the same of a record.
        if self.damage.last() != Some(&damage) {
            self.findings += 1;
            self.is_log_damaged |= matches!(damage, Damage::Log { .. });
            if self.damage.len() < TOLD_MAX {
                self.damage.push(damage);
            }
        }
    }
}

impl Reader {
    /// Looks at everything, and names what is damaged. Others go on reading and writing, but for the time
    /// in which the database below checks itself.
    ///
    /// `progress` is called now and then with the offset in the log that was reached, and its end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] and the like: what could not be looked at. Damage is no error here.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        if let Err(error) = self.check_backend() {
            let what = damage(error)?;
            verified.find(Damage::Database { what });
        }
        let snapshot = self.snapshot();
        // What is looked at is what is stored, and not what is in memory beside it.
        self.shared.pack()?;
        let is_view = unless_damaged(View::row(&snapshot, VIEW_ROW))?.flatten().is_some();
        let mut scrub = Scrub { snapshot: &snapshot, verified, progress, is_view };
        scrub.rows()?;
        scrub.names()?;
        scrub.log()?;
        scrub.records()?;
        scrub.stamps()?;
        Ok(scrub.verified)
    }

    fn check_backend(&self) -> Result<(), StoreError> {
        let backend = self.shared.read().backend()?.clone();
        self.shared.where_room(|| {
            let _alone = self.shared.turns.alone();
            self.shared.note_full(backend.check())
        })
    }
}

/// What an error says is damaged; the error itself, where it says something else.
fn damage(error: StoreError) -> Result<String, StoreError> {
    match error {
        StoreError::Corrupt { what } | StoreError::Latched { cause: what } => Ok(what),
        other => Err(other),
    }
}

/// What was read, or nothing where it is damaged.
fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) => damage(error).map(|_| None),
    }
}

fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

struct Scrub<'a, P> {
    snapshot: &'a Snapshot,
    verified: Verified,
    progress: P,
    /// Whether the store is a view's: records are what its source has, and the log holds its own part of them.
    is_view: bool,
}

impl<P: FnMut(u64, u64)> Scrub<'_, P> {
    /// Calls with every row of a table, and its content unless it is damaged.
    fn each_row(
        &mut self,
        table: Table,
        mut visit: impl FnMut(&mut Self, &[u8], Option<Bytes>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot;
        let scan =
            |start: &[u8]| snapshot.look().rows()?.sealed_scan(table, start, None, ROWS_AT_ONCE);
        for rows in rows::pieces(&[], scan) {
            // Where the database cannot even list its rows, it has said so of itself.
            let Some(rows) = unless_damaged(rows)? else {
                self.verified.find(Damage::Database { what: format!("table {}", table.name()) });
                return Ok(());
            };
            for (key, sealed) in &rows {
                visit(self, key, unless_damaged(unseal(table, key, sealed.clone()))?)?;
            }
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        self.each_row(Table::Rows, |scrub, key, content| {
            seen.insert(Bytes::copy_from_slice(key));
            let is_sound = content.is_some_and(|content| match key {
                key::FORMAT => row::read_format(&content).is_some(),
                key::OWN => row::read_own(&content).is_some(),
                key::MARK => row::read_mark(&content).is_some(),
                key if key.starts_with(key::ENGINE) => true,
                key => key::peer_node(key).is_some() && row::read_peer(&content).is_some(),
            });
            if !is_sound {
                scrub.verified.find(Damage::Row { key: shown(key) });
            }
            Ok(())
        })?;
        // A store that was never written to has none of them.
        if self.snapshot.look().end() != Point::START {
            for key in [key::FORMAT, key::OWN] {
                if !seen.contains(key) {
                    self.verified.find(Damage::Row { key: shown(key) });
                }
            }
        }
        Ok(())
    }

    /// Every number has its word, and none is left out.
    fn names(&mut self) -> Result<(), StoreError> {
        let (mut names, mut authors) = (0, 0);
        self.each_row(Table::Names, |scrub, key, content| {
            let next = match key.first() {
                Some(&Name::SORT) => dictionary::check::<Name>(key, content.as_ref(), &mut names),
                Some(&Author::SORT) => {
                    dictionary::check::<Author>(key, content.as_ref(), &mut authors)
                }
                _ => None,
            };
            let is_sound = match next {
                Some((other, expected)) => {
                    let look = scrub.snapshot.look();
                    let found = unless_damaged(look.rows()?.get(Table::Names, &other))?.flatten();
                    // A crash within a checkpoint may leave a word without its number, which then gets
                    // another one when it is used again. Where it was in use, what used it shows.
                    let is_word = key.get(1) == Some(&0);
                    found.map_or(is_word, |found| is_word || found == expected)
                }
                None => false,
            };
            if !is_sound {
                scrub.verified.find(Damage::Name { key: shown(key) });
            }
            Ok(())
        })
    }

    /// The log by its digests, and by each transaction what follows from it.
    fn log(&mut self) -> Result<(), StoreError> {
        let end = self.snapshot.look().end();
        let mut at = Point::START;
        while at.offset < end.offset {
            (self.progress)(at.offset, end.offset);
            let page =
                unless_damaged(self.snapshot.look().rows()?.stored_page(at.offset))?.flatten();
            let page = page.filter(|page| page.first() == at.offset && page.is_as_it_says());
            let after = match page.and_then(|page| page_end(&page, at, end)) {
                Some((after, transactions)) => {
                    for (offset, transaction, scribes) in transactions {
                        self.transaction(offset, &transaction, scribes)?;
                    }
                    after
                }
                None => {
                    let next = self.next_page(at.offset, end)?;
                    self.verified.find(Damage::Log { from: at.offset, to: next.offset });
                    next
                }
            };
            at = after;
        }
        if at != end {
            self.verified.find(Damage::Log { from: end.offset, to: at.offset.max(end.offset) });
        }
        (self.progress)(end.offset, end.offset);
        Ok(())
    }

    /// Where the next readable page after an offset begins.
    fn next_page(&mut self, offset: u64, end: Point) -> Result<Point, StoreError> {
        let mut at = offset;
        loop {
            let key = key::page(at + 1);
            let look = self.snapshot.look();
            let rows = unless_damaged(look.rows()?.sealed_scan(Table::Log, &key, None, 1))?;
            let Some((key, _)) = rows.and_then(|rows| rows.into_iter().next()) else {
                return Ok(end);
            };
            let Some(first) = key::page_offset(&key).filter(|first| *first < end.offset) else {
                return Ok(end);
            };
            if let Some(Some(page)) = unless_damaged(look.rows()?.stored_page(first))?
                && let Some(walk) = page.walk()
            {
                return Ok(walk.at());
            }
            at = first;
        }
    }

    fn transaction(
        &mut self,
        offset: u64,
        transaction: &Transaction,
        scribes: Vec<Scribe>,
    ) -> Result<(), StoreError> {
        self.verified.transactions += 1;
        let stamp = transaction.stamp();
        let held = unless_damaged(self.snapshot.held(transaction))?;
        if !matches!(held, Some(Held::Same { offset: found, .. }) if found == offset) {
            self.verified.find(Damage::Stamp { stamp: format!("{stamp:?}") });
        }
        for scribe in scribes {
            let (key, change) = scribe.into_record(stamp);
            let record = unless_damaged(self.snapshot.record(&key))?.flatten();
            // To play it again must change nothing, but to what a view is shown.
            let is_played = self.is_view
                || record.is_some_and(|record| {
                    let mut again = Record::clone(&record);
                    again.merge(&change);
                    again == *record
                });
            if !is_played {
                self.verified.find(of_record(&key));
            }
        }
        Ok(())
    }

    /// Every record can be read, and holds nothing that is not in the log, as far as there is a log.
    fn records(&mut self) -> Result<(), StoreError> {
        self.each_row(Table::Records, |scrub, key, content| {
            if key.first() == Some(&0) {
                let is_sound = content.is_some() && scrub.has_record(key)?;
                if !is_sound {
                    scrub.verified.find(Damage::Record { record: shown(key) });
                }
                return Ok(());
            }
            scrub.verified.records += 1;
            let Some(record_key) = key::read_record(key) else {
                scrub.verified.find(Damage::Record { record: shown(key) });
                return Ok(());
            };
            let record = unless_damaged(scrub.snapshot.record(&record_key))?.flatten();
            let is_sound = match record {
                Some(_) if scrub.verified.is_log_damaged() => content.is_some(),
                Some(record) => {
                    content.is_some() && (scrub.is_view || scrub.is_of_the_log(&record)?)
                }
                None => false,
            };
            if !is_sound {
                scrub.verified.find(of_record(&record_key));
            }
            Ok(())
        })
    }

    /// Whether the record is there that a further piece belongs to.
    fn has_record(&self, piece: &[u8]) -> Result<bool, StoreError> {
        let Some(record) = key::piece_record(piece) else {
            return Ok(false);
        };
        let found = self.snapshot.look().rows()?.get(Table::Records, record);
        Ok(unless_damaged(found)?.flatten().is_some())
    }

    fn is_of_the_log(&self, record: &Record) -> Result<bool, StoreError> {
        let mut stamps: Vec<Stamp> =
            record.created().into_iter().chain(record.destroyed()).collect();
        stamps.extend(record.registers().iter().map(|register| register.stamp));
        stamps.sort_unstable();
        stamps.dedup();
        let look = self.snapshot.look();
        for stamp in stamps {
            match unless_damaged(look.of_stamp(stamp))? {
                Some(found) if found.is_empty() => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }

    /// What finds transactions finds them.
    fn stamps(&mut self) -> Result<(), StoreError> {
        self.each_row(Table::Stamps, |scrub, key, content| {
            let look = scrub.snapshot.look();
            let words = look.rows()?;
            let place = content.and_then(|_| key::read_place(key));
            let is_sound = match place {
                Some((number, time, offset)) => match unless_damaged(words.author(number))? {
                    Some(Some(author)) => {
                        let found = unless_damaged(look.of_stamp(Stamp { time, author }))?;
                        let is_it = |at: u64| offset.is_none_or(|offset| offset == at);
                        // What is in the log that is gone cannot be found.
                        scrub.verified.is_log_damaged()
                            || found.is_some_and(|found| found.iter().any(|(at, _)| is_it(*at)))
                    }
                    _ => false,
                },
                None => false,
            };
            if !is_sound {
                scrub.verified.find(Damage::Stamp { stamp: shown(key) });
            }
            Ok(())
        })
    }
}

fn of_record(key: &RecordKey) -> Damage {
    Damage::Record { record: key.to_string() }
}

/// A transaction at its offset, and what it changes.
type Checked = (u64, Transaction, Vec<Scribe>);

/// The end of a page that begins at a point, and its transactions; `None` where it is damaged.
fn page_end(page: &Page, at: Point, end: Point) -> Option<(Point, Vec<Checked>)> {
    let mut walk = page.walk().filter(|walk| walk.at() == at)?;
    let mut transactions = Vec::new();
    while !walk.is_over() && walk.at().offset < end.offset {
        let entry = walk.entry()?;
        let scribes = entry.transaction.scribes().ok()?;
        transactions.push((entry.offset, entry.transaction, scribes));
    }
    (walk.at().offset > at.offset).then(|| (walk.at(), transactions))
}

#[cfg(test)]
mod tests;
