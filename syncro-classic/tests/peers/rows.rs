//! The behaviour of 2010, row by row of the protocol's table.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use syncro::{Memory, Node};
use syncro_classic::{
    Attributes, Audience, Class, Framing, Hub, Policy, Recorded, Scribe, Seen, Settings, Tables,
    Uid, frame,
};

use crate::support::{
    Desk, changed, create, destroy, gone, key, last_id, made, said, scribe, settings, tables, uid,
    update,
};

const NONE: [Json; 0] = [];

/// Tells whom the attribute `for` names: nobody, `all`, or a list. Refuses what is called `secret`.
pub(crate) struct For;

impl Policy for For {
    fn scribe_clients(&self, record: Seen<'_>) -> Audience {
        match record.attributes.get("for") {
            None => Audience::Everyone,
            Some(Json::Array(uids)) => {
                let uids = uids.iter().filter_map(Json::as_str).map(uid);
                Audience::Only(uids.collect())
            }
            Some(_) => Audience::NOBODY,
        }
    }

    fn scribe_authorized(&self, scribe: &Scribe, from: &Uid) -> bool {
        !(scribe.data.to_string().contains("secret") && from.as_str() == "bob")
    }

    fn is_recorded(&self, record: Seen<'_>) -> bool {
        record.attributes.get("quiet").is_none()
    }
}

pub(crate) fn limited() -> Settings {
    Settings { policy: Box::new(For), ..settings() }
}

fn for_all(id: &str, record: &str, uids: &[&str]) -> Json {
    scribe(id, "create", json!({"id": record, "for": uids}))
}

#[test]
fn s1_several_messages_arrive_at_once_or_in_pieces() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let messages = [
        json!({"type": "noop", "id": 1}),
        json!({"type": "add_scribe", "id": 2, "scribe": create("1", "r1", "a")}),
        json!({"type": "noop", "id": 3}),
    ];
    let bytes: Vec<u8> = messages
        .iter()
        .flat_map(|message| frame(message.to_string().as_bytes()).unwrap())
        .collect();
    desk.bytes(ann, &bytes);
    let mut ids: Vec<i64> = desk.heard(ann).iter().map(|one| one["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    for byte in &bytes {
        desk.bytes(ann, &[*byte]);
    }
    assert_eq!(desk.heard(ann).len(), 3);
    assert_eq!(desk.name("r1").as_deref(), Some("a"));
}

#[test]
fn s2_a_noop_is_answered() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    desk.say(ann, json!({"type": "noop", "id": 7}));
    assert_eq!(desk.heard(ann), [json!({"type": "response", "id": 7, "result": true})]);
}

#[test]
fn s3_the_first_sync_brings_every_scribe_oldest_first() {
    let mut desk = Desk::new();
    desk.create("r1", "a");
    desk.update("r1", "b");
    desk.create("r2", "c");
    desk.destroy("r2");
    let all = [made("r1", "a"), changed("r1", "b"), made("r2", "c"), gone("r2")];
    for from in [json!(null), json!("")] {
        let ann = desk.connect_empty("ann");
        let scribes = desk.sync(ann, from);
        assert_eq!(said(&scribes), all);
        let keys: BTreeSet<&str> =
            scribes[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["data", "id", "klass", "type"].into());
    }
    let ann = desk.connect_empty("ann");
    desk.say(ann, json!({"type": "sync", "id": 4}));
    assert_eq!(desk.heard(ann)[0]["result"].as_array().unwrap().len(), 4);
}

