//! The messages of a session, as values. The encodings are in `message/wire.rs`.

mod wire;

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::call::CallFailure;
use crate::channel::{Channel, Sum};
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::encoding::Malformed;
use crate::id::{Name, NodeId, RecordKey};
use crate::record::Record;
use crate::scribe::Transaction;
use crate::stamp::{Epoch, Stamp, Time};
use crate::value::Encoded;

/// The version of the protocol that this library speaks.
pub const PROTOCOL_VERSION: u64 = 1;

/// What this version can do that the first peers of it could not, as a `hello` says it. To a peer that does not say so, it
/// is not said.
pub(crate) mod capability {
    /// `call` and `reply`.
    pub(crate) const CALL: &str = "call";

    /// `topics` and `signal`.
    pub(crate) const SIGNAL: &str = "signal";

    /// All of them.
    pub(crate) const ALL: [&str; 2] = [CALL, SIGNAL];
}

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

/// Decodes a message and throws it away. For tests of what that costs: a session does the same first of all.
pub fn is_message(frame: &Bytes) -> bool {
    Message::decode(frame).is_ok()
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Begins a bundle: in a session it has no place.
    Bundle(Bundle),
    Hello(Hello),
    /// Asks for the whole log, offering the points that the asker holds of it, the greatest first.
    Sync {
        ladder: Vec<Point>,
        /// Whether it holds more of them, lesser ones.
        has_more: bool,
    },
    /// Asks to be told all of them: none of those that were said is in the sender's log.
    More,
    Scribes(Scribes),
    /// Asks for channels instead of the whole log. The first one of a session takes the place of `sync`.
    Subscribe {
        channels: Vec<Wanted>,
        /// Whether there are more channels, in the next message.
        has_more: bool,
    },
    /// Asks for no more of the channels that were given these numbers.
    Unsubscribe {
        numbers: Vec<u64>,
    },
    States(States),
    /// Says that everything before `point` is durable here, and how many bytes of `scribes` messages may
    /// be sent in this session in all.
    Ack {
        point: Point,
        credit: u64,
    },
    Call(Call),
    /// The answer to a call of the receiver.
    Reply {
        call: u64,
        answer: Result<Encoded, CallFailure>,
    },
    /// Says on which topics the sender wants to hear the receiver.
    Topics(Topics),
    Signal(Word),
    Ping,
    Pong,
    Bye {
        reason: CloseReason,
        detail: String,
    },
}

/// What a bundle is: one side of a session, from its `hello` to its `bye`, that is carried without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// For whom it was made. It may be of use to others, too.
    pub(crate) peer: NodeId,
    /// Where the piece of the log in it begins and ends. In a request there is none, and these are equal.
    pub(crate) start: Point,
    pub(crate) end: Point,
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
    /// Bytes of a frame that this side takes. This and what follows is left out where it is what nearly all say.
    pub(crate) frame: u64,
    /// Bytes of `scribes` messages that may be sent to this side before its first `ack`.
    pub(crate) window: u64,
    /// The encodings that this side reads; those that this version does not know are left out.
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) credentials: Bytes,
}

/// Asks the receiver for something of the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Greater than those of the sender's earlier calls in the session.
    pub(crate) call: u64,
    pub(crate) name: Name,
    pub(crate) value: Encoded,
    /// Milliseconds within which the sender wants the answer.
    pub(crate) within_ms: u64,
}

/// Topics of signals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topics {
    All,
    Some(BTreeSet<Name>),
}

impl Default for Topics {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Topics {
    /// Whether a topic is among them.
    pub(crate) fn has(&self, topic: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Some(topics) => topics.contains(topic),
        }
    }
}

/// What a node says on a topic, as the sender knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) topic: Name,
    /// Who says it.
    pub(crate) node: NodeId,
    /// When, by its clock, and in which of its epochs: the later word counts.
    pub(crate) time: Time,
    pub(crate) epoch: Epoch,
    /// What; nil when the sender knows it no longer.
    pub(crate) value: Encoded,
    /// Over which relays the sender has it, its author and itself left out.
    pub(crate) via: Vec<NodeId>,
}

/// A piece of the sender's log, without what goes without saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scribes {
    /// Where it begins, unless that is where the reader expects it.
    pub(crate) from: Option<Point>,
    /// The sync point that it reaches. There is one where anything is in it; else it may be where it begins.
    pub(crate) to: Option<Point>,
    /// Where the sender's log ends at present, unless that is there, too.
    pub(crate) end: Option<u64>,
    pub(crate) items: Vec<Item>,
}

