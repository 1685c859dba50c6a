//! S1 to S3: what two replicas lack, exchanged in memory and made durable at whoever receives it.

use std::iter;
use std::path::PathBuf;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::host::{Host, Link};
use crate::engines::loro::Loro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Journal, Peer};
use crate::measure::{Sample, median};
use crate::workload::{Change, Contents, Workload};

const EVERYBODY: &[Peer] = &[Peer::Syncro, Peer::Automerge, Peer::Loro, Peer::Yrs];

pub const COLD: Family = Family {
    cases: &[
        case("S1", Metric::Time, Goal::Yrs(3.0)),
        case("S1-records", Metric::Time, Goal::Yrs(2.0)),
        case("S1-bytes", Metric::Bytes, Goal::Yrs(1.25)),
    ],
    peers: EVERYBODY,
    scale: 1.0,
    run: cold,
    repetitions: 3,
};

pub const FEW: Family = Family {
    cases: &[
        case("S2", Metric::Time, Goal::Yrs(7.0)),
        case("S2-bytes", Metric::Bytes, Goal::Yrs(0.83)),
    ],
    peers: EVERYBODY,
    scale: 1.0,
    run: |peer, setting| few(peer, setting, setting.n, ["S2", "S2-bytes"]),
    repetitions: 3,
};

pub const FEW_OF_FEWER: Family = Family {
    cases: &[case("S2-10k", Metric::Time, Goal::None)],
    peers: EVERYBODY,
    scale: 0.1,
    run: |peer, setting| few(peer, setting, setting.n, ["S2-10k", ""]),
    repetitions: 3,
};

/// Automerge would take minutes.
pub const FEW_OF_MANY: Family = Family {
    cases: &[case("S2-1M", Metric::Time, Goal::Yrs(70.0))],
    peers: &[Peer::Syncro, Peer::Loro, Peer::Yrs],
    scale: 10.0,
    run: |peer, setting| few(peer, setting, setting.n, ["S2-1M", ""]),
    repetitions: 1,
};

pub const BOTH: Family = Family {
    cases: &[case("S3", Metric::Time, Goal::Yrs(1.7))],
    peers: EVERYBODY,
    scale: 1.0,
    run: both,
    repetitions: 5,
};

/// How often a hundred changes follow on the same two replicas.
const ROUNDS: usize = 7;

/// What one of them makes in each round.
const CHANGES: usize = 100;

fn cold(peer: Peer, setting: &Setting) -> Samples {
    let mut workload = Workload::new(SEED);
    let changes = workload.creates(setting.n);
    let sample = match peer {
        Peer::Automerge => cold_document::<Automerge>(setting, &changes, workload.contents()),
        Peer::Loro => cold_document::<Loro>(setting, &changes, workload.contents()),
        Peer::Yrs => cold_document::<Yrs>(setting, &changes, workload.contents()),
        _ => return cold_syncro(setting, &changes, workload.contents()),
    };
    ["S1", "S1-records", "S1-bytes"].map(|name| (name, sample)).to_vec()
}

fn cold_syncro(setting: &Setting, changes: &[Change], contents: Contents) -> Samples {
    let mut first = Host::open(&setting.path("first.redb"), "first");
    changes.iter().for_each(|change| first.apply(change));
    first.checkpoint();
    let mut second = Host::open(&setting.path("second.redb"), "second");
    let mut link = Link::new(&mut first, &mut second);
    let (mut durable, ()) = Sample::of(changes.len(), || link.sync());
    durable.bytes = link.close();
    let (behind, ()) = Sample::of(changes.len(), || second.checkpoint());
    let mut records = durable;
    records.seconds += behind.seconds;
    assert_eq!([first.contents(), second.contents()], [contents; 2]);
    vec![("S1", durable), ("S1-records", records), ("S1-bytes", durable)]
}

fn cold_document<D: Document>(setting: &Setting, changes: &[Change], contents: Contents) -> Sample {
    let mut first = D::new(false);
    changes.iter().for_each(|change| first.apply(change));
    let mut second = D::new(false);
    let mut journal = Journal::create(&setting.path("second"));
    let (mut sample, bytes) = Sample::of(changes.len(), || {
        let mut link = D::Link::default();
        let exchange = D::sync(&mut first, &mut second, &mut link, false);
        journal.push(&exchange.received[1]);
        journal.persist();
        exchange.bytes
    });
    sample.bytes = bytes;
    assert_eq!([first.contents(), second.contents()], [contents; 2]);
    sample
}

