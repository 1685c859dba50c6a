//! Taking transactions into the log and playing them, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Changed, Event, Following, Index, Rows, SessionId};
use crate::digest::{Digest, Point};
use crate::encoding::Malformed;
use crate::id::RecordKey;
use crate::quarantine::{self, Parked};
use crate::record::Record;
use crate::scribe::{Block, Playable, ScribeRef, Transaction};
use crate::stamp::{Author, Stamp, Time};
use crate::store::{Entry, Held, StoreError, View};
use crate::touched::{Touched, reserve};

/// What one step appends and plays. Nothing of it has happened until the engine commits it, so a step
/// that fails half-way leaves no trace.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The end of the log after it.
    pub(crate) end: Point,
    pub(crate) entries: Vec<Entry>,
    /// Records as they are after what was taken so far, where all is played.
    pub(crate) records: Touched<Arc<Record>>,
    pub(crate) events: Vec<Event>,
    /// Whether somebody wants to know of each change, and what the record was before.
    tells_all: bool,
    /// Whether all that is taken is played here. If not, the store does so.
    pub(crate) plays_all: bool,
    /// Bytes of memory that the states of records take, of which each scribe of a peer makes one.
    pub(crate) states_bytes: usize,
    /// Rows of the engine's own as they are after it.
    pub(crate) rows: Rows,
    /// The channels in which something was touched.
    pub(crate) touched: BTreeSet<Digest>,
    /// How far the index of channels is after it, where that changes.
    pub(crate) index: Option<Index>,
    /// What a view has after it, where that changes.
    pub(crate) following: Option<Following>,
    /// The latest time at which an author wrote what a peer has brought, of authors of whom the log has nothing so late.
    latest: BTreeMap<Author, Time>,
    /// Places of the first of the entries above, by stamp and content: a message may be full of transactions of one
    /// stamp.
    places: BTreeMap<(Stamp, Bytes), usize>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was appended, and ends at this digest.
    New { offset: u64, digest: Digest },
    /// It was there already, at this offset, and ends at this digest.
    Held { offset: u64, digest: Digest },
    /// It is not taken, and what is written in its place has so many bytes.
    Aside { bytes: usize },
    /// It is set aside until somebody decides on it.
    Parked,
    /// It was written by another node than the one that brings it, which may not.
    Forged,
}

impl Taken {
    /// Where it is in this node's log, and the digest after it.
    pub(crate) fn place(self) -> Option<(u64, Digest)> {
        match self {
            Self::New { offset, digest } | Self::Held { offset, digest } => Some((offset, digest)),
            Self::Aside { .. } | Self::Parked | Self::Forged => None,
        }
    }
}

/// Whether a transaction was there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// It is, as [`Taken::Held`].
    Held(Taken),
    /// It is not; another one of its stamp may be.
    New { collides: bool },
}

