//! Bundles: what lies between two meetings, carried as a file.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::{
    CloseReason, Digest, Encoding, Error, Event, Input, NodeId, Point, Role, SessionId, UsageError,
    View,
};

use syncro_sim::world::{A, B, Pair, Read, wire};
use syncro_sim::{World, Write};

fn id(pair: &Pair, node: usize) -> NodeId {
    pair.nodes[node].engine.node()
}

/// What A has for B.
fn bundle(pair: &mut Pair) -> Vec<Bytes> {
    let peer = id(pair, B);
    pair.export(A, peer).unwrap().unwrap().frames
}

fn transactions(frames: &[Bytes]) -> usize {
    frames.iter().map(wire::transactions).sum()
}

#[test]
fn two_nodes_that_never_connect_converge_by_files() {
    let mut pair = Pair::new();
    for round in 1..5 {
        pair.put(A, 1, round);
        pair.put(B, 2, round);
        let there = bundle(&mut pair);
        assert!(matches!(pair.import(B, &there).unwrap(), Read::Whole { scribes: 1 }));
        let to_a = id(&pair, A);
        let back = pair.export(B, to_a).unwrap().unwrap().frames;
        assert!(matches!(pair.import(A, &back).unwrap(), Read::Whole { scribes: 1 }));
        pair.assert_equal();
    }
}

#[test]
fn a_bundle_begins_where_the_peer_was_last_known_to_be() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    let first = bundle(&mut pair);
    pair.put(A, 1, 2);
    // Nobody knows what became of the first.
    assert_eq!(transactions(&bundle(&mut pair)), 2);
    pair.import(B, &first).unwrap();
    let to_a = id(&pair, A);
    let back = pair.export(B, to_a).unwrap().unwrap().frames;
    pair.import(A, &back).unwrap();
    assert!(pair.has_event(A, |event| matches!(event, Event::Receipt { offset: 1, .. })));
    assert_eq!(transactions(&bundle(&mut pair)), 1);
    // A session knows it too.
    pair.sync(B).unwrap();
    assert_eq!(pair.meet_both(), 1);
    assert_eq!(transactions(&bundle(&mut pair)), 0);
}

#[test]
fn a_bundle_taken_in_twice_is_taken_in_once() {
    let mut pair = Pair::new();
    (0..4).for_each(|id| pair.put(A, id, 1));
    let frames = bundle(&mut pair);
    assert_eq!(pair.import(B, &frames).unwrap(), Read::Whole { scribes: 4 });
    pair.put(B, 9, 9);
    assert_eq!(pair.import(B, &frames).unwrap(), Read::Whole { scribes: 0 });
    // And nothing that it has learnt is forgotten by it.
    (0..4).for_each(|id| pair.put(A, id, 2));
    pair.sync(B).unwrap();
    let link = pair.connect_both();
    pair.drive();
    assert_eq!(wire::sent(&pair, link, 0), 4);
}

#[test]
fn a_bundle_cut_at_any_frame_is_taken_in_up_to_there_and_goes_on_from_there() {
    for cut in 0..8 {
        let mut pair = Pair::new();
        for id in 0..4 {
            pair.write_of(A, Write::Large { id, kib: 60 });
        }
        let frames = bundle(&mut pair);
        assert!(frames.len() > 5, "{} frames", frames.len());
        let readable = cut.min(frames.len() - 1);
        assert_eq!(pair.import(B, &frames[..readable]).unwrap(), Read::Cut);
        pair.crash(B, cut % 3).unwrap();
        assert!(matches!(pair.import(B, &frames).unwrap(), Read::Whole { .. }));
        pair.assert_equal();
    }
}

/// B took in one bundle and says so; then it is set back to before. The next bundle begins too late for it.
#[test]
fn a_gap_is_refused_and_a_request_closes_it() {
    let mut pair = Pair::new();
    pair.put(B, 1, 1);
    pair.nodes[B].keep_image();
    pair.put(A, 2, 2);
    pair.carry(A, B).unwrap();
    pair.restore(B).unwrap();
    pair.put(A, 3, 3);
    let late = bundle(&mut pair);
    assert_eq!(transactions(&late), 1);
    assert_eq!(pair.import(B, &late).unwrap(), Read::Gap);
    assert_eq!(pair.title(B, 3), None, "nothing of it is taken");
    let to_a = id(&pair, A);
    let request = pair.request(B, to_a).unwrap().unwrap().frames;
    assert_eq!(transactions(&request), 0);
    assert_eq!(pair.import(A, &request).unwrap(), Read::Whole { scribes: 0 });
    let whole = bundle(&mut pair);
    assert!(matches!(pair.import(B, &whole).unwrap(), Read::Whole { .. }));
    pair.assert_equal();
}

