//! Syncro below its handle: engine and store on one thread, and messages handed over in memory.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use syncro_core::limits::ECHO_DELAY_MS;
use syncro_core::{
    CloseReason, Commit, Config, Edit, Effects, Encoded, Encoding, Engine, Event, Fields,
    FieldsWriter, Input, Name, NodeId, Now, Proposal, RecordId, RecordKey, Role, ScribeModel,
    SessionId, Store,
};
use syncro_store::{Backend, LogStore, LogStoreBuilder, Redb};

use super::syncro::contents;
use crate::workload::{self, Change, Contents, Todo};

/// Bytes before each frame on a stream.
const PREFIX_BYTES: usize = 4;

/// Received bytes after which a host syncs its store and acknowledges: half of what a peer may send ahead.
const SYNC_BYTES: usize = 2 << 20;

/// 2026-01-01.
const WALL_MS: u64 = 1_767_225_600_000;

/// A node driven by hand.
pub struct Host {
    pub engine: Engine,
    pub store: LogStore,
    started: Instant,
    /// The sequence of the last commit that is not synced, and whether it has anything of the log.
    applied: Option<u64>,
    has_entries: bool,
    received_bytes: usize,
    /// What began the epoch.
    pub opening: Commit,
}

impl Host {
    /// Opens a node in a file, over redb.
    pub fn open(path: &Path, name: &str) -> Self {
        Self::open_with(LogStore::builder(), path, name)
    }

    pub fn open_with(builder: LogStoreBuilder, path: &Path, name: &str) -> Self {
        Self::over(builder, Redb::open(path).unwrap(), name)
    }

    /// Opens a node over any backend.
    pub fn over(builder: LogStoreBuilder, backend: impl Backend, name: &str) -> Self {
        let mut store = builder.open(backend).unwrap();
        let started = Instant::now();
        let config = Config {
            node: Some(NodeId::named(name)),
            name: Some(Name::new(name).unwrap()),
            seed: std::array::from_fn(|_| fastrand::u8(..)),
            ..Config::default()
        };
        let (mut engine, effects) = Engine::open(now(started), config, &store).unwrap();
        // As a node does that has no watchers.
        engine.set_watched(false);
        let opening = effects.commit.expect("an epoch begins");
        store.apply(&opening).unwrap();
        store.sync().unwrap();
        Self {
            engine,
            store,
            started,
            applied: None,
            has_entries: false,
            received_bytes: 0,
            opening,
        }
    }

    /// One change, in one transaction.
    pub fn apply(&mut self, change: &Change) {
        let _ = self.propose(change);
    }

    /// Like [`apply`](Self::apply), and returns what came of it.
    pub fn propose(&mut self, change: &Change) -> Effects {
        self.input(Input::Propose(proposal(change)))
    }

    /// Makes everything durable. Without a session nobody is told.
    pub fn sync(&mut self) -> Effects {
        self.received_bytes = 0;
        let Some(through) = self.applied.take() else { return Effects::default() };
        self.has_entries = false;
        self.store.sync().unwrap();
        self.input(Input::Synced { through })
    }

    /// Writes records and indexes behind the log.
    pub fn checkpoint(&mut self) {
        let _ = self.sync();
        self.store.syncer().checkpoint().unwrap();
    }

    pub fn contents(&self) -> Contents {
        contents(&self.store.reader().snapshot())
    }

    /// Handles an input, and applies what follows.
    pub fn input(&mut self, input: Input) -> Effects {
        let now = now(self.started);
        let effects = self.engine.handle(now, input, &self.store).unwrap();
        if let Some(commit) = &effects.commit {
            self.store.apply(commit).unwrap();
            self.applied = Some(commit.sequence);
            self.has_entries |= !commit.entries.is_empty();
        }
        for event in &effects.events {
            if let Event::Closed { reason, detail, .. } = event {
                assert_eq!(*reason, CloseReason::Lost, "{detail}");
            }
        }
        effects
    }
}

/// A session between two hosts.
pub struct Link<'a> {
    session: SessionId,
    hosts: [&'a mut Host; 2],
    inboxes: [VecDeque<Bytes>; 2],
    /// Bytes of all messages, with their length prefixes.
    bytes: u64,
}

impl<'a> Link<'a> {
    pub fn new(first: &'a mut Host, second: &'a mut Host) -> Self {
        let session = SessionId(first.started.elapsed().as_nanos() as u64);
        Self { session, hosts: [first, second], inboxes: Default::default(), bytes: 0 }
    }

