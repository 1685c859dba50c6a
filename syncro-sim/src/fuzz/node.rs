//! A node over a disk in memory, and everything that can be read of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::limits::{FRAME_BYTES_MAX, SEND_BUFFER_BYTES};
use syncro_core::{
    Commit, Config, Digest, Edit, Effects, Encoded, Engine, Error, Fields, Held, Input, Name,
    NodeId, Now, OwnRow, PeerRow, Permissions, Point, Proposal, Record, RecordId, RecordKey, Role,
    SessionId, Stamp, Store, StoreError, Transaction, View,
};
use syncro_store::{Backend, Batch, Durability, LogStore, MemoryDisk, Table};

use crate::world::{check_records, records};

/// Where wall clocks start: some day in 2024.
const WALL_MS: u64 = 1_710_000_000_000;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) store: LogStore,
    pub(crate) disk: MemoryDisk,
    /// The sequence of the last commit that was applied, while it is not durable.
    applied: Option<u64>,
}

impl Node {
    /// Opens a node on its disk. No two opens of one node may have one seed.
    pub(crate) fn open(name: &str, seed: u8, disk: MemoryDisk) -> Self {
        Self::open_with(name, seed, disk, None)
    }

    /// The same with permissions.
    pub(crate) fn open_with(
        name: &str,
        seed: u8,
        disk: MemoryDisk,
        permissions: Option<Arc<dyn Permissions>>,
    ) -> Self {
        let node = Some(NodeId::named(name));
        Self::open_as(disk, Config { node, seed: [seed; 32], permissions, ..Config::default() })
    }

    /// The same as whatever it is to be.
    pub(crate) fn open_as(disk: MemoryDisk, config: Config) -> Self {
        let store = LogStore::open(disk.open().unwrap()).unwrap();
        let (engine, effects) = Engine::open(now(0), config, &store).unwrap();
        let mut node = Self { engine, store, disk, applied: None };
        node.apply(effects.commit);
        node.store.sync().unwrap();
        node.applied = None;
        node
    }

    /// Handles an input that no data of the host is in: it never fails, whatever peers sent.
    pub(crate) fn input(&mut self, now_ms: u64, input: Input) -> Effects {
        self.try_input(now_ms, input).expect("the host is blamed for what a peer did")
    }

    /// Handles an input, and applies what follows.
    pub(crate) fn try_input(&mut self, now_ms: u64, input: Input) -> Result<Effects, Error> {
        let mut effects = self.engine.handle(now(now_ms), input, &self.store)?;
        assert_bounded(&effects);
        self.apply(effects.commit.take());
        Ok(effects)
    }

    /// Flushes, if there is anything to.
    pub(crate) fn sync(&mut self, now_ms: u64) -> Effects {
        let Some(through) = self.applied.take() else {
            return Effects::default();
        };
        self.store.sync().unwrap();
        self.input(now_ms, Input::Synced { through })
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.applied.is_none()
    }

    pub(crate) fn contents(&self) -> Contents {
        Contents::read(&self.store).unwrap()
    }

    /// Demands that the store is whole, and the same after it was opened again, also from its log alone.
    pub(crate) fn assert_whole(mut self, now_ms: u64) {
        let _ = self.sync(now_ms);
        let contents = self.contents();
        contents.assert_follows_from_log(self.engine.end());
        for (offset, bytes, stamp, digest) in &contents.log {
            let transaction = Transaction::decode(bytes.clone()).unwrap();
            let held = self.store.held(&transaction).unwrap();
            let known = Held::Same { offset: *offset, digest: *digest };
            assert_eq!(held, known, "{stamp:?} is not found");
        }
        let Self { disk, store, .. } = self;
        drop(store);
        for disk in [disk.crash(), log_alone(&disk)] {
            let reopened = LogStore::open(disk.open().unwrap()).unwrap();
            assert_eq!(Contents::read(&reopened).unwrap(), contents);
        }
    }

    fn apply(&mut self, commit: Option<Commit>) {
        if let Some(commit) = commit {
            self.store.apply(&commit).unwrap();
            self.applied = Some(commit.sequence);
        }
        assert_eq!(self.store.own().unwrap().map(|own| own.end), Some(self.engine.end()));
    }
}

/// The two clocks at a moment.
pub(crate) fn now(ms: u64) -> Now {
    Now { wall_ms: WALL_MS + ms, monotonic_ms: ms }
}

