use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use syncro_core::{Digest, Epoch, Ladder, Name, PeerRow, Point, Record, RecordId, Store, View};

use super::*;
use crate::backend::{Batch, Durability, Fault, MemoryDisk, Table};
use crate::encoding::key;
use crate::snapshot::Snapshot;
use crate::world::{World, contents};

/// A store with records of every life, all of it in the backend.
fn filled() -> (World, MemoryDisk) {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    for id in 0..60 {
        world.create(id);
        world.title(id, &format!("title {id} ").repeat(40));
        if id % 7 == 0 {
            world.destroy(id);
        }
    }
    world.store.syncer().checkpoint().unwrap();
    (world, disk)
}

fn repair(disk: &MemoryDisk) -> Result<(LogStore, Repaired), StoreError> {
    LogStore::builder().repair(disk.open().unwrap(), Some(NodeId::named("server")))
}

fn changed(disk: &MemoryDisk, change: impl FnOnce(&mut Batch)) -> MemoryDisk {
    let image = disk.image();
    let backend = image.open().unwrap();
    let mut batch = Batch::new();
    change(&mut batch);
    backend.write(&batch, Durability::Durable).unwrap();
    drop(backend);
    image
}

fn log_of(store: &LogStore) -> BTreeSet<Bytes> {
    let entries = store.entries(0, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.transaction.bytes().clone()).collect()
}

/// Each row in turn is gone, or bent.
#[test]
fn whatever_row_is_damaged_the_rest_is_there_again() {
    let (world, disk) = filled();
    let (before, log) = (contents(&world.store), log_of(&world.store));
    let backend = disk.image().open().unwrap();
    let (mut checked, mut losses) = (0, 0);
    for table in Table::ALL {
        for (key, sealed) in backend.scan(table, &[], None, usize::MAX).unwrap() {
            let mut bent = sealed.to_vec();
            bent[sealed.len() / 2] ^= 4;
            for bent in [None, Some(bent)] {
                let image = changed(&disk, |batch| match bent {
                    None => batch.delete(table, key.clone()),
                    Some(bent) => batch.put(table, key.clone(), bent),
                });
                let (store, repaired) = repair(&image).unwrap();
                checked += 1;
                assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
                if table != Table::Log {
                    assert_eq!(repaired, Repaired::default(), "{table:?} {key:?}");
                    let own = key == key::OWN;
                    assert!(own || contents(&store) == before, "{table:?} {key:?}");
                    continue;
                }
                losses += 1;
                let [(from, to)] = repaired.lost[..] else { panic!("{repaired:?}") };
                assert!(from < to && repaired.rescued > 0);
                // What was not lost is there, and each record as it was.
                let left = log_of(&store);
                let page = world.store.entries(0, usize::MAX).unwrap();
                let lost = page.iter().filter(|entry| (from..to).contains(&entry.offset));
                let lost: BTreeSet<Bytes> = lost.map(|it| it.transaction.bytes().clone()).collect();
                assert!(log.difference(&lost).all(|transaction| left.contains(transaction)));
                let model = Name::new("Todo").unwrap();
                let records = |store: &LogStore| store.records(&model, None, 1000).unwrap();
                assert_eq!(records(&store), records(&world.store));
            }
        }
    }
    assert!(checked > 100 && losses > 5, "{checked} rows, {losses} pages");
}

#[test]
fn a_repair_that_was_cut_off_is_done_again() {
    let (world, disk) = filled();
    let backend = disk.image().open().unwrap();
    let pages = backend.scan(Table::Log, &[], None, usize::MAX).unwrap();
    let damaged = changed(&disk, |batch| batch.delete(Table::Log, pages[1].0.clone()));
    let (whole, _) = repair(&damaged.image()).unwrap();
    let (expected, log) = (contents(&whole), log_of(&whole));
    for nth in 1.. {
        let image = damaged.image();
        image.fail_write(nth, Fault::Once(StoreError::Full));
        let first = repair(&image);
        let is_done = first.is_ok();
        drop(first);
        for kept in 0..=image.unsynced() {
            let crashed = image.crash_keeping(kept);
            crashed.heal();
            let (store, _) = repair(&crashed).unwrap();
            assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
            assert_eq!(log_of(&store), log, "cut off at write {nth}, {kept} kept");
            assert_eq!(contents(&store), expected);
        }
        if is_done {
            assert!(nth > 5, "{nth} writes");
            break;
        }
    }
    drop(world);
}

