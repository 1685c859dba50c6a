//! A reader who takes his time: what he reads is one moment, whatever is written meanwhile.

use std::collections::BTreeMap;

use syncro_core::RecordKey;
use syncro_store::Snapshot;

use super::check::states;
use super::{Failure, Law, TestNode};

/// A snapshot, and what there was when it was taken.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    snapshot: Snapshot,
    states: BTreeMap<RecordKey, Vec<u8>>,
}

impl TestNode {
    /// Ends a look at the records, and begins another.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        self.look.take().map_or(Ok(()), Look::check)?;
        let states = states(&self.store)?;
        self.look = Some(Look { snapshot: self.store.reader().snapshot(), states });
        Ok(())
    }
}

impl Look {
    /// Whether the snapshot is still what there was.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if states(&self.snapshot)? == self.states {
            return Ok(());
        }
        Err(Law::Atomicity.broken("a snapshot shows what was written after it was taken"))
    }
}