#[test]
fn s4_a_later_sync_brings_what_follows() {
    let mut desk = Desk::new();
    desk.create("r1", "a");
    let ann = desk.connect_empty("ann");
    let first = desk.sync(ann, json!(null));
    desk.hub.disconnect(ann);
    desk.update("r1", "b");
    desk.destroy("r1");
    let ann = desk.connect_empty("ann");
    let then = desk.sync(ann, last_id(&first));
    assert_eq!(said(&then), [changed("r1", "b"), gone("r1")]);
    assert_eq!(desk.sync(ann, then[0]["id"].clone()), then[1..]);
    assert_eq!(desk.sync(ann, last_id(&then)), NONE);
    // JavaScript peers may write ids as numbers.
    let number: u64 = then[0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(desk.sync(ann, json!(number)), then[1..]);
}

#[test]
fn s5_a_session_does_not_get_back_what_it_pushed_and_another_of_its_client_does() {
    let mut desk = Desk::new();
    let phone = desk.connect_empty("ann");
    desk.push(phone, create("1", "r1", "a"));
    desk.push(phone, update("2", "r1", "b"));
    assert_eq!(desk.sync(phone, json!(null)), NONE);
    let laptop = desk.connect_empty("ann");
    assert_eq!(said(&desk.sync(laptop, json!(null))), [made("r1", "a"), changed("r1", "b")]);
    desk.hub.disconnect(phone);
    let phone = desk.connect_empty("ann");
    assert_eq!(desk.sync(phone, json!(null)).len(), 2);
}

#[test]
fn s6_connected_peers_are_told_at_once() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect("bob"));
    desk.push(ann, create("1", "r1", "a"));
    assert_eq!(said(&desk.told(bob)), [made("r1", "a")]);
    desk.update("r1", "b");
    assert_eq!(said(&desk.told(bob)), [changed("r1", "b")]);
    assert_eq!(said(&desk.told(ann)), [changed("r1", "b")]);
}

/// Whoever has missed something is told of it first: a peer of 2010 takes what it is told last for the end of
/// what it has.
#[test]
fn s6_who_has_missed_something_may_ask_for_it_first() {
    let mut desk = Desk::new();
    desk.create("r1", "a");
    let (bob, eve) = (desk.connect_empty("bob"), desk.connect_empty("eve"));
    desk.create("r2", "b");
    assert_eq!((desk.heard(bob), desk.heard(eve)), (NONE.into(), NONE.into()));
    assert_eq!(said(&desk.sync(bob, json!(null))), [made("r1", "a"), made("r2", "b")]);
    // One that never asks is not kept waiting.
    desk.hub.lose_patience(eve);
    desk.work();
    assert_eq!(said(&desk.told(eve)), [made("r2", "b")]);
}

#[test]
fn s7_a_push_goes_to_every_other_session_under_an_id_of_the_hub() {
    let mut desk = Desk::new();
    let (ann, second) = (desk.connect_empty("ann"), desk.connect_empty("ann"));
    let bob = desk.connect_empty("bob");
    desk.push(ann, create("77", "r1", "a"));
    assert_eq!(desk.heard(ann), NONE);
    let (to_second, to_bob) = (desk.told(second), desk.told(bob));
    assert_eq!(to_second, to_bob);
    assert_eq!(said(&to_bob), [made("r1", "a")]);
    let id = to_bob[0]["id"].as_str().unwrap();
    assert!(id != "77" && id.parse::<u64>().is_ok(), "{id}");
    // What was told and answered is changed by the peer: nothing comes back either.
    desk.push(bob, update("5", "r1", "b"));
    assert_eq!(desk.heard(bob), NONE);
    assert_eq!(said(&desk.told(ann)), [changed("r1", "b")]);
    // What was in an answer to a sync, too.
    let eve = desk.connect_empty("eve");
    desk.sync(eve, json!(null));
    desk.push(eve, update("6", "r1", "c"));
    assert_eq!(desk.heard(eve), NONE);
}

#[test]
fn s8_a_push_is_played_and_answered_and_moves_the_point() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("41", "r1", "a"));
    assert_eq!(desk.name("r1").as_deref(), Some("a"));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann), [json!({"type": "sync", "from": "41", "id": 1})]);
}

#[test]
fn s9_the_hub_pulls_with_its_point_plays_in_order_and_keeps_the_last_id() {
    let mut desk = Desk::new();
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann), [json!({"type": "sync", "from": null, "id": 1})]);
    let result = json!([create("1", "r1", "a"), update("2", "r1", "b"), create("9", "r2", "c")]);
    desk.say(ann, json!({"type": "response", "id": 1, "result": result}));
    assert_eq!(desk.heard(ann), NONE);
    assert_eq!(desk.name("r1").as_deref(), Some("b"));
    assert_eq!(desk.name("r2").as_deref(), Some("c"));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann), [json!({"type": "sync", "from": "9", "id": 1})]);
    // Nobody else's point moved.
    let bob = desk.connect_in("bob", Framing::Stream);
    assert_eq!(desk.heard(bob)[0]["from"], json!(null));
}

