//! Each limit of a message: what lies at it is taken, what lies one beyond it is not.

use super::super::*;
use crate::arbitrary::name;
use crate::call::CallFailure;
use crate::id::{RecordId, RecordKey};
use crate::limits::{
    BATCH_BYTES, ECHO_RUNS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX, VALUE_BYTES_MAX,
};
use crate::record::Path;
use crate::scribe::{Mark, Scribe};
use crate::stamp::{Author, Stamp};
use crate::value::Value;

fn decode(frame: impl Into<Bytes>) -> Result<Message, Malformed> {
    Message::decode(&frame.into()).map(|(message, _)| message)
}

/// Whether the first is taken in both encodings, and the second refused for the reason given.
fn borders(within: &str, beyond: &str, limit: &'static str) {
    let msgpack = |json: &str| json::from_json(json.as_bytes()).unwrap();
    assert!(decode(within.to_owned()).is_ok(), "{within:.60}");
    assert!(decode(msgpack(within)).is_ok(), "{within:.60}");
    let refused = Err(Malformed::Limit(limit));
    assert_eq!(decode(beyond.to_owned()), refused, "{beyond:.60}");
    assert_eq!(decode(msgpack(beyond)), refused, "{beyond:.60}");
}

/// A hello in JSON with the name, and so many capabilities and bytes of credentials.
fn hello(name: &str, capabilities: usize, credentials: usize) -> String {
    hello_of(name, &vec![r#""x""#; capabilities].join(","), credentials)
}

fn hello_of(name: &str, capabilities: &str, credentials: usize) -> String {
    let mut writer = Writer::default();
    writer.bytes(&vec![0; credentials]);
    let credentials = String::from_utf8(json::to_json(&writer.0).unwrap()).unwrap();
    format!(
        r#"{{"type":"hello","version":1,"node":{{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}},"epoch":1,
            "clock":1,"nonce":1,"name":"{name}","frame":1,"window":1,"encodings":["json"],
            "capabilities":[{capabilities}],"credentials":{credentials}}}"#
    )
}

#[test]
fn the_name_of_a_node_has_1_to_255_bytes() {
    let of = |bytes: usize| hello(&"x".repeat(bytes), 0, 0);
    borders(&of(255), &of(256), "a node's name");
    borders(&of(1), &of(0), "a node's name");
}

#[test]
fn a_hello_names_at_most_32_capabilities() {
    borders(&hello("x", 32, 0), &hello("x", 33, 0), "a list of texts");
}

