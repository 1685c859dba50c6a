//! What an application demands of its own records.

use crate::world::{Failure, Law, World};

impl World {
    pub(crate) fn check_application(&self) -> Result<(), Failure> {
        let Some(demand) = &self.demand else { return Ok(()) };
        for (number, node) in self.nodes.iter().enumerate() {
            let held = demand.check(&node.store);
            held.map_err(|what| Law::Application.broken(format!("at node {number}: {what}")))?;
        }
        Ok(())
    }
}
