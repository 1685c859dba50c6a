//! Copied files and copied machines.

use std::collections::BTreeSet;

use syncro_core::{Author, CloseReason, Encoding, Event, Input, Role, SessionId, Value, View};

use syncro_sim::world::{A, B, Pair, tally};
use syncro_sim::{World, Write};

fn authors(world: &World, node: usize) -> BTreeSet<Author> {
    world.nodes[node].log.transactions().map(|it| it.stamp().author).collect()
}

#[test]
fn a_copied_file_becomes_an_author_of_its_own() {
    let mut pair = Pair::new();
    pair.write_of(A, Write::Tally { by: 1 });
    pair.sync(A).unwrap();
    let clone = pair.clone_file(A).unwrap();
    for node in [A, clone] {
        pair.write_of(node, Write::Tally { by: 10 });
        pair.meet(node, B, Encoding::Json).unwrap();
    }
    pair.meet(A, B, Encoding::Json).unwrap();
    pair.assert_equal();
    assert_eq!(authors(&pair, B).len(), 2);
    assert_eq!(pair.value(A, &tally(), "sum"), Some(Value::Int(21)));
}

#[test]
fn live_clones_do_not_resend_since_the_fork_at_each_meeting() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    pair.meet_both();
    let clone = pair.clone_file(A).unwrap();
    for round in 2..20 {
        for node in [A, clone] {
            pair.put(node, u8::try_from(node).unwrap(), round);
            let sent = pair.meet(node, B, Encoding::Json).unwrap();
            assert!(sent <= 3, "{sent} transactions in round {round}, for one written");
        }
    }
    pair.meet_both();
    pair.assert_equal();
    pair.check_silence().unwrap();
}

/// Two halves of a copied machine wrote nothing since, and took in what they had in different orders.
/// Their peer kept one point for both, because they were in one epoch, and at each meeting everything
/// since the fork was sent again. The end of each branch is kept.
#[test]
fn clones_in_one_epoch_do_not_resend_since_the_fork_at_each_meeting() {
    let mut world = World::new(4).unwrap();
    let clone = world.clone_machine(0).unwrap();
    for value in 0..20_u8 {
        world.write(1, &Write::Put { id: 1, field: 0, value }).unwrap();
        world.write(2, &Write::Put { id: 2, field: 0, value }).unwrap();
        world.meet(1, 0, Encoding::Json).unwrap();
        world.meet(2, clone, Encoding::Json).unwrap();
        for (a, b) in [(2, 0), (1, clone), (3, 0), (3, clone)] {
            world.meet(a, b, Encoding::Json).unwrap();
        }
    }
    assert_eq!(world.nodes[0].engine.epoch(), world.nodes[clone].engine.epoch());
    assert_ne!(world.nodes[0].engine.end(), world.nodes[clone].engine.end());
    for _ in 0..6 {
        for node in [0, clone] {
            assert_eq!(world.meet(3, node, Encoding::Json).unwrap(), 0);
        }
    }
    world.check_silence().unwrap();
}

/// What B wrote came back to it as no more than an echo, and each time the line broke before that. Where A
/// resumed was then the end of B's own log, at which B had no rung: no reason to take A for a clone of
/// itself, and to forget the real one for it.
#[test]
fn a_line_that_breaks_all_the_time_does_not_push_out_what_is_known_of_a_clone() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    pair.meet_both();
    let clone = pair.clone_file(A).unwrap();
    for value in 0..20 {
        pair.put(clone, 1, value);
        pair.put(B, 2, value);
        pair.meet(clone, B, Encoding::Json).unwrap();
    }
    pair.meet_both();
    assert_eq!(pair.nodes[A].engine.end(), pair.nodes[B].engine.end());
    for value in 0..40 {
        let link = pair.connect_both();
        pair.drive();
        pair.put(B, 3, value);
        pair.deliver(link, 0).unwrap();
        pair.cut(link).unwrap();
    }
    pair.meet(clone, B, Encoding::Json).unwrap();
    pair.meet_both();
    let known = pair.meet(clone, B, Encoding::Json).unwrap();
    assert_eq!(known, 0);
    let row = pair.nodes[B].store.peers().unwrap().remove(0).1;
    let epochs: BTreeSet<_> = row.ladder.rungs().iter().map(|rung| rung.epoch).collect();
    assert_eq!(epochs.len(), 2, "one of A and one of its clone: {:?}", row.ladder);
}

