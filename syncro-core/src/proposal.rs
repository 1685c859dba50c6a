//! A local transaction before the engine has stamped it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::encoding::msgpack::{Malformed, Writer};
use crate::error::DataError;
use crate::fields::Fields;
use crate::id::{Name, RecordKey, abridged};
use crate::limits::{MEMBER_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use crate::model::{FieldsWriter, ScribeModel};
use crate::record::{Element, FEW_REGISTERS, Kind, Path, Record, Register};
use crate::scribe::{Mark, Playable, Scribe, Writable, fields_of, write_scribe};
use crate::stamp::{Author, Stamp};
use crate::touched::{Touched, reserve};
use crate::value::Encoded;

/// A wish about one field, or one part of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// To write a value under a path of kind `lww`.
    Write(Path, Encoded),
    /// To raise a counter; a negative number lowers it.
    Raise {
        /// The counter.
        field: Name,
        /// By how much.
        by: i64,
    },
}

impl Edit {
    /// Writes a plain value.
    pub fn value(field: Name, value: Encoded) -> Self {
        Self::Write(Path::field(field), value)
    }

    /// Writes the entry of a map; nil removes it.
    ///
    /// # Errors
    ///
    /// [`DataError::KeyTooLong`] for a key of more than 255 bytes.
    pub fn entry(field: Name, key: &str, value: Encoded) -> Result<Self, DataError> {
        check_key(&field, key)?;
        Ok(Self::Write(Path::entry(field, key), value))
    }

    /// Adds a member to a set.
    ///
    /// # Errors
    ///
    /// [`DataError::MemberTooLarge`] for a member of more than 1 KiB.
    pub fn add(field: Name, member: Encoded) -> Result<Self, DataError> {
        Self::member(field, member, Encoded::TRUE)
    }

    /// Removes a member from a set.
    ///
    /// # Errors
    ///
    /// [`DataError::MemberTooLarge`] for a member of more than 1 KiB.
    pub fn remove(field: Name, member: Encoded) -> Result<Self, DataError> {
        Self::member(field, member, Encoded::NIL)
    }

    fn member(field: Name, member: Encoded, value: Encoded) -> Result<Self, DataError> {
        let bytes = member.as_bytes().len();
        if bytes > MEMBER_BYTES_MAX {
            return Err(DataError::MemberTooLarge { field: field.to_string(), bytes });
        }
        Ok(Self::Write(Path::member(field, member), value))
    }
}

/// What a proposal does to one record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) mark: Mark,
    /// All that it writes, where that is a create of plain values and no more: the record, but for its stamps.
    pub(crate) whole: Option<Arc<Record>>,
    /// The values to write otherwise, as they were said.
    pub(crate) fields: Vec<(Path, Encoded)>,
    /// How many may have been said before it is seen to that each path is there once.
    said_max: usize,
    /// The counters to raise, in the order of their names.
    pub(crate) raises: Vec<(Name, i64)>,
    /// The record as it is, once the engine has looked.
    pub(crate) before: Option<Arc<Record>>,
    /// Whether nothing is left of it: what it created it has destroyed.
    pub(crate) is_taken_back: bool,
}

impl Change {
    fn new(mark: Mark) -> Self {
        Self {
            mark,
            whole: None,
            fields: Vec::new(),
            said_max: FEW_WRITES,
            raises: Vec::new(),
            before: None,
            is_taken_back: false,
        }
    }

    /// The values to write in path order, one per path: the last one counts.
    pub(crate) fn writes(&self) -> Cow<'_, [(Path, Encoded)]> {
        if let Some(whole) = &self.whole {
            let registers = whole.registers().iter();
            return registers.map(|it| (it.path.clone(), it.value.clone())).collect();
        }
        if self.fields.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Cow::Borrowed(&self.fields);
        }
        let mut writes = self.fields.clone();
        writes.reverse();
        writes.sort_by(|(one, _), (other, _)| one.cmp(other));
        writes.dedup_by(|(other, _), (kept, _)| other == kept);
        Cow::Owned(writes)
    }

    /// Puts the values to write in order, to be changed.
    pub(crate) fn in_order(&mut self) -> &mut Vec<(Path, Encoded)> {
        if let Cow::Owned(writes) = self.writes() {
            (self.fields, self.whole) = (writes, None);
        }
        &mut self.fields
    }

    /// The scribe that says it.
    pub(crate) fn into_scribe(mut self, key: RecordKey) -> Scribe {
        let fields = std::mem::take(self.in_order());
        Scribe { key, mark: self.mark, fields }
    }

    /// Takes all edits or, after an error, none.
    fn edit(&mut self, edits: Vec<Edit>) -> Result<(), DataError> {
        if self.whole.is_some() {
            self.in_order();
        }
        if edits.iter().any(|edit| matches!(edit, Edit::Raise { .. })) {
            self.raise(&edits)?;
        }
        let writes = edits.into_iter().filter_map(|edit| match edit {
            Edit::Write(path, value) => Some((path, value)),
            Edit::Raise { .. } => None,
        });
        if self.fields.is_empty() {
            // Where the edits were.
            self.fields = writes.collect();
        } else {
            self.fields.extend(writes);
        }
        if self.fields.len() > self.said_max {
            self.in_order();
            self.said_max = FEW_WRITES.max(2 * self.fields.len());
        }
        Ok(())
    }

    /// Takes all raises or, after an error, none.
    fn raise(&mut self, edits: &[Edit]) -> Result<(), DataError> {
        let mut raises = self.raises.clone();
        for edit in edits {
            let Edit::Raise { field, by } = edit else { continue };
            match raises.binary_search_by(|(known, _)| known.cmp(field)) {
                Err(place) => raises.insert(place, (field.clone(), *by)),
                Ok(place) => {
                    let overflow = || DataError::CounterOverflow { field: field.to_string() };
                    raises[place].1 = raises[place].1.checked_add(*by).ok_or_else(overflow)?;
                }
            }
        }
        self.raises = raises;
        Ok(())
    }

    /// Takes an edit of a record that is created: there is one for each part of a field, in the order of their names.
    fn take(&mut self, edit: Edit) {
        match edit {
            Edit::Write(path, value) => self.fields.push((path, value)),
            Edit::Raise { field, by } => self.raises.push((field, by)),
        }
    }
}

