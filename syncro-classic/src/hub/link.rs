//! What the hub knows of one session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value as Json;

use crate::class::Uid;
use crate::limits::{GONE_MAX, OWN_RUNS_MAX, UNANSWERED_MAX, UNWRITTEN_BYTES};
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
    pub(super) pull: Pull,
    /// Requests to be told, while they wait for the pull.
    pub(super) asked: VecDeque<(Json, From)>,
    /// Whether the peer may still say from where it wants to be told.
    pub(super) is_patient: bool,
    /// Whether live rows wait for that.
    pub(super) is_held: bool,
    /// Every row up to here was told, or is not for this peer.
    pub(super) cursor: u64,
    /// The state that the peer is told, before the rows.
    pub(super) state: Option<State>,
    /// Records of that state which were gone when their turn came.
    pub(super) untold: BTreeSet<Vec<u8>>,
    /// Where the peer last asked to begin, and where the list ended then: it is told that part again.
    pub(super) again: Option<(u64, u64)>,
    pub(super) own: Own,
    /// Records that the peer has destroyed, and the last row then: what is before it finds nothing there.
    gone: BTreeMap<Vec<u8>, u64>,
    unsettled: Unsettled,
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
    pub(super) fn new(uid: Uid, framing: Framing, cursor: u64) -> Self {
        Self {
            uid,
            session: Session::new(framing),
            came: VecDeque::new(),
            pulled: VecDeque::new(),
            pull: Pull::Asked,
            asked: VecDeque::new(),
            is_patient: true,
            is_held: false,
            cursor,
            state: None,
            untold: BTreeSet::new(),
            again: None,
            own: Own::default(),
            gone: BTreeMap::new(),
            unsettled: Unsettled::default(),
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

    /// Whether a request to be told has to wait: what the peer has done offline must be known first, or it is
    /// told of records that it has destroyed.
    pub(super) fn must_wait(&self) -> bool {
        self.is_patient && self.pull != Pull::Done
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.written_bytes = self.sent_bytes.min(self.written_bytes + bytes as u64);
        self.unsettled.on_written(self.written_bytes);
    }

    /// Notes that the peer is told of a record, by a request or within an answer.
    pub(super) fn note_told(&mut self, request: u64, key: Vec<u8>) {
        self.unsettled.add_request(request, key);
    }

    pub(super) fn note_answered(&mut self, keys: Vec<Vec<u8>>) {
        self.unsettled.add_answer(self.sent_bytes, keys);
    }

    pub(super) fn on_taken(&mut self, request: u64) {
        self.unsettled.on_taken(request);
    }

    /// Whether the peer may be about to play something of a record that is older than what it does now.
    pub(super) fn is_unsettled(&self, key: &[u8], last: u64) -> bool {
        self.unsettled.records.contains_key(key) || (last > self.cursor && !self.own.has(last))
    }

    /// Notes that the peer has destroyed a record, when the list ended there.
    pub(super) fn note_gone(&mut self, key: Vec<u8>, end: u64) {
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_first();
        }
        self.gone.insert(key, end);
    }

    pub(super) fn note_back(&mut self, key: &[u8]) {
        self.gone.remove(key);
    }

    /// Whether a row finds no record at the peer.
    pub(super) fn is_gone(&self, key: &[u8], row: u64) -> bool {
        self.gone.get(key).is_some_and(|end| row <= *end)
    }
}

/// The rows that came from a session, and are not to be told to it.
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

/// The records that a peer was told of, and is not known to have heard.
#[derive(Debug, Default)]
struct Unsettled {
    /// By the request: its answer says that the peer has played it.
    requests: BTreeMap<u64, Vec<u8>>,
    /// Within answers: a peer says nothing of these. They count as heard once they are written.
    answers: VecDeque<(u64, Vec<Vec<u8>>)>,
    /// How often each record is in the two.
    records: BTreeMap<Vec<u8>, usize>,
}

impl Unsettled {
    fn add_request(&mut self, request: u64, key: Vec<u8>) {
        self.add(key.clone());
        self.requests.insert(request, key);
    }

    fn add_answer(&mut self, sent_bytes: u64, keys: Vec<Vec<u8>>) {
        keys.iter().for_each(|key| self.add(key.clone()));
        self.answers.push_back((sent_bytes, keys));
    }

    fn on_taken(&mut self, request: u64) {
        if let Some(key) = self.requests.remove(&request) {
            self.remove(&key);
        }
    }

    fn on_written(&mut self, bytes: u64) {
        while let Some((_, keys)) = self.answers.pop_front_if(|(end, _)| *end <= bytes) {
            keys.iter().for_each(|key| self.remove(key));
        }
    }

    fn add(&mut self, key: Vec<u8>) {
        *self.records.entry(key).or_default() += 1;
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(count) = self.records.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.records.remove(key);
            }
        }
    }
}
