//! The engine: one door in, one value out.

mod appraise;
mod calls;
mod index;
mod intake;
mod judge;
mod own;
mod propose;
mod quarantine;
mod repair;
mod rows;
mod signals;
mod tail;
mod usage;
mod view;
mod wakes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{CallFailure, CallId, Called};
use crate::channel::Channel;
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::error::{Error, UsageError};
use crate::id::{Name, NodeId, RecordKey};
use crate::limits::{CREDENTIALS_BYTES_MAX, SESSIONS_MAX};
use crate::message::Encoding;
use crate::principal::{Permissions, Principal};
use crate::proposal::Proposal;
use crate::quarantine::Parked;
use crate::record::Record;
use crate::scribe::Mark;
use crate::session::{Fault, Session};
use crate::signal::Signal;
use crate::stamp::{Author, Epoch, Now, Stamp};
use crate::store::{Commit, PeerRow, View};
use crate::value::Encoded;
use crate::verdict::Verdict;

pub(crate) use index::Index;
pub(crate) use intake::{Intake, Taken};
pub(crate) use judge::Bearer;
pub(crate) use own::Own;
pub(crate) use rows::Rows;
pub(crate) use tail::Tail;
pub use usage::Usage;
pub use view::VIEW_ROW;
pub(crate) use view::{Followed, Following, Place, Showing, Subscription, view_events};
use wakes::Wakes;

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
    /// A whole message came, without its length prefix.
    Receive {
        /// The session.
        session: SessionId,
        /// The message.
        frame: Bytes,
    },
    /// Everything that was to be sent has been handed to the transport.
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
        /// Its [id](Parked::id).
        parked: Digest,
    },
    /// A transaction that was set aside is not to be played: an authority refuses it, with this reason, and others forget
    /// it.
    Discard {
        /// Its [id](Parked::id).
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
    /// The host asks a peer for something of its own. What comes of it is told once, by [`Event::Replied`].
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
        /// The [number](Called::call) of the call.
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
    /// is an [`Event::Signal`], and [`Engine::signals`] has what is known already.
    Topics {
        /// The topics.
        topics: BTreeSet<Name>,
    },
    /// The store was synced: the commits up to this sequence are durable.
    Synced {
        /// [`Commit::sequence`] of the last of them.
        through: u64,
    },
    /// The time asked for by [`Effects::wake_at`] has come.
    Tick,
}

/// What has to be done now, in the order of the fields.
#[derive(Debug, Default)]
#[must_use = "an effect that is not carried out is lost"]
pub struct Effects {
    /// To apply to the store, before anything else. If that fails, nothing else may be done: the engine
    /// has to be opened anew.
    pub commit: Option<Commit>,
    /// To send, in order, each a whole message. It need not wait for the commit to be durable: what must
    /// wait comes after [`Input::Synced`].
    pub sends: Vec<(SessionId, Bytes)>,
    /// To close, after what was to be sent before.
    pub closes: Vec<(SessionId, CloseReason)>,
    /// To tell the application.
    pub events: Vec<Event>,
    /// When to come back with [`Input::Tick`] at the latest, by the monotonic clock.
    pub wake_at: Option<u64>,
}

