//! Crashes and restores: what was durable anywhere is found again everywhere.

use syncro_core::{Encoding, Event};

use syncro_sim::world::{A, B, Fuse, Pair, wire};
use syncro_sim::{World, Write};

#[test]
fn a_node_that_lost_its_last_second_gets_it_back_from_a_peer() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    pair.put(A, 1, 1);
    while pair.deliver(link, 1).unwrap() {}
    pair.sync(B).unwrap();
    pair.crash(A, 0).unwrap();
    assert_eq!(pair.title(A, 1), None);
    pair.meet_both();
    assert_eq!(pair.title(A, 1), Some(1));
    pair.assert_equal();
}

#[test]
fn a_crashed_node_offers_again_what_its_peer_lost() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    pair.put(A, 1, 1);
    pair.sync(A).unwrap();
    while pair.deliver(link, 1).unwrap() {}
    pair.crash(B, 0).unwrap();
    assert_eq!(pair.title(B, 1), None);
    assert_eq!(pair.meet_both(), 1);
    pair.assert_equal();
}

#[test]
fn a_restored_hub_gets_back_what_it_lost() {
    const HUB: usize = 0;
    let mut world = World::new(4).unwrap();
    world.write(HUB, &Write::Put { id: 0, field: 0, value: 1 }).unwrap();
    for node in 1..4 {
        world.meet(node, HUB, Encoding::Json).unwrap();
    }
    world.nodes[HUB].keep_image();
    for node in 1..4_u8 {
        world.write(usize::from(node), &Write::Put { id: node, field: 0, value: node }).unwrap();
        world.write(HUB, &Write::Tally { by: 1 }).unwrap();
        world.meet(usize::from(node), HUB, Encoding::Json).unwrap();
    }
    world.restore(HUB).unwrap();
    // The hub goes on differently before anybody comes back.
    world.write(HUB, &Write::Twins { value: 3 }).unwrap();
    for _ in 0..2 {
        for node in 1..4 {
            world.meet(node, HUB, Encoding::Json).unwrap();
        }
    }
    world.check_equal().unwrap();
    assert_eq!(world.nodes[HUB].log.entries().len(), 1 + 3 + 3 + 1);
    world.check_silence().unwrap();
}

#[test]
fn a_node_restored_again_and_again_loses_nothing() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    pair.meet_both();
    pair.nodes[A].keep_image();
    for round in 1..30 {
        pair.restore(A).unwrap();
        pair.put(A, round, round);
        pair.meet_both();
        pair.assert_equal();
    }
    assert_eq!(pair.nodes[B].log.entries().len(), 30);
    assert_eq!(pair.meet_both(), 0);
}

/// Whatever prefix of its commits a crash leaves: the points that the node wakes up with cover nothing that
/// it does not hold. The world checks it at every reopening.
#[test]
fn a_point_moves_only_with_what_it_covers() {
    for kept in 0..12 {
        let mut pair = Pair::new();
        for id in 0..6 {
            pair.put(A, id, id);
        }
        let link = pair.connect_both();
        while pair.deliver(link, 0).unwrap() | pair.deliver(link, 1).unwrap() {}
        for id in 0..6 {
            pair.put(A, id, id + 10);
            pair.deliver(link, 1).unwrap();
        }
        assert!(pair.nodes[B].unsynced.len() >= 7);
        pair.crash(B, kept).unwrap();
        let held = pair.nodes[B].log.entries().len();
        let link = pair.connect_both();
        pair.drive();
        let sent = wire::sent(&pair, link, 0);
        assert_eq!(sent, 12 - held, "only what was lost is sent again");
        pair.assert_equal();
    }
}

#[test]
fn an_acknowledgement_waits_for_the_flush() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    pair.put(A, 1, 1);
    pair.take_events(A);
    let acks = |pair: &Pair| {
        let tape = pair.links[link].tape.as_ref().unwrap();
        tape.iter().filter(|(side, frame)| *side == 1 && wire::kind(frame) == "ack").count()
    };
    let before = acks(&pair);
    while pair.deliver(link, 0).unwrap() | pair.deliver(link, 1).unwrap() {}
    assert_eq!(pair.title(B, 1), Some(1), "it is visible");
    assert_eq!(acks(&pair), before, "and not acknowledged");
    pair.sync(B).unwrap();
    assert_eq!(acks(&pair), before + 1);
    pair.drive();
    assert!(pair.has_event(A, |event| matches!(event, Event::Receipt { offset: 1, .. })));
}

