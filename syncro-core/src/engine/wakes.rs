//! When the sessions want a tick.

use std::collections::{BTreeMap, BTreeSet};

use super::SessionId;

/// The sessions in the order in which they want a tick, so that neither an input nor a tick has to ask
/// all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes {
    order: BTreeSet<(u64, SessionId)>,
    times: BTreeMap<SessionId, u64>,
}

impl Wakes {
    /// Notes when a session wants a tick, if it does.
    pub(super) fn set(&mut self, session: SessionId, at_ms: Option<u64>) {
        let Some(at_ms) = at_ms else { return self.remove(session) };
        match self.times.insert(session, at_ms) {
            Some(before) if before == at_ms => return,
            Some(before) => self.order.remove(&(before, session)),
            None => false,
        };
        self.order.insert((at_ms, session));
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(at_ms) = self.times.remove(&session) {
            self.order.remove(&(at_ms, session));
        }
    }

    /// When the first tick is wanted.
    pub(super) fn first(&self) -> Option<u64> {
        self.order.first().map(|(at_ms, _)| *at_ms)
    }

    /// The sessions that want a tick by now.
    pub(super) fn due(&self, now_ms: u64) -> Vec<SessionId> {
        let due = self.order.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, session)| *session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_waits_for_the_time_that_it_named_last() {
        let mut wakes = Wakes::default();
        let [a, b] = [1, 2].map(SessionId);
        wakes.set(a, Some(10));
        wakes.set(b, Some(20));
        assert_eq!((wakes.first(), wakes.due(10)), (Some(10), vec![a]));
        wakes.set(a, Some(30));
        wakes.set(b, Some(20));
        assert_eq!((wakes.first(), wakes.due(19)), (Some(20), vec![]));
        assert_eq!(wakes.due(30), [b, a]);
        wakes.remove(b);
        wakes.remove(b);
        assert_eq!((wakes.first(), wakes.due(30)), (Some(30), vec![a]));
        wakes.remove(a);
        assert_eq!(wakes.first(), None);
    }
}