/// Demands that a step gives the host no more than it can bear.
pub(crate) fn assert_bounded(effects: &Effects) {
    let bytes: usize = effects.sends.iter().map(|(_, frame)| frame.len()).sum();
    assert!(effects.sends.iter().all(|(_, frame)| frame.len() <= FRAME_BYTES_MAX));
    assert!(bytes <= SEND_BUFFER_BYTES + FRAME_BYTES_MAX, "{bytes} bytes to send in one step");
}

/// A disk on which nothing is left of what can be derived from the log.
fn log_alone(disk: &MemoryDisk) -> MemoryDisk {
    let disk = disk.crash();
    let backend = disk.open().unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Rows, "mark");
    for table in [Table::Records, Table::Stamps] {
        for (key, _) in backend.scan(table, &[], None, usize::MAX).unwrap() {
            batch.delete(table, key);
        }
    }
    backend.write(&batch, Durability::Durable).unwrap();
    drop(backend);
    disk
}

/// Everything that a store shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) own: Option<OwnRow>,
    pub(crate) peers: Vec<(NodeId, PeerRow)>,
    /// By entry: its offset, bytes and stamp, and the log's digest after it.
    pub(crate) log: Vec<(u64, Bytes, Stamp, Digest)>,
    pub(crate) records: BTreeMap<RecordKey, Arc<Record>>,
}

impl Contents {
    pub(crate) fn read(view: &impl View) -> Result<Self, StoreError> {
        let mut log = Vec::new();
        let mut end = 0;
        loop {
            let entries = view.entries(end, 1000)?;
            let Some(last) = entries.last() else { break };
            end = last.end().offset;
            log.extend(entries.into_iter().map(|entry| {
                let (stamp, bytes) = (entry.transaction.stamp(), entry.transaction.bytes().clone());
                (entry.offset, bytes, stamp, entry.digest)
            }));
        }
        let records = records(view)?;
        Ok(Self { own: view.own()?, peers: view.peers()?, log, records })
    }

    /// Demands that offsets and digests are dense, and that the records are what the reference model makes of the log.
    fn assert_follows_from_log(&self, end: Point) {
        let mut at = Point::START;
        let mut played = Vec::new();
        for (offset, bytes, stamp, digest) in &self.log {
            let read = Transaction::decode(bytes.clone()).unwrap();
            assert_eq!((at.offset, read.stamp()), (*offset, *stamp));
            at = at.then(read.len(), bytes);
            assert_eq!(at.digest, *digest);
            played.push((*stamp, read.scribes().unwrap()));
        }
        assert_eq!(at, end, "the log ends where the engine says");
        assert_eq!(self.own.as_ref().map(|own| own.end), Some(end));
        let played = played.iter().map(|(stamp, scribes)| (*stamp, &scribes[..]));
        check_records(played, &self.records).unwrap_or_else(|what| panic!("{what}"));
    }
}

/// A local write by number: of a few records and fields, in every manner that there is.
pub(crate) fn proposal(view: &impl View, what: u8, value: u8) -> Proposal {
    let key = RecordKey { model: name("note"), id: RecordId::Int(i64::from(value & 3)) };
    let is_alive = view.record(&key).unwrap().is_some_and(|record| record.is_alive());
    let encoded = Encoded::of(&value).unwrap();
    let edit = match what % 8 {
        0 | 1 => Edit::value(name("title"), encoded),
        2 => Edit::value(name("body"), Encoded::of(&"x".repeat(16 * usize::from(value))).unwrap()),
        3 => Edit::Raise { field: name("count"), by: i64::from(value as i8) },
        4 => Edit::add(name("tags"), encoded).unwrap(),
        5 => Edit::remove(name("tags"), encoded).unwrap(),
        6 => Edit::entry(name("meta"), "key", encoded).unwrap(),
        _ => {
            let mut proposal = Proposal::default();
            if is_alive {
                proposal.destroy(key.clone()).unwrap();
            }
            if value & 4 != 0 {
                proposal.create(key, &Fields::default()).unwrap();
            }
            return proposal;
        }
    };
    let mut proposal = Proposal::default();
    if !is_alive {
        proposal.create(key.clone(), &Fields::default()).unwrap();
    }
    proposal.update(key, vec![edit]).unwrap();
    proposal
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Lets a stranger call, greet and ask for the log from a point.
pub(crate) fn call(node: &mut Node, now_ms: u64, session: SessionId, offered: Point) {
    let _ = node.input(
        now_ms,
        Input::Open { session, role: Role::Accept, credentials: Default::default() },
    );
    for frame in [super::wire::hello(NodeId::named("stranger")), super::wire::sync(offered)] {
        let _ = node.input(now_ms, Input::Receive { session, frame });
    }
    assert_eq!(node.engine.sessions().count(), 1, "a fair call is taken");
}
