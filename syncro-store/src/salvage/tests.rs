use std::collections::BTreeSet;

use proptest::prelude::*;
use syncro_core::{Name, View};

use super::*;
use crate::backend::{MemoryDisk, Visit};
use crate::encoding::unseal;
use crate::log_store::LogStore;
use crate::migrate::CHAIN;
use crate::world::World;

/// Rows as they are found, sealed, in no order.
#[derive(Clone)]
struct Rows(Vec<(Bytes, Bytes)>);

impl Remains for Rows {
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for (key, sealed) in &self.0 {
            visit(key.clone(), sealed.clone())?;
        }
        Ok(())
    }
}

type Row = (Table, Bytes, Bytes);

fn rows(disk: &MemoryDisk) -> Vec<Row> {
    let backend = disk.image().open().unwrap();
    let rows = Table::ALL.into_iter().flat_map(|table| {
        let rows = backend.scan(table, &[], None, usize::MAX).unwrap();
        rows.into_iter().map(move |(key, sealed)| (table, key, sealed))
    });
    rows.collect()
}

/// A store, and all its rows at several moments, the last at the end.
fn filled() -> (World, Vec<Vec<Row>>) {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    let mut moments = Vec::new();
    for id in 0..60 {
        world.create(id);
        world.title(id, &format!("title {id} ").repeat(40));
        if id % 9 == 0 {
            world.store.syncer().checkpoint().unwrap();
            moments.push(rows(&disk));
        }
    }
    world.store.syncer().checkpoint().unwrap();
    moments.push(rows(&disk));
    (world, moments)
}

fn salvaged(rows: impl IntoIterator<Item = Row>) -> (LogStore, Repaired) {
    let remains = Rows(rows.into_iter().map(|(_, key, sealed)| (key, sealed)).collect());
    let fresh: Arc<dyn Backend> = Arc::new(MemoryDisk::new().open().unwrap());
    Found::in_all(&remains).unwrap().save(&remains, None, &fresh).unwrap();
    let doubles = doubles(&fresh).unwrap();
    let repair = Repair::begin(fresh.clone(), None, &CHAIN).unwrap().salvaged(doubles);
    let repaired = repair.run(Some(Box::new(remains))).unwrap();
    (LogStore::builder().open_shared(fresh).unwrap(), repaired)
}

fn transactions(store: &LogStore) -> Vec<Bytes> {
    let entries = store.entries(0, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.transaction.bytes().clone()).collect()
}

fn records(store: &LogStore) -> String {
    format!("{:?}", store.records(&Name::new("Todo").unwrap(), None, 1000).unwrap())
}

#[test]
fn of_rows_from_all_moments_the_last_store_comes() {
    let (world, moments) = filled();
    let mut all: Vec<_> = moments.into_iter().flatten().collect();
    for turn in 0..2 {
        let (store, repaired) = salvaged(all.clone());
        assert_eq!(repaired, Repaired::default(), "{turn}");
        assert_eq!(transactions(&store), transactions(&world.store));
        assert_eq!(records(&store), records(&world.store));
        assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
        all.reverse();
    }
}

/// In a gap of the log lay a page from before a repair, when the log had other offsets.
#[test]
fn no_transaction_is_taken_twice_and_the_records_make_up_for_a_page() {
    let (world, moments) = filled();
    let mut rows = moments.last().unwrap().clone();
    let pages = rows.iter().filter(|(table, ..)| *table == Table::Log).cloned().collect::<Vec<_>>();
    let [_, (_, before, page), (_, gap, _), ..] = &pages[..] else { panic!("{}", pages.len()) };
    rows.retain(|(table, key, _)| (*table, key) != (Table::Log, gap));
    let content = unseal(Table::Log, before, page.clone()).unwrap();
    rows.push((Table::Log, gap.clone(), crate::encoding::seal(Table::Log, gap, &content)));

    let (store, repaired) = salvaged(rows);
    let found = transactions(&store);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "none is there twice");
    assert_eq!(found.len(), transactions(&world.store).len());
    assert!(repaired.rescued > 10 && repaired.lost.len() == 1, "{repaired:?}");
    assert_eq!(records(&store), records(&world.store));
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
}

