use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use syncro_core::{
    Author, Config, Edit, Engine, Epoch, Fields, Held, Input, Kind, Name, NodeId, Now, Path,
    Proposal, Record, Register, Stamp, Time, Value, View,
};

use super::*;
use crate::backend::{Batch, Durability, Fault, Memory, MemoryDisk, Table};
use crate::dictionary::Dictionary;
use crate::encoding::{key, row, seal};
use crate::staging::PIECE_BYTES;
use crate::world::{World, contents, todo};

fn put_row(batch: &mut Batch, key: &'static [u8], content: &[u8]) {
    batch.put(Table::Rows, key, seal(Table::Rows, key, content));
}

#[test]
fn a_snapshot_stays_as_it_was_whatever_is_applied_and_synced() {
    let mut world = World::on(&MemoryDisk::new());
    (0..10).for_each(|id| {
        world.create(id);
    });
    world.store.sync().unwrap();
    world.create(10);
    let snapshot = world.store.reader().snapshot();
    let before = contents(&snapshot);
    assert_eq!(before, contents(&world.store));

    // The thread that holds a snapshot writes: nothing waits for anything.
    for id in 0..5 {
        world.destroy(id);
    }
    (11..20).for_each(|id| {
        world.create(id);
    });
    assert_eq!(contents(&snapshot), before);
    world.store.sync().unwrap();
    world.title(5, "later");
    world.store.sync().unwrap();
    assert_eq!(contents(&snapshot), before);
    assert_ne!(contents(&world.store), before);
    assert_ne!(contents(&world.store.reader().snapshot()), before);
}

#[test]
fn a_snapshot_lists_piece_by_piece_what_it_listed_as_a_whole() {
    let mut world = World::on(&MemoryDisk::new());
    (0..20).for_each(|id| {
        world.create(id);
    });
    world.store.sync().unwrap();
    let snapshot = world.store.reader().snapshot();
    (20..30).for_each(|id| {
        world.create(id);
    });
    world.title(3, "later");

    let model = Name::new("Todo").unwrap();
    let whole = snapshot.records(&model, None, 1000).unwrap();
    assert_eq!(whole.len(), 20);
    for limit in 1..6 {
        let mut pieces = Vec::new();
        let mut after = None;
        loop {
            let piece = snapshot.records(&model, after.as_ref(), limit).unwrap();
            let Some((last, _)) = piece.last() else { break };
            after = Some(last.clone());
            pieces.extend(piece);
        }
        assert_eq!(pieces, whole, "{limit} at once");
    }
}

#[test]
fn what_a_snapshot_remembered_is_forgotten_with_it() {
    let mut world = World::on(&MemoryDisk::new());
    let snapshot = world.store.reader().snapshot();
    world.create(1);
    assert_eq!(world.store.shared.remembering().len(), 1);
    drop(snapshot);
    world.create(2);
    assert_eq!(world.store.shared.remembering().len(), 0);
}

#[test]
fn a_transaction_is_held_by_stamp_and_content() {
    let mut world = World::on(&MemoryDisk::new());
    let first = world.create(1).entries.remove(0);
    let same = Held::Same { offset: first.offset, digest: first.digest };
    assert_eq!(world.store.held(&first.transaction).unwrap(), same);

    // The other half of a cloned machine issues the stamp again.
    let mut clone = World::on(&MemoryDisk::new());
    let other = clone.create(2).entries.remove(0);
    assert_eq!(other.transaction.stamp(), first.transaction.stamp());
    assert_eq!(world.store.held(&other.transaction).unwrap(), Held::Others);
    let later = clone.create(3).entries.remove(0);
    assert_eq!(world.store.held(&later.transaction).unwrap(), Held::No);
}

/// A record of three fields with values of so many bytes in all.
fn large(bytes: usize) -> Record {
    let author = Author { node: NodeId::named("server"), epoch: Epoch(7) };
    let stamp = Stamp { time: Time::from_ms(1_710_000_000_000), author };
    let registers = (0..3).map(|number| {
        let field = Name::new(&format!("field {number}")).unwrap();
        let value = Value::Text("x".repeat(bytes / 3)).encode();
        Register { path: Path { field, element: None, kind: Kind::Lww }, stamp, value }
    });
    Record::new(Some(stamp), None, registers.collect())
}

#[test]
fn a_record_larger_than_a_row_is_kept_in_pieces() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    let mut commit = world.create(1);
    for bytes in [100, 3 * PIECE_BYTES, PIECE_BYTES, 2 * PIECE_BYTES, 100] {
        let record = Arc::new(large(bytes));
        commit.records = vec![(todo(1), record.clone())];
        commit.entries.clear();
        let snapshot = world.store.reader().snapshot();
        let before = snapshot.record(&todo(1)).unwrap();
        world.store.apply(&commit).unwrap();
        assert_eq!(world.store.record(&todo(1)).unwrap(), Some(record.clone()));
        assert_eq!(snapshot.record(&todo(1)).unwrap(), before);
        world.store.syncer().checkpoint().unwrap();
        assert_eq!(world.store.record(&todo(1)).unwrap(), Some(record.clone()));
        assert_eq!(world.store.models().unwrap().len(), 1);

        let reopened = LogStore::open(disk.image().open().unwrap()).unwrap();
        assert_eq!(reopened.record(&todo(1)).unwrap(), Some(record));
    }
    // What it does not need any more is gone.
    let backend = disk.image().open().unwrap();
    assert_eq!(backend.scan(Table::Records, &[], None, 10).unwrap().len(), 1);
}

