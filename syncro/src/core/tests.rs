use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use syncro_core::{Fields, Name, NodeId, RecordId, RecordKey, View, limits};
use syncro_net::Frames;
use syncro_store::{Backend, Batch, Durability as Written, Fault, Memory, MemoryDisk, Table};

use super::*;
use crate::session;

/// A store in memory whose durable writes wait while somebody holds the gate.
struct Gated(Memory, Arc<Mutex<()>>);

impl Backend for Gated {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.0.scan(table, start, end, limit)
    }
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.0.floor(table, at)
    }
    fn write(&self, batch: &Batch, durability: Written) -> Result<(), StoreError> {
        let _open = (durability != Written::Buffered).then(|| lock(&self.1));
        self.0.write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.0.reopen()
    }
}

fn core(name: &str, overlay_bytes: usize, gate: &Arc<Mutex<()>>) -> Arc<Core> {
    let backend = Gated(Memory::new(), gate.clone());
    let store = LogStore::builder().overlay_bytes(overlay_bytes).open(backend).unwrap();
    let config = Config { node: Some(NodeId::named(name)), ..Config::default() };
    Core::open(store, config, Bytes::new()).unwrap()
}

fn todo(id: i64) -> RecordKey {
    RecordKey { model: Name::new("Todo").unwrap(), id: RecordId::Int(id) }
}

fn write(core: &Core, from: i64) {
    let mut proposal = Proposal::default();
    for id in from..from + 100 {
        proposal.create(todo(id), &Fields::default()).unwrap();
    }
    core.propose(proposal, Durability::Deferred, None).unwrap();
}

/// Rows take many times the room of the log that they follow from: long before the log was too long, a
/// commit from a peer waited for a flush, with the lock that everybody needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_sends_never_waits_for_a_flush_under_the_lock() {
    let (open, gate) = (Arc::default(), Arc::<Mutex<()>>::default());
    let (a, b) = (core("a", 32 << 20, &open), core("b", 64 << 10, &gate));
    // Some seven messages, of which a flush that waits lets one or two in.
    (0..400).for_each(|at| write(&a, at * 100));
    let holder = {
        // A guard must not be held over an await.
        let (gate, (release, released)) = (gate.clone(), std::sync::mpsc::channel::<()>());
        let (held, is_held) = oneshot::channel();
        std::thread::spawn(move || {
            let _held = lock(&gate);
            held.send(()).unwrap();
            released.recv().unwrap();
        });
        is_held.await.unwrap();
        release
    };
    // It waits before the first of them comes: one that began later would set aside what has crowded the node.
    write(&b, 100_000);
    let flushing = b.clone();
    std::thread::spawn(move || flushing.sync_what_is_applied());
    let waits = until(&b, |b| b.turn.try_lock().is_err());
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("the flush waits");
    let (near, far) = tokio::io::duplex(1 << 16);
    let run = |core: &Arc<Core>, stream, role| {
        let (core, frames) = (core.clone(), Frames::new(stream, limits::FRAME_BYTES_MAX));
        tokio::spawn(async move { session::run(&core, frames, role, pending()).await.map(drop) })
    };
    let sessions = [run(&a, near, Role::Dial(Default::default())), run(&b, far, Role::Accept)];

    let crowded = until(&b, |b| b.is_crowded());
    tokio::time::timeout(Duration::from_secs(60), crowded).await.expect("the lock is free");
    assert!(b.engine(Engine::end).offset < 40_000, "all of it was taken");
    drop(holder);
    let synced = until(&b, |b| b.engine(Engine::end).offset >= 40_100);
    tokio::time::timeout(Duration::from_secs(60), synced).await.expect("it goes on");
    sessions.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn until(core: &Arc<Core>, is_so: impl Fn(&Core) -> bool + Send + 'static) {
    let core = core.clone();
    let wait = move || {
        while !is_so(&core) {
            std::thread::yield_now();
        }
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// The thread that syncs and ticks had panicked: a node that was repaired lived on without it.
#[tokio::test]
async fn a_repaired_node_has_a_thread_that_works_for_it() {
    let core = core("a", 32 << 20, &Arc::default());
    let ended = std::thread::scope(|threads| {
        let panicking = || {
            let _fail = FailOnPanic(&core);
            panic!("on purpose");
        };
        threads.spawn(panicking).join()
    });
    assert!(ended.is_err() && core.stopped().is_some());
    assert!(!core.has_thread.load(Ordering::Relaxed));
    core.repair().await.unwrap();
    assert!(core.stopped().is_none() && core.has_thread.load(Ordering::Relaxed));
    write(&core, 0);
    let synced = until(&core, |core| lock(&core.durable).through == core.state().applied);
    tokio::time::timeout(Duration::from_secs(60), synced).await.expect("it syncs");
}

fn over(disk: &MemoryDisk) -> Arc<Core> {
    let store = LogStore::open(disk.open().unwrap()).unwrap();
    Core::open(store, Config { node: Some(NodeId::named("a")), ..Config::default() }, Bytes::new())
        .unwrap()
}

/// A flush failed, the repair after it found no room to end, and the next one made a clean sweep of what both
/// had lost: a writer that had not looked yet heard that its transaction was on the disk.
#[tokio::test]
async fn what_a_repair_that_failed_has_lost_is_lost_after_the_next_one_too() {
    for nth in 1..20 {
        let disk = MemoryDisk::new();
        let core = over(&disk);
        write(&core, 0);
        core.sync_what_is_applied().unwrap();
        let durable = core.state().applied;
        core.agenda.end();
        write(&core, 100);
        disk.fail_write(1, Fault::Once(std::io::Error::other("worn out").into()));
        assert!(core.sync_what_is_applied().is_err());
        let lost = core.state().applied;

        disk.fail_write(nth, Fault::Once(StoreError::Full));
        let first = core.repair().await;
        disk.heal();
        if first.is_err() {
            core.repair().await.unwrap_or_else(|error| panic!("write {nth}: {error}"));
        }
        assert!(core.is_durable(durable).unwrap(), "write {nth}");
        assert!(core.is_durable(lost).is_err(), "write {nth}");
        assert_eq!(core.engine(Engine::end).offset, 100, "write {nth}");
    }
}

/// Asked to repair a node that was well, on a disk with little room, it refused. It had synced first, and told
/// nobody: peers waited for their acknowledgements until somebody wrote.
#[tokio::test]
async fn what_a_refused_repair_has_synced_is_told() {
    let disk = MemoryDisk::new();
    let core = over(&disk);
    core.agenda.end();
    write(&core, 0);
    assert!(core.state().unsynced_bytes > 0);
    disk.set_room(Some(500_000));
    let refused = core.repair().await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Full))), "{refused:?}");
    assert!(core.stopped().is_none() && core.is_short_of_room());
    assert_eq!(core.state().unsynced_bytes, 0);
}

