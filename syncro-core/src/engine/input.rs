//! What can happen to an engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{CallFailure, CallId};
use crate::channel::Channel;
use crate::close::CloseReason;
use crate::digest::Digest;
use crate::id::{Name, NodeId};
use crate::message::Encoding;
use crate::principal::{Permissions, Principal};
use crate::proposal::Proposal;
use crate::value::Encoded;

/// Who the node is, and the only entropy that the engine gets.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The node's id. `None` takes the one that the store has, or makes one up in a new store.
    pub node: Option<NodeId>,
    /// A name for people, sent to peers.
    pub name: Option<Name>,
    /// 256 random bits, fresh at every open: epochs are minted from them. Two opens with one seed would
    /// make one author of two.
    pub seed: [u8; 32],
    /// What peers may do. With them the node is an authority; without, everybody may connect and change everything.
    pub permissions: Option<Arc<dyn Permissions>>,
    /// Whether the node is a view: it follows the channels to which it has subscribed, of the first node it dials that has
    /// them, rather than whole logs. A store is a view's from its beginning, or never.
    pub view: bool,
}

/// A session's number, chosen by the host; never reused while the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Which side of a connection this is. It only decides who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that made the connection: it says `hello` at once, in the encoding of its choice.
    Dial(Encoding),
    /// The side that was called: it waits, and answers in the encoding it hears.
    Accept,
}

/// What can happen to an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// The application wants a transaction recorded.
    Propose(Proposal),
    /// A connection was made.
    Open {
        /// The number of the new session.
        session: SessionId,
        /// Which side this is.
        role: Role,
        /// What shows the peer who this node is: at most 2,048 bytes, none for a peer that does not ask.
        credentials: Bytes,
    },
    /// A bundle is to be taken in that a peer has [exported](crate::Engine::export). Its frames follow in their order as
    /// [`Receive`](Self::Receive), whatever time that takes; [`Event::Imported`](crate::Event::Imported) comes with the last
    /// one. Nothing is sent.
    Import {
        /// The number of the new session, which is to be [lost](Self::Lost) in the end.
        session: SessionId,
    },
    /// A whole message came, without its length prefix.
    Receive {
        /// The session.
        session: SessionId,
        /// The message.
        frame: Bytes,
    },
    /// Everything that was to be sent has been handed to the transport. To be said each time: what enters the log
    /// meanwhile waits for it, as long as it is less than a message, and goes in one.
    Room {
        /// The session.
        session: SessionId,
    },
    /// The host ends a session, or its framing found an offence of the peer.
    Close {
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// The connection is gone.
    Lost {
        /// The session.
        session: SessionId,
    },
    /// What a peer may do has changed. Before its `hello` this does nothing: then it is asked for anew.
    Rights {
        /// The session.
        session: SessionId,
        /// Who the peer is from now on; `None` ends the session.
        principal: Option<Arc<Principal>>,
    },
    /// A transaction that was set aside is to be tried again, as if it came now.
    Retry {
        /// Its [id](crate::Parked::id).
        parked: Digest,
    },
    /// A transaction that was set aside is not to be played: an authority refuses it, with this reason, and others forget
    /// it.
    Discard {
        /// Its [id](crate::Parked::id).
        parked: Digest,
        /// Why, for its author.
        reason: String,
    },
    /// A view is to follow a channel, from now on and after every opening.
    Subscribe {
        /// The channel.
        channel: Channel,
    },
    /// A view is to follow a channel no more: what is in no other one that it follows, it shows no more.
    Unsubscribe {
        /// The channel.
        channel: Channel,
    },
    /// The host asks a peer for something of its own. What comes of it is told once, by [`Event::Replied`](crate::Event::Replied).
    Call {
        /// The session.
        session: SessionId,
        /// What the host calls it.
        call: CallId,
        /// What is called.
        name: Name,
        /// With what: at most 256 KiB.
        value: Encoded,
        /// In how many milliseconds the answer has to be here.
        within_ms: u64,
    },
    /// The host answers a call of a peer. It may do so at any time; what comes too late does nothing.
    Reply {
        /// The session.
        session: SessionId,
        /// The [number](crate::Called::call) of the call.
        call: u64,
        /// The answer: a value of at most 256 KiB, or why there is none.
        answer: Result<Encoded, CallFailure>,
    },
    /// The host says something on a topic, in this node's name; nil takes back what it said. It is in no log: peers that want
    /// it hear the last word as long as they know the node to be there.
    Signal {
        /// The topic.
        topic: Name,
        /// What: at most 1 KiB.
        value: Encoded,
    },
    /// The host wants to hear what other nodes say on these topics, at most 64, and on no others: each word from now on
    /// is an [`Event::Signal`](crate::Event::Signal), and [`Engine::signals`](crate::Engine::signals) has what is known already.
    Topics {
        /// The topics.
        topics: BTreeSet<Name>,
    },
    /// The store was synced: the commits up to this sequence are durable.
    Synced {
        /// [`Commit::sequence`](crate::Commit::sequence) of the last of them.
        through: u64,
    },
    /// The time asked for by [`Effects::wake_at`](crate::Effects::wake_at) has come.
    Tick,
}
