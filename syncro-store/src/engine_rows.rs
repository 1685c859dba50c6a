//! The engine's own rows: durable with the log, and no part of it.

use bytes::Bytes;
use syncro_core::{Commit, Store, View};

use crate::backend::Table;
use crate::encoding::key;
use crate::log_store::LogStore;
use crate::world::relay::{Relay, transaction};

/// Keys that begin with one another, and with what is greatest.
const KEYS: [&[u8]; 5] = [b"a/", b"a/\xff", b"a/\xff\xff", b"b", b"b/1"];

fn row(number: u8) -> Bytes {
    Bytes::from(vec![number; 3])
}

type Changes = Vec<(Bytes, Option<Bytes>)>;

/// Rows of some of the keys.
fn of(numbers: impl IntoIterator<Item = u8>) -> Vec<(Bytes, Bytes)> {
    numbers.into_iter().map(|n| (Bytes::from_static(KEYS[usize::from(n)]), row(n))).collect()
}

fn puts(numbers: impl IntoIterator<Item = u8>) -> Changes {
    of(numbers).into_iter().map(|(key, row)| (key, Some(row))).collect()
}

impl Relay {
    fn put(&mut self, rows: Changes) {
        let commit = Commit { rows, ..self.commit(Vec::new()) };
        self.store.apply(&commit).unwrap();
    }

    #[track_caller]
    fn assert_rows(&self, expected: impl IntoIterator<Item = u8>) {
        let expected = of(expected);
        for (prefix, limit) in [("", 1), ("", 2), ("", 9), ("a/", 1), ("a/", 9), ("b/", 9)] {
            let (mut listed, mut after) = (Vec::new(), None::<Bytes>);
            loop {
                let some = self.store.rows(prefix.as_bytes(), after.as_deref(), limit).unwrap();
                assert!(some.len() <= limit);
                let Some((last, _)) = some.last() else { break };
                after = Some(last.clone());
                listed.extend(some);
            }
            let of_prefix = expected.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
            assert_eq!(listed, of_prefix.cloned().collect::<Vec<_>>(), "{prefix:?} by {limit}");
        }
        for key in KEYS {
            let known = expected.iter().find(|(known, _)| known == key);
            assert_eq!(self.store.row(key).unwrap().as_ref(), known.map(|(_, row)| row));
        }
    }
}

#[test]
fn rows_last_until_they_go_and_come_in_the_order_of_their_keys() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1)]);
    world.put(puts([3, 0, 2, 1]));
    world.assert_rows([0, 1, 2, 3]);
    world.store.sync().unwrap();
    let before = world.store.reader().snapshot();
    // Some in the store and some not yet, and one that is in it and goes.
    let change = || [vec![(Bytes::from_static(KEYS[1]), None)], puts([4])].concat();
    world.put(change());
    world.assert_rows([0, 2, 3, 4]);
    assert_eq!(before.rows(b"", None, 9).unwrap(), of([0, 1, 2, 3]), "a snapshot stays as it was");
    drop(before);

    world.disk = world.disk.crash();
    world.store = LogStore::open(world.disk.open().unwrap()).unwrap();
    world.assert_rows([0, 1, 2, 3]);
    world.put(change());
    world.store.sync().unwrap();
    world.disk = world.disk.crash();
    world.store = LogStore::open(world.disk.open().unwrap()).unwrap();
    world.assert_rows([0, 2, 3, 4]);
    assert!(world.verify().is_sound());
}

#[test]
fn copies_and_repairs_keep_what_can_be_read_of_them() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1)]);
    world.put(puts([0, 4]));
    world.store.syncer().checkpoint().unwrap();
    let copy = crate::backend::Memory::new();
    world.store.reader().copy_to(&copy, |_| ()).unwrap();
    assert_eq!(LogStore::open(copy).unwrap().rows(b"", None, 9).unwrap(), of([0, 4]));

    let image =
        world.changed(|_, batch| batch.put(Table::Rows, key::engine(KEYS[4]), vec![1_u8; 40]));
    world.store = LogStore::open(image.image().open().unwrap()).unwrap();
    assert!(world.store.row(KEYS[4]).is_err());
    assert!(!world.verify().is_sound());
    world.store = LogStore::builder().repair(image.open().unwrap(), None).unwrap().0;
    world.assert_rows([0]);
    assert!(world.verify().is_sound());
}
