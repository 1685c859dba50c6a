//! Peers that break the rules: each offence closes that session with its number, and nothing else happens.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use syncro_core::limits::{
    ECHO_RUNS_MAX, FRAME_BYTES_MAX, HELLO_BYTES_MAX, LADDER_RUNGS_MAX, RECORD_BYTES_MAX,
    SEND_BUFFER_BYTES, VALUE_BYTES_MAX, WINDOW_BYTES,
};
use syncro_core::{
    CloseReason, Commit, Digest, Encoding, Entry, Error, Event, Held, Input, Name, NodeId, OwnRow,
    Parked, Path, PeerRow, Point, Record, RecordId, RecordKey, Register, Role, SessionId, Store,
    StoreError, Transaction, View,
};
use syncro_store::LogStore;

use syncro_sim::world::{A, Stranger, name, wire};
use syncro_sim::{World, Write};

/// A transaction that some other node wrote.
fn foreign(id: u8) -> Transaction {
    let mut world = World::new(1).unwrap();
    world.add_node("somebody else").unwrap();
    world.write(1, &Write::Put { id, field: 0, value: id }).unwrap();
    world.nodes[1].log.transactions().next().unwrap().clone()
}

fn after(from: Point, transactions: &[Transaction]) -> Point {
    transactions.iter().fold(from, |at, it| at.then(it.len(), it.bytes()))
}

/// A node with a log whose every transaction fills several offsets, and a stranger that has asked for it.
fn with_log() -> Stranger {
    let mut world = World::new(1).unwrap();
    for value in 0..3 {
        world.write(A, &Write::Several { id: 1, value, by: 1 }).unwrap();
    }
    world.sync(A).unwrap();
    let mut stranger = Stranger::calls(world);
    stranger.says(&wire::hello(NodeId::named("stranger")));
    stranger.says(&wire::sync(&[]));
    stranger.hears();
    stranger
}

#[test]
fn what_cannot_be_decoded_is_malformed() {
    let frames: [&[u8]; 8] = [
        b"",
        b"{",
        b"nonsense",
        b"{\"type\":\"hello\"}",
        b"{\"type\":\"dance\"}",
        b"{\"type\":\"ping\",\"type\":\"ping\"}",
        &[0xc1],
        &[0x81, 0xa4],
    ];
    for frame in frames {
        for mut stranger in [Stranger::new(), Stranger::greeted(), Stranger::synced()] {
            stranger.sends(Bytes::from_static(frame));
            stranger.assert_closed(CloseReason::Malformed);
        }
    }
}

/// Lengths that are not kept, nesting without end, and more elements than a message may have: each in a part of a message
/// that has one, before a peer has said who it is and after.
#[test]
fn what_announces_nests_or_counts_more_than_may_be_is_malformed() {
    let rungs = vec![json!([1, { "$bytes": "AAAAAAAAAAAAAAAAAAAAAA==" }]); LADDER_RUNGS_MAX + 1];
    let echoes = vec![json!([1, 1]); ECHO_RUNS_MAX + 1];
    let point = json!([0, { "$bytes": "AAAAAAAAAAAAAAAAAAAAAA==" }]);
    let texts = |count| (0..count).map(|it| (it.to_string(), json!(0))).collect::<Map<_, _>>();
    let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let frames: [Bytes; 8] = [
        // A map of two keys, `type` and `ladder`, and an array of four thousand million elements; a text of as many
        // bytes.
        Bytes::from_static(b"\x82\xa4type\xa4sync\xa6ladder\xdd\xff\xff\xff\xff"),
        Bytes::from_static(b"\x82\xa4type\xa3bye\xa6detail\xdb\xff\xff\xff\xff"),
        Bytes::from_static(b"\xdf\xff\xff\xff\xff\xa4type\xa4ping"),
        [&b"\x82\xa4type\xa4ping\xa1x"[..], &[0x91; 2000]].concat().into(),
        deep.into(),
        json!({ "type": "sync", "ladder": rungs }).to_string().into(),
        json!({ "type": "scribes", "from": point, "to": point, "end": 0, "transactions": echoes })
            .to_string()
            .into(),
        json!({ "type": "ping", "x": 0 })
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .chain(texts(64))
            .collect::<Value>()
            .to_string()
            .into(),
    ];
    for frame in frames {
        for mut stranger in [Stranger::greeted(), Stranger::synced()] {
            stranger.sends(frame.clone());
            stranger.assert_closed(CloseReason::Malformed);
        }
        // Of whom nothing is known yet, less is read.
        let is_too_large = frame.len() > HELLO_BYTES_MAX;
        let mut stranger = Stranger::new();
        stranger.sends(frame);
        stranger.assert_closed(match is_too_large {
            true => CloseReason::FrameTooLarge,
            false => CloseReason::Malformed,
        });
    }
}

