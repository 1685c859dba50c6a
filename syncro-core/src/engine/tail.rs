//! The end of the log in memory, for the sessions that follow live.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::digest::Digest;
use crate::limits::TAIL_BYTES_MAX;
use crate::scribe::Transaction;
use crate::store::Entry;

/// The newest entries of the log: those of the last step, and at most [`TAIL_BYTES_MAX`] in all if there
/// are others. Transactions are shared, so each
/// is held once however many sessions send it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The bytes of all entries that were ever here.
    taken: u64,
}

impl Tail {
    pub(crate) fn extend(&mut self, entries: &[Entry]) {
        self.entries.reserve(entries.len());
        for entry in entries {
            self.bytes += entry.transaction.bytes().len();
            self.taken += entry.transaction.bytes().len() as u64;
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

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The transactions from an offset on and the digest after them, or `None` when they do not begin in memory.
    pub(crate) fn transactions(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Option<(Vec<Transaction>, Digest)> {
        let first = self.place(from, |entry| entry.offset)?;
        let (mut bytes, mut digest) = (0, None);
        let mut transactions = Vec::new();
        for entry in self.entries.range(first..) {
            bytes += entry.transaction.bytes().len();
            if digest.is_some() && bytes > bytes_max {
                break;
            }
            digest = Some(entry.digest);
            transactions.push(entry.transaction.clone());
        }
        Some((transactions, digest?))
    }

    /// Whether an entry begins at an offset.
    pub(crate) fn has_start(&self, offset: u64) -> bool {
        self.place(offset, |entry| entry.offset).is_some()
    }

    /// The digest where an entry ends.
    pub(crate) fn digest_at(&self, offset: u64) -> Option<Digest> {
        let place = self.place(offset, |entry| entry.end().offset)?;
        self.entries.get(place).map(|entry| entry.digest)
    }

    /// Which entry has an offset. Whoever follows live looks for the last one, and thousands lie far apart in memory.
    fn place(&self, offset: u64, of: impl Fn(&Entry) -> u64) -> Option<usize> {
        match of(self.entries.back()?).cmp(&offset) {
            Ordering::Less => None,
            Ordering::Equal => Some(self.entries.len() - 1),
            Ordering::Greater => self.entries.binary_search_by_key(&offset, of).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::transaction;
    use crate::digest::Point;

    proptest! {
        #[test]
        fn every_entry_is_found_where_it_is_and_none_elsewhere(
            transactions in vec(transaction(), 0..6),
        ) {
            let (mut tail, mut at) = (Tail::default(), Point { offset: 7, ..Point::START });
            let entries: Vec<Entry> = transactions
                .into_iter()
                .map(|transaction| {
                    let offset = at.offset;
                    at = at.then(transaction.len(), transaction.bytes());
                    Entry { offset, digest: at.digest, transaction }
                })
                .collect();
            tail.extend(&entries);
            for offset in 0..at.offset + 2 {
                let start = entries.iter().find(|entry| entry.offset == offset);
                let end = entries.iter().find(|entry| entry.end().offset == offset);
                prop_assert_eq!(tail.has_start(offset), start.is_some());
                prop_assert_eq!(tail.digest_at(offset), end.map(|entry| entry.digest));
                let found = tail.transactions(offset, 0);
                let expected = start.map(|entry| (vec![entry.transaction.clone()], entry.digest));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