#[test]
fn s10_pulled_scribes_of_unknown_classes_are_passed_over() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    let other = json!({"klass": "Other", "type": "create", "id": "2", "data": {"id": "x"}});
    let last = json!({"klass": "Other", "type": "create", "id": "4", "data": {"id": "y"}});
    let result = json!([create("1", "r1", "a"), other, update("3", "r1", "b"), last]);
    desk.say(ann, json!({"type": "response", "id": 1, "result": result}));
    assert_eq!(desk.heard(ann), NONE);
    assert_eq!(desk.name("r1").as_deref(), Some("b"));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "4");
}

#[test]
fn s11_a_push_of_a_class_that_is_not_shared_is_error_403() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    let other = json!({"klass": "Other", "type": "create", "id": "2", "data": {"id": "x"}});
    assert_eq!(desk.push_any(ann, other), json!({"type": "error", "code": 403}));
    assert_eq!(desk.node.end().offset, 0);
    assert_eq!(desk.heard(bob), NONE);
    desk.push(ann, create("3", "r1", "a"));
}

#[test]
fn s12_classes_are_shared_one_by_one() {
    let mut desk = Desk::with(Settings::default());
    desk.create("r1", "a");
    let ann = desk.connect_empty("ann");
    assert_eq!(desk.sync(ann, json!(null)), NONE);
    let refused = desk.push_any(ann, create("1", "r2", "b"));
    assert_eq!(refused["code"], 403);

    let tables = tables().allow(Class::new("Also").unwrap()).unwrap();
    assert!(Tables::default().allow(Class::new("Test").unwrap()).is_ok());
    let mut desk = Desk::with(Settings { tables, ..Settings::default() });
    let ann = desk.connect_empty("ann");
    desk.push(ann, json!({"klass": "Also", "type": "create", "id": "1", "data": {"id": "x"}}));
    desk.push(ann, create("2", "r1", "a"));
}

#[test]
fn s13_an_update_that_changes_nothing_records_nothing() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, create("1", "r1", "a"));
    desk.told(bob);
    let end = desk.node.end();
    desk.push(ann, update("2", "r1", "a"));
    desk.push(ann, create("3", "r1", "a"));
    desk.push(ann, scribe("4", "update", json!(["r1", {}])));
    assert_eq!((desk.node.end(), desk.heard(bob)), (end, NONE.into()));
    // The part that changes is told alone.
    desk.push(ann, scribe("5", "update", json!(["r1", {"name": "a", "age": 1}])));
    assert_eq!(said(&desk.told(bob)), [("update".to_owned(), json!(["r1", {"age": 1}]))]);
}

#[test]
fn s14_who_is_not_named_is_neither_told_nor_shown() {
    let mut desk = Desk::with(limited());
    let (ann, bob, eve) =
        (desk.connect_empty("ann"), desk.connect_empty("bob"), desk.connect_empty("eve"));
    desk.push(ann, for_all("1", "r1", &["ann", "bob"]));
    desk.push(ann, update("2", "r1", "x"));
    assert_eq!(desk.told(bob).len(), 2);
    assert_eq!(desk.heard(eve), NONE);
    assert_eq!(desk.sync(eve, json!(null)), NONE);
    assert_eq!(desk.sync(bob, json!(null)).len(), 2);
}

#[test]
fn s14b_what_nobody_is_told_is_not_recorded() {
    let mut desk = Desk::with(limited());
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, for_all("1", "r1", &[]));
    desk.push(ann, update("2", "r1", "x"));
    assert_eq!(desk.name("r1").as_deref(), Some("x"));
    assert_eq!(desk.heard(bob), NONE);
    assert_eq!(desk.sync(bob, json!(null)), NONE);
    desk.say(bob, json!({"type": "rpc", "klass": "Syncro::RPC::Default", "method": "last_scribe_id", "args": [], "id": 9}));
    assert_eq!(desk.heard(bob), [json!({"type": "response", "id": 9, "result": 0})]);
}

#[test]
fn s15_what_is_for_a_client_that_nobody_knows_waits_for_it() {
    let (node, disk) = (Node::in_memory("hub").unwrap(), Memory::new());
    let mut desk = Desk::over(node.clone(), Hub::open(node, disk, limited()).unwrap());
    let ann = desk.connect_empty("ann");
    desk.push(ann, for_all("1", "r1", &["zoe"]));
    let zoe = desk.connect_empty("zoe");
    assert_eq!(desk.sync(zoe, json!(null)).len(), 1);
}

