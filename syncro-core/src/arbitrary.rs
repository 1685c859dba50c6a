//! Random values for property tests, and a notation for golden bytes.
//!
//! Names, authors and times are few, so that paths meet, and stamps too.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::call::CallFailure;
use crate::channel::{Channel, Sum};
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::encoding::msgpack::{Head, Reader};
use crate::id::{Name, NodeId, RecordId, RecordKey};
use crate::message::{
    Bundle, Call, Encoding, Hello, Item, Items, Message, Scribes, States, Told, Topics, Wanted,
    Word,
};
use crate::record::tests::record;
use crate::record::{Element, Path};
use crate::scribe::{Mark, Scribe, Transaction};
use crate::stamp::{Author, Epoch, Stamp, Time};
use crate::value::{Encoded, Value};

/// A name that is known to be one.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Integers of every width, both signs.
pub(crate) fn int() -> impl Strategy<Value = i128> + Clone {
    (any::<u64>(), 0..64_u32, any::<bool>()).prop_map(|(bits, unused, is_negative)| {
        let int = i128::from(bits >> unused);
        if is_negative { -(int >> 1) - 1 } else { int }
    })
}

/// Short text, some of it in need of JSON's escapes.
pub(crate) fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        vec(any::<char>(), 0..6).prop_map(String::from_iter),
        prop::sample::select(vec!["", "$", "$$", "$bytes", "$int", "a", "b", "\"\\\u{0}"])
            .prop_map(str::to_owned),
    ]
}

/// Any value, some levels deep. Of NaNs there are many, which are one when encoded.
pub(crate) fn value() -> impl Strategy<Value = Value> + Clone {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        int().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        any::<u32>().prop_map(|bits| Value::Float(f64::from(f32::from_bits(bits)))),
        text().prop_map(Value::Text),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            btree_map(text(), inner, 0..5).prop_map(Value::Map),
        ]
    })
}

/// Any encoded value.
pub(crate) fn encoded() -> impl Strategy<Value = Encoded> + Clone {
    value().prop_map(|value| value.encode())
}

/// One of very few values.
pub(crate) fn few_encoded() -> impl Strategy<Value = Encoded> + Clone {
    (-2..3_i64).prop_map(|int| if int == 0 { Encoded::NIL } else { Encoded::int(int) })
}

/// One of three authors on two nodes.
pub(crate) fn author() -> impl Strategy<Value = Author> + Clone {
    prop::sample::select(vec![(1, 1), (1, 2), (2, 1)]).prop_map(|(node, epoch)| Author {
        node: NodeId::from_bytes([node; 16]),
        epoch: Epoch(epoch),
    })
}

/// One of few stamps.
pub(crate) fn stamp() -> impl Strategy<Value = Stamp> + Clone {
    (1..6_u64, author()).prop_map(|(time, author)| Stamp { time: Time::from_bits(time), author })
}

/// One of few paths, of each sort.
pub(crate) fn path() -> impl Strategy<Value = Path> + Clone {
    let field = || prop::sample::select(vec!["f", "g"]).prop_map(name);
    prop_oneof![
        field().prop_map(Path::field),
        (field(), prop::sample::select(vec!["", "x", "$y"]))
            .prop_map(|(field, key)| Path::entry(field, key)),
        (field(), few_encoded()).prop_map(|(field, member)| Path::member(field, member)),
        (field(), author()).prop_map(|(field, author)| Path::counter(field, author)),
    ]
}

/// A path and a value that fits it, `plain` where anything does.
pub(crate) fn write(
    plain: impl Strategy<Value = Encoded> + Clone + 'static,
) -> impl Strategy<Value = (Path, Encoded)> + Clone {
    (path(), plain, -2..3_i64).prop_map(|(path, plain, int)| {
        let value = match &path.element {
            Some(Element::Author(_)) => Encoded::int(int),
            Some(Element::Member(_)) if int < 0 => Encoded::NIL,
            Some(Element::Member(_)) => Encoded::TRUE,
            _ => plain,
        };
        (path, value)
    })
}

/// A scribe of each mark, about the record given.
pub(crate) fn scribe(
    key: RecordKey,
    plain: impl Strategy<Value = Encoded> + Clone + 'static,
) -> impl Strategy<Value = Scribe> {
    let mark = prop_oneof![
        3 => Just(Mark::Update),
        1 => Just(Mark::Create),
        1 => Just(Mark::Destroy),
        1 => Just(Mark::Replace),
    ];
    (mark, vec(write(plain), 1..5), any::<bool>()).prop_map(move |(mark, writes, is_bare)| {
        let fields: BTreeMap<Path, Encoded> = match mark {
            Mark::Destroy => BTreeMap::new(),
            Mark::Create | Mark::Replace if is_bare => BTreeMap::new(),
            _ => writes.into_iter().collect(),
        };
        Scribe { key: key.clone(), mark, fields: fields.into_iter().collect() }
    })
}

