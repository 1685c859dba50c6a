//! What must hold: at every step, and once the world is at rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use syncro_core::{
    Author, CloseReason, Commit, Element, Encoded, Encoding, Entry, Event, Path, Point, Record,
    RecordKey, Stamp, View,
};

use super::node::Log;
use super::write::{tally, twins};
use super::{Failure, Law, World, wire};

/// How nodes are connected to heal a world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topology {
    Line,
    Ring,
    Star,
}

// At every step.
impl World {
    pub(super) fn check_commit(
        &mut self,
        node: usize,
        commit: &Commit,
        is_own: bool,
    ) -> Result<(), Failure> {
        let it = &mut self.nodes[node];
        for entry in &commit.entries {
            let bytes = entry.transaction.bytes().clone();
            if is_own {
                self.ledger.proposed.insert(bytes.clone());
                self.ledger.raises.insert(bytes.clone(), std::mem::take(&mut self.ledger.raising));
            } else if !self.is_hostile && !self.ledger.proposed.contains(&bytes) {
                return Err(Law::Origin.broken(format!("nobody wrote {}", at(entry))));
            }
            self.ledger.steps.insert(entry.end(), (it.log.end(), bytes));
            it.log.push(entry)?;
        }
        if commit.own.end != it.log.end() {
            let detail = format!("the log ends at {:?}, not {:?}", it.log.end(), commit.own.end);
            return Err(Law::Origin.broken(detail));
        }
        if commit.records.iter().any(|(key, _)| key.model.as_str() == "twin") {
            self.check_twins(node)?;
        }
        if !commit.peers.is_empty() {
            self.check_points(node)?;
        }
        Ok(())
    }

    /// Whether the two records agree that are only ever written together.
    pub(super) fn check_twins(&self, node: usize) -> Result<(), Failure> {
        let store = &self.nodes[node].store;
        let [left, right] = twins().map(|key| store.record(&key));
        let (left, right) = (left?, right?);
        if left != right {
            let detail = format!("node {node} sees half a transaction: {left:?} and {right:?}");
            return Err(Law::Atomicity.broken(detail));
        }
        Ok(())
    }

    /// Whether everything under every sync point of the node is in its log.
    pub(super) fn check_points(&mut self, node: usize) -> Result<(), Failure> {
        if !self.is_strict || self.is_hostile {
            return Ok(());
        }
        let it = &mut self.nodes[node];
        for (_, row) in it.store.peers()? {
            for rung in row.ladder.rungs() {
                let mut at = rung.point;
                let mut passed = Vec::new();
                while at != Point::START && !it.covered.contains(&at) {
                    let Some((before, transaction)) = self.ledger.steps.get(&at) else {
                        let detail = format!("node {node} holds {at:?}, which no log has");
                        return Err(Law::Points.broken(detail));
                    };
                    if !it.log.holds(transaction) {
                        let detail = format!("node {node} holds {rung:?} and not what is under it");
                        return Err(Law::Points.broken(detail));
                    }
                    passed.push(at);
                    at = *before;
                }
                it.covered.extend(passed);
            }
        }
        Ok(())
    }

    pub(super) fn check_event(&self, node: usize, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Closed { reason, by_peer, detail, .. } if !self.is_hostile => {
                let is_fair = matches!(
                    reason,
                    CloseReason::Done
                        | CloseReason::Lost
                        | CloseReason::Silent
                        | CloseReason::HandshakeTimeout
                );
                if !is_fair {
                    let detail =
                        format!("node {node} closes, by peer {by_peer}: {reason}; {detail}");
                    return Err(Law::Blame.broken(detail));
                }
                Ok(())
            }
            Event::Receipt { session, offset, .. } => self.check_receipt(node, session.0, *offset),
            _ => Ok(()),
        }
    }

    /// Whether a peer holds durably what it says that it holds durably.
    fn check_receipt(&self, node: usize, session: u64, offset: u64) -> Result<(), Failure> {
        if !self.is_strict || self.is_hostile {
            return Ok(());
        }
        let ends = self.links.iter().map(|link| &link.ends);
        let Some(ends) = ends.into_iter().find(|ends| ends[0].session.0 == session) else {
            return Ok(());
        };
        let peer = if ends[0].node == node { ends[1].node } else { ends[0].node };
        for entry in self.nodes[node].log.entries() {
            let is_held = self.nodes[peer].log.holds_durably(entry.transaction.bytes());
            if entry.offset < offset && !is_held {
                let detail =
                    format!("node {peer} acknowledged {offset} and has not flushed {}", at(entry));
                return Err(Law::Durability.broken(detail));
            }
        }
        Ok(())
    }
}