/// A session waited for the store to catch up, when the disk was full. It heard nothing more, not even that its
/// peer had confirmed what it was sent, and ended for being silent.
#[tokio::test]
async fn a_session_that_waits_for_the_store_is_woken_when_there_is_no_room() {
    let core = core("a", 1, &Arc::default());
    core.agenda.end();
    let mut proposal = Proposal::default();
    proposal.create(todo(1), &Fields::default()).unwrap();
    let _ = core.step(&mut core.state(), Input::Propose(proposal)).unwrap();
    assert!(core.is_crowded());
    let waiting = core.keep_pace();
    let mut waiting = std::pin::pin!(waiting);
    tokio::select! {
        biased;
        () = &mut waiting => panic!("the store has kept up"),
        () = std::future::ready(()) => {}
    }
    core.on_no_room();
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it reads on");
}

/// A store on a disk that puts whatever is written in a new place, as some file systems do: full, it cannot
/// even be opened anew, and is not read until it is.
struct Copying {
    memory: Memory,
    is_full: Arc<AtomicBool>,
    is_open: AtomicBool,
}

impl Copying {
    fn read(&self) -> Result<&Memory, StoreError> {
        let cause = "the database is closed".to_owned();
        let is_open = self.is_open.load(Ordering::SeqCst);
        if is_open { Ok(&self.memory) } else { Err(StoreError::Latched { cause }) }
    }

    fn write(&self) -> Result<&Memory, StoreError> {
        if self.is_full.load(Ordering::SeqCst) { Err(StoreError::Full) } else { self.read() }
    }
}

impl Backend for Copying {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read()?.get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read()?.scan(table, start, end, limit)
    }
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.read()?.floor(table, at)
    }
    fn write(&self, batch: &Batch, durability: Written) -> Result<(), StoreError> {
        Copying::write(self)?.write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        let is_full = self.is_full.load(Ordering::SeqCst);
        self.is_open.store(!is_full, Ordering::SeqCst);
        if is_full { Err(StoreError::Full) } else { self.memory.reopen() }
    }
    fn room(&self) -> Option<u64> {
        self.is_full.load(Ordering::SeqCst).then_some(500_000)
    }
}

/// Everything was on the disk but a checkpoint, which found no room, and nor did the opening after it. There
/// was room again, and nobody had a reason to write: the node could not be read until it was restarted.
#[tokio::test]
async fn a_store_that_could_not_be_opened_anew_is_when_there_is_room() {
    let is_full = Arc::<AtomicBool>::default();
    let (memory, is_open) = (Memory::new(), AtomicBool::new(true));
    let copying = Copying { memory, is_full: is_full.clone(), is_open };
    let core =
        Core::open(LogStore::open(copying).unwrap(), Config::default(), Bytes::new()).unwrap();
    write(&core, 0);
    core.sync_what_is_applied().unwrap();
    is_full.store(true, Ordering::SeqCst);
    core.look_at_room();
    let refused = core.sync_what_is_applied();
    assert!(matches!(refused, Err(Error::Store(StoreError::Full))), "{refused:?}");
    assert!(core.reader.record(&todo(999)).is_err());
    is_full.store(false, Ordering::SeqCst);
    let readable = async {
        while core.reader.record(&todo(999)).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), readable).await.expect("it is opened");
    write(&core, 100);
    core.sync_what_is_applied().unwrap();
}