#[test]
fn a_capability_has_at_most_255_bytes() {
    let of = |bytes: usize| hello_of("x", &format!(r#""a","{}""#, "x".repeat(bytes)), 0);
    borders(&of(255), &of(256), "a text in a list");
}

#[test]
fn a_hello_names_at_most_32_encodings_and_those_unknown_are_passed_over() {
    let of = |encodings: &str| hello("x", 0, 0).replace(r#""json""#, encodings);
    let encodings = |names: &str| match decode(of(names)) {
        Ok(Message::Hello(hello)) => hello.encodings,
        other => panic!("{other:?}"),
    };
    assert_eq!(encodings(r#""cbor","json","msgpack""#), [Encoding::Json, Encoding::MessagePack]);
    assert_eq!(encodings(""), []);
    let many = |count: usize| of(&vec![r#""x""#; count].join(","));
    borders(&many(32), &many(33), "a list of texts");
    let long = |bytes: usize| of(&format!(r#""{}""#, "x".repeat(bytes)));
    borders(&long(255), &long(256), "a text in a list");
}

#[test]
fn credentials_have_at_most_2048_bytes() {
    borders(&hello("x", 0, 2048), &hello("x", 0, 2049), "the credentials");
}

#[test]
fn a_ladder_has_at_most_128_rungs() {
    let of = |rungs: usize| {
        let rungs = vec![r#"[1,{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}]"#; rungs].join(",");
        format!(r#"{{"type":"sync","ladder":[{rungs}]}}"#)
    };
    borders(&of(128), &of(129), "a ladder");
}

#[test]
fn the_name_of_a_call_has_1_to_255_bytes() {
    let of = |bytes: usize| {
        let name = "x".repeat(bytes);
        format!(r#"{{"type":"call","call":1,"name":"{name}","value":null,"within":1}}"#)
    };
    borders(&of(255), &of(256), "the name of a call");
    borders(&of(1), &of(0), "the name of a call");
}

#[test]
fn the_values_of_a_call_and_of_a_reply_have_at_most_256_kib() {
    for (before, after) in [
        (r#"{"type":"call","call":1,"name":"x","within":1,"value":""#, r#""}"#),
        (r#"{"type":"reply","call":1,"value":""#, r#""}"#),
    ] {
        // A text of this length has five bytes before it.
        let of = |bytes: usize| format!("{before}{}{after}", "x".repeat(bytes - 5));
        borders(&of(VALUE_BYTES_MAX), &of(VALUE_BYTES_MAX + 1), "a value");
    }
}

/// Floats of 32 bits are as short as integers, and longer in canonical form.
#[test]
fn a_value_of_a_call_that_is_too_long_in_canonical_form_is_refused() {
    let of = |floats: usize| {
        let mut writer = Writer::default();
        writer.map(5);
        for (key, value) in [("type", "call"), ("name", "x")] {
            writer.text(key);
            writer.text(value);
        }
        for key in ["call", "within"] {
            writer.text(key);
            writer.uint(1);
        }
        writer.text("value");
        writer.array(floats);
        (0..floats).for_each(|_| writer.0.extend([0xca, 0, 0, 0, 0]));
        writer.0
    };
    let most = (VALUE_BYTES_MAX - 5) / 9;
    assert!(decode(of(most)).is_ok());
    assert_eq!(decode(of(most + 1)), Err(Malformed::Limit("a value")));
}

#[test]
fn a_code_of_a_reply_has_16_bits_and_its_message_256_characters() {
    let of = |code: u32| format!(r#"{{"type":"reply","call":1,"code":{code},"message":""}}"#);
    borders(&of(65_535), &of(65_536), "the code of a reply");
    let message = "é".repeat(257);
    let read =
        decode(format!(r#"{{"type":"reply","call":1,"code":1,"value":2,"message":"{message}"}}"#));
    let failure = CallFailure { code: 1, message: "é".repeat(256) };
    assert_eq!(read, Ok(Message::Reply { call: 1, answer: Err(failure) }), "whatever else it has");
}

#[test]
fn a_side_names_at_most_64_topics_of_1_to_255_bytes() {
    let of = |topics: &str| format!(r#"{{"type":"topics","topics":[{topics}]}}"#);
    let many = |count: usize| of(&vec![r#""x""#; count].join(","));
    borders(&many(64), &many(65), "a list of topics");
    let long = |bytes: usize| of(&format!(r#""{}""#, "x".repeat(bytes)));
    borders(&long(255), &long(256), "a topic");
    borders(&long(1), &long(0), "a topic");
    for neither in ["false", "1", "null", "{}", r#""x""#] {
        assert!(decode(format!(r#"{{"type":"topics","topics":{neither}}}"#)).is_err(), "{neither}");
    }
}

#[test]
fn a_signal_has_a_topic_a_kibibyte_and_seven_relays_before_the_sender() {
    let of = |topic: usize, value: usize, via: usize| {
        let node = r#"{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}"#;
        format!(
            r#"{{"type":"signal","topic":"{}","node":{node},"time":1,"epoch":1,
                "value":"{}","via":[{}]}}"#,
            "t".repeat(topic),
            "v".repeat(value - 3),
            vec![node; via].join(",")
        )
    };
    borders(&of(255, 1024, 0), &of(256, 1024, 0), "a topic");
    borders(&of(1, 1024, 0), &of(0, 1024, 0), "a topic");
    borders(&of(1, 1024, 0), &of(1, 1025, 0), "a value");
    borders(&of(1, 100, 7), &of(1, 100, 8), "the relays of a signal");
}

#[test]
fn a_message_has_at_most_32_parts() {
    let of = |unknown: usize| {
        let parts: String = (0..unknown).map(|key| format!(r#","k{key}":0"#)).collect();
        format!(r#"{{"type":"ping"{parts}}}"#)
    };
    borders(&of(31), &of(32), "the keys of a message");
}

#[test]
fn a_close_code_has_16_bits() {
    let of = |code: u32| format!(r#"{{"type":"bye","code":{code},"detail":""}}"#);
    borders(&of(65_535), &of(65_536), "a close code");
}

#[test]
fn of_the_detail_of_a_bye_256_characters_are_kept() {
    let detail = "é".repeat(257);
    let read = decode(format!(r#"{{"type":"bye","code":0,"detail":"{detail}"}}"#));
    let Ok(Message::Bye { detail: kept, .. }) = read else {
        panic!("{read:?}");
    };
    assert_eq!(kept, "é".repeat(256));
}

#[test]
fn a_frame_has_at_most_8_mib_in_both_encodings() {
    let ping = r#"{"type":"ping"}"#;
    let spaced = |bytes: usize| ping.to_owned() + &" ".repeat(bytes - ping.len());
    assert_eq!(decode(spaced(FRAME_BYTES_MAX)), Ok(Message::Ping));
    let refused = Err(Malformed::Limit("a frame"));
    assert_eq!(decode(spaced(FRAME_BYTES_MAX + 1)), refused);

    let padded = |bytes: usize| {
        let mut writer = Writer::default();
        head(&mut writer, "ping", 1);
        writer.text("x");
        let rest = bytes - writer.0.len() - 5;
        writer.bytes(&vec![0; rest]);
        writer.0
    };
    assert_eq!(decode(padded(FRAME_BYTES_MAX)), Ok(Message::Ping));
    assert_eq!(decode(padded(FRAME_BYTES_MAX + 1)), refused);
}

#[test]
fn an_unknown_part_may_nest_as_deep_as_a_message_and_no_deeper() {
    let of = |depth: usize| {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        format!(r#"{{"type":"ping","x":{nested}}}"#)
    };
    for (depth, expected) in
        [(MESSAGE_DEPTH_MAX - 1, Ok(Message::Ping)), (MESSAGE_DEPTH_MAX, Err(Malformed::TooDeep))]
    {
        assert_eq!(decode(of(depth)), expected);
        let nested = [vec![0x91; depth - 1], vec![0x90]].concat();
        let mut writer = Writer::default();
        head(&mut writer, "ping", 1);
        writer.text("x");
        writer.encoded(&nested);
        assert_eq!(decode(writer.0), expected);
    }
}

/// A transaction of about the length given, at most, of fields with the values given.
fn transaction(bytes: usize, value: impl Fn(usize) -> Value) -> Transaction {
    let stamp = Stamp {
        time: Time::from_bits(Time::END.bits() - 1),
        author: Author { node: NodeId::from_bytes([0xff; 16]), epoch: Epoch(u64::MAX) },
    };
    let mut left = bytes - 100;
    let mut fields = Vec::new();
    for field in 'a'.. {
        let bytes = left.min(VALUE_BYTES_MAX);
        if bytes < 10 {
            break;
        }
        let value = value(bytes - 5).encode();
        assert!(value.as_bytes().len() <= bytes);
        fields.push((Path::field(name(&field.to_string())), value));
        left -= bytes;
    }
    let scribe = Scribe {
        key: RecordKey { model: name("m"), id: RecordId::Int(1) },
        mark: Mark::Create,
        fields,
    };
    let transaction = Transaction::new(stamp, &[scribe]);
    assert!((bytes - 200..=bytes).contains(&transaction.bytes().len()));
    transaction
}

#[test]
fn the_largest_batch_fits_a_frame_in_json_whatever_the_values_are() {
    // What is longest in JSON for its length in MessagePack: 7, 6, 6 and nearly 6 to 1.
    let worst: [fn(usize) -> Value; 4] = [
        |bytes| Value::Array(vec![Value::Bytes(Vec::new()); bytes / 2]),
        |bytes| Value::Array(vec![Value::Bool(false); bytes]),
        |bytes| Value::Text("\0".repeat(bytes)),
        |bytes| {
            Value::Array(vec![Value::Map([("".into(), Value::Bytes(vec![]))].into()); bytes / 4])
        },
    ];
    for value in worst {
        let point = Point { offset: u64::MAX, digest: Digest([0xff; 16]) };
        let echo = Item::Echo { offset: u64::MAX, scribes: 16 };
        let mut items = vec![echo; ECHO_RUNS_MAX];
        items.push(Item::from(transaction(BATCH_BYTES - 1, value)));
        items.push(Item::from(transaction(TRANSACTION_BYTES_MAX, value)));
        let message = Message::Scribes(Scribes {
            from: Some(point),
            to: Some(point),
            end: Some(u64::MAX),
            items,
        });
        let frame = message.encode(Encoding::Json);
        assert!(frame.len() <= FRAME_BYTES_MAX, "{} bytes", frame.len());
        assert!(decode(frame) == Ok(message));
    }
}

/// As many of the least scribes as given, in transactions that are as large as they may be.
fn least_scribes(count: usize) -> Message {
    let stamp = Stamp { time: Time::from_bits(1), ..Stamp::PROVISIONAL };
    let least = |id: usize| Scribe {
        key: RecordKey { model: name("m"), id: RecordId::Int(id as i64) },
        mark: Mark::Destroy,
        fields: Vec::new(),
    };
    let scribes: Vec<Scribe> = (0..count).map(least).collect();
    let transactions = scribes.chunks(TRANSACTION_SCRIBES_MAX);
    let items = transactions.map(|part| Item::from(Transaction::new(stamp, part)));
    Message::Scribes(Scribes {
        from: None,
        to: Some(Point::START),
        end: None,
        items: items.collect(),
    })
}

/// A frame of scribes without fields took thirty times its bytes in memory.
#[test]
fn a_message_has_as_many_scribes_as_an_honest_sender_puts_in_and_no_more() {
    let within = least_scribes(MESSAGE_SCRIBES_MAX);
    let beyond = least_scribes(MESSAGE_SCRIBES_MAX + 1);
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        assert!(decode(within.encode(encoding)) == Ok(within.clone()));
        let refused = decode(beyond.encode(encoding));
        assert_eq!(refused.err(), Some(Malformed::Limit("the scribes of a message")));
    }
}

#[test]
fn a_message_has_one_batch_of_transactions_and_one_more_and_nothing_beyond() {
    let value = |bytes| Value::Bytes(vec![1; bytes]);
    let items =
        [2 * BATCH_BYTES, TRANSACTION_BYTES_MAX].map(|bytes| Item::from(transaction(bytes, value)));
    let message = Message::Scribes(Scribes {
        from: None,
        to: Some(Point::START),
        end: None,
        items: items.to_vec(),
    });
    let refused = decode(message.encode(Encoding::MessagePack));
    assert_eq!(refused.err(), Some(Malformed::Limit("the scribes of a message")));
}

/// A frame of 8 MiB, most of it under a key that nobody knows, was kept for the sake of the small
/// transaction in it: in the log's tail, in records, in what waits for a watcher.
#[test]
fn a_decoded_message_keeps_nothing_of_its_frame() {
    let mut writer = Writer::default();
    head(&mut writer, "scribes", 5);
    writer.text("padding");
    writer.bytes(&[0; 1000]);
    for key in ["from", "to"] {
        writer.text(key);
        write_point(&mut writer, Point::START);
    }
    writer.text("end");
    writer.uint(0);
    writer.text("transactions");
    writer.array(1);
    let transaction = transaction(1000, |bytes| Value::Bytes(vec![1; bytes]));
    writer.encoded(transaction.bytes());
    let frame = Bytes::from(writer.0);
    assert!(frame.is_unique());
    let (message, _) = Message::decode(&frame).unwrap();
    assert!(frame.is_unique());
    let Message::Scribes(scribes) = message else { panic!("{message:?}") };
    assert!(scribes.items == [Item::from(transaction)]);
}

#[test]
fn a_set_member_of_the_greatest_depth_travels_in_json_too() {
    for leaf in [Value::Nil, Value::Bytes(vec![1]), Value::Float(f64::NAN)] {
        let member = (0..32).fold(leaf, |value, _| Value::Array(vec![value]));
        let path = Path::member(name("f"), member.encode());
        let scribe = Scribe {
            key: RecordKey { model: name("m"), id: RecordId::Int(1) },
            mark: Mark::Update,
            fields: vec![(path, Value::Bool(true).encode())],
        };
        let stamp = Stamp {
            time: Time::from_bits(1),
            author: Author { node: NodeId::named("a"), epoch: Epoch(1) },
        };
        let message = Message::Scribes(Scribes {
            from: None,
            to: Some(Point::START),
            end: None,
            items: vec![Item::from(Transaction::new(stamp, &[scribe]))],
        });
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let read = Message::decode(&message.encode(encoding));
            assert_eq!(read, Ok((message.clone(), encoding)));
        }
    }
}
