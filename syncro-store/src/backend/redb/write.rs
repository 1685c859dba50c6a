//! Writing batches into the tables of a database.

use std::ops::Bound;

use ::redb::{
    Durability as RedbDurability, Error as RedbError, ReadableTable, Table as RedbTable,
    WriteTransaction,
};
use bytes::Bytes;

use super::definition;
use super::gathered::Gathered;
use crate::backend::{Batch, Table};

/// Changes that are looked at together, at least and at most: fewer may be of a single page.
const RUN_MIN: usize = 32;
const RUN_MAX: usize = 512;

/// So many times as many rows may lie among some changes, and all of them are written anew.
const ROWS_PER_CHANGE: usize = 8;

/// The bytes of a row that has many others in its page.
const SMALL_BYTES: usize = 512;

/// A key, and its new value.
type Change<'a> = (&'a Bytes, Option<&'a Bytes>);

type Entries<'a> = RedbTable<'a, &'static [u8], &'static [u8]>;

/// Makes a transaction of a batch, and commits it.
pub(super) fn commit(
    mut transaction: WriteTransaction,
    batch: &Batch,
    durability: RedbDurability,
) -> Result<(), RedbError> {
    transaction.set_durability(durability)?;
    for table in Table::ALL {
        write_table(&transaction, batch, table)?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_table(
    transaction: &WriteTransaction,
    batch: &Batch,
    table: Table,
) -> Result<(), RedbError> {
    let mut changes = batch.iter_table(table).peekable();
    if changes.peek().is_none() {
        return Ok(());
    }
    let mut entries = transaction.open_table(definition(table))?;
    let last = entries.last()?.map(|(key, _)| key.value().to_vec());
    let is_within = |(key, _): &Change<'_>| last.as_ref().is_some_and(|last| *key <= last);
    let mut run = Vec::new();
    while let Some(change) = changes.next_if(is_within) {
        run.push(change);
        if run.len() == RUN_MAX {
            write_run(&mut entries, &run)?;
            run.clear();
        }
    }
    write_run(&mut entries, &run)?;
    if changes.peek().is_none() {
        return Ok(());
    }
    // Everything left comes after the last key. A cursor appends it several times faster than
    // inserting would: it fills whole pages and descends the tree once.
    let mut end = entries.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
    for (key, value) in changes {
        if let Some(value) = value {
            end.insert_before(&key[..], &value[..])?;
        }
    }
    end.close()?;
    Ok(())
}

/// Writes changes in the order of their keys, none of which comes after the last one of the table.
fn write_run(entries: &mut Entries<'_>, run: &[Change<'_>]) -> Result<(), RedbError> {
    if let Some(rows) = rows_among(entries, run)? {
        return write_anew(entries, run, &rows);
    }
    for (key, value) in run {
        match value {
            Some(value) => entries.insert(&key[..], &value[..])?,
            None => entries.remove(&key[..])?,
        };
    }
    Ok(())
}

/// The rows from the first of the changes to the last one, where they are few and small.
fn rows_among(entries: &Entries<'_>, run: &[Change<'_>]) -> Result<Option<Gathered>, RedbError> {
    let is_small = |key: &[u8], value: &[u8]| key.len() + value.len() <= SMALL_BYTES;
    let mut changes = run.iter();
    if run.len() < RUN_MIN || !changes.all(|(key, value)| is_small(key, value.map_or(&[], |it| it)))
    {
        return Ok(None);
    }
    let (mut rows, mut passed) = (Gathered::default(), 0);
    for (nth, row) in entries.range::<&[u8]>(range(run))?.enumerate() {
        let (key, value) = row?;
        let (key, value) = (key.value(), value.value());
        passed += run[passed..].iter().take_while(|(at, _)| at[..] <= *key).count();
        // Where they are many this is seen soon.
        let most = ROWS_PER_CHANGE * (passed + RUN_MIN).min(run.len());
        if nth >= most || !is_small(key, value) {
            return Ok(None);
        }
        rows.push(key, value);
    }
    Ok(Some(rows))
}

/// Writes changes and the rows among them as if there had been none: they fill their pages then. A page into which something is
/// inserted is halved where it has no room, and among rows that all become a little longer each page is.
fn write_anew(
    entries: &mut Entries<'_>,
    run: &[Change<'_>],
    rows: &Gathered,
) -> Result<(), RedbError> {
    let (first, last) = range(run);
    entries.retain_in::<&[u8], _>((first, last), |_, _| false)?;
    let mut gap = entries.lower_bound_mut(first)?;
    let mut rows = rows.iter().peekable();
    for (key, value) in run {
        while let Some((before, value)) = rows.next_if(|(row, _)| *row < &key[..]) {
            gap.insert_before(before, value)?;
        }
        rows.next_if(|(row, _)| *row == &key[..]);
        if let Some(value) = value {
            gap.insert_before(&key[..], &value[..])?;
        }
    }
    gap.close()?;
    match rows.next() {
        None => Ok(()),
        // They were read as rows before the last change: a page has them in another order.
        Some(_) => Err(RedbError::UnorderedKey),
    }
}

/// What lies from the first of some changes to the last one.
fn range<'a>(run: &[Change<'a>]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let bound = |change: Option<&Change<'a>>| {
        change.map_or(Bound::Unbounded, |(key, _)| Bound::Included(&key[..]))
    };
    (bound(run.first()), bound(run.last()))
}

#[cfg(test)]
mod tests;
