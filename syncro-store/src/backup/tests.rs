use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Name, RecordId, Store, View};

use super::*;
use crate::backend::{Backend, Memory, MemoryDisk};
use crate::log_store::LogStore;
use crate::world::World;

/// All rows of all tables, but for the mark.
fn rows(backend: &dyn Backend) -> BTreeMap<(Table, Bytes), Bytes> {
    let tables = Table::ALL.into_iter().flat_map(|table| {
        let rows = backend.scan(table, &[], None, usize::MAX).unwrap();
        rows.into_iter().map(move |(key, value)| ((table, key), value))
    });
    tables.collect()
}

/// Copied between any two writes, and between the slices of a checkpoint, with more coming meanwhile.
#[test]
fn a_copy_is_the_store_as_it_was_when_the_copy_began() {
    let mut world = World::with(LogStore::builder().overlay_bytes(20_000), &MemoryDisk::new());
    for round in 0..200 {
        (0..7).for_each(|at| drop(world.create(round * 7 + at)));
        match round % 4 {
            0 => world.store.sync().unwrap(),
            1 => world.store.syncer().begin_checkpoint().unwrap(),
            _ => drop(world.store.syncer().write_behind().unwrap()),
        }
        if round % 13 != 0 {
            continue;
        }
        let end = world.store.look().end();
        let backend = Memory::new();
        let reader = world.store.reader();
        let mut more = (0..).map(|at| 1_000_000 + round * 1_000 + at);
        let copied =
            reader.copy_to(&backend, |_| drop(world.create(more.next().unwrap()))).unwrap();
        assert_eq!(copied.end, end);

        // What is derived in the copy is what follows from its log.
        let disk = backend.disk();
        drop(backend);
        let copied = rows(&disk.open().unwrap());
        let log_alone = disk.image().open().unwrap();
        let mut batch = Batch::new();
        batch.delete(Table::Rows, key::MARK);
        for table in [Table::Names, Table::Records, Table::Stamps] {
            for (key, _) in log_alone.scan(table, &[], None, usize::MAX).unwrap() {
                batch.delete(table, key);
            }
        }
        log_alone.write(&batch, Durability::Durable).unwrap();
        let log_alone_disk = log_alone.disk();
        let rebuilt = LogStore::open(log_alone).unwrap();
        rebuilt.syncer().checkpoint().unwrap();
        drop(rebuilt);
        assert_eq!(rows(&log_alone_disk.open().unwrap()), copied);
    }
}

#[cfg(feature = "redb")]
#[test]
fn a_backup_is_whole_or_not_there() {
    use crate::backend::Redb;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup.redb");
    let mut world = World::with(LogStore::builder().overlay_bytes(20_000), &MemoryDisk::new());
    (0..100).for_each(|id| drop(world.create(id)));
    let reader = world.store.reader();
    let mut seen = 0;
    let copied = reader.backup(&path, |bytes| seen = bytes).unwrap();
    assert_eq!(seen, copied.bytes);
    let again = reader.backup(&path, |_| ()).unwrap_err().to_string();
    assert!(again.contains("a name of its own"), "{again}");

    let restored = LogStore::open(Redb::open(&path).unwrap()).unwrap();
    let model = Name::new("Todo").unwrap();
    let of = |view: &dyn View| view.records(&model, None, usize::MAX).unwrap();
    let records: Vec<(RecordId, Arc<_>)> = of(&restored);
    assert_eq!(records, of(&world.store));

    // A store that is damaged leaves no backup.
    world.store.syncer().close();
    let other = directory.path().join("other.redb");
    assert!(reader.backup(&other, |_| ()).is_err());
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

/// The second to begin took the first one's file away from under it, and what got the name was not whole.
#[cfg(feature = "redb")]
#[test]
fn two_backups_of_one_name_are_whole_each() {
    use crate::backend::Redb;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup.redb");
    let mut world = World::with(LogStore::builder(), &MemoryDisk::new());
    (0..50).for_each(|id| drop(world.create(id)));
    let reader = world.store.reader();
    let copy = directory.path().join("copy.redb");
    let mut is_first = true;
    let outer = reader.backup(&path, |_| {
        if std::mem::take(&mut is_first) {
            reader.backup(&path, |_| ()).unwrap();
            std::fs::copy(&path, &copy).unwrap();
        }
    });
    outer.unwrap();
    for path in [path, copy] {
        let restored = LogStore::open(Redb::open(path).unwrap()).unwrap();
        assert_eq!(restored.entries(0, usize::MAX).unwrap().len(), 50);
    }
}
