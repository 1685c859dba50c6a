//! Bundles: taken from the log page by page, and taken in message by message, so that the node goes on meanwhile.

use bytes::Bytes;
use syncro_core::{
    CloseReason, Error as CoreError, Event, Export, Input, Name, NodeId, Point, Role, SessionId,
    StoreError, UsageError,
};

use super::{Core, State, UNSYNCED_BYTES_MAX, lock};
use crate::bundle::BundleError;
use crate::error::Error;

/// How the session of an import has ended.
#[derive(Clone, Debug)]
pub(crate) enum ImportEnd {
    /// The bundle is over.
    Done { peer: NodeId, name: Option<Name>, gap: Option<Point> },
    /// It was refused.
    Closed { reason: CloseReason, detail: String },
}

impl Core {
    /// Begins a bundle for a peer, when everything that is in it, and that it says, is durable.
    pub(crate) fn begin_export(&self, peer: NodeId) -> Result<Export, Error> {
        self.begin_bundle(|state, credentials| state.engine.export(peer, credentials, &state.store))
    }

    /// Begins a bundle that only says what is here of the peer's.
    pub(crate) fn begin_request(&self, peer: NodeId) -> Result<Export, Error> {
        self.begin_bundle(|state, credentials| {
            state.engine.request(peer, credentials, &state.store)
        })
    }

    fn begin_bundle(
        &self,
        begin: impl FnOnce(&State, Bytes) -> Result<Export, CoreError>,
    ) -> Result<Export, Error> {
        let credentials = lock(&self.credentials).clone();
        let (export, applied) = {
            let state = self.state();
            if let Some(stop) = &state.stopped {
                return Err(stop.clone().into());
            }
            (begin(&state, credentials)?, state.applied)
        };
        self.make_durable(applied)?;
        Ok(export)
    }

    /// The next frame of a bundle.
    pub(crate) fn next_exported(&self, export: &mut Export) -> Result<Option<Bytes>, Error> {
        let state = self.state();
        if let Some(stop) = &state.stopped {
            return Err(stop.clone().into());
        }
        export.next(&state.engine, &state.store).map_err(|error| match error {
            CoreError::Usage(UsageError::UnknownPoint { .. }) => BundleError::Repaired.into(),
            error => error.into(),
        })
    }

    /// Begins to take in a bundle.
    pub(crate) fn begin_import(&self) -> Result<SessionId, Error> {
        let mut state = self.state();
        state.next_session += 1;
        let session = SessionId(state.next_session);
        let credentials = Bytes::new();
        let _ = self.step(&mut state, Input::Open { session, role: Role::Import, credentials })?;
        state.imports.insert(session, None);
        Ok(session)
    }

    /// Takes the next frame of a bundle. Returns the scribes by which the log is longer now, and whether the session has
    /// ended. Waits when more is applied than the store keeps up with.
    pub(crate) fn import(
        &self,
        session: SessionId,
        frame: Bytes,
    ) -> Result<(u64, Option<ImportEnd>), Error> {
        if self.is_short_of_room() {
            self.sync_what_is_applied()?;
            if self.is_short_of_room() {
                return Err(StoreError::Full.into());
            }
        }
        let (commit, applied, is_long_unsynced, end) = {
            let mut state = self.state();
            let effects = self.step(&mut state, Input::Receive { session, frame })?;
            let end = state.imports.get(&session).cloned().ok_or(BundleError::Repaired)?;
            let is_long_unsynced = state.unsynced_bytes > UNSYNCED_BYTES_MAX;
            (effects.commit, state.applied, is_long_unsynced, end)
        };
        let entries = commit.iter().flat_map(|commit| &commit.entries);
        let scribes = entries.map(|entry| entry.transaction.len()).sum();
        if let Some(commit) = commit.filter(|_| self.syncer.is_crowded()) {
            self.make_room(commit.bytes())?;
        }
        if is_long_unsynced {
            self.make_durable(applied)?;
        }
        Ok((scribes, end))
    }

    /// Makes durable what has come.
    pub(crate) fn finish_import(&self) -> Result<(), Error> {
        let applied = self.state().applied;
        self.make_durable(applied)
    }

    /// Forgets the session of an import.
    pub(crate) fn end_import(&self, session: SessionId) {
        let mut state = self.state();
        state.imports.remove(&session);
        // A node that is closed or has failed has no sessions.
        let _ = self.step(&mut state, Input::Lost { session });
    }
}

impl State {
    /// Notes what an event says of an import, and whether it is about one.
    pub(super) fn note_import(&mut self, event: &Event) -> bool {
        let (session, end) = match event.clone() {
            Event::Imported { session, peer, name, gap, .. } => {
                (session, ImportEnd::Done { peer, name, gap })
            }
            Event::Closed { session, reason, detail, .. } => {
                (session, ImportEnd::Closed { reason, detail })
            }
            _ => return false,
        };
        match self.imports.get_mut(&session) {
            Some(import) => {
                import.get_or_insert(end);
                true
            }
            None => matches!(event, Event::Imported { .. }),
        }
    }
}
