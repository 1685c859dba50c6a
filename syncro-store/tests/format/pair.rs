//! Two nodes that talk.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use syncro_core::{
    Config, Edit, Effects, Encoding, Engine, Fields, Input, Name, NodeId, Now, Point, Proposal,
    RecordId, RecordKey, Role, SessionId, Store, Value, View,
};
use syncro_store::LogStore;

use crate::story::BEGAN_MS;

/// A node over its store. What it writes is durable at once.
pub(crate) struct Side {
    engine: Engine,
    pub(crate) store: LogStore,
    sent: VecDeque<Bytes>,
}

/// A day after the stories.
const NOW: Now = Now { wall_ms: BEGAN_MS + 86_400_000, monotonic_ms: 0 };

const SESSION: SessionId = SessionId(1);

impl Side {
    pub(crate) fn open(node: &str, store: LogStore) -> Self {
        let config = Config { node: Some(NodeId::named(node)), ..Config::default() };
        let (engine, effects) = Engine::open(NOW, config, &store).unwrap();
        let mut side = Self { engine, store, sent: VecDeque::new() };
        side.carry_out(effects);
        side
    }

    /// Writes a title to a record.
    pub(crate) fn put(&mut self, model: &str, id: i64, title: &str) {
        let name = |text| Name::new(text).unwrap();
        let key = RecordKey { model: name(model), id: RecordId::Int(id) };
        let mut proposal = Proposal::default();
        if self.store.record(&key).unwrap().is_none() {
            proposal.create(key.clone(), &Fields::default()).unwrap();
        }
        let title = Value::Text(title.to_owned()).encode();
        proposal.update(key, vec![Edit::value(name("title"), title)]).unwrap();
        self.input(Input::Propose(proposal));
    }

    pub(crate) fn end(&self) -> Point {
        self.store.own().unwrap().unwrap().end
    }

    /// The state of every record.
    pub(crate) fn records(&self) -> BTreeMap<RecordKey, Vec<u8>> {
        let mut records = BTreeMap::new();
        for model in self.store.models().unwrap() {
            for (id, record) in self.store.records(&model, None, 1000).unwrap() {
                let mut state = Vec::new();
                record.write_state(&mut state);
                records.insert(RecordKey { model: model.clone(), id }, state);
            }
        }
        records
    }

    fn input(&mut self, input: Input) {
        let effects = self.engine.handle(NOW, input, &self.store).unwrap();
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Effects) {
        let through = effects.commit.as_ref().map(|commit| commit.sequence);
        if let Some(commit) = effects.commit {
            self.store.apply(&commit).unwrap();
            self.store.sync().unwrap();
        }
        let is_sent = !effects.sends.is_empty();
        self.sent.extend(effects.sends.into_iter().map(|(_, frame)| frame));
        if let Some(through) = through {
            self.input(Input::Synced { through });
        }
        if is_sent {
            self.input(Input::Room { session: SESSION });
        }
    }
}

/// Connects two nodes until they have nothing more to say.
pub(crate) fn sync(one: &mut Side, other: &mut Side) {
    other.input(Input::Open {
        session: SESSION,
        role: Role::Accept,
        credentials: Default::default(),
    });
    one.input(Input::Open {
        session: SESSION,
        role: Role::Dial(Encoding::MessagePack),
        credentials: Default::default(),
    });
    while !(one.sent.is_empty() && other.sent.is_empty()) {
        while let Some(frame) = one.sent.pop_front() {
            other.input(Input::Receive { session: SESSION, frame });
        }
        while let Some(frame) = other.sent.pop_front() {
            one.input(Input::Receive { session: SESSION, frame });
        }
    }
    one.input(Input::Lost { session: SESSION });
    other.input(Input::Lost { session: SESSION });
}
