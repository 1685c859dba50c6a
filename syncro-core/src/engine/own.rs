//! What an engine knows of itself: author, clock, log.

use std::collections::btree_map::Entry::Occupied;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::judge::Judge;
use super::repair::Repairs;
use super::signals::Signals;
use super::{Config, Event, Intake, Role, SessionId, Tail, Usage};
use super::{Followed, Index};
use crate::channel::Templates;
use crate::clock::Clock;
use crate::digest::{Digest, Point};
use crate::error::{Error, UsageError};
use crate::id::{Name, NodeId};
use crate::principal::{Permissions, Principal};
use crate::scribe::Transaction;
use crate::stamp::{Author, Epoch, Now, Time};
use crate::store::{Commit, OwnRow, PeerRow, StoreError, View};

/// The node's own side of things, shared by its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    author: Author,
    name: Option<Name>,
    /// Set when somebody else was seen to write in this author's name.
    forked: bool,
    pub(super) clock: Clock,
    /// The last time that something was written at in this epoch.
    issued: Time,
    end: Point,
    /// The commits made, the last that appended to the log, and those known to be durable.
    sequence: u64,
    appended: u64,
    synced: u64,
    /// The end of what is durable, and where the log ended after each commit that appended to it since.
    durable: Point,
    undurable: VecDeque<(u64, Point)>,
    /// Kept while there are sessions.
    tail: Tail,
    /// The peers that have a session.
    peers: BTreeMap<NodeId, Met>,
    /// The nonces of the sessions that called and were not answered yet.
    calls: BTreeSet<u64>,
    entropy: Digest,
    pub(super) repairs: Repairs,
    /// What peers may do, on a node that is an authority.
    pub(super) judge: Option<Judge>,
    /// The channels, on a node that is an authority.
    pub(super) index: Option<Index>,
    /// The channels in which something was touched since the sessions were told.
    touched: BTreeSet<Digest>,
    /// What the node follows, if it is a view.
    pub(super) followed: Option<Followed>,
    /// What is said beside the log.
    pub(crate) signals: Signals,
    /// Whether somebody is to be told of changes.
    pub(super) is_watched: bool,
}

/// What is kept of a peer while it has sessions.
#[derive(Clone, Debug, Default)]
struct Met {
    row: PeerRow,
    /// What the store has of `row.held` and `row.confirmed`.
    saved: (Point, Point),
    /// How many sessions it has.
    sessions: usize,
}

impl Own {
    pub(super) fn open(
        now: Now,
        config: Config,
        view: &impl View,
    ) -> Result<(Self, Commit), Error> {
        if config.view && config.permissions.is_some() {
            return Err(UsageError::ViewLimits.into());
        }
        let row = view.own()?;
        let entropy = Digest::EMPTY.then(&config.seed);
        let node = match (config.node, &row) {
            (Some(wanted), Some(row)) if wanted != row.node => {
                return Err(UsageError::WrongNode { found: row.node, wanted }.into());
            }
            (_, Some(row)) => row.node,
            (Some(wanted), None) => wanted,
            (None, None) => {
                NodeId::from(uuid::Builder::from_random_bytes(entropy.then(b"node").0).into_uuid())
            }
        };
        let before = row.as_ref().map_or(Epoch(0), |row| row.epoch);
        let (used, end) = row.map_or((Time::default(), Point::START), |row| (row.clock, row.end));
        #[cfg(all(feature = "planted", debug_assertions))]
        let used = match crate::planted::is_planted(crate::planted::Planted::ClockForgotten) {
            true => Time::default(),
            false => used,
        };
        let has_log = end != Point::START || before != Epoch(0);
        let mut followed = Followed::open(config.view, node, has_log, view)?;
        let seed = entropy.then(&now.wall_ms.to_be_bytes()).then(b"channels");
        let (index, mut rows) = Index::open(seed, config.permissions.is_some(), view)?;
        if let Some(followed) = &mut followed {
            followed.mend(node, &mut rows, view)?;
            followed.write(&mut rows);
        }
        let mut own = Self {
            author: Author { node, epoch: before },
            name: config.name,
            forked: false,
            clock: Clock::new(used),
            issued: Time::default(),
            end,
            sequence: 0,
            appended: 0,
            synced: 0,
            durable: end,
            undurable: VecDeque::new(),
            tail: Tail::default(),
            peers: BTreeMap::new(),
            calls: BTreeSet::new(),
            entropy,
            repairs: Repairs::new(node, entropy.then(&now.wall_ms.to_be_bytes()).then(b"repairs")),
            judge: match config.permissions {
                None => None,
                Some(permissions) => Some(Judge::new(permissions, view)?),
            },
            index,
            touched: BTreeSet::new(),
            followed,
            signals: Signals::default(),
            is_watched: true,
        };
        // The time counts too, in case a host gives one seed to two opens.
        let epoch = own.fresh_epoch(&now.wall_ms.to_be_bytes());
        #[cfg(all(feature = "planted", debug_assertions))]
        let epoch = match before {
            Epoch(0) => epoch,
            before if crate::planted::is_planted(crate::planted::Planted::EpochReused) => before,
            _ => epoch,
        };
        own.begin_epoch(epoch);
        let mut intake = own.intake();
        intake.rows = rows;
        let commit = own.commit(intake, Vec::new());
        Ok((own, commit))
    }

