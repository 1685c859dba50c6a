//! Nodes over WebSocket, and those who come there and mean no good.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use syncro::{
    CloseReason, ConnectOptions, Encoding, ListenOptions, Listening, MemoryDisk, Node, Notice,
    Notices,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, Utf8Bytes};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Todo, converge, eventually, id, node, on, soon, todo};
use crate::wire::{HELLO, bye};

fn url(listening: &Listening) -> String {
    format!("ws://{}/sync", listening.local_addr())
}

async fn listening() -> (Node, Listening) {
    let node = node("server");
    node.create(&todo("milk")).unwrap();
    let listening = node.listen("ws://127.0.0.1:0/sync").await.unwrap();
    (node, listening)
}

/// The next notice of this sort.
pub(crate) async fn notice(notices: &mut Notices, is_it: impl Fn(&Notice) -> bool) -> Notice {
    let next = async {
        loop {
            let notice = notices.next().await.expect("the node is open");
            if is_it(&notice) {
                return notice;
            }
        }
    };
    soon("there is a notice", next).await
}

pub(crate) async fn refusal(notices: &mut Notices) -> String {
    notice(notices, |notice| matches!(notice, Notice::AcceptFailed { .. })).await.to_string()
}

/// What a raw client says it is: a browser's origin, a subprotocol.
pub(crate) async fn ask(
    addr: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, WsError> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    soon("there is an answer", client_async(request, stream)).await.map(|(stream, _)| stream)
}

pub(crate) const SYNCRO: (&str, &str) = ("sec-websocket-protocol", "syncro.v1");

async fn raw(listening: &Listening) -> WebSocketStream<TcpStream> {
    ask(listening.local_addr(), "/sync", &[SYNCRO]).await.unwrap()
}

/// What the node says until its close, and with which code that is.
async fn said_until_the_close(raw: &mut WebSocketStream<TcpStream>) -> (Vec<Vec<u8>>, u16) {
    let mut said = Vec::new();
    loop {
        match soon("the node closes", raw.next()).await {
            Some(Ok(Message::Close(close))) => {
                return (said, close.map_or(0, |close| close.code.into()));
            }
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                said.push(message.into_data().to_vec());
            }
            Some(Ok(_)) => {}
            other => panic!("it ended without a close: {other:?}"),
        }
    }
}

/// The number with which the node ends the session.
async fn ends_with(raw: &mut WebSocketStream<TcpStream>) -> Option<u64> {
    let (said, code) = said_until_the_close(raw).await;
    assert_eq!(code, 1000, "the reason is in the last message");
    said.last().and_then(|last| bye(last))
}

/// The node is as before: another peer comes and converges with it.
async fn lives_on(node: &Node, listening: &Listening) {
    eventually("no session is left", || node.sessions().is_empty()).await;
    let peer = Node::in_memory("peer").unwrap();
    let connection = peer.connect_in(&url(listening), Encoding::Json).unwrap();
    converge(node, &peer).await;
    soon("it closes", connection.close()).await;
}

/// A message in one frame and with one mask, which their library would refuse to send.
fn frame(opcode: OpCode, payload: &[u8]) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), opcode, true))
}

#[tokio::test]
async fn two_nodes_converge_over_websocket_in_both_encodings() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (server, listening) = listening().await;
        let laptop = node("laptop");
        for n in 0..40 {
            let title = "ü".repeat(20_000);
            laptop.create(&Todo { title, ..todo(&format!("bread {n}")) }).unwrap();
        }
        let options = ConnectOptions::new(url(&listening)).encoding(encoding);
        let connection = laptop.connect_with(options).unwrap();
        converge(&server, &laptop).await;
        server.update(&id("milk"), |todo: &mut Todo| todo.views += 5).unwrap();
        laptop.update(&id("bread 7"), |todo: &mut Todo| todo.views += 1).unwrap();
        converge(&server, &laptop).await;
        assert_eq!(laptop.get::<Todo>(&id("milk")).unwrap().unwrap().views, 5);
        soon("the connection closes", connection.close()).await;
        eventually("the server notices", || server.sessions().is_empty()).await;
        let ((read, written), (their_read, their_written)) = (laptop.traffic(), server.traffic());
        assert_eq!((read, written), (their_written, their_read), "headers and masks are counted");
    }
}

