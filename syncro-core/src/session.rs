//! One conversation with a peer over one connection.
//!
//! Both sides are equal: each pulls the other's log. `handshake.rs` gets to know the peer, `pull.rs`
//! takes the peer's log in, `push.rs` sends this node's, `call.rs` has the hosts' calls; what is common to them is here.

mod call;
mod feed;
mod follow;
mod handshake;
mod import;
mod pull;
mod push;
mod reading;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{CallFailure, CallId};
use crate::close::CloseReason;
use crate::digest::Digest;
use crate::encoding::Malformed;
use crate::engine::{Effects, Event, Own, Role, SessionId, SessionStatus, Subscription, Usage};
use crate::id::{Name, NodeId};
use crate::limits::{
    HANDSHAKE_MS, HEARTBEAT_MS, HELLO_BYTES_MAX, SEND_BUFFER_BYTES, WORDS_BUFFER_BYTES,
};
use crate::message::{Encoding, Message};
use crate::principal::{Access, Principal};
use crate::stamp::{Epoch, Now};
use crate::store::{StoreError, View};
use crate::value::Encoded;

use call::Calls;
pub(crate) use call::cut;
use feed::{Feed, Viewer};
use follow::Follow;
pub(crate) use handshake::hello;
use import::Import;
use pull::Pull;
use push::Push;
pub(crate) use push::piece;

/// Why a step of a session could not be finished.
#[derive(Debug)]
pub(crate) enum Fault {
    /// This node's store failed; nothing happened.
    Store(StoreError),
    /// The peer misbehaved.
    Peer { reason: CloseReason, detail: String },
    /// The peer said goodbye.
    Bye { reason: CloseReason, detail: String },
}

impl Fault {
    fn peer(reason: CloseReason) -> Self {
        Self::Peer { reason, detail: String::new() }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The error for a log that should have an entry at an offset.
fn no_entry(offset: u64) -> StoreError {
    StoreError::Corrupt { what: format!("the log has no entry at offset {offset}") }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Peer { reason: CloseReason::Malformed, detail: malformed.to_string() }
    }
}

/// What a session waits for.
#[derive(Clone, Debug)]
enum Phase {
    /// The peer's `hello`, until a time of the monotonic clock.
    Greeting { until_ms: u64 },
    /// Anything else.
    Open(Box<Open>),
}

/// A session whose peer is known.
#[derive(Clone, Debug)]
struct Open {
    peer: NodeId,
    epoch: Epoch,
    name: Option<Name>,
    /// Who the host says the peer is, and what it may do; `None` on a node that lets everybody do everything.
    principal: Option<Arc<Principal>>,
    /// When its rights end, by the monotonic clock.
    over_ms: Option<u64>,
    /// Whether the peer has brought what others wrote, and may not.
    is_forger: bool,
    pull: Pull,
    push: Push,
    /// What it is shown of this node's channels, if it is a view.
    feed: Option<Feed>,
    /// What it shows of its channels, if this node is a view and follows it.
    follow: Option<Follow>,
    /// Bytes of `scribes` or `states` messages that it takes before its first `ack`.
    window: u64,
    calls: Calls,
}

impl Open {
    /// Checks that the peer may have the whole log, and has not asked for channels.
    fn may_sync(&self) -> Result<(), Fault> {
        let sees_all = self.principal.as_ref().is_none_or(|it| it.read == Access::All);
        match (sees_all, &self.feed) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err(Fault::peer(CloseReason::Unexpected)),
            (false, _) => {
                Err(Fault::Peer { reason: CloseReason::Forbidden, detail: VIEWS_ONLY.to_owned() })
            }
        }
    }

