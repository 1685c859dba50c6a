//! What nodes do before they crash.

use std::ops::Range;

use syncro_core::{Edit, Error, Fields, Name, Proposal, RecordId, RecordKey, Value, View};

use crate::node::{Closing, Node, Settings};
use crate::peer::{Link, Peer};

/// A story of a node, from an empty disk on.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) settings: Settings,
    /// How much dearer its images are to look at than those of others: so many fewer of its recoveries are
    /// crashed, unless everything is asked for.
    pub(crate) weight: usize,
    pub(crate) run: fn(&mut Node) -> Result<(), Error>,
}

pub(crate) const SCENARIOS: [Scenario; 13] = [
    scenario("first-open", Settings::SMALL, 1, first_open),
    scenario("single-writes", Settings::SMALL, 1, single_writes),
    scenario("groups", Settings::SMALL, 1, groups),
    scenario("groups-without-a-journal", Settings::BARE, 1, groups),
    scenario("large-transactions", Settings::SMALL, 16, large_transactions),
    scenario("record-in-pieces", Settings::SMALL, 48, record_in_pieces),
    scenario("growth", Settings::TINY, 8, growth),
    scenario("checkpoints", Settings::SMALL, 12, checkpoints),
    scenario("compaction", Settings::SMALL, 16, compaction),
    scenario("reopening", Settings::TINY, 3, reopening),
    scenario("pulling", Settings::SMALL, 3, pulling),
    scenario("pushing", Settings::SMALL, 2, pushing),
    scenario("both-ways", Settings::TINY, 3, both_ways),
];

const fn scenario(
    name: &'static str,
    settings: Settings,
    weight: usize,
    run: fn(&mut Node) -> Result<(), Error>,
) -> Scenario {
    Scenario { name, settings, weight, run }
}

fn first_open(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    node.close(Closing::Tidy)
}

/// Every write is durable before the next.
fn single_writes(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    for id in 0..4 {
        put(node, id, 40)?;
        node.sync()?;
    }
    put(node, 1, 60)?;
    node.sync()?;
    destroy(node, 2)?;
    node.sync()?;
    raise(node, 3)?;
    node.sync()?;
    node.close(Closing::Abrupt)
}

/// Many writes to a sync.
fn groups(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    for group in 0..4 {
        for id in 0..12 {
            put(node, group * 8 + id, 300)?;
        }
        raise(node, group * 8 + 1)?;
        destroy(node, group * 8 + 3)?;
        node.sync()?;
    }
    // Nobody waits for the last one.
    put(node, 99, 300)?;
    node.close(Closing::Abrupt)
}

/// Transactions of up to 1 MiB, which have pages of the log of their own.
fn large_transactions(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    put(node, 1, 40)?;
    node.sync()?;
    for (id, kib) in [(2, 9), (3, 100), (4, 250)] {
        put(node, id, kib << 10)?;
        node.sync()?;
    }
    put_many(node, 1_000..1_004, 255 << 10)?;
    node.sync()?;
    put(node, 1, 60)?;
    node.checkpoint()?;
    node.close(Closing::Abrupt)
}

/// A record that is kept in several rows, and then in one again.
fn record_in_pieces(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    for part in 0..5 {
        fill(node, part, 4, 220 << 10)?;
    }
    node.checkpoint()?;
    fill(node, 4, 4, 1 << 10)?;
    node.checkpoint()?;
    destroy(node, 0)?;
    node.checkpoint()?;
    node.close(Closing::Abrupt)
}

/// The file grows several times, while checkpoints are under way and buffered slices wait.
fn growth(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    for round in 0..6 {
        put(node, round, 80 << 10)?;
        put(node, 20 + round, 3_000)?;
        node.sync()?;
        for _ in 0..round % 3 {
            node.write_behind()?;
        }
    }
    put_many(node, 1_000..1_004, 100 << 10)?;
    node.begin_checkpoint()?;
    node.write_behind()?;
    put(node, 3, 500)?;
    node.sync()?;
    node.write_behind()?;
    node.close(Closing::Abrupt)
}

/// Slices of a checkpoint between syncs, and one that is cut short by the end.
fn checkpoints(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    // More rows than fit into one slice.
    put_many(node, 0..600, 20)?;
    for round in 0..3 {
        put_many(node, 600 + round * 20..700 + round * 20, 20)?;
        node.begin_checkpoint()?;
        for id in 0..2 {
            node.write_behind()?;
            put(node, id, 30)?;
            node.sync()?;
        }
    }
    node.close(Closing::Abrupt)
}

/// A file that has shed most of what was in it, and is told to shrink between two writes.
fn compaction(node: &mut Node) -> Result<(), Error> {
    node.open()?;
    put_many(node, 0..40, 2_000)?;
    node.checkpoint()?;
    for id in 0..34 {
        destroy(node, id)?;
    }
    node.checkpoint()?;
    node.compact()?;
    put(node, 70, 40)?;
    node.sync()?;
    put(node, 71, 40)?;
    node.begin_checkpoint()?;
    node.compact()?;
    node.write_behind()?;
    node.compact()?;
    put(node, 72, 40)?;
    node.sync()?;
    node.close(Closing::Abrupt)
}

