//! What attributes and fields are to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use syncro::{Edit, Encoded, Name, RecordKey, ScribeModel, Value};
use syncro_classic::{Class, Settings, Shape, Tables};

use crate::support::{Desk, key, said, scribe};

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "Test")]
struct Full {
    id: String,
    name: String,
    #[scribe(counter)]
    views: i64,
    #[scribe(set)]
    tags: BTreeSet<String>,
    #[scribe(map)]
    notes: BTreeMap<String, String>,
}

fn full(id: &str) -> Full {
    let notes = [("x".to_owned(), "1".to_owned())].into();
    Full { id: id.to_owned(), name: "a".to_owned(), views: 5, tags: ["p".to_owned()].into(), notes }
}

fn shaped() -> Desk {
    let class = Class::new("Test").unwrap();
    let class =
        class.field("views", Shape::Counter).field("tags", Shape::Set).field("notes", Shape::Map);
    Desk::with(Settings { tables: Tables::default().allow(class).unwrap(), ..Settings::default() })
}

fn attributes(desk: &mut Desk) -> Json {
    let bob = desk.connect_empty("bob");
    let all = desk.sync(bob, json!("the state, please")).pop().unwrap();
    desk.hub.disconnect(bob);
    all["data"].clone()
}

#[test]
fn counters_sets_and_maps_are_numbers_lists_and_objects() {
    let mut desk = shaped();
    desk.node.create(&full("r1")).unwrap();
    desk.work();
    let shown = json!({"id": "r1", "name": "a", "views": 5, "tags": ["p"], "notes": {"x": "1"}});
    assert_eq!(attributes(&mut desk), shown);
}

/// What a classic peer writes to a counter is by how much it raises it; a set and a map gain and lose what differs.
/// The native type still reads all of it, and raises at the same time add up.
#[test]
fn a_classic_write_leaves_counters_sets_and_maps_what_they_are() {
    let mut desk = shaped();
    let ann = desk.connect_empty("ann");
    desk.node.create(&full("r1")).unwrap();
    desk.work();
    desk.told(ann);
    let data = json!(["r1", {"views": 8, "tags": ["q", "p"], "notes": {"y": "2"}}]);
    desk.push(ann, scribe("1", "update", data));
    let read: Full = desk.node.get(&"r1".to_owned()).unwrap().unwrap();
    assert_eq!((read.views, read.tags.len()), (8, 2));
    assert_eq!(read.notes, [("y".to_owned(), "2".to_owned())].into());
    desk.node.update::<Full>(&"r1".to_owned(), |full| full.views += 10).unwrap();
    desk.work();
    assert_eq!(said(&desk.told(ann)), [("update".to_owned(), json!(["r1", {"views": 18}]))]);
    // Only the member that came was written: another node's edits of the others survive.
    let entry = desk.node.log(0, 1 << 20).unwrap()[1].scribes().unwrap();
    let paths: Vec<String> = entry[0].fields.iter().map(|(path, _)| path.to_string()).collect();
    assert!(
        paths.iter().any(|path| path.contains('q'))
            && !paths.iter().any(|path| path.contains("\"p\"")),
        "{paths:?}"
    );
    // Null empties a set and a map.
    desk.push(ann, scribe("2", "update", json!(["r1", {"tags": null, "notes": null}])));
    let read: Full = desk.node.get(&"r1".to_owned()).unwrap().unwrap();
    assert_eq!((read.tags.len(), read.notes.len(), read.views), (0, 0, 18));
}

#[test]
fn what_does_not_fit_a_counter_a_set_or_a_map_is_refused_as_a_whole() {
    let mut desk = shaped();
    let ann = desk.connect_empty("ann");
    desk.node.create(&full("r1")).unwrap();
    desk.work();
    desk.told(ann);
    for changed in [
        json!({"views": "8", "name": "b"}),
        json!({"views": 1.5}),
        json!({"views": null}),
        json!({"tags": "q"}),
        json!({"tags": {"q": 1}}),
        json!({"notes": ["x"]}),
        json!({"": 1}),
    ] {
        let refused = desk.push_any(ann, scribe("1", "update", json!(["r1", changed])));
        assert_eq!(refused, json!({"type": "error", "code": 0}), "{changed}");
    }
    assert_eq!(desk.node.get::<Full>(&"r1".to_owned()).unwrap(), Some(full("r1")));
}

/// A record that a classic peer creates has no fields yet that say what they are: the class does.
#[test]
fn a_record_that_a_classic_peer_creates_reads_as_the_native_type() {
    let mut desk = shaped();
    let ann = desk.connect_empty("ann");
    let data = json!({"id": "r1", "name": "a", "views": 5, "tags": ["p"], "notes": {"x": "1"}});
    desk.push(ann, scribe("1", "create", data));
    assert_eq!(desk.node.get::<Full>(&"r1".to_owned()).unwrap(), Some(full("r1")));
}

