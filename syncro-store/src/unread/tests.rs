use syncro_core::{Held, RecordKey, Store, StoreError, Transaction, View};

use super::{ALIKE_MAX, READS_MAX};
use crate::backend::{Backend, Batch, Durability, MemoryDisk, Table};
use crate::encoding::{key, seal};
use crate::log_store::LogStore;
use crate::world::relay::{Relay, transaction};
use crate::world::{World, todo};

/// The record of a transaction.
fn record(id: u16) -> RecordKey {
    todo(i64::from(id | 0x4000))
}

fn each(ids: impl IntoIterator<Item = u16>) -> Vec<Transaction> {
    ids.into_iter().map(|id| transaction(1, 1 + id as u8, id)).collect()
}

/// A store whose process ended before anything was written behind a mark.
fn crashed(behind: impl IntoIterator<Item = u16>, beyond: impl IntoIterator<Item = u16>) -> Relay {
    let mut relay = Relay::new();
    relay.leave(each(behind));
    relay.store.syncer().checkpoint().unwrap();
    relay.leave(each(beyond));
    relay.store.sync().unwrap();
    relay.disk = relay.disk.crash();
    relay.store = LogStore::open(relay.disk.open().unwrap()).unwrap();
    relay
}

fn is_unread(store: &LogStore) -> bool {
    store.shared.read().unread.is_some()
}

#[test]
fn records_are_read_before_the_log_is() {
    for behind in [0, 3] {
        let relay = crashed(0..behind, behind..10);
        for id in [0, 9, 20].into_iter().cycle().take(READS_MAX as usize) {
            assert_eq!(relay.store.record(&record(id)).unwrap().is_some(), id < 10);
        }
        assert!(is_unread(&relay.store));
        // Now many were.
        assert!(relay.store.record(&record(5)).unwrap().is_some());
        assert!(!is_unread(&relay.store));
        (0..10).for_each(|id| assert!(relay.store.record(&record(id)).unwrap().is_some()));
    }
}

/// What somebody may ask of a store.
type Question = fn(&mut Relay);

#[test]
fn whoever_asks_for_more_has_the_log_read_first() {
    let questions: [Question; 8] = [
        |relay| assert_eq!(relay.store.models().unwrap().len(), 1),
        |relay| assert_eq!(relay.store.records(&record(0).model, None, 99).unwrap().len(), 10),
        |relay| {
            let snapshot = relay.store.reader().snapshot();
            assert_eq!(snapshot.records(&record(0).model, None, 99).unwrap().len(), 10);
        },
        |relay| {
            for (offset, transaction) in (0..).zip(each(0..10)) {
                let held = relay.store.held(&transaction).unwrap();
                assert!(matches!(held, Held::Same { offset: found, .. } if found == offset));
            }
        },
        |relay| assert!(!relay.store.is_latest(each([4])[0].stamp()).unwrap()),
        |relay| assert_eq!(relay.store.reader().of_stamp(each([4])[0].stamp()).unwrap().len(), 1),
        |relay| _ = relay.leave(each([30])),
        |relay| relay.store.syncer().checkpoint().unwrap(),
    ];
    for question in questions {
        let mut relay = crashed(0..3, 3..10);
        assert!(is_unread(&relay.store));
        question(&mut relay);
        assert!(!is_unread(&relay.store));
        assert!(relay.store.reader().verify(|_, _| ()).unwrap().is_sound());
        assert_eq!(relay.store.records(&record(0).model, None, 10).unwrap().len(), 10);
    }
}

