//! The faults of the original, which a good peer neither has nor triggers. Fault 4 is in `conflicts.rs`.

use serde_json::{Value as Json, json};
use syncro::Value;
use syncro_classic::{Event, Framing, Settings, Tables, UnknownFrom};

use crate::rows::limited;
use crate::support::{
    Desk, changed, create, gone, last_id, made, said, scribe, settings, uid, update,
};

const NONE: [Json; 0] = [];

/// An answer is one message, which has 65,535 bytes at most: the first of it goes into the answer, and the rest
/// follows, in order and without a gap.
#[test]
fn fault_1_a_long_answer_is_a_prefix_and_the_rest_follows() {
    let mut desk = Desk::new();
    for n in 0..2000 {
        desk.create(&format!("r{n}"), &"x".repeat(100));
    }
    let ann = desk.connect_empty("ann");
    desk.say(ann, json!({"type": "sync", "from": null, "id": 1}));
    let heard = desk.heard(ann);
    let prefix = heard[0]["result"].as_array().unwrap();
    assert!(heard[0].to_string().len() <= 65_535 && prefix.len() > 300, "{}", prefix.len());
    let rest = heard[1..].iter().map(|one| &one["scribe"]);
    let ids: Vec<&str> =
        prefix.iter().chain(rest).map(|one| one["data"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..2000).map(|n| format!("r{n}")).collect::<Vec<_>>());

    let bob = desk.connect_in("bob", Framing::Messages);
    desk.say(bob, json!({"type": "response", "id": 1, "result": []}));
    desk.heard(bob);
    assert_eq!(desk.sync(bob, json!(null)).len(), 2000, "whole over WebSocket");
}

/// Fault 1, of one scribe.
#[test]
fn fault_1_a_scribe_too_long_for_a_frame_is_passed_over_and_later_ones_go_on() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let web = desk.connect_in("web", Framing::Messages);
    desk.heard(web);
    desk.create("r1", &"x".repeat(66_000));
    desk.create("r2", "b");
    assert_eq!(said(&desk.told(ann)), [made("r2", "b")]);
    assert_eq!(desk.told(web).len(), 2);
    let is_told = |event: &Event| matches!(event, Event::TooLong { uid: who, bytes: 66_000.., .. } if *who == uid("ann"));
    assert_eq!(desk.events.iter().filter(|event| is_told(event)).count(), 1);
    // What it lacks it can neither update nor destroy, unless it is told by a create.
    desk.edit("r1", "age", 3.into());
    desk.destroy("r1");
    let known = ("create".to_owned(), json!({"id": "r1", "age": 3}));
    let empty = ("create".to_owned(), json!({"id": "r1"}));
    assert_eq!(said(&desk.told(ann)), [known.clone(), empty.clone(), gone("r1")]);
    let late = desk.connect_empty("late");
    desk.say(late, json!({"type": "sync", "from": null, "id": 1}));
    let answer = desk.hub_answer(late);
    assert_eq!(answer["result"], json!([]), "the answer ends before it");
    assert_eq!(said(&desk.told(late)), [made("r2", "b"), known, empty, gone("r1")]);
}

/// Fault 2: a record that enters a view is created whole, one that leaves it is destroyed, and nothing is said of
/// it between.
#[test]
fn fault_2_entering_a_view_is_a_create_and_leaving_it_a_destroy() {
    let mut desk = Desk::with(limited());
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.create("r1", "a");
    desk.edit("r1", "for", Value::Array(vec!["ann".into()]));
    desk.update("r1", "b");
    desk.edit("r1", "for", Value::Array(vec!["ann".into(), "bob".into()]));
    desk.update("r1", "c");
    desk.destroy("r1");
    let entered = ("create".to_owned(), json!({"id": "r1", "name": "b", "for": ["ann", "bob"]}));
    let bobs = [made("r1", "a"), gone("r1"), entered, changed("r1", "c"), gone("r1")];
    assert_eq!(said(&desk.told(bob)), bobs);
    assert_eq!(desk.told(ann).len(), 6);
    // Whoever comes later is told the same story.
    let bob = desk.connect_empty("bob");
    let scribes = desk.sync(bob, json!(null));
    assert_eq!(said(&scribes), bobs);
    assert_eq!(said(&desk.sync(bob, scribes[1]["id"].clone())), bobs[2..]);
}

