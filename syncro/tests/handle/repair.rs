//! Stores that are damaged under a node that goes on: repaired in place, with what a peer has.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use syncro::{
    Backend, CloseReason, Connection, Digest, Durability, Error, Listening, Memory, MemoryDisk,
    Node, Notice, Origin, Point, Recovered, Redb, StoreError, UsageError,
};
use syncro_store::{Batch, Durability as Written, Fault, Table};

use crate::support::{
    Gate, Todo, converge, eventually, id, key, link, node, on, soon, todo, until,
};

const TODOS: usize = 200;

fn refused() -> StoreError {
    StoreError::Io(Arc::new(ErrorKind::PermissionDenied.into()))
}

fn is_under_repair<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Store(StoreError::UnderRepair)))
}

/// A server that listens, and a store of a node that has met it, closed.
async fn met(disk: &MemoryDisk) -> (Node, Listening) {
    let server = node("server");
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let a = on(disk, "a");
    for n in 0..TODOS {
        a.create(&todo(&n.to_string().repeat(60))).unwrap();
    }
    let connection = connected(&a, &listening);
    converge(&a, &server).await;
    a.close().unwrap();
    soon("the session has ended", connection.close()).await;
    (server, listening)
}

fn connected(a: &Node, server: &Listening) -> Connection {
    a.connect(&server.local_addr().to_string()).unwrap()
}

/// Takes the second page of the log away, and a record's row; another record's is bent.
fn damage(backend: &impl Backend) {
    let mut batch = Batch::new();
    let pages = backend.scan(Table::Log, &[], None, 3).unwrap();
    batch.delete(Table::Log, pages[1].0.clone());
    let records = backend.scan(Table::Records, &[], None, 3).unwrap();
    batch.delete(Table::Records, records[1].0.clone());
    let mut bent = records[2].1.to_vec();
    bent[records[2].1.len() / 2] ^= 4;
    batch.put(Table::Records, records[2].0.clone(), bent);
    backend.write(&batch, Written::Durable).unwrap();
}

fn is_sound(node: &Node) -> bool {
    node.verify().unwrap().is_sound()
}

fn epoch_of(node: &Node, id: &str) -> u64 {
    let written = node.create(&todo(id)).unwrap().unwrap();
    written.stamp.author.epoch.0
}

/// A read met damage, a write then failed, and the node had stopped: the application had to let go of every
/// handle, repair the file and build everything anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stopped_over_damage_comes_back_with_all_that_its_peer_has() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    let a = on(&disk, "a");
    let (clone, reader, mut notices) = (a.clone(), a.reader(), a.notices());
    let connection = connected(&a, &at_server);
    let listening = a.listen("127.0.0.1:0").await.unwrap();
    eventually("they have met", || !a.sessions().is_empty()).await;
    let mut watch = a.watch_all();
    let place = a.end();

    let listed = a.list::<Todo>(|_| true);
    assert!(matches!(listed, Err(Error::Store(StoreError::Corrupt { .. }))), "{listed:?}");
    disk.fail_write(1, Fault::Once(refused()));
    a.create(&todo("lost")).unwrap_err();
    assert!(a.create(&todo("refused")).is_err(), "the node has stopped");
    assert_eq!(watch.next().await.unwrap().map(|change| change.offset), Some(place.offset));
    assert_eq!(soon("the watcher ends", watch.next()).await.unwrap(), None);
    soon("its sessions have ended", a.closed()).await;

    let recovered = soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    assert_eq!(recovered.repaired.lost.len(), 1, "{recovered:?}");
    assert!(recovered.fetched > 0, "{recovered:?}");
    let told: Vec<_> = std::iter::from_fn(|| notices.try_next()).collect();
    let told = told.iter().filter(|notice| matches!(notice, Notice::Repaired { .. }));
    assert_eq!(told.count(), 1);

    assert!(is_sound(&a) && reader.verify(|_, _| ()).unwrap().is_sound());
    a.create(&todo("later")).unwrap();
    converge(&a, &server).await;
    let todos: Vec<Todo> = clone.list(|_| true).unwrap();
    assert_eq!(todos.iter().filter(|todo| todo.id.len() > 9).count(), TODOS);
    assert_eq!(clone.get(&id("later")).unwrap(), Some(todo("later")));
    assert!(clone.get::<Todo>(&id("refused")).unwrap().is_none());

    // Its place in the log is gone: it is told, and goes on.
    let told = watch.next().await.unwrap_err();
    assert!(matches!(told, Error::Usage(UsageError::UnknownPoint { .. })), "{told}");
    let back = soon("what came back is told", watch.next()).await.unwrap().unwrap();
    assert!(matches!(back.origin, Origin::Session(_) | Origin::Log));
    assert!(matches!(a.watch_all_from(place), Err(Error::Usage(_))));

    let other = node("other");
    let _other = connected(&other, &listening);
    soon("the port is open still", other.confirmed_by(a.id(), 0)).await.unwrap();
    converge(&other, &a).await;
    drop(connection);
}

