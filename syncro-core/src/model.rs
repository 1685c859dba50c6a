//! Typed records.

mod sheet;

use std::any::type_name;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::sheet::Sheet;
use crate::encoding::msgpack::Writer;
use crate::encoding::{plain, scratch};
use crate::error::DataError;
use crate::fields::{self, Field, Fields, Shown};
use crate::id::{ModelId, Name, RecordId};
use crate::proposal::Edit;
use crate::record::{PathRef, Record, Registers, Written};
use crate::stamp::Stamp;
use crate::value::{Encoded, Raw};

/// A Rust type whose instances are records.
///
/// This is the only trait that an application implements, nearly always by
/// `#[derive(ScribeModel)]`. By hand:
///
/// ```
/// use syncro_core::{DataError, Fields, FieldsReader, FieldsWriter, ScribeModel};
///
/// struct Page { slug: String, title: String, views: i64 }
///
/// impl ScribeModel for Page {
///     const MODEL: &'static str = "page";
///     type Id = String;
///     fn id(&self) -> &String { &self.slug }
///     fn write(&self, fields: &mut FieldsWriter<'_>) -> Result<(), DataError> {
///         fields.value("title", &self.title)?;
///         fields.counter("views", self.views)
///     }
///     fn read(slug: String, fields: &FieldsReader<'_>) -> Result<Self, DataError> {
///         Ok(Self { slug, title: fields.value("title")?, views: fields.counter("views")? })
///     }
/// }
/// ```
pub trait ScribeModel: Sized {
    /// The model's name: 1 to 255 bytes, the same in every program that shares the records.
    const MODEL: &'static str;

    /// The [templates](crate::Template) of the channels that a record of this model is in; none for `model/` and the
    /// model's name.
    const CHANNELS: &'static [&'static str] = &[];

    /// The type of the id.
    type Id: ModelId;

    /// Returns the id of this instance.
    fn id(&self) -> &Self::Id;

    /// Writes every field that this type knows.
    ///
    /// # Errors
    ///
    /// [`DataError`], naming the field that cannot be recorded.
    fn write(&self, fields: &mut FieldsWriter<'_>) -> Result<(), DataError>;

    /// Makes an instance of a record's fields. Fields that the type does not know stay in the record.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`], naming the field that does not fit.
    fn read(id: Self::Id, fields: &FieldsReader<'_>) -> Result<Self, DataError>;
}

/// Fields for which there is room at first: what most types have.
const FEW_FIELDS: usize = 8;

/// Takes the fields of an instance, by name and kind. Those that come in the order of their names take the least time.
#[derive(Debug, Default)]
pub struct FieldsWriter<'a> {
    fields: Fields,
    /// Compares what is written with a record, in place of keeping it.
    sheet: Option<Sheet<'a>>,
    /// Has what is written as registers, as long as it is plain values.
    written: Option<Written>,
    /// Memory for one value.
    out: Writer,
}

