//! What is done behind the log: packing it, and writing what follows from it.

use std::ops::Range;

use syncro_core::StoreError;
use syncro_store::Syncer;

use super::{Core, lock};
use crate::error::Error;

/// Bytes applied after which they are packed while more are written: so many that to wake a thread for them takes a
/// tenth of the time, and so few that whoever syncs has few left to pack.
const PACKED_AT_ONCE: usize = 32 << 10;

/// Whether there is enough to be packed now that the bytes that are not synced have grown.
pub(super) fn is_worth_packing(unsynced_bytes: Range<usize>) -> bool {
    unsynced_bytes.start / PACKED_AT_ONCE < unsynced_bytes.end / PACKED_AT_ONCE
}

impl Core {
    /// Writes a slice behind the log, if it is time to.
    pub(super) fn write_behind(&self) {
        let repairs = self.repairs();
        match self.syncer.write_behind() {
            Ok(true) => self.on_written_behind(),
            // A node that is closed has nothing to write.
            Ok(false) | Err(StoreError::Closed) => {}
            Err(StoreError::Full) => self.on_no_room(),
            Err(error) => self.fail_since(repairs, &error),
        }
    }

    /// Goes on with a checkpoint, or begins the next one where it has ended and as much is behind again.
    fn on_written_behind(&self) {
        if self.syncer.is_due_behind() {
            self.agenda.write_behind();
        } else if self.syncer.is_crowded() {
            // A failure has stopped the node; whoever calls next is told.
            let _ = self.begin_checkpoint();
        }
        self.synced.notify_waiters();
    }

    fn begin_checkpoint(&self) -> Result<(), Error> {
        let _turn = lock(&self.turn);
        if self.syncer.is_writing_behind() { Ok(()) } else { self.sync_in_turn(Syncer::sync) }
    }

    /// Slows down whoever applies more than the background thread writes behind.
    pub(super) fn make_room(&self, bytes: usize) -> Result<(), Error> {
        if self.syncer.is_crowded() && !self.syncer.is_writing_behind() {
            return self.begin_checkpoint();
        }
        let repairs = self.repairs();
        match self.syncer.make_room(bytes) {
            Ok(true) => {
                self.on_written_behind();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(StoreError::Full) => {
                self.on_no_room();
                Ok(())
            }
            Err(error) => {
                self.fail_since(repairs, &error);
                Err(error.into())
            }
        }
    }
}
