//! Whole connections: against somebody else's WebSocket, and against those who mean no good.

use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server as their;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::{Address, FrameReader, FrameWriter};

const LIMIT: usize = 1024 * 1024;
const ROOMY: usize = 2 * LIMIT;

type Reader = FrameReader<ReadHalf<DuplexStream>>;
type Writer = FrameWriter<WriteHalf<DuplexStream>>;

fn address() -> Address {
    "ws://peer/sync".parse().unwrap()
}

fn their_request(origin: Option<&str>, subprotocol: Option<&str>) -> http::Request<()> {
    let mut request = "ws://peer/sync".into_client_request().unwrap();
    let headers = [("origin", origin), ("sec-websocket-protocol", subprotocol)];
    for (name, value) in headers {
        if let Some(value) = value {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    request
}

/// Their client and our server.
async fn from_them() -> (WebSocketStream<DuplexStream>, Reader, Writer) {
    let (here, there) = duplex(ROOMY);
    let request = their_request(None, Some(SUBPROTOCOL));
    let acceptor = Acceptor::default();
    let (theirs, ours) = tokio::join!(client_async(request, there), acceptor.accept(here, LIMIT));
    let (reader, writer) = ours.unwrap().split();
    (theirs.unwrap().0, reader, writer)
}

/// Their answer to whatever asks.
#[allow(clippy::result_large_err, reason = "it is theirs")]
fn say_syncro(
    _: &their::Request,
    mut response: their::Response,
) -> Result<their::Response, their::ErrorResponse> {
    let subprotocol = SUBPROTOCOL.parse().unwrap();
    response.headers_mut().insert("sec-websocket-protocol", subprotocol);
    Ok(response)
}

/// Our client and their server.
async fn to_them() -> (WebSocketStream<DuplexStream>, Reader, Writer) {
    let (here, there) = duplex(ROOMY);
    let address = address();
    let (theirs, ours) =
        tokio::join!(accept_hdr_async(there, say_syncro), upgrade(here, &address, LIMIT));
    let (reader, writer) = ours.unwrap().split();
    (theirs.unwrap(), reader, writer)
}

#[tokio::test]
async fn json_is_text_and_messagepack_binary_to_anybody() {
    for (mut theirs, mut reader, mut writer) in [from_them().await, to_them().await] {
        for json in ["{\"a\":1}", " \r\n\t{}"] {
            theirs.send(Message::text(json)).await.unwrap();
            assert_eq!(reader.read().await.unwrap().unwrap(), json);
            writer.write(Bytes::from_static(json.as_bytes())).await.unwrap();
            assert_eq!(theirs.next().await.unwrap().unwrap(), Message::text(json));
        }
        for length in [1, 125, 126, 65_535, 65_536, LIMIT] {
            let msgpack = Bytes::from(vec![0x8c; length]);
            theirs.send(Message::binary(msgpack.clone())).await.unwrap();
            assert_eq!(reader.read().await.unwrap().unwrap(), msgpack);
            writer.write(msgpack.clone()).await.unwrap();
            assert_eq!(theirs.next().await.unwrap().unwrap(), Message::binary(msgpack));
        }
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_nothing_else_is_said() {
    for (mut theirs, mut reader, mut writer) in [from_them().await, to_them().await] {
        theirs.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        tokio::select! {
            read = reader.read() => panic!("nothing was said: {read:?}"),
            answered = writer.answer() => answered.unwrap(),
        }
        let pong = theirs.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    }
}

#[tokio::test]
async fn a_close_comes_after_everything_that_was_said_and_is_answered() {
    for (mut theirs, mut reader, mut writer) in [from_them().await, to_them().await] {
        writer.feed(Bytes::from_static(b"{\"last\":1}")).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::text("{\"last\":1}"));
        match theirs.next().await.unwrap().unwrap() {
            Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 1000),
            other => panic!("{other:?}"),
        }
        // They answer by themselves, and we hear it.
        assert!(theirs.next().await.is_none_or(|end| end.is_err()));
        assert_eq!(reader.read().await.unwrap(), None);
        assert!(reader.is_closed());
    }
}

#[tokio::test]
async fn a_close_of_theirs_is_told_from_an_end_without_a_word() {
    for (mut theirs, mut reader, _writer) in [from_them().await, to_them().await] {
        theirs.send(Message::text("{}")).await.unwrap();
        theirs.close(None).await.unwrap();
        assert_eq!(reader.read().await.unwrap().unwrap(), "{}");
        for _ in 0..3 {
            assert_eq!(reader.read().await.unwrap(), None);
        }
        assert!(reader.is_closed());
    }
    let (theirs, mut reader, _writer) = from_them().await;
    drop(theirs);
    assert_eq!(reader.read().await.unwrap(), None);
    assert!(!reader.is_closed());
}

#[tokio::test]
async fn what_the_server_says_at_once_after_its_answer_is_not_lost() {
    let (here, mut there) = duplex(ROOMY);
    let server = async {
        let (request, _) = read_head::<their::Request>(&mut there, "").await.unwrap();
        let response = Acceptor::default().answer(&request).unwrap();
        let mut written = Vec::new();
        their::write_response(&mut written, &response).unwrap();
        written.extend_from_slice(b"\x81\x02{}\x81\x0a{\"more\":");
        there.write_all(&written).await.unwrap();
        there.write_all(b"1}").await.unwrap();
        there
    };
    let address = address();
    let (ours, _there) = tokio::join!(upgrade(here, &address, LIMIT), server);
    let (mut reader, _) = ours.unwrap().split();
    assert_eq!(reader.read().await.unwrap().unwrap(), "{}");
    assert_eq!(reader.read().await.unwrap().unwrap(), "{\"more\":1}");
}

/// What our server makes of a request, and what it answers.
async fn asked(acceptor: &Acceptor, request: &[u8]) -> (Result<(), NetError>, String) {
    let (here, mut there) = duplex(ROOMY);
    there.write_all(request).await.unwrap();
    let accepted = acceptor.accept(here, LIMIT).await;
    let mut answer = Vec::new();
    match accepted {
        Ok(upgraded) => {
            drop(upgraded);
            there.read_to_end(&mut answer).await.unwrap();
            (Ok(()), String::from_utf8(answer).unwrap())
        }
        Err(error) => {
            there.read_to_end(&mut answer).await.unwrap();
            (Err(error), String::from_utf8(answer).unwrap())
        }
    }
}

fn request(headers: &str) -> Vec<u8> {
    format!(
        "GET /sync HTTP/1.1\r\nHost: peer\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

const SYNCRO: &str = "Sec-WebSocket-Protocol: other, syncro.v1\r\n";

#[tokio::test]
async fn the_answer_to_the_request_of_the_rfc_is_that_of_the_rfc() {
    let (accepted, answer) = asked(&Acceptor::default(), &request(SYNCRO)).await;
    accepted.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let lower = answer.to_lowercase();
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(lower.contains("sec-websocket-protocol: syncro.v1\r\n"), "{answer}");
}

#[tokio::test]
async fn only_listed_origins_and_native_peers_are_taken() {
    let of = |origin: &str| request(&format!("{SYNCRO}Origin: {origin}\r\n"));
    let (open, listed) =
        (Acceptor::default(), Acceptor::default().origins(["https://app.example"]));
    for acceptor in [&open, &listed] {
        asked(acceptor, &request(SYNCRO)).await.0.unwrap();
    }
    asked(&listed, &of("https://app.example")).await.0.unwrap();
    let refused = [
        (&open, of("https://app.example")),
        (&listed, of("https://evil.example")),
        (&listed, of("null")),
        (&listed, of("https://app.example.evil.example")),
        (&listed, of("https://app.example\r\nOrigin: https://evil.example")),
    ];
    for (acceptor, request) in refused {
        let (refusal, answer) = asked(acceptor, &request).await;
        assert!(matches!(refusal, Err(NetError::Origin { .. })), "{refusal:?}");
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}

#[tokio::test]
async fn whoever_asks_for_something_else_is_told_what_is_served() {
    let acceptor = Acceptor::default().path("/sync");
    let elsewhere = String::from_utf8(request(SYNCRO)).unwrap().replace("/sync", "/other");
    let pipelined = [request(SYNCRO), b"\x81\x80\0\0\0\0".to_vec()].concat();
    let cases: [(u16, Vec<u8>); 8] = [
        (404, elsewhere.into_bytes()),
        (400, request("")),
        (400, request("Sec-WebSocket-Protocol: chat, syncro.v10\r\n")),
        (426, b"GET /sync HTTP/1.1\r\nHost: peer\r\n\r\n".to_vec()),
        (400, b"POST /sync HTTP/1.1\r\nHost: peer\r\n\r\n".to_vec()),
        (400, b"\x00\x00\x00\x05hello".to_vec()),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec()),
        (400, pipelined),
    ];
    for (status, request) in cases {
        let (refusal, answer) = asked(&acceptor, &request).await;
        assert!(matches!(refusal, Err(NetError::Upgrade { .. })), "{status}: {refusal:?}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}", body.len());
        assert!(head.to_lowercase().contains(&length) && !body.is_empty(), "{answer}");
    }
    // Their library refuses them too, in words of its own.
    let (here, there) = duplex(ROOMY);
    let request = their_request(Some("https://evil.example"), Some(SUBPROTOCOL));
    let (theirs, ours) = tokio::join!(client_async(request, there), acceptor.accept(here, LIMIT));
    assert!(matches!(theirs, Err(WsError::Http(answer)) if answer.status() == 403));
    assert!(matches!(ours, Err(NetError::Origin { .. })));
}

#[tokio::test]
async fn a_server_that_is_none_is_named_with_what_to_do() {
    let accept = |rest: &str| {
        format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{rest}\r\n")
    };
    let cases = [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "path"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n".to_owned(), "403"),
        ("HTTP/1.1 301 Moved\r\nLocation: /a\r\n\r\n".to_owned(), "leads to"),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "a node listens"),
        (accept("Sec-WebSocket-Accept: wrong\r\n"), "not one to this request"),
        ("SSH-2.0-OpenSSH_9\r\n".to_owned(), "HTTP/1.1"),
        (String::new(), "hung up"),
    ];
    for (answer, word) in cases {
        let (here, mut there) = duplex(ROOMY);
        there.write_all(answer.as_bytes()).await.unwrap();
        there.shutdown().await.unwrap();
        match upgrade(here, &address(), LIMIT).await {
            Err(NetError::Upgrade { fault }) => assert!(fault.contains(word), "{fault}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    // One that speaks WebSocket, and not to us.
    let (here, there) = duplex(ROOMY);
    let address = address();
    let (_theirs, ours) =
        tokio::join!(tokio_tungstenite::accept_async(there), upgrade(here, &address, LIMIT));
    match ours {
        Err(NetError::Upgrade { fault }) => assert!(fault.contains("syncro.v1"), "{fault}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_ended() {
    for begun in [&b""[..], b"GET /sync HTTP/1.1\r\nHost: "] {
        let (here, mut there) = duplex(ROOMY);
        there.write_all(begun).await.unwrap();
        let begin = tokio::time::Instant::now();
        let refusal = Acceptor::default().accept(here, LIMIT).await;
        assert!(matches!(refusal, Err(NetError::HandshakeTimeout { .. })), "{refusal:?}");
        assert_eq!(begin.elapsed(), HANDSHAKE_TIMEOUT);
    }
    let (here, _there) = duplex(ROOMY);
    let refusal = upgrade(here, &address(), LIMIT).await;
    assert!(matches!(refusal, Err(NetError::HandshakeTimeout { .. })), "{refusal:?}");
}

#[tokio::test]
async fn a_flood_before_the_upgrade_is_read_to_its_limit_and_no_further() {
    let floods = [
        request(&format!("{SYNCRO}X: {}\r\n", "x".repeat(HANDSHAKE_BYTES_MAX))),
        [&b"GET /"[..], &[b'x'; ROOMY - 5]].concat(),
    ];
    for flood in floods {
        let (refusal, answer) = asked(&Acceptor::default(), &flood).await;
        assert!(matches!(refusal, Err(NetError::UpgradeTooLarge { .. })), "{refusal:?}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let (here, mut there) = duplex(ROOMY);
    there.write_all(b"HTTP/1.1 101 X\r\nX: ").await.unwrap();
    there.write_all(&vec![b'x'; LIMIT]).await.unwrap();
    let refusal = upgrade(here, &address(), LIMIT).await;
    assert!(matches!(refusal, Err(NetError::UpgradeTooLarge { .. })), "{refusal:?}");
}

/// Each byte on its own: what a slow line does to a request must not count against it.
#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_answered() {
    let (here, there) = duplex(1);
    let acceptor = Acceptor::default();
    let address = address();
    let (ours, theirs) =
        tokio::join!(acceptor.accept(here, LIMIT), upgrade(there, &address, LIMIT));
    let (mut reader, _) = ours.unwrap().split();
    let (_, mut writer) = theirs.unwrap().split();
    let (read, written) = tokio::join!(reader.read(), writer.write(Bytes::from_static(b"{}")));
    written.unwrap();
    assert_eq!(read.unwrap().unwrap(), "{}");
}

#[tokio::test]
async fn everything_can_be_spawned_on_any_thread() {
    fn assert_send(_: impl Send) {}
    let (here, there) = duplex(1);
    let (acceptor, address) = (Acceptor::default(), address());
    assert_send(acceptor.accept(here, LIMIT));
    assert_send(upgrade(there, &address, LIMIT));
}

/// Peers of another protocol ask for no subprotocol, and what they call text or binary means nothing.
#[tokio::test]
async fn a_bare_acceptor_demands_no_subprotocol_and_takes_either_kind() {
    for asked in [None, Some("chat")] {
        let (here, there) = duplex(ROOMY);
        let acceptor = Acceptor::default().bare().path("/sync");
        let request = their_request(None, asked);
        let ours = acceptor.accept(here, LIMIT);
        // Whoever has asked for one gets none, which is for them to judge.
        let (theirs, ours) = tokio::join!(client_async(request, there), ours);
        let Ok((mut theirs, answer)) = theirs else {
            assert!(asked.is_some());
            continue;
        };
        assert!(!answer.headers().contains_key("sec-websocket-protocol"));
        let (mut reader, mut writer) = ours.unwrap().split();
        for message in [Message::text("{}"), Message::text("[1]"), Message::binary(&b"{}"[..])] {
            let bytes = message.clone().into_data();
            theirs.send(message).await.unwrap();
            assert_eq!(reader.read().await.unwrap().as_deref(), Some(&bytes[..]));
        }
        writer.write(Bytes::from_static(b"{\"a\":1}")).await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::text("{\"a\":1}"));
    }
    let refused =
        Acceptor::default().bare().answer(&their_request(Some("https://evil.example"), None));
    assert_eq!(refused.unwrap_err().status(), http::StatusCode::FORBIDDEN);
}
