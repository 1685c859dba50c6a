use syncro_core::{Digest, Name, Store, View};

use super::*;
use crate::backend::{Fault, MemoryDisk};
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
    let row = PeerRow { name: Some(Name::new("phone").unwrap()), ladder, held: Point::START };
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
