//! The channels of an authority: what was touched in each, in order, and which records are in it.
//!
//! Each channel counts for itself: a log of touches with dense offsets and a running digest over the records' keys and
//! states, its members, and the sum of their hashes. All of it is rows, written in the commit of what they follow from.
//! They are built from the records when they are first wanted, and anew when templates change: then under another
//! generation, whose digests begin with another seed.

use std::sync::Arc;

use bytes::Bytes;

use super::{Intake, Own, Rows};
use crate::channel::{Channel, MODELS, Sum, Templates};
use crate::digest::{Digest, Point};
use crate::encoding::Malformed;
use crate::encoding::msgpack::{Head, Reader, Writer};
use crate::id::RecordKey;
use crate::record::Record;
use crate::state;
use crate::store::{StoreError, View};

/// The row that says how far the index of channels is: without it the index is built anew.
pub const INDEX_ROW: &[u8] = b"x";

const STATUS: &[u8] = INDEX_ROW;

/// Records put into the index, or rows of an older one deleted, in one step: some milliseconds.
const AT_ONCE: usize = 256;

/// How far the index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    /// Which one it is.
    generation: u32,
    /// What the digests of all its channels begin with.
    seed: Digest,
    progress: Progress,
    /// Whether nothing is left of others.
    is_swept: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    /// Records up to this one are in it, in the order of their keys.
    Building(Option<RecordKey>),
    Built,
}

/// What is known of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    /// The end of its log.
    pub(crate) end: Point,
    /// Over its members.
    pub(crate) sum: Sum,
}

/// A record's place in a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The offset after its last touch.
    pub(crate) touched: u64,
    hash: Digest,
}

/// A touch in a channel's log.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// The point after it.
    pub(crate) point: Point,
    /// Whether the record was in the channel after it.
    pub(crate) is_in: bool,
    pub(crate) key: RecordKey,
}

impl Index {
    /// None yet.
    fn new(seed: Digest) -> Self {
        // At random: whatever is left of others is none of this one.
        let generation = (seed.number() >> 32) as u32;
        Self { generation, seed, progress: Progress::Building(None), is_swept: false }
    }

    /// The index of a store, where it is kept, and the rows that say how far it is.
    pub(super) fn open(
        seed: Digest,
        is_kept: bool,
        view: &impl View,
    ) -> Result<(Option<Self>, Rows), StoreError> {
        let mut rows = Rows::default();
        let found = view.row(STATUS)?.map(|row| read_status(&row).map_err(corrupt)).transpose()?;
        let index = match found {
            None if !is_kept => return Ok((None, rows)),
            None => Self::new(seed),
            Some(index) if is_kept || index.progress == Progress::Building(None) => index,
            // Nobody keeps it from here on.
            Some(_) => Self::new(seed),
        };
        rows.put(STATUS.to_vec(), index.write_status());
        Ok((is_kept.then_some(index), rows))
    }

    /// Which one it is: points of one generation mean nothing in another.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it holds all records.
    pub(crate) fn is_built(&self) -> bool {
        self.progress == Progress::Built
    }

    /// Whether there is anything to be done while nothing else is.
    pub(super) fn is_due(&self) -> bool {
        !self.is_built() || !self.is_swept
    }

    fn covers(&self, key: &RecordKey) -> bool {
        match &self.progress {
            Progress::Built => true,
            Progress::Building(last) => last.as_ref().is_some_and(|last| key <= last),
        }
    }

    fn key(&self, sort: u8, channel: Digest, rest: &[u8]) -> Vec<u8> {
        let generation = self.generation.to_be_bytes();
        [STATUS, &generation, &[sort], &channel.0, rest].concat()
    }

    /// What is known of a channel.
    pub(crate) fn head(
        &self,
        channel: Digest,
        rows: &Rows,
        view: &impl View,
    ) -> Result<Heading, StoreError> {
        let Some(row) = rows.get(&self.key(b'h', channel, &[]), view)? else {
            let end = Point { offset: 0, digest: self.seed.then(&channel.0) };
            return Ok(Heading { end, sum: Sum::default() });
        };
        let (offset, digest, rest) = read_point(&row).ok_or_else(|| damaged("a channel"))?;
        let sum = <[u8; 16]>::try_from(rest).map_err(|_| damaged("a channel"))?;
        Ok(Heading { end: Point { offset, digest }, sum: Sum::from_bytes(sum) })
    }

    /// Whether a point is one of a channel's log.
    pub(crate) fn has(
        &self,
        channel: Digest,
        point: Point,
        view: &impl View,
    ) -> Result<bool, StoreError> {
        let Some(before) = point.offset.checked_sub(1) else {
            return Ok(false);
        };
        let touches = self.touches(channel, before, 1, view)?;
        Ok(touches.first().is_some_and(|touch| touch.point == point))
    }

