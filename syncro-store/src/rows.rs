//! Rows in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use bytes::Bytes;
use syncro_core::StoreError;

use crate::backend::Table;

/// All rows from a key on, a piece at a time, by a scan that begins where it is told. It ends with the first
/// error.
pub(crate) fn pieces<S>(
    start: &[u8],
    mut scan: S,
) -> impl Iterator<Item = Result<Vec<(Bytes, Bytes)>, StoreError>> + use<S>
where
    S: FnMut(&[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError>,
{
    let mut next = Some(start.to_vec());
    std::iter::from_fn(move || {
        let rows = match scan(&next.take()?) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        let (last, _) = rows.last()?;
        next = Some(after(last));
        Some(Ok(rows))
    })
}

/// The least key after a key.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Sealed values by table and key; `None` where the key is gone.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    tables: [BTreeMap<Bytes, Option<Bytes>>; Table::ALL.len()],
}

impl Rows {
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Bytes>> {
        self.table(table).get(key)
    }

    pub(crate) fn insert(
        &mut self,
        table: Table,
        key: Bytes,
        value: Option<Bytes>,
    ) -> Option<Option<Bytes>> {
        self.tables[usize::from(table.code())].insert(key, value)
    }

    /// Keeps the value that is there already.
    pub(crate) fn insert_if_absent(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.tables[usize::from(table.code())].entry(key).or_insert(value);
    }

    /// The rows of a table from a key on.
    pub(crate) fn from(&self, table: Table, key: Bound<&[u8]>) -> Range<'_, Bytes, Option<Bytes>> {
        self.table(table).range::<[u8], _>((key, Bound::Unbounded))
    }

    /// The last row of a table whose key is not after `at`.
    pub(crate) fn floor(&self, table: Table, at: &[u8]) -> Option<(&Bytes, &Option<Bytes>)> {
        let up_to = (Bound::Unbounded, Bound::Included(at));
        self.table(table).range::<[u8], _>(up_to).next_back()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// All rows, by table and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &Bytes, &Option<Bytes>)> {
        self.after(None)
    }

    /// The rows after one of them.
    pub(crate) fn after(
        &self,
        last: Option<&(Table, Bytes)>,
    ) -> impl Iterator<Item = (Table, &Bytes, &Option<Bytes>)> {
        let tables =
            Table::ALL.into_iter().filter(move |table| last.is_none_or(|(last, _)| table >= last));
        tables.flat_map(move |table| {
            let bound = match last {
                Some((last, key)) if *last == table => Bound::Excluded(&key[..]),
                _ => Bound::Unbounded,
            };
            self.from(table, bound).map(move |(key, value)| (table, key, value))
        })
    }

    fn table(&self, table: Table) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.tables[usize::from(table.code())]
    }
}
