//! A medium that is full: nothing that was applied is lost, and writing goes on when there is room again.

use std::sync::atomic::Ordering;

use syncro_core::StoreError;

use crate::backend::{Backend, Batch, Durability};
use crate::state::Shared;

impl Shared {
    /// Writes a batch, if there is room for it and for what it takes to write it. If there is not, the store
    /// goes on with what it holds in memory, and the checkpoint under way begins anew.
    pub(crate) fn write_where_room(
        &self,
        backend: &dyn Backend,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let needed = (batch.bytes() as u64).saturating_mul(2).saturating_add(ROOM_TO_WRITE_BYTES);
        self.reopen_if_it_must(backend)?;
        // To find out by writing may cost an opening anew, which reads the whole medium.
        if backend.room().is_some_and(|room| room < needed) {
            return Err(StoreError::Full);
        }
        self.unlatch_if_full(backend, backend.write(batch, durability))
    }

    /// Opens a backend anew that found no room, for what comes when there is some.
    pub(crate) fn unlatch_if_full(
        &self,
        backend: &dyn Backend,
        written: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if matches!(written, Err(StoreError::Full)) {
            self.reopen(backend)?;
        }
        written
    }

    /// Opens a backend anew that found no room for that before.
    pub(crate) fn reopen_if_it_must(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        if self.must_reopen.load(Ordering::Relaxed) { self.reopen(backend) } else { Ok(()) }
    }

    /// Opens the backend anew. Where even that takes room that there is not, it has to be done later.
    fn reopen(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        self.must_reopen.store(true, Ordering::Relaxed);
        if let Some(checkpoint) = &mut self.write().checkpoint {
            checkpoint.restart();
        }
        backend.reopen()?;
        self.must_reopen.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the medium has so little room that only what frees some, or tells others, should be written.
    pub(crate) fn is_short_of_room(&self) -> bool {
        let (backend, unwritten) = {
            let state = self.read();
            (state.backend.clone(), state.log.bytes() + state.derived.bytes())
        };
        let room = backend.and_then(|backend| backend.room());
        let kept = (unwritten as u64).saturating_mul(2).saturating_add(ROOM_KEPT_BYTES);
        room.is_some_and(|room| room < kept)
    }
}

/// Room that a write leaves beside its own, which is counted twice: a database copies what it changes.
const ROOM_TO_WRITE_BYTES: u64 = 256 << 10;

/// Room that is kept for destroys and sync points, beside that for what is not written yet.
const ROOM_KEPT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
