//! Causal order: what an author held when it wrote comes first, in every log.

use syncro_core::Entry;

use super::at;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether the log of a node has what came before a transaction at its author. Since that was checked in
    /// its turn, so is everything before it.
    pub(crate) fn check_cause(&self, node: usize, entry: &Entry) -> Result<(), Failure> {
        let Some(causes) = self.ledger.causes.get(entry.transaction.bytes()) else {
            return Ok(());
        };
        let log = &self.nodes[node].log;
        if causes.iter().any(|cause| cause.as_ref().is_none_or(|cause| log.holds(cause))) {
            return Ok(());
        }
        let detail = format!("node {node} has {} and not what it followed", at(entry));
        Err(Law::Causality.broken(detail))
    }
}