// At rest.
impl World {
    /// Ends all faults, lets everybody talk, and demands what must be true then.
    pub(crate) fn heal(&mut self, topology: Topology) -> Result<(), Failure> {
        let held: BTreeSet<Bytes> =
            self.nodes.iter().flat_map(|node| contents(&node.log)).collect();
        self.nodes.iter_mut().for_each(|node| node.fuse = None);
        self.cut_all()?;
        let last = self.nodes.len() - 1;
        for node in 0..last {
            let hub = if matches!(topology, Topology::Star) { last } else { node + 1 };
            self.connect(node, hub, encoding(node))?;
        }
        if matches!(topology, Topology::Ring) {
            self.connect(last, 0, Encoding::Json)?;
        }
        self.settle()?;
        self.check_equal()?;
        let survived = contents(&self.nodes[0].log);
        if let Some(lost) = held.iter().find(|held| !survived.contains(*held)) {
            return Err(Law::Durability.broken(format!("lost by everybody: {lost:02x?}")));
        }
        self.check_end()?;
        self.check_silence()
    }

    /// Whether all nodes hold the same, and what follows from the transactions that they hold.
    pub(crate) fn check_end(&self) -> Result<(), Failure> {
        self.check_equal()?;
        self.check_reference()?;
        self.check_tally()
    }