    /// Shakes hands and goes on until each holds durably what the other has, and both know so.
    pub fn sync(&mut self) {
        self.input(1, Input::Open { session: self.session, role: Role::Accept, credentials: Default::default() });
        let role = Role::Dial(Encoding::MessagePack);
        self.input(0, Input::Open { session: self.session, role, credentials: Default::default() });
        self.exchange();
        while !self.is_done() {
            // Only a timer is left: what is sent with some delay.
            self.wait(1);
        }
    }

    /// Lets the two say what can wait, as they do in a session that stays open, and ends it. Returns the bytes of all
    /// messages.
    pub fn close(mut self) -> u64 {
        self.wait(2 * ECHO_DELAY_MS);
        assert!(self.is_done());
        for host in &mut self.hosts {
            let _ = host.input(Input::Lost { session: self.session });
            let _ = host.sync();
        }
        self.bytes
    }

    /// Delivers and syncs until neither has anything to say.
    fn exchange(&mut self) {
        loop {
            while self.deliver(0) | self.deliver(1) {}
            if !(self.sync_at(0) | self.sync_at(1)) {
                return;
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
        self.input(0, Input::Tick);
        self.input(1, Input::Tick);
        self.exchange();
    }

    fn input(&mut self, at: usize, input: Input) {
        let effects = self.hosts[at].input(input);
        self.carry_out(at, effects);
    }

    fn carry_out(&mut self, at: usize, effects: Effects) {
        assert!(effects.closes.is_empty(), "{:?}", effects.closes);
        let has_sent = !effects.sends.is_empty();
        for (_, frame) in effects.sends {
            self.bytes += (frame.len() + PREFIX_BYTES) as u64;
            self.inboxes[1 - at].push_back(frame);
        }
        if has_sent {
            self.input(at, Input::Room { session: self.session });
        }
    }

    /// Delivers the oldest message, and syncs when much has come. Returns whether there was one.
    fn deliver(&mut self, at: usize) -> bool {
        let Some(frame) = self.inboxes[at].pop_front() else { return false };
        self.hosts[at].received_bytes += frame.len();
        self.input(at, Input::Receive { session: self.session, frame });
        if self.hosts[at].received_bytes >= SYNC_BYTES {
            self.sync_at(at);
        }
        true
    }

    /// Syncs if any transaction is not durable; a sync point that moved can wait for the next time.
    fn sync_at(&mut self, at: usize) -> bool {
        if !self.hosts[at].has_entries {
            return false;
        }
        let effects = self.hosts[at].sync();
        self.carry_out(at, effects);
        true
    }

    /// Whether each side knows that the other holds everything, and nobody has anything to say.
    fn is_done(&self) -> bool {
        let knows = |host: &Host| {
            let mut sessions = host.engine.sessions();
            sessions.any(|it| it.session == self.session && it.incoming == 0 && it.outgoing == 0)
        };
        self.inboxes.iter().all(VecDeque::is_empty) && self.hosts.iter().all(|host| knows(host))
    }
}

fn now(started: Instant) -> Now {
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or_default();
    Now { wall_ms: WALL_MS + ms, monotonic_ms: ms }
}

/// The transaction of a change, as the handle would make it.
pub fn proposal(change: &Change) -> Proposal {
    let mut proposal = Proposal::default();
    match change {
        Change::Create(todo) => {
            let fields: Fields = FieldsWriter::fields_of(todo).unwrap();
            proposal.create(key(&todo.id), &fields).unwrap();
        }
        Change::Update(id, edit) => {
            let (field, value) = match edit {
                workload::Edit::Title(title) => ("title", Encoded::of(title)),
                workload::Edit::Priority(priority) => ("priority", Encoded::of(priority)),
                workload::Edit::Updated(updated) => ("updated", Encoded::of(updated)),
            };
            let edit = Edit::value(Name::new(field).unwrap(), value.unwrap());
            proposal.update(key(id), vec![edit]).unwrap();
        }
        Change::Destroy(id) => proposal.destroy(key(id)).unwrap(),
    }
    proposal
}

/// The key of a record.
pub fn key(id: &str) -> RecordKey {
    RecordKey { model: Name::new(Todo::MODEL).unwrap(), id: RecordId::text(id).unwrap() }
}
