//! Bugs planted on purpose in the store; see `syncro_core::planted`.

use syncro_core::planted::{Planted, is_planted};
use syncro_core::{Commit, Point, StoreError};

use crate::backend::{Backend, Batch, Durability, Table};
use crate::encoding::{self, key, row};
use crate::state::Shared;

/// A commit without its last record, or without any.
pub(crate) fn halved(commit: &Commit) -> Commit {
    let mut commit = commit.clone();
    if is_planted(Planted::HalfTransaction) {
        let scribes = commit.entries.iter().map(|entry| entry.transaction.len()).sum::<u64>();
        if !commit.is_played && scribes > 1 {
            commit.is_played = true;
        } else if commit.records.len() > 1 {
            commit.records.pop();
        }
    }
    commit
}

/// What a sync writes: with the mark of the checkpoint that begins, or after the points of peers.
pub(crate) fn batch(
    shared: &Shared,
    backend: &dyn Backend,
    mut batch: Batch,
    mark: Option<Point>,
) -> Batch {
    if let Some(mark) = mark
        && is_planted(Planted::MarkAhead)
    {
        encoding::put(&mut batch, Table::Rows, key::MARK, &row::write_mark(mark));
    }
    if is_planted(Planted::PointBeforeData) {
        let mut points = Batch::new();
        let is_peer = |table: Table, at: &[u8]| table == Table::Rows && at.starts_with(key::PEER);
        for (table, at, value) in batch.iter() {
            if let Some(value) = value
                && is_peer(table, at)
            {
                points.put(table, at.clone(), value.clone());
            }
        }
        // Where this fails, so does what follows.
        let _ = shared.write_if_room(backend, &points, Durability::Durable);
    }
    batch
}

/// What a flush that failed comes to.
pub(crate) fn written(
    backend: &dyn Backend,
    written: Result<(), StoreError>,
) -> Result<(), StoreError> {
    match written {
        Err(StoreError::Io(_)) if is_planted(Planted::FlushForgotten) => backend.reopen(),
        written => written,
    }
}
