//! Two nodes over TCP, over pipes, over links that break.

use futures_util::FutureExt;
use syncro::{CloseReason, Encoding, Error, MemoryDisk, Node, Notice, Role, UsageError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{Todo, converge, eventually, id, link, link_in, node, on, run, soon, todo};

#[tokio::test]
async fn two_nodes_converge_over_tcp_in_both_encodings() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (server, laptop) = (node("server"), node("laptop"));
        let tags = [id("a"), id("ü")].into();
        server.create(&Todo { tags, views: -3, due: Some(id("")), ..todo("milk") }).unwrap();
        laptop.create(&todo("bread")).unwrap();
        let listening = server.listen("127.0.0.1:0").await.unwrap();
        let addr = listening.local_addr().to_string();
        let connection = laptop.connect_in(&addr, encoding).unwrap();
        converge(&server, &laptop).await;
        assert_eq!(server.list::<Todo>(|_| true).unwrap().len(), 2);

        server.update(&id("milk"), |todo: &mut Todo| todo.views += 5).unwrap();
        let end = laptop.update(&id("bread"), |todo: &mut Todo| todo.views += 1).unwrap().unwrap();
        soon("it is confirmed", laptop.confirmed_by(server.id(), end.offset)).await.unwrap();
        converge(&server, &laptop).await;
        assert_eq!(laptop.get::<Todo>(&id("milk")).unwrap().unwrap().views, 2);
        let ((read, written), (their_read, their_written)) = (laptop.traffic(), server.traffic());
        assert!(read > 0 && written > 0 && their_read > 0 && their_written > 0);
        soon("the connection closes", connection.close()).await;
        eventually("the server notices", || server.sessions().is_empty()).await;
    }
}

/// The laptop is never told that the server came back; it finds out.
#[tokio::test]
async fn a_connection_comes_back_when_the_listener_does() {
    let disk = MemoryDisk::new();
    let (server, laptop) = (on(&disk, "server"), node("laptop"));
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let addr = listening.local_addr().to_string();
    let _connection = laptop.connect(&addr).unwrap();
    converge(&server, &laptop).await;

    server.close().unwrap();
    soon("the server is gone", server.closed()).await;
    eventually("the laptop notices", || laptop.sessions().is_empty()).await;
    let written = laptop.create(&todo("offline")).unwrap().unwrap();
    let server = on(&disk, "server");
    server.create(&todo("restarted")).unwrap();
    let _listening = server.listen(&addr).await.unwrap();
    soon("it is confirmed", laptop.confirmed_by(server.id(), written.offset)).await.unwrap();
    converge(&server, &laptop).await;
    assert_eq!(server.list::<Todo>(|_| true).unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_begins_before_its_listener() {
    let laptop = node("laptop");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = reserved.local_addr().unwrap().to_string();
    drop(reserved);
    let _connection = laptop.connect(&addr).unwrap();
    let server = node("server");
    let _listening = server.listen(&addr).await.unwrap();
    converge(&server, &laptop).await;
}

#[tokio::test]
async fn a_closed_connection_connects_no_more_and_a_closed_node_says_goodbye() {
    let (server, laptop) = (node("server"), node("laptop"));
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let connection = laptop.connect(&listening.local_addr().to_string()).unwrap();
    converge(&server, &laptop).await;
    soon("it closes", connection.close()).await;
    assert!(laptop.sessions().is_empty());

    let link = link(&laptop, &server);
    converge(&server, &laptop).await;
    server.close().unwrap();
    let [at_laptop, at_server] = link.ended().await;
    assert_eq!(at_server.reason, CloseReason::ShuttingDown);
    assert_eq!(at_laptop.reason, CloseReason::ShuttingDown, "the goodbye is heard");
    assert!(at_laptop.was_open && at_server.was_open);
    assert!(laptop.sessions().is_empty());
}

/// A program that closed its node and ended took the runtime away under the goodbyes: its peers believed
/// that the connection was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_waits_until_its_node_is_closed_may_end_and_peers_know_why() {
    let (server, laptops) = (node("server"), [node("laptop"), node("phone")]);
    let host = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let at_host = server.clone();
    let listening = host.spawn(async move { at_host.listen("127.0.0.1:0").await });
    let listening = listening.await.unwrap().unwrap();
    let addr = listening.local_addr().to_string();
    let mut met = Vec::new();
    for laptop in &laptops {
        let notices = laptop.notices();
        let connection = laptop.connect(&addr).unwrap();
        converge(laptop, &server).await;
        met.push((notices, connection));
    }
    assert!(server.closed().now_or_never().is_none(), "it is open");
    server.close().unwrap();
    soon("the server's tasks end", server.closed()).await;
    host.shutdown_background();
    for (mut notices, connection) in met {
        let closed = soon("the session ends", async {
            loop {
                if let Some(Notice::Closed { reason, by_peer, .. }) = notices.next().await {
                    return (reason, by_peer);
                }
            }
        });
        assert_eq!(closed.await, (CloseReason::ShuttingDown, true));
        soon("the connection closes", connection.close()).await;
    }
}

#[tokio::test]
async fn a_listener_that_is_closed_frees_its_port_and_leaves_the_sessions_alone() {
    let (server, laptop) = (node("server"), node("laptop"));
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let addr = listening.local_addr().to_string();
    let _connection = laptop.connect(&addr).unwrap();
    converge(&server, &laptop).await;
    soon("it stops", listening.close()).await;
    let again = server.listen(&addr).await.unwrap();
    laptop.create(&todo("milk")).unwrap();
    converge(&server, &laptop).await;

    server.close().unwrap();
    soon("the node is closed", server.closed()).await;
    let other = node("other").listen(&addr).await;
    assert!(other.is_ok(), "the listener ended with its node: {other:?}");
    drop(again);
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_ends_with_its_node() {
    let laptop = node("laptop");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = reserved.local_addr().unwrap().to_string();
    drop(reserved);
    let mut notices = laptop.notices();
    let _connection = laptop.connect(&addr).unwrap();
    soon("an attempt fails", notices.next()).await;
    laptop.close().unwrap();
    soon("nobody tries again", laptop.closed()).await;
}

/// It panicked in words of tokio's.
#[test]
fn a_session_outside_of_a_runtime_is_the_callers_fault() {
    let node = node("a");
    let (near, _far) = tokio::io::duplex(64);
    let errors = [
        node.connect("127.0.0.1:1").unwrap_err(),
        node.listen("127.0.0.1:0").now_or_never().unwrap().unwrap_err(),
        node.run(near, Role::Accept).now_or_never().unwrap().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Usage(UsageError::NoRuntime)), "{error}");
    }
}

