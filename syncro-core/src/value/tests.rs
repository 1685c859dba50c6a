//! Values: golden bytes in both encodings, the canonical form, and the ways in and out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::arbitrary::{encoded, golden, hex, hostile, longest_form, text, value};

/// Every sort of value: as a tree, in MessagePack, in JSON.
fn goldens() -> Vec<(Value, &'static str, &'static str)> {
    let map = |entries: &[(&str, Value)]| {
        let entries = entries.iter().cloned();
        Value::Map(entries.map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let array = |values: &[i64]| Value::Array(values.iter().map(|int| Value::from(*int)).collect());
    vec![
        (Value::Nil, "c0", "null"),
        (Value::Bool(false), "c2", "false"),
        (Value::Bool(true), "c3", "true"),
        (Value::Int(7), "07", "7"),
        (Value::Int(-7), "f9", "-7"),
        (Value::Int(1000), "cd 03e8", "1000"),
        (Value::Int(-1000), "d1 fc18", "-1000"),
        (Value::Int((1 << 53) - 1), "cf 001fffffffffffff", "9007199254740991"),
        (Value::Int(1 << 53), "cf 0020000000000000", r#"{"$int":"9007199254740992"}"#),
        (Value::Int(-(1 << 53)), "d3 ffe0000000000000", r#"{"$int":"-9007199254740992"}"#),
        (Value::Int((1 << 64) - 1), "cf ffffffffffffffff", r#"{"$int":"18446744073709551615"}"#),
        (Value::Int(-(1 << 63)), "d3 8000000000000000", r#"{"$int":"-9223372036854775808"}"#),
        (Value::Float(1.0), "cb 3ff0000000000000", "1.0"),
        (Value::Float(-0.0), "cb 8000000000000000", "-0.0"),
        (Value::Float(0.1), "cb 3fb999999999999a", "0.1"),
        (Value::Float(1e300), "cb 7e37e43c8800759c", "1e+300"),
        (Value::Float(5e-324), "cb 0000000000000001", "5e-324"),
        (Value::Float(f64::INFINITY), "cb 7ff0000000000000", r#"{"$float":"inf"}"#),
        (Value::Float(f64::NEG_INFINITY), "cb fff0000000000000", r#"{"$float":"-inf"}"#),
        (Value::Float(-f64::NAN), "cb 7ff8000000000000", r#"{"$float":"nan"}"#),
        (Value::from(""), "a0", r#""""#),
        (Value::from("milk"), "a4'milk'", r#""milk""#),
        (Value::from("é\n\"$"), "a5 c3a9 0a 22 24", r#""é\n\"$""#),
        (Value::Bytes(vec![]), "c4 00", r#"{"$bytes":""}"#),
        (Value::Bytes(vec![0, 0xff]), "c4 02 00ff", r#"{"$bytes":"AP8="}"#),
        (Value::Bytes(vec![0xfb, 0xef, 0xff]), "c4 03 fbefff", r#"{"$bytes":"++//"}"#),
        (array(&[]), "90", "[]"),
        (array(&[1, 2]), "92 01 02", "[1,2]"),
        (map(&[]), "80", "{}"),
        (
            map(&[("b", Value::Nil), ("a", array(&[3])), ("aa", map(&[("", Value::Int(0))]))]),
            "83 a1'a' 91 03 a2'aa' 81 a0 00 a1'b' c0",
            r#"{"a":[3],"aa":{"":0},"b":null}"#,
        ),
        (
            map(&[("$bytes", Value::from("AP8=")), ("$", Value::Nil), ("$$x", Value::Nil)]),
            "83 a1'$' c0 a3'$$x' c0 a6'$bytes' a4'AP8='",
            r#"{"$$":null,"$$$x":null,"$$bytes":"AP8="}"#,
        ),
    ]
}

#[test]
fn every_sort_of_value_has_the_bytes_it_always_had() {
    for (value, notation, json) in goldens() {
        let encoded = value.encode();
        assert_eq!(hex(encoded.as_bytes()), hex(&golden(notation)), "{json}");
        assert_eq!(value.to_json(), json);
        assert_eq!(Encoded::checked(&golden(notation)), Ok(encoded.clone()), "{json}");
        assert_eq!(Value::from_json(json).unwrap().encode(), encoded, "{json}");
        assert_eq!(format!("{:?}", encoded.decode()), format!("{value:?}").replace("-NaN", "NaN"));
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(value in value()) {
        let encoded = value.encode();
        let checked = Encoded::checked(encoded.as_bytes());
        prop_assert_eq!(checked.as_ref(), Ok(&encoded), "canonical as it is written");
        prop_assert_eq!(encoded.decode().encode(), encoded);
    }

    #[test]
    fn every_other_form_of_a_value_is_brought_into_the_canonical_one(encoded in encoded()) {
        let longest = longest_form(encoded.as_bytes());
        prop_assert_eq!(Encoded::checked(&longest), Ok(encoded));
    }

    #[test]
    fn what_is_checked_stays_as_it_is(bytes in hostile(
        encoded().prop_map(|encoded| longest_form(encoded.as_bytes()))
    )) {
        if let Ok(checked) = Encoded::checked(&bytes) {
            prop_assert_eq!(Encoded::checked(checked.as_bytes()), Ok(checked.clone()));
            prop_assert_eq!(checked.decode().encode(), checked);
        }
    }

    #[test]
    fn json_carries_every_value_unharmed(value in value()) {
        let encoded = value.encode();
        let read = Value::from_json(&value.to_json());
        prop_assert_eq!(read.unwrap().encode(), encoded);
    }

    #[test]
    fn floats_go_through_json_to_the_last_bit(bits: u64) {
        let value = Value::Float(f64::from_bits(bits));
        prop_assert_eq!(Value::from_json(&value.to_json()).unwrap().encode(), value.encode());
    }

    #[test]
    fn hostile_json_never_panics(bytes in hostile(value().prop_map(|v| v.to_json().into_bytes()))) {
        if let Ok(value) = Value::from_json(&String::from_utf8_lossy(&bytes)) {
            let again = Value::from_json(&value.to_json()).unwrap();
            prop_assert_eq!(again.encode(), value.encode());
        }
    }

    #[test]
    fn text_of_any_sort_is_one_value_in_either_direction(text in text()) {
        let value = Value::Text(text.clone());
        prop_assert_eq!(Value::from_json(&value.to_json()), Ok(value.clone()));
        prop_assert_eq!(value.encode().to::<String>(), Ok(text));
    }
}

#[test]
fn integers_beyond_64_bits_are_cut_to_the_nearest_there_is() {
    assert_eq!(Value::Int(i128::MAX).encode(), Value::Int(i128::from(u64::MAX)).encode());
    assert_eq!(Value::Int(1 << 64).encode(), Value::Int(i128::from(u64::MAX)).encode());
    assert_eq!(Value::Int(i128::MIN).encode(), Value::Int(i128::from(i64::MIN)).encode());
}

#[test]
fn a_value_nests_32_deep_and_no_deeper_on_every_way_in() {
    let nested = |depth: usize| (1..depth).fold(Value::Array(vec![]), |v, _| Value::Array(vec![v]));
    let mapped = |depth: usize| {
        let key = || "k".to_owned();
        (1..depth).fold(Value::Map([].into()), |v, _| Value::Map([(key(), v)].into()))
    };
    for (fits, too_deep) in [(nested(32), nested(33)), (mapped(32), mapped(33))] {
        let encoded = fits.encode();
        assert_eq!(Encoded::checked(encoded.as_bytes()), Ok(encoded.clone()));
        assert_eq!(Encoded::checked(&longest_form(encoded.as_bytes())), Ok(encoded.clone()));
        assert_eq!(Value::from_json(&fits.to_json()), Ok(fits.clone()));
        assert_eq!(encoded.decode(), fits);

        let bytes = too_deep.encode();
        assert_eq!(Encoded::checked(bytes.as_bytes()), Err(Malformed::TooDeep));
        let longest = longest_form(bytes.as_bytes());
        assert_eq!(Encoded::checked(&longest), Err(Malformed::TooDeep));
        assert_eq!(Value::from_json(&too_deep.to_json()), Err(Malformed::TooDeep));
    }
    let vecs = (1..33).fold("[]".to_owned(), |text, _| format!("[{text}]"));
    assert!(Value::from_json(&vecs).is_err());
}

#[test]
fn a_scalar_at_the_greatest_depth_goes_through_json_whatever_its_tag() {
    for scalar in [Value::Nil, Value::Bytes(vec![1]), Value::Int(1 << 60), Value::Float(f64::NAN)] {
        let deep = (0..32).fold(scalar, |value, _| Value::Array(vec![value]));
        let read = Value::from_json(&deep.to_json());
        assert_eq!(read.map(|value| value.encode()), Ok(deep.encode()));
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_in_both_encodings() {
    for notation in
        ["82 a1'a' 01 a1'a' 01", "83 a1'a' 01 a1'b' 01 a1'a' 01", "91 82 a1'a' 01 d9 01'a' 02"]
    {
        assert_eq!(Encoded::checked(&golden(notation)), Err(Malformed::DuplicateKey));
    }
    let json = r#"{"a":1,"b":2,"a":3}"#;
    assert_eq!(Value::from_json(json), Err(Malformed::DuplicateKey));
    let escaped = r#"{"$$a":1,"b":2,"\u0024$a":3}"#;
    assert_eq!(Value::from_json(escaped), Err(Malformed::DuplicateKey));
}

#[test]
fn nothing_may_follow_a_value() {
    assert_eq!(Encoded::checked(&[0xc0, 0xc0]), Err(Malformed::Trailing));
    assert_eq!(Encoded::checked(&[]), Err(Malformed::Truncated));
    assert!(Value::from_json("null null").is_err());
    assert_eq!(Value::from_json(" null\n"), Ok(Value::Nil));
}

#[test]
fn every_truncation_of_a_value_is_refused() {
    for (value, _, json) in goldens() {
        let encoded = value.encode();
        for end in 0..encoded.as_bytes().len() {
            let read = Encoded::checked(&encoded.as_bytes()[..end]);
            assert_eq!(read, Err(Malformed::Truncated), "{json}");
        }
    }
}

#[test]
fn equal_values_compare_equal_and_ties_go_by_their_bytes() {
    let one = Value::Float(1.0).encode();
    assert_eq!(Encoded::checked(&golden("ca 3f800000")), Ok(one.clone()));
    assert_ne!(one, Value::Int(1).encode(), "a float is no integer");
    assert!(Encoded::int(-1) > Encoded::int(1), "0xff and 0x01");
    assert!(Encoded::NIL < Encoded::TRUE);
}

#[test]
fn only_integers_of_63_bits_and_a_sign_count_as_such() {
    for int in [0, -1, i64::MIN, i64::MAX] {
        assert_eq!(Encoded::int(int).as_i64(), Some(int));
    }
    for value in [Value::Int(1 << 63), Value::Float(1.0), Value::Nil, Value::from("1")] {
        assert_eq!(value.encode().as_i64(), None, "{value:?}");
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    unsigned: u64,
    signed: i64,
    short: f32,
    long: f64,
    letter: char,
    text: String,
    none: Option<u8>,
    some: Option<Vec<bool>>,
    pair: (u8, String),
    choice: Choice,
    choices: Vec<Choice>,
    map: BTreeMap<String, i32>,
    id: uuid::Uuid,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    Value(i64),
    Pair(i64, i64),
    Fields { a: Option<bool> },
}

#[test]
fn the_types_that_people_put_into_fields_come_back_as_they_were() {
    let sample = Sample {
        unsigned: u64::MAX,
        signed: i64::MIN,
        short: 0.1,
        long: 0.1,
        letter: 'é',
        text: "x".repeat(300),
        none: None,
        some: Some(vec![true]),
        pair: (1, "two".to_owned()),
        choice: Choice::Unit,
        choices: vec![Choice::Value(-5), Choice::Pair(1, 2), Choice::Fields { a: None }],
        map: [("z".to_owned(), 1), ("a".to_owned(), -1)].into(),
        id: uuid::Uuid::from_u128(7),
    };
    let encoded = Encoded::of(&sample).unwrap();
    assert_eq!(Encoded::checked(encoded.as_bytes()), Ok(encoded.clone()));
    assert_eq!(encoded.to::<Sample>(), Ok(sample));
    let Value::Map(fields) = encoded.decode() else {
        panic!("a struct is a map");
    };
    assert!(matches!(fields["short"], Value::Float(_)));
    assert_eq!(fields["choice"], Value::from("Unit"));
}

#[test]
fn types_that_are_no_values_are_refused_in_words() {
    let keys: BTreeMap<i32, i32> = [(1, 1)].into();
    assert!(Encoded::of(&keys).unwrap_err().contains("expected text"));
    let deep = (0..33).fold(serde_json::Value::Null, |value, _| vec![value].into());
    assert!(Encoded::of(&deep).unwrap_err().contains("deep"));
    assert!(Encoded::of("text").unwrap().to::<i32>().is_err());
}
