//! What cannot be played is set aside, and nothing waits behind it.

use bytes::Bytes;
use syncro_core::{
    Author, Digest, Epoch, Error, Input, NodeId, Parked, Point, Refusal, UsageError, View,
};
use syncro_sim::world::wire;

use super::town::{Rules, Town, writer};

fn quarantine(town: &Town, node: usize) -> Vec<Parked> {
    Parked::list(None, 10, &town.nodes[node].store).unwrap()
}

/// A server whose rules fail on one title, and a client that gives it.
fn failing() -> (Town, Rules) {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    assert_eq!((town.add("server", Some(rules.clone())), town.add("client", None)), (0, 1));
    rules.fail_on(13);
    town.create(1, 1, "a", 1);
    town.create(1, 2, "a", 13);
    town.create(1, 3, "a", 3);
    let link = town.connect(1, 0, "ann");
    town.drive();
    assert!(town.is_open(link));
    town.cut(link);
    (town, rules)
}

#[test]
fn what_a_rule_fails_on_waits_alone() {
    let (mut town, _) = failing();
    assert_eq!((town.title(0, 1), town.values(0, 2), town.title(0, 3)), (Some(1), None, Some(3)));
    let [parked] = &quarantine(&town, 0)[..] else { panic!("one is parked") };
    assert_eq!((parked.bearer, parked.reason.as_str()), (NodeId::named("client"), "no idea"));
    assert_eq!(parked.stamp().unwrap().author.node, NodeId::named("client"));
    assert_eq!(town.codes(1), [0_u16; 0]);
    // It is there after a crash, and what comes again is not set aside twice.
    town.crash(0);
    town.connect(1, 0, "ann");
    town.drive();
    assert_eq!(quarantine(&town, 0).len(), 1);
    assert_eq!(town.parked(0), 1, "told once");
}

#[test]
fn what_was_set_aside_is_tried_again_by_the_rights_with_which_it_came() {
    let (mut town, rules) = failing();
    let parked = quarantine(&town, 0)[0].id();
    let error = town.try_input(0, Input::Retry { parked }).unwrap_err();
    assert!(matches!(error, Error::Usage(UsageError::Unplayable { .. })), "{error}");
    assert_eq!(quarantine(&town, 0).len(), 1);
    rules.fail_on(0);
    town.crash(0);
    town.input(0, Input::Retry { parked });
    assert_eq!((town.title(0, 2), quarantine(&town, 0)), (Some(13), vec![]));
    let error = town.try_input(0, Input::Retry { parked }).unwrap_err();
    assert!(matches!(error, Error::Usage(UsageError::NotParked)), "{error}");
    town.connect(1, 0, "ann");
    town.drive();
    town.assert_equal(&[0, 1]);
    town.crash(0);
    assert_eq!(quarantine(&town, 0), []);
}

#[test]
fn what_was_set_aside_may_turn_out_not_to_be_permitted() {
    let (mut town, rules) = failing();
    let parked = quarantine(&town, 0)[0].id();
    rules.fail_on(0);
    rules.forbid_title(13);
    town.input(0, Input::Retry { parked });
    town.connect(1, 0, "ann");
    town.drive();
    assert_eq!((town.codes(1), town.values(1, 2)), (vec![Refusal::APPLICATION], None));
    town.assert_equal(&[0, 1]);
}

#[test]
fn what_is_discarded_is_undone_and_its_author_told_why() {
    let (mut town, _) = failing();
    let parked = quarantine(&town, 0)[0].id();
    town.input(0, Input::Discard { parked, reason: "we know no such list".to_owned() });
    assert_eq!(quarantine(&town, 0), []);
    town.connect(1, 0, "ann");
    town.drive();
    let verdict = town.refused(1)[0].clone();
    assert_eq!(verdict.refusal, Refusal::new(Refusal::FAILED, "we know no such list"));
    assert_eq!(town.values(1, 2), None);
    town.assert_equal(&[0, 1]);
}

/// A peer of a newer version: a record whose field is of a kind that is not known here, between two that are.
fn from_the_future() -> [(u64, Bytes); 3] {
    let author = Author { node: NodeId::named("newer"), epoch: Epoch(1) };
    let head = |time: u8| {
        let mut bytes = vec![0x94, time, 0xc4, 0x10];
        bytes.extend(author.node.as_bytes());
        bytes.push(1);
        bytes
    };
    // [["note", id, 1, [["t", 7, 1], 5]]] has kind 7 in the middle.
    let plain = |time: u8, id: u8| {
        [&head(time)[..], b"\x91\x94\xa4note", &[id], b"\x01\x92\xa5title\x05"].concat()
    };
    let unknown = [&head(2)[..], b"\x91\x94\xa4note\x02\x01\x92\x93\xa1t\x07\x01\x05"].concat();
    [plain(1, 1), unknown, plain(3, 3)].map(|bytes| (1, bytes.into()))
}

#[test]
fn a_kind_of_a_newer_version_is_set_aside_and_the_stream_goes_on() {
    let mut town = Town::default();
    assert_eq!(town.add("open", None), 0);
    let session = town.call(0);
    let items = from_the_future();
    let mut to = Point::START;
    for (scribes, bytes) in &items {
        to = to.then(*scribes, bytes);
    }
    let item = |(_, bytes): &(u64, Bytes)| wire::read(bytes);
    for message in [
        wire::hello(NodeId::named("newer")),
        wire::sync(&[]),
        wire::scribes(Point::START, to, items.iter().map(item).collect()),
    ] {
        town.input(0, Input::Receive { session, frame: wire::packed(&message) });
    }
    town.sync(0);
    assert_eq!(town.closed(0), [], "nobody is blamed");
    assert_eq!((town.title(0, 1), town.values(0, 2), town.title(0, 3)), (Some(5), None, Some(5)));
    let [parked] = &quarantine(&town, 0)[..] else { panic!("one is parked") };
    assert_eq!(parked.transaction, items[1].1);
    assert_eq!(parked.id(), Digest::EMPTY.then(&items[1].1));
    let id = parked.id();
    let error = town.try_input(0, Input::Retry { parked: id }).unwrap_err();
    assert!(error.to_string().contains("a kind is outside its limits"), "{error}");
    town.input(0, Input::Discard { parked: id, reason: String::new() });
    assert_eq!(quarantine(&town, 0), []);
    let row = town.nodes[0].store.peer(NodeId::named("newer")).unwrap().unwrap();
    assert_eq!(row.ladder.rungs().last().unwrap().point, to, "the point is past all of it");
}
