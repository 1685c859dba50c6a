//! An application that watches its node's changes, and remembers how far it has seen them.

use std::collections::BTreeMap;

use syncro_core::{Changed, Point, RecordKey, View};
use syncro_store::LogStore;

use super::check::{state, states};
use super::{Failure, Law};

/// What it makes of the changes: every record, as the last change left it.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The offset of the next change.
    next: u64,
    /// Where to go on.
    resume: Point,
    records: BTreeMap<RecordKey, Vec<u8>>,
}

impl Watch {
    /// Begins with a list of everything.
    pub(crate) fn list(store: &LogStore) -> Result<Self, Failure> {
        let resume = store.own()?.map_or(Point::START, |own| own.end);
        Ok(Self { next: resume.offset, resume, records: states(store)? })
    }

    /// Goes on where it was when it was last written down; from a list, where the log has lost that point.
    pub(crate) fn resume(mut self, store: &LogStore) -> Result<Self, Failure> {
        if store.digest_at(self.resume.offset)? != Some(self.resume.digest) {
            return Self::list(store);
        }
        self.next = self.resume.offset;
        loop {
            let entries = store.entries(self.next, 4096)?;
            let Some(last) = entries.last() else { break };
            self.resume = last.end();
            for entry in &entries {
                if entry.offset != self.next {
                    return Err(missed(self.next, entry.offset));
                }
                self.next = entry.end().offset;
                for scribe in entry.transaction.scribes() {
                    let record = store.record(&scribe.key)?.unwrap_or_default();
                    self.records.insert(scribe.key.clone(), state(&record));
                }
            }
        }
        Ok(self)
    }

    pub(crate) fn see(&mut self, changed: &Changed) -> Result<(), Failure> {
        if changed.offset != self.next {
            return Err(missed(self.next, changed.offset));
        }
        let before = changed.before.as_ref().map(|record| state(record));
        if self.records.get(&changed.key) != before.as_ref() {
            let detail =
                format!("{} was not before the change as it was after the last", changed.key);
            return Err(Law::Watch.broken(detail));
        }
        self.next += 1;
        self.resume = changed.resume;
        self.records.insert(changed.key.clone(), state(&changed.after));
        Ok(())
    }

    /// What was seen must be what a query shows.
    pub(crate) fn check(&self, store: &LogStore) -> Result<(), Failure> {
        let shown = states(store)?;
        if self.records == shown {
            return Ok(());
        }
        let differs = |key: &&RecordKey| self.records.get(key) != shown.get(key);
        let key = self.records.keys().chain(shown.keys()).find(differs);
        Err(Law::Watch.broken(format!("watched and queried, {key:?} is not the same")))
    }
}

fn missed(next: u64, found: u64) -> Failure {
    Law::Watch.broken(format!("the change at {next} was to follow, and that at {found} came"))
}
