//! What is said when two nodes meet again, and where their logs go on.

use bytes::Bytes;
use serde_json::{Value, json};
use syncro_core::{CloseReason, Digest, Encoding, NodeId, Point, View};

use syncro_sim::world::{A, B, Pair, Stranger, wire};
use syncro_sim::{World, Write};

/// Two nodes that have so many changes of A's, each in a message of its own: their ladders have many rungs.
fn acquainted(changes: u8) -> Pair {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    for value in 0..changes {
        pair.put(A, 1, value);
        pair.drive();
    }
    pair.cut(link).unwrap();
    pair
}

/// What A and B say when they meet, by who says it.
fn conversation(pair: &mut Pair) -> Vec<(usize, Bytes)> {
    let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
    pair.drive();
    let said = pair.links[link].said().to_vec();
    pair.cut(link).unwrap();
    said
}

/// The messages of a type that one side has said.
fn of_kind(said: &[(usize, Bytes)], side: usize, kind: &str) -> Vec<Value> {
    let own = said.iter().filter(|(from, frame)| *from == side && wire::kind(frame) == kind);
    own.map(|(_, frame)| wire::read(frame)).collect()
}

/// Two that met before and have nothing new: both greetings, two short ladders, where each resumes, and receipts. The
/// ladders alone took as much when all their rungs were said.
#[test]
fn a_second_meeting_says_little() {
    let mut pair = acquainted(200);
    let row = pair.nodes[B].store.peers().unwrap().remove(0).1;
    assert!(row.ladder.rungs().len() > 8, "{:?}", row.ladder);
    let said = conversation(&mut pair);
    let bytes: usize = said.iter().map(|(_, frame)| frame.len()).sum();
    assert!(bytes <= 560, "{bytes} bytes in {} messages", said.len());
    for side in [0, 1] {
        assert_eq!(of_kind(&said, side, "more"), [] as [Value; 0]);
    }

    // One of them has something new.
    for value in 0..10 {
        pair.put(A, 2, value);
    }
    let said = conversation(&mut pair);
    let handshake = |kind: &String| kind == "hello" || kind == "sync";
    let frames = said.iter().map(|(_, frame)| frame);
    let bytes: usize = frames.filter(|it| handshake(&wire::kind(it))).map(|it| it.len()).sum();
    assert!(bytes <= 380, "{bytes} bytes before the first scribe");
    assert_eq!(wire::transactions(&said.last().unwrap().1), 0);
    pair.assert_equal();
}

/// A peer that lost what it had said is asked for its log by all rungs, in one round trip more, and as little is sent twice
/// as if they had been said at once.
#[test]
fn a_peer_that_was_restored_is_asked_by_the_whole_ladder() {
    let mut pair = acquainted(100);
    pair.nodes[A].keep_image();
    let link = pair.connect_both();
    pair.drive();
    for value in 0..100 {
        pair.put(A, 2, value);
        pair.drive();
    }
    pair.cut(link).unwrap();
    pair.restore(A).unwrap();
    let held = pair.nodes[A].engine.end();
    let ladder = pair.nodes[B].store.peers().unwrap().remove(0).1.ladder;
    let whole = ladder.offer(Some(pair.nodes[B].engine.end()));
    let common = whole.iter().find(|it| it.offset <= held.offset).copied().unwrap();

    let said = conversation(&mut pair);
    let [first, second] = &of_kind(&said, 1, "sync")[..] else { panic!("B asks twice") };
    assert_eq!(first["more"], json!(true));
    assert!(first["ladder"].as_array().unwrap().len() <= 2, "{first}");
    assert_eq!(second, &wire::sync(&whole));
    assert_eq!(of_kind(&said, 0, "more").len(), 1);
    // What B sent meanwhile may have brought A further, and to the first of all.
    let resumed = of_kind(&said, 0, "scribes")[0]["from"][0].as_u64().unwrap_or(whole[0].offset);
    assert!(resumed >= common.offset, "{resumed}, where {common:?} is common");
    // A knows where B was when its image was kept: B has lost nothing.
    assert_eq!(of_kind(&said, 1, "more"), [] as [Value; 0]);
    pair.assert_equal();
    assert_eq!(pair.title(A, 2), Some(99));

    let said = conversation(&mut pair);
    assert!([0, 1].iter().all(|side| of_kind(&said, *side, "more").is_empty()));
}

