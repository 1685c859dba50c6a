//! Classic peers on WebSockets: somebody else's client, real sockets.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod tls;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use syncro::Node;
use syncro::websocket::Acceptor;
use syncro_classic::{
    Class, Classic, ClassicListening, Event, Hub, Offence, Settings, Tables, Uid, limits,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    classic: Classic,
    listening: ClassicListening,
    events: broadcast::Receiver<Event>,
}

async fn world() -> World {
    let tables = Tables::default().allow(Class::new("Test").unwrap()).unwrap();
    let settings = Settings { tables, ..Settings::default() };
    let hub = Hub::in_memory(Node::in_memory("hub").unwrap(), settings).unwrap();
    let classic = Classic::start(hub).unwrap();
    let events = classic.events();
    let acceptor = Acceptor::default().path("/sync").origins(["https://app.example"]);
    let ann = Uid::new("ann").unwrap();
    let listening = classic.listen_websocket("127.0.0.1:0", ann, acceptor).await.unwrap();
    World { classic, listening, events }
}

impl World {
    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.listening.local_addr()).await.unwrap()
    }

    async fn connect(&self, origin: Option<&str>) -> Result<WebSocketStream<TcpStream>, WsError> {
        let mut request = "ws://hub/sync".into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        Ok(client_async(request, self.stream().await).await?.0)
    }

    /// Connects, and takes what it is asked at first.
    async fn pulled(&self) -> WebSocketStream<TcpStream> {
        let mut peer = self.connect(None).await.unwrap();
        assert_eq!(heard(&mut peer).await["type"], "sync");
        peer
    }

    async fn event(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        let waiting = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if is_it(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it is told")
    }

    /// Waits for why the session was ended.
    async fn offence(&mut self) -> Option<Offence> {
        match self.event(|event| matches!(event, Event::Closed { .. })).await {
            Event::Closed { offence, .. } => offence,
            _ => unreachable!(),
        }
    }
}

async fn heard<S>(peer: &mut WebSocketStream<S>) -> Json
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = tokio::time::timeout(PATIENCE, peer.next()).await.expect("it answers");
    let message = message.expect("it goes on").unwrap();
    assert!(message.is_text(), "{message:?}");
    serde_json::from_slice(&message.into_data()).unwrap()
}

#[tokio::test]
async fn a_peer_over_websocket_pushes_and_is_told_bare_json() {
    let world = world().await;
    let (mut one, mut other) = (world.pulled().await, world.pulled().await);
    let scribe =
        json!({"klass": "Test", "type": "create", "id": "1", "data": {"id": "r1", "name": "a"}});
    let push = json!({"type": "add_scribe", "scribe": scribe, "id": 7}).to_string();
    // What a client calls text or bytes is all the same.
    one.send(Message::binary(push.into_bytes())).await.unwrap();
    assert_eq!(heard(&mut one).await, json!({"type": "response", "id": 7, "result": true}));
    let told = heard(&mut other).await;
    assert_eq!(told["scribe"]["data"], json!({"id": "r1", "name": "a"}));
    one.send(Message::Ping(b"there?".to_vec().into())).await.unwrap();
    assert_eq!(one.next().await.unwrap().unwrap(), Message::Pong(b"there?".to_vec().into()));
    assert_eq!(world.classic.close().await, None);
    assert!(matches!(one.next().await, Some(Ok(Message::Close(_)))), "it says goodbye");
}

#[tokio::test]
async fn pages_of_other_origins_and_other_paths_are_refused() {
    let mut world = world().await;
    for (origin, status) in [("https://evil.example", Some(403)), ("https://app.example", None)] {
        match world.connect(Some(origin)).await {
            Err(WsError::Http(response)) => assert_eq!(Some(response.status().as_u16()), status),
            connected => assert!(connected.is_ok() && status.is_none(), "{origin}"),
        }
    }
    let elsewhere = client_async("ws://hub/elsewhere", world.stream().await).await;
    assert!(matches!(elsewhere, Err(WsError::Http(response)) if response.status() == 404));
    for why in ["evil.example", "elsewhere"] {
        let event = world.event(|event| matches!(event, Event::Refused { .. })).await;
        assert!(event.to_string().contains(why), "{event}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_session_with_its_number() {
    let mut world = world().await;
    let mut peer = world.pulled().await;
    // The session may be over before all of it has been sent.
    let _ = peer.send(Message::text(" ".repeat(limits::MESSAGE_BYTES_MAX + 1))).await;
    assert_eq!(world.offence().await, Some(Offence::TooLong));
    let mut peer = world.pulled().await;
    let noop =
        format!("{}{}", r#"{"type":"noop","id":1}"#, " ".repeat(limits::MESSAGE_BYTES_MAX - 22));
    peer.send(Message::text(noop)).await.unwrap();
    assert_eq!(heard(&mut peer).await["id"], 1);
}

#[tokio::test]
async fn what_is_no_json_or_no_websocket_ends_the_session_with_its_number() {
    let mut world = world().await;
    for (message, offence) in [("{", Offence::Malformed), ("", Offence::Malformed)] {
        let mut peer = world.pulled().await;
        peer.send(Message::text(message)).await.unwrap();
        assert_eq!(world.offence().await, Some(offence), "{message:?}");
    }
    // A frame of a client without a mask; and pings without end.
    let mut peer = world.pulled().await;
    peer.get_mut().write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(world.offence().await, Some(Offence::Frames));
    let mut peer = world.pulled().await;
    let pings = b"\x89\x80mask".repeat(2000);
    let (mut reader, mut writer) = peer.get_mut().split();
    let mut read = Vec::new();
    // It is hung up on in the middle.
    let (_, _) = tokio::join!(writer.write_all(&pings), reader.read_to_end(&mut read));
    assert_eq!(world.offence().await, Some(Offence::Frames));
}

/// Whoever never ends a handshake is let go, and takes no session meanwhile.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_given_up() {
    let mut world = world().await;
    let mut stream = world.stream().await;
    stream.write_all(b"GET /sync HTTP/1.1\r\n").await.unwrap();
    let event = world.event(|event| matches!(event, Event::Refused { .. })).await;
    assert!(event.to_string().contains("10"), "{event}");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}