/// A change that the engine has settled is a scribe to be.
impl Playable for (RecordKey, Change) {
    fn key(&self) -> RecordKey {
        self.0.clone()
    }

    fn mark(&self) -> Mark {
        self.1.mark
    }

    fn play(self, before: Option<&Record>, stamp: Stamp) -> Result<Arc<Record>, Malformed> {
        let (key, mut change) = self;
        if let Some(mut whole) = change.whole.take() {
            Arc::make_mut(&mut whole).stamp(stamp);
            return Ok(whole);
        }
        let Some(before) = before else {
            return Ok(Arc::new(change.into_scribe(key).into_record(stamp).1));
        };
        let mut after = before.clone();
        if change.fields.len() > FEW_REGISTERS {
            after.merge(&change.into_scribe(key).into_record(stamp).1);
            return Ok(Arc::new(after));
        }
        let (created, destroyed) = change.mark.stamps(stamp);
        for (path, value) in change.fields {
            after.join(path.as_ref(), stamp, value, || path.clone());
        }
        after.join_marks(created, destroyed);
        Ok(Arc::new(after))
    }
}

impl Writable for (RecordKey, Change) {
    fn write(&self, writer: &mut Writer, author: Author) {
        let (key, Change { mark, whole, fields, .. }) = self;
        match whole {
            None => write_scribe(writer, key, *mark, fields_of(fields), author),
            Some(whole) => {
                let fields = whole.registers().iter();
                let fields = fields.map(|it| (it.path.as_ref(), it.value.as_bytes()));
                write_scribe(writer, key, *mark, fields, author);
            }
        }
    }
}

/// Writes of one record that are put in order only when somebody asks for them.
const FEW_WRITES: usize = 16;

/// One local transaction to be: changes of records, at most one per record, recorded together or not at
/// all.
///
/// Later changes of a record join earlier ones: an update joins the create before it, a create after a
/// destroy makes one scribe of both.
///
/// ```
/// use syncro_core::{Fields, Name, Proposal, RecordId, RecordKey, Value};
///
/// let key = RecordKey { model: Name::new("todo")?, id: RecordId::text("t1")? };
/// let fields = Fields::from_values(&[("title".into(), Value::from("milk"))].into())?;
/// let mut proposal = Proposal::default();
/// proposal.create(key.clone(), &fields)?;
/// assert!(proposal.create(key, &fields).is_err(), "it exists within this transaction");
/// # Ok::<(), syncro_core::DataError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    changes: Touched<Change>,
}

