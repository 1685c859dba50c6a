//! The promises of [`Backend`], in the order of the trait.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::thread;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use syncro_core::StoreError;

use super::history::{Model, Step, history_of, numbers, outcomes, steps, writes};
use super::process::{Other, say, task, wait_for_the_end};
use super::{Directory, Place, histories, skip};
use crate::backend::{Backend, Batch, Durability, KEY_BYTES_MAX, Table, VALUE_BYTES_MAX};

pub fn a_later_operation_of_a_batch_replaces_an_earlier_one<P: Place>() {
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

pub fn a_reader_never_sees_half_a_batch<P: Place>() {
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

pub fn a_crash_keeps_the_first_batches_and_no_others<P: Place>() {
    if P::new().crashes().is_empty() {
        return skip("cannot crash");
    }
    let mut runner = runner::<P>();
    let crashed = runner.run(&writes(20), |history| {
        let place = P::new();
        let store = place.open().unwrap();
        write_history(&store, &history);
        let outcomes = outcomes(&history);
        for crashed in place.crashes() {
            let store = crashed.open().unwrap();
            prop_assert!(outcomes.contains(&Model::of(&store)));
            store.write(&put("after", "the crash"), Durability::Durable).unwrap();
            crashed.close(store);
        }
        place.close(store);
        Ok(())
    });
    crashed.unwrap();
}

pub fn a_killed_process_leaves_the_first_batches_and_all_that_were_durable<P: Place>(name: &str) {
    if let Some((directory, seed)) = task() {
        let place = P::in_directory(Directory::of_another(directory)).unwrap();
        let store = place.open().unwrap();
        for (at, (batch, durability)) in (1..).zip(&history_of(seed, BATCHES)) {
            store.write(batch, *durability).unwrap();
            say(at);
        }
        return wait_for_the_end();
    }
    for seed in 0..KILLS {
        let place = P::new();
        let Some(directory) = place.directory() else {
            return skip("is in no directory, so no other process can open it");
        };
        let history = history_of(seed, BATCHES);
        let kill_after = 1 + numbers(seed)() as usize % BATCHES;
        let mut other = Other::start(name, directory.path(), seed);
        let mut written = 0;
        while written < kill_after {
            written = other.next_word().parse().unwrap();
        }
        other.kill();
        let store = place.open().unwrap();
        let found = Model::of(&store);
        // It may have gone on after the last word that was heard.
        let mut histories = (written..=BATCHES).map(|written| &history[..written]);
        let is_found = histories.any(|history| outcomes(history).contains(&found));
        assert!(
            is_found,
            "killed after {written} batches, it holds what none of their crashes leaves"
        );
        store.write(&put("after", "the crash"), Durability::Durable).unwrap();
        place.close(store);
    }
}

pub fn an_empty_durable_batch_makes_what_came_before_it_durable<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    store.write(&put("a", "buffered"), Durability::Buffered).unwrap();
    store.write(&Batch::new(), Durability::Durable).unwrap();
    let crashes = place.crashes();
    if crashes.is_empty() {
        return skip("cannot crash");
    }
    for crashed in crashes {
        let store = crashed.open().unwrap();
        assert_eq!(read(&store, "a").unwrap(), "buffered");
        crashed.close(store);
    }
    place.close(store);
}

pub fn a_read_shows_what_was_written_before_it<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    for durability in [Durability::Buffered, Durability::Ahead, Durability::Durable] {
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

pub fn another_thread_reads_what_was_written_before_it<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    for value in ["green", "blue"] {
        thread::scope(|scope| {
            let written = scope.spawn(|| store.write(&put("colour", value), Durability::Buffered));
            written.join().unwrap().unwrap();
            let seen = scope.spawn(|| read(&store, "colour"));
            assert_eq!(seen.join().unwrap().unwrap(), value);
        });
    }
    place.close(store);
}

pub fn any_history_reads_like_a_map<P: Place>() {
    let mut runner = runner::<P>();
    let read = runner.run(&steps(), |steps| {
        let place = P::new();
        let mut model = Model::default();
        let mut store = Some(place.open().unwrap());
        for step in steps {
            take(&place, &mut store, &mut model, step)?;
        }
        let store = store.unwrap();
        prop_assert_eq!(Model::of(&store), model);
        place.close(store);
        Ok(())
    });
    read.unwrap();
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
            place.close(open.take().unwrap());
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

pub fn a_scan_keeps_its_bounds_and_its_limit<P: Place>() {
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

pub fn floor_finds_the_greatest_key_that_is_not_after<P: Place>() {
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

pub fn keys_compare_as_unsigned_bytes<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let mut keys = BTreeSet::new();
    for byte in 0..=255_u8 {
        keys.extend([vec![byte], vec![byte, 0], vec![byte, 255], vec![7, byte], vec![255, byte]]);
        // Longer than what some databases keep of a shared prefix.
        keys.insert([&[42; 300][..], &[byte]].concat());
    }
    let mut batch = Batch::new();
    for key in keys.iter().rev() {
        batch.put(Table::Names, key.clone(), "value");
    }
    store.write(&batch, Durability::Buffered).unwrap();
    let found = store.scan(Table::Names, b"", None, usize::MAX).unwrap();
    assert!(found.iter().map(|(key, _)| &key[..]).eq(keys.iter().map(|key| &key[..])));
    for key in &keys {
        let (floor, _) = store.floor(Table::Names, key).unwrap().unwrap();
        assert_eq!(floor, key[..]);
    }
    place.close(store);
}

pub fn tables_do_not_share_keys<P: Place>() {
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

pub fn a_reopened_store_shows_what_was_durable<P: Place>() {
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
        place.close(store);
    }
}

pub fn checking_and_compacting_change_no_pair_and_make_all_durable<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    let mut expected = Model::default();
    for round in 0..40_u8 {
        let mut batch = Batch::new();
        for at in 0..40_u8 {
            batch.put(Table::Records, vec![at, round], vec![at; 400]);
            batch.delete(Table::Records, vec![at, round.wrapping_sub(3)]);
        }
        store.write(&batch, Durability::Buffered).unwrap();
        expected.apply(&batch);
        match round % 10 {
            4 => store.check().unwrap(),
            9 => store.compact().unwrap(),
            _ => continue,
        }
        assert_eq!(Model::of(&store), expected, "after round {round}");
        for crashed in place.crashes() {
            assert_eq!(Model::of(&crashed.open().unwrap()), expected, "after round {round}");
        }
    }
}

pub fn a_second_opener_is_refused_until_the_first_has_closed<P: Place>() {
    let place = P::new();
    for _ in 0..3 {
        let first = place.open().unwrap();
        let second = place.open().err().unwrap();
        assert!(matches!(second, StoreError::Locked { .. }), "{second}");
        first.write(&put("a", "b"), Durability::Durable).unwrap();
        place.close(first);
    }
}

pub fn another_process_is_refused_until_this_one_was_killed<P: Place>(name: &str) {
    if let Some((directory, _)) = task() {
        let place = P::in_directory(Directory::of_another(directory)).unwrap();
        let store = place.open().unwrap();
        store.write(&put("written by", "the other process"), Durability::Durable).unwrap();
        say("open");
        return wait_for_the_end();
    }
    let place = P::new();
    let Some(directory) = place.directory() else {
        return skip("is in no directory, so no other process can open it");
    };
    for _ in 0..2 {
        let mut other = Other::start(name, directory.path(), 0);
        assert_eq!(other.next_word(), "open");
        let refused = place.open().err().unwrap();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
        other.kill();
        let store = place.open().unwrap();
        assert_eq!(read(&store, "written by").unwrap(), "the other process");
        place.close(store);
    }
}

pub fn a_failed_write_latches_the_store_until_it_is_opened_again<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    store.write(&put("before", "value"), Durability::Durable).unwrap();
    if !place.fail_write() {
        return skip("cannot fail");
    }
    let failed = store.write(&put("failed", "value"), Durability::Durable);
    assert!(failed.is_err(), "a write that failed on the medium returned `Ok`");
    for durability in [Durability::Buffered, Durability::Ahead, Durability::Durable] {
        for batch in [put("refused", "value"), Batch::new()] {
            let refused = store.write(&batch, durability);
            assert!(matches!(refused, Err(StoreError::Latched { .. })), "{refused:?}");
        }
    }
    if let Ok(Some(value)) = store.get(Table::Rows, b"before") {
        assert_eq!(value, "value");
    }
    place.close(store);

    let store = place.open().unwrap();
    assert!(read(&store, "before").is_some());
    assert_eq!(read(&store, "refused"), None);
    store.write(&put("after", "value"), Durability::Durable).unwrap();
    assert!(read(&store, "after").is_some());
    place.close(store);
}

pub fn a_batch_that_breaks_a_limit_is_refused_whole_and_does_not_latch<P: Place>() {
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
            other => panic!("a key or a value beyond its limit, and the write gives {other:?}"),
        }
        assert_eq!(read(&store, "fine"), None);
    }
    store.write(&put("fine", "value"), Durability::Durable).unwrap();
    assert!(read(&store, "fine").is_some());
}

