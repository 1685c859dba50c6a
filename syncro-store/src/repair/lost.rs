//! What the log of a damaged store does not have, as far as it can be found elsewhere.
//!
//! Nothing leaves a log on purpose, so whatever was once in it belongs there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Mark, OwnRow, Record, RecordKey, Scribe, Stamp, StoreError, Transaction, VIEW_ROW, View,
};

use super::work::{each_page, every, whole};
use crate::backend::{Backend, Remains, Table};
use crate::encoding::page::Page;
use crate::encoding::{key, recognise, record, row, unseal};
use crate::staging::PIECE_BYTES;
use crate::state::Shared;
use crate::view::Look;

/// What is not in the log. It is gathered before anything is written, which might be written over it.
#[derive(Default)]
pub(super) struct Lost {
    /// Whole transactions, in the order of their stamps.
    pub(super) found: Vec<Transaction>,
    /// What records have left of others.
    pub(super) left: Vec<(Stamp, Vec<Scribe>)>,
    /// The furthest that the log is known to have gone in the epoch of its own row.
    pub(super) end: u64,
}

/// Where to look.
pub(super) struct Places<'a> {
    pub(super) backend: &'a Arc<dyn Backend>,
    /// For reading records as they are.
    pub(super) shared: &'a Shared,
    pub(super) own: &'a OwnRow,
    pub(super) remains: Option<&'a dyn Remains>,
}

