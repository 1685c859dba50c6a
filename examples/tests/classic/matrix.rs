//! Every way to a node at once: native and classic peers, over TCP and WebSocket, in two processes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use syncro::{ConnectOptions, Connection, Digest, Encoding, Node, ScribeModel};

use crate::hub::HubProcess;
use crate::peer::Peer;
use crate::process::PATIENCE;

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "Todo")]
struct Todo {
    id: String,
    title: String,
}

/// Titles by id: what all must hold.
type Content = BTreeMap<String, String>;

/// Somebody at one end of one way.
enum End {
    Native { node: Node, _connection: Connection },
    Classic { peer: Peer, content: Content, scribes: u64 },
}

impl End {
    fn native(name: &str, addr: &str, encoding: Encoding) -> Self {
        let node = Node::in_memory(name).unwrap();
        let options = ConnectOptions::new(addr).encoding(encoding);
        let connection = node.connect_with(options).unwrap();
        Self::Native { node, _connection: connection }
    }

    fn classic(addr: &str) -> Self {
        let (mut peer, _) = Peer::pulled(addr, &json!([]));
        assert!(peer.sync(&Json::Null).is_empty());
        Self::Classic { peer, content: Content::new(), scribes: 0 }
    }

    fn create(&mut self, id: &str, title: &str) {
        match self {
            Self::Native { node, .. } => {
                node.create(&Todo { id: id.into(), title: title.into() }).unwrap();
            }
            Self::Classic { peer, content, scribes } => {
                *scribes += 1;
                peer.push(*scribes, "create", json!({"id": id, "title": title}));
                content.insert(id.to_owned(), title.to_owned());
            }
        }
    }

    fn update(&mut self, id: &str, title: &str) {
        match self {
            Self::Native { node, .. } => {
                node.update::<Todo>(&id.to_owned(), |todo| todo.title = title.into()).unwrap();
            }
            Self::Classic { peer, content, scribes } => {
                *scribes += 1;
                peer.push(*scribes, "update", json!([id, {"title": title}]));
                content.insert(id.to_owned(), title.to_owned());
            }
        }
    }

    fn destroy(&mut self, id: &str) {
        match self {
            Self::Native { node, .. } => {
                node.destroy::<Todo>(&id.to_owned()).unwrap();
            }
            Self::Classic { peer, content, scribes } => {
                *scribes += 1;
                peer.push(*scribes, "destroy", json!([id]));
                content.remove(id);
            }
        }
    }

    /// Waits until it holds what it has to.
    async fn until(&mut self, expected: &Content) {
        match self {
            Self::Native { node, .. } => {
                let mut watch = node.watch_all();
                let waiting = async {
                    while content_of(node) != *expected {
                        watch.next().await.unwrap().expect("the node stays open");
                    }
                };
                tokio::time::timeout(PATIENCE, waiting).await.expect("it gets there");
            }
            Self::Classic { peer, content, .. } => {
                while content != expected {
                    play(content, &peer.told());
                }
            }
        }
    }

    fn digest(&self) -> Digest {
        let content = match self {
            Self::Native { node, .. } => content_of(node),
            Self::Classic { content, .. } => content.clone(),
        };
        Digest::EMPTY.then(json!(content).to_string().as_bytes())
    }
}

fn content_of(node: &Node) -> Content {
    let todos = node.list::<Todo>(|_| true).unwrap();
    todos.into_iter().map(|todo| (todo.id, todo.title)).collect()
}

/// Plays a scribe as a peer of 2010 does, which has to find the record.
fn play(content: &mut Content, scribe: &Json) {
    let (kind, data) = (scribe["type"].as_str().unwrap(), &scribe["data"]);
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    match kind {
        "create" => {
            content.insert(text(&data["id"]), text(&data["title"]));
        }
        "update" => *content.get_mut(&text(&data[0])).unwrap() = text(&data[1]["title"]),
        _ => assert!(content.remove(&text(&data[0])).is_some(), "{scribe}"),
    }
}

/// Each creates, changes what another has created, and destroys what a third has: every change goes from one end of one
/// way to the ends of all others, and each way carries changes in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn every_transport_carries_every_change_both_ways() {
    let hub = HubProcess::start(
        &["ann"],
        &[
            "--client",
            "web=ws://127.0.0.1:0/classic",
            "--listen",
            "ws://127.0.0.1:0/sync",
            "--allow",
            "Todo",
        ],
    );
    let web = format!("ws://{}/sync", hub.native[1]);
    let mut ends = [
        End::native("tcp", &hub.native[0], Encoding::MessagePack),
        End::native("tcp-json", &hub.native[0], Encoding::Json),
        End::native("ws", &web, Encoding::MessagePack),
        End::native("ws-json", &web, Encoding::Json),
        End::classic(&hub.clients["ann"]),
        End::classic(&format!("ws://{}/classic", hub.clients["web"])),
    ];
    let (count, mut expected) = (ends.len(), Content::new());
    for (at, end) in ends.iter_mut().enumerate() {
        for kind in ["kept", "gone"] {
            let (id, title) = (format!("{kind}-{at}"), format!("of {at}"));
            end.create(&id, &title);
            expected.insert(id, title);
        }
    }
    all_hold(&mut ends, &expected).await;
    for (at, end) in ends.iter_mut().enumerate() {
        let (id, title) = (format!("kept-{}", (at + 1) % count), format!("changed by {at}"));
        end.update(&id, &title);
        expected.insert(id, title);
    }
    all_hold(&mut ends, &expected).await;
    for (at, end) in ends.iter_mut().enumerate() {
        let id = format!("gone-{}", (at + 2) % count);
        end.destroy(&id);
        expected.remove(&id);
    }
    all_hold(&mut ends, &expected).await;

    assert_eq!(expected.len(), count);
    let digests: BTreeSet<_> = ends.iter().map(End::digest).collect();
    assert_eq!(digests.len(), 1, "one digest of the content at all ends");
    hub.quit();
}

async fn all_hold(ends: &mut [End], expected: &Content) {
    for end in ends {
        end.until(expected).await;
    }
}
