//! Typed and untyped records.

use std::collections::BTreeMap;

use syncro::{
    DataError, Edit, Error, Field, Fields, Node, RecordId, ScribeModel, UsageError, Value,
};
use uuid::Uuid;

use crate::support::{Todo, converge, id, key, link, name, node, todo};

#[test]
fn a_record_is_created_read_changed_and_destroyed_on_every_backend() {
    let dir = tempfile::tempdir().unwrap();
    for node in [node("a"), Node::open(dir.path().join("a.redb"), "a").unwrap()] {
        let milk = Todo { due: Some(id("today")), views: 2, ..todo("milk") };
        assert_eq!(node.create(&milk).unwrap().unwrap().offset, 1);
        assert_eq!(node.get::<Todo>(&id("milk")).unwrap(), Some(milk.clone()));

        let changed = node.update::<Todo>(&id("milk"), |todo| todo.due = None).unwrap().unwrap();
        assert_eq!((changed.offset, node.end().offset), (2, 2));
        assert_eq!(node.get(&id("milk")).unwrap(), Some(Todo { due: None, ..milk.clone() }));

        node.destroy::<Todo>(&id("milk")).unwrap().unwrap();
        assert_eq!(node.get::<Todo>(&id("milk")).unwrap(), None);
        assert!(node.list::<Todo>(|_| true).unwrap().is_empty());
        let again = node.destroy::<Todo>(&id("milk")).unwrap_err();
        assert!(matches!(again, Error::Data(DataError::Missing { .. })), "{again}");

        node.create(&milk).unwrap().unwrap();
        assert_eq!(node.get(&id("milk")).unwrap(), Some(milk));
    }
}

#[test]
fn a_second_create_of_a_live_id_is_refused_and_changes_nothing() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let end = node.end();
    let refused = node.create(&Todo { title: id("other"), ..todo("milk") }).unwrap_err();
    assert!(matches!(refused, Error::Data(DataError::Exists { .. })), "{refused}");
    assert!(refused.to_string().contains("milk"), "{refused}");
    assert_eq!((node.end(), node.get(&id("milk")).unwrap()), (end, Some(todo("milk"))));
}

#[test]
fn a_save_that_changes_nothing_records_nothing() {
    let node = node("a");
    let mut milk = Todo { tags: [id("shop")].into(), views: 3, ..todo("milk") };
    assert!(node.save(&milk).unwrap().is_some());
    let end = node.end();

    assert_eq!(node.save(&milk).unwrap(), None);
    assert_eq!(node.update::<Todo>(&id("milk"), |_| ()).unwrap(), None);
    assert_eq!(node.update::<Todo>(&id("milk"), |todo| todo.views += 0).unwrap(), None);
    let put_back = |todo: &mut Todo| {
        todo.tags.remove("shop");
        todo.tags.insert(id("shop"));
    };
    assert_eq!(node.update(&id("milk"), put_back).unwrap(), None);
    assert_eq!(node.end(), end);

    milk.title = id("oat milk");
    assert!(node.save(&milk).unwrap().is_some());
    assert_eq!(node.log(end.offset, 1 << 20).unwrap()[0].scribes().unwrap()[0].fields.len(), 1);
}