impl Intake {
    /// Nothing yet, after the end of the log; the seed is none that peers know.
    pub(crate) fn new(end: Point, seed: u64, tells_all: bool) -> Self {
        Self {
            end,
            entries: Vec::new(),
            records: Touched::new(seed),
            events: Vec::new(),
            tells_all,
            plays_all: true,
            states_bytes: 0,
            rows: Rows::default(),
            touched: BTreeSet::new(),
            index: None,
            following: None,
            latest: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// The same for what a peer brings: where nobody is to be told, and the store takes it, that is left unplayed.
    pub(crate) fn of_peer(self, view: &impl View) -> Self {
        Self { plays_all: self.tells_all || !view.takes_unplayed(), ..self }
    }

    /// Makes room for so many transactions, most of which change one record.
    pub(crate) fn reserve(&mut self, transactions: usize) {
        self.entries.reserve_exact(transactions);
        if self.tells_all {
            // One more says how far it is.
            self.events.reserve_exact(transactions + 1);
        }
        if self.plays_all {
            self.records.reserve(transactions);
        }
    }

    /// Lets what was taken keep nothing alive of the message but itself: the rest may be far more.
    pub(crate) fn settle(&mut self) {
        let transactions = self.entries.iter().map(|entry| &entry.transaction);
        let short = transactions.filter(|it| it.is_short());
        let mut left = short.map(|it| it.bytes().len()).sum();
        let mut block = Block::default();
        for Entry { transaction, .. } in &mut self.entries {
            if transaction.is_short() {
                left -= transaction.bytes().len();
                *transaction = transaction.kept_in(&mut block, left);
            }
        }
    }

    /// Takes a transaction from a peer, unless it is held already.
    ///
    /// Two transactions of one stamp and different content are both taken.
    pub(crate) fn take(
        &mut self,
        transaction: &Transaction,
        session: SessionId,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        match self.find(transaction, view)? {
            Found::Held(held) => Ok(held),
            Found::New { collides } => self.take_new(transaction, collides, session, view),
        }
    }

    /// Takes a transaction from a peer that is not there yet; whether it collides with another the search has told.
    pub(crate) fn take_new(
        &mut self,
        transaction: &Transaction,
        collides: bool,
        session: SessionId,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        let stamp = transaction.stamp();
        #[cfg(all(feature = "planted", debug_assertions))]
        if collides && crate::planted::is_planted(crate::planted::Planted::SecondParked) {
            return Ok(Taken::Held { offset: self.end.offset, digest: Digest::EMPTY });
        }
        if collides {
            self.events.push(Event::Collision { stamp });
        }
        self.append_read(transaction.clone(), Some(session), view)
    }

    /// Looks for a transaction of a peer.
    pub(crate) fn find(
        &mut self,
        transaction: &Transaction,
        view: &impl View,
    ) -> Result<Found, StoreError> {
        let stamp = transaction.stamp();
        // An author's transactions come in the order of their times, nearly always: then each is new if the first is.
        let is_latest = match self.latest.get(&stamp.author) {
            Some(latest) => stamp.time > *latest,
            None => view.is_latest(stamp)?,
        };
        if is_latest {
            self.latest.insert(stamp.author, stamp.time);
            return Ok(Found::New { collides: false });
        }
        for (place, Entry { transaction, .. }) in
            self.entries.iter().enumerate().skip(self.places.len())
        {
            self.places.insert((transaction.stamp(), transaction.bytes().clone()), place);
        }
        if let Some(known) = self.places.get(&(stamp, transaction.bytes().clone())) {
            let Entry { offset, digest, .. } = self.entries[*known];
            return Ok(Found::Held(Taken::Held { offset, digest }));
        }
        Ok(match view.held(transaction)? {
            Held::Same { offset, digest } => Found::Held(Taken::Held { offset, digest }),
            Held::Others => Found::New { collides: true },
            Held::No => Found::New { collides: self.has_stamp(stamp) },
        })
    }

    /// Whether a transaction of this stamp was taken, of those whose places are known.
    fn has_stamp(&self, stamp: Stamp) -> bool {
        let mut of_stamp = self.places.range((stamp, Bytes::new())..);
        of_stamp.next().is_some_and(|((next, _), _)| *next == stamp)
    }

    /// A record as it is after what was taken so far, where all is played: on an authority, or in a view.
    pub(crate) fn record(
        &self,
        key: &RecordKey,
        view: &impl View,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        match self.records.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => view.record(key),
        }
    }

    #[cfg(all(feature = "planted", debug_assertions))]
    pub(crate) fn shown_in_memory(
        &mut self,
        shown: Vec<(RecordKey, Arc<Record>)>,
    ) -> Vec<(RecordKey, Arc<Record>)> {
        let (gone, rest) = shown.into_iter().partition(|(_, record)| record.is_unknown());
        let gone: Vec<(RecordKey, Arc<Record>)> = gone;
        gone.into_iter().for_each(|(key, record)| self.records.set(key, record));
        rest
    }

    /// Sets a transaction aside, unless it is already.
    pub(crate) fn park(&mut self, parked: Parked, view: &impl View) -> Result<Taken, StoreError> {
        let id = parked.id();
        let key = quarantine::key(id);
        if self.rows.get(&key, view)?.is_none() {
            self.rows.put(key, parked.to_bytes());
            self.events.push(Event::Parked(parked));
        }
        Ok(Taken::Parked)
    }

    /// Appends a transaction that is new, and plays what is in it, unless the store does.
    pub(crate) fn append_read(
        &mut self,
        transaction: Transaction,
        session: Option<SessionId>,
        view: &impl View,
    ) -> Result<Taken, StoreError> {
        // Otherwise a record would be read as it was before what is unplayed.
        debug_assert!(self.plays_all || session.is_some(), "what is not of a session is judged");
        if !self.plays_all && !transaction.has_reserved().map_err(corrupt)? {
            let nothing = std::iter::empty::<Result<ScribeRef<'_>, StoreError>>();
            return self.append(transaction, nothing, session, |key| view.record(key));
        }
        let whole = transaction.clone();
        let scribes = whole.each().map(|scribe| scribe.map_err(corrupt));
        self.append(transaction, scribes, session, |key| view.record(key))
    }

    /// Appends a transaction that is new, and plays its scribes, but for those that are left to the store: it is the same by
    /// whomever they are merged. `read` is asked, in their order, for the records that nothing taken before has touched.
    pub(crate) fn append<S: Playable>(
        &mut self,
        transaction: Transaction,
        scribes: impl IntoIterator<Item = Result<S, StoreError>>,
        session: Option<SessionId>,
        mut read: impl FnMut(&RecordKey) -> Result<Option<Arc<Record>>, StoreError>,
    ) -> Result<Taken, StoreError> {
        let start = self.end;
        let end = start.then(transaction.len(), transaction.bytes());
        let stamp = transaction.stamp();
        let count = transaction.len() as usize;
        for (offset, scribe) in (start.offset..).zip(scribes) {
            let scribe = scribe?;
            let (key, mark) = (scribe.key(), scribe.mark());
            let is_told = self.tells_all || key.model.is_reserved();
            if !is_told && !self.plays_all {
                continue;
            }
            let found = self.records.find(&key);
            let before = match found {
                Ok(place) => Some(self.records.at(place).clone()),
                Err(_) => read(&key)?,
            };
            let after = scribe.play(before.as_deref(), stamp).map_err(corrupt)?;
            if session.is_some() {
                self.states_bytes += after.held_bytes();
            }
            if is_told {
                reserve(&mut self.events, count);
                self.events.push(Event::Changed(Changed {
                    offset,
                    resume: if offset + 1 == end.offset { end } else { start },
                    stamp,
                    key: key.clone(),
                    mark,
                    before,
                    after: after.clone(),
                    session,
                }));
            }
            match found {
                Ok(place) => *self.records.at(place) = after,
                Err(missing) => self.records.add(missing, key, after),
            }
        }
        self.end = end;
        reserve(&mut self.entries, 1);
        self.entries.push(Entry { offset: start.offset, transaction, digest: end.digest });
        Ok(Taken::New { offset: start.offset, digest: end.digest })
    }
}

/// What is checked before it is taken can be read.
fn corrupt(error: Malformed) -> StoreError {
    StoreError::Corrupt { what: format!("a transaction that was checked: {error}") }
}