    /// What the peer, a view, is shown.
    fn feed(&mut self, own: &Own) -> Result<&mut Feed, Fault> {
        let Some((index, _)) = own.channels().filter(|_| self.principal.is_some()) else {
            let detail = "a node without rules has no channels to show a view: give it `NodeBuilder::rules`, \
                          or let the view follow another one";
            let reason = CloseReason::Forbidden;
            return Err(Fault::Peer { reason, detail: detail.to_owned() });
        };
        if self.push.resumed().is_some() {
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        let (window, generation) = (self.window, index.generation());
        Ok(self.feed.get_or_insert_with(|| Feed::new(window, generation)))
    }

    fn pump(
        &mut self,
        now: Now,
        outbox: &mut Outbox,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        if let (Some(feed), Some(principal)) = (&mut self.feed, &self.principal) {
            // What this step commits cannot be read yet; and what a view is shown stands on what of its own log is held here,
            // which it has to know before.
            if effects.commit.is_some() || !self.pull.has_said_enough() {
                return Ok(());
            }
            let viewer = Viewer { node: self.peer, principal };
            return feed.pump(viewer, self.pull.durable(), outbox, own, view, effects);
        }
        self.push.pump(now, outbox, own, view, effects)
    }

    /// Whether the peer's rights have ended.
    fn is_over(&self, now: Now) -> bool {
        self.over_ms.is_some_and(|over_ms| now.monotonic_ms >= over_ms)
    }
}

/// Why there is no log for a peer: for people on both sides.
const VIEWS_ONLY: &str = "a node that may see some channels only has to be a view: open it with \
                          `NodeBuilder::view`, in a new store";

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    outbox: Outbox,
    role: Role,
    /// The bundle, if it is one that is taken in.
    import: Option<Import>,
    /// What this side says in its `hello`.
    nonce: u64,
    credentials: Bytes,
    phase: Phase,
    heard_ms: u64,
    is_pinged: bool,
    is_pong_due: bool,
}

/// Where a session's messages go out: it encodes them, and counts what the transport has not taken yet.
#[derive(Clone, Debug)]
struct Outbox {
    session: SessionId,
    encoding: Encoding,
    /// Whether there is nobody to hear.
    is_mute: bool,
    /// Bytes handed out since the transport last had room: of the log and what belongs to it, and of the rest.
    queued: usize,
    said: usize,
}

impl Outbox {
    fn has_room(&self) -> bool {
        self.queued < SEND_BUFFER_BYTES
    }

    /// Sends a message, and returns its length.
    fn send(&mut self, message: &Message, effects: &mut Effects) -> usize {
        if self.is_mute {
            return 0;
        }
        let frame = message.encode(self.encoding);
        let bytes = frame.len();
        self.queued += bytes;
        effects.sends.push((self.session, frame));
        bytes
    }

    /// Whether there is room for calls.
    fn has_room_for_calls(&self) -> bool {
        self.said < WORDS_BUFFER_BYTES
    }

    /// Whether there is room for signals, which go first and leave half to the calls.
    fn has_room_for_signals(&self) -> bool {
        self.said < WORDS_BUFFER_BYTES / 2
    }

    /// Sends what is not of the log, which does not wait for it.
    fn say(&mut self, message: &Message, effects: &mut Effects) {
        let frame = message.encode(self.encoding);
        self.said += frame.len();
        effects.sends.push((self.session, frame));
    }
}

impl Session {
    pub(crate) fn open(
        now: Now,
        session: SessionId,
        role: Role,
        mut credentials: Bytes,
        own: &mut Own,
        effects: &mut Effects,
    ) -> Self {
        let encoding = match role {
            Role::Dial(encoding) => encoding,
            Role::Accept => Encoding::default(),
        };
        let mut outbox = Outbox { session, encoding, is_mute: false, queued: 0, said: 0 };
        let nonce = own.fresh_nonce(now, session, role);
        if let Role::Dial(_) = role {
            let credentials = std::mem::take(&mut credentials);
            outbox.send(&hello(own, nonce, credentials, None), effects);
            own.note_call(nonce);
        }
        Self {
            outbox,
            role,
            import: None,
            nonce,
            credentials,
            phase: Phase::Greeting { until_ms: now.monotonic_ms + HANDSHAKE_MS },
            heard_ms: now.monotonic_ms,
            is_pinged: false,
            is_pong_due: false,
        }
    }

    /// Begins to take in a bundle: it only listens, whatever time that takes.
    pub(crate) fn import(now: Now, session: SessionId) -> Self {
        let encoding = Encoding::default();
        Self {
            outbox: Outbox { session, encoding, is_mute: true, queued: 0, said: 0 },
            role: Role::Accept,
            import: Some(Import::default()),
            nonce: 0,
            credentials: Bytes::new(),
            phase: Phase::Greeting { until_ms: u64::MAX },
            heard_ms: now.monotonic_ms,
            is_pinged: false,
            is_pong_due: false,
        }
    }