    /// At most `limit` touches of a channel from an offset on.
    pub(crate) fn touches(
        &self,
        channel: Digest,
        from: u64,
        limit: usize,
        view: &impl View,
    ) -> Result<Vec<Touch>, StoreError> {
        let prefix = self.key(b't', channel, &[]);
        let after = self.key(b't', channel, &from.to_be_bytes());
        let rows = view.rows(&prefix, Some(&after), limit)?;
        let touches = rows.iter().map(|(key, row)| {
            let offset = key.last_chunk().map(|offset| u64::from_be_bytes(*offset));
            let (digest, rest) = row.split_first_chunk()?;
            let (is_in, key) = rest.split_first()?;
            let point = Point { offset: offset?, digest: Digest(*digest) };
            Some(Touch { point, is_in: *is_in == 1, key: read_key(key)? })
        });
        touches.collect::<Option<_>>().ok_or_else(|| damaged("a channel's log"))
    }

    /// A record's place in a channel, while it is in it.
    pub(crate) fn member(
        &self,
        channel: Digest,
        key: &RecordKey,
        rows: &Rows,
        view: &impl View,
    ) -> Result<Option<Member>, StoreError> {
        let row = rows.get(&self.key(b'm', channel, &key_bytes(key)), view)?;
        let read = |row: Bytes| {
            let (touched, hash, _) = read_point(&row)?;
            Some(Member { touched, hash })
        };
        row.map(|row| read(row).ok_or_else(|| damaged("a member"))).transpose()
    }

    /// At most `limit` members of a channel, in the order of the bytes of their keys, after one or from the first.
    pub(crate) fn members(
        &self,
        channel: Digest,
        after: Option<&RecordKey>,
        limit: usize,
        view: &impl View,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let prefix = self.key(b'm', channel, &[]);
        let after = after.map(|after| self.key(b'm', channel, &key_bytes(after)));
        let rows = view.rows(&prefix, after.as_deref(), limit)?;
        let keys = rows.iter().map(|(key, _)| read_key(key.get(prefix.len()..)?));
        keys.collect::<Option<_>>().ok_or_else(|| damaged("a member"))
    }

    /// Notes that a record was touched in a channel, and whether it is in it now.
    fn touch(
        &self,
        channel: &Channel,
        key: &RecordKey,
        hash: Option<Digest>,
        intake: &mut Intake,
        view: &impl View,
    ) -> Result<(), StoreError> {
        let (rows, channel) = (&mut intake.rows, channel.hash());
        let mut head = self.head(channel, rows, view)?;
        let member = self.member(channel, key, rows, view)?;
        if member.is_none() && hash.is_none() {
            return Ok(());
        }
        let key = key_bytes(key);
        let (is_in, digest) = (u8::from(hash.is_some()), hash.unwrap_or_default());
        let content = [&key[..], &[is_in], &digest.0].concat();
        head.end = head.end.then(1, &content);
        if let Some(member) = member {
            head.sum.subtract(member.hash);
        }
        let member = self.key(b'm', channel, &key);
        match hash {
            Some(hash) => {
                head.sum.add(hash);
                rows.put(member, [&head.end.offset.to_be_bytes()[..], &hash.0].concat());
            }
            None => rows.delete(member),
        }
        let touch = self.key(b't', channel, &head.end.offset.to_be_bytes());
        rows.put(touch, [&head.end.digest.0[..], &[is_in], &key].concat());
        let (offset, digest) = (head.end.offset.to_be_bytes(), head.end.digest.0);
        let row = [&offset[..], &digest, &head.sum.to_bytes()].concat();
        rows.put(self.key(b'h', channel, &[]), row);
        intake.touched.insert(channel);
        Ok(())
    }

    /// Notes what became of a record.
    fn note(
        &self,
        key: &RecordKey,
        before: Option<&Record>,
        after: &Record,
        templates: &Templates,
        intake: &mut Intake,
        view: &impl View,
    ) -> Result<(), StoreError> {
        // What is in too many channels is in none.
        let left = templates.channels(key, before).unwrap_or_default();
        let entered = templates.channels(key, Some(after)).unwrap_or_default();
        if left.is_empty() && entered.is_empty() {
            return Ok(());
        }
        let hash = state::hash(key, after);
        for channel in left.difference(&entered) {
            self.touch(channel, key, None, intake, view)?;
        }
        for channel in &entered {
            self.touch(channel, key, Some(hash), intake, view)?;
        }
        Ok(())
    }

    /// Some rows of other generations, if any are left.
    fn others(&self, view: &impl View) -> Result<Vec<Bytes>, StoreError> {
        let own = [STATUS, &self.generation.to_be_bytes()].concat();
        let is_other = |(key, _): &(Bytes, Bytes)| !key.starts_with(&own);
        let before = view.rows(STATUS, Some(STATUS), AT_ONCE)?;
        let before: Vec<Bytes> =
            before.into_iter().take_while(is_other).map(|(key, _)| key).collect();
        if !before.is_empty() {
            return Ok(before);
        }
        let last = [&own[..], &[0xff; 2]].concat();
        let after = view.rows(STATUS, Some(&last), AT_ONCE)?;
        Ok(after.into_iter().filter(is_other).map(|(key, _)| key).collect())
    }

