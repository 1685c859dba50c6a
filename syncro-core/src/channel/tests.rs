//! Which channels templates name.

use proptest::collection::btree_set;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{name, text};
use crate::proposal::Proposal;

fn key(id: &str) -> RecordKey {
    RecordKey { model: name("todo"), id: RecordId::text(id).unwrap() }
}

fn named(template: &str, fields: &[(&str, Field)]) -> Vec<String> {
    let mut all = Fields::default();
    fields.iter().for_each(|(field, value)| all.insert(name(field), value.clone()));
    let channels = Template::new(template).unwrap().channels(&key("t/1"), &all).unwrap();
    channels.iter().map(Channel::to_string).collect()
}

fn plain(value: Value) -> Field {
    Field::Value(value.encode())
}

fn set(members: &[&str]) -> Field {
    Field::Set(members.iter().map(|member| Value::from(*member).encode()).collect())
}

#[test]
fn fields_stand_where_their_names_do() {
    assert_eq!(named("all", &[]), ["all"]);
    assert_eq!(named("page/{id}", &[]), ["page/t%2F1"]);
    let fields = [
        ("list", plain(Value::Int(-7))),
        ("who", plain(Value::from("ann"))),
        ("is", plain(Value::Bool(true))),
        ("node", plain(Value::Bytes(vec![0x11; 16]))),
    ];
    assert_eq!(named("{list}/{who}/{is}", &fields), ["-7/ann/true"]);
    assert_eq!(named("node/{node}", &fields), ["node/11111111-1111-1111-1111-111111111111"]);
}

#[test]
fn a_set_names_a_channel_for_each_member_and_two_for_each_pair() {
    let fields = [("a", set(&["x", "y"])), ("b", set(&["1", "2"])), ("none", set(&[]))];
    assert_eq!(named("l/{a}", &fields), ["l/x", "l/y"]);
    assert_eq!(named("{a}{b}", &fields), ["x1", "x2", "y1", "y2"]);
    assert!(named("l/{none}/{a}", &fields).is_empty());
}

#[test]
fn what_is_missing_or_no_name_makes_no_channel() {
    for value in [
        Value::Nil,
        Value::Float(1.0),
        Value::Bytes(vec![1; 15]),
        Value::Array(Vec::new()),
        Value::from("x".repeat(252).as_str()),
    ] {
        assert!(named("l/l/{a}", &[("a", plain(value))]).is_empty());
    }
    assert!(named("l/{a}", &[]).is_empty());
    assert!(named("l/{a}", &[("a", Field::Counter(1))]).is_empty());
}

/// Members that name no channel hid the others.
#[test]
fn a_record_has_at_most_1024_channels_or_there_is_no_telling() {
    let channels = |template: &str, members: BTreeSet<Encoded>| {
        let mut fields = Fields::default();
        fields.insert(name("a"), Field::Set(members));
        let channels = Template::new(template).unwrap().channels(&key("1"), &fields);
        channels.map(|channels| channels.len())
    };
    let texts = |count: usize| (0..count).map(|it| Value::from(it.to_string().as_str()).encode());
    let lists = (0..5000).map(|it| Value::Array(vec![Value::Int(it)]).encode());
    assert_eq!(channels("l/{a}", texts(CHANNELS_MAX).collect()), Some(CHANNELS_MAX));
    assert_eq!(channels("l/{a}", texts(CHANNELS_MAX).chain(lists).collect()), Some(CHANNELS_MAX));
    assert_eq!(channels("l/{a}", texts(CHANNELS_MAX + 1).collect()), None);
    assert_eq!(channels("{a}/{a}", texts(32).collect()), Some(CHANNELS_MAX));
    assert_eq!(channels("{a}/{a}", texts(33).collect()), None);
}

#[test]
fn a_template_that_cannot_be_read_is_named() {
    for bad in ["", "{", "}", "a{}", "a{b", "a}b", "{a{b}}", &"x".repeat(256)] {
        let error = Template::new(bad).unwrap_err();
        assert!(matches!(error, DataError::BadTemplate { .. }), "{bad}: {error}");
    }
}

#[test]
fn a_model_is_in_the_channels_that_its_record_says_for_as_long_as_it_says_so() {
    let mut templates = Templates::default();
    let model = |channels: &[&str]| {
        let channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
        let model = ModelChannels { model: "todo".to_owned(), channels };
        let mut proposal = Proposal::default();
        let key = RecordKey { model: name(MODELS), id: RecordId::text("todo").unwrap() };
        proposal.create(key.clone(), &FieldsWriter::fields_of(&model).unwrap()).unwrap();
        proposal.preview(&key, None).unwrap()
    };
    let mut todo = Proposal::default();
    let fields = [("list".to_owned(), Value::from("7"))].into();
    todo.create(key("1"), &Fields::from_values(&fields).unwrap()).unwrap();
    let todo = todo.preview(&key("1"), None).unwrap();
    let channels = |templates: &Templates| {
        let channels = templates.channels(&key("1"), Some(&todo)).unwrap();
        channels.iter().map(Channel::to_string).collect::<Vec<_>>()
    };
    assert_eq!(channels(&templates), ["model/todo"]);
    templates.take(&RecordId::text("todo").unwrap(), &model(&["list/{list}", "all", "bad{"]));
    assert_eq!(channels(&templates), ["all", "list/7"]);
    let unknown = templates.channels(&key("1"), Some(&Record::default())).unwrap();
    assert!(unknown.is_empty(), "not alive");
    templates.take(&RecordId::text("todo").unwrap(), &model(&[]));
    assert_eq!(channels(&templates), ["model/todo"]);
}

proptest! {
    #[test]
    fn two_records_share_a_channel_only_if_they_have_the_same_values(
        one in (text(), text()),
        other in (text(), text()),
    ) {
        let fields = |(a, b): &(String, String)| {
            [("a", plain(Value::from(a.as_str()))), ("b", plain(Value::from(b.as_str())))]
        };
        let channels = [&one, &other].map(|pair| named("{a}/{b}", &fields(pair)));
        prop_assert_eq!(channels[0] == channels[1], one == other);
    }

    #[test]
    fn no_value_makes_a_pattern_of_a_channel(members in btree_set(text(), 1..4)) {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        for channel in named("l/{a}", &[("a", set(&members))]) {
            prop_assert!(!channel.contains('*'));
            prop_assert_eq!(channel.matches('/').count(), 1);
        }
    }
}

#[test]
fn a_pattern_of_a_value_is_the_channel_of_the_value_and_of_no_other() {
    use crate::principal::Pattern;
    for value in ["*", "a*", "a/b", "%2A", "", "ü"] {
        let channel = named("user/{a}", &[("a", plain(Value::from(value)))]);
        let pattern = Pattern::of("user/", value).unwrap();
        assert_eq!([pattern.to_string()], channel[..]);
        let other = Channel("user/ann".into());
        assert!(!pattern.matches(&other), "{value}");
    }
    assert!(Pattern::of("user/", &"x".repeat(251)).is_err());
}
