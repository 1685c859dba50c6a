//! A connection between two nodes: a stream of bytes in each direction.

use bytes::Bytes;
use rustc_hash::FxHashSet;
use syncro_core::SessionId;

use super::stream::Stream;

#[derive(Debug)]
pub struct Link {
    /// The dialling side, and the other.
    pub ends: [End; 2],
    /// Whether what is sent gets lost.
    pub is_broken: bool,
    /// Every message that was sent, by sender, where somebody wants to look at them.
    pub tape: Option<Vec<(usize, Bytes)>>,
}

#[derive(Debug)]
pub struct End {
    pub node: usize,
    pub session: SessionId,
    /// Whether the node has the session.
    pub is_open: bool,
    /// Whether the transport takes nothing more.
    pub is_stalled: bool,
    /// Whether nothing gets through to this side, without anybody's noticing.
    pub is_blocked: bool,
    /// When a message last arrived here, or the session began.
    pub(crate) heard_ms: u64,
    /// Bytes sent since the transport last had room.
    pub queued: usize,
    /// Up to where the other side is known to hold the node's log durably.
    pub(crate) receipt: u64,
    /// Where the log of the other side ended when it was let in here.
    pub(crate) peer_end: u64,
    /// Transactions that came to the node in this session, while anybody asks.
    pub(crate) came: Option<FxHashSet<String>>,
    /// What the other side sends.
    pub incoming: Stream,
}

impl End {
    pub fn new(node: usize, session: SessionId) -> Self {
        let incoming = Stream::new();
        Self {
            node,
            session,
            is_open: true,
            is_stalled: false,
            is_blocked: false,
            heard_ms: 0,
            queued: 0,
            receipt: 0,
            peer_end: 0,
            came: None,
            incoming,
        }
    }
}

impl Link {
    pub fn new(ends: [End; 2]) -> Self {
        Self { ends, is_broken: false, tape: Some(Vec::new()) }
    }

    /// Both sides begin to listen.
    pub(crate) fn note_heard(&mut self, now_ms: u64) {
        self.ends.iter_mut().for_each(|end| end.heard_ms = now_ms);
    }

    /// The messages that were sent so far, by sender, where they are kept.
    pub fn said(&self) -> &[(usize, Bytes)] {
        self.tape.as_deref().unwrap_or_default()
    }

    /// Whether nothing gets through, in one direction at least.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_broken || self.ends.iter().any(|end| end.is_blocked)
    }

    /// Whether nothing is under way that can get through.
    pub(crate) fn is_idle(&self) -> bool {
        self.ends.iter().all(|end| end.is_blocked || end.incoming.is_idle())
    }

    /// How many bytes are under way to each side; an end counts as one.
    pub(crate) fn under_way(&self) -> [usize; 2] {
        [0, 1].map(|side| {
            let incoming = &self.ends[side].incoming;
            incoming.bytes_under_way() + usize::from(!incoming.is_idle())
        })
    }

    /// Returns whether the transport has room again.
    pub fn send(&mut self, side: usize, message: Bytes) -> bool {
        let end = &mut self.ends[side];
        if end.is_stalled {
            end.queued += message.len();
        }
        let took = !end.is_stalled;
        if !self.is_broken {
            self.ends[1 - side].incoming.write(&message);
        }
        if let Some(tape) = &mut self.tape {
            tape.push((side, message));
        }
        took
    }

    /// One side ends the connection, after what it has sent.
    pub fn hang_up(&mut self, side: usize) {
        self.ends[side].is_open = false;
        if !self.is_broken {
            self.ends[1 - side].incoming.end();
        }
    }
}
