//! How the registers of a record show as fields, and how fields become edits.

use std::sync::Arc;

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{encoded, few_encoded, int, name};
use crate::id::{NodeId, RecordId, RecordKey};
use crate::proposal::Proposal;
use crate::record::{Path, Register};
use crate::stamp::{Author, Epoch, Stamp, Time};

fn author(node: u8) -> Author {
    Author { node: NodeId::from_bytes([node; 16]), epoch: Epoch(1) }
}

fn at(time: u64) -> Stamp {
    Stamp { time: Time::from_bits(time), author: author(1) }
}

/// A living record of registers with the times given.
fn record(registers: &[(Path, u64, Value)]) -> Record {
    let registers = registers.iter().map(|(path, time, value)| Register {
        path: path.clone(),
        stamp: at(*time),
        value: value.encode(),
    });
    Record::new(Some(at(0)), None, registers.collect())
}

fn plain() -> Path {
    Path::field(name("f"))
}

fn entry(key: &str) -> Path {
    Path::entry(name("f"), key)
}

fn member(int: i64) -> Path {
    Path::member(name("f"), Encoded::int(int))
}

fn counter(node: u8) -> Path {
    Path::counter(name("f"), author(node))
}

fn set(members: &[i64]) -> Field {
    Field::Set(members.iter().copied().map(Encoded::int).collect())
}

fn map(entries: &[(&str, i64)]) -> Field {
    let entries = entries.iter();
    Field::Map(entries.map(|(key, int)| ((*key).to_owned(), Encoded::int(*int))).collect())
}

fn value(int: i64) -> Field {
    Field::Value(Encoded::int(int))
}

fn fields(field: Field) -> Fields {
    let mut fields = Fields::default();
    fields.insert(name("f"), field);
    fields
}

fn shown(registers: &[(Path, u64, Value)]) -> Option<Field> {
    Fields::of(&record(registers)).get("f").cloned()
}

#[test]
fn each_sort_of_register_has_its_shape() {
    assert_eq!(shown(&[(plain(), 1, 7.into())]), Some(value(7)));
    assert_eq!(
        shown(&[(member(2), 1, true.into()), (member(1), 2, true.into())]),
        Some(set(&[1, 2]))
    );
    assert_eq!(
        shown(&[(entry("a"), 1, 1.into()), (entry(""), 2, 2.into())]),
        Some(map(&[("", 2), ("a", 1)]))
    );
    assert_eq!(
        shown(&[(counter(1), 1, 5.into()), (counter(2), 1, (-7).into())]),
        Some(Field::Counter(-2))
    );
    assert_eq!(shown(&[]), None);
}

#[test]
fn what_was_removed_from_a_set_or_map_does_not_show() {
    let registers = [(member(1), 1, Value::Nil), (member(2), 1, true.into())];
    assert_eq!(shown(&registers), Some(set(&[2])));
    assert_eq!(shown(&registers[..1]), Some(set(&[])), "it is a set still");
    let registers = [(entry("a"), 1, Value::Nil), (entry("b"), 1, 1.into())];
    assert_eq!(shown(&registers), Some(map(&[("b", 1)])));
    assert_eq!(shown(&registers[..1]), Some(map(&[])));
}

#[test]
fn a_record_that_is_not_alive_shows_nothing() {
    let registers = vec![Register { path: plain(), stamp: at(3), value: Encoded::TRUE }];
    let never_created = Record::new(None, None, registers.clone());
    let destroyed = Record::new(Some(at(1)), Some(at(2)), registers);
    assert!(Fields::of(&never_created).is_empty());
    assert!(Fields::of(&destroyed).is_empty());
}

