//! Five hot paths, for the micro benchmarks and for counting instructions.

use std::hint::black_box;

use bytes::Bytes;
use syncro_core::{
    Commit, Effects, Encoding, Input, Point, Record, Role, SessionId, Store, Transaction, View,
};
use syncro_store::{LogStore, Memory};

use crate::engines::host::{Host, key, proposal};
use crate::workload::{Change, Workload};

/// A path, and what it may cost.
pub struct Hot {
    pub name: &'static str,
    /// What one operation is.
    pub what: &'static str,
    /// Whether an operation can be done only once.
    pub is_once: bool,
    /// Instructions of one operation at most: about a tenth more than it took when this was written.
    pub ceiling: u64,
    /// Makes everything ready for operations 0 to [`OPERATIONS`], to be done in order.
    pub make: fn() -> Box<dyn FnMut(usize)>,
}

/// How many operations a path can do.
pub const OPERATIONS: usize = 4000;

pub const PATHS: [Hot; 5] = [
    Hot {
        name: "merge",
        what: "a record copied, and an update merged",
        is_once: false,
        ceiling: 1_060,
        make: merge,
    },
    Hot {
        name: "decode",
        what: "a transaction decoded, hashed and read",
        is_once: false,
        ceiling: 5_900,
        make: decode,
    },
    Hot {
        name: "propose",
        what: "a local update, up to memory",
        is_once: true,
        ceiling: 11_500,
        make: propose,
    },
    Hot {
        name: "receive",
        what: "a live change received, up to memory",
        is_once: true,
        ceiling: 24_000,
        make: receive,
    },
    Hot {
        name: "commit",
        what: "a commit applied, a hundred of them synced",
        is_once: true,
        ceiling: 6_000,
        make: commit,
    },
];

const RECORDS: usize = 1000;

fn host(name: &str) -> Host {
    // Epochs are random, and what is counted must not be.
    fastrand::seed(7);
    let mut host = Host::over(LogStore::builder(), Memory::new(), name);
    host.engine.set_watched(true);
    host
}

/// A host with records, the workload, and the transactions that made them.
fn filled() -> (Host, Workload, Vec<Transaction>) {
    let (mut host, mut workload) = (host("a"), Workload::new(7));
    let creates = workload.creates(RECORDS);
    let transactions = creates.iter().map(|change| transaction(&mut host, change)).collect();
    (host, workload, transactions)
}

fn commit_of(host: &mut Host, change: &Change) -> Commit {
    host.propose(change).commit.expect("it changes something")
}

fn transaction(host: &mut Host, change: &Change) -> Transaction {
    commit_of(host, change).entries.remove(0).transaction
}

/// The record that a change is about, as it is.
fn record(host: &Host, change: &Change) -> Record {
    let Change::Update(id, _) = change else { panic!("{change:?} is no update") };
    let record = host.store.record(&key(id)).unwrap();
    record.expect("the record is there").as_ref().clone()
}

fn merge() -> Box<dyn FnMut(usize)> {
    let (mut host, mut workload, _) = filled();
    let updates = workload.updates(OPERATIONS);
    let pairs: Vec<(Record, Record)> = updates
        .iter()
        .map(|change| {
            let base = record(&host, change);
            let update = transaction(&mut host, change);
            (base, update.scribes().unwrap().remove(0).into_record(update.stamp()).1)
        })
        .collect();
    Box::new(move |at| {
        let (base, update) = &pairs[at % pairs.len()];
        let mut record = base.clone();
        record.merge(update);
        black_box(record);
    })
}

fn decode() -> Box<dyn FnMut(usize)> {
    let (_, _, transactions) = filled();
    let bytes: Vec<Bytes> = transactions.iter().map(|it| it.bytes().clone()).collect();
    Box::new(move |at| {
        let decoded = Transaction::decode(bytes[at % bytes.len()].clone()).unwrap();
        for scribe in decoded.each() {
            black_box(scribe.unwrap().to_record().unwrap());
        }
        black_box(Point::START.then(decoded.len(), decoded.bytes()));
    })
}

fn propose() -> Box<dyn FnMut(usize)> {
    let (mut host, mut workload, _) = filled();
    let updates = workload.updates(OPERATIONS);
    Box::new(move |at| host.apply(&updates[at]))
}

fn receive() -> Box<dyn FnMut(usize)> {
    let (mut sender, mut workload) = (host("a"), Workload::new(7));
    let mut receiver = host("b");
    let session = SessionId(1);
    greet(&mut sender, &mut receiver, session);
    let frames: Vec<Bytes> = workload
        .creates(OPERATIONS)
        .iter()
        .map(|change| {
            let sent = sender.input(Input::Propose(proposal(change))).sends;
            let _ = sender.input(Input::Room { session });
            sent.into_iter().next().expect("each change is sent at once").1
        })
        .collect();
    Box::new(move |at| {
        let frame = frames[at].clone();
        let _ = black_box(receiver.input(Input::Receive { session, frame }));
    })
}

/// Shakes hands until neither has anything to say.
fn greet(a: &mut Host, b: &mut Host, session: SessionId) {
    let mut to_a = sent(b.input(Input::Open { session, role: Role::Accept, credentials: Default::default() }));
    let role = Role::Dial(Encoding::MessagePack);
    let mut to_b = sent(a.input(Input::Open { session, role, credentials: Default::default() }));
    while !to_a.is_empty() || !to_b.is_empty() {
        let (for_a, for_b) = (std::mem::take(&mut to_a), std::mem::take(&mut to_b));
        for frame in for_b {
            to_a.extend(sent(b.input(Input::Receive { session, frame })));
            to_a.extend(sent(b.input(Input::Room { session })));
        }
        for frame in for_a {
            to_b.extend(sent(a.input(Input::Receive { session, frame })));
            to_b.extend(sent(a.input(Input::Room { session })));
        }
    }
}

fn sent(effects: Effects) -> Vec<Bytes> {
    effects.sends.into_iter().map(|(_, frame)| frame).collect()
}

fn commit() -> Box<dyn FnMut(usize)> {
    let mut source = host("a");
    let mut commits = vec![source.opening.clone()];
    let changes = Workload::new(7).creates(OPERATIONS);
    commits.extend(changes.iter().map(|change| commit_of(&mut source, change)));
    let mut store = LogStore::open(Memory::new()).unwrap();
    store.apply(&commits[0]).unwrap();
    Box::new(move |at| {
        store.apply(&commits[at + 1]).unwrap();
        if at % 100 == 99 {
            store.sync().unwrap();
        }
    })
}
