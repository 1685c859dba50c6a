//! A sync point covers only what is in the store.

use syncro_core::{Point, View};

use crate::world::{Failure, Law, World};

impl World {
    /// Whether everything under every sync point of the node is in its log.
    pub(crate) fn check_points(&mut self, node: usize) -> Result<(), Failure> {
        if self.is_hostile {
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
}
