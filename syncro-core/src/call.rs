//! Calls, as the host sees them: what a peer asks, and what comes of what this node asks.

use std::fmt;
use std::sync::Arc;

use crate::engine::SessionId;
use crate::id::{Name, NodeId};
use crate::limits::REASON_CHARS_MAX;
use crate::principal::Principal;
use crate::value::Encoded;

/// A call's number, chosen by the host that makes it; never reused while the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A call of a peer, for the host to answer with [`Input::Reply`](crate::Input::Reply).
#[derive(Clone, Debug)]
pub struct Called {
    /// The session.
    pub session: SessionId,
    /// The peer.
    pub peer: NodeId,
    /// Who the host says the peer is, on a node that asks.
    pub principal: Option<Arc<Principal>>,
    /// The number of the call among those of the session.
    pub call: u64,
    /// What is called.
    pub name: Name,
    /// With what: at most 256 KiB.
    pub value: Encoded,
    /// After how many milliseconds the engine answers it, with [`CallFailure::EXPIRED`].
    pub within_ms: u64,
}

/// Why a call was not answered with a value: a number for programs, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct CallFailure {
    /// Below 100 one of the numbers here; from 100 on the application's own.
    pub code: u16,
    /// At most 256 characters are kept.
    pub message: String,
}

impl CallFailure {
    /// The peer has nobody who answers calls of this name.
    pub const NO_HANDLER: u16 = 1;
    /// Whoever was to answer failed over it. What was to be done may be done in part.
    pub const FAILED: u16 = 2;
    /// More is being asked than can be answered, at the peer or in the session: try again later. Nothing was done.
    pub const BUSY: u16 = 3;
    /// The answer did not come in time. What was asked may be done all the same.
    pub const EXPIRED: u16 = 4;
    /// What is asked, or answered, is longer than a call or a reply may be.
    pub const TOO_LARGE: u16 = 5;
    /// The session ended before the answer came. What was asked may be done all the same. Never on the wire.
    pub const CUT: u16 = 6;
    /// The peer's version knows no calls. Nothing was sent. Never on the wire.
    pub const UNKNOWN: u16 = 7;
    /// There is no session with the peer. Nothing was sent. Never on the wire.
    pub const NOT_CONNECTED: u16 = 8;
    /// The first number that is the application's own.
    pub const APPLICATION: u16 = 100;

    /// A failure with a reason for people, of which 256 characters are kept.
    pub fn new(code: u16, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        match message.char_indices().nth(REASON_CHARS_MAX) {
            Some((end, _)) => Self { code, message: message[..end].to_owned() },
            None => Self { code, message },
        }
    }
}
