//! Sending this node's log: catch-up and live changes are one stream.

use std::collections::{BTreeMap, VecDeque};

use super::{Fault, Outbox, no_entry};
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::engine::{Effects, Own, Usage};
use crate::limits::{
    BATCH_BYTES, ECHO_DELAY_MS, ECHO_RUN_BYTES, ECHO_RUNS_MAX, ECHO_WORK_MAX, SKIP_DELAY_MS,
    UNACKNOWLEDGED_MAX,
};
use crate::message::{Item, Message, Piece};
use crate::scribe::Transaction;
use crate::stamp::Now;
use crate::store::{PeerRow, StoreError, View};

/// How far the peer is in this node's log.
#[derive(Clone, Debug)]
pub(super) struct Push {
    /// Where the stream began and where it is; `None` until the peer has asked.
    stream: Option<Stream>,
    /// Where the peer expects the stream to go on.
    expected: Point,
    /// Whether the peer was asked for more rungs.
    has_asked: bool,
    /// Bytes of `scribes` messages sent, and allowed.
    sent: u64,
    credit: u64,
    /// Up to where the peer holds this log durably.
    acknowledged: Option<Point>,
    /// Up to where the peer is known to hold this log, from earlier sessions and this one.
    held: Point,
    /// What of that it has named itself.
    confirmed: Point,
    /// The points sent since, in order: what the peer may acknowledge next. There is one for each message,
    /// so as many as fit the window that the peer granted, and [`UNACKNOWLEDGED_MAX`] whatever that is.
    unacknowledged: VecDeque<Point>,
    /// What [`Own::taken_bytes`] was when something was sent, until the transport has room again: less than a batch
    /// waits for that, and goes in one message.
    under_way: Option<u64>,
    /// What the peer has already, by offset in this log.
    echoes: BTreeMap<u64, Run>,
    /// When echoes alone are reported.
    echo_due_ms: Option<u64>,
    /// Whether the session closes, so that nothing is held back.
    is_hurried: bool,
    /// Whether the peer gets only what is durable: what it may not bring back, a crash must not take.
    is_durable: bool,
    #[cfg(all(feature = "planted", debug_assertions))]
    pub(super) peer: Option<crate::id::NodeId>,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    start: u64,
    at: Point,
    /// Whether the point at which it resumes has been sent.
    is_announced: bool,
}

/// Transactions of this log that the peer has in its own, one after the other in both.
#[derive(Debug, Clone, Copy)]
struct Run {
    scribes: u64,
    bytes: usize,
    /// Their offset in the peer's log.
    theirs: u64,
    /// This log's digest after them.
    digest: Digest,
}

impl Run {
    /// The work that the run is for its receiver, of [`ECHO_WORK_MAX`] that one message may be.
    fn work(&self) -> usize {
        self.bytes + ECHO_RUN_BYTES
    }
}

/// The next piece of this node's log, of what lies between two points of it, for somebody who is not here to say what it has.
pub(crate) fn piece(
    from: Point,
    end: Point,
    own: &Own,
    view: &impl View,
) -> Result<Piece, StoreError> {
    let (items, to) = Push::new(0, (from, from), true).gather(from, end.offset, own, view)?;
    Ok(Piece { from, to, end: end.offset, items })
}

impl Push {
    pub(super) fn new(credit: u64, (held, confirmed): (Point, Point), is_durable: bool) -> Self {
        Self {
            stream: None,
            expected: Point::START,
            has_asked: false,
            sent: 0,
            credit,
            acknowledged: None,
            held,
            confirmed,
            unacknowledged: VecDeque::new(),
            under_way: None,
            echoes: BTreeMap::new(),
            echo_due_ms: None,
            is_hurried: false,
            is_durable,
            #[cfg(all(feature = "planted", debug_assertions))]
            peer: None,
        }
    }

    pub(super) fn count(&self, usage: &mut Usage) {
        usage.echoes += self.echoes.len();
        usage.unacknowledged += self.unacknowledged.len();
    }

    pub(super) fn receipt(&self) -> Option<u64> {
        self.acknowledged.map(|point| point.offset)
    }

