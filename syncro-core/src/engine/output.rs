//! What an engine asks of its host, and tells it.

use std::sync::Arc;

use bytes::Bytes;

use super::SessionId;
use crate::call::{CallFailure, CallId, Called};
use crate::channel::Channel;
use crate::close::CloseReason;
use crate::digest::Point;
use crate::id::{Name, NodeId, RecordKey};
use crate::principal::Principal;
use crate::quarantine::Parked;
use crate::record::Record;
use crate::scribe::Mark;
use crate::signal::Signal;
use crate::stamp::{Author, Epoch, Stamp};
use crate::store::Commit;
use crate::value::Encoded;
use crate::verdict::Verdict;

/// What has to be done now, in the order of the fields.
#[derive(Debug, Default)]
#[must_use = "an effect that is not carried out is lost"]
pub struct Effects {
    /// To apply to the store, before anything else. If that fails, nothing else may be done: the engine
    /// has to be opened anew.
    pub commit: Option<Commit>,
    /// To send, in order, each a whole message. It need not wait for the commit to be durable: what must
    /// wait comes after [`Input::Synced`](crate::Input::Synced).
    pub sends: Vec<(SessionId, Bytes)>,
    /// To close, after what was to be sent before.
    pub closes: Vec<(SessionId, CloseReason)>,
    /// To tell the application.
    pub events: Vec<Event>,
    /// When to come back with [`Input::Tick`](crate::Input::Tick) at the latest, by the monotonic clock.
    pub wake_at: Option<u64>,
}

impl Effects {
    pub(super) fn close(
        &mut self,
        session: SessionId,
        peer: Option<NodeId>,
        reason: CloseReason,
        by_peer: bool,
        detail: String,
    ) {
        self.closes.push((session, reason));
        self.events.push(Event::Closed { session, peer, reason, by_peer, detail });
    }
}

/// What an application may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A record changed, once for each scribe that was played.
    Changed(Changed),
    /// A peer said `hello`.
    Opened {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
        /// The peer's epoch.
        epoch: Epoch,
        /// The peer's name for people.
        name: Option<Name>,
    },
    /// A piece has come of what the peer had when the session opened, and there is more.
    CatchingUp {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
        /// Scribes of the peer's log that have come in this session.
        taken: u64,
        /// Scribes that it had, and that are still to come.
        left: u64,
    },
    /// Everything that the peer had when the session opened is in this node's log.
    CaughtUp {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
    },
    /// All that the source has of a channel is here, for the first time in this session.
    Current {
        /// The session.
        session: SessionId,
        /// The source.
        peer: NodeId,
        /// The channel.
        channel: Channel,
    },
    /// The source does not let this node see a channel, or not any longer. What was in no other one is shown no more, but
    /// for own writes that the source does not cover yet.
    Withheld {
        /// The session.
        session: SessionId,
        /// The source.
        peer: NodeId,
        /// The channel.
        channel: Channel,
    },
    /// A bundle has come to its end. The session is to be closed.
    Imported {
        /// The session.
        session: SessionId,
        /// The peer that made the bundle.
        peer: NodeId,
        /// The peer's name for people.
        name: Option<Name>,
        /// Where the bundle begins, if something of the peer's log is missing before that. Then nothing was taken, and
        /// this node's [request](crate::Engine::request) tells the peer what is here.
        gap: Option<Point>,
    },
    /// What a frame of a bundle changes is too much for one step. A part of it is taken: it is to be given once more.
    Again {
        /// The session.
        session: SessionId,
    },
    /// A session ended.
    Closed {
        /// The session.
        session: SessionId,
        /// The peer, if it had said who it is.
        peer: Option<NodeId>,
        /// Why.
        reason: CloseReason,
        /// Whether the peer ended it.
        by_peer: bool,
        /// More about the reason, for people.
        detail: String,
    },
    /// A peer holds everything up to an offset of this node's log durably.
    Receipt {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
        /// The offset.
        offset: u64,
    },
    /// A remote stamp lies far in the future. It was stored and played, and moved no clock.
    FutureStamp {
        /// The stamp.
        stamp: Stamp,
        /// By how many milliseconds it leads this node's clock.
        skew_ms: u64,
    },
    /// Two transactions of one stamp differ: a machine was cloned. Both are kept and played.
    Collision {
        /// The stamp.
        stamp: Stamp,
    },
    /// Somebody else writes in this node's name and epoch: a new epoch follows before the next write.
    Forked {
        /// The epoch that was forked.
        epoch: Epoch,
    },
    /// A peer has brought what another node wrote, and may not; it is not taken. Told once in a session, of the last one.
    Forged {
        /// The session.
        session: SessionId,
        /// The peer that brought it.
        peer: NodeId,
        /// Who it says wrote it.
        author: Author,
    },
    /// A transaction of a peer could not be played, and is set aside.
    Parked(Parked),
    /// Another node says something else on a topic that the host watches.
    Signal(Signal),
    /// A peer calls. Whatever it is, the host answers.
    Called(Called),
    /// What has come of a call: told once for each, when the session ends at the latest.
    Replied {
        /// The session.
        session: SessionId,
        /// The call.
        call: CallId,
        /// What the peer answered, or why there is no answer.
        answer: Result<Encoded, CallFailure>,
    },
    /// An authority has refused what this node wrote, or brought. What it wrote is undone.
    Refused(Verdict),
}

/// One scribe's effect on one record.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The scribe's offset in this node's log.
    pub offset: u64,
    /// Where in the log to go on, with what was made of everything before: the end of the transaction for its
    /// last scribe, the start of the transaction for the others, which will then be seen again.
    pub resume: Point,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// The record.
    pub key: RecordKey,
    /// What the scribe did to the record's life.
    pub mark: Mark,
    /// The record before; `None` when nothing was known of it.
    pub before: Option<Arc<Record>>,
    /// The record after.
    pub after: Arc<Record>,
    /// The session over which it came; `None` for a local write.
    pub session: Option<SessionId>,
}

/// How far two peers are, as one of them knows it.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// The peer.
    pub peer: NodeId,
    /// The peer's epoch.
    pub epoch: Epoch,
    /// The peer's name for people.
    pub name: Option<Name>,
    /// Who the host says it is, on a node that asks.
    pub principal: Option<Arc<Principal>>,
    /// Scribes of the peer's log that this node has not taken in yet.
    pub incoming: u64,
    /// Scribes of this node's log that the peer is not known to hold: it has neither confirmed them, in this
    /// session or an earlier one, nor sent them itself.
    pub outgoing: u64,
    /// Up to where the peer has confirmed in this session that it holds this node's log durably.
    pub receipt: Option<u64>,
}