/// What was made for somebody else is as good, as far as it goes, and says nothing of this node.
#[test]
fn a_bundle_for_another_node_is_taken_in_if_it_leaves_no_gap() {
    let mut world = World::new(3).unwrap();
    world.write(0, &Write::Put { id: 1, field: 0, value: 1 }).unwrap();
    let second = world.nodes[1].engine.node();
    let bundle = world.export(0, second).unwrap().unwrap();
    assert_eq!(world.import(2, &bundle.frames).unwrap(), Read::Whole { scribes: 1 });
    assert_eq!(world.title(2, 1), Some(1));
    assert!(!world.nodes[2].events.iter().any(|it| matches!(it, Event::Receipt { .. })));
}

#[test]
fn a_node_that_takes_in_its_own_bundle_is_not_taken_for_a_clone() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    let frames = bundle(&mut pair);
    assert_eq!(pair.import(A, &frames).unwrap(), Read::Whole { scribes: 0 });
    assert!(!pair.has_event(A, |event| matches!(event, Event::Forked { .. })));
}

/// Where a bundle begins its maker has named once: not as a rung, but because both logs began alike. The reader may have
/// no rung there, and knows the place all the same.
#[test]
fn a_bundle_may_begin_where_two_logs_begin_alike() {
    let mut world = World::new(3).unwrap();
    world.write(0, &Write::Put { id: 1, field: 0, value: 1 }).unwrap();
    world.meet(0, 1, Encoding::MessagePack).unwrap();
    world.meet(0, 2, Encoding::MessagePack).unwrap();
    world.write(1, &Write::Put { id: 2, field: 0, value: 2 }).unwrap();
    // 1 and 2 have never met, and have the first transaction of both their logs in common.
    let [first, second] = [1, 2].map(|node| world.nodes[node].engine.node());
    let request = world.request(2, first).unwrap().unwrap();
    world.import(1, &request.frames).unwrap();
    let bundle = world.export(1, second).unwrap().unwrap();
    assert_eq!(transactions(&bundle.frames), 1);
    assert_eq!(world.import(2, &bundle.frames).unwrap(), Read::Whole { scribes: 1 });
}

/// A node that was set back gets what it had from a bundle that it wrote once.
#[test]
fn a_bundle_is_a_backup_too() {
    let mut pair = Pair::new();
    pair.nodes[A].keep_image();
    pair.put(A, 1, 1);
    let frames = bundle(&mut pair);
    pair.restore(A).unwrap();
    assert_eq!(pair.title(A, 1), None);
    assert_eq!(pair.import(A, &frames).unwrap(), Read::Whole { scribes: 1 });
    assert_eq!(pair.title(A, 1), Some(1));
}

/// Plays frames to A, as a bundle or in a session, and returns why it was closed.
fn closed(pair: &mut Pair, is_import: bool, frames: &[Bytes]) -> Option<CloseReason> {
    let session = SessionId(1_000_000 + pair.nodes[A].events.len() as u64);
    pair.is_hostile = true;
    let (role, credentials) = (Role::Accept, Bytes::new());
    let open = match is_import {
        true => Input::Import { session },
        false => Input::Open { session, role, credentials },
    };
    pair.input(A, open).unwrap();
    for frame in frames {
        pair.input(A, Input::Receive { session, frame: frame.clone() }).unwrap();
    }
    let reason = pair.nodes[A].events.iter().rev().find_map(|event| match event {
        Event::Closed { session: it, reason, .. } if *it == session => Some(*reason),
        _ => None,
    });
    pair.input(A, Input::Lost { session }).unwrap();
    reason
}

