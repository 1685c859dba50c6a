//! Reading through what is in the journal and not in the database yet.

use std::collections::BTreeMap;
use std::ops::Bound;

use ::redb::Error as RedbError;
use bytes::Bytes;

use super::snapshot::Snapshot;
use crate::backend::{Batch, Table};

/// A state of the database, and what is to be done to it.
pub(super) struct Shown<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) pending: &'a Batch,
}

type Pair = (Bytes, Bytes);

impl Shown<'_> {
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
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let changes = self.pending.table(table).range::<[u8], _>(bounds);
        let gone = changes.clone().filter(|(_, value)| value.is_none()).count();
        let found = self.snapshot.scan(table, start, end, limit.saturating_add(gone))?;
        if changes.clone().next().is_none() {
            return Ok(found);
        }
        let mut rows: BTreeMap<Bytes, Bytes> = found.into_iter().collect();
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(limit).collect())
    }

    pub(super) fn floor(&self, table: Table, at: &[u8]) -> Result<Option<Pair>, RedbError> {
        let changes = self.pending.table(table);
        let mut up_to = Bound::Included(Bytes::copy_from_slice(at));
        loop {
            let below = (Bound::Unbounded, up_to.as_ref().map(|key| &key[..]));
            let base = self.snapshot.floor(table, below.1)?;
            let change = changes.range::<[u8], _>(below).next_back();
            match (base, change) {
                (Some(base), Some((key, _))) if base.0 > *key => return Ok(Some(base)),
                (base, None) => return Ok(base),
                (_, Some((key, Some(value)))) => return Ok(Some((key.clone(), value.clone()))),
                (_, Some((key, None))) => up_to = Bound::Excluded(key.clone()),
            }
        }
    }
}
