//! A record's fields as people and types see them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::error::DataError;
use crate::id::{Name, abridged};
use crate::proposal::Edit;
use crate::record::{Element, Record, RegisterRef, Registers};
use crate::value::{Encoded, Value};

/// One field, in the shape that its registers give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A plain value.
    Value(Encoded),
    /// The members of a set.
    Set(BTreeSet<Encoded>),
    /// The entries of a map.
    Map(BTreeMap<String, Encoded>),
    /// The sum of a counter, within the range of `i64`.
    Counter(i64),
}

/// The fields of one record by name.
///
/// A type reads itself from these and writes itself to these; what it does not know stays in the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(
    /// In name order, one per name.
    Vec<(Name, Field)>,
);

/// Fields among which a name is looked for one by one.
const FEW_FIELDS: usize = 16;

impl Fields {
    /// The visible fields of a record: none unless it is alive.
    ///
    /// Where registers of several shapes share a field name, as two versions of a program may leave them,
    /// the shape of the youngest register shows.
    pub fn of(record: &Record) -> Self {
        if !record.is_alive() {
            return Self::default();
        }
        let registers = record.registers();
        let mut fields = Vec::with_capacity(registers.len());
        // Most records have plain values alone.
        for (place, register) in registers.iter().enumerate() {
            let name = &register.path.field;
            let Some(value) = registers.only(place, name.as_str()) else { break };
            fields.push((name.clone(), Field::Value(value.clone())));
        }
        if fields.len() < registers.len() {
            let field = |run: Registers<'_>| Some((run.get(0)?.path.field.clone(), field_of(run)));
            fields = shown_of(registers).into_iter().filter_map(field).collect();
        }
        Self(fields)
    }

    /// The field of a name.
    pub fn get(&self, name: &str) -> Option<&Field> {
        // Names of other lengths are passed over without a look at them, which is quicker among few than to bisect.
        if self.0.len() <= FEW_FIELDS {
            return self.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, field)| field);
        }
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, field)| field)
    }

    /// Sets a field.
    pub fn insert(&mut self, name: Name, field: Field) {
        // Types write many of their fields in order.
        if self.0.last().is_none_or(|(last, _)| *last < name) {
            return self.0.push((name, field));
        }
        match self.place(name.as_str()) {
            Ok(place) => self.0[place].1 = field,
            Err(place) => self.0.insert(place, (name, field)),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    /// The fields in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Field)> {
        self.0.iter().map(|(name, field)| (name, field))
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Turns an untyped map of plain values into fields.
    ///
    /// # Errors
    ///
    /// [`DataError::NameLength`] for a name outside 1 to 255 bytes.
    pub fn from_values(values: &BTreeMap<String, Value>) -> Result<Self, DataError> {
        let fields =
            values.iter().map(|(name, value)| Ok((Name::new(name)?, Field::Value(value.encode()))));
        fields.collect::<Result<_, _>>().map(Self)
    }

    /// Shows the fields as plain values: a set as a list in order, a counter as its sum. Nil fields are
    /// left out.
    pub fn to_values(&self) -> BTreeMap<String, Value> {
        let shown = self.0.iter().filter_map(|(name, field)| {
            let value = match field {
                Field::Value(value) => value.decode(),
                Field::Set(members) => Value::Array(members.iter().map(Encoded::decode).collect()),
                Field::Map(entries) => Value::Map(
                    entries.iter().map(|(key, value)| (key.clone(), value.decode())).collect(),
                ),
                Field::Counter(sum) => Value::from(*sum),
            };
            (value != Value::Nil).then(|| (name.to_string(), value))
        });
        shown.collect()
    }

    pub(crate) fn with_capacity(fields: usize) -> Self {
        Self(Vec::with_capacity(fields))
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The edits that turn `base` into these fields. Fields that are only in `base` stay as they are.
    ///
    /// # Errors
    ///
    /// [`DataError`] for entries, members and counters outside their limits.
    pub fn edits_from(&self, base: &Self) -> Result<Vec<Edit>, DataError> {
        let mut edits = Vec::new();
        self.edit_from(base, |edit| edits.push(edit))?;
        Ok(edits)
    }

    /// Calls with the edits that turn `base` into these fields.
    pub(crate) fn edit_from(
        &self,
        base: &Self,
        mut take: impl FnMut(Edit),
    ) -> Result<(), DataError> {
        for (name, field) in &self.0 {
            field.edit_from(base.get(name.as_str()), name, &mut take)?;
        }
        Ok(())
    }
}

impl Field {
    /// Calls with the edits that turn what a field was before into this.
    pub(crate) fn edit_from(
        &self,
        before: Option<&Self>,
        name: &Name,
        take: &mut impl FnMut(Edit),
    ) -> Result<(), DataError> {
        match self {
            Self::Value(value) => {
                if before != Some(self) {
                    take(Edit::value(name.clone(), value.clone()));
                }
            }
            Self::Set(members) => {
                let empty = BTreeSet::new();
                let before = match before {
                    Some(Self::Set(before)) => before,
                    _ => &empty,
                };
                for member in members.difference(before) {
                    take(Edit::add(name.clone(), member.clone())?);
                }
                for member in before.difference(members) {
                    take(Edit::remove(name.clone(), member.clone())?);
                }
            }
            Self::Map(entries) => {
                let empty = BTreeMap::new();
                let before = match before {
                    Some(Self::Map(before)) => before,
                    _ => &empty,
                };
                for (key, value) in entries {
                    if before.get(key) != Some(value) {
                        if value.is_nil() {
                            let field = name.to_string();
                            return Err(DataError::NilEntry { field, key: abridged(key) });
                        }
                        take(Edit::entry(name.clone(), key, value.clone())?);
                    }
                }
                for key in before.keys().filter(|key| !entries.contains_key(*key)) {
                    take(Edit::entry(name.clone(), key, Encoded::NIL)?);
                }
            }
            Self::Counter(sum) => {
                let before = match before {
                    Some(Self::Counter(before)) => *before,
                    _ => 0,
                };
                let by = sum.checked_sub(before);
                let by =
                    by.ok_or_else(|| DataError::CounterOverflow { field: name.to_string() })?;
                if by != 0 {
                    take(Edit::Raise { field: name.clone(), by });
                }
            }
        }
        Ok(())
    }
}

/// The registers of a record that show, field by field: for each the registers of one shape, at least one.
pub(crate) fn shown(record: &Record) -> Vec<Registers<'_>> {
    if record.is_alive() { shown_of(record.registers()) } else { Vec::new() }
}

/// The field of a name that a record shows.
pub(crate) fn field_shown(record: &Record, name: &str) -> Option<Field> {
    let of_name = record.registers().slice(named(record, name));
    match of_name.len() {
        0 => None,
        1 => Some(field_of(of_name)),
        _ => shown_of(of_name).pop().map(field_of),
    }
}

/// What a record shows under a name.
pub(crate) enum Shown<'a> {
    Nothing,
    /// A plain value and no more, at a place among the registers.
    Value(usize, &'a Encoded),
    Other,
}

/// What a record shows under a name, which is likely to be at a place.
#[inline]
pub(crate) fn shown_at<'a>(record: &'a Record, name: &str, likely: usize) -> Shown<'a> {
    let registers = record.registers();
    if record.is_alive()
        && let Some(value) = registers.only(likely, name)
    {
        return Shown::Value(likely, value);
    }
    shown_under(record, name)
}