#[test]
fn of_several_shapes_the_youngest_register_decides_whatever_it_is() {
    let shapes = [
        (plain(), Value::from(7), value(7)),
        (entry("a"), Value::from(7), map(&[("a", 7)])),
        (member(7), Value::from(true), set(&[7])),
        (counter(1), Value::from(7), Field::Counter(7)),
    ];
    for (older, old_value, _) in &shapes {
        for (younger, young_value, expected) in &shapes {
            if older == younger {
                continue;
            }
            let registers =
                [(older.clone(), 1, old_value.clone()), (younger.clone(), 2, young_value.clone())];
            assert_eq!(shown(&registers).as_ref(), Some(expected), "{younger:?} over {older:?}");
        }
    }
}

#[test]
fn a_shape_is_as_young_as_its_youngest_register() {
    let registers = [
        (member(1), 1, Value::from(true)),
        (member(2), 3, Value::from(true)),
        (plain(), 2, Value::from(7)),
    ];
    assert_eq!(shown(&registers), Some(set(&[1, 2])));
    let removed = [(entry("a"), 2, Value::Nil), (plain(), 1, Value::from(7))];
    assert_eq!(shown(&removed), Some(map(&[])), "a removal counts too");
}

#[test]
fn fields_of_other_names_keep_out_of_it() {
    let fields = Fields::of(&record(&[
        (plain(), 1, 1.into()),
        (Path::entry(name("g"), "k"), 9, 2.into()),
        (Path::field(name("ff")), 5, 3.into()),
    ]));
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["f", "ff", "g"]);
    assert_eq!(fields.get("f"), Some(&value(1)));
    assert_eq!(fields.get("missing"), None);
}

#[test]
fn a_sum_beyond_64_bits_shows_as_the_nearest_there_is() {
    let (max, min) = (Value::from(i64::MAX), Value::from(i64::MIN));
    let more = [(counter(1), 1, max.clone()), (counter(2), 1, Value::from(1))];
    assert_eq!(shown(&more), Some(Field::Counter(i64::MAX)));
    let less = [(counter(1), 1, min.clone()), (counter(2), 1, Value::from(-1))];
    assert_eq!(shown(&less), Some(Field::Counter(i64::MIN)));
    let both = [(counter(1), 1, max), (counter(2), 1, min), (counter(3), 1, Value::from(5))];
    assert_eq!(shown(&both), Some(Field::Counter(4)), "no step on the way overflows");
}

#[test]
fn plain_values_go_into_fields_and_come_out_without_the_nil_ones() {
    let values = BTreeMap::from([
        ("a".to_owned(), Value::Array(vec![Value::Nil])),
        ("b".to_owned(), Value::Nil),
        ("c".to_owned(), Value::from(false)),
    ]);
    let fields = Fields::from_values(&values).unwrap();
    assert_eq!(fields.get("b"), Some(&Field::Value(Encoded::NIL)));
    let mut shown = values;
    shown.remove("b");
    assert_eq!(fields.to_values(), shown);
}

#[test]
fn sets_maps_and_counters_show_as_plain_values() {
    let value = |field: Field| fields(field).to_values().remove("f");
    let list = Value::Array(vec![1.into(), 2.into()]);
    assert_eq!(value(set(&[2, 1])), Some(list));
    let entries = Value::Map([("k".to_owned(), 1.into())].into());
    assert_eq!(value(map(&[("k", 1)])), Some(entries));
    assert_eq!(value(Field::Counter(0)), Some(0.into()));
    assert_eq!(value(set(&[])), Some(Value::Array(Vec::new())));
}

#[test]
fn a_field_name_has_1_to_255_bytes() {
    let with = |name: String| Fields::from_values(&[(name, Value::Nil)].into());
    assert!(with("x".repeat(255)).is_ok());
    let refused = with("x".repeat(256));
    assert!(matches!(refused, Err(DataError::NameLength { bytes: 256, .. })));
    assert!(matches!(with(String::new()), Err(DataError::NameLength { bytes: 0, .. })));
}