/// A record's key, with an id of each sort.
pub(crate) fn key() -> impl Strategy<Value = RecordKey> {
    let id = prop_oneof![
        any::<i64>().prop_map(RecordId::Int),
        any::<u128>().prop_map(|bits| RecordId::Uuid(Uuid::from_u128(bits))),
        text().prop_map(|text| RecordId::text(&format!("id {text}")).unwrap()),
    ];
    (prop::sample::select(vec!["m", "n"]), id)
        .prop_map(|(model, id)| RecordKey { model: name(model), id })
}

/// A transaction of one to three scribes.
pub(crate) fn transaction() -> impl Strategy<Value = Transaction> {
    let scribes = vec(key(), 1..4).prop_flat_map(|mut keys| {
        keys.sort();
        keys.dedup();
        let scribes: Vec<_> = keys.into_iter().map(|key| scribe(key, encoded())).collect();
        scribes.prop_shuffle()
    });
    (0..Time::END.bits(), author(), scribes).prop_map(|(time, author, scribes)| {
        let time = Time::from_bits(time);
        Transaction::new(Stamp { time, author }, &scribes)
    })
}

/// A point anywhere.
pub(crate) fn point() -> impl Strategy<Value = Point> {
    (any::<u64>(), any::<[u8; 16]>())
        .prop_map(|(offset, digest)| Point { offset, digest: Digest(digest) })
}

/// A message of each type.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let items = prop_oneof![
        transaction().prop_map(Item::from),
        (any::<u64>(), any::<u64>()).prop_map(|(offset, scribes)| Item::Echo { offset, scribes }),
        (any::<u64>(), any::<[u8; 16]>())
            .prop_map(|(scribes, digest)| Item::Skip { scribes, digest: Digest(digest) }),
    ];
    prop_oneof![
        1 => (any::<[u8; 16]>(), point(), point()).prop_map(|(peer, start, end)| {
            Message::Bundle(Bundle { peer: NodeId::from_bytes(peer), start, end })
        }),
        2 => hello().prop_map(Message::Hello),
        1 => (vec(point(), 0..4), any::<bool>())
            .prop_map(|(ladder, has_more)| Message::Sync { ladder, has_more }),
        4 => (option::of(point()), option::of(point()), option::of(any::<u64>()), vec(items, 0..4))
            .prop_map(|(from, to, end, items)| {
                let to = to.or_else(|| (!items.is_empty()).then_some(Point::START));
                Message::Scribes(Scribes { from, to, end, items })
            }),
        1 => (vec(wanted(), 0..4), any::<bool>())
            .prop_map(|(channels, has_more)| Message::Subscribe { channels, has_more }),
        1 => vec(any::<u64>(), 0..4).prop_map(|numbers| Message::Unsubscribe { numbers }),
        3 => (vec(told(), 0..4), option::of(any::<u64>()), any::<bool>()).prop_map(
            |(told, covers, is_end)| {
                let items = Items::new(&told);
                Message::States(States { items, covers, is_end })
            },
        ),
        1 => (point(), any::<u64>()).prop_map(|(point, credit)| Message::Ack { point, credit }),
        1 => (any::<u64>(), text(), encoded(), any::<u64>()).prop_map(
            |(call, text, value, within_ms)| {
                let name = name(&format!("call {text}"));
                Message::Call(Call { call, name, value, within_ms })
            },
        ),
        1 => option::of(vec(text(), 0..4)).prop_map(|topics| {
            Message::Topics(match topics {
                None => Topics::All,
                Some(topics) => {
                    let topics = topics.iter().map(|text| name(&format!("topic {text}")));
                    Topics::Some(topics.collect())
                }
            })
        }),
        1 => word().prop_map(Message::Signal),
        1 => (any::<u64>(), answer()).prop_map(|(call, answer)| Message::Reply { call, answer }),
        1 => prop::sample::select(vec![Message::More, Message::Ping, Message::Pong]),
        1 => (any::<u16>(), text()).prop_map(|(code, detail)| Message::Bye {
            reason: CloseReason::from_code(code),
            detail,
        }),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let channel = text().prop_map(|text| Channel::new(&format!("list/{text}")).unwrap());
    (any::<u64>(), channel, point(), any::<[u8; 16]>(), option::of(key())).prop_map(
        |(number, channel, point, sum, after)| {
            let sum = Sum::from_bytes(sum);
            Wanted { number, channel, point, sum, after }
        },
    )
}

fn word() -> impl Strategy<Value = Word> {
    let node = || any::<[u8; 16]>().prop_map(NodeId::from_bytes);
    (text(), node(), any::<[u64; 2]>(), encoded(), vec(node(), 0..3)).prop_map(
        |(text, node, [time, epoch], value, via)| Word {
            topic: name(&format!("topic {text}")),
            node,
            time: Time::from_bits(time),
            epoch: Epoch(epoch),
            value,
            via,
        },
    )
}

