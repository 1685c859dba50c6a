//! What a view wrote it shows until its source covers it, whatever comes in between.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Commit, Entry, Fields, FieldsReader, Record, RecordKey, Scribe, ScribeModel, Transaction,
    Verdict, View,
};

use crate::world::{Failure, Law, Sight, World, name};

/// States that are larger are said in pieces.
const LARGE_BYTES: usize = 256 << 10;

/// A part of what a view wrote, which it shows.
#[derive(Clone, Debug)]
pub(crate) struct OwnWrite {
    transaction: Transaction,
    /// Where that ends in the view's log.
    end: u64,
    key: RecordKey,
    part: Record,
    /// Whether the view need not show it once its source has it: the record was not in its channels since, or these
    /// are others.
    is_free: bool,
}

impl World {
    /// Begins anew to look after what a view wrote itself, and shows.
    pub(crate) fn list_own_writes(&mut self, node: usize) -> Result<(), Failure> {
        let Some(_) = &self.rules else { return Ok(()) };
        if self.nodes[node].part.is_source() {
            let views = self.numbers(|part| part.is_view).into_iter();
            views.for_each(|view| self.look_after_own_of(view));
        }
        if !self.nodes[node].part.is_view {
            return Ok(());
        }
        let entries = self.nodes[node].log.entries().to_vec();
        let own = entries.iter().filter(|entry| !entry.transaction.is_local());
        let own: Vec<_> = own.collect();
        self.nodes[node].own_writes.clear();
        for entry in own {
            self.note_own_write(node, entry, entry.scribes().to_vec())?;
        }
        self.nodes[node].followed = self.source_of(node)?;
        self.nodes[node].covered_log = self.covered(node)?;
        self.look_after_own_of(node);
        Ok(())
    }

    /// A view may take back what its source has: what it may see has changed.
    pub(crate) fn free_own_of(&mut self, view: usize) {
        self.nodes[view].own_writes.iter_mut().for_each(|own| own.is_free = true);
    }

    /// What a view's source has or has not may be other than before. What that has not the view has to show.
    fn look_after_own_of(&mut self, view: usize) {
        let mut own_writes = std::mem::take(&mut self.nodes[view].own_writes);
        let log = self.nodes[view].followed.map(|source| &self.nodes[source].log);
        for own in &mut own_writes {
            own.is_free = log.is_some_and(|log| log.holds(own.transaction.bytes()));
        }
        self.nodes[view].own_writes = own_writes;
    }

    fn note_own_write(
        &mut self,
        view: usize,
        entry: &Entry,
        scribes: Vec<Scribe>,
    ) -> Result<(), Failure> {
        let (transaction, end) = (&entry.transaction, entry.end().offset);
        for scribe in scribes {
            let (key, part) = scribe.into_record(transaction.stamp());
            if self.shows(view, &key, &part)? {
                let transaction = transaction.clone();
                let own = OwnWrite { transaction, end, key, part, is_free: false };
                self.nodes[view].own_writes.push(own);
            }
        }
        Ok(())
    }

    fn shows(&self, node: usize, key: &RecordKey, part: &Record) -> Result<bool, Failure> {
        let shown = self.nodes[node].store.record(key)?.unwrap_or_default();
        Ok(has(&shown, part))
    }

    /// Looks at what a commit of any node makes of what views wrote.
    pub(crate) fn check_kept(&mut self, node: usize, commit: &Commit) -> Result<(), Failure> {
        if self.rules.is_none() {
            return Ok(());
        }
        let part = &self.nodes[node].part;
        if part.is_source() {
            return self.note_left(node, commit);
        }
        if !part.is_view {
            return Ok(());
        }
        let source = self.source_of(node)?;
        if self.nodes[node].followed != source {
            if self.nodes[node].followed.is_some() {
                self.seen.insert(Sight::SourceChanged);
            }
            self.nodes[node].followed = source;
            self.look_after_own_of(node);
        }
        let covered = self.covered(node)?;
        if covered < std::mem::replace(&mut self.nodes[node].covered_log, covered) {
            self.seen.insert(Sight::Uncovered);
        }
        if commit.records.iter().any(|(_, record)| record.bytes() > LARGE_BYTES) {
            self.seen.insert(Sight::LargeState);
        }
        let mut own_writes = std::mem::take(&mut self.nodes[node].own_writes);
        let count = own_writes.len();
        let mut lost = None;
        own_writes.retain(|own| {
            let is_touched = commit.records.iter().any(|(key, _)| *key == own.key);
            if !is_touched || self.shows(node, &own.key, &own.part).unwrap_or(false) {
                return true;
            }
            lost = lost.take().or(self.check_taken_back(node, source, own).err());
            false
        });
        self.seen.extend((own_writes.len() < count).then_some(Sight::TakenBack));
        self.nodes[node].own_writes = own_writes;
        if let Some(lost) = lost {
            return Err(lost);
        }
        for entry in &commit.entries {
            if !entry.transaction.is_local() {
                self.note_own_write(node, entry, entry.scribes()?)?;
            }
        }
        Ok(())
    }

