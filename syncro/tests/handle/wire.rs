//! Raw bytes against a node that listens: it says what was wrong, and lives on.

use syncro::{Encoding, Listening, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{converge, eventually, node, soon, todo};

pub(crate) const HELLO: &str = r#"{"type":"hello","version":1,"node":{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},
    "epoch":7,"clock":{"$int":"111411200000000000"},"nonce":9,"name":"raw","frame":8388608,
    "window":4194304,"encodings":["json"],"capabilities":[],"credentials":{"$bytes":""}}"#;

async fn listening() -> (Node, Listening) {
    let node = node("server");
    node.create(&todo("milk")).unwrap();
    let listening = node.listen("127.0.0.1:0").await.unwrap();
    (node, listening)
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [length.as_slice(), message].concat()
}

/// Sends bytes, and reads what is said until the node hangs up; returns the frames.
async fn conversation(listening: &Listening, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(listening.local_addr()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    frames_until_the_end(&mut stream).await
}

async fn frames_until_the_end(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    soon("the node hangs up", stream.read_to_end(&mut heard)).await.unwrap();
    let (mut frames, mut rest) = (Vec::new(), heard.as_slice());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    assert!(rest.is_empty(), "half a frame");
    frames
}

/// The number in a `bye` of either encoding.
pub(crate) fn bye(frame: &[u8]) -> Option<u64> {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(frame) {
        return (json["type"] == "bye").then(|| json["code"].as_u64()).flatten();
    }
    let code = b"\xa3bye\xa4code";
    let at = frame.windows(code.len()).position(|window| window == code)?;
    frame.get(at + code.len()).map(|code| u64::from(*code))
}

/// The node is as before: another peer comes and converges with it.
async fn lives_on(node: &Node, listening: &Listening) {
    eventually("no session is left", || node.sessions().is_empty()).await;
    let peer = Node::in_memory("peer").unwrap();
    let connection = peer.connect_in(&listening.local_addr().to_string(), Encoding::Json).unwrap();
    converge(node, &peer).await;
    soon("it closes", connection.close()).await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_before_it_comes() {
    let (node, listening) = listening().await;
    for length in [8 << 20, u32::MAX - 1] {
        let said = conversation(&listening, &(length + 1_u32).to_be_bytes()).await;
        assert_eq!(said.iter().map(|frame| bye(frame)).collect::<Vec<_>>(), [Some(4)]);
    }
    let open = [framed(HELLO.as_bytes()), u32::MAX.to_be_bytes().to_vec()].concat();
    let said = conversation(&listening, &open).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(4), "also in an open session");
    lives_on(&node, &listening).await;
}

/// A node kept up to 8 MiB of each caller that had not said who it is.
#[tokio::test]
async fn of_a_caller_no_more_is_read_than_a_greeting_has() {
    let (node, listening) = listening().await;
    for (bytes, reason) in [(4096_u32, 3), (4097, 4)] {
        let mut opening = bytes.to_be_bytes().to_vec();
        // Of the longer one it has heard enough when it knows how long it is.
        opening.resize(4 + if reason == 3 { 4096 } else { 0 }, 0xc1);
        let said = conversation(&listening, &opening).await;
        assert_eq!(said.iter().map(|frame| bye(frame)).collect::<Vec<_>>(), [Some(reason)]);
    }
    let long = format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(10_000));
    let open = [framed(HELLO.as_bytes()), framed(long.as_bytes()), framed(b"\xc1")].concat();
    let said = conversation(&listening, &open).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(3), "then more is");
    lives_on(&node, &listening).await;
}

/// The node hung up on a frame of 100 MB with the beginning of it unread, which reset the connection: the
/// peer's own write failed, and the reason was lost on the way.
#[tokio::test]
async fn a_peer_that_goes_on_sending_a_frame_over_the_limit_still_reads_why() {
    let (node, listening) = listening().await;
    let mut stream = TcpStream::connect(listening.local_addr()).await.unwrap();
    stream.write_all(&(100_u32 << 20).to_be_bytes()).await.unwrap();
    stream.write_all(&[7; 64 << 10]).await.unwrap();
    soon("the node answers", stream.readable()).await.unwrap();
    soon("the node still reads", stream.write_all(&vec![7; 1 << 20])).await.unwrap();
    let said = frames_until_the_end(&mut stream).await;
    assert_eq!(said.iter().map(|frame| bye(frame)).collect::<Vec<_>>(), [Some(4)]);
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn garbage_is_malformed_and_nothing_more() {
    let (node, listening) = listening().await;
    let garbage: [&[u8]; 7] = [
        b"\xc1",
        b"GET / HTTP/1.1",
        b"{\"type\":\"hello\"",
        b"{}",
        b"{\"type\":\"bread\"}",
        b"\x81\xa4type\xa5hello",
        &[0x91; 4000],
    ];
    for bytes in garbage {
        let said = conversation(&listening, &framed(bytes)).await;
        assert_eq!(
            said.iter().map(|frame| bye(frame)).collect::<Vec<_>>(),
            [Some(3)],
            "{bytes:x?}"
        );
    }
    let said = conversation(&listening, &framed(b"")).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(3), "an empty frame");
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_so() {
    let (node, listening) = listening().await;
    let old = HELLO.replace(r#""version":1"#, r#""version":0"#);
    let said = conversation(&listening, &framed(old.as_bytes())).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(6));
    let text = String::from_utf8_lossy(said.last().unwrap()).into_owned();
    assert!(text.contains("version 0") && text.contains("version 1"), "{text}");
    let small = HELLO.replace("8388608", "1024");
    let said = conversation(&listening, &framed(small.as_bytes())).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(6), "its frames are too small");
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_message_out_of_turn_ends_the_session() {
    let (node, listening) = listening().await;
    let said = conversation(&listening, &framed(br#"{"type":"ping"}"#)).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(5), "before the hello");
    let twice = [framed(HELLO.as_bytes()), framed(HELLO.as_bytes())].concat();
    let said = conversation(&listening, &twice).await;
    assert_eq!(said.last().and_then(|frame| bye(frame)), Some(5), "a second hello");
    lives_on(&node, &listening).await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_of_a_frame_leaves_no_trace() {
    let (node, listening) = listening().await;
    let hello = framed(HELLO.as_bytes());
    for cut in [0, 2, 4, 30, hello.len() - 1] {
        let mut stream = TcpStream::connect(listening.local_addr()).await.unwrap();
        stream.write_all(&hello[..cut]).await.unwrap();
        drop(stream);
    }
    lives_on(&node, &listening).await;
    assert_eq!(node.peers().unwrap().len(), 1, "only the one that said who it is");
}

#[tokio::test]
async fn a_peer_in_json_is_answered_in_json() {
    let (_node, listening) = listening().await;
    let bye = framed(br#"{"type":"bye","code":0,"detail":""}"#);
    let sync = framed(br#"{"type":"sync","ladder":[]}"#);
    let said = conversation(&listening, &[framed(HELLO.as_bytes()), sync, bye].concat()).await;
    let said: Vec<serde_json::Value> =
        said.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect();
    let kinds: Vec<_> = said.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hello", "sync", "scribes"]);
    assert_eq!(said[0]["name"], "server");
    assert_eq!(said[2]["transactions"].as_array().unwrap().len(), 1);
}