#[test]
fn a_store_that_does_not_know_who_it_is_has_to_be_told() {
    let (_, disk) = filled();
    let image = changed(&disk, |batch| batch.delete(Table::Rows, key::OWN));
    let refused = LogStore::builder().repair(image.open().unwrap(), None).unwrap_err();
    assert!(refused.to_string().contains("who the node is"), "{refused}");
    let (store, _) = repair(&image).unwrap();
    assert_eq!(store.own().unwrap().unwrap().node, NodeId::named("server"));
}

/// A log with a gap was read past it with the points of before: what the peer had of the gap never came.
#[test]
fn no_point_in_a_peers_log_outlives_what_it_promised_and_the_peer_keeps_its_name() {
    let (mut world, disk) = filled();
    let peer = NodeId::named("phone");
    let mut ladder = Ladder::default();
    ladder.advance(Epoch(7), Point { offset: 3, digest: Digest([3; 16]) });
    let name = Some(Name::new("phone").unwrap());
    let row = PeerRow { name, ladder, held: Point::START, confirmed: Point::START };
    let mut commit = world.create(1000);
    (commit.peers, commit.entries) = (vec![(peer, row.clone())], Vec::new());
    world.store.apply(&commit).unwrap();
    world.store.sync().unwrap();

    let (store, _) = repair(&disk.image()).unwrap();
    assert_eq!(store.peer(peer).unwrap(), Some(row.clone()), "nothing was lost");
    let pages = disk.image().open().unwrap().scan(Table::Log, &[], None, 2).unwrap();
    let image = changed(&disk, |batch| batch.delete(Table::Log, pages[1].0.clone()));
    let (store, _) = repair(&image).unwrap();
    let forgotten = PeerRow { ladder: Ladder::default(), ..row };
    assert_eq!(store.peer(peer).unwrap(), Some(forgotten));
}

/// Breaks a row below a store that is open.
fn broken(disk: &MemoryDisk, table: Table) -> (MemoryDisk, LogStore) {
    let backend = disk.image().open().unwrap();
    let (key, sealed) = backend.scan(table, &[], None, 2).unwrap().pop().unwrap();
    let mut bent = sealed.to_vec();
    bent[sealed.len() / 2] ^= 4;
    let image = changed(disk, |batch| batch.put(table, key, bent));
    let store = LogStore::open(image.open().unwrap()).unwrap();
    (image, store)
}

/// A store in use could only be repaired by letting go of it and of everything that held on to it.
#[test]
fn a_store_is_repaired_under_its_handles_and_snapshots_of_before_are_void() {
    let (world, disk) = filled();
    let before = contents(&world.store);
    let (_image, store) = broken(&disk, Table::Records);
    let (reader, syncer) = (store.reader(), store.syncer());
    let model = Name::new("Todo").unwrap();
    let read = reader.records(&model, None, 1000);
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    let snapshot = reader.snapshot();

    assert_eq!(syncer.repair(None).unwrap(), Repaired::default());
    assert_eq!((contents(&store), contents(&reader)), (before.clone(), before));
    let stale = snapshot.records(&model, None, 1000);
    assert!(matches!(stale, Err(StoreError::Repaired)), "{stale:?}");
    assert!(reader.verify(|_, _| ()).unwrap().is_sound());
    let mut world = World::over(store);
    world.create(1000);
    world.store.sync().unwrap();
}

fn refused() -> StoreError {
    StoreError::Io(Arc::new(std::io::ErrorKind::PermissionDenied.into()))
}

/// A write that has failed stops a store until it is opened again, and a repair opens it.
#[test]
fn a_repair_ends_a_latch_and_what_was_not_synced_is_gone() {
    let (mut world, disk) = filled();
    let before = contents(&world.store);
    let commit = world.create(1000);
    disk.fail_write(1, Fault::Once(refused()));
    world.store.sync().unwrap_err();
    assert!(matches!(world.store.apply(&commit), Err(StoreError::Latched { .. })));
    world.store.syncer().repair(None).unwrap();
    assert_eq!(contents(&world.store), before);
    let mut world = World::over(world.store);
    world.create(1000);
    world.store.sync().unwrap();
}

