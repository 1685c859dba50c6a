//! What must hold: at every step, and once the world is at rest. A file for each law.

mod acknowledged;
mod alive;
mod application;
mod atomicity;
mod authors;
mod blame;
mod bounds;
mod causality;
mod classic;
mod clocks;
mod convergence;
mod kept;
mod origin;
mod points;
mod queues;
mod quiet;
mod reference;
mod upgrades;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use syncro_core::{Encoding, Entry, Record, RecordKey, StoreError, View};

pub(crate) use authors::Pen;
pub(crate) use bounds::cost;
pub(crate) use clocks::Bounds;
pub(crate) use kept::OwnWrite;
pub(crate) use reference::check_records;

use super::{ByBytes, Failure, Law, World, wire};

/// How nodes are connected to heal a world.
#[derive(Clone, Copy, Debug, Default)]
pub enum Topology {
    #[default]
    Line,
    Ring,
    Star,
}

impl World {
    /// Ends all faults, lets everybody talk, and demands what must be true then.
    pub fn heal(&mut self, topology: Topology) -> Result<(), Failure> {
        if self.rules.is_some() {
            return self.heal_views(topology);
        }
        let all = self.nodes.iter().flat_map(|node| node.log.transactions());
        let held: ByBytes<()> = all.map(|held| (held.bytes().clone(), ())).collect();
        self.end_faults()?;
        self.check_dead()?;
        self.check_intruders()?;
        self.cut_all()?;
        let last = self.nodes.len() - 1;
        for node in 0..last {
            let hub = if matches!(topology, Topology::Star) { last } else { node + 1 };
            self.connect(node, hub, encoding(node))?;
        }
        if matches!(topology, Topology::Ring) {
            self.connect(last, 0, Encoding::Json)?;
        }
        self.forbid_echoes();
        self.rounds = self.rest()?;
        self.check_classic()?;
        self.check_queues()?;
        self.check_end()?;
        self.check_quiet()?;
        self.check_queues()?;
        for node in 0..self.nodes.len() {
            let it = &self.nodes[node];
            it.check_watch()?;
            self.end_look(node)?;
        }
        if let Some(lost) = held.keys().find(|held| !self.nodes[0].log.holds(held)) {
            return Err(Law::Durability.broken(format!("lost by everybody: {lost:02x?}")));
        }
        self.check_life_goes_on()?;
        self.check_equal()?;
        self.check_tally()?;
        self.check_silence()
    }

    /// Ends all faults but those of connections: what is dead stays dead, and has to be found.
    pub fn end_faults(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.fuse = None;
            node.disk.set_room(None);
            node.is_full = false;
            node.disk.heal();
            node.is_disk_bad = false;
        }
        self.give_room()
    }

    /// Whether all nodes hold the same, and what follows from the transactions that they hold.
    pub fn check_end(&self) -> Result<(), Failure> {
        self.check_equal()?;
        for node in &self.nodes {
            check_records(node.log.played(), &records(&node.store)?)?;
        }
        self.check_tally()?;
        self.check_application()
    }

    /// Lets two nodes meet for as long as they have something to say, and does not listen.
    pub fn visit(&mut self, a: usize, b: usize, encoding: Encoding) -> Result<(), Failure> {
        let link = self.connect(a, b, encoding)?;
        self.links[link].tape = None;
        self.settle()?;
        self.cut(link)?;
        self.links.truncate(link);
        Ok(())
    }

    /// Lets two nodes meet for as long as they have something to say. Returns how many transactions they
    /// sent each other.
    pub fn meet(&mut self, a: usize, b: usize, encoding: Encoding) -> Result<usize, Failure> {
        let link = self.connect(a, b, encoding)?;
        self.settle()?;
        let tape = self.links[link].tape.take().unwrap_or_default();
        self.cut(link)?;
        self.links.truncate(link);
        Ok(tape.iter().map(|(_, frame)| wire::transactions(frame)).sum())
    }
}

/// An entry of a log, in short.
pub fn at(entry: &Entry) -> String {
    format!("the entry at {} of {:?}", entry.offset, entry.transaction.stamp())
}

pub(crate) fn encoding(number: usize) -> Encoding {
    if number.is_multiple_of(3) { Encoding::Json } else { Encoding::MessagePack }
}

/// Every record of a view.
pub(crate) fn records(view: &impl View) -> Result<BTreeMap<RecordKey, Arc<Record>>, StoreError> {
    let mut all = BTreeMap::new();
    for model in view.models()? {
        let mut after = None;
        loop {
            let records = view.records(&model, after.as_ref(), 64)?;
            let Some((last, _)) = records.last() else { break };
            after = Some(last.clone());
            for (id, record) in records {
                all.insert(RecordKey { model: model.clone(), id }, record);
            }
        }
    }
    Ok(all)
}

/// The state of every record, as bytes.
pub fn states(view: &impl View) -> Result<BTreeMap<RecordKey, Vec<u8>>, Failure> {
    Ok(records(view)?.into_iter().map(|(key, record)| (key, state(&record))).collect())
}

fn state(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write_state(&mut bytes);
    bytes
}
