//! Signals: who says what at present, and whom that concerns.
//!
//! What a node knows of another it knows from one session or several, each of which **claims** that the other is there,
//! and says over which relays. It is there as long as somebody claims it: a session that ends takes its claims along, and
//! each peer that was told of the last one is told that it is gone. Relays that only had it from each other see themselves
//! on the way, and claim nothing; so no word goes in circles, and none stays behind whose author has gone.
//!
//! A node that was called relays: it wants every topic of every peer. One that only calls wants those that its host
//! watches. That is what a peer takes for granted until it hears otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effects, Engine, Event, Role, SessionId};
use crate::channel::Channel;
use crate::error::{Error, UsageError};
use crate::id::{Name, NodeId};
use crate::limits::{
    RELAYS_MAX, SIGNAL_BYTES_MAX, SIGNALS_MAX, SIGNALS_OF_PEER_MAX, SIGNALS_OWN_MAX,
    SIGNALS_PER_SESSION_MAX, TOPICS_MAX,
};
use crate::message::{Message, Topics, Word};
use crate::principal::Principal;
use crate::signal::Signal;
use crate::stamp::{Author, Epoch, Now, Time};
use crate::value::Encoded;

/// What somebody does on a topic.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Hear,
    Say,
}

/// Whether a peer may do something on a topic: of limited ones those that may read the channel of that name hear what is
/// said, and those that may write into it say something.
fn may(principal: Option<&Principal>, doing: Doing, topic: &Name) -> bool {
    principal.is_none_or(|principal| {
        let access = match doing {
            Doing::Hear => &principal.read,
            Doing::Say => &principal.write,
        };
        access.has(&Channel::named(topic))
    })
}

/// What is known of all nodes, and what the sessions have to do with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// What the host wants to hear of.
    watched: BTreeSet<Name>,
    /// On what this node says something, and the time of its last word.
    own: BTreeSet<Name>,
    last: Time,
    said: BTreeMap<Key, Said>,
    lines: BTreeMap<SessionId, Line>,
    /// Whether a peer has made one of them, ever: who has been called will be called again.
    is_relay: bool,
    /// The sessions that want a topic, and those that want all of them.
    listeners: BTreeMap<Name, BTreeSet<SessionId>>,
    of_all: BTreeSet<SessionId>,
    /// The sessions for which something has changed.
    ready: BTreeSet<SessionId>,
}

/// A topic, and who says something on it.
type Key = (Name, NodeId);

/// The author's clock, and the epoch for the case of two that run at once.
type Version = (Time, Epoch);

/// The last word of a node on a topic.
#[derive(Clone, Debug)]
struct Said {
    version: Version,
    value: Encoded,
    /// Over which relays it came, by the session; of this node itself over none.
    claims: BTreeMap<Option<SessionId>, Vec<NodeId>>,
}

/// A session with a peer that knows signals.
#[derive(Clone, Debug)]
struct Line {
    peer: NodeId,
    principal: Option<Arc<Principal>>,
    /// What the peer wants.
    wants: Topics,
    /// What the peer takes this node to want.
    asked: Topics,
    /// What the peer claims.
    claimed: BTreeSet<Key>,
    /// What the peer was told, and over which relays.
    told: BTreeMap<Key, (Version, Vec<NodeId>)>,
    /// What it may have to be told.
    due: BTreeSet<Key>,
}

impl Line {
    /// How much the peer may claim.
    fn claims_max(&self) -> usize {
        match &self.principal {
            Some(principal) if !principal.relays => SIGNALS_OF_PEER_MAX,
            _ => SIGNALS_PER_SESSION_MAX,
        }
    }

    /// Whether the peer may say this. Whoever is limited and no relay speaks for itself alone.
    fn may_say(&self, word: &Word) -> bool {
        let principal = self.principal.as_deref();
        let speaks = principal.is_none_or(|principal| principal.relays)
            || word.node == self.peer && word.via.is_empty();
        speaks && may(principal, Doing::Say, &word.topic)
    }
}

