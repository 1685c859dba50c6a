//! Reading scribes out of a transaction's bytes, one after the other and without memory of their own.

use std::sync::Arc;

use bytes::Bytes;

use super::block::SHARED_BYTES_MAX;
use super::wire::{write_field, write_head};
use super::{Mark, Playable, Scribe, Transaction};
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::id::{KeyRef, NodeId, RecordKey};
use crate::limits::{
    MEMBER_BYTES_MAX, NAME_BYTES_MAX, TRANSACTION_SCRIBES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX,
};
use crate::record::{ElementRef, FEW_REGISTERS, Kind, Path, PathRef, Record, Written};
use crate::stamp::{Author, Epoch, Stamp, Time};
use crate::state;
use crate::value::Encoded;

/// A [`Scribe`] in the bytes of its transaction.
#[derive(Clone, Copy, Debug)]
pub struct ScribeRef<'a> {
    start: Start<'a>,
    stamp: Stamp,
    /// Where the encoded fields begin, and the whole of which they are a piece.
    input: &'a [u8],
    whole: &'a Bytes,
}

/// What a scribe says before its fields.
#[derive(Clone, Copy, Debug)]
struct Start<'a> {
    key: KeyRef<'a>,
    key_bytes: &'a [u8],
    mark: Mark,
    fields: usize,
}

/// Bytes of a field at least, a path and a value: what is in a log may be damaged, and say that there are more.
const FIELD_BYTES_MIN: usize = 3;

impl<'a> ScribeRef<'a> {
    /// The record.
    pub fn key(&self) -> RecordKey {
        self.start.key.to_key()
    }

    /// The record's key where it lies.
    pub fn key_ref(&self) -> KeyRef<'a> {
        self.start.key
    }

    /// The record's key as it is encoded: as [`RecordKey::write_state`] writes it.
    pub fn key_bytes(&self) -> &'a [u8] {
        self.start.key_bytes
    }

    /// What happened to its life.
    pub fn mark(&self) -> Mark {
        self.start.mark
    }

    /// When and by whom its transaction was written.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The scribe with memory of its own, but that long values share that of the transaction.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for what is out of a log in spite of its checksums, and so it is with the other methods.
    pub fn to_scribe(&self) -> Result<Scribe, Malformed> {
        let mut fields =
            Vec::with_capacity(self.start.fields.min(self.input.len() / FIELD_BYTES_MIN));
        for field in self.fields() {
            let (path, value) = field?;
            fields.push((self.path(path), self.value(value)));
        }
        Ok(Scribe { key: self.key(), mark: self.mark(), fields })
    }

    /// The scribe as a record that knows nothing else: to play a scribe is to merge this.
    ///
    /// # Errors
    ///
    /// Like [`to_scribe`](Self::to_scribe).
    pub fn to_record(&self) -> Result<Record, Malformed> {
        if self.mark().is_shown() {
            return self.state();
        }
        let most = self.input.len() / FIELD_BYTES_MIN;
        let mut written = Written::new(Some(self.start.fields.min(most)));
        for field in self.fields() {
            let (path, value) = field?;
            let value = self.value(value);
            written.push(path, self.stamp, value, || self.path(path));
        }
        let (created, destroyed) = self.mark().stamps(self.stamp);
        Ok(written.into_record(created, destroyed))
    }

    fn path(&self, path: PathRef<'_>) -> Path {
        path.to_path(|member| self.value(member))
    }

    /// A value. A long one shares the memory of a long transaction, and not that of a short one, which may be shared with
    /// others.
    fn value(&self, value: &[u8]) -> Encoded {
        match self.whole.len() > SHARED_BYTES_MAX {
            true => Encoded::trusted(value, self.whole),
            false => Encoded::copied(value),
        }
    }

    /// The state in a scribe that takes the place of all that was known.
    fn state(&self) -> Result<Record, Malformed> {
        match (self.mark(), self.fields().next()) {
            (Mark::State, Some(field)) => {
                let state = Reader::new(field?.1).bytes()?;
                state::from_bytes(&self.whole.slice_ref(state))
            }
            _ => Ok(Record::default()),
        }
    }

    /// The paths, in order, and the values written, where they lie.
    ///
    /// # Errors
    ///
    /// Like [`to_scribe`](Self::to_scribe).
    pub fn fields(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<(PathRef<'a>, &'a [u8]), Malformed>> + use<'a> {
        let mut reader = Reader::new(self.input);
        let author = self.stamp.author;
        (0..self.start.fields).map(move |_| Ok((read_path(&mut reader, author)?, reader.skip()?)))
    }
}