impl Places<'_> {
    pub(super) fn look(&self, is_log_whole: bool) -> Result<Lost, StoreError> {
        let (found, end) = self.log()?;
        let is_whole = is_log_whole && found.is_empty() && end <= self.own.end.offset;
        let left = if is_whole { Vec::new() } else { self.records(&found)? };
        Ok(Lost { found, left, end })
    }

    /// The transactions of pages that are not the log's any more, and that it has nowhere; and the furthest that the
    /// log has gone, for a database may have gone back to the commit before the last one, over damage in the last.
    fn log(&self) -> Result<(Vec<Transaction>, u64), StoreError> {
        let mut found: HashMap<Bytes, Transaction> = HashMap::new();
        let mut end = 0;
        self.each_remaining(|table, key, content| match table {
            Table::Log if !self.is_in_log(key, &content) => {
                let page = key::page_offset(key).and_then(|at| Page::read(at, content));
                for transaction in page.and_then(|page| whole(&page)).unwrap_or_default() {
                    found.insert(transaction.bytes().clone(), transaction);
                }
            }
            Table::Rows if key == key::OWN => {
                let same = |row: &OwnRow| (row.node, row.epoch) == (self.own.node, self.own.epoch);
                let row = row::read_own(&content).filter(same);
                end = end.max(row.map_or(0, |row| row.end.offset));
            }
            _ => {}
        })?;
        if !found.is_empty() {
            self.each_transaction(|transaction| {
                found.remove(transaction.bytes());
            })?;
        }
        let mut found: Vec<Transaction> = found.into_values().collect();
        found.sort_by_key(Transaction::stamp);
        Ok((found, end))
    }

    /// Whether the log has a page, or what has become of it.
    fn is_in_log(&self, key: &[u8], content: &Bytes) -> bool {
        let current = self.backend.get(Table::Log, key).ok().flatten();
        let current = current.and_then(|sealed| unseal(Table::Log, key, sealed).ok());
        current.is_some_and(|current| current.starts_with(content))
    }

    /// What records have left of the transactions that neither the log has nor anybody has found.
    fn records(&self, found: &[Transaction]) -> Result<Vec<(Stamp, Vec<Scribe>)>, StoreError> {
        let mut lost = BTreeSet::new();
        self.each_record(|_, record| lost.extend(stamps(record)))?;
        self.each_transaction(|transaction| {
            lost.remove(&transaction.stamp());
        })?;
        for transaction in found {
            lost.remove(&transaction.stamp());
        }
        if self.backend.get(Table::Rows, &key::engine(VIEW_ROW))?.is_some() {
            // What a view was shown was never in its log as others wrote it, and comes again from its source.
            lost.retain(|stamp| stamp.author.node == self.own.node);
        }
        // A record may be there in several states, each of which has something else left.
        let mut left: BTreeMap<Stamp, BTreeMap<RecordKey, Record>> = BTreeMap::new();
        if !lost.is_empty() {
            self.each_record(|key, record| {
                for stamp in stamps(record).filter(|stamp| lost.contains(stamp)) {
                    let (key, part) = left_of(stamp, key, record).into_record(stamp);
                    left.entry(stamp).or_default().entry(key).or_default().merge(&part);
                }
            })?;
        }
        let left = left.into_iter().map(|(stamp, records)| {
            let scribes = records.iter().map(|(key, record)| left_of(stamp, key, record));
            (stamp, scribes.collect())
        });
        Ok(left.collect())
    }

    /// Calls with every record that can be read, in every state that is there.
    fn each_record(&self, mut visit: impl FnMut(&RecordKey, &Record)) -> Result<(), StoreError> {
        for rows in every(self.backend, Table::Records, key::FIRST_RECORD, None) {
            for (key, _) in &rows? {
                let record_key = key::read_record(key);
                let record = record_key.as_ref().map(|key| Look::now(self.shared).record(key));
                if let (Some(key), Some(Ok(Some(record)))) = (&record_key, record) {
                    visit(key, &record);
                }
            }
        }
        self.each_remaining(|table, key, content| {
            // Of a record in several rows, the first of which is full, some may be of one moment and some of another.
            let is_whole = table == Table::Records && content.len() != PIECE_BYTES;
            let key = key::read_record(key).filter(|_| is_whole);
            if key.is_none() {
                return;
            }
            let look = Look::now(self.shared);
            let record = look.rows().and_then(|words| record::read(&content, &words));
            if let (Some(key), Ok(Some(record))) = (key, record) {
                visit(&key, &record);
            }
        })
    }

    /// Calls with every transaction of the pages of the log that are whole.
    fn each_transaction(&self, mut visit: impl FnMut(&Transaction)) -> Result<(), StoreError> {
        each_page(self.backend, |_, page| {
            let transactions = page.ok().and_then(|page| whole(&page)).unwrap_or_default();
            transactions.iter().for_each(&mut visit);
            Ok(())
        })
    }

    /// Calls with every row that is found in what is left of the medium.
    fn each_remaining(
        &self,
        mut visit: impl FnMut(Table, &Bytes, Bytes),
    ) -> Result<(), StoreError> {
        let Some(remains) = self.remains else { return Ok(()) };
        remains.each(&mut |key, sealed| {
            let found = recognise(&key, &sealed);
            let is_ours = found.is_some();
            if let Some((table, content)) = found {
                visit(table, &key, content);
            }
            Ok(is_ours)
        })
    }
}

/// The stamps of a record, each once.
fn stamps(record: &Record) -> impl Iterator<Item = Stamp> {
    let stamps: BTreeSet<Stamp> = record
        .created()
        .into_iter()
        .chain(record.destroyed())
        .chain(record.registers().iter().map(|register| register.stamp))
        .collect();
    stamps.into_iter()
}

/// What a record has left of the scribe of a stamp.
fn left_of(stamp: Stamp, key: &RecordKey, record: &Record) -> Scribe {
    let is = |mark: Option<Stamp>| mark == Some(stamp);
    let mark = match (is(record.created()), is(record.destroyed())) {
        (true, true) => Mark::Replace,
        (true, false) => Mark::Create,
        (false, true) => Mark::Destroy,
        (false, false) => Mark::Update,
    };
    let registers = record.registers().iter().filter(|register| register.stamp == stamp);
    let fields = registers.map(|register| (register.path.clone(), register.value.clone()));
    Scribe { key: key.clone(), mark, fields: fields.collect() }
}
