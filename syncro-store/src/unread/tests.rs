use bytes::Bytes;
use syncro_core::{
    Commit, Entry, Held, Kind, Mark, Name, NodeId, Path, RecordKey, Scribe, Stamp, Store,
    StoreError, Transaction, Value, View,
};

use super::{ALIKE_MAX, READS_MAX};
use crate::backend::{Backend, Batch, Durability, MemoryDisk, Table};
use crate::encoding::page::Page;
use crate::encoding::{In, Out, key, seal};
use crate::log_store::LogStore;
use crate::world::relay::{Relay, stamp, transaction};
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

/// A store after a crash, where the number of a transaction's author is damaged; and what makes the disk well again.
fn without_the_author(relay: &Relay, of: &Transaction) -> (LogStore, impl FnOnce() + use<>) {
    let author = of.stamp().author;
    let name = [&[1, 1], &key::author(author.node, author.epoch)[..]].concat();
    let number = relay.disk.image().open().unwrap().get(Table::Names, &name).unwrap().unwrap();
    let damaged = relay.changed(|_, batch| batch.put(Table::Names, name.clone(), "none"));
    let store = LogStore::open(damaged.crash().open().unwrap()).unwrap();
    let backend = store.shared.read().backend().unwrap().clone();
    let heal = move || {
        let mut batch = Batch::new();
        batch.put(Table::Names, name, number);
        backend.write(&batch, Durability::Durable).unwrap();
    };
    (store, heal)
}

#[test]
fn what_could_not_be_read_can_be_when_the_disk_is_well_again() {
    let mut relay = Relay::new();
    relay.leave([transaction(1, 1, 0), transaction(2, 1, 1)]);
    relay.store.syncer().checkpoint().unwrap();
    relay.leave([transaction(1, 2, 2), transaction(3, 1, 3), transaction(2, 2, 4)]);
    relay.store.sync().unwrap();
    let (store, heal) = without_the_author(&relay, &transaction(2, 1, 1));
    for _ in 0..2 {
        assert!(matches!(store.models(), Err(StoreError::Corrupt { .. })));
        assert!(is_unread(&store));
    }
    heal();
    assert_eq!(store.records(&record(0).model, None, 99).unwrap().len(), 5);
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    let strays = store.look().rows().unwrap().scan(Table::Stamps, &[], None, 99).unwrap();
    assert!(strays.iter().all(|(_, offset)| !offset.is_empty()), "all came in order");
}

pub(super) fn path(name: &str) -> Path {
    Path { field: Name::new(name).unwrap(), element: None, kind: Kind::Lww }
}

fn write(stamp: Stamp, id: i64, name: &str, bytes: usize) -> Transaction {
    let fields = vec![(path(name), Value::Text("x".repeat(bytes)).encode())];
    Transaction::packed(stamp, &[Scribe { key: todo(id), mark: Mark::Update, fields }]).remove(0)
}

/// Hashes of a stored page changed, under a checksum that is right.
pub(super) fn with_hashes(
    key: &[u8],
    sealed: &Bytes,
    change: impl FnOnce(&mut Vec<u8>),
) -> Option<Bytes> {
    let stored = sealed.slice(4..);
    let mut rest = In::new(&stored);
    let begins: [u8; 17] = rest.fixed()?;
    if begins[16] != 0 || rest.peek() != Some(0) {
        return None;
    }
    rest.byte()?;
    let (length, mut hashes) = (rest.varint()?, rest.bytes()?.to_vec());
    change(&mut hashes);
    let mut out = Out(begins.to_vec());
    if !hashes.is_empty() {
        out.byte(0);
        out.varint(length);
        out.bytes(&hashes);
    }
    while let Some(byte) = rest.byte() {
        out.byte(byte);
    }
    let sealed = seal(Table::Log, key, &out.0);
    Page::unseal(key, &sealed).unwrap();
    Some(sealed)
}

fn rehashed(relay: &Relay, change: impl FnOnce(&mut Vec<u8>)) -> MemoryDisk {
    relay.changed(|backend, batch| {
        let pages = backend.scan(Table::Log, &[], None, 9).unwrap();
        let (at, page) = &pages[0];
        batch.put(Table::Log, at.clone(), with_hashes(at, page, change).unwrap());
    })
}