/// A node that is opened and closed, in both ways.
fn reopening(node: &mut Node) -> Result<(), Error> {
    for round in 0..5 {
        node.open()?;
        for id in 0..8 {
            put(node, round * 5 + id, 900)?;
        }
        node.sync()?;
        put(node, 77, 100)?;
        node.close(if round % 2 == 0 { Closing::Tidy } else { Closing::Abrupt })?;
    }
    Ok(())
}

/// The node takes over what its peer has.
fn pulling(node: &mut Node) -> Result<(), Error> {
    let mut peer = Peer::new();
    for id in 0..40 {
        peer.propose(fresh(id, 400));
    }
    peer.propose(fresh(90, 200 << 10));
    node.open()?;
    // The first connection breaks early.
    Link::new(1).run(node, &mut peer, 3, 2)?;
    Link::new(2).run(node, &mut peer, usize::MAX, 1)?;
    node.close(Closing::Abrupt)
}

/// The node hands over what it has, and learns how far its peer is.
fn pushing(node: &mut Node) -> Result<(), Error> {
    let mut peer = Peer::new();
    node.open()?;
    for id in 0..20 {
        put(node, id, 400)?;
    }
    Link::new(1).run(node, &mut peer, usize::MAX, 1)?;
    put(node, 3, 50 << 10)?;
    Link::new(2).run(node, &mut peer, usize::MAX, 1)?;
    node.close(Closing::Abrupt)
}

/// Both have something new at each of their meetings, and the same records in part.
fn both_ways(node: &mut Node) -> Result<(), Error> {
    let mut peer = Peer::new();
    node.open()?;
    for round in 0..4 {
        for id in 0..6 {
            peer.propose(fresh(round * 10 + id, 700));
            put(node, 100 + round * 5 + id, 700)?;
        }
        Link::new(round as u64 + 1).run(node, &mut peer, usize::MAX, 3)?;
        node.write_behind()?;
    }
    node.close(Closing::Tidy)
}

/// Writes a value of so many bytes to a note, which may be new.
pub(crate) fn put(node: &mut Node, id: i64, bytes: usize) -> Result<(), Error> {
    let value = text(id, bytes);
    let mut proposal = Proposal::default();
    if node.store().record(&note(id))?.is_none_or(|record| !record.is_alive()) {
        proposal.create(note(id), &Fields::default())?;
    }
    proposal.update(note(id), vec![Edit::value(name("body"), value.encode())])?;
    node.propose(proposal)
}

/// Writes several notes in one transaction.
pub(crate) fn put_many(node: &mut Node, notes: Range<i64>, bytes: usize) -> Result<(), Error> {
    let mut proposal = Proposal::default();
    for id in notes {
        if node.store().record(&note(id))?.is_none_or(|record| !record.is_alive()) {
            proposal.create(note(id), &Fields::default())?;
        }
        proposal.update(note(id), vec![Edit::value(name("body"), text(id, bytes).encode())])?;
    }
    node.propose(proposal)
}

/// Writes several fields of the first note in one transaction.
pub(crate) fn fill(node: &mut Node, part: i64, fields: i64, bytes: usize) -> Result<(), Error> {
    let mut proposal = Proposal::default();
    if node.store().record(&note(0))?.is_none_or(|record| !record.is_alive()) {
        proposal.create(note(0), &Fields::default())?;
    }
    let edits = (0..fields).map(|field| {
        Edit::value(name(&format!("part {part} {field}")), text(field, bytes).encode())
    });
    proposal.update(note(0), edits.collect())?;
    node.propose(proposal)
}

pub(crate) fn destroy(node: &mut Node, id: i64) -> Result<(), Error> {
    let mut proposal = Proposal::default();
    proposal.destroy(note(id))?;
    node.propose(proposal)
}

/// Raises a counter of a note that is there.
pub(crate) fn raise(node: &mut Node, id: i64) -> Result<(), Error> {
    let mut proposal = Proposal::default();
    proposal.update(note(id), vec![Edit::Raise { field: name("count"), by: 1 }])?;
    node.propose(proposal)
}

/// A new note of a peer, in a model of its own.
pub(crate) fn fresh(id: i64, bytes: usize) -> Proposal {
    let key = RecordKey { model: name("letter"), id: RecordId::Int(id) };
    let mut proposal = Proposal::default();
    proposal.create(key.clone(), &Fields::default()).unwrap();
    let edit = Edit::value(name("body"), text(id, bytes).encode());
    proposal.update(key, vec![edit]).unwrap();
    proposal
}

pub(crate) fn note(id: i64) -> RecordKey {
    RecordKey { model: name("note"), id: RecordId::Int(id) }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Bytes that no compression and no blank page resembles.
fn text(seed: i64, bytes: usize) -> Value {
    let mut random = crate::crash::numbers(seed as u64);
    let bytes = (0..bytes.div_ceil(8)).flat_map(|_| random().to_le_bytes()).take(bytes);
    Value::Bytes(bytes.collect())
}
