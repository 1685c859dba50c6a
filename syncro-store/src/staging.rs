//! Turning commits into rows.

use std::sync::RwLockWriteGuard;

use bytes::Bytes;
use syncro_core::{Author, Entry, Name, Record, RecordKey, StoreError};

use crate::backend::Table;
use crate::dictionary::{Dictionary, Word};
use crate::encoding::record::Numbers;
use crate::encoding::{key, record, seal};
use crate::state::{Shared, State};

/// Bytes of a record in one row: far below what a backend takes, and more than nearly all records have.
pub(crate) const PIECE_BYTES: usize = 4 << 20;

/// Rows to be put all at once. Until then nothing of them is seen, and a failure leaves no trace.
///
/// It holds the lock of the state.
pub(crate) struct Staging<'a> {
    shared: &'a Shared,
    state: RwLockWriteGuard<'a, State>,
    /// In the order in which they are to be put.
    rows: Vec<(Table, Bytes, Option<Bytes>)>,
    next_name: u32,
    next_author: u32,
    has_pieces: bool,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        let state = shared.write();
        let State { next_name, next_author, has_pieces, .. } = *state;
        Self { shared, state, rows: Vec::new(), next_name, next_author, has_pieces }
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, content: &[u8]) {
        let sealed = seal(table, &key, content);
        self.rows.push((table, key.into(), Some(sealed)));
    }

    /// Notes where a transaction is.
    pub(crate) fn transaction(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let stamp = entry.transaction.stamp();
        let author = self.author(stamp.author)?;
        let key = key::transaction(author, stamp.time, entry.transaction.content_hash());
        self.put(Table::Stamps, key, &entry.offset.to_be_bytes());
        Ok(())
    }

    pub(crate) fn record(&mut self, key: &RecordKey, record: &Record) -> Result<(), StoreError> {
        let content = record::write(record, self)?;
        let key = key::record(key);
        if self.has_pieces {
            let (first, end) = (key::piece(&key, 0), key::piece(&key, u32::MAX));
            for (old, _) in
                self.state.now()?.scan(Table::Records, &first, Some(&end), usize::MAX)?
            {
                self.rows.push((Table::Records, old, None));
            }
        }
        let mut pieces = content.chunks(PIECE_BYTES);
        let first = pieces.next().unwrap_or_default();
        for (number, piece) in (1..).zip(pieces) {
            self.has_pieces = true;
            self.put(Table::Records, key::piece(&key, number), piece);
        }
        self.put(Table::Records, key, first);
        Ok(())
    }

    /// Appends to the log and puts the rows.
    pub(crate) fn publish(mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let remembering = self.shared.remembering();
        if !remembering.is_empty() {
            let now = self.state.now()?;
            let before = self
                .rows
                .iter()
                .map(|(table, key, _)| Ok((*table, key.clone(), now.sealed(*table, key)?)));
            let before: Vec<_> = before.collect::<Result<_, StoreError>>()?;
            remembering.iter().for_each(|past| past.keep(&before));
        }
        // From here on nothing fails.
        for entry in entries {
            self.state.append(entry);
        }
        for (table, key, value) in self.rows {
            self.state.debt_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            self.state.put(table, key, value);
        }
        self.state.next_name = self.next_name;
        self.state.next_author = self.next_author;
        self.state.has_pieces = self.has_pieces;
        Ok(())
    }

    fn number<W: Word>(
        &mut self,
        dictionary: &Dictionary<W>,
        word: &W,
        next: impl FnOnce(&mut Self) -> &mut u32,
    ) -> Result<u32, StoreError> {
        if let Some(number) = dictionary.number(word, &self.state.now()?)? {
            return Ok(number);
        }
        let next = next(self);
        let number = *next;
        *next += 1;
        for (key, row) in dictionary.assign(word, number) {
            self.put(Table::Names, key, &row);
        }
        Ok(number)
    }
}

impl Numbers for Staging<'_> {
    fn name(&mut self, name: &Name) -> Result<u32, StoreError> {
        let shared = self.shared;
        self.number(&shared.names, name, |staging| &mut staging.next_name)
    }

    fn author(&mut self, author: Author) -> Result<u32, StoreError> {
        let shared = self.shared;
        self.number(&shared.authors, &author, |staging| &mut staging.next_author)
    }
}
