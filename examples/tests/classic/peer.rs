//! A classic peer on a socket, message by message.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};
use tungstenite::{Message, WebSocket};

use crate::process::PATIENCE;

pub(crate) struct Peer {
    line: Line,
    /// Messages that came while another one was waited for.
    early: Vec<Json>,
}

/// How messages are kept apart.
enum Line {
    Prefixed(TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

impl Peer {
    /// Connects to `HOST:PORT`, or to `ws://HOST:PORT/PATH` as a peer that knows of no subprotocol.
    pub(crate) fn connect(addr: &str) -> Self {
        let authority = addr.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
        let stream = TcpStream::connect(authority.unwrap_or(addr)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let line = match authority {
            Some(_) => Line::WebSocket(Box::new(tungstenite::client(addr, stream).unwrap().0)),
            None => Line::Prefixed(stream),
        };
        Self { line, early: Vec::new() }
    }

    /// Connects, answers the pull with a log, and returns the point that the hub had.
    pub(crate) fn pulled(addr: &str, log: &Json) -> (Self, Json) {
        let mut peer = Self::connect(addr);
        let pull = peer.next();
        assert_eq!(pull["type"], "sync", "{pull}");
        peer.say(&json!({"type": "response", "id": pull["id"], "result": log}));
        (peer, pull["from"].clone())
    }

    pub(crate) fn say(&mut self, message: &Json) {
        match &mut self.line {
            Line::Prefixed(stream) => stream.write_all(&bytes(message)).unwrap(),
            Line::WebSocket(socket) => socket.send(Message::text(message.to_string())).unwrap(),
        }
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    /// Reads the next message.
    pub(crate) fn next(&mut self) -> Json {
        if !self.early.is_empty() {
            return self.early.remove(0);
        }
        let message = match &mut self.line {
            Line::Prefixed(stream) => {
                let mut prefix = [0; 2];
                stream.read_exact(&mut prefix).unwrap();
                let mut message = vec![0; usize::from(u16::from_be_bytes(prefix))];
                stream.read_exact(&mut message).unwrap();
                message
            }
            Line::WebSocket(socket) => {
                let message = socket.read().unwrap();
                assert!(message.is_text(), "{message:?}");
                message.into_data().to_vec()
            }
        };
        assert!(message.is_ascii());
        serde_json::from_slice(&message).unwrap()
    }

    /// The stream, of a peer that has one of bytes.
    fn stream(&mut self) -> &mut TcpStream {
        match &mut self.line {
            Line::Prefixed(stream) => stream,
            Line::WebSocket(_) => panic!("it keeps messages apart"),
        }
    }

    /// Asks, and waits for the answer; what else comes is kept.
    pub(crate) fn ask(&mut self, message: &Json) -> Json {
        self.say(message);
        let mut kept = Vec::new();
        loop {
            let heard = self.next();
            if heard["type"] == "response" && heard["id"] == message["id"] {
                self.early = kept;
                return heard["result"].clone();
            }
            kept.push(heard);
        }
    }

    pub(crate) fn sync(&mut self, from: &Json) -> Vec<Json> {
        let answer = self.ask(&json!({"type": "sync", "from": from, "id": 1000}));
        answer.as_array().unwrap().clone()
    }

    pub(crate) fn push(&mut self, id: u64, kind: &str, data: Json) {
        let scribe = json!({"klass": "Todo", "type": kind, "id": id.to_string(), "data": data});
        assert_eq!(self.ask(&json!({"type": "add_scribe", "scribe": scribe, "id": id})), true);
    }

    /// Waits for a scribe, and acknowledges it.
    pub(crate) fn told(&mut self) -> Json {
        let message = self.next();
        assert_eq!(message["type"], "add_scribe", "{message}");
        self.say(&json!({"type": "response", "id": message["id"], "result": true}));
        message["scribe"].clone()
    }

    /// Waits until the hub hangs up.
    pub(crate) fn hung_up(mut self) {
        let mut rest = Vec::new();
        self.stream().read_to_end(&mut rest).unwrap();
    }
}

pub(crate) fn bytes(message: &Json) -> Vec<u8> {
    let text = message.to_string().into_bytes();
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], &text].concat()
}
