//! Equal sets of transactions mean equal records, byte for byte.

use super::{contents, states};
use crate::world::{Failure, Law, World};

impl World {
    /// Whether all nodes hold equal transactions and records.
    pub fn check_equal(&self) -> Result<(), Failure> {
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
}
