//! A node: engine, store and disk, and beside them what the world knows of its log.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use syncro_core::{
    Commit, Config, Effects, Engine, Entry, Event, Now, Point, Store, Transaction, View,
};
use syncro_store::{LogStore, MemoryDisk};

use super::check::at;
use super::{Failure, Fuse, Law};

#[derive(Debug)]
pub(crate) struct TestNode {
    pub(crate) engine: Engine,
    pub(crate) store: LogStore,
    pub(crate) disk: MemoryDisk,
    pub(crate) log: Log,
    /// What was applied and not flushed.
    pub(crate) unsynced: Vec<Commit>,
    /// The last commit that was flushed without the engine's having heard of it.
    pub(crate) flushed: Option<u64>,
    /// A crash that is going to happen.
    pub(crate) fuse: Option<Fuse>,
    /// A copy of the disk, and of what the log was then.
    pub(crate) image: (MemoryDisk, Log),
    pub(crate) events: Vec<Event>,
    pub(crate) wake_at: Option<u64>,
    /// By how much its wall clock is ahead of the world's.
    pub(crate) skew_ms: i64,
    /// By how much its monotonic clock is.
    pub(crate) uptime_ms: u64,
    /// How often it flushed.
    pub(crate) flushes: u64,
    /// Points of peers that were found to cover nothing that is not held.
    pub(crate) covered: HashSet<Point>,
}

/// What a node's log should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Rc<Entry>>,
    places: HashMap<Bytes, usize>,
    /// How many of the entries are durable.
    durable: usize,
}

impl Log {
    pub(crate) fn entries(&self) -> &[Rc<Entry>] {
        &self.entries
    }

    pub(crate) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.entries.iter().map(|entry| &entry.transaction)
    }

    pub(crate) fn holds(&self, transaction: &Bytes) -> bool {
        self.places.contains_key(transaction)
    }

    pub(crate) fn holds_durably(&self, transaction: &Bytes) -> bool {
        self.places.get(transaction).is_some_and(|place| *place < self.durable)
    }

    pub(crate) fn end(&self) -> Point {
        self.entries.last().map_or(Point::START, |entry| entry.end())
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), Failure> {
        let place = self.entries.len();
        if self.places.insert(entry.transaction.bytes().clone(), place).is_some() {
            return Err(Law::Origin.broken(format!("{} is in the log twice", at(entry))));
        }
        if entry.offset != self.end().offset {
            return Err(Law::Origin.broken(format!(
                "{} does not follow {:?}",
                at(entry),
                self.end()
            )));
        }
        self.entries.push(Rc::new(entry.clone()));
        Ok(())
    }

    /// What is left after a crash that also kept some entries that were not durable.
    fn cut(&mut self, kept: usize) {
        self.entries.truncate(self.durable + kept);
        let left = self.entries.len();
        self.places.retain(|_, place| *place < left);
        self.durable = left;
    }
}

impl TestNode {
    /// Opens a node on a disk that holds a log, after the first `kept` of some commits were written to it
    /// without a flush.
    pub(crate) fn open(
        now: Now,
        config: Config,
        disk: MemoryDisk,
        mut log: Log,
        kept: &[Commit],
    ) -> Result<(Self, Effects), Failure> {
        log.cut(kept.iter().map(|commit| commit.entries.len()).sum());
        let mut store = LogStore::open(disk.open()?)?;
        for commit in kept {
            store.apply(commit)?;
        }
        let (engine, effects) = Engine::open(now, config, &store)?;
        let node = Self {
            engine,
            store,
            image: (disk.image(), Log::default()),
            disk,
            log,
            unsynced: Vec::new(),
            flushed: None,
            fuse: None,
            events: Vec::new(),
            wake_at: None,
            skew_ms: 0,
            uptime_ms: 0,
            flushes: 0,
            covered: HashSet::new(),
        };
        node.check_log()?;
        Ok((node, effects))
    }

    /// Flushes what was applied.
    ///
    /// In turn, what follows from the log is written behind, in part or not at all, for a crash to find it so.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.flushes += 1;
        let syncer = self.store.syncer();
        match self.flushes % 4 {
            0 => syncer.begin_checkpoint()?,
            1 => {
                self.store.sync()?;
                syncer.write_behind()?;
            }
            2 => syncer.checkpoint()?,
            _ => self.store.sync()?,
        }
        self.log.durable = self.log.entries.len();
        let last = self.unsynced.drain(..).next_back();
        self.flushed = last.map(|commit| commit.sequence).or(self.flushed);
        Ok(())
    }

    /// Whether anything has to be flushed, or the engine to hear of it.
    pub(crate) fn has_news(&self) -> bool {
        !self.unsynced.is_empty() || self.flushed.is_some()
    }

    /// Keeps a copy of the disk, for later.
    pub(crate) fn keep_image(&mut self) {
        let mut log = self.log.clone();
        log.cut(0);
        self.image = (self.disk.image(), log);
    }

    /// Whether the store holds the log that it should.
    pub(crate) fn check_log(&self) -> Result<(), Failure> {
        let mut offset = 0;
        let mut expected = self.log.entries.iter();
        loop {
            let found = self.store.entries(offset, 4096)?;
            let Some(last) = found.last() else { break };
            offset = last.end().offset;
            for entry in &found {
                if expected.next().is_none_or(|expected| {
                    expected.transaction != entry.transaction || expected.end() != entry.end()
                }) {
                    return Err(
                        Law::Durability.broken(format!("unexpected in the log: {}", at(entry)))
                    );
                }
            }
        }
        match expected.next() {
            None => Ok(()),
            Some(lost) => Err(Law::Durability.broken(format!("lost from the log: {}", at(lost)))),
        }
    }
}
