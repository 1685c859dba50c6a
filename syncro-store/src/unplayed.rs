//! What peers have changed, before it is played.
//!
//! Most of what a peer brings nobody asks for before it has changed again, or is written behind. A commit may leave it
//! unplayed: then its transactions wait here, and with them where the scribes of each record are. Who reads one record plays
//! those; who lists records, remembers them or writes them behind has all of them played first. Merging is idempotent and
//! commutative, so it does not matter what has become of a record meanwhile, nor what is played twice.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use syncro_core::{KeyRef, Record, RecordKey, ScribeRef, StoreError, Transaction};

use crate::rows::{hash, spread};

/// Scribes of a transaction that waits, at most: to find one of them it is read up to there.
const SCRIBES_MAX: u64 = if cfg!(test) { 3 } else { 16 };

/// Scribes of one record beyond which they are played: whoever reads it plays all that wait.
const CHAIN_MAX: u32 = if cfg!(test) { 4 } else { 64 };

/// Bytes of transactions that are played at once: others wait so long, some milliseconds.
const PLAYED_BYTES: usize = if cfg!(test) { 512 } else { 256 << 10 };

/// Transactions that are not played, in the order of the log, each with its offset.
#[derive(Debug, Default)]
pub(crate) struct Unplayed {
    transactions: VecDeque<(u64, Transaction)>,
    scribes: VecDeque<Waiting>,
    /// How many of both were taken away since there were none, which may be more than there are numbers.
    transactions_gone: u32,
    scribes_gone: u32,
    /// The last scribe that waits of each record, by the hash of its key.
    last: HashTable<Last>,
    /// Hashes of records of which many wait.
    crowded: Vec<u32>,
    /// The bytes of the transactions.
    log_bytes: usize,
}

/// A scribe, by the number of its transaction. Both are counted on since there were none.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    hash: u32,
    transaction: u32,
    /// The one before it of the same hash, if any.
    before: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    hash: u32,
    scribe: u32,
    count: u32,
}

impl Unplayed {
    /// Whether a transaction may wait.
    pub(crate) fn takes(transaction: &Transaction) -> bool {
        transaction.len() <= SCRIBES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// About the bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.log_bytes + SCRIBE_BYTES * self.scribes.len()
    }

    /// Hashes of records of which so many scribes wait that they are to be [played](Self::of_hash).
    pub(crate) fn crowded(&self) -> &[u32] {
        &self.crowded
    }

    /// Makes room for some more.
    pub(crate) fn reserve(&mut self, transactions: usize, scribes: usize) {
        self.transactions.reserve(transactions);
        self.scribes.reserve(scribes);
        self.last.reserve(scribes, |last| spread(last.hash));
    }

    /// How many transactions wait.
    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// The offset up to which all is played, if it is not the end of the log.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.transactions.front().map(|(offset, _)| *offset)
    }

    /// The bytes of those that wait.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// Adds a transaction, with the hashes of its records in their order.
    pub(crate) fn push(
        &mut self,
        offset: u64,
        transaction: Transaction,
        hashes: impl Iterator<Item = u32>,
    ) {
        let number = self.transactions_gone.wrapping_add(self.transactions.len() as u32);
        for hash in hashes {
            // Those that wait are far fewer than there are numbers: memory is bounded.
            let scribe = self.scribes_gone.wrapping_add(self.scribes.len() as u32);
            let is_it = |last: &Last| last.hash == hash;
            let mut before = None;
            match self.last.entry(spread(hash), is_it, |last| spread(last.hash)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Last { hash, scribe, count: 1 });
                }
                Entry::Occupied(known) => {
                    let Last { scribe: last, count, .. } = known.into_mut();
                    before = Some(std::mem::replace(last, scribe));
                    *count += 1;
                    if *count == CHAIN_MAX {
                        self.crowded.push(hash);
                    }
                }
            }
            self.scribes.push_back(Waiting { hash, transaction: number, before });
        }
        self.log_bytes += transaction.bytes().len();
        self.transactions.push_back((offset, transaction));
    }

    /// A record with what waits of it, where this is what is known of it otherwise.
    pub(crate) fn over(
        &self,
        key: &RecordKey,
        known: Option<Arc<Record>>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        if self.is_empty() {
            return Ok(known);
        }
        let mut said = Said::of(key);
        for transaction in self.chain(hash(said.key())) {
            said.merge(transaction)?;
        }
        Ok(said.over(known))
    }

    /// The transactions that have a scribe of a record with a hash.
    pub(crate) fn of_hash(&self, hash: u32) -> Vec<Transaction> {
        self.chain(hash).cloned().collect()
    }

    fn chain(&self, hash: u32) -> impl Iterator<Item = &Transaction> {
        let last = self.last.find(spread(hash), |last| last.hash == hash);
        let mut next = last.map(|last| last.scribe);
        std::iter::from_fn(move || {
            // What was before those that are left is gone, and far from them.
            let place = next?.wrapping_sub(self.scribes_gone);
            let Waiting { transaction, before, .. } = self.scribes.get(place as usize)?;
            next = *before;
            let place = transaction.wrapping_sub(self.transactions_gone);
            self.transactions.get(place as usize).map(|(_, transaction)| transaction)
        })
    }

    /// The first transactions: as many as are played at once.
    pub(crate) fn first(&self) -> Vec<Transaction> {
        let mut left = PLAYED_BYTES;
        let transactions = self.transactions.iter().map(|(_, transaction)| transaction);
        let first = transactions.take_while(|transaction| {
            let is_due = left > 0;
            left = left.saturating_sub(transaction.bytes().len());
            is_due
        });
        first.cloned().collect()
    }

    /// Forgets the first transactions, which are played.
    pub(crate) fn forget_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if count == self.transactions.len() {
            // Both keep their memory, unless it is much.
            let Self { mut transactions, mut scribes, mut last, .. } = std::mem::take(self);
            transactions.clear();
            transactions.shrink_to(KEPT);
            scribes.clear();
            scribes.shrink_to(KEPT);
            last.clear();
            last.shrink_to(KEPT, |last| spread(last.hash));
            *self = Self { transactions, scribes, last, ..Self::default() };
            return;
        }
        for (_, transaction) in self.transactions.drain(..count) {
            self.log_bytes -= transaction.bytes().len();
        }
        let first = self.transactions_gone;
        self.transactions_gone = first.wrapping_add(count as u32);
        let is_gone = |it: &Waiting| it.transaction.wrapping_sub(first) < count as u32;
        let gone = self.scribes.iter().take_while(|it| is_gone(it)).count();
        for (place, Waiting { hash, .. }) in (0..).zip(self.scribes.drain(..gone)) {
            let scribe = self.scribes_gone.wrapping_add(place);
            let is_it = |last: &Last| last.hash == hash && last.scribe == scribe;
            if let Ok(last) = self.last.find_entry(spread(hash), is_it) {
                last.remove();
            }
        }
        self.scribes_gone = self.scribes_gone.wrapping_add(gone as u32);
    }

    /// Does not find what waits of records with a hash any more: it is played. With its transactions it will be once more.
    pub(crate) fn forget_chain(&mut self, hash: u32) {
        self.crowded.retain(|crowded| *crowded != hash);
        if let Ok(last) = self.last.find_entry(spread(hash), |last| last.hash == hash) {
            last.remove();
        }
    }
}

