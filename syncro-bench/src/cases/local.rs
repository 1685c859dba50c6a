//! W1 and U1: local creates, and updates of one field, without waiting for the disk.

use serde::Serialize;
use syncro::Durability;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::loro::Loro;
use crate::engines::syncro::Syncro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Peer};
use crate::measure::Sample;
use crate::workload::{Change, Edit, Workload};

pub const W1: Family = Family {
    cases: &[
        case("W1", Metric::Rate, Goal::Yrs(2.0)),
        case("W1-memory", Metric::Rate, Goal::Yrs(2.5)),
    ],
    peers: &Peer::ALL,
    scale: 1.0,
    run: |peer, setting| run(peer, setting, Kind::Creates),
    repetitions: 3,
};

pub const U1: Family = Family {
    cases: &[
        case("U1", Metric::Rate, Goal::Yrs(1.5)),
        case("U1-memory", Metric::Rate, Goal::Yrs(2.5)),
    ],
    peers: &Peer::ALL,
    scale: 1.0,
    run: |peer, setting| run(peer, setting, Kind::Updates),
    repetitions: 3,
};

#[derive(Clone, Copy)]
enum Kind {
    Creates,
    Updates,
}

impl Kind {
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Creates => ["W1", "W1-memory"],
            Self::Updates => ["U1", "U1-memory"],
        }
    }
}

/// Changes that are made before the clock runs, those that are timed, and what they come to.
struct Work {
    before: Vec<Change>,
    timed: Vec<Change>,
    workload: Workload,
}

impl Work {
    fn new(kind: Kind, n: usize) -> Self {
        let mut workload = Workload::new(SEED);
        let creates = workload.creates(n);
        match kind {
            Kind::Creates => Self { before: Vec::new(), timed: creates, workload },
            Kind::Updates => {
                let timed = workload.updates(n);
                Self { before: creates, timed, workload }
            }
        }
    }
}

fn run(peer: Peer, setting: &Setting, kind: Kind) -> Samples {
    let work = Work::new(kind, setting.n);
    let [name, in_memory] = kind.names();
    let sample = match peer {
        Peer::Syncro => {
            let mut samples = Samples::new();
            if setting.wants(name) {
                let node = Syncro::open(&setting.path("node.redb"), "a");
                samples.push((name, syncro(node, &work)));
            }
            if setting.wants(in_memory) {
                samples.push((in_memory, syncro(Syncro::in_memory("a"), &work)));
            }
            return samples;
        }
        Peer::Automerge => document::<Automerge>(&work),
        Peer::Loro => document::<Loro>(&work),
        Peer::Yrs => document::<Yrs>(&work),
        Peer::Limit => codec(&work.timed),
    };
    vec![(name, sample), (in_memory, sample)]
}

fn syncro(node: Syncro, work: &Work) -> Sample {
    work.before.iter().for_each(|change| node.apply(change, Durability::Deferred));
    let (sample, ()) = Sample::of(work.timed.len(), || {
        work.timed.iter().for_each(|change| node.apply(change, Durability::Deferred));
    });
    assert_eq!(node.contents(), work.workload.contents());
    node.close();
    sample
}

fn document<D: Document>(work: &Work) -> Sample {
    let mut document = D::new(false);
    work.before.iter().for_each(|change| document.apply(change));
    let (sample, ()) = Sample::of(work.timed.len(), || {
        work.timed.iter().for_each(|change| document.apply(change));
    });
    assert_eq!(document.contents(), work.workload.contents());
    sample
}

/// Each change encoded once, as an array in MessagePack, into a buffer of its own.
fn codec(changes: &[Change]) -> Sample {
    let author = [7_u8; 16];
    let (mut sample, bytes) = Sample::of(changes.len(), || {
        let encoded = changes.iter().enumerate().map(|(at, change)| {
            let encoded = rmp_serde::to_vec(&Encoded::of(change, &author, at as u64)).unwrap();
            std::hint::black_box(encoded).len()
        });
        encoded.sum::<usize>()
    });
    sample.bytes = bytes as u64;
    sample
}

/// What there is to say of a change: whose it is, when it was made, and what it does.
#[derive(Serialize)]
struct Encoded<'a>(&'a [u8; 16], u64, &'a str, &'a str, Fields<'a>);

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    All(&'a str, bool, i64, i64),
    Text(&'a str, &'a str),
    Number(&'a str, i64),
    None,
}

impl<'a> Encoded<'a> {
    fn of(change: &'a Change, author: &'a [u8; 16], time: u64) -> Self {
        let (id, fields) = match change {
            Change::Create(todo) => {
                let fields = Fields::All(&todo.title, todo.done, todo.priority, todo.updated);
                (&todo.id, fields)
            }
            Change::Update(id, edit) => {
                let fields = match edit {
                    Edit::Title(title) => Fields::Text("title", title),
                    Edit::Priority(priority) => Fields::Number("priority", *priority),
                    Edit::Updated(updated) => Fields::Number("updated", *updated),
                };
                (id, fields)
            }
            Change::Destroy(id) => (id, Fields::None),
        };
        Self(author, time, "todo", id, fields)
    }
}
