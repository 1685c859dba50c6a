//! What the hub knows of one session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value as Json;

use crate::class::Uid;
use crate::limits::{ASKED_MAX, OWN_RUNS_MAX, UNANSWERED_MAX, UNWRITTEN_BYTES};
use crate::message::{From, Scribe};
use crate::session::{Ask, Framing, Session};

/// A session, what it waits for, and where it is in the list.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) uid: Uid,
    pub(super) session: Session,
    /// What has come and is not dealt with.
    pub(super) came: VecDeque<Ask>,
    /// What the peer answered to the pull and is not played.
    pub(super) pulled: VecDeque<Option<Scribe>>,
    /// The records that it has changed, so far.
    pub(super) pulled_records: BTreeSet<Vec<u8>>,
    pub(super) pull: Pull,
    /// Requests to be told, while they wait for the pull.
    pub(super) asked: VecDeque<(Json, From)>,
    /// Records that it was told to destroy, and had perhaps not when it asked.
    pub(super) gone: BTreeSet<Vec<u8>>,
    /// Whether the peer may still say from where it wants to be told.
    pub(super) is_patient: bool,
    /// Whether live rows wait for that.
    pub(super) is_held: bool,
    /// Where the list ended when the session began.
    pub(super) start: u64,
    /// Every row up to here was told, or is not for this peer.
    pub(super) cursor: u64,
    /// The state that the peer is told, before the rows.
    pub(super) state: Option<State>,
    /// Records of that state which were gone when their turn came.
    pub(super) untold: BTreeSet<Vec<u8>>,
    /// Where the peer last asked to begin, and where the list ended then: it is told that part again.
    pub(super) again: Option<(u64, u64)>,
    pub(super) own: Own,
    /// The rows that undo what came from it.
    pub(super) undone: Own,
    unsettled: Unsettled,
    /// Records of which it was told in the session before, and may have heard before what it answers to the pull or after.
    pub(super) unheard: BTreeSet<Vec<u8>>,
    pub(super) sent_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) is_over: bool,
}

/// A pull of the peer's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pull {
    /// It was asked, and has not answered.
    Asked,
    /// Its answer is being played: how many scribes there were.
    Answered(usize),
    /// Its answer is here and durable.
    Done,
}

/// The state that a peer is told when its point is unknown.
#[derive(Debug)]
pub(super) struct State {
    /// The records that are still to be told, last one first.
    pub(super) keys: Vec<Vec<u8>>,
    /// The number of the next one. It stands for nothing: a peer that is cut off here begins anew.
    pub(super) number: u64,
}

impl Link {
    pub(super) fn new(uid: Uid, framing: Framing, cursor: u64, unheard: BTreeSet<Vec<u8>>) -> Self {
        Self {
            uid,
            session: Session::new(framing),
            came: VecDeque::new(),
            pulled: VecDeque::new(),
            pulled_records: BTreeSet::new(),
            pull: Pull::Asked,
            asked: VecDeque::new(),
            gone: BTreeSet::new(),
            is_patient: true,
            is_held: false,
            start: cursor,
            cursor,
            state: None,
            untold: BTreeSet::new(),
            again: None,
            own: Own::default(),
            undone: Own::default(),
            unsettled: Unsettled::default(),
            unheard,
            sent_bytes: 0,
            written_bytes: 0,
            is_over: false,
        }
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.sent_bytes - self.written_bytes < UNWRITTEN_BYTES as u64
    }

    /// Whether more scribes may be told.
    pub(super) fn may_be_told(&self) -> bool {
        self.has_room()
            && !self.is_held
            && self.asked.is_empty()
            && self.unsettled.requests.len() < UNANSWERED_MAX
    }

    /// Whether a request to be told can be answered. What the peer has done offline must be known first, or it is
    /// told of records that it has destroyed.
    pub(super) fn can_be_answered(&self) -> bool {
        !self.asked.is_empty() && (!self.is_patient || self.pull == Pull::Done)
    }

    /// Takes a request to be told. What was told before it arrived, the peer plays before the answer, which may say the
    /// same once more: there it must not destroy anything again.
    pub(super) fn ask(&mut self, request: Json, from: From) {
        if self.asked.is_empty() {
            self.gone = self.unsettled.gone();
        }
        self.asked.push_back((request, from));
    }

    /// Whether as much waits as may.
    pub(super) fn is_busy(&self) -> bool {
        !self.came.is_empty() || self.asked.len() >= ASKED_MAX || !self.has_room()
    }