/// JSON says neither bytes, nor integers beyond 2^53 - 1 to JavaScript, nor special floats: they are tagged, and
/// come back as what they are.
#[test]
fn what_json_cannot_say_is_tagged_and_comes_back() {
    let values = [
        ("bytes", Value::Bytes(vec![1, 2]), json!({"$bytes": "AQI="})),
        ("large", Value::Int(9_007_199_254_740_993), json!({"$int": "9007199254740993"})),
        ("largest", Value::Int(u64::MAX.into()), json!({"$int": "18446744073709551615"})),
        ("least", Value::Int(i64::MIN.into()), json!({"$int": "-9223372036854775808"})),
        ("safe", Value::Int(9_007_199_254_740_991), json!(9_007_199_254_740_991_u64)),
        ("inf", Value::Float(f64::INFINITY), json!({"$float": "inf"})),
        ("half", Value::Float(0.5), json!(0.5)),
        ("tag", Value::Map([("$int".to_owned(), "5".into())].into()), json!({"$$int": "5"})),
        ("tags", Value::Map([("$$int".to_owned(), "5".into())].into()), json!({"$$$int": "5"})),
        ("like", Value::Map([("$int".to_owned(), 5.into())].into()), json!({"$int": 5})),
        ("set", Value::Map([("$set".to_owned(), "5".into())].into()), json!({"$set": "5"})),
    ];
    let mut desk = Desk::new();
    desk.create("r1", "a");
    for (field, value, json) in &values {
        desk.edit("r1", field, value.clone());
        assert_eq!(attributes(&mut desk)[field], *json, "{field}");
    }
    let ann = desk.connect_empty("ann");
    let all = attributes(&mut desk);
    let end = desk.node.end();
    desk.push(ann, scribe("1", "create", all.clone()));
    assert_eq!(desk.node.end(), end, "it says nothing new");
    let mut other = all;
    other["id"] = json!("r2");
    desk.push(ann, scribe("2", "create", other));
    let read = desk.record("r2").unwrap();
    for (field, value, _) in values {
        assert_eq!(read[field], value, "{field}");
    }
}

/// JavaScript writes 1.0 as 1, and takes 1 for 1.0.
#[test]
fn a_number_that_is_written_another_way_says_nothing_new() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    desk.create("r1", "a");
    desk.edit("r1", "float", Value::Float(1.0));
    desk.edit("r1", "list", Value::Array(vec![Value::Float(2.0), 3.into()]));
    desk.told(ann);
    let end = desk.node.end();
    desk.push(ann, scribe("1", "update", json!(["r1", {"float": 1, "list": [2, 3.0]}])));
    assert_eq!(desk.node.end(), end);
    desk.push(ann, scribe("2", "update", json!(["r1", {"float": 2}])));
    assert_eq!(desk.record("r1").unwrap()["float"], Value::Int(2));
}

#[test]
fn null_clears_and_is_told() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, scribe("1", "create", json!({"id": "r1", "name": "a", "age": 1})));
    desk.push(ann, scribe("2", "update", json!(["r1", {"age": null}])));
    let told = said(&desk.told(bob));
    assert_eq!(told[1], ("update".to_owned(), json!(["r1", {"age": null}])));
    assert_eq!(attributes(&mut desk), json!({"id": "r1", "name": "a", "age": null}));
}

/// To classic peers a UUID is text. What they say of it goes to the record that has it.
#[test]
fn a_record_with_a_uuid_is_the_same_on_both_sides() {
    let mut desk = Desk::new();
    let uuid = uuid::Uuid::from_u128(7);
    let record = RecordKey { id: uuid.into(), ..key("x") };
    desk.node
        .transaction(|draft| draft.create_record(record.clone(), &syncro::Fields::default()))
        .unwrap();
    desk.work();
    let ann = desk.connect_empty("ann");
    assert_eq!(desk.sync(ann, json!(null))[0]["data"]["id"], uuid.to_string());
    desk.push(ann, scribe("1", "update", json!([uuid.to_string(), {"name": "b"}])));
    assert!(desk.node.get_record(&record).unwrap().unwrap().get("name").is_some());
    assert_eq!(desk.record(&uuid.to_string()), None);
}

/// A field called `id` is not the record's id, and is not shown; nor can a peer write one.
#[test]
fn the_id_is_the_records() {
    let mut desk = Desk::new();
    desk.create("r1", "a");
    desk.edit("r1", "id", "something else".into());
    let ann = desk.connect_empty("ann");
    assert_eq!(attributes(&mut desk)["id"], "r1");
    desk.push(ann, scribe("1", "update", json!(["r1", {"id": "r1", "name": "b"}])));
    assert_eq!(desk.record("r1").unwrap()["id"], Value::from("something else"));
    let refused = desk.push_any(ann, scribe("2", "update", json!(["r1", {"id": "r2"}])));
    assert_eq!(refused["code"], 0);
}

/// A class may be a model of another name.
#[test]
fn a_class_has_a_model() {
    let class = Class::new("App::Todo").unwrap().model(Name::new("todo").unwrap());
    let tables = Tables::default().allow(class).unwrap();
    let mut desk = Desk::with(Settings { tables, ..Settings::default() });
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    let todo = json!({"klass": "App::Todo", "type": "create", "id": "1", "data": {"id": "x"}});
    desk.push(ann, todo);
    assert_eq!(desk.node.models().unwrap(), [Name::new("todo").unwrap()]);
    assert_eq!(desk.told(bob)[0]["klass"], "App::Todo");
    let refused = desk
        .push_any(ann, json!({"klass": "todo", "type": "create", "id": "2", "data": {"id": "x"}}));
    assert_eq!(refused["code"], 403);
    let _ = Edit::value(Name::new("x").unwrap(), Encoded::NIL);
}