impl Signals {
    /// Takes a session whose peer knows signals.
    pub(crate) fn open(
        &mut self,
        session: SessionId,
        peer: NodeId,
        role: Role,
        principal: Option<Arc<Principal>>,
    ) {
        let is_caller = role == Role::Accept;
        let (wants, asked) = match is_caller {
            true => (Topics::default(), Topics::All),
            false => (Topics::All, Topics::default()),
        };
        if is_caller && !std::mem::replace(&mut self.is_relay, true) {
            self.ready.extend(self.lines.keys());
        }
        let line = Line {
            peer,
            principal,
            wants: Topics::default(),
            asked,
            claimed: BTreeSet::new(),
            told: BTreeMap::new(),
            due: BTreeSet::new(),
        };
        self.lines.insert(session, line);
        self.ready.insert(session);
        self.on_topics(session, wants);
    }

    /// Forgets a session, and what only it claimed.
    pub(super) fn close(&mut self, session: SessionId, own: NodeId, effects: &mut Effects) {
        self.on_topics(session, Topics::default());
        self.ready.remove(&session);
        let Some(line) = self.lines.remove(&session) else {
            return;
        };
        for key in line.claimed {
            self.unclaim(key, Some(session), own, effects);
        }
    }

    /// Notes what a peer wants.
    pub(crate) fn on_topics(&mut self, session: SessionId, wants: Topics) {
        let Some(line) = self.lines.get_mut(&session).filter(|line| line.wants != wants) else {
            return;
        };
        match std::mem::replace(&mut line.wants, wants.clone()) {
            Topics::All => drop(self.of_all.remove(&session)),
            Topics::Some(topics) => topics.iter().for_each(|topic| {
                if let Some(listeners) = self.listeners.get_mut(topic) {
                    listeners.remove(&session);
                    if listeners.is_empty() {
                        self.listeners.remove(topic);
                    }
                }
            }),
        }
        // What is not wanted any more is taken back: it may be on its way while it is wanted again.
        line.due.extend(line.told.keys().cloned());
        match wants {
            Topics::All => {
                line.due.extend(self.said.keys().cloned());
                self.of_all.insert(session);
            }
            Topics::Some(topics) => {
                for topic in topics {
                    line.due.extend(on_topic(&self.said, &topic).map(|(key, _)| key.clone()));
                    self.listeners.entry(topic).or_default().insert(session);
                }
            }
        }
        self.ready.insert(session);
    }

    /// Notes what a peer may hear and say from now on.
    pub(super) fn on_rights(
        &mut self,
        session: SessionId,
        principal: &Arc<Principal>,
        own: NodeId,
        effects: &mut Effects,
    ) {
        let Some(line) = self.lines.get_mut(&session) else {
            return;
        };
        line.principal = Some(principal.clone());
        line.due.extend(line.told.keys().cloned());
        match &line.wants {
            Topics::All => line.due.extend(self.said.keys().cloned()),
            Topics::Some(topics) => topics.iter().for_each(|topic| {
                line.due.extend(on_topic(&self.said, topic).map(|(key, _)| key.clone()));
            }),
        }
        self.ready.insert(session);
        let speaks_for = |node| principal.relays || node == line.peer;
        let is_lost = |(topic, node): &Key| {
            !speaks_for(*node) || !may(Some(principal.as_ref()), Doing::Say, topic)
        };
        let lost: Vec<Key> = line.claimed.iter().filter(|key| is_lost(key)).cloned().collect();
        for key in lost {
            self.unclaim(key, Some(session), own, effects);
        }
    }

    /// Takes a word of a peer. What it may not say, and what is too much, is passed over.
    pub(crate) fn on_word(
        &mut self,
        session: SessionId,
        word: Word,
        own: NodeId,
        effects: &mut Effects,
    ) {
        let Some(line) = self.lines.get_mut(&session).filter(|line| line.may_say(&word)) else {
            return;
        };
        let Word { topic, node, time, epoch, value, mut via } = word;
        let key = (topic, node);
        // What came from here, or over here, is known better here.
        if value.is_nil() || node == own || via.contains(&own) {
            return self.unclaim(key, Some(session), own, effects);
        }
        if !line.claimed.contains(&key) {
            let is_full = self.said.len() >= SIGNALS_MAX && !self.said.contains_key(&key);
            if is_full || line.claimed.len() >= line.claims_max() {
                return;
            }
            line.claimed.insert(key.clone());
        }
        if node != line.peer {
            via.push(line.peer);
        }
        self.claim(key, Some(session), (time, epoch), value, via, own, effects);
    }

