//! Attributes as classic peers know them, and the fields of the node's records.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value as Json};
use syncro::{Edit, Field, Fields, Name, RecordId, Value};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::class::{Class, Shape};

/// The attributes of a record, its id among them.
pub type Attributes = Map<String, Json>;

/// Why attributes cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("attribute {0:?} is a counter, and takes an integer of 64 bits")]
    Counter(String),
    #[error("attribute {0:?} is a set, and takes a list")]
    Set(String),
    #[error("attribute {0:?} is a map, and takes an object")]
    Map(String),
    #[error("there is no {0}, and never was")]
    Unknown(String),
    #[error("{0}")]
    Data(String),
}

impl From<syncro::DataError> for Unfit {
    fn from(error: syncro::DataError) -> Self {
        Self::Data(error.to_string())
    }
}

/// The id of a record as classic peers see it: a number, or text. A UUID is text to them.
pub(crate) fn id_to_json(id: &RecordId) -> Json {
    match id {
        RecordId::Int(int) => Json::from(*int),
        id => Json::String(id.to_string()),
    }
}

/// The id that a classic peer means; `None` for what can be none. Text that reads as a UUID may mean one: see
/// [`uuid_of`].
pub(crate) fn id_from_json(id: &Json) -> Option<RecordId> {
    match id {
        Json::Number(number) => number.as_i64().map(RecordId::Int),
        Json::String(text) => RecordId::text(text).ok(),
        _ => None,
    }
}

/// The attributes of a record. A field called `id` is hidden by the record's own.
pub(crate) fn attributes(id: &Json, fields: &Fields) -> Attributes {
    let shown = fields.iter().map(|(name, field)| {
        let json = match field {
            Field::Value(value) => to_json(&value.decode()),
            Field::Counter(sum) => Json::from(*sum),
            Field::Set(members) => members.iter().map(|one| to_json(&one.decode())).collect(),
            Field::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, one)| (key.clone(), to_json(&one.decode())));
                object(entries.collect())
            }
        };
        (name.to_string(), json)
    });
    let mut attributes: Attributes = shown.collect();
    attributes.insert("id".to_owned(), id.clone());
    attributes
}

