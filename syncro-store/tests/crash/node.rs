//! A node on a disk that is going to crash.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Commit, Config, Effects, Engine, Error, Fields, Input, Name, NodeId, Now, Proposal, RecordId,
    RecordKey, Store, StoreError, View,
};
use syncro_store::{Backend, Batch, Durability, LogStore, Redb, Table};

use crate::crash::Tape;
use crate::disk::Disk;
use crate::history::History;
use crate::image::Image;
use crate::proof::{Mark, Past, Recovered, Subject};

/// How stores are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) cache_bytes: usize,
    pub(crate) journal_bytes: usize,
    pub(crate) overlay_bytes: usize,
}

/// A node, and what it should find after a crash.
#[derive(Debug)]
pub(crate) struct Node {
    settings: Settings,
    disk: Disk,
    history: History,
    marks: Vec<Mark>,
    /// None while it is closed.
    open: Option<(Engine, LogStore, Shared)>,
    opened: u8,
    now_ms: u64,
    /// The last commit that was applied.
    applied: u64,
    /// Whether its disk was too full for a compaction, and for opening it after that.
    must_reopen: bool,
}

impl Settings {
    /// What little an application may give a store.
    pub(crate) const SMALL: Self =
        Self { cache_bytes: 256 << 10, journal_bytes: usize::MAX, overlay_bytes: 32 << 20 };

    /// The same without a journal.
    pub(crate) const BARE: Self = Self { journal_bytes: 0, ..Self::SMALL };

    /// So little that everything happens at once: pages leave the cache, the journal is full, and checkpoints begin.
    pub(crate) const TINY: Self =
        Self { cache_bytes: 64 << 10, journal_bytes: 16 << 10, overlay_bytes: 24 << 10 };

    pub(crate) fn backend(self, disk: &Disk) -> Result<Redb, StoreError> {
        let builder = Redb::builder().cache_bytes(self.cache_bytes);
        builder.journal_bytes(self.journal_bytes).with_backend(disk.clone())
    }

    pub(crate) fn open(self, disk: &Disk) -> Result<(LogStore, Shared), StoreError> {
        let redb = Shared(Arc::new(self.backend(disk)?));
        let store = LogStore::builder().overlay_bytes(self.overlay_bytes).open(redb.clone())?;
        Ok((store, redb))
    }
}

/// A backend for a store, and for who wants to do to it what a store does not.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Redb>);

impl Backend for Shared {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.0.scan(table, start, end, limit)
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.0.floor(table, at)
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.0.write(batch, durability)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.0.compact()
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.0.reopen()
    }
}

