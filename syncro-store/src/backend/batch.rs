//! One atomic write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{io, iter};

use bytes::Bytes;
use syncro_core::StoreError;

use super::{KEY_BYTES_MAX, Table, VALUE_BYTES_MAX};

/// Puts and deletes that a [`Backend`](super::Backend) applies whole or not at all.
///
/// A later operation on a key replaces an earlier one. The batch is kept in key order, because a
/// database writes a sorted batch in a fraction of the time that random keys cost it.
///
/// ```
/// use syncro_store::{Batch, Table};
///
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// batch.put(Table::Rows, "colour", "blue");
/// batch.delete(Table::Rows, "shape");
/// assert_eq!(batch.len(), 2);
/// assert_eq!(batch.bytes(), "colour".len() + "blue".len() + "shape".len());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    tables: [BTreeMap<Bytes, Option<Bytes>>; Table::ALL.len()],
    bytes: usize,
}

impl Batch {
    /// Creates a batch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key, in place of what the batch did with it before.
    ///
    /// The limits of keys and values are checked when the batch is written.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.change(table, key.into(), Some(value.into()));
    }

    /// Removes a key, in place of what the batch did with it before. It need not exist.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.change(table, key.into(), None);
    }

    /// Tells whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// Returns the number of keys that the batch changes.
    pub fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Returns the bytes in the keys and values of the batch, for deciding when it is big enough.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Goes through the changes by table and key: the new value, or `None` for a delete.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &Bytes, Option<&Bytes>)> {
        let tables = Table::ALL.into_iter();
        tables.flat_map(|table| self.iter_table(table).map(move |(key, value)| (table, key, value)))
    }

    /// Goes through the changes of one table by key: the new value, or `None` for a delete.
    pub fn iter_table(&self, table: Table) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.table(table).iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// The tables that the batch changes.
    #[cfg(feature = "redb")]
    pub(crate) fn tables(&self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(|table| !self.table(*table).is_empty())
    }

    /// The changes of one table.
    pub(crate) fn table(&self, table: Table) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.tables[usize::from(table.code())]
    }

    /// A batch of rows by table and key, each key once.
    pub(crate) fn sorted(rows: Vec<(Table, Bytes, Option<Bytes>)>) -> Self {
        let mut batch = Self::new();
        let mut rows = rows.into_iter().peekable();
        for table in Table::ALL {
            let of_table = iter::from_fn(|| rows.next_if(|(of, ..)| *of == table));
            // To put them in one after the other would look for the place of each.
            batch.tables[usize::from(table.code())] =
                of_table.map(|(_, key, value)| (key, value)).collect();
        }
        let bytes =
            |(_, key, value): (_, &Bytes, Option<&Bytes>)| key.len() + value.map_or(0, Bytes::len);
        batch.bytes = batch.iter().map(bytes).sum();
        batch
    }

    /// Does what another batch does, after this one.
    #[cfg(feature = "redb")]
    pub(crate) fn append(&mut self, later: &Self) {
        for (table, key, value) in later.iter() {
            self.change(table, key.clone(), value.cloned());
        }
    }

    /// Refuses a batch that breaks promise B9, as a backend has to before it writes any of it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput), which says what is too long.
    pub fn check_limits(&self) -> Result<(), StoreError> {
        for (table, key, value) in self.iter() {
            let refused = if key.is_empty() {
                "has an empty key".to_owned()
            } else if key.len() > KEY_BYTES_MAX {
                format!("has a key of {} bytes, over {KEY_BYTES_MAX}", key.len())
            } else if let Some(value) = value.filter(|value| value.len() > VALUE_BYTES_MAX) {
                format!("has a value of {} bytes, over {VALUE_BYTES_MAX}", value.len())
            } else {
                continue;
            };
            let what = format!("a batch for the table {} {refused}", table.name());
            let error = io::Error::new(io::ErrorKind::InvalidInput, what);
            return Err(StoreError::Io(Arc::new(error)));
        }
        Ok(())
    }

    fn change(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        let key_bytes = key.len();
        let value_bytes = value.as_ref().map_or(0, Bytes::len);
        let replaced = self.tables[usize::from(table.code())].insert(key, value);
        self.bytes += match replaced {
            None => key_bytes + value_bytes,
            Some(_) => value_bytes,
        };
        self.bytes -= replaced.flatten().map_or(0, |old| old.len());
    }
}
