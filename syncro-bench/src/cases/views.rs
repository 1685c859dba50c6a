//! One view of one channel, among many channels: filling it, and a change that is shown.
//!
//! In the place of a limit is the same among a hundred channels: what others do is to cost the view nothing.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Access, Attempt, Channel, Claim, Config, Edit, Effects, Encoding, Engine, Event, Fields,
    FieldsWriter, Input, ModelChannels, Name, Now, Permissions, Principal, Proposal, RecordId,
    RecordKey, Refusal, Role, ScribeModel, SessionId, Store, Value,
};
use syncro_store::{LogStore, Memory};

use super::{Family, Goal, Metric, Samples, Setting, case};
use crate::engines::Peer;
use crate::measure::Sample;

// The same count of reads as in the core's own tests.
#[path = "../../../syncro-core/tests/limits/counted.rs"]
mod counted;

use counted::Counted;

pub const VIEWS: Family = Family {
    cases: &[
        case("view-fill", Metric::Time, Goal::None),
        case("view-fill-reads", Metric::Reads, Goal::Limit(1.0)),
        case("view-live", Metric::Rate, Goal::None),
        case("view-live-reads", Metric::Reads, Goal::Limit(1.0)),
    ],
    peers: &[Peer::Syncro, Peer::Limit],
    scale: 1.0,
    run,
    repetitions: 1,
};

/// Records of each channel.
const RECORDS: usize = 10;

/// Channels among which it is compared.
const FEW: usize = 100;

/// Changes that are shown one after the other.
const CHANGES: usize = 1000;

const SESSION: SessionId = SessionId(1);

fn run(peer: Peer, setting: &Setting) -> Samples {
    let channels = if peer == Peer::Limit { FEW } else { setting.n };
    let mut source = Side::open(Config { permissions: Some(Arc::new(Open)), ..config(1) });
    source.fill(channels);
    let mut view = Side::open(Config { view: true, ..config(2) });
    let list = channels / 2;
    view.input(Input::Subscribe { channel: Channel::new(&format!("list/{list}")).unwrap() });
    view.sync();
    source.reads.set(0);
    let (fill, ()) = Sample::of(1, || {
        let credentials = Bytes::new();
        let role = Role::Accept;
        source.input(Input::Open { session: SESSION, role, credentials: credentials.clone() });
        let role = Role::Dial(Encoding::MessagePack);
        view.input(Input::Open { session: SESSION, role, credentials });
        talk(&mut source, &mut view);
    });
    assert!(view.is_current, "the channel is here");
    assert_eq!(view.changes, RECORDS);
    let fill_reads = source.reads.replace(0);
    let (live, ()) = Sample::of(CHANGES, || {
        for change in 0..CHANGES {
            let mut proposal = Proposal::default();
            let title = Value::from(change as i64).encode();
            let edits = vec![Edit::value(name("title"), title)];
            proposal.update(key(list * RECORDS + change % RECORDS), edits).unwrap();
            source.input(Input::Propose(proposal));
            talk(&mut source, &mut view);
        }
    });
    assert_eq!(view.changes, RECORDS + CHANGES, "every change was shown");
    let reads = |ops: usize| Sample { ops: ops as f64, ..Sample::default() };
    vec![
        ("view-fill", fill),
        ("view-fill-reads", reads(fill_reads)),
        ("view-live", live),
        ("view-live-reads", reads(source.reads.get() / CHANGES)),
    ]
}

/// Lets everybody see and change everything.
#[derive(Debug)]
struct Open;

impl Permissions for Open {
    fn authenticate(&self, _: &Claim<'_>) -> Option<Arc<Principal>> {
        let all = Principal::new("all").may_read(Access::All).may_write(Access::All);
        Some(Arc::new(all))
    }

