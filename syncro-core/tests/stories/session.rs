//! Sessions as such: time, goodbye, and wrong calls.

use syncro_core::limits::{HANDSHAKE_MS, HEARTBEAT_MS, SESSIONS_MAX};
use syncro_core::{
    CloseReason, Config, Encoding, Engine, Error, Event, Input, NodeId, Now, Role, SessionId,
    UsageError,
};

use syncro_sim::World;
use syncro_sim::world::{A, B, Pair, wire};

fn closed(pair: &Pair, node: usize) -> Vec<(CloseReason, bool)> {
    let events = pair.nodes[node].events.iter();
    let closed = events.filter_map(|event| match event {
        Event::Closed { reason, by_peer, .. } => Some((*reason, *by_peer)),
        _ => None,
    });
    closed.collect()
}

#[test]
fn a_silent_peer_is_closed_within_two_heartbeats() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    // B's machine is gone; nobody tells A.
    pair.sever(link, 1).unwrap();
    pair.advance(2 * HEARTBEAT_MS - 100).unwrap();
    assert_eq!(closed(&pair, A), []);
    pair.advance(200).unwrap();
    assert_eq!(closed(&pair, A), [(CloseReason::Silent, false)]);
    assert_eq!(pair.nodes[A].engine.sessions().count(), 0);
}

/// What A says is lost, and what B says arrives: A hears a living peer, which hears nobody. B ends it, and A is told.
#[test]
fn a_link_that_carries_one_way_only_ends_on_both_sides_within_two_heartbeats() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    for step in 1..=4 {
        pair.advance(HEARTBEAT_MS / 2).unwrap();
        // Nothing of A gets through.
        while pair.deliver(link, 0).unwrap() {}
        let is_over = step == 4;
        assert_eq!(closed(&pair, B).len(), usize::from(is_over), "after {step} halves");
    }
    assert_eq!(closed(&pair, B), [(CloseReason::Silent, false)]);
    assert_eq!(closed(&pair, A), [(CloseReason::Silent, true)]);
}

#[test]
fn a_quiet_peer_that_answers_stays() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    for _ in 0..100 {
        pair.advance(HEARTBEAT_MS / 3).unwrap();
        while pair.deliver(link, 0).unwrap() | pair.deliver(link, 1).unwrap() {}
    }
    assert_eq!((closed(&pair, A), closed(&pair, B)), (vec![], vec![]));
    pair.put(A, 1, 1);
    pair.drive();
    assert_eq!(pair.title(B, 1), Some(1));
}

#[test]
fn a_caller_that_says_no_hello_is_closed() {
    let mut world = World::new(1).unwrap();
    world.is_hostile = true;
    let session = SessionId(5);
    world
        .input(A, Input::Open { session, role: Role::Accept, credentials: Default::default() })
        .unwrap();
    world.advance(HANDSHAKE_MS - 1).unwrap();
    assert_eq!(world.nodes[A].events.len(), 0);
    world.advance(1).unwrap();
    assert!(matches!(
        world.nodes[A].events[..],
        [Event::Closed { reason: CloseReason::HandshakeTimeout, by_peer: false, peer: None, .. }]
    ));
}

#[test]
fn a_goodbye_carries_its_number_and_what_was_left_to_say() {
    let mut pair = Pair::new();
    // Their logs go in different orders, so that neither can take the end of its own for a point.
    pair.put(A, 2, 2);
    pair.put(B, 3, 3);
    let link = pair.connect_both();
    pair.drive();
    pair.put(A, 1, 1);
    pair.deliver(link, 1).unwrap();
    // B has an echo to report that it was holding back.
    let session = pair.links[link].ends[1].session;
    pair.is_hostile = true;
    pair.input(B, Input::Close { session, reason: CloseReason::ShuttingDown }).unwrap();
    pair.drive();
    assert_eq!(closed(&pair, B), [(CloseReason::ShuttingDown, false)]);
    assert_eq!(closed(&pair, A), [(CloseReason::ShuttingDown, true)]);
    assert_eq!(pair.meet_both(), 0);
}

#[test]
fn inputs_for_sessions_that_are_gone_do_nothing() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    let session = pair.links[link].ends[0].session;
    pair.cut(link).unwrap();
    pair.take_events(A);
    let before = format!("{:?}", pair.nodes[A].engine);
    let frame = bytes::Bytes::from_static(b"nonsense");
    pair.input(A, Input::Receive { session, frame }).unwrap();
    pair.input(A, Input::Room { session }).unwrap();
    pair.input(A, Input::Close { session, reason: CloseReason::Done }).unwrap();
    pair.input(A, Input::Lost { session }).unwrap();
    pair.input(A, Input::Synced { through: u64::MAX }).unwrap();
    assert_eq!(format!("{:?}", pair.nodes[A].engine).len(), before.len());
    assert!(pair.take_events(A).is_empty());
}