#[test]
fn a_cut_at_any_message_loses_and_repeats_nothing() {
    for cut_after in 0..30 {
        let mut pair = Pair::new();
        for id in 0..4 {
            pair.put(A, id, 1);
            pair.put(B, id + 4, 2);
        }
        let link = pair.connect_both();
        let mut delivered = 0;
        for turn in 0..60 {
            if turn % 4 == 0 {
                pair.put(turn % 2, 9, u8::try_from(turn).unwrap());
            }
            if turn % 3 == 0 {
                pair.sync(turn / 3 % 2).unwrap();
            }
            if delivered == cut_after {
                break;
            }
            delivered += usize::from(pair.deliver(link, turn % 2).unwrap());
        }
        pair.cut(link).unwrap();
        pair.meet_both();
        pair.assert_equal();
        assert_eq!(pair.meet_both(), 0);
    }
}

/// Two nodes that each wrote something and are connected; nothing has arrived yet.
fn with_a_word_to_say(encoding: Encoding) -> (Pair, usize) {
    let mut pair = Pair::new();
    pair.write_of(A, Write::Several { id: 1, value: 1, by: 1 });
    pair.put(B, 7, 2);
    let link = pair.connect(A, B, encoding).unwrap();
    (pair, link)
}

#[test]
fn a_cut_at_any_byte_loses_nothing_and_leaves_nothing_to_repeat() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        for side in 0..2 {
            let cuts = (0..).take_while(|at| is_cut_at(encoding, side, *at)).count();
            assert!(cuts > 300, "a conversation of {cuts} bytes");
        }
    }
}

/// Cuts the line to one side at a byte; what goes the other way has arrived. Returns whether there was so
/// much to say.
fn is_cut_at(encoding: Encoding, side: usize, mut left: usize) -> bool {
    let (mut pair, link) = with_a_word_to_say(encoding);
    loop {
        while pair.deliver(link, 1 - side).unwrap() {}
        let under_way = pair.links[link].ends[side].incoming.bytes_under_way();
        pair.arrive(link, side, left.min(under_way)).unwrap();
        if left < under_way {
            break;
        }
        left -= under_way;
        pair.sync(A).unwrap();
        pair.sync(B).unwrap();
        if pair.links[link].ends.iter().all(|end| end.incoming.is_idle()) {
            return false;
        }
    }
    pair.cut(link).unwrap();
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.meet_both(), 0);
    true
}

/// What both sides say in a conversation.
type Said = [Vec<(usize, bytes::Bytes)>; 2];

fn said(pair: &mut Pair, link: usize) -> Said {
    let tape = pair.links[link].tape.take().unwrap();
    [0, 1].map(|side| tape.iter().filter(|it| it.0 == side).cloned().collect())
}

#[test]
fn messages_that_arrive_byte_by_byte_are_what_they_are_at_once() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let [slow, fast] = [Some([1, 1]), None].map(|chunks| {
            let (mut pair, link) = with_a_word_to_say(encoding);
            pair.chunks = chunks;
            pair.drive();
            pair.assert_equal();
            said(&mut pair, link)
        });
        assert_eq!(slow, fast);
    }
}

#[test]
fn messages_that_arrive_cut_in_two_at_any_byte_are_what_they_are_at_once() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        for side in 0..2 {
            let (whole, _) = said_cut_in_two(encoding, side, usize::MAX);
            let cuts = (0..).map(|at| said_cut_in_two(encoding, side, at));
            let cuts =
                cuts.take_while(|(_, is_cut)| *is_cut).inspect(|(cut, _)| assert_eq!(*cut, whole));
            assert!(cuts.count() > 300);
        }
    }
}

