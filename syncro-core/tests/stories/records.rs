//! What becomes of records.

use syncro_core::limits::FUTURE_MS;
use syncro_core::{
    DataError, Edit, Encoding, Error, Event, Fields, Input, Mark, Proposal, RecordKey, Value, View,
};

use syncro_sim::world::{A, B, Pair, WALL_MS, name, note, tally};
use syncro_sim::{World, Write};

#[test]
fn an_update_never_revives_a_destroyed_record() {
    let mut pair = Pair::new();
    pair.put(A, 1, 10);
    pair.meet_both();
    pair.write_of(A, Write::Destroy { id: 1 });
    pair.advance(60_000).unwrap();
    pair.put(B, 1, 11);
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.fields(A, &note(1)), None);
    assert_eq!(pair.fields(B, &note(1)), None);
}

#[test]
fn a_later_create_beats_a_destroy_and_shows_what_was_written_meanwhile() {
    let mut pair = Pair::new();
    pair.put(A, 1, 10);
    pair.meet_both();
    pair.write_of(A, Write::Destroy { id: 1 });
    pair.advance(1000).unwrap();
    pair.write_of(B, Write::Put { id: 1, field: 1, value: 5 });
    pair.meet_both();
    pair.put(A, 1, 12);
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.title(B, 1), Some(12));
    assert_eq!(pair.value(B, &note(1), "done"), Some(Value::Int(5)));
}

#[test]
fn a_destroy_and_a_create_in_one_transaction_leave_the_record_alive_and_clean() {
    let mut pair = Pair::new();
    pair.write_of(A, Write::Put { id: 1, field: 1, value: 5 });
    pair.meet_both();
    pair.write_of(A, Write::Replace { id: 1, value: 7 });
    assert_eq!(pair.newest_mark(A), Some(Mark::Replace));
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.title(B, 1), Some(7));
    assert_eq!(pair.value(B, &note(1), "done"), None);
}

#[test]
fn the_later_of_two_concurrent_writes_wins_on_both_sides() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    pair.advance(5).unwrap();
    pair.put(B, 1, 2);
    pair.meet_both();
    pair.assert_equal();
    assert_eq!((pair.title(A, 1), pair.title(B, 1)), (Some(2), Some(2)));
}

#[test]
fn raises_of_many_nodes_add_up() {
    let mut world = World::new(3).unwrap();
    for round in 0..4_i8 {
        for node in 0..3 {
            world.write(node, &Write::Tally { by: 1 + round }).unwrap();
        }
        world.meet(0, 1, Encoding::Json).unwrap();
        world.meet(1, 2, Encoding::Json).unwrap();
    }
    world.meet(0, 1, Encoding::Json).unwrap();
    world.check_equal().unwrap();
    assert_eq!(world.value(0, &tally(), "sum"), Some(Value::Int(30)));
}

#[test]
fn you_can_always_overwrite_what_you_see() {
    let mut pair = Pair::new();
    pair.nodes[A].skew_ms = 90 * 24 * 3_600_000;
    pair.put(A, 1, 1);
    pair.meet_both();
    pair.put(B, 1, 2);
    assert_eq!(pair.title(B, 1), Some(2));
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.title(A, 1), Some(2));
    // And so it goes on, also with a clock that went back.
    pair.nodes[A].skew_ms = -90 * 24 * 3_600_000;
    pair.put(A, 1, 3);
    pair.write_of(B, Write::Destroy { id: 1 });
    pair.put(B, 1, 4);
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(pair.title(A, 1), Some(4));
}

#[test]
fn a_future_stamp_moves_no_clock_and_is_flagged() {
    let mut pair = Pair::new();
    let hour = 3_600_000;
    pair.nodes[A].skew_ms = hour;
    pair.put(A, 1, 1);
    pair.meet_both();
    assert_eq!(pair.title(B, 1), Some(1), "it is stored and played");
    let flagged = |event: &Event| matches!(event, Event::FutureStamp { skew_ms, .. } if skew_ms.abs_diff(3_600_000) < 1000);
    assert!(pair.has_event(B, flagged));
    pair.put(B, 2, 1);
    let is_ordinary = |pair: &Pair| {
        let log = pair.nodes[B].log.transactions();
        log.last().unwrap().stamp().time.ms() < WALL_MS + pair.now_ms + FUTURE_MS
    };
    assert!(is_ordinary(&pair));
    // Not even after a restart: the clock starts from what this node itself used.
    pair.restart(B).unwrap();
    pair.put(B, 3, 1);
    assert!(is_ordinary(&pair));
}

#[test]
fn a_stamp_a_little_ahead_is_followed_without_a_word() {
    let mut pair = Pair::new();
    pair.nodes[A].skew_ms = i64::try_from(FUTURE_MS).unwrap() / 2;
    pair.put(A, 1, 1);
    pair.meet_both();
    assert!(!pair.has_event(B, |event| matches!(event, Event::FutureStamp { .. })));
    pair.put(B, 2, 1);
    let times: Vec<_> = pair.nodes[B].log.transactions().map(|it| it.stamp().time).collect();
    assert!(times[1] > times[0]);
}