#[test]
fn s16_who_appears_later_gets_what_was_for_all() {
    let mut desk = Desk::with(limited());
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("1", "r1", "a"));
    desk.push(ann, update("2", "r1", "b"));
    let late = desk.connect_empty("somebody new");
    assert_eq!(said(&desk.sync(late, json!(null))), [made("r1", "a"), changed("r1", "b")]);
}

#[test]
fn s17_what_a_client_may_not_do_is_error_0_and_is_not_played() {
    let mut desk = Desk::with(limited());
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect("bob"));
    desk.push(ann, create("1", "r1", "secret"));
    desk.told(bob);
    assert_eq!(
        desk.push_any(bob, update("1", "r1", "no secret")),
        json!({"type": "error", "code": 0})
    );
    assert_eq!(desk.name("r1").as_deref(), Some("secret"));
    // Pulled, it is passed over, and what follows is played.
    let result = json!([create("2", "r2", "secret"), create("3", "r3", "b")]);
    desk.say(bob, json!({"type": "response", "id": 1, "result": result}));
    assert_eq!((desk.record("r2"), desk.name("r3").as_deref()), (None, Some("b")));
}

#[test]
fn s18_recording_can_be_limited_to_sorts_of_changes() {
    let only = Recorded { creates: true, updates: false, destroys: false };
    let class = Class::new("Test").unwrap().recorded(only);
    let tables = Tables::default().allow(class).unwrap();
    let mut desk = Desk::with(Settings { tables, ..Settings::default() });
    let ann = desk.connect_empty("ann");
    desk.create("r1", "a");
    desk.update("r1", "b");
    desk.destroy("r1");
    assert_eq!(said(&desk.told(ann)), [made("r1", "a")]);
}

#[test]
fn s19_recording_can_be_switched_off_for_a_record_or_a_write() {
    let mut desk = Desk::with(limited());
    let ann = desk.connect_empty("ann");
    desk.create("r1", "a");
    desk.edit("r1", "quiet", true.into());
    desk.update("r1", "b");
    assert_eq!(said(&desk.told(ann)), [made("r1", "a")]);

    desk.create("r2", "a");
    let edit =
        syncro::Edit::value(syncro::Name::new("name").unwrap(), syncro::Value::from("b").encode());
    let write = |node: &Node| node.transaction(|draft| draft.update_record(key("r2"), vec![edit]));
    desk.hub.unrecorded(write).unwrap().unwrap();
    desk.work();
    desk.update("r2", "c");
    assert_eq!(said(&desk.told(ann)), [made("r2", "a"), changed("r2", "c")]);
}

/// A record of which nothing was told is created, whole, for whoever hears of it first.
#[test]
fn s19_what_was_created_unrecorded_is_created_with_its_next_change() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let fields = syncro::Fields::from_values(&[("age".into(), 3.into())].into()).unwrap();
    desk.hub
        .unrecorded(|node| node.transaction(|draft| draft.create_record(key("r1"), &fields)))
        .unwrap();
    desk.work();
    assert_eq!(desk.heard(ann), NONE);
    desk.update("r1", "b");
    let all = json!({"id": "r1", "name": "b", "age": 3});
    assert_eq!(said(&desk.told(ann)), [("create".to_owned(), all)]);
}

#[test]
fn s20_whoever_is_asked_knows_whose_scribe_is_played() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut watch = desk.node.watch_all();
    desk.push(ann, create("1", "r1", "a"));
    desk.create("r2", "b");
    while let Some(change) = watch.try_next().unwrap() {
        seen.lock()
            .unwrap()
            .push((change.key.id.to_string(), desk.hub.replay_of(&change.stamp).cloned()));
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [("r1".to_owned(), Some(uid("ann"))), ("r2".to_owned(), None)]);
}