    /// Where the stream began: so much of this log the peer held then.
    pub(super) fn resumed(&self) -> Option<u64> {
        self.stream.map(|stream| stream.start)
    }

    pub(super) fn held(&self) -> Point {
        self.held
    }

    /// Writes down what is known of the peer.
    pub(super) fn note(&self, row: &mut PeerRow) {
        (row.held, row.confirmed) = (self.held, self.confirmed);
    }

    /// When echoes alone are to be reported, unless that comes with room.
    pub(super) fn echo_due_ms(&self) -> Option<u64> {
        self.echo_due_ms.filter(|_| self.under_way.is_none())
    }

    /// Lets nothing be held back any more.
    pub(super) fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Notes that the transport has room again.
    pub(super) fn on_room(&mut self) {
        self.under_way = None;
    }

    /// Whether a stretch of this log was sent, or reported, in this session.
    pub(super) fn has_sent(&self, offset: u64, scribes: u64) -> bool {
        let end = offset.checked_add(scribes);
        self.stream.is_some_and(|stream| {
            offset >= stream.start && end.is_some_and(|end| end <= stream.at.offset)
        })
    }

    /// Resumes at the greatest of the points offered that is in this log, or at its start. `None` where the peer has
    /// more to offer, and is to be asked: until it answers, it is not known to hold anything.
    ///
    /// The stream does not begin by this: [`begin`](Self::begin) does it.
    pub(super) fn resume_at(
        &mut self,
        mut ladder: Vec<Point>,
        has_more: bool,
        own: &Own,
        view: &impl View,
    ) -> Result<Option<Point>, Fault> {
        if self.stream.is_some() || has_more && self.has_asked {
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        self.expected = ladder.first().copied().unwrap_or_default();
        ladder.sort_unstable_by(|a, b| b.cmp(a));
        let mut at = None;
        for rung in ladder {
            #[cfg(all(feature = "planted", debug_assertions))]
            if crate::planted::is_planted(crate::planted::Planted::LineageAlone) {
                let (epoch, end) = (own.author().epoch, own.end());
                let offset = crate::planted::lineage_resume(rung, epoch, end.offset);
                let found = offset.map(|offset| view.digest_at(offset)).transpose()?.flatten();
                if let Some((offset, digest)) = offset.zip(found) {
                    at = Some(Point { offset, digest });
                    break;
                }
                continue;
            }
            if own.has(rung, view)? {
                at = Some(rung);
                break;
            }
        }
        if at.is_none() && has_more {
            (self.has_asked, self.held) = (true, Point::START);
            return Ok(None);
        }
        let at = at.unwrap_or(Point::START);
        #[cfg(all(feature = "planted", debug_assertions))]
        let at = match crate::planted::is_planted(crate::planted::Planted::UnknownIsNothing) {
            true if at == Point::START => own.end(),
            _ => at,
        };
        Ok(Some(at))
    }

    /// Begins the stream at a point.
    pub(super) fn begin(&mut self, at: Point) {
        // A peer that knows of less than it held was restored. Of more it may lose what is not on its disk yet.
        (self.held, self.confirmed) = (self.held.min(at), at);
        // A peer that was asked for more has sent something meanwhile: the stream may begin within a run of that.
        let run = self.echoes.range(..at.offset).next_back().map(|(start, run)| (*start, *run));
        self.echoes = self.echoes.split_off(&at.offset);
        if let Some((start, run)) = run.filter(|(start, run)| start + run.scribes > at.offset) {
            let passed = at.offset - start;
            let (scribes, theirs) = (run.scribes - passed, run.theirs + passed);
            self.echoes.insert(at.offset, Run { scribes, theirs, ..run });
        }
        self.stream = Some(Stream { start: at.offset, at, is_announced: false });
    }

    /// Notes up to where the peer held this log when it said so. Returns whether that is news.
    pub(super) fn know(&mut self, at: Point) -> bool {
        let is_news = at > self.confirmed;
        if is_news {
            self.confirmed = at;
            self.hold(at);
        }
        is_news
    }

    /// Lets what is sent next begin at a point that the peer has asked for.
    pub(super) fn ask(&mut self, at: Point) {
        (self.held, self.confirmed) = (at, at);
    }

    /// Notes what the peer holds durably and how much more it takes. Returns whether the receipt moved.
    ///
    /// The point is one that was sent, or the last one again: a receipt stands for content, not for a
    /// number that anybody can count up to.
    pub(super) fn on_ack(&mut self, point: Point, credit: u64) -> Result<bool, Fault> {
        let place = self.unacknowledged.binary_search_by_key(&point.offset, |sent| sent.offset);
        let known = match place {
            Ok(place) => self.unacknowledged.get(place).copied(),
            Err(_) => self.acknowledged.filter(|last| last.offset == point.offset),
        };
        match known {
            None => return Err(Fault::peer(CloseReason::Unexpected)),
            Some(known) if known != point => return Err(Fault::peer(CloseReason::Digest)),
            Some(_) => {}
        }
        self.credit = self.credit.max(credit);
        let Ok(place) = place else {
            return Ok(false);
        };
        self.unacknowledged.drain(..=place);
        self.acknowledged = Some(point);
        self.confirmed = point;
        self.hold(point);
        Ok(true)
    }

    /// Notes that the peer has sent a transaction that is in this log at an offset. What does not follow on
    /// what it holds is left to its word.
    pub(super) fn note_held(&mut self, offset: u64, transaction: &Transaction, digest: Digest) {
        if offset == self.held.offset {
            self.hold(Point { offset: offset + transaction.len(), digest });
        }
    }

    /// Notes up to where the peer holds this log; what it has sent itself, and follows on that, it holds too.
    fn hold(&mut self, point: Point) {
        self.held = self.held.max(point);
        while let Some(run) = self.echoes.get(&self.held.offset) {
            self.held = Point { offset: self.held.offset + run.scribes, digest: run.digest };
        }
    }

    /// Notes that the peer has a transaction of this log. What is forgotten here is only sent in vain.
    pub(super) fn note_echo(
        &mut self,
        offset: u64,
        transaction: &Transaction,
        theirs: u64,
        digest: Digest,
    ) {
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::EchoesForgotten) {
            return;
        }
        if self.stream.is_some_and(|stream| offset < stream.at.offset) {
            return;
        }
        let (scribes, bytes) = (transaction.len(), transaction.bytes().len());
        if let Some((start, run)) = self.echoes.range_mut(..=offset).next_back() {
            let is_known = offset < start + run.scribes;
            let continues = start + run.scribes == offset && run.theirs + run.scribes == theirs;
            if continues && run.work() + bytes <= ECHO_WORK_MAX {
                run.scribes += scribes;
                run.bytes += bytes;
                run.digest = digest;
                return;
            }
            if is_known {
                return;
            }
        }
        if self.echoes.len() < ECHO_RUNS_MAX {
            self.echoes.insert(offset, Run { scribes, bytes, theirs, digest });
        }
    }