/// A store in memory that meets damage with one read, which latches it until it is opened anew.
struct Brittle {
    memory: Memory,
    breaks: Arc<AtomicBool>,
    latched: AtomicBool,
}

impl Brittle {
    fn read(&self) -> Result<(), StoreError> {
        if !self.breaks.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        self.latched.store(true, Ordering::SeqCst);
        Err(StoreError::Corrupt { what: "a page".to_owned() })
    }
}

impl Backend for Brittle {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read()?;
        self.memory.get(table, key)
    }
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read()?;
        self.memory.scan(table, start, end, limit)
    }
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.memory.floor(table, at)
    }
    fn write(&self, batch: &Batch, durability: Written) -> Result<(), StoreError> {
        if self.latched.load(Ordering::SeqCst) {
            return Err(StoreError::Latched { cause: "a page".to_owned() });
        }
        self.memory.write(batch, durability)
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.latched.store(false, Ordering::SeqCst);
        self.memory.reopen()
    }
}

/// A read that met damage latched the database, and the next write stopped the node for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_database_latched_over_a_read_goes_on_after_a_repair() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    let breaks = Arc::<AtomicBool>::default();
    let (memory, latched) = (disk.open().unwrap(), AtomicBool::new(false));
    let brittle = Brittle { memory, breaks: breaks.clone(), latched };
    let a = Node::builder().name("a").open_on(brittle).unwrap();
    let _connection = connected(&a, &at_server);
    eventually("they have met", || !a.sessions().is_empty()).await;
    breaks.store(true, Ordering::SeqCst);
    until("a read meets it", || a.get::<Todo>(&id("none")).is_err());
    let refused = a.create(&todo("refused")).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Latched { .. })), "{refused}");
    soon("the node has stopped", a.closed()).await;

    let recovered = soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    assert_eq!(recovered.repaired.lost.len(), 1);
    assert!(is_sound(&a));
    a.create(&todo("later")).unwrap();
    converge(&a, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_repaired_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let server = node("server");
    let a = Node::open(&path, "a").unwrap();
    (0..TODOS).for_each(|n| _ = a.create(&todo(&n.to_string().repeat(60))).unwrap());
    let met = link(&a, &server);
    converge(&a, &server).await;
    a.close().unwrap();
    met.ended().await;
    damage(&Redb::open(&path).unwrap());

    let a = Node::open(&path, "a").unwrap();
    assert!(a.list::<Todo>(|_| true).is_err());
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let _connection = connected(&a, &listening);
    soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    assert_eq!(a.list::<Todo>(|_| true).unwrap().len(), TODOS);
    assert!(is_sound(&a));
    converge(&a, &server).await;
    a.close().unwrap();
    let again = Node::open(&path, "a").unwrap();
    assert_eq!(again.digest().unwrap(), server.digest().unwrap());
}

