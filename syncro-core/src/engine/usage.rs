//! What an engine keeps in memory.

use super::Engine;

/// What an engine keeps in memory, in numbers: for operators, and for tests of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions, those included whose peer has not said `hello` yet.
    pub sessions: usize,
    /// Peers whose row is in memory, since they have a session.
    pub peers: usize,
    /// Sessions that this node has called, and that are not answered.
    pub calls: usize,
    /// Calls that this node has made and peers have not answered: at most [`CALLS_MAX`](crate::limits::CALLS_MAX) for
    /// each session.
    pub calls_placed: usize,
    /// Calls of peers whose answers are not sent: as many.
    pub calls_taken: usize,
    /// Signals that are known: at most [`SIGNALS_MAX`](crate::limits::SIGNALS_MAX).
    pub signals: usize,
    /// Signals that peers are to be told of as soon as their transports have room: as many for each session.
    pub signals_due: usize,
    /// Bytes of the newest transactions, kept for sessions that follow live: at most
    /// [`TAIL_BYTES_MAX`](crate::limits::TAIL_BYTES_MAX), or those of the last step.
    pub tail_bytes: usize,
    /// Runs of peers' own transactions that are not to be sent back to them: at most
    /// [`ECHO_RUNS_MAX`](crate::limits::ECHO_RUNS_MAX) for each session.
    pub echoes: usize,
    /// Points that were sent and not acknowledged: at most
    /// [`UNACKNOWLEDGED_MAX`](crate::limits::UNACKNOWLEDGED_MAX) for each session.
    pub unacknowledged: usize,
    /// Points to be acknowledged once they are durable: one for each message received since the last sync.
    pub unsynced: usize,
}

impl Engine {
    /// What it keeps in memory. It looks at every session.
    pub fn usage(&self) -> Usage {
        let mut usage = self.own.usage();
        (usage.signals, usage.signals_due) = self.own.signals.count();
        usage.sessions = self.sessions.len();
        self.sessions.values().for_each(|session| session.count(&mut usage));
        usage
    }
}
