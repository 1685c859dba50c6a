//! Calls: answered once each, in time or not at all, and within bounds on both sides.

use serde_json::json;
use syncro_core::limits::{
    CALLS_BYTES_MAX, CALLS_MAX, HEARTBEAT_MS, SEND_BUFFER_BYTES, VALUE_BYTES_MAX,
    WORDS_BUFFER_BYTES,
};
use syncro_core::{
    Access, CallFailure, CallId, CloseReason, Fields, Input, NodeId, Principal, Proposal, RecordId,
    RecordKey, Role, SessionId, Value,
};
use syncro_sim::world::{Stranger, wire};

use super::hall::{Guests, Hall, name};

const A: usize = 0;
const B: usize = 1;

fn pair() -> (Hall, usize) {
    let mut hall = Hall::with(&["a", "b"]);
    let link = hall.meet(A, B);
    (hall, link)
}

fn call(number: u64, value: serde_json::Value) -> serde_json::Value {
    json!({ "type": "call", "call": number, "name": "ask", "value": value, "within": 1000 })
}

#[test]
fn a_call_is_heard_with_what_it_carries_and_its_answer_comes_back_either_way() {
    let (mut hall, link) = pair();
    for (from, to) in [(A, B), (B, A)] {
        hall.call(link, from, 7, &Value::from("milk?"), 1000);
        hall.drive();
        let called = hall.called(to);
        let [call] = &called[..] else { panic!("{called:?}") };
        assert_eq!((call.name.as_str(), call.value.decode()), ("ask", Value::from("milk?")));
        assert_eq!((call.peer, call.session), (hall.id(from), hall.session(link, to)));
        assert_eq!((call.within_ms, call.principal.is_none()), (1000, true));
        assert_eq!(hall.answers(from), [], "nothing before the answer");
        hall.reply(to, call, &Value::from(3));
        hall.drive();
        assert_eq!(hall.answers(from), [(7, Ok(Value::from(3)))]);
    }
    hall.advance(HEARTBEAT_MS);
    assert_eq!((hall.answers(A), hall.answers(B)), (vec![], vec![]), "and once each");
    let usage = hall.nodes[A].engine.usage();
    assert_eq!((usage.calls_placed, usage.calls_taken), (0, 0));
}

#[test]
fn a_host_that_cannot_answer_says_why_by_a_number_and_a_text() {
    let (mut hall, link) = pair();
    hall.call(link, A, 1, &Value::Nil, 1000);
    hall.drive();
    let called = hall.called(B).remove(0);
    let (session, answer) = (called.session, Err(CallFailure::new(100, "sold out")));
    hall.input(B, Input::Reply { session, call: called.call, answer });
    hall.drive();
    assert_eq!(hall.answers(A), [(1, Err(100))]);
}

#[test]
fn answers_find_their_calls_in_any_order() {
    let (mut hall, link) = pair();
    (0..5).for_each(|n| hall.call(link, A, n, &Value::from(n as i64), 1000));
    hall.drive();
    for called in hall.called(B).iter().rev() {
        hall.reply(B, called, &called.value.decode());
    }
    hall.drive();
    let answers = hall.answers(A);
    let expected = (0..5).rev().map(|n| (n, Ok(Value::from(n as i64))));
    assert_eq!(answers, expected.collect::<Vec<_>>());
}

#[test]
fn what_was_not_answered_in_time_has_expired_on_both_sides_and_the_late_answer_says_nothing() {
    let (mut hall, link) = pair();
    hall.call(link, A, 1, &Value::Nil, 1000);
    hall.drive();
    let called = hall.called(B).remove(0);
    hall.advance(999);
    assert_eq!(hall.answers(A), []);
    hall.advance(1);
    assert_eq!(hall.answers(A), [(1, Err(CallFailure::EXPIRED))]);
    assert_eq!(hall.nodes[A].engine.usage().calls_placed, 1, "its place is taken until B is done");
    hall.drive();
    assert_eq!(hall.nodes[A].engine.usage().calls_placed, 0);
    assert_eq!(hall.nodes[B].engine.usage().calls_taken, 0);
    hall.reply(B, &called, &Value::from(1));
    hall.drive();
    assert_eq!((hall.answers(A), hall.closed(A), hall.closed(B)), (vec![], vec![], vec![]));
}

