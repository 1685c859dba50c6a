//! Channels: labels that templates give to records by their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use smol_str::SmolStr;
use uuid::Uuid;

use crate::digest::Digest;
use crate::error::DataError;
use crate::fields::{Field, Fields};
use crate::id::{Name, NodeId, RecordId, RecordKey};
use crate::limits::{CHANNELS_MAX, NAME_BYTES_MAX, TEMPLATES_MAX};
use crate::model::{FieldsReader, FieldsWriter, ScribeModel};
use crate::record::Record;
use crate::value::{Encoded, Value};
use crate::verdict::Verdict;

/// The reserved model whose records hold the templates of the others: the id is a model's name, the field
/// `channels` a list of templates as text.
pub const MODELS: &str = "syncro.model";

/// A label on records, by which it is said who may see and change them: 1 to 255 bytes of text such as `list/7`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(SmolStr);

impl Channel {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel of a name.
    ///
    /// # Errors
    ///
    /// [`DataError::BadTemplate`] for one that is empty or longer than 255 bytes.
    pub fn new(text: &str) -> Result<Self, DataError> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            let reason = "a channel has 1 to 255 bytes".to_owned();
            return Err(DataError::BadTemplate { template: crate::id::abridged(text), reason });
        }
        Ok(Self(text.into()))
    }

    /// The channel of what is meant for one node: verdicts.
    pub fn of_node(node: NodeId) -> Self {
        Self(format!("node/{node}").into())
    }

    /// What it is called in rows.
    pub(crate) fn hash(&self) -> Digest {
        Digest::EMPTY.then(self.0.as_bytes())
    }

    /// The channel of the same name.
    pub(crate) fn named(name: &Name) -> Self {
        Self(name.as_str().into())
    }

    /// The channel of the records of a model that has no templates: `model/` and its name.
    pub fn of_model(model: &Name) -> Self {
        Self(format!("model/{}", escaped(model.as_str())).into())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The sum of the hashes of the records in a channel, modulo 2^128: equal for equal content, in whatever order it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum(u128);

impl Sum {
    pub(crate) fn add(&mut self, hash: Digest) {
        self.0 = self.0.wrapping_add(u128::from_be_bytes(hash.0));
    }

    pub(crate) fn subtract(&mut self, hash: Digest) {
        self.0 = self.0.wrapping_sub(u128::from_be_bytes(hash.0));
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// Names a record's channels by its fields: text in which `{field}` stands for the value of a field, and `{id}` for the
/// record's id.
///
/// A field is a text, an integer, a bool or 16 bytes, which are written as a UUID; of a set it is each of the members,
/// which makes as many channels. Where a field is missing, nil or of another sort, the template names no channel. In
/// what stands for a field, `/`, `%`, `*` and control characters are written as `%2F` and so on. Put a `/` between two
/// fields, and no values can pass for others. An integer and the same digits as text make one channel.
///
/// ```
/// use syncro_core::{Fields, Name, RecordId, RecordKey, Template, Value};
///
/// let template = Template::new("list/{list_id}")?;
/// let fields = Fields::from_values(&[("list_id".into(), Value::from("7"))].into())?;
/// let key = RecordKey { model: Name::new("todo")?, id: RecordId::text("t1")? };
/// let channels = template.channels(&key, &fields).unwrap();
/// assert_eq!(channels.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["list/7"]);
/// # Ok::<(), syncro_core::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Field(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`DataError::BadTemplate`] for one that is empty or longer than 255 bytes, or whose braces do not match or hold
    /// nothing.
    pub fn new(text: &str) -> Result<Self, DataError> {
        let bad = |reason: &str| DataError::BadTemplate {
            template: crate::id::abridged(text),
            reason: reason.to_owned(),
        };
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(bad("a template has 1 to 255 bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, field) = match rest.split_once('{') {
                None => (rest, None),
                Some((plain, after)) => {
                    let split = after.split_once('}');
                    let (field, after) = split.ok_or_else(|| bad("a `{` has no `}`"))?;
                    if field.is_empty() || field.contains('{') {
                        return Err(bad("between braces stands the name of a field, or `id`"));
                    }
                    rest = after;
                    (plain, Some(field))
                }
            };
            if plain.contains('}') {
                return Err(bad("a `}` has no `{`"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            match field {
                None => break,
                Some("id") => parts.push(Part::Id),
                Some(field) => parts.push(Part::Field(field.to_owned())),
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The channels of a record that is alive and has these fields, each of 255 bytes at most; `None` if they are more
    /// than 1,024.
    pub fn channels(&self, key: &RecordKey, fields: &Fields) -> Option<BTreeSet<Channel>> {
        let mut texts = BTreeSet::from([String::new()]);
        for part in &self.parts {
            let values = match part {
                Part::Text(text) => BTreeSet::from([text.clone()]),
                Part::Id => BTreeSet::from([escaped(&key.id.to_string())]),
                Part::Field(field) => values(fields.get(field))?,
            };
            if texts.len() * values.len() > CHANNELS_MAX {
                return None;
            }
            let longer = texts
                .iter()
                .flat_map(|text| values.iter().map(move |value| format!("{text}{value}")));
            texts = longer.filter(|text| text.len() <= NAME_BYTES_MAX).collect();
        }
        Some(texts.into_iter().map(|text| Channel(text.into())).collect())
    }
}

/// What stands for a field; `None` if that is more than a record may have channels.
fn values(field: Option<&Field>) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    match field {
        Some(Field::Value(value)) => found.extend(shown(value)),
        Some(Field::Set(members)) => {
            for member in members {
                found.extend(shown(member));
                if found.len() > CHANNELS_MAX {
                    return None;
                }
            }
        }
        Some(Field::Map(_) | Field::Counter(_)) | None => {}
    }
    Some(found)
}

fn shown(value: &Encoded) -> Option<String> {
    // Nothing that is longer could be a part of a channel.
    if value.as_bytes().len() > 2 * NAME_BYTES_MAX {
        return None;
    }
    match value.decode() {
        Value::Bool(is) => Some(is.to_string()),
        Value::Int(int) => Some(int.to_string()),
        Value::Text(text) => Some(escaped(&text)),
        Value::Bytes(bytes) => Some(Uuid::from_slice(&bytes).ok()?.to_string()),
        _ => None,
    }
}

/// A text as it stands in a channel.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '/' | '%' | '*' | '\0'..='\x1f' | '\x7f' => {
                out.push_str(&format!("%{:02X}", char as u32));
            }
            _ => out.push(char),
        }
    }
    out
}

/// The templates of one model, as the record that says so: every node computes the same channels, whether it knows the
/// type or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChannels {
    /// The model's name.
    pub model: String,
    /// Its templates.
    pub channels: Vec<String>,
}

impl ModelChannels {
    /// What a type says of itself.
    pub fn of<M: ScribeModel>() -> Self {
        let channels = M::CHANNELS.iter().map(|channel| (*channel).to_owned()).collect();
        Self { model: M::MODEL.to_owned(), channels }
    }
}

impl ScribeModel for ModelChannels {
    const MODEL: &'static str = MODELS;

    type Id = String;

    fn id(&self) -> &String {
        &self.model
    }

    fn write(&self, fields: &mut FieldsWriter<'_>) -> Result<(), DataError> {
        fields.value("channels", &self.channels)
    }

    fn read(model: String, fields: &FieldsReader<'_>) -> Result<Self, DataError> {
        Ok(Self { model, channels: fields.value("channels")? })
    }
}

/// The templates of every model that has some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(BTreeMap<Name, Vec<Template>>);

impl Templates {
    /// Takes the templates that a record of the model [`MODELS`] holds, in place of those it held before. Of what is no
    /// template nothing is taken: such a model has fewer channels, and so fewer see it.
    pub fn take(&mut self, id: &RecordId, record: &Record) {
        let RecordId::Text(model) = id else {
            return;
        };
        let read = FieldsReader::instance::<ModelChannels>(id, &Fields::of(record));
        match read {
            Ok(ModelChannels { channels, .. }) if !channels.is_empty() => {
                let texts = channels.iter().take(TEMPLATES_MAX);
                let templates = texts.filter_map(|text| Template::new(text).ok());
                self.0.insert(model.clone(), templates.collect());
            }
            _ => {
                self.0.remove(model);
            }
        }
    }

    /// Whether there are templates for a model.
    pub(crate) fn has(&self, model: &Name) -> bool {
        self.0.contains_key(model)
    }

    /// The channels of a record: none unless it is alive, that of its model unless there are templates for it; `None`
    /// if they are more than 1,024.
    pub fn channels(&self, key: &RecordKey, record: Option<&Record>) -> Option<BTreeSet<Channel>> {
        let Some(record) = record.filter(|record| record.is_alive()) else {
            return Some(BTreeSet::new());
        };
        if key.model.as_str() == Verdict::MODEL {
            return Template::new(Verdict::CHANNELS[0]).ok()?.channels(key, &Fields::of(record));
        }
        let Some(templates) = self.0.get(&key.model) else {
            return Some(BTreeSet::from([Channel::of_model(&key.model)]));
        };
        let fields = Fields::of(record);
        let mut channels = BTreeSet::new();
        for template in templates {
            channels.extend(template.channels(key, &fields)?);
        }
        (channels.len() <= CHANNELS_MAX).then_some(channels)
    }
}

#[cfg(test)]
mod tests;
