//! Data that cannot be recorded is refused before anything is, and the error names the field.

use std::collections::BTreeMap;

use syncro::{
    DataError, Edit, Encoding, Error, Fields, Node, RecordId, RecordKey, ScribeModel, UsageError,
    Value,
};

use crate::support::{Todo, converge, id, key, link_in, name, node, todo};

/// Does what must fail, and returns why; nothing may have been recorded.
fn refused<T>(node: &Node, write: impl FnOnce(&Node) -> Result<T, Error>) -> DataError {
    let end = node.end();
    let error = match write(node) {
        Err(Error::Data(error)) => error,
        Err(other) => panic!("not the data's fault: {other}"),
        Ok(_) => panic!("it was taken"),
    };
    assert_eq!(node.end(), end);
    error
}

#[test]
fn an_id_has_1_to_255_bytes() {
    let node = node("a");
    for length in [0, 256] {
        let long = "x".repeat(length);
        let error = refused(&node, |node| node.create(&todo(&long)));
        assert!(matches!(error, DataError::IdLength { bytes, .. } if bytes == length), "{error}");
        assert!(error.to_string().contains("an id has 1 to 255"), "{error}");
        assert!(node.get::<Todo>(&long).is_err());
        assert!(RecordId::text(&long).is_err());
    }
    node.create(&todo(&"x".repeat(255))).unwrap();
}

/// It was taken for an update of nothing, and the application went on with a record that was nowhere.
#[test]
fn an_update_that_changes_the_id_is_refused_and_names_both() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let end = node.end();
    let rename = |todo: &mut Todo| (todo.id, todo.views) = (id("bread"), 1);
    let mut draft = node.draft();
    for refused in [
        node.update(&id("milk"), rename).map(|_| ()),
        node.transaction(|draft| draft.update(&id("milk"), rename)).map(|_| ()),
        draft.update(&id("milk"), rename),
    ] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("todo/milk made its id bread"), "{error}");
        assert!(matches!(error, Error::Usage(UsageError::IdChanged { .. })), "{error}");
    }
    assert!(draft.get::<Todo>(&id("bread")).unwrap().is_none());
    assert_eq!(node.end(), end);
    assert_eq!(node.get(&id("milk")).unwrap(), Some(todo("milk")));
}

#[test]
fn a_name_has_1_to_255_bytes() {
    let node = node("a");
    for length in [0, 256] {
        let field = "f".repeat(length);
        let error = Fields::from_values(&[(field.clone(), Value::from("x"))].into()).unwrap_err();
        assert!(matches!(error, DataError::NameLength { bytes, .. } if bytes == length));
        assert!(matches!(Node::in_memory(&field), Err(Error::Data(DataError::NameLength { .. }))));
    }
    let notes = BTreeMap::from([("k".repeat(256), id("x"))]);
    let error = refused(&node, |node| node.create(&Todo { notes, ..todo("milk") }));
    assert!(matches!(error, DataError::KeyTooLong { bytes: 256, .. }), "{error}");
    assert!(error.to_string().contains("notes"), "{error}");
}

#[test]
fn a_value_has_at_most_256_kib() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let fits = "x".repeat((256 << 10) - 5);
    node.update(&id("milk"), |todo: &mut Todo| todo.title = fits.clone()).unwrap();
    let error =
        refused(&node, |node| node.update(&id("milk"), |todo: &mut Todo| todo.title.push('x')));
    let over = (256 << 10) + 1;
    assert_eq!(error, DataError::ValueTooLarge { field: id("title"), bytes: over });
    assert!(error.to_string().contains("\"title\""), "{error}");

    let notes = BTreeMap::from([(id("n"), fits + "x")]);
    let error = refused(&node, |node| node.create(&Todo { notes, ..todo("bread") }));
    assert_eq!(error, DataError::ValueTooLarge { field: id("notes"), bytes: over });
}

#[test]
fn a_set_member_has_at_most_1_kib() {
    let node = node("a");
    let fits = "x".repeat(1024 - 3);
    node.create(&Todo { tags: [fits.clone()].into(), ..todo("milk") }).unwrap();
    let error =
        refused(&node, |node| node.create(&Todo { tags: [fits + "x"].into(), ..todo("bread") }));
    assert_eq!(error, DataError::MemberTooLarge { field: id("tags"), bytes: 1025 });
}