    /// Says something in this node's name, or takes it back.
    fn say(
        &mut self,
        now: Now,
        author: Author,
        topic: Name,
        value: Encoded,
        effects: &mut Effects,
    ) -> Result<(), UsageError> {
        let bytes = value.as_bytes().len();
        if bytes > SIGNAL_BYTES_MAX {
            return Err(UsageError::SignalTooLong { bytes });
        }
        let key = (topic, author.node);
        if value.is_nil() {
            self.own.remove(&key.0);
            self.unclaim(key, None, author.node, effects);
            return Ok(());
        }
        if self.own.len() >= SIGNALS_OWN_MAX && !self.own.contains(&key.0) {
            return Err(UsageError::TooManyTopics);
        }
        self.own.insert(key.0.clone());
        // Later than the one before, whatever the clock says.
        self.last =
            Time::from_ms(now.wall_ms).max(Time::from_bits(self.last.bits().saturating_add(1)));
        let version = (self.last, author.epoch);
        self.claim(key, None, version, value, Vec::new(), author.node, effects);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "a claim has so many parts")]
    fn claim(
        &mut self,
        key: Key,
        by: Option<SessionId>,
        version: Version,
        value: Encoded,
        via: Vec<NodeId>,
        own: NodeId,
        effects: &mut Effects,
    ) {
        let said = self.said.entry(key.clone()).or_insert_with(|| Said {
            version,
            value: Encoded::NIL,
            claims: BTreeMap::new(),
        });
        let is_new = said.claims.is_empty() || version > said.version;
        let is_moved = said.claims.insert(by, via.clone()) != Some(via);
        if is_new {
            (said.version, said.value) = (version, value.clone());
            self.tell_host(&key, Some(value), own, effects);
        }
        if is_new || is_moved {
            self.note_due(&key);
        }
    }

    /// Takes a claim away; the last one takes the signal along.
    fn unclaim(&mut self, key: Key, by: Option<SessionId>, own: NodeId, effects: &mut Effects) {
        if let Some(line) = by.and_then(|session| self.lines.get_mut(&session)) {
            line.claimed.remove(&key);
        }
        let Some(said) = self.said.get_mut(&key) else {
            return;
        };
        if said.claims.remove(&by).is_none() {
            return;
        }
        if said.claims.is_empty() {
            self.said.remove(&key);
            self.tell_host(&key, None, own, effects);
        }
        self.note_due(&key);
    }

    fn tell_host(
        &self,
        (topic, node): &Key,
        value: Option<Encoded>,
        own: NodeId,
        effects: &mut Effects,
    ) {
        if *node != own && self.watched.contains(topic) {
            let signal = Signal { topic: topic.clone(), node: *node, value };
            effects.events.push(Event::Signal(signal));
        }
    }

    /// Notes that those who want a topic may have to be told something on it.
    fn note_due(&mut self, key: &Key) {
        let listeners = self.listeners.get(&key.0).into_iter().flatten();
        for session in self.of_all.iter().chain(listeners) {
            if let Some(line) = self.lines.get_mut(session) {
                line.due.insert(key.clone());
                self.ready.insert(*session);
            }
        }
    }

    /// What a peer is to know of a signal, and over which relays it gets it; `None` when it is not to hear of it, or has
    /// nothing to gain from hearing it here.
    fn for_peer(&self, session: SessionId, line: &Line, key: &Key) -> Option<(&Said, &[NodeId])> {
        let said = self.said.get(key)?;
        let (topic, author) = key;
        let principal = line.principal.as_deref();
        let is_wanted = line.wants.has(topic) && may(principal, Doing::Hear, topic);
        let is_news = |via: &[NodeId]| {
            *author != line.peer && !via.contains(&line.peer) && via.len() < RELAYS_MAX
        };
        let claims = said.claims.iter().filter(|(by, via)| **by != Some(session) && is_news(via));
        let (_, via) = claims.min_by_key(|(by, via)| (via.len(), **by))?;
        is_wanted.then_some((said, via))
    }

    /// The next message that a peer has to hear. What changed several times since the last one is said once.
    pub(crate) fn next(&mut self, session: SessionId) -> Option<Message> {
        let mut line = self.lines.remove(&session)?;
        let message = self.next_of(session, &mut line);
        self.lines.insert(session, line);
        message
    }

    /// Whether the peer knows what this node wants.
    fn has_asked(&self, line: &Line) -> bool {
        match &line.asked {
            Topics::All => self.is_relay,
            Topics::Some(topics) => !self.is_relay && *topics == self.watched,
        }
    }

    fn next_of(&self, session: SessionId, line: &mut Line) -> Option<Message> {
        if !self.has_asked(line) {
            let watched = || Topics::Some(self.watched.clone());
            line.asked = if self.is_relay { Topics::All } else { watched() };
            return Some(Message::Topics(line.asked.clone()));
        }
        while let Some(key) = line.due.pop_first() {
            let word = match self.for_peer(session, line, &key) {
                Some((said, via)) => {
                    let now = (said.version, via.to_vec());
                    if line.told.get(&key) == Some(&now) {
                        continue;
                    }
                    let word = word_of(&key, said.version, said.value.clone(), via.to_vec());
                    line.told.insert(key, now);
                    word
                }
                None => match line.told.remove(&key) {
                    Some((version, _)) => word_of(&key, version, Encoded::NIL, Vec::new()),
                    None => continue,
                },
            };
            return Some(Message::Signal(word));
        }
        None
    }

    /// Notes that a session's transport has room, for what may have waited for it.
    pub(super) fn on_room(&mut self, session: SessionId) {
        let waits = |line: &Line| !line.due.is_empty() || !self.has_asked(line);
        if self.lines.get(&session).is_some_and(waits) {
            self.ready.insert(session);
        }
    }

    /// How many signals are known, and how many wait to be told.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.said.len(), self.lines.values().map(|line| line.due.len()).sum())
    }
}

