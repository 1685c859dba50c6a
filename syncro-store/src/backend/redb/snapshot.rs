//! One state of a database, for reading.

use std::ops::Bound;

use ::redb::{
    AccessGuard, Database, Error as RedbError, ReadOnlyTable, ReadTransaction, ReadableDatabase,
};
use bytes::Bytes;

use super::definition;
use super::gathered::{GATHERED_BYTES, Gathered};
use crate::backend::Table;

/// A read transaction with its tables open.
pub(super) struct Snapshot {
    rows: Entries,
    log: Entries,
    names: Entries,
    records: Entries,
    stamps: Entries,
}

impl Snapshot {
    pub(super) fn open(database: &Database) -> Result<Self, RedbError> {
        let transaction = database.begin_read()?;
        Ok(Self {
            rows: Entries::open(&transaction, Table::Rows)?,
            log: Entries::open(&transaction, Table::Log)?,
            names: Entries::open(&transaction, Table::Names)?,
            records: Entries::open(&transaction, Table::Records)?,
            stamps: Entries::open(&transaction, Table::Stamps)?,
        })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, RedbError> {
        let found = self.entries(table).0.get(key)?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, RedbError> {
        let Some(bounds) = bounds(start, end) else { return Ok(Vec::new()) };
        let found = self.entries(table).0.range::<&[u8]>(bounds)?;
        let (mut gathered, mut rows) = (Gathered::default(), Vec::new());
        for entry in found.take(limit) {
            let (key, value) = entry?;
            gathered.push(key.value(), value.value());
            if gathered.bytes() >= GATHERED_BYTES {
                gathered.move_to(&mut rows);
            }
        }
        gathered.move_to(&mut rows);
        Ok(rows)
    }

    pub(super) fn floor(
        &self,
        table: Table,
        up_to: Bound<&[u8]>,
    ) -> Result<Option<(Bytes, Bytes)>, RedbError> {
        let mut below = self.entries(table).0.range::<&[u8]>((Bound::Unbounded, up_to))?;
        let entry = below.next_back().transpose()?;
        Ok(entry.as_ref().map(copy))
    }

    fn entries(&self, table: Table) -> &Entries {
        match table {
            Table::Rows => &self.rows,
            Table::Log => &self.log,
            Table::Names => &self.names,
            Table::Records => &self.records,
            Table::Stamps => &self.stamps,
        }
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// What lies from a key on and before another one; `None` where that is nothing, which no range may be asked for.
pub(super) fn bounds<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    let is_empty = end.is_some_and(|end| end <= start);
    let end = end.map_or(Bound::Unbounded, Bound::Excluded);
    (!is_empty).then_some((Bound::Included(start), end))
}

struct Entries(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Entries {
    fn open(transaction: &ReadTransaction, table: Table) -> Result<Self, RedbError> {
        Ok(Self(transaction.open_table(definition(table))?))
    }
}

type Entry<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// Copies an entry out of its page: kept as it is, it would pin the page and the transaction.
fn copy((key, value): &Entry<'_>) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value()))
}
