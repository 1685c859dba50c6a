use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use syncro_core::{
    Kind, Mark, Name, Path, Record, RecordKey, Register, Scribe, Store, StoreError, Transaction,
    Value, View,
};

use super::CHAIN_MAX;
use crate::backend::{Backend, Fault, Table};
use crate::encoding::key;
use crate::log_store::LogStore;
use crate::snapshot::Snapshot;
use crate::staging::PIECE_BYTES;
use crate::world::relay::{Relay, evict, stamp};
use crate::world::todo;

fn text(name: &str, bytes: usize) -> (Path, syncro_core::Encoded) {
    let path = Path { field: Name::new(name).unwrap(), element: None, kind: Kind::Lww };
    (path, Value::Text("x".repeat(bytes)).encode())
}

/// A field of so many bytes, written in some records at a time.
fn writes(
    ids: impl IntoIterator<Item = i64>,
    time: u64,
    name: &str,
    bytes: usize,
) -> Vec<Transaction> {
    let write = |id| {
        let fields = vec![text(name, bytes)];
        let scribe = Scribe { key: todo(id), mark: Mark::Update, fields };
        Transaction::packed(stamp(1, time), &[scribe]).remove(0)
    };
    ids.into_iter().map(write).collect()
}

/// A record of one field.
fn record(name: &str, bytes: usize) -> Record {
    let (path, value) = text(name, bytes);
    Record::new(None, None, vec![Register { path, stamp: stamp(1, 1), value }])
}

/// What the transactions come to.
fn play(records: &mut BTreeMap<RecordKey, Record>, transaction: &Transaction) {
    for scribe in transaction.scribes().unwrap() {
        let (key, more) = scribe.into_record(transaction.stamp());
        records.entry(key).or_default().merge(&more);
    }
}

impl Relay {
    /// Puts a record as a whole, which no transaction of the log has written.
    fn set(&mut self, id: i64, record: &Record) {
        self.apply(Vec::new(), vec![(todo(id), Arc::new(record.clone()))], Vec::new());
    }

