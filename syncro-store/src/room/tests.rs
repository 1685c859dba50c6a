use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use bytes::Bytes;
use proptest::prelude::*;
use syncro_core::Store;

use super::*;
use crate::backend::{Fault, Memory, MemoryDisk, Table};
use crate::log_store::LogStore;
use crate::world::{World, contents};

/// What may happen to a store whose disk is full now and then.
#[derive(Clone, Debug)]
enum Step {
    Create,
    Title(usize),
    Sync,
    Slice,
    Checkpoint,
    Room(Option<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let room = prop_oneof![Just(None), (0..600_000_u64).prop_map(Some)];
    let step = prop_oneof![
        8 => Just(Step::Create),
        2 => (1..40_000_usize).prop_map(Step::Title),
        4 => Just(Step::Sync),
        4 => Just(Step::Slice),
        1 => Just(Step::Checkpoint),
        3 => room.prop_map(Step::Room),
    ];
    prop::collection::vec(step, 1..60)
}

fn is_done(done: Result<(), StoreError>) -> bool {
    match done {
        Ok(()) => true,
        Err(StoreError::Full) => false,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    /// A laptop's disk was full for an hour. What it had recorded by then was gone with the next restart, and
    /// a checkpoint that had been under way left records that nobody had ever written.
    #[test]
    fn whatever_a_full_disk_interrupts_nothing_is_lost(steps in steps()) {
        let disk = MemoryDisk::new();
        let mut world = World::with(LogStore::builder().overlay_bytes(20_000), &disk);
        // What the store held after each step, and which of it is durable.
        let (mut states, mut durable) = (vec![contents(&world.store)], 0);
        let mut created = 0;
        for step in steps {
            let mut is_synced = false;
            let syncer = world.store.syncer();
            match step {
                Step::Create => {
                    created += 1;
                    world.create(created);
                }
                // One that is there already is not written.
                Step::Title(bytes) if created > 0 => {
                    world.title(created, &format!("{:x<bytes$}", states.len()));
                }
                Step::Title(_) => {}
                Step::Sync => is_synced = is_done(world.store.sync()),
                Step::Slice => {
                    is_done(syncer.write_behind().map(drop));
                }
                Step::Checkpoint => is_synced = is_done(syncer.checkpoint()),
                Step::Room(room) => disk.set_room(room),
            }
            states.push(contents(&world.store));
            if is_synced {
                durable = states.len() - 1;
            }
            for kept in [0, disk.unsynced()] {
                let crashed = disk.crash_keeping(kept).open().unwrap();
                let found = contents(&LogStore::open(crashed).unwrap());
                prop_assert!(states[durable..].contains(&found));
            }
        }
        disk.set_room(None);
        let before = contents(&world.store);
        world.store.syncer().checkpoint().unwrap();
        prop_assert_eq!(&contents(&world.store), &before);
        let crashed = disk.crash().open().unwrap();
        prop_assert_eq!(&contents(&LogStore::open(crashed).unwrap()), &before);
    }
}

/// A backend whose first buffered write says that it has begun, and waits to be told to go on.
struct Meeting {
    memory: Memory,
    first: Mutex<Option<(Arc<Barrier>, Arc<Barrier>)>>,
}

impl Backend for Meeting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.memory.scan(table, start, end, limit)
    }
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.memory.floor(table, at)
    }
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        if durability == Durability::Buffered
            && let Some((begun, told)) = self.first.lock().unwrap().take()
        {
            begun.wait();
            told.wait();
        }
        self.memory.write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.memory.reopen()
    }
}

/// What a slice met was the want of room of a sync, and the store would have stopped for good.
#[test]
fn whoever_meets_the_want_of_room_of_another_write_goes_on_as_well() {
    let disk = MemoryDisk::new();
    let [begun, told] = [0; 2].map(|_| Arc::new(Barrier::new(2)));
    let first = Mutex::new(Some((begun.clone(), told.clone())));
    let meeting = Meeting { memory: disk.open().unwrap(), first };
    let store = LogStore::builder().slice_rows(1).open(meeting).unwrap();
    let mut world = World::over(store);
    (0..3).for_each(|id| drop(world.create(id)));
    let syncer = world.store.syncer();
    syncer.begin_checkpoint().unwrap();
    world.create(3);
    let slice = thread::spawn(move || syncer.write_behind());
    begun.wait();
    disk.fail_write(1, Fault::Once(StoreError::Full));
    let syncer = world.store.syncer();
    let sync = thread::spawn(move || syncer.sync());
    // The disk takes no more from when it has failed.
    while !world.store.shared.must_reopen.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    told.wait();
    assert!(matches!(slice.join().unwrap(), Err(StoreError::Full)));
    assert!(matches!(sync.join().unwrap(), Err(StoreError::Full)));

    let before = contents(&world.store);
    world.store.syncer().checkpoint().unwrap();
    assert_eq!(contents(&LogStore::open(disk.crash().open().unwrap()).unwrap()), before);
}

#[test]
fn a_store_is_short_of_room_before_it_is_out_of_it() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    let syncer = world.store.syncer();
    assert!(!syncer.is_short_of_room());
    disk.set_room(Some(ROOM_KEPT_BYTES + 100_000));
    assert!(!syncer.is_short_of_room());
    world.create(1);
    world.title(1, &"x".repeat(60_000));
    assert!(syncer.is_short_of_room());
    world.store.sync().unwrap();
    syncer.checkpoint().unwrap();
    assert!(!syncer.is_short_of_room());
}

/// A store that was closed by force on a full disk could not be opened, not even to be read.
#[test]
fn a_store_that_has_much_to_play_opens_on_a_full_disk() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..500).for_each(|id| {
        world.create(id);
    });
    world.store.sync().unwrap();
    let before = contents(&world.store);
    let crashed = disk.crash();
    crashed.set_room(Some(10));
    let small = LogStore::builder().overlay_bytes(1);
    let store = small.open(crashed.open().unwrap()).unwrap();
    assert_eq!(contents(&store), before);
    assert!(matches!(store.syncer().checkpoint(), Err(StoreError::Full)));
    crashed.set_room(None);
    store.syncer().checkpoint().unwrap();
    assert_eq!(contents(&store), before);
}