fn few(peer: Peer, setting: &Setting, n: usize, names: [&'static str; 2]) -> Samples {
    let mut workload = Workload::new(SEED);
    let creates = workload.creates(n);
    let sample = match peer {
        Peer::Automerge => few_document::<Automerge>(setting, &creates, &mut workload),
        Peer::Loro => few_document::<Loro>(setting, &creates, &mut workload),
        Peer::Yrs => few_document::<Yrs>(setting, &creates, &mut workload),
        _ => few_syncro(setting, &creates, &mut workload),
    };
    names.map(|name| (name, sample)).to_vec()
}

fn few_syncro(setting: &Setting, creates: &[Change], workload: &mut Workload) -> Sample {
    let mut first = Host::open(&setting.path("first.redb"), "first");
    creates.iter().for_each(|change| first.apply(change));
    first.checkpoint();
    let mut second = Host::open(&setting.path("second.redb"), "second");
    meet(&mut first, &mut second);
    second.checkpoint();
    let samples = iter::repeat_with(|| {
        workload.updates(CHANGES).iter().for_each(|change| first.apply(change));
        // The changes are durable where they were made before anybody is told.
        let _ = first.sync();
        let mut link = Link::new(&mut first, &mut second);
        let (mut sample, ()) = Sample::of(1, || link.sync());
        sample.bytes = link.close();
        assert_eq!([first.contents(), second.contents()], [workload.contents(); 2]);
        sample
    });
    median(samples.take(ROUNDS).collect()).expect("there are rounds")
}

/// A session before anything is timed.
fn meet(first: &mut Host, second: &mut Host) {
    let mut link = Link::new(first, second);
    link.sync();
    link.close();
}

fn few_document<D: Document>(
    setting: &Setting,
    creates: &[Change],
    workload: &mut Workload,
) -> Sample {
    let mut first = D::new(false);
    creates.iter().for_each(|change| first.apply(change));
    let (mut second, mut link) = (D::new(false), D::Link::default());
    D::sync(&mut first, &mut second, &mut link, false);
    let mut journal = Journal::create(&setting.path("second"));
    let samples = iter::repeat_with(|| {
        workload.updates(CHANGES).iter().for_each(|change| first.apply(change));
        first.take_update();
        let (mut sample, bytes) = Sample::of(1, || {
            let exchange = D::sync(&mut first, &mut second, &mut link, false);
            journal.push(&exchange.received[1]);
            journal.persist();
            exchange.bytes
        });
        sample.bytes = bytes;
        assert_eq!([first.contents(), second.contents()], [workload.contents(); 2]);
        sample
    });
    median(samples.take(ROUNDS).collect()).expect("there are rounds")
}

/// What two replicas hold, and what each of them does to it while they are apart.
struct Apart {
    creates: Vec<Change>,
    changes: [Vec<Change>; 2],
    /// How many records there are in the end.
    count: usize,
}

impl Apart {
    /// A tenth of `n` records; each side makes half as many changes: a fifth of them titles of records that
    /// the other changes too, two fifths other updates, a tenth destroys, the rest creates.
    fn new(n: usize) -> Self {
        let mut workload = Workload::new(SEED);
        let held = (n / 10).max(20);
        let creates = workload.creates(held);
        let (shared, updated, destroyed) = (held / 10, held / 5, held / 20);
        let ids = workload.ids.clone();
        let (same, rest) = ids.split_at(shared);
        let changes = [0, 1].map(|side| {
            let mut own = workload.fork(SEED + 1 + side);
            let rest = &rest[side as usize * (updated + destroyed)..];
            let mut changes = own.retitle(same);
            changes.extend(own.update_each(&rest[..updated]));
            changes.extend(own.destroy(&rest[updated..updated + destroyed]));
            changes.extend(own.creates(held * 3 / 20));
            changes
        });
        let count = held + 2 * (held * 3 / 20) - 2 * destroyed;
        Self { creates, changes, count }
    }
}

fn both(peer: Peer, setting: &Setting) -> Samples {
    let apart = Apart::new(setting.n);
    let sample = match peer {
        Peer::Automerge => both_documents::<Automerge>(setting, &apart),
        Peer::Loro => both_documents::<Loro>(setting, &apart),
        Peer::Yrs => both_documents::<Yrs>(setting, &apart),
        _ => both_syncro(setting, &apart),
    };
    vec![("S3", sample)]
}

fn both_syncro(setting: &Setting, apart: &Apart) -> Sample {
    let path = |name: &str| -> PathBuf { setting.path(name) };
    let mut first = Host::open(&path("first.redb"), "first");
    apart.creates.iter().for_each(|change| first.apply(change));
    let mut second = Host::open(&path("second.redb"), "second");
    meet(&mut first, &mut second);
    for (host, changes) in [&mut first, &mut second].into_iter().zip(&apart.changes) {
        changes.iter().for_each(|change| host.apply(change));
        host.checkpoint();
    }
    let ops = apart.changes.iter().map(Vec::len).sum();
    let mut link = Link::new(&mut first, &mut second);
    let (mut sample, ()) = Sample::of(ops, || link.sync());
    sample.bytes = link.close();
    assert_equal(first.contents(), second.contents(), apart);
    sample
}

fn both_documents<D: Document>(setting: &Setting, apart: &Apart) -> Sample {
    let mut documents = [D::new(false), D::new(false)];
    let mut link = D::Link::default();
    apart.creates.iter().for_each(|change| documents[0].apply(change));
    let [first, second] = &mut documents;
    D::sync(first, second, &mut link, false);
    for (document, changes) in documents.iter_mut().zip(&apart.changes) {
        changes.iter().for_each(|change| document.apply(change));
        // What was made here is persisted already.
        document.take_update();
    }
    let mut journals = ["first", "second"].map(|name| Journal::create(&setting.path(name)));
    let ops = apart.changes.iter().map(Vec::len).sum();
    let (mut sample, bytes) = Sample::of(ops, || {
        let [first, second] = &mut documents;
        let exchange = D::sync(first, second, &mut link, true);
        for (journal, received) in journals.iter_mut().zip(&exchange.received) {
            journal.push(received);
            journal.persist();
        }
        exchange.bytes
    });
    sample.bytes = bytes;
    assert_equal(documents[0].contents(), documents[1].contents(), apart);
    sample
}

fn assert_equal(first: Contents, second: Contents, apart: &Apart) {
    assert_eq!(first, second);
    assert_eq!(first.count, apart.count);
}