#[test]
fn a_session_number_in_use_is_refused() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    let session = pair.links[link].ends[0].session;
    let input = Input::Open { session, role: Role::Accept, credentials: Default::default() };
    let refused = pair.try_input(A, input).unwrap();
    assert!(matches!(refused, Err(Error::Usage(UsageError::SessionInUse))));
    pair.put(A, 1, 1);
    pair.drive();
    assert_eq!(pair.title(B, 1), Some(1), "the session goes on");
}

#[test]
fn a_store_opens_only_for_the_node_that_it_belongs_to() {
    let pair = Pair::new();
    let found = pair.nodes[A].engine.node();
    let wanted = NodeId::named("another");
    let config = Config { node: Some(wanted), ..Config::default() };
    let refused = Engine::open(Now::default(), config, &pair.nodes[A].store);
    assert!(matches!(refused, Err(Error::Usage(UsageError::WrongNode { found: f, wanted: w }))
        if f == found && w == wanted));
}

#[test]
fn each_opening_begins_an_epoch_of_its_own() {
    let mut pair = Pair::new();
    let mut epochs = std::collections::BTreeSet::new();
    for _ in 0..20 {
        assert!(epochs.insert(pair.nodes[A].engine.epoch()));
        pair.restart(A).unwrap();
    }
}

/// A node that was full hung up without a word, and its callers could not tell it from a bad line. And with
/// each input all sessions were asked for their times: tens of thousands made a node slow.
#[test]
fn a_caller_of_a_node_with_too_many_sessions_is_told_so() {
    let mut world = World::new(1).unwrap();
    world.is_hostile = true;
    let now = world.now(A);
    let mut open = |id: u64, role| {
        let node = &mut world.nodes[A];
        let input = Input::Open { session: SessionId(id), role, credentials: Default::default() };
        node.engine.handle(now, input, &node.store)
    };
    let last = SESSIONS_MAX as u64;
    for id in 1..=last {
        let effects = open(id, Role::Accept).unwrap();
        assert!(effects.sends.is_empty() && effects.closes.is_empty());
    }
    let effects = open(last + 1, Role::Accept).unwrap();
    let reason = CloseReason::TooManySessions;
    assert_eq!(effects.closes, [(SessionId(last + 1), reason)]);
    let [(session, bye)] = &effects.sends[..] else { panic!("{effects:?}") };
    assert_eq!(*session, SessionId(last + 1));
    assert_eq!(wire::read(bye)["code"], reason.code());
    assert!(matches!(effects.events[..], [Event::Closed { by_peer: false, peer: None, .. }]));
    // Whoever dials can be told at once.
    let refused = open(last + 2, Role::Dial(Encoding::Json));
    assert!(matches!(refused, Err(Error::Usage(UsageError::TooManySessions))));
    // Nothing of either is kept, and there is room once another has gone.
    world.input(A, Input::Lost { session: SessionId(5) }).unwrap();
    let input = Input::Open {
        session: SessionId(last + 1),
        role: Role::Accept,
        credentials: Default::default(),
    };
    assert!(world.try_input(A, input).unwrap().is_ok());
    world.take_events(A);
    world.advance(HANDSHAKE_MS).unwrap();
    assert_eq!(world.nodes[A].events.len(), SESSIONS_MAX, "nobody said hello");
}

/// The store had failed, and was read once more for what was left to say.
#[test]
fn a_node_whose_store_failed_says_no_more_than_goodbye() {
    let mut pair = Pair::new();
    let link = pair.connect_both();
    pair.drive();
    pair.put(A, 1, 1);
    pair.deliver(link, 1).unwrap();
    // B has an echo to report that it was holding back.
    let said = pair.links[link].tape.as_ref().unwrap().len();
    let session = pair.links[link].ends[1].session;
    pair.is_hostile = true;
    pair.input(B, Input::Close { session, reason: CloseReason::Store }).unwrap();
    let tape = pair.links[link].tape.as_ref().unwrap();
    let kinds: Vec<_> = tape[said..].iter().map(|(_, frame)| wire::kind(frame)).collect();
    assert_eq!(kinds, ["bye"]);
    assert_eq!(closed(&pair, B), [(CloseReason::Store, false)]);
}
