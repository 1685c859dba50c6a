//! Signals: presence behind a server, and what becomes of it when sessions, stores and nodes end.

use std::time::Duration;

use syncro::{
    Encoding, Error, Memory, MemoryDisk, Node, NodeId, Pattern, Principal, Rules, Signal, Signals,
    UsageError, Value,
};

use crate::support::{converge, link, link_in, node, on, soon};

async fn heard(signals: &mut Signals) -> (NodeId, Option<Value>) {
    let Signal { node, value } = soon("something is said", signals.next()).await.unwrap();
    (node, value)
}

fn text(text: &str) -> Option<Value> {
    Some(Value::from(text))
}

#[tokio::test]
async fn clients_of_a_server_see_each_other_come_and_go_in_both_encodings() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (server, ann, bob) = (node("server"), node("ann"), node("bob"));
        let listening = server.listen("127.0.0.1:0").await.unwrap();
        let addr = listening.local_addr().to_string();
        let anns = ann.connect_in(&addr, encoding).unwrap();
        let _bobs = bob.connect_in(&addr, encoding).unwrap();
        let (mut at_ann, mut at_bob) = (ann.signals("room").unwrap(), bob.signals("room").unwrap());
        let mut at_server = server.signals("room").unwrap();
        ann.signal("room", Value::from("Ann")).unwrap();
        bob.signal("room", Value::from("Bob")).unwrap();
        assert_eq!(heard(&mut at_bob).await, (ann.id(), text("Ann")));
        assert_eq!(heard(&mut at_ann).await, (bob.id(), text("Bob")));
        let mut both = [heard(&mut at_server).await, heard(&mut at_server).await];
        both.sort_by_key(|(node, _)| *node == bob.id());
        assert_eq!(both, [(ann.id(), text("Ann")), (bob.id(), text("Bob"))]);

        soon("she leaves", anns.close()).await;
        assert_eq!(heard(&mut at_bob).await, (ann.id(), None));
        assert_eq!(heard(&mut at_ann).await, (bob.id(), None), "to her, everybody else has left");
        assert_eq!(heard(&mut at_server).await, (ann.id(), None));
        // She comes again, and need not say it again.
        let _anns = ann.connect(&addr).unwrap();
        assert_eq!(heard(&mut at_bob).await, (ann.id(), text("Ann")));
        assert_eq!(heard(&mut at_ann).await, (bob.id(), text("Bob")));
        bob.signal("room", Value::Nil).unwrap();
        assert_eq!(heard(&mut at_ann).await, (bob.id(), None));
    }
}

#[tokio::test]
async fn whoever_watches_hears_first_what_is_said_already_and_of_many_words_the_last() {
    let (server, ann) = (node("server"), node("ann"));
    let _link = link(&ann, &server);
    let mut first = server.signals("room").unwrap();
    ann.signal("room", Value::from("one")).unwrap();
    assert_eq!(heard(&mut first).await, (ann.id(), text("one")));
    let mut second = server.signals("room").unwrap();
    assert_eq!(second.try_next(), Some(Signal { node: ann.id(), value: text("one") }));
    assert_eq!(second.try_next(), None);
    for word in ["two", "three"] {
        ann.signal("room", Value::from(word)).unwrap();
        assert_eq!(heard(&mut first).await, (ann.id(), text(word)));
    }
    assert_eq!(heard(&mut second).await, (ann.id(), text("three")));
    // One of two who watch goes: the other is told all the same.
    drop(first);
    ann.signal("room", Value::from("four")).unwrap();
    assert_eq!(heard(&mut second).await, (ann.id(), text("four")));
    assert_eq!(second.topic().as_str(), "room");
}

#[tokio::test]
async fn a_watcher_of_a_closed_node_hears_that_all_have_gone_and_then_the_end() {
    let (server, ann) = (node("server"), node("ann"));
    let _link = link(&ann, &server);
    let mut signals = server.signals("room").unwrap();
    ann.signal("room", Value::from("here")).unwrap();
    assert_eq!(heard(&mut signals).await, (ann.id(), text("here")));
    server.close().unwrap();
    assert_eq!(heard(&mut signals).await, (ann.id(), None));
    assert_eq!(soon("it ends", signals.next()).await, None);
    assert!(matches!(server.signals("room"), Err(Error::Closed)));
    assert!(matches!(server.signal("room", Value::Nil), Err(Error::Closed)));
}