    pub(super) fn pump(
        &mut self,
        now: Now,
        outbox: &mut Outbox,
        own: &Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let is_little = |before: u64| own.taken_bytes().saturating_sub(before) < BATCH_BYTES as u64;
        // What is durable goes in groups already, and a verdict goes before the receipt for what it is about.
        let is_free = self.is_hurried || self.is_durable;
        if !is_free && self.under_way.is_some_and(is_little) {
            return Ok(());
        }
        let end = if self.is_durable { own.durable_end() } else { own.end() };
        while let Some(stream) = self.stream {
            let is_due = stream.at.offset < end.offset || !stream.is_announced;
            let is_allowed =
                self.sent < self.credit && self.unacknowledged.len() < UNACKNOWLEDGED_MAX;
            if !is_due || !is_allowed || !outbox.has_room() {
                break;
            }
            let (items, to) = self.gather(stream.at, end.offset, own, view)?;
            if stream.is_announced && to.offset >= end.offset && self.holds_back(now, &items) {
                break;
            }
            if stream.is_announced && items.is_empty() {
                let what = format!("the log does not go on at offset {}", stream.at.offset);
                return Err(StoreError::Corrupt { what });
            }
            let piece = Piece { from: stream.at, to, end: end.offset.max(to.offset), items };
            let message = Message::Scribes(piece.said(self.expected));
            self.sent += outbox.send(&message, effects) as u64;
            self.expected = to;
            self.under_way = Some(own.taken_bytes());
            self.unacknowledged.push_back(to);
            self.echoes = self.echoes.split_off(&to.offset);
            self.echo_due_ms = None;
            self.stream = Some(Stream { at: to, is_announced: true, ..stream });
        }
        Ok(())
    }