#[test]
fn an_offence_ends_no_other_session() {
    const B: usize = 1;
    let mut world = World::new(2).unwrap();
    let link = world.connect(B, A, Encoding::Json).unwrap();
    world.settle().unwrap();
    let mut stranger = Stranger::calls(world);
    stranger.says(&wire::hello(NodeId::named("stranger")));
    stranger.sends(Bytes::from_static(b"nonsense"));
    assert_eq!(stranger.closed(), Some((CloseReason::Malformed, false)));
    let world = &mut stranger.world;
    world.write(A, &Write::Put { id: 1, field: 0, value: 1 }).unwrap();
    while world.deliver(link, 0).unwrap() {}
    assert_eq!(world.title(B, 1), Some(1));
    assert_eq!(world.nodes[A].engine.sessions().count(), 1);
}

#[test]
fn a_frame_beyond_the_limit_is_malformed() {
    let mut stranger = Stranger::greeted();
    stranger.sends(vec![b' '; FRAME_BYTES_MAX + 1].into());
    stranger.assert_closed(CloseReason::Malformed);
}

/// Nodes that each filled a record apart made one of it that was too large to be received: they closed their
/// sessions, and did so again each time they met.
#[test]
fn what_is_received_is_taken_however_large_its_record_is() {
    let mut world = World::new(1).unwrap();
    let transaction = foreign(1);
    let key = &transaction.scribes().unwrap()[0].key;
    let register = |n| Register {
        path: Path::field(name(&format!("f{n:03}"))),
        stamp: transaction.stamp(),
        value: syncro_core::Value::Bytes(vec![0; VALUE_BYTES_MAX - 5]).encode(),
    };
    let record = Record::new(Some(transaction.stamp()), None, (0..200).map(register).collect());
    let store = &mut world.nodes[A].store;
    let own = store.own().unwrap().unwrap();
    let records = vec![(key.clone(), Arc::new(record))];
    let commit = Commit {
        sequence: 2,
        entries: Vec::new(),
        records,
        is_played: true,
        peers: Vec::new(),
        own,
        rows: Vec::new(),
    };
    store.apply(&commit).unwrap();
    let mut stranger = Stranger::calls(world);
    stranger.says(&wire::hello(NodeId::named("stranger")));
    stranger.says(&wire::sync(&[]));
    let to = after(Point::START, std::slice::from_ref(&transaction));
    stranger.says(&wire::scribes(Point::START, to, vec![wire::item(&transaction)]));
    assert_eq!((stranger.closed(), stranger.end()), (None, to));
    let record = stranger.world.nodes[A].store.record(key).unwrap().unwrap();
    assert!(record.bytes() > 3 * RECORD_BYTES_MAX, "{} bytes", record.bytes());
    assert_eq!(stranger.world.title(A, 1), Some(1));
}

#[test]
fn a_stamp_beyond_the_year_2200_is_malformed() {
    let mut stranger = Stranger::synced();
    let mut item = wire::item(&foreign(1));
    item[0] = json!(7_258_118_400_000_u64 << 16);
    if item[0].as_u64() > Some(1 << 53) {
        item[0] = json!({ "$int": (7_258_118_400_000_u64 << 16).to_string() });
    }
    stranger.says(&wire::scribes(Point::START, Point::START, vec![item]));
    stranger.assert_closed(CloseReason::Malformed);
}