/// What a record shows under a name.
fn shown_under<'a>(record: &'a Record, name: &str) -> Shown<'a> {
    let Range { start, end } = named(record, name);
    match record.registers().only(start, name) {
        _ if start == end => Shown::Nothing,
        Some(value) => Shown::Value(start, value),
        None => Shown::Other,
    }
}

/// The places of the registers under a name of a record that is alive.
fn named(record: &Record, name: &str) -> Range<usize> {
    let registers = record.registers();
    let is_it = |place: usize| registers.field(place) == Some(name);
    let start = match registers.len() {
        // As with fields.
        count @ 0..=FEW_FIELDS => (0..count).find(|place| is_it(*place)).unwrap_or(count),
        _ => registers.first_from(name),
    };
    let mut end = start;
    while record.is_alive() && is_it(end) {
        end += 1;
    }
    start..end
}

fn shown_of(registers: Registers<'_>) -> Vec<Registers<'_>> {
    let mut shown: Vec<Registers<'_>> = Vec::with_capacity(registers.len());
    let (mut start, mut newest) = (0, None);
    while let Some(first) = registers.get(start) {
        let is_alike = |it: &RegisterRef<'_>| {
            it.path.field == first.path.field && it.path.has_shape_of(first.path)
        };
        let alike = registers.iter().skip(start).take_while(is_alike);
        let (count, stamp) = alike.fold((0, None), |(count, newest), register| {
            (count + 1, newest.max(Some(register.stamp)))
        });
        let run = registers.slice(start..start + count);
        start += count;
        // Shapes of one field are neighbours.
        let is_beside = |known: &Registers<'_>| {
            known.get(0).is_some_and(|known| known.path.field == first.path.field)
        };
        match shown.last_mut().filter(|known| is_beside(known)) {
            Some(_) if newest >= stamp => continue,
            Some(known) => *known = run,
            None => shown.push(run),
        }
        newest = stamp;
    }
    shown
}

/// The field of registers that share name and shape.
fn field_of(run: Registers<'_>) -> Field {
    let present = run.iter().filter(|register| !register.value.is_nil());
    match run.get(0).and_then(|first| first.path.element.as_ref()) {
        None => Field::Value(run.get(0).map_or(Encoded::NIL, |register| register.value.clone())),
        Some(Element::Entry(_)) => Field::Map(
            present
                .filter_map(|register| match &register.path.element {
                    Some(Element::Entry(key)) => Some((key.to_string(), register.value.clone())),
                    _ => None,
                })
                .collect(),
        ),
        Some(Element::Member(_)) => Field::Set(
            present
                .filter_map(|register| match &register.path.element {
                    Some(Element::Member(member)) => Some(member.clone()),
                    _ => None,
                })
                .collect(),
        ),
        Some(Element::Author(_)) => {
            let sum: i128 =
                present.filter_map(|register| register.value.as_i64()).map(i128::from).sum();
            Field::Counter(sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
        }
    }
}

#[cfg(test)]
mod tests;
