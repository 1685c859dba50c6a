//! Nodes with rights: engines over disks in memory, links that can be cut at every message, virtual time.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use syncro_core::{
    Access, Attempt, Channel, Claim, CloseReason, Config, Edit, Effects, Encoding, Engine, Error,
    Event, Fields, FieldsWriter, Input, ModelChannels, Name, NodeId, Now, Pattern, Permissions,
    Principal, Proposal, Record, RecordId, RecordKey, Refusal, Role, ScribeModel, SessionId, Store,
    Value, Verdict, View,
};
use syncro_store::{LogStore, MemoryDisk};

use super::counted::Counted;

/// Where the wall clock starts: some day in 2024.
const WALL_MS: u64 = 1_710_000_000_000;

/// What may be written by whom, by the text of the credentials; to be changed at any time.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Arc<Mutex<Ruling>>);

#[derive(Debug, Default)]
struct Ruling {
    principals: BTreeMap<String, Principal>,
    authors: BTreeMap<NodeId, Principal>,
    /// A title that nobody may give.
    taboo: Option<i64>,
    /// One on which nobody can decide.
    riddle: Option<i64>,
    asked: usize,
}

impl Rules {
    pub(super) fn let_in(&self, credentials: &str, principal: Principal) {
        self.0.lock().unwrap().principals.insert(credentials.to_owned(), principal);
    }

    pub(super) fn know(&self, author: &str, principal: Principal) {
        self.0.lock().unwrap().authors.insert(NodeId::named(author), principal);
    }

    pub(super) fn forbid_title(&self, title: i64) {
        self.0.lock().unwrap().taboo = Some(title);
    }

    pub(super) fn fail_on(&self, title: i64) {
        self.0.lock().unwrap().riddle = Some(title);
    }

    /// How often somebody asked who a peer is.
    pub(super) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl Permissions for Rules {
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>> {
        let mut ruling = self.0.lock().unwrap();
        ruling.asked += 1;
        let credentials = match claim.role {
            Role::Dial(_) => "whom we call",
            Role::Accept => std::str::from_utf8(claim.credentials).ok()?,
        };
        ruling.principals.get(credentials).cloned().map(Arc::new)
    }

    fn author(&self, node: NodeId) -> Option<Arc<Principal>> {
        self.0.lock().unwrap().authors.get(&node).cloned().map(Arc::new)
    }

    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        let Ruling { taboo, riddle, .. } = *self.0.lock().unwrap();
        if attempt
            .trials
            .iter()
            .any(|trial| title(&trial.after).is_some_and(|it| Some(it) == riddle))
        {
            return Err(Refusal::new(Refusal::FAILED, "no idea"));
        }
        for trial in attempt.trials {
            let title = title(&trial.after);
            if title.is_some()
                && title == taboo
                && trial.before.as_deref().and_then(self::title) != title
            {
                return Err(Refusal::new(Refusal::APPLICATION, "that is no title"));
            }
        }
        Ok(())
    }
}

pub(super) fn title(record: &Record) -> Option<i64> {
    match Fields::of(record).to_values().get("title") {
        Some(Value::Int(title)) => i64::try_from(*title).ok(),
        _ => None,
    }
}

/// A principal that may write into channels that match.
pub(super) fn writer(name: &str, patterns: &[&str]) -> Principal {
    let patterns = patterns.iter().map(|pattern| Pattern::new(pattern).unwrap());
    Principal::new(name).may_read(Access::All).may_write(patterns.collect::<Vec<_>>())
}

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) store: LogStore,
    disk: MemoryDisk,
    name: String,
    rules: Option<Rules>,
    is_view: bool,
    /// How many rows and records its engine has read.
    pub(super) reads: Cell<usize>,
    applied: Option<u64>,
    pub(super) events: Vec<Event>,
}

struct End {
    node: usize,
    session: SessionId,
    incoming: VecDeque<Bytes>,
    is_open: bool,
}

#[derive(Default)]
pub(super) struct Town {
    pub(super) nodes: Vec<Node>,
    links: Vec<[End; 2]>,
    sessions: u64,
    opens: u8,
    pub(super) ms: u64,
    /// What was delivered to a node.
    pub(super) tape: Option<(usize, Vec<Bytes>)>,
    wall_skew: u64,
}

impl Town {
    /// Adds a node; with rules it is an authority, and knows the model.
    pub(super) fn add(&mut self, name: &str, rules: Option<Rules>) -> usize {
        let disk = MemoryDisk::new();
        self.nodes.push(self.open(name, rules.clone(), false, disk));
        self.opens += 1;
        let number = self.nodes.len() - 1;
        if rules.is_some() {
            let model = ModelChannels {
                model: "note".to_owned(),
                channels: ["list/{list}", "reader/{readers}"].map(str::to_owned).to_vec(),
            };
            let mut proposal = Proposal::default();
            let key = RecordKey {
                model: Name::new(ModelChannels::MODEL).unwrap(),
                id: RecordId::text("note").unwrap(),
            };
            proposal.create(key, &FieldsWriter::fields_of(&model).unwrap()).unwrap();
            self.propose(number, proposal);
            self.sync(number);
        }
        number
    }

