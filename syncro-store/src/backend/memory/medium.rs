//! The bytes of a disk in memory, and how to take back what was not made durable.

use std::ops::Bound;

use bytes::Bytes;
use syncro_core::StoreError;

use super::Fault;
use crate::backend::{Batch, Durability, Table};
use crate::rows::{Hashed, Rows};

/// The bytes of a disk.
///
/// What is durable is not kept apart but got by undoing, last first, what came after, and doing again what of it is
/// durable: writes that nothing buffered is before, the usual ones, then cost nothing extra.
#[derive(Debug, Default)]
pub(super) struct Medium {
    pub(super) tables: Tables,
    /// The batches since the first that is not durable.
    later: Vec<Later>,
    pub(super) is_open: bool,
    pub(super) plan: Option<Plan>,
    /// The largest batch that fits, in bytes, if there is a limit.
    pub(super) room: Option<u64>,
}

/// A batch after which a crash finds something else than what is there.
#[derive(Clone, Debug)]
struct Later {
    batch: Batch,
    /// What takes it back.
    inverse: Batch,
    is_buffered: bool,
}

impl Medium {
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        match self.next_fault() {
            None if self.room.is_some_and(|room| batch.bytes() as u64 > room) => {
                Err(StoreError::Full)
            }
            None => {
                self.keep(batch, durability);
                Ok(())
            }
            Some(Fault::Once(error) | Fault::Forever(error)) => Err(error),
            Some(Fault::Landed(error)) => {
                self.keep(batch, durability);
                Err(error)
            }
        }
    }

    fn next_fault(&mut self) -> Option<Fault> {
        let plan = self.plan.as_mut()?;
        if plan.writes_before > 0 {
            plan.writes_before -= 1;
            return None;
        }
        let fault = plan.fault.clone();
        if !matches!(fault, Fault::Forever(_)) {
            self.plan = None;
        }
        Some(fault)
    }

    fn keep(&mut self, batch: &Batch, durability: Durability) {
        let is_buffered = durability == Durability::Buffered;
        if durability == Durability::Durable || !is_buffered && self.later.is_empty() {
            self.tables.apply(batch);
            self.later.clear();
        } else {
            let inverse = self.tables.apply_with_inverse(batch);
            self.later.push(Later { batch: batch.clone(), inverse, is_buffered });
        }
    }

    /// How many batches are buffered.
    pub(super) fn buffered(&self) -> usize {
        self.later.iter().filter(|later| later.is_buffered).count()
    }

    /// Takes back what is buffered, but the first so many batches.
    pub(super) fn crash(&mut self, mut kept: usize) {
        let later = std::mem::take(&mut self.later);
        later.iter().rev().for_each(|later| self.tables.apply(&later.inverse));
        for Later { batch, is_buffered, .. } in &later {
            if !is_buffered || kept > 0 {
                self.tables.apply(batch);
                kept -= usize::from(*is_buffered);
            }
        }
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            tables: self.tables.clone(),
            later: self.later.clone(),
            is_open: false,
            plan: None,
            room: None,
        }
    }
}

/// Which write fails, and how.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) writes_before: u64,
    pub(super) fault: Fault,
}

/// All rows; those that are gone, too, until there are more of them than of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    rows: Rows<Bytes>,
    gone: usize,
    here: usize,
}

impl Tables {
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&Bytes> {
        self.rows.get(table, Hashed::new(key))?.as_ref()
    }

    /// The rows of a table from a key on.
    pub(super) fn from(
        &self,
        table: Table,
        start: &[u8],
    ) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let rows = self.rows.from(table, Bound::Included(start));
        rows.filter_map(|(key, value)| Some((key, value.as_ref()?)))
    }

    /// The last row of a table whose key is not after `at`.
    pub(super) fn floor(&self, table: Table, at: &[u8]) -> Option<(&Bytes, &Bytes)> {
        let up_to = self.rows.up_to(table, at).rev();
        up_to.filter_map(|(key, value)| Some((key, value.as_ref()?))).next()
    }

    fn apply(&mut self, batch: &Batch) {
        for (table, key, value) in batch.iter() {
            self.change(table, key, value);
        }
        self.forget_gone();
    }

    fn apply_with_inverse(&mut self, batch: &Batch) -> Batch {
        let mut inverse = Batch::new();
        for (table, key, value) in batch.iter() {
            match self.change(table, key, value) {
                Some(old) => inverse.put(table, key.clone(), old),
                None => inverse.delete(table, key.clone()),
            }
        }
        self.forget_gone();
        inverse
    }

    fn change(&mut self, table: Table, key: &Bytes, value: Option<&Bytes>) -> Option<Bytes> {
        let old = self.rows.insert(table, key.clone(), value.cloned());
        match &old {
            Some(Some(_)) => self.here -= 1,
            Some(None) => self.gone -= 1,
            None => {}
        }
        *(if value.is_some() { &mut self.here } else { &mut self.gone }) += 1;
        old.flatten()
    }

    fn forget_gone(&mut self) {
        if self.gone > GONE_MAX.max(self.here) {
            let mut rest = Rows::default();
            for (table, key, value) in self.rows.iter().filter(|(_, _, value)| value.is_some()) {
                rest.insert(table, key.clone(), value.clone());
            }
            (self.rows, self.gone) = (rest, 0);
        }
    }
}

/// Rows that are gone for which it is not worth to copy the others.
const GONE_MAX: usize = 1024;