impl Scribes {
    /// The piece that is meant, by whoever expects it to begin at a point.
    pub(crate) fn read(self, expected: Point) -> Piece {
        let Self { from, to, end, items } = self;
        let from = from.unwrap_or(expected);
        let to = to.unwrap_or(from);
        Piece { from, to, end: end.unwrap_or(to.offset), items }
    }
}

/// A piece of the sender's log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins: at the end of the piece before, or at first at a rung that was offered.
    pub(crate) from: Point,
    /// The sync point that it reaches.
    pub(crate) to: Point,
    /// Where the sender's log ends at present.
    pub(crate) end: u64,
    pub(crate) items: Vec<Item>,
}

impl Piece {
    /// The message that means it to whoever expects it to begin at a point.
    pub(crate) fn said(self, expected: Point) -> Scribes {
        let Self { from, to, end, items } = self;
        Scribes {
            from: (from != expected).then_some(from),
            to: (to != from || !items.is_empty()).then_some(to),
            end: (end != to.offset).then_some(end),
            items,
        }
    }
}

/// A channel that a view wants, and what it has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What the channel is called from here on; of each session's own, and used for no other in it.
    pub(crate) number: u64,
    pub(crate) channel: Channel,
    /// The sync point in the channel, or the start of its log.
    pub(crate) point: Point,
    /// The sum over what the view has of it.
    pub(crate) sum: Sum,
    /// While the channel is being filled: the last record that was confirmed. Then `point` is where it was begun.
    pub(crate) after: Option<RecordKey>,
}

impl Wanted {
    /// A channel of which the view has nothing, or is about to have nothing.
    pub(crate) fn anew(number: u64, channel: Channel) -> Self {
        Self { number, channel, point: Point::START, sum: Sum::default(), after: None }
    }
}

/// What a source shows a view, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct States {
    pub(crate) items: Items,
    /// Up to where the source holds the view's own log durably, and has said everything that follows from it.
    pub(crate) covers: Option<u64>,
    /// Whether there is nothing more to be said at present.
    pub(crate) is_end: bool,
}

/// What a `states` message tells, encoded: it is read one after the other, since a record takes far more memory than its
/// state has bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    count: usize,
    bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A record, and in which of the channels asked for it is: all that the source knows of it, or a piece of that with
    /// more to follow at once.
    State { key: RecordKey, numbers: Vec<u64>, is_whole: bool, record: Record },
    /// A record is in none of the channels asked for.
    Evict { key: RecordKey },
    /// All that the view has of a channel is of this point of it, or newer; with the channel's sum, where that is its end.
    Point { number: u64, point: Point, sum: Option<Sum> },
    /// The channel is said anew from its first record on, and then goes on from this point.
    Fill { number: u64, floor: Point },
    /// Every record of the channel up to this one has been said: what else the view has there has left it.
    Reached { number: u64, key: RecordKey },
    /// Every record of the channel has been said.
    Filled { number: u64 },
    /// The view may not read the channel, or not any more.
    Withheld { number: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Beside the memory of the others, which are small, as a message may be full of those.
    Transaction(Box<Transaction>),
    /// A transaction of which this version cannot read what it changes.
    Unread(Box<Unread>),
    /// The transactions that the receiver has in its own log at `offset`, `scribes` scribes of them: they
    /// came from there in this session, or the sender saw that both have them.
    Echo { offset: u64, scribes: u64 },
    /// Transactions that only say what the sender, a view, was shown: so many scribes, and the sender's digest after them.
    Skip { scribes: u64, digest: Digest },
}

impl Item {
    /// When and by whom it was written, if it is a transaction.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Transaction(transaction) => Some(transaction.stamp()),
            Self::Unread(unread) => unread.stamp().ok(),
            Self::Echo { .. } | Self::Skip { .. } => None,
        }
    }
}

impl From<Transaction> for Item {
    fn from(transaction: Transaction) -> Self {
        Self::Transaction(Box::new(transaction))
    }
}

/// A transaction that is one by its shape, and holds what this version does not know or bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The canonical encoding.
    pub(crate) bytes: Bytes,
    /// The offsets that it fills in a log.
    pub(crate) scribes: u64,
    /// What of it this version does not know, or bear.
    pub(crate) reason: &'static str,
}

impl Unread {
    /// When and by whom it was written.
    pub(crate) fn stamp(&self) -> Result<Stamp, Malformed> {
        Transaction::read_stamp(&self.bytes)
    }
}