impl Playable for ScribeRef<'_> {
    fn key(&self) -> RecordKey {
        self.key()
    }

    fn mark(&self) -> Mark {
        self.mark()
    }

    fn play(self, before: Option<&Record>, _: Stamp) -> Result<Arc<Record>, Malformed> {
        let Some(before) = before.filter(|_| !self.mark().is_shown()) else {
            return self.to_record().map(Arc::new);
        };
        let mut after = before.clone();
        if self.start.fields > FEW_REGISTERS {
            after.merge(&self.to_record()?);
            return Ok(Arc::new(after));
        }
        for field in self.fields() {
            let (path, value) = field?;
            let value = self.value(value);
            after.join(path, self.stamp, value, || self.path(path));
        }
        let (created, destroyed) = self.mark().stamps(self.stamp);
        after.join_marks(created, destroyed);
        Ok(Arc::new(after))
    }
}

/// What a transaction says before its scribes.
pub(super) struct Begun {
    pub(super) stamp: Stamp,
    /// How many scribes follow, and where.
    pub(super) scribes: usize,
    pub(super) body: usize,
    pub(super) is_local: bool,
}

impl Begun {
    /// Reads from the beginning of a transaction.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let whole = reader.rest().len();
        let (stamp, is_local) = head(reader)?;
        let scribes = match reader.array()? {
            0 => return Err(Malformed::Expected("a scribe")),
            count if count > TRANSACTION_SCRIBES_MAX => {
                return Err(Malformed::Limit("the number of scribes"));
            }
            count => count,
        };
        Ok(Self { stamp, scribes, body: whole - reader.rest().len(), is_local })
    }

    /// The transaction of these bytes.
    pub(super) fn of(self, bytes: Bytes) -> Transaction {
        let Self { stamp, scribes, body, is_local } = self;
        Transaction { stamp, scribes: scribes as u32, body: body as u32, bytes, is_local }
    }
}

/// Reads a stamp, and whether the transaction is this node's alone.
pub(super) fn head(reader: &mut Reader<'_>) -> Result<(Stamp, bool), Malformed> {
    let is_local = match reader.array()? {
        4 => false,
        5 => true,
        _ => return Err(Malformed::Expected("a transaction of four parts")),
    };
    let time = time(reader)?;
    let node = NodeId::from_bytes(reader.bytes_of()?);
    let author = Author { node, epoch: Epoch(reader.uint()?) };
    Ok((Stamp { time, author }, is_local))
}

fn time(reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    match Time::from_bits(reader.uint()?) {
        time if time < Time::END => Ok(time),
        _ => Err(Malformed::Limit("a stamp")),
    }
}

/// Reads the scribes of a transaction that was checked.
pub(super) fn scribes(
    transaction: &Transaction,
) -> impl Iterator<Item = Result<ScribeRef<'_>, Malformed>> {
    let Transaction { stamp, scribes, body, bytes: whole, is_local } = transaction;
    let mut reader = Reader::new(whole.get(*body as usize..).unwrap_or_default());
    (1..=*scribes).map(move |number| {
        let start = start(&mut reader, *is_local)?;
        let input = reader.rest();
        // What it claims to hold costs nothing until it is there.
        if start.fields > input.len() / 2 {
            return Err(Malformed::Truncated);
        }
        // What comes after the last one nobody reads.
        let skipped = if number == *scribes { 0 } else { 2 * start.fields };
        for _ in 0..skipped {
            reader.skip()?;
        }
        Ok(ScribeRef { start, stamp: *stamp, input, whole })
    })
}

