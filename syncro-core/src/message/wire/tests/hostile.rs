//! What no honest peer sends: cut, changed, repeated, rearranged and random bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::golden::goldens;
use crate::arbitrary::{golden, hex, hostile, longest_form, message};

const ENCODINGS: [Encoding; 2] = [Encoding::MessagePack, Encoding::Json];

fn decode(frame: impl Into<Bytes>) -> Result<Message, Malformed> {
    Message::decode(&frame.into()).map(|(message, _)| message)
}

/// What was read from odd bytes is a message like any other.
fn assert_is_a_message(read: &Message, frame: &[u8]) {
    for encoding in ENCODINGS {
        let again = decode(read.encode(encoding));
        assert_eq!(again.as_ref(), Ok(read), "{encoding:?} of {}", hex(frame));
    }
}

#[test]
fn every_truncation_of_every_message_is_refused() {
    for golden in goldens() {
        for frame in [golden.msgpack, golden.json.into()] {
            for end in 0..frame.len() {
                let read = decode(frame.slice(..end));
                assert_eq!(read, Err(Malformed::Truncated), "{} cut at {end}", golden.what);
            }
        }
    }
}

#[test]
fn nothing_may_follow_a_message() {
    for golden in goldens() {
        let longer = [&golden.msgpack[..], &[0xc0]].concat();
        assert_eq!(decode(longer), Err(Malformed::Trailing), "{}", golden.what);
        assert!(decode(golden.json.clone() + "{}").is_err(), "{}", golden.what);
        let spaced = format!(" \n{}\r\n", golden.json);
        assert_eq!(decode(spaced), Ok(golden.message), "but space may");
    }
}

#[test]
fn every_change_of_one_byte_is_refused_or_read_as_a_message_of_its_own() {
    for golden in goldens() {
        for frame in [golden.msgpack, golden.json.into()] {
            for place in 0..frame.len() {
                for byte in 0..=0xff {
                    let mut changed = frame.to_vec();
                    changed[place] = byte;
                    if let Ok(read) = decode(changed.clone()) {
                        assert_is_a_message(&read, &changed);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn both_encodings_say_the_same(message in message()) {
        for encoding in ENCODINGS {
            let frame = message.encode(encoding);
            let expected = (message.clone(), encoding);
            prop_assert_eq!(Message::decode(&frame), Ok(expected));
        }
    }

    #[test]
    fn a_message_of_another_writer_is_the_same_message(message in message()) {
        let frame = longest_form(&message.encode(Encoding::MessagePack));
        prop_assert_eq!(decode(frame), Ok(message));
    }

    #[test]
    fn hostile_messagepack_is_refused_or_a_message(frame in hostile(
        message().prop_map(|message| message.encode(Encoding::MessagePack).to_vec())
    )) {
        if let Ok(read) = decode(frame.clone()) {
            assert_is_a_message(&read, &frame);
        }
    }

    #[test]
    fn hostile_json_is_refused_or_a_message(frame in hostile(
        message().prop_map(|message| message.encode(Encoding::Json).to_vec())
    )) {
        if let Ok(read) = decode(frame.clone()) {
            assert_is_a_message(&read, &frame);
        }
    }

    #[test]
    fn noise_is_no_message(frame in vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(frame).is_err());
    }
}

#[test]
fn what_is_no_map_with_a_known_type_is_no_message() {
    for json in [
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"pang"}"#,
        r#"{"type":"PING"}"#,
        r#"{"Type":"ping"}"#,
        r#"{"type":["ping"]}"#,
    ] {
        assert!(decode(json).is_err(), "{json}");
    }
    for notation in ["c0", "90", "91 81 a4'type' a4'ping'", "a4'ping'"] {
        assert!(decode(golden(notation)).is_err(), "{notation}");
    }
    assert_eq!(decode(""), Err(Malformed::Truncated));
    assert!(decode(r#"[{"type":"ping"}]"#).is_err());
}

/// What need not be said, by the type of the message.
const LEFT_OUT: [(&str, &[&str]); 3] = [
    ("hello", &["name", "frame", "window", "encodings", "capabilities", "credentials"]),
    ("sync", &["more"]),
    // Where there are transactions, `to` has to be there.
    ("scribes", &["from", "end", "transactions"]),
];

#[test]
fn a_message_lacks_none_of_its_parts_but_those_that_go_without_saying() {
    for golden in goldens() {
        let Ok(serde_json::Value::Object(parts)) = serde_json::from_str(&golden.json) else {
            panic!("{} is no object", golden.what);
        };
        let spared = LEFT_OUT.iter().find(|(kind, _)| parts["type"] == *kind);
        for key in parts.keys() {
            let may_lack = spared.is_some_and(|(_, keys)| keys.contains(&key.as_str()));
            let mut lacking = parts.clone();
            lacking.remove(key);
            let lacking = serde_json::to_string(&lacking).unwrap();
            assert_eq!(decode(lacking.clone()).is_ok(), may_lack, "{lacking}");
        }
    }
}

#[test]
fn unknown_parts_are_passed_over_whatever_they_hold_and_wherever_they_stand() {
    let odd = r#""aaa":[{"x":{"$bytes":"AQ=="}},1.5],"zzz":null"#;
    for golden in goldens() {
        let parts = golden.json.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
        for json in [format!("{{{odd},{parts}}}"), format!("{{{parts},{odd}}}")] {
            assert_eq!(decode(json.clone()).as_ref(), Ok(&golden.message), "{json}");
            let msgpack = json::from_json(json.as_bytes()).unwrap();
            assert_eq!(decode(msgpack).as_ref(), Ok(&golden.message), "{json}");
        }
    }
}

#[test]
fn a_part_that_occurs_twice_is_refused_known_or_not() {
    for json in [
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","type":"pong"}"#,
        r#"{"type":"ping","x":1,"x":1}"#,
    ] {
        assert_eq!(decode(json), Err(Malformed::DuplicateKey), "{json}");
    }
}

#[test]
fn points_and_echoes_have_two_parts() {
    for ladder in [
        "[[0]]",
        r#"[[0,{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="},0]]"#,
        r#"[[0,{"$bytes":"AAAAAAAAAAAAAAAAAAAA"}]]"#,
        r#"[[-1,{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}]]"#,
        "[0]",
        "0",
    ] {
        let json = format!(r#"{{"type":"sync","ladder":{ladder}}}"#);
        assert!(decode(json).is_err(), "{ladder}");
    }
    let zero = r#"[0,{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}]"#;
    for echo in ["[]", "[1]", "[1,2,3]", "[1,-2]", r#"["1",2]"#, r#"[1,"2"]"#, "1"] {
        let json = format!(
            r#"{{"type":"scribes","from":{zero},"to":{zero},"end":0,"transactions":[{echo}]}}"#
        );
        assert!(decode(json).is_err(), "{echo}");
    }
}
