//! The messages of a session, as values. The encodings are in `message/wire.rs`.

mod wire;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::digest::Point;
use crate::id::{Name, NodeId};
use crate::scribe::{Scribe, Transaction};
use crate::stamp::{Author, Epoch, Time};

/// The version of the protocol that this library speaks.
pub const PROTOCOL_VERSION: u64 = 1;

/// How messages are written. Each tells by its first byte which it is; a node answers in the encoding in
/// which it was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// MessagePack: compact, and what digests are computed on.
    #[default]
    MessagePack,
    /// JSON of the same shape: for reading along.
    Json,
}

impl Encoding {
    /// Those that this library reads.
    pub(crate) const ALL: [Self; 2] = [Self::MessagePack, Self::Json];

    /// The name in a `hello`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MessagePack => "msgpack",
            Self::Json => "json",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    /// Asks for the whole log, offering the points that the asker holds of it, the greatest first.
    Sync {
        ladder: Vec<Point>,
    },
    Scribes(Scribes),
    /// Says that everything before `point` is durable here, and how many bytes of `scribes` messages may
    /// be sent in this session in all.
    Ack {
        point: Point,
        credit: u64,
    },
    Ping,
    Pong,
    Bye {
        reason: CloseReason,
        detail: String,
    },
}

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u64,
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) clock: Time,
    /// A number that no other session says, by which a node knows that it has called itself.
    pub(crate) nonce: u64,
    pub(crate) name: Option<Name>,
    /// Bytes of a frame that this side takes.
    pub(crate) frame: u64,
    /// Bytes of `scribes` messages that may be sent to this side before its first `ack`.
    pub(crate) window: u64,
    /// The encodings that this side reads; those that this version does not know are left out.
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) credentials: Bytes,
}

/// A piece of the sender's log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scribes {
    /// Where the piece begins: the point of the piece before, or at first a rung that was offered.
    pub(crate) from: Point,
    /// The sync point that it reaches.
    pub(crate) to: Point,
    /// Where the sender's log ends at present.
    pub(crate) end: u64,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A transaction, and what it changes, where that has been read.
    Transaction(Transaction, Vec<Scribe>),
    /// A transaction of which this version cannot read what it changes.
    Unread(Unread),
    /// The transactions that the receiver has in its own log at `offset`, `scribes` scribes of them: they
    /// came from there in this session, or the sender saw that both have them.
    Echo { offset: u64, scribes: u64 },
}

/// A transaction that is one by its shape, and holds what this version does not know or bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The canonical encoding.
    pub(crate) bytes: Bytes,
    pub(crate) author: Author,
    /// The offsets that it fills in a log.
    pub(crate) scribes: u64,
    /// What is wrong with it.
    pub(crate) reason: String,
}