/// The peer is too slow to say even that it is too late.
#[test]
fn a_deadline_holds_while_nothing_comes_and_an_unanswered_call_keeps_its_place() {
    let (mut hall, link) = pair();
    (0..CALLS_MAX as u64).for_each(|n| hall.call(link, A, n, &Value::Nil, 10));
    hall.advance(10);
    assert_eq!(hall.answers(A).len(), CALLS_MAX);
    hall.call(link, A, 99, &Value::Nil, 10);
    assert_eq!(hall.answers(A), [(99, Err(CallFailure::BUSY))]);
    // Now B hears all of them, and lets them expire.
    hall.drive();
    assert_eq!(hall.called(B).len(), CALLS_MAX);
    hall.advance(10);
    hall.drive();
    hall.call(link, A, 100, &Value::Nil, 10);
    hall.drive();
    assert_eq!(hall.called(B).len(), 1, "there is room again");
    assert_eq!(hall.closed(B), []);
}

#[test]
fn a_call_without_an_end_waits_as_long_as_the_session_lasts() {
    let (mut hall, link) = pair();
    hall.call(link, A, 1, &Value::Nil, u64::MAX);
    hall.drive();
    for _ in 0..20 {
        hall.advance(HEARTBEAT_MS / 2);
        hall.drive();
    }
    assert_eq!(hall.answers(A), []);
    let called = hall.called(B).remove(0);
    hall.reply(B, &called, &Value::from(1));
    hall.drive();
    assert_eq!(hall.answers(A), [(1, Ok(Value::from(1)))]);
}

#[test]
fn every_call_of_a_session_that_ends_is_cut_once_however_it_ends() {
    type End = fn(&mut Hall, usize);
    let ends: [End; 3] = [
        Hall::cut,
        |hall: &mut Hall, link| hall.close(link, A),
        |hall: &mut Hall, link| hall.close(link, B),
    ];
    for end in ends {
        let (mut hall, link) = pair();
        hall.call(link, A, 1, &Value::Nil, 1000);
        hall.drive();
        hall.call(link, A, 2, &Value::Nil, 1000);
        end(&mut hall, link);
        hall.drive();
        assert_eq!(hall.answers(A), [1, 2].map(|n| (n, Err(CallFailure::CUT))));
        hall.call(link, A, 3, &Value::Nil, 1000);
        assert_eq!(hall.answers(A), [(3, Err(CallFailure::CUT))], "there is no session");
        let called = hall.called(B).remove(0);
        hall.reply(B, &called, &Value::Nil);
        hall.advance(5000);
        assert_eq!(hall.answers(A), []);
    }
}

/// Half an open link: what A says is lost, and B is never told that it is.
#[test]
fn a_call_over_a_dead_link_is_cut_when_the_link_is_found_dead() {
    let (mut hall, link) = pair();
    hall.lose(link, B);
    hall.call(link, A, 1, &Value::Nil, u64::MAX);
    hall.advance(2 * HEARTBEAT_MS);
    assert_eq!(hall.answers(A), [(1, Err(CallFailure::CUT))]);
    assert_eq!(hall.closed(A), [(CloseReason::Silent, false)]);
}

/// It would close the session over a message that it does not know.
#[test]
fn a_peer_of_a_version_without_calls_is_sent_none() {
    let mut stranger = Stranger::greeted();
    let status = stranger.world.nodes[A].engine.sessions().next().unwrap();
    let input = Input::Call {
        session: status.session,
        call: CallId(1),
        name: name("ask"),
        value: Value::Nil.encode(),
        within_ms: 1000,
    };
    stranger.world.input(A, input).unwrap();
    assert!(stranger.hears().is_empty());
    let events = format!("{:?}", stranger.world.nodes[A].events);
    assert!(events.contains(&format!("code: {}", CallFailure::UNKNOWN)), "{events}");
    assert_eq!(stranger.closed(), None);
}