impl FieldsWriter<'_> {
    /// The fields of an instance.
    ///
    /// # Errors
    ///
    /// [`DataError`], naming the field that cannot be recorded.
    pub fn fields_of<M: ScribeModel>(instance: &M) -> Result<Fields, DataError> {
        let fields = Fields::with_capacity(FEW_FIELDS);
        let mut writer = FieldsWriter { fields, ..FieldsWriter::new() };
        instance.write(&mut writer)?;
        scratch::give_back(writer.out.0);
        Ok(writer.fields)
    }

    /// The record that an instance makes when nothing else is known of it, but for its stamps; `None` where that takes
    /// a look at its fields.
    pub(crate) fn record_of<M: ScribeModel>(instance: &M) -> Result<Option<Record>, DataError> {
        let written = Some(Written::new(None));
        let mut writer = FieldsWriter { written, ..FieldsWriter::new() };
        instance.write(&mut writer)?;
        scratch::give_back(writer.out.0);
        let written = writer.written.filter(Written::is_in_order);
        Ok(written.map(|written| written.into_record(Some(Stamp::PROVISIONAL), None)))
    }

    /// What a closure changes in an instance, which was made of a record.
    ///
    /// # Errors
    ///
    /// [`DataError`], naming the field that cannot be recorded.
    pub fn edits_of<M: ScribeModel>(
        instance: &mut M,
        record: &Record,
        change: impl FnOnce(&mut M),
    ) -> Result<Vec<Edit>, DataError> {
        let mut writer = FieldsWriter { sheet: Some(Sheet::new(record)), ..FieldsWriter::new() };
        instance.write(&mut writer)?;
        if !writer.sheet.as_mut().is_some_and(Sheet::change) {
            let before = Self::fields_of(instance)?;
            change(instance);
            return Self::fields_of(instance)?.edits_from(&before);
        }
        change(instance);
        instance.write(&mut writer)?;
        scratch::give_back(writer.out.0);
        match writer.sheet.map_or(Ok(Vec::new()), Sheet::into_edits) {
            Ok(edits) => Ok(edits),
            Err(before) => Self::fields_of(instance)?.edits_from(&before),
        }
    }

    /// With the memory of this thread, to be given back; after an error there is no need to.
    fn new() -> Self {
        FieldsWriter { out: Writer(scratch::take()), ..FieldsWriter::default() }
    }

    /// Writes a plain value: the last writer wins.
    ///
    /// # Errors
    ///
    /// [`DataError::BadValue`] when serde cannot serialise it.
    pub fn value<T: Serialize + ?Sized>(
        &mut self,
        field: &str,
        value: &T,
    ) -> Result<(), DataError> {
        let value = Raw::of(value, &mut self.out).map_err(|reason| bad_value(field, reason))?;
        if let Some(sheet) = &mut self.sheet {
            return sheet.value(field, value);
        }
        let value = value.check().map_err(|reason| bad_value(field, reason))?;
        // A create writes nothing for nil.
        let Some(written) = self.written.as_mut().filter(|_| !value.is_nil()) else {
            return self.put(field, Field::Value(value));
        };
        Name::check(field)?;
        let path = PathRef::new(field, None);
        written.push(path, Stamp::PROVISIONAL, value, || path.to_path(Encoded::copied));
        Ok(())
    }

    /// Writes a set: members are added and removed one by one.
    ///
    /// # Errors
    ///
    /// [`DataError::BadValue`] when serde cannot serialise a member.
    pub fn set<'b, T: Serialize + 'b>(
        &mut self,
        field: &str,
        members: impl IntoIterator<Item = &'b T>,
    ) -> Result<(), DataError> {
        let members = members.into_iter().map(|member| encode(field, member));
        let members = members.collect::<Result<_, _>>()?;
        self.put(field, Field::Set(members))
    }

    /// Writes a map: the last writer wins for each entry. No entry may be nil.
    ///
    /// # Errors
    ///
    /// [`DataError::BadValue`] when serde cannot serialise a value.
    pub fn map<'b, K: AsRef<str> + 'b, T: Serialize + 'b>(
        &mut self,
        field: &str,
        entries: impl IntoIterator<Item = (&'b K, &'b T)>,
    ) -> Result<(), DataError> {
        let entries = entries
            .into_iter()
            .map(|(key, value)| Ok((key.as_ref().to_owned(), encode(field, value)?)));
        let entries = entries.collect::<Result<_, DataError>>()?;
        self.put(field, Field::Map(entries))
    }

    /// Writes a counter: what is recorded is by how much it was raised or lowered.
    ///
    /// # Errors
    ///
    /// [`DataError::NameLength`] for a bad field name.
    pub fn counter(&mut self, field: &str, sum: i64) -> Result<(), DataError> {
        self.put(field, Field::Counter(sum))
    }

    fn put(&mut self, field: &str, shape: Field) -> Result<(), DataError> {
        self.written = None;
        match &mut self.sheet {
            Some(sheet) => sheet.other(),
            None => self.fields.insert(Name::new(field)?, shape),
        }
        Ok(())
    }
}

