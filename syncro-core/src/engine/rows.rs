//! Rows of the engine's own, beside log and records: what one step makes of them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::store::{StoreError, View};

/// Keys and rows, in the order of the keys.
type Found = Vec<(Bytes, Bytes)>;

/// Rows that a step changes, over those of the store.
#[derive(Debug, Default)]
pub(crate) struct Rows(BTreeMap<Vec<u8>, Option<Bytes>>);

impl Rows {
    /// A row as it is after what was changed so far.
    pub(crate) fn get(&self, key: &[u8], view: &impl View) -> Result<Option<Bytes>, StoreError> {
        match self.0.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => view.row(key),
        }
    }

    /// Rows whose keys begin in some way, as they are after what was changed so far: those that follow a key among the
    /// next `limit` of the store or those changed, and where to go on if there may be more.
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        view: &impl View,
    ) -> Result<(Found, Option<Bytes>), StoreError> {
        let stored = view.rows(prefix, after, limit)?;
        let end =
            (stored.len() >= limit).then(|| stored.last().map(|(key, _)| key.clone())).flatten();
        let mut all: BTreeMap<Bytes, Bytes> = stored.into_iter().collect();
        let first = after.unwrap_or(prefix).to_vec();
        let changed = self.0.range(first..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, row) in changed {
            let is_in =
                after != Some(&key[..]) && end.as_ref().is_none_or(|end| key[..] <= end[..]);
            match row {
                _ if !is_in => {}
                Some(row) => _ = all.insert(key.clone().into(), row.clone()),
                None => _ = all.remove(&key[..]),
            }
        }
        Ok((all.into_iter().collect(), end))
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, row: impl Into<Bytes>) {
        self.0.insert(key, Some(row.into()));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.0.insert(key, None);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<(Bytes, Option<Bytes>)> {
        // Most steps change none, and to ask takes less than to collect them.
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.into_iter().map(|(key, row)| (key.into(), row)).collect()
    }
}
