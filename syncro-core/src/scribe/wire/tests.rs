//! Transactions: golden bytes of every path and mark, the canonical form, and what is refused.

use proptest::prelude::*;

use uuid::Uuid;

use super::*;
use crate::arbitrary::{golden, hex, hostile, longest_form, name, transaction};
use crate::encoding::{from_json, to_json};
use crate::id::{NodeId, RecordId};
use crate::record::Path;
use crate::stamp::{Epoch, Time};
use crate::value::Value;

/// The author and time of the goldens, in MessagePack and JSON.
const STAMP: &str = "ce 00010000 c410 000102030405060708090a0b0c0d0e0f 07";
const STAMP_JSON: &str = r#"65536,{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},7"#;

fn stamp() -> Stamp {
    Stamp {
        time: Time::from_ms(1),
        author: Author {
            node: NodeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            epoch: Epoch(7),
        },
    }
}

fn scribe(id: impl Into<RecordId>, mark: Mark, fields: &[(Path, Value)]) -> Scribe {
    let fields = fields.iter().cloned();
    Scribe {
        key: RecordKey { model: name("todo"), id: id.into() },
        mark,
        fields: fields.map(|(path, value)| (path, value.encode())).collect(),
    }
}

/// A scribe of every sort of id, path and mark: as a value, in MessagePack, in JSON.
fn goldens() -> Vec<(Scribe, &'static str, &'static str)> {
    use Mark::{Create, Destroy, Replace, Update};
    let text = |id| RecordId::text(id).unwrap();
    let tags = |key| Path::entry(name("tags"), key);
    let team = |member: &str| Path::member(name("team"), Value::from(member).encode());
    let counter = |author| Path::counter(name("n"), author);
    let other = Author { node: NodeId::from_bytes([0xff; 16]), epoch: Epoch(9) };
    vec![
        (
            scribe(text("t1"), Update, &[(Path::field(name("title")), "milk".into())]),
            "94 a4'todo' a2't1' 00 92 a5'title' a4'milk'",
            r#"["todo","t1",0,["title","milk"]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(tags("k"), 1.into())]),
            "94 a4'todo' a2't1' 00 92 93 a4'tags' 00 a1'k' 01",
            r#"["todo","t1",0,[["tags",0,"k"],1]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(tags("k"), Value::Nil)]),
            "94 a4'todo' a2't1' 00 92 93 a4'tags' 00 a1'k' c0",
            r#"["todo","t1",0,[["tags",0,"k"],null]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(team("ann"), true.into())]),
            "94 a4'todo' a2't1' 00 92 93 a4'team' 00 91 a3'ann' c3",
            r#"["todo","t1",0,[["team",0,["ann"]],true]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(team("ann"), Value::Nil)]),
            "94 a4'todo' a2't1' 00 92 93 a4'team' 00 91 a3'ann' c0",
            r#"["todo","t1",0,[["team",0,["ann"]],null]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(counter(stamp().author), (-3).into())]),
            "94 a4'todo' a2't1' 00 92 92 a1'n' 01 fd",
            r#"["todo","t1",0,[["n",1],-3]]"#,
        ),
        (
            scribe(text("t1"), Update, &[(counter(other), 4.into())]),
            "94 a4'todo' a2't1' 00 92 94 a1'n' 01 c410 ffffffffffffffffffffffffffffffff 09 04",
            r#"["todo","t1",0,[["n",1,{"$bytes":"/////////////////////w=="},9],4]]"#,
        ),
        (scribe(5, Create, &[]), "94 a4'todo' 05 01 90", r#"["todo",5,1,[]]"#),
        (
            scribe(
                -128,
                Create,
                &[
                    (counter(stamp().author), 1.into()),
                    (Path::field(name("tags")), Value::Nil),
                    (tags(""), 2.into()),
                    (tags("k"), 3.into()),
                    (team("ann"), true.into()),
                ],
            ),
            "94 a4'todo' d0 80 01 9a
                92 a1'n' 01               01
                a4'tags'                  c0
                93 a4'tags' 00 a0         02
                93 a4'tags' 00 a1'k'      03
                93 a4'team' 00 91 a3'ann' c3",
            concat!(
                r#"["todo",-128,1,[["n",1],1,"tags",null,["tags",0,""],2,["tags",0,"k"],3,"#,
                r#"["team",0,["ann"]],true]]"#
            ),
        ),
        (
            scribe(Uuid::from_u128(1), Destroy, &[]),
            "94 a4'todo' c410 00000000000000000000000000000001 02 90",
            r#"["todo",{"$bytes":"AAAAAAAAAAAAAAAAAAAAAQ=="},2,[]]"#,
        ),
        (
            scribe(text("t1"), Replace, &[(Path::field(name("f")), 1.5.into())]),
            "94 a4'todo' a2't1' 03 92 a1'f' cb 3ff8000000000000",
            r#"["todo","t1",3,["f",1.5]]"#,
        ),
    ]
}

/// The bytes of a transaction of the scribes given in MessagePack.
fn of(scribes: &[&str]) -> Bytes {
    let notation = format!("94 {STAMP} 9{:x} {}", scribes.len(), scribes.join(" "));
    golden(&notation).into()
}

/// Decodes a transaction and what is in it.
fn decode(bytes: Bytes) -> Result<(Transaction, Vec<Scribe>), Malformed> {
    let transaction = Transaction::decode(bytes)?;
    let scribes = transaction.scribes()?;
    Ok((transaction, scribes))
}

/// Decodes a transaction of the scribes given in JSON.
fn decode_json(scribes: &str) -> Result<(Transaction, Vec<Scribe>), Malformed> {
    let bytes = from_json(format!("[{STAMP_JSON},[{scribes}]]").as_bytes()).unwrap();
    decode(bytes.into())
}

#[test]
fn every_sort_of_scribe_has_the_bytes_it_always_had() {
    for (scribe, notation, json) in goldens() {
        let expected = of(&[notation]);
        let transaction = Transaction::new(stamp(), std::slice::from_ref(&scribe));
        assert_eq!(hex(transaction.bytes()), hex(&expected), "{json}");

        let (decoded, scribes) = decode(expected.clone()).unwrap();
        assert_eq!((decoded.stamp(), decoded.len()), (stamp(), 1));
        assert_eq!(scribes, [scribe], "{json}");
        assert_eq!(decoded.bytes(), &expected, "{json}");

        let json = format!("[{STAMP_JSON},[{json}]]");
        assert_eq!(String::from_utf8(to_json(&expected).unwrap()).unwrap(), json);
        assert_eq!(from_json(json.as_bytes()), Ok(expected.to_vec()), "{json}");
    }
}

#[test]
fn scribes_keep_their_order_and_each_fills_an_offset() {
    let all = goldens();
    let (created, notation, _) = &all[7];
    let (updated, before, _) = &all[0];
    let (transaction, scribes) = decode(of(&[notation, before])).unwrap();
    assert_eq!(scribes, [created.clone(), updated.clone()]);
    assert_eq!(transaction.len(), 2);
    assert_ne!(transaction, decode(of(&[before, notation])).unwrap().0);
}

#[test]
fn every_truncation_and_extension_of_a_scribe_is_refused() {
    for (_, notation, json) in goldens() {
        let bytes = of(&[notation]);
        for end in 0..bytes.len() {
            let read = decode(bytes.slice(..end));
            assert_eq!(read, Err(Malformed::Truncated), "{json} cut at {end}");
        }
        let longer = [&bytes[..], &[0xc0]].concat();
        assert_eq!(decode(longer.into()), Err(Malformed::Trailing));
    }
}

#[test]
fn every_change_of_one_byte_is_refused_or_read_in_canonical_form() {
    for (_, notation, _) in goldens() {
        let bytes = of(&[notation]);
        for place in 0..bytes.len() {
            for byte in 0..=0xff {
                let mut changed = bytes.to_vec();
                changed[place] = byte;
                let Ok((read, scribes)) = decode(changed.clone().into()) else {
                    continue;
                };
                let written = Transaction::new(read.stamp(), &scribes);
                assert_eq!(written, read, "{}", hex(&changed));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_transaction_is_decoded_to_itself(transaction in transaction()) {
        let (decoded, scribes) = decode(transaction.bytes().clone()).unwrap();
        prop_assert_eq!(decoded.stamp(), transaction.stamp());
        prop_assert_eq!(decoded.len(), scribes.len() as u64);
        prop_assert_eq!(&Transaction::new(decoded.stamp(), &scribes), &transaction);
        prop_assert_eq!(decoded.bytes(), transaction.bytes());
    }

    #[test]
    fn every_other_form_of_a_transaction_has_the_one_canonical_form(transaction in transaction()) {
        let (decoded, scribes) = decode(longest_form(transaction.bytes()).into()).unwrap();
        prop_assert_eq!(scribes, transaction.scribes().unwrap());
        prop_assert_eq!(decoded.bytes(), transaction.bytes());
    }

    #[test]
    fn json_carries_a_transaction_unharmed(transaction in transaction()) {
        let json = to_json(transaction.bytes()).unwrap();
        prop_assert_eq!(from_json(&json), Ok(transaction.bytes().to_vec()));
    }

    #[test]
    fn hostile_bytes_are_refused_or_canonical_once_read(bytes in hostile(
        transaction().prop_map(|transaction| longest_form(transaction.bytes()))
    )) {
        if let Ok((read, scribes)) = decode(bytes.into()) {
            let (again, scribes_again) = decode(read.bytes().clone()).unwrap();
            prop_assert_eq!(scribes_again, scribes);
            prop_assert_eq!(again.bytes(), read.bytes(), "decoding is idempotent");
        }
    }
}

/// Whatever its checksums say: [`Transaction::trusted`] has not looked at it.
#[test]
fn what_no_log_has_taken_in_is_noticed_when_it_is_read() {
    let path = "a1'a' 01";
    for (scribe, wrong) in [
        ("94 a1'm' 01 00 dd 7ffffffe", "more fields than there are bytes"),
        (&format!("94 a1'm' 01 00 94 {path} {path}"), "a path twice"),
        (&format!("94 a1'm' 01 00 94 a1'b' 01 {path}"), "paths out of order"),
        (&format!("94 a1'm' 01 00 92 {path} c0"), "something behind it"),
        ("94 a1'm' 01 00 92 92 a1'n' 01 a1'x'", "a counter that is none"),
        ("94 a1'm' 01 00 92 a1'a' cc01", "an integer that is too long"),
    ] {
        let transaction = Transaction::trusted(of(&[scribe])).unwrap();
        assert!(transaction.scribes().is_err(), "{wrong}");
        // It may be a record, but never more than there is.
        transaction.each().for_each(|it| drop(it.and_then(|it| it.to_record())));
    }
}

#[test]
fn paths_out_of_order_are_brought_into_order() {
    let tidy = r#"["m",1,0,["a",1,["a",0,"k"],2,["a",0,["k"]],true,["a",1],3,"b",4]]"#;
    let untidy = r#"["m",1,0,["b",4,["a",1],3,["a",0,["k"]],true,["a",0,"k"],2,"a",1]]"#;
    assert_eq!(decode_json(untidy).unwrap().0, decode_json(tidy).unwrap().0);
}

#[test]
fn the_authors_own_counter_is_written_without_its_name() {
    let short = r#"["m",1,0,[["n",1],3]]"#;
    let long = r#"["m",1,0,[["n",1,{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},7],3]]"#;
    assert_eq!(decode_json(long).unwrap().0, decode_json(short).unwrap().0);
}

#[test]
fn a_path_that_occurs_twice_is_refused_even_in_two_forms() {
    let own = r#"["n",1,{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},7]"#;
    for fields in [
        r#""a",1,"a",2"#,
        r#""a",1,"b",2,"a",3"#,
        r#"["a",0,"k"],1,["a",0,"k"],1"#,
        r#"["a",0,[{"a":1,"b":2}]],true,["a",0,[{"b":2,"a":1}]],true"#,
        &format!(r#"["n",1],1,{own},2"#),
    ] {
        let read = decode_json(&format!(r#"["m",1,0,[{fields}]]"#));
        assert_eq!(read, Err(Malformed::Expected("one value per path")), "{fields}");
    }
}

#[test]
fn a_record_has_one_scribe_in_a_transaction() {
    let one = r#"["m",1,0,["a",1]]"#;
    let refused = Err(Malformed::Expected("one scribe per record"));
    assert_eq!(decode_json(&format!("{one},{one}")), refused);
    let elsewhere = r#"["n",1,1,[]],["m","1",1,[]]"#;
    assert_eq!(decode_json(&format!("{one},{elsewhere},{one}")), refused);
    assert!(decode_json(&format!("{one},{elsewhere}")).is_ok());
}

#[test]
fn a_transaction_without_scribes_is_refused() {
    assert_eq!(decode_json(""), Err(Malformed::Expected("a scribe")));
}

#[test]
fn the_fields_of_a_scribe_fit_its_mark_and_come_in_pairs() {
    let refused = Err(Malformed::Expected("pairs of path and value that fit the mark"));
    for scribe in [
        r#"["m",1,0,[]]"#,
        r#"["m",1,2,["a",1]]"#,
        r#"["m",1,0,["a"]]"#,
        r#"["m",1,1,["a",1,"b"]]"#,
    ] {
        assert_eq!(decode_json(scribe), refused, "{scribe}");
    }
    for scribe in [r#"["m",1,1,[]]"#, r#"["m",1,2,[]]"#, r#"["m",1,3,[]]"#] {
        assert!(decode_json(scribe).is_ok(), "{scribe}");
    }
    assert!(decode_json(r#"["m",1,4,["a",1]]"#).is_err());
}

#[test]
fn a_path_has_the_parts_of_its_kind() {
    for path in [
        "1",
        "[]",
        r#"["f"]"#,
        r#"["f",0]"#,
        r#"["f",0,1]"#,
        r#"["f",0,[]]"#,
        r#"["f",0,[1,2]]"#,
        r#"["f",0,"k","l"]"#,
        r#"["f",1,"k"]"#,
        r#"["f",1,"k",7]"#,
        r#"["f",1,{"$bytes":"AAECAwQFBgcICQoLDA0O"},7]"#,
        r#"["f",1,{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},-7]"#,
        r#"["f",2,"k"]"#,
        r#"["",0,"k"]"#,
        r#""""#,
    ] {
        assert!(decode_json(&format!(r#"["m",1,0,[{path},1]]"#)).is_err(), "{path}");
    }
}

#[test]
fn an_unknown_part_of_a_transaction_is_refused() {
    assert!(decode_json(r#"["m",1,0,["a",1],0]"#).is_err());
    let five = format!(r#"[{STAMP_JSON},[["m",1,1,[]]],0]"#);
    assert!(decode(from_json(five.as_bytes()).unwrap().into()).is_err());
}

mod limits;