    /// Whether a report of echoes alone waits, for something to go with it.
    fn holds_back(&mut self, now: Now, items: &[Item]) -> bool {
        if self.is_hurried || items.iter().any(|item| matches!(item, Item::Transaction(..))) {
            return false;
        }
        // What a view was shown is nobody's news.
        let is_skip = items.iter().all(|item| matches!(item, Item::Skip { .. }));
        let delay_ms = if is_skip { SKIP_DELAY_MS } else { ECHO_DELAY_MS };
        let due_ms = now.monotonic_ms + delay_ms;
        let due_ms = self.echo_due_ms.map_or(due_ms, |known_ms| known_ms.min(due_ms));
        self.echo_due_ms = Some(due_ms);
        now.monotonic_ms < due_ms
    }

    /// About a batch of the log from a point on, and the point that it reaches.
    fn gather(
        &self,
        from: Point,
        end: u64,
        own: &Own,
        view: &impl View,
    ) -> Result<(Vec<Item>, Point), StoreError> {
        let mut items = Vec::new();
        let (mut at, mut digest) = (from.offset, Some(from.digest));
        let (mut bytes, mut work) = (0, 0);
        // What was read of the log, where that begins, and the digest after it.
        let mut read = Vec::<Transaction>::new().into_iter();
        let (mut place, mut read_digest) = (at, None);
        while at < end && bytes < BATCH_BYTES {
            if let Some(run) = self.echoes.get(&at) {
                work += run.work();
                if work > ECHO_WORK_MAX {
                    break;
                }
                items.push(Item::Echo { offset: run.theirs, scribes: run.scribes });
                at += run.scribes;
                digest = Some(run.digest);
                continue;
            }
            while place < at
                && let Some(echoed) = read.next()
            {
                place += echoed.len();
            }
            let Some(transaction) = read.next().filter(|_| place == at) else {
                // What ends where the digest is known without hashing may end a little earlier.
                if bytes >= BATCH_BYTES / 4 * 3 && digest.is_some() {
                    break;
                }
                let (transactions, end) = own.transactions(at, BATCH_BYTES - bytes, view)?;
                if transactions.is_empty() {
                    return Err(no_entry(at));
                }
                items.reserve(transactions.len());
                (read, place, read_digest) = (transactions.into_iter(), at, end);
                continue;
            };
            place += transaction.len();
            at = place;
            if transaction.is_local() {
                work += transaction.bytes().len();
                let after = own.digest_at(at, view)?.ok_or_else(|| no_entry(at))?;
                match items.last_mut() {
                    Some(Item::Skip { scribes, digest }) => {
                        *scribes += transaction.len();
                        *digest = after;
                    }
                    _ => items.push(Item::Skip { scribes: transaction.len(), digest: after }),
                }
                digest = Some(after);
                if work > ECHO_WORK_MAX || items.len() >= ECHO_RUNS_MAX {
                    break;
                }
                continue;
            }
            bytes += transaction.bytes().len();
            digest = read_digest.filter(|_| read.as_slice().is_empty());
            #[cfg(all(feature = "planted", debug_assertions))]
            if crate::planted::is_planted(crate::planted::Planted::EchoByNode)
                && self.peer == Some(transaction.stamp().author.node)
            {
                continue;
            }
            items.push(transaction.into());
        }
        let digest = match digest {
            Some(digest) => digest,
            None => own.digest_at(at, view)?.ok_or_else(|| no_entry(at))?,
        };
        Ok((items, Point { offset: at, digest }))
    }
}
