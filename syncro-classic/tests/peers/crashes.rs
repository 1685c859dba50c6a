//! A hub that dies, at any moment, with whatever its two disks have kept.

use serde_json::{Value as Json, json};
use syncro::{MemoryDisk, Node};
use syncro_classic::{Confirmation, Event, Framing, Hub, Settings};
use syncro_sim::Ruby;

use crate::conflicts::Circle;
use crate::rows::limited;
use crate::support::{Desk, create, last_id, made, said, update};

/// The disks of a node and of its list.
#[derive(Clone)]
struct Disks {
    store: MemoryDisk,
    list: MemoryDisk,
}

impl Disks {
    fn new() -> Self {
        Self { store: MemoryDisk::new(), list: MemoryDisk::new() }
    }

    fn open(&self) -> Desk {
        let settings = Settings { confirmation: Confirmation::Noop, ..limited() };
        let node = Node::builder().name("hub").open_on(self.store.open().unwrap()).unwrap();
        let hub = Hub::open(node.clone(), self.list.open().unwrap(), settings).unwrap();
        Desk::over(node, hub)
    }

    /// What would be there after a crash now.
    fn crash(&self) -> Self {
        Self { store: self.store.crash(), list: self.list.crash() }
    }
}

/// What was acknowledged is there after a crash, and nothing is there twice: at every message, and with a list
/// that is older than the store, as after a crash between their writes.
#[test]
fn nothing_is_lost_or_doubled_by_a_crash_at_any_message() {
    let disks = Disks::new();
    let mut circle = Circle::of(disks.open(), 2);
    circle.connect(0);
    circle.connect(1);
    let (mut images, mut lists) = (Vec::new(), vec![disks.crash().list]);
    for n in 0..4 {
        circle.peers[0].create(&format!("r{n}"), "a");
        circle.peers[1].update(&format!("r{n}"), "b");
        circle.peers[0].update(&format!("r{n}"), "c");
        for _ in 0..3 {
            for at in [0, 1, 0] {
                circle.up(at);
                let now = disks.crash();
                lists.push(now.list.clone());
                images.push((now, circle.peers.clone()));
                circle.down(at);
            }
        }
    }
    assert!(images.len() > 30);
    for (at, (image, peers)) in images.into_iter().enumerate() {
        for list in [&lists[at], &lists[at + 1]] {
            let disks = Disks { store: image.store.crash(), list: list.crash() };
            let desk = disks.open();
            let before = desk.node.end().offset;
            let mut again = Circle::of(desk, 2);
            again.peers = peers.clone();
            again.connect(0);
            again.settle();
            again.connect(1);
            again.settle();
            again.agree();
            let pushed: usize = peers.iter().map(|peer| peer.log.len()).sum();
            let end = again.desk.node.end().offset;
            assert!(end <= pushed as u64, "{end} of {pushed} at {at}, {before} before");
        }
    }
}

/// It was played and durable, and the point had not moved. Somebody else has changed the record since: the peer
/// sends its own once more, which is older.
#[test]
fn what_was_played_before_a_crash_is_not_played_over_what_came_since() {
    let disks = Disks::new();
    let mut desk = disks.open();
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("1", "r1", "a"));
    let list = disks.list.crash();
    desk.push(ann, update("2", "r1", "b"));
    let mut desk = Disks { store: disks.store.crash(), list }.open();
    desk.update("r1", "c");
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "1");
    desk.say(ann, json!({"type": "response", "id": 1, "result": [update("2", "r1", "b")]}));
    assert_eq!(desk.name("r1").as_deref(), Some("c"));
    // Once more it is another edit.
    desk.push(ann, update("3", "r1", "b"));
    assert_eq!(desk.name("r1").as_deref(), Some("b"));
}

/// The list has it from the log, which does not say who has destroyed it: the client was told to destroy it once more.
#[test]
fn what_a_client_destroyed_before_a_crash_is_not_destroyed_at_it_after_that() {
    let disks = Disks::new();
    let mut circle = Circle::of(disks.open(), 2);
    circle.connect(0);
    circle.connect(1);
    circle.peers[0].create("r1", "a");
    circle.settle();
    let list = disks.list.crash();
    circle.peers[1].destroy("r1");
    circle.up(1);
    let mut again = Circle::of(Disks { store: disks.store.crash(), list }.open(), 2);
    again.peers = circle.peers;
    (0..2).for_each(|at| again.connect(at));
    again.settle();
    again.agree();
    assert_eq!(again.desk.record("r1"), None);
}

/// Somebody had created it anew by then, so the hub took no note of it, and told an update of what the client lacks.
#[test]
fn what_a_client_destroyed_before_a_crash_and_is_there_again_is_created_at_it() {
    for is_open in [false, true] {
        let disks = Disks::new();
        let mut circle = Circle::of(disks.open(), 2);
        (0..2).for_each(|at| circle.connect(at));
        circle.peers[0].create("r1", "a");
        circle.settle();
        let list = disks.list.crash();
        circle.peers[1].destroy("r1");
        circle.up(1);
        if !is_open {
            circle.desk.create("r1", "again");
        }
        let mut again = Circle::of(Disks { store: disks.store.crash(), list }.open(), 2);
        if is_open {
            again.desk.create("r1", "again");
        }
        again.peers = circle.peers;
        again.peers.iter_mut().for_each(Ruby::disconnect);
        (0..2).for_each(|at| again.connect(at));
        again.settle();
        again.agree();
        assert_eq!(again.desk.name("r1").as_deref(), Some("again"));
    }
}