#[tokio::test]
async fn what_two_nodes_do_apart_to_one_set_map_and_counter_all_stays() {
    let (a, b) = (node("a"), node("b"));
    let tags = [id("old"), id("worn")].into();
    let notes = BTreeMap::from([(id("old"), id("0"))]);
    a.create(&Todo { tags, notes, views: 10, ..todo("milk") }).unwrap();
    let met = link(&a, &b);
    converge(&a, &b).await;
    met.cut().await;

    for (node, me, by) in [(&a, "a", 3), (&b, "b", -5)] {
        node.update(&id("milk"), |todo: &mut Todo| {
            todo.tags.insert(id(me));
            todo.notes.insert(id(me), id("1"));
            todo.views += by;
        })
        .unwrap();
    }
    a.update(&id("milk"), |todo: &mut Todo| _ = todo.tags.remove("old")).unwrap();
    b.update(&id("milk"), |todo: &mut Todo| _ = todo.notes.remove("old")).unwrap();

    let _again = link(&b, &a);
    converge(&a, &b).await;
    let milk: Todo = a.get(&id("milk")).unwrap().unwrap();
    assert_eq!(milk.tags, [id("a"), id("b"), id("worn")].into());
    assert_eq!(milk.notes.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(milk.views, 8);
}

#[tokio::test]
async fn a_relay_reads_models_that_it_has_no_types_for() {
    let (a, relay) = (node("a"), node("relay"));
    a.create(&Todo { tags: [id("shop")].into(), views: 7, ..todo("milk") }).unwrap();
    let _link = link(&a, &relay);
    converge(&a, &relay).await;

    assert_eq!(relay.models().unwrap(), [name("todo")]);
    let fields = relay.get_record(&key("todo", "milk")).unwrap().unwrap();
    assert_eq!(fields.get("views"), Some(&Field::Counter(7)));
    let values = fields.to_values();
    assert_eq!(values["title"], Value::from("the title of milk"));
    assert_eq!(values["tags"], Value::Array(vec![Value::from("shop")]));
    let listed = relay.list_records(&name("todo")).unwrap();
    assert_eq!(listed, [(RecordId::text("milk").unwrap(), fields)]);
    assert!(relay.list_records(&name("unheard of")).unwrap().is_empty());
}

#[test]
fn untyped_writes_are_what_types_read() {
    let node = node("a");
    let fields = Fields::from_values(&[(id("title"), Value::from("bread"))].into()).unwrap();
    let edits = vec![
        Edit::Raise { field: name("views"), by: 2 },
        Edit::add(name("tags"), Value::from("shop").encode()).unwrap(),
        Edit::entry(name("notes"), "where", Value::from("corner").encode()).unwrap(),
    ];
    node.transaction(|draft| {
        draft.create_record(key("todo", "bread"), &fields)?;
        draft.update_record(key("todo", "bread"), edits)
    })
    .unwrap();
    let bread: Todo = node.get(&id("bread")).unwrap().unwrap();
    assert_eq!((bread.title.as_str(), bread.views), ("bread", 2));
    assert_eq!(bread.tags, [id("shop")].into());
    assert_eq!(bread.notes, [(id("where"), id("corner"))].into());
}

/// `Todo` as a later version of the program has it.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "todo")]
struct NewTodo {
    id: String,
    title: String,
    #[scribe(default)]
    priority: u8,
    #[scribe(set)]
    watchers: Vec<String>,
}

#[test]
fn an_older_type_keeps_the_fields_of_a_newer_one() {
    let node = node("a");
    let (title, watchers) = (id("milk"), vec![id("ann")]);
    let new = NewTodo { id: id("1"), title, priority: 3, watchers };
    node.create(&new).unwrap();

    node.update(&id("1"), |old: &mut Todo| old.title = id("oat milk")).unwrap();
    let mut old: Todo = node.get(&id("1")).unwrap().unwrap();
    old.due = Some(id("today"));
    node.save(&old).unwrap();
    assert_eq!(node.get(&id("1")).unwrap(), Some(NewTodo { title: id("oat milk"), ..new }));

    node.create(&todo("2")).unwrap();
    let read: NewTodo = node.get(&id("2")).unwrap().unwrap();
    assert_eq!((read.priority, read.watchers), (0, vec![]));
}

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "person")]
struct Customer {
    #[scribe(id)]
    number: i64,
    #[scribe(rename = "name")]
    called: String,
}

#[test]
fn renamed_models_and_fields_keep_the_names_that_others_know() {
    let node = node("a");
    for (number, called) in [(20, "Bob"), (-3, "Cleo"), (7, "Ann")] {
        node.create(&Customer { number, called: id(called) }).unwrap();
    }
    assert_eq!(node.models().unwrap(), [name("person")]);
    let ann = syncro::RecordKey { model: name("person"), id: RecordId::Int(7) };
    let fields = node.get_record(&ann).unwrap().unwrap();
    assert_eq!(fields.to_values(), [(id("name"), Value::from("Ann"))].into());

    let listed = node.list::<Customer>(|customer| customer.called != "Bob").unwrap();
    let numbers: Vec<_> = listed.iter().map(|customer| customer.number).collect();
    assert_eq!(numbers, [-3, 7], "in the order of the ids");
}

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(model = "todo")]
struct Unfit {
    id: Uuid,
    title: i64,
}

