//! When a write is on the disk: group commit, deferred writes, what others are told and when.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use syncro::{Durability, Error, Memory, MemoryDisk, Node, Point, Proposal};

use crate::support::{Gate, Todo, eventually, id, link, node, on, soon, todo, until};

fn gated(name: &str) -> (Node, Gate, MemoryDisk) {
    let (gate, disk) = (Gate::default(), MemoryDisk::new());
    let node = Node::builder().name(name).open_on(gate.over(&disk)).unwrap();
    (node, gate, disk)
}

fn deferred(node: &Node, id: &str) {
    node.transaction_with(Durability::Deferred, |draft| draft.create(&todo(id))).unwrap();
}

/// What would be there after a crash now.
fn after_crash(disk: &MemoryDisk) -> Vec<Todo> {
    on(&disk.crash(), "a").list(|_| true).unwrap()
}

#[test]
fn writes_that_wait_for_one_flush_share_the_next() {
    let (node, gate, disk) = gated("a");
    let before = gate.durable_writes();
    gate.shut();
    std::thread::scope(|scope| {
        let write = |n: usize| {
            let node = node.clone();
            scope.spawn(move || node.create(&todo(&n.to_string())).unwrap())
        };
        let mut writers = vec![write(0)];
        until("the first write is at the gate", || gate.waiting() == 1);
        writers.extend((1..40).map(write));
        until("the others are applied", || node.end().offset == 40);
        assert!(writers.iter().all(|writer| !writer.is_finished()), "nothing is durable yet");
        assert!(after_crash(&disk).is_empty());
        gate.open();
    });
    assert_eq!(gate.durable_writes() - before, 2, "one for the first, one for all the others");
    assert_eq!(after_crash(&disk).len(), 40);
}

#[test]
fn make_durable_covers_deferred_writes_with_one_flush_and_says_up_to_where() {
    let (node, gate, disk) = gated("a");
    let before = gate.durable_writes();
    (0..40).for_each(|n| deferred(&node, &n.to_string()));
    let end = node.make_durable().unwrap();
    assert_eq!(end, node.end());
    assert_eq!(after_crash(&disk).len(), 40);
    assert!(gate.durable_writes() - before <= 2, "one flush, and perhaps that of the background");
    let flushed = gate.durable_writes();
    assert_eq!(node.make_durable().unwrap(), end);
    assert_eq!(gate.durable_writes(), flushed, "nothing is left to flush");
    node.close().unwrap();
    assert!(matches!(node.make_durable(), Err(Error::Closed)));
}

#[test]
fn threads_that_write_at_once_lose_nothing_and_share_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Node::open(dir.path().join("a.redb"), "a").unwrap();
    let node = open();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let node = node.clone();
            scope.spawn(move || {
                for n in 0..20 {
                    node.create(&todo(&format!("{thread}.{n}"))).unwrap().unwrap();
                    let shared = |todo: &mut Todo| todo.views += 1;
                    if let Err(missing) = node.update(&id("shared"), shared) {
                        assert!(missing.to_string().contains("shared"), "{missing}");
                        let _ = node.create(&todo("shared"));
                    }
                }
            });
        }
    });
    let (end, digest) = (node.end(), node.digest().unwrap());
    drop(node);
    let node = open();
    assert_eq!((node.end(), node.digest().unwrap()), (end, digest));
    assert_eq!(node.list::<Todo>(|todo| todo.id != "shared").unwrap().len(), 120);
}

#[test]
fn reads_go_on_while_a_flush_takes_its_time() {
    let (node, gate, _disk) = gated("a");
    node.create(&todo("old")).unwrap();
    gate.shut();
    let writer = std::thread::spawn({
        let node = node.clone();
        move || node.create(&todo("new")).unwrap()
    });
    until("the write is at the gate", || gate.waiting() == 1);
    assert!(node.get::<Todo>(&id("old")).unwrap().is_some());
    assert_eq!(node.list::<Todo>(|_| true).unwrap().len(), 2, "what is written is read");
    assert_eq!(
        node.watch_all_from(Point::START).unwrap().next_blocking().unwrap().unwrap().offset,
        0
    );
    deferred(&node, "newer");
    assert_eq!(node.digest().unwrap(), node.digest().unwrap());
    gate.open();
    writer.join().unwrap();
}

#[test]
fn a_deferred_write_returns_at_once_and_is_durable_soon_by_itself() {
    let (node, gate, disk) = gated("a");
    gate.shut();
    deferred(&node, "milk");
    assert!(node.get::<Todo>(&id("milk")).unwrap().is_some());
    assert!(after_crash(&disk).is_empty());
    until("somebody flushes", || gate.waiting() == 1);
    let flushed = gate.durable_writes();
    gate.open();
    until("it is flushed", || gate.durable_writes() > flushed);
    until("it is on the disk", || after_crash(&disk) == [todo("milk")]);
}

#[test]
fn many_deferred_writes_share_few_flushes() {
    let (node, gate, disk) = gated("a");
    let before = gate.durable_writes();
    let started = Instant::now();
    (0..500).for_each(|n| deferred(&node, &n.to_string()));
    let took = started.elapsed();
    until("all are on the disk", || after_crash(&disk).len() == 500);
    // One flush in 50 ms, and one that was on its way.
    let most = took.as_millis() / 50 + 2;
    let flushes = (gate.durable_writes() - before) as u128;
    assert!((1..=most).contains(&flushes), "{flushes} flushes in {took:?}");
}

