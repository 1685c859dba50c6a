//! A node on a route of a web server.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use syncro::websocket::Acceptor;
use syncro::{CloseReason, Encoding, Node, Notice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::support::{Todo, converge, eventually, id, node, soon, todo};
use crate::websocket::{SYNCRO, ask, notice};
use crate::wire::HELLO;

/// Serves a router on a port of its own.
async fn serve(app: Router) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    (addr, tokio::spawn(async move { axum::serve(listener, app).await }))
}

#[tokio::test]
async fn native_nodes_meet_on_a_route_beside_others() {
    let server = node("server");
    let app =
        Router::new().route("/", get(async || "hello")).route("/sync", syncro::axum::node(&server));
    let (addr, _serving) = serve(app).await;
    server.create(&Todo { title: "ü".repeat(100_000), ..todo("milk") }).unwrap();
    for (name, encoding) in [("laptop", Encoding::MessagePack), ("phone", Encoding::Json)] {
        let peer = node(name);
        peer.create(&todo(name)).unwrap();
        let mut notices = peer.notices();
        let connection = peer.connect_in(&format!("ws://{addr}/sync"), encoding).unwrap();
        converge(&server, &peer).await;
        server.update(&id("milk"), |todo: &mut Todo| todo.views += 1).unwrap();
        converge(&server, &peer).await;
        assert_eq!((server.traffic().0 > 0, server.sessions().len()), (true, 1));
        if name == "phone" {
            server.close().unwrap();
            let is_end = |notice: &Notice| matches!(notice, Notice::Closed { .. });
            let Notice::Closed { reason, .. } = notice(&mut notices, is_end).await else {
                unreachable!()
            };
            assert_eq!(reason, CloseReason::ShuttingDown);
        }
        soon("it closes", connection.close()).await;
        eventually("the session is gone", || server.sessions().is_empty()).await;
    }
    soon("the node is closed", server.closed()).await;
}

#[tokio::test]
async fn the_route_asks_for_the_subprotocol_and_a_listed_origin() {
    let node = node("server");
    let mut notices = node.notices();
    let origin = ("origin", "https://app.example");
    let acceptor = Acceptor::default().origins([origin.1]);
    let app = Router::new()
        .route("/native", syncro::axum::node(&node))
        .route("/pages", syncro::axum::node_with(&node, acceptor));
    let (addr, _serving) = serve(app).await;
    let evil = ("origin", "https://evil.example");
    let refused = [
        ("/native", &[][..], 400),
        ("/native", &[SYNCRO, origin], 403),
        ("/pages", &[SYNCRO, evil], 403),
        ("/pages", &[("sec-websocket-protocol", "chat")], 400),
    ];
    for (path, headers, status) in refused {
        match ask(addr, path, headers).await {
            Err(WsError::Http(answer)) => assert_eq!(answer.status(), status, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
        match notice(&mut notices, |notice| matches!(notice, Notice::AcceptFailed { .. })).await {
            Notice::AcceptFailed { from: Some(from), .. } => assert!(from.ip().is_loopback()),
            other => panic!("{other:?}"),
        }
    }
    for (path, headers) in [("/native", &[SYNCRO][..]), ("/pages", &[SYNCRO, origin])] {
        let mut raw = ask(addr, path, headers).await.unwrap();
        raw.send(Message::text(HELLO)).await.unwrap();
        let said = soon("it is answered", raw.next()).await.unwrap().unwrap();
        assert!(said.to_string().contains("server"), "{said}");
    }
}

/// A browser's address bar, or somebody's health check.
#[tokio::test]
async fn a_plain_request_is_told_what_is_here() {
    let node: Node = node("server");
    let (addr, _serving) = serve(Router::new().route("/sync", syncro::axum::node(&node))).await;
    for (request, status) in [("GET /sync HTTP/1.1", "426"), ("POST /sync HTTP/1.1", "405")] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{request}\r\nHost: peer\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("it is answered", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}
