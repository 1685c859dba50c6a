//! What goes over the wire, and what does not.

use syncro_core::limits::{
    FRAME_BYTES_MAX, HEARTBEAT_MS, SEND_BUFFER_BYTES, TRANSACTION_SCRIBES_MAX, WINDOW_BYTES,
};
use syncro_core::{
    CloseReason, DataError, Edit, Encoding, Error, Event, Fields, Input, Proposal, RecordId,
    RecordKey, Value,
};

use syncro_sim::world::{A, B, Pair, Stranger, name, note, wire};
use syncro_sim::{World, Write};

#[test]
fn both_encodings_converge_alike() {
    let worlds = [Encoding::Json, Encoding::MessagePack].map(|encoding| {
        let mut pair = Pair::new();
        for node in [A, B] {
            let id = u8::try_from(node).unwrap();
            pair.write_of(node, Write::Add { id: 1, member: id });
            pair.write_of(node, Write::Entry { id: 1, key: id, value: Some(3) });
            pair.write_of(node, Write::Large { id: 2 + id, kib: 40 });
            pair.write_of(node, Write::Several { id: 4, value: id, by: -5 });
        }
        let link = pair.connect(A, B, encoding).unwrap();
        pair.drive();
        pair.assert_equal();
        let tape = pair.links[link].tape.take().unwrap();
        let is_json = tape.iter().all(|(_, frame)| frame.first() == Some(&b'{'));
        assert_eq!(is_json, encoding == Encoding::Json, "a node answers as it is addressed");
        pair.nodes[B].engine.end()
    });
    assert_eq!(worlds[0], worlds[1]);
}

#[test]
fn what_came_in_a_session_is_not_sent_back_in_it() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    for value in 0..10 {
        pair.put(A, 1, value);
        pair.put(B, 2, value);
        pair.drive();
    }
    assert_eq!((wire::sent(&pair, link, 0), wire::sent(&pair, link, 1)), (10, 10));
    pair.assert_equal();
}

#[test]
fn strangers_with_equal_logs_send_each_other_nothing() {
    let mut world = World::new(3).unwrap();
    for value in 0..5 {
        world.write(0, &Write::Twins { value }).unwrap();
    }
    world.meet(0, 1, Encoding::Json).unwrap();
    world.meet(0, 2, Encoding::Json).unwrap();
    assert_eq!(world.meet(1, 2, Encoding::Json).unwrap(), 0);
    world.write(1, &Write::Twins { value: 9 }).unwrap();
    assert_eq!(world.meet(1, 2, Encoding::Json).unwrap(), 1);
}

#[test]
fn both_points_move_to_the_end_although_nothing_is_sent_back() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    for value in 0..10 {
        pair.put(A, 1, value);
        pair.put(B, 2, value);
    }
    pair.drive();
    let ends = [A, B].map(|node| pair.nodes[node].engine.end().offset);
    for node in [A, B] {
        let status = pair.nodes[node].engine.sessions().next().unwrap();
        assert_eq!((status.incoming, status.outgoing), (0, 0));
        assert_eq!(status.receipt, Some(ends[node]));
    }
    pair.cut(link).unwrap();
    assert_eq!(pair.meet_both(), 0);
}

/// Each counted as outgoing what the other had sent, until that was reported as echoes: 20 ms in which nobody said
/// anything.
#[test]
fn what_both_wrote_apart_is_known_to_be_held_as_soon_as_it_is() {
    let mut pair = Pair::new();
    for value in 0..10 {
        pair.put(A, 1, value);
        pair.put(B, 2, value);
    }
    pair.connect_both();
    for _ in 0..20 {
        for node in [A, B] {
            pair.deliver_to(node).unwrap();
            pair.sync(node).unwrap();
        }
    }
    for node in [A, B] {
        let status = pair.nodes[node].engine.sessions().next().unwrap();
        assert_eq!((status.incoming, status.outgoing), (0, 0), "no time has passed");
        assert_eq!(status.receipt, Some(10), "the rest is not reported yet");
    }
    pair.drive();
    pair.assert_equal();
}