#[tokio::test]
async fn whatever_carries_their_sessions_all_nodes_come_to_hold_the_same() {
    let server = node("server");
    let tcp = server.listen("127.0.0.1:0").await.unwrap();
    let websocket = server.listen("ws://127.0.0.1:0/sync").await.unwrap();
    let ways = [
        ("tcp", tcp.local_addr().to_string(), Encoding::MessagePack),
        ("tcp.json", format!("tcp://{}", tcp.local_addr()), Encoding::Json),
        ("ws", url(&websocket), Encoding::MessagePack),
        ("ws.json", url(&websocket), Encoding::Json),
    ];
    let mut peers = Vec::new();
    server.create(&todo("shared")).unwrap();
    for (name, addr, encoding) in &ways {
        let peer = node(name);
        peer.create(&Todo { tags: [id(name)].into(), ..todo(name) }).unwrap();
        let connection = peer.connect_in(addr, *encoding).unwrap();
        converge(&server, &peer).await;
        peer.update(&id("shared"), |todo: &mut Todo| {
            todo.views += 1;
            todo.title = format!("by {name}");
        })
        .unwrap();
        peers.push((peer, connection));
    }
    for (peer, _) in &peers {
        converge(&server, peer).await;
    }
    let shared = server.get::<Todo>(&id("shared")).unwrap().unwrap();
    assert_eq!(shared.views, 4);
    for (peer, connection) in peers {
        assert_eq!(peer.digest().unwrap(), server.digest().unwrap());
        soon("it closes", connection.close()).await;
    }
}

#[tokio::test]
async fn a_connection_comes_back_when_the_listener_does() {
    let disk = MemoryDisk::new();
    let (server, laptop) = (on(&disk, "server"), node("laptop"));
    let listening = server.listen("ws://127.0.0.1:0/sync").await.unwrap();
    let url = url(&listening);
    let mut notices = laptop.notices();
    let _connection = laptop.connect(&url).unwrap();
    converge(&server, &laptop).await;

    server.close().unwrap();
    soon("the server is gone", server.closed()).await;
    let closed = notice(&mut notices, |notice| matches!(notice, Notice::Closed { .. })).await;
    let Notice::Closed { reason, by_peer, .. } = closed else { unreachable!() };
    assert_eq!((reason, by_peer), (CloseReason::ShuttingDown, true), "the goodbye is heard");
    laptop.create(&todo("offline")).unwrap();
    let server = on(&disk, "server");
    let _listening = server.listen(&url).await.unwrap();
    converge(&server, &laptop).await;
    assert_eq!(server.list::<Todo>(|_| true).unwrap().len(), 1);
}

/// A program that said its last words and hung up must not take them along.
#[tokio::test]
async fn what_was_said_before_the_close_arrives_before_it() {
    let (node, listening) = listening().await;
    let mut raw = raw(&listening).await;
    raw.send(Message::text(HELLO)).await.unwrap();
    let sync = r#"{"type":"sync","ladder":[]}"#;
    raw.send(Message::text(sync)).await.unwrap();
    while !soon("there is milk", raw.next()).await.unwrap().unwrap().to_string().contains("milk") {}
    node.create(&Todo { title: "x".repeat(200_000), ..todo("large") }).unwrap();
    node.close().unwrap();
    let (said, code) = said_until_the_close(&mut raw).await;
    assert_eq!(code, 1000);
    assert!(said.iter().any(|message| message.len() > 200_000), "the last change");
    assert_eq!(said.last().and_then(|last| bye(last)), Some(1), "it is shutting down");
    drop(raw);
    soon("everybody is gone", node.closed()).await;
}

