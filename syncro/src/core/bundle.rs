//! Bundles: taken from the log page by page, and taken in message by message, so that the node goes on meanwhile.

use bytes::Bytes;
use syncro_core::{
    CloseReason, Error as CoreError, Event, Export, Input, Name, NodeId, SessionId, StoreError,
    UsageError,
};

use super::{Core, DEFERRED_MAX, State, UNSYNCED_BYTES_MAX, lock, now};
use crate::bundle::BundleError;
use crate::error::Error;

/// What has come of a frame of a bundle.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// It is to be given once more.
    Again,
    /// The bundle is over.
    Done { peer: NodeId, name: Option<Name>, has_gap: bool },
    /// It was refused.
    Closed { reason: CloseReason, detail: String },
}

impl Core {
    /// Begins a bundle for a peer, when everything that is in it, and that it says, is durable.
    pub(crate) fn begin_export(&self, peer: NodeId) -> Result<Export, Error> {
        let now = now(self.started);
        self.begin_bundle(|state, credentials| {
            state.engine.export(now, peer, credentials, &state.store)
        })
    }

    /// Begins a bundle that only says what is here of the peer's.
    pub(crate) fn begin_request(&self, peer: NodeId) -> Result<Export, Error> {
        let now = now(self.started);
        self.begin_bundle(|state, credentials| {
            state.engine.request(now, peer, credentials, &state.store)
        })
    }

    fn begin_bundle(
        &self,
        begin: impl FnOnce(&State, Bytes) -> Result<Export, CoreError>,
    ) -> Result<Export, Error> {
        let credentials = lock(&self.credentials).clone();
        let (export, applied) = {
            let state = self.state();
            state.check_running()?;
            (begin(&state, credentials)?, state.applied)
        };
        self.make_durable(applied)?;
        Ok(export)
    }

    /// The next frame of a bundle.
    pub(crate) fn next_exported(&self, export: &mut Export) -> Result<Option<Bytes>, Error> {
        let state = self.state();
        state.check_running()?;
        export.next(now(self.started), &state.engine, &state.store).map_err(|error| match error {
            CoreError::Usage(UsageError::UnknownPoint { .. }) => BundleError::Repaired.into(),
            error => error.into(),
        })
    }

    /// Begins to take in a bundle.
    pub(crate) fn begin_import(&self) -> Result<SessionId, Error> {
        let mut state = self.state();
        state.next_session += 1;
        let session = SessionId(state.next_session);
        let _ = self.step(&mut state, Input::Import { session })?;
        state.imports.insert(session, None);
        Ok(session)
    }

    /// Takes the next frame of a bundle. Returns the scribes by which the log is longer now, and what else has come of it.
    /// Waits when more is applied than the store keeps up with.
    pub(crate) fn import(
        &self,
        session: SessionId,
        frame: Bytes,
    ) -> Result<(u64, Option<Step>), Error> {
        if self.is_short_of_room() {
            self.sync_what_is_applied()?;
            if self.is_short_of_room() {
                return Err(StoreError::Full.into());
            }
        }
        let (commit, applied, is_long_unsynced, step) = {
            let mut state = self.state();
            let effects = self.step(&mut state, Input::Receive { session, frame })?;
            let step = state.imports.get_mut(&session).ok_or(BundleError::Repaired)?.take();
            let is_long_unsynced = state.unsynced_bytes > UNSYNCED_BYTES_MAX;
            (effects.commit, state.applied, is_long_unsynced, step)
        };
        let Some(commit) = commit else { return Ok((0, step)) };
        let scribes = commit.entries.iter().map(|entry| entry.transaction.len()).sum();
        self.agenda.sync_within(DEFERRED_MAX);
        if self.syncer.is_crowded() {
            self.make_room(commit.bytes())?;
        }
        if is_long_unsynced {
            self.make_durable(applied)?;
        }
        Ok((scribes, step))
    }

    /// Makes durable what has come.
    pub(crate) fn finish_import(&self) -> Result<(), Error> {
        let applied = self.state().applied;
        self.make_durable(applied)
    }

    /// Ends an import. What is known of its maker is written with it.
    pub(crate) fn end_import(&self, session: SessionId) {
        let mut state = self.state();
        // A node that is closed or has failed has no sessions.
        let _ = self.step(&mut state, Input::Lost { session });
        state.imports.remove(&session);
    }
}

impl State {
    /// Notes what an event says of an import, and whether it is about one.
    pub(super) fn note_import(&mut self, event: &Event) -> bool {
        let (session, step) = match event {
            Event::Again { session } => (session, Step::Again),
            Event::Imported { session, peer, name, gap } => {
                let (peer, name, has_gap) = (*peer, name.clone(), gap.is_some());
                (session, Step::Done { peer, name, has_gap })
            }
            Event::Closed { session, reason, detail, .. } => {
                (session, Step::Closed { reason: *reason, detail: detail.clone() })
            }
            _ => return false,
        };
        match self.imports.get_mut(session) {
            Some(import) => {
                *import = Some(step);
                true
            }
            None => !matches!(event, Event::Closed { .. }),
        }
    }
}
