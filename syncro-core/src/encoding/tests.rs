//! The two encodings beside each other.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Malformed, from_json, to_json};
use crate::arbitrary::{encoded, golden, hostile, longest_form};
use crate::limits::MESSAGE_DEPTH_MAX;

proptest! {
    #[test]
    fn any_bytes_are_transcribed_or_refused(bytes in hostile(
        encoded().prop_map(|encoded| longest_form(encoded.as_bytes()))
    )) {
        if let Ok(json) = to_json(&bytes) {
            let back = from_json(&json);
            prop_assert!(back.is_ok(), "{:?} from {}", back, String::from_utf8_lossy(&json));
            prop_assert_eq!(to_json(&back.unwrap()), Ok(json));
        }
    }

    #[test]
    fn any_json_is_transcribed_or_refused(bytes in hostile(
        encoded().prop_map(|encoded| to_json(encoded.as_bytes()).unwrap())
    )) {
        if let Ok(msgpack) = from_json(&bytes) {
            let back = to_json(&msgpack).unwrap();
            prop_assert_eq!(from_json(&back), Ok(msgpack));
        }
    }

    #[test]
    fn noise_is_no_json(bytes in vec(any::<u8>(), 0..40)) {
        let _ = from_json(&bytes);
        let _ = to_json(&bytes);
    }
}

#[test]
fn a_message_nests_as_deep_in_one_encoding_as_in_the_other() {
    for leaf in ["c0", "c401ff", "cf2000000000000000", "cb7ff8000000000000"] {
        let nested = |depth: usize| [vec![0x91; depth], golden(leaf)].concat();
        let deepest = nested(MESSAGE_DEPTH_MAX);
        let json = to_json(&deepest).unwrap();
        assert_eq!(from_json(&json), Ok(deepest), "{leaf}");
        assert_eq!(to_json(&nested(MESSAGE_DEPTH_MAX + 1)), Err(Malformed::TooDeep));
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
        assert!(from_json(nested(MESSAGE_DEPTH_MAX - 1).as_bytes()).is_ok());
        let beyond = from_json(nested(MESSAGE_DEPTH_MAX).as_bytes());
        assert_eq!(beyond, Err(Malformed::TooDeep));
    }
}

#[test]
fn numbers_of_json_are_integers_when_they_look_like_it_and_fit() {
    for (json, notation) in [
        ("18446744073709551615", "cf ffffffffffffffff"),
        ("-9223372036854775808", "d3 8000000000000000"),
        ("1e2", "cb 4059000000000000"),
        ("100.0", "cb 4059000000000000"),
        ("-0.0", "cb 8000000000000000"),
        (r#"{"$int":"7"}"#, "07"),
        (r#"{"$int":"-7"}"#, "f9"),
    ] {
        assert_eq!(from_json(json.as_bytes()), Ok(golden(notation)), "{json}");
    }
}

#[test]
fn base64_is_of_the_one_alphabet_with_its_padding() {
    for json in [
        r#"{"$bytes":"AA"}"#,
        r#"{"$bytes":"AB=="}"#,
        r#"{"$bytes":"--__"}"#,
        r#"{"$bytes":"AA== "}"#,
    ] {
        assert_eq!(from_json(json.as_bytes()), Err(Malformed::Json("base64 in $bytes")), "{json}");
    }
}
