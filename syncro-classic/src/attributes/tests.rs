use proptest::prelude::*;

use super::*;

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(|int| Value::Int(int.into())),
        any::<f64>().prop_map(Value::Float),
        "[$a-c]{0,4}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
    ];
    let key = prop_oneof!["[$]{0,3}(int|bytes|float)", "[$a-c]{0,3}"];
    leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key.clone(), inner, 0..3).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_from_json(value in values()) {
        let json: Json = serde_json::from_str(&to_json(&value).to_string()).unwrap();
        prop_assert_eq!(to_value(&json).encode(), value.encode());
    }
}

#[test]
fn json_that_looks_tagged_and_is_not_is_what_it_is() {
    for text in [
        r#"{"$bytes":"%"}"#,
        r#"{"$int":"x"}"#,
        r#"{"$int":"99999999999999999999"}"#,
        r#"{"$float":"1"}"#,
        r#"{"$what":"x"}"#,
        r#"{"$int":1}"#,
        r#"{"$int":"1","a":2}"#,
    ] {
        let json: Json = serde_json::from_str(text).unwrap();
        assert!(matches!(to_value(&json), Value::Map(_)), "{text}");
    }
}

#[test]
fn ids_are_numbers_and_text() {
    for (json, id) in [
        (Json::from(5), Some(RecordId::Int(5))),
        (Json::from(-5), Some(RecordId::Int(-5))),
        (Json::from(u64::MAX), None),
        (Json::from(1.5), None),
        (Json::from("5"), RecordId::text("5").ok()),
        (Json::from(""), None),
        (Json::from("x".repeat(256)), None),
        (Json::Null, None),
        (Json::from(true), None),
        (serde_json::json!(["a"]), None),
    ] {
        assert_eq!(id_from_json(&json), id, "{json}");
        if let Some(id) = id {
            assert_eq!(id_to_json(&id), json);
        }
    }
}

#[test]
fn what_is_gone_is_null() {
    let of = |json: Json| json.as_object().unwrap().clone();
    let before = of(serde_json::json!({"id": "r", "a": 1, "b": 2, "c": 3}));
    let after = of(serde_json::json!({"id": "r", "a": 1, "b": 3, "d": 4}));
    let changed = changed(&before, &after);
    assert_eq!(Json::Object(changed), serde_json::json!({"b": 3, "c": null, "d": 4}));
}