pub fn keys_and_values_at_their_limits_are_kept<P: Place>() {
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

pub fn the_bounds_of_a_scan_may_be_of_any_length<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    write_keys(&store, &["a", "b"]);
    let (below, above) = (vec![0; 100_000], vec![255; 100_000]);
    assert_eq!(store.scan(Table::Log, &below, Some(&above), 9).unwrap().len(), 2);
    assert_eq!(store.scan(Table::Log, &above, None, 9).unwrap().len(), 0);
    assert_eq!(store.floor(Table::Log, &above).unwrap().unwrap().0, "b");
    assert_eq!(store.floor(Table::Log, &below).unwrap(), None);
    assert_eq!(store.get(Table::Log, &above).unwrap(), None);
    assert_eq!(store.get(Table::Log, b"").unwrap(), None);
    place.close(store);
}

pub fn a_damaged_medium_gives_errors_and_no_panic<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    for round in 0..6_u8 {
        let mut batch = Batch::new();
        for at in 0..100_u8 {
            batch.put(Table::Records, vec![at, round], vec![at; 100]);
            batch.put(Table::Log, vec![round, at], vec![at; 300]);
        }
        batch.put(Table::Rows, "end", vec![round]);
        store.write(&batch, Durability::Durable).unwrap();
    }
    place.close(store);
    for seed in 0..u64::from(histories::<P>()) {
        let Some(damaged) = place.damaged(seed) else {
            return skip("cannot be damaged");
        };
        // The seed of a panic stands above it.
        println!("damage {seed}");
        if let Ok(store) = damaged.open() {
            visit(&store);
            damaged.close(store);
        }
    }
}