    /// The peer, once it has said who it is.
    pub(crate) fn peer(&self) -> Option<NodeId> {
        match &self.phase {
            Phase::Greeting { .. } => None,
            Phase::Open(open) => Some(open.peer),
        }
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Adds what the session keeps in memory.
    pub(crate) fn count(&self, usage: &mut Usage) {
        if let Phase::Open(open) = &self.phase {
            open.push.count(usage);
            open.calls.count(usage);
            usage.unsynced += open.pull.unsynced();
        }
    }

    pub(crate) fn status(&self, own: &Own) -> Option<SessionStatus> {
        let Phase::Open(open) = &self.phase else {
            return None;
        };
        if self.import.is_some() {
            return None;
        }
        Some(SessionStatus {
            session: self.outbox.session,
            peer: open.peer,
            epoch: open.epoch,
            name: open.name.clone(),
            principal: open.principal.clone(),
            incoming: open.pull.behind(),
            outgoing: own.end().offset - open.push.held().offset,
            receipt: open.push.receipt(),
        })
    }

    pub(crate) fn on_frame(
        &mut self,
        now: Now,
        frame: &Bytes,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        self.heard_ms = now.monotonic_ms;
        self.is_pinged = false;
        match &self.phase {
            Phase::Greeting { .. } if frame.len() > HELLO_BYTES_MAX => {
                return Err(Fault::peer(CloseReason::FrameTooLarge));
            }
            Phase::Open(open) if open.is_over(now) => return Err(Fault::peer(CloseReason::Denied)),
            _ => {}
        }
        let (message, encoding) = Message::decode(frame)?;
        if self.import.is_some() {
            return self.on_bundled(now, message, frame, own, view, effects);
        }
        match (message, &mut self.phase) {
            (Message::Bye { reason, detail }, _) => return Err(Fault::Bye { reason, detail }),
            (Message::Hello(hello), Phase::Greeting { .. }) => {
                self.on_hello(now, hello, encoding, own, view, effects)?;
            }
            (Message::Sync { ladder, has_more }, Phase::Open(open)) => {
                open.may_sync()?;
                match open.push.resume_at(ladder, has_more, own, view)? {
                    Some(at) => {
                        if open.follow.is_some() {
                            open.uncover(now, at.offset, own, view, effects)?;
                        }
                        open.push.begin(at);
                        open.push.note(own.peer_row(open.peer));
                    }
                    None => {
                        self.outbox.send(&Message::More, effects);
                    }
                }
            }
            (Message::More, Phase::Open(open)) => {
                self.outbox.send(&open.pull.on_more()?, effects);
            }
            (Message::Subscribe { channels, has_more }, Phase::Open(open)) => {
                open.feed(own)?.on_subscribe(channels, has_more)?;
            }
            (Message::Unsubscribe { numbers }, Phase::Open(open)) => {
                open.feed(own)?.on_unsubscribe(&numbers);
            }
            (Message::States(states), Phase::Open(open)) => {
                let session = self.outbox.session;
                open.on_states(now, states, frame.len(), session, own, view, effects)?;
            }
            (Message::Scribes(scribes), Phase::Open(open)) => {
                let (piece, session) = (open.pull.read(scribes), self.outbox.session);
                open.on_scribes(now, piece, frame.len(), session, own, view, effects)?;
            }
            (Message::Ack { point, credit }, Phase::Open(open)) => {
                if let Some(feed) = &mut open.feed {
                    feed.on_ack(point, credit)?;
                } else if open.push.on_ack(point, credit)? {
                    open.push.note(own.peer_row(open.peer));
                    let (session, peer) = (self.outbox.session, open.peer);
                    effects.events.push(Event::Receipt { session, peer, offset: point.offset });
                }
            }
            (Message::Call(call), Phase::Open(open)) => {
                open.on_call(now, call, &self.outbox, effects)?;
            }
            (Message::Reply { call, answer }, Phase::Open(open)) => {
                open.on_reply(call, answer, &self.outbox, effects);
            }
            (Message::Topics(topics), Phase::Open(_)) => {
                own.signals.on_topics(self.outbox.session, topics);
            }
            (Message::Signal(word), Phase::Open(_)) => {
                let node = own.author().node;
                own.signals.on_word(self.outbox.session, word, node, effects);
            }
            (Message::Ping, Phase::Open(_)) => self.is_pong_due = true,
            (Message::Pong, Phase::Open(_)) => {}
            _ => return Err(Fault::peer(CloseReason::Unexpected)),
        }
        self.reply(effects);
        Ok(())
    }

    pub(crate) fn on_room(&mut self, effects: &mut Effects) {
        (self.outbox.queued, self.outbox.said) = (0, 0);
        if let Phase::Open(open) = &mut self.phase {
            open.push.on_room();
        }
        self.reply(effects);
    }

    /// Sends what is left to say, then goodbye. A store that has failed may have nothing more read from it
    /// or said of it.
    pub(crate) fn on_close(
        &mut self,
        now: Now,
        reason: CloseReason,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) {
        if reason != CloseReason::Store
            && let Phase::Open(open) = &mut self.phase
        {
            open.push.hurry();
            // A store that fails now fails the next call too, which can say so.
            let _ = self.pump(now, own, view, effects);
        }
        self.bye(reason, "", effects);
    }

    pub(crate) fn on_synced(&mut self, through: u64, effects: &mut Effects) {
        if let Phase::Open(open) = &mut self.phase {
            open.pull.on_synced(through);
        }
        self.reply(effects);
    }

    /// Whether what the peer, a view, asked for are not this node's channels any more.
    pub(crate) fn is_outdated(&self, own: &Own) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        open.feed.as_ref().is_some_and(|feed| feed.is_outdated(own))
    }

