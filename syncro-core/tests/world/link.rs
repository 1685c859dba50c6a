//! A connection between two nodes: two queues of whole messages.
//!
//! A cut in the middle of a message is a cut before it: framing is below.

use std::collections::VecDeque;

use bytes::Bytes;
use syncro_core::SessionId;

/// What is under way.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Message(Bytes),
    /// The other side has closed.
    End,
}

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
    pub(crate) inbox: VecDeque<Piece>,
}

impl End {
    pub(crate) fn new(node: usize, session: SessionId) -> Self {
        let inbox = VecDeque::new();
        Self { node, session, is_open: true, is_stalled: false, queued: 0, inbox }
    }
}

impl Link {
    pub(crate) fn new(ends: [End; 2]) -> Self {
        Self { ends, is_broken: false, tape: Some(Vec::new()) }
    }

    /// Returns whether the transport has room again.
    pub(crate) fn send(&mut self, side: usize, frame: Bytes) -> bool {
        if let Some(tape) = &mut self.tape {
            tape.push((side, frame.clone()));
        }
        let end = &mut self.ends[side];
        if end.is_stalled {
            end.queued += frame.len();
        }
        let took = !end.is_stalled;
        if !self.is_broken {
            self.ends[1 - side].inbox.push_back(Piece::Message(frame));
        }
        took
    }

    /// One side ends the connection, after what it has sent.
    pub(crate) fn hang_up(&mut self, side: usize) {
        self.ends[side].is_open = false;
        if !self.is_broken {
            self.ends[1 - side].inbox.push_back(Piece::End);
        }
    }
}