/// The engine of a repaired store is another one, which knew of no topic.
#[tokio::test]
async fn a_node_that_was_repaired_says_and_hears_what_it_did() {
    let disk = MemoryDisk::new();
    let (server, ann) = (on(&disk, "server"), node("ann"));
    let mut at_server = server.signals("room").unwrap();
    let mut at_ann = ann.signals("room").unwrap();
    server.signal("room", Value::from("open")).unwrap();
    ann.signal("room", Value::from("here")).unwrap();
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let _connection = ann.connect(&listening.local_addr().to_string()).unwrap();
    assert_eq!(heard(&mut at_server).await, (ann.id(), text("here")));
    assert_eq!(heard(&mut at_ann).await, (server.id(), text("open")));
    soon("it is repaired", server.repair_from(ann.id())).await.unwrap();
    // That the other was gone meanwhile may have been overtaken.
    for (signals, word) in [(&mut at_server, "here"), (&mut at_ann, "open")] {
        while heard(signals).await.1 != text(word) {}
    }
}

#[tokio::test]
async fn a_server_with_rules_passes_on_what_its_principals_may_say_and_hear() {
    let rules = Rules::new(|claim| {
        let name = std::str::from_utf8(claim.credentials).ok()?;
        let own = Pattern::new(&format!("{name}/*")).ok()?;
        let both = [own, Pattern::new("all").ok()?];
        Some(Principal::new(name).may_read(both.clone()).may_write(both))
    });
    let server = Node::builder().name("server").rules(rules).open_on(Memory::new()).unwrap();
    let client = |name: &str, credentials: &str| {
        let builder = Node::builder().name(name).credentials(credentials).view();
        builder.open_on(Memory::new()).unwrap()
    };
    let (ann, bob, eve) =
        (client("ann", "home"), client("bob", "home"), client("eve", "elsewhere"));
    let mut at_bob = ["home/7", "all"].map(|topic| bob.signals(topic).unwrap());
    let mut at_eve = ["home/7", "all"].map(|topic| eve.signals(topic).unwrap());
    let _links = [&ann, &bob, &eve].map(|client| link_in(client, &server, Encoding::Json));
    ann.signal("home/7", Value::from("Ann")).unwrap();
    assert_eq!(heard(&mut at_bob[0]).await, (ann.id(), text("Ann")));
    // What comes after it has come, and nothing before it.
    ann.signal("all", Value::from("Ann")).unwrap();
    assert_eq!(heard(&mut at_eve[1]).await, (ann.id(), text("Ann")));
    assert_eq!(at_eve[0].try_next(), None);
    assert_eq!(heard(&mut at_bob[1]).await, (ann.id(), text("Ann")));
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused_at_once() {
    let node = node("a");
    let long = Value::Bytes(vec![0; 2000]);
    let refused = node.signal("room", long).unwrap_err();
    assert!(
        matches!(refused, Error::Usage(UsageError::SignalTooLong { bytes: 2003 })),
        "{refused}"
    );
    assert!(matches!(node.signal("", Value::Nil), Err(Error::Data(_))));
    let mut watching: Vec<_> = (0..64).map(|n| node.signals(&n.to_string()).unwrap()).collect();
    let refused = node.signals("one more").unwrap_err();
    assert!(matches!(refused, Error::Usage(UsageError::TooManyTopics)), "{refused}");
    assert!(node.signals("7").is_ok(), "which is watched already");
    watching.pop();
    assert!(node.signals("one more").is_ok(), "there is room again");
}

/// A future that was dropped took a word with it.
#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (server, ann) = (node("server"), node("ann"));
    let mut signals = server.signals("room").unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(1), signals.next()).await;
    assert!(waited.is_err());
    let _link = link(&ann, &server);
    ann.signal("room", Value::from("here")).unwrap();
    converge(&ann, &server).await;
    assert_eq!(heard(&mut signals).await, (ann.id(), text("here")));
}
