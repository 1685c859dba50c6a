//! The brief form: it expands to what was shortened, and to no more than may come.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::super::*;
use crate::arbitrary::{encoded, golden, hex, name};
use crate::id::{RecordId, RecordKey};
use crate::limits::{MESSAGE_NAME_BYTES_MAX, MESSAGE_NAMES_MAX};
use crate::record::Path;
use crate::scribe::{Mark, Scribe};
use crate::stamp::{Author, Stamp};

fn decode(frame: impl Into<Bytes>) -> Result<Message, Malformed> {
    Message::decode(&frame.into()).map(|(message, _)| message)
}

fn message(items: Vec<Item>) -> Message {
    Message::Scribes(Scribes { from: None, to: Some(Point::START), end: None, items })
}

/// Names of which some have a length that no number stands for, and more than there are numbers.
fn some_name() -> impl Strategy<Value = Name> {
    let length = prop_oneof![4 => 1..4_usize, 1 => 30..34_usize, 1 => Just(255)];
    (0..200_u32, length).prop_map(|(number, length)| name(&format!("{number:length$}")))
}

/// Texts that are UUIDs, and such as nearly are.
fn some_id() -> impl Strategy<Value = RecordId> {
    let uuid = || any::<u128>().prop_map(Uuid::from_u128);
    let text = prop_oneof![
        4 => uuid().prop_map(|uuid| uuid.to_string()),
        1 => uuid().prop_map(|uuid| uuid.to_string().to_uppercase()),
        1 => uuid().prop_map(|uuid| uuid.simple().to_string()),
        1 => uuid().prop_map(|uuid| uuid.to_string().replace('-', "_")),
        1 => Just("x".repeat(36)),
    ];
    prop_oneof![
        1 => any::<i64>().prop_map(RecordId::Int),
        1 => uuid().prop_map(RecordId::Uuid),
        4 => text.prop_map(|text| RecordId::text(&text).unwrap()),
    ]
}

fn some_path() -> impl Strategy<Value = Path> {
    prop_oneof![
        some_name().prop_map(Path::field),
        (some_name(), "[a-z]{0,3}").prop_map(|(field, key)| Path::entry(field, &key)),
    ]
}

prop_compose! {
    fn some_scribe()(
        model in some_name(),
        id in some_id(),
        fields in btree_map(some_path(), encoded(), 1..5),
    ) -> Scribe {
        Scribe { key: RecordKey { model, id }, mark: Mark::Update, fields: fields.into_iter().collect() }
    }
}

/// Transactions of two authors, mostly one after the other.
fn some_items() -> impl Strategy<Value = Vec<Item>> {
    let later = prop_oneof![8 => 0..100_000_u64, 1 => any::<u32>().prop_map(u64::from)];
    let one =
        (later, prop::bool::weighted(0.1), prop::bool::weighted(0.1), vec(some_scribe(), 1..4));
    vec(one, 0..40).prop_map(|transactions| {
        let (mut time, mut node) = (1 << 40, 1);
        let items = transactions.into_iter().map(|(later, is_other, is_earlier, mut scribes)| {
            time = if is_earlier { time - later } else { time + later };
            node ^= u8::from(is_other);
            scribes.sort_by(|one, other| one.key.cmp(&other.key));
            scribes.dedup_by(|one, other| one.key == other.key);
            let author = Author { node: NodeId::from_bytes([node; 16]), epoch: Epoch(1) };
            Transaction::new(Stamp { time: Time::from_bits(time), author }, &scribes).into()
        });
        items.collect()
    })
}

proptest! {
    /// The law of it.
    #[test]
    fn what_is_shortened_expands_to_the_same_bytes(items in some_items()) {
        let message = message(items);
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            prop_assert_eq!(Message::decode(&message.encode(encoding)), Ok((message.clone(), encoding)));
        }
    }

    #[test]
    fn a_brief_form_is_no_longer(items in some_items()) {
        let lengths = items.iter().map(|item| match item {
            Item::Transaction(transaction) => transaction.bytes().len(),
            _ => 0,
        });
        let most = lengths.sum::<usize>() + frame(0, "").len() + 2;
        prop_assert!(message(items).encode(Encoding::MessagePack).len() <= most);
    }

    /// Bytes in which nearly everything may be a number of something.
    #[test]
    fn any_brief_form_is_refused_or_read_as_what_can_be_said_again(
        items in vec(prop::sample::select(PIECES.to_vec()), 0..60)
    ) {
        let frame = frame(2, &format!("{WHOLE} {}", items.join(" ")));
        if let Ok(read) = decode(frame.clone()) {
            prop_assert_eq!(decode(read.encode(Encoding::MessagePack)), Ok(read), "of {}", hex(&frame));
        }
    }
}

