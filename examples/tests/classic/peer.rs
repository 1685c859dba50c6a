//! A classic peer on a socket, message by message.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};

use crate::process::PATIENCE;

pub(crate) struct Peer {
    stream: TcpStream,
    /// Messages that came while another one was waited for.
    early: Vec<Json>,
}

impl Peer {
    pub(crate) fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, early: Vec::new() }
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
        self.say_bytes(&bytes(message));
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads the next message.
    pub(crate) fn next(&mut self) -> Json {
        if !self.early.is_empty() {
            return self.early.remove(0);
        }
        let mut prefix = [0; 2];
        self.stream.read_exact(&mut prefix).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(prefix))];
        self.stream.read_exact(&mut message).unwrap();
        assert!(message.is_ascii());
        serde_json::from_slice(&message).unwrap()
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
        self.stream.read_to_end(&mut rest).unwrap();
    }
}

pub(crate) fn bytes(message: &Json) -> Vec<u8> {
    let text = message.to_string().into_bytes();
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], &text].concat()
}
