//! A node: engine, store and disk, and beside them what the world knows of its log.

use std::ops::{Deref, Range};
use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use syncro_core::{
    Commit, Config, Effects, Engine, Entry, Event, NodeId, Now, Point, Scribe, SessionId,
    SessionStatus, Stamp, Store, StoreError, Time, Transaction, View,
};
use syncro_store::LogStore;

use crate::disk::Disk;

use super::check::{Bounds, OwnWrite, Pen, at, cost};
use super::look::Look;
use super::town::Part;
use super::watch::Watch;
use super::{ByBytes, Failure, Fuse, Law, Sight, WALL_MS};

/// What stores hold behind their logs at most: so little that checkpoints are usual.
pub(crate) const OVERLAY_BYTES: usize = 64 << 10;

/// Rows that a checkpoint writes at once: so few that most checkpoints take several writes.
const SLICE_ROWS: usize = 4;

#[derive(Debug)]
pub struct TestNode {
    pub engine: Engine,
    pub store: LogStore,
    pub disk: Disk,
    pub log: Log,
    /// What was applied and not flushed.
    pub unsynced: Vec<Commit>,
    /// The last commit that was flushed without the engine's having heard of it.
    pub flushed: Option<u64>,
    /// A crash that is going to happen.
    pub fuse: Option<Fuse>,
    /// A copy of the disk, and of what the log was then.
    pub image: (Disk, Log),
    pub events: Vec<Event>,
    pub wake_at: Option<u64>,
    /// By how much its wall clock is ahead of the world's.
    pub skew_ms: i64,
    /// By how much its monotonic clock is.
    pub uptime_ms: u64,
    /// By how much its clocks are faster than the world's, in millionths.
    pub rate_ppm: i64,
    /// The version of the program that it runs.
    pub version: u8,
    /// Whether its disk was told to fail.
    pub is_disk_bad: bool,
    /// Whether the last flush found no room, and there was no word of any since.
    pub is_full: bool,
    /// What the largest commit took in memory, more or less.
    pub(crate) largest_commit: usize,
    /// What the largest flush took since the last whole checkpoint.
    pub(crate) largest_flush: usize,
    /// What its clock may have come to.
    pub(crate) bounds: Bounds,
    /// An application that watches it, and what that had written down at the last flush.
    pub watch: Watch,
    /// Whether it looks away, so that nobody is told of changes.
    pub(crate) looks_away: bool,
    pub saved: Watch,
    /// How often it flushed.
    pub flushes: u64,
    /// Points of peers that were found to cover nothing that is not held.
    pub covered: FxHashSet<Point>,
    /// By peer: up to which offset of the log it was found to hold what the node says that it holds.
    pub(crate) confirmed: FxHashMap<NodeId, u64>,
    /// Whom it writes as.
    pub(crate) pen: Pen,
    /// Somebody who reads at length, and is to see one moment all the while.
    pub(crate) look: Option<Look>,
    /// What it is among others.
    pub(crate) part: Part,
    /// On a view: what it wrote itself and shows.
    pub(crate) own_writes: Vec<OwnWrite>,
    /// On a view: whom it followed when that was last looked at.
    pub(crate) followed: Option<usize>,
    /// Up to where that covered its log then.
    pub(crate) covered_log: u64,
}

/// An entry of a log, and what it changes.
#[derive(Debug)]
pub struct Logged {
    entry: Entry,
    scribes: Vec<Scribe>,
}

impl Logged {
    pub fn scribes(&self) -> &[Scribe] {
        &self.scribes
    }
}

impl Deref for Logged {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

/// What a node's log should be.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<Rc<Logged>>,
    places: ByBytes<usize>,
    /// By entry: the latest time up to it that the node's clock had to follow.
    followed: Vec<Time>,
    /// How many of the entries are durable.
    durable: usize,
}

impl Log {
    pub fn entries(&self) -> &[Rc<Logged>] {
        &self.entries
    }

    /// The first of the entries from an offset on, at which one begins, up to another whose transaction is not had.
    pub(crate) fn first_without(
        &self,
        offsets: Range<u64>,
        has: impl Fn(&Bytes) -> bool,
    ) -> Option<&Entry> {
        let entries = self.entries_from(offsets.start).iter().map(|logged| &logged.entry);
        let mut entries = entries.take_while(|entry| entry.offset < offsets.end);
        entries.find(|entry| !has(entry.transaction.bytes()))
    }