const PIECES: [&str; 23] = [
    "92 00 91 94",
    "95 00",
    "95 00 00 01 02 90",
    "95 01 a1'm' 01 00 92 a1'f' 00",
    "92 01",
    "91",
    "92",
    "93",
    "94",
    "00",
    "01",
    "02",
    "7f",
    "a1'm'",
    "a1'n'",
    "a2'no'",
    "94 00 01 02 90",
    "94 a1'm' 01 00 92 a1'f' 00",
    "92 00 91 94 00 01 02 90",
    "90",
    "c0",
    "91 c410 NODE",
    "c410 NODE",
];

const NODE: &str = "000102030405060708090a0b0c0d0e0f";

const WHOLE: &str = "94 01 c410 NODE 07 91 94 a1'm' 01 02 90";

/// A message with so many items, as they are written down.
fn frame(count: usize, items: &str) -> Bytes {
    let mut writer = Writer::default();
    head(&mut writer, "scribes", 3);
    for key in ["from", "to"] {
        writer.text(key);
        write_point(&mut writer, Point::START);
    }
    writer.text("transactions");
    writer.array(count);
    writer.encoded(&golden(&items.replace("NODE", NODE)));
    writer.0.into()
}

/// The canonical bytes of the transactions in a message with so many items.
fn read(count: usize, items: &str) -> Result<Vec<String>, Malformed> {
    let Message::Scribes(scribes) = decode(frame(count, items))? else { panic!("no scribes") };
    let bytes = scribes.items.iter().filter_map(|item| match item {
        Item::Transaction(transaction) => Some(hex(transaction.bytes())),
        Item::Unread(unread) => Some(format!("unread {}", hex(&unread.bytes))),
        Item::Echo { .. } | Item::Skip { .. } => None,
    });
    Ok(bytes.collect())
}

/// What a node with an author of the examples would have logged.
fn logged(time: u8, scribes: &str) -> String {
    hex(&golden(&format!("94 {time:02x} c410 NODE 07 {scribes}").replace("NODE", NODE)))
}

#[test]
fn a_brief_transaction_is_by_the_author_of_the_one_before_and_so_much_later() {
    let (whole, brief, echo) = (WHOLE, "92 02 91 94 a1'm' 01 02 90", "92 05 01");
    let of = |time| logged(time, "91 94 a1'm' 01 02 90");
    assert_eq!(
        read(5, &format!("{whole} {brief} {echo} {brief} {whole}")),
        Ok(vec![of(1), of(3), of(5), of(1)])
    );
    let nobody = Malformed::Expected("an author, before a transaction without one");
    assert_eq!(read(2, &format!("{brief} {whole}")), Err(nobody));
    assert_eq!(read(2, &format!("{echo} {brief}")), Err(nobody));
    for late in [Time::END.bits() - 1, u64::MAX] {
        let late = format!("{whole} 92 cf {late:016x} 91 94 a1'm' 01 02 90");
        assert_eq!(read(2, &late), Err(Malformed::Limit("a stamp")));
    }
    let last = format!("{whole} 92 cf {:016x} 91 94 a1'm' 01 02 90", Time::END.bits() - 2);
    assert!(read(2, &last).is_ok());
    assert!(read(2, &format!("{whole} 92 02 90")).is_err(), "a transaction has a scribe");
}

#[test]
fn one_scribe_alone_goes_without_arrays_around_it() {
    let said = "a1'm' 91 c410 NODE 00 94 a1'f' 07 93 a1'g' 00 a1'k' 08";
    let again = "00 01 00 92 93 02 00 a1'k' 09";
    let listed = read(3, &format!("{WHOLE} 92 05 91 94 {said} 92 01 91 94 {again}"));
    assert!(listed.is_ok());
    assert_eq!(read(3, &format!("{WHOLE} 95 05 {said} 95 01 {again}")), listed);
    assert_eq!(read(3, &format!("{WHOLE} 95 05 {said} 92 01 91 94 {again}")), listed);
    let nobody = Malformed::Expected("an author, before a transaction without one");
    assert_eq!(read(2, &format!("95 00 {said} {WHOLE}")), Err(nobody));
    for neither in [
        "95 05 91 94 a1'm' 01 02 90",
        "95 05 a1'm' 01 02",
        "94 05 a1'm' 01 02",
        "96 05 a1'm' 01 02 90 c3",
        "95 a1'm' 05 01 02 90",
        // With a fifth part a transaction is of one log alone.
        "95 01 c410 NODE 07 91 94 a1'm' 01 02 90 c3",
    ] {
        assert!(read(2, &format!("{WHOLE} {neither}")).is_err(), "{neither}");
    }
}

