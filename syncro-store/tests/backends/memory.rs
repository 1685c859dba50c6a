//! The memory backend as the double that crashes, forks and fails.

use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use syncro_core::StoreError;
use syncro_store::conformance::{Model, outcomes, writes};
use syncro_store::{Backend, Batch, Durability, Fault, Memory, MemoryDisk, Table};

proptest! {
    #[test]
    fn a_crash_keeps_the_durable_batches_and_the_first_of_the_rest(mut history in writes(20)) {
        let disk = MemoryDisk::new();
        let store = disk.open().unwrap();
        history.retain(|(batch, durability)| {
            store.write(batch, *durability).unwrap();
            !batch.is_empty() || *durability != Durability::Buffered
        });
        // What is written ahead is in each of them.
        let mut outcomes = outcomes(&history);
        let from = history.len() + 1 - outcomes.len();
        let mut rest = history[from..].iter().map(|(_, durability)| *durability);
        let first = outcomes.remove(0);
        outcomes.retain(|_| rest.next() == Some(Durability::Buffered));
        outcomes.insert(0, first);
        prop_assert_eq!(disk.unsynced(), outcomes.len() - 1);
        prop_assert_eq!(&on(&disk.crash()), &outcomes[0]);
        prop_assert_eq!(&on(&disk.image()), &outcomes[0]);
        for (kept, state) in outcomes.iter().enumerate() {
            prop_assert_eq!(&on(&disk.crash_keeping(kept)), state);
        }
        prop_assert_eq!(&on(&disk.crash_keeping(usize::MAX)), outcomes.last().unwrap());
        prop_assert_eq!(&on(&disk.fork()), outcomes.last().unwrap());
        prop_assert_eq!(&Model::of(&store), outcomes.last().unwrap());
    }
}

#[test]
fn an_empty_durable_batch_makes_what_came_before_it_durable() {
    let store = Memory::new();
    store.write(&put("a"), Durability::Buffered).unwrap();
    assert!(!holds(&store.disk().crash(), "a"));
    store.write(&Batch::new(), Durability::Durable).unwrap();
    assert!(holds(&store.disk().crash(), "a"));
}

#[test]
fn closing_makes_nothing_durable() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    store.write(&put("a"), Durability::Buffered).unwrap();
    drop(store);
    assert!(!holds(&disk.crash(), "a"));
    let store = disk.open().unwrap();
    assert!(store.get(Table::Rows, b"a").unwrap().is_some());
    assert_eq!(disk.unsynced(), 1);
}

#[test]
fn a_fork_and_its_origin_go_separate_ways() {
    let store = Memory::new();
    store.write(&put("shared"), Durability::Buffered).unwrap();
    let fork = store.disk().fork();
    let other = fork.open().unwrap();
    store.write(&put("mine"), Durability::Durable).unwrap();
    other.write(&put("theirs"), Durability::Buffered).unwrap();
    assert_eq!(fork.unsynced(), 2);
    assert!(!holds(&fork.crash(), "shared"));
    assert!(holds(&fork.crash_keeping(2), "theirs"));
    assert!(!holds(&fork.crash_keeping(2), "mine"));
    assert!(holds(&store.disk().crash(), "mine"));
}

#[test]
fn a_store_latches_after_a_failed_write_until_it_is_opened_again() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    disk.fail_write(2, Fault::Once(StoreError::Full));
    store.write(&put("first"), Durability::Durable).unwrap();
    let failed = store.write(&put("second"), Durability::Durable);
    assert!(matches!(failed, Err(StoreError::Full)));
    let refused = store.write(&put("third"), Durability::Durable);
    assert!(matches!(refused, Err(StoreError::Latched { .. })));
    assert!(store.get(Table::Rows, b"first").unwrap().is_some());
    drop(store);

    let store = disk.open().unwrap();
    store.write(&put("fourth"), Durability::Durable).unwrap();
    assert!(holds(&disk.crash(), "first"));
    assert!(!holds(&disk.crash(), "second"));
    assert!(holds(&disk.crash(), "fourth"));
}

#[test]
fn a_lasting_fault_fails_reopened_stores_until_it_is_healed() {
    let disk = MemoryDisk::new();
    let error = StoreError::Io(Arc::new(io::Error::other("the cable is out")));
    disk.fail_write(1, Fault::Forever(error));
    for _ in 0..2 {
        let store = disk.open().unwrap();
        let failed = store.write(&put("a"), Durability::Buffered);
        assert!(matches!(failed, Err(StoreError::Io(_))));
    }
    assert!(!holds(&disk.crash_keeping(9), "a"));
    disk.heal();
    let store = disk.open().unwrap();
    store.write(&put("a"), Durability::Durable).unwrap();
}

#[test]
fn a_write_may_land_although_it_failed() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    disk.fail_write(1, Fault::Landed(StoreError::Full));
    assert!(store.write(&put("a"), Durability::Durable).is_err());
    drop(store);
    assert!(holds(&disk.crash(), "a"));
}

#[test]
fn a_copy_of_a_failing_disk_works() {
    let disk = MemoryDisk::new();
    let _store = disk.open().unwrap();
    disk.fail_write(1, Fault::Forever(StoreError::Full));
    for copy in [disk.crash(), disk.image(), disk.fork()] {
        let store = copy.open().unwrap();
        store.write(&put("a"), Durability::Durable).unwrap();
    }
}

fn put(key: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rows, key, "value");
    batch
}

fn holds(disk: &MemoryDisk, key: &str) -> bool {
    let store = disk.fork().open().unwrap();
    store.get(Table::Rows, key.as_bytes()).unwrap().is_some()
}

fn on(disk: &MemoryDisk) -> Model {
    Model::of(&disk.open().unwrap())
}