    /// Nothing yet, to be taken in after the end of the log.
    pub(crate) fn intake(&self) -> Intake {
        let tells_all = self.is_watched || self.judge.is_some() || self.is_view();
        Intake::new(self.end, self.entropy.number(), tells_all)
    }

    pub(crate) fn author(&self) -> Author {
        self.author
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    pub(crate) fn end(&self) -> Point {
        self.end
    }

    /// The end of what of the log is surely durable, on a node that limits its peers.
    pub(crate) fn durable_end(&self) -> Point {
        self.durable
    }

    pub(crate) fn clock(&self) -> Time {
        self.clock.last()
    }

    /// Follows a remote stamp, unless it lies far in the future; then returns by how many milliseconds.
    pub(crate) fn observe(&mut self, time: Time, now: Now) -> Option<u64> {
        self.clock.observe(time, now.wall_ms)
    }

    /// Records that something was written at a time.
    pub(super) fn note_issued(&mut self, time: Time, now: Now) {
        self.clock.issued(time, now.wall_ms);
        self.issued = self.issued.max(time);
    }

    /// The last time that something was written at in this epoch.
    pub(super) fn issued(&self) -> Time {
        self.issued
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.forked
    }

    /// Notes that somebody else writes in this author's name. What gave it away goes into the next
    /// epoch, so that two clones of one machine, and of one seed, mint different ones.
    pub(crate) fn note_fork(&mut self, evidence: &[u8]) -> Option<Event> {
        self.entropy = self.entropy.then(evidence);
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::ForkIgnored) {
            return None;
        }
        if std::mem::replace(&mut self.forked, true) {
            return None;
        }
        Some(Event::Forked { epoch: self.author.epoch })
    }

    /// A number for the `hello` of a session, by which this engine knows its own call.
    ///
    /// Without it a node that dials its own address would meet its own node and epoch there, as it would
    /// meet a clone, and mint an epoch at each attempt. A nonce counts only from the call to its answer, and
    /// only those of calls: a node that reaches itself always hears the nonce of a session that waits.
    ///
    /// Two clones have one entropy. What each hears from the other is none of its own calls, unless it has
    /// itself made a call of that session number at that moment of both clocks, to which no answer has come.
    /// Then it takes the other for itself once: the next attempt has another number, and falls on another
    /// moment on at least one side. That the side counts keeps the answer of a clone, in a session of the
    /// same number, apart from the call.
    pub(crate) fn fresh_nonce(&self, now: Now, session: SessionId, role: Role) -> u64 {
        let side = u64::from(role == Role::Accept);
        let numbers = [now.wall_ms, now.monotonic_ms, session.0, side].map(u64::to_be_bytes);
        self.entropy.then(&numbers.concat()).then(b"nonce").number()
    }

    /// Notes that a session calls with a nonce.
    pub(crate) fn note_call(&mut self, nonce: u64) {
        self.calls.insert(nonce);
    }

    /// Notes that a session was answered, or ended.
    pub(crate) fn note_answer(&mut self, nonce: u64) {
        self.calls.remove(&nonce);
    }

