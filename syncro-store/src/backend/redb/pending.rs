//! Reading through what is in the journal and not in the database yet.

use std::iter;
use std::ops::Bound;
use std::sync::Arc;

use ::redb::Error as RedbError;
use bytes::Bytes;

use super::snapshot::{Snapshot, bounds};
use crate::backend::{Batch, Table};
use crate::rows::after;

/// A state of the database, and what is to be done to it.
pub(super) struct Shown {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) pending: Arc<Batch>,
}

type Pair = (Bytes, Bytes);

impl Shown {
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, RedbError> {
        match self.pending.table(table).get(key) {
            Some(value) => Ok(value.clone()),
            None => self.snapshot.get(table, key),
        }
    }

    pub(super) fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, RedbError> {
        let Some(bounds) = bounds(start, end) else { return Ok(Vec::new()) };
        let mut changes = self.pending.table(table).range::<[u8], _>(bounds).peekable();
        if changes.peek().is_none() {
            return self.snapshot.scan(table, start, end, limit);
        }
        let (mut found, mut start) = (Vec::new(), start.to_vec());
        while found.len() < limit {
            // Some of them may be gone.
            let asked = (limit - found.len()).max(SCANNED_MIN);
            let base = self.snapshot.scan(table, &start, end, asked)?;
            let last = base.last().filter(|_| base.len() == asked).map(|(key, _)| key.clone());
            for (key, value) in base {
                let before = iter::from_fn(|| changes.next_if(|(at, _)| **at < key));
                found.extend(before.filter_map(row));
                match changes.next_if(|(at, _)| **at == key) {
                    Some(change) => found.extend(row(change)),
                    None => found.push((key, value)),
                }
            }
            match last {
                Some(last) => start = after(&last),
                None => {
                    let room = limit.saturating_sub(found.len());
                    found.extend(changes.by_ref().filter_map(row).take(room));
                    break;
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn floor(&self, table: Table, at: &[u8]) -> Result<Option<Pair>, RedbError> {
        let mut base = self.snapshot.floor(table, Bound::Included(at))?;
        let up_to = (Bound::Unbounded, Bound::Included(at));
        for (key, value) in self.pending.table(table).range::<[u8], _>(up_to).rev() {
            match &base {
                Some((found, _)) if found > key => break,
                _ if value.is_some() => return Ok(row((key, value))),
                Some((found, _)) if found == key => {
                    base = self.snapshot.floor(table, Bound::Excluded(key))?;
                }
                _ => {}
            }
        }
        Ok(base)
    }
}

/// Pairs that are read at once, at least.
const SCANNED_MIN: usize = 32;

/// What is there after a change.
fn row((key, value): (&Bytes, &Option<Bytes>)) -> Option<Pair> {
    Some((key.clone(), value.clone()?))
}