#[test]
fn s21_types_of_the_hosts_own_are_played_and_relayed() {
    let played = Arc::new(Mutex::new(Vec::new()));
    let heard = played.clone();
    let tables = tables().play("Chat", "said", move |scribe: &Scribe, from: &Uid| {
        heard.lock().unwrap().push((scribe.data.clone(), from.clone()));
        if scribe.data == json!("bad") { Err("no".to_owned()) } else { Ok(Audience::Everyone) }
    });
    let mut desk = Desk::with(Settings { tables: tables.unwrap(), ..Settings::default() });
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    let chat =
        |id: &str, data: Json| json!({"klass": "Chat", "type": "said", "id": id, "data": data});
    desk.push(ann, chat("1", json!({"text": ["hi"]})));
    assert_eq!(*played.lock().unwrap(), [(json!({"text": ["hi"]}), uid("ann"))]);
    let told = desk.told(bob);
    assert_eq!((&told[0]["klass"], &told[0]["type"]), (&json!("Chat"), &json!("said")));
    assert_eq!(told[0]["data"], json!({"text": ["hi"]}));
    assert_eq!(desk.heard(ann), NONE);
    assert_eq!(desk.push_any(ann, chat("2", json!("bad")))["code"], 0);
    assert_eq!(desk.heard(bob), NONE);
    // The host's own; and what was missed comes with a sync.
    desk.hub
        .scribe("Chat", "said", json!("from the host"), Audience::Only([uid("bob")].into()))
        .unwrap();
    desk.work();
    assert_eq!((desk.told(bob).len(), desk.heard(ann)), (1, NONE.into()));
    let eve = desk.connect_empty("eve");
    assert_eq!(desk.sync(eve, json!(null)).len(), 1);
}

#[test]
fn s22_a_type_without_a_player_is_acknowledged_and_not_relayed() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, scribe("1", "wobble", json!([1, 2])));
    assert_eq!((desk.heard(bob), desk.node.end().offset), (NONE.into(), 0));
}

#[test]
fn s23_a_create_of_what_is_there_changes_it() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, scribe("1", "create", json!({"id": "r1", "name": "a", "age": 1})));
    desk.told(bob);
    desk.push(ann, create("2", "r1", "b"));
    assert_eq!(desk.record("r1").unwrap().len(), 2);
    assert_eq!(said(&desk.told(bob)), [changed("r1", "b")]);
    // Ids are numbers, too, and other ones than text.
    desk.push(ann, scribe("3", "create", json!({"id": 5, "name": "five"})));
    desk.push(ann, scribe("4", "create", json!({"id": "5", "name": "text"})));
    let records = desk.node.list_records(&syncro::Name::new("Test").unwrap()).unwrap();
    assert_eq!(records.len(), 3);
}

#[test]
fn s24_only_exposed_methods_can_be_called() {
    let tables = tables().expose("Math", "add", |args: &[Json], from: &Uid| {
        let sum: Option<i64> = args.iter().map(Json::as_i64).sum();
        sum.map(|sum| json!([sum, from.as_str()])).ok_or_else(|| "no numbers".to_owned())
    });
    let mut desk = Desk::with(Settings { tables: tables.unwrap(), ..Settings::default() });
    let ann = desk.connect_empty("ann");
    let mut call = |klass: &str, method: &str, args: Json| {
        desk.say(
            ann,
            json!({"type": "rpc", "klass": klass, "method": method, "args": args, "id": 3}),
        );
        desk.heard(ann).remove(0)
    };
    assert_eq!(
        call("Math", "add", json!([1, 2])),
        json!({"type": "response", "id": 3, "result": [3, "ann"]})
    );
    assert_eq!(call("Nothing", "add", json!([])), json!({"type": "error", "code": 404}));
    assert_eq!(call("Math", "send", json!(["exit"])), json!({"type": "error", "code": 405}));
    assert_eq!(
        call("Syncro::RPC::Default", "exit", json!([])),
        json!({"type": "error", "code": 405})
    );
    assert_eq!(call("Math", "add", json!(["x"])), json!({"type": "error", "code": 0}));
    assert_eq!(call("Math", "add", json!([5]))["result"][0], 5);
}

#[test]
fn s25_a_client_can_ask_for_the_last_id_that_it_may_see() {
    let mut desk = Desk::with(limited());
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    let ask = json!({"type": "rpc", "klass": "Syncro::RPC::Default", "method": "last_scribe_id", "args": [], "id": 9});
    desk.say(bob, ask.clone());
    assert_eq!(desk.heard(bob)[0]["result"], 0);
    desk.push(ann, create("1", "r1", "a"));
    let told = desk.told(bob);
    desk.push(ann, for_all("2", "r2", &["eve"]));
    desk.say(bob, ask.clone());
    assert_eq!(desk.heard(bob)[0]["result"], told[0]["id"]);
    // Who takes it for its point misses nothing that follows, and gets nothing of what was.
    desk.push(ann, update("3", "r1", "b"));
    desk.told(bob);
    assert_eq!(said(&desk.sync(bob, told[0]["id"].clone())), [changed("r1", "b")]);
    let eve = desk.connect_empty("eve");
    assert_eq!(desk.sync(eve, json!(null)).len(), 3);
}

