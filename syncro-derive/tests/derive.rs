//! Derived models against the core that they are written for.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use syncro_core::limits::NAME_BYTES_MAX;
use syncro_core::{
    DataError, Edit, Encoded, Field, Fields, FieldsReader, FieldsWriter, ModelId, Name, RecordId,
    ScribeModel,
};
use syncro_derive::ScribeModel;
use uuid::Uuid;

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(crate = "syncro_core", model = "todo")]
struct TodoItem {
    id: Uuid,
    title: String,
    due: Option<Due>,
    #[scribe(set)]
    labels: BTreeSet<String>,
    #[scribe(set)]
    scores: Vec<u8>,
    #[scribe(map)]
    notes: HashMap<String, i32>,
    #[scribe(counter)]
    views: i64,
    #[scribe(rename = "prio", default)]
    priority: u8,
    #[scribe(skip)]
    is_selected: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Due {
    day: u16,
    is_strict: bool,
}

impl TodoItem {
    fn sample() -> Self {
        Self {
            id: Uuid::from_u128(7),
            title: "Buy milk".to_owned(),
            due: Some(Due { day: 12, is_strict: true }),
            labels: BTreeSet::from(["shop".to_owned(), "today".to_owned()]),
            scores: vec![3, 200],
            notes: HashMap::from([("litres".to_owned(), 2)]),
            views: 3,
            priority: 9,
            is_selected: false,
        }
    }
}

#[test]
fn an_instance_comes_back_from_its_fields() {
    let item = TodoItem::sample();
    assert_eq!(back(&item), item);
}

#[test]
fn an_instance_of_empty_collections_comes_back_from_its_fields() {
    let item = TodoItem {
        due: None,
        labels: BTreeSet::new(),
        scores: Vec::new(),
        notes: HashMap::new(),
        views: 0,
        ..TodoItem::sample()
    };
    assert_eq!(back(&item), item);
}

#[test]
fn each_field_is_written_under_its_name_and_kind() {
    let fields = written(&TodoItem::sample());
    let kinds = fields.iter().map(|(name, field)| {
        let kind = match field {
            Field::Value(_) => "value",
            Field::Set(_) => "set",
            Field::Map(_) => "map",
            Field::Counter(_) => "counter",
        };
        (name.as_str(), kind)
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(
        kinds,
        [
            ("due", "value"),
            ("labels", "set"),
            ("notes", "map"),
            ("prio", "value"),
            ("scores", "set"),
            ("title", "value"),
            ("views", "counter"),
        ]
    );
}

#[test]
fn a_skipped_field_reads_as_its_default() {
    let item = TodoItem { is_selected: true, ..TodoItem::sample() };
    assert!(!back(&item).is_selected);
}

#[test]
fn the_edits_of_a_changed_instance_are_its_changed_fields() {
    let before = TodoItem::sample();
    let after = TodoItem {
        title: "Buy oat milk".to_owned(),
        labels: BTreeSet::from(["today".to_owned(), "vegan".to_owned()]),
        notes: HashMap::from([("litres".to_owned(), 2), ("cents".to_owned(), 199)]),
        views: 5,
        ..before.clone()
    };
    assert_eq!(
        edits(&written(&after), &written(&before)),
        [
            Edit::add(name("labels"), encoded("vegan")).unwrap(),
            Edit::remove(name("labels"), encoded("shop")).unwrap(),
            Edit::entry(name("notes"), "cents", encoded(&199)).unwrap(),
            Edit::value(name("title"), encoded("Buy oat milk")),
            Edit::Raise { field: name("views"), by: 2 },
        ]
    );
}

#[test]
fn an_unchanged_instance_has_no_edits() {
    let fields = written(&TodoItem::sample());
    assert_eq!(edits(&fields, &fields), []);
}

#[test]
fn the_fields_of_a_newer_version_survive_a_change_by_an_older_one() {
    let mut recorded = written(&TodoItem::sample());
    recorded.insert(name("colour"), Field::Value(encoded("red")));

    let mut item: TodoItem = read(TodoItem::sample().id, &recorded).unwrap();
    item.title.clear();

    let edits = edits(&written(&item), &recorded);
    assert_eq!(edits, [Edit::value(name("title"), encoded(""))]);
}

#[test]
fn a_record_of_an_older_version_reads_with_empty_and_default_fields() {
    let mut recorded = Fields::default();
    recorded.insert(name("title"), Field::Value(encoded("Buy milk")));

    let item: TodoItem = read(Uuid::from_u128(7), &recorded).unwrap();
    let expected = TodoItem {
        due: None,
        labels: BTreeSet::new(),
        scores: Vec::new(),
        notes: HashMap::new(),
        views: 0,
        priority: 0,
        ..TodoItem::sample()
    };
    assert_eq!(item, expected);
}

#[test]
fn a_missing_field_without_a_default_is_a_mismatch_that_names_it() {
    let error = read::<TodoItem>(Uuid::from_u128(7), &Fields::default()).unwrap_err();
    let DataError::Mismatch { model, field, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((&*model, &*field), ("todo", "title"));
}

#[derive(ScribeModel, Debug, PartialEq)]
#[scribe(crate = "syncro_core")]
struct HTTPPage2Cache {
    #[scribe(id)]
    slug: String,
    /// Not the id, since another field is marked.
    id: u32,
    r#type: String,
}

#[test]
fn a_model_without_a_name_takes_that_of_its_struct_in_snake_case() {
    assert_eq!(HTTPPage2Cache::MODEL, "http_page2_cache");
}

#[test]
fn a_marked_id_leaves_a_field_named_id_to_be_recorded() {
    let page = HTTPPage2Cache { slug: "home".to_owned(), id: 4, r#type: "text".to_owned() };
    assert_eq!(page.id(), "home");
    let fields = written(&page);
    assert_eq!(fields.get("id"), Some(&Field::Value(encoded(&4))));
    assert_eq!(back(&page), page);
}

#[test]
fn a_raw_identifier_is_recorded_without_its_prefix() {
    let page = HTTPPage2Cache { slug: "home".to_owned(), id: 4, r#type: "text".to_owned() };
    assert!(written(&page).get("type").is_some());
}

#[derive(ScribeModel, Debug, PartialEq)]
#[scribe(crate = "syncro_core")]
struct Bare {
    id: RecordId,
}

#[test]
fn a_model_may_have_no_field_but_its_id() {
    let bare = Bare { id: RecordId::Int(1) };
    assert!(written(&bare).is_empty());
    assert_eq!(back(&bare), bare);
}

#[derive(ScribeModel, Debug, PartialEq)]
#[scribe(crate = "syncro_core")]
struct Reading<T, const WIDTH: usize>
where
    T: Serialize + DeserializeOwned + Ord,
{
    id: i64,
    value: Vec<T>,
    #[scribe(set)]
    seen: BTreeSet<T>,
    #[scribe(map)]
    by_place: BTreeMap<String, T>,
}

#[test]
fn a_generic_struct_is_a_model_for_every_parameter_that_fits() {
    let reading: Reading<u16, 3> = Reading {
        id: -1,
        value: vec![1, 2],
        seen: BTreeSet::from([5]),
        by_place: BTreeMap::from([("roof".to_owned(), 6)]),
    };
    assert_eq!(back(&reading), reading);
}

#[derive(ScribeModel, Debug, PartialEq)]
#[scribe(crate = "syncro_core")]
struct Aged {
    id: u32,
    #[deprecated]
    old: bool,
}

#[test]
fn a_deprecated_field_is_recorded_without_a_warning() {
    let mut fields = Fields::default();
    fields.insert(name("old"), Field::Value(encoded(&true)));
    let aged: Aged = read(1, &fields).unwrap();
    assert_eq!(written(&aged), fields);
}

/// A name as long as one may be, in a macro since an attribute takes a literal only.
macro_rules! of_longest_name {
    ($name:literal) => {
        const LONGEST: &str = $name;

        #[derive(ScribeModel, Debug, PartialEq)]
        #[scribe(crate = "syncro_core", model = $name)]
        struct Long {
            id: i32,
            #[scribe(rename = $name)]
            field: bool,
        }
    };
}
of_longest_name!(
    "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0123456789-\
     abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0123456789-\
     abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0123456789-\
     abcdefghijklmnopqrstuvwxyz0123456"
);

#[test]
fn a_name_may_be_as_long_as_the_core_allows() {
    assert_eq!(LONGEST.len(), NAME_BYTES_MAX);
    assert_eq!(Long::MODEL, LONGEST);
    let long = Long { id: 1, field: true };
    assert_eq!(back(&long), long);
}

fn written<M: ScribeModel>(instance: &M) -> Fields {
    FieldsWriter::fields_of(instance).unwrap()
}

fn read<M: ScribeModel>(id: M::Id, fields: &Fields) -> Result<M, DataError> {
    FieldsReader::instance(&id.to_record_id().unwrap(), fields)
}

/// The instance that is read from what another wrote.
fn back<M: ScribeModel + Debug>(instance: &M) -> M {
    let id = instance.id().to_record_id().unwrap();
    read(M::Id::from_record_id(&id).unwrap(), &written(instance)).unwrap()
}

/// The edits that record something: raising a counter by nothing does not.
fn edits(fields: &Fields, base: &Fields) -> Vec<Edit> {
    let mut edits = fields.edits_from(base).unwrap();
    edits.retain(|edit| !matches!(edit, Edit::Raise { by: 0, .. }));
    edits
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Encoded {
    Encoded::of(value).unwrap()
}
