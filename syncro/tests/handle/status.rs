//! What a node says about its peers, and waiting for their word.

use futures_util::FutureExt;
use syncro::{Error, MemoryDisk, Node, PeerStatus};

use crate::support::{Gate, converge, eventually, link, node, on, soon, todo};

fn status(node: &Node, peer: &Node) -> PeerStatus {
    node.peers().unwrap().into_iter().find(|status| status.node == peer.id()).unwrap()
}

#[tokio::test]
async fn peers_are_listed_with_how_far_they_are_behind_each_way() {
    let (server, laptop) = (node("server"), node("laptop"));
    assert!(server.peers().unwrap().is_empty());
    let met = link(&laptop, &server);
    laptop.create(&todo("milk")).unwrap();
    converge(&server, &laptop).await;
    let known = status(&server, &laptop);
    assert!(known.is_connected() && known.sessions == 1);
    assert_eq!(known.name.unwrap().as_str(), "laptop");
    assert_eq!((known.incoming, known.outgoing, known.receipt.unwrap().offset), (0, 0, 1));

    met.cut().await;
    eventually("the server notices", || !status(&server, &laptop).is_connected()).await;
    (0..3).for_each(|n| _ = server.create(&todo(&n.to_string())).unwrap());
    let away = status(&server, &laptop);
    assert_eq!((away.incoming, away.outgoing, away.receipt.unwrap().offset), (0, 3, 1));
    assert_eq!(away.name.unwrap().as_str(), "laptop", "it is remembered");
    assert!(server.sessions().is_empty());

    let _again = link(&laptop, &server);
    converge(&server, &laptop).await;
    let back = status(&server, &laptop);
    assert_eq!((back.incoming, back.outgoing, back.receipt.unwrap().offset), (0, 0, 4));
    assert_eq!(server.receipt(laptop.id()).unwrap().offset, 4);
    assert_eq!(server.peers().unwrap().len(), 1);
}

#[tokio::test]
async fn a_peer_is_known_after_the_node_was_opened_again() {
    let disk = MemoryDisk::new();
    let (server, laptop) = (on(&disk, "server"), node("laptop"));
    let _link = link(&laptop, &server);
    laptop.create(&todo("milk")).unwrap();
    converge(&server, &laptop).await;
    server.close().unwrap();

    let server = on(&disk, "server");
    let known = status(&server, &laptop);
    assert_eq!((known.is_connected(), known.receipt), (false, None));
    assert_eq!(known.outgoing, 0, "what it holds is known");
    assert_eq!(known.name.unwrap().as_str(), "laptop");
    (0..2).for_each(|n| _ = server.create(&todo(&n.to_string())).unwrap());
    assert_eq!(status(&server, &laptop).outgoing, 2);
}

/// What a peer had sent counted as lacking there until the peer had confirmed it, which a cut may prevent.
#[tokio::test]
async fn what_a_peer_has_sent_is_not_outgoing_to_it() {
    let disk = MemoryDisk::new();
    let (server, laptop) = (node("server"), on(&disk, "laptop"));
    (0..5).for_each(|n| _ = server.create(&todo(&n.to_string())).unwrap());
    let met = link(&laptop, &server);
    eventually("the laptop has it", || laptop.end().offset == 5).await;
    met.cut().await;
    eventually("the laptop notices", || laptop.sessions().is_empty()).await;
    laptop.create(&todo("offline")).unwrap();
    assert_eq!(status(&laptop, &server).outgoing, 1);
    laptop.close().unwrap();
    assert_eq!(status(&on(&disk, "laptop"), &server).outgoing, 1);
}

