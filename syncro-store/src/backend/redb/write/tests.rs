use std::collections::BTreeMap;

use ::redb::backends::InMemoryBackend;
use ::redb::{Database, ReadableDatabase, ReadableTableMetadata, TableStats};
use proptest::prelude::*;

use super::*;

type Rows = BTreeMap<Bytes, Bytes>;

fn database() -> Database {
    Database::builder().create_with_backend(InMemoryBackend::new()).unwrap()
}

fn write(database: &Database, batch: &Batch) {
    commit(database.begin_write().unwrap(), batch, RedbDurability::None).unwrap();
}

fn rows(database: &Database) -> Rows {
    let table = database.begin_read().unwrap().open_table(definition(Table::Records)).unwrap();
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let rows = table.range::<&[u8]>(..).unwrap().map(Result::unwrap);
    rows.map(|(key, value)| (copy(key.value()), copy(value.value()))).collect()
}

fn stats(database: &Database) -> TableStats {
    let table = database.begin_read().unwrap().open_table(definition(Table::Records)).unwrap();
    table.stats().unwrap()
}

fn key(nth: usize) -> Vec<u8> {
    format!("a record of some model, {nth:013}").into_bytes()
}

/// A batch that puts a value of some length under each of some keys.
fn puts(nths: impl Iterator<Item = usize>, length: usize) -> Batch {
    let mut batch = Batch::new();
    nths.for_each(|nth| batch.put(Table::Records, key(nth), vec![nth as u8; length]));
    batch
}

/// Changes of keys one after the other, some of them apart: each so many is a delete.
#[derive(Clone, Debug)]
struct Changes {
    from: usize,
    step: usize,
    count: usize,
    length: usize,
    deleted: usize,
}

impl Changes {
    fn any() -> impl Strategy<Value = Self> {
        let length = prop_oneof![3 => 60_usize..90, 1 => 0_usize..10, 1 => 400_usize..600];
        let step = prop_oneof![3 => 1_usize..4, 1 => 4_usize..30];
        (0_usize..1500, step, 0_usize..600, length, 1_usize..6).prop_map(
            |(from, step, count, length, deleted)| Self { from, step, count, length, deleted },
        )
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for nth in 0..self.count {
            let key = key(self.from + nth * self.step);
            if nth % self.deleted == 1 {
                batch.delete(Table::Records, key);
            } else {
                // Some of them far longer than the others.
                let length = if nth % 97 == 96 { self.length * 20 } else { self.length };
                batch.put(Table::Records, key, vec![nth as u8; length]);
            }
        }
        batch
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A table has what it had, and what its batches did to it, however they were written.
    #[test]
    fn batches_do_what_they_say(all in prop::collection::vec(Changes::any(), 1..6)) {
        let (database, mut expected) = (database(), Rows::new());
        for changes in all {
            let batch = changes.batch();
            write(&database, &batch);
            for (key, value) in batch.iter_table(Table::Records) {
                match value {
                    Some(value) => expected.insert(key.clone(), value.clone()),
                    None => expected.remove(key),
                };
            }
            if !batch.is_empty() {
                prop_assert!(rows(&database) == expected, "{:?}", changes);
            }
        }
    }
}

#[test]
fn rows_that_grow_fill_their_pages() {
    let database = database();
    write(&database, &puts(0..4000, 72));
    let created = stats(&database).leaf_pages();

    // One in two becomes longer, a slice at a time; then the others.
    for odd in [0, 1] {
        for slice in (0..4000).step_by(1000) {
            write(&database, &puts((slice + odd..slice + 1000).step_by(2), 81));
        }
    }
    assert_eq!(rows(&database).len(), 4000);
    let grown = stats(&database).leaf_pages();
    assert!(grown * 100 <= created * 125, "{grown} pages after {created}");
}

#[test]
fn rows_that_come_between_others_fill_their_pages() {
    let (mixed, ordered) = (database(), database());
    write(&mixed, &puts((0..4000).step_by(2), 72));
    write(&mixed, &puts((0..4000).skip(1).step_by(2), 72));
    write(&ordered, &puts(0..4000, 72));
    let (mixed, ordered) = (stats(&mixed).leaf_pages(), stats(&ordered).leaf_pages());
    assert!(mixed * 100 <= ordered * 115, "{mixed} pages, and {ordered} at once");
}

#[test]
fn a_change_far_from_others_touches_its_own_page() {
    let database = database();
    write(&database, &puts(0..40_000, 72));
    let created = stats(&database).leaf_pages();
    // Of each page the same rows, which go into it: none of them is written anew with its neighbours.
    let batch = puts((0..40_000).step_by(400), 200);
    let transaction = database.begin_write().unwrap();
    {
        let entries = transaction.open_table(definition(Table::Records)).unwrap();
        let run: Vec<Change<'_>> = batch.iter_table(Table::Records).collect();
        assert!(rows_among(&entries, &run).unwrap().is_none());
        let batch = puts(0..500, 72);
        let run: Vec<Change<'_>> = batch.iter_table(Table::Records).collect();
        assert_eq!(rows_among(&entries, &run).unwrap().unwrap().iter().count(), 500);
        // Few, and large ones.
        assert!(rows_among(&entries, &run[..RUN_MIN - 1]).unwrap().is_none());
        let batch = puts(0..500, SMALL_BYTES);
        let run: Vec<Change<'_>> = batch.iter_table(Table::Records).collect();
        assert!(rows_among(&entries, &run).unwrap().is_none());
    }
    transaction.abort().unwrap();
    write(&database, &batch);
    assert!(stats(&database).leaf_pages() <= created + 100);
}