    /// Adds a view that follows some channels.
    pub(super) fn add_view(&mut self, name: &str, channels: &[&str]) -> usize {
        self.nodes.push(self.open(name, None, true, MemoryDisk::new()));
        self.opens += 1;
        let number = self.nodes.len() - 1;
        for channel in channels {
            self.subscribe(number, channel);
        }
        self.sync(number);
        number
    }

    pub(super) fn subscribe(&mut self, node: usize, channel: &str) {
        self.input(node, Input::Subscribe { channel: Channel::new(channel).unwrap() });
    }

    pub(super) fn unsubscribe(&mut self, node: usize, channel: &str) {
        self.input(node, Input::Unsubscribe { channel: Channel::new(channel).unwrap() });
    }

    fn open(&self, name: &str, rules: Option<Rules>, is_view: bool, disk: MemoryDisk) -> Node {
        let mut store = LogStore::open(disk.open().unwrap()).unwrap();
        let config = Config {
            node: Some(NodeId::named(name)),
            seed: [self.opens; 32],
            permissions: rules.clone().map(|rules| Arc::new(rules) as Arc<dyn Permissions>),
            view: is_view,
            ..Config::default()
        };
        let (engine, effects) = Engine::open(self.now(), config, &store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        store.sync().unwrap();
        let name = name.to_owned();
        Node {
            engine,
            store,
            disk,
            name,
            rules,
            is_view,
            reads: Cell::new(0),
            applied: None,
            events: Vec::new(),
        }
    }

    /// The node loses what was not flushed, and begins again.
    pub(super) fn crash(&mut self, node: usize) {
        for link in 0..self.links.len() {
            if self.links[link].iter().any(|end| end.node == node && end.is_open) {
                self.cut(link);
            }
        }
        let disk = self.nodes[node].disk.crash();
        self.reopen(node, disk);
    }

    /// What is on a node's disk.
    pub(super) fn image(&self, node: usize) -> MemoryDisk {
        self.nodes[node].disk.crash()
    }

    pub(super) fn reopen(&mut self, node: usize, disk: MemoryDisk) {
        self.opens += 1;
        let (name, rules) = (self.nodes[node].name.clone(), self.nodes[node].rules.clone());
        let mut opened = self.open(&name, rules, self.nodes[node].is_view, disk);
        opened.events = std::mem::take(&mut self.nodes[node].events);
        self.nodes[node] = opened;
    }

    pub(super) fn now(&self) -> Now {
        Now { wall_ms: WALL_MS + self.wall_skew + self.ms, monotonic_ms: self.ms }
    }

    #[track_caller]
    pub(super) fn input(&mut self, node: usize, input: Input) {
        self.try_input(node, input).unwrap();
    }

    pub(super) fn try_input(&mut self, node: usize, input: Input) -> Result<(), Error> {
        let now = self.now();
        let it = &mut self.nodes[node];
        let counted = Counted { store: &it.store, reads: &it.reads };
        let effects = it.engine.handle(now, input, &counted)?;
        let Effects { commit, sends, closes, events, .. } = effects;
        if let Some(commit) = commit {
            it.store.apply(&commit).unwrap();
            it.applied = Some(commit.sequence);
        }
        it.events.extend(events);
        let mut rooms = Vec::new();
        for (session, frame) in sends {
            rooms.push(session);
            for link in &mut self.links {
                for side in 0..2 {
                    if (link[side].node, link[side].session) == (node, session)
                        && link[1 - side].is_open
                    {
                        link[1 - side].incoming.push_back(frame.clone());
                    }
                }
            }
        }
        for (session, _) in closes {
            for end in self.links.iter_mut().flatten() {
                if (end.node, end.session) == (node, session) {
                    end.is_open = false;
                }
            }
        }
        rooms.dedup();
        for session in rooms {
            self.input(node, Input::Room { session });
        }
        Ok(())
    }

    /// Somebody calls who is no node of the town.
    pub(super) fn call(&mut self, node: usize) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let (role, credentials) = (Role::Accept, Bytes::new());
        self.input(node, Input::Open { session, role, credentials });
        session
    }

    pub(super) fn sync(&mut self, node: usize) {
        if let Some(through) = self.nodes[node].applied.take() {
            self.nodes[node].store.sync().unwrap();
            self.input(node, Input::Synced { through });
        }
    }

