//! What is merged into records that nobody has read.

use std::ops::Range;
use std::sync::Arc;

use syncro_core::{
    Author, Commit, Epoch, Kind, Name, NodeId, Path, Record, Register, Stamp, Store, StoreError,
    Time, Value, View,
};

use crate::backend::{Backend, Batch, Durability, MemoryDisk, Table};
use crate::encoding::key;
use crate::log_store::LogStore;
use crate::staging::PIECE_BYTES;
use crate::world::{World, todo};

/// A record of a field with so many bytes.
fn field(name: &str, bytes: usize) -> Record {
    let author = Author { node: NodeId::named("server"), epoch: Epoch(7) };
    let stamp = Stamp { time: Time::from_ms(1_710_000_000_000), author };
    let path = Path { field: Name::new(name).unwrap(), element: None, kind: Kind::Lww };
    let value = Value::Text("x".repeat(bytes)).encode();
    Record::new(None, None, vec![Register { path, stamp, value }])
}

/// A commit that says nothing yet.
fn nothing(world: &mut World) -> Commit {
    let mut commit = world.create(0);
    (commit.entries, commit.records) = (Vec::new(), Vec::new());
    commit
}

/// Merges a field of so many bytes into each of some records. Returns the bytes of the commit.
fn merge(world: &mut World, commit: &Commit, ids: Range<i64>, name: &str, bytes: usize) -> usize {
    let more = Arc::new(field(name, bytes));
    let merges = ids.map(|id| (todo(id), more.clone())).collect();
    let commit = Commit { merges, ..commit.clone() };
    world.store.apply(&commit).unwrap();
    commit.bytes()
}

#[test]
fn what_is_merged_is_seen_at_once_whatever_it_is_merged_into() {
    let (small, row) = (100, PIECE_BYTES - 1000);
    // Into nothing, a row, one that it fills, and pieces; more than is merged unread; and before and after checkpoints.
    for bytes in [0, small, row, 2 * PIECE_BYTES] {
        for more_bytes in [small, 1000, 100_000] {
            for checkpoints in [0, 0b0101, 0b1010, 0b1111] {
                let disk = MemoryDisk::new();
                let mut world = World::on(&disk);
                let mut commit = nothing(&mut world);
                let mut expected = Record::default();
                let mut merge = |world: &mut World, more: Record| {
                    expected.merge(&more);
                    commit.merges = vec![(todo(2), Arc::new(more))];
                    let snapshot = world.store.reader().snapshot();
                    let before = snapshot.record(&todo(2)).unwrap();
                    world.store.apply(&commit).unwrap();
                    let seen = world.store.record(&todo(2)).unwrap();
                    assert_eq!(seen.as_deref(), Some(&expected));
                    let listed = world.store.records(&todo(2).model, None, 10).unwrap();
                    assert_eq!(listed[1].1, seen.unwrap());
                    assert_eq!(snapshot.record(&todo(2)).unwrap(), before);
                };
                if bytes > 0 {
                    merge(&mut world, field("large", bytes));
                }
                for number in 0..4 {
                    if checkpoints & 1 << number != 0 {
                        world.store.syncer().checkpoint().unwrap();
                    }
                    merge(&mut world, field(&format!("more {number}"), more_bytes));
                }
                world.store.syncer().checkpoint().unwrap();
                let reopened = LogStore::open(disk.image().open().unwrap()).unwrap();
                assert_eq!(reopened.record(&todo(2)).unwrap().as_deref(), Some(&expected));
            }
        }
    }
}

/// Whoever remembers keeps whole records, and there may be many in one commit.
#[test]
fn nothing_is_merged_unread_while_a_snapshot_lives_or_a_record_is_in_pieces() {
    let mut world = World::on(&MemoryDisk::new());
    let commit = nothing(&mut world);
    assert!(world.store.takes_merges());
    let snapshot = world.store.reader().snapshot();
    assert!(!world.store.takes_merges());
    drop(snapshot);
    assert!(world.store.takes_merges());
    merge(&mut world, &commit, 1..2, "large", PIECE_BYTES);
    assert!(!world.store.takes_merges());
}