    /// The entries from an offset on, at which one begins.
    pub(crate) fn entries_from(&self, offset: u64) -> &[Rc<Logged>] {
        let first = self.entries.partition_point(|entry| entry.offset < offset);
        &self.entries[first..]
    }

    /// The entry that has the scribe at an offset.
    pub(crate) fn entry_at(&self, offset: u64) -> Option<&Logged> {
        let next = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries.get(next.checked_sub(1)?).map(Rc::as_ref)
    }

    /// What the node's clock had to follow.
    pub(crate) fn followed(&self) -> Time {
        self.followed.last().copied().unwrap_or_default()
    }

    /// The stamp of each transaction, and what it changes.
    pub(crate) fn played(&self) -> impl Iterator<Item = (Stamp, &[Scribe])> {
        self.entries.iter().map(|logged| (logged.transaction.stamp(), logged.scribes()))
    }

    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.entries.iter().map(|entry| &entry.transaction)
    }

    pub fn holds(&self, transaction: &Bytes) -> bool {
        self.places.contains_key(transaction)
    }

    pub fn holds_durably(&self, transaction: &Bytes) -> bool {
        self.places.get(transaction).is_some_and(|place| *place < self.durable)
    }

    pub fn end(&self) -> Point {
        self.entries.last().map_or(Point::START, |entry| entry.end())
    }

    /// Adds an entry, up to which the node's clock had to follow a time.
    pub(crate) fn push(&mut self, entry: &Entry, followed: Time) -> Result<(), Failure> {
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
        let scribes = entry.scribes()?;
        self.entries.push(Rc::new(Logged { entry: entry.clone(), scribes }));
        self.followed.push(followed);
        Ok(())
    }

    /// What is left after a crash, as the store shows it: everything durable, and perhaps more.
    fn cut(&mut self, end: Point) -> Result<(), Failure> {
        let left = match end {
            Point::START => 0,
            end => {
                1 + self.entries.iter().position(|entry| entry.end() == end).ok_or_else(|| {
                    Law::Durability.broken(format!("the log ends at {end:?}, where it never was"))
                })?
            }
        };
        if left < self.durable {
            let lost = at(&self.entries[left]);
            return Err(Law::Durability.broken(format!("lost, though it was durable: {lost}")));
        }
        self.entries.truncate(left);
        self.followed.truncate(left);
        self.places.retain(|_, place| *place < left);
        self.durable = left;
        Ok(())
    }
}

/// After so many flushes an application looks away, and after so many it begins anew.
const LOOKS_AWAY: Range<u64> = 4..7;

/// The clocks of a machine that has been up for a while, and whose quartz is what it is.
pub(crate) fn clocks(now_ms: u64, rate_ppm: i64, skew_ms: i64, uptime_ms: u64) -> Now {
    let own = i128::from(now_ms) * (MILLION + i128::from(rate_ppm)) / MILLION;
    let own = u64::try_from(own).unwrap_or_default();
    Now { wall_ms: (WALL_MS + own).saturating_add_signed(skew_ms), monotonic_ms: own + uptime_ms }
}

const MILLION: i128 = 1_000_000;

/// Opens the store on a disk.
pub(crate) fn open_store(disk: &Disk) -> Result<LogStore, StoreError> {
    disk.open(LogStore::builder().overlay_bytes(OVERLAY_BYTES).slice_rows(SLICE_ROWS))
}

/// Applies those of some commits that a store has not: one that was crowded has flushed some by itself.
pub(crate) fn catch_up(store: &mut LogStore, commits: &[Commit]) -> Result<(), StoreError> {
    let held = store.own()?.map_or(0, |own| own.end.offset);
    let is_there = |commit: &&Commit| match commit.entries.last() {
        Some(last) => last.end().offset <= held,
        None => commit.own.end.offset < held,
    };
    commits.iter().filter(|commit| !is_there(commit)).try_for_each(|commit| store.apply(commit))
}

/// Whether it was done: a full disk is no failure, but a matter of time.
fn unless_full(done: Result<(), StoreError>) -> Result<bool, StoreError> {
    match done {
        Ok(()) => Ok(true),
        Err(StoreError::Full) => Ok(false),
        Err(error) => Err(error),
    }
}

