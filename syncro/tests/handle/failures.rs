//! Stores that fail, are in use, are damaged, or are somebody else's.

use std::sync::Arc;

use syncro::{
    Backend, CloseReason, Durability, Encoding, Error, MemoryDisk, Node, NodeId, Notice, Point,
    Redb, Role, StoreError, UsageError,
};
use syncro_store::{Batch, Durability as Written, Fault, Table};

use crate::support::{Todo, converge, eventually, id, link, node, on, run, soon, todo, until};

fn worn_out() -> StoreError {
    std::io::Error::other("the disk is worn out").into()
}

fn is_worn_out(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Io(_)))
}

#[test]
fn a_failed_write_stops_the_node_until_it_is_opened_again() {
    for is_landed in [false, true] {
        let disk = MemoryDisk::new();
        let node = on(&disk, "a");
        node.create(&todo("kept")).unwrap();
        let fault = if is_landed { Fault::Landed } else { Fault::Once };
        disk.fail_write(1, fault(worn_out()));
        let failed = node.create(&todo("lost")).unwrap_err();
        assert!(is_worn_out(&failed), "{failed}");
        assert!(failed.to_string().contains("worn out"), "{failed}");

        assert!(is_worn_out(&node.create(&todo("later")).unwrap_err()), "it is not tried again");
        let update = node.update(&id("kept"), |todo: &mut Todo| todo.views += 1);
        assert!(is_worn_out(&update.unwrap_err()));
        drop(node);

        let node = on(&disk, "a");
        let kept: Vec<Todo> = node.list(|_| true).unwrap();
        let all = if is_landed { vec![todo("kept"), todo("lost")] } else { vec![todo("kept")] };
        assert_eq!(kept, all, "whole or not at all");
        node.create(&todo("later")).unwrap();
    }
}

#[test]
fn a_deferred_write_that_fails_is_told_to_the_next_caller() {
    let disk = MemoryDisk::new();
    let node = on(&disk, "a");
    let mut watch = node.watch::<Todo>();
    disk.fail_write(1, Fault::Once(worn_out()));
    node.transaction_with(Durability::Deferred, |draft| draft.create(&todo("lost"))).unwrap();
    until("the flush has failed", || {
        node.transaction_with(Durability::Deferred, |draft| draft.save(&todo("x"))).is_err()
    });
    assert!(is_worn_out(&node.create(&todo("later")).unwrap_err()));
    until("the watcher ends", || watch.next_blocking().unwrap().is_none());
    assert!(is_worn_out(&node.close().unwrap_err()), "the last flush failed, and closing says so");
}

fn is_full<T: std::fmt::Debug>(done: Result<T, Error>) -> bool {
    matches!(done, Err(Error::Store(StoreError::Full)))
}

/// A disk was full for an hour, and the node had to be opened again by hand. Peers must not be told that what
/// they send is safe, or they send until there is no room to destroy anything; nor may they believe it lost.
#[tokio::test]
async fn a_node_short_of_room_sends_and_destroys_and_lets_its_peers_wait() {
    let disk = MemoryDisk::new();
    let (a, b) = (on(&disk, "a"), node("b"));
    let mut notices = a.notices();
    a.create(&todo("old")).unwrap();
    disk.set_room(Some(500_000));
    a.create(&todo("last")).unwrap();
    assert_eq!(notices.try_next(), Some(Notice::StoreFull));
    assert!(is_full(a.create(&todo("refused"))));
    assert!(is_full(a.update(&id("old"), |todo: &mut Todo| todo.views += 1)));
    a.destroy::<Todo>(&id("old")).unwrap();

    let _met = link(&a, &b);
    let at_b = b.create(&todo("from b")).unwrap().unwrap();
    eventually("a has b's", || a.get::<Todo>(&id("from b")).unwrap().is_some()).await;
    let end = a.destroy::<Todo>(&id("last")).unwrap().unwrap();
    soon("a's own is confirmed", a.confirmed_by(b.id(), end.offset)).await.unwrap();
    assert_eq!(b.list::<Todo>(|_| true).unwrap(), [todo("from b")]);
    assert!(b.receipt(a.id()).is_none_or(|receipt| receipt.offset < at_b.offset));

    disk.set_room(None);
    a.create(&todo("with room")).unwrap();
    soon("a confirms", b.confirmed_by(a.id(), at_b.offset)).await.unwrap();
    let mut told = std::iter::from_fn(|| notices.try_next());
    assert!(told.any(|notice| notice == Notice::StoreHasRoom));
}