/// A number meant one word before a repair and another one after it: fields changed their names.
#[test]
fn no_record_is_read_with_the_words_of_another_moment() {
    let (world, moments) = filled();
    let mut rows = moments.last().unwrap().clone();
    rows.retain(|(table, ..)| *table != Table::Log);
    let (store, rescued) = salvaged(rows.clone());
    assert!(rescued.rescued > 0 && rescued.lost.len() == 1);
    assert_eq!(records(&store), records(&world.store));
    // Sort 0, names; 0, a word by its number.
    let is_word = |row: &&mut Row| row.0 == Table::Names && row.1.starts_with(&[0, 0]);
    let (_, key, sealed) = rows.iter_mut().find(is_word).unwrap();
    *sealed = crate::encoding::seal(Table::Names, key, b"other");
    let (store, repaired) = salvaged(rows);
    // Those without a field have no word that could be another.
    assert!(repaired.rescued < rescued.rescued);
    assert!(!records(&store).contains("other"));
}

/// Two lives of a log, with a page of the first that outweighs the last ones of the second: what was in those was
/// thrown away.
#[test]
fn whatever_is_whole_is_there_again_wherever_the_log_had_it() {
    let (world, moments) = filled();
    let first = moments.last().unwrap().clone();
    let pages =
        first.iter().filter(|(table, ..)| *table == Table::Log).cloned().collect::<Vec<_>>();
    for (_, lost, _) in &pages {
        // A repair closed the gap, and what came after it moved.
        let disk = MemoryDisk::new();
        let backend = disk.open().unwrap();
        let mut batch = Batch::new();
        for (table, key, sealed) in
            first.iter().filter(|(table, key, _)| (*table, key) != (Table::Log, lost))
        {
            batch.put(*table, key.clone(), sealed.clone());
        }
        backend.write(&batch, Durability::Durable).unwrap();
        let mut second = World::over(LogStore::builder().repair(backend, None).unwrap().0);
        (100..130).for_each(|id| drop(second.create(id)));
        second.store.syncer().checkpoint().unwrap();

        let mut found: Vec<Row> = rows(&disk);
        found.extend(pages.iter().cloned());
        let (store, _) = salvaged(found);
        let left: BTreeSet<Bytes> = transactions(&store).into_iter().collect();
        for transaction in transactions(&world.store).iter().chain(&transactions(&second.store)) {
            assert!(left.contains(transaction));
        }
        assert_eq!(left.len(), transactions(&store).len(), "none is there twice");
        assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    }
}

fn page(first: u64, length: u64, before: u8, after: u8) -> Leaf {
    let digest = |byte| Digest([byte; 16]);
    let end = Point { offset: first + length, digest: digest(after) };
    Leaf { first, before: digest(before), end }
}

/// What a choice comes to: scribes, and pages that go on where the one before ends. `None` where two overlap.
fn score(pages: &[Leaf]) -> Option<(u64, usize)> {
    let fits = |pair: &[Leaf]| pair[0].end.offset <= pair[1].first;
    let goes_on =
        |pair: &&[Leaf]| pair[0].end == Point { offset: pair[1].first, digest: pair[1].before };
    let scribes = pages.iter().map(|page| page.end.offset - page.first).sum();
    let links = pages.windows(2).filter(goes_on).count();
    pages.windows(2).all(fits).then_some((scribes, links))
}

proptest! {
    /// Against all choices that there are.
    #[test]
    fn the_most_of_the_log_is_chosen(
        pages in prop::collection::vec((0..12_u64, 1..6_u64, 0..2_u8, 0..2_u8), 0..9),
    ) {
        let pages = pages.iter().map(|(first, length, before, after)| page(*first, *length, *before, *after));
        let mut pages: Vec<Leaf> = pages.collect();
        pages.sort_unstable();
        pages.dedup();
        let subset = |bits: usize| -> Vec<Leaf> {
            (0..pages.len()).filter(|nth| bits >> nth & 1 == 1).map(|nth| pages[nth]).collect()
        };
        let best = (0..1 << pages.len()).filter_map(|bits| score(&subset(bits))).max();
        prop_assert_eq!(score(&most(&pages)), best);
    }
}