#[test]
fn s26_the_hub_can_take_over_the_end_of_a_clients_log() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    desk.hub.uptodate(&uid("ann"));
    desk.work();
    let asked = desk.heard(ann).remove(0);
    assert_eq!(
        (&asked["klass"], &asked["method"]),
        (&json!("Syncro::RPC::Default"), &json!("last_scribe_id"))
    );
    desk.say(ann, json!({"type": "response", "id": asked["id"], "result": "33"}));
    desk.hub.disconnect(ann);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "33");
}

#[test]
fn s27_answers_are_matched_by_id_in_any_order() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    desk.create("r1", "a");
    desk.create("r2", "b");
    let told = desk.heard(ann);
    assert_eq!(told.iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3]);
    desk.say(ann, json!({"type": "response", "id": 3, "result": true}));
    desk.say(ann, json!({"type": "response", "id": 99, "result": true}));
    desk.say(ann, json!({"type": "response", "id": 1, "result": [create("1", "r3", "c")]}));
    desk.say(ann, json!({"type": "response", "id": 2, "result": true}));
    assert_eq!(desk.name("r3").as_deref(), Some("c"));
    desk.say(ann, json!({"type": "response", "id": 1, "result": [create("2", "r4", "c")]}));
    assert_eq!(desk.record("r4"), None, "that was answered before");
}

#[test]
fn s28_an_unknown_type_is_passed_over_and_the_link_stays() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    for message in
        [json!({"type": "what", "id": 1}), json!({}), json!([]), json!({"type": null}), json!(3)]
    {
        desk.say(ann, message);
    }
    assert_eq!(desk.heard(ann), NONE);
    desk.push(ann, create("1", "r1", "a"));
    assert!(desk.closed.is_empty());
}

#[test]
fn s31_each_session_of_a_client_is_told_once() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let bobs: Vec<_> = (0..5).map(|_| desk.connect_empty("bob")).collect();
    desk.push(ann, create("1", "r1", "a"));
    for bob in bobs {
        assert_eq!(desk.told(bob).len(), 1);
    }
}

#[test]
fn s32_a_message_that_was_cut_off_is_forgotten() {
    let mut desk = Desk::new();
    let push = json!({"type": "add_scribe", "id": 2, "scribe": create("1", "r1", "a")});
    let bytes = frame(push.to_string().as_bytes()).unwrap();
    let ann = desk.connect_empty("ann");
    desk.bytes(ann, &bytes[..bytes.len() - 1]);
    desk.hub.disconnect(ann);
    let ann = desk.connect_empty("ann");
    desk.bytes(ann, &bytes[bytes.len() - 1..]);
    assert_eq!(desk.record("r1"), None);
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("1", "r1", "a"));
    desk.push(ann, destroy("2", "r1"));
    assert_eq!(desk.record("r1"), None);
}

#[test]
fn s33_the_list_is_in_memory_or_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let open = || {
        let node = Node::open(path("hub.redb"), "hub").unwrap();
        let list = syncro::Redb::open(path("hub.redb.classic")).unwrap();
        Desk::over(node.clone(), Hub::open(node, list, settings()).unwrap())
    };
    let mut desk = open();
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("7", "r1", "a"));
    let bob = desk.connect_empty("bob");
    let before = desk.sync(bob, json!(null));
    desk.node.close().unwrap();
    drop(desk);

    let mut desk = open();
    let bob = desk.connect_empty("bob");
    assert_eq!(desk.sync(bob, json!(null)), before);
    assert_eq!(desk.sync(bob, last_id(&before)), NONE);
    let ann = desk.connect_in("ann", Framing::Stream);
    assert_eq!(desk.heard(ann)[0]["from"], "7");
    desk.update("r1", "b");
    let told = desk.told(bob);
    let number = |id: &Json| id.as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&told[0]["id"]) > number(&before[0]["id"]), "ids only grow");
    let _: Attributes = Attributes::new();
}