/// A quota cannot be asked for: the write fails, and the next one that there is room for is taken.
#[test]
fn a_write_that_fails_for_want_of_room_is_durable_when_there_is_some() {
    let disk = MemoryDisk::new();
    let node = on(&disk, "a");
    disk.fail_write(1, Fault::Once(StoreError::Full));
    let waits = node.create(&todo("waits"));
    assert!(matches!(waits, Err(Error::NotDurable(_))), "{waits:?}");
    node.create(&todo("next")).unwrap();
    let again = on(&disk.crash(), "a");
    assert_eq!(again.list::<Todo>(|_| true).unwrap(), [todo("next"), todo("waits")]);
}

#[tokio::test]
async fn a_failed_store_ends_the_sessions_and_what_was_not_durable_comes_back_from_the_peer() {
    let disk = MemoryDisk::new();
    let (a, b) = (on(&disk, "a"), node("b"));
    let met = link(&a, &b);
    converge(&a, &b).await;
    let mut notices = a.notices();
    disk.fail_write(1, Fault::Once(worn_out()));
    b.create(&todo("from b")).unwrap();
    let [at_a, at_b] = met.ended().await;
    assert_eq!((at_a.reason, at_a.was_open, at_b.was_open), (CloseReason::Store, true, true));
    assert_eq!(at_b.reason, CloseReason::Store, "the peer is told");
    let waiting = soon("the wait ends", a.confirmed_by(b.id(), 9)).await;
    assert!(is_worn_out(&waiting.unwrap_err()), "nobody will confirm any more");
    assert!(is_worn_out(&a.listen("127.0.0.1:0").await.unwrap_err()));
    soon("the tasks have ended", a.closed()).await;
    let told: Vec<_> = std::iter::from_fn(|| notices.try_next()).collect();
    let [Notice::StoreFailed { error }, Notice::Closed { reason, by_peer: false, .. }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(error.contains("worn out"), "{error}");
    assert_eq!(*reason, CloseReason::Store);
    let (near, _far) = tokio::io::duplex(64);
    assert!(is_worn_out(&run(&a, near, Role::Accept).await.unwrap().unwrap_err()));
    a.close().unwrap_err();

    let a = on(&disk, "a");
    assert_eq!(a.get::<Todo>(&id("from b")).unwrap(), None);
    let _again = link(&a, &b);
    converge(&a, &b).await;
    assert_eq!(a.get(&id("from b")).unwrap(), Some(todo("from b")));
}

#[test]
fn the_last_handle_that_is_dropped_lets_go_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    for round in 0..5_u64 {
        let node = Node::open(&path, "a").unwrap();
        let (clone, watch) = (node.clone(), node.watch_all_from(Point::START).unwrap());
        node.transaction_with(Durability::Deferred, |draft| {
            draft.create(&todo(&round.to_string()))
        })
        .unwrap();
        drop(node);
        assert_eq!(clone.end().offset, round + 1, "a clone keeps it open");
        drop(clone);
        let reopened = Node::open(&path, "a").unwrap();
        assert_eq!(reopened.end().offset, round + 1);
        drop((watch, reopened));
    }
}

#[tokio::test]
async fn closing_lets_go_of_the_file_whoever_still_holds_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let node = Node::open(&path, "a").unwrap();
    node.create(&todo("milk")).unwrap();
    let listening = node.listen("127.0.0.1:0").await.unwrap();
    let connection = node.connect(&listening.local_addr().to_string()).unwrap();
    let (near, _far) = tokio::io::duplex(4096);
    let session = run(&node, near, Role::Dial(Encoding::MessagePack));
    eventually("the session is open", || node.traffic().1 > 0).await;
    let (clone, reader, mut watch) = (node.clone(), node.reader(), node.watch::<Todo>());
    node.close().unwrap();

    let reopened = Node::open(&path, "a").unwrap();
    assert_eq!(reopened.get(&id("milk")).unwrap(), Some(todo("milk")));
    assert!(matches!(clone.create(&todo("bread")), Err(Error::Closed)));
    assert!(clone.get::<Todo>(&id("milk")).unwrap_err().to_string().contains("open it again"));
    assert!(matches!(clone.listen("127.0.0.1:0").await, Err(Error::Closed)));
    assert_eq!(soon("the watcher ends", watch.next()).await.unwrap(), None);
    let end = soon("the session ends", session).await.unwrap();
    assert_eq!(end.unwrap().reason, CloseReason::ShuttingDown);
    clone.close().unwrap();
    soon("the connection ends", connection.close()).await;
    drop((clone, reader, listening));
    reopened.create(&todo("bread")).unwrap();
}

#[test]
fn a_store_that_is_open_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let _open = Node::open(&path, "a").unwrap();
    let error = Node::open(&path, "a").unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Locked { .. })), "{error}");
    let message = error.to_string();
    assert!(message.contains("a.redb") && message.contains("close it there"), "{message}");
}

