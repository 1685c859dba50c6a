//! The older formats have the same rows, so these pretend that there was another.

use std::sync::Arc;

use syncro_core::{Store, View};

use super::*;
use crate::backend::{Fault, MemoryDisk};
use crate::encoding::{seal, unseal};
use crate::log_store::LogStore;
use crate::recover;
use crate::state::Bounds;
use crate::world::{World, contents, todo};

/// The version that is pretended.
const OLD: u32 = FORMAT_VERSION - 1;

/// From a format with the same rows, every byte of which is the other way round. Twice is once too often.
const TURNED: Chain = Chain { newest: FORMAT_VERSION, steps: &[turn], slice_bytes: 60 };

fn turn(table: Table, key: &Bytes, content: &Bytes, batch: &mut Batch) -> Option<()> {
    put(batch, table, key, &turned(content));
    (!key.starts_with(b"untold")).then_some(())
}

fn turned(content: &[u8]) -> Vec<u8> {
    content.iter().map(|byte| !byte).collect()
}

/// From a format that knew nothing but the log: everything else is made anew.
const LOG_ALONE: Chain = Chain { newest: FORMAT_VERSION, steps: &[forget], slice_bytes: 60 };

fn forget(table: Table, key: &Bytes, _: &Bytes, batch: &mut Batch) -> Option<()> {
    let is_mark = table == Table::Rows && key.as_ref() == key::MARK;
    if is_mark || matches!(table, Table::Names | Table::Records | Table::Stamps) {
        batch.delete(table, key.clone());
    }
    Some(())
}

/// A store with some of everything, some of it not written behind, and what can be read of it.
fn filled() -> (MemoryDisk, String) {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..90).for_each(|id| drop(world.create(id)));
    world.store.syncer().checkpoint().unwrap();
    (20..25).for_each(|id| world.destroy(id));
    (0..9).for_each(|id| world.title(id, &"title ".repeat(60)));
    world.store.sync().unwrap();
    let contents = contents(&world.store);
    (disk.crash(), contents)
}

/// All rows, under their checksums.
fn rows_of(disk: &MemoryDisk) -> Vec<(Table, Bytes, Bytes)> {
    let backend = disk.image().open().unwrap();
    let rows = |table| backend.scan(table, &[], None, usize::MAX).unwrap().into_iter();
    let rows = Table::ALL.into_iter().flat_map(|table| rows(table).map(move |it| (table, it)));
    rows.map(|(table, (key, value))| (table, key, value)).collect()
}

/// The same store in the format that is pretended to be older.
fn aged(disk: &MemoryDisk) -> MemoryDisk {
    let old = MemoryDisk::new();
    let mut batch = Batch::new();
    for (table, key, sealed) in rows_of(disk) {
        let content = unseal(table, &key, sealed).unwrap();
        put(&mut batch, table, &key, &turned(&content));
    }
    put(&mut batch, Table::Rows, key::FORMAT, &OLD.to_be_bytes());
    old.open().unwrap().write(&batch, Durability::Durable).unwrap();
    old
}

fn open(disk: &MemoryDisk, chain: &Chain) -> Result<LogStore, StoreError> {
    let shared = recover::open(Arc::new(disk.open()?), Bounds::default(), chain)?;
    Ok(LogStore { shared: Arc::new(shared) })
}

fn run(disk: &MemoryDisk, chain: &Chain) -> Result<bool, StoreError> {
    chain.run(&disk.open()?, Damaged::Refused)
}

fn version(disk: &MemoryDisk) -> Format {
    let sealed = disk.image().open().unwrap().get(Table::Rows, key::FORMAT).unwrap().unwrap();
    row::read_format(&unseal(Table::Rows, key::FORMAT, sealed).unwrap()).unwrap()
}

fn write(disk: &MemoryDisk, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    change(&mut batch);
    disk.open().unwrap().write(&batch, Durability::Durable).unwrap();
}

#[test]
fn an_older_store_is_opened_as_what_it_was() {
    let (disk, expected) = filled();
    let old = aged(&disk);
    let mut store = open(&old, &TURNED).unwrap();
    assert_eq!(contents(&store), expected);
    store.sync().unwrap();
    drop(store);
    // From now on any program of this version opens it.
    assert_eq!(rows_of(&old), rows_of(&disk));
    let mut world = World::on(&old);
    world.create(100);
    assert!(world.store.record(&todo(100)).unwrap().is_some());
}

#[test]
fn what_follows_from_the_log_may_be_left_to_the_opening() {
    let (disk, expected) = filled();
    write(&disk, |batch| put(batch, Table::Rows, key::FORMAT, &OLD.to_be_bytes()));
    let store = open(&disk, &LOG_ALONE).unwrap();
    assert_eq!(contents(&store), expected);
    store.syncer().checkpoint().unwrap();
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
}

/// After each of its writes, and in a second try after each of those.
#[test]
fn a_migration_that_is_cut_off_goes_on_and_does_nothing_twice() {
    let (disk, _) = filled();
    let (old, expected) = (aged(&disk), rows_of(&disk));
    let faults = [Fault::Once(StoreError::Full), Fault::Landed(StoreError::Full)];
    let cut = |disk: &MemoryDisk, nth: u64, fault: &Fault| {
        let disk = disk.image();
        disk.fail_write(nth, fault.clone());
        let is_cut = run(&disk, &TURNED).is_err();
        is_cut.then(|| disk.crash())
    };
    let (mut writes, mut tried) = (0, 0);
    for fault in &faults {
        writes = 0;
        while let Some(once) = cut(&old, writes + 1, fault) {
            writes += 1;
            let again = (1..).map_while(|nth| cut(&once, nth, fault));
            for left in again.chain([once.clone()]) {
                run(&left, &TURNED).unwrap();
                assert!(rows_of(&left) == expected, "{fault:?} of write {writes}");
                tried += 1;
            }
        }
    }
    assert!(writes > 20, "{writes} slices");
    println!("{tried} migrations that were cut off, of {writes} slices");
}

