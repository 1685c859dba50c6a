//! Equal sets of transactions mean equal records, byte for byte.

use super::states;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether all nodes hold equal transactions and records, and stores hold the logs that they should.
    pub fn check_equal(&self) -> Result<(), Failure> {
        self.check_same_transactions()?;
        let records = states(&self.nodes[0].store)?;
        for (number, node) in self.nodes.iter().enumerate() {
            node.check_log()?;
            if states(&node.store)? != records {
                let detail = format!("nodes 0 and {number} hold different records");
                return Err(Law::Convergence.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether all nodes hold equal transactions. None is in a log twice.
    pub(crate) fn check_same_transactions(&self) -> Result<(), Failure> {
        let first = &self.nodes[0].log;
        for (number, node) in self.nodes.iter().enumerate() {
            let mut all = first.transactions();
            let has_as_many = node.log.entries().len() == first.entries().len();
            if !has_as_many || !all.all(|transaction| node.log.holds(transaction.bytes())) {
                let detail = format!("nodes 0 and {number} hold different transactions");
                return Err(Law::Convergence.broken(detail));
            }
        }
        Ok(())
    }
}
