//! What was applied and is not in the backend yet, and reading through it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Record, StoreError};

use crate::backend::{Backend, Table};
use crate::rows::{self, Hashed};

/// What a row costs in memory beside its bytes: two shared buffers, and its places in a table.
const ROW_BYTES: usize = 128;

/// What is put under a key.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Bytes under their checksum.
    Sealed(Bytes),
    /// A record, of whose names and authors each has a number. It is encoded when it is written behind: most that
    /// change have changed again by then, and meanwhile it is read without being decoded.
    Record {
        /// It.
        record: Arc<Record>,
        /// About the bytes that it takes in memory.
        bytes: usize,
        /// Whether that is all of it. Otherwise it is to be merged into what the backend has, if anything, which is read when
        /// somebody asks for it, or when this is written behind. All that lies below in memory is in it already.
        is_whole: bool,
    },
}

impl Value {
    /// A record as a whole.
    pub(crate) fn whole(record: Arc<Record>, bytes: usize) -> Self {
        Self::Record { record, bytes, is_whole: true }
    }

    /// What is to be merged into a record, if it is that.
    pub(crate) fn merge(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Record { record, is_whole: false, .. } => Some(record),
            _ => None,
        }
    }

    /// About the bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Sealed(bytes) => bytes.len(),
            Self::Record { bytes, .. } => *bytes,
        }
    }
}

pub(crate) type Rows = rows::Rows<Value>;

/// Two layers over a backend: what was put last, and what is being written.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    active: Rows,
    active_bytes: usize,
    aside: Arc<Rows>,
    aside_bytes: usize,
}

impl Overlay {
    pub(crate) fn put(&mut self, table: Table, key: Bytes, value: Option<Value>) {
        let cost = |value: &Option<Value>| value.as_ref().map_or(0, Value::bytes);
        let (key_bytes, value_bytes) = (key.len(), cost(&value));
        match self.active.insert(table, key, value) {
            None => self.active_bytes += ROW_BYTES + key_bytes + value_bytes,
            Some(old) => self.active_bytes = self.active_bytes + value_bytes - cost(&old),
        }
    }

    /// About the bytes that what was put last takes in memory.
    pub(crate) fn active_bytes(&self) -> usize {
        self.active_bytes
    }

    /// About the bytes of everything that is not in the backend yet.
    pub(crate) fn bytes(&self) -> usize {
        self.active_bytes + self.aside_bytes
    }

    /// Sets aside what was put so far, for writing.
    pub(crate) fn set_aside(&mut self) -> Arc<Rows> {
        assert!(self.aside.is_empty(), "what is set aside is written before anything else is");
        self.aside_bytes = std::mem::take(&mut self.active_bytes);
        self.aside = Arc::new(std::mem::take(&mut self.active));
        self.aside.clone()
    }

    /// What is set aside.
    pub(crate) fn aside(&self) -> &Arc<Rows> {
        &self.aside
    }

    /// Forgets what was set aside: it is in the backend now.
    pub(crate) fn forget(&mut self) {
        self.aside = Arc::default();
        self.aside_bytes = 0;
    }

    /// Puts what was set aside back under what was put since: it could not be written.
    pub(crate) fn put_back(&mut self) {
        let aside = std::mem::take(&mut self.aside);
        self.aside_bytes = 0;
        for (table, key, value) in aside.iter() {
            if self.active.get(table, Hashed::new(key)).is_none() {
                self.put(table, key.clone(), value.clone());
            }
        }
    }

    /// The layers, what is newer after what is older.
    pub(crate) fn layers(&self) -> [&Rows; 2] {
        [&self.aside, &self.active]
    }
}

/// The value of a key in some layers, the last of which is the newest. Where none has it the backend may.
pub(crate) fn get(layers: &[&Rows], table: Table, key: &[u8]) -> Option<Option<Value>> {
    let hashed = Hashed::new(key);
    layers.iter().rev().find_map(|layer| layer.get(table, hashed)).cloned()
}

/// Like [`Backend::scan`], under some layers.
pub(crate) fn scan(
    backend: &dyn Backend,
    layers: &[&Rows],
    table: Table,
    start: &[u8],
    end: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Value)>, StoreError> {
    let mut found = Vec::new();
    let mut start = Bytes::copy_from_slice(start);
    while found.len() < limit {
        // Each source gives a piece; they are known together only as far as the shortest of them goes.
        let base = backend.scan(table, &start, end, limit)?;
        let mut until =
            (base.len() == limit).then(|| base.last()).flatten().map(|(key, _)| key.clone());
        let mut rows: BTreeMap<Bytes, Option<Value>> =
            base.into_iter().map(|(key, value)| (key, Some(Value::Sealed(value)))).collect();
        for layer in layers {
            let from = layer.from(table, Bound::Included(&start));
            let in_range = from.take_while(|(key, _)| end.is_none_or(|end| key.as_ref() < end));
            let mut count = 0;
            for (key, value) in in_range.take(limit) {
                rows.insert(key.clone(), value.clone());
                count += 1;
                if count == limit && until.as_ref().is_none_or(|until| key < until) {
                    until = Some(key.clone());
                }
            }
        }
        let known = rows.into_iter().take_while(|(key, _)| until.as_ref().is_none_or(|u| key <= u));
        found.extend(known.filter_map(|(key, value)| Some((key, value?))));
        match until {
            Some(until) => start = rows::after(&until).into(),
            None => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Like [`Backend::floor`], under some layers, for a table that has no records and from which nothing is removed.
pub(crate) fn floor(
    backend: &dyn Backend,
    layers: &[&Rows],
    table: Table,
    at: &[u8],
) -> Result<Option<(Bytes, Bytes)>, StoreError> {
    let mut best = backend.floor(table, at)?;
    for layer in layers {
        if let Some((key, Some(Value::Sealed(value)))) = layer.up_to(table, at).next_back()
            && best.as_ref().is_none_or(|(found, _)| found <= key)
        {
            best = Some((key.clone(), value.clone()));
        }
    }
    Ok(best)
}