#[test]
fn records_and_stamps_are_made_anew_from_the_log() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..50).for_each(|id| {
        world.create(id);
    });
    world.title(7, "milk");
    world.destroy(8);
    let last = world.create(50).entries.remove(0);
    world.store.sync().unwrap();
    let before = contents(&world.store);

    let backend = disk.image().open().unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Rows, key::MARK);
    for table in [Table::Names, Table::Records, Table::Stamps] {
        for (key, _) in backend.scan(table, &[], None, usize::MAX).unwrap() {
            batch.delete(table, key);
        }
    }
    backend.write(&batch, Durability::Durable).unwrap();
    let store = LogStore::open(backend).unwrap();
    assert_eq!(contents(&store), before);
    let known = Held::Same { offset: last.offset, digest: last.digest };
    assert_eq!(store.held(&last.transaction).unwrap(), known);
}

/// Opens a copy of a store in which something was changed.
fn changed(disk: &MemoryDisk, change: impl FnOnce(&mut Batch)) -> Result<LogStore, StoreError> {
    let backend = disk.image().open()?;
    let mut batch = Batch::new();
    change(&mut batch);
    backend.write(&batch, Durability::Durable)?;
    LogStore::open(backend)
}

#[test]
fn a_mark_that_the_log_does_not_bear_out_is_damage() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    world.create(1);
    world.create(2);
    world.store.sync().unwrap();
    let end = world.engine.end();

    let marks = [
        syncro_core::Point { offset: end.offset + 1, ..end },
        syncro_core::Point { offset: end.offset - 1, ..end },
    ];
    for mark in marks {
        let opened = changed(&disk, |batch| put_row(batch, key::MARK, &row::write_mark(mark)));
        assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{mark:?}: {opened:?}");
    }
}

#[test]
fn a_page_that_is_gone_is_damage() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    (0..500).for_each(|id| {
        world.create(id);
    });
    world.store.syncer().checkpoint().unwrap();

    let backend = disk.image().open().unwrap();
    let pages = backend.scan(Table::Log, &[], None, usize::MAX).unwrap();
    assert!(pages.len() > 2);
    let (second, _) = pages[1].clone();
    let store = changed(&disk, |batch| batch.delete(Table::Log, second.clone())).unwrap();
    let read = store.entries(0, usize::MAX);
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");

    // Where the log has to be played, the store does not open.
    let opened = changed(&disk, |batch| {
        batch.delete(Table::Log, second);
        batch.delete(Table::Rows, key::MARK);
    });
    assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{opened:?}");
}

#[test]
fn after_a_sync_that_failed_nothing_more_is_written() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    let first = world.create(1);
    disk.fail_write(1, Fault::Once(std::io::Error::other("worn out").into()));
    assert!(world.store.sync().is_err());
    disk.heal();
    assert!(matches!(world.store.sync(), Err(StoreError::Latched { .. })));
    assert!(matches!(world.store.apply(&first), Err(StoreError::Latched { .. })));
}

#[test]
fn a_closed_store_says_so() {
    let mut world = World::on(&MemoryDisk::new());
    let commit = world.create(1);
    let reader = world.store.reader();
    world.store.syncer().close();
    assert!(matches!(reader.record(&todo(1)), Err(StoreError::Closed)));
    assert!(matches!(world.store.apply(&commit), Err(StoreError::Closed)));
}

/// A backend whose tables can be made unreadable, and that has something to drop.
#[derive(Default)]
struct Double<T> {
    memory: Memory,
    is_broken: Arc<AtomicBool>,
    _dropped: T,
}

impl<T: Send + Sync + 'static> Backend for Double<T> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if table == Table::Names && self.is_broken.load(Ordering::Relaxed) {
            return Err(StoreError::Corrupt { what: "a name".to_owned() });
        }
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
        self.memory.write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.memory.reopen()
    }
}

#[test]
fn a_commit_that_cannot_be_applied_leaves_no_trace() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let backend = Double { is_broken: is_broken.clone(), ..Double::<()>::default() };
    let mut store = LogStore::open(backend).unwrap();
    let (mut engine, effects) = Engine::open(Now::default(), Config::default(), &store).unwrap();
    store.apply(&effects.commit.unwrap()).unwrap();
    let before = contents(&store);

    // The second record has a field that the store has to look up.
    let mut proposal = Proposal::default();
    proposal.create(todo(1), &Fields::default()).unwrap();
    proposal.create(todo(2), &Fields::default()).unwrap();
    let title = Edit::value(Name::new("title").unwrap(), Value::Text("milk".into()).encode());
    proposal.update(todo(2), vec![title]).unwrap();
    let effects = engine.handle(Now::default(), Input::Propose(proposal), &store).unwrap();
    is_broken.store(true, Ordering::Relaxed);
    assert!(matches!(store.apply(&effects.commit.unwrap()), Err(StoreError::Corrupt { .. })));
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(contents(&store), before);
}

