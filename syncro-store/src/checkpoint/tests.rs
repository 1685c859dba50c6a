use syncro_core::{Name, Store, View};

use super::*;
use crate::backend::{Backend, Durability, MemoryDisk, Redb};
use crate::log_store::LogStore;
use crate::state::Bounds;
use crate::world::{World, contents};

#[test]
fn a_crash_at_any_batch_of_a_checkpoint_loses_nothing_that_was_synced() {
    // Small enough for a checkpoint at every sync.
    let small = || LogStore::builder().overlay_bytes(1);
    let disk = MemoryDisk::new();
    let mut world = World::with(small(), &disk);
    let mut slices = 0;
    for round in 0..12 {
        (0..100).for_each(|id| {
            world.create(100 * round + id);
        });
        world.title(100 * round, "milk");
        if round > 3 {
            world.destroy(100 * round - 300);
        }
        world.store.sync().unwrap();
        let synced = contents(&world.store);
        for _ in 0..=round % 4 {
            slices += usize::from(world.store.syncer().write_behind().unwrap());
            for kept in 0..=disk.unsynced() {
                let crashed = disk.crash_keeping(kept).open().unwrap();
                assert_eq!(contents(&LogStore::open(crashed).unwrap()), synced, "{kept} kept");
            }
        }
    }
    assert!(slices > 10, "{slices} slices");
}

#[test]
fn a_store_that_was_checkpointed_has_nothing_to_play() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..2000).for_each(|id| {
        world.create(id);
    });
    world.store.syncer().checkpoint().unwrap();
    let before = contents(&world.store);

    // Without a log that could be played, up to its last page.
    let crashed = disk.crash().open().unwrap();
    let mut batch = Batch::new();
    let pages = crashed.scan(Table::Log, &[], None, usize::MAX).unwrap();
    let (_, earlier) = pages.split_last().unwrap();
    earlier.iter().for_each(|(page, _)| batch.delete(Table::Log, page.clone()));
    crashed.write(&batch, Durability::Durable).unwrap();
    let store = LogStore::open(crashed).unwrap();
    let model = Name::new("Todo").unwrap();
    let records = store.records(&model, None, usize::MAX).unwrap();
    assert_eq!(records, world.store.records(&model, None, usize::MAX).unwrap());
    drop(store);
    assert_eq!(contents(&LogStore::open(disk.crash().open().unwrap()).unwrap()), before);
}

/// What is held in memory, tree nodes aside.
fn held_bytes(store: &LogStore) -> usize {
    let state = store.shared.read();
    let aside = [&state.derived, &state.log].map(|overlay| {
        let rows = overlay.aside().iter();
        rows.map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Value::bytes))
            .sum::<usize>()
    });
    state.derived.active_bytes() + state.log.active_bytes() + aside.iter().sum::<usize>()
}

#[test]
fn what_is_behind_stays_within_bounds_though_nobody_syncs_nor_writes_behind() {
    const BYTES: usize = 256 << 10;
    let small = || LogStore::builder().overlay_bytes(BYTES);
    // Many records, and one that is saved again and again.
    for titles in [0, 5000] {
        let disk = MemoryDisk::new();
        let mut world = World::with(small(), &disk);
        world.create(0);
        for n in 1..5000 {
            if titles == 0 {
                world.create(n);
            } else {
                world.title(0, &n.to_string().repeat(400));
            }
            let bytes = held_bytes(&world.store);
            assert!(bytes < 4 * BYTES, "{bytes} bytes after {n} writes");
        }
        let before = contents(&world.store);
        world.store.sync().unwrap();
        let reopened = small().open(disk.crash().open().unwrap()).unwrap();
        assert!(contents(&reopened) == before);
    }
}

/// Every so many syncs one made a commit of the database, for all that the others had left in the journal.
#[test]
fn a_sync_leaves_it_to_whoever_writes_behind_to_bring_the_journal_to_the_database() {
    let directory = tempfile::tempdir().unwrap();
    // Two halves of eight entries.
    let builder = Redb::builder().journal_bytes(64 << 10);
    let store = LogStore::open(builder.open(directory.path().join("store")).unwrap()).unwrap();
    let mut world = World::over(store);
    world.create(0);
    let mut caught_up = 0;
    for n in 0..100 {
        world.title(0, &n.to_string());
        world.store.sync().unwrap();
        if world.store.syncer().is_due_behind() {
            assert!(world.store.syncer().write_behind().unwrap());
            assert!(!world.store.syncer().is_due_behind());
            caught_up += 1;
        }
    }
    assert_eq!(caught_up, 12);
}

#[test]
fn the_log_to_be_played_after_a_crash_is_bounded() {
    const BYTES: usize = 256 << 10;
    let disk = MemoryDisk::new();
    let mut world = World::with(LogStore::builder().overlay_bytes(BYTES), &disk);
    world.create(0);
    for n in 0..500 {
        world.title(0, &n.to_string().repeat(3000));
        world.store.sync().unwrap();
        while world.store.syncer().write_behind().unwrap() {}
        let backend = disk.image().open().unwrap();
        let mark = backend.get(Table::Rows, key::MARK).unwrap();
        let mark = mark.map_or(0, |sealed| {
            let content = encoding::unseal(Table::Rows, key::MARK, sealed).unwrap();
            row::read_mark(&content).unwrap().offset
        });
        let behind = world.store.entries(mark, usize::MAX).unwrap();
        let behind: usize = behind.iter().map(|entry| entry.transaction.bytes().len()).sum();
        // The last slice is durable with the next sync.
        assert!(behind <= 2 * BYTES + 20_000, "{behind} bytes to play after {n} writes");
    }
}

#[test]
fn a_log_that_is_played_at_opening_stays_within_bounds_too() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..20_000).for_each(|id| {
        world.create(id);
    });
    world.store.sync().unwrap();
    let before = contents(&world.store);
    let reopened = LogStore::builder().overlay_bytes(1 << 20).open(disk.crash().open().unwrap());
    let reopened = reopened.unwrap();
    assert!(reopened.shared.read().derived.active_bytes() < 2 << 20);
    assert_eq!(contents(&reopened), before);
    // What was written behind while the log was played counts from the next sync on.
    reopened.syncer().sync().unwrap();
}

/// The rows that the checkpoint under way has still to write.
fn rows_left(store: &LogStore) -> usize {
    let state = store.shared.read();
    let last = state.checkpoint.as_ref().map(|checkpoint| checkpoint.last.as_ref());
    last.map_or(0, |last| state.derived.aside().after(last).count())
}

/// The first write that found the bound passed wrote everything that had been put until then.
#[test]
fn no_write_pays_for_what_others_brought() {
    let disk = MemoryDisk::new();
    let mut world = World::with(LogStore::builder().overlay_bytes(1 << 20), &disk);
    let syncer = world.store.syncer();
    let (mut payments, mut most) = (0, 0);
    for id in 0..20_000 {
        let bytes = world.create(id).bytes();
        let before = rows_left(&world.store);
        if before > 0 && syncer.make_room(bytes).unwrap() {
            payments += 1;
            most = most.max(before - rows_left(&world.store));
        } else if before == 0 {
            syncer.make_room(bytes).unwrap();
        }
    }
    assert!(payments > 10, "{payments} writes made room");
    assert!(most <= Bounds::default().slice_rows, "one write wrote {most} rows");
}
