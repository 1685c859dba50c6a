//! Two conversations with a classic hub, at once and one after the other.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use syncro_classic::limits::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX};
use syncro_classic::{Frames, Framing, SessionId, Uid, frame};

use super::input::Input;
use crate::world::World;

/// Each step is a byte that says what happens to which client, and a piece that says how.
pub(crate) const SAY: u8 = 0;
pub(crate) const CONNECT: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const WRITE: u8 = 3;
pub(crate) const CUT: u8 = 4;
pub(crate) const WAIT: u8 = 5;
pub(crate) const STALL: u8 = 6;
const STEPS: u8 = 7;

/// Steps of the hub for one of ours, at most.
const HUB_STEPS_MAX: usize = 1000;

/// No step fails or panics, what is said is frames of ASCII JSON, and no more waits for a reader than may.
pub fn classic_session(input: &[u8]) {
    let mut input = Input(input);
    let mut talk = Talk { world: World::new(1).unwrap(), lines: BTreeMap::new() };
    (0..2).for_each(|client| talk.connect(client, client == 0));
    while !input.is_over() {
        let (step, piece) = (input.byte(), input.piece());
        talk.step(step % STEPS, (step / STEPS) % 2, piece);
        talk.work();
    }
}

struct Talk {
    world: World,
    lines: BTreeMap<u8, Line>,
}

struct Line {
    session: SessionId,
    framing: Framing,
    frames: Frames,
    /// What was said and is not written yet.
    unwritten: usize,
    is_stalled: bool,
}

impl Talk {
    fn connect(&mut self, client: u8, is_stream: bool) {
        let framing = if is_stream { Framing::Stream } else { Framing::Messages };
        let uid = Uid::new(&format!("client {client}")).unwrap();
        let session = self.world.with_classic_hub(|hub| hub.connect(uid, framing)).unwrap();
        let (session, frames) = (session.unwrap(), Frames::default());
        let line = Line { session, framing, frames, unwritten: 0, is_stalled: false };
        self.lines.insert(client, line);
        self.work();
    }

    fn step(&mut self, step: u8, client: u8, piece: &[u8]) {
        let mut bits = Input(piece);
        let line = self.lines.get(&client).map(|line| (line.session, line.framing));
        match (step, line) {
            (SAY, Some((session, Framing::Stream))) => {
                if let Ok(framed) = frame(piece) {
                    self.receive(session, &framed);
                }
            }
            (SAY | BYTES, Some((session, Framing::Messages))) => {
                assert!(piece.len() <= MESSAGE_BYTES_MAX);
                self.receive(session, piece);
            }
            (BYTES, Some((session, Framing::Stream))) => self.receive(session, piece),
            (CONNECT, _) => {
                self.cut(client);
                self.connect(client, bits.byte() % 2 == 0);
            }
            (WRITE, _) => {
                let (record, value) = (bits.byte(), bits.byte());
                let value = (value > 50).then_some(value);
                self.world.save_page(0, record, value).unwrap();
            }
            (CUT, _) => self.cut(client),
            (WAIT, Some((session, _))) => {
                let _ = self.world.with_classic_hub(|hub| {
                    hub.lose_patience(session);
                    Ok(())
                });
            }
            (STALL, _) => {
                if let Some(line) = self.lines.get_mut(&client) {
                    line.is_stalled ^= true;
                }
            }
            _ => {}
        }
    }

    /// A hub that is busy is not given more: its transport waits.
    fn receive(&mut self, session: SessionId, bytes: &[u8]) {
        let _ = self.world.with_classic_hub(|hub| {
            if !hub.is_busy(session) {
                hub.receive(session, bytes);
            }
            Ok(())
        });
    }

    fn cut(&mut self, client: u8) {
        if let Some(line) = self.lines.remove(&client) {
            let _ = self.world.with_classic_hub(|hub| {
                hub.disconnect(line.session);
                Ok(())
            });
        }
    }