#[test]
fn a_record_that_does_not_fit_the_type_is_an_error_that_names_the_field() {
    let node = node("a");
    let known = Uuid::from_u128(7);
    let fields = Fields::from_values(&[(id("title"), Value::from("text"))].into()).unwrap();
    let key = syncro::RecordKey { model: name("todo"), id: known.into() };
    node.transaction(|draft| draft.create_record(key, &fields)).unwrap();
    match node.get::<Unfit>(&known) {
        Err(Error::Data(DataError::Mismatch { model, id, field, .. })) => {
            assert_eq!((model.as_str(), id, field.as_str()), ("todo", known.into(), "title"));
        }
        other => panic!("{other:?}"),
    }
    assert!(node.list::<Todo>(|_| true).unwrap_err().to_string().contains("id"));
}

/// One record of an older program made every list fail, and nothing said which it was.
#[tokio::test]
async fn a_record_that_lacks_a_field_is_named_wherever_it_is_read_with_what_helps() {
    let node = node("a");
    let mut watch = node.watch::<Todo>();
    node.create(&todo("fit")).unwrap();
    let old = key("todo", "old");
    for (title, says) in
        [(Value::Nil, "#[scribe(default)]"), (Value::from(7), "does not fit its type")]
    {
        let fields = Fields::from_values(&[(id("title"), title)].into()).unwrap();
        let write = |draft: &mut syncro::Draft| draft.create_record(old.clone(), &fields);
        node.transaction(write).unwrap();
        let errors = [
            node.get::<Todo>(&id("old")).unwrap_err(),
            node.list::<Todo>(|_| true).unwrap_err(),
            node.update::<Todo>(&id("old"), |_| ()).unwrap_err(),
            loop {
                if let Err(error) = watch.next().await {
                    break error;
                }
            },
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.starts_with("field \"title\" of todo/old "), "{error}");
            assert!(error.contains(says), "{error}");
        }
        node.transaction(|draft| draft.destroy_record(old.clone())).unwrap();
    }
    assert_eq!(node.list::<Todo>(|_| true).unwrap(), [todo("fit")]);
}

#[test]
fn a_file_keeps_records_log_and_node() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let open = || Node::open(&path, "a").unwrap();
    let first = open();
    first.create(&todo("milk")).unwrap();
    first.update(&id("milk"), |todo: &mut Todo| todo.views = 4).unwrap();
    let (node, end, digest) = (first.id(), first.end(), first.digest().unwrap());
    drop(first);

    let second = open();
    assert_eq!((second.id(), second.end(), second.digest().unwrap()), (node, end, digest));
    assert_eq!(second.get(&id("milk")).unwrap(), Some(Todo { views: 4, ..todo("milk") }));
    second.update(&id("milk"), |todo: &mut Todo| todo.views += 1).unwrap();
    assert_eq!(second.get::<Todo>(&id("milk")).unwrap().unwrap().views, 5);
}

/// It was told as damage, with the advice to restore a backup.
#[test]
fn the_log_is_not_read_from_within_a_transaction() {
    let node = node("a");
    node.transaction(|draft| {
        draft.create(&todo("1"))?;
        draft.create(&todo("2"))
    })
    .unwrap();
    let within = node.log(1, 1000).unwrap_err();
    assert!(matches!(within, Error::Usage(UsageError::UnknownOffset { offset: 1 })), "{within}");
    assert_eq!(node.log(0, 1000).unwrap().len(), 1);
    assert!(node.log(2, 1000).unwrap().is_empty());
    assert!(node.log(3, 1000).unwrap().is_empty());
}