    fn reopened(&self) -> LogStore {
        LogStore::open(self.disk.image().open().unwrap()).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Transactions that a peer brings, and whether they are left to the store.
    Bring(Vec<Brought>, bool),
    /// A view shows records no more, which changes of a log do not come back from.
    Evict(Vec<i64>),
    Read(i64),
    List(usize),
    Snapshot,
    Forget,
    Sync,
    BeginCheckpoint,
    WriteSlice,
    Crash,
}

/// The author of a transaction, and what it does to some records.
#[derive(Clone, Debug)]
struct Brought(u8, BTreeMap<i64, (Mark, u8)>);

impl Brought {
    /// The transaction of a number: late ones may be of early times.
    fn transaction(&self, number: u64) -> Transaction {
        let Self(author, changes) = self;
        let time = 1 + number * 7919 % 997;
        let scribe = |(id, (mark, size)): (&i64, &(Mark, u8))| {
            let fields = match mark {
                Mark::Destroy => Vec::new(),
                _ => vec![text(["body", "title"][usize::from(size % 2)], usize::from(*size))],
            };
            Scribe { key: todo(*id), mark: *mark, fields }
        };
        let scribes: Vec<Scribe> = changes.iter().map(scribe).collect();
        Transaction::packed(stamp(*author, time), &scribes).remove(0)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let mark = prop::sample::select(vec![Mark::Update, Mark::Create, Mark::Destroy, Mark::Replace]);
    let changes = prop::collection::btree_map(0_i64..6, (mark, any::<u8>()), 1..6);
    let brought = (0_u8..3, changes).prop_map(|(author, changes)| Brought(author, changes));
    prop_oneof![
        8 => (prop::collection::vec(brought, 1..4), prop::bool::weighted(0.8))
            .prop_map(|(brought, is_left)| Step::Bring(brought, is_left)),
        1 => prop::collection::btree_set(0_i64..6, 1..3)
            .prop_map(|ids| Step::Evict(ids.into_iter().collect())),
        4 => (0_i64..6).prop_map(Step::Read),
        1 => (1_usize..4).prop_map(Step::List),
        1 => Just(Step::Snapshot),
        2 => Just(Step::Forget),
        1 => Just(Step::Sync),
        1 => Just(Step::BeginCheckpoint),
        2 => Just(Step::WriteSlice),
        1 => Just(Step::Crash),
    ]
}

type Records = BTreeMap<RecordKey, Record>;

fn listed(view: &impl View, limit: usize) -> Records {
    let (model, mut records) = (todo(0).model, Records::new());
    let mut last = None;
    loop {
        let some = view.records(&model, last.as_ref(), limit).unwrap();
        let Some((id, _)) = some.last() else { return records };
        last = Some(id.clone());
        let keyed = some.into_iter().map(|(id, record)| {
            (RecordKey { model: model.clone(), id }, Arc::unwrap_or_clone(record))
        });
        records.extend(keyed);
    }
}

proptest! {
    /// It is the same as if each commit were played at once.
    #[test]
    fn what_is_left_unplayed_is_seen_as_if_it_were_played(
        steps in prop::collection::vec(step(), 1..60),
        overlay in prop::sample::select(vec![0, 1, 500, 4000, 64 << 20]),
    ) {
        let builder = || LogStore::builder().slice_rows(1).overlay_bytes(overlay);
        let mut relay = Relay::with(builder());
        // What the log comes to at each of its ends, and how much of it is durable at least.
        let mut ends = BTreeMap::from([(0, Records::new())]);
        let (mut records, mut durable) = (Records::new(), 0);
        let mut number = 0;
        let mut snapshots: Vec<(Snapshot, Records)> = Vec::new();
        for step in steps {
            let is_sync = matches!(step, Step::Sync | Step::BeginCheckpoint);
            match step {
                Step::Bring(brought, is_left) => {
                    let transactions = brought.iter().map(|brought| {
                        number += 1;
                        brought.transaction(number)
                    });
                    let transactions: Vec<Transaction> = transactions.collect();
                    transactions.iter().for_each(|it| play(&mut records, it));
                    if is_left && relay.store.takes_unplayed() {
                        relay.leave(transactions);
                    } else {
                        let keys = brought.iter().flat_map(|Brought(_, changes)| changes.keys());
                        let mut played = Records::new();
                        for key in keys.map(|id| todo(*id)) {
                            let known = relay.store.record(&key).unwrap().unwrap_or_default();
                            played.insert(key, Arc::unwrap_or_clone(known));
                        }
                        transactions.iter().for_each(|it| play(&mut played, it));
                        let played = played.into_iter().map(|(key, it)| (key, Arc::new(it)));
                        let entries = relay.entries(transactions);
                        relay.apply(entries, played.collect(), Vec::new());
                    }
                }
                Step::Evict(ids) => {
                    number += 1;
                    let entries = relay.entries([evict(number, &ids)]);
                    ids.iter().for_each(|id| _ = records.remove(&todo(*id)));
                    let gone = ids.iter().map(|id| (todo(*id), Arc::new(Record::default())));
                    relay.apply(entries, gone.collect(), Vec::new());
                }
                Step::Read(id) => {
                    let seen = relay.store.record(&todo(id)).unwrap();
                    prop_assert_eq!(seen.as_deref(), records.get(&todo(id)));
                }
                Step::List(limit) => prop_assert_eq!(&listed(&relay.store, limit), &records),
                Step::Snapshot => {
                    snapshots.push((relay.store.reader().snapshot(), records.clone()));
                }
                Step::Forget => {
                    for (snapshot, expected) in snapshots.drain(..) {
                        prop_assert_eq!(&listed(&snapshot, 10), &expected);
                        for id in 0..6 {
                            let seen = snapshot.record(&todo(id)).unwrap();
                            prop_assert_eq!(seen.as_deref(), expected.get(&todo(id)));
                        }
                    }
                }
                Step::Sync => relay.store.sync().unwrap(),
                Step::BeginCheckpoint => relay.store.syncer().begin_checkpoint().unwrap(),
                Step::WriteSlice => {
                    relay.store.syncer().write_behind().unwrap();
                }
                Step::Crash => {
                    snapshots.clear();
                    relay.disk = relay.disk.crash_keeping(0);
                    relay.store = builder().open(relay.disk.open().unwrap()).unwrap();
                    relay.end = relay.store.own().unwrap().map_or_else(Default::default, |own| own.end);
                    prop_assert!(relay.end.offset >= durable);
                    records = ends[&relay.end.offset].clone();
                }
            }
            if is_sync {
                durable = relay.end.offset;
            }
            ends.insert(relay.end.offset, records.clone());
        }
        prop_assert_eq!(&listed(&relay.store, 10), &records);
        relay.store.syncer().checkpoint().unwrap();
        prop_assert_eq!(&listed(&relay.reopened(), 10), &records);
    }
}

#[test]
fn what_is_left_is_seen_at_once_whatever_it_changes() {
    let (small, row) = (100, PIECE_BYTES - 1000);
    // Nothing, a row, one that it fills, and pieces; more than is merged unread; and before and after checkpoints.
    for bytes in [0, small, row, 2 * PIECE_BYTES] {
        for more_bytes in [small, 1000, 100_000] {
            for checkpoints in [0, 0b0101, 0b1010, 0b1111] {
                let mut relay = Relay::new();
                let mut expected = Record::default();
                if bytes > 0 {
                    expected = record("large", bytes);
                    relay.set(2, &expected);
                }
                for number in 0..4 {
                    if checkpoints & 1 << number != 0 {
                        relay.store.syncer().checkpoint().unwrap();
                    }
                    let name = format!("more {number}");
                    let more = writes([2], 1 + number, &name, more_bytes);
                    let mut played = BTreeMap::from([(todo(2), expected)]);
                    play(&mut played, &more[0]);
                    expected = played.remove(&todo(2)).unwrap();
                    relay.leave(more);
                    let seen = relay.store.record(&todo(2)).unwrap();
                    assert_eq!(seen.as_deref(), Some(&expected));
                }
                assert_eq!(
                    listed(&relay.store, 10).into_values().collect::<Vec<_>>(),
                    [expected.clone()]
                );
                relay.store.syncer().checkpoint().unwrap();
                assert_eq!(relay.reopened().record(&todo(2)).unwrap().as_deref(), Some(&expected));
            }
        }
    }
}

/// Whoever remembers keeps whole records, and there may be many in one commit.
#[test]
fn nothing_is_left_while_a_snapshot_lives_or_a_record_is_in_pieces() {
    let mut relay = Relay::new();
    assert!(relay.store.takes_unplayed());
    let snapshot = relay.store.reader().snapshot();
    assert!(!relay.store.takes_unplayed());
    drop(snapshot);
    assert!(relay.store.takes_unplayed());
    relay.set(1, &record("large", PIECE_BYTES));
    assert!(!relay.store.takes_unplayed());
}

#[test]
fn a_record_that_grows_too_large_for_a_row_is_put_in_pieces_by_the_next_change() {
    let mut relay = Relay::new();
    let mut expected = record("large", PIECE_BYTES - 1000);
    relay.set(1, &expected);
    relay.store.syncer().checkpoint().unwrap();
    for (time, name) in [(1, "one"), (2, "two")] {
        relay.leave(writes([1], time, name, 2000));
        let (path, value) = text(name, 2000);
        let register = Register { path, stamp: stamp(1, time), value };
        expected.merge(&Record::new(None, None, vec![register]));
        relay.store.syncer().checkpoint().unwrap();
        assert!(!relay.store.takes_unplayed());
        assert_eq!(relay.reopened().record(&todo(1)).unwrap().as_deref(), Some(&expected));
    }
    let backend = relay.disk.image().open().unwrap();
    let rows = backend.scan(Table::Records, &[], None, 10).unwrap();
    assert!(rows.iter().all(|(_, row)| row.len() < PIECE_BYTES + 100));
    assert_eq!(rows.len(), 2);
}

/// What is brought is far less than the records, which are written as a whole.
#[test]
fn changes_of_larger_records_take_no_more_memory_than_others() {
    const BYTES: usize = 128 << 10;
    let mut relay = Relay::with(LogStore::builder().overlay_bytes(BYTES));
    for first in (0..2000).step_by(100) {
        relay.leave(writes(first..first + 100, 1, "body", 4000));
    }
    relay.store.syncer().checkpoint().unwrap();
    let mut most = 0;
    for round in 0..8 {
        for first in (0..2000).step_by(200) {
            let name = format!("more {round}");
            let bytes = relay.leave(writes(first..first + 200, 2 + round, &name, 20));
            relay.store.syncer().make_room(bytes).unwrap();
            most = most.max(relay.store.syncer().unwritten_bytes());
        }
    }
    assert!(most < 4 * BYTES, "{most} bytes");
}

/// Somebody may change one record a million times.
#[test]
fn of_one_record_few_changes_wait() {
    let mut relay = Relay::new();
    for time in 1..100 {
        relay.leave(writes([1, 2], time, &format!("field {time}"), 10));
        let state = relay.store.shared.read();
        let mut key = Vec::new();
        todo(1).write_state(&mut key);
        assert!(state.unplayed.chain(crate::rows::hash(&key)).count() <= CHAIN_MAX as usize);
    }
    let record = relay.store.record(&todo(1)).unwrap().unwrap();
    assert_eq!(record.registers().len(), 99);
}

#[test]
fn a_checkpoint_with_a_record_in_pieces_writes_what_was_left_in_slices() {
    let mut relay = Relay::with(LogStore::builder().slice_rows(16));
    relay.leave(writes(0..100, 1, "body", 10));
    // Which plays them.
    assert_eq!(listed(&relay.store, 1000).len(), 100);
    relay.set(200, &record("large", 2 * PIECE_BYTES));
    relay.store.syncer().begin_checkpoint().unwrap();
    let slices = std::iter::from_fn(|| relay.store.syncer().write_behind().unwrap().then_some(()));
    assert_eq!(slices.count(), 1 + 100_usize.div_ceil(16));
    assert_eq!(listed(&relay.reopened(), 1000), listed(&relay.store, 1000));
}

#[test]
fn damage_below_what_was_left_is_found_where_it_is() {
    let mut relay = Relay::new();
    (1..10).for_each(|id| relay.set(id, &record("title", 10)));
    relay.store.syncer().checkpoint().unwrap();
    let disk = relay.changed(|_, batch| {
        batch.put(Table::Records, key::record(&todo(5)), b"no record".to_vec());
    });
    relay.store = LogStore::open(disk.open().unwrap()).unwrap();
    relay.leave(writes(4..7, 1, "more", 10));
    assert!(matches!(relay.store.record(&todo(5)), Err(StoreError::Corrupt { .. })));
    assert!(relay.store.record(&todo(6)).unwrap().is_some());
    let snapshot = relay.store.reader().snapshot();
    let rows = snapshot.look().rows().unwrap().sealed_scan(Table::Records, &[], None, 100).unwrap();
    assert_eq!(rows.len(), 9);
    assert!(matches!(relay.store.syncer().checkpoint(), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_store_that_has_stopped_goes_on_to_be_read() {
    let mut relay = Relay::new();
    relay.leave(writes(1..4, 1, "title", 10));
    relay.disk.fail_write(1, Fault::Forever(StoreError::from(std::io::Error::other("broken"))));
    assert!(relay.store.sync().is_err());
    assert!(relay.store.record(&todo(1)).unwrap().is_some());
    assert_eq!(listed(&relay.store, 10).len(), 3);
    assert_eq!(listed(&relay.store.reader().snapshot(), 10).len(), 3);
}

/// Of a record that changes again and again all changes waited, while the disk was full.
#[test]
fn what_waits_is_played_where_it_cannot_be_written() {
    const BYTES: usize = 16 << 10;
    let mut relay = Relay::with(LogStore::builder().overlay_bytes(BYTES));
    relay.leave(writes([1], 1, "title", 10));
    relay.store.syncer().begin_checkpoint().unwrap();
    relay.disk.fail_write(1, Fault::Forever(StoreError::Full));
    for time in 2..200 {
        relay.leave(writes([1, 2], time, "title", 1000));
        assert!(relay.store.shared.read().unplayed.bytes() < 2 * BYTES);
    }
    assert_eq!(listed(&relay.store, 10).len(), 2);
}

/// A stretch of the log was read, and no more of it played than was written behind.
#[test]
fn a_log_that_is_read_at_opening_stays_within_bounds() {
    const BYTES: usize = 1 << 20;
    let mut relay = Relay::new();
    for first in (0..100_000).step_by(1000) {
        relay.leave(writes(first..first + 1000, 1, "body", 100));
    }
    relay.store.sync().unwrap();
    let builder = LogStore::builder().overlay_bytes(BYTES);
    let store = builder.open(relay.disk.crash().open().unwrap()).unwrap();
    let bytes = store.syncer().unwritten_bytes();
    assert!(bytes < 4 * BYTES, "{bytes} bytes");
}

/// A check failed, and stopped the store, where something waited whose names were damaged.
#[test]
fn a_check_names_the_damage_for_which_something_cannot_be_played() {
    let mut relay = Relay::new();
    relay.leave(writes(0..10, 1, "title", 10));
    relay.store.syncer().checkpoint().unwrap();
    relay.leave(writes(10..12, 2, "title", 10));
    relay.store.sync().unwrap();
    let damaged = relay.changed(|backend, batch| {
        for (key, row) in backend.scan(Table::Names, &[], None, 100).unwrap() {
            let mut row = row.to_vec();
            *row.last_mut().unwrap() ^= 1;
            batch.put(Table::Names, key, row);
        }
    });
    let Ok(mut store) = LogStore::open(damaged.open().unwrap()) else {
        return;
    };
    assert!(store.reader().verify(|_, _| ()).unwrap().findings > 0);
    assert!(matches!(store.models(), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.reader().snapshot().models(), Err(StoreError::Corrupt { .. })));
    // It goes on, until it is to be written behind.
    store.sync().unwrap();
}