/// Reads the keys of a transaction that was checked, as they are encoded.
pub(super) fn keys(body: &[u8], scribes: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    let mut reader = Reader::new(body);
    (1..=scribes).map(move |number| {
        reader.array_of(4, "a scribe of four parts")?;
        let before = reader.rest();
        reader.skip()?;
        reader.skip()?;
        let key = &before[..before.len() - reader.rest().len()];
        if number < scribes {
            reader.skip()?;
            reader.skip()?;
        }
        Ok(key)
    })
}

/// Reads a scribe up to its fields.
fn start<'a>(reader: &mut Reader<'a>, is_local: bool) -> Result<Start<'a>, Malformed> {
    reader.array_of(4, "a scribe of four parts")?;
    let before = reader.rest();
    let key = KeyRef::read(reader)?;
    let key_bytes = &before[..before.len() - reader.rest().len()];
    let mark = match (reader.uint()?, is_local) {
        (0, false) => Mark::Update,
        (1, false) => Mark::Create,
        (2, false) => Mark::Destroy,
        (3, false) => Mark::Replace,
        (4, true) => Mark::State,
        (5, true) => Mark::Evict,
        _ => return Err(Malformed::Limit("a mark")),
    };
    let count = reader.array()?;
    let fits = match mark {
        Mark::Update => count > 0,
        Mark::Destroy | Mark::Evict => count == 0,
        Mark::Create | Mark::Replace => true,
        Mark::State => count == 2,
    };
    if count % 2 == 1 || !fits {
        return Err(Malformed::Expected("pairs of path and value that fit the mark"));
    }
    Ok(Start { key, key_bytes, mark, fields: count / 2 })
}

/// Checks the scribes of a transaction. What is not in canonical form, or not in order, the reader says; where it does, it
/// is not known yet whether paths are there twice.
pub(super) fn check(reader: &mut Reader<'_>, begun: &Begun) -> Result<(), Malformed> {
    let body = reader.clone();
    let (mut last, mut is_sorted) = (None, true);
    for _ in 0..begun.scribes {
        let scribe = start(reader, begun.is_local)?;
        is_sorted = is_sorted && last.is_none_or(|last| last < scribe.key);
        last = Some(scribe.key);
        check_fields(reader, scribe.fields, begun)?;
    }
    if is_sorted { Ok(()) } else { check_keys(body, begun) }
}

fn check_fields(reader: &mut Reader<'_>, count: usize, begun: &Begun) -> Result<(), Malformed> {
    let mut last = None;
    for _ in 0..count {
        let path = read_path(reader, begun.stamp.author)?;
        let (value, _) = reader.value_and_form(VALUE_DEPTH_MAX)?;
        if value.len() > VALUE_BYTES_MAX && !begun.is_local {
            return Err(Malformed::Limit("a value"));
        }
        path.check_value(value)?;
        match last {
            Some(last) if last == path && reader.is_canonical() => {
                return Err(Malformed::Expected("one value per path"));
            }
            Some(last) if last >= path => reader.not_canonical(),
            _ => {}
        }
        last = Some(path);
    }
    Ok(())
}

/// Checks that no record has two scribes, where they are not in the order of their records.
fn check_keys(mut reader: Reader<'_>, begun: &Begun) -> Result<(), Malformed> {
    let mut keys = Vec::with_capacity(begun.scribes);
    for _ in 0..begun.scribes {
        let scribe = start(&mut reader, begun.is_local)?;
        for _ in 0..2 * scribe.fields {
            reader.skip()?;
        }
        keys.push(scribe.key);
    }
    keys.sort_unstable();
    match keys.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(Malformed::Expected("one scribe per record")),
        false => Ok(()),
    }
}

