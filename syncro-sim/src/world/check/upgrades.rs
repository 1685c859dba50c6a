//! A program that does not know a field leaves it as it is.

use syncro_core::{RecordKey, Register, View};

use crate::world::write::card_fields;
use crate::world::{Failure, Law, World};

impl World {
    /// The registers of a card that the version does not know which a node runs.
    pub(crate) fn unknown(&self, node: usize, key: &RecordKey) -> Result<Vec<Register>, Failure> {
        let known = card_fields(self.nodes[node].version);
        let record = self.nodes[node].store.record(key)?.unwrap_or_default();
        let is_unknown = |it: &&Register| !known.contains(&it.path.field.as_str());
        // A card that is created begins without what was there before.
        let registers = record.registers().iter().filter(|_| record.is_alive());
        Ok(registers.filter(is_unknown).cloned().collect())
    }

    pub(crate) fn check_unknown(
        &self,
        node: usize,
        key: &RecordKey,
        before: Vec<Register>,
    ) -> Result<(), Failure> {
        let after = self.unknown(node, key)?;
        if before.iter().all(|register| after.contains(register)) {
            return Ok(());
        }
        let detail = format!("node {node} changed {before:?} of {key}, which it does not know");
        Err(Law::Upgrades.broken(detail))
    }
}
