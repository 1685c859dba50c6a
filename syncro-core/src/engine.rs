//! The engine: one door in, one value out.

mod appraise;
mod bundle;
mod calls;
mod followed;
mod index;
mod input;
mod intake;
mod judge;
mod output;
mod own;
mod propose;
mod quarantine;
mod repair;
mod rows;
mod signals;
mod tail;
mod usage;
mod view;
mod wakes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::Channel;
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::error::{Error, UsageError};
use crate::id::NodeId;
use crate::limits::{CREDENTIALS_BYTES_MAX, SESSIONS_MAX};
use crate::principal::Principal;
use crate::proposal::Proposal;
use crate::session::{Fault, Session};
use crate::stamp::{Epoch, Now};
use crate::store::{PeerRow, View};

pub use bundle::Export;
pub(crate) use followed::{Followed, Following, Place, Subscription};
pub use followed::{VIEW_LOST_ROW, VIEW_ROW};
pub use index::INDEX_ROW;
pub(crate) use index::{Index, key_bytes};
pub use input::{Config, Input, Role, SessionId};
pub(crate) use intake::{Intake, Taken};
pub(crate) use judge::Bearer;
pub use output::{Changed, Effects, Event, SessionStatus};
pub(crate) use own::Own;
pub(crate) use rows::Rows;
pub(crate) use tail::Tail;
pub use usage::Usage;
pub(crate) use view::{Showing, view_events};
use wakes::Wakes;

/// The sans-IO state machine of one node.
///
/// It calls no store, clock, socket, thread or source of randomness. Each call takes the time, one
/// [`Input`] and a [`View`] of the store as the last [`Commit`](crate::Commit) left it, and returns the [`Effects`].
///
/// The driver may handle and apply many inputs before it syncs the store once; then it says so by
/// [`Input::Synced`], upon which the engine acknowledges what peers sent.
///
/// It can be cloned for simulations: two clones that both write are one author twice, as the halves of a
/// copied machine are.
#[derive(Clone, Debug)]
pub struct Engine {
    own: Own,
    sessions: BTreeMap<SessionId, Session>,
    /// When each of the sessions wants a tick.
    wakes: Wakes,
}

impl Engine {
    /// Begins a new epoch of a node over its store.
    ///
    /// The effects carry the commit of the epoch, to be applied *and synced* before the first write.
    ///
    /// # Errors
    ///
    /// [`UsageError::WrongNode`] when the store belongs to a node other than the configured one;
    /// [`UsageError::ViewLimits`] for a view with permissions;
    /// [`StoreError`](crate::StoreError) when it cannot be read.
    pub fn open(now: Now, config: Config, view: &impl View) -> Result<(Self, Effects), Error> {
        let (own, commit) = Own::open(now, config, view)?;
        let effects = Effects { commit: Some(commit), ..Effects::default() };
        Ok((Self { own, sessions: BTreeMap::new(), wakes: Wakes::default() }, effects))
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.own.author().node
    }

    /// The node's present epoch.
    pub fn epoch(&self) -> Epoch {
        self.own.author().epoch
    }

    /// The end of the node's log.
    pub fn end(&self) -> Point {
        self.own.end()
    }

    /// The open sessions, in order of their numbers.
    pub fn sessions(&self) -> impl Iterator<Item = SessionStatus> {
        self.sessions.values().filter_map(|session| session.status(&self.own))
    }

    /// The sessions with a peer, those in which its bundles are taken in among them.
    pub fn sessions_with(&self, peer: NodeId) -> impl Iterator<Item = SessionId> {
        let with = self.sessions.iter().filter(move |(_, session)| session.peer() == Some(peer));
        with.map(|(id, _)| *id)
    }