/// Bends every page that leads to others, and one with data.
fn spoil(path: &std::path::Path) {
    let mut content = std::fs::read(path).unwrap();
    let pages = content.chunks_mut(4096).skip(1);
    let (mut inner, mut leaves) = (0, 0);
    for page in pages {
        let is_inner = page[0] == 2;
        if is_inner || page[0] == 1 && leaves == 0 {
            page[20] ^= 0x55;
        }
        inner += u32::from(is_inner);
        leaves += u32::from(page[0] == 1);
    }
    assert!(inner > 0 && leaves > 0, "{inner} inner pages");
    std::fs::write(path, content).unwrap();
}

/// The database could not be read any more, and there was no way but to begin a new file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_database_is_damaged_is_made_anew_of_what_is_left_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let (server, a) = (node("server"), Node::open(&path, "a").unwrap());
    (0..TODOS).for_each(|n| _ = a.create(&todo(&n.to_string().repeat(60))).unwrap());
    let met = link(&a, &server);
    converge(&a, &server).await;
    a.close().unwrap();
    met.ended().await;

    // Found by a node that is open.
    let a = Node::open(&path, "a").unwrap();
    spoil(&path);
    assert!(!a.verify().unwrap().is_sound());
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let connection = connected(&a, &listening);
    let recovered = soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    let kept = recovered.repaired.kept.unwrap();
    assert_eq!(kept, dir.path().join("a.redb.damaged"));
    assert!(is_sound(&a));
    a.create(&todo("later")).unwrap();
    converge(&a, &server).await;
    assert_eq!(a.list::<Todo>(|_| true).unwrap().len(), TODOS + 1);
    assert!(matches!(Node::open(&path, "a"), Err(Error::Store(StoreError::Locked { .. }))));
    a.close().unwrap();
    soon("the session has ended", connection.close()).await;

    // Found while it is closed; a scrub has made it worse.
    spoil(&path);
    let looked = Node::open(&path, "a").and_then(|a| a.verify());
    assert!(!looked.is_ok_and(|verified| verified.is_sound()));
    let (a, repaired) = Node::builder().name("a").repair(&path).unwrap();
    assert_eq!(repaired.kept.unwrap(), dir.path().join("a.redb.damaged-2"));
    assert!(is_sound(&a));
    let met = link(&a, &server);
    converge(&a, &server).await;
    a.close().unwrap();
    met.ended().await;
    let again = Node::open(&path, "a").unwrap();
    assert_eq!(again.digest().unwrap(), server.digest().unwrap());
    let names = std::fs::read_dir(dir.path()).unwrap();
    assert_eq!(names.count(), 3, "nothing half done is left");
}