#[test]
fn a_number_stands_for_a_name_that_was_said_in_brief_before() {
    let said = "92 00 91 94 a1'm' 01 00 94 a1'f' 07 93 a1'g' 00 a1'k' 08";
    let again = "92 00 91 94 00 01 00 94 93 01 00 a1'k' 07 02 08";
    let expected = [
        "91 94 a1'm' 01 00 94 a1'f' 07 93 a1'g' 00 a1'k' 08",
        "91 94 a1'm' 01 00 94 93 a1'f' 00 a1'k' 07 a1'g' 08",
    ];
    let expected = [WHOLE_SCRIBES, expected[0], expected[1]].map(|scribes| logged(1, scribes));
    assert_eq!(read(3, &format!("{WHOLE} {said} {again}")), Ok(expected.to_vec()));
    let unknown = Malformed::Expected("the number of a name");
    assert_eq!(read(2, &format!("{WHOLE} {again}")), Err(unknown), "not by what is whole");
    let more = "92 00 91 94 00 01 00 92 03 07";
    assert_eq!(read(3, &format!("{WHOLE} {said} {more}")), Err(unknown));
    for neither in ["c0", "ff", "c3", "91 00", "c401 00"] {
        assert!(read(2, &format!("{WHOLE} 92 00 91 94 {neither} 01 02 90")).is_err(), "{neither}");
    }
}

const WHOLE_SCRIBES: &str = "91 94 a1'm' 01 02 90";

#[test]
fn so_many_names_have_a_number_and_none_that_is_long() {
    let fields = |from: usize, to: usize| -> String {
        (from..to).map(|at| format!("a3'{at:03}' 00 ")).collect()
    };
    // The model has the first number.
    let count = MESSAGE_NAMES_MAX + 10;
    let said = format!("92 00 91 94 a1'm' 01 00 dc {:04x} {}", 2 * count, fields(0, count));
    let last = format!("92 00 91 94 00 01 00 92 {:02x} 01", MESSAGE_NAMES_MAX - 1);
    let expected = logged(1, &format!("91 94 a1'm' 01 00 92 a3'{:03}' 01", MESSAGE_NAMES_MAX - 2));
    assert_eq!(
        read(3, &format!("{WHOLE} {said} {last}")).map(|mut read| read.pop()),
        Ok(Some(expected))
    );
    let beyond = format!("92 00 91 94 00 01 00 92 cc {MESSAGE_NAMES_MAX:02x} 01");
    assert!(read(3, &format!("{WHOLE} {said} {beyond}")).is_err());

    let said = |bytes: usize| {
        format!(
            "92 00 91 94 d9 {bytes:02x} '{}' 01 02 90 92 00 91 94 00 a6'abcdef' 02 90",
            "x".repeat(bytes)
        )
    };
    // A writer may say a short one in a longer form.
    assert!(read(3, &format!("{WHOLE} {}", said(MESSAGE_NAME_BYTES_MAX))).is_ok());
    assert!(read(3, &format!("{WHOLE} {}", said(MESSAGE_NAME_BYTES_MAX + 1))).is_err());
}

#[test]
fn what_could_have_been_shorter_is_read_too() {
    let (uuid, text) = ("91 c410 NODE", "d924 '00010203-0405-0607-0809-0a0b0c0d0e0f'");
    let expected = logged(1, &format!("91 94 a1'm' {text} 02 90"));
    for id in [uuid, text, "dc0001 c50010 NODE"] {
        for model in ["a1'm'", "00", "cc 00", "cf 0000000000000000", "d901 'm'"] {
            let items =
                format!("{WHOLE} 92 00 91 94 a1'm' 02 02 90 92 00 91 94 {model} {id} 02 90");
            let last = read(3, &items).map(|mut read| read.pop());
            assert_eq!(last, Ok(Some(expected.clone())), "{model} {id}");
        }
    }
    for neither in [
        "90",
        "92 c410 NODE 00",
        "91 00",
        "91 c401 00",
        "91 d924 '00010203-0405-0607-0809-0a0b0c0d0e0f'",
    ] {
        assert!(
            read(2, &format!("{WHOLE} 92 00 91 94 a1'm' {neither} 02 90")).is_err(),
            "{neither}"
        );
    }
}