/// What transactions say of one record. It is merged by itself first: the record may be far larger than all of it.
pub(crate) struct Said {
    /// The key as transactions write it.
    key: Vec<u8>,
    more: Option<Record>,
}

impl Said {
    pub(crate) fn of(key: &RecordKey) -> Self {
        let mut bytes = Vec::new();
        key.write_state(&mut bytes);
        Self { key: bytes, more: None }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Adds what one more says, if anything.
    pub(crate) fn merge(&mut self, transaction: &Transaction) -> Result<(), StoreError> {
        let is_it = |it: &ScribeRef<'_>| it.key_bytes() == self.key;
        let of_key = each(transaction).find(|it| it.as_ref().map_or(true, is_it));
        let Some(scribe) = of_key else { return Ok(()) };
        let more = to_record(scribe?, transaction)?;
        match &mut self.more {
            Some(known) => known.merge(&more),
            None => self.more = Some(more),
        }
        Ok(())
    }

    /// All of it, over what is known of the record otherwise.
    pub(crate) fn over(self, mut known: Option<Arc<Record>>) -> Option<Arc<Record>> {
        let Some(more) = self.more else { return known };
        match &mut known {
            Some(known) => Arc::make_mut(known).merge(&more),
            None => known = Some(Arc::new(more)),
        }
        known
    }
}

/// About the bytes that a scribe takes beside what it says: its place, and mostly a transaction.
pub(crate) const SCRIBE_BYTES: usize = 128;

/// Transactions for which memory is kept when all are played.
const KEPT: usize = 1024;

/// The scribes of transactions as records, those of one key merged, and only those of one hash where it says so.
pub(crate) fn merged<'a>(
    transactions: &'a [Transaction],
    only: Option<u32>,
) -> Result<Vec<(KeyRef<'a>, Record)>, StoreError> {
    let mut scribes = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        for scribe in each(transaction) {
            let scribe = scribe?;
            let hash = hash(scribe.key_bytes());
            if only.is_none_or(|only| only == hash) {
                scribes.push((hash, scribe, transaction));
            }
        }
    }
    // Records of one hash are next to one another, and nearly always one.
    scribes.sort_by_key(|(hash, ..)| *hash);
    let mut records: Vec<(KeyRef<'a>, Record)> = Vec::with_capacity(scribes.len());
    for alike in scribes.chunk_by(|(one, ..), (other, ..)| one == other) {
        let first = records.len();
        for (_, scribe, transaction) in alike {
            let (key, record) = (scribe.key_ref(), to_record(*scribe, transaction)?);
            match records[first..].iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => known.merge(&record),
                None => records.push((key, record)),
            }
        }
    }
    Ok(records)
}

/// The hashes of a transaction's records.
pub(crate) fn hashes(transaction: &Transaction) -> impl Iterator<Item = Result<u32, StoreError>> {
    transaction.keys().map(|key| key.map(hash).map_err(|_| unreadable(transaction)))
}

fn each(transaction: &Transaction) -> impl Iterator<Item = Result<ScribeRef<'_>, StoreError>> {
    transaction.each().map(|scribe| scribe.map_err(|_| unreadable(transaction)))
}

fn to_record(scribe: ScribeRef<'_>, transaction: &Transaction) -> Result<Record, StoreError> {
    scribe.to_record().map_err(|_| unreadable(transaction))
}

/// What is checked before it is taken can be read.
fn unreadable(transaction: &Transaction) -> StoreError {
    StoreError::Corrupt { what: format!("the transaction of {:?}", transaction.stamp()) }
}

#[cfg(test)]
mod tests;