    /// Whether the peer, in the order in which it is told, has the record that a row before the end of the list is
    /// about, if its client has: it is told all of the story, or was there when it happened.
    pub(super) fn is_told_all(&self, row: u64) -> bool {
        row > self.start || self.again.is_some_and(|(after, end)| after == 0 && row <= end)
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.written_bytes = self.sent_bytes.min(self.written_bytes + bytes as u64);
        self.unsettled.on_written(self.written_bytes);
    }

    /// Notes that the peer is told of a record, by a request or within an answer.
    pub(super) fn note_told(&mut self, request: u64, told: Vec<Told>) {
        told.iter().for_each(|told| self.unsettled.add(told));
        self.unsettled.requests.insert(request, told);
    }

    pub(super) fn note_answered(&mut self, told: Vec<Told>) {
        told.iter().for_each(|told| self.unsettled.add(told));
        self.unsettled.answers.push_back((self.sent_bytes, told));
    }

    pub(super) fn on_taken(&mut self, request: u64) {
        self.unsettled.on_taken(request);
    }

    /// Whether the peer may be about to play something of a record that is older than what it does now, or has played it
    /// after that.
    pub(super) fn is_unsettled(&self, key: &[u8], last: u64) -> bool {
        self.unsettled.records.contains_key(key)
            || self.unheard.contains(key)
            || (last > self.cursor && !self.own.has(last))
    }

    /// Notes that what the peer has done up to now was played.
    pub(super) fn on_pull_over(&mut self) {
        self.pull = Pull::Done;
        self.pulled_records.clear();
        self.unheard.clear();
    }

    /// The records of which the peer was told, and nobody knows whether it has heard.
    pub(super) fn into_unheard(self) -> BTreeSet<Vec<u8>> {
        let mut unheard = self.unheard;
        unheard.extend(self.unsettled.records.into_keys());
        unheard
    }

    /// Whether the peer is about to play a create of a record: it will have it, whatever it does now.
    pub(super) fn will_have(&self, key: &[u8]) -> bool {
        self.unsettled.records.get(key).is_some_and(|counts| counts.creates > 0)
    }
}

/// Rows that have to do with what came from a session.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Runs of rows: the first and the last.
    runs: BTreeMap<u64, u64>,
}

impl Own {
    pub(super) fn add(&mut self, row: u64) {
        match self.runs.last_entry() {
            Some(mut run) if *run.get() + 1 == row => *run.get_mut() = row,
            _ => {
                self.runs.insert(row, row);
            }
        }
        if self.runs.len() > OWN_RUNS_MAX {
            self.runs.pop_first();
        }
    }

    pub(super) fn has(&self, row: u64) -> bool {
        self.runs.range(..=row).next_back().is_some_and(|(_, last)| row <= *last)
    }
}

/// What a peer was told of a record.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) key: Vec<u8>,
    pub(super) is_create: bool,
    pub(super) is_destroy: bool,
}

/// The records that a peer was told of, and is not known to have heard.
#[derive(Debug, Default)]
struct Unsettled {
    /// By the request: its answer says that the peer has played them.
    requests: BTreeMap<u64, Vec<Told>>,
    /// Within answers that count as heard once they are written.
    answers: VecDeque<(u64, Vec<Told>)>,
    /// How often each record is in the two.
    records: BTreeMap<Vec<u8>, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    creates: usize,
}

impl Unsettled {
    /// The records of which the last thing told is their end.
    fn gone(&self) -> BTreeSet<Vec<u8>> {
        let mut gone = BTreeSet::new();
        for told in self.requests.values().flatten() {
            if told.is_destroy {
                gone.insert(told.key.clone());
            } else if told.is_create {
                gone.remove(&told.key);
            }
        }
        gone
    }

    fn on_taken(&mut self, request: u64) {
        for told in self.requests.remove(&request).into_iter().flatten() {
            self.remove(&told);
        }
    }

    fn on_written(&mut self, bytes: u64) {
        while let Some((_, told)) = self.answers.pop_front_if(|(end, _)| *end <= bytes) {
            told.iter().for_each(|told| self.remove(told));
        }
    }

    fn add(&mut self, told: &Told) {
        let counts = self.records.entry(told.key.clone()).or_default();
        counts.all += 1;
        counts.creates += usize::from(told.is_create);
    }

    fn remove(&mut self, told: &Told) {
        if let Some(counts) = self.records.get_mut(&told.key) {
            counts.all -= 1;
            counts.creates -= usize::from(told.is_create);
            if counts.all == 0 {
                self.records.remove(&told.key);
            }
        }
    }
}