fn told() -> impl Strategy<Value = Told> {
    let number = any::<u64>;
    prop_oneof![
        (key(), vec(number(), 0..3), any::<bool>(), record()).prop_map(
            |(key, numbers, is_whole, record)| { Told::State { key, numbers, is_whole, record } }
        ),
        key().prop_map(|key| Told::Evict { key }),
        (number(), point(), option::of(any::<[u8; 16]>())).prop_map(|(number, point, sum)| {
            Told::Point { number, point, sum: sum.map(Sum::from_bytes) }
        }),
        (number(), point()).prop_map(|(number, floor)| Told::Fill { number, floor }),
        (number(), key()).prop_map(|(number, key)| Told::Reached { number, key }),
        number().prop_map(|number| Told::Filled { number }),
        number().prop_map(|number| Told::Withheld { number }),
    ]
}

fn answer() -> impl Strategy<Value = Result<Encoded, CallFailure>> {
    prop_oneof![
        encoded().prop_map(Ok),
        (any::<u16>(), text()).prop_map(|(code, text)| Err(CallFailure::new(code, text))),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let name = option::of(text().prop_map(|text| name(&format!("node {text}"))));
    let encodings = vec(prop::sample::select(&Encoding::ALL[..]), 0..3);
    let texts = (name, encodings, vec(text(), 0..3), vec(any::<u8>(), 0..9));
    (any::<[u64; 6]>(), any::<[u8; 16]>(), texts).prop_map(
        |(numbers, node, (name, encodings, capabilities, credentials))| {
            let [version, epoch, clock, nonce, frame, window] = numbers;
            Hello {
                version,
                node: NodeId::from_bytes(node),
                epoch: Epoch(epoch),
                clock: Time::from_bits(clock),
                nonce,
                name,
                frame,
                window,
                encodings,
                capabilities,
                credentials: Bytes::from(credentials),
            }
        },
    )
}

/// Bytes that have nothing to do with the protocol, and such that nearly do: an encoding with a few
/// bytes changed, left out or repeated.
pub(crate) fn hostile(honest: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6);
    prop_oneof![
        1 => vec(any::<u8>(), 0..64),
        4 => (honest, edits).prop_map(|(mut bytes, edits)| {
            for (place, byte, edit) in edits {
                let place = place.index(bytes.len() + 1);
                match edit {
                    0 => bytes.insert(place, byte),
                    1 if place < bytes.len() => bytes[place] = byte,
                    _ if place < bytes.len() => drop(bytes.remove(place)),
                    _ => {}
                }
            }
            bytes
        }),
    ]
}

/// The same value as no writer of ours would encode it: every number and length in its longest form,
/// NaNs with a payload, map keys in reverse.
pub(crate) fn longest_form(canonical: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(canonical);
    let mut out = Vec::new();
    lengthen(&mut reader, &mut out);
    reader.finish().unwrap();
    out
}

fn lengthen(reader: &mut Reader<'_>, out: &mut Vec<u8>) {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(bytes);
    };
    let length = |length: usize| (length as u32).to_be_bytes();
    match reader.head().unwrap() {
        Head::Nil => tagged(0xc0, &[]),
        Head::Bool(bool) => tagged(if bool { 0xc3 } else { 0xc2 }, &[]),
        Head::Int(int) => match u64::try_from(int) {
            Ok(int) => tagged(0xcf, &int.to_be_bytes()),
            Err(_) => tagged(0xd3, &(int as i64).to_be_bytes()),
        },
        Head::Float(float) if float.is_nan() => tagged(0xcb, &(!0_u64).to_be_bytes()),
        Head::Float(float) if f64::from(float as f32) == float => {
            tagged(0xca, &(float as f32).to_be_bytes());
        }
        Head::Float(float) => tagged(0xcb, &float.to_be_bytes()),
        Head::Text(text) => tagged(0xdb, &[&length(text.len()), text.as_bytes()].concat()),
        Head::Bytes(bytes) => tagged(0xc6, &[&length(bytes.len()), bytes].concat()),
        Head::Array(count) => {
            tagged(0xdd, &length(count));
            (0..count).for_each(|_| lengthen(reader, out));
        }
        Head::Map(count) => {
            tagged(0xdf, &length(count));
            let mut entries = Vec::new();
            for _ in 0..count {
                let mut entry = Vec::new();
                lengthen(reader, &mut entry);
                lengthen(reader, &mut entry);
                entries.push(entry);
            }
            entries.reverse();
            out.extend(entries.concat());
        }
    }
}

/// Reads golden bytes: pairs of hex digits, and ASCII between quotes for itself.
pub(crate) fn golden(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, part) in notation.split('\'').enumerate() {
        if place % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.split_whitespace().collect();
        assert!(digits.len().is_multiple_of(2), "half a byte in {part:?}");
        bytes.extend(
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
        );
    }
    bytes
}

/// Writes bytes in hex, for the message of a failing test.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