#[test]
fn a_relay_stores_models_it_never_heard_of() {
    let mut world = World::new(3).unwrap();
    let key = RecordKey { model: name("app.from.2040"), id: uuid::Uuid::from_u128(7).into() };
    let fields = [("shape".to_owned(), Value::Array(vec![Value::Nil, Value::Float(0.5)]))].into();
    let mut proposal = Proposal::default();
    proposal.create(key.clone(), &Fields::from_values(&fields).unwrap()).unwrap();
    world.propose(0, proposal).unwrap();
    world.meet(0, 1, Encoding::Json).unwrap();
    world.restart(1).unwrap();
    world.meet(2, 1, Encoding::MessagePack).unwrap();
    world.check_equal().unwrap();
    assert_eq!(world.fields(2, &key).unwrap().to_values(), fields);
}

/// A node of an older version writes to a record; what it knows nothing of stays, and goes on through it.
#[test]
fn a_write_keeps_the_fields_that_its_writer_never_heard_of() {
    let mut world = World::new(3).unwrap();
    let mut proposal = Proposal::default();
    proposal.create(note(1), &Fields::default()).unwrap();
    let edits = vec![
        Edit::value(name("from 2040"), Value::Map([("deep".into(), Value::Nil)].into()).encode()),
        Edit::add(name("a set"), Value::Int(1).encode()).unwrap(),
        Edit::entry(name("a map"), "key", Value::Int(2).encode()).unwrap(),
        Edit::Raise { field: name("a counter"), by: 3 },
    ];
    proposal.update(note(1), edits).unwrap();
    world.propose(0, proposal).unwrap();
    let unknown = world.fields(0, &note(1)).unwrap().to_values();
    world.meet(0, 1, Encoding::Json).unwrap();
    world.write(1, &Write::Put { id: 1, field: 0, value: 5 }).unwrap();
    world.meet(1, 2, Encoding::MessagePack).unwrap();
    world.meet(0, 1, Encoding::MessagePack).unwrap();
    world.check_equal().unwrap();
    let mut known = world.fields(2, &note(1)).unwrap().to_values();
    assert_eq!(known.remove("title"), Some(Value::Int(5)));
    assert_eq!(known, unknown);
}

#[test]
fn a_create_after_a_destroy_shows_no_field_from_before_it() {
    let mut pair = Pair::new();
    pair.write_of(A, Write::Put { id: 1, field: 1, value: 5 });
    pair.write_of(A, Write::Raise { id: 1, by: 7 });
    pair.write_of(A, Write::Add { id: 1, member: 1 });
    pair.meet_both();
    pair.write_of(B, Write::Destroy { id: 1 });
    pair.put(B, 1, 6);
    pair.meet_both();
    pair.assert_equal();
    let fields = pair.fields(A, &note(1)).unwrap().to_values();
    assert_eq!(fields, [("title".to_owned(), Value::Int(6))].into());
}

#[test]
fn an_error_means_that_nothing_happened() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    let mut fits = Proposal::default();
    fits.update(note(1), vec![Edit::value(name("title"), Value::Int(2).encode())]).unwrap();
    let mut exists = fits.clone();
    exists.destroy(note(1)).unwrap();
    exists.create(note(1), &Fields::default()).unwrap();
    exists.destroy(note(9)).unwrap();
    let mut missing = fits.clone();
    missing.update(note(2), vec![Edit::value(name("title"), Value::Int(2).encode())]).unwrap();
    let mut taken = Proposal::default();
    taken.create(note(2), &Fields::default()).unwrap();
    taken.create(note(1), &Fields::default()).unwrap();
    let mut overflow = Proposal::default();
    let raise = |by| Edit::Raise { field: name("count"), by };
    overflow.update(note(1), vec![raise(i64::MAX)]).unwrap();
    pair.propose(A, overflow.clone()).unwrap();
    let mut large = fits.clone();
    for id in 10..20 {
        let body = Value::Bytes(vec![1; 200 << 10]).encode();
        large.create(note(id), &Fields::default()).unwrap();
        large.update(note(id), vec![Edit::value(name("body"), body)]).unwrap();
    }
    let mut wrong = vec![exists, missing, taken, overflow, large];
    refuses(&mut pair, &wrong);
    // Once more as a clone that knows of its fork, when a write would begin an epoch.
    let clone = pair.clone_machine(A).unwrap();
    pair.meet(A, clone, Encoding::Json).unwrap();
    wrong.remove(3);
    refuses(&mut pair, &wrong);
}

fn refuses(pair: &mut Pair, wrong: &[Proposal]) {
    let before = format!("{:?}", pair.nodes[A].engine);
    for proposal in wrong.iter().cloned() {
        let refused = pair.try_input(A, Input::Propose(proposal)).unwrap();
        assert!(
            matches!(
                refused,
                Err(Error::Data(
                    DataError::Exists { .. }
                        | DataError::Missing { .. }
                        | DataError::CounterOverflow { .. }
                        | DataError::TransactionTooLarge { .. }
                ))
            ),
            "{refused:?}"
        );
        assert_eq!(format!("{:?}", pair.nodes[A].engine), before);
        assert_eq!(pair.title(A, 1), Some(1));
        assert!(pair.nodes[A].store.record(&note(2)).unwrap().is_none());
    }
}

#[test]
fn a_proposal_that_changes_nothing_records_nothing() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    let end = pair.nodes[A].engine.end();
    assert!(!pair.write_of(A, Write::Put { id: 1, field: 0, value: 1 }));
    pair.propose(A, Proposal::default()).unwrap();
    assert_eq!(pair.nodes[A].engine.end(), end);
}