/// What is written meanwhile is beyond what is unread, and stays with the next crash.
#[test]
fn a_node_writes_before_the_log_is_read() {
    let mut disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..3).for_each(|id| _ = world.create(id));
    world.store.syncer().checkpoint().unwrap();
    for (round, is_crash) in [true, true, false].into_iter().enumerate() {
        let (first, last) = (3 + 2 * round as i64, 4 + 2 * round as i64);
        world.create(first);
        world.create(last);
        world.title(0, &format!("title {round}"));
        world.destroy(first);
        world.store.sync().unwrap();
        assert_eq!(is_unread(&world.store), round > 0);
        let expected = world.store.record(&todo(0)).unwrap();
        let live = world.store.record(&todo(last)).unwrap();
        disk = if is_crash { disk.crash() } else { disk };
        if !is_crash {
            world.store.syncer().checkpoint().unwrap();
            world.store.syncer().close();
        }
        world = World::seeded(LogStore::open(disk.open().unwrap()).unwrap(), [round as u8 + 1; 32]);
        assert_eq!(is_unread(&world.store), is_crash);
        assert_eq!(world.store.record(&todo(0)).unwrap(), expected);
        assert_eq!(world.store.record(&todo(last)).unwrap(), live);
    }
    assert_eq!(world.store.records(&todo(0).model, None, 99).unwrap().len(), 9);
    assert!(world.store.reader().verify(|_, _| ()).unwrap().is_sound());
}

/// Whoever makes many scribes of one record, or of one hash, makes nobody read them again and again.
#[test]
fn much_that_is_said_of_one_record_is_read_with_the_rest() {
    let mut relay = Relay::new();
    let many = 1 + ALIKE_MAX as u8;
    relay.leave((0..many).map(|time| transaction(1, time, 7)));
    relay.store.sync().unwrap();
    let store = LogStore::open(relay.disk.crash().open().unwrap()).unwrap();
    for _ in 0..2 {
        assert!(store.record(&record(7)).unwrap().is_some());
    }
    assert!(!is_unread(&store));
}

#[test]
fn a_page_that_is_gone_or_damaged_is_found_when_the_store_is_opened() {
    let mut relay = crashed(0..3, 3..10);
    relay.next_page();
    relay.leave(each(10..20));
    relay.next_page();
    relay.leave(each(20..30));
    relay.store.sync().unwrap();
    let pages = relay.disk.image().open().unwrap().scan(Table::Log, &[], None, 9).unwrap();
    assert_eq!(pages.len(), 3);
    for (at, page) in &pages {
        let gone = relay.changed(|_, batch| batch.delete(Table::Log, at.clone()));
        let mut other = page.to_vec();
        *other.last_mut().unwrap() ^= 1;
        let damaged = relay.changed(|_, batch| batch.put(Table::Log, at.clone(), other.clone()));
        // Under a checksum of its own, but cut off within its hashes.
        let cut = seal(Table::Log, at, &page[4..4 + 16 + 5]);
        let cut = relay.changed(|_, batch| batch.put(Table::Log, at.clone(), cut.clone()));
        for disk in [gone, damaged, cut] {
            let opened = LogStore::open(disk.open().unwrap());
            assert!(
                matches!(opened, Err(StoreError::Corrupt { .. })),
                "{:?}",
                key::page_offset(at)
            );
        }
    }
}

#[test]
fn what_could_not_be_read_can_be_when_the_disk_is_well_again() {
    let mut relay = Relay::new();
    relay.leave([transaction(1, 1, 0), transaction(2, 1, 1)]);
    relay.store.syncer().checkpoint().unwrap();
    relay.leave([transaction(1, 2, 2), transaction(3, 1, 3), transaction(2, 2, 4)]);
    relay.store.sync().unwrap();
    let author = transaction(2, 1, 1).stamp().author;
    let name = [&[1, 1], &key::author(author.node, author.epoch)[..]].concat();
    let number = relay.disk.image().open().unwrap().get(Table::Names, &name).unwrap().unwrap();
    let damaged = relay.changed(|_, batch| batch.put(Table::Names, name.clone(), "none"));
    let store = LogStore::open(damaged.crash().open().unwrap()).unwrap();
    for _ in 0..2 {
        assert!(matches!(store.models(), Err(StoreError::Corrupt { .. })));
        assert!(is_unread(&store));
    }
    let mut batch = Batch::new();
    batch.put(Table::Names, name.clone(), number.clone());
    let backend = store.shared.read().backend().unwrap().clone();
    backend.write(&batch, Durability::Durable).unwrap();
    assert_eq!(store.records(&record(0).model, None, 99).unwrap().len(), 5);
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    let strays = store.look().rows().unwrap().scan(Table::Stamps, &[], None, 99).unwrap();
    assert!(strays.iter().all(|(_, offset)| !offset.is_empty()), "all came in order");
}