/// Lets all that one side is sent arrive in two pieces, the second of which comes when the first has been dealt with and
/// everything else has arrived. Returns what was said, and whether there was a byte to cut at.
fn said_cut_in_two(encoding: Encoding, side: usize, mut left: usize) -> (Said, bool) {
    let (mut pair, link) = with_a_word_to_say(encoding);
    let mut is_cut = false;
    loop {
        while pair.deliver(link, 1 - side).unwrap() {}
        let under_way = pair.links[link].ends[side].incoming.bytes_under_way();
        if !is_cut && left < under_way {
            is_cut = true;
            pair.arrive(link, side, left).unwrap();
            while pair.deliver(link, 1 - side).unwrap() {}
        }
        left = left.saturating_sub(under_way);
        while pair.deliver(link, side).unwrap() {}
        pair.sync(A).unwrap();
        pair.sync(B).unwrap();
        if pair.links[link].ends.iter().all(|end| end.incoming.is_idle()) {
            break;
        }
    }
    pair.drive();
    pair.assert_equal();
    // Each has its own transactions and the other's, once.
    assert_eq!([A, B].map(|node| pair.nodes[node].log.entries().len()), [2, 2]);
    (said(&mut pair, link), is_cut)
}

/// The world checks at every receipt that the peer holds durably what it acknowledged, and at every opening
/// that no point covers what is not there.
#[test]
fn a_crash_between_any_two_steps_of_a_driver_loses_nothing_that_a_peer_was_told() {
    for node in [A, B] {
        for kept in [0, 1, usize::MAX] {
            for steps in 0..200 {
                let (mut pair, _) = with_a_word_to_say(Encoding::MessagePack);
                pair.nodes[node].fuse = Some(Fuse { steps, kept, bytes: usize::MAX });
                for value in 0..4 {
                    pair.write(A, &Write::Put { id: 3, field: 0, value }).unwrap();
                    pair.drive();
                    pair.write(B, &Write::Several { id: 4, value, by: 1 }).unwrap();
                }
                pair.drive();
                let is_over = pair.nodes[node].fuse.take().is_some();
                pair.meet_both();
                pair.assert_equal();
                assert_eq!(pair.meet_both(), 0);
                if is_over {
                    assert!(steps > 20, "the driver did {steps} steps");
                    break;
                }
                assert!(steps < 199);
            }
        }
    }
}

#[test]
fn a_flush_acknowledges_only_what_was_applied_before_it() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    pair.take_events(A);
    pair.put(A, 1, 1);
    while pair.deliver(link, 1).unwrap() {}
    pair.flush(B).unwrap();
    // This one comes while the flush is under way.
    pair.put(A, 2, 2);
    while pair.deliver(link, 1).unwrap() {}
    pair.hear(B).unwrap();
    while pair.deliver(link, 0).unwrap() {}
    let receipts = |pair: &Pair| {
        let events = pair.nodes[A].events.iter();
        let offsets = events.filter_map(|event| match event {
            Event::Receipt { offset, .. } => Some(*offset),
            _ => None,
        });
        offsets.collect::<Vec<_>>()
    };
    assert_eq!(receipts(&pair), [1]);
    pair.drive();
    assert_eq!(receipts(&pair), [1, 2]);
}

#[test]
fn both_of_two_nodes_restored_get_back_what_either_still_has() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    pair.meet_both();
    pair.sync(A).unwrap();
    pair.nodes[A].keep_image();
    pair.put(A, 1, 1);
    pair.put(B, 2, 2);
    pair.meet_both();
    pair.nodes[B].keep_image();
    pair.put(B, 3, 3);
    pair.meet_both();
    // A goes back furthest; what only the lost parts of both held is gone, and nothing else.
    pair.restore(A).unwrap();
    pair.restore(B).unwrap();
    pair.put(A, 4, 4);
    pair.put(B, 5, 5);
    pair.meet_both();
    pair.assert_equal();
    let titles = [0, 1, 2, 3, 4, 5].map(|id| pair.title(A, id));
    assert_eq!(titles, [Some(1), Some(1), Some(2), None, Some(4), Some(5)]);
    assert_eq!(pair.meet_both(), 0);
}

#[test]
fn a_transaction_is_never_half_visible() {
    // Two records that agree in every transaction; the world compares them at every commit, and at every
    // opening after a crash.
    for kept in 0..8 {
        let mut pair = Pair::new();
        for value in 0..6 {
            pair.write_of(A, Write::Several { id: value, value, by: 1 });
        }
        let link = pair.connect_both();
        while pair.deliver(link, 0).unwrap() | pair.deliver(link, 1).unwrap() {}
        pair.crash(B, kept).unwrap();
        pair.crash(A, kept).unwrap();
        pair.meet_both();
        pair.assert_equal();
    }
}
