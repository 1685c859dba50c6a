//! The record that was read last.
//!
//! A write reads its record again and again: the draft shows it, the engine checks the change against it and merges
//! the change into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use syncro_core::{Record, RecordKey};

/// Bytes of memory of a record that is kept: larger ones would stay in memory for nothing.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A key, and the record that it has now, if any. To be read and set only by those who hold the lock of the state for
/// reading, and forgotten by whoever changes records, who holds it for writing.
#[derive(Debug, Default)]
pub(crate) struct LastRecord(Mutex<Known>);

type Known = Option<(RecordKey, Option<Arc<Record>>)>;

impl LastRecord {
    /// What is known of a key.
    pub(crate) fn get(&self, key: &RecordKey) -> Option<Option<Arc<Record>>> {
        let last = self.lock()?;
        let (_, record) = last.as_ref().filter(|(known, _)| known == key)?;
        Some(record.clone())
    }

    pub(crate) fn set(&self, key: &RecordKey, record: &Option<Arc<Record>>) {
        let Some(mut last) = self.lock() else { return };
        let is_small = record.as_ref().is_none_or(|record| record.held_bytes() <= KEPT_BYTES_MAX);
        *last = is_small.then(|| (key.clone(), record.clone()));
    }

    pub(crate) fn forget(&mut self) {
        // It is whole between any two operations.
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Nothing where somebody else looks or sets: readers do not wait for one another.
    fn lock(&self) -> Option<MutexGuard<'_, Known>> {
        match self.0.try_lock() {
            Ok(last) => Some(last),
            // It is whole between any two operations.
            Err(TryLockError::Poisoned(last)) => Some(last.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
