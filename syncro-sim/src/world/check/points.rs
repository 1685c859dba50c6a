//! A sync point covers only what is in the store, and what a peer is said to hold it holds.

use bytes::Bytes;
use syncro_core::{NodeId, PeerRow, Point, View};

use super::at;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether everything under every sync point of the node is in its log.
    pub(crate) fn check_points(&mut self, node: usize) -> Result<(), Failure> {
        if self.is_hostile {
            return Ok(());
        }
        for (peer, row) in self.nodes[node].store.peers()? {
            self.check_held(node, peer, &row)?;
            for rung in row.ladder.rungs() {
                let mut at = rung.point;
                let mut passed = Vec::new();
                while at != Point::START && !self.nodes[node].covered.contains(&at) {
                    let Some((before, transaction)) = self.ledger.steps.get(&at) else {
                        let detail = format!("node {node} holds {at:?}, which no log has");
                        return Err(Law::Points.broken(detail));
                    };
                    if !self.nodes[node].log.holds(transaction)
                        && !self.is_settled_aside(node, transaction)
                    {
                        let detail = format!("node {node} holds {rung:?} and not what is under it");
                        return Err(Law::Points.broken(detail));
                    }
                    passed.push(at);
                    at = *before;
                }
                self.nodes[node].covered.extend(passed);
            }
        }
        Ok(())
    }

    /// Whether a peer that was never set back, nor copied, holds what the node's row says that it holds.
    fn check_held(&mut self, node: usize, peer: NodeId, row: &PeerRow) -> Result<(), Failure> {
        let end = self.nodes[node].log.end();
        if row.held.max(row.confirmed) > end {
            let detail = format!("node {node} says that {peer} holds {:?} of {end:?}", row.held);
            return Err(Law::Points.broken(detail));
        }
        if self.ledger.rewound.contains(&peer) {
            return Ok(());
        }
        let Some(other) = self.nodes.iter().position(|other| other.engine.node() == peer) else {
            return Ok(());
        };
        let from = self.nodes[node].confirmed.insert(peer, row.held.offset).unwrap_or(0);
        let log = &self.nodes[other].log;
        let has = |held: &Bytes| log.holds(held) || self.is_settled_aside(other, held);
        let Some(entry) = self.nodes[node].log.first_without(from..row.held.offset, has) else {
            return Ok(());
        };
        Err(Law::Points.broken(format!("node {node} says that node {other} holds {}", at(entry))))
    }
}