#[test]
fn a_file_with_nothing_of_a_store_in_it_is_left_alone_by_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letter.txt");
    let letter = "Dear repair, there is nothing to be repaired here. ".repeat(1000);
    std::fs::write(&path, &letter).unwrap();
    let refused = Node::builder().name("a").repair(&path).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::NotAStore { .. })), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), letter);
    let missing = Node::builder().name("a").repair(dir.path().join("none"));
    assert!(matches!(missing, Err(Error::Store(StoreError::Io(_)))), "{missing:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_of_a_store_that_is_well_changes_nothing_but_the_epoch() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    let a = on(&disk, "a");
    let epoch = epoch_of(&a, "before");
    let _connection = connected(&a, &at_server);
    converge(&a, &server).await;
    let (mut live, mut behind) = (a.watch_all(), a.watch_all_from(Point::START).unwrap());
    let first = behind.try_next().unwrap().unwrap().offset;
    // It is in memory only, and nobody has seen it.
    a.transaction_with(Durability::Deferred, |draft| draft.create(&todo("deferred"))).unwrap();
    let as_it_was = |node: &Node| -> (Point, Digest, Vec<_>, bool) {
        let log = node.log(0, usize::MAX).unwrap();
        let log = log.iter().map(|entry| (entry.offset, entry.digest)).collect();
        let peers = node.peers().unwrap();
        let knows = peers
            .iter()
            .any(|peer| peer.name.as_ref().is_some_and(|name| name.as_str() == "server"));
        (node.end(), node.digest().unwrap(), log, knows)
    };
    let before = as_it_was(&a);

    let recovered = soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(as_it_was(&a), before);
    assert_eq!(a.get(&id("deferred")).unwrap(), Some(todo("deferred")));
    assert_ne!(epoch_of(&a, "after"), epoch, "another author");
    converge(&a, &server).await;

    // Watchers go on where they are, whether they were live or not.
    let offsets = |watch: &mut syncro::WatchAll| -> Vec<u64> {
        std::iter::from_fn(|| watch.try_next().unwrap()).map(|change| change.offset).collect()
    };
    let end = a.end().offset;
    assert_eq!(offsets(&mut live), [end - 2, end - 1]);
    assert_eq!(offsets(&mut behind), (first + 1..end).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_waits_for_a_peer_that_is_away_and_ends_with_the_node() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    let a = on(&disk, "a");
    let mut notices = a.notices();
    let repairing = tokio::spawn({
        let (a, server) = (a.clone(), server.id());
        async move { a.repair_from(server).await }
    });
    let repaired =
        async { while !matches!(notices.next().await, Some(Notice::Repaired { .. })) {} };
    soon("the store is repaired", repaired).await;
    // The node is of use meanwhile, with what it has.
    a.create(&todo("meanwhile")).unwrap();
    assert!(is_sound(&a) && !repairing.is_finished());
    let other = node("other");
    let with_other = link(&a, &other);
    converge(&a, &other).await;
    assert!(!repairing.is_finished(), "that was another peer");
    a.close().unwrap();
    let ended = soon("the wait ends", repairing).await.unwrap();
    assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
    assert!(matches!(a.repair_from(server.id()).await, Err(Error::Closed)));
    with_other.ended().await;

    // What was lost comes when they meet, as it does after any repair.
    let a = on(&disk, "a");
    let _connection = connected(&a, &at_server);
    eventually("they have met", || !a.sessions().is_empty()).await;
    converge(&a, &server).await;
    assert_eq!(a.list::<Todo>(|_| true).unwrap().len(), TODOS + 1);
}

/// Two tasks saw the node stop, and each of them did something about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_one_time_share_a_repair_during_which_nothing_is_read_or_written() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    let gate = Gate::default();
    let a = Node::builder().name("a").open_on(gate.over(&disk)).unwrap();
    let _connection = connected(&a, &at_server);
    let (mut watch, mut notices) = (a.watch_all_from(a.end()).unwrap(), a.notices());
    let waiting = tokio::spawn({
        let (a, server) = (a.clone(), server.id());
        async move { a.confirmed_by(server, 1_000_000).await }
    });
    eventually("they have met", || !a.sessions().is_empty()).await;
    let durable_writes = gate.durable_writes();
    gate.shut();
    let repair = || {
        let (a, server) = (a.clone(), server.id());
        tokio::spawn(async move { a.repair_from(server).await })
    };
    let first = repair();
    // The last syncs of what was there come first.
    let mut let_through = durable_writes;
    eventually("the repair waits", || {
        let is_waiting = gate.waiting() > 0 && gate.durable_writes() == let_through;
        let has_begun = is_under_repair(a.get::<Todo>(&id("1")));
        if is_waiting && !has_begun {
            let_through += 1;
            gate.let_one_through();
        }
        is_waiting && has_begun
    })
    .await;
    let dropped = repair();
    let mut second = std::pin::pin!(a.repair_from(server.id()));
    tokio::select! {
        biased;
        ended = &mut second => panic!("it did not wait: {ended:?}"),
        () = tokio::task::yield_now() => {}
    }
    dropped.abort();
    assert!(is_under_repair(a.create(&todo("x"))) && is_under_repair(a.list::<Todo>(|_| true)));
    assert!(is_under_repair(a.watch_all_from(a.end())));
    assert!(is_under_repair(a.listen("127.0.0.1:0").await));
    assert_eq!(watch.try_next().unwrap(), None);
    let ended = soon("the wait for a receipt ends", waiting).await.unwrap();
    let ended = matches!(ended, Err(Error::Store(StoreError::UnderRepair | StoreError::Repaired)));
    assert!(ended && a.sessions().is_empty());
    gate.open();

    let first = soon("it is repaired", first).await.unwrap().unwrap();
    let second = soon("so it is for the other", second).await.unwrap();
    assert_eq!(first.repaired, second.repaired);
    assert_eq!(first.repaired.lost.len(), 1);
    let told = std::iter::from_fn(|| notices.try_next());
    let told = told.filter(|notice| matches!(notice, Notice::Repaired { .. })).count();
    assert!((1..3).contains(&told), "{told} repairs of three calls");
    assert!(gate.durable_writes() > durable_writes);
    converge(&a, &server).await;
    a.create(&todo("x")).unwrap();
}