impl Effects {
    fn close(
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

/// The sans-IO state machine of one node.
///
/// It calls no store, clock, socket, thread or source of randomness. Each call takes the time, one
/// [`Input`] and a [`View`] of the store as the last [`Commit`] left it, and returns the [`Effects`].
///
/// The driver may handle and apply many inputs before it syncs the store once; then it says so by
/// [`Input::Synced`], upon which the engine acknowledges what peers sent.
///
/// It can be cloned for simulations: two clones that both write are one author twice, as the halves of a
/// copied machine are.
#[derive(Clone, Debug)]
pub struct Engine {
    own: Own,
    sessions: BTreeMap<SessionId, Session>,
    /// When each of the sessions wants a tick.
    wakes: Wakes,
}

impl Engine {
    /// Begins a new epoch of a node over its store.
    ///
    /// The effects carry the commit of the epoch, to be applied *and synced* before the first write.
    ///
    /// # Errors
    ///
    /// [`UsageError::WrongNode`] when the store belongs to a node other than the configured one;
    /// [`StoreError`](crate::StoreError) when it cannot be read.
    pub fn open(now: Now, config: Config, view: &impl View) -> Result<(Self, Effects), Error> {
        let (own, commit) = Own::open(now, config, view)?;
        let effects = Effects { commit: Some(commit), ..Effects::default() };
        Ok((Self { own, sessions: BTreeMap::new(), wakes: Wakes::default() }, effects))
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.own.author().node
    }

    /// The node's present epoch.
    pub fn epoch(&self) -> Epoch {
        self.own.author().epoch
    }

    /// The end of the node's log.
    pub fn end(&self) -> Point {
        self.own.end()
    }

    /// The open sessions, in order of their numbers.
    pub fn sessions(&self) -> impl Iterator<Item = SessionStatus> {
        self.sessions.values().filter_map(|session| session.status(&self.own))
    }

    /// The channels that a view follows.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Channel> {
        self.own.subscriptions().map(|subscription| &subscription.channel)
    }

    /// Handles one input.
    ///
    /// # Errors
    ///
    /// An error means that nothing happened: [`Error::Data`] for a proposal that cannot be recorded,
    /// [`Error::Usage`] for a wrong call, [`Error::Store`] when the view could not be read. A peer's
    /// offence is never an error; it closes the peer's session.
    pub fn handle(&mut self, now: Now, input: Input, view: &impl View) -> Result<Effects, Error> {
        let mut effects = Effects::default();
        match input {
            Input::Propose(proposal) => self.on_propose(now, proposal, view, &mut effects)?,
            Input::Open { session, role, credentials } => {
                self.on_open(now, session, role, credentials, &mut effects)?;
            }
            Input::Receive { session, frame } => {
                self.on_receive(now, session, &frame, view, &mut effects)?;
            }
            Input::Room { session } => self.on_room(now, session, view, &mut effects),
            Input::Close { session, reason } => {
                self.on_close(now, session, reason, view, &mut effects);
            }
            Input::Lost { session } => self.on_lost(session, &mut effects),
            Input::Rights { session, principal } => {
                self.on_rights(now, session, principal, view, &mut effects);
            }
            Input::Call { session, call, name, value, within_ms } => {
                self.on_call(now, session, (call, name, value, within_ms), view, &mut effects);
            }
            Input::Reply { session, call, answer } => {
                self.on_reply(now, session, call, answer, view, &mut effects);
            }
            Input::Signal { topic, value } => self.on_say(now, topic, value, &mut effects)?,
            Input::Topics { topics } => self.on_watch(topics)?,
            Input::Retry { parked } => self.on_retry(now, parked, view, &mut effects)?,
            Input::Discard { parked, reason } => {
                self.on_discard(now, parked, reason, view, &mut effects)?;
            }
            Input::Subscribe { channel } => self.on_subscribe(now, channel, view, &mut effects)?,
            Input::Unsubscribe { channel } => {
                self.on_unsubscribe(now, channel, view, &mut effects)?;
            }
            Input::Synced { through } => self.on_synced(now, through, view, &mut effects),
            Input::Tick => self.on_tick(now, view, &mut effects)?,
        }
        self.follow_somebody(now, view, &mut effects);
        self.speak(&mut effects);
        effects.wake_at = self.wakes.first();
        if self.own.is_index_due() || self.wants_to_follow() {
            let soon = now.monotonic_ms + 1;
            effects.wake_at = Some(effects.wake_at.map_or(soon, |at| at.min(soon)));
        }
        Ok(effects)
    }

    fn on_propose(
        &mut self,
        now: Now,
        proposal: Proposal,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if self.own.propose(now, proposal, view, effects)? {
            self.pump(now, view, effects);
        }
        Ok(())
    }

    fn on_open(
        &mut self,
        now: Now,
        id: SessionId,
        role: Role,
        credentials: Bytes,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if self.sessions.contains_key(&id) {
            return Err(UsageError::SessionInUse.into());
        }
        if credentials.len() > CREDENTIALS_BYTES_MAX {
            return Err(UsageError::CredentialsTooLong { bytes: credentials.len() }.into());
        }
        let is_full = self.sessions.len() >= SESSIONS_MAX;
        if is_full && role != Role::Accept {
            return Err(UsageError::TooManySessions.into());
        }
        let mut session = Session::open(now, id, role, credentials, &mut self.own, effects);
        if is_full {
            // The caller cannot know. It is told, and nothing of it is kept.
            let reason = CloseReason::TooManySessions;
            session.bye(reason, "", effects);
            effects.close(id, None, reason, false, String::new());
            return Ok(());
        }
        self.wakes.set(id, session.wake_at());
        self.sessions.insert(id, session);
        Ok(())
    }

    fn on_receive(
        &mut self,
        now: Now,
        id: SessionId,
        frame: &Bytes,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        // A session that was closed may still have had messages under way.
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        let end = self.own.end();
        match session.on_frame(now, frame, &mut self.own, view, effects) {
            Ok(()) => {}
            Err(Fault::Store(error)) => {
                // The peer was heard all the same.
                self.wakes.set(id, session.wake_at());
                return Err(error.into());
            }
            Err(Fault::Peer { reason, detail }) => {
                session.bye(reason, &detail, effects);
                self.remove(id, reason, false, detail, effects);
            }
            Err(Fault::Bye { reason, detail }) => self.remove(id, reason, true, detail, effects),
        }
        if self.own.end() != end {
            self.pump(now, view, effects);
        } else {
            self.pump_one(now, id, view, effects);
        }
        Ok(())
    }

    fn on_room(&mut self, now: Now, id: SessionId, view: &impl View, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.on_room(effects);
        self.own.signals.on_room(id);
        self.speak(effects);
        self.pump_one(now, id, view, effects);
    }

    fn on_close(
        &mut self,
        now: Now,
        id: SessionId,
        reason: CloseReason,
        view: &impl View,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.on_close(now, reason, &mut self.own, view, effects);
        self.remove(id, reason, false, String::new(), effects);
    }

    fn on_retry(
        &mut self,
        now: Now,
        parked: Digest,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.own.retry(now, parked, view, effects)?;
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_discard(
        &mut self,
        now: Now,
        parked: Digest,
        reason: String,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.own.discard(parked, reason, view, effects)?;
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_rights(
        &mut self,
        now: Now,
        id: SessionId,
        principal: Option<Arc<Principal>>,
        view: &impl View,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match principal {
            Some(principal) => {
                let node = self.own.author().node;
                self.own.signals.on_rights(id, &principal, node, effects);
                session.on_rights(now, principal);
                self.pump_one(now, id, view, effects);
            }
            None => {
                let reason = CloseReason::Denied;
                session.bye(reason, "", effects);
                self.remove(id, reason, false, String::new(), effects);
            }
        }
    }

    fn on_lost(&mut self, id: SessionId, effects: &mut Effects) {
        self.remove(id, CloseReason::Lost, false, String::new(), effects);
    }

    fn on_synced(&mut self, now: Now, through: u64, view: &impl View, effects: &mut Effects) {
        let durable = self.own.durable_end();
        self.own.synced(through);
        // Views are told of what was touched once it is durable.
        let touched = self.own.take_touched();
        if !touched.is_empty() {
            self.sessions.values_mut().for_each(|session| session.on_touched(&touched));
        }
        // A verdict goes before the receipt for what it is about.
        if self.own.durable_end() != durable || !touched.is_empty() {
            self.pump(now, view, effects);
        }
        for (id, session) in &mut self.sessions {
            session.on_synced(through, effects);
            self.wakes.set(*id, session.wake_at());
        }
        if self.own.channels().is_some() {
            // What views wrote is covered now.
            self.pump(now, view, effects);
        }
    }

    fn on_subscribe(
        &mut self,
        now: Now,
        channel: Channel,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let hash = channel.hash();
        if !self.own.subscribe(channel, view, effects)? {
            return Ok(());
        }
        for session in self.sessions.values_mut() {
            session.on_subscription(hash, self.own.subscription(hash), effects);
        }
        self.pump(now, view, effects);
        Ok(())
    }

    fn on_unsubscribe(
        &mut self,
        now: Now,
        channel: Channel,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let hash = channel.hash();
        if !self.own.unsubscribe(now, hash, view, effects)? {
            return Ok(());
        }
        for session in self.sessions.values_mut() {
            session.on_subscription(hash, None, effects);
        }
        self.pump(now, view, effects);
        Ok(())
    }

    /// Whether a view follows nobody, and there is somebody.
    fn wants_to_follow(&self) -> bool {
        self.own.is_view()
            && !self.sessions.values().any(Session::is_followed)
            && self.sessions.values().any(Session::can_be_followed)
    }

    /// Lets a view that follows nobody follow the first peer that it has dialled. A step that commits something else
    /// leaves it to the next one.
    fn follow_somebody(&mut self, now: Now, view: &impl View, effects: &mut Effects) {
        while effects.commit.is_none() && self.wants_to_follow() {
            let mut sessions = self.sessions.iter_mut();
            let Some((id, session)) = sessions.find(|(_, session)| session.can_be_followed())
            else {
                return;
            };
            let (id, followed) = (*id, session.follow(now, &mut self.own, view, effects));
            if let Err(error) = followed {
                session.bye(CloseReason::Store, "", effects);
                self.remove(id, CloseReason::Store, false, error.to_string(), effects);
            }
        }
    }

    fn on_tick(&mut self, now: Now, view: &impl View, effects: &mut Effects) -> Result<(), Error> {
        if self.own.is_index_due() {
            // Whoever waits for what the step before has done: what this one does cannot be read yet.
            self.pump(now, view, effects);
            self.own.build_index(view, effects)?;
        }
        for id in self.wakes.due(now.monotonic_ms) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if let Some(reason) = session.on_tick(now, effects) {
                session.bye(reason, "", effects);
                self.remove(id, reason, false, String::new(), effects);
            } else {
                self.pump_one(now, id, view, effects);
            }
        }
        Ok(())
    }

    /// Lets every session send what it can.
    fn pump(&mut self, now: Now, view: &impl View, effects: &mut Effects) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.pump_one(now, id, view, effects);
        }
    }