    /// The channels that a view follows.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Channel> {
        self.own.subscriptions().map(|subscription| &subscription.channel)
    }

    /// Says whether anybody is to be told of changes, which holds until it is said otherwise; at first it does. If nobody
    /// is, there is no [`Event::Changed`] but of the engine's own models, and what peers have changed is
    /// [left to the store](crate::Commit::is_played) to be played: no record is read for it, but on an authority and in a view.
    pub fn set_watched(&mut self, is_watched: bool) {
        self.own.is_watched = is_watched;
    }

    /// Handles one input.
    ///
    /// # Errors
    ///
    /// An error means that nothing happened: [`Error::Data`] for a proposal that cannot be recorded,
    /// [`Error::Usage`] for a wrong call, [`Error::Store`] when the view could not be read. A peer's
    /// offence is never an error; it closes the peer's session.
    pub fn handle(&mut self, now: Now, input: Input, view: &impl View) -> Result<Effects, Error> {
        let mut effects = Effects::default();
        match input {
            Input::Propose(proposal) => self.on_propose(now, proposal, view, &mut effects)?,
            Input::Open { session, role, credentials } => {
                self.on_open(now, session, role, credentials, &mut effects)?;
            }
            Input::Import { session } => self.on_import(now, session)?,
            Input::Receive { session, frame } => {
                self.on_receive(now, session, &frame, view, &mut effects)?;
            }
            Input::Room { session } => self.on_room(now, session, view, &mut effects),
            Input::Close { session, reason } => {
                self.on_close(now, session, reason, view, &mut effects);
            }
            Input::Lost { session } => self.on_lost(session, &mut effects),
            Input::Rights { session, principal } => {
                self.on_rights(now, session, principal, view, &mut effects);
            }
            Input::Call { session, call, name, value, within_ms } => {
                self.on_call(now, session, (call, name, value, within_ms), view, &mut effects);
            }
            Input::Reply { session, call, answer } => {
                self.on_reply(now, session, call, answer, view, &mut effects);
            }
            Input::Signal { topic, value } => self.on_say(now, topic, value, &mut effects)?,
            Input::Topics { topics } => self.on_watch(topics)?,
            Input::Retry { parked } => self.on_retry(now, parked, view, &mut effects)?,
            Input::Discard { parked, reason } => {
                self.on_discard(now, parked, reason, view, &mut effects)?;
            }
            Input::Subscribe { channel } => self.on_subscribe(now, channel, view, &mut effects)?,
            Input::Unsubscribe { channel } => {
                self.on_unsubscribe(now, channel, view, &mut effects)?;
            }
            Input::Synced { through } => self.on_synced(now, through, view, &mut effects),
            Input::Tick => self.on_tick(now, view, &mut effects)?,
        }
        self.follow_somebody(now, view, &mut effects);
        self.speak(&mut effects);
        effects.wake_at = self.wakes.first();
        if self.own.is_index_due() || self.wants_to_follow() {
            let soon = now.monotonic_ms + 1;
            effects.wake_at = Some(effects.wake_at.map_or(soon, |at| at.min(soon)));
        }
        Ok(effects)
    }

    fn on_propose(
        &mut self,
        now: Now,
        proposal: Proposal,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if self.own.propose(now, proposal, view, effects)? {
            self.pump(now, view, effects);
        }
        Ok(())
    }

    fn on_open(
        &mut self,
        now: Now,
        id: SessionId,
        role: Role,
        credentials: Bytes,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if self.sessions.contains_key(&id) {
            return Err(UsageError::SessionInUse.into());
        }
        if credentials.len() > CREDENTIALS_BYTES_MAX {
            return Err(UsageError::CredentialsTooLong { bytes: credentials.len() }.into());
        }
        let is_full = self.sessions.len() >= SESSIONS_MAX;
        if is_full && role != Role::Accept {
            return Err(UsageError::TooManySessions.into());
        }
        let mut session = Session::open(now, id, role, credentials, &mut self.own, effects);
        if is_full {
            // The caller cannot know. It is told, and nothing of it is kept.
            let reason = CloseReason::TooManySessions;
            session.bye(reason, "", effects);
            effects.close(id, None, reason, false, String::new());
            return Ok(());
        }
        self.wakes.set(id, session.wake_at());
        self.sessions.insert(id, session);
        Ok(())
    }

    fn on_receive(
        &mut self,
        now: Now,
        id: SessionId,
        frame: &Bytes,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        // A session that was closed may still have had messages under way.
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let end = self.own.end();
        match session.on_frame(now, frame, &mut self.own, view, effects) {
            Ok(()) => {}
            Err(Fault::Store(error)) => {
                // The peer was heard all the same.
                self.wakes.set(id, session.wake_at());
                return Err(error.into());
            }
            Err(Fault::Peer { reason, detail }) => {
                session.bye(reason, &detail, effects);
                self.remove(id, reason, false, detail, effects);
            }
            Err(Fault::Bye { reason, detail }) => self.remove(id, reason, true, detail, effects),
        }
        if self.own.end() != end {
            self.pump(now, view, effects);
        } else {
            self.pump_one(now, id, view, effects);
        }
        Ok(())
    }

    fn on_room(&mut self, now: Now, id: SessionId, view: &impl View, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.on_room(effects);
        self.own.signals.on_room(id);
        self.speak(effects);
        self.pump_one(now, id, view, effects);
    }

    fn on_close(
        &mut self,
        now: Now,
        id: SessionId,
        reason: CloseReason,
        view: &impl View,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.on_close(now, reason, &mut self.own, view, effects);
        self.remove(id, reason, false, String::new(), effects);
    }

    fn on_retry(
        &mut self,
        now: Now,
        parked: Digest,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.own.retry(now, parked, view, effects)?;
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_discard(
        &mut self,
        now: Now,
        parked: Digest,
        reason: String,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.own.discard(parked, reason, view, effects)?;
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_rights(
        &mut self,
        now: Now,
        id: SessionId,
        principal: Option<Arc<Principal>>,
        view: &impl View,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match principal {
            Some(principal) => {
                let node = self.own.author().node;
                self.own.signals.on_rights(id, &principal, node, effects);
                match session.on_rights(now, principal) {
                    None => self.pump_one(now, id, view, effects),
                    Some((reason, detail)) => {
                        session.bye(reason, detail, effects);
                        self.remove(id, reason, false, detail.to_owned(), effects);
                    }
                }
            }
            None => {
                let reason = CloseReason::Denied;
                session.bye(reason, "", effects);
                self.remove(id, reason, false, String::new(), effects);
            }
        }
    }

    fn on_lost(&mut self, id: SessionId, effects: &mut Effects) {
        self.remove(id, CloseReason::Lost, false, String::new(), effects);
    }

    fn on_synced(&mut self, now: Now, through: u64, view: &impl View, effects: &mut Effects) {
        let durable = self.own.durable_end();
        self.own.synced(through);
        // Views are told of what was touched once it is durable.
        let touched = self.own.take_touched();
        if !touched.is_empty() {
            self.sessions.values_mut().for_each(|session| session.on_touched(&touched));
        }
        // A verdict goes before the receipt for what it is about.
        if self.own.durable_end() != durable || !touched.is_empty() {
            self.pump(now, view, effects);
        }
        for (id, session) in &mut self.sessions {
            session.on_synced(through, effects);
            self.wakes.set(*id, session.wake_at());
        }
        if self.own.channels().is_some() {
            // What views wrote is covered now.
            self.pump(now, view, effects);
        }
    }

    fn on_subscribe(
        &mut self,
        now: Now,
        channel: Channel,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let hash = channel.hash();
        if !self.own.subscribe(channel, view, effects)? {
            return Ok(());
        }
        for session in self.sessions.values_mut() {
            session.on_subscription(hash, self.own.subscription(hash), effects);
        }
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_unsubscribe(
        &mut self,
        now: Now,
        channel: Channel,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let hash = channel.hash();
        if !self.own.unsubscribe(now, hash, view, effects)? {
            return Ok(());
        }
        for session in self.sessions.values_mut() {
            session.on_subscription(hash, None, effects);
        }
        self.pump(now, view, effects);
        Ok(())
    }

    /// Whether a view follows nobody, and there is somebody.
    fn wants_to_follow(&self) -> bool {
        self.own.is_view()
            && !self.sessions.values().any(Session::is_followed)
            && self.sessions.values().any(Session::can_be_followed)
    }

    /// Lets a view that follows nobody follow the first peer that it has dialled. A step that commits something else
    /// leaves it to the next one.
    fn follow_somebody(&mut self, now: Now, view: &impl View, effects: &mut Effects) {
        while effects.commit.is_none() && self.wants_to_follow() {
            let mut sessions = self.sessions.iter_mut();
            let Some((id, session)) = sessions.find(|(_, session)| session.can_be_followed())
            else {
                return;
            };
            let (id, followed) = (*id, session.follow(now, &mut self.own, view, effects));
            if let Err(error) = followed {
                session.bye(CloseReason::Store, "", effects);
                self.remove(id, CloseReason::Store, false, error.to_string(), effects);
            }
        }
    }

    fn on_tick(&mut self, now: Now, view: &impl View, effects: &mut Effects) -> Result<(), Error> {
        if self.own.is_index_due() {
            let step = self.own.step_of_index(view)?;
            // Whoever waits for what the step before has done: what this one does cannot be read yet.
            self.pump(now, view, effects);
            if effects.commit.is_none() {
                effects.commit = step.map(|intake| self.own.commit(intake, Vec::new()));
            }
        }
        for id in self.wakes.due(now.monotonic_ms) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if let Some(reason) = session.on_tick(now, effects) {
                session.bye(reason, "", effects);
                self.remove(id, reason, false, String::new(), effects);
            } else {
                self.pump_one(now, id, view, effects);
            }
        }
        Ok(())
    }

    /// Lets every session send what it can.
    fn pump(&mut self, now: Now, view: &impl View, effects: &mut Effects) {
        if self.sessions.is_empty() {
            return;
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.pump_one(now, id, view, effects);
        }
    }

    fn pump_one(&mut self, now: Now, id: SessionId, view: &impl View, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.is_outdated(&self.own) {
            let detail = "the templates of channels have changed: ask anew".to_owned();
            session.bye(CloseReason::Done, &detail, effects);
            self.remove(id, CloseReason::Done, false, detail, effects);
            return;
        }
        let pumped = session.pump(now, &mut self.own, view, effects);
        self.wakes.set(id, session.wake_at());
        if let Err(error) = pumped {
            // The engine has moved on already, so this cannot be an `Err`: the session bears it.
            let detail = error.to_string();
            session.bye(CloseReason::Store, "", effects);
            self.remove(id, CloseReason::Store, false, detail, effects);
        }
    }

    /// Writes what is known of a peer that has gone, with what else this step writes.
    fn commit_row(&mut self, peer: NodeId, row: PeerRow, effects: &mut Effects) {
        match &mut effects.commit {
            Some(commit) => commit.peers.push((peer, row)),
            None => {
                let nothing = self.own.intake();
                effects.commit = Some(self.own.commit(nothing, vec![(peer, row)]));
            }
        }
    }

    fn remove(
        &mut self,
        id: SessionId,
        reason: CloseReason,
        by_peer: bool,
        detail: String,
        effects: &mut Effects,
    ) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.wakes.remove(id);
        session.on_end(effects);
        let node = self.own.author().node;
        self.own.signals.close(id, node, effects);
        let peer = session.peer();
        match peer {
            Some(peer) => {
                if let Some(row) = self.own.part(peer) {
                    self.commit_row(peer, row, effects);
                }
            }
            None => self.own.note_answer(session.nonce()),
        }
        effects.close(id, peer, reason, by_peer, detail);
    }
}
