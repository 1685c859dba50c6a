//! The promises of `Backend`, for any place that keeps them.

use std::io::ErrorKind;
use std::thread;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use syncro_core::StoreError;
use syncro_store::{Backend, Batch, Durability, KEY_BYTES_MAX, Table, VALUE_BYTES_MAX};

use crate::history::{Model, Step, steps};
use crate::place::Place;

pub(crate) fn a_read_shows_what_was_written_before_it<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    for durability in [Durability::Buffered, Durability::Durable] {
        for value in ["green", "blue", ""] {
            store.write(&put("colour", value), durability).unwrap();
            assert_eq!(read(&store, "colour").as_deref(), Some(value.as_bytes()));
        }
        let mut batch = Batch::new();
        batch.delete(Table::Rows, "colour");
        batch.delete(Table::Rows, "never written");
        store.write(&batch, durability).unwrap();
        assert_eq!(read(&store, "colour"), None);
    }
}

pub(crate) fn a_later_operation_of_a_batch_replaces_an_earlier_one<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let mut batch = put("put twice", "first");
    batch.put(Table::Rows, "put twice", "second");
    batch.put(Table::Rows, "put and deleted", "first");
    batch.delete(Table::Rows, "put and deleted");
    batch.delete(Table::Rows, "deleted and put");
    batch.put(Table::Rows, "deleted and put", "second");
    store.write(&batch, Durability::Durable).unwrap();
    assert_eq!(read(&store, "put twice").unwrap(), "second");
    assert_eq!(read(&store, "put and deleted"), None);
    assert_eq!(read(&store, "deleted and put").unwrap(), "second");
}

pub(crate) fn tables_do_not_share_keys<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let mut batch = Batch::new();
    for table in Table::ALL {
        batch.put(table, "key", table.name());
    }
    store.write(&batch, Durability::Buffered).unwrap();
    let mut without_log = Batch::new();
    without_log.delete(Table::Log, "key");
    store.write(&without_log, Durability::Buffered).unwrap();
    for table in Table::ALL {
        let expected = (table != Table::Log).then(|| Bytes::from(table.name()));
        assert_eq!(store.get(table, b"key").unwrap(), expected);
    }
}

pub(crate) fn a_scan_keeps_its_bounds_and_its_limit<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    write_keys(&store, &["a", "b", "ba", "c", "\u{7f}", "\u{80}"]);
    let scan = |start: &str, end: Option<&str>, limit| {
        let end = end.map(str::as_bytes);
        keys(&store.scan(Table::Log, start.as_bytes(), end, limit).unwrap())
    };
    let everything = ["a", "b", "ba", "c", "\u{7f}", "\u{80}"];
    assert_eq!(scan("", None, usize::MAX), everything);
    assert_eq!(scan("", None, 2), ["a", "b"]);
    assert_eq!(scan("", None, 0), [""; 0]);
    assert_eq!(scan("b", Some("c"), 9), ["b", "ba"]);
    assert_eq!(scan("b\0", Some("c\0"), 9), ["ba", "c"]);
    assert_eq!(scan("d", None, 9), ["\u{7f}", "\u{80}"]);
    assert_eq!(scan("b", Some("b"), 9), [""; 0]);
    assert_eq!(scan("c", Some("a"), 9), [""; 0]);
    assert_eq!(scan("", Some(""), 9), [""; 0]);
}

pub(crate) fn floor_finds_the_greatest_key_that_is_not_after<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let floor = |at: &str| store.floor(Table::Log, at.as_bytes()).unwrap();
    assert_eq!(floor("anything"), None);
    write_keys(&store, &["b", "d"]);
    assert_eq!(floor("a"), None);
    assert_eq!(floor(""), None);
    for (at, found) in [("b", "b"), ("c", "b"), ("d", "d"), ("da", "d"), ("z", "d")] {
        assert_eq!(floor(at), Some((Bytes::from(found), Bytes::from("value"))));
    }
    assert_eq!(store.floor(Table::Names, b"z").unwrap(), None);
}

pub(crate) fn a_reader_never_sees_half_a_batch<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200_u32 {
                let mut batch = Batch::new();
                for key in 0..50_u8 {
                    batch.put(Table::Records, vec![key], round.to_be_bytes().to_vec());
                }
                store.write(&batch, Durability::Buffered).unwrap();
            }
        });
        let mut newest = Bytes::new();
        let mut is_last = false;
        while !is_last {
            is_last = writer.is_finished();
            let seen = store.scan(Table::Records, b"", None, usize::MAX).unwrap();
            let Some((_, first)) = seen.first() else {
                continue;
            };
            assert_eq!(seen.len(), 50);
            assert!(seen.iter().all(|(_, value)| value == first));
            assert!(*first >= newest, "a reader went back in time");
            newest = first.clone();
        }
        writer.join().unwrap();
        assert_eq!(newest, 199_u32.to_be_bytes()[..]);
    });
}