    /// Whether all nodes hold equal transactions and records.
    pub(crate) fn check_equal(&self) -> Result<(), Failure> {
        let first = &self.nodes[0];
        let (transactions, records) = (contents(&first.log), states(&first.store)?);
        for (number, node) in self.nodes.iter().enumerate() {
            node.check_log()?;
            if contents(&node.log) != transactions {
                let detail = format!("nodes 0 and {number} hold different transactions");
                return Err(Law::Convergence.broken(detail));
            }
            if states(&node.store)? != records {
                let detail = format!("nodes 0 and {number} hold different records");
                return Err(Law::Convergence.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether the records are what a simple model makes of the transactions: the greatest create, the
    /// greatest destroy, and of each register the greatest write since.
    fn check_reference(&self) -> Result<(), Failure> {
        let node = &self.nodes[0];
        let scribes = || {
            node.log.transactions().flat_map(|transaction| {
                transaction.scribes().iter().map(move |scribe| (transaction.stamp(), scribe))
            })
        };
        let mut marks: BTreeMap<RecordKey, [Option<Stamp>; 2]> = BTreeMap::new();
        for (stamp, scribe) in scribes() {
            let [created, destroyed] = marks.entry(scribe.key.clone()).or_default();
            if scribe.mark.creates() {
                *created = (*created).max(Some(stamp));
            }
            if scribe.mark.destroys() {
                *destroyed = (*destroyed).max(Some(stamp));
            }
        }
        let mut registers: BTreeMap<(RecordKey, Path), (Stamp, Encoded)> = BTreeMap::new();
        for (stamp, scribe) in scribes() {
            if marks[&scribe.key][1] > Some(stamp) {
                continue;
            }
            for (path, value) in &scribe.fields {
                let write = (stamp, value.clone());
                let place = (scribe.key.clone(), path.clone());
                let greatest = registers.entry(place).or_insert_with(|| write.clone());
                *greatest = write.max(greatest.clone());
            }
        }
        for (key, [created, destroyed]) in marks {
            let record = node.store.record(&key)?.unwrap_or_default();
            let found: Vec<_> = record
                .registers()
                .iter()
                .map(|register| (&register.path, register.stamp, &register.value))
                .collect();
            let from = (key.clone(), found.first().map(|(path, ..)| (*path).clone()));
            let expected: Vec<_> = registers
                .iter()
                .filter(|((of, _), _)| *of == key)
                .map(|((_, path), (stamp, value))| (path, *stamp, value))
                .collect();
            let is_alive = created.is_some() && created >= destroyed;
            if found != expected || record.is_alive() != is_alive {
                let detail = format!("{from:?} is {found:?}, expected {expected:?}");
                return Err(Law::Reference.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether each author's part of the tally is the sum of its raises. An author that a snapshot clone
    /// made two of is the stated exception.
    fn check_tally(&self) -> Result<(), Failure> {
        let node = &self.nodes[0];
        let mut sums: HashMap<Author, i64> = HashMap::new();
        for transaction in node.log.transactions() {
            let by = self.ledger.raises.get(transaction.bytes()).copied().unwrap_or(0);
            *sums.entry(transaction.stamp().author).or_default() += by;
        }
        let record = node.store.record(&tally())?.unwrap_or_default();
        for (author, sum) in sums {
            if self.ledger.shared.contains(&author) {
                continue;
            }
            let shown = record
                .registers()
                .iter()
                .find(|register| register.path.element == Some(Element::Author(author)));
            let shown = shown.map_or(0, |register| register.value.to::<i64>().unwrap());
            if shown != sum {
                let detail = format!("{author:?} raised by {sum} in all, and {shown} is shown");
                return Err(Law::Counters.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether peers that have met say nothing new when they meet again.
    pub(crate) fn check_silence(&mut self) -> Result<(), Failure> {
        self.cut_all()?;
        for round in 0..2 {
            for a in 0..self.nodes.len() {
                for b in 0..a {
                    let resent = self.meet(a, b, encoding(a + round))?;
                    if round == 1 && resent > 0 {
                        let detail = format!("nodes {a} and {b} resend {resent} transactions");
                        return Err(Law::Silence.broken(detail));
                    }
                }
            }
        }
        self.check_equal()
    }

    /// Lets two nodes meet for as long as they have something to say, and does not listen.
    pub(crate) fn visit(&mut self, a: usize, b: usize, encoding: Encoding) -> Result<(), Failure> {
        let link = self.connect(a, b, encoding)?;
        self.links[link].tape = None;
        self.settle()?;
        self.cut(link)?;
        self.links.truncate(link);
        Ok(())
    }

    /// Lets two nodes meet for as long as they have something to say. Returns how many transactions they
    /// sent each other.
    pub(crate) fn meet(
        &mut self,
        a: usize,
        b: usize,
        encoding: Encoding,
    ) -> Result<usize, Failure> {
        let link = self.connect(a, b, encoding)?;
        self.settle()?;
        let tape = self.links[link].tape.take().unwrap_or_default();
        self.cut(link)?;
        self.links.truncate(link);
        Ok(tape.iter().map(|(_, frame)| wire::transactions(frame)).sum())
    }
}

/// An entry of a log, in short.
pub(crate) fn at(entry: &Entry) -> String {
    format!("the entry at {} of {:?}", entry.offset, entry.transaction.stamp())
}

fn encoding(number: usize) -> Encoding {
    if number.is_multiple_of(3) { Encoding::Json } else { Encoding::MessagePack }
}

/// The transactions of a log as a set.
pub(crate) fn contents(log: &Log) -> BTreeSet<Bytes> {
    log.transactions().map(|transaction| transaction.bytes().clone()).collect()
}

/// The state of every record, as bytes.
pub(crate) fn states(view: &impl View) -> Result<BTreeMap<RecordKey, Vec<u8>>, Failure> {
    let mut states = BTreeMap::new();
    for model in view.models()? {
        let mut after = None;
        loop {
            let records = view.records(&model, after.as_ref(), 64)?;
            let Some((last, _)) = records.last() else { break };
            after = Some(last.clone());
            for (id, record) in records {
                states.insert(RecordKey { model: model.clone(), id }, state(&record));
            }
        }
    }
    Ok(states)
}

fn state(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write_state(&mut bytes);
    bytes
}