#[test]
fn only_what_differs_becomes_an_edit() {
    let edits = |from: Field, to: Field| fields(to).edits_from(&fields(from)).unwrap();
    let write = |path: Path, value: Encoded| Edit::Write(path, value);

    assert_eq!(edits(value(1), value(1)), []);
    assert_eq!(edits(value(1), value(2)), [write(plain(), Encoded::int(2))]);

    assert_eq!(edits(set(&[1, 2]), set(&[1, 2])), []);
    assert_eq!(
        edits(set(&[1, 2]), set(&[2, 3])),
        [write(member(3), Encoded::TRUE), write(member(1), Encoded::NIL)]
    );

    assert_eq!(edits(map(&[("a", 1)]), map(&[("a", 1)])), []);
    assert_eq!(
        edits(map(&[("a", 1), ("b", 2), ("c", 3)]), map(&[("a", 1), ("b", 3), ("d", 4)])),
        [
            write(entry("b"), Encoded::int(3)),
            write(entry("d"), Encoded::int(4)),
            write(entry("c"), Encoded::NIL),
        ]
    );

    let raise = |by: i64| Edit::Raise { field: name("f"), by };
    assert_eq!(edits(Field::Counter(5), Field::Counter(5)), []);
    assert_eq!(edits(Field::Counter(5), Field::Counter(3)), [raise(-2)]);
}

#[test]
fn fields_that_only_the_base_has_stay_as_they_are() {
    let base = fields(set(&[1]));
    assert_eq!(Fields::default().edits_from(&base), Ok(Vec::new()));
}

#[test]
fn a_field_of_another_shape_in_the_base_counts_as_empty() {
    let edits = |to: Field| fields(to).edits_from(&fields(value(9))).unwrap();
    assert_eq!(edits(set(&[9])), [Edit::Write(member(9), Encoded::TRUE)]);
    assert_eq!(edits(map(&[("a", 9)])), [Edit::Write(entry("a"), Encoded::int(9))]);
    let by = 9;
    let field = name("f");
    assert_eq!(edits(Field::Counter(9)), [Edit::Raise { field, by }]);
    let back = fields(value(9)).edits_from(&fields(set(&[9]))).unwrap();
    assert_eq!(back, [Edit::Write(plain(), Encoded::int(9))]);
}

#[test]
fn a_nil_entry_is_refused_by_the_name_of_its_field_and_key() {
    let target = fields(Field::Map([("k".to_owned(), Encoded::NIL)].into()));
    let refused = Err(DataError::NilEntry { field: "f".to_owned(), key: "k".to_owned() });
    assert_eq!(target.edits_from(&Fields::default()), refused);
    assert_eq!(target.edits_from(&fields(map(&[("k", 1)]))), refused);
}

#[test]
fn keys_and_members_beyond_their_limits_are_refused_on_the_way_in_and_out() {
    let map_of = |bytes: usize| fields(map(&[(&"k".repeat(bytes), 1)]));
    let set_of = |bytes: usize| {
        let member = Value::from(&*"m".repeat(bytes - 3)).encode();
        assert_eq!(member.as_bytes().len(), bytes);
        fields(Field::Set([member].into()))
    };
    let none = Fields::default();
    for (within, beyond) in [(map_of(255), map_of(256)), (set_of(1024), set_of(1025))] {
        assert!(within.edits_from(&none).is_ok());
        let emptied = |full: &Fields| {
            let empty = match full.get("f") {
                Some(Field::Set(_)) => set(&[]),
                _ => map(&[]),
            };
            fields(empty).edits_from(full)
        };
        assert_eq!(emptied(&within).unwrap().len(), 1);
        assert!(beyond.edits_from(&none).is_err());
        assert!(emptied(&beyond).is_err());
    }
    let refused = map_of(256).edits_from(&none);
    assert!(matches!(refused, Err(DataError::KeyTooLong { bytes: 256, .. })));
    let refused = set_of(1025).edits_from(&none);
    assert!(matches!(refused, Err(DataError::MemberTooLarge { bytes: 1025, .. })));
}

