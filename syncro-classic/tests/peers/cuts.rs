//! Sessions that were recorded once, cut and closed everywhere.

use serde_json::{Value as Json, json};
use syncro_classic::{Framing, SessionId, frame};

use crate::support::{Desk, create, destroy, last_id, update};

/// The log of a peer.
fn log() -> Vec<Json> {
    vec![
        create("1", "r1", "a"),
        update("2", "r1", "\u{e9}\u{1f600}"),
        create("3", "r2", "c"),
        update("4", "r2", "d"),
        destroy("5", "r1"),
        create("6", "r1", "anew"),
    ]
}

/// A session in which a peer answers the pull with half of its log, pushes the other half, and asks for this and
/// that between.
fn recorded() -> Vec<Json> {
    let push = |id: u64, at: usize| json!({"type": "add_scribe", "scribe": log()[at], "id": id});
    vec![
        json!({"type": "sync", "from": null, "id": 1}),
        json!({"type": "response", "id": 1, "result": log()[..3]}),
        json!({"type": "noop", "id": 2}),
        push(3, 3),
        json!({"type": "what", "id": 4}),
        push(5, 4),
        json!({"type": "rpc", "klass": "Syncro::RPC::Default", "method": "last_scribe_id", "args": [], "id": 6}),
        push(7, 5),
        json!({"type": "sync", "from": "", "id": 8}),
    ]
}

fn bytes(messages: &[Json]) -> Vec<u8> {
    // Raw UTF-8, as later versions of the original write it.
    messages.iter().flat_map(|message| frame(message.to_string().as_bytes()).unwrap()).collect()
}

fn hub() -> (Desk, SessionId) {
    let mut desk = Desk::new();
    desk.create("native", "n");
    let ann = desk.connect("ann");
    (desk, ann)
}

/// What is the same whenever the story is over: the records, and how often each change was recorded.
fn outcome(desk: &Desk) -> (Option<String>, Option<String>, u64) {
    (desk.name("r1"), desk.name("r2"), desk.node.end().offset)
}

fn expected() -> (Option<String>, Option<String>, u64) {
    (Some("anew".to_owned()), Some("d".to_owned()), 7)
}

/// What a session heard, without the ids of the list, which differ from hub to hub.
fn heard(desk: &mut Desk, session: SessionId) -> Vec<Json> {
    let mut heard = desk.heard(session);
    for message in &mut heard {
        let is_id = |json: &Json| json.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
        if is_id(&message["result"]) {
            message["result"] = json!("an id");
        }
        for scribe in message["result"].as_array_mut().into_iter().flatten() {
            scribe["id"] = json!("an id");
        }
    }
    heard.sort_by_key(|message| message["id"].as_u64());
    heard
}

#[test]
fn a_session_cut_in_two_anywhere_says_the_same() {
    let bytes = bytes(&recorded());
    let (mut desk, ann) = hub();
    desk.bytes(ann, &bytes);
    let whole = heard(&mut desk, ann);
    assert_eq!((outcome(&desk), whole.len()), (expected(), 7));
    for at in 1..bytes.len() {
        let (mut desk, ann) = hub();
        desk.bytes(ann, &bytes[..at]);
        desk.bytes(ann, &bytes[at..]);
        assert_eq!(outcome(&desk), expected(), "cut at {at}");
        assert_eq!(heard(&mut desk, ann), whole, "cut at {at}");
    }
}

#[test]
fn a_session_in_pieces_of_any_size_says_the_same() {
    let bytes = bytes(&recorded());
    let mut whole = None;
    for size in (1..=64).chain([bytes.len()]) {
        let (mut desk, ann) = hub();
        bytes.chunks(size).for_each(|piece| desk.bytes(ann, piece));
        assert_eq!(outcome(&desk), expected(), "in pieces of {size}");
        let heard = heard(&mut desk, ann);
        assert_eq!(whole.get_or_insert_with(|| heard.clone()), &heard, "in pieces of {size}");
    }
}

/// Closed after any byte, with the next session the peer sends what the hub does not have: nothing is lost, and
/// nothing is there twice.
#[test]
fn a_session_that_is_closed_anywhere_is_taken_up_by_the_next() {
    let bytes = bytes(&recorded());
    for at in 0..=bytes.len() {
        for is_dealt_with in [true, false] {
            let (mut desk, ann) = hub();
            desk.hub.receive(ann, &bytes[..at]);
            if is_dealt_with {
                desk.work();
            }
            desk.hub.disconnect(ann);
            desk.work();
            finish(&mut desk);
            assert_eq!(outcome(&desk), expected(), "closed at {at}");
        }
    }
}

/// The same over a transport of messages, where a message is there or not.
#[test]
fn a_session_of_messages_that_is_closed_after_any_of_them_is_taken_up_by_the_next() {
    let messages = recorded();
    for at in 0..=messages.len() {
        for is_dealt_with in [true, false] {
            let mut desk = Desk::new();
            desk.create("native", "n");
            let ann = desk.connect_in("ann", Framing::Messages);
            messages[..at].iter().for_each(|message| desk.hand_in(ann, message.clone()));
            if is_dealt_with {
                desk.work();
            }
            desk.hub.disconnect(ann);
            desk.work();
            finish(&mut desk);
            assert_eq!(outcome(&desk), expected(), "closed after {at} messages");
        }
    }
}

/// Connects once more, with everything in the log, and answers the pull.
fn finish(desk: &mut Desk) {
    let ann = desk.connect_in("ann", Framing::Stream);
    let from = desk.heard(ann)[0]["from"].clone();
    let log = log();
    let after = log.iter().position(|one| one["id"] == from).map_or(0, |at| at + 1);
    desk.say(ann, json!({"type": "response", "id": 1, "result": log[after..]}));
    // And it hears what it has missed, once.
    let scribes = desk.sync(ann, json!(null));
    assert_eq!(scribes[0]["data"]["id"], "native");
    assert_eq!(desk.sync(ann, last_id(&scribes)), [] as [Json; 0]);
}

/// The same towards the peer: it goes on from whatever was the last thing that it got.
#[test]
fn a_peer_that_is_cut_off_after_any_scribe_goes_on_from_there() {
    let mut desk = Desk::new();
    for n in 0..900 {
        desk.create(&format!("r{n}"), &"x".repeat(150));
    }
    let ann = desk.connect_empty("ann");
    desk.say(ann, json!({"type": "sync", "from": null, "id": 1}));
    let heard = desk.heard(ann);
    let rest = heard[1..].iter().map(|one| one["scribe"].clone());
    let all: Vec<Json> =
        heard[0]["result"].as_array().unwrap().iter().cloned().chain(rest).collect();
    assert_eq!(all.len(), 900);
    for at in (0..900).step_by(37) {
        let ann = desk.connect_empty("ann");
        desk.say(ann, json!({"type": "sync", "from": all[at]["id"], "id": 1}));
        let heard = desk.heard(ann);
        let rest = heard[1..].iter().map(|one| one["scribe"].clone());
        let then: Vec<Json> =
            heard[0]["result"].as_array().unwrap().iter().cloned().chain(rest).collect();
        assert_eq!(then, all[at + 1..], "from {at}");
        desk.hub.disconnect(ann);
    }
}