pub fn opening_anew_ends_a_latch<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    store.write(&put("before", "value"), Durability::Durable).unwrap();
    if !place.fail_write() {
        return skip("cannot fail");
    }
    assert!(store.write(&put("failed", "value"), Durability::Durable).is_err());
    store.reopen().unwrap();
    assert!(read(&store, "before").is_some());
    store.write(&put("after", "value"), Durability::Durable).unwrap();
    assert!(read(&store, "after").is_some());
    place.close(store);
}

pub fn opening_anew_keeps_the_first_batches_and_all_that_were_durable<P: Place>() {
    let reopened = runner::<P>().run(&writes(20), |history| {
        let place = P::new();
        let store = place.open().unwrap();
        write_history(&store, &history);
        store.reopen().unwrap();
        prop_assert!(outcomes(&history).contains(&Model::of(&store)));
        let is_refused = matches!(place.open(), Err(StoreError::Locked { .. }));
        prop_assert!(is_refused);
        store.write(&put("after", "it"), Durability::Durable).unwrap();
        place.close(store);
        let store = place.open().unwrap();
        prop_assert!(read(&store, "after").is_some());
        place.close(store);
        Ok(())
    });
    reopened.unwrap();
}

pub fn a_salvage_puts_what_it_is_given_in_the_place_of_all_or_changes_nothing<P: Place>() {
    let place = P::new();
    let store = place.open().unwrap();
    store.write(&put("old", "first"), Durability::Durable).unwrap();
    store.write(&put("old", "second"), Durability::Durable).unwrap();
    let failed = store.salvage(&mut |fresh| {
        fresh.write(&put("new", "lost"), Durability::Durable)?;
        Err(StoreError::Full)
    });
    if matches!(failed, Ok(None)) {
        return skip("does not salvage");
    }
    assert!(matches!(failed, Err(StoreError::Full)));
    assert!(matches!(place.open(), Err(StoreError::Locked { .. })));
    store.reopen().unwrap();
    assert_eq!((read(&store, "old").unwrap(), read(&store, "new")), ("second".into(), None));

    let mut is_found = false;
    let remains = store.remains().expect("who can salvage knows what is left");
    let visit = &mut |key, value| {
        is_found |= key == "old" && value == "second";
        Ok(true)
    };
    remains.each(visit).unwrap();
    assert!(is_found);

    let kept = store.salvage(&mut |fresh| {
        assert!(fresh.scan(Table::Rows, b"", None, 9)?.is_empty());
        fresh.write(&put("new", "kept"), Durability::Buffered)
    });
    assert!(kept.unwrap().unwrap().exists());
    assert!(matches!(place.open(), Err(StoreError::Locked { .. })));
    let is_new = |store: &P::Store| {
        assert_eq!((read(store, "old"), read(store, "new").unwrap()), (None, "kept".into()));
    };
    is_new(&store);
    store.write(&put("newer", "x"), Durability::Durable).unwrap();
    drop(store);
    is_new(&place.open().unwrap());
}