#[tokio::test]
async fn a_peer_that_closes_without_a_goodbye_is_answered() {
    let (node, listening) = listening().await;
    for hello in [None, Some(HELLO)] {
        let mut raw = raw(&listening).await;
        if let Some(hello) = hello {
            raw.send(Message::text(hello)).await.unwrap();
        }
        raw.close(None).await.unwrap();
        // Their library gives the answer to a close only once, and then the end.
        let answered = soon("there is an end", async {
            let mut is_answered = false;
            while let Some(Ok(message)) = raw.next().await {
                is_answered |= message.is_close();
            }
            is_answered
        });
        assert!(answered.await);
        eventually("no session is left", || node.sessions().is_empty()).await;
    }
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_peer_that_ends_its_half_of_the_stream_alone_is_lost() {
    let (node, listening) = listening().await;
    let mut notices = node.notices();
    let mut raw = raw(&listening).await;
    raw.send(Message::text(HELLO)).await.unwrap();
    eventually("the session is open", || node.sessions().len() == 1).await;
    raw.get_mut().shutdown().await.unwrap();
    let closed = notice(&mut notices, |notice| matches!(notice, Notice::Closed { .. })).await;
    let Notice::Closed { reason, .. } = closed else { unreachable!() };
    assert_eq!(reason, CloseReason::Lost);
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_ping_is_answered_before_the_session_and_in_it() {
    let (_node, listening) = listening().await;
    let mut raw = raw(&listening).await;
    for text in ["before", "in"] {
        raw.send(Message::Ping(text.into())).await.unwrap();
        loop {
            match soon("there is a pong", raw.next()).await.unwrap().unwrap() {
                Message::Pong(heard) => {
                    assert_eq!(heard, text);
                    break;
                }
                Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
        raw.send(Message::text(HELLO)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_message_ends_the_session_with_its_number() {
    let (node, listening) = listening().await;
    let text = |payload: &[u8]| frame(OpCode::Data(Data::Text), payload);
    let binary = |payload: &[u8]| frame(OpCode::Data(Data::Binary), payload);
    let cases = [
        (3, text(b"hello")),
        (3, text(b"")),
        (3, text(b"{\"type\":\"hello\"")),
        (3, text(b"{\"type\":\"\xff\"}")),
        (3, text(b"\x81\xa4type\xa5hello")),
        (3, binary(HELLO.as_bytes())),
        (3, binary(b"\xc1")),
        (5, text(b"{\"type\":\"ping\"}")),
    ];
    for (number, message) in cases {
        let mut raw = raw(&listening).await;
        let _ = raw.send(message.clone()).await;
        assert_eq!(ends_with(&mut raw).await, Some(number), "{message:?}");
    }
    lives_on(&node, &listening).await;
}

/// The header alone must be enough: nobody waits for eight megabytes to refuse them.
#[tokio::test]
async fn a_message_that_is_too_long_is_refused_at_its_header() {
    let (node, listening) = listening().await;
    let mut raw = raw(&listening).await;
    let length = (8_u64 << 20) + 1;
    let header = [&b"\x82\xff"[..], &length.to_be_bytes(), b"mask"].concat();
    raw.get_mut().write_all(&header).await.unwrap();
    assert_eq!(ends_with(&mut raw).await, Some(4));
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_session() {
    let (node, listening) = listening().await;
    let mut raw = raw(&listening).await;
    raw.send(Message::text(HELLO)).await.unwrap();
    let ping = b"\x89\x80mask".repeat(2000);
    raw.get_mut().write_all(&ping).await.unwrap();
    assert_eq!(ends_with(&mut raw).await, Some(3));
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn whoever_asks_for_another_subprotocol_or_path_is_refused() {
    let (node, listening) = listening().await;
    let mut notices = node.notices();
    let chat = ("sec-websocket-protocol", "chat");
    for (path, headers, status) in
        [("/sync", &[][..], 400), ("/sync", &[chat], 400), ("/other", &[SYNCRO], 404)]
    {
        match ask(listening.local_addr(), path, headers).await {
            Err(WsError::Http(answer)) => assert_eq!(answer.status(), status),
            other => panic!("{other:?}"),
        }
        refusal(&mut notices).await;
    }
    let laptop = self::node("laptop");
    let mut heard = laptop.notices();
    let _connection = laptop.connect(&format!("ws://{}/?key=secret", listening.local_addr()));
    let failed = notice(&mut heard, |notice| matches!(notice, Notice::ConnectFailed { .. })).await;
    let text = failed.to_string();
    assert!(text.contains("check the path") && !text.contains("secret"), "{text}");
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_connect_and_no_others() {
    let node = node("server");
    let origin = "https://app.example";
    let options = ListenOptions::new("ws://127.0.0.1:0/sync").origins([origin]);
    let listening = node.listen_with(options).await.unwrap();
    let mut notices = node.notices();
    for evil in ["https://evil.example", "null"] {
        match ask(listening.local_addr(), "/sync", &[SYNCRO, ("origin", evil)]).await {
            Err(WsError::Http(answer)) => assert_eq!(answer.status(), 403),
            other => panic!("{other:?}"),
        }
        assert!(refusal(&mut notices).await.contains(evil));
    }
    let mut page =
        ask(listening.local_addr(), "/sync", &[SYNCRO, ("origin", origin)]).await.unwrap();
    page.send(Message::Text(Utf8Bytes::from_static(HELLO))).await.unwrap();
    eventually("its session is open", || node.sessions().len() == 1).await;
}

/// One side's address had `ws://` and the other's had not, and neither was told more than that something was too long.
#[tokio::test]
async fn where_one_side_speaks_tcp_and_the_other_websocket_both_are_told() {
    let (web, listening) = listening().await;
    let (bare, laptop) = (node("bare"), node("laptop"));
    let at_bare = bare.listen("127.0.0.1:0").await.unwrap();
    let (to_web, to_bare) =
        (listening.local_addr().to_string(), format!("ws://{}/sync", at_bare.local_addr()));
    for (called, addr, dialer_hears, called_hears) in [
        (&web, to_web, "that is \"HTTP\"", "a bare frame came"),
        (&bare, to_bare, "no upgrade to a WebSocket: a bare frame came", "a request of HTTP"),
    ] {
        let (mut at_dialer, mut at_called) = (laptop.notices(), called.notices());
        let _connection = laptop.connect(&addr).unwrap();
        let failed = |notice: &Notice| matches!(notice, Notice::ConnectFailed { .. });
        let told = notice(&mut at_dialer, failed).await.to_string();
        assert!(told.contains(dialer_hears) && told.contains(&addr), "{told}");
        let told = refusal(&mut at_called).await;
        assert!(told.contains(called_hears) && told.starts_with("127.0.0.1:"), "{told}");
    }
    lives_on(&web, &listening).await;
}

/// Whoever had begun a handshake and said no more would have kept a node from closing for ten seconds.
#[tokio::test]
async fn a_handshake_under_way_does_not_keep_a_node_from_closing() {
    let (node, listening) = listening().await;
    let mut streams = Vec::new();
    for begun in [&b""[..], b"GET /sync HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(listening.local_addr()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        streams.push(stream);
    }
    let mut notices = node.notices();
    // Connections are taken in their order, so those before this one are under way.
    drop(TcpStream::connect(listening.local_addr()).await.unwrap());
    refusal(&mut notices).await;
    node.close().unwrap();
    let begin = std::time::Instant::now();
    soon("the node is closed", node.closed()).await;
    for mut stream in streams {
        let mut heard = Vec::new();
        // A stream that is reset has ended too.
        let _ = soon("it hangs up", stream.read_to_end(&mut heard)).await;
    }
    assert!(begin.elapsed() < syncro::websocket::HANDSHAKE_TIMEOUT);
}

#[tokio::test]
async fn listening_beyond_the_machine_without_tls_is_told() {
    let node = node("server");
    let mut notices = node.notices();
    let _near = node.listen("ws://127.0.0.1:0").await.unwrap();
    assert_eq!(notices.try_next(), None);
    let far = node.listen("0.0.0.0:0").await.unwrap();
    match notices.try_next() {
        Some(Notice::Unencrypted { addr }) => assert_eq!(addr, far.local_addr().to_string()),
        other => panic!("{other:?}"),
    }
}

/// An address of this machine that is not its loopback, if it has any. Nothing is sent.
fn far_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[tokio::test]
async fn connecting_beyond_the_machine_without_tls_is_told_once() {
    let Some(ip) = far_address() else {
        return println!("this machine has no network to look beyond itself");
    };
    let disk = MemoryDisk::new();
    let (server, laptop) = (on(&disk, "server"), node("laptop"));
    let listening = server.listen("ws://0.0.0.0:0").await.unwrap();
    let url = format!("ws://{ip}:{}/", listening.local_addr().port());
    let mut notices = laptop.notices();
    let _connection = laptop.connect(&url).unwrap();
    converge(&server, &laptop).await;
    server.close().unwrap();
    soon("the server is gone", server.closed()).await;
    let server = on(&disk, "server");
    let _listening = server.listen(&format!("ws://{}", listening.local_addr())).await.unwrap();
    converge(&server, &laptop).await;
    let mut told = Vec::new();
    while let Some(notice) = notices.try_next() {
        told.extend(matches!(notice, Notice::Unencrypted { .. }).then(|| notice.to_string()));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&url), "{told:?}");
}