#[test]
fn a_counter_cannot_be_raised_by_more_than_64_bits_say() {
    let edits = |from, to| fields(Field::Counter(to)).edits_from(&fields(Field::Counter(from)));
    assert!(edits(0, i64::MIN).is_ok());
    assert!(edits(-1, i64::MAX - 1).is_ok());
    let refused = Err(DataError::CounterOverflow { field: "f".to_owned() });
    assert_eq!(edits(-1, i64::MAX), refused);
    assert_eq!(edits(1, i64::MIN), refused);
}

/// Fields of one shape for each name, as instances of one type have them.
fn instance() -> impl Strategy<Value = Fields> {
    let text = || prop::sample::select(vec!["", "a", "b", "c"]).prop_map(str::to_owned);
    let some = || few_encoded().prop_filter("nil is no entry", |value| !value.is_nil());
    let small = int().prop_map(|int| (int >> 2) as i64);
    (
        prop::option::of(encoded()),
        prop::option::of(btree_set(few_encoded(), 0..4)),
        prop::option::of(btree_map(text(), some(), 0..4)),
        prop::option::of(small),
    )
        .prop_map(|(value, set, map, counter)| {
            let mut fields = Fields::default();
            let all = [
                ("value", value.map(Field::Value)),
                ("set", set.map(Field::Set)),
                ("map", map.map(Field::Map)),
                ("counter", counter.map(Field::Counter)),
            ];
            for (field, shape) in all {
                if let Some(shape) = shape {
                    fields.insert(name(field), shape);
                }
            }
            fields
        })
}

/// What a record shows after the proposals given, each previewed and then stamped.
fn after(proposals: &[Proposal], key: &RecordKey) -> Fields {
    let mut record = Record::default();
    for (time, proposal) in (1..).zip(proposals) {
        let preview = proposal.preview(key, Some(Arc::new(record))).unwrap();
        let restamp = |stamp: Stamp| match stamp == Stamp::PROVISIONAL {
            true => at(time),
            false => stamp,
        };
        let registers = preview.registers().iter().map(|register| Register {
            path: match &register.path.element {
                Some(Element::Author(_)) => {
                    // Each raise is another author's, so that their sum counts.
                    let node = restamp(register.stamp).time.bits() as u8;
                    Path::counter(register.path.field.clone(), author(node))
                }
                _ => register.path.clone(),
            },
            stamp: restamp(register.stamp),
            value: register.value.clone(),
        });
        record = Record::new(
            preview.created().map(restamp),
            preview.destroyed().map(restamp),
            registers.collect(),
        );
    }
    Fields::of(&record)
}

proptest! {
    #[test]
    fn edits_turn_one_instance_into_another(from in instance(), to in instance()) {
        let key = RecordKey { model: name("m"), id: RecordId::Int(1) };
        let (mut create, mut update) = (Proposal::default(), Proposal::default());
        prop_assert!(create.create(key.clone(), &from).is_ok());
        let edits = to.edits_from(&from);
        prop_assume!(edits.is_ok(), "a counter raised beyond 64 bits");
        prop_assert!(update.update(key.clone(), edits.unwrap()).is_ok());

        // A set or map that never had anything in it is not there, nor a counter never raised.
        let is_there = |field: Option<&Field>| match field {
            None => false,
            Some(Field::Set(members)) => !members.is_empty(),
            Some(Field::Map(entries)) => !entries.is_empty(),
            Some(Field::Counter(sum)) => *sum != 0,
            Some(Field::Value(_)) => true,
        };
        let mut expected = Fields::default();
        for (name, field) in from.iter().chain(to.iter()) {
            if is_there(Some(field)) || is_there(from.get(name.as_str())) {
                expected.insert(name.clone(), field.clone());
            }
        }
        prop_assert_eq!(after(&[create, update], &key), expected);
    }
}