    /// Whether a nonce is that of a call of this engine.
    pub(crate) fn is_calling(&self, nonce: u64) -> bool {
        self.calls.contains(&nonce)
    }

    /// An epoch that nobody else has: this store's entropy, and what sets this moment apart.
    pub(super) fn fresh_epoch(&self, evidence: &[u8]) -> Epoch {
        Epoch(self.entropy.then(evidence).then(b"epoch").number())
    }

    /// Begins a new epoch: a new author, that has issued no stamp yet.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch) {
        #[cfg(all(feature = "planted", debug_assertions))]
        if epoch != self.author.epoch {
            crate::planted::note_epoch(epoch, self.author.epoch, self.end.offset);
        }
        self.entropy = self.entropy.then(&epoch.0.to_be_bytes());
        self.author.epoch = epoch;
        self.forked = false;
        self.clock.begin_epoch();
        self.issued = Time::default();
    }

    /// What peers may do, on a node that is an authority.
    pub(crate) fn permissions(&self) -> Option<&dyn Permissions> {
        self.judge.as_ref().map(|judge| judge.permissions.as_ref())
    }

    /// Bytes that may be written in place of what a principal may not do.
    pub(crate) fn repair_left(&self, principal: Option<&Principal>, now: Now) -> usize {
        let judge = self.judge.as_ref().zip(principal);
        judge.map_or(usize::MAX / 2, |(judge, principal)| judge.left(principal, now))
    }

    /// Notes that so many bytes were.
    pub(crate) fn spend_repair(&mut self, principal: &Principal, bytes: usize, now: Now) {
        if let Some(judge) = &mut self.judge {
            judge.spend(principal, bytes, now);
        }
    }

    /// What is kept here of all that the engine keeps.
    pub(super) fn usage(&self) -> Usage {
        let (peers, calls) = (self.peers.len(), self.calls.len());
        Usage { peers, calls, tail_bytes: self.tail.bytes(), ..Usage::default() }
    }

    /// The last commit that appended to the log: once it is durable, so is everything in the log.
    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    /// The commits known to be durable.
    pub(crate) fn synced_through(&self) -> u64 {
        self.synced
    }

    pub(super) fn synced(&mut self, through: u64) {
        self.synced = self.synced.max(through.min(self.sequence));
        while let Some((sequence, end)) = self.undurable.front().copied() {
            if sequence > self.synced {
                break;
            }
            self.undurable.pop_front();
            self.durable = end;
        }
    }

    /// The row of a peer that has a session.
    pub(crate) fn peer_row(&mut self, peer: NodeId) -> &mut PeerRow {
        &mut self.peers.entry(peer).or_default().row
    }

    /// What is known of a peer, whether or not it has sessions.
    pub(super) fn known_row(&self, peer: NodeId, view: &impl View) -> Result<PeerRow, StoreError> {
        match self.peers.get(&peer) {
            Some(met) => Ok(met.row.clone()),
            None => self.saved_row(peer, view),
        }
    }

    /// What the store knows of a peer, without what it held of a log that was set back since.
    fn saved_row(&self, peer: NodeId, view: &impl View) -> Result<PeerRow, StoreError> {
        let mut row = view.peer(peer)?.unwrap_or_default();
        for point in [&mut row.held, &mut row.confirmed] {
            if !self.has(*point, view)? {
                *point = Point::START;
            }
        }
        Ok(row)
    }

    /// Counts one more session of a peer. Its row is loaded with the first.
    pub(crate) fn meet(&mut self, peer: NodeId, view: &impl View) -> Result<(), StoreError> {
        if let Some(met) = self.peers.get_mut(&peer) {
            met.sessions += 1;
            return Ok(());
        }
        let row = self.saved_row(peer, view)?;
        self.peers.insert(peer, Met { saved: (row.held, row.confirmed), row, sessions: 1 });
        Ok(())
    }

    /// Counts one session of a peer less. Its row goes with the last, and is returned if the store does not
    /// have it as it is.
    pub(super) fn part(&mut self, peer: NodeId) -> Option<PeerRow> {
        let Occupied(mut met) = self.peers.entry(peer) else {
            return None;
        };
        met.get_mut().sessions -= 1;
        if met.get().sessions > 0 {
            return None;
        }
        let Met { row, saved, .. } = met.remove();
        if self.peers.is_empty() {
            self.tail = Tail::default();
        }
        ((row.held, row.confirmed) != saved).then_some(row)
    }

    /// Takes what was gathered as done, and turns it into the commit that makes it so.
    pub(crate) fn commit(&mut self, intake: Intake, peers: Vec<(NodeId, PeerRow)>) -> Commit {
        self.sequence += 1;
        if !intake.entries.is_empty() {
            self.appended = self.sequence;
            if self.judge.is_some() {
                self.undurable.push_back((self.sequence, intake.end));
            }
        }
        self.end = intake.end;
        if !self.peers.is_empty() {
            self.tail.extend(&intake.entries);
        }
        if let Some(judge) = &mut self.judge {
            intake.records.iter().for_each(|(key, record)| judge.note(key, record));
        }
        if !intake.touched.is_empty() {
            self.touched.extend(intake.touched);
        }
        if let Some(index) = intake.index {
            self.index = Some(index);
        }
        if let Some((followed, following)) = self.followed.as_mut().zip(intake.following) {
            followed.take(following);
        }
        for (peer, row) in &peers {
            if let Some(met) = self.peers.get_mut(peer) {
                met.saved = (row.held, row.confirmed);
            }
        }
        Commit {
            sequence: self.sequence,
            entries: intake.entries,
            records: intake.records.into_vec(),
            is_played: intake.plays_all,
            peers,
            own: OwnRow {
                node: self.author.node,
                epoch: self.author.epoch,
                clock: self.clock.last(),
                end: self.end,
            },
            rows: intake.rows.into_vec(),
        }
    }

    /// The channels in which something was touched since this was last asked.
    pub(super) fn take_touched(&mut self) -> BTreeSet<Digest> {
        std::mem::take(&mut self.touched)
    }

    /// Whether the channels are not all there yet, or some rows are there in vain.
    pub(super) fn is_index_due(&self) -> bool {
        self.index.as_ref().is_some_and(Index::is_due)
    }

    /// The channels, on a node that is an authority.
    pub(crate) fn channels(&self) -> Option<(&Index, &Templates)> {
        Some((self.index.as_ref()?, &self.judge.as_ref()?.templates))
    }

    /// What follows from what a step has taken, to be called once before it is committed.
    pub(crate) fn note_changes(
        &self,
        intake: &mut Intake,
        view: &impl View,
    ) -> Result<(), StoreError> {
        self.index(intake, view)?;
        self.note_pending(intake, view)
    }

    /// Counts the bytes of transactions that enter the log, while there are sessions.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.tail.taken()
    }

    /// The log from an offset at which a transaction begins, from memory where it is there.
    pub(crate) fn transactions(
        &self,
        from: u64,
        bytes_max: usize,
        view: &impl View,
    ) -> Result<(Vec<Transaction>, Option<Digest>), StoreError> {
        if from >= self.end.offset {
            return Ok((Vec::new(), None));
        }
        match self.tail.transactions(from, bytes_max) {
            Some((transactions, digest)) => Ok((transactions, Some(digest))),
            None => view.transactions(from, bytes_max),
        }
    }

    /// The digest of the log at an offset; `None` where no transaction ends.
    pub(crate) fn digest_at(
        &self,
        offset: u64,
        view: &impl View,
    ) -> Result<Option<Digest>, StoreError> {
        match self.tail.digest_at(offset) {
            Some(digest) => Ok(Some(digest)),
            None if offset == self.end.offset => Ok(Some(self.end.digest)),
            None => view.digest_at(offset),
        }
    }

    /// Whether a transaction of this node's log begins at an offset, or the log ends there.
    pub(crate) fn has_start(&self, offset: u64, view: &impl View) -> Result<bool, StoreError> {
        Ok(self.tail.has_start(offset) || self.digest_at(offset, view)?.is_some())
    }

    /// Whether this node's log has the point.
    pub(crate) fn has(&self, point: Point, view: &impl View) -> Result<bool, StoreError> {
        if point.offset >= self.end.offset || point.offset == 0 {
            return Ok(point == self.end || point == Point::START);
        }
        let digest = view.digest_at(point.offset)?;
        Ok(digest == Some(point.digest))
    }
}