#[test]
fn a_store_of_another_node_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    Node::open(&path, "a").unwrap().create(&todo("milk")).unwrap();
    match Node::open(&path, "b") {
        Err(Error::Usage(UsageError::WrongNode { found, wanted })) => {
            assert_eq!((found, wanted), (NodeId::named("a"), NodeId::named("b")));
        }
        other => panic!("{other:?}"),
    }
    let whoever = Node::builder().open(&path).unwrap();
    assert_eq!((whoever.id(), whoever.end().offset), (NodeId::named("a"), 1));
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letter.txt");
    let letter = "Dear Ann, this is a letter. ".repeat(1000);
    std::fs::write(&path, &letter).unwrap();
    let error = Node::open(&path, "a").unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::NotAStore { .. })), "{error}");
    assert!(error.to_string().contains("letter.txt is no store"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), letter);

    let nowhere = Node::open(dir.path().join("nowhere/a.redb"), "a").unwrap_err();
    assert!(nowhere.to_string().contains("create it first"), "{nowhere}");
    let directory = Node::open(dir.path(), "a").unwrap_err();
    assert!(directory.to_string().contains("directory"), "{directory}");
}

#[test]
fn a_damaged_file_gives_errors_and_never_other_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let written = Node::open(&path, "a").unwrap();
    let todos: Vec<_> = (100..300).map(|n| todo(&n.to_string())).collect();
    written.transaction(|draft| todos.iter().try_for_each(|todo| draft.create(todo))).unwrap();
    drop(written);
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cut = Node::open(&path, "a").unwrap_err();
    assert!(matches!(cut, Error::Store(StoreError::Corrupt { .. })), "{cut}");
    assert!(cut.to_string().contains("restore a backup"), "{cut}");

    // One letter of each copy of a title, in the log and in the records.
    let needle = b"the title of 2";
    let found = (0..whole.len() - needle.len()).filter(|at| whole[*at..].starts_with(needle));
    let mut noticed = 0;
    for at in found.step_by(9) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        std::fs::write(&path, &damaged).unwrap();
        let read = Node::open(&path, "a").and_then(|node| {
            let listed = node.list::<Todo>(|_| true)?;
            node.log(0, 1 << 20)?;
            Ok(listed)
        });
        match read {
            Ok(listed) => assert!(listed == todos, "other data with byte {at} damaged"),
            Err(Error::Store(StoreError::Corrupt { .. })) => noticed += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(noticed > 10, "noticed {noticed}");
}

#[test]
fn a_disk_that_refuses_at_open_says_so() {
    let disk = MemoryDisk::new();
    let refusal = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "read-only");
    disk.fail_write(1, Fault::Once(StoreError::Io(Arc::new(refusal))));
    let error = Node::builder().name("a").open_on(disk.open().unwrap()).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    on(&disk, "a").create(&todo("milk")).unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let (a, b) = (node("a"), node("b"));
    let listening = a.listen("127.0.0.1:0").await.unwrap();
    let addr = listening.local_addr().to_string();
    let error = b.listen(&addr).await.unwrap_err();
    assert!(matches!(error, Error::Net(syncro::NetError::AddressInUse { .. })), "{error}");
    assert!(error.to_string().contains(&addr), "{error}");
    soon("it stops", listening.close()).await;
    b.listen(&addr).await.unwrap().close().await;
}

#[tokio::test]
async fn what_a_repair_cannot_save_comes_back_from_a_peer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    let b = node("b");
    {
        let a = Node::open(&path, "a").unwrap();
        for n in 0..200 {
            a.create(&todo(&n.to_string().repeat(60))).unwrap();
        }
        let _link = link(&a, &b);
        converge(&a, &b).await;
        a.close().unwrap();
    }
    // A page of the log is gone, and with it some records' rows.
    {
        let backend = Redb::open(&path).unwrap();
        let mut batch = Batch::new();
        for table in [Table::Log, Table::Records] {
            let rows = backend.scan(table, &[], None, 3).unwrap();
            batch.delete(table, rows[1].0.clone());
        }
        backend.write(&batch, Written::Durable).unwrap();
    }
    let damaged = Node::open(&path, "a").unwrap();
    assert!(damaged.verify().unwrap().is_log_damaged());
    damaged.close().unwrap();
    drop(damaged);

    let (a, repaired) = Node::builder().name("a").repair(&path).unwrap();
    assert_eq!(repaired.lost.len(), 1, "{repaired:?}");
    assert!(a.verify().unwrap().is_sound());
    let _link = link(&a, &b);
    converge(&a, &b).await;
    assert_eq!(a.list::<Todo>(|_| true).unwrap().len(), 200);
    assert!(a.verify().unwrap().is_sound() && b.verify().unwrap().is_sound());
}