#[test]
fn two_transactions_of_one_stamp_are_both_kept_and_reported() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    let clone = pair.clone_machine(A).unwrap();
    pair.put(A, 1, 1);
    pair.put(clone, 2, 2);
    let stamp =
        |pair: &Pair, node: usize| pair.nodes[node].log.transactions().last().unwrap().stamp();
    assert_eq!(stamp(&pair, A), stamp(&pair, clone));
    pair.meet_both();
    pair.meet(B, clone, Encoding::Json).unwrap();
    pair.meet_both();
    pair.assert_equal();
    assert_eq!((pair.title(B, 1), pair.title(B, 2)), (Some(1), Some(2)));
    assert!(pair.has_event(B, |event| matches!(event, Event::Collision { .. })));
    assert!(pair.has_event(clone, |event| matches!(event, Event::Forked { .. })));
    pair.check_silence().unwrap();
}

#[test]
fn of_two_values_under_one_stamp_the_greater_shows_everywhere() {
    for is_turned in [false, true] {
        let mut pair = Pair::new();
        pair.put(A, 1, 0);
        let clone = pair.clone_machine(A).unwrap();
        let values = if is_turned { [9, 4] } else { [4, 9] };
        pair.put(A, 1, values[0]);
        pair.put(clone, 1, values[1]);
        for node in [A, clone, A] {
            pair.meet(node, B, Encoding::Json).unwrap();
        }
        pair.assert_equal();
        assert_eq!([A, B, clone].map(|node| pair.title(node, 1)), [Some(9); 3]);
    }
}

#[test]
fn a_fork_that_was_noticed_makes_two_authors_of_the_next_writes() {
    let mut pair = Pair::new();
    pair.write_of(A, Write::Tally { by: 1 });
    let clone = pair.clone_machine(A).unwrap();
    pair.put(A, 1, 1);
    pair.put(clone, 2, 2);
    for node in [A, clone, A] {
        pair.meet(node, B, Encoding::Json).unwrap();
    }
    for node in [A, clone] {
        assert!(pair.has_event(node, |event| matches!(event, Event::Forked { .. })));
        pair.write_of(node, Write::Tally { by: 10 });
        pair.write_of(node, Write::Tally { by: 10 });
    }
    for node in [A, clone, A] {
        pair.meet(node, B, Encoding::Json).unwrap();
    }
    pair.assert_equal();
    assert_eq!(pair.value(B, &tally(), "sum"), Some(Value::Int(41)));
}

/// The halves of a copied machine met face to face before either had written. Each noticed the fork and
/// began a new epoch, out of the same memory and the same evidence: the same one. Raises of one half were
/// lost although the fork had been noticed.
#[test]
fn clones_that_meet_face_to_face_part_as_two_authors() {
    for is_turned in [false, true] {
        let mut pair = Pair::new();
        pair.write_of(A, Write::Tally { by: 1 });
        let clone = pair.clone_machine(A).unwrap();
        pair.nodes[clone].uptime_ms = pair.nodes[A].uptime_ms;
        let (a, b) = if is_turned { (clone, A) } else { (A, clone) };
        pair.meet(a, b, Encoding::Json).unwrap();
        pair.write_of(a, Write::Tally { by: 10 });
        pair.write_of(b, Write::Tally { by: 20 });
        assert_ne!(pair.nodes[a].engine.epoch(), pair.nodes[b].engine.epoch());
        pair.meet(a, b, Encoding::Json).unwrap();
        pair.meet(a, B, Encoding::Json).unwrap();
        pair.assert_equal();
        assert_eq!(pair.value(B, &tally(), "sum"), Some(Value::Int(31)));
    }
}

#[test]
fn a_noticed_fork_is_durable_with_the_first_write_after_it() {
    let mut pair = Pair::new();
    pair.put(A, 0, 1);
    let clone = pair.clone_machine(A).unwrap();
    pair.put(A, 1, 1);
    pair.put(clone, 2, 2);
    pair.meet(A, clone, Encoding::Json).unwrap();
    let forked = pair.nodes[A].engine.epoch();
    pair.put(A, 3, 3);
    assert_ne!(pair.nodes[A].engine.epoch(), forked);
    assert_eq!(pair.nodes[A].unsynced.last().unwrap().own.epoch, pair.nodes[A].engine.epoch());
    pair.meet(A, clone, Encoding::Json).unwrap();
    pair.meet_both();
    pair.assert_equal();
}