#[test]
fn messages_out_of_turn_are_unexpected() {
    let hello = wire::hello(NodeId::named("stranger"));
    let nothing = wire::scribes(Point::START, Point::START, vec![]);
    let too_soon = [
        wire::sync(&[]),
        nothing.clone(),
        wire::ack(Point::START, 5),
        json!({ "type": "ping" }),
        json!({ "type": "pong" }),
    ];
    for message in too_soon {
        let mut stranger = Stranger::new();
        stranger.says(&message);
        stranger.assert_closed(CloseReason::Unexpected);
    }
    let mut stranger = Stranger::greeted();
    stranger.says(&hello);
    stranger.assert_closed(CloseReason::Unexpected);
    let mut stranger = Stranger::synced();
    stranger.says(&wire::sync(&[]));
    stranger.assert_closed(CloseReason::Unexpected);
    // Nothing was sent that could be acknowledged.
    let mut stranger = Stranger::greeted();
    stranger.says(&wire::ack(Point::START, 5));
    stranger.assert_closed(CloseReason::Unexpected);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_unexpected() {
    let mut stranger = with_log();
    let mut beyond = stranger.end();
    beyond.offset += 1;
    stranger.says(&wire::ack(beyond, 5));
    stranger.assert_closed(CloseReason::Unexpected);

    // Such a place is in the log, and no message ended there.
    for offset in [1, 3] {
        let mut stranger = with_log();
        let between = Point { offset, ..stranger.end() };
        stranger.says(&wire::ack(between, 5));
        stranger.assert_closed(CloseReason::Unexpected);
    }
}

/// Only the offset of an acknowledgement was looked at: a peer with another log of the same length was taken
/// to hold this one.
#[test]
fn an_acknowledgement_of_other_content_is_caught_by_the_digest() {
    let mut stranger = with_log();
    let end = stranger.end();
    let other = Point { digest: Digest([9; 16]), ..end };
    stranger.says(&wire::ack(other, 5));
    stranger.assert_closed(CloseReason::Digest);
    assert!(!stranger.world.nodes[A].events.iter().any(|it| matches!(it, Event::Receipt { .. })));

    let mut stranger = with_log();
    stranger.says(&wire::ack(end, 5));
    // The last one again, as a peer says it that only grants more.
    stranger.says(&wire::ack(end, 6));
    assert_eq!(stranger.closed(), None);
    let status = stranger.world.nodes[A].engine.sessions().next().unwrap();
    assert_eq!((status.receipt, status.outgoing), (Some(end.offset), 0));
    stranger.says(&wire::ack(other, 7));
    stranger.assert_closed(CloseReason::Digest);

    // One of before.
    let mut stranger = Stranger::synced();
    for value in 0..3 {
        stranger.world.write(A, &Write::Put { id: 1, field: 0, value }).unwrap();
    }
    let ends: Vec<Point> =
        stranger.world.nodes[A].log.entries().iter().map(|entry| entry.end()).collect();
    stranger.says(&wire::ack(ends[1], 1 << 20));
    assert_eq!(stranger.closed(), None);
    stranger.says(&wire::ack(ends[0], 1 << 20));
    stranger.assert_closed(CloseReason::Unexpected);
}

/// An echo that began inside a transaction was read from the store, which called itself damaged: a peer
/// could make a host close its store.
#[test]
fn echoes_of_what_was_never_sent_as_such_are_unexpected() {
    let echoes: [(u64, u64); 8] =
        [(1, 1), (0, 1), (0, 5), (2, 10), (0, u64::MAX), (u64::MAX, 2), (12, 1), (7, 70_000)];
    for is_restarted in [false, true] {
        for (offset, scribes) in echoes {
            let mut stranger = with_log();
            if is_restarted {
                // From pages, not from memory.
                let mut world = stranger.world;
                world.restart(A).unwrap();
                world.links.clear();
                world.take_events(A);
                stranger = Stranger::calls(world);
                stranger.says(&wire::hello(NodeId::named("stranger")));
                stranger.says(&wire::sync(&[]));
            }
            assert_eq!(stranger.end().offset % 3, 0);
            let to = Point { offset: scribes, digest: Digest::EMPTY };
            stranger.says(&wire::scribes(
                Point::START,
                to,
                vec![json!([big(offset), big(scribes)])],
            ));
            stranger.assert_closed(CloseReason::Unexpected);
        }
    }
}

fn big(int: u64) -> Value {
    if int > 1 << 53 { json!({ "$int": int.to_string() }) } else { json!(int) }
}

/// A stretch of echoes that nobody could send: counting them went beyond 64 bits.
#[test]
fn echoes_beyond_counting_are_unexpected() {
    let mut stranger = with_log();
    let items = vec![json!([0, 3]), json!([0, big(u64::MAX)]), json!([0, 0])];
    let to = Point { offset: 3, digest: Digest::EMPTY };
    stranger.says(&wire::scribes(Point::START, to, items));
    stranger.assert_closed(CloseReason::Unexpected);
}

/// What echoes refer to is read and hashed by their receiver: one short message could ask for gigabytes.
#[test]
fn echoes_of_more_than_may_be_read_for_one_message_are_unexpected() {
    let mut world = World::new(1).unwrap();
    for id in 0..20 {
        world.write(A, &Write::Large { id, kib: 250 }).unwrap();
    }
    let mut stranger = Stranger::calls(world);
    let mut hello = wire::hello(NodeId::named("stranger"));
    hello["window"] = json!(64 << 20);
    stranger.says(&hello);
    stranger.says(&wire::sync(&[]));
    let log: Vec<Transaction> = stranger.world.nodes[A].log.transactions().cloned().collect();
    // The stranger's log begins in another order: sixteen of 250 KiB are within 4 MiB, and 17 are not.
    let echoes = |count: usize| {
        let order = [1, 0].into_iter().chain(2..count).map(|place| log[place].clone());
        let to = after(Point::START, &order.collect::<Vec<_>>());
        wire::scribes(Point::START, to, vec![json!([1, 1]), json!([0, 1]), json!([2, count - 2])])
    };
    stranger.says(&echoes(16));
    assert_eq!(stranger.closed(), None);
    let mut stranger = Stranger::calls(stranger.world);
    stranger.world.take_events(A);
    stranger.says(&hello);
    stranger.says(&wire::sync(&[]));
    stranger.says(&echoes(17));
    assert_eq!(stranger.closed(), Some((CloseReason::Unexpected, false)));

    // What is the same from the start need not be read.
    let mut stranger = Stranger::calls(stranger.world);
    stranger.world.take_events(A);
    stranger.says(&hello);
    stranger.says(&wire::sync(&[]));
    let all = json!([0, log.len()]);
    stranger.says(&wire::scribes(Point::START, after(Point::START, &log), vec![all]));
    assert_eq!(stranger.closed(), None);
}

/// Each reference costs the reading of a page, however little it refers to.
#[test]
fn more_echoes_than_may_be_looked_up_for_one_message_are_unexpected() {
    for (runs, closed) in [(480, None), (512, Some((CloseReason::Unexpected, false)))] {
        let mut stranger = with_log();
        let first = stranger.world.nodes[A].log.transactions().next().unwrap().clone();
        let to = after(Point::START, &vec![first.clone(); runs]);
        stranger.says(&wire::scribes(Point::START, to, vec![json!([0, first.len()]); runs]));
        assert_eq!(stranger.closed(), closed, "{runs}");
    }
}

/// Another version may bear more: what this one does not is set aside.
#[test]
fn a_transaction_of_too_many_scribes_is_set_aside() {
    for count in [40_000, 70_000] {
        let mut stranger = Stranger::synced();
        let mut item = wire::item(&foreign(1));
        item[3] = (0..count).map(|id| json!(["m", id, 2, []])).collect();
        let to = Point::START.then(count, &wire::packed(&item));
        stranger.says(&wire::scribes(Point::START, to, vec![item]));
        assert_eq!(stranger.closed(), None);
        assert_eq!(Parked::list(None, 9, &stranger.world.nodes[A].store).unwrap().len(), 1);
    }
}

/// A report of echoes was due, and the answer to a ping had filled the buffer: the engine asked for a tick
/// at once, again and again, until the reader came back.
#[test]
fn an_engine_without_room_does_not_ask_for_ticks() {
    let mut stranger = Stranger::synced();
    let link = stranger.world.links.len() - 1;
    stranger.world.stall(link, 1, true).unwrap();
    let queued = |stranger: &Stranger| stranger.world.links[link].ends[1].queued;
    let ping = json!({ "type": "ping" });
    let pong = wire::frame(&json!({ "type": "pong" })).len();
    while queued(&stranger) + (80 << 10) < SEND_BUFFER_BYTES {
        stranger.world.write(A, &Write::Large { id: 1, kib: 40 }).unwrap();
        stranger.world.write(A, &Write::Large { id: 1, kib: 41 }).unwrap();
    }
    while queued(&stranger) + pong < SEND_BUFFER_BYTES {
        stranger.says(&ping);
    }
    let transaction = foreign(7);
    let to = after(Point::START, std::slice::from_ref(&transaction));
    stranger.says(&wire::scribes(Point::START, to, vec![wire::item(&transaction)]));
    stranger.says(&ping);
    assert!(queued(&stranger) >= SEND_BUFFER_BYTES);
    stranger.world.advance(1000).unwrap();
    assert_eq!(stranger.closed(), None);
}

#[test]
fn an_older_version_and_a_smaller_frame_are_told_apart_by_number() {
    for (key, value) in [("version", 0), ("frame", 1000)] {
        let mut stranger = Stranger::new();
        let mut hello = wire::hello(NodeId::named("stranger"));
        hello[key] = json!(value);
        stranger.says(&hello);
        stranger.assert_closed(CloseReason::Version);
    }
}

#[test]
fn a_newer_version_with_more_to_say_is_welcome() {
    let mut stranger = Stranger::new();
    let mut hello = wire::hello(NodeId::named("stranger"));
    hello["version"] = json!(99);
    hello["capabilities"] = json!(["teleport"]);
    hello["favourite colour"] = json!("green");
    stranger.says(&hello);
    assert_eq!(stranger.closed(), None);
    assert_eq!(stranger.hears().len(), 2, "a hello and a sync");
}

#[test]
fn scribes_that_do_not_continue_are_a_gap() {
    let digest = Digest([9; 16]);
    let mut stranger = Stranger::synced();
    let from = Point { offset: 3, digest };
    stranger.says(&wire::scribes(from, from, vec![]));
    stranger.assert_closed(CloseReason::Gap);

    let mut stranger = Stranger::synced();
    let transaction = foreign(1);
    let to = after(Point::START, std::slice::from_ref(&transaction));
    stranger.says(&wire::scribes(Point::START, to, vec![wire::item(&transaction)]));
    assert_eq!(stranger.closed(), None);
    stranger.says(&wire::scribes(Point::START, to, vec![wire::item(&transaction)]));
    stranger.assert_closed(CloseReason::Gap);
}

#[test]
fn a_peer_that_skips_a_transaction_is_caught_by_the_digest() {
    let transactions = [foreign(1), foreign(2), foreign(3)];
    let to = after(Point::START, &transactions);
    let items = |kept: &[usize]| kept.iter().map(|it| wire::item(&transactions[*it])).collect();
    for kept in [&[0, 2][..], &[0, 1], &[1, 0, 2], &[0, 1, 2, 2], &[]] {
        let mut stranger = Stranger::synced();
        stranger.says(&wire::scribes(Point::START, to, items(kept)));
        stranger.assert_closed(CloseReason::Digest);
        assert_eq!(stranger.end(), Point::START, "nothing of it was taken");
        assert!(stranger.world.nodes[A].store.peers().unwrap().is_empty());
    }
    let mut stranger = Stranger::synced();
    stranger.says(&wire::scribes(Point::START, to, items(&[0, 1, 2])));
    assert_eq!((stranger.closed(), stranger.end()), (None, to));
}

#[test]
fn a_peer_that_changes_a_transaction_on_its_way_is_caught_by_the_digest() {
    let transaction = foreign(1);
    let to = after(Point::START, std::slice::from_ref(&transaction));
    let mut item = wire::item(&transaction);
    item[3][0][3][1] = json!(99);
    let mut stranger = Stranger::synced();
    stranger.says(&wire::scribes(Point::START, to, vec![item]));
    stranger.assert_closed(CloseReason::Digest);
    assert_eq!(stranger.world.title(A, 1), None);
}

#[test]
fn more_than_was_allowed_is_an_offence() {
    let mut stranger = Stranger::synced();
    let mut message = wire::scribes(Point::START, Point::START, vec![]);
    message["padding"] = json!("x".repeat(FRAME_BYTES_MAX - 1000));
    let frame = wire::packed(&message);
    let allowed = (WINDOW_BYTES as usize + FRAME_BYTES_MAX) / frame.len();
    // It is flushed and acknowledged as always: what was acknowledged may be sent anew.
    for _ in 0..3 * allowed {
        stranger.sends(frame.clone());
        stranger.world.sync(A).unwrap();
        assert_eq!(stranger.closed(), None);
    }
    stranger.hears();
    // Nothing is taken from it any more, so nothing is acknowledged.
    let link = stranger.world.links.len() - 1;
    stranger.world.stall(link, 1, true).unwrap();
    stranger.world.links[link].ends[1].queued = 0;
    let transactions: Vec<_> = (0..4).map(foreign).collect();
    let mut at = Point::START;
    for transaction in &transactions {
        let to = after(at, std::slice::from_ref(transaction));
        let mut message = wire::scribes(at, to, vec![wire::item(transaction)]);
        message["padding"] = json!("x".repeat(FRAME_BYTES_MAX - 2000));
        stranger.sends(wire::packed(&message));
        at = to;
        if stranger.closed().is_some() {
            break;
        }
    }
    assert_eq!(stranger.closed(), Some((CloseReason::Flow, false)));
}

#[test]
fn a_bye_ends_the_session_with_the_peers_number() {
    for (code, reason) in
        [(0, CloseReason::Done), (1, CloseReason::ShuttingDown), (999, CloseReason::Other(999))]
    {
        for mut stranger in [Stranger::new(), Stranger::synced()] {
            stranger.says(&json!({ "type": "bye", "code": code, "detail": "so long" }));
            assert_eq!(stranger.closed(), Some((reason, true)));
            assert!(stranger.hears().is_empty(), "a bye is not answered");
        }
    }
}

#[test]
fn a_stranger_that_writes_in_this_nodes_name_makes_it_begin_an_epoch() {
    let mut stranger = Stranger::synced();
    stranger.world.write(A, &Write::Put { id: 1, field: 0, value: 1 }).unwrap();
    let epoch = stranger.world.nodes[A].engine.epoch();
    let mut item = wire::item(stranger.world.nodes[A].log.transactions().next().unwrap());
    item[3][0][3][1] = json!(2);
    let bytes: Bytes = syncro_core::from_json(&wire::frame(&item)).unwrap().into();
    let forged = Transaction::decode(bytes).unwrap();
    let to = after(Point::START, &[forged]);
    stranger.says(&wire::scribes(Point::START, to, vec![item]));
    assert_eq!(stranger.closed(), None);
    stranger.world.write(A, &Write::Put { id: 2, field: 0, value: 1 }).unwrap();
    assert_ne!(stranger.world.nodes[A].engine.epoch(), epoch);
    assert_eq!(stranger.world.title(A, 1), Some(2), "of one stamp the greater value wins");
}

#[test]
fn a_store_that_cannot_be_read_closes_the_session_that_needs_it() {
    let mut world = World::new(1).unwrap();
    for id in 0..3 {
        world.write(A, &Write::Put { id, field: 0, value: 1 }).unwrap();
    }
    world.restart(A).unwrap();
    let session = SessionId(9);
    let now = world.now(A);
    let frames =
        [wire::hello(NodeId::named("stranger")), wire::sync(&[])].map(|it| wire::frame(&it));
    let node = &mut world.nodes[A];
    let open = Input::Open { session, role: Role::Accept, credentials: Default::default() };
    let _ = node.engine.handle(now, open, &node.store).unwrap();
    let [hello, sync] = frames;
    // While the store fails, an input that changes nothing yet is an error and can be repeated.
    let input = Input::Receive { session, frame: hello };
    let refused = node.engine.handle(now, input.clone(), &Unreadable(&node.store));
    assert!(matches!(refused, Err(Error::Store(_))));
    let _ = node.engine.handle(now, input, &node.store).unwrap();
    // A log that cannot be read while it is sent ends the session: the step before has happened.
    let input = Input::Receive { session, frame: sync };
    let effects = node.engine.handle(now, input, &Unreadable(&node.store)).unwrap();
    assert_eq!(effects.closes, [(session, CloseReason::Store)]);
    let (_, last) = effects.sends.last().unwrap();
    assert_eq!(wire::read(last)["code"], CloseReason::Store.code());
}

/// A store that lost its pages.
struct Unreadable<'a>(&'a LogStore);

