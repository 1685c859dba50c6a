//! What the tests share: an engine over a store on a disk that may crash.

pub(crate) mod relay;

use syncro_core::{
    Commit, Config, Edit, Engine, Fields, Input, Name, NodeId, Now, Proposal, RecordId, RecordKey,
    Store, Value, View,
};

use crate::backend::MemoryDisk;
use crate::log_store::{LogStore, LogStoreBuilder};

/// An engine over its store.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) store: LogStore,
}

impl World {
    pub(crate) fn on(disk: &MemoryDisk) -> Self {
        Self::with(LogStore::builder(), disk)
    }

    pub(crate) fn with(builder: LogStoreBuilder, disk: &MemoryDisk) -> Self {
        Self::over(builder.open(disk.open().unwrap()).unwrap())
    }

    pub(crate) fn over(store: LogStore) -> Self {
        Self::seeded(store, Config::default().seed)
    }

    /// With a seed of its own its epoch is one, too.
    pub(crate) fn seeded(mut store: LogStore, seed: [u8; 32]) -> Self {
        let config = Config { node: Some(NodeId::named("server")), seed, ..Config::default() };
        let (engine, effects) = Engine::open(Now::default(), config, &store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        store.sync().unwrap();
        Self { engine, store }
    }

    pub(crate) fn write(&mut self, proposal: Proposal) -> Commit {
        let now = Now { wall_ms: 1_710_000_000_000, monotonic_ms: 0 };
        let input = Input::Propose(proposal);
        self.engine.handle(now, input, &self.store).unwrap().commit.unwrap()
    }

    pub(crate) fn create(&mut self, id: i64) -> Commit {
        let mut proposal = Proposal::default();
        proposal.create(todo(id), &Fields::default()).unwrap();
        let commit = self.write(proposal);
        self.store.apply(&commit).unwrap();
        commit
    }

    pub(crate) fn destroy(&mut self, id: i64) {
        let mut proposal = Proposal::default();
        proposal.destroy(todo(id)).unwrap();
        let commit = self.write(proposal);
        self.store.apply(&commit).unwrap();
    }

    pub(crate) fn title(&mut self, id: i64, title: &str) {
        let title = Value::Text(title.into()).encode();
        let edit = Edit::value(Name::new("title").unwrap(), title);
        let mut proposal = Proposal::default();
        proposal.update(todo(id), vec![edit]).unwrap();
        let commit = self.write(proposal);
        self.store.apply(&commit).unwrap();
    }
}

pub(crate) fn todo(id: i64) -> RecordKey {
    RecordKey { model: Name::new("Todo").unwrap(), id: RecordId::Int(id) }
}

/// Everything that can be read, in one value to compare.
pub(crate) fn contents(view: &impl View) -> String {
    let mut text = format!("{:?}", view.own().unwrap());
    for model in view.models().unwrap() {
        text += &format!("\n{model:?} {:?}", view.records(&model, None, 1000).unwrap());
    }
    let entries = view.entries(0, usize::MAX).unwrap();
    let entries =
        entries.iter().map(|entry| (entry.offset, entry.transaction.bytes(), entry.digest));
    text + &format!("\n{:?}", entries.collect::<Vec<_>>())
}
