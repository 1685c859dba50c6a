//! Calls that the host makes, and answers.

use super::{Effects, Engine, Event, SessionId};
use crate::call::{CallFailure, CallId};
use crate::id::{Name, NodeId};
use crate::session::cut;
use crate::stamp::Now;
use crate::store::View;
use crate::value::Encoded;

impl Effects {
    /// Tells the host what has come of its call.
    pub(crate) fn replied(
        &mut self,
        session: SessionId,
        call: CallId,
        answer: Result<Encoded, CallFailure>,
    ) {
        self.events.push(Event::Replied { session, call, answer });
    }
}

impl Engine {
    /// The newest open session with a peer. It looks at every session.
    pub fn session_with(&self, peer: NodeId) -> Option<SessionId> {
        let mut sessions = self.sessions.iter().rev();
        sessions.find(|(_, session)| session.peer() == Some(peer)).map(|(id, _)| *id)
    }

    pub(super) fn on_call(
        &mut self,
        now: Now,
        id: SessionId,
        call: (CallId, Name, Encoded, u64),
        view: &impl View,
        effects: &mut Effects,
    ) {
        match self.sessions.get_mut(&id) {
            Some(session) => session.place(now, call, effects),
            // It may have ended while the host made up its mind.
            None => effects.replied(id, call.0, Err(cut())),
        }
        self.pump_one(now, id, view, effects);
    }

    pub(super) fn on_reply(
        &mut self,
        now: Now,
        id: SessionId,
        call: u64,
        answer: Result<Encoded, CallFailure>,
        view: &impl View,
        effects: &mut Effects,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.answer(call, answer);
        }
        self.pump_one(now, id, view, effects);
    }
}