#[test]
fn a_program_of_the_older_version_refuses_what_is_half_done() {
    let (disk, _) = filled();
    let old = aged(&disk);
    old.fail_write(3, Fault::Once(StoreError::Full));
    run(&old, &TURNED).unwrap_err();
    assert!(version(&old).reached.is_some());
    let older = Chain { newest: OLD, steps: &[], slice_bytes: 60 };
    let refused = run(&old, &older).unwrap_err();
    let expected =
        matches!(refused, StoreError::Version { found: FORMAT_VERSION, oldest: OLD, newest: OLD });
    assert!(expected, "{refused}");
}

#[test]
fn steps_follow_each_other_up_to_the_newest_version() {
    let (disk, _) = filled();
    let old = aged(&disk);
    let two = Chain { newest: OLD + 2, steps: &[turn, turn], slice_bytes: 60 };
    // Cut off in the first step, and in the second.
    for nth in [4, 60] {
        old.fail_write(nth, Fault::Once(StoreError::Full));
        run(&old, &two).unwrap_err();
    }
    assert_eq!(version(&old).version, OLD + 2);
    run(&old, &two).unwrap();
    assert_eq!(version(&old), Format::of(OLD + 2));
    write(&old, |batch| put(batch, Table::Rows, key::FORMAT, &OLD.to_be_bytes()));
    assert!(rows_of(&old) == rows_of(&aged(&disk)), "turned twice is as it was");
}

#[test]
fn a_version_that_no_step_leads_from_is_refused_with_what_to_do_and_left_alone() {
    let refused = |version: u32, chain: &Chain| {
        let (disk, _) = filled();
        write(&disk, |batch| put(batch, Table::Rows, key::FORMAT, &version.to_be_bytes()));
        let before = rows_of(&disk);
        let opened = open(&disk, chain).map(drop).unwrap_err().to_string();
        let repaired = LogStore::builder().repair(disk.open().unwrap(), None);
        assert_eq!(repaired.map(drop).unwrap_err().to_string(), opened);
        assert_eq!(rows_of(&disk), before);
        opened
    };
    assert_eq!(
        refused(5, &CHAIN),
        "the store has format version 5, and this program opens none above 4: a newer program wrote it, so \
         upgrade this one"
    );
    assert_eq!(
        refused(0, &CHAIN),
        "the store has format version 0, and this program opens none below 1: open it once with one that knows \
         both"
    );
    // A newer version may have anything behind its number.
    let (disk, _) = filled();
    write(&disk, |batch| put(batch, Table::Rows, key::FORMAT, &[0, 0, 0, 9, 77, 77]));
    assert!(matches!(run(&disk, &CHAIN), Err(StoreError::Version { found: 9, .. })));
    // What was to become a version that is the oldest now was never one that is known.
    write(&disk, |batch| put(batch, Table::Rows, key::FORMAT, &[0, 0, 0, 1, 0, 77]));
    assert!(matches!(run(&disk, &CHAIN), Err(StoreError::Version { found: 0, .. })));
}

/// A laptop's old store has a record and a page that rotted, and a row that says nothing. Opening it must not
/// carry the damage into the new format, and repairing it must not take the old format for the new one.
#[test]
fn damage_in_an_older_store_is_refused_by_opening_and_dropped_by_repairing() {
    let (disk, expected) = filled();
    let old = aged(&disk);
    let record = rows_of(&old).into_iter().find(|(table, ..)| *table == Table::Records).unwrap();
    write(&old, |batch| batch.put(Table::Records, record.1, "rotten"));
    assert!(matches!(open(&old, &TURNED), Err(StoreError::Corrupt { .. })));
    write(&old, |batch| {
        let untold = Bytes::from_static(b"untold");
        batch.put(Table::Names, untold.clone(), seal(Table::Names, &untold, b"what?"));
    });
    let (store, repaired) =
        LogStore::builder().repair_with(old.open().unwrap(), None, &TURNED).unwrap();
    assert_eq!(repaired.lost, []);
    assert_eq!(contents(&store), expected);
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    drop(store);

    let old = aged(&disk);
    let last = rows_of(&old).into_iter().rfind(|(table, ..)| *table == Table::Log).unwrap();
    write(&old, |batch| batch.put(Table::Log, last.1, "rotten"));
    let (store, repaired) =
        LogStore::builder().repair_with(old.open().unwrap(), None, &TURNED).unwrap();
    assert_eq!(repaired.lost.len(), 1);
    assert!(store.record(&todo(7)).unwrap().is_some());
    drop(store);
    let mut world = World::on(&old);
    world.create(500);
}

#[test]
fn a_copy_of_a_store_that_was_migrated_is_of_the_newest_version() {
    let (disk, expected) = filled();
    let store = open(&aged(&disk), &TURNED).unwrap();
    let copy = MemoryDisk::new();
    store.reader().copy_to(&copy.open().unwrap(), |_| ()).unwrap();
    assert_eq!(version(&copy), Format::of(FORMAT_VERSION));
    assert_eq!(contents(&open(&copy, &CHAIN).unwrap()), expected);
}