#[test]
fn a_hello_says_that_the_node_knows_calls() {
    let mut stranger = Stranger::new();
    stranger.says(&wire::hello(NodeId::named("stranger")));
    let said = stranger.hears();
    let capabilities = said[0]["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&json!("call")), "{capabilities:?}");
}

#[test]
fn nobody_is_called_and_nobody_calls_before_the_hello() {
    let mut stranger = Stranger::new();
    stranger.says(&call(0, json!(null)));
    stranger.assert_closed(CloseReason::Unexpected);

    let mut hall = Hall::with(&["a"]);
    let session = SessionId(9);
    let (role, credentials) = (Role::Accept, Default::default());
    hall.input(A, Input::Open { session, role, credentials });
    let (name, value) = (name("ask"), Value::Nil.encode());
    hall.input(A, Input::Call { session, call: CallId(1), name, value, within_ms: 1 });
    assert_eq!(hall.answers(A), [(1, Err(CallFailure::CUT))]);
}

#[test]
fn whoever_is_called_is_told_by_whom() {
    let mut hall = Hall::default();
    let ann = Principal::new("ann").may_read(Access::All);
    let guests = Guests([("secret", ann.clone())].into());
    let (server, client, other) =
        (hall.add("server", Some(guests)), hall.add("client", None), hall.add("other", None));
    let link = hall.connect(client, server, "secret");
    let denied = hall.connect(other, server, "wrong");
    hall.drive();
    for (link, node) in [(link, client), (denied, other)] {
        hall.call(link, node, 1, &Value::Nil, 1000);
    }
    hall.drive();
    let called = hall.called(server);
    let [called] = &called[..] else { panic!("{called:?}") };
    assert_eq!(called.principal.as_deref(), Some(&ann));
    assert_eq!(hall.answers(other), [(1, Err(CallFailure::CUT))]);
}

#[test]
fn a_side_makes_no_more_calls_than_it_may_and_a_peer_that_does_is_closed() {
    let (mut hall, link) = pair();
    (0..=CALLS_MAX as u64).for_each(|n| hall.call(link, A, n, &Value::Nil, 1000));
    assert_eq!(hall.answers(A), [(CALLS_MAX as u64, Err(CallFailure::BUSY))]);
    hall.drive();
    assert_eq!((hall.called(B).len(), hall.closed(B)), (CALLS_MAX, vec![]));
    hall.hears(link, B, &call(CALLS_MAX as u64, json!(null)));
    assert_eq!(hall.closed(B), [(CloseReason::Flow, false)]);
}

#[test]
fn the_values_of_the_calls_under_way_are_bounded_too() {
    let (mut hall, link) = pair();
    let largest = Value::Bytes(vec![1; VALUE_BYTES_MAX - 5]);
    let most = (CALLS_BYTES_MAX / VALUE_BYTES_MAX) as u64;
    (0..=most).for_each(|n| hall.call(link, A, n, &largest, 1000));
    assert_eq!(hall.answers(A), [(most, Err(CallFailure::BUSY))]);
    hall.drive();
    assert_eq!((hall.called(B).len() as u64, hall.closed(B)), (most, vec![]));
    hall.hears(link, B, &call(most, json!(null)));
    assert_eq!(hall.closed(B), [(CloseReason::Flow, false)], "not a byte more");
}

#[test]
fn what_is_too_long_to_be_asked_or_answered_is_not_sent() {
    let (mut hall, link) = pair();
    let over = Value::Bytes(vec![1; VALUE_BYTES_MAX - 4]);
    hall.call(link, A, 1, &over, 1000);
    assert_eq!(hall.answers(A), [(1, Err(CallFailure::TOO_LARGE))]);
    hall.call(link, A, 2, &Value::Nil, 1000);
    hall.drive();
    let called = hall.called(B).remove(0);
    hall.reply(B, &called, &over);
    hall.drive();
    assert_eq!(hall.answers(A), [(2, Err(CallFailure::TOO_LARGE))]);
    assert_eq!((hall.closed(A), hall.closed(B)), (vec![], vec![]));
}

#[test]
fn numbers_of_calls_only_rise_and_the_last_one_ends_the_session() {
    for (first, second) in [(5, 5), (5, 4)] {
        let (mut hall, link) = pair();
        hall.hears(link, B, &call(first, json!(null)));
        assert_eq!(hall.closed(B), []);
        hall.hears(link, B, &call(second, json!(null)));
        assert_eq!(hall.closed(B), [(CloseReason::Unexpected, false)]);
    }
    let (mut hall, link) = pair();
    hall.hears(link, B, &call(u64::MAX - 1, json!(null)));
    assert_eq!(hall.closed(B), []);
    let last = json!({ "$int": u64::MAX.to_string() });
    let mut message = call(0, json!(null));
    message["call"] = last;
    hall.hears(link, B, &message);
    assert_eq!(hall.closed(B), [(CloseReason::Unexpected, false)]);
}

#[test]
fn a_reply_to_nothing_says_nothing() {
    let (mut hall, link) = pair();
    let reply = |call: u64| json!({ "type": "reply", "call": call, "value": 1 });
    hall.hears(link, A, &reply(0));
    hall.call(link, A, 1, &Value::Nil, 1000);
    hall.hears(link, A, &reply(17));
    assert_eq!((hall.answers(A), hall.closed(A)), (vec![], vec![]));
    hall.hears(link, A, &reply(0));
    hall.hears(link, A, &reply(0));
    assert_eq!(hall.answers(A), [(1, Ok(Value::from(1)))]);
    assert_eq!(hall.closed(A), []);
}

/// The peer reads nothing: no more than the buffer is sent to it, its own calls are refused an answer beyond that,
/// and what was never sent is not waited for when its time is over.
#[test]
fn a_peer_that_does_not_read_costs_a_buffer() {
    let (mut hall, link) = pair();
    hall.fill(link, B);
    let large = Value::Bytes(vec![1; VALUE_BYTES_MAX - 5]);
    let mut asked = 0;
    for _ in 0..CALLS_MAX {
        hall.call(link, A, asked, &Value::Nil, 1_000_000);
        asked += 1;
    }
    while hall.deliver(link, B) {}
    for called in hall.called(B) {
        hall.reply(B, &called, &large);
    }
    let sent = hall.bytes_under_way(link, A);
    assert!(sent < WORDS_BUFFER_BYTES + VALUE_BYTES_MAX + 1000, "{sent} bytes");
    // What A does not read, B does not know to be read: A's places are taken.
    hall.call(link, A, asked, &Value::Nil, 1000);
    assert_eq!(hall.answers(A), [(asked, Err(CallFailure::BUSY))]);
    // Of B's own calls none is sent; they expire in its hands, and leave nothing behind.
    (0..3).for_each(|n| hall.call(link, B, n, &Value::Nil, 10));
    assert_eq!(hall.nodes[B].engine.usage().calls_placed, 3);
    hall.advance(10);
    assert_eq!(hall.answers(B), [0, 1, 2].map(|n| (n, Err(CallFailure::EXPIRED))));
    assert_eq!(hall.nodes[B].engine.usage().calls_placed, 0);
    hall.make_room(link, B);
    hall.drive();
    let answers = hall.answers(A);
    let good = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    let busy = answers.iter().filter(|(_, it)| *it == Err(CallFailure::BUSY)).count();
    // The first went out at once, and then the replies that wait fill their share.
    assert_eq!((good, good + busy), (1 + CALLS_BYTES_MAX / VALUE_BYTES_MAX, CALLS_MAX));
    assert_eq!(hall.called(A).len(), 0, "what expired was not sent after all");
    assert_eq!((hall.closed(A), hall.closed(B)), (vec![], vec![]));
}

/// Calls go before the log, and the log beside them: whatever one side asks, each time that the transport takes
/// something it gets its share of both.
#[test]
fn the_log_and_the_calls_do_not_wait_for_each_other() {
    let (mut hall, link) = pair();
    hall.fill(link, A);
    for id in 0..64 {
        let mut proposal = Proposal::default();
        let key = RecordKey { model: name("note"), id: RecordId::Int(id) };
        let fields = [("text".into(), Value::Bytes(vec![1; 64 << 10]))].into();
        let fields = Fields::from_values(&fields).unwrap();
        proposal.create(key, &fields).unwrap();
        hall.input(A, Input::Propose(proposal));
    }
    let large = Value::Bytes(vec![1; VALUE_BYTES_MAX - 5]);
    let most = (CALLS_BYTES_MAX / VALUE_BYTES_MAX) as u64;
    (0..most).for_each(|n| hall.call(link, A, n, &large, 1_000_000));
    let kinds = |hall: &Hall| {
        let said = hall.under_way(link, B);
        let of = |kind: &str| said.iter().filter(|it| it["type"] == kind).count();
        (of("call"), of("scribes"))
    };
    let mut before = kinds(&hall);
    assert!(before.0 >= 1 && before.1 >= 1, "{before:?}");
    assert!(hall.bytes_under_way(link, B) < 2 * (SEND_BUFFER_BYTES + VALUE_BYTES_MAX));
    for round in 0..8 {
        hall.make_room_once(link, A);
        let after = kinds(&hall);
        assert!(after.0 > before.0 && after.1 > before.1, "round {round}: {before:?}, {after:?}");
        before = after;
    }
    // And none of it was of the credit for the log.
    hall.make_room(link, A);
    hall.drive();
    assert_eq!(hall.called(B).len() as u64, most);
    assert_eq!((hall.closed(A), hall.closed(B)), (vec![], vec![]));
}
