//! An application that watches its node's changes, and remembers how far it has seen them.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncro_core::{Changed, Point, Record, RecordKey, View};
use syncro_store::LogStore;

use super::check::records;
use super::node::Log;
use super::{Failure, Law, Sight};

/// Every how-manieth change its application writes down how far it is.
const SAVED_EVERY: u64 = 5;

/// What it makes of the changes: every record, as the last change left it.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The offset of the next change.
    next: u64,
    /// Where to go on.
    resume: Point,
    records: BTreeMap<RecordKey, Arc<Record>>,
}

impl Watch {
    /// Begins with a list of everything.
    pub(crate) fn list(store: &LogStore) -> Result<Self, Failure> {
        let resume = store.own()?.map_or(Point::START, |own| own.end);
        Ok(Self { next: resume.offset, resume, records: records(store)? })
    }

    /// Goes on where it was when it was last written down, and merges by itself what has changed since; from a list,
    /// where the log has lost that point.
    pub(crate) fn resume(mut self, store: &LogStore) -> Result<(Self, Option<Sight>), Failure> {
        if store.digest_at(self.resume.offset)? != Some(self.resume.digest) {
            return Ok((Self::list(store)?, Some(Sight::Relisted)));
        }
        self.next = self.resume.offset;
        let from = self.next;
        loop {
            let entries = store.entries(self.next, 4096)?;
            let Some(last) = entries.last() else { break };
            self.resume = last.end();
            for entry in &entries {
                if entry.offset != self.next {
                    return Err(missed(self.next, entry.offset));
                }
                self.next = entry.end().offset;
                let stamp = entry.transaction.stamp();
                for scribe in entry.scribes()? {
                    let is_shown = scribe.mark.is_shown();
                    let (key, change) = scribe.into_record(stamp);
                    if is_shown {
                        self.show(&key, Arc::new(change));
                        continue;
                    }
                    Arc::make_mut(self.records.entry(key).or_default()).merge(&change);
                }
            }
        }
        let has_missed = (self.next > from).then_some(Sight::Resumed);
        Ok((self, has_missed))
    }

    /// Takes a change in. Returns what is written down of it, once in a while: what was made of everything before a
    /// point, and the point.
    pub(crate) fn see(&mut self, changed: &Changed, log: &Log) -> Result<Option<Self>, Failure> {
        check_told(changed, log)?;
        if changed.offset != self.next {
            return Err(missed(self.next, changed.offset));
        }
        if self.records.get(&changed.key) != changed.before.as_ref() {
            let detail =
                format!("{} was not before the change as it was after the last", changed.key);
            return Err(Law::Watch.broken(detail));
        }
        let is_due = self.next.is_multiple_of(SAVED_EVERY);
        let begins = changed.resume.offset == changed.offset;
        let before = (is_due && begins).then(|| Self { resume: changed.resume, ..self.clone() });
        self.next += 1;
        self.resume = changed.resume;
        self.show(&changed.key, changed.after.clone());
        let is_whole = changed.resume.offset == self.next;
        Ok(before.or_else(|| (is_due && is_whole).then(|| self.clone())))
    }

    /// A record is this from here on, or shown no more.
    fn show(&mut self, key: &RecordKey, record: Arc<Record>) {
        match record.is_unknown() {
            true => self.records.remove(key),
            false => self.records.insert(key.clone(), record),
        };
    }

    /// What was seen must be what a query shows.
    pub(crate) fn check(&self, store: &LogStore) -> Result<(), Failure> {
        let shown = records(store)?;
        if self.records == shown {
            return Ok(());
        }
        let differs = |key: &&RecordKey| self.records.get(key) != shown.get(key);
        let key = self.records.keys().chain(shown.keys()).find(differs);
        Err(Law::Watch.broken(format!("watched and queried, {key:?} is not the same")))
    }
}

/// Whether a change is what the log has at its offset.
fn check_told(changed: &Changed, log: &Log) -> Result<(), Failure> {
    let entry = log.entry_at(changed.offset);
    let scribe = entry.and_then(|entry| {
        let place = usize::try_from(changed.offset - entry.offset).ok()?;
        Some((entry.transaction.stamp(), entry.scribes().get(place)?))
    });
    if scribe.is_some_and(|(stamp, scribe)| {
        (stamp, &scribe.key, scribe.mark) == (changed.stamp, &changed.key, changed.mark)
    }) {
        return Ok(());
    }
    Err(Law::Watch.broken(format!("{changed:?} is told, and {scribe:?} was played")))
}

fn missed(next: u64, found: u64) -> Failure {
    Law::Watch.broken(format!("the change at {next} was to follow, and that at {found} came"))
}
