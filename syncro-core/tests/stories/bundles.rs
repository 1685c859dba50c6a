//! Bundles: what lies between two meetings, carried as a file.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::{CloseReason, Encoding, Event, Input, NodeId, Role, SessionId};

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

/// Plays frames to A in a session of the role, and returns why it was closed.
fn closed(pair: &mut Pair, role: Role, frames: &[Bytes]) -> Option<CloseReason> {
    let session = SessionId(1_000_000 + pair.nodes[A].events.len() as u64);
    pair.is_hostile = true;
    let credentials = Bytes::new();
    pair.input(A, Input::Open { session, role, credentials }).unwrap();
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
        let reason = closed(&mut pair, Role::Import, &frames);
        assert_eq!(reason, Some(CloseReason::Unexpected), "{} frames", frames.len());
    }
    let empty = [head, hello, sync, bye].map(Bytes::clone);
    assert_eq!(closed(&mut pair, Role::Import, &empty), Some(CloseReason::Gap));
    // A session has no bundles in it.
    let reason = closed(&mut pair, Role::Accept, &frames);
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
    assert_eq!(closed(&mut pair, Role::Import, &frames), Some(CloseReason::Digest));
    assert_eq!(pair.title(A, 1), None);
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
