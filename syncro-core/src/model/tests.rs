//! Types to fields and back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::name;
use crate::id::RecordKey;
use crate::proposal::Proposal;
use crate::record::{Path, Register};
use crate::stamp::{Stamp, Time};
use crate::value::Value;

#[derive(Debug, PartialEq, Clone)]
struct Page {
    id: i32,
    title: Option<String>,
    tags: BTreeSet<String>,
    notes: BTreeMap<String, Vec<u8>>,
    views: i64,
}

impl ScribeModel for Page {
    const MODEL: &'static str = "page";
    type Id = i32;
    fn id(&self) -> &i32 {
        &self.id
    }
    fn write(&self, fields: &mut FieldsWriter) -> Result<(), DataError> {
        fields.value("title", &self.title)?;
        fields.set("tags", &self.tags)?;
        fields.map("notes", &self.notes)?;
        fields.counter("views", self.views)
    }
    fn read(id: i32, fields: &FieldsReader<'_>) -> Result<Self, DataError> {
        Ok(Self {
            id,
            title: fields.value("title")?,
            tags: fields.set("tags")?,
            notes: fields.map("notes")?,
            views: fields.counter("views")?,
        })
    }
}

fn page() -> Page {
    Page {
        id: 1,
        title: Some("one".to_owned()),
        tags: ["a".to_owned()].into(),
        notes: [("k".to_owned(), vec![1])].into(),
        views: 3,
    }
}

fn read(fields: &Fields) -> Result<Page, DataError> {
    FieldsReader::instance(&RecordId::Int(1), fields)
}

#[test]
fn an_instance_goes_into_fields_of_its_shapes_and_comes_back() {
    let fields = FieldsWriter::fields_of(&page()).unwrap();
    assert!(matches!(fields.get("title"), Some(Field::Value(_))));
    assert!(matches!(fields.get("tags"), Some(Field::Set(_))));
    assert!(matches!(fields.get("notes"), Some(Field::Map(_))));
    assert_eq!(fields.get("views"), Some(&Field::Counter(3)));
    assert_eq!(read(&fields), Ok(page()));
}

#[test]
fn fields_that_a_record_lacks_read_as_empty_and_unknown_ones_are_passed_over() {
    let mut fields = Fields::default();
    fields.insert(name("later"), Field::Counter(1));
    let empty =
        Page { id: 1, title: None, tags: BTreeSet::new(), notes: BTreeMap::new(), views: 0 };
    assert_eq!(read(&fields), Ok(empty));
}

#[test]
fn a_field_that_does_not_fit_is_named_with_its_model() {
    let number = Encoded::int(5);
    for (field, shape) in [
        ("title", Field::Value(number.clone())),
        ("title", Field::Counter(5)),
        ("tags", Field::Value(number.clone())),
        ("notes", Field::Set([number.clone()].into())),
        ("views", Field::Value(number.clone())),
        ("tags", Field::Set([number.clone()].into())),
        ("notes", Field::Map([("k".to_owned(), number)].into())),
    ] {
        let mut fields = FieldsWriter::fields_of(&page()).unwrap();
        fields.insert(name(field), shape);
        let read = read(&fields);
        let is_named = matches!(
            &read,
            Err(DataError::Mismatch { model, field: named, .. }) if model == "page" && named == field
        );
        assert!(is_named, "{read:?}");
        let said = read.unwrap_err().to_string();
        assert!(said.contains("the record has ") && said.contains("type asks for "), "{said}");
    }
}