impl Node {
    /// A node that was never opened.
    pub(crate) fn new(settings: Settings, disk: Disk) -> Self {
        Self {
            settings,
            disk,
            history: History::new(),
            marks: vec![Mark { done: 0, made: 0, acknowledged: 0 }],
            open: None,
            opened: 0,
            now_ms: 1_710_000_000_000,
            applied: 0,
            must_reopen: false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Returns the states in which it may be found if it ends now.
    pub(crate) fn states(&self) -> RangeInclusive<usize> {
        self.acknowledged()..=self.history.last()
    }

    /// What its disk was told so far.
    pub(crate) fn past(self) -> Past<History> {
        let tape = Tape::of(&self.disk);
        drop(self.open);
        Past { tape, history: self.history, marks: self.marks }
    }

    pub(crate) fn open(&mut self) -> Result<(), Error> {
        let (store, redb) = self.settings.open(&self.disk)?;
        // What was applied in the life before may have been synced before anybody asked for it, or is gone.
        let found = self.history.recognise(&store, &self.states())?;
        self.history.cut(found.unwrap_or(self.acknowledged()));
        self.begin(store, redb)
    }

    /// Begins an epoch.
    fn begin(&mut self, store: LogStore, redb: Shared) -> Result<(), Error> {
        self.opened += 1;
        let config = Config {
            node: Some(NodeId::named("crashing")),
            seed: [self.opened; 32],
            ..Config::default()
        };
        let (engine, effects) = Engine::open(self.now(), config, &store)?;
        self.open = Some((engine, store, redb));
        self.carry_out(effects)?;
        self.sync()
    }

    /// Closes the node, everything written behind or not.
    pub(crate) fn close(&mut self, how: Closing) -> Result<(), Error> {
        let Some((_engine, store, redb)) = self.open.take() else { return Ok(()) };
        match how {
            Closing::Tidy => store.syncer().checkpoint()?,
            Closing::Abrupt => {}
        }
        drop((store, redb));
        if how == Closing::Tidy {
            self.mark(self.history.last());
        }
        Ok(())
    }

    pub(crate) fn store(&self) -> &LogStore {
        &self.open.as_ref().unwrap().1
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<(), Error> {
        self.input(Input::Propose(proposal)).map(drop)
    }

    /// Gives the engine an input and applies its commit. What it wants to send is left to the caller.
    pub(crate) fn input(&mut self, input: Input) -> Result<Effects, Error> {
        self.now_ms += 1;
        let now = self.now();
        let (engine, store, _) = self.open.as_mut().unwrap();
        let mut effects = engine.handle(now, input, &*store)?;
        let commit = effects.commit.take();
        self.carry_out(Effects { commit, ..Effects::default() })?;
        Ok(effects)
    }

    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.syncing(|store| store.syncer().sync())
    }

    pub(crate) fn begin_checkpoint(&mut self) -> Result<(), Error> {
        self.syncing(|store| store.syncer().begin_checkpoint())
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        self.syncing(|store| store.syncer().checkpoint())
    }

    /// Writes a slice of what is behind, which makes nothing durable that was not.
    pub(crate) fn write_behind(&mut self) -> Result<(), Error> {
        self.store().syncer().write_behind()?;
        Ok(())
    }

    /// Lets the file shrink.
    pub(crate) fn compact(&mut self) -> Result<(), Error> {
        let redb = &self.open.as_ref().unwrap().2;
        let compacted = redb.compact();
        // A store does not compact itself, so nobody else opens it anew.
        self.must_reopen = matches!(compacted, Err(StoreError::Full)) && redb.reopen().is_err();
        Ok(compacted?)
    }

    /// The last commit of the engine that was applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    fn syncing(
        &mut self,
        sync: impl FnOnce(&LogStore) -> Result<(), StoreError>,
    ) -> Result<(), Error> {
        if self.must_reopen {
            self.open.as_ref().unwrap().2.reopen()?;
        }
        let made = self.history.last();
        sync(self.store())?;
        self.mark(made);
        Ok(())
    }

    fn carry_out(&mut self, effects: Effects) -> Result<(), Error> {
        let Some(commit) = effects.commit else { return Ok(()) };
        let applied = self.apply(&commit);
        // It may be found even if it failed: nobody was told, and nobody may rely on it.
        self.history.push(&commit);
        self.mark(self.acknowledged());
        applied
    }

    fn apply(&mut self, commit: &Commit) -> Result<(), Error> {
        self.applied = commit.sequence;
        self.open.as_mut().unwrap().1.apply(commit)?;
        Ok(())
    }

    fn acknowledged(&self) -> usize {
        self.marks.last().map_or(0, |mark| mark.acknowledged)
    }

    fn mark(&mut self, acknowledged: usize) {
        let (done, made) = (self.disk.done(), self.history.last());
        self.marks.push(Mark { done, made, acknowledged });
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.now_ms, monotonic_ms: self.now_ms }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Everything is written behind, as an application does that ends.
    Tidy,
    /// The handles are dropped.
    Abrupt,
}

/// What opens a crashed node.
impl Subject for Settings {
    type History = History;

    fn recover(
        &self,
        image: &Image,
        history: &History,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<History>, String> {
        let disk = Disk::holding(image.clone());
        let (store, redb) = match self.open(&disk) {
            Err(StoreError::Corrupt { .. } | StoreError::NotAStore { .. })
                if *states.start() == 0 && opens_as_a_file(image) =>
            {
                let past = Node::new(*self, Disk::default()).past();
                return Ok(Recovered { found: 0, past });
            }
            opened => opened.map_err(|error| format!("it does not open: {error}"))?,
        };
        let found = history.find(&store, &states)?;
        let mut node = Node::new(*self, disk);
        node.history = history.clone();
        node.history.cut(found);
        node.marks = vec![Mark { done: 0, made: found, acknowledged: *states.start() }];
        // Another life, at another time, than any before.
        node.opened = 100 + crashes as u8;
        node.now_ms += 1_000_000 * crashes as u64;
        node.go_on(store, redb).map_err(|error| format!("it takes no write: {error}"))?;
        Ok(Recovered { found, past: node.past() })
    }
}

impl Node {
    /// Goes on with a store that was opened: writes something, and closes.
    fn go_on(&mut self, store: LogStore, redb: Shared) -> Result<(), Error> {
        self.begin(store, redb)?;
        self.propose_another()?;
        self.close(Closing::Abrupt)
    }

    /// Writes something that no story does, and makes it durable.
    pub(crate) fn propose_another(&mut self) -> Result<(), Error> {
        let key =
            RecordKey { model: Name::new("after")?, id: RecordId::Int(i64::from(self.opened)) };
        let mut proposal = Proposal::default();
        proposal.create(key.clone(), &Fields::default())?;
        self.propose(proposal)?;
        self.sync()?;
        assert!(self.store().record(&key)?.is_some_and(|record| record.is_alive()));
        Ok(())
    }
}

/// Whether an image is a store for who opens files: a creation that did not come to its end is begun anew
/// there.
fn opens_as_a_file(image: &Image) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(&path, image.to_vec()).unwrap();
    let store = Redb::open(&path).and_then(LogStore::open);
    let own = store.as_ref().map(|store| store.own().map(|own| own.is_none()));
    let is_new = matches!(own, Ok(Ok(true)));
    is_new
}
