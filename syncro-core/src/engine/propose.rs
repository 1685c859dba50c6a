//! A local transaction: checked, stamped, recorded.

use std::cell::Cell;

use super::{Effects, Own};
use crate::error::{DataError, Error};
use crate::id::RecordKey;
use crate::limits::{
    RECORD_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX, VALUE_BYTES_MAX,
};
use crate::proposal::{Change, Proposal, check_size, check_write};
use crate::record::{Path, Record};
use crate::scribe::{Mark, Transaction};
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
        let mut changes = proposal.into_changes();
        for (key, change) in changes.iter_mut().filter(|(_, change)| !change.is_taken_back) {
            let record = view.record(key)?;
            newest = newest.max(record.as_ref().and_then(|record| record.newest_time()));
            change.settle(key, record.as_deref(), author)?;
            change.before = record;
        }
        changes.retain(|(_, change)| change.is_something());
        let Some((first, _)) = changes.first() else {
            return Ok(false);
        };
        if changes.len() > TRANSACTION_SCRIBES_MAX {
            return Err(DataError::TooManyScribes { scribes: changes.len() }.into());
        }
        let unwritable = || DataError::Unwritable { key: first.clone() };
        let time = self.clock.next(now.wall_ms, newest).ok_or_else(unwritable)?;
        let transaction = Transaction::new(Stamp { time, author }, &changes);
        let bytes = transaction.bytes().len();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(DataError::TransactionTooLarge { bytes }.into());
        }
        let mut intake = self.intake();
        let before = Cell::new(None);
        let scribes = changes.into_iter().map(|(key, mut change)| {
            before.set(change.before.take());
            Ok((key, change))
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

impl Change {
    /// Leaves of a change, which must fit the record's life, what differs from the record, in path order. Its values must
    /// fit the limits.
    pub(super) fn settle(
        &mut self,
        key: &RecordKey,
        record: Option<&Record>,
        author: Author,
    ) -> Result<(), DataError> {
        self.check(key, record)?;
        if let Some(whole) = self.whole.as_ref().filter(|_| record.is_none()) {
            return whole.registers().iter().try_for_each(|it| check_size(it.path, it.value));
        }
        let mark = self.mark;
        // What a replace erases does not count. What a create uncovers does.
        let before = record.filter(|_| mark != Mark::Replace);
        let fields = self.in_order();
        fields.iter().try_for_each(|(path, value)| check_write(path, value))?;
        fields.retain(|(path, value)| {
            let present = before.and_then(|before| Some((before, before.register(path)?.value)));
            // Under a younger register of another shape, what is there does not show.
            let is_same = present.map_or(value.is_nil(), |(before, present)| {
                present == value && shows(before, path)
            });
            !is_same || (mark == Mark::Create && !value.is_nil())
        });
        if !self.raises.is_empty() {
            self.settle_raises(before, author)?;
        }
        Ok(())
    }

    /// Whether the change fits the record's life.
    fn check(&self, key: &RecordKey, record: Option<&Record>) -> Result<(), DataError> {
        match (self.mark, record.is_some_and(Record::is_alive)) {
            (Mark::Create, true) => Err(DataError::Exists { key: key.clone() }),
            (Mark::Update | Mark::Destroy | Mark::Replace, false) => {
                Err(DataError::Missing { key: key.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Turns what counters are to be raised by into the author's totals.
    fn settle_raises(&mut self, before: Option<&Record>, author: Author) -> Result<(), DataError> {
        for (field, by) in std::mem::take(&mut self.raises) {
            let path = Path::counter(field.clone(), author);
            let total = before
                .and_then(|before| before.register(&path))
                .and_then(|register| register.value.as_i64())
                .unwrap_or(0);
            let overflow = || DataError::CounterOverflow { field: field.to_string() };
            let raised = total.checked_add(by).ok_or_else(overflow)?;
            if by != 0 {
                self.fields.push((path, Encoded::int(raised)));
            }
        }
        self.fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(())
    }

    /// Whether there is anything to record of what was settled.
    pub(super) fn is_something(&self) -> bool {
        !self.is_taken_back && (self.mark != Mark::Update || !self.fields.is_empty())
    }
}

/// Whether the path has the shape in which its field shows.
fn shows(record: &Record, path: &Path) -> bool {
    let of_field = record.registers().iter().filter(|register| register.path.field == path.field);
    let youngest = of_field.max_by_key(|register| register.stamp);
    youngest.is_none_or(|youngest| youngest.path.has_shape_of(path))
}

#[cfg(test)]
mod tests;
