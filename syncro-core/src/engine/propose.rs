//! A local transaction: checked, stamped, recorded.

use std::cell::Cell;
use std::sync::Arc;

use super::{Effects, Own};
use crate::error::{DataError, Error};
use crate::id::RecordKey;
use crate::limits::{
    RECORD_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX, VALUE_BYTES_MAX,
};
use crate::proposal::{Change, Proposal, check_size, check_write};
use crate::record::{Path, Record};
use crate::scribe::{Fresh, Mark, Playable, Scribe, Transaction};
use crate::stamp::{Author, Now, Stamp, Time};
use crate::store::View;
use crate::value::Encoded;

impl Own {
    /// Records a proposal. Returns whether anything was recorded: a proposal that changes nothing
    /// records nothing.
    pub(super) fn propose(
        &mut self,
        now: Now,
        proposal: Proposal,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<bool, Error> {
        // A fork seen since the last write: this write is the first of a new epoch, which becomes
        // durable in the same commit. Clones that know the same differ in their logs and clocks.
        let mut author = self.author();
        if self.is_forked() {
            let Now { wall_ms, monotonic_ms } = now;
            let clocks = [wall_ms.to_be_bytes(), monotonic_ms.to_be_bytes()].concat();
            author.epoch = self.fresh_epoch(&[&self.end().digest.0[..], &clocks].concat());
        }
        let mut newest: Option<Time> = None;
        // Each with the record as it is: there is at most one for each record.
        let mut scribes = Vec::with_capacity(1);
        for (key, mut change) in proposal.into_changes() {
            let record = view.record(&key)?;
            newest = newest.max(record.as_ref().and_then(|record| record.newest_time()));
            let scribe = match change.whole.take_if(|_| record.is_none()) {
                Some(whole) => Some(create(key, whole)?),
                None => scribe(key, change, record.as_deref(), author)?.map(Fresh::Scribe),
            };
            if let Some(scribe) = scribe {
                scribes.push((scribe, record));
            }
        }
        if scribes.is_empty() {
            return Ok(false);
        }
        if scribes.len() > TRANSACTION_SCRIBES_MAX {
            return Err(DataError::TooManyScribes { scribes: scribes.len() }.into());
        }
        let unwritable = || DataError::Unwritable { key: scribes[0].0.key() };
        let time = self.clock.next(now.wall_ms, newest).ok_or_else(unwritable)?;
        let transaction =
            Transaction::new(Stamp { time, author }, scribes.iter().map(|(scribe, _)| scribe));
        let bytes = transaction.bytes().len();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(DataError::TransactionTooLarge { bytes }.into());
        }
        let mut intake = self.intake();
        let before = Cell::new(None);
        let scribes = scribes.into_iter().map(|(scribe, record)| {
            before.set(record);
            Ok(scribe)
        });
        intake.append(transaction, scribes, None, |_| Ok(before.take()))?;
        let is_large = |record: &Record| record.registers().len() > SURELY_SMALL;
        for (key, after) in intake.records.iter().filter(|(_, after)| is_large(after)) {
            let bytes = after.bytes();
            // What a merge has made too large may still shrink.
            if bytes > RECORD_BYTES_MAX
                && bytes > view.record(key)?.map_or(0, |before| before.bytes())
            {
                return Err(DataError::RecordTooLarge { key: key.clone(), bytes }.into());
            }
        }
        self.note_changes(&mut intake, view)?;
        // From here on nothing fails.
        if author != self.author() {
            self.begin_epoch(author.epoch);
        }
        self.note_issued(time, now);
        effects.events = std::mem::take(&mut intake.events);
        effects.commit = Some(self.commit(intake, Vec::new()));
        Ok(true)
    }
}

/// Registers of a record that is not too large, whatever is in them.
const SURELY_SMALL: usize = RECORD_BYTES_MAX / (2 * VALUE_BYTES_MAX);

/// Whether the change fits the record's life.
fn check(key: &RecordKey, change: &Change, record: Option<&Record>) -> Result<(), DataError> {
    match (change.mark, record.is_some_and(Record::is_alive)) {
        (Mark::Create, true) => Err(DataError::Exists { key: key.clone() }),
        (Mark::Update | Mark::Destroy | Mark::Replace, false) => {
            Err(DataError::Missing { key: key.clone() })
        }
        _ => Ok(()),
    }
}

/// The scribe that creates a record of which nothing is known.
fn create(key: RecordKey, whole: Arc<Record>) -> Result<Fresh, DataError> {
    whole.registers().iter().try_for_each(|it| check_size(it.path, it.value))?;
    Ok(Fresh::Create(key, whole))
}

/// The scribe of a change, which must fit the record's life: only what differs from the record. `None` when nothing
/// does. Its values must fit the limits.
pub(super) fn scribe(
    key: RecordKey,
    change: Change,
    record: Option<&Record>,
    author: Author,
) -> Result<Option<Scribe>, DataError> {
    check(&key, &change, record)?;
    let mark = change.mark;
    // What a replace erases does not count. What a create uncovers does.
    let before = record.filter(|_| mark != Mark::Replace);
    let (mut fields, raises) = change.into_parts();
    fields.iter().try_for_each(|(path, value)| check_write(path, value))?;
    fields.retain(|(path, value)| {
        let present = before.and_then(|before| Some((before, before.register(path)?.value)));
        // Under a younger register of another shape, what is there does not show.
        let is_same = present
            .map_or(value.is_nil(), |(before, present)| present == value && shows(before, path));
        !is_same || (mark == Mark::Create && !value.is_nil())
    });
    let has_raises = !raises.is_empty();
    for (field, by) in raises {
        let path = Path::counter(field.clone(), author);
        let total = before
            .and_then(|before| before.register(&path))
            .and_then(|register| register.value.as_i64())
            .unwrap_or(0);
        let overflow = || DataError::CounterOverflow { field: field.to_string() };
        let raised = total.checked_add(by).ok_or_else(overflow)?;
        if by != 0 {
            fields.push((path, Encoded::int(raised)));
        }
    }
    if fields.is_empty() && mark == Mark::Update {
        return Ok(None);
    }
    if has_raises {
        fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    }
    Ok(Some(Scribe { key, mark, fields }))
}

/// Whether the path has the shape in which its field shows.
fn shows(record: &Record, path: &Path) -> bool {
    let of_field = record.registers().iter().filter(|register| register.path.field == path.field);
    let youngest = of_field.max_by_key(|register| register.stamp);
    youngest.is_none_or(|youngest| youngest.path.has_shape_of(path))
}

#[cfg(test)]
mod tests;