fn encode<T: Serialize + ?Sized>(field: &str, value: &T) -> Result<Encoded, DataError> {
    Encoded::of(value).map_err(|reason| bad_value(field, reason))
}

fn bad_value(field: &str, reason: String) -> DataError {
    DataError::BadValue { field: field.to_owned(), reason }
}

/// Gives the fields of a record to a type, by name and kind.
#[derive(Debug)]
pub struct FieldsReader<'a> {
    model: &'static str,
    id: &'a RecordId,
    source: Source<'a>,
}

/// Where fields are read from.
#[derive(Debug)]
enum Source<'a> {
    Fields(&'a Fields),
    Record {
        record: &'a Record,
        /// Its registers, where each is a field's only one and shows; otherwise none.
        plain: Registers<'a>,
        /// The place of the register after the one that was read last.
        next: Cell<usize>,
    },
}

impl<'a> FieldsReader<'a> {
    /// Makes an instance of a record.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when the id or a field does not fit the type.
    pub fn instance<M: ScribeModel>(id: &'a RecordId, fields: &'a Fields) -> Result<M, DataError> {
        Self::read(id, Source::Fields(fields))
    }

    /// Makes an instance of a record that is alive, of whose fields nothing else has to be known.
    ///
    /// # Errors
    ///
    /// Like [`instance`](Self::instance).
    pub fn instance_of<M: ScribeModel>(
        id: &'a RecordId,
        record: &'a Record,
    ) -> Result<M, DataError> {
        let all = if record.is_alive() { record.registers() } else { Registers::default() };
        Self::read(id, Source::Record { record, plain: all.if_plain(), next: Cell::new(0) })
    }

    fn read<M: ScribeModel>(id: &'a RecordId, source: Source<'a>) -> Result<M, DataError> {
        let reader = Self { model: M::MODEL, id, source };
        let id = M::Id::from_record_id(id).ok_or_else(|| reader.other_id(type_name::<M::Id>()))?;
        M::read(id, &reader)
    }

    /// Reads a plain value. A missing field reads as nil, which fits an `Option`.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when the value does not fit.
    pub fn value<T: DeserializeOwned>(&self, field: &str) -> Result<T, DataError> {
        if let Source::Record { plain, next, .. } = &self.source
            && let Some((path, likely)) = plain.value_at(next.get())
            && path.field.as_str() == field
            && let Some(value) = plain::read(likely.as_bytes())
        {
            next.set(next.get() + 1);
            return Ok(value);
        }
        self.other_value(field)
    }

    /// Reads a value that is not the next one of the record, not plain, or does not fit.
    fn other_value<T: DeserializeOwned>(&self, field: &str) -> Result<T, DataError> {
        const NONE: &str = "the record has none; make the field an `Option`, or give it a default with \
                            `#[scribe(default)]`";
        let plain = match &self.source {
            Source::Fields(_) => None,
            Source::Record { record, next, .. } => {
                match fields::shown_at(record, field, next.get()) {
                    Shown::Value(place, value) => {
                        next.set(place + 1);
                        Some(value)
                    }
                    Shown::Nothing | Shown::Other => None,
                }
            }
        };
        match plain {
            Some(value) if !value.is_nil() => value.to(),
            _ => match self.present(field).as_deref() {
                None => {
                    return Encoded::NIL.to().map_err(|_| self.mismatch(field, NONE.to_owned()));
                }
                Some(Field::Value(value)) => value.to(),
                Some(other) => return Err(self.other_kind(field, other, "a plain value")),
            },
        }
        .map_err(|reason| self.misfit(field, &reason))
    }

    /// Reads a plain value, or its default when the record has none.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when there is a value that does not fit.
    pub fn value_or_default<T: DeserializeOwned + Default>(
        &self,
        field: &str,
    ) -> Result<T, DataError> {
        if self.present(field).is_none() { Ok(T::default()) } else { self.value(field) }
    }