#[test]
fn a_ring_carries_each_transaction_once_into_each_log() {
    let mut world = World::new(5).unwrap();
    for node in 0..5 {
        world.connect(node, (node + 1) % 5, Encoding::Json).unwrap();
    }
    world.settle().unwrap();
    for node in 0..5_u8 {
        world.write(usize::from(node), &Write::Put { id: node, field: 0, value: 1 }).unwrap();
    }
    world.settle().unwrap();
    world.check_equal().unwrap();
    for node in 0..5 {
        assert_eq!(world.nodes[node].engine.end().offset, 5);
    }
    let sent: usize =
        (0..5).map(|link| wire::sent(&world, link, 0) + wire::sent(&world, link, 1)).sum();
    assert!(sent <= 5 * 5 * 2, "{sent} transactions for five, over five links");
}

#[test]
fn a_ring_of_three_settles_in_silence() {
    let mut world = World::new(3).unwrap();
    for (node, encoding) in
        [Encoding::Json, Encoding::MessagePack, Encoding::Json].iter().enumerate()
    {
        world.connect(node, (node + 1) % 3, *encoding).unwrap();
        world.write(node, &Write::Several { id: 0, value: 1, by: 1 }).unwrap();
    }
    world.settle().unwrap();
    world.check_equal().unwrap();
    // Nobody says a word more, but for heartbeats.
    for link in &mut world.links {
        link.tape = Some(Vec::new());
    }
    world.advance(HEARTBEAT_MS - 1000).unwrap();
    world.settle().unwrap();
    assert!(world.links.iter().all(|link| link.tape.as_ref().unwrap().is_empty()));
    world.check_silence().unwrap();
}

#[test]
fn peers_of_both_encodings_pass_on_each_others_transactions_unchanged() {
    let mut world = World::new(5).unwrap();
    for node in 0..4 {
        let encoding = if node % 2 == 0 { Encoding::Json } else { Encoding::MessagePack };
        world.connect(node, node + 1, encoding).unwrap();
    }
    let floats = [f64::MIN_POSITIVE, -0.0, f64::NAN, 1e300].map(Value::from);
    let value = Value::Array(
        [Value::Int(u64::MAX.into()), Value::Int(i64::MIN.into()), Value::Bytes(vec![0, 255])]
            .into_iter()
            .chain(floats)
            .collect(),
    );
    for node in [0, 4] {
        let key = note(u8::try_from(node).unwrap());
        let mut proposal = Proposal::default();
        proposal.create(key.clone(), &Fields::default()).unwrap();
        proposal.update(key, vec![Edit::value(name("odd"), value.encode())]).unwrap();
        world.propose(node, proposal).unwrap();
    }
    world.settle().unwrap();
    // Equal to the last byte, over four hops: the logs are compared, and so are the records.
    world.check_equal().unwrap();
    assert_eq!(world.value(4, &note(0), "odd").map(|it| it.encode()), Some(value.encode()));
    world.check_silence().unwrap();
}

#[test]
fn a_write_costs_the_same_however_long_the_log_and_however_many_the_nodes() {
    let bytes = [(0, 0), (500, 10)].map(|(writes, others)| {
        let mut pair = Pair::new();
        for value in 0..writes {
            pair.write_of(A, Write::Raise { id: 1, by: i8::try_from(value % 100).unwrap() + 1 });
        }
        for number in 0..others {
            let other = pair.add_node(&format!("other {number}")).unwrap();
            pair.put(other, 9, number);
            pair.meet(other, A, Encoding::MessagePack).unwrap();
        }
        let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
        pair.drive();
        pair.links[link].tape = Some(Vec::new());
        pair.put(A, 2, 1);
        pair.drive();
        let tape = pair.links[link].tape.take().unwrap();
        tape.iter().map(|(_, frame)| frame.len()).sum::<usize>()
    });
    // Greater offsets are longer numbers.
    assert!(bytes[1] <= bytes[0] + 32, "{bytes:?}");
}