#[test]
fn what_is_out_of_turn_in_a_bundle_ends_it() {
    let mut pair = Pair::new();
    pair.put(B, 1, 1);
    let to_a = id(&pair, A);
    let frames = pair.export(B, to_a).unwrap().unwrap().frames;
    let [head, hello, sync, scribes, bye] = &frames[..] else { panic!("{} frames", frames.len()) };
    let out_of_turn: [&[&Bytes]; 9] = [
        &[hello],
        &[head, head],
        &[head, sync],
        &[head, hello, hello],
        &[head, hello, sync, sync],
        &[head, hello, scribes],
        &[head, hello, sync, scribes, sync],
        &[head, hello, sync, scribes, bye, bye],
        &[head, hello, sync, scribes, bye, scribes],
    ];
    for frames in out_of_turn {
        let frames: Vec<Bytes> = frames.iter().map(|frame| (*frame).clone()).collect();
        let reason = closed(&mut pair, true, &frames);
        assert_eq!(reason, Some(CloseReason::Unexpected), "{} frames", frames.len());
    }
    let empty = [head, hello, sync, bye].map(Bytes::clone);
    assert_eq!(closed(&mut pair, true, &empty), Some(CloseReason::Gap));
    // A session has no bundles in it.
    let reason = closed(&mut pair, false, &frames);
    assert_eq!(reason, Some(CloseReason::Unexpected));
}

#[test]
fn content_without_the_digest_that_is_stated_ends_a_bundle() {
    let mut pair = Pair::new();
    pair.put(B, 1, 1);
    let to_a = id(&pair, A);
    let mut frames = pair.export(B, to_a).unwrap().unwrap().frames;
    let mut bytes = frames[3].to_vec();
    let at = bytes.windows(16).position(|it| it == pair.nodes[B].engine.end().digest.0).unwrap();
    bytes[at] ^= 1;
    frames[3] = bytes.into();
    assert_eq!(closed(&mut pair, true, &frames), Some(CloseReason::Digest));
    assert_eq!(pair.title(A, 1), None);
}

/// The log is set back between two frames of an export, and is shorter now, or as long with other content.
#[test]
fn an_export_across_a_repair_says_so() {
    for again in [0, 3] {
        let mut pair = Pair::new();
        for id in 0..3 {
            pair.write_of(A, Write::Large { id, kib: 60 });
        }
        pair.sync(A).unwrap();
        pair.nodes[A].keep_image();
        for id in 3..6 {
            pair.write_of(A, Write::Large { id, kib: 60 });
        }
        let peer = id(&pair, B);
        let it = &pair.nodes[A];
        let mut export = it.engine.export(pair.now(A), peer, Bytes::new(), &it.store).unwrap();
        // The head, and two of six.
        for _ in 0..4 {
            export.next(pair.now(A), &it.engine, &it.store).unwrap().expect("there is more");
        }
        pair.restore(A).unwrap();
        for id in 3..3 + again {
            pair.write_of(A, Write::Large { id, kib: 59 });
        }
        let it = &pair.nodes[A];
        let mut frames = 0;
        let error = loop {
            match export.next(pair.now(A), &it.engine, &it.store) {
                Ok(Some(_)) => frames += 1,
                Ok(None) => panic!("it ends as if it were whole"),
                Err(error) => break error,
            }
            assert!(frames < 100, "written again {again}: it never ends");
        };
        assert!(
            matches!(error, Error::Usage(UsageError::UnknownPoint { .. })),
            "written again {again}: {error}"
        );
    }
}

/// A bundle has no window, whatever is flushed on the way.
#[test]
fn a_flush_on_the_way_bounds_nothing() {
    let mut pair = Pair::new();
    for id in 0..=250 {
        pair.write_of(A, Write::Large { id, kib: 60 });
    }
    let frames = bundle(&mut pair);
    assert!(matches!(pair.import(B, &frames).unwrap(), Read::Whole { scribes: 251 }));
    pair.sync(B).unwrap();
    let session = SessionId(2_000_000);
    pair.input(B, Input::Import { session }).unwrap();
    for (place, frame) in frames.iter().enumerate() {
        pair.input(B, Input::Receive { session, frame: frame.clone() }).unwrap();
        if place == 5 {
            // The application writes something meanwhile.
            pair.put(B, 255, 1);
            pair.sync(B).unwrap();
        }
    }
    let closed = pair.nodes[B].events.iter().find_map(|event| match event {
        Event::Closed { session: it, reason, .. } if *it == session => Some(*reason),
        _ => None,
    });
    assert_eq!(closed, None);
}