/// A backend whose next call panics.
#[derive(Debug)]
struct Panics {
    memory: Memory,
    is_armed: Arc<AtomicBool>,
}

impl Panics {
    fn memory(&self) -> &Memory {
        assert!(!self.is_armed.swap(false, Ordering::Relaxed), "a bug in a backend");
        &self.memory
    }
}

impl Backend for Panics {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory().get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.memory().scan(table, start, end, limit)
    }
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.memory().floor(table, at)
    }
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.memory().write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.memory().reopen()
    }
}

/// A sync after one that had panicked reported that all was well, and the pages of the first were gone.
#[test]
fn a_backend_that_panics_is_an_error_and_stops_the_store() {
    type Call = fn(&mut LogStore) -> Result<(), StoreError>;
    let calls: [Call; 2] = [|store| store.sync(), |store| store.record(&todo(1)).map(drop)];
    for call in calls {
        let is_armed = Arc::new(AtomicBool::new(false));
        let backend = Panics { memory: Memory::new(), is_armed: is_armed.clone() };
        let mut store = LogStore::open(backend).unwrap();
        let (_, effects) = Engine::open(Now::default(), Config::default(), &store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        is_armed.store(true, Ordering::Relaxed);
        let error = call(&mut store).unwrap_err().to_string();
        assert!(error.contains("a bug in a backend"), "{error}");
        assert!(matches!(store.sync(), Err(StoreError::Latched { .. })));
    }
}

#[test]
fn a_store_that_was_given_up_stays_closed_however_often_it_is_asked() {
    let mut world = World::on(&MemoryDisk::new());
    let commit = world.create(1);
    let syncer = world.store.syncer();
    syncer.close();
    for _ in 0..3 {
        assert!(matches!(world.store.apply(&commit), Err(StoreError::Closed)));
        assert!(matches!(syncer.sync(), Err(StoreError::Closed)));
        assert!(matches!(syncer.checkpoint(), Err(StoreError::Closed)));
    }
}

#[test]
fn names_go_on_after_the_last_one_whatever_a_crash_left() {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    world.create(1);
    world.title(1, "milk");
    world.store.syncer().checkpoint().unwrap();
    let before = contents(&world.store);
    // A crash between two slices can leave a word whose number cannot be looked up.
    let lone = Dictionary::new().assign(&Name::new("lone").unwrap(), 7);
    let [(_, _), (word_key, word_row)] = lone;
    let store = changed(&disk, |batch| {
        let sealed = seal(Table::Names, &word_key, &word_row);
        batch.put(Table::Names, word_key, sealed);
    });
    let mut store = store.unwrap();
    assert_eq!(contents(&store), before);
    let config = Config { node: Some(NodeId::named("server")), ..Config::default() };
    let (engine, effects) = Engine::open(Now::default(), config, &store).unwrap();
    store.apply(&effects.commit.unwrap()).unwrap();
    let mut world = World { engine, store };
    let mut proposal = Proposal::default();
    proposal.create(todo(2), &Fields::default()).unwrap();
    for name in ["lone", "colour", "title"] {
        let value = Value::Text(name.into()).encode();
        proposal.update(todo(2), vec![Edit::value(Name::new(name).unwrap(), value)]).unwrap();
    }
    let commit = world.write(proposal);
    world.store.apply(&commit).unwrap();
    let fields = |id| format!("{:?}", Fields::of(&world.store.record(&todo(id)).unwrap().unwrap()));
    for name in ["lone", "colour", "title"] {
        assert!(fields(2).contains(name), "{}", fields(2));
    }
    assert!(fields(1).contains("milk") && !fields(1).contains("colour"), "{}", fields(1));
}

#[test]
fn snapshots_that_are_gone_leave_nothing_behind_on_a_store_that_is_only_read() {
    let world = World::on(&MemoryDisk::new());
    let reader = world.store.reader();
    (0..10_000).for_each(|_| drop(reader.snapshot()));
    assert!(world.store.shared.snapshots_known() < 100);
}

/// What is given up only when somebody says so.
struct Lingering {
    begun: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let _ = self.begun.send(());
        // If nobody does, the test has failed.
        let _ = self.end.get_mut().unwrap().recv_timeout(Duration::from_secs(10));
    }
}

#[test]
fn nobody_who_reads_waits_until_a_backend_that_is_given_up_has_tidied_up() {
    let ((begun, has_begun), (finish, end)) = (mpsc::channel(), mpsc::channel());
    let _dropped = Lingering { begun, end: Mutex::new(end) };
    let (memory, is_broken) = (Memory::new(), Arc::default());
    let store = LogStore::open(Double { memory, is_broken, _dropped }).unwrap();
    let syncer = store.syncer();
    let closing = std::thread::spawn(move || syncer.close());
    has_begun.recv().unwrap();
    assert!(matches!(store.models(), Err(StoreError::Closed)));
    finish.send(()).expect("it is still being given up");
    closing.join().unwrap();
}