fn gone<T>() -> Result<T, StoreError> {
    Err(StoreError::Corrupt { what: "the page is gone".to_owned() })
}

impl View for Unreadable<'_> {
    fn own(&self) -> Result<Option<OwnRow>, StoreError> {
        self.0.own()
    }
    fn peer(&self, _: NodeId) -> Result<Option<PeerRow>, StoreError> {
        gone()
    }
    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
        gone()
    }
    fn record(&self, _: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        gone()
    }
    fn records(
        &self,
        _: &Name,
        _: Option<&RecordId>,
        _: usize,
    ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
        gone()
    }
    fn models(&self) -> Result<Vec<Name>, StoreError> {
        gone()
    }
    fn entries(&self, _: u64, _: usize) -> Result<Vec<Entry>, StoreError> {
        gone()
    }
    fn digest_at(&self, _: u64) -> Result<Option<Digest>, StoreError> {
        gone()
    }
    fn row(&self, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
        gone()
    }
    fn rows(
        &self,
        _: &[u8],
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        gone()
    }
    fn held(&self, _: &Transaction) -> Result<Held, StoreError> {
        gone()
    }
}

/// Transactions of one stamp, each with another content, by a stranger of that name.
fn of_one_stamp(count: usize) -> Vec<Transaction> {
    let with_id = |id: usize| {
        let mut bytes = vec![0x94, 0x00, 0xc4, 0x10];
        bytes.extend([9; 16]);
        bytes.extend([0x01, 0x91, 0x94, 0xa1, b'm', 0xce]);
        bytes.extend((0x1_0000 + id as u32).to_be_bytes());
        bytes.extend([0x01, 0x90]);
        Transaction::decode(bytes.into()).unwrap()
    };
    (0..count).map(with_id).collect()
}