/// What is in `after` and not the same in `before`; null for what is only in `before`.
pub(crate) fn changed(before: &Attributes, after: &Attributes) -> Attributes {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| (name.clone(), Json::Null));
    let new = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    gone.chain(new.map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// The fields of a record that is created.
pub(crate) fn fields(class: &Class, given: &Attributes) -> Result<Fields, Unfit> {
    wanted(class, &Fields::default(), given)
}

/// The edits that bring a record to the attributes given; others stay as they are.
///
/// Counters, sets and maps stay what they are: a counter is raised by the difference to its present sum, sets
/// and maps gain and lose what differs. What says the same as before is no edit.
pub(crate) fn edits(class: &Class, now: &Fields, given: &Attributes) -> Result<Vec<Edit>, Unfit> {
    Ok(wanted(class, now, given)?.edits_from(now)?)
}

fn wanted(class: &Class, now: &Fields, given: &Attributes) -> Result<Fields, Unfit> {
    let mut wanted = Fields::default();
    for (name, json) in given.iter().filter(|(name, _)| *name != "id") {
        let present = now.get(name).filter(|field| !is_nil(field));
        let shape = match present {
            Some(Field::Value(value)) if says_the_same(&to_json(&value.decode()), json) => continue,
            Some(Field::Value(_)) => None,
            Some(Field::Counter(_)) => Some(Shape::Counter),
            Some(Field::Set(_)) => Some(Shape::Set),
            Some(Field::Map(_)) => Some(Shape::Map),
            None => class.shape(name),
        };
        wanted.insert(Name::new(name)?, shaped(shape, name, json)?);
    }
    Ok(wanted)
}

fn shaped(shape: Option<Shape>, name: &str, json: &Json) -> Result<Field, Unfit> {
    Ok(match (shape, json) {
        (None, json) => Field::Value(to_value(json).encode()),
        (Some(Shape::Counter), json) => {
            let sum = json.as_i64().ok_or_else(|| Unfit::Counter(name.to_owned()))?;
            Field::Counter(sum)
        }
        (Some(Shape::Set), Json::Null) => Field::Set(BTreeSet::new()),
        (Some(Shape::Set), Json::Array(members)) => {
            Field::Set(members.iter().map(|member| to_value(member).encode()).collect())
        }
        (Some(Shape::Set), _) => return Err(Unfit::Set(name.to_owned())),
        (Some(Shape::Map), Json::Null) => Field::Map(BTreeMap::new()),
        (Some(Shape::Map), json) => match to_value(json) {
            Value::Map(entries) => {
                let entries = entries.into_iter().filter(|(_, value)| *value != Value::Nil);
                Field::Map(entries.map(|(key, value)| (key, value.encode())).collect())
            }
            _ => return Err(Unfit::Map(name.to_owned())),
        },
    })
}

fn is_nil(field: &Field) -> bool {
    matches!(field, Field::Value(value) if value.is_nil())
}

/// Whether a peer that was shown `shown` and says `said` has changed nothing: JavaScript writes 1.0 as 1.
fn says_the_same(shown: &Json, said: &Json) -> bool {
    match (shown, said) {
        (Json::Number(one), Json::Number(other)) if one.is_f64() != other.is_f64() => {
            one.as_f64() == other.as_f64() && one.as_f64().is_some_and(|float| float.abs() <= SAFE)
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| says_the_same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let same = |(key, one)| other.get(key).is_some_and(|other| says_the_same(one, other));
            one.len() == other.len() && one.iter().all(same)
        }
        (one, other) => one == other,
    }
}

/// Beyond this, JavaScript's numbers skip integers.
const SAFE: f64 = 9_007_199_254_740_991.0;

/// A value as JSON. What JSON or JavaScript cannot say is tagged, alone in an object: `{"$bytes": base64}`,
/// `{"$int": decimal}` beyond 2^53 - 1 in either direction, `{"$float": "nan" | "inf" | "-inf"}`.
pub(crate) fn to_json(value: &Value) -> Json {
    let tagged = |tag: &str, text: String| {
        Json::Object([(tag.to_owned(), Json::String(text))].into_iter().collect())
    };
    match value {
        Value::Nil => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(int) => match i64::try_from(*int) {
            Ok(int) if int.unsigned_abs() <= SAFE as u64 => Json::from(int),
            _ => tagged(INT, int.to_string()),
        },
        Value::Float(float) => match Number::from_f64(*float) {
            Some(number) => Json::Number(number),
            None if float.is_nan() => tagged(FLOAT, "nan".to_owned()),
            None => tagged(FLOAT, if *float > 0.0 { "inf" } else { "-inf" }.to_owned()),
        },
        Value::Text(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => tagged(BYTES, STANDARD.encode(bytes)),
        Value::Array(array) => array.iter().map(to_json).collect(),
        Value::Map(map) => {
            object(map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
    }
}

/// An object that is none of the tagged ones: one that looks so gets a second `$`.
fn object(map: Map<String, Json>) -> Json {
    if looks_tagged(&map) {
        return Json::Object(map.into_iter().map(|(key, one)| (format!("${key}"), one)).collect());
    }
    Json::Object(map)
}

/// JSON as a value. An object that is tagged, but not as it should be, is taken for what it is: peers of 2010
/// know nothing of tags.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int.into()),
            (None, Some(int)) => Value::Int(int.into()),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(array) => Value::Array(array.iter().map(to_value).collect()),
        Json::Object(map) => untagged(map).unwrap_or_else(|| {
            let is_escaped = looks_tagged(map) && map.keys().all(|key| key.starts_with("$$"));
            let key = |key: &String| key[usize::from(is_escaped)..].to_owned();
            Value::Map(map.iter().map(|(name, value)| (key(name), to_value(value))).collect())
        }),
    }
}

fn untagged(map: &Map<String, Json>) -> Option<Value> {
    let (tag, text) = map.iter().next().filter(|_| map.len() == 1)?;
    let text = text.as_str()?;
    match tag.as_str() {
        BYTES => STANDARD.decode(text).ok().map(Value::Bytes),
        INT => {
            let int: i128 = text.parse().ok()?;
            (i64::try_from(int).is_ok() || u64::try_from(int).is_ok()).then_some(Value::Int(int))
        }
        FLOAT => match text {
            "nan" => Some(Value::Float(f64::NAN)),
            "inf" => Some(Value::Float(f64::INFINITY)),
            "-inf" => Some(Value::Float(f64::NEG_INFINITY)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an object has one key, a tag with any number of `$`, and text under it.
fn looks_tagged(map: &Map<String, Json>) -> bool {
    let is_tag = |key: &str| {
        key.starts_with('$')
            && [BYTES, INT, FLOAT].contains(&&*format!("${}", key.trim_start_matches('$')))
    };
    map.len() == 1 && map.iter().all(|(key, value)| is_tag(key) && value.is_string())
}

const BYTES: &str = "$bytes";
const INT: &str = "$int";
const FLOAT: &str = "$float";

#[cfg(test)]
mod tests;