/// Fault 2: it is the same when the change is the client's own.
#[test]
fn fault_2_who_hides_a_record_from_itself_is_told_a_destroy() {
    for left in [json!(["bob"]), json!([])] {
        let mut desk = Desk::with(limited());
        let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
        desk.push(ann, create("1", "r1", "a"));
        desk.say(ann, json!({"type": "add_scribe", "id": 9, "scribe": scribe("2", "update", json!(["r1", {"for": left}]))}));
        assert_eq!(desk.hub_answer(ann)["id"], 9);
        assert_eq!(said(&desk.told(ann)), [gone("r1")]);
        assert_eq!(desk.told(bob).len(), 2);
        let ann = desk.connect_empty("ann");
        assert_eq!(said(&desk.sync(ann, json!(null))), [made("r1", "a"), gone("r1")]);
    }
}

/// Fault 2, the other way round: one scribe that fails to play ended the batch, and came again for ever.
#[test]
fn fault_2_a_pulled_scribe_that_cannot_be_played_is_passed_over() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    let result = json!([
        update("1", "nothing", "a"),
        scribe("2", "create", json!("nonsense")),
        json!(null),
        json!({}),
        scribe("3", "update", json!(["r1"])),
        scribe("4", "create", json!({"id": {}})),
        scribe("5", "create", json!({"id": "r1", "name": "x".repeat(300_000)})),
        create("6", "r2", "b"),
        scribe("7", "update", json!(["r2", {"id": "r3"}])),
    ]);
    let message = json!({"type": "response", "id": 1, "result": result}).to_string();
    assert!(message.len() > 65_535);
    let web = desk.connect_in("web", Framing::Messages);
    desk.heard(web);
    desk.bytes(web, message.as_bytes());
    assert_eq!(desk.name("r2").as_deref(), Some("b"));
    assert_eq!(desk.node.end().offset, 1);
    let failed =
        desk.events.iter().filter(|event| matches!(event, Event::NotPlayed { code: 0, .. }));
    assert_eq!(failed.count(), 8);
    desk.hub.disconnect(web);
    let web = desk.connect_in("web", Framing::Messages);
    assert_eq!(desk.heard(web)[0]["from"], "7");
    let _ = ann;
}

/// Fault 3: nothing was ever told to who asked for what follows an id that is not there.
#[test]
fn fault_3_an_unknown_point_is_answered_with_all_that_lives() {
    let mut desk = Desk::with(limited());
    let ann = desk.connect_empty("ann");
    desk.create("r1", "a");
    desk.update("r1", "b");
    desk.create("r2", "c");
    desk.destroy("r2");
    desk.create("r3", "d");
    desk.told(ann);
    desk.push(ann, scribe("1", "create", json!({"id": "r4", "for": ["ann"]})));
    for from in ["1", "99999999999", "9007199254740993", "nonsense", "-1", "00"] {
        let bob = desk.connect_empty("bob");
        let state = desk.sync(bob, json!(from));
        assert_eq!(said(&state), [made("r1", "b"), made("r3", "d")], "{from}");
        let unknown = Event::UnknownFrom { session: bob, uid: uid("bob"), from: from.to_owned() };
        assert!(desk.events.contains(&unknown), "{from}");
        // The last one is a point to go on from, and the others are none: whoever was cut off begins anew.
        assert_eq!(desk.sync(bob, last_id(&state)), NONE);
        desk.update("r1", "b2");
        desk.update("r1", "b");
        assert_eq!(desk.told(bob).len(), 2);
        assert_eq!(desk.sync(bob, last_id(&state)).len(), 2);
        assert_eq!(said(&desk.sync(bob, state[0]["id"].clone())), said(&state));
    }
}

#[test]
fn fault_3_a_setting_brings_back_the_answer_of_the_original() {
    let mut desk = Desk::with(Settings { unknown_from: UnknownFrom::Nothing, ..settings() });
    desk.create("r1", "a");
    let ann = desk.connect_empty("ann");
    assert_eq!(desk.sync(ann, json!("12")), NONE);
    desk.update("r1", "b");
    assert_eq!(said(&desk.told(ann)), [changed("r1", "b")], "what is new is told");
}

/// Fault 3, of more than an answer holds: what happens while it is told is told once.
#[test]
fn fault_3_a_long_state_is_told_in_order_beside_what_happens_meanwhile() {
    let mut desk = Desk::new();
    for n in 0..3000 {
        desk.create(&format!("r{n:04}"), &"x".repeat(100));
    }
    let ann = desk.connect_empty("ann");
    desk.is_writing = false;
    desk.say(ann, json!({"type": "sync", "from": "1", "id": 1}));
    // Some of what is still to be told changes, goes and comes back.
    desk.update("r0000", "told before");
    desk.update("r2999", "not told yet");
    desk.destroy("r2998");
    desk.destroy("r2997");
    desk.create("r2997", "anew");
    desk.create("s", "new");
    let mut peer = syncro_sim::Ruby::default();
    peer.connect();
    for _ in 0..100 {
        for message in desk.heard(ann) {
            peer.hear(&message);
        }
        desk.hub.written(ann, usize::MAX >> 1);
        desk.work();
    }
    let names: Vec<Json> = ["r0000", "r2999", "r2997", "s"]
        .iter()
        .map(|id| peer.records[*id]["name"].clone())
        .collect();
    assert_eq!(names, ["told before", "not told yet", "anew", "new"]);
    assert!(!peer.records.contains_key("r2998"));
    assert_eq!(peer.records.len(), 3000);
}

