//! A connection between two nodes: a stream of bytes in each direction.

use bytes::Bytes;
use syncro_core::SessionId;

use super::stream::Stream;

#[derive(Debug)]
pub(crate) struct Link {
    /// The dialling side, and the other.
    pub(crate) ends: [End; 2],
    /// Whether what is sent gets lost.
    pub(crate) is_broken: bool,
    /// Every message that was sent, by sender, where somebody wants to look at them.
    pub(crate) tape: Option<Vec<(usize, Bytes)>>,
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) session: SessionId,
    /// Whether the node has the session.
    pub(crate) is_open: bool,
    /// Whether the transport takes nothing more.
    pub(crate) is_stalled: bool,
    /// Bytes sent since the transport last had room.
    pub(crate) queued: usize,
    /// What the other side sends.
    pub(crate) incoming: Stream,
}

impl End {
    pub(crate) fn new(node: usize, session: SessionId) -> Self {
        let incoming = Stream::new();
        Self { node, session, is_open: true, is_stalled: false, queued: 0, incoming }
    }
}

impl Link {
    pub(crate) fn new(ends: [End; 2]) -> Self {
        Self { ends, is_broken: false, tape: Some(Vec::new()) }
    }

    /// Returns whether the transport has room again.
    pub(crate) fn send(&mut self, side: usize, message: Bytes) -> bool {
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
    pub(crate) fn hang_up(&mut self, side: usize) {
        self.ends[side].is_open = false;
        if !self.is_broken {
            self.ends[1 - side].incoming.end();
        }
    }
}