/// The node had destroyed such a record itself. The hub took the one for the other, and what had been played right before
/// stayed.
#[test]
fn what_the_node_wrote_itself_is_not_taken_for_what_a_peer_did_after_something_new() {
    let disks = Disks::new();
    let node = Node::builder().name("hub").open_on(disks.store.open().unwrap()).unwrap();
    let fields = syncro::Fields::default();
    let key = || crate::support::key("r1");
    node.transaction(|draft| draft.create_record(key(), &fields)).unwrap();
    node.transaction(|draft| draft.destroy_record(key())).unwrap();
    drop(node);
    let mut circle = Circle::of(disks.open(), 1);
    circle.peers[0].create("r1", "a");
    circle.peers[0].destroy("r1");
    circle.connect(0);
    circle.settle();
    circle.agree();
    assert_eq!(circle.desk.record("r1"), None);
}

/// An acknowledgement is a promise.
#[test]
fn what_is_acknowledged_is_durable_and_what_is_told_too() {
    let disks = Disks::new();
    let mut desk = disks.open();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, create("1", "r1", "a"));
    let told = desk.told(bob);
    let mut desk = disks.crash().open();
    assert_eq!(desk.name("r1").as_deref(), Some("a"));
    let bob = desk.connect_empty("bob");
    assert_eq!(desk.sync(bob, last_id(&told)), [] as [Json; 0]);
    assert_eq!(desk.sync(bob, json!(null)), told);
}

/// The store was put back to a backup, and the list was not. What the backup has is told again; ids that were
/// issued since say nothing about it; what the peers had sent since is pulled again.
#[test]
fn a_store_that_was_put_back_is_told_and_pulled_again() {
    let disks = Disks::new();
    let mut circle = Circle::of(disks.open(), 2);
    circle.connect(0);
    circle.connect(1);
    circle.peers[0].create("r1", "a");
    circle.settle();
    let backup = disks.store.crash();
    circle.peers[0].create("r2", "b");
    circle.peers[1].update("r1", "c");
    circle.settle();
    let peers = circle.peers;

    let desk = Disks { store: backup, list: disks.list.crash() }.open();
    let mut circle = Circle::of(desk, 2);
    circle.peers = peers;
    circle.connect(0);
    circle.connect(1);
    circle.settle();
    assert_eq!(circle.desk.name("r2").as_deref(), Some("b"));
    circle.agree();
    let events = &circle.desk.events;
    assert!(events.contains(&Event::StoreChanged));
    assert!(events.iter().any(|event| matches!(event, Event::PulledAgain { .. })));
}

/// The list was lost, or put back to an older one: an id that it does not have is unknown, and never something
/// else.
#[test]
fn a_list_that_was_put_back_issues_no_id_again() {
    let disks = Disks::new();
    let mut desk = disks.open();
    desk.create("r1", "a");
    let backup = disks.list.crash();
    desk.create("r2", "b");
    let bob = desk.connect_empty("bob");
    let before = desk.sync(bob, json!(null));
    for list in [backup, MemoryDisk::new()] {
        let mut desk = Disks { store: disks.store.crash(), list }.open();
        desk.create("r3", "c");
        let bob = desk.connect_empty("bob");
        let state = desk.sync(bob, last_id(&before));
        assert_eq!(said(&state), [made("r1", "a"), made("r2", "b"), made("r3", "c")]);
    }
}

/// Native changes while no hub ran are told when it opens.
#[test]
fn what_happened_while_the_hub_was_away_is_told() {
    let disks = Disks::new();
    let mut desk = disks.open();
    desk.create("r1", "a");
    desk.create("r2", "b");
    let bob = desk.connect_empty("bob");
    let before = desk.sync(bob, json!(null));
    let node = desk.node.clone();
    drop(desk);
    let alone =
        Desk::over(node.clone(), Hub::in_memory(node.clone(), crate::support::settings()).unwrap());
    drop(alone);
    let destroyed = crate::support::key("r2");
    node.transaction(|draft| draft.destroy_record(destroyed)).unwrap();
    let hub = Hub::open(node.clone(), disks.list.open().unwrap(), limited()).unwrap();
    let mut desk = Desk::over(node, hub);
    desk.update("r1", "c");
    let bob = desk.connect_empty("bob");
    let then = said(&desk.sync(bob, last_id(&before)));
    assert_eq!(then, [crate::support::gone("r2"), crate::support::changed("r1", "c")]);
}

/// One that never answers its pull is not lost either: what it pushed is known by its ids.
#[test]
fn a_peer_that_never_answers_a_pull_is_not_doubled() {
    let disks = Disks::new();
    let mut desk = disks.open();
    let ann = desk.connect("ann");
    desk.push(ann, create("1", "r1", "a"));
    desk.update("r1", "since");
    let mut desk = disks.crash().open();
    let ann = desk.connect("ann");
    desk.say(ann, json!({"type": "response", "id": 1, "result": [create("1", "r1", "a")]}));
    assert_eq!(desk.name("r1").as_deref(), Some("since"));
    // The same id for something else is something else: the peer has lost its log.
    let _ = Ruby::default();
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "1");
}