/// It did, where so many scribes of one record were read that they are played.
#[test]
fn a_mere_reader_does_not_stop_the_store() {
    let mut relay = Relay::new();
    relay.leave([write(stamp(1, 1), 1, "title", 10)]);
    relay.store.syncer().checkpoint().unwrap();
    relay.leave((2..12).map(|time| write(stamp(1, time), 1, "title", 10)));
    relay.store.sync().unwrap();
    let name = [&[0, 1], &b"title"[..]].concat();
    let damaged = relay.changed(|backend, batch| {
        assert!(backend.get(Table::Names, &name).unwrap().is_some());
        batch.put(Table::Names, name.clone(), "none");
    });
    let mut store = LogStore::open(damaged.crash().open().unwrap()).unwrap();
    assert!(store.shared.read().unread.is_some());
    assert!(matches!(store.models(), Err(StoreError::Corrupt { .. })));
    // A reader only has read.
    store.sync().unwrap();
}

#[test]
fn a_repair_mends_hashes_that_are_of_other_records() {
    let mut relay = Relay::new();
    relay.leave((0..10).map(|id| transaction(1, 1 + id as u8, id)));
    relay.store.syncer().checkpoint().unwrap();
    let damaged = rehashed(&relay, |hashes| hashes[0] ^= 1);
    let store = LogStore::open(damaged.image().open().unwrap()).unwrap();
    assert!(!store.reader().verify(|_, _| ()).unwrap().is_sound());
    drop(store);
    let (store, _) = LogStore::builder()
        .repair(damaged.image().open().unwrap(), Some(NodeId::named("server")))
        .unwrap();
    let mut failures = Vec::new();
    if store.record(&todo(0x4000)).unwrap().is_none() {
        failures.push("a record is not there after the repair");
    }
    if !store.reader().verify(|_, _| ()).unwrap().is_sound() {
        failures.push("the store is still damaged after the repair");
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_repair_mends_a_page_with_too_few_hashes() {
    let mut relay = Relay::new();
    relay.leave((0..10).map(|id| transaction(1, 1 + id as u8, id)));
    relay.store.syncer().checkpoint().unwrap();
    let damaged = rehashed(&relay, |hashes| hashes.truncate(4 * 9));
    let opened =
        LogStore::builder().repair(damaged.image().open().unwrap(), Some(NodeId::named("server")));
    assert!(opened.is_ok(), "{:?}", opened.err());
}

/// What packs well is far more than it takes on the disk, and lives that end in crashes pile it up.
#[test]
fn what_is_read_after_many_crashes_stays_within_bounds() {
    const BYTES: usize = 1 << 20;
    let builder = || LogStore::builder().overlay_bytes(BYTES);
    let mut disk = MemoryDisk::new();
    for life in 0..30 {
        let store = builder().open(disk.open().unwrap()).unwrap();
        let mut world = World::seeded(store, [life; 32]);
        for id in 0..4 {
            world.create(i64::from(life) * 10 + id);
            world.title(i64::from(life) * 10 + id, &"long ".repeat(10_000));
        }
        world.store.sync().unwrap();
        disk = disk.crash();
    }
    let store = builder().open(disk.open().unwrap()).unwrap();
    let unread = store.shared.read().unread.as_ref().map(|unread| unread.log_bytes());
    store.shared.read_rest().unwrap();
    let bytes = store.syncer().unwritten_bytes();
    assert!(bytes < 4 * BYTES, "{bytes} bytes in memory; {unread:?} were told");
}

/// What the node writes before the rest is read lies behind it in the log, and was counted before it: an author's next
/// transaction got no row, and was not found.
#[test]
fn what_follows_in_a_run_behind_own_writes_is_found() {
    let disk = MemoryDisk::new();
    let mut world = World::seeded(LogStore::open(disk.open().unwrap()).unwrap(), [1; 32]);
    let bring = |world: &mut World, transaction: Transaction| {
        let mut own = world.store.own().unwrap().unwrap();
        let (offset, end) = (own.end.offset, own.end.then(transaction.len(), transaction.bytes()));
        own.end = end;
        let entry = Entry { offset, transaction, digest: end.digest };
        let (records, peers, rows) = Default::default();
        let (sequence, entries) = (own.end.offset, vec![entry]);
        let commit = Commit { sequence, entries, records, is_played: false, peers, own, rows };
        world.store.apply(&commit).unwrap();
    };
    bring(&mut world, write(stamp(1, 1), 1, "title", 10));
    world.store.sync().unwrap();
    drop(world);
    // The process ends, and the node is opened again, writes 10 KB, and meets a peer.
    let disk = disk.crash();
    let mut world = World::seeded(LogStore::open(disk.open().unwrap()).unwrap(), [2; 32]);
    world.create(2);
    world.title(2, &"x".repeat(10_000));
    assert!(world.store.shared.read().unread.is_some());
    let next = write(stamp(1, 2), 1, "title", 20);
    assert_eq!(world.store.held(&next).unwrap(), Held::No);
    bring(&mut world, next.clone());
    world.store.sync().unwrap();
    let held = world.store.held(&next).unwrap();
    let verified = world.store.reader().verify(|_, _| ()).unwrap();
    world.store.syncer().checkpoint().unwrap();
    let store = LogStore::open(disk.crash().open().unwrap()).unwrap();
    let later = (store.held(&next).unwrap(), store.is_latest(next.stamp()).unwrap());
    assert!(
        matches!(held, Held::Same { .. }) && verified.is_sound() && !later.1,
        "{held:?}, {verified:?}; and after the next opening {later:?}"
    );
}

/// Of a stamp that several transactions have it found those that were read, and that was told to others later.
#[test]
fn what_a_failed_snapshot_finds_is_not_kept_for_others() {
    let mut relay = Relay::new();
    let alike: Vec<Transaction> = (0..3).map(|id| transaction(1, 1, id)).collect();
    relay.leave([transaction(2, 1, 9), alike[0].clone(), alike[1].clone()]);
    relay.store.syncer().checkpoint().unwrap();
    relay.leave([alike[2].clone(), transaction(2, 2, 10)]);
    relay.store.sync().unwrap();
    let (store, heal) = without_the_author(&relay, &transaction(2, 1, 9));
    let snapshot = store.reader().snapshot();
    assert!(alike.iter().all(|it| snapshot.held(it).is_err()));
    drop(snapshot);
    heal();
    let held: Vec<Held> = alike.iter().map(|it| store.held(it).unwrap()).collect();
    assert!(held.iter().all(|it| matches!(it, Held::Same { .. })), "{held:?}");
}

/// Many readers and a writer, on a store of which nothing is read.
#[test]
fn threads_see_all_while_the_rest_is_read() {
    for round in 0..20_u8 {
        let mut relay = Relay::new();
        let count = 400_u16;
        relay
            .leave((0..count).map(|id| transaction(1 + u32::from(id % 7), 1 + (id / 7) as u8, id)));
        relay.store.sync().unwrap();
        let disk = relay.disk.crash();
        let (log, end) = (relay.log.clone(), relay.end);
        drop(relay);
        let store = LogStore::open(disk.open().unwrap()).unwrap();
        let mut world = World::seeded(store, [round; 32]);
        let reader = world.store.reader();
        std::thread::scope(|scope| {
            for number in 0..4_usize {
                let (reader, log) = (reader.clone(), &log);
                scope.spawn(move || match (number + usize::from(round)) % 5 {
                    0 => assert!(reader.records(&todo(0).model, None, 9999).unwrap().len() >= 400),
                    1 => log.iter().for_each(|entry| {
                        let held = reader.held(&entry.transaction).unwrap();
                        assert!(
                            matches!(held, Held::Same { offset, .. } if offset == entry.offset)
                        );
                    }),
                    2 => (0..400_i64).for_each(|id| {
                        assert!(reader.record(&todo(id | 0x4000)).unwrap().is_some());
                    }),
                    3 => assert_eq!(
                        reader.snapshot().records(&todo(0).model, None, 400).unwrap().len(),
                        400
                    ),
                    _ => _ = reader.verify(|_, _| ()).unwrap(),
                });
            }
            let syncer = world.store.syncer();
            scope.spawn(move || syncer.checkpoint().unwrap());
            for id in 0..20 {
                world.create(id);
                world.title(id, "new");
                if id % 5 == 0 {
                    world.store.sync().unwrap();
                }
            }
        });
        assert!(world.store.own().unwrap().unwrap().end.offset > end.offset);
        assert!(world.store.reader().verify(|_, _| ()).unwrap().is_sound());
        world.store.sync().unwrap();
        let store = LogStore::open(disk.crash().open().unwrap()).unwrap();
        assert_eq!(store.records(&todo(0).model, None, 9999).unwrap().len(), 420);
    }
}