impl TestNode {
    /// Opens a node on a disk that holds a log or its beginning, after the first `kept` of some commits were
    /// written to it without a flush.
    pub fn open(
        now: Now,
        config: Config,
        disk: Disk,
        mut log: Log,
        kept: &[Commit],
    ) -> Result<(Self, Effects), Failure> {
        let mut store = open_store(&disk)?;
        catch_up(&mut store, kept)?;
        log.cut(store.own()?.map_or(Point::START, |own| own.end))?;
        let watch = Watch::list(&store)?;
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
            rate_ppm: 0,
            version: 0,
            is_disk_bad: false,
            is_full: false,
            largest_commit: 0,
            largest_flush: 0,
            bounds: Bounds::default(),
            saved: watch.clone(),
            watch,
            looks_away: false,
            flushes: 0,
            covered: FxHashSet::default(),
            confirmed: FxHashMap::default(),
            pen: Pen::default(),
            look: None,
            part: Part::default(),
            own_writes: Vec::new(),
            followed: None,
            covered_log: 0,
        };
        node.check_log()?;
        Ok((node, effects))
    }

    /// Flushes what was applied.
    ///
    /// In turn, what follows from the log is written behind, in part or not at all, for a crash to find it so.
    ///
    /// # Errors
    ///
    /// Whatever the disk was told to fail with; a full disk is none.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.flushes += 1;
        let syncer = self.store.syncer();
        let is_flushed = match self.flushes % 4 {
            0 => syncer.begin_checkpoint(),
            _ => self.store.sync(),
        };
        self.is_full = !unless_full(is_flushed)?;
        if !self.is_full {
            self.log.durable = self.log.entries.len();
            if self.flushes.is_multiple_of(2) {
                self.saved = self.watch.clone();
            }
            self.largest_flush = self.largest_flush.max(self.unsynced.iter().map(cost).sum());
            let last = self.unsynced.drain(..).next_back();
            self.flushed = last.map(|commit| commit.sequence).or(self.flushed);
        }
        let is_all_behind = match self.flushes % 4 {
            1 => {
                unless_full(syncer.write_behind().map(drop))?;
                false
            }
            2 => unless_full(syncer.checkpoint())?,
            _ => false,
        };
        if is_all_behind {
            self.largest_flush = 0;
        }
        Ok(())
    }

    /// Lets the application look away for some flushes, and go on in the log when it looks up.
    pub(crate) fn look_up_or_away(&mut self, may: bool) -> Result<Option<Sight>, Failure> {
        let is_away = may && self.flushes % LOOKS_AWAY.end >= LOOKS_AWAY.start;
        let mut sight = None;
        if self.looks_away && !is_away {
            (self.watch, sight) = self.watch.clone().resume(&self.store)?;
            sight = sight.and(Some(Sight::LookedUp));
        }
        self.looks_away = is_away;
        self.engine.set_watched(!is_away);
        Ok(sight)
    }

    /// What the application has seen must be what a query shows.
    pub(crate) fn check_watch(&self) -> Result<(), Failure> {
        match self.looks_away {
            true => self.watch.clone().resume(&self.store)?.0.check(&self.store),
            false => self.watch.check(&self.store),
        }
    }

    /// Its two clocks at a moment of the world's time.
    pub(crate) fn now(&self, now_ms: u64) -> Now {
        clocks(now_ms, self.rate_ppm, self.skew_ms, self.uptime_ms)
    }

    /// The first moment of the world's time at which its monotonic clock shows a time.
    pub(crate) fn when(&self, monotonic_ms: u64) -> u64 {
        let own = i128::from(monotonic_ms.saturating_sub(self.uptime_ms));
        let rate = MILLION + i128::from(self.rate_ppm);
        let world = (own * MILLION + rate - 1).div_euclid(rate);
        u64::try_from(world).unwrap_or(u64::MAX)
    }

    /// Who reads by a view.
    pub(crate) fn who(&self) -> String {
        String::from_utf8_lossy(&self.part.credentials).into_owned()
    }

    /// How far the peer of a session is, while it is open.
    pub(crate) fn status(&self, session: SessionId) -> Option<SessionStatus> {
        self.engine.sessions().find(|status| status.session == session)
    }

    /// Whether anything has to be flushed, or the engine to hear of it.
    pub fn has_news(&self) -> bool {
        !self.is_full && !self.unsynced.is_empty() || self.flushed.is_some()
    }

    /// Keeps a copy of the disk, for later.
    pub fn keep_image(&mut self) {
        self.image = (self.disk.image(), self.log.clone());
    }

    /// Whether the store holds the log that it should.
    pub fn check_log(&self) -> Result<(), Failure> {
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