/// To look for each among all the others took seconds.
#[test]
fn a_message_may_be_full_of_transactions_of_one_stamp() {
    let mut stranger = Stranger::synced();
    let before = stranger.end().offset;
    let transactions = of_one_stamp(4000);
    let mut items: Vec<Value> = transactions.iter().map(wire::item).collect();
    // Of which one comes twice.
    items.push(wire::item(&transactions[17]));
    let to = after(after(Point::START, &transactions), &transactions[17..18]);
    stranger.sends(wire::packed(&wire::scribes(Point::START, to, items)));
    assert_eq!(stranger.closed(), None);
    assert_eq!(stranger.end().offset - before, 4000);
}

/// Each change of a large record makes one more state of it, and a message of some kilobytes took gigabytes.
#[test]
fn a_message_makes_no_more_states_of_records_than_fit_into_memory() {
    let mut stranger = Stranger::synced();
    let author = foreign(1).stamp().author;
    let fields: Vec<_> = (0..20_000).map(|key| json!(["f", 0, format!("{key:05}")])).collect();
    let fields: Vec<_> = fields.into_iter().flat_map(|path| [path, json!(1)]).collect();
    let node = wire::bytes(author.node.as_bytes());
    let create = json!([1, node, 1, [["m", 1, 1, fields]]]);
    let edit = |time: u64| json!([time, node, 1, [["m", 1, 0, ["t", time]]]]);
    let items: Vec<_> = std::iter::once(create).chain((2..202).map(edit)).collect();
    let points = items.iter().scan(Point::START, |point, item| {
        *point = point.then(1, &wire::packed(item));
        Some(*point)
    });
    let points: Vec<Point> = points.collect();
    stranger.says(&wire::scribes(Point::START, points[200], items));
    assert_eq!(stranger.closed(), Some((CloseReason::Flow, false)));
    let end = stranger.world.nodes[A].engine.end();
    assert!(end.offset > 2 && end.offset < 100, "a part of it was taken: {end:?}");
    let row = stranger.world.nodes[A].store.peer(author.node).unwrap();
    let row = row.or(stranger.world.nodes[A].store.peers().unwrap().pop().map(|(_, row)| row));
    let point = row.unwrap().ladder.newest().unwrap();
    assert!(points.contains(&point), "and what comes next begins after it: {point:?}");
}