#[test]
fn a_record_that_merges_make_too_large_for_a_row_is_put_in_pieces_by_the_next_change() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    let commit = nothing(&mut world);
    let mut expected = field("large", PIECE_BYTES - 1000);
    let records = vec![(todo(1), Arc::new(expected.clone()))];
    world.store.apply(&Commit { records, ..commit.clone() }).unwrap();
    world.store.syncer().checkpoint().unwrap();
    for (number, takes_merges) in [("one", false), ("two", false)] {
        merge(&mut world, &commit, 1..2, number, 2000);
        expected.merge(&field(number, 2000));
        world.store.syncer().checkpoint().unwrap();
        assert_eq!(world.store.takes_merges(), takes_merges);
        let reopened = LogStore::open(disk.image().open().unwrap()).unwrap();
        assert_eq!(reopened.record(&todo(1)).unwrap().as_deref(), Some(&expected));
    }
    let rows = disk.image().open().unwrap().scan(Table::Records, &[], None, 10).unwrap();
    assert!(rows.iter().all(|(_, row)| row.len() < PIECE_BYTES + 100));
    assert_eq!(rows.len(), 3);
}

/// What is merged is far less than the records, which are written as a whole.
#[test]
fn merges_into_larger_records_take_no_more_memory_than_others() {
    const BYTES: usize = 128 << 10;
    let disk = MemoryDisk::new();
    let mut world = World::with(LogStore::builder().overlay_bytes(BYTES), &disk);
    let commit = nothing(&mut world);
    for first in (0..2000).step_by(100) {
        merge(&mut world, &commit, first..first + 100, "body", 4000);
    }
    world.store.syncer().checkpoint().unwrap();
    let mut most = 0;
    for round in 0..8 {
        for first in (0..2000).step_by(200) {
            let name = format!("more {round}");
            let bytes = merge(&mut world, &commit, first..first + 200, &name, 20);
            world.store.syncer().make_room(bytes).unwrap();
            most = most.max(world.store.syncer().unwritten_bytes());
        }
    }
    assert!(most < 4 * BYTES, "{most} bytes");
}

#[test]
fn a_checkpoint_with_a_record_in_pieces_writes_what_is_merged_in_slices() {
    let disk = MemoryDisk::new();
    let mut world = World::with(LogStore::builder().slice_rows(16), &disk);
    let commit = nothing(&mut world);
    merge(&mut world, &commit, 0..100, "body", 10);
    merge(&mut world, &commit, 200..201, "large", 2 * PIECE_BYTES);
    let records = world.store.records(&todo(1).model, None, 1000).unwrap();
    world.store.syncer().begin_checkpoint().unwrap();
    let slices = std::iter::from_fn(|| world.store.syncer().write_behind().unwrap().then_some(()));
    assert_eq!(slices.count(), 1 + 100_usize.div_ceil(16));
    let reopened = LogStore::open(disk.image().open().unwrap()).unwrap();
    assert_eq!(reopened.records(&todo(1).model, None, 1000).unwrap(), records);
}

#[test]
fn damage_below_what_is_merged_is_found_where_it_is() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (1..10).for_each(|id| {
        world.create(id);
    });
    let commit = nothing(&mut world);
    world.store.syncer().checkpoint().unwrap();
    drop(world);
    let backend = disk.open().unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Records, key::record(&todo(5)), b"no record".to_vec());
    backend.write(&batch, Durability::Durable).unwrap();
    drop(backend);

    let mut world = World::on(&disk);
    merge(&mut world, &commit, 4..7, "more", 10);
    assert!(matches!(world.store.record(&todo(5)), Err(StoreError::Corrupt { .. })));
    assert!(world.store.record(&todo(6)).unwrap().is_some());
    let snapshot = world.store.reader().snapshot();
    let rows = snapshot.look().rows().unwrap().sealed_scan(Table::Records, &[], None, 100).unwrap();
    assert_eq!(rows.len(), 10);
    assert!(matches!(world.store.syncer().checkpoint(), Err(StoreError::Corrupt { .. })));
}