/// Writes a transaction of which all values are in canonical form so that it is itself: with the fields of each scribe in
/// the order of their paths, and its own author's counters without its name.
pub(super) fn in_order(whole: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(whole);
    let mut writer = Writer(Vec::with_capacity(whole.len()));
    let Begun { stamp, scribes, is_local, .. } = Begun::read(&mut reader)?;
    write_head(&mut writer, stamp);
    writer.array(scribes);
    // Where a path begins, and its value: what takes little memory beside the least field.
    let mut fields: Vec<(u32, u32)> = Vec::new();
    for _ in 0..scribes {
        let before = reader.rest();
        let scribe = start(&mut reader, is_local)?;
        writer.encoded(&before[..before.len() - reader.rest().len()]);
        fields.clear();
        for _ in 0..scribe.fields {
            let path = place(whole, &reader);
            reader.skip()?;
            fields.push((path, place(whole, &reader)));
            reader.skip()?;
        }
        for (path, _) in &fields {
            read_path(&mut at(whole, *path), stamp.author)?;
        }
        let path = |(path, value): &(u32, u32)| {
            known_path(&whole[*path as usize..*value as usize], stamp.author).ok()
        };
        fields.sort_unstable_by(|one, other| path(one).cmp(&path(other)));
        if fields.windows(2).any(|pair| path(&pair[0]) == path(&pair[1])) {
            return Err(Malformed::Expected("one value per path"));
        }
        for (path, value) in &fields {
            let path = read_path(&mut at(whole, *path), stamp.author)?;
            write_field(&mut writer, path, at(whole, *value).skip()?, stamp.author);
        }
    }
    reader.finish()?;
    Ok(writer.0)
}

/// Where a reader is in the whole, which is no longer than a transaction may be.
fn place(whole: &[u8], reader: &Reader<'_>) -> u32 {
    (whole.len() - reader.rest().len()) as u32
}

fn at(whole: &[u8], place: u32) -> Reader<'_> {
    Reader::new(&whole[place as usize..])
}

fn read_path<'a>(reader: &mut Reader<'a>, own: Author) -> Result<PathRef<'a>, Malformed> {
    if let Some(field) = reader.short_text() {
        return Ok(PathRef::new(name(field?)?, None));
    }
    let parts = match reader.head()? {
        Head::Text(field) => return Ok(PathRef::new(name(field)?, None)),
        Head::Array(parts) => parts,
        _ => return Err(Malformed::Expected("a path")),
    };
    let field = name(reader.text()?)?;
    let kind = Kind::from_code(reader.uint()?).ok_or(Malformed::Limit("a kind"))?;
    match (kind, parts) {
        (Kind::Lww, 3) => match reader.head()? {
            Head::Text(key) if key.len() <= NAME_BYTES_MAX => {
                Ok(PathRef::new(field, Some(ElementRef::Entry(key))))
            }
            Head::Array(1) => {
                let (member, _) = reader.value_and_form(VALUE_DEPTH_MAX)?;
                if member.len() > MEMBER_BYTES_MAX {
                    return Err(Malformed::Limit("a set member"));
                }
                Ok(PathRef::new(field, Some(ElementRef::Member(member))))
            }
            _ => Err(Malformed::Expected("a map key or a set member")),
        },
        (Kind::Counter, 2) => Ok(PathRef::counter(field, own)),
        (Kind::Counter, 4) => {
            let node = NodeId::from_bytes(reader.bytes_of()?);
            let author = Author { node, epoch: Epoch(reader.uint()?) };
            if author == own {
                reader.not_canonical();
            }
            Ok(PathRef::counter(field, author))
        }
        _ => Err(Malformed::Expected("a path of the length of its kind")),
    }
}

/// A path that was read before, without a walk over the member that it may end with.
fn known_path(path: &[u8], own: Author) -> Result<PathRef<'_>, Malformed> {
    let mut reader = Reader::new(path);
    let is_member = matches!(reader.head()?, Head::Array(3)) && {
        reader.skip()?;
        reader.skip()?;
        matches!(reader.head()?, Head::Array(1))
    };
    if !is_member {
        return read_path(&mut Reader::new(path), own);
    }
    let mut field = Reader::new(&path[1..]);
    Ok(PathRef::new(field.text()?, Some(ElementRef::Member(reader.rest()))))
}

fn name(text: &str) -> Result<&str, Malformed> {
    match text.len() {
        1..=NAME_BYTES_MAX => Ok(text),
        _ => Err(Malformed::Limit("a name")),
    }
}