#[derive(ScribeModel, Clone, Debug, PartialEq)]
struct Loose {
    id: String,
    #[scribe(map)]
    notes: BTreeMap<String, Option<String>>,
}

#[test]
fn a_map_entry_is_not_nil() {
    let node = node("a");
    let notes = BTreeMap::from([(id("kept"), Some(id("x"))), (id("empty"), None)]);
    let error = refused(&node, |node| node.create(&Loose { id: id("1"), notes }));
    assert_eq!(error, DataError::NilEntry { field: id("notes"), key: id("empty") });
    assert!(error.to_string().contains("remove the entry"), "{error}");
}

#[test]
fn a_counter_stays_within_64_bits() {
    let node = node("a");
    node.create(&Todo { views: i64::MAX, ..todo("milk") }).unwrap();
    let raise = |by| vec![Edit::Raise { field: name("views"), by }];
    let error = refused(&node, |node| {
        node.transaction(|draft| draft.update_record(key("todo", "milk"), raise(1)))
    });
    assert_eq!(error, DataError::CounterOverflow { field: id("views") });
    let error = refused(&node, |node| node.update(&id("milk"), |todo: &mut Todo| todo.views = -2));
    assert_eq!(error, DataError::CounterOverflow { field: id("views") });
    node.update(&id("milk"), |todo: &mut Todo| todo.views = 0).unwrap();
    assert_eq!(node.get::<Todo>(&id("milk")).unwrap().unwrap().views, 0);
}

#[test]
fn a_transaction_has_at_most_1_mib() {
    let node = node("a");
    let large = Todo { title: "x".repeat(200 << 10), ..todo("milk") };
    let write = |node: &Node, count: usize| {
        node.transaction(|draft| {
            (0..count).try_for_each(|n| draft.create(&Todo { id: n.to_string(), ..large.clone() }))
        })
    };
    let error = refused(&node, |node| write(node, 6));
    assert!(matches!(error, DataError::TransactionTooLarge { bytes } if bytes > 1 << 20));
    assert!(error.to_string().contains("split it up"), "{error}");
    write(&node, 5).unwrap();
}

#[test]
fn a_value_that_nests_too_deep_is_refused_by_its_field() {
    let node = node("a");
    let deep = (0..40).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    let fields = Fields::from_values(&[(id("deep"), deep)].into()).unwrap();
    let error = refused(&node, |node| {
        node.transaction(|draft| draft.create_record(key("todo", "milk"), &fields))
    });
    assert!(matches!(&error, DataError::BadValue { field, .. } if field == "deep"), "{error}");
}

/// What one node takes, every other must take: a record that no peer can read would end each session.
#[tokio::test]
async fn what_stands_at_a_limit_reaches_a_peer_in_both_encodings() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (a, b) = (node("a"), node("b"));
        let notes = BTreeMap::from([(id(""), id("empty key")), ("k".repeat(255), id("\0"))]);
        let tags = [id(""), "x".repeat(1021)].into();
        let edge = Todo { title: "\u{1}".repeat((256 << 10) - 5), notes, tags, ..todo("edge") };
        a.create(&Todo { views: i64::MIN, ..edge.clone() }).unwrap();
        let nested = (0..31).fold(Value::Bytes(vec![0; 9]), |inner, _| Value::Array(vec![inner]));
        let odd = Value::Map([(id("$bytes"), nested), (id(""), Value::Float(-0.0))].into());
        let ints = [i128::from(u64::MAX), i128::from(i64::MIN)].map(Value::Int).into();
        let values = [(id("odd"), odd), (id("ints"), Value::Array(ints))].into();
        let fields = Fields::from_values(&values).unwrap();
        let key = RecordKey { model: name(&"m".repeat(255)), id: RecordId::Int(i64::MIN) };
        a.transaction(|draft| draft.create_record(key.clone(), &fields)).unwrap();

        let _link = link_in(&a, &b, encoding);
        converge(&a, &b).await;
        assert!(b.get(&id("edge")).unwrap() == Some(Todo { views: i64::MIN, ..edge }));
        assert_eq!(b.get_record(&key).unwrap(), Some(fields));
    }
}
