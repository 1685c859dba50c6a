//! W2: local creates that wait for the disk, one by one and in groups.

use std::fs::File;
use std::io::Write;

use syncro::Durability;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::loro::Loro;
use crate::engines::syncro::Syncro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Journal, Peer};
use crate::measure::Sample;
use crate::workload::{Change, Workload};

/// What the limit appends for each change: an array-form MessagePack of one.
const CHANGE_BYTES: usize = 119;

pub const EACH: Family = Family {
    cases: &[case("W2-1", Metric::Rate, Goal::Limit(0.9))],
    peers: &Peer::ALL,
    scale: 1.0,
    // A hundredth: every one of them waits for the disk.
    run: |peer, setting| run(peer, setting, "W2-1", (setting.n / 100).max(1), 1),
    repetitions: 5,
};

pub const HUNDRED: Family = Family {
    cases: &[case("W2-100", Metric::Rate, Goal::Yrs(1.3))],
    peers: &Peer::ALL,
    scale: 1.0,
    run: |peer, setting| run(peer, setting, "W2-100", setting.n, 100),
    repetitions: 3,
};

pub const THOUSAND: Family = Family {
    cases: &[case("W2-1000", Metric::Rate, Goal::Yrs(2.2))],
    peers: &Peer::ALL,
    scale: 1.0,
    run: |peer, setting| run(peer, setting, "W2-1000", setting.n, 1000),
    repetitions: 3,
};

/// So many that checkpoints run beside it. Automerge would take minutes.
pub const SUSTAINED: Family = Family {
    cases: &[case("W2-100-sustained", Metric::Rate, Goal::Yrs(0.9))],
    peers: &[Peer::Syncro, Peer::Loro, Peer::Yrs, Peer::Limit],
    scale: 5.0,
    run: |peer, setting| run(peer, setting, "W2-100-sustained", setting.n, 100),
    repetitions: 3,
};

fn run(peer: Peer, setting: &Setting, name: &'static str, n: usize, group: usize) -> Samples {
    let mut workload = Workload::new(SEED);
    let changes = workload.creates(n);
    let contents = workload.contents();
    drop(workload);
    let groups: Vec<&[Change]> = changes.chunks(group).collect();
    let (sample, found) = match peer {
        Peer::Syncro => {
            let node = Syncro::open(&setting.path("node.redb"), "a");
            let timed = Sample::of(n, || groups.iter().for_each(|group| write(&node, group)));
            let found = node.contents();
            node.close();
            (timed.0, found)
        }
        Peer::Automerge => document::<Automerge>(setting, n, &groups),
        Peer::Loro => document::<Loro>(setting, n, &groups),
        Peer::Yrs => document::<Yrs>(setting, n, &groups),
        Peer::Limit => (append(setting, n, &groups), contents),
    };
    assert_eq!(found, contents);
    vec![(name, sample)]
}

/// A group of transactions, of which the last waits for all of them.
fn write(node: &Syncro, group: &[Change]) {
    let Some((last, others)) = group.split_last() else { return };
    others.iter().for_each(|change| node.apply(change, Durability::Deferred));
    node.apply(last, Durability::Durable);
}

fn document<D: Document>(
    setting: &Setting,
    n: usize,
    groups: &[&[Change]],
) -> (Sample, crate::workload::Contents) {
    let mut journal = Journal::create(&setting.path("journal"));
    let mut document = D::new(true);
    let (sample, ()) = Sample::of(n, || {
        for group in groups {
            group.iter().for_each(|change| document.apply(change));
            journal.push(&document.take_update());
            journal.persist();
        }
    });
    (sample, document.contents())
}

/// A group is appended in one write, which is waited for.
fn append(setting: &Setting, n: usize, groups: &[&[Change]]) -> Sample {
    let mut file = File::create(setting.path("append")).unwrap();
    let (sample, ()) = Sample::of(n, || {
        for group in groups {
            file.write_all(&vec![7; CHANGE_BYTES * group.len()]).unwrap();
            file.sync_data().unwrap();
        }
    });
    sample
}
