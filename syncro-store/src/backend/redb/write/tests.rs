use std::collections::{BTreeMap, BTreeSet};

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

/// The rows that the table itself counts.
fn counted(database: &Database) -> u64 {
    let table = database.begin_read().unwrap().open_table(definition(Table::Records)).unwrap();
    table.len().unwrap()
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

/// Changes of some keys among many, close together or far apart.
#[derive(Clone, Debug)]
enum Changes {
    /// Each so many.
    Regular { from: usize, step: usize, count: usize },
    /// As they come, some of them so far up that no row has been there.
    Random(BTreeSet<usize>),
    /// Those of a record in pieces, and a few far away.
    Clusters(Vec<usize>),
}

impl Changes {
    fn any() -> impl Strategy<Value = Self> {
        let step = prop_oneof![3 => 1_usize..4, 1 => 4_usize..30];
        prop_oneof![
            3 => (0_usize..1500, step, 0_usize..600)
                .prop_map(|(from, step, count)| Self::Regular { from, step, count }),
            2 => prop::collection::btree_set(0_usize..2500, 0..900).prop_map(Self::Random),
            1 => prop::collection::vec(0_usize..2500, 0..12).prop_map(Self::Clusters),
        ]
    }

    fn keys(&self) -> BTreeSet<usize> {
        match self {
            Self::Regular { from, step, count } => {
                (0..*count).map(|nth| from + nth * step).collect()
            }
            Self::Random(keys) => keys.clone(),
            Self::Clusters(starts) => starts.iter().flat_map(|start| *start..start + 40).collect(),
        }
    }
}

/// What a batch does to the rows it changes.
#[derive(Clone, Debug)]
struct Doing {
    changes: Changes,
    length: usize,
    /// Of so many changes so many are deletes.
    deleted: (usize, usize),
    /// One in so many is far longer than the others.
    large: usize,
    /// Whether its transaction is given up.
    is_given_up: bool,
}

impl Doing {
    fn any() -> impl Strategy<Value = Self> {
        let length = prop_oneof![3 => 60_usize..90, 1 => 0_usize..10, 1 => 400_usize..600];
        let deleted = prop_oneof![
            3 => Just((0, 1)), 3 => (1_usize..6).prop_map(|of| (1, of)), 1 => Just((29, 30)),
        ];
        let large = prop_oneof![3 => Just(usize::MAX), 1 => 50_usize..400];
        let is_given_up = prop::bool::weighted(0.15);
        (Changes::any(), length, deleted, large, is_given_up).prop_map(
            |(changes, length, deleted, large, is_given_up)| Self {
                changes,
                length,
                deleted,
                large,
                is_given_up,
            },
        )
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (nth, row) in self.changes.keys().into_iter().enumerate() {
            if nth % self.deleted.1 < self.deleted.0 {
                batch.delete(Table::Records, key(row));
            } else {
                // More than a page has.
                let length = if nth % self.large == 7 { 9000 } else { self.length };
                batch.put(Table::Records, key(row), vec![nth as u8; length]);
            }
        }
        batch
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A table has what it had, and what its batches did to it, however they were written, and its database is sound.
    #[test]
    fn batches_do_what_they_say(all in prop::collection::vec(Doing::any(), 1..8)) {
        let (mut database, mut expected) = (database(), Rows::new());
        write(&database, &puts(0..1, 1));
        expected.insert(key(0).into(), vec![0; 1].into());
        for doing in all {
            let batch = doing.batch();
            if doing.is_given_up {
                let transaction = database.begin_write().unwrap();
                write_table(&transaction, &batch, Table::Records).unwrap();
                transaction.abort().unwrap();
            } else {
                write(&database, &batch);
                for (key, value) in batch.iter_table(Table::Records) {
                    match value {
                        Some(value) => expected.insert(key.clone(), value.clone()),
                        None => expected.remove(key),
                    };
                }
            }
            prop_assert!(rows(&database) == expected, "{:?}", doing);
        }
        prop_assert_eq!(counted(&database), expected.len() as u64);
        prop_assert!(database.check_integrity().unwrap());
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
