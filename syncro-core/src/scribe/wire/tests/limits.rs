//! Each limit of a transaction: what lies at it is taken, what lies one beyond it is not.

use super::*;
use crate::limits::TIME_MS_END;
use crate::limits::{MEMBER_BYTES_MAX, VALUE_BYTES_MAX};

/// Whether the first is taken, and the second refused for the reason given.
fn borders(within: &str, beyond: &str, refusal: Malformed) {
    assert_eq!(decode_json(within).map(drop), Ok(()), "{within:.60}");
    assert_eq!(decode_json(beyond).map(drop), Err(refusal), "{beyond:.60}");
}

fn longest_name() -> (String, String) {
    ("é".repeat(127) + "x", "é".repeat(128))
}

#[test]
fn names_have_1_to_255_bytes() {
    let (within, beyond) = longest_name();
    assert_eq!((within.len(), beyond.len()), (255, 256));
    for (scribe, limit) in [
        (r#"["NAME",1,1,[]]"#, "a name"),
        (r#"["m","NAME",1,[]]"#, "a text id"),
        (r#"["m",1,1,["NAME",1]]"#, "a name"),
        (r#"["m",1,1,[["NAME",0,"k"],1]]"#, "a name"),
        (r#"["m",1,1,[["NAME",1],1]]"#, "a name"),
    ] {
        let with = |name: &str| scribe.replace("NAME", name);
        borders(&with(&within), &with(&beyond), Malformed::Limit(limit));
        borders(&with("x"), &with(""), Malformed::Limit(limit));
    }
}

#[test]
fn map_keys_have_at_most_255_bytes_and_may_be_empty() {
    let (within, beyond) = longest_name();
    let with = |key: &str| format!(r#"["m",1,1,[["f",0,"{key}"],1]]"#);
    assert!(decode_json(&with("")).is_ok());
    assert!(decode_json(&with(&within)).is_ok());
    assert!(decode_json(&with(&beyond)).is_err());
}

#[test]
fn set_members_have_at_most_1024_bytes() {
    // Three bytes go to the head.
    let with = |bytes: usize| format!(r#"["m",1,1,[["f",0,["{}"]],true]]"#, "x".repeat(bytes - 3));
    let (within, beyond) = (with(MEMBER_BYTES_MAX), with(MEMBER_BYTES_MAX + 1));
    borders(&within, &beyond, Malformed::Limit("a set member"));
}

#[test]
fn set_members_are_there_or_not() {
    for value in ["false", "1", r#""x""#, "[]"] {
        let scribe = format!(r#"["m",1,0,[["f",0,["x"]],{value}]]"#);
        let refused = Err(Malformed::Expected("true or nil for a set member"));
        assert_eq!(decode_json(&scribe), refused, "{value}");
    }
}

#[test]
fn counters_have_the_range_of_i64() {
    let with = |total: &str| format!(r#"["m",1,0,[["n",1],{total}]]"#);
    let refusal = Malformed::Expected("a total in the range of a 64-bit integer");
    borders(&with("9223372036854775807"), &with("9223372036854775808"), refusal);
    borders(&with("-9223372036854775808"), &with("null"), refusal);
    borders(&with("0"), &with("0.0"), refusal);
}

#[test]
fn ids_are_integers_of_64_bits_uuids_or_text() {
    let with = |id: &str| format!(r#"["m",{id},1,[]]"#);
    let (int, uuid) =
        (Malformed::Limit("an integer id"), Malformed::Expected("a UUID of 16 bytes"));
    borders(&with("9223372036854775807"), &with("9223372036854775808"), int);
    assert!(decode_json(&with("-9223372036854775808")).is_ok());
    let bytes = |base64: &str| with(&format!(r#"{{"$bytes":"{base64}"}}"#));
    borders(&bytes("AAECAwQFBgcICQoLDA0ODw=="), &bytes("AAECAwQFBgcICQoLDA0O"), uuid);
    borders(&bytes("AAECAwQFBgcICQoLDA0ODw=="), &bytes("AAECAwQFBgcICQoLDA0ODxA="), uuid);
    for id in ["null", "1.0", "true", "[1]", "{}"] {
        assert_eq!(decode_json(&with(id)), Err(Malformed::Expected("an id")), "{id}");
    }
}

#[test]
fn stamps_end_before_the_year_2200() {
    let at = |bits: u64| {
        let json = format!(
            r#"[{bits},{{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="}},18446744073709551615,[["m",1,1,[]]]]"#
        );
        Transaction::decode(from_json(json.as_bytes()).unwrap().into())
    };
    let end = TIME_MS_END << 16;
    assert_eq!(at(end - 1).unwrap().stamp().time, Time::from_bits(end - 1));
    assert_eq!(at(end - 1).unwrap().stamp().author.epoch, Epoch(u64::MAX));
    assert_eq!(at(end), Err(Malformed::Limit("a stamp")));
    assert_eq!(at(u64::MAX), Err(Malformed::Limit("a stamp")));
    assert!(at(0).is_ok());
}

#[test]
fn values_and_members_nest_32_deep() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let value = |depth: usize| format!(r#"["m",1,0,["f",{}]]"#, nested(depth));
    let member = |depth: usize| format!(r#"["m",1,0,[["f",0,[{}]],true]]"#, nested(depth));
    borders(&value(32), &value(33), Malformed::TooDeep);
    borders(&member(32), &member(33), Malformed::TooDeep);
}

/// Bytes of which the encoding has the length given.
fn filler(bytes: usize) -> Value {
    assert!(bytes > 0x1_0005, "the head has five bytes");
    Value::Bytes(vec![0; bytes - 5])
}

fn with_fields(values: Vec<Value>) -> Transaction {
    let fields = ('a'..).zip(values);
    let fields = fields.map(|(field, value)| (Path::field(name(&field.to_string())), value));
    let fields: Vec<(Path, Value)> = fields.collect();
    Transaction::new(stamp(), &[scribe(1, Mark::Create, &fields)])
}

#[test]
fn values_have_at_most_256_kib() {
    let read = |bytes: usize| Transaction::decode(with_fields(vec![filler(bytes)]).bytes().clone());
    assert!(read(VALUE_BYTES_MAX).is_ok());
    assert_eq!(read(VALUE_BYTES_MAX + 1), Err(Malformed::Limit("a value")));
}

#[test]
fn transactions_have_at_most_1_mib() {
    let largest = filler(VALUE_BYTES_MAX);
    let of_length = |bytes: usize| {
        let four = |last| vec![largest.clone(), largest.clone(), largest.clone(), filler(last)];
        let rest = bytes - with_fields(four(100_000)).bytes().len();
        let transaction = with_fields(four(100_000 + rest));
        assert_eq!(transaction.bytes().len(), bytes);
        Transaction::decode(transaction.bytes().clone())
    };
    assert!(of_length(TRANSACTION_BYTES_MAX).is_ok());
    let refused = Err(Malformed::Limit("a transaction"));
    assert_eq!(of_length(TRANSACTION_BYTES_MAX + 1), refused);
}

#[test]
fn limits_hold_for_the_canonical_form_and_for_what_was_sent() {
    let floats = |count: usize| Value::Array(vec![Value::Float(1.5); count]);
    let refused = |limit| Err(Malformed::Limit(limit));

    // 32-bit floats of 5 bytes become 64-bit floats of 9.
    let sent = |transaction: &Transaction| {
        let sent = longest_form(transaction.bytes());
        assert!(sent.len() < TRANSACTION_BYTES_MAX);
        Transaction::decode(sent.into())
    };
    let fits = with_fields(vec![floats(29_000)]);
    assert_eq!(sent(&fits).as_ref(), Ok(&fits));
    let grows = with_fields(vec![floats(30_000)]);
    assert_eq!(sent(&grows), refused("a value"));
    let grow = with_fields(vec![floats(29_000); 6]);
    assert_eq!(sent(&grow), refused("a transaction"));

    // Small integers of 9 bytes become small integers of one.
    let ints = with_fields(vec![Value::Array(vec![Value::Int(1); 130_000])]);
    let sent = longest_form(ints.bytes());
    assert!(sent.len() > TRANSACTION_BYTES_MAX);
    assert_eq!(Transaction::decode(sent.into()), refused("a transaction"));
}