    fn write_status(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(4);
        writer.uint(u64::from(self.generation));
        writer.bool(self.is_swept);
        writer.bytes(&self.seed.0);
        match &self.progress {
            Progress::Built => writer.bool(true),
            Progress::Building(None) => writer.nil(),
            Progress::Building(Some(last)) => writer.bytes(&key_bytes(last)),
        }
        writer.0
    }
}

impl Own {
    /// Notes in the channels what a step makes of records. To be called once, before the step is committed.
    pub(crate) fn index(&self, intake: &mut Intake, view: &impl View) -> Result<(), StoreError> {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        let Some(index) = &self.index else {
            return Ok(());
        };
        let mut templates = None;
        for (key, record) in intake.records.iter().filter(|(key, _)| key.model.as_str() == MODELS) {
            templates.get_or_insert_with(|| judge.templates.clone()).take(&key.id, record);
        }
        if templates.is_some_and(|templates| templates != judge.templates) {
            let seed = index.seed.then(&intake.end.digest.0);
            let index = Index::new(seed);
            intake.rows.put(STATUS.to_vec(), index.write_status());
            intake.index = Some(index);
            return Ok(());
        }
        let changed: Vec<(RecordKey, Arc<Record>)> = intake.records.iter().cloned().collect();
        for (key, after) in changed.iter().filter(|(key, _)| index.covers(key)) {
            let before = view.record(key)?;
            if before.as_ref() != Some(after) {
                index.note(key, before.as_deref(), after, &judge.templates, intake, view)?;
            }
        }
        Ok(())
    }

    /// What goes on building the index, or deletes what an older one has left, if there is anything left to do.
    pub(super) fn step_of_index(&self, view: &impl View) -> Result<Option<Intake>, StoreError> {
        let (Some(index), Some(judge)) = (&self.index, &self.judge) else {
            return Ok(None);
        };
        let mut intake = self.intake();
        let mut next = index.clone();
        if let Progress::Building(last) = &index.progress {
            let records = next_records(last.as_ref(), view)?;
            for (key, record) in &records {
                index.note(key, None, record, &judge.templates, &mut intake, view)?;
            }
            next.progress = match records.into_iter().next_back() {
                Some((key, _)) => Progress::Building(Some(key)),
                None => Progress::Built,
            };
        } else if !index.is_swept {
            let rows = index.others(view)?;
            next.is_swept = rows.is_empty();
            rows.into_iter().for_each(|key| intake.rows.delete(key.into()));
        } else {
            return Ok(None);
        }
        intake.rows.put(STATUS.to_vec(), next.write_status());
        intake.index = Some(next);
        Ok(Some(intake))
    }
}

/// The next records of all models in the order of their keys.
fn next_records(
    last: Option<&RecordKey>,
    view: &impl View,
) -> Result<Vec<(RecordKey, Arc<Record>)>, StoreError> {
    for model in view.models()? {
        let after = match last {
            Some(last) if model < last.model => continue,
            Some(last) if model == last.model => Some(&last.id),
            _ => None,
        };
        let records = view.records(&model, after, AT_ONCE)?;
        if !records.is_empty() {
            let keyed = records.into_iter();
            return Ok(keyed
                .map(|(id, record)| (RecordKey { model: model.clone(), id }, record))
                .collect());
        }
    }
    Ok(Vec::new())
}

/// The bytes of a key, by whose order a channel's members are listed.
pub(crate) fn key_bytes(key: &RecordKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write_state(&mut bytes);
    bytes
}

pub(crate) fn read_key(bytes: &[u8]) -> Option<RecordKey> {
    let mut reader = Reader::new(bytes);
    let key = RecordKey::read(&mut reader).ok()?;
    reader.finish().ok()?;
    Some(key)
}

fn read_point(row: &[u8]) -> Option<(u64, Digest, &[u8])> {
    let (offset, rest) = row.split_first_chunk()?;
    let (digest, rest) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*offset), Digest(*digest), rest))
}

fn read_status(row: &[u8]) -> Result<Index, Malformed> {
    let mut reader = Reader::new(row);
    reader.array_of(4, "how far the index is")?;
    let number = |int: u64| u32::try_from(int).map_err(|_| Malformed::Limit("a generation"));
    let generation = number(reader.uint()?)?;
    let is_swept = reader.bool()?;
    let seed = Digest(reader.bytes_of()?);
    let progress = match reader.head()? {
        Head::Bool(true) => Progress::Built,
        Head::Nil => Progress::Building(None),
        Head::Bytes(key) => {
            Progress::Building(Some(read_key(key).ok_or(Malformed::Expected("a key"))?))
        }
        _ => return Err(Malformed::Expected("how far the index is")),
    };
    reader.finish()?;
    Ok(Index { generation, seed, progress, is_swept })
}

fn corrupt(error: Malformed) -> StoreError {
    StoreError::Corrupt { what: format!("the index of channels: {error}") }
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("the row of {what}") }
}