/// What a later version knows it may say in brief to one that does not: that sets it aside as it was logged there.
#[test]
fn what_cannot_be_read_is_set_aside_as_it_was_logged() {
    let said = "92 00 91 94 a1'm' 91 c410 NODE 00 92 a1'f' 07";
    let mark = "92 02 91 94 00 01 09 92 01 07";
    let kind = "92 00 91 94 00 91 c410 NODE 00 92 93 01 09 81 a1'x' 00 07";
    let next = "92 00 91 94 00 01 00 92 01 09";
    let text = "d924 '00010203-0405-0607-0809-0a0b0c0d0e0f'";
    let unread = |scribes: &str| format!("unread {}", logged(3, scribes));
    let expected = vec![
        logged(1, WHOLE_SCRIBES),
        logged(1, &format!("91 94 a1'm' {text} 00 92 a1'f' 07")),
        unread("91 94 a1'm' 01 09 92 a1'f' 07"),
        unread(&format!("91 94 a1'm' {text} 00 92 93 a1'f' 09 81 a1'x' 00 07")),
        logged(3, "91 94 a1'm' 01 00 92 a1'f' 09"),
    ];
    assert_eq!(read(5, &format!("{WHOLE} {said} {mark} {kind} {next}")), Ok(expected));
}

/// What this version cannot read it sends on as it is, and whole: no name in it has a number.
#[test]
fn what_cannot_be_read_is_sent_whole() {
    let odd = "94 01 c410 NODE 07 91 94 a1'o' 01 09 92 a1'p' 07";
    let said = "95 00 a1'm' 01 00 92 a1'f' 07";
    let items = format!("{WHOLE} {odd} {said} {odd} 95 00 00 a3'abc' 00 92 01 09");
    let frame = frame(5, &items);
    let again = decode(frame.clone()).map(|message| hex(&message.encode(Encoding::MessagePack)));
    assert_eq!(again, Ok(hex(&frame)));
}

#[test]
fn a_transaction_that_would_stand_for_too_much_is_said_whole() {
    let few = "92 00 91 94 00 01 02 90";
    let too_much = Err(Malformed::Limit("what stands for a transaction"));
    assert_eq!(read(3, &format!("{WHOLE} 92 00 91 94 a1'm' 01 02 90 {few}")), too_much);
    let said = |whole: &str| {
        let message = decode(frame(3, &format!("{whole} {whole} {whole}"))).unwrap();
        message.encode(Encoding::MessagePack)
    };
    // The second says the model in full, and is long enough in an array.
    assert_eq!(said(WHOLE), frame(3, &format!("{WHOLE} 92 00 91 94 a1'm' 01 02 90 {WHOLE}")));
    let whole = "94 01 c410 NODE 07 91 94 a1'm' a6'abcdef' 02 90";
    let [first, next] = ["a1'm'", "00"].map(|model| format!("95 00 {model} a6'abcdef' 02 90"));
    assert_eq!(said(whole), frame(3, &format!("{whole} {first} {next}")));
}

/// A scribe of a few bytes stands for one with a long name.
#[test]
fn what_a_message_expands_to_is_bounded() {
    let long = format!("af '{}'", "x".repeat(15));
    let said = format!("92 00 91 94 {long} 01 02 90");
    let count = 60_000;
    let transaction = "92 00 91 94 00 a6'abcdef' 02 90 ".repeat(count);
    let refused = read(count + 2, &format!("{WHOLE} {said} {transaction}"));
    assert_eq!(refused, Err(Malformed::Limit("the scribes of a message")));
    let scribes = "94 00 cd 0101 02 90 ".repeat(count);
    let one = format!("{WHOLE} {said} 92 00 dd {count:08x} {scribes}");
    assert_eq!(read(3, &one), Err(Malformed::Limit("the scribes of a message")));
}