    /// Reads a set; empty when the record has none.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when a member does not fit, or the field is of another kind.
    pub fn set<T: DeserializeOwned, S: FromIterator<T>>(
        &self,
        field: &str,
    ) -> Result<S, DataError> {
        let empty = BTreeSet::new();
        let present = self.present(field);
        let members = match present.as_deref() {
            None => &empty,
            Some(Field::Set(members)) => members,
            Some(other) => return Err(self.other_kind(field, other, "a set")),
        };
        let members = members.iter().map(|member| member.to());
        members.collect::<Result<_, _>>().map_err(|reason: String| self.misfit(field, &reason))
    }

    /// Reads a map; empty when the record has none.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when a value does not fit, or the field is of another kind.
    pub fn map<K: From<String>, T: DeserializeOwned, S: FromIterator<(K, T)>>(
        &self,
        field: &str,
    ) -> Result<S, DataError> {
        let empty = BTreeMap::new();
        let present = self.present(field);
        let entries = match present.as_deref() {
            None => &empty,
            Some(Field::Map(entries)) => entries,
            Some(other) => return Err(self.other_kind(field, other, "a map")),
        };
        let entries = entries.iter().map(|(key, value)| Ok((K::from(key.clone()), value.to()?)));
        entries.collect::<Result<_, _>>().map_err(|reason: String| self.misfit(field, &reason))
    }

    /// Reads a counter; zero when nobody raised it.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`] when the field is of another kind.
    pub fn counter(&self, field: &str) -> Result<i64, DataError> {
        match self.present(field).as_deref() {
            None => Ok(0),
            Some(Field::Counter(sum)) => Ok(*sum),
            Some(other) => Err(self.other_kind(field, other, "a counter")),
        }
    }

    /// The field, unless the record has nothing in it: what was emptied may have any shape.
    fn present(&self, field: &str) -> Option<Cow<'a, Field>> {
        let field = match &self.source {
            Source::Fields(fields) => fields.get(field).map(Cow::Borrowed),
            Source::Record { record, .. } => fields::field_shown(record, field).map(Cow::Owned),
        };
        field.filter(|field| match &**field {
            Field::Value(value) => !value.is_nil(),
            Field::Set(members) => !members.is_empty(),
            Field::Map(entries) => !entries.is_empty(),
            Field::Counter(sum) => *sum != 0,
        })
    }

    /// The error for an id that is of another sort, or beyond the range of its type.
    fn other_id(&self, asked: &str) -> DataError {
        let found = match self.id {
            RecordId::Int(_) => "an integer",
            RecordId::Uuid(_) => "a UUID",
            RecordId::Text(_) => "a text",
        };
        let reason = format!(
            "the record's id is {found} that is no {asked}; give the id the type that was recorded, or the model \
             another name"
        );
        self.mismatch("id", reason)
    }

    /// The error for a field that was recorded in another shape.
    fn other_kind(&self, field: &str, found: &Field, asked: &str) -> DataError {
        let found = match found {
            Field::Value(_) => "a plain value",
            Field::Set(_) => "a set",
            Field::Map(_) => "a map",
            Field::Counter(_) => "a counter",
        };
        self.misfit(field, &format!("the record has {found} where the type asks for {asked}"))
    }

    /// The error for a field that does not fit, with what helps.
    fn misfit(&self, field: &str, reason: &str) -> DataError {
        let advice = "give the field the type that was recorded, or another name with \
                      `#[scribe(rename = \"...\")]`";
        self.mismatch(field, format!("{reason}; {advice}"))
    }

    fn mismatch(&self, field: &str, reason: String) -> DataError {
        let (model, id, field) = (self.model.to_owned(), self.id.clone(), field.to_owned());
        DataError::Mismatch { model, id, field, reason }
    }
}

#[cfg(test)]
mod tests;