    /// Connects two nodes; the first one dials, and shows its credentials.
    pub(super) fn connect(&mut self, a: usize, b: usize, credentials: &str) -> usize {
        let ends = [a, b].map(|node| {
            self.sessions += 1;
            let session = SessionId(self.sessions);
            End { node, session, incoming: VecDeque::new(), is_open: true }
        });
        let [dials, accepts] = [ends[0].session, ends[1].session];
        self.links.push(ends);
        let (role, none) = (Role::Accept, Bytes::new());
        self.input(b, Input::Open { session: accepts, role, credentials: none });
        let role = Role::Dial(Encoding::MessagePack);
        let credentials = Bytes::copy_from_slice(credentials.as_bytes());
        self.input(a, Input::Open { session: dials, role, credentials });
        self.links.len() - 1
    }

    /// Lets two meet for as long as anybody has something to say.
    pub(super) fn visit(&mut self, a: usize, b: usize, credentials: &str) {
        let link = self.connect(a, b, credentials);
        self.drive();
        self.cut(link);
    }

    /// The session of a link at a node.
    pub(super) fn session(&self, link: usize, node: usize) -> SessionId {
        self.links[link].iter().find(|end| end.node == node).unwrap().session
    }

    pub(super) fn has_nothing_pending(&self, node: usize) -> bool {
        self.nodes[node].store.rows(b"vp", None, 1).unwrap().is_empty()
    }

    pub(super) fn log_end(&self, node: usize) -> u64 {
        self.nodes[node].engine.end().offset
    }

    pub(super) fn is_open(&self, link: usize) -> bool {
        self.links[link].iter().all(|end| end.is_open)
    }

    /// Delivers one message. Returns whether there was one.
    pub(super) fn step(&mut self, link: usize, side: usize) -> bool {
        let end = &mut self.links[link][side];
        let (node, session) = (end.node, end.session);
        let Some(frame) = end.incoming.pop_front() else {
            return false;
        };
        if end.is_open {
            if let Some((_, frames)) = self.tape.as_mut().filter(|(of, _)| *of == node) {
                frames.push(frame.clone());
            }
            self.input(node, Input::Receive { session, frame });
        }
        true
    }

    pub(super) fn deliver(&mut self, link: usize, side: usize, frame: Bytes) {
        let (node, session) = (self.links[link][side].node, self.links[link][side].session);
        self.input(node, Input::Receive { session, frame });
    }

    pub(super) fn take(&mut self, link: usize, side: usize) -> Vec<Bytes> {
        self.links[link][side].incoming.drain(..).collect()
    }

    pub(super) fn deliver_at(&mut self, link: usize, side: usize, frame: Bytes, wall_ms: u64) {
        let (node, session) = (self.links[link][side].node, self.links[link][side].session);
        let before = self.wall_skew;
        self.wall_skew = wall_ms;
        self.input(node, Input::Receive { session, frame });
        self.wall_skew = before;
    }

    pub(super) fn cut(&mut self, link: usize) {
        for side in 0..2 {
            self.links[link][side].is_open = false;
            let (node, session) = (self.links[link][side].node, self.links[link][side].session);
            self.links[link][side].incoming.clear();
            self.input(node, Input::Lost { session });
        }
    }

