//! What classic peers may change on a node that limits its peers: what is refused is undone where it came from.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use syncro::{Memory, Node, Pattern, Principal, Proposed, Refusal, Rules, ScribeModel};
use syncro_classic::{Event, Hub, Policy, SessionId, Settings, Uid};
use syncro_sim::Ruby;

use crate::support::{
    Desk, confirmed, create, destroy, gone, key, made, said, scribe, settings, update,
};

#[derive(ScribeModel)]
#[scribe(model = "Test", channel = "tests")]
struct Test {
    id: String,
    name: String,
}

/// Everybody but the stranger may write, though nothing that is bad, and nothing over what is locked.
struct Assigned;

impl Policy for Assigned {
    fn principal(&self, uid: &Uid) -> Option<Principal> {
        let tests = Pattern::new("tests").unwrap();
        (uid.as_str() != "stranger").then(|| Principal::new(uid.as_str()).may_write([tests]))
    }
}

fn rule(change: &Proposed<'_, Test>) -> Result<(), Refusal> {
    let is = |test: &Option<Test>, what: &str| {
        test.as_ref().is_some_and(|test| test.name.starts_with(what))
    };
    match is(&change.before, "locked") || is(&change.after, "bad") {
        true => Err(Refusal::new(100, "it is locked, or bad")),
        false => Ok(()),
    }
}

fn desk(settings: Settings) -> Desk {
    let rules = Rules::new(|_| None).rule(rule);
    let node = Node::builder().name("hub").rules(rules).open_on(Memory::new()).unwrap();
    let settings = Settings { policy: Box::new(Assigned), ..settings };
    Desk::over(node.clone(), Hub::in_memory(node, settings).unwrap())
}

/// Says what must be acknowledged like anything else, and returns what follows.
fn pushed(desk: &mut Desk, session: SessionId, scribe: Json) -> Vec<(String, Json)> {
    desk.say(session, json!({"type": "add_scribe", "scribe": scribe, "id": 55}));
    let answer = desk.hub_answer(session);
    assert_eq!(answer, json!({"type": "response", "id": 55, "result": true}));
    said(&desk.told(session))
}

fn refusals(desk: &Desk) -> Vec<u16> {
    let codes = desk.events.iter().filter_map(|event| match event {
        Event::Undone { refusal, .. } => Some(refusal.code),
        _ => None,
    });
    codes.collect()
}

#[test]
fn a_refused_update_is_acknowledged_and_undone_at_whoever_made_it() {
    let mut desk = desk(settings());
    desk.create("r1", "locked");
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    for session in [ann, bob] {
        assert_eq!(desk.sync(session, Json::Null).len(), 1);
    }
    let wanted = scribe("1", "update", json!(["r1", {"name": "mine", "color": "red"}]));
    let told = pushed(&mut desk, ann, wanted);
    let restored = json!({"id": "r1", "name": "locked", "color": null});
    assert_eq!(told, [("create".to_owned(), restored)], "what the record lacks is emptied");
    assert_eq!(desk.name("r1").as_deref(), Some("locked"));
    assert!(desk.told(bob).is_empty(), "nobody else has anything to undo");
    assert_eq!(refusals(&desk), [100]);
}

#[test]
fn a_refused_create_is_destroyed_and_what_follows_it_is_no_error() {
    let mut desk = desk(settings());
    let ann = desk.connect_empty("ann");
    desk.sync(ann, Json::Null);
    let known = ("create".to_owned(), json!({"id": "r1"}));
    let undone = [known, gone("r1")];
    assert_eq!(pushed(&mut desk, ann, create("1", "r1", "bad")), undone);
    // Both were written before it heard of the first.
    assert_eq!(pushed(&mut desk, ann, update("2", "r1", "good")), undone);
    assert_eq!(pushed(&mut desk, ann, destroy("3", "r1")), []);
    assert!(desk.record("r1").is_none());
    assert_eq!(refusals(&desk), [100, Refusal::GONE]);
}

#[test]
fn a_refused_destroy_brings_the_record_back() {
    let mut desk = desk(settings());
    desk.create("r1", "locked");
    let ann = desk.connect_empty("ann");
    desk.sync(ann, Json::Null);
    assert_eq!(pushed(&mut desk, ann, destroy("1", "r1")), [made("r1", "locked")]);
    // And it is one again like any other.
    desk.update("r1", "open");
    assert_eq!(desk.told(ann).len(), 1);
    assert_eq!(pushed(&mut desk, ann, destroy("2", "r1")), []);
    assert!(desk.record("r1").is_none());
}

#[test]
fn whom_the_host_gives_no_principal_may_change_nothing() {
    let mut desk = desk(settings());
    let stranger = desk.connect_empty("stranger");
    desk.sync(stranger, Json::Null);
    assert_eq!(pushed(&mut desk, stranger, create("1", "r1", "good")).len(), 2);
    assert!(desk.record("r1").is_none());
    assert_eq!(refusals(&desk), [Refusal::CHANNEL]);
}