/// What is said on a topic.
fn on_topic<'a>(
    said: &'a BTreeMap<Key, Said>,
    topic: &'a Name,
) -> impl Iterator<Item = (&'a Key, &'a Said)> {
    let first = (topic.clone(), NodeId::from_bytes([0; 16]));
    said.range(first..).take_while(move |((it, _), _)| it == topic)
}

fn word_of(key: &Key, (time, epoch): Version, value: Encoded, via: Vec<NodeId>) -> Word {
    let (topic, node) = key.clone();
    Word { topic, node, time, epoch, value, via }
}

impl Engine {
    /// What other nodes say on a topic at present, in the order of their ids; complete only while the topic is watched.
    pub fn signals(&self, topic: &Name) -> Vec<(NodeId, Encoded)> {
        let own = self.node();
        let said = on_topic(&self.own.signals.said, topic);
        let others = said.filter(|((_, node), _)| *node != own);
        others.map(|((_, node), said)| (*node, said.value.clone())).collect()
    }

    pub(super) fn on_say(
        &mut self,
        now: Now,
        topic: Name,
        value: Encoded,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let author = self.own.author();
        Ok(self.own.signals.say(now, author, topic, value, effects)?)
    }

    pub(super) fn on_watch(&mut self, topics: BTreeSet<Name>) -> Result<(), Error> {
        if topics.len() > TOPICS_MAX {
            return Err(UsageError::TooManyTopics.into());
        }
        let signals = &mut self.own.signals;
        if signals.watched != topics {
            signals.watched = topics;
            signals.ready.extend(signals.lines.keys());
        }
        Ok(())
    }

    /// Tells peers what has changed for them, as far as their transports have room.
    pub(super) fn speak(&mut self, effects: &mut Effects) {
        while let Some(id) = self.own.signals.ready.pop_first() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.speak(&mut self.own, effects);
            }
        }
    }
}
