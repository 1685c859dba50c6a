//! A medium that is full: nothing that was applied is lost, and writing goes on when there is room again.

use std::sync::atomic::Ordering;

use syncro_core::StoreError;

use crate::backend::{Backend, Batch, Durability};
use crate::state::Shared;

impl Shared {
    /// Runs what writes in a turn of its own. Where it finds no room the backend is opened anew for what comes when
    /// there is some, the store goes on with what it holds in memory, and the checkpoint under way begins anew.
    pub(crate) fn where_room<T>(
        &self,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.must_reopen.load(Ordering::Relaxed) {
            let _alone = self.turns.alone();
            self.reopen_if_it_must()?;
        }
        let reopened = self.reopened.load(Ordering::Relaxed);
        let written = write();
        if !matches!(written, Err(StoreError::Full | StoreError::Latched { .. })) {
            return written;
        }
        let _alone = self.turns.alone();
        self.reopen_if_it_must()?;
        // A write finds the backend latched where another one, at the same time, has found no room.
        let is_another = self.reopened.load(Ordering::Relaxed) != reopened;
        if is_another { Err(StoreError::Full) } else { written }
    }

    /// Writes a batch, if there is room for it and for what it takes to write it.
    pub(crate) fn write_if_room(
        &self,
        backend: &dyn Backend,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let needed = (batch.bytes() as u64).saturating_mul(2).saturating_add(ROOM_TO_WRITE_BYTES);
        // To find out by writing may cost an opening anew, which reads the whole medium.
        if backend.room().is_some_and(|room| room < needed) {
            return Err(StoreError::Full);
        }
        self.note_full(backend.write(batch, durability))
    }

    /// Notes that a backend has found no room: it refuses what comes until it is opened anew.
    pub(crate) fn note_full(&self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        if matches!(written, Err(StoreError::Full)) {
            self.must_reopen.store(true, Ordering::Relaxed);
        }
        written
    }

    /// Opens a backend anew that found no room, while nobody else writes. Where even that takes room that there is not,
    /// it has to be done later.
    fn reopen_if_it_must(&self) -> Result<(), StoreError> {
        if !self.must_reopen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let backend = {
            let mut state = self.write();
            if let Some(checkpoint) = &mut state.checkpoint {
                checkpoint.restart();
            }
            state.backend()?.clone()
        };
        backend.reopen()?;
        self.must_reopen.store(false, Ordering::Relaxed);
        self.reopened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the medium has so little room that only what frees some, or tells others, should be written.
    pub(crate) fn is_short_of_room(&self) -> bool {
        let (backend, unwritten) = {
            let state = self.read();
            (state.backend.clone(), state.unwritten_bytes())
        };
        let room = backend.and_then(|backend| backend.room());
        let kept = (unwritten as u64).saturating_mul(2).saturating_add(ROOM_KEPT_BYTES);
        room.is_some_and(|room| room < kept)
    }
}

/// Room that a write leaves beside its own, which is counted twice: a database copies what it changes.
pub(crate) const ROOM_TO_WRITE_BYTES: u64 = 256 << 10;

/// Room that is kept for destroys and sync points, beside that for what is not written yet.
const ROOM_KEPT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