/// The power fails in the middle, or the disk does: the node stays where it was, and may try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_cut_off_is_told_and_done_again() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    let mut cut_off = 0;
    for nth in 1..20 {
        let disk = disk.image();
        let a = on(&disk, "a");
        disk.fail_write(nth, Fault::Once(refused()));
        let _connection = connected(&a, &at_server);
        let Err(failed) = soon("it ends", a.repair_from(server.id())).await else {
            // Opening anew has mended the last sync of what was there.
            continue;
        };
        assert!(matches!(failed, Error::Store(StoreError::Io(_))), "{failed}");
        assert!(a.create(&todo("refused")).is_err() && a.sessions().is_empty());
        let crashed = disk.crash();
        let reopened = Node::builder().name("a").open_on(crashed.open().unwrap());
        match reopened {
            Err(error) => {
                assert!(error.to_string().contains("a repair of it was cut off"), "{error}");
                cut_off += 1;
            }
            // Its first write failed, or what came after its last.
            Ok(node) => assert!(is_sound(&node) || cut_off == 0, "write {nth}"),
        }
        soon("it is repaired", a.repair_from(server.id())).await.unwrap();
        assert_eq!(a.list::<Todo>(|_| true).unwrap().len(), TODOS, "write {nth}");
        assert!(is_sound(&a));
        a.close().unwrap();
    }
    assert!(cut_off > 3, "{cut_off}");
}

/// The disk was full for a moment in the middle of a repair: each one that was tried later, with all the room
/// that there was, ended with the same words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_found_no_room_is_done_again_when_there_is_some() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    damage(&disk.open().unwrap());
    for nth in 1..9 {
        let disk = disk.image();
        let a = on(&disk, "a");
        disk.fail_write(nth, Fault::Once(StoreError::Full));
        let _connection = connected(&a, &at_server);
        if soon("it ends", a.repair_from(server.id())).await.is_err() {
            disk.heal();
            let again = soon("it is repaired", a.repair_from(server.id())).await;
            again.unwrap_or_else(|error| panic!("write {nth}: {error}"));
        }
        // What is written here reaches the server, and comes from there in the next round.
        let old = a.list(|todo: &Todo| todo.id != "later").unwrap();
        assert!(old.len() == TODOS && is_sound(&a), "write {nth}");
        a.save(&todo("later")).unwrap();
        a.close().unwrap();
    }
}

/// An id was taken from the wrong variable, and the call waited for a peer that never comes.
#[tokio::test]
async fn a_node_that_is_to_be_repaired_from_itself_says_so() {
    let a = node("a");
    let epoch = epoch_of(&a, "before");
    let refused = soon("it is refused", a.repair_from(a.id())).await;
    assert!(matches!(refused, Err(Error::Usage(UsageError::OwnNode))), "{refused:?}");
    assert_eq!(epoch_of(&a, "after"), epoch, "nothing was repaired");
}

