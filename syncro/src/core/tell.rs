//! Who is told of what happens in the engine.

use std::time::{Duration, Instant};

use syncro_core::Event;

use super::{CaughtUp, Core, Outgoing, State, send};

/// How often a session that catches up says how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(100);

impl Core {
    pub(super) fn tell(&self, state: &mut State, event: &Event) {
        if state.note_import(event) {
            return;
        }
        match event {
            Event::Signal(signal) => return self.topics.on_signal(signal),
            Event::Called(called) => {
                return send(state, called.session, Outgoing::Called(called.clone()));
            }
            Event::Replied { call, answer, .. } => {
                return self.calls.on_replied(*call, answer.clone());
            }
            Event::Changed(changed) => return self.hub.push(changed),
            Event::Opened { session, .. } => send(state, *session, Outgoing::Opened),
            Event::CatchingUp { session, .. } => {
                let Some(line) = state.sessions.get_mut(session) else { return };
                if line.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
                    return;
                }
                line.told_at = Some(Instant::now());
            }
            Event::Receipt { peer, offset, .. } => self.receipts.note(*peer, *offset),
            Event::CaughtUp { peer, .. } => {
                let caught_up = CaughtUp { applied: state.applied, received: state.received };
                state.caught_up.insert(*peer, caught_up);
            }
            _ => {}
        }
        self.note_progress();
        self.board.post_event(event.clone());
    }

    pub(crate) fn note_progress(&self) {
        self.progress.send_modify(|count| *count += 1);
    }
}