/// A receipt stands for what the peer had; a backup that was put back there does not have it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_restored_lacks_what_it_once_held() {
    let (disk, gate) = (MemoryDisk::new(), Gate::default());
    let (server, laptop) = (node("server"), on(&disk, "laptop"));
    let met = link(&laptop, &server);
    server.create(&todo("0")).unwrap();
    converge(&server, &laptop).await;
    met.cut().await;
    eventually("the server notices", || server.sessions().is_empty()).await;
    laptop.close().unwrap();
    let backup = disk.image();

    let laptop = on(&disk, "laptop");
    let met = link(&laptop, &server);
    (1..3).for_each(|n| _ = server.create(&todo(&n.to_string())).unwrap());
    converge(&server, &laptop).await;
    met.cut().await;
    eventually("the server notices", || server.sessions().is_empty()).await;
    assert_eq!(status(&server, &laptop).outgoing, 0);

    let restored = Node::builder().name("laptop").open_on(gate.over(&backup)).unwrap();
    gate.shut();
    let _link = link(&restored, &server);
    eventually("the server learns of it", || status(&server, &laptop).outgoing == 2).await;
    gate.open();
    converge(&server, &restored).await;
    assert_eq!(status(&server, &laptop).outgoing, 0);
}

#[tokio::test]
async fn waiting_for_a_peer_waits_until_it_connects() {
    let (a, b) = (node("a"), node("b"));
    let written = a.create(&todo("milk")).unwrap().unwrap();
    let mut waiting = Box::pin(a.confirmed_by(b.id(), written.offset));
    assert!(waiting.as_mut().now_or_never().is_none());
    let _link = link(&b, &a);
    soon("b confirms", waiting).await.unwrap();
    assert!(b.get::<crate::support::Todo>(&"milk".into()).unwrap().is_some());
    a.confirmed_by(b.id(), written.offset).now_or_never().unwrap().unwrap();
    assert!(a.confirmed_by(b.id(), written.offset + 1).now_or_never().is_none());
}

#[tokio::test]
async fn waiting_for_a_peer_ends_with_the_node() {
    let a = node("a");
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.confirmed_by(syncro::NodeId::named("b"), 0).await }
    });
    tokio::task::yield_now().await;
    a.close().unwrap();
    let ended = soon("the wait ends", waiting).await.unwrap();
    assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
}

/// A store that was copied is one node twice: both have to confirm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_peer_that_is_there_twice_waits_for_both() {
    let original = MemoryDisk::new();
    drop(on(&original, "laptop"));
    let copy = original.image();
    let gate = Gate::default();
    let (server, first) = (node("server"), on(&original, "laptop"));
    let second = Node::builder().name("laptop").open_on(gate.over(&copy)).unwrap();
    let _links = [link(&first, &server), link(&second, &server)];
    let (offset, laptop) = (server.end().offset, first.id());
    eventually("both are connected", || server.sessions().len() == 2).await;
    soon("both confirm", server.confirmed_by(laptop, offset)).await.unwrap();
    assert_eq!(status(&server, &first).sessions, 2);

    gate.shut();
    let offset = server.create(&todo("milk")).unwrap().unwrap().offset;
    let confirmed = |server: &Node| {
        let sessions = server.sessions();
        sessions.iter().filter(|session| session.receipt == Some(offset)).count()
    };
    eventually("one confirms", || confirmed(&server) == 1).await;
    assert!(server.confirmed_by(laptop, offset).now_or_never().is_none());
    assert_eq!(status(&server, &first).outgoing, 1, "the one that is behind counts");
    gate.open();
    soon("the other confirms too", server.confirmed_by(laptop, offset)).await.unwrap();
    assert_eq!(confirmed(&server), 2);
}

/// While it waits for a copy that does not confirm, the copy leaves: the one that is left counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_peer_goes_on_with_those_that_are_left() {
    let original = MemoryDisk::new();
    drop(on(&original, "laptop"));
    let gate = Gate::default();
    let (server, first) = (node("server"), on(&original, "laptop"));
    let second = Node::builder().name("laptop").open_on(gate.over(&original.image())).unwrap();
    let _kept = link(&first, &server);
    let leaving = link(&second, &server);
    eventually("both are connected", || server.sessions().len() == 2).await;
    gate.shut();
    let offset = server.create(&todo("milk")).unwrap().unwrap().offset;
    let mut waiting = Box::pin(server.confirmed_by(first.id(), offset));
    assert!(waiting.as_mut().now_or_never().is_none());
    leaving.cut().await;
    soon("the one that is left confirms", waiting).await.unwrap();
    gate.open();
}