    /// A view shows something no more that it wrote: only if its source has decided on it, and shows the record
    /// without it, or not at all.
    fn check_taken_back(
        &self,
        view: usize,
        source: Option<usize>,
        own: &OwnWrite,
    ) -> Result<(), Failure> {
        let (stamp, key) = (own.transaction.stamp(), &own.key);
        let Some(source) = source else {
            return Err(
                Law::Kept.broken(format!("view {view} takes back {stamp:?} of {key} alone"))
            );
        };
        // It may be lost again before the view has heard of that.
        if own.is_free && own.end <= self.nodes[view].covered_log {
            return Ok(());
        }
        if !self.is_settled(source, own.transaction.bytes())? {
            let detail = format!(
                "view {view} takes back {stamp:?} of {key}, on which node {source} has not decided"
            );
            return Err(Law::Kept.broken(detail));
        }
        let is_taken = self.nodes[source].log.holds(own.transaction.bytes());
        if own.is_free || !is_taken || self.has_refused(source, &own.transaction)? {
            return Ok(());
        }
        let channels = self.templates(source)?;
        let record = self.nodes[source].store.record(key)?;
        let channels = channels.channels(key, record.as_deref()).unwrap_or_default();
        let seen = self.seen_by(view);
        if channels.iter().any(|channel| seen.contains(channel)) {
            let detail =
                format!("view {view} takes back {stamp:?} of {key}, which node {source} shows");
            return Err(Law::Kept.broken(detail));
        }
        Ok(())
    }

    /// A source has changed: what it has from views and shows them not they need not go on showing.
    fn note_left(&mut self, source: usize, commit: &Commit) -> Result<(), Failure> {
        let views = self.numbers(|part| part.is_view);
        if views.iter().all(|view| self.nodes[*view].own_writes.is_empty()) {
            return Ok(());
        }
        let mut keys: Vec<RecordKey> = commit.records.iter().map(|(key, _)| key.clone()).collect();
        for entry in &commit.entries {
            keys.extend(entry.scribes()?.into_iter().map(|scribe| scribe.key));
        }
        let templates = self.templates(source)?;
        for view in views {
            let seen = self.seen_by(view);
            let mut own_writes = std::mem::take(&mut self.nodes[view].own_writes);
            for own in own_writes.iter_mut().filter(|own| keys.contains(&own.key)) {
                let record = self.nodes[source].store.record(&own.key)?;
                let channels = templates.channels(&own.key, record.as_deref()).unwrap_or_default();
                let is_had = record.is_some_and(|record| has(&record, &own.part));
                own.is_free |= is_had && !channels.iter().any(|channel| seen.contains(channel));
            }
            self.nodes[view].own_writes = own_writes;
        }
        Ok(())
    }

    /// Whether a node has a verdict on a transaction.
    fn has_refused(&self, node: usize, transaction: &Transaction) -> Result<bool, Failure> {
        let verdicts = self.nodes[node].store.records(&name(Verdict::MODEL), None, usize::MAX)?;
        Ok(verdicts.into_iter().any(|(id, record)| {
            let verdict = FieldsReader::instance::<Verdict>(&id, &Fields::of(&record));
            verdict.is_ok_and(|verdict| verdict.stamp == transaction.stamp())
        }))
    }

    /// Whether a node has decided on a transaction that it does not hold.
    pub(crate) fn is_settled_aside(&self, node: usize, transaction: &Bytes) -> bool {
        // A store that is about to be opened again cannot be asked.
        self.rules.is_some() && self.is_settled(node, transaction).unwrap_or(true)
    }

    /// Whether a node has decided on a transaction: it holds it, has refused it, or it would change nothing there.
    pub(crate) fn is_settled(&self, node: usize, transaction: &Bytes) -> Result<bool, Failure> {
        if self.nodes[node].log.holds(transaction) {
            return Ok(true);
        }
        if self.rules.is_none() {
            return Ok(false);
        }
        if self.ledger.local.contains_key(transaction) {
            return Ok(true);
        }
        let unread =
            |error| Law::Origin.broken(format!("what somebody wrote cannot be read: {error}"));
        let transaction = Transaction::decode(transaction.clone()).map_err(unread)?;
        if self.has_refused(node, &transaction)? {
            return Ok(true);
        }
        for scribe in transaction.scribes().map_err(unread)? {
            let (key, part) = scribe.into_record(transaction.stamp());
            if !self.shows(node, &key, &part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a record has all of a part.
fn has(record: &Record, part: &Record) -> bool {
    let mut merged = record.clone();
    merged.merge(part);
    merged == *record
}

/// A record with a part that somebody wrote.
pub(crate) fn joined(record: Option<&Arc<Record>>, part: &Record) -> Arc<Record> {
    let mut joined = record.map(|record| Record::clone(record)).unwrap_or_default();
    joined.merge(part);
    Arc::new(joined)
}