/// Nothing in an engine depends on a clock, a random number or an address that it was not given.
#[test]
fn the_same_story_sends_the_same_bytes() {
    let tapes = [(); 2].map(|()| {
        let mut world = World::new(4).unwrap();
        for node in 0..4 {
            world.connect(node, (node + 1) % 4, Encoding::MessagePack).unwrap();
            world.write(node, &Write::Several { id: 0, value: 1, by: 1 }).unwrap();
        }
        world.crash(2, 0).unwrap();
        world.connect(2, 0, Encoding::Json).unwrap();
        world.settle().unwrap();
        world.links.iter_mut().map(|link| link.tape.take().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(tapes[0], tapes[1]);
}

#[test]
fn duplicate_sessions_between_two_nodes_do_no_harm() {
    let mut pair = Pair::new();
    let first = pair.connect_both();
    let second = pair.connect(B, A, Encoding::MessagePack).unwrap();
    for value in 0..10 {
        pair.put(A, 1, value);
        pair.deliver(first, 1).unwrap();
        pair.deliver(second, 0).unwrap();
        pair.put(B, 2, value);
    }
    pair.drive();
    pair.assert_equal();
    pair.cut(first).unwrap();
    pair.put(A, 3, 1);
    pair.drive();
    pair.assert_equal();
}

#[test]
fn writes_made_during_a_catch_up_are_part_of_it() {
    let mut pair = Pair::new();
    for id in 0..20 {
        pair.write_of(A, Write::Large { id, kib: 50 });
    }
    let link = pair.connect_both();
    for value in 0..40 {
        pair.deliver(link, usize::from(value % 2)).unwrap();
        pair.put(A, 30, value);
        pair.put(B, 31, value);
    }
    pair.drive();
    pair.assert_equal();
    let caught_up = |pair: &Pair, node: usize| {
        pair.nodes[node].events.iter().filter(|it| matches!(it, Event::CaughtUp { .. })).count()
    };
    assert_eq!((caught_up(&pair, A), caught_up(&pair, B)), (1, 1));
}

#[test]
fn more_than_a_window_passes_by_and_by() {
    let mut pair = Pair::new();
    for id in 0..200 {
        pair.write_of(A, Write::Large { id, kib: 60 });
    }
    let link = pair.connect_both();
    for _ in 0..10 {
        pair.deliver(link, 0).unwrap();
        pair.deliver(link, 1).unwrap();
    }
    // B has flushed nothing, so it has acknowledged nothing: A waits.
    while pair.deliver(link, 1).unwrap() | pair.deliver(link, 0).unwrap() {}
    let tape = pair.links[link].tape.as_ref().unwrap();
    let bytes: usize = tape.iter().map(|(_, frame)| frame.len()).sum();
    assert!(bytes as u64 <= WINDOW_BYTES + (1 << 20), "{bytes} bytes without an ack");
    assert!(pair.nodes[B].engine.end() != pair.nodes[A].engine.end());
    pair.drive();
    pair.assert_equal();

    // B is told how far it is.
    let told = pair.nodes[B].events.iter().filter_map(|event| match event {
        Event::CatchingUp { taken, left, .. } => Some((*taken, *left)),
        Event::CaughtUp { .. } => Some((200, 0)),
        _ => None,
    });
    let told: Vec<(u64, u64)> = told.collect();
    assert!(told.len() > 20 && told.is_sorted(), "{told:?}");
    assert!(told.iter().all(|(taken, left)| taken + left == 200), "{told:?}");
    assert_eq!(told.iter().filter(|(_, left)| *left == 0).count(), 1, "{told:?}");
}

/// A writer that was faster than a session's task made a message of each change, for each session.
#[test]
fn what_is_written_while_a_message_is_under_way_goes_in_one() {
    let mut pair = Pair::new();
    let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
    pair.drive();
    pair.links[link].tape = Some(Vec::new());
    let said = |pair: &Pair| {
        let said = pair.links[link].said().iter().filter(|(side, _)| *side == 0);
        said.filter(|(_, frame)| wire::kind(frame) == "scribes").count()
    };
    pair.stall(link, 0, true).unwrap();
    (0..50).for_each(|value| pair.put(A, 1, value));
    assert_eq!(said(&pair), 1, "the first one does not wait");
    pair.stall(link, 0, false).unwrap();
    assert_eq!(said(&pair), 2, "the others go together");

    // What fills a message waits for nothing.
    pair.stall(link, 0, true).unwrap();
    (2..6).for_each(|id| assert!(pair.write_of(A, Write::Large { id, kib: 40 })));
    assert_eq!(said(&pair), 4);
    pair.stall(link, 0, false).unwrap();
    pair.drive();
    assert_eq!(pair.title(B, 1), Some(49));
    pair.assert_equal();
}

/// The world measures what every session has handed out without room: see `World::send`.
#[test]
fn a_slow_reader_costs_a_bounded_buffer_and_nobody_else_anything() {
    let mut world = World::new(3).unwrap();
    let slow = world.connect(A, B, Encoding::MessagePack).unwrap();
    world.connect(A, 2, Encoding::MessagePack).unwrap();
    world.settle().unwrap();
    world.stall(slow, 0, true).unwrap();
    for id in 0..60 {
        world.write(A, &Write::Large { id, kib: 60 }).unwrap();
    }
    world.settle().unwrap();
    let queued = world.links[slow].ends[0].queued;
    assert!(queued <= SEND_BUFFER_BYTES + (128 << 10), "{queued} bytes wait");
    assert_eq!(world.nodes[2].engine.end(), world.nodes[A].engine.end());
    assert_ne!(world.nodes[B].engine.end(), world.nodes[A].engine.end());
    world.stall(slow, 0, false).unwrap();
    world.settle().unwrap();
    world.check_equal().unwrap();
}

#[test]
fn a_reader_that_never_takes_anything_gets_no_answers_piled_up() {
    let mut stranger = Stranger::synced();
    let link = stranger.world.links.len() - 1;
    stranger.world.stall(link, 1, true).unwrap();
    for id in 0..10 {
        stranger.world.write(A, &Write::Large { id, kib: 60 }).unwrap();
    }
    let before = stranger.world.links[link].ends[1].queued;
    for _ in 0..1000 {
        stranger.says(&serde_json::json!({ "type": "ping" }));
    }
    assert_eq!(stranger.world.links[link].ends[1].queued, before);
    assert!(before <= SEND_BUFFER_BYTES + FRAME_BYTES_MAX);
}

#[test]
fn an_unknown_point_is_never_answered_with_nothing() {
    let mut pair = Pair::new();
    for id in 0..5 {
        pair.put(A, id, 1);
    }
    pair.sync(A).unwrap();
    // A node whose peer was exchanged below it: its points are of another log.
    pair.put(B, 9, 9);
    pair.meet_both();
    let (image, log) = pair.nodes[A].image.clone();
    pair.nodes[A].image = (image, log);
    pair.restore(A).unwrap();
    for id in 0..9 {
        pair.put(A, id, 2);
    }
    assert!(pair.meet_both() >= 9);
    pair.assert_equal();
}

#[test]
fn points_that_are_in_no_log_bring_everything_from_the_start() {
    let mut pair = Pair::new();
    for id in 0..5 {
        pair.put(A, id, 1);
    }
    let end = pair.nodes[A].engine.end();
    let mut stranger = Stranger::calls(World::new(1).unwrap());
    for id in 0..5 {
        stranger.world.write(A, &Write::Put { id, field: 0, value: 1 }).unwrap();
    }
    let mut points = Vec::new();
    for offset in [0, 1, 3, 5, 6, u64::MAX] {
        let digest = syncro_core::Digest([1; 16]);
        points.push(syncro_core::Point { offset, digest });
    }
    stranger.says(&wire::hello(syncro_core::NodeId::named("stranger")));
    stranger.says(&wire::sync(&points));
    let scribes: Vec<_> =
        stranger.hears().into_iter().filter(|it| it["type"] == "scribes").collect();
    assert_eq!(scribes[0]["from"], wire::point(syncro_core::Point::START));
    assert_eq!(scribes[0]["transactions"].as_array().unwrap().len(), 5);
    assert_eq!(scribes[0]["to"], wire::point(end));
}

#[test]
fn a_piece_goes_on_from_the_last_one_unless_it_says_where_it_begins() {
    let mut world = World::new(1).unwrap();
    for id in 0..3 {
        world.write(A, &Write::Put { id, field: 0, value: 1 }).unwrap();
    }
    let log = world.nodes[A].log.entries().to_vec();
    let piece = |to: syncro_core::Point, entry: &syncro_core::Entry| {
        let items = [wire::item(&entry.transaction)];
        serde_json::json!({ "type": "scribes", "to": wire::point(to), "transactions": items })
    };
    // It has nothing, and so has asked by the start.
    let mut stranger = Stranger::synced();
    for entry in &log[..2] {
        stranger.says(&piece(entry.end(), entry));
        assert_eq!((stranger.closed(), stranger.end()), (None, entry.end()));
    }
    stranger.says(&serde_json::json!({ "type": "scribes" }));
    assert_eq!(stranger.closed(), None);
    let mut endless = piece(log[2].end(), &log[2]);
    endless.as_object_mut().unwrap().remove("to");
    let mut other = Stranger::synced();
    other.says(&endless);
    other.assert_closed(CloseReason::Malformed);
    // What is meant for another place has another digest there.
    stranger.says(&piece(log[0].end(), &log[0]));
    stranger.assert_closed(CloseReason::Digest);
    assert_eq!(stranger.end(), log[1].end());
}

#[test]
fn the_point_is_sent_even_with_nothing_to_follow() {
    let mut stranger = Stranger::greeted();
    stranger.says(&wire::sync(&[]));
    let said = stranger.hears();
    assert_eq!(said[0], serde_json::json!({ "type": "scribes" }));
}

#[test]
fn a_reconnect_with_nothing_new_takes_a_handful_of_short_messages() {
    let mut pair = Pair::new();
    for round in 0..300_u16 {
        pair.put(A, u8::try_from(round % 3).unwrap(), u8::try_from(round % 251).unwrap());
        if round % 10 == 0 {
            pair.meet_both();
        }
    }
    pair.meet_both();
    let link = pair.connect_both();
    pair.drive();
    let tape = pair.links[link].tape.take().unwrap();
    let bytes: usize = tape.iter().map(|(_, frame)| frame.len()).sum();
    assert!(tape.len() <= 8, "{} messages", tape.len());
    assert!(bytes < 8 << 10, "{bytes} bytes");
}

/// Writes a transaction of nearly the greatest length.
fn write_large(world: &mut World, node: usize, id: u8) {
    let mut proposal = Proposal::default();
    for id in 4 * id..4 * id + 4 {
        let body = Value::Bytes(vec![id; 255 << 10]);
        proposal.create(note(id), &Fields::default()).unwrap();
        proposal.update(note(id), vec![Edit::value(name("body"), body.encode())]).unwrap();
    }
    world.propose(node, proposal).unwrap();
}

/// One message carried more than the engine keeps of its log in memory. A third node, to which it was to
/// go on at once, had its session closed for a corrupt store: the entries were in neither the memory nor
/// the view, which is that before the commit.
#[test]
fn a_large_batch_passes_through_a_relay() {
    let mut world = World::new(3).unwrap();
    for id in 0..3 {
        world.write(0, &Write::Large { id, kib: 15 }).unwrap();
    }
    write_large(&mut world, 0, 3);
    world.connect(1, 2, Encoding::MessagePack).unwrap();
    world.settle().unwrap();
    world.connect(0, 1, Encoding::MessagePack).unwrap();
    world.settle().unwrap();
    world.check_equal().unwrap();
}

/// Echoes refer to the receiver's own log by place: they must hold whatever else was appended meanwhile,
/// and through other sessions.
#[test]
fn echoes_hold_while_other_sessions_append() {
    let mut world = World::new(3).unwrap();
    let links = [(0, 1), (1, 2), (2, 0)].map(|(a, b)| world.connect(a, b, Encoding::Json).unwrap());
    for round in 0..30_u8 {
        let node = usize::from(round % 3);
        world.write(node, &Write::Several { id: round % 3, value: round, by: 1 }).unwrap();
        for (place, link) in links.into_iter().enumerate() {
            for _ in 0..(usize::from(round) + place) % 3 {
                world.deliver(link, usize::from(round) % 2).unwrap();
            }
        }
    }
    world.settle().unwrap();
    world.check_equal().unwrap();
    assert!(world.nodes.iter().all(|node| node.engine.sessions().count() == 2));
}

/// B has what A wrote, and says so by echoes alone.
#[track_caller]
fn assert_echoed(pair: &mut Pair, link: usize) {
    pair.drive();
    pair.assert_equal();
    let ends = [A, B].map(|node| pair.nodes[node].engine.end().offset);
    for node in [A, B] {
        let status = pair.nodes[node].engine.sessions().next().unwrap();
        assert_eq!((status.incoming, status.outgoing), (0, 0));
        assert_eq!(status.receipt, Some(ends[node]));
    }
    assert_eq!(wire::sent(pair, link, 1), 0, "nothing is sent back");
    pair.cut(link).unwrap();
    assert_eq!(pair.meet_both(), 0);
}

/// Their receiver reads and hashes what echoes refer to: of six such transactions three fit one message.
#[test]
fn echoes_of_the_largest_transactions_come_to_rest() {
    let mut pair = Pair::new();
    let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
    pair.drive();
    for id in 0..6 {
        write_large(&mut pair, A, id);
    }
    assert_echoed(&mut pair, link);
}

/// Hundreds of runs, since B's own writes lie between them, and more than one message holds.
#[test]
fn echoes_of_many_runs_come_to_rest() {
    let mut pair = Pair::new();
    let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
    pair.drive();
    for round in 0..700_u16 {
        let [_, value] = round.to_be_bytes();
        pair.put(A, 1, value);
        pair.deliver(link, 1).unwrap();
        pair.put(B, 2, value);
    }
    pair.drive();
    pair.assert_equal();
    assert_eq!((wire::sent(&pair, link, 0), wire::sent(&pair, link, 1)), (700, 700));
    pair.cut(link).unwrap();
    assert_eq!(pair.meet_both(), 0);
}

fn of_many_records(records: i64) -> Proposal {
    let mut proposal = Proposal::default();
    for id in 0..records {
        let key = RecordKey { model: name("note"), id: RecordId::Int(id) };
        proposal.create(key, &Fields::default()).unwrap();
    }
    proposal
}

#[test]
fn a_transaction_of_as_many_scribes_as_one_may_have_comes_to_rest() {
    let mut pair = Pair::new();
    let link = pair.connect(A, B, Encoding::MessagePack).unwrap();
    pair.drive();
    pair.propose(A, of_many_records(TRANSACTION_SCRIBES_MAX as i64)).unwrap();
    assert_eq!(pair.nodes[A].engine.end().offset, TRANSACTION_SCRIBES_MAX as u64);
    assert_echoed(&mut pair, link);
}

/// It could be written, and no echo of it could ever be sent: the peers began anew without end.
#[test]
fn a_transaction_of_more_scribes_is_refused_where_it_is_written() {
    let mut world = World::new(1).unwrap();
    for records in [40_000, 70_000] {
        let refused = world.try_input(A, Input::Propose(of_many_records(records))).unwrap();
        let Err(Error::Data(DataError::TooManyScribes { scribes })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(scribes, records as usize);
    }
    assert_eq!(world.nodes[A].engine.end().offset, 0);
}