/// A log that is not the one that the other has met before, under its name.
#[test]
fn two_that_have_nothing_in_common_any_more_begin_anew_after_one_question() {
    let pair = acquainted(3);
    let mut world = World::new(1).unwrap();
    for id in 0..4 {
        world.write(A, &Write::Put { id, field: 0, value: id }).unwrap();
    }
    let node = pair.nodes[A].engine.node();
    let points: Vec<Point> = pair.nodes[A].log.entries().iter().map(|it| it.end()).collect();
    let mut stranger = Stranger::calls(world);
    stranger.says(&wire::hello(node));
    stranger.hears();
    let mut sync = wire::sync(&points[2..]);
    sync["more"] = json!(true);
    stranger.says(&sync);
    assert_eq!(stranger.hears(), [json!({ "type": "more" })]);
    stranger.says(&wire::sync(&points[..2]));
    let said = stranger.hears();
    assert_eq!(
        (&said[0]["type"], &said[0]["from"]),
        (&json!("scribes"), &wire::point(Point::START))
    );
    assert_eq!(said[0]["transactions"].as_array().unwrap().len(), 4);
    assert_eq!(stranger.closed(), None);
}

#[test]
fn where_a_log_goes_on_is_said_unless_it_is_the_first_point_that_was_named() {
    let world = || {
        let mut world = World::new(1).unwrap();
        for id in [1, 2] {
            world.write(A, &Write::Put { id, field: 0, value: 1 }).unwrap();
        }
        world
    };
    let log = world().nodes[A].log.entries().to_vec();
    let (middle, end) = (log[0].end(), log[1].end());
    let other = Point { digest: middle.digest, ..end };
    let resumed = |ladder: &[Point]| {
        let mut stranger = Stranger::calls(world());
        stranger.says(&wire::hello(NodeId::named("stranger")));
        stranger.hears();
        stranger.says(&wire::sync(ladder));
        stranger.hears().remove(0)
    };
    assert_eq!(resumed(&[end, middle]), json!({ "type": "scribes" }));
    let whole = json!({ "type": "scribes", "from": wire::point(end) });
    assert_eq!(resumed(&[middle, end]), whole, "whichever is the greatest");
    assert_eq!(resumed(&[other, end]), whole);
    for (ladder, from) in [
        (&[middle][..], Value::Null),
        (&[other, middle], wire::point(middle)),
        (&[], Value::Null),
        (&[other], wire::point(Point::START)),
    ] {
        let said = resumed(ladder);
        assert_eq!((&said["from"], &said["to"]), (&from, &wire::point(end)), "{ladder:?}");
    }
}

#[test]
fn a_known_rung_is_taken_though_there_are_more() {
    let mut world = World::new(1).unwrap();
    world.write(A, &Write::Put { id: 1, field: 0, value: 1 }).unwrap();
    let end = world.nodes[A].engine.end();
    let mut stranger = Stranger::calls(world);
    stranger.says(&wire::hello(NodeId::named("stranger")));
    stranger.hears();
    let mut sync = wire::sync(&[end]);
    sync["more"] = json!(true);
    stranger.says(&sync);
    assert_eq!(stranger.hears(), [json!({ "type": "scribes" })]);
    // It was not asked for them.
    stranger.says(&wire::sync(&[]));
    stranger.assert_closed(CloseReason::Unexpected);
}

#[test]
fn to_offer_more_without_end_and_to_ask_for_what_is_not_there_are_unexpected() {
    let mut sync = wire::sync(&[Point { offset: 1, digest: Digest([1; 16]) }]);
    sync["more"] = json!(true);
    let mut stranger = Stranger::greeted();
    stranger.says(&sync);
    assert_eq!(stranger.hears(), [json!({ "type": "more" })]);
    stranger.says(&sync);
    stranger.assert_closed(CloseReason::Unexpected);

    // The node has never met the stranger, and has said all that it offers.
    let more = json!({ "type": "more" });
    let mut stranger = Stranger::greeted();
    stranger.says(&more);
    stranger.assert_closed(CloseReason::Unexpected);
    let mut stranger = Stranger::new();
    stranger.says(&more);
    stranger.assert_closed(CloseReason::Unexpected);
}

/// What a peer names when it meets may not be durable there: until the receipt it is not known to be held.
#[test]
fn what_a_peer_has_named_and_lost_is_not_taken_for_held() {
    let mut world = World::new(3).unwrap();
    let third = 2;
    for id in 0..5 {
        world.write(third, &Write::Put { id, field: 0, value: id }).unwrap();
    }
    world.meet(third, B, Encoding::Json).unwrap();
    let link = world.connect(third, A, Encoding::Json).unwrap();
    // A takes in the same log, and flushes nothing of it.
    while world.deliver(link, 0).unwrap() | world.deliver(link, 1).unwrap() {}
    assert_eq!(world.nodes[A].engine.end(), world.nodes[B].engine.end());
    let link = world.connect(A, B, Encoding::Json).unwrap();
    while world.deliver(link, 1).unwrap() | world.deliver(link, 0).unwrap() {}
    world.cut(link).unwrap();
    world.crash(A, 0).unwrap();
    assert_eq!(world.nodes[A].engine.end(), Point::START);
    let node = world.nodes[A].engine.node();
    let rows = world.nodes[B].store.peers().unwrap();
    let (_, row) = rows.into_iter().find(|(peer, _)| *peer == node).unwrap();
    assert_eq!(row.held, Point::START, "A has given no receipt, and sent nothing");
}