/// The power fails in the middle, or the medium does: nobody may take what is there for a store.
#[test]
fn a_store_whose_repair_failed_says_so_until_it_is_repaired() {
    let (world, disk) = filled();
    let log = log_of(&world.store);
    let first = disk.image();
    let model = Name::new("Todo").unwrap();
    // The first write checks the medium: where that fails, the repair begins.
    for nth in 2.. {
        let image = first.image();
        let store = LogStore::open(image.open().unwrap()).unwrap();
        let (reader, syncer) = (store.reader(), store.syncer());
        image.fail_write(nth, Fault::Once(refused()));
        if syncer.repair(None).is_ok() {
            assert!(nth > 3, "{nth} writes");
            break;
        }
        assert!(matches!(reader.records(&model, None, 9), Err(StoreError::Io(_))));
        assert!(matches!(syncer.sync(), Err(StoreError::Io(_))));
        // The second marks the store.
        if nth > 2 {
            let opened = LogStore::open(image.crash().open().unwrap()).unwrap_err();
            assert!(opened.to_string().contains("cut off"), "{opened}");
        }
        syncer.repair(None).unwrap();
        assert_eq!(log_of(&store), log);
        assert!(reader.verify(|_, _| ()).unwrap().is_sound());
    }
}

/// A reader between two repairs saw a part of one store and a part of the next.
#[test]
fn whoever_reads_meanwhile_sees_one_store_or_an_error_that_says_why() {
    let (world, _disk) = filled();
    let (reader, syncer) = (world.store.reader(), world.store.syncer());
    let model = Name::new("Todo").unwrap();
    let all = reader.records(&model, None, 1000).unwrap();
    let by_sevens = |view: &Snapshot| -> Result<Vec<_>, StoreError> {
        let mut read: Vec<(RecordId, Arc<Record>)> = Vec::new();
        loop {
            let more = view.records(&model, read.last().map(|(id, _)| id), 7)?;
            if more.is_empty() {
                return Ok(read);
            }
            read.extend(more);
        }
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let reading = || {
            let (mut whole, mut void) = (0, 0);
            while !is_over.load(Ordering::Acquire) {
                match by_sevens(&reader.snapshot()) {
                    Ok(read) => {
                        assert_eq!(read, all);
                        whole += 1;
                    }
                    Err(StoreError::UnderRepair | StoreError::Repaired) => void += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            (whole, void)
        };
        let readers = [threads.spawn(reading), threads.spawn(reading)];
        for _ in 0..100 {
            syncer.repair(None).unwrap();
            by_sevens(&reader.snapshot()).unwrap();
        }
        is_over.store(true, Ordering::Release);
        for reader in readers {
            let (whole, void) = reader.join().unwrap();
            assert!(whole + void > 0, "{whole} whole, {void} void");
        }
    });
}

#[test]
fn a_closed_store_is_not_repaired() {
    let (world, _) = filled();
    world.store.syncer().close();
    assert!(matches!(world.store.syncer().repair(None), Err(StoreError::Closed)));
}

/// The disk filled up during a repair. Full means that it is written when there is room, and nothing here is:
/// whoever was told so waited for it, and took no step to repair the store again.
#[test]
fn a_repair_that_finds_no_room_leaves_a_store_that_has_stopped() {
    let (world, disk) = filled();
    let log = log_of(&world.store);
    let image = disk.image();
    let store = LogStore::open(image.open().unwrap()).unwrap();
    image.fail_write(3, Fault::Once(StoreError::Full));
    assert!(matches!(store.syncer().repair(None), Err(StoreError::Full)));
    for stopped in [store.syncer().sync(), store.own().map(drop)] {
        assert!(matches!(stopped, Err(StoreError::Latched { .. })), "{stopped:?}");
    }
    store.syncer().repair(None).unwrap();
    assert_eq!(log_of(&store), log);
}