    fn work(&mut self) {
        for _ in 0..HUB_STEPS_MAX {
            let effects = self.world.with_classic_hub(|hub| hub.step()).unwrap().unwrap();
            let is_idle = effects.sends.is_empty() && !effects.has_more;
            for (session, bytes) in effects.sends {
                self.hear(session, &bytes);
            }
            for (session, _) in effects.closes {
                let ended = self.lines.iter().find(|(_, line)| line.session == session);
                if let Some(client) = ended.map(|(client, _)| *client) {
                    self.cut(client);
                }
            }
            if is_idle {
                return;
            }
        }
        panic!("the hub comes to no end");
    }

    fn hear(&mut self, session: SessionId, bytes: &[u8]) {
        let mut lines = self.lines.values_mut();
        let Some(line) = lines.find(|line| line.session == session) else { return };
        let messages = match line.framing {
            Framing::Messages => vec![bytes.to_vec()],
            Framing::Stream => {
                line.frames.push(bytes);
                std::iter::from_fn(|| line.frames.next()).collect()
            }
        };
        assert!(!messages.is_empty(), "whole messages are said");
        for message in messages {
            assert!(message.is_ascii());
            let said: Json = serde_json::from_slice(&message).unwrap();
            assert!(said["type"].is_string(), "{said}");
        }
        line.unwritten += bytes.len();
        assert!(line.unwritten <= 2 * ANSWER_BYTES_MAX, "{} bytes wait", line.unwritten);
        if !line.is_stalled {
            let written = std::mem::take(&mut line.unwritten);
            let _ = self.world.with_classic_hub(|hub| {
                hub.written(session, written);
                Ok(())
            });
        }
    }
}

/// Conversations from which a fuzzer finds the rest.
pub(super) fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let step = |step: u8, client: u8, piece: &[u8]| {
        let length = (piece.len() as u16).to_be_bytes();
        [&[step + STEPS * client], length.as_slice(), piece].concat()
    };
    let say = |client: u8, text: &str| step(SAY, client, text.as_bytes());
    let scribe = |id: u8, kind: &str, data: &str| {
        format!(
            r#"{{"type":"add_scribe","scribe":{{"klass":"sim page","type":"{kind}","id":"{id}","data":{data}}},"id":{id}}}"#
        )
    };
    let pulled = r#"{"type":"response","id":1,"result":[]}"#;
    let sync = r#"{"type":"sync","from":null,"id":7}"#;
    let create = scribe(1, "create", r#"{"id":"p1","name":"a"}"#);
    let update = scribe(2, "update", r#"["p1",{"name":"b"}]"#);
    let destroy = scribe(3, "destroy", r#"["p1"]"#);
    let pushed = [say(0, pulled), say(1, pulled), say(0, &create), say(1, sync), say(1, &update)];
    vec![
        ("pushed", pushed.concat()),
        ("pulled-late", {
            let answer = create.replace(r#"{"type":"add_scribe","scribe":"#, "");
            let answer = answer.strip_suffix(r#","id":1}"#).unwrap_or_default();
            let answer = format!(r#"{{"type":"response","id":1,"result":[{answer}]}}"#);
            [say(0, &create), say(1, sync), say(0, &answer), say(0, &destroy)].concat()
        }),
        ("crossed", {
            let writes = [step(WRITE, 0, &[1, 99]), step(WRITE, 0, &[1, 0])].concat();
            [say(0, sync), step(WAIT, 0, &[]), writes, say(0, pulled), say(0, sync)].concat()
        }),
        ("cut", [say(0, &create), step(CUT, 0, &[]), step(CONNECT, 0, &[1])].concat()),
        ("rpc", {
            let call = r#"{"type":"rpc","klass":"Syncro::RPC::Default","method":"last_scribe_id","args":[],"id":2}"#;
            [say(1, call), say(1, r#"{"type":"noop","id":3}"#), step(STALL, 1, &[])].concat()
        }),
        (
            "bytes",
            [step(BYTES, 0, b"\0\x16{\"type\":\"noop\""), step(BYTES, 0, b",\"id\":7}\0")].concat(),
        ),
    ]
}
