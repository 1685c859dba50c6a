//! A reader who takes his time: what he reads is one moment, whatever is written meanwhile.

use std::collections::BTreeMap;

use syncro_core::{Point, RecordKey, View};
use syncro_store::Snapshot;

use super::check::states;
use super::{Failure, Law, Sight, World};

/// A snapshot, and what there was when it was taken.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    snapshot: Snapshot,
    states: BTreeMap<RecordKey, Vec<u8>>,
    /// Where the log ended.
    end: Point,
}

impl World {
    /// Ends a look at the records of a node, and begins another.
    pub(crate) fn look(&mut self, node: usize) -> Result<(), Failure> {
        self.end_look(node)?;
        let it = &mut self.nodes[node];
        let states = states(&it.store)?;
        let end = it.log.end();
        it.look = Some(Look { snapshot: it.store.reader().snapshot(), states, end });
        Ok(())
    }

    /// Ends a look at the records of a node, if there is one.
    pub(crate) fn end_look(&mut self, node: usize) -> Result<(), Failure> {
        let Some(look) = self.nodes[node].look.take() else { return Ok(()) };
        if states(&self.nodes[node].store)? != look.states {
            self.seen.insert(Sight::LongLook);
        }
        look.check()
    }
}

impl Look {
    /// Whether the snapshot is still what there was.
    fn check(&self) -> Result<(), Failure> {
        let Point { offset, digest } = self.end;
        let ends_here = self.snapshot.digest_at(offset)? == Some(digest)
            && self.snapshot.digest_at(offset + 1)?.is_none()
            && self.snapshot.entries(offset, 1)?.is_empty();
        if ends_here && states(&self.snapshot)? == self.states {
            return Ok(());
        }
        Err(Law::Atomicity.broken("a snapshot shows what was written after it was taken"))
    }
}