    /// Whether this node dialled the peer, and the peer is known.
    pub(crate) fn can_be_followed(&self) -> bool {
        matches!((&self.phase, self.role), (Phase::Open(_), Role::Dial(_)))
    }

    /// Whether this node, a view, follows the peer.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.follow.is_some())
    }

    /// Begins to follow the peer.
    pub(crate) fn follow(
        &mut self,
        now: Now,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        match &mut self.phase {
            Phase::Greeting { .. } => Ok(()),
            Phase::Open(open) => open.follow(now, &mut self.outbox, own, view, effects),
        }
    }

    /// Asks for one channel more, or no more, if this node follows the peer.
    pub(crate) fn on_subscription(
        &mut self,
        channel: Digest,
        subscription: Option<&Subscription>,
        effects: &mut Effects,
    ) {
        if let Phase::Open(open) = &mut self.phase
            && let Some(follow) = &mut open.follow
        {
            match subscription {
                Some(subscription) => {
                    follow.subscribe(subscription, &mut self.outbox, effects);
                }
                None => follow.unsubscribe(channel, &mut self.outbox, effects),
            }
        }
    }

    /// Notes in which of this node's channels something was touched.
    pub(crate) fn on_touched(&mut self, touched: &BTreeSet<Digest>) {
        if let Phase::Open(open) = &mut self.phase
            && let Some(feed) = &mut open.feed
        {
            feed.on_touched(touched);
        }
    }

    /// Notes what the peer may do from now on.
    /// Returns why the session has to end, if it has.
    pub(crate) fn on_rights(
        &mut self,
        now: Now,
        principal: Arc<Principal>,
    ) -> Option<(CloseReason, &'static str)> {
        let mut end = None;
        if let Phase::Open(open) = &mut self.phase {
            open.over_ms = principal.over_ms(now);
            if let Some(feed) = &mut open.feed {
                let viewer = Viewer { node: open.peer, principal: &principal };
                if feed.on_rights(viewer) {
                    end = Some((CloseReason::Done, "what the peer may see has changed: ask anew"));
                }
            } else if principal.read != Access::All && open.push.resumed().is_some() {
                end = Some((CloseReason::Forbidden, VIEWS_ONLY));
            }
            open.principal = Some(principal);
        }
        end
    }

    /// Watches the time; returns why the session has to end, if it has.
    pub(crate) fn on_tick(&mut self, now: Now, effects: &mut Effects) -> Option<CloseReason> {
        if let Phase::Open(open) = &mut self.phase {
            open.expire_calls(now, &self.outbox, effects);
        }
        if self.import.is_some() {
            // Whoever reads a bundle takes its time.
            return None;
        }
        let silent_ms = now.monotonic_ms.saturating_sub(self.heard_ms);
        #[cfg(all(feature = "planted", debug_assertions))]
        let silent_ms = match crate::planted::is_planted(crate::planted::Planted::SilenceUnnoticed)
        {
            true => silent_ms.min(HEARTBEAT_MS),
            false => silent_ms,
        };
        match &self.phase {
            Phase::Greeting { until_ms } if now.monotonic_ms >= *until_ms => {
                Some(CloseReason::HandshakeTimeout)
            }
            Phase::Open(open) if open.is_over(now) => Some(CloseReason::Denied),
            Phase::Open(_) if silent_ms >= 2 * HEARTBEAT_MS => Some(CloseReason::Silent),
            Phase::Open(_) if silent_ms >= HEARTBEAT_MS && !self.is_pinged => {
                self.is_pinged = true;
                self.outbox.send(&Message::Ping, effects);
                None
            }
            _ => None,
        }
    }

    /// When the session wants a tick.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        if self.import.is_some() {
            return None;
        }
        match &self.phase {
            Phase::Greeting { until_ms } => Some(*until_ms),
            Phase::Open(open) => {
                let beats = if self.is_pinged { 2 } else { 1 };
                let heartbeat_ms = self.heard_ms + beats * HEARTBEAT_MS;
                // Without room nothing can be sent: room comes by itself.
                let echo_due_ms = open.push.echo_due_ms().filter(|_| self.outbox.has_room());
                let wakes = [Some(heartbeat_ms), echo_due_ms, open.over_ms, open.calls.wake_at()];
                wakes.into_iter().flatten().min()
            }
        }
    }

    /// Sends scribes as far as credit and room go, and what else waits.
    pub(crate) fn pump(
        &mut self,
        now: Now,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        match &mut self.phase {
            Phase::Greeting { .. } => Ok(()),
            Phase::Open(open) => {
                open.calls.pump(&mut self.outbox, effects);
                open.pump(now, &mut self.outbox, own, view, effects)
            }
        }
    }

    /// Says what has changed of signals, as far as there is room.
    pub(crate) fn speak(&mut self, own: &mut Own, effects: &mut Effects) {
        while self.outbox.has_room_for_signals() {
            match own.signals.next(self.outbox.session) {
                Some(message) => self.outbox.say(&message, effects),
                None => return,
            }
        }
    }

    /// Makes a call of the host, or tells it why not.
    pub(crate) fn place(
        &mut self,
        now: Now,
        call: (CallId, Name, Encoded, u64),
        effects: &mut Effects,
    ) {
        match &mut self.phase {
            Phase::Open(open) => open.place(now, &self.outbox, call, effects),
            Phase::Greeting { .. } => effects.replied(self.outbox.session, call.0, Err(cut())),
        }
    }

    /// Answers a call of the peer.
    pub(crate) fn answer(&mut self, call: u64, answer: Result<Encoded, CallFailure>) {
        if let Phase::Open(open) = &mut self.phase {
            open.calls.answer(call, answer);
        }
    }

    /// Tells the host what is lost with the session.
    pub(crate) fn on_end(&mut self, effects: &mut Effects) {
        if let Phase::Open(open) = &mut self.phase {
            open.cut_calls(&self.outbox, effects);
        }
    }

    pub(crate) fn bye(&mut self, reason: CloseReason, detail: &str, effects: &mut Effects) {
        let detail = detail.to_owned();
        self.outbox.send(&Message::Bye { reason, detail }, effects);
    }

    /// Sends the short answers that are due, if there is room; a peer that does not read gets none, so
    /// they cannot pile up.
    fn reply(&mut self, effects: &mut Effects) {
        if !self.outbox.has_room() {
            return;
        }
        if std::mem::take(&mut self.is_pong_due) {
            self.outbox.send(&Message::Pong, effects);
        }
        if let Phase::Open(open) = &mut self.phase
            && let Some(ack) = open.pull.take_ack()
        {
            self.outbox.send(&ack, effects);
        }
    }
}