/// Uses a store in every way that there is, whatever it answers.
fn visit(store: &impl Backend) {
    let mut is_noticed = false;
    for table in Table::ALL {
        let all = store.scan(table, b"", None, usize::MAX).err();
        let one = store.get(table, &[3, 5]).err();
        let last = store.floor(table, &[9, 9]).err();
        let mut errors = all.into_iter().chain(one).chain(last);
        is_noticed |= errors.any(|error| matches!(error, StoreError::Corrupt { .. }));
    }
    for durability in [Durability::Buffered, Durability::Ahead, Durability::Durable] {
        let mut batch = put("after", "the damage");
        for at in 0..100_u8 {
            batch.put(Table::Records, vec![at, 3], vec![at; 100]);
            batch.delete(Table::Log, vec![at, 5]);
        }
        let written = store.write(&batch, durability);
        let is_latched = matches!(written, Err(StoreError::Latched { .. }));
        assert!(is_latched || !is_noticed, "a damaged store was written");
    }
}

/// Random cases, as many as are worth their time here. A failing one is not written down: this file is
/// not in the crate whose backend failed.
fn runner<P: Place>() -> TestRunner {
    TestRunner::new(Config {
        cases: histories::<P>(),
        failure_persistence: None,
        ..Config::default()
    })
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rows, key.to_owned(), value.to_owned());
    batch
}

fn write_history(store: &impl Backend, history: &[(Batch, Durability)]) {
    for (batch, durability) in history {
        store.write(batch, *durability).unwrap();
    }
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

/// Processes that are killed while they write, and what each is to write.
const KILLS: u64 = 6;
const BATCHES: usize = 150;
