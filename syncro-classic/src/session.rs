//! One conversation, without I/O: bytes in, what the peer wants out.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::frame::{Frames, frame};
use crate::json::ascii;
use crate::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::message::{From, Message, Scribe};

/// How messages are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By two bytes of length before each, on a stream of bytes such as TCP.
    Stream,
    /// By the transport, such as WebSocket: the JSON goes alone, whatever its length.
    Messages,
}

/// What a session is given.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Bytes of the stream, cut anywhere, or one whole message.
    Receive(&'a [u8]),
    /// The transport has found fault with what came over it.
    Fail(Offence),
    /// The answer to a request of the peer.
    Answer { request: Json, result: Json },
    /// What the peer wanted is refused or has failed. Its request cannot be named.
    Refuse { code: u16 },
    /// The peer's log is wanted, from after one of its ids.
    Pull { from: Option<String> },
    /// The peer is to play a scribe.
    Tell(Scribe),
    /// The peer is to say that it has got so far.
    Noop,
    /// A method of the peer is to be called.
    Call { klass: String, method: String, args: Vec<Json> },
}

/// What a session wants done.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effects {
    /// To be sent, in this order.
    pub(crate) sends: Vec<Bytes>,
    /// What the peer wants, and what came of what was asked of it, in this order.
    pub(crate) asks: Vec<Ask>,
    /// The number of the request made.
    pub(crate) request: Option<u64>,
    /// The bytes of what could not be sent: it does not fit a frame.
    pub(crate) too_long: Option<usize>,
    /// Why the session is over. Nothing more is read.
    pub(crate) offence: Option<Offence>,
}

/// What a peer said that is not for the session itself.
#[derive(Debug, PartialEq)]
pub(crate) enum Ask {
    Sync {
        request: Json,
        from: From,
    },
    Play {
        request: Json,
        scribe: Option<Scribe>,
    },
    Call {
        request: Json,
        klass: String,
        method: String,
        args: Vec<Json>,
    },
    /// The answer to a pull: the scribes, `None` for each that is none. No list is `None` as a whole.
    Pulled(Option<Vec<Option<Scribe>>>),
    /// The answer to a scribe that was told, or to a `noop`.
    Taken(u64),
    /// The answer to a call.
    Returned(Json),
    /// The peer says that something went wrong, and cannot say what.
    Failed(Option<i64>),
}

/// Why a session was ended by this side. The number is the same in events and logs; nothing of it goes over the
/// wire, since an `error` throws an exception into the event loop of a peer of 2010.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offence {
    /// A message is no JSON, or nests deeper than 127. Over a stream, the prefixes are lost.
    Malformed,
    /// A message over a transport of messages is longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// What came over a WebSocket breaks its rules, or is many frames in a row that carry nothing.
    Frames,
}

impl Offence {
    /// The number of the reason.
    pub const fn code(self) -> u16 {
        match self {
            Self::Malformed => 1,
            Self::TooLong => 2,
            Self::Frames => 3,
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Malformed => "a message is no JSON".to_owned(),
            Self::TooLong => format!("a message has over {MESSAGE_BYTES_MAX} bytes"),
            Self::Frames => "what came over the WebSocket breaks its rules".to_owned(),
        };
        write!(f, "reason {}: {what}", self.code())
    }
}

/// One conversation with a peer. It numbers requests, finds what their answers are about, and answers what needs
/// no records. It knows no clock and no socket, and an input is handled as a whole.
#[derive(Debug)]
pub(crate) struct Session {
    framing: Framing,
    frames: Frames,
    requests: u64,
    open: BTreeMap<u64, Asked>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Pull,
    Tell,
    Call,
}

impl Session {
    pub(crate) fn new(framing: Framing) -> Self {
        let (frames, open) = (Frames::default(), BTreeMap::new());
        Self { framing, frames, requests: 0, open, is_over: false }
    }