pub(crate) fn a_reopened_store_shows_what_was_durable<P: Place>() {
    let place = P::new();
    let mut expected = Model::default();
    for round in 0..5 {
        let store = place.open().unwrap();
        assert_eq!(Model::of(&store), expected);
        let buffered = put(&format!("buffered {round}"), "value");
        store.write(&buffered, Durability::Buffered).unwrap();
        store.write(&Batch::new(), Durability::Durable).unwrap();
        let durable = put("durable", &round.to_string());
        store.write(&durable, Durability::Durable).unwrap();
        expected.apply(&buffered);
        expected.apply(&durable);
    }
}

pub(crate) fn a_second_opener_is_refused_until_the_first_has_closed<P: Place>() {
    let place = P::new();
    for _ in 0..3 {
        let first = place.open().unwrap();
        let second = place.open().err().unwrap();
        assert!(matches!(second, StoreError::Locked { .. }), "{second}");
        first.write(&put("a", "b"), Durability::Durable).unwrap();
    }
}

pub(crate) fn keys_and_values_at_their_limits_are_kept<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let key = vec![7; KEY_BYTES_MAX];
    let value = vec![8; VALUE_BYTES_MAX];
    let mut batch = Batch::new();
    batch.put(Table::Records, key.clone(), value.clone());
    batch.put(Table::Records, "k", "");
    store.write(&batch, Durability::Durable).unwrap();
    assert!(store.get(Table::Records, &key).unwrap().unwrap() == value);
    assert_eq!(store.get(Table::Records, b"k").unwrap().unwrap(), "");
}

pub(crate) fn a_batch_that_breaks_a_limit_is_refused_whole_and_does_not_latch<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let breaches = [
        (Vec::new(), Vec::new()),
        (vec![7; KEY_BYTES_MAX + 1], Vec::new()),
        (vec![7], vec![8; VALUE_BYTES_MAX + 1]),
    ];
    for (key, value) in breaches {
        let mut batch = put("fine", "value");
        batch.put(Table::Stamps, key, value);
        match store.write(&batch, Durability::Durable) {
            Err(StoreError::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            other => panic!("{other:?}"),
        }
        assert_eq!(read(&store, "fine"), None);
    }
    store.write(&put("fine", "value"), Durability::Durable).unwrap();
    assert!(read(&store, "fine").is_some());
}

pub(crate) fn any_history_reads_like_a_map<P: Place>() {
    let mut runner = TestRunner::new(Config {
        cases: P::HISTORIES,
        source_file: Some(file!()),
        ..Config::default()
    });
    runner
        .run(&steps(), |steps| {
            let place = P::new();
            let mut model = Model::default();
            let mut store = Some(place.open().unwrap());
            for step in steps {
                take(&place, &mut store, &mut model, step)?;
            }
            prop_assert_eq!(Model::of(&store.unwrap()), model);
            Ok(())
        })
        .unwrap();
}

fn take<P: Place>(
    place: &P,
    open: &mut Option<P::Store>,
    model: &mut Model,
    step: Step,
) -> Result<(), TestCaseError> {
    let store = open.as_ref().unwrap();
    match step {
        Step::Write(batch, durability) => {
            store.write(&batch, durability).unwrap();
            model.apply(&batch);
        }
        Step::Reopen => {
            store.write(&Batch::new(), Durability::Durable).unwrap();
            *open = None;
            *open = Some(place.open().unwrap());
        }
        Step::Get(table, key) => {
            prop_assert_eq!(store.get(table, &key).unwrap(), model.get(table, &key));
        }
        Step::Scan(table, start, end, limit) => {
            let found = store.scan(table, &start, end.as_deref(), limit).unwrap();
            prop_assert_eq!(found, model.scan(table, &start, end.as_deref(), limit));
        }
        Step::Floor(table, at) => {
            prop_assert_eq!(store.floor(table, &at).unwrap(), model.floor(table, &at));
        }
    }
    Ok(())
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rows, key.to_owned(), value.to_owned());
    batch
}

fn read(store: &impl Backend, key: &str) -> Option<Bytes> {
    store.get(Table::Rows, key.as_bytes()).unwrap()
}

fn write_keys(store: &impl Backend, keys: &[&'static str]) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(Table::Log, *key, "value");
    }
    store.write(&batch, Durability::Buffered).unwrap();
}

fn keys(pairs: &[(Bytes, Bytes)]) -> Vec<String> {
    let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
    pairs.iter().map(|(key, _)| text(key)).collect()
}