/// What was wrong was said in the words of the encoding: "wrong msgpack marker FixStr(4)".
#[test]
fn a_field_that_does_not_fit_says_what_was_found_what_was_asked_for_and_what_helps() {
    fn said<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        let fields = Fields::from_values(&[("f".to_owned(), value)].into()).unwrap();
        let source = Source::Fields(&fields);
        let reader = FieldsReader { model: "m", id: &RecordId::Int(1), source };
        reader.value::<T>("f").unwrap_err().to_string()
    }
    let list = Value::Array(vec![7.into(), "7".into()]);
    let map = Value::Map([("a".to_owned(), list.clone()), ("b".to_owned(), 1.into())].into());
    for (said, problem) in [
        (said::<u32>("milk".into()), "a string where the type asks for u32"),
        (said::<u8>(300.into()), "the integer 300 where the type asks for u8"),
        (said::<Option<i64>>(0.5.into()), "the float 0.5 where the type asks for i64"),
        (said::<String>(7.into()), "the integer 7 where the type asks for a string"),
        (said::<String>(true.into()), "a boolean where the type asks for a string"),
        (said::<Vec<u8>>(list.clone()), "a string where the type asks for u8"),
        (said::<bool>(list.clone()), "a list where the type asks for a boolean"),
        (said::<i128>("7".into()), "a string where the type asks for i128"),
        (said::<(u8,)>(map.clone()), "a map where the type asks for a tuple of size 1"),
        (said::<BTreeMap<String, u8>>(map), "a list where the type asks for u8"),
        (said::<Result<u8, u8>>("Other".into()), r#"the variant "Other", which is none of"#),
        (said::<uuid::Uuid>("7".into()), "a string where the type asks for a 16 byte array"),
    ] {
        assert!(said.starts_with(r#"field "f" of m/1 does not fit its type: "#), "{said}");
        assert!(said.contains(&format!("the record has {problem}")), "{said}");
        assert!(said.contains("; give the field the type that was recorded"), "{said}");
    }
}

/// What a refused change has left of another shape is nothing, and nobody stumbles over it.
#[test]
fn what_is_empty_reads_as_nothing_whatever_its_shape() {
    let empty = [
        Field::Value(Encoded::NIL),
        Field::Set(BTreeSet::new()),
        Field::Map(BTreeMap::new()),
        Field::Counter(0),
    ];
    for shape in empty {
        let mut fields = FieldsWriter::fields_of(&page()).unwrap();
        for field in ["title", "tags", "notes", "views"] {
            fields.insert(name(field), shape.clone());
        }
        let read = read(&fields).unwrap();
        assert_eq!((read.title, read.tags.len(), read.notes.len(), read.views), (None, 0, 0, 0));
    }
}

#[test]
fn an_id_of_another_sort_or_range_does_not_fit() {
    let fields = Fields::default();
    let text = RecordId::text("1").unwrap();
    for (id, sort) in [
        (text, "a text"),
        (RecordId::Int(1 << 40), "an integer"),
        (RecordId::Uuid(uuid::Uuid::nil()), "a UUID"),
    ] {
        let read = FieldsReader::instance::<Page>(&id, &fields);
        let Err(error @ DataError::Mismatch { .. }) = read else { panic!("{read:?}") };
        let said = error.to_string();
        assert!(said.contains(r#"field "id""#) && said.contains(sort), "{said}");
        assert!(said.contains("no i32; give the id the type"), "{said}");
    }
}

#[test]
fn a_default_stands_in_for_what_is_missing_or_nil_and_for_nothing_else() {
    let of = |value: Value| {
        let fields = Fields::from_values(&[("f".to_owned(), value)].into()).unwrap();
        FieldsReader { model: "m", id: &RecordId::Int(1), source: Source::Fields(&fields) }
            .value_or_default::<u8>("f")
    };
    let missing = FieldsReader {
        model: "m",
        id: &RecordId::Int(1),
        source: Source::Fields(&Fields::default()),
    }
    .value_or_default::<u8>("f");
    assert_eq!(missing, Ok(0));
    assert_eq!(of(Value::Nil), Ok(0));
    assert_eq!(of(7.into()), Ok(7));
    assert!(of("7".into()).is_err());
    assert!(of(300.into()).is_err());
}

#[test]
fn a_value_that_cannot_be_recorded_is_refused_by_the_name_of_its_field() {
    let keyed: BTreeMap<i32, i32> = [(1, 1)].into();
    let mut writer = FieldsWriter::default();
    let refusals =
        [writer.value("f", &keyed), writer.set("f", [&keyed]), writer.map("f", [(&"k", &keyed)])];
    for refusal in refusals {
        assert!(matches!(refusal, Err(DataError::BadValue { field, .. }) if field == "f"));
    }
    let refusal = writer.counter("", 1);
    assert!(matches!(refusal, Err(DataError::NameLength { bytes: 0, .. })));
}

/// A type that writes what it likes, and some of it more than once.
#[derive(Debug, Clone)]
struct Odd(Vec<(&'static str, Option<u8>)>);

impl ScribeModel for Odd {
    const MODEL: &'static str = "odd";
    type Id = i32;
    fn id(&self) -> &i32 {
        &1
    }
    fn write(&self, fields: &mut FieldsWriter) -> Result<(), DataError> {
        self.0.iter().try_for_each(|(name, number)| match number {
            Some(number) => fields.value(name, number),
            None => fields.set(name, [name]),
        })
    }
    fn read(_: i32, _: &FieldsReader<'_>) -> Result<Self, DataError> {
        Ok(Self(Vec::new()))
    }
}

fn odd() -> impl Strategy<Value = Odd> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    vec((name, option::weighted(0.8, 0..3_u8)), 0..5).prop_map(Odd)
}

/// The record that shows some fields.
fn record(fields: &Fields) -> Record {
    let stamp = Stamp::PROVISIONAL;
    let edits = fields.edits_from(&Fields::default()).unwrap().into_iter();
    let registers = edits.map(|edit| match edit {
        Edit::Write(path, value) => Register { path, stamp, value },
        Edit::Raise { field, by } => {
            let path = Path::counter(field, stamp.author);
            Register { path, stamp, value: Encoded::of(&by).unwrap() }
        }
    });
    Record::new(Some(stamp), None, registers.collect())
}

/// Both ways of recording what an instance writes.
fn proposals<M: ScribeModel>(instance: &M) -> [Vec<(Path, Encoded)>; 2] {
    let key = RecordKey { model: name(M::MODEL), id: instance.id().to_record_id().unwrap() };
    let (mut one, mut other) = (Proposal::default(), Proposal::default());
    one.create_instance(key.clone(), instance).unwrap();
    other.create(key, &FieldsWriter::fields_of(instance).unwrap()).unwrap();
    [one, other].map(|proposal| {
        let (_, change) = proposal.changes().next().unwrap();
        change.writes().into_owned()
    })
}

proptest! {
    #[test]
    fn an_instance_is_created_with_all_its_fields(odd in odd()) {
        let [written, expected] = proposals(&odd);
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn what_a_change_writes_is_the_difference_of_all_that_was_written(
        before in odd(),
        other in odd(),
        numbers in vec(0..3_u8, 5),
        is_other in any::<bool>(),
        shown in option::weighted(0.3, odd()),
    ) {
        let mut after = if is_other { other } else { before.clone() };
        let written = after.0.iter_mut().filter_map(|(_, number)| number.as_mut());
        written.zip(numbers).for_each(|(number, to)| *number = to);
        let fields = |odd| FieldsWriter::fields_of(odd).unwrap();
        let expected = fields(&after).edits_from(&fields(&before)).unwrap();
        // Most types write what the record shows that they were made of.
        let record = record(&fields(shown.as_ref().unwrap_or(&before)));
        let edits = FieldsWriter::edits_of(&mut before.clone(), &record, |it| *it = after).unwrap();
        let (mut edits, mut expected) = (edits, expected);
        edits.sort_by_key(|edit| format!("{edit:?}"));
        expected.sort_by_key(|edit| format!("{edit:?}"));
        prop_assert_eq!(edits, expected);
    }
}

#[test]
fn what_is_written_twice_out_of_order_is_one_edit() {
    let (mut before, after) = (Odd(vec![("b", Some(0))]), [("a", 0), ("c", 0), ("b", 1), ("c", 0)]);
    let record = record(&FieldsWriter::fields_of(&before).unwrap());
    let after = Odd(after.map(|(name, number)| (name, Some(number))).to_vec());
    let edits = FieldsWriter::edits_of(&mut before, &record, |it| *it = after).unwrap();
    assert_eq!(edits.len(), 3);
}

#[test]
fn an_instance_is_read_from_a_record_as_from_its_fields() {
    let at = |time| Stamp { time: Time::from_bits(time), ..Stamp::PROVISIONAL };
    let register = |path, time, value: &str| Register {
        path,
        stamp: at(time),
        value: Encoded::of(value).unwrap(),
    };
    let tags = Path::member(name("tags"), Encoded::of("b").unwrap());
    let mut registers = vec![
        register(Path::field(name("title")), 1, "one"),
        register(Path::field(name("tags")), 1, "hidden by what is younger"),
        Register { path: tags, stamp: at(2), value: Encoded::TRUE },
    ];
    registers.extend(
        (0..20)
            .map(|n| register(Path::field(name(&format!("later {n}"))), 1, "of another version")),
    );
    let record = Record::new(Some(at(1)), None, registers);
    let id = RecordId::Int(1);
    let read = FieldsReader::instance_of::<Page>(&id, &record);
    assert_eq!(read, FieldsReader::instance(&id, &Fields::of(&record)));
    assert_eq!(read.unwrap().tags, ["b".to_owned()].into());
    let gone = Record::new(Some(at(1)), Some(at(9)), Vec::new());
    assert_eq!(FieldsReader::instance_of::<Page>(&id, &gone).unwrap().title, None);
}