/// It was tried again for ever.
#[tokio::test]
async fn an_address_that_can_never_be_one_is_refused_at_once() {
    let error = node("a").connect("nonsense").unwrap_err();
    assert!(matches!(error, Error::Net(_)), "{error}");
    assert!(error.to_string().contains("\"nonsense\" is no address"), "{error}");
}

/// A peer that neither reads nor leaves must not keep a node that wants to close.
#[tokio::test]
async fn a_node_closes_though_a_peer_does_not_read() {
    let node = node("a");
    let (near, far) = tokio::io::duplex(16);
    let session = run(&node, near, Role::Dial(Encoding::MessagePack));
    eventually("the pipe is full", || node.traffic().1 > 16).await;
    node.close().unwrap();
    let end = soon("the session ends", session).await.unwrap().unwrap();
    assert!(!end.was_open);
    drop(far);
}

#[tokio::test]
async fn a_pipe_carries_many_transactions_both_ways_at_once() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (a, b) = (node("a"), node("b"));
        for (node, text) in [(&a, "a"), (&b, "b")] {
            for n in 0..40 {
                let title = text.repeat(20_000);
                let todo = Todo { title, ..todo(&format!("{text}.{n}")) };
                node.create(&todo).unwrap();
            }
        }
        let _link = link_in(&a, &b, encoding);
        converge(&a, &b).await;
        assert_eq!((a.end().offset, b.end().offset), (80, 80));
    }
}

/// Carries bytes both ways and hangs up after some.
fn link_for(a: &Node, b: &Node, bytes: u64) -> [tokio::task::JoinHandle<()>; 2] {
    let ((near, left), (right, far)) = (tokio::io::duplex(512), tokio::io::duplex(512));
    let ends = [run(a, near, Role::Dial(Encoding::MessagePack)), run(b, far, Role::Accept)];
    let pipe = tokio::spawn(async move {
        let ((left_in, left_out), (right_in, right_out)) =
            (tokio::io::split(left), tokio::io::split(right));
        tokio::select! {
            () = pump(left_in, right_out, bytes) => {}
            () = pump(right_in, left_out, bytes) => {}
        }
    });
    let ended = tokio::spawn(async move {
        for end in ends {
            let _ = end.await;
        }
    });
    [pipe, ended]
}

async fn pump(
    from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    bytes: u64,
) {
    let _ = tokio::io::copy(&mut from.take(bytes), &mut to).await;
    let _ = to.flush().await;
}

#[tokio::test]
async fn a_link_that_is_cut_anywhere_costs_only_time() {
    let (a, b) = (node("a"), node("b"));
    for n in 0..30 {
        a.create(&Todo { title: "a".repeat(700), ..todo(&format!("a{n}")) }).unwrap();
        b.create(&Todo { title: "b".repeat(700), ..todo(&format!("b{n}")) }).unwrap();
    }
    for bytes in [1, 4, 5, 90, 150, 200, 260, 333, 700, 1300, 2600, 5000, 11_000, 20_000] {
        for task in link_for(&a, &b, bytes) {
            soon("the link is cut", task).await.unwrap();
        }
        assert!(a.sessions().is_empty() && b.sessions().is_empty());
        a.update(&id("a0"), |todo: &mut Todo| todo.views += 1).unwrap();
    }
    let _link = link(&b, &a);
    converge(&a, &b).await;
    assert_eq!((a.end().offset, b.end().offset), (74, 74), "nothing twice");
}

/// Whatever does not speak the protocol never becomes a session, and its connection is not dialled
/// without a pause.
#[tokio::test]
async fn a_dialled_stranger_is_hung_up_on() {
    let a = node("a");
    let (near, mut far) = tokio::io::duplex(4096);
    let session = run(&a, near, Role::Dial(Encoding::Json));
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let end = soon("the session ends", session).await.unwrap().unwrap();
    assert_eq!(
        (end.reason, end.was_open),
        (CloseReason::FrameTooLarge, false),
        "'HTTP' is a length"
    );
    let mut said = Vec::new();
    soon("the stream ends", far.read_to_end(&mut said)).await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains(r#""type":"bye","code":4"#));
}
