//! Messages as anybody on the line may read and write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use syncro_core::{NodeId, Point, Transaction, from_json, to_json};

use super::World;

/// Reads a message in either encoding.
pub fn read(frame: &Bytes) -> Value {
    if frame.first() == Some(&b'{') {
        return serde_json::from_slice(frame).unwrap();
    }
    serde_json::from_slice(&to_json(frame).unwrap()).unwrap()
}

/// The type of a message.
pub fn kind(frame: &Bytes) -> String {
    read(frame)["type"].as_str().unwrap().to_owned()
}

/// The transactions that a message carries, as [`item`] shows them: each whole.
pub fn items(frame: &Bytes) -> Vec<Value> {
    let mut message = read(frame);
    let Value::Array(items) = message["transactions"].take() else { return Vec::new() };
    let (mut whole, mut names): (Vec<Value>, _) = (Vec::new(), Vec::new());
    for item in items {
        let mut scribes = match &item.as_array().unwrap()[..] {
            [_, _, _, _] => {
                whole.push(item);
                continue;
            }
            [_, scribe @ ..] if scribe.len() == 4 => json!([scribe]),
            [_, scribes] if scribes.is_array() => scribes.clone(),
            _ => continue,
        };
        scribes.as_array_mut().unwrap().iter_mut().for_each(|it| expand(it, &mut names));
        let before = whole.last().unwrap();
        let time = int(&before[0]) + int(&item[0]);
        whole.push(json!([tagged(time), before[1], before[2], scribes]));
    }
    whole
}

/// Brings a scribe that is in brief into the form in which it is logged.
fn expand(scribe: &mut Value, names: &mut Vec<Value>) {
    let mut name = |part: &mut Value| match part.as_u64() {
        Some(number) => *part = names[usize::try_from(number).unwrap()].clone(),
        None if part.as_str().unwrap().len() < 16 && names.len() < 128 => names.push(part.clone()),
        None => {}
    };
    name(&mut scribe[0]);
    if scribe[1].is_array() {
        let uuid = scribe[1][0]["$bytes"].as_str().unwrap();
        let uuid = STANDARD.decode(uuid).unwrap();
        // Nodes are shown as UUIDs.
        scribe[1] = NodeId::from_bytes(uuid.try_into().unwrap()).to_string().into();
    }
    for path in scribe[3].as_array_mut().unwrap().iter_mut().step_by(2) {
        name(if path.is_array() { &mut path[0] } else { path });
    }
}

/// An integer, which has a tag if it is large.
fn int(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value["$int"].as_str().unwrap().parse().unwrap())
}

fn tagged(int: u64) -> Value {
    if int < 1 << 53 { json!(int) } else { json!({ "$int": int.to_string() }) }
}

/// How many transactions a message carries.
pub fn transactions(frame: &Bytes) -> usize {
    items(frame).len()
}

/// How many records a message shows to a view, or takes from it, and how many channels it says anew.
pub fn shown(frame: &Bytes) -> usize {
    let message = read(frame);
    if message["type"] != "states" {
        return 0;
    }
    let items = message["items"].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter(|item| says_something(item)).count()
}

/// Whether an item of `states` is a state, an eviction, or a channel that is said anew.
fn says_something(item: &Value) -> bool {
    matches!(item[0].as_u64(), Some(0 | 1 | 3))
}

/// How many transactions one side of a link has sent.
pub fn sent(world: &World, link: usize, side: usize) -> usize {
    let tape = world.links[link].tape.as_ref().unwrap();
    tape.iter().filter(|(from, _)| *from == side).map(|(_, frame)| transactions(frame)).sum()
}

/// Writes a message as JSON.
pub fn frame(message: &Value) -> Bytes {
    serde_json::to_vec(message).unwrap().into()
}

/// Writes a message as MessagePack.
pub fn packed(message: &Value) -> Bytes {
    from_json(&frame(message)).unwrap().into()
}

pub fn bytes(bytes: &[u8]) -> Value {
    json!({ "$bytes": STANDARD.encode(bytes) })
}

pub fn point(point: Point) -> Value {
    json!([point.offset, bytes(&point.digest.0)])
}

pub fn hello(node: NodeId) -> Value {
    json!({
        "type": "hello", "version": 1, "node": bytes(node.as_bytes()), "epoch": 77,
        "clock": 0, "nonce": 77, "frame": 8 << 20, "window": 4 << 20, "encodings": ["json", "msgpack"],
        "capabilities": [], "credentials": bytes(&[]),
    })
}

pub fn sync(ladder: &[Point]) -> Value {
    json!({ "type": "sync", "ladder": ladder.iter().copied().map(point).collect::<Vec<_>>() })
}

pub fn scribes(from: Point, to: Point, items: Vec<Value>) -> Value {
    json!({
        "type": "scribes", "from": point(from), "to": point(to), "end": to.offset,
        "transactions": items,
    })
}

pub fn ack(at: Point, credit: u64) -> Value {
    json!({ "type": "ack", "point": point(at), "credit": credit })
}

/// A transaction as an item of `scribes`.
pub fn item(transaction: &Transaction) -> Value {
    serde_json::from_slice(&to_json(transaction.bytes()).unwrap()).unwrap()
}
