//! A disk that is full: reads, sending and destroys go on, and everything else when there is room again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use syncro_core::{Proposal, StoreError};
use syncro_store::Syncer;

use super::{Core, lock};
use crate::error::Error;
use crate::notices::Notice;

/// How long after there was no room it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn is_short_of_room(&self) -> bool {
        self.is_short_of_room.load(Ordering::Relaxed)
    }

    /// Refuses what is new where there is next to no room: what there is left is for destroys.
    pub(super) fn check_room(&self, proposal: &Proposal) -> Result<(), Error> {
        if !self.is_short_of_room() {
            return Ok(());
        }
        self.sync_what_is_applied()?;
        if self.is_short_of_room() && !proposal.has_only_destroys() {
            return Err(StoreError::Full.into());
        }
        Ok(())
    }

    /// Makes everything durable that is applied. Where there was next to no room, looks for some, and lets
    /// what is behind be written, so that it is known how much is left.
    pub(super) fn sync_what_is_applied(&self) -> Result<(), Error> {
        let applied = self.state().applied;
        self.make_durable(applied)?;
        if !self.is_short_of_room() {
            return Ok(());
        }
        self.look_at_room();
        if !self.is_short_of_room() {
            return Ok(());
        }
        if self.syncer.is_behind() && !self.syncer.is_writing_behind() {
            let _turn = lock(&self.turn);
            self.sync_in_turn(Syncer::begin_checkpoint)?;
        } else {
            self.agenda.write_behind();
        }
        Ok(())
    }

    pub(super) fn look_at_room(&self) {
        if self.syncer.is_short_of_room() { self.on_no_room() } else { self.on_room() }
    }

    /// From now on peers are not told that what they sent is durable, so that they send no more than they were
    /// allowed to.
    pub(super) fn on_no_room(&self) {
        if !self.is_short_of_room.swap(true, Ordering::Relaxed) {
            self.board.post(Notice::StoreFull);
        }
        // What a session waits for may not come now, and it has to hear its peer.
        self.synced.notify_waiters();
        self.agenda.sync_within(LOOK_AGAIN);
    }

    fn on_room(&self) {
        if self.is_short_of_room.swap(false, Ordering::Relaxed) {
            self.board.post(Notice::StoreHasRoom);
            let through = lock(&self.durable).through;
            self.tell_synced(&mut self.state(), through);
            self.agenda.write_behind();
        }
    }
}
