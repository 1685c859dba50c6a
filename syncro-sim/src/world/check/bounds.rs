//! Memory and messages have limits.

use syncro_core::Commit;
use syncro_core::limits::TAIL_BYTES_MAX;

use crate::world::node::OVERLAY_BYTES;
use crate::world::{Failure, Law, World};

/// What a row takes in memory beside its content, more or less.
const ROW_BYTES: usize = 256;

/// More than happens in any world that comes to an end.
const EVENTS_MAX: u64 = 50_000_000;

impl World {
    /// Whether there is an end of it.
    pub(crate) fn check_events(&self) -> Result<(), Failure> {
        if self.trace.events() < EVENTS_MAX {
            return Ok(());
        }
        Err(Law::Rest.broken(format!("{EVENTS_MAX} events, and no end of it")))
    }

    /// Whether a store holds no more in memory than it may: about four times its bound, in which one commit may be
    /// larger than all of it, beside what nobody has flushed. What a flush took stays for a checkpoint.
    pub(crate) fn check_memory(&mut self, node: usize, commit: &Commit) -> Result<(), Failure> {
        let it = &mut self.nodes[node];
        let (tail_bytes, added) = (it.engine.usage().tail_bytes, &commit.entries);
        let added = added.iter().map(|entry| entry.transaction.bytes().len()).sum::<usize>();
        if tail_bytes > TAIL_BYTES_MAX.max(added) {
            let detail = format!("the engine of node {node} keeps {tail_bytes} bytes of its log");
            return Err(Law::Bounds.broken(detail));
        }
        it.largest_commit = it.largest_commit.max(cost(commit));
        let unsynced = it.unsynced.iter().map(cost).sum::<usize>();
        let bytes = it.store.syncer().unwritten_bytes();
        // What a view is shown it has in its log, too, and in rows beside what it wrote itself.
        let times = if it.part.is_view { 5 } else { 4 };
        let bound = times * (OVERLAY_BYTES + it.largest_commit + unsynced) + it.largest_flush;
        if bytes > bound {
            let detail = format!("the store of node {node} holds {bytes} bytes, beyond {bound}");
            return Err(Law::Bounds.broken(detail));
        }
        Ok(())
    }
}

/// What a commit takes in memory, more or less.
pub(crate) fn cost(commit: &Commit) -> usize {
    let scribes = commit.entries.iter().map(|entry| entry.transaction.len() as usize);
    let rows = commit.records.len() + commit.rows.len() + scribes.sum::<usize>();
    commit.bytes() + ROW_BYTES * rows
}