    fn pump_one(&mut self, now: Now, id: SessionId, view: &impl View, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.is_outdated(&self.own) {
            let detail = "the templates of channels have changed: ask anew".to_owned();
            session.bye(CloseReason::Done, &detail, effects);
            self.remove(id, CloseReason::Done, false, detail, effects);
            return;
        }
        let pumped = session.pump(now, &mut self.own, view, effects);
        self.wakes.set(id, session.wake_at());
        if let Err(error) = pumped {
            // The engine has moved on already, so this cannot be an `Err`: the session bears it.
            let detail = error.to_string();
            session.bye(CloseReason::Store, "", effects);
            self.remove(id, CloseReason::Store, false, detail, effects);
        }
    }

    /// Writes what is known of a peer that has gone, with what else this step writes.
    fn commit_row(&mut self, peer: NodeId, row: PeerRow, effects: &mut Effects) {
        match &mut effects.commit {
            Some(commit) => commit.peers.push((peer, row)),
            None => {
                let nothing = self.own.intake();
                effects.commit = Some(self.own.commit(nothing, vec![(peer, row)]));
            }
        }
    }

    fn remove(
        &mut self,
        id: SessionId,
        reason: CloseReason,
        by_peer: bool,
        detail: String,
        effects: &mut Effects,
    ) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.wakes.remove(id);
        session.on_end(effects);
        let node = self.own.author().node;
        self.own.signals.close(id, node, effects);
        let peer = session.peer();
        match peer {
            Some(peer) => {
                if let Some(row) = self.own.part(peer) {
                    self.commit_row(peer, row, effects);
                }
            }
            None => self.own.note_answer(session.nonce()),
        }
        effects.close(id, peer, reason, by_peer, detail);
    }
}