    /// Lets two say everything to one another and flush it, while nothing is heard of the others.
    pub(super) fn drive_one(&mut self, link: usize) {
        loop {
            let mut is_quiet = true;
            for side in 0..2 {
                while self.step(link, side) {
                    is_quiet = false;
                }
            }
            for node in [0, 1].map(|side| self.links[link][side].node) {
                is_quiet &= self.nodes[node].applied.is_none();
                self.sync(node);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Lets everybody say everything and flush it.
    pub(super) fn drive(&mut self) {
        for _ in 0..2000 {
            let mut is_quiet = true;
            for link in 0..self.links.len() {
                for side in 0..2 {
                    while self.step(link, side) {
                        is_quiet = false;
                    }
                }
            }
            for node in 0..self.nodes.len() {
                is_quiet &= self.nodes[node].applied.is_none();
                self.sync(node);
            }
            if is_quiet {
                self.ms += 25;
                let before: usize = self.links.iter().flatten().map(|end| end.incoming.len()).sum();
                (0..self.nodes.len()).for_each(|node| self.input(node, Input::Tick));
                let after: usize = self.links.iter().flatten().map(|end| end.incoming.len()).sum();
                let is_idle = self.nodes.iter().all(|node| node.applied.is_none());
                if before == after && is_idle {
                    return;
                }
            }
        }
        panic!("they never come to rest");
    }

    pub(super) fn propose(&mut self, node: usize, proposal: Proposal) {
        self.ms += 1;
        self.input(node, Input::Propose(proposal));
    }

    pub(super) fn create(&mut self, node: usize, id: i64, list: &str, title: i64) {
        let fields =
            [("list".into(), Value::from(list)), ("title".into(), Value::from(title))].into();
        let mut proposal = Proposal::default();
        proposal.create(key(id), &Fields::from_values(&fields).unwrap()).unwrap();
        self.propose(node, proposal);
    }

    pub(super) fn edit(&mut self, node: usize, id: i64, edits: Vec<Edit>) {
        let mut proposal = Proposal::default();
        proposal.update(key(id), edits).unwrap();
        self.propose(node, proposal);
    }

    pub(super) fn retitle(&mut self, node: usize, id: i64, title: i64) {
        self.edit(node, id, vec![set("title", Value::from(title))]);
    }

    pub(super) fn raise(&mut self, node: usize, id: i64, by: i64) {
        self.edit(node, id, vec![Edit::Raise { field: Name::new("views").unwrap(), by }]);
    }

    pub(super) fn destroy(&mut self, node: usize, id: i64) {
        let mut proposal = Proposal::default();
        proposal.destroy(key(id)).unwrap();
        self.propose(node, proposal);
    }

    /// What a record shows.
    pub(super) fn values(&self, node: usize, id: i64) -> Option<BTreeMap<String, Value>> {
        let record = self.nodes[node].store.record(&key(id)).unwrap()?;
        record.is_alive().then(|| Fields::of(&record).to_values())
    }

    pub(super) fn title(&self, node: usize, id: i64) -> Option<i64> {
        title(self.nodes[node].store.record(&key(id)).unwrap()?.as_ref())
    }

    pub(super) fn views(&self, node: usize, id: i64) -> i64 {
        match self.values(node, id).unwrap().get("views") {
            Some(Value::Int(views)) => i64::try_from(*views).unwrap(),
            _ => 0,
        }
    }

    /// The refusals that a node was told of.
    pub(super) fn refused(&self, node: usize) -> Vec<&Verdict> {
        let events = self.nodes[node].events.iter();
        let refused = events.filter_map(|event| match event {
            Event::Refused(verdict) => Some(verdict),
            _ => None,
        });
        refused.collect()
    }

    /// How many verdicts are in a node's store.
    pub(super) fn verdicts(&self, node: usize) -> usize {
        let model = Name::new(Verdict::MODEL).unwrap();
        let records = self.nodes[node].store.records(&model, None, 1000).unwrap();
        records.iter().filter(|(_, record)| record.is_alive()).count()
    }

    /// How often a node was told that something is set aside.
    pub(super) fn parked(&self, node: usize) -> usize {
        let events = self.nodes[node].events.iter();
        events.filter(|event| matches!(event, Event::Parked(_))).count()
    }

    /// How often a node was told of a forgery.
    pub(super) fn forged(&self, node: usize) -> usize {
        let events = self.nodes[node].events.iter();
        events.filter(|event| matches!(event, Event::Forged { .. })).count()
    }

    pub(super) fn codes(&self, node: usize) -> Vec<u16> {
        self.refused(node).iter().map(|verdict| verdict.refusal.code).collect()
    }

    pub(super) fn closed(&self, node: usize) -> Vec<(CloseReason, bool)> {
        let events = self.nodes[node].events.iter();
        let closed = events.filter_map(|event| match event {
            Event::Closed { reason, by_peer, .. } => Some((*reason, *by_peer)),
            _ => None,
        });
        closed.collect()
    }

    /// Demands that nodes hold equal records, stamps included. What was written to a record that is not there is left to
    /// those who wrote it.
    pub(super) fn assert_equal(&self, nodes: &[usize]) {
        let states = |node: usize| {
            let store = &self.nodes[node].store;
            let mut all = BTreeMap::new();
            for model in store.models().unwrap() {
                for (id, record) in store.records(&model, None, 10_000).unwrap() {
                    let registers = record.registers().iter().filter(|_| record.is_alive());
                    let registers: Vec<_> = registers.map(syncro_core::Register::from).collect();
                    let marks = (record.created(), record.destroyed());
                    all.insert((model.clone(), id), (marks, registers));
                }
            }
            all
        };
        let first = states(nodes[0]);
        for node in &nodes[1..] {
            let other = states(*node);
            assert_eq!(first, other, "nodes {} and {node}", nodes[0]);
        }
    }
}

pub(super) fn key(id: i64) -> RecordKey {
    RecordKey { model: Name::new("note").unwrap(), id: RecordId::Int(id) }
}

pub(super) fn set(field: &str, value: Value) -> Edit {
    Edit::value(Name::new(field).unwrap(), value.encode())
}
