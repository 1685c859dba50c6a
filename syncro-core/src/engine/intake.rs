//! Taking transactions into the log and playing them, before anything is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Changed, Event, SessionId};
use crate::digest::{Digest, Point};
use crate::id::RecordKey;
use crate::record::Record;
use crate::scribe::{Scribe, Transaction};
use crate::stamp::Stamp;
use crate::store::{Entry, Held, StoreError, View};
use crate::touched::Touched;

/// What one step appends and plays. Nothing of it has happened until the engine commits it, so a step
/// that fails half-way leaves no trace.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The end of the log after it.
    pub(crate) end: Point,
    pub(crate) entries: Vec<Entry>,
    /// Records as they are after what was taken so far.
    pub(crate) records: Touched<Arc<Record>>,
    pub(crate) events: Vec<Event>,
    /// Places of the entries above that came from a peer, by stamp and content: a message may be full of transactions
    /// of one stamp.
    places: BTreeMap<(Stamp, Bytes), usize>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was appended, and ends at this digest.
    New { offset: u64, digest: Digest },
    /// It was there already, at this offset, and ends at this digest.
    Held { offset: u64, digest: Digest },
}

impl Intake {
    /// Nothing yet, after the end of the log; the seed is none that peers know.
    pub(crate) fn new(end: Point, seed: u64) -> Self {
        Self {
            end,
            entries: Vec::new(),
            records: Touched::new(seed),
            events: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Takes a transaction from a peer, unless it is held already.
    ///
    /// Two transactions of one stamp and different content are both taken.
    pub(crate) fn take(
        &mut self,
        transaction: &Transaction,
        scribes: Vec<Scribe>,
        session: SessionId,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let stamp = transaction.stamp();
        let place = (stamp, transaction.bytes().clone());
        if let Some(known) = self.places.get(&place) {
            let Entry { offset, digest, .. } = self.entries[*known];
            return Ok(Taken::Held { offset, digest });
        }
        let mut of_stamp = self.places.range((stamp, Bytes::new())..);
        let mut collides = of_stamp.next().is_some_and(|((next, _), _)| *next == stamp);
        match view.held(transaction)? {
            Held::Same { offset, digest } => return Ok(Taken::Held { offset, digest }),
            Held::Others => collides = true,
            Held::No => {}
        }
        #[cfg(all(feature = "planted", debug_assertions))]
        if collides && crate::planted::is_planted(crate::planted::Planted::SecondParked) {
            return Ok(Taken::Held { offset: self.end.offset, digest: Digest::EMPTY });
        }
        if collides {
            self.events.push(Event::Collision { stamp });
        }
        self.places.insert(place, self.entries.len());
        self.append(transaction.clone(), scribes, Some(session), |key| view.record(key))
    }

    /// Appends a transaction that is new, and plays it. `read` is asked, in their order, for the records that
    /// nothing taken before has touched.
    pub(crate) fn append(
        &mut self,
        transaction: Transaction,
        scribes: Vec<Scribe>,
        session: Option<SessionId>,
        mut read: impl FnMut(&RecordKey) -> Result<Option<Arc<Record>>, StoreError>,
    ) -> Result<Taken, StoreError> {
        let start = self.end;
        let end = start.then(transaction.len(), transaction.bytes());
        let stamp = transaction.stamp();
        self.records.reserve(scribes.len());
        reserve(&mut self.events, scribes.len());
        for (offset, scribe) in (start.offset..).zip(scribes) {
            let mark = scribe.mark;
            let known = self.records.get_mut(&scribe.key);
            let before = match &known {
                Some(known) => Some((*known).clone()),
                None => read(&scribe.key)?,
            };
            let (key, after) = scribe.play(before.as_deref(), stamp);
            let after = Arc::new(after);
            match known {
                Some(known) => *known = after.clone(),
                None => self.records.push(key.clone(), after.clone()),
            }
            self.events.push(Event::Changed(Changed {
                offset,
                resume: if offset + 1 == end.offset { end } else { start },
                stamp,
                key,
                mark,
                before,
                after,
                session,
            }));
        }
        self.end = end;
        reserve(&mut self.entries, 1);
        self.entries.push(Entry { offset: start.offset, transaction, digest: end.digest });
        Ok(Taken::New { offset: start.offset, digest: end.digest })
    }
}

/// Makes room for some more, and at first for no others: most steps take one transaction of one scribe.
fn reserve<T>(all: &mut Vec<T>, more: usize) {
    if all.is_empty() { all.reserve_exact(more) } else { all.reserve(more) }
}
