//! No transaction is half visible.

use syncro_core::View;

use crate::world::write::twins;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether the two records agree that are only ever written together.
    pub(crate) fn check_twins(&self, node: usize) -> Result<(), Failure> {
        let store = &self.nodes[node].store;
        let [left, right] = twins().map(|key| store.record(&key));
        let (left, right) = (left?, right?);
        if left != right {
            let detail = format!("node {node} sees half a transaction: {left:?} and {right:?}");
            return Err(Law::Atomicity.broken(detail));
        }
        Ok(())
    }
}