/// As there: no receipt of its own ever comes.
#[tokio::test]
async fn a_node_that_is_to_confirm_to_itself_says_so() {
    let a = node("a");
    let refused = soon("it is refused", a.confirmed_by(a.id(), 0)).await;
    assert!(matches!(refused, Err(Error::Usage(UsageError::OwnNode))), "{refused:?}");
}

/// The flush failed under some writers, and a repair came before they had heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_write_that_a_repair_has_not_found_is_said_to_be_durable() {
    let (disk, gate, server) = (MemoryDisk::new(), Gate::default(), node("server"));
    let a = Node::builder().name("a").open_on(gate.over(&disk)).unwrap();
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let _connection = connected(&a, &listening);
    eventually("they have met", || !a.sessions().is_empty()).await;
    for round in 0..20 {
        gate.shut();
        let write = |n: usize| {
            let a = a.clone();
            std::thread::spawn(move || a.create(&todo(&format!("{round}.{n}"))).is_ok())
        };
        let end = a.end().offset;
        let writers: Vec<_> = (0..3).map(write).collect();
        until("they wait for a flush", || gate.waiting() > 0 && a.end().offset == end + 3);
        let repairing = tokio::spawn({
            let (a, server) = (a.clone(), server.id());
            async move { a.repair_from(server).await }
        });
        disk.fail_write(1, Fault::Once(refused()));
        gate.open();
        soon("it is repaired", repairing).await.unwrap().unwrap();
        let are_durable: Vec<bool> = writers.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(are_durable, [false; 3], "round {round}");
        converge(&a, &server).await;
    }
    // They had been sent, and have come back.
    let is_there = |n: usize| a.get_record(&key("Todo", &format!("19.{n}"))).unwrap().is_some();
    assert!((0..3).all(is_there) || a.digest().unwrap() == server.digest().unwrap());
}

/// A watcher that read on from the log met a repair, and read a part of one log after a part of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_watcher_reads_on_through_repairs_and_skips_nothing() {
    let disk = MemoryDisk::new();
    let (server, at_server) = met(&disk).await;
    let a = on(&disk, "a");
    let _connection = connected(&a, &at_server);
    let mut watch = a.watch_all_from(Point::START).unwrap();
    let reading = std::thread::spawn(move || {
        let mut offsets = Vec::new();
        while let Some(change) = watch.next_blocking().unwrap() {
            offsets.push(change.offset);
            if change.key.id.to_string() == "last" {
                break;
            }
        }
        offsets
    });
    for round in 0..5 {
        let write = |draft: &mut syncro::Draft| draft.create(&todo(&format!("r{round}")));
        a.transaction_with(Durability::Deferred, write).unwrap();
        soon("it is repaired", a.repair_from(server.id())).await.unwrap();
    }
    let end = a.create(&todo("last")).unwrap().unwrap().offset;
    assert_eq!(reading.join().unwrap(), (0..end).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_repair_ends_the_sessions_and_the_peer_hears_why() {
    let (a, b) = (node("a"), node("b"));
    let (met, mut notices) = (link(&a, &b), a.notices());
    converge(&a, &b).await;
    let repairing = tokio::spawn({
        let (a, b) = (a.clone(), b.id());
        async move { a.repair_from(b).await }
    });
    let [at_a, at_b] = met.ended().await;
    assert_eq!([at_a.reason, at_b.reason], [CloseReason::Store; 2]);
    let repaired =
        async { while !matches!(notices.next().await, Some(Notice::Repaired { .. })) {} };
    soon("it is repaired", repaired).await;
    assert!(!repairing.is_finished());
    // It is the peer that connects.
    let _again = link(&b, &a);
    soon("they have met", repairing).await.unwrap().unwrap();
}