/// What was written offline is pulled as a batch: one change in it that is refused keeps nothing else from being played.
#[test]
fn in_a_pulled_batch_what_is_refused_is_undone_and_the_rest_is_played() {
    let mut desk = desk(settings());
    desk.create("r1", "locked");
    let mut ann = Ruby::default();
    let session = meet(&mut desk, "ann", &mut ann);
    part(&mut desk, session, &mut ann);
    ann.create("r2", "bad");
    ann.update("r1", "mine");
    ann.create("r3", "good");
    let session = meet(&mut desk, "ann", &mut ann);
    assert_eq!(shown(&ann), held(&desk));
    assert_eq!(held(&desk).keys().collect::<Vec<_>>(), ["r1", "r3"]);
    part(&mut desk, session, &mut ann);
    // Another device of the client has never heard of any of it.
    let mut phone = Ruby::default();
    meet(&mut desk, "ann", &mut phone);
    assert_eq!(shown(&phone), held(&desk));
}

/// Lets a peer begin a session, and both talk until nobody has anything left to say.
fn meet(desk: &mut Desk, uid: &str, peer: &mut Ruby) -> SessionId {
    peer.connect();
    let session = desk.connect_in(uid, syncro_classic::Framing::Messages);
    converse(desk, session, peer);
    session
}

fn part(desk: &mut Desk, session: SessionId, peer: &mut Ruby) {
    desk.hub.disconnect(session);
    peer.disconnect();
}

fn converse(desk: &mut Desk, session: SessionId, peer: &mut Ruby) {
    loop {
        let (said, heard) = (std::mem::take(&mut peer.out), desk.heard(session));
        if said.is_empty() && heard.is_empty() {
            return;
        }
        heard.iter().for_each(|message| peer.hear(message));
        said.into_iter().for_each(|message| desk.say(session, message));
    }
}

fn shown(peer: &Ruby) -> BTreeMap<String, Json> {
    peer.records.iter().map(|(id, record)| (id.clone(), record["name"].clone())).collect()
}

fn held(desk: &Desk) -> BTreeMap<String, Json> {
    let records = desk.node.list_records(&key("r1").model).unwrap();
    let names = records.into_iter().map(|(id, fields)| match fields.to_values().remove("name") {
        Some(syncro::Value::Text(name)) => (id.to_string(), Json::from(name)),
        other => panic!("{other:?}"),
    });
    names.collect()
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize, u8, &'static str),
    Update(usize, u8, &'static str),
    Destroy(usize, u8),
    Turn(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (who, record) = (0..2usize, 0..3u8);
    let name = prop::sample::select(&["good", "bad", "locked", "fine"][..]);
    prop_oneof![
        (who.clone(), record.clone(), name.clone()).prop_map(|(a, b, c)| Op::Create(a, b, c)),
        (who.clone(), record.clone(), name).prop_map(|(a, b, c)| Op::Update(a, b, c)),
        (who.clone(), record).prop_map(|(a, b)| Op::Destroy(a, b)),
        who.prop_map(Op::Turn),
    ]
}

proptest! {
    #![proptest_config(crate::random::config())]

    /// Two peers of 2010 that write what they may and what they may not, at the hub and away from it: in the end both
    /// show what the node holds, and neither was sent what it cannot play.
    #[test]
    fn peers_end_with_what_the_node_holds(ops in prop::collection::vec(op(), 1..24)) {
        let mut desk = desk(confirmed());
        let mut peers = [Ruby::default(), Ruby::default()];
        let mut sessions = [None, None];
        for op in ops {
            let (who, id) = match &op {
                Op::Create(who, record, _) | Op::Update(who, record, _) | Op::Destroy(who, record) => {
                    (*who, format!("r{record}"))
                }
                Op::Turn(who) => (*who, String::new()),
            };
            let peer = &mut peers[who];
            match op {
                Op::Create(_, _, name) if !peer.records.contains_key(&id) => peer.create(&id, name),
                Op::Create(..) => {}
                Op::Update(_, _, name) => peer.update(&id, name),
                Op::Destroy(..) => peer.destroy(&id),
                Op::Turn(_) => match sessions[who].take() {
                    Some(session) => part(&mut desk, session, peer),
                    None => sessions[who] = Some(meet(&mut desk, ["ann", "bob"][who], peer)),
                },
            }
            settle(&mut desk, &sessions, &mut peers);
        }
        for (who, uid) in ["ann", "bob"].into_iter().enumerate() {
            if sessions[who].is_none() {
                sessions[who] = Some(meet(&mut desk, uid, &mut peers[who]));
            }
        }
        settle(&mut desk, &sessions, &mut peers);
        for peer in &peers {
            prop_assert_eq!(shown(peer), held(&desk));
        }
        prop_assert!(held(&desk).values().all(|name| name != "bad"));
    }
}

fn settle(desk: &mut Desk, sessions: &[Option<SessionId>; 2], peers: &mut [Ruby; 2]) {
    // What one says may be told to the other.
    for _ in 0..3 {
        for (session, peer) in sessions.iter().zip(&mut *peers) {
            if let Some(session) = session {
                converse(desk, *session, peer);
            }
        }
    }
}