impl Proposal {
    /// Whether nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none()
    }

    /// The records that it touches, in the order in which they were first touched.
    pub fn records(&self) -> impl Iterator<Item = &RecordKey> {
        self.changes().map(|(key, _)| key)
    }

    /// Whether all that is proposed is to destroy records.
    pub fn has_only_destroys(&self) -> bool {
        self.changes().all(|(_, change)| change.mark == Mark::Destroy)
    }

    /// Creates a record that is not alive.
    ///
    /// # Errors
    ///
    /// [`DataError::Exists`] when this proposal touched it before, other than by destroying it. Whether
    /// it is alive in the store shows when the engine takes the proposal.
    pub fn create(&mut self, key: RecordKey, fields: &Fields) -> Result<(), DataError> {
        let mark = match self.change(&key).map(|change| change.mark) {
            None => Mark::Create,
            Some(Mark::Destroy) => Mark::Replace,
            Some(_) => return Err(DataError::Exists { key }),
        };
        let mut change = Change::new(mark);
        reserve(&mut change.fields, fields.len());
        fields.edit_from(&Fields::default(), |edit| change.take(edit))?;
        self.changes.set(key, change);
        Ok(())
    }

    /// Creates a record that is not alive, with what an instance writes.
    ///
    /// # Errors
    ///
    /// Like [`create`](Self::create), and [`DataError`] naming the field that cannot be recorded.
    pub fn create_instance<M: ScribeModel>(
        &mut self,
        key: RecordKey,
        instance: &M,
    ) -> Result<(), DataError> {
        if let Err(missing) = self.changes.find(&key)
            && let Some(whole) = FieldsWriter::record_of(instance)?
        {
            let change = Change { whole: Some(Arc::new(whole)), ..Change::new(Mark::Create) };
            self.changes.add(missing, key, change);
            return Ok(());
        }
        self.create(key, &FieldsWriter::fields_of(instance)?)
    }

    /// Changes fields of a record that is alive.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when this proposal destroys it.
    pub fn update(&mut self, key: RecordKey, edits: Vec<Edit>) -> Result<(), DataError> {
        let found = self.changes.find(&key);
        if let Ok(place) = found
            && let change = self.changes.at(place)
            && !change.is_taken_back
        {
            return match change.mark {
                Mark::Destroy => Err(DataError::Missing { key }),
                _ => change.edit(edits),
            };
        }
        let mut change = Change::new(Mark::Update);
        change.edit(edits)?;
        match found {
            Ok(place) => *self.changes.at(place) = change,
            Err(missing) => self.changes.add(missing, key, change),
        }
        Ok(())
    }

    /// Destroys a record that is alive.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] when this proposal destroys it already.
    pub fn destroy(&mut self, key: RecordKey) -> Result<(), DataError> {
        match self.change(&key).map(|change| change.mark) {
            Some(Mark::Destroy) => return Err(DataError::Missing { key }),
            Some(Mark::Create) => {
                if let Some(change) = self.changes.get_mut(&key) {
                    change.is_taken_back = true;
                }
            }
            _ => self.changes.set(key, Change::new(Mark::Destroy)),
        }
        Ok(())
    }

    /// A record as it would be after this proposal, for reading one's own writes before they are made.
    pub fn preview(&self, key: &RecordKey, base: Option<Arc<Record>>) -> Option<Arc<Record>> {
        let Some(change) = self.change(key) else {
            return base;
        };
        let mut record = base.map(Arc::unwrap_or_clone).unwrap_or_default();
        let stamp = Stamp::PROVISIONAL;
        let writes = change.writes().into_owned().into_iter();
        let raises = change
            .raises
            .iter()
            .map(|(field, by)| (Path::counter(field.clone(), stamp.author), Encoded::int(*by)));
        let registers =
            writes.chain(raises).map(|(path, value)| Register { path, stamp, value }).collect();
        record.merge(&Record::new(
            change.mark.creates().then_some(stamp),
            change.mark.destroys().then_some(stamp),
            registers,
        ));
        Some(Arc::new(record))
    }

    /// The changes in the order in which their records were first touched.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&RecordKey, &Change)> {
        let changes = self.changes.iter().map(|(key, change)| (key, change));
        changes.filter(|(_, change)| !change.is_taken_back)
    }

    /// The same, with those that were taken back.
    pub(crate) fn into_changes(self) -> Vec<(RecordKey, Change)> {
        self.changes.into_vec()
    }

    fn change(&self, key: &RecordKey) -> Option<&Change> {
        self.changes.get(key).filter(|change| !change.is_taken_back)
    }
}

/// Whether a write is one that every peer, and this node's own log, will take.
///
/// Edits are checked where they are made, but paths and values can be put together by hand as well.
pub(crate) fn check_write(path: &Path, value: &Encoded) -> Result<(), DataError> {
    check_size(path, value)?;
    let field = || path.field.to_string();
    let bad = |reason: &str| Err(DataError::BadValue { field: field(), reason: reason.to_owned() });
    match (&path.element, path.kind) {
        (None, Kind::Lww) => {}
        (Some(Element::Entry(key)), Kind::Lww) => check_key(&path.field, key)?,
        (Some(Element::Member(member)), Kind::Lww) => {
            let bytes = member.as_bytes().len();
            if bytes > MEMBER_BYTES_MAX {
                return Err(DataError::MemberTooLarge { field: field(), bytes });
            }
            if !member.is_canonical() {
                return bad("a member is not one canonical value");
            }
            if *value != Encoded::TRUE && !value.is_nil() {
                return bad("a member holds true, or nil when it is removed");
            }
        }
        (Some(Element::Author(_)), _) | (_, Kind::Counter) => {
            return bad("a counter is raised, not written");
        }
    }
    if value.is_canonical() { Ok(()) } else { bad("it is not one canonical value") }
}

/// Whether a value is no longer than it may be.
pub(crate) fn check_size(path: &Path, value: &Encoded) -> Result<(), DataError> {
    let bytes = value.as_bytes().len();
    if bytes > VALUE_BYTES_MAX {
        return Err(DataError::ValueTooLarge { field: path.field.to_string(), bytes });
    }
    Ok(())
}

fn check_key(field: &Name, key: &str) -> Result<(), DataError> {
    let bytes = key.len();
    if bytes > NAME_BYTES_MAX {
        return Err(DataError::KeyTooLong { field: field.to_string(), key: abridged(key), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