    /// Bytes that a message to this peer may have; `None` where it may have any number.
    pub(crate) fn bytes_max(&self) -> Option<usize> {
        (self.framing == Framing::Stream).then_some(FRAME_BYTES_MAX)
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) -> Effects {
        let mut effects = Effects::default();
        match input {
            Input::Receive(bytes) => self.on_receive(bytes, &mut effects),
            Input::Fail(_) if self.is_over => {}
            Input::Fail(offence) => self.end(offence, &mut effects),
            Input::Answer { request, result } => {
                let answer = json!({ "type": "response", "id": request, "result": result });
                self.send(&answer, &mut effects);
            }
            Input::Refuse { code } => {
                self.send(&json!({ "type": "error", "code": code }), &mut effects);
            }
            Input::Pull { from } => self.ask(Asked::Pull, &mut effects, |id| {
                json!({ "type": "sync", "from": from, "id": id })
            }),
            Input::Tell(scribe) => self.ask(Asked::Tell, &mut effects, |id| {
                json!({ "type": "add_scribe", "scribe": scribe.write(), "id": id })
            }),
            Input::Noop => self.ask(Asked::Tell, &mut effects, |id| {
                json!({ "type": "noop", "id": id })
            }),
            Input::Call { klass, method, args } => self.ask(Asked::Call, &mut effects, |id| {
                json!({ "type": "rpc", "klass": klass, "method": method, "args": args, "id": id })
            }),
        }
        effects
    }

    fn on_receive(&mut self, bytes: &[u8], effects: &mut Effects) {
        match self.framing {
            Framing::Stream => {
                self.frames.push(bytes);
                while !self.is_over
                    && let Some(message) = self.frames.next()
                {
                    self.on_message(&message, effects);
                }
            }
            Framing::Messages if bytes.len() > MESSAGE_BYTES_MAX => {
                self.end(Offence::TooLong, effects);
            }
            Framing::Messages if self.is_over => {}
            Framing::Messages => self.on_message(bytes, effects),
        }
    }

    fn on_message(&mut self, bytes: &[u8], effects: &mut Effects) {
        let Ok(message) = Message::read(bytes) else {
            return self.end(Offence::Malformed, effects);
        };
        effects.asks.push(match message {
            Message::Noop { request } => {
                let result = Json::Bool(true);
                let answer = json!({ "type": "response", "id": request, "result": result });
                return self.send(&answer, effects);
            }
            Message::Response { request, result } => {
                match request.and_then(|request| Some((request, self.open.remove(&request)?))) {
                    None => return,
                    Some((_, Asked::Pull)) => Ask::Pulled(match result {
                        Json::Array(scribes) => Some(scribes.iter().map(Scribe::read).collect()),
                        _ => None,
                    }),
                    Some((request, Asked::Tell)) => Ask::Taken(request),
                    Some((_, Asked::Call)) => Ask::Returned(result),
                }
            }
            Message::Sync { request, from } => Ask::Sync { request, from },
            Message::AddScribe { request, scribe } => Ask::Play { request, scribe },
            Message::Rpc { request, klass, method, args } => {
                Ask::Call { request, klass, method, args }
            }
            Message::Error { code } => Ask::Failed(code),
            Message::Other => return,
        });
    }

    fn ask(&mut self, asked: Asked, effects: &mut Effects, message: impl FnOnce(u64) -> Json) {
        let request = self.requests + 1;
        self.send(&message(request), effects);
        if effects.too_long.is_none() {
            self.requests = request;
            self.open.insert(request, asked);
            effects.request = Some(request);
        }
    }

    fn send(&self, message: &Json, effects: &mut Effects) {
        let text = ascii(message).into_bytes();
        match self.framing {
            Framing::Messages => effects.sends.push(text.into()),
            Framing::Stream => match frame(&text) {
                Ok(framed) => effects.sends.push(framed.into()),
                Err(error) => effects.too_long = Some(error.bytes),
            },
        }
    }