/// The rungs about it were thinned out since.
#[test]
fn an_old_bundle_all_of_which_is_held_leaves_no_gap() {
    let mut pair = Pair::new();
    pair.put(B, 9, 9);
    for value in 0..10 {
        pair.put(A, 1, value);
        pair.sync(A).unwrap();
        pair.meet_both();
    }
    pair.put(A, 1, 10);
    pair.put(A, 1, 11);
    let late = bundle(&mut pair);
    for value in 12..120 {
        pair.put(A, 1, value);
        pair.sync(A).unwrap();
        pair.meet_both();
    }
    pair.assert_equal();
    assert_eq!(pair.import(B, &late).unwrap(), Read::Whole { scribes: 0 });
}

#[test]
fn old_bundles_do_not_move_the_ladder_back() {
    let mut pair = Pair::new();
    pair.put(B, 9, 9);
    let mut old = Vec::new();
    for value in 0..14 {
        pair.put(A, 1, value);
        old.push(bundle(&mut pair));
    }
    for value in 14..60 {
        pair.put(A, 1, value);
    }
    let newest = bundle(&mut pair);
    assert!(matches!(pair.import(B, &newest).unwrap(), Read::Whole { scribes: 60 }));
    // The stick that was lost first is found last.
    for frames in old.iter().rev() {
        assert_eq!(pair.import(B, frames).unwrap(), Read::Whole { scribes: 0 });
    }
    pair.sync(B).unwrap();
    let link = pair.connect_both();
    pair.drive();
    assert_eq!(wire::sent(&pair, link, 0), 0, "sent again, though all of it is here");
}

#[test]
fn an_old_bundle_leaves_the_ladder_as_it_is() {
    let mut pair = Pair::new();
    pair.put(B, 9, 9);
    pair.put(A, 1, 1);
    let old = bundle(&mut pair);
    pair.put(A, 1, 2);
    let newest = bundle(&mut pair);
    pair.import(B, &newest).unwrap();
    let peer = id(&pair, A);
    let before = pair.nodes[B].store.peer(peer).unwrap().unwrap().ladder;
    assert_eq!(pair.import(B, &old).unwrap(), Read::Whole { scribes: 0 });
    let after = pair.nodes[B].store.peer(peer).unwrap().unwrap().ladder;
    assert_eq!(before, after);
}

#[test]
fn nothing_is_kept_of_messages_that_nobody_is_told_of() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    let frames = bundle(&mut pair);
    let session = SessionId(2_000_000);
    pair.input(B, Input::Import { session }).unwrap();
    let end = pair.nodes[A].engine.end();
    let nothing = wire::frame(&wire::scribes(end, end, Vec::new()));
    for frame in frames[..4].iter().chain(std::iter::repeat_n(&nothing, 1000)) {
        pair.input(B, Input::Receive { session, frame: frame.clone() }).unwrap();
    }
    assert_eq!(pair.nodes[B].engine.usage().unsynced, 0);
}

/// Whoever writes a bundle in the name of a peer cannot take that peer's ladder away by branches that were never there.
#[test]
fn a_bundle_of_who_is_no_view_skips_nothing() {
    let mut pair = Pair::new();
    pair.put(B, 9, 9);
    for value in 0..30 {
        pair.put(A, 1, value);
    }
    let frames = bundle(&mut pair);
    pair.import(B, &frames).unwrap();
    let peer = id(&pair, A);
    let newest = pair.nodes[B].store.peer(peer).unwrap().unwrap().ladder.newest().unwrap();
    pair.is_hostile = true;
    let session = SessionId(2_000_000);
    pair.input(B, Input::Import { session }).unwrap();
    for frame in &frames[..3] {
        pair.input(B, Input::Receive { session, frame: frame.clone() }).unwrap();
    }
    let mut from = Point::START;
    for branch in 0..14_u8 {
        let to = Point { offset: from.offset + 1, digest: Digest([branch; 16]) };
        let skip = serde_json::json!([1, wire::bytes(&to.digest.0)]);
        let frame = wire::frame(&wire::scribes(from, to, vec![skip]));
        pair.input(B, Input::Receive { session, frame }).unwrap();
        from = to;
    }
    let ladder = pair.nodes[B].store.peer(peer).unwrap().unwrap().ladder;
    assert_eq!(ladder.offer(None), [newest]);
    assert!(pair.has_event(B, |event| matches!(
        event,
        Event::Closed { reason: CloseReason::Unexpected, .. }
    )));
}

