//! Classic peers, a hub and a native node.

use serde_json::json;
use syncro::{Node, ScribeModel};

use crate::hub::HubProcess;
use crate::peer::{Peer, bytes};
use crate::process::PATIENCE;

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "Todo")]
struct Todo {
    id: String,
    title: String,
}

/// A native node that is connected, and what keeps it so.
async fn native(hub: &HubProcess, name: &str) -> (Node, syncro::Connection) {
    let node = Node::in_memory(name).unwrap();
    let connection = node.connect(&hub.native[0]).unwrap();
    (node, connection)
}

async fn until(node: &Node, title: Option<&str>) {
    let mut watch = node.watch::<Todo>();
    let is_so = || {
        let todo = node.get::<Todo>(&"t1".to_owned()).unwrap();
        todo.as_ref().map(|todo| todo.title.as_str()) == title
    };
    let waiting = async {
        while !is_so() {
            watch.next().await.unwrap().expect("the node stays open");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it gets there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_peer_and_native_ones_see_each_others_changes() {
    let hub = HubProcess::start(&["ann", "bob"], &["--allow", "Todo"]);
    let (laptop, _connection) = native(&hub, "laptop").await;
    let (mut ann, from) = Peer::pulled(&hub.clients["ann"], &json!([]));
    assert_eq!(from, json!(null));
    ann.push(1, "create", json!({"id": "t1", "title": "milk"}));
    until(&laptop, Some("milk")).await;

    let (mut bob, _) = Peer::pulled(&hub.clients["bob"], &json!([]));
    let scribes = bob.sync(&json!(null));
    assert_eq!(scribes.len(), 1);
    assert_eq!(scribes[0]["data"], json!({"id": "t1", "title": "milk"}));

    laptop.update::<Todo>(&"t1".to_owned(), |todo| todo.title = "butter".into()).unwrap();
    for peer in [&mut ann, &mut bob] {
        let told = peer.told();
        assert_eq!(
            (&told["type"], &told["data"]),
            (&json!("update"), &json!(["t1", {"title": "butter"}]))
        );
    }
    bob.push(1, "destroy", json!(["t1"]));
    assert_eq!(ann.told()["type"], "destroy");
    until(&laptop, None).await;
    hub.quit();
    ann.hung_up();
}

/// It opens with the story of a hub that is killed between any two messages: what was acknowledged stays.
#[test]
fn what_was_acknowledged_survives_a_killed_hub() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("hub.redb");
    let args = ["--allow", "Todo", "--store", store.to_str().unwrap()];
    let mut known = 0;
    for round in 0..4 {
        let hub = HubProcess::start(&["ann", "bob"], &args);
        let (mut ann, from) = Peer::pulled(&hub.clients["ann"], &json!([]));
        assert_eq!(from, if round == 0 { json!(null) } else { json!(known.to_string()) });
        let (mut bob, _) = Peer::pulled(&hub.clients["bob"], &json!([]));
        assert_eq!(bob.sync(&json!(null)).len() as u64, known);
        for _ in 0..5 {
            known += 1;
            ann.push(known, "create", json!({"id": format!("t{known}"), "title": "x"}));
        }
        hub.kill();
    }
}

#[test]
fn without_a_class_allowed_nothing_is_accepted() {
    let hub = HubProcess::start(&["ann"], &[]);
    let (mut ann, _) = Peer::pulled(&hub.clients["ann"], &json!([]));
    let scribe = json!({"klass": "Todo", "type": "create", "id": "1", "data": {"id": "t1"}});
    ann.say(&json!({"type": "add_scribe", "scribe": scribe, "id": 1}));
    assert_eq!(ann.next(), json!({"type": "error", "code": 403}));
    assert!(hub.logged("not shared").contains("403"));
}

/// Over a socket the bytes come as they come.
#[test]
fn messages_arrive_in_any_pieces() {
    let hub = HubProcess::start(&["ann"], &["--allow", "Todo"]);
    let (mut ann, _) = Peer::pulled(&hub.clients["ann"], &json!([]));
    let scribe = json!({"klass": "Todo", "type": "create", "id": "1", "data": {"id": "t1", "title": "\u{e9}"}});
    let push = bytes(&json!({"type": "add_scribe", "scribe": scribe, "id": 1}));
    for piece in push.chunks(7) {
        ann.say_bytes(piece);
    }
    assert_eq!(ann.next(), json!({"type": "response", "id": 1, "result": true}));
    ann.say_bytes(
        &[bytes(&json!({"type": "noop", "id": 2})), bytes(&json!({"type": "noop", "id": 3}))]
            .concat(),
    );
    assert_eq!((ann.next()["id"].clone(), ann.next()["id"].clone()), (json!(2), json!(3)));
    // What is no message ends this connection, and no other.
    ann.say_bytes(b"\x00\x03{{{");
    ann.hung_up();
    let (mut ann, from) = Peer::pulled(&hub.clients["ann"], &json!([]));
    assert_eq!((from, ann.sync(&json!(null)).len()), (json!("1"), 1));
}

/// A peer that says nothing is told what is new all the same, after a moment.
#[test]
fn a_silent_peer_is_told_what_is_new() {
    let hub = HubProcess::start(&["ann", "bob"], &["--allow", "Todo"]);
    let mut bob = Peer::connect(&hub.clients["bob"]);
    assert_eq!(bob.next()["type"], "sync");
    let (mut ann, _) = Peer::pulled(&hub.clients["ann"], &json!([]));
    ann.push(1, "create", json!({"id": "t1", "title": "milk"}));
    assert_eq!(bob.told()["data"]["title"], "milk");
    let mut late = Peer::connect(&hub.clients["bob"]);
    assert_eq!(late.next()["type"], "sync");
    ann.push(2, "update", json!(["t1", {"title": "butter"}]));
    assert_eq!(late.told()["data"], json!(["t1", {"title": "butter"}]));
}