    fn end(&mut self, offence: Offence, effects: &mut Effects) {
        self.is_over = true;
        effects.offence = Some(offence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(messages: &[&str]) -> Vec<u8> {
        messages.iter().flat_map(|message| frame(message.as_bytes()).unwrap()).collect()
    }

    fn said(effects: &Effects) -> Vec<String> {
        effects.sends.iter().map(|sent| String::from_utf8(sent[2..].to_vec()).unwrap()).collect()
    }

    /// S2.
    #[test]
    fn a_noop_is_answered_with_true() {
        let mut session = Session::new(Framing::Stream);
        let effects = session.handle(Input::Receive(&stream(&[r#"{"type":"noop","id":7}"#])));
        assert_eq!(said(&effects), [r#"{"id":7,"result":true,"type":"response"}"#]);
        let mut session = Session::new(Framing::Messages);
        let effects = session.handle(Input::Receive(br#"{"type":"noop","id":"x"}"#));
        assert_eq!(effects.sends, [&br#"{"id":"x","result":true,"type":"response"}"#[..]]);
    }

    /// S27.
    #[test]
    fn answers_find_their_requests_in_any_order() {
        let mut session = Session::new(Framing::Stream);
        let call = |klass: &str| Input::Call {
            klass: klass.to_owned(),
            method: "m".to_owned(),
            args: Vec::new(),
        };
        assert_eq!(session.handle(call("A")).request, Some(1));
        assert_eq!(session.handle(Input::Pull { from: None }).request, Some(2));
        let answers = [
            r#"{"type":"response","id":2,"result":[{"klass":"T","type":"t","id":3},1]}"#,
            r#"{"type":"response","id":2,"result":[]}"#,
            r#"{"type":"response","id":9,"result":true}"#,
            r#"{"type":"response","result":true}"#,
            r#"{"type":"response","id":1,"result":"a"}"#,
        ];
        let effects = session.handle(Input::Receive(&stream(&answers)));
        let (klass, kind, id) = ("T".to_owned(), "t".to_owned(), Some("3".to_owned()));
        let scribe = Scribe { klass, kind, id, data: Json::Null };
        let pulled = Ask::Pulled(Some(vec![Some(scribe), None]));
        assert_eq!(effects.asks, [pulled, Ask::Returned(json!("a"))]);
    }

    /// S28.
    #[test]
    fn an_unknown_or_missing_type_is_passed_over() {
        let mut session = Session::new(Framing::Stream);
        let messages = ["{}", r#"{"type":"what"}"#, "[]", r#"{"type":"noop","id":1}"#];
        let effects = session.handle(Input::Receive(&stream(&messages)));
        assert_eq!((effects.sends.len(), effects.asks.len()), (1, 0));
        assert_eq!(effects.offence, None);
    }

    #[test]
    fn what_is_no_json_ends_the_session_and_nothing_after_it_is_read() {
        let mut session = Session::new(Framing::Stream);
        let messages = [r#"{"type":"noop","id":1}"#, "{", r#"{"type":"noop","id":2}"#];
        let effects = session.handle(Input::Receive(&stream(&messages)));
        assert_eq!((effects.sends.len(), effects.offence), (1, Some(Offence::Malformed)));
        let effects = session.handle(Input::Receive(&stream(&messages)));
        assert!(effects.sends.is_empty());

        let mut session = Session::new(Framing::Messages);
        let long = vec![b' '; MESSAGE_BYTES_MAX + 1];
        assert_eq!(session.handle(Input::Receive(&long)).offence, Some(Offence::TooLong));
    }

    /// Fault 1.
    #[test]
    fn what_does_not_fit_a_frame_is_not_sent_over_a_stream_and_whole_as_a_message() {
        let scribe = |bytes: usize| Scribe {
            klass: "T".to_owned(),
            kind: "t".to_owned(),
            id: Some("1".to_owned()),
            data: "x".repeat(bytes).into(),
        };
        let mut session = Session::new(Framing::Stream);
        let effects = session.handle(Input::Tell(scribe(65_535)));
        assert_eq!((effects.sends.len(), effects.request), (0, None));
        assert!(effects.too_long.is_some_and(|bytes| bytes > 65_535));
        let effects = session.handle(Input::Tell(scribe(65_000)));
        assert_eq!((effects.sends.len(), effects.request), (1, Some(1)));

        let mut session = Session::new(Framing::Messages);
        let effects = session.handle(Input::Tell(scribe(1_000_000)));
        assert!(effects.sends[0].len() > 1_000_000);
    }
}
