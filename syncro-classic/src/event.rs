//! What happens with classic peers that an operator may want to know.

use std::fmt;
use std::net::SocketAddr;

use syncro::Refusal;

use crate::class::Uid;
use crate::session::Offence;

/// One conversation of this process with a classic peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Something that an operator may want to know. `Display` says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session began.
    Opened {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
    },
    /// A session is over.
    Closed {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// What the peer did wrong, if that is why.
        offence: Option<Offence>,
    },
    /// A connection that came in was refused before its session began: its handshake failed, or it is of a web page
    /// whose origin is not on the list.
    Refused {
        /// The client who listens there.
        uid: Uid,
        /// Where it came from.
        from: SocketAddr,
        /// Why.
        error: String,
    },
    /// Everything that the peer had is here, and durable.
    Pulled {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// How many scribes it sent.
        scribes: usize,
    },
    /// A scribe of a peer was not played. One that was pulled counts as taken nevertheless.
    NotPlayed {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// The code of the `error`.
        code: u16,
        /// What was wrong.
        why: String,
    },
    /// A peer has written what its principal may not: it was not recorded, and is undone at the client.
    Undone {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// Why.
        refusal: Refusal,
    },
    /// A scribe does not fit the frames of a peer, and was passed over.
    TooLong {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// Its number in the list.
        scribe: u64,
        /// The bytes that it would have.
        bytes: usize,
    },
    /// A peer asked for what follows an id that this list has not issued, and is told the state instead, unless
    /// the settings say otherwise.
    UnknownFrom {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// The id.
        from: String,
    },
    /// The node no longer has what was pulled from a client, which is pulled again from an earlier point.
    PulledAgain {
        /// The client.
        uid: Uid,
        /// From after which id; `None` is all of it.
        from: Option<String>,
    },
    /// The node's log is another than the list was made from: a store was put back. Everything is told again.
    StoreChanged,
    /// A peer answered a pull with something else than a list, or said that something failed.
    PeerFailed {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// The code, if it was an `error`.
        code: Option<i64>,
    },
    /// A method that a peer called has failed.
    CallFailed {
        /// The session.
        session: SessionId,
        /// The client.
        uid: Uid,
        /// The class and the method, or as much as there is of them.
        method: String,
        /// The code of the `error`.
        code: u16,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { session, uid } => write!(f, "session {} of {uid} is open", session.0),
            Self::Closed { session, uid, offence: None } => {
                write!(f, "session {} of {uid} is over", session.0)
            }
            Self::Closed { session, uid, offence: Some(offence) } => {
                write!(f, "session {} of {uid} was ended: {offence}", session.0)
            }
            Self::Refused { uid, from, error } => {
                write!(f, "{from} was refused where {uid} connects: {error}")
            }
            Self::Pulled { uid, scribes, .. } => write!(f, "{uid} was pulled: {scribes} scribes"),
            Self::NotPlayed { uid, code, why, .. } => {
                write!(f, "a scribe of {uid} was not played: {why} ({code})")
            }
            Self::Undone { uid, refusal, .. } => {
                write!(f, "a change of {uid} was refused, and is undone there: {refusal}")
            }
            Self::TooLong { uid, scribe, bytes, .. } => write!(
                f,
                "{uid} is not told scribe {scribe}: it has {bytes} bytes, and a frame of 65535 at most"
            ),
            Self::UnknownFrom { uid, from, .. } => {
                write!(f, "{uid} asks for what follows {from:?}, which was never issued here")
            }
            Self::PulledAgain { uid, from: Some(from) } => {
                write!(f, "what {uid} sent after {from:?} is lost here, and is pulled again")
            }
            Self::PulledAgain { uid, from: None } => {
                write!(f, "what {uid} sent is lost here, and is pulled again")
            }
            Self::StoreChanged => f.write_str("the store was put back: everything is told again"),
            Self::PeerFailed { uid, code: Some(code), .. } => {
                write!(f, "{uid} says that something failed ({code})")
            }
            Self::PeerFailed { uid, code: None, .. } => {
                write!(f, "{uid} answered something that makes no sense")
            }
            Self::CallFailed { uid, method, code, why, .. } => {
                write!(f, "{uid} called {method} in vain: {why} ({code})")
            }
        }
    }
}
