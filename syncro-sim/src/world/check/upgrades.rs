//! A program that does not know a field leaves it as it is.

use syncro_core::{Name, RecordKey, Register, RegisterRef, View};

use crate::world::write::{card, card_fields, name};
use crate::world::{Failure, Law, World, Write};

/// A record that is saved, and the fields that the program knows which saves it.
#[derive(Debug)]
pub(crate) struct Saved {
    key: RecordKey,
    known: Vec<Name>,
}

impl World {
    /// What a write saves, if it does.
    pub(crate) fn saved(&self, node: usize, write: &Write) -> Option<Saved> {
        let version = self.nodes[node].version;
        match write {
            Write::Card { id, .. } => {
                Some(Saved { key: card(*id), known: card_fields(version).map(name).to_vec() })
            }
            Write::Save { key, fields } => {
                let known = fields.iter().map(|(name, _)| name.clone()).collect();
                Some(Saved { key: key.clone(), known })
            }
            Write::Either(writes) => self.saved(node, &writes[usize::from(version % 2)]),
            _ => None,
        }
    }

    /// The registers of a record that the program does not know which saves it.
    pub(crate) fn unknown(&self, node: usize, saved: &Saved) -> Result<Vec<Register>, Failure> {
        let record = self.nodes[node].store.record(&saved.key)?.unwrap_or_default();
        let is_unknown = |it: &RegisterRef<'_>| !saved.known.contains(&it.path.field);
        // A record that is created begins without what was there before.
        let registers = record.registers().iter().filter(|_| record.is_alive());
        Ok(registers.filter(is_unknown).map(Register::from).collect())
    }

    pub(crate) fn check_unknown(
        &self,
        node: usize,
        saved: &Saved,
        before: Vec<Register>,
    ) -> Result<(), Failure> {
        let after = self.unknown(node, saved)?;
        if before.iter().all(|register| after.contains(register)) {
            return Ok(());
        }
        let key = &saved.key;
        let detail = format!("node {node} changed {before:?} of {key}, which it does not know");
        Err(Law::Upgrades.broken(detail))
    }
}