/// Fault 5: what one device did was withheld from the other.
#[test]
fn fault_5_a_second_device_pulls_what_the_first_one_did() {
    let mut desk = Desk::new();
    let phone = desk.connect_empty("ann");
    desk.push(phone, create("1", "r1", "a"));
    desk.hub.disconnect(phone);
    let laptop = desk.connect_empty("ann");
    assert_eq!(said(&desk.sync(laptop, json!(null))), [made("r1", "a")]);
    desk.push(laptop, update("1", "r1", "b"));
    let phone = desk.connect_empty("ann");
    assert_eq!(desk.sync(phone, json!(null)).len(), 2);
}

/// Fault 6: an `error` of one peer ended the event loop of the other.
#[test]
fn fault_6_an_error_of_a_peer_is_an_event_and_nothing_else() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    for code in [json!(0), json!(403), json!(null), json!("x"), json!({})] {
        desk.say(ann, json!({"type": "error", "code": code}));
    }
    assert_eq!(desk.heard(ann), NONE);
    let failed = |event: &&Event| matches!(event, Event::PeerFailed { .. });
    assert_eq!(desk.events.iter().filter(failed).count(), 5);
    desk.push(ann, create("1", "r1", "a"));
}

/// Fault 6: rpc reached every method of an exposed class.
#[test]
fn fault_6_no_method_but_a_registered_one_is_called() {
    let tables = Tables::default().expose("Safe", "one", |_: &[Json], _: &_| Ok(json!(1))).unwrap();
    let mut desk = Desk::with(Settings { tables, ..Settings::default() });
    let ann = desk.connect_empty("ann");
    for (klass, method, code) in [
        ("Safe", "instance_eval", 405),
        ("Safe", "", 405),
        ("Kernel", "exit", 404),
        ("", "one", 404),
        ("safe", "one", 404),
    ] {
        desk.say(ann, json!({"type": "rpc", "klass": klass, "method": method, "id": 1}));
        assert_eq!(desk.heard(ann), [json!({"type": "error", "code": code})]);
    }
}

#[test]
fn fault_7_ids_are_decimal_and_only_grow() {
    let mut desk = Desk::new();
    let bob = desk.connect_empty("bob");
    for n in 0..50 {
        desk.create(&format!("r{n}"), "a");
    }
    desk.told(bob);
    desk.sync(bob, json!("unknown"));
    desk.create("last", "a");
    let ann = desk.connect_empty("ann");
    let scribes = desk.sync(ann, json!(null));
    let numbers: Vec<u64> =
        scribes.iter().map(|one| one["id"].as_str().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]));
    assert!(numbers.iter().all(|number| *number < 1 << 53));
}

/// Fault 8: a push moved the point past what a pull had not brought yet, and that was lost with the connection.
#[test]
fn fault_8_a_push_does_not_move_the_point_past_a_pull_under_way() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    desk.push(ann, create("9", "r9", "pushed"));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], json!(null), "the pull was not answered");
    desk.push(ann, create("10", "r10", "pushed"));
    desk.update("r9", "changed since");
    desk.told(ann);
    // The answer has what was pushed as well, in both sessions: it is not played again.
    let missed = create("8", "r8", "missed");
    let result = json!([missed, create("9", "r9", "pushed"), create("10", "r10", "pushed")]);
    desk.say(ann, json!({"type": "response", "id": 1, "result": result}));
    assert_eq!(desk.name("r8").as_deref(), Some("missed"));
    assert_eq!(desk.name("r9").as_deref(), Some("changed since"));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "10");
    // A push behind the pull moves it, and so does one that overtook it.
    desk.push(ann, update("12", "r8", "b"));
    desk.say(ann, json!({"type": "response", "id": 1, "result": [update("11", "r8", "a")]}));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "12");
}

/// Fault 8: a scribe of an unknown class counts as taken, alone as well.
#[test]
fn fault_8_an_unknown_class_counts_as_taken() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    let other = json!({"klass": "Other", "type": "create", "id": "5", "data": {"id": "x"}});
    desk.say(ann, json!({"type": "response", "id": 1, "result": [other]}));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "5");
}