    fn authorize(&self, _: &Attempt<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn config(seed: u8) -> Config {
    Config { seed: [seed; 32], ..Config::default() }
}

/// An engine over a store in memory.
struct Side {
    engine: Engine,
    store: LogStore,
    reads: Cell<usize>,
    ms: u64,
    applied: Option<u64>,
    sends: Vec<Bytes>,
    is_current: bool,
    changes: usize,
}

impl Side {
    fn open(config: Config) -> Self {
        let mut store = LogStore::open(Memory::new()).unwrap();
        let now = Now { wall_ms: 1_767_225_600_000, monotonic_ms: 0 };
        let (engine, effects) = Engine::open(now, config, &store).unwrap();
        store.apply(&effects.commit.expect("an epoch begins")).unwrap();
        store.sync().unwrap();
        let (reads, sends) = (Cell::new(0), Vec::new());
        Self { engine, store, reads, ms: 0, applied: None, sends, is_current: false, changes: 0 }
    }

    fn input(&mut self, input: Input) {
        self.ms += 1;
        let now = Now { wall_ms: 1_767_225_600_000 + self.ms, monotonic_ms: self.ms };
        let view = Counted { store: &self.store, reads: &self.reads };
        let effects = self.engine.handle(now, input, &view).unwrap();
        let Effects { commit, sends, closes, events, .. } = effects;
        assert!(closes.is_empty(), "{closes:?}");
        if let Some(commit) = commit {
            self.store.apply(&commit).unwrap();
            self.applied = Some(commit.sequence);
        }
        self.sends.extend(sends.into_iter().map(|(_, frame)| frame));
        for event in events {
            self.is_current |= matches!(event, Event::Current { .. });
            self.changes += usize::from(matches!(event, Event::Changed(_)));
        }
    }

    /// Returns whether there was anything to flush.
    fn sync(&mut self) -> bool {
        let Some(through) = self.applied.take() else { return false };
        self.store.sync().unwrap();
        self.input(Input::Synced { through });
        true
    }

    /// Writes the records of so many channels.
    fn fill(&mut self, channels: usize) {
        let model =
            ModelChannels { model: "note".to_owned(), channels: vec!["list/{list}".to_owned()] };
        let mut proposal = Proposal::default();
        let id = RecordId::text("note").unwrap();
        let models = RecordKey { model: name(ModelChannels::MODEL), id };
        proposal.create(models, &FieldsWriter::fields_of(&model).unwrap()).unwrap();
        self.input(Input::Propose(proposal));
        for first in (0..channels).step_by(100) {
            let mut proposal = Proposal::default();
            for record in first * RECORDS..channels.min(first + 100) * RECORDS {
                let fields = [
                    ("list".to_owned(), Value::from((record / RECORDS).to_string().as_str())),
                    ("title".to_owned(), Value::from(format!("this is record {record}").as_str())),
                ];
                let fields = Fields::from_values(&fields.into()).unwrap();
                proposal.create(key(record), &fields).unwrap();
            }
            self.input(Input::Propose(proposal));
            self.sync();
        }
        // The index follows in steps of its own.
        self.input(Input::Tick);
        while self.sync() {
            self.input(Input::Tick);
        }
        self.store.syncer().checkpoint().unwrap();
    }
}

/// Lets both say everything and flush it.
fn talk(a: &mut Side, b: &mut Side) {
    loop {
        let mut is_quiet = true;
        for (from, to) in [(0, 1), (1, 0)] {
            let sides = [&mut *a, &mut *b];
            let frames = std::mem::take(&mut sides[from].sends);
            if frames.is_empty() {
                continue;
            }
            is_quiet = false;
            sides[from].input(Input::Room { session: SESSION });
            for frame in frames {
                sides[to].input(Input::Receive { session: SESSION, frame });
            }
        }
        is_quiet &= !a.sync();
        is_quiet &= !b.sync();
        if is_quiet {
            return;
        }
    }
}

fn key(record: usize) -> RecordKey {
    RecordKey { model: name("note"), id: RecordId::Int(record as i64) }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