fn ends(world: &World, node: usize) -> Vec<(CloseReason, bool)> {
    let events = world.nodes[node].events.iter();
    let ends = events.filter_map(|event| match event {
        Event::Closed { reason, by_peer, .. } => Some((*reason, *by_peer)),
        _ => None,
    });
    ends.collect()
}

fn is_forked(world: &World, node: usize) -> bool {
    world.nodes[node].events.iter().any(|event| matches!(event, Event::Forked { .. }))
}

/// A node had its own address among those of its peers. It took itself for a clone, and began a new epoch
/// with the first write after each attempt.
#[test]
fn a_node_that_calls_itself_is_not_a_clone_of_itself() {
    let mut world = World::new(1).unwrap();
    world.is_hostile = true;
    world.write(A, &Write::Tally { by: 1 }).unwrap();
    let epoch = world.nodes[A].engine.epoch();
    for number in 0..5_u64 {
        let session = |side| SessionId(100 + 2 * number + side);
        let encoding = if number % 2 == 0 { Encoding::Json } else { Encoding::MessagePack };
        world.connect_as([(A, session(0)), (A, session(1))], encoding).unwrap();
        world.settle().unwrap();
        let mut found = ends(&world, A);
        found.sort_by_key(|(_, by_peer)| *by_peer);
        assert_eq!(found, [(CloseReason::Itself, false), (CloseReason::Itself, true)]);
        assert!(!is_forked(&world, A));
        world.take_events(A);
        world.write(A, &Write::Tally { by: 1 }).unwrap();
    }
    assert_eq!(world.nodes[A].engine.epoch(), epoch);
    assert_eq!(world.nodes[A].engine.sessions().count(), 0);
}

/// A connection to a port of one's own machine may end where it began.
#[test]
fn a_node_that_hears_its_own_greeting_has_called_itself() {
    let mut world = World::new(1).unwrap();
    world.is_hostile = true;
    let session = SessionId(100);
    let (now, node) = (world.now(A), &mut world.nodes[A]);
    let open =
        Input::Open { session, role: Role::Dial(Encoding::Json), credentials: Default::default() };
    let effects = node.engine.handle(now, open, &node.store).unwrap();
    let frame = effects.sends[0].1.clone();
    world.input(A, Input::Receive { session, frame }).unwrap();
    assert_eq!(ends(&world, A), [(CloseReason::Itself, false)]);
    assert!(!is_forked(&world, A));
}

/// The halves of a copied machine draw the same numbers at the same moments. Should they call each other at
/// once, in sessions of the same number, each takes the other for itself: that must not last.
#[test]
fn clones_that_call_each_other_at_one_moment_find_each_other_at_another() {
    let mut pair = Pair::new();
    pair.is_hostile = true;
    pair.write_of(A, Write::Tally { by: 1 });
    let clone = pair.clone_machine(A).unwrap();
    pair.nodes[clone].uptime_ms = pair.nodes[A].uptime_ms;
    let [called, calling] = [100, 101].map(SessionId);
    for (a, b) in [(A, clone), (clone, A)] {
        pair.connect_as([(a, calling), (b, called)], Encoding::Json).unwrap();
    }
    pair.drive();
    for node in [A, clone] {
        assert!(ends(&pair, node).iter().all(|(reason, _)| *reason == CloseReason::Itself));
        assert_eq!(ends(&pair, node).len(), 2);
    }
    // They try again, by the same numbers, a millisecond apart.
    for (a, b) in [(A, clone), (clone, A)] {
        pair.connect_as([(a, calling), (b, called)], Encoding::Json).unwrap();
        pair.advance(1).unwrap();
    }
    pair.drive();
    for node in [A, clone] {
        assert_eq!(pair.nodes[node].engine.sessions().count(), 2);
        assert!(is_forked(&pair, node));
        pair.write_of(node, Write::Tally { by: 10 });
    }
    assert_ne!(pair.nodes[A].engine.epoch(), pair.nodes[clone].engine.epoch());
    pair.drive();
    assert_eq!(pair.value(A, &tally(), "sum"), Some(Value::Int(21)));
    assert_eq!(pair.value(clone, &tally(), "sum"), Some(Value::Int(21)));
}
