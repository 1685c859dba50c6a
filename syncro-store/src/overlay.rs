//! What was applied and is not in the backend yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::StoreError;

use crate::backend::{Backend, Batch, Table};

/// Writes by table and key.
pub(crate) type Writes = BTreeMap<(Table, Bytes), Bytes>;

/// Two layers over a backend: what was written since the last sync began, and what that sync is writing.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    active: Writes,
    frozen: Arc<Writes>,
}

impl Overlay {
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Bytes>, value: Bytes) {
        self.active.insert((table, key.into()), value);
    }

    /// Sets aside what was written so far, for a sync to write it down.
    pub(crate) fn freeze(&mut self) -> Arc<Writes> {
        self.frozen = Arc::new(std::mem::take(&mut self.active));
        self.frozen.clone()
    }

    /// Forgets what was set aside: it is in the backend now.
    pub(crate) fn thaw(&mut self) {
        self.frozen = Arc::default();
    }

    pub(crate) fn get(
        &self,
        backend: &dyn Backend,
        table: Table,
        key: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let place = (table, Bytes::copy_from_slice(key));
        if let Some(value) = self.active.get(&place).or_else(|| self.frozen.get(&place)) {
            return Ok(Some(value.clone()));
        }
        backend.get(table, key)
    }

    /// Like [`Backend::scan`], over all layers.
    pub(crate) fn scan(
        &self,
        backend: &dyn Backend,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut pairs: BTreeMap<Bytes, Bytes> =
            backend.scan(table, start, end, limit)?.into_iter().collect();
        for layer in [&*self.frozen, &self.active] {
            let from = Bound::Included((table, Bytes::copy_from_slice(start)));
            let in_range = layer.range((from, Bound::Unbounded)).take_while(|((other, key), _)| {
                *other == table && end.is_none_or(|end| key.as_ref() < end)
            });
            let in_range = in_range.take(limit);
            pairs.extend(in_range.map(|((_, key), value)| (key.clone(), value.clone())));
        }
        Ok(pairs.into_iter().take(limit).collect())
    }

    /// Like [`Backend::floor`], over all layers.
    pub(crate) fn floor(
        &self,
        backend: &dyn Backend,
        table: Table,
        at: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let mut best = backend.floor(table, at)?;
        for layer in [&*self.frozen, &self.active] {
            let range = (table, Bytes::new())..=(table, Bytes::copy_from_slice(at));
            if let Some(((_, key), value)) = layer.range(range).next_back()
                && best.as_ref().is_none_or(|(found, _)| found <= key)
            {
                best = Some((key.clone(), value.clone()));
            }
        }
        Ok(best)
    }
}

/// The batch of what was set aside.
pub(crate) fn batch(writes: &Writes) -> Batch {
    let mut batch = Batch::new();
    for ((table, key), value) in writes {
        batch.put(*table, key.clone(), value.clone());
    }
    batch
}
