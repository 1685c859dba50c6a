//! Nodes that talk: engines over stores in memory, transports that may be full, virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Attempt, CallFailure, CallId, Called, Claim, CloseReason, Config, Effects, Encoding, Engine,
    Event, Input, Name, NodeId, Now, Permissions, Principal, Refusal, Role, SessionId, Store,
    Value,
};
use syncro_sim::world::wire;
use syncro_store::{LogStore, Memory};

/// Lets in whom it has a principal for, by the text of the credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(pub(super) BTreeMap<&'static str, Principal>);

impl Permissions for Guests {
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>> {
        let credentials = std::str::from_utf8(claim.credentials).ok()?;
        self.0.get(credentials).cloned().map(Arc::new)
    }

    fn authorize(&self, _: &Attempt<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

pub(super) struct Node {
    pub(super) engine: Engine,
    store: LogStore,
    pub(super) events: Vec<Event>,
    wake_at: Option<u64>,
}

/// One end of a connection.
struct End {
    node: usize,
    session: SessionId,
    incoming: VecDeque<Bytes>,
    is_open: bool,
}

/// The place where they meet.
#[derive(Default)]
pub(super) struct Hall {
    pub(super) nodes: Vec<Node>,
    links: Vec<[End; 2]>,
    /// Transports that take no more until they are asked to: what was sent stays under way.
    full: BTreeSet<(usize, SessionId)>,
    sessions: u64,
    pub(super) ms: u64,
    /// How many signals came to each node.
    signals: BTreeMap<usize, usize>,
}

impl Hall {
    pub(super) fn with(names: &[&str]) -> Self {
        let mut hall = Self::default();
        for name in names {
            hall.add(name, None);
        }
        hall
    }

    pub(super) fn add(&mut self, name: &str, guests: Option<Guests>) -> usize {
        self.open(name, guests, false)
    }

    /// Adds a node that need not see everything.
    pub(super) fn add_view(&mut self, name: &str) -> usize {
        self.open(name, None, true)
    }

    fn open(&mut self, name: &str, guests: Option<Guests>, view: bool) -> usize {
        let mut store = LogStore::open(Memory::new()).unwrap();
        let config = Config {
            node: Some(NodeId::named(name)),
            seed: [self.nodes.len() as u8; 32],
            permissions: guests.map(|guests| Arc::new(guests) as Arc<dyn Permissions>),
            view,
            ..Config::default()
        };
        let (engine, effects) = Engine::open(self.now(), config, &store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        store.sync().unwrap();
        self.nodes.push(Node { engine, store, events: Vec::new(), wake_at: None });
        self.nodes.len() - 1
    }

    pub(super) fn now(&self) -> Now {
        Now { wall_ms: 1_710_000_000_000 + self.ms, monotonic_ms: self.ms }
    }

    pub(super) fn id(&self, node: usize) -> NodeId {
        self.nodes[node].engine.node()
    }

    #[track_caller]
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let now = self.now();
        let it = &mut self.nodes[node];
        let effects = it.engine.handle(now, input, &it.store).unwrap();
        let Effects { commit, sends, closes, events, wake_at } = effects;
        let mut synced = None;
        if let Some(commit) = commit {
            it.store.apply(&commit).unwrap();
            it.store.sync().unwrap();
            synced = Some(commit.sequence);
        }
        it.events.extend(events);
        it.wake_at = wake_at;
        let mut rooms = BTreeSet::new();
        for (session, frame) in sends {
            rooms.insert(session);
            if let Some((link, side)) = self.place(node, session) {
                let end = &mut self.links[link][1 - side];
                if end.is_open {
                    end.incoming.push_back(frame);
                }
            }
        }
        for (session, _) in closes {
            if let Some((link, side)) = self.place(node, session) {
                self.links[link][side].is_open = false;
            }
        }
        if let Some(through) = synced {
            self.input(node, Input::Synced { through });
        }
        for session in rooms {
            if !self.full.contains(&(node, session)) {
                self.input(node, Input::Room { session });
            }
        }
    }

    fn place(&self, node: usize, session: SessionId) -> Option<(usize, usize)> {
        let ends = self.links.iter().enumerate().flat_map(|(link, ends)| {
            ends.iter().enumerate().map(move |(side, end)| (link, side, end))
        });
        let mut ends = ends.filter(|(.., end)| (end.node, end.session) == (node, session));
        ends.next().map(|(link, side, _)| (link, side))
    }

    /// Connects two nodes; the first one dials, and shows its credentials.
    pub(super) fn connect(&mut self, a: usize, b: usize, credentials: &'static str) -> usize {
        let ends = [a, b].map(|node| {
            self.sessions += 1;
            let session = SessionId(self.sessions);
            End { node, session, incoming: VecDeque::new(), is_open: true }
        });
        let [dials, accepts] = [ends[0].session, ends[1].session];
        self.links.push(ends);
        let (role, none) = (Role::Accept, Bytes::new());
        self.input(b, Input::Open { session: accepts, role, credentials: none });
        let (role, credentials) = (Role::Dial(Encoding::MessagePack), credentials.into());
        self.input(a, Input::Open { session: dials, role, credentials });
        self.links.len() - 1
    }

    /// Connects two nodes that let everybody in, and lets them get to know each other.
    pub(super) fn meet(&mut self, a: usize, b: usize) -> usize {
        let link = self.connect(a, b, "");
        self.drive();
        link
    }

    pub(super) fn session(&self, link: usize, node: usize) -> SessionId {
        self.links[link].iter().find(|end| end.node == node).unwrap().session
    }

    /// What is under way to a node over a link.
    pub(super) fn under_way(&self, link: usize, node: usize) -> Vec<serde_json::Value> {
        let end = self.links[link].iter().find(|end| end.node == node).unwrap();
        end.incoming.iter().map(wire::read).collect()
    }

    /// Bytes of that.
    pub(super) fn bytes_under_way(&self, link: usize, node: usize) -> usize {
        let end = self.links[link].iter().find(|end| end.node == node).unwrap();
        end.incoming.iter().map(Bytes::len).sum()
    }

    /// The transport of a node takes no more.
    pub(super) fn fill(&mut self, link: usize, node: usize) {
        self.full.insert((node, self.session(link, node)));
    }

    /// The transport of a node takes something again.
    pub(super) fn make_room(&mut self, link: usize, node: usize) {
        let session = self.session(link, node);
        self.full.remove(&(node, session));
        self.input(node, Input::Room { session });
    }

    /// The transport of a node has taken what it was given, and is full again with the next.
    pub(super) fn make_room_once(&mut self, link: usize, node: usize) {
        let session = self.session(link, node);
        self.input(node, Input::Room { session });
    }

    /// Delivers one message to a node. Returns whether there was one.
    pub(super) fn deliver(&mut self, link: usize, node: usize) -> bool {
        let end = self.links[link].iter_mut().find(|end| end.node == node).unwrap();
        let (session, is_open) = (end.session, end.is_open);
        let Some(frame) = end.incoming.pop_front() else {
            return false;
        };
        if is_open {
            *self.signals.entry(node).or_default() += usize::from(wire::kind(&frame) == "signal");
            self.input(node, Input::Receive { session, frame });
        }
        true
    }

    /// A node hears what nobody has said.
    pub(super) fn hears(&mut self, link: usize, node: usize, message: &serde_json::Value) {
        let session = self.session(link, node);
        self.input(node, Input::Receive { session, frame: wire::packed(message) });
    }

    /// Loses what is under way to a node, and whatever else it would hear: the link is half open.
    pub(super) fn lose(&mut self, link: usize, node: usize) {
        let end = self.links[link].iter_mut().find(|end| end.node == node).unwrap();
        end.incoming.clear();
        end.is_open = false;
    }

    /// Lets everybody say everything.
    pub(super) fn drive(&mut self) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            for link in 0..self.links.len() {
                for node in self.links[link].each_ref().map(|end| end.node) {
                    while self.deliver(link, node) {
                        is_quiet = false;
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
        panic!("they never come to rest");
    }

    /// Lets time pass, with each tick at its time.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.ms + ms;
        loop {
            let wakes = self.nodes.iter().filter_map(|node| node.wake_at);
            let Some(next) = wakes.min().filter(|next| *next <= end) else {
                break;
            };
            self.ms = self.ms.max(next);
            for node in 0..self.nodes.len() {
                if self.nodes[node].wake_at.is_some_and(|at| at <= self.ms) {
                    self.input(node, Input::Tick);
                }
            }
        }
        self.ms = end;
    }

    pub(super) fn cut(&mut self, link: usize) {
        for side in 0..2 {
            let end = &mut self.links[link][side];
            end.is_open = false;
            end.incoming.clear();
            let (node, session) = (end.node, end.session);
            self.input(node, Input::Lost { session });
        }
    }

    pub(super) fn close(&mut self, link: usize, node: usize) {
        let session = self.session(link, node);
        self.input(node, Input::Close { session, reason: CloseReason::Done });
    }

    /// Calls a peer.
    pub(super) fn call(&mut self, link: usize, node: usize, call: u64, value: &Value, ms: u64) {
        let (session, name, value) = (self.session(link, node), name("ask"), value.encode());
        let call = CallId(call);
        self.input(node, Input::Call { session, call, name, value, within_ms: ms });
    }

    /// Answers a call.
    pub(super) fn reply(&mut self, node: usize, called: &Called, value: &Value) {
        let Called { session, call, .. } = *called;
        self.input(node, Input::Reply { session, call, answer: Ok(value.encode()) });
    }

    /// The calls that a node was told of since it was asked last.
    pub(super) fn called(&mut self, node: usize) -> Vec<Called> {
        let events = self.nodes[node].events.extract_if(.., |it| matches!(it, Event::Called(_)));
        let called = events.filter_map(|event| match event {
            Event::Called(called) => Some(called),
            _ => None,
        });
        called.collect()
    }

    /// What came of a node's calls since it was asked last: their numbers, and values or codes.
    pub(super) fn answers(&mut self, node: usize) -> Vec<(u64, Result<Value, u16>)> {
        let events = self.nodes[node].events.iter().filter_map(|event| match event {
            Event::Replied { call, answer, .. } => {
                let answer = answer.as_ref().map(|value| value.decode());
                Some((call.0, answer.map_err(|failure: &CallFailure| failure.code)))
            }
            _ => None,
        });
        let answers = events.collect();
        self.nodes[node].events.retain(|event| !matches!(event, Event::Replied { .. }));
        answers
    }

    /// Says something on a topic, in a node's name.
    pub(super) fn say(&mut self, node: usize, topic: &str, value: impl Into<Value>) {
        let (topic, value) = (name(topic), value.into().encode());
        self.input(node, Input::Signal { topic, value });
    }

    /// Lets a node watch topics, and no others.
    pub(super) fn watch(&mut self, node: usize, topics: &[&str]) {
        let topics = topics.iter().map(|topic| name(topic)).collect();
        self.input(node, Input::Topics { topics });
    }

    /// What a node was told of signals since it was asked last, by the numbers of the nodes that say it.
    pub(super) fn told(&mut self, node: usize) -> Vec<(usize, Option<Value>)> {
        let events = std::mem::take(&mut self.nodes[node].events);
        let signals = events.iter().filter_map(|event| match event {
            Event::Signal(signal) => Some(signal),
            _ => None,
        });
        let told = signals.map(|signal| {
            let from = (0..self.nodes.len()).find(|from| self.id(*from) == signal.node);
            (from.unwrap_or(usize::MAX), signal.value.as_ref().map(|value| value.decode()))
        });
        let told = told.collect();
        self.nodes[node].events = events;
        self.nodes[node].events.retain(|event| !matches!(event, Event::Signal(_)));
        told
    }

    /// How many signals came to a node over all its links.
    pub(super) fn signals(&self, node: usize) -> usize {
        self.signals.get(&node).copied().unwrap_or_default()
    }

    /// What a node knows on a topic, by the numbers of the nodes that say it.
    pub(super) fn known(&self, node: usize, topic: &str) -> Vec<(usize, Value)> {
        let known = self.nodes[node].engine.signals(&name(topic)).into_iter().map(|(id, value)| {
            let from = (0..self.nodes.len()).find(|from| self.id(*from) == id);
            (from.unwrap_or(usize::MAX), value.decode())
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(from, _)| *from);
        known
    }

    /// Why the sessions of a node have ended, and whether by the peer.
    pub(super) fn closed(&self, node: usize) -> Vec<(CloseReason, bool)> {
        let events = self.nodes[node].events.iter();
        let closed = events.filter_map(|event| match event {
            Event::Closed { reason, by_peer, .. } => Some((*reason, *by_peer)),
            _ => None,
        });
        closed.collect()
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
