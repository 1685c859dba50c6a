//! Messages as a stranger writes them: by hand, from the protocol.

use bytes::Bytes;
use syncro_core::{NodeId, Point};

pub(crate) fn hello(node: NodeId) -> Bytes {
    let mut out = head("hello", 10);
    let numbers = [("version", 1), ("epoch", 77), ("clock", 0), ("nonce", 9), ("frame", 8 << 20)];
    for (key, int) in numbers {
        text(&mut out, key);
        uint(&mut out, int);
    }
    text(&mut out, "node");
    bytes(&mut out, node.as_bytes());
    text(&mut out, "window");
    uint(&mut out, 4 << 20);
    text(&mut out, "encodings");
    out.push(0x91);
    text(&mut out, "msgpack");
    text(&mut out, "capabilities");
    out.push(0x92);
    text(&mut out, "call");
    text(&mut out, "signal");
    text(&mut out, "credentials");
    bytes(&mut out, &[]);
    out.into()
}

/// The head of a bundle.
pub(crate) fn bundle(peer: NodeId, start: Point, end: Point) -> Bytes {
    let mut out = head("bundle", 3);
    text(&mut out, "peer");
    bytes(&mut out, peer.as_bytes());
    text(&mut out, "start");
    point(&mut out, start);
    text(&mut out, "end");
    point(&mut out, end);
    out.into()
}

/// Asks for the whole log, offering one point of it.
pub(crate) fn sync(offered: Point) -> Bytes {
    let mut out = head("sync", 1);
    text(&mut out, "ladder");
    out.push(0x91);
    point(&mut out, offered);
    out.into()
}

/// The same, with lesser points kept back.
pub(crate) fn sync_at_first(offered: Point) -> Bytes {
    let mut out = head("sync", 2);
    text(&mut out, "ladder");
    out.push(0x91);
    point(&mut out, offered);
    text(&mut out, "more");
    out.push(0xc3);
    out.into()
}

/// Asks for those.
pub(crate) fn more() -> Bytes {
    head("more", 0).into()
}

/// A piece of a log, its items encoded already.
pub(crate) fn scribes(from: Point, to: Point, items: &[Bytes]) -> Bytes {
    let mut out = head("scribes", 4);
    text(&mut out, "from");
    point(&mut out, from);
    text(&mut out, "to");
    point(&mut out, to);
    text(&mut out, "end");
    uint(&mut out, to.offset);
    text(&mut out, "transactions");
    out.push(0xdd);
    out.extend((items.len() as u32).to_be_bytes());
    items.iter().for_each(|item| out.extend_from_slice(item));
    out.into()
}

/// A piece of a log with nothing in it, from where it is expected.
pub(crate) fn nothing() -> Bytes {
    head("scribes", 0).into()
}

/// An item that stands for what the receiver has in its own log.
pub(crate) fn echo(offset: u64, scribes: u64) -> Bytes {
    let mut out = vec![0x92];
    uint(&mut out, offset);
    uint(&mut out, scribes);
    out.into()
}

pub(crate) fn ack(at: Point) -> Bytes {
    let mut out = head("ack", 2);
    text(&mut out, "point");
    point(&mut out, at);
    text(&mut out, "credit");
    uint(&mut out, 8 << 20);
    out.into()
}

pub(crate) fn call(number: u64) -> Bytes {
    let mut out = head("call", 4);
    text(&mut out, "call");
    uint(&mut out, number);
    text(&mut out, "name");
    text(&mut out, "ask");
    text(&mut out, "value");
    out.push(0xc0);
    text(&mut out, "within");
    uint(&mut out, 1000);
    out.into()
}

pub(crate) fn reply(number: u64) -> Bytes {
    let mut out = head("reply", 2);
    text(&mut out, "call");
    uint(&mut out, number);
    text(&mut out, "value");
    text(&mut out, "x");
    out.into()
}

pub(crate) fn failure(number: u64) -> Bytes {
    let mut out = head("reply", 3);
    text(&mut out, "call");
    uint(&mut out, number);
    text(&mut out, "code");
    uint(&mut out, 100);
    text(&mut out, "message");
    text(&mut out, "no");
    out.into()
}

/// Asks to hear of one topic, or of all.
pub(crate) fn topics(topic: Option<&str>) -> Bytes {
    let mut out = head("topics", 1);
    text(&mut out, "topics");
    match topic {
        Some(topic) => {
            out.push(0x91);
            text(&mut out, topic);
        }
        None => out.push(0xc3),
    }
    out.into()
}

/// What a node says on a topic, over a relay.
pub(crate) fn signal(topic: &str, node: NodeId, relay: NodeId) -> Bytes {
    let mut out = head("signal", 6);
    text(&mut out, "topic");
    text(&mut out, topic);
    text(&mut out, "node");
    bytes(&mut out, node.as_bytes());
    for key in ["time", "epoch"] {
        text(&mut out, key);
        uint(&mut out, 1);
    }
    text(&mut out, "value");
    out.push(0x01);
    text(&mut out, "via");
    out.push(0x91);
    bytes(&mut out, relay.as_bytes());
    out.into()
}

pub(crate) fn ping() -> Bytes {
    head("ping", 0).into()
}

pub(crate) fn bye() -> Bytes {
    let mut out = head("bye", 2);
    text(&mut out, "code");
    uint(&mut out, 0);
    text(&mut out, "detail");
    text(&mut out, "");
    out.into()
}

/// The head of a message with `keys` more keys than its type.
fn head(kind: &str, keys: u8) -> Vec<u8> {
    let mut out = vec![0x81 + keys];
    text(&mut out, "type");
    text(&mut out, kind);
    out
}

fn point(out: &mut Vec<u8>, point: Point) {
    out.push(0x92);
    uint(out, point.offset);
    bytes(out, &point.digest.0);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend([0xd9, text.len() as u8]);
    out.extend_from_slice(text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend([0xc4, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

fn uint(out: &mut Vec<u8>, int: u64) {
    out.push(0xcf);
    out.extend(int.to_be_bytes());
}