#[test]
fn a_session_meanwhile_is_not_taken_back() {
    let mut pair = Pair::new();
    pair.put(B, 99, 9);
    for id in 0..6 {
        pair.write_of(A, Write::Large { id, kib: 60 });
    }
    let frames = bundle(&mut pair);
    let session = SessionId(2_000_000);
    pair.input(B, Input::Import { session }).unwrap();
    let (first, rest) = frames.split_at(4);
    for frame in first {
        pair.input(B, Input::Receive { session, frame: frame.clone() }).unwrap();
    }
    // They also meet, and part again.
    for value in 0..40 {
        pair.put(A, 50, value);
    }
    pair.sync(A).unwrap();
    pair.sync(B).unwrap();
    pair.meet_both();
    pair.assert_equal();
    for frame in rest {
        pair.input(B, Input::Receive { session, frame: frame.clone() }).unwrap();
    }
    pair.input(B, Input::Lost { session }).unwrap();
    pair.sync(B).unwrap();
    let link = pair.connect_both();
    pair.drive();
    assert_eq!(wire::sent(&pair, link, 0), 0, "sent again, though all of it is here");
}

/// What happens to three nodes that know each other by bundles alone.
#[derive(Clone, Debug)]
enum Op {
    Write(usize, u8, u8),
    Export(usize, usize),
    /// Who takes in which bundle, and how many frames of it.
    Import(usize, usize, usize),
    Crash(usize, usize),
    Keep(usize),
    Restore(usize),
    Meet(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0..3_usize;
    prop_oneof![
        6 => (node(), 0..4_u8, any::<u8>()).prop_map(|(at, id, value)| Op::Write(at, id, value)),
        4 => (node(), node()).prop_map(|(at, peer)| Op::Export(at, peer)),
        6 => (node(), 0..6_usize, prop_oneof![Just(99), 0..6_usize])
            .prop_map(|(at, which, frames)| Op::Import(at, which, frames)),
        1 => (node(), 0..3_usize).prop_map(|(at, kept)| Op::Crash(at, kept)),
        1 => node().prop_map(Op::Keep),
        1 => node().prop_map(Op::Restore),
        1 => (node(), node()).prop_map(|(a, b)| Op::Meet(a, b)),
    ]
}

proptest! {
    /// Whatever was carried, lost, carried twice or read in part before: bundles there and back make nodes equal, and
    /// then there is nothing new in them. The world checks at each step that points cover what they say.
    #[test]
    fn nodes_converge_by_bundles_whatever_happened(ops in vec(op(), 1..40)) {
        let mut world = World::new(3).unwrap();
        let mut bundles = Vec::new();
        for op in ops {
            match op {
                Op::Write(at, id, value) => {
                    world.write(at, &Write::Put { id, field: 0, value }).unwrap();
                }
                Op::Export(at, peer) => {
                    let peer = world.nodes[peer].engine.node();
                    bundles.push(world.export(at, peer).unwrap().unwrap());
                }
                Op::Import(at, which, frames) => {
                    let Some(bundle) = bundles.iter().rev().nth(which) else { continue };
                    let frames = &bundle.frames[..frames.min(bundle.frames.len())];
                    world.import(at, frames).unwrap();
                }
                Op::Crash(at, kept) => world.crash(at, kept).unwrap(),
                Op::Keep(at) => world.nodes[at].keep_image(),
                Op::Restore(at) => world.restore(at).unwrap(),
                Op::Meet(a, b) if a != b => {
                    world.meet(a, b, Encoding::MessagePack).unwrap();
                }
                Op::Meet(..) => {}
            }
        }
        for _ in 0..2 {
            for (a, b) in [(0, 1), (1, 2)] {
                world.carry(a, b).unwrap();
            }
        }
        world.check_end().unwrap();
    }
}
