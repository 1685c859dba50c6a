//! The end of the log in memory, for the sessions that follow live.

use std::collections::VecDeque;

use crate::limits::TAIL_BYTES_MAX;
use crate::store::Entry;

/// The newest entries of the log: those of the last step, and at most [`TAIL_BYTES_MAX`] in all if there
/// are others. Transactions are shared, so each
/// is held once however many sessions send it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn extend(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.bytes += entry.transaction.bytes().len();
            self.entries.push_back(entry.clone());
        }
        // The entries of this step are nowhere else until their commit is applied.
        while self.bytes > TAIL_BYTES_MAX && self.entries.len() > entries.len() {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.transaction.bytes().len();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries from an offset on, or `None` when they do not begin in memory.
    pub(crate) fn entries(&self, from: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.binary_search_by_key(&from, |entry| entry.offset).ok()?;
        let mut bytes = 0;
        let fitting = self.entries.range(first..).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.transaction.bytes().len();
            is_first || bytes <= bytes_max
        });
        Some(fitting.cloned().collect())
    }
}
