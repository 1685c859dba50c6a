//! The bytes of a disk in memory, and how to take back what was not made durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncro_core::StoreError;

use super::Fault;
use crate::backend::{Batch, Durability, Table};

/// The bytes of a disk.
///
/// What is durable is not kept apart but got by undoing, last first, what came after: durable
/// writes, the usual ones, then cost nothing extra.
#[derive(Debug, Default)]
pub(super) struct Medium {
    pub(super) tables: Tables,
    /// For each batch since the last durable write, the batch that takes it back.
    pub(super) undo: Vec<Batch>,
    pub(super) is_open: bool,
    pub(super) plan: Option<Plan>,
    /// The largest batch that fits, in bytes, if there is a limit.
    pub(super) room: Option<u64>,
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
        match durability {
            Durability::Buffered => self.undo.push(self.tables.apply_with_inverse(batch)),
            Durability::Durable => {
                self.tables.apply(batch);
                self.undo.clear();
            }
        }
    }

    pub(super) fn undo_last(&mut self) {
        if let Some(inverse) = self.undo.pop() {
            self.tables.apply(&inverse);
        }
    }

    /// Takes back what was not made durable.
    pub(super) fn lose_unsynced(&mut self) {
        while !self.undo.is_empty() {
            self.undo_last();
        }
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            tables: self.tables.clone(),
            undo: self.undo.clone(),
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

#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    rows: BTreeMap<Bytes, Bytes>,
    log: BTreeMap<Bytes, Bytes>,
    names: BTreeMap<Bytes, Bytes>,
    records: BTreeMap<Bytes, Bytes>,
    stamps: BTreeMap<Bytes, Bytes>,
}

impl Tables {
    pub(super) fn of(&self, table: Table) -> &BTreeMap<Bytes, Bytes> {
        match table {
            Table::Rows => &self.rows,
            Table::Log => &self.log,
            Table::Names => &self.names,
            Table::Records => &self.records,
            Table::Stamps => &self.stamps,
        }
    }

    fn of_mut(&mut self, table: Table) -> &mut BTreeMap<Bytes, Bytes> {
        match table {
            Table::Rows => &mut self.rows,
            Table::Log => &mut self.log,
            Table::Names => &mut self.names,
            Table::Records => &mut self.records,
            Table::Stamps => &mut self.stamps,
        }
    }

    fn apply(&mut self, batch: &Batch) {
        for (table, key, value) in batch.iter() {
            self.change(table, key, value);
        }
    }

    fn apply_with_inverse(&mut self, batch: &Batch) -> Batch {
        let mut inverse = Batch::new();
        for (table, key, value) in batch.iter() {
            match self.change(table, key, value) {
                Some(old) => inverse.put(table, key.clone(), old),
                None => inverse.delete(table, key.clone()),
            }
        }
        inverse
    }

    fn change(&mut self, table: Table, key: &Bytes, value: Option<&Bytes>) -> Option<Bytes> {
        let entries = self.of_mut(table);
        match value {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        }
    }
}