#[test]
fn a_durable_write_takes_the_deferred_ones_before_it_along() {
    let (node, _gate, disk) = gated("a");
    deferred(&node, "first");
    node.create(&todo("second")).unwrap();
    assert_eq!(after_crash(&disk).len(), 2);
}

#[test]
fn closing_makes_deferred_writes_durable_also_when_two_threads_close_at_once() {
    for _ in 0..20 {
        let (node, gate, disk) = gated("a");
        gate.shut();
        deferred(&node, "milk");
        std::thread::scope(|scope| {
            let closers =
                [node.clone(), node.clone()].map(|node| scope.spawn(move || node.close()));
            until("one is at the gate", || gate.waiting() == 1);
            gate.open();
            closers.into_iter().for_each(|closer| closer.join().unwrap().unwrap());
        });
        assert_eq!(after_crash(&disk), [todo("milk")]);
    }
}

/// A second handle that closed while the first one's last flush was to come took the store away under
/// it: the deferred write was lost, and the first close failed.
#[test]
fn a_second_close_waits_for_the_flush_of_the_first() {
    let (node, gate, disk) = gated("a");
    gate.shut();
    let writer = std::thread::spawn({
        let node = node.clone();
        move || node.create(&todo("first")).map(|_| ())
    });
    until("a write is at the gate", || gate.waiting() == 1);
    deferred(&node, "second");
    let closers = [0, 1].map(|_| {
        let node = node.clone();
        std::thread::spawn(move || node.close())
    });
    until("the node takes nothing more", || {
        matches!(node.propose(Proposal::default(), Durability::Deferred), Err(Error::Closed))
    });
    gate.open();
    writer.join().unwrap().unwrap();
    closers.into_iter().for_each(|closer| closer.join().unwrap().unwrap());
    assert_eq!(after_crash(&disk).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_confirms_only_what_is_durable_with_it() {
    let (a, (b, gate, disk)) = (node("a"), gated("b"));
    let _link = link(&a, &b);
    eventually("they have met", || !a.sessions().is_empty() && !b.sessions().is_empty()).await;
    gate.shut();
    let written = a.create(&todo("milk")).unwrap().unwrap();
    eventually("b shows it", || b.get::<Todo>(&id("milk")).unwrap().is_some()).await;
    eventually("b flushes", || gate.waiting() == 1).await;
    assert!(a.confirmed_by(b.id(), written.offset).now_or_never().is_none());
    assert!(a.receipt(b.id()).is_none_or(|receipt| receipt.offset == 0));
    assert!(on(&disk.crash(), "b").get::<Todo>(&id("milk")).unwrap().is_none());

    gate.open();
    soon("b confirms", a.confirmed_by(b.id(), written.offset)).await.unwrap();
    assert!(on(&disk.crash(), "b").get::<Todo>(&id("milk")).unwrap().is_some());
}

/// A session takes 4 MiB in before its peer must hear that they are durable, however far the store lags
/// behind; many sessions filled the memory.
#[tokio::test(start_paused = true)]
async fn peers_that_send_more_than_the_store_can_write_have_to_wait() {
    let (b, gate, disk) = gated("b");
    let peers: Vec<Node> = (0..8).map(|n| node(&n.to_string())).collect();
    for (peer, n) in peers.iter().zip(0..) {
        for k in 0..20 {
            let big = Todo { title: "x".repeat(200 << 10), ..todo(&format!("{n}.{k}")) };
            peer.create(&big).unwrap();
        }
    }
    gate.shut();
    let _links: Vec<_> = peers.iter().map(|peer| link(peer, &b)).collect();
    // The clock of this test only moves when no session has anything left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let taken_kib = b.end().offset * 200;
    gate.open();
    assert!((16 << 10..20 << 10).contains(&taken_kib), "{taken_kib} KiB are in memory");

    let has_confirmed = |peer: &Node| peer.receipt(b.id()).is_some_and(|r| r.offset >= 20);
    eventually("b confirms to all", || peers.iter().all(has_confirmed)).await;
    assert_eq!(on(&disk.crash(), "b").end().offset, 160);
}

#[test]
fn what_was_only_buffered_at_a_crash_is_lost_and_nothing_else() {
    let memory = Memory::new();
    let disk = memory.disk();
    let node = Node::builder().name("a").open_on(memory).unwrap();
    node.create(&todo("durable")).unwrap();
    deferred(&node, "deferred");
    let crashed = disk.crash();
    let again = on(&crashed, "a");
    let kept: Vec<Todo> = again.list(|_| true).unwrap();
    assert!(kept.contains(&todo("durable")));
    assert_eq!(again.end().offset as usize, kept.len());
    again.create(&todo("next")).unwrap();
}

/// A host that ended the process when `closed` returned lost what was deferred, and found the store in use.
#[tokio::test]
async fn a_node_is_closed_when_its_last_flush_is_over() {
    let (node, gate, disk) = gated("a");
    gate.shut();
    deferred(&node, "milk");
    let closer = std::thread::spawn({
        let node = node.clone();
        move || node.close()
    });
    until("the last flush waits", || gate.waiting() == 1 && node.create(&todo("late")).is_err());
    let mut closed = Box::pin(node.closed());
    assert!((&mut closed).now_or_never().is_none(), "it is not over");
    gate.open();
    soon("the end", closed).await;
    closer.join().unwrap().unwrap();
    assert_eq!(on(&disk, "a").list::<Todo>(|_| true).unwrap(), [todo("milk")]);
}
