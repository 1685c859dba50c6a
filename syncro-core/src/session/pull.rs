//! Taking the peer's log in.

use std::collections::VecDeque;

use super::{Fault, Open, no_entry};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::engine::{Bearer, Effects, Event, Intake, Own, SessionId, Taken};
use crate::limits::{
    ECHO_RUN_BYTES, ECHO_WORK_MAX, FRAME_BYTES_MAX, MESSAGE_STATES_BYTES_MAX, REPAIR_RATIO_MAX,
    WINDOW_BYTES,
};
use crate::message::{Item, Message, Scribes, Unread};
use crate::quarantine::Parked;
use crate::stamp::Epoch;
use crate::stamp::Now;
use crate::store::{StoreError, View};
use crate::verdict::Verdict;

/// How far this node is in the peer's log.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    /// The rungs that were offered, until the peer has resumed at one.
    offered: Vec<Point>,
    /// Where the peer's log comes from, if not from the peer itself.
    bundle: Option<Bundled>,
    /// The sync point reached; `None` until the peer has resumed.
    at: Option<Point>,
    /// The branch of the ladder that this session extends, once the peer has resumed.
    branch: Epoch,
    /// Where the peer's log ended when last heard.
    end: u64,
    /// Where it resumed, and where its log ended then.
    began: u64,
    caught_up_at: Option<u64>,
    /// Bytes of `scribes` messages received, and allowed.
    received: u64,
    granted: u64,
    /// What to acknowledge once it is durable.
    pending: VecDeque<Owed>,
    /// What to acknowledge now.
    ack: Option<(Point, u64)>,
    /// The end of the last transaction in what has come, but for those that only say what the peer was shown; and up to
    /// where what the peer wrote is durable here.
    own_end: u64,
    durable: Option<u64>,
}

/// What is known of a bundle, in which the peer's log has come.
#[derive(Clone, Copy, Debug)]
struct Bundled {
    /// Where it ends.
    end: u64,
    /// Whether it is of a view.
    is_of_view: bool,
}

/// What to acknowledge once a commit is durable, and all the log with it. The point's own row may follow later: it is for
/// the next session.
#[derive(Clone, Copy, Debug)]
struct Owed {
    sequence: u64,
    point: Point,
    /// Bytes received, up to this message.
    received: u64,
    /// The end of the last transaction that the peer wrote.
    own_end: u64,
}

impl Pull {
    /// Begins to take in what a peer sends, or what is in a bundle that ends at an offset.
    pub(super) fn new(offered: Vec<Point>, bundle_end: Option<u64>) -> Self {
        Self {
            offered,
            bundle: bundle_end.map(|end| Bundled { end, is_of_view: false }),
            at: None,
            branch: Epoch(0),
            end: 0,
            began: 0,
            caught_up_at: None,
            received: 0,
            // Nobody waits to be told how much of a bundle may come.
            granted: bundle_end.map_or(WINDOW_BYTES, |_| u64::MAX / 2),
            pending: VecDeque::new(),
            ack: None,
            own_end: 0,
            durable: None,
        }
    }

    /// Scribes of the peer's log that are not here yet, as far as known.
    pub(super) fn behind(&self) -> u64 {
        self.end - self.at.map_or(0, |at| at.offset.min(self.end))
    }

    /// Messages received whose points are not durable yet.
    pub(super) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// What can be acknowledged now that the commits up to a sequence are durable.
    pub(super) fn on_synced(&mut self, through: u64) {
        while let Some(owed) = self.pending.pop_front_if(|owed| owed.sequence <= through) {
            self.ack = Some((owed.point, owed.received));
            self.durable = Some(owed.own_end);
        }
    }

    /// Up to where what the peer wrote is durable here, once anything of this session is.
    pub(super) fn durable(&self) -> Option<u64> {
        self.durable
    }

    /// The sync point reached in this session.
    pub(super) fn reached(&self) -> Option<Point> {
        self.at
    }

    /// Notes that the bundle is of a view.
    pub(super) fn note_view(&mut self) {
        if let Some(bundle) = &mut self.bundle {
            bundle.is_of_view = true;
        }
    }

    fn is_of_view(&self) -> bool {
        self.bundle.is_some_and(|bundle| bundle.is_of_view)
    }

    /// Whether everything before a point was here before this session.
    pub(super) fn is_known(&self, point: Point) -> bool {
        point == Point::START || self.offered.contains(&point)
    }

    /// Lets the bundle be resumed at a point that is known.
    pub(super) fn resume(&mut self, from: Point) {
        self.at = None;
        if !self.is_known(from) {
            self.offered.push(from);
        }
    }

    /// Whether a bundle has still to come past a point that may be known: up to there nothing in it is new.
    fn is_behind(&self, to: Point) -> bool {
        let is_ahead = |rung: &Point, end| rung.offset > to.offset && rung.offset <= end;
        self.bundle.is_some_and(|it| self.offered.iter().any(|rung| is_ahead(rung, it.end)))
    }

    /// Bytes received in all, with those of one message more.
    pub(super) fn received(&self, bytes: usize) -> Result<u64, Fault> {
        let received = self.received + bytes as u64;
        match received > self.granted + FRAME_BYTES_MAX as u64 {
            true => Err(Fault::peer(CloseReason::Flow)),
            false => Ok(received),
        }
    }

    /// Notes that a message without scribes was taken.
    pub(super) fn took(&mut self, received: u64, own: &Own) {
        self.received = received;
        let (sequence, point, own_end) = (own.appended(), Point::START, self.own_end);
        self.pending.push_back(Owed { sequence, point, received, own_end });
        self.on_synced(own.synced_through());
    }

    pub(super) fn take_ack(&mut self) -> Option<Message> {
        let (point, received) = self.ack.take()?;
        self.granted = received + WINDOW_BYTES;
        Some(Message::Ack { point, credit: self.granted })
    }
}

impl Open {
    /// Takes a piece of the peer's log: every transaction in it ends up in this node's log or was there
    /// before, and the digest over all of them is checked, so that the sync point never passes anything.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only name it twice"
    )]
    pub(super) fn on_scribes(
        &mut self,
        now: Now,
        mut scribes: Scribes,
        bytes: usize,
        session: SessionId,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let pull = &self.pull;
        let received = pull.received(bytes)?;
        if own.is_view() {
            // It has asked for none.
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        let continues = match pull.at {
            Some(at) => scribes.from == at,
            None => scribes.from == Point::START || pull.offered.contains(&scribes.from),
        };
        #[cfg(all(feature = "planted", debug_assertions))]
        let continues = continues
            || pull.at.is_none()
                && crate::planted::is_planted(crate::planted::Planted::LineageAlone);
        if !continues {
            return Err(Fault::peer(CloseReason::Gap));
        }

        let branch = match pull.at {
            Some(_) => pull.branch,
            None => self.branch(&scribes, own, view)?,
        };
        let mut own_end = self.pull.at.map_or(scribes.from.offset, |_| self.pull.own_end);
        let mut intake = own.intake();
        let mut items = std::mem::take(&mut scribes.items).into_iter();
        let mut runs = Vec::new();
        let mut point = scribes.from;
        let mut work_left = ECHO_WORK_MAX;
        // Where the message is cut, because what comes after it is for the next session.
        let mut cut = None;
        let (mut spent, mut parked) = (0, 0);
        let free = REPAIR_RATIO_MAX * bytes;
        let left = own.repair_left(self.principal.as_deref(), now);
        let mut forged = None;
        #[cfg_attr(
            not(all(feature = "planted", debug_assertions)),
            expect(clippy::while_let_on_iterator, reason = "planted bugs look at what is left")
        )]
        while let Some(item) = items.next() {
            let is_skip = matches!(item, Item::Skip { .. });
            match item {
                #[cfg(all(feature = "planted", debug_assertions))]
                Item::Transaction(transaction, _)
                    if items.as_slice().is_empty()
                        && point != scribes.from
                        && crate::planted::is_planted(crate::planted::Planted::SkipLast) =>
                {
                    point = point.then(transaction.len(), transaction.bytes());
                }
                Item::Transaction(transaction, changes) => {
                    let theirs = point;
                    if cut.is_some() {
                        point = point.then(transaction.len(), transaction.bytes());
                        continue;
                    }
                    // Two logs that are the same up to here, and go on in the same way, are hashed once.
                    let is_same = theirs == intake.end;
                    let taken = match self.bearer(session) {
                        None => intake.take(&transaction, changes, session, view)?,
                        Some(bearer) => {
                            own.take_judged(now, &mut intake, &transaction, changes, bearer, view)?
                        }
                    };
                    point = match taken {
                        Taken::New { .. } if is_same => intake.end,
                        _ => point.then(transaction.len(), transaction.bytes()),
                    };
                    match taken {
                        Taken::Aside { bytes } => spent += bytes,
                        Taken::Forged => forged = Some(transaction.stamp().author),
                        Taken::Parked => parked += transaction.bytes().len(),
                        _ => {}
                    }
                    if spent.saturating_sub(free) + parked > left {
                        cut = Some((point, TOO_MUCH_REFUSED));
                    } else if intake.states_bytes > MESSAGE_STATES_BYTES_MAX {
                        cut = Some((point, TOO_MANY_STATES));
                    }
                    runs.push((taken, transaction, theirs.offset));
                }
                Item::Unread(unread) => {
                    point = point.then(unread.scribes, &unread.bytes);
                    if cut.is_some() {
                        continue;
                    }
                    let bearer = self.bearer(session);
                    if bearer.is_none_or(|bearer| own.may_bring(bearer, unread.author)) {
                        parked += unread.bytes.len();
                        intake.park(self.parked(now, unread), view)?;
                    } else {
                        forged = Some(unread.author);
                    }
                    if parked > left {
                        cut = Some((point, TOO_MUCH_REFUSED));
                    }
                }
                Item::Echo { offset, scribes } => {
                    if scribes == 0 || !self.push.has_sent(offset, scribes) {
                        return Err(Fault::peer(CloseReason::Unexpected));
                    }
                    point = read_echo(offset, scribes, point, &mut work_left, own, view)?;
                }
                Item::Skip { scribes, digest } => {
                    if scribes == 0 {
                        return Err(Fault::peer(CloseReason::Unexpected));
                    }
                    point = Point { offset: point.offset.saturating_add(scribes), digest };
                }
            }
            if !is_skip {
                own_end = point.offset;
            }
        }
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::EchoByNode) {
            // That design took the sender's word for the point.
            point = scribes.to;
        }
        if point != scribes.to {
            return Err(Fault::peer(CloseReason::Digest));
        }
        own.note_changes(&mut intake, view)?;
        // What was taken before the cut is as sure as the rest: all of it had the digest that was stated.
        scribes.to = cut.map_or(point, |(cut, _)| cut);
        if let Some(principal) = &self.principal {
            own.spend_repair(principal, spent.saturating_sub(free) + parked, now);
        }
        if let Some(author) = forged
            && !std::mem::replace(&mut self.is_forger, true)
        {
            effects.events.push(Event::Forged { session, peer: self.peer, author });
        }
        self.pull.branch = branch;
        self.pull.own_end = own_end;
        for (taken, transaction, _) in &runs {
            if let Some((offset, digest)) = taken.place() {
                self.push.note_held(offset, transaction, digest);
            }
        }
        self.push.note(own.peer_row(self.peer));
        self.finish(now, intake, &scribes, received, own, effects);
        for (taken, transaction, theirs) in runs {
            let Some((offset, digest)) = taken.place() else {
                continue;
            };
            #[cfg(all(feature = "planted", debug_assertions))]
            if digest == crate::digest::Digest::EMPTY {
                // Set aside: it has no place in this log.
                continue;
            }
            self.push.note_echo(offset, &transaction, theirs, digest);
        }
        if let Some((_, (reason, detail))) = cut.filter(|(cut, _)| *cut != point) {
            return Err(Fault::Peer { reason, detail: detail.to_owned() });
        }
        self.note_caught_up(session, effects);
        Ok(())
    }

    /// Who brings what comes, if the node limits what that may be.
    fn bearer(&self, session: SessionId) -> Option<Bearer<'_>> {
        let principal = self.principal.as_deref()?;
        let (peer, is_view) = (self.peer, self.feed.is_some() || self.pull.is_of_view());
        Some(Bearer { session, peer, principal, is_view })
    }

    /// What this version cannot read, to be set aside.
    fn parked(&self, now: Now, unread: Unread) -> Parked {
        Parked {
            transaction: unread.bytes,
            bearer: self.peer,
            principal: self.principal.as_deref().cloned(),
            since_ms: now.wall_ms,
            reason: unread.reason,
        }
    }

    /// The branch of the peer's ladder that goes on where the peer has resumed. If that was the end of this
    /// node's own log, the branch is the one whose end is the last in this log.
    fn branch(
        &self,
        scribes: &Scribes,
        own: &mut Own,
        view: &impl View,
    ) -> Result<Epoch, StoreError> {
        let ladder = own.peer_row(self.peer).ladder.clone();
        let mut from = scribes.from;
        if !ladder.rungs().iter().any(|rung| rung.point == from) {
            for end in ladder.branch_ends() {
                if end.offset <= from.offset && own.has(end, view)? {
                    from = end;
                    break;
                }
            }
        }
        Ok(ladder.branch(self.epoch, from, scribes.to))
    }

    /// From here on nothing fails.
    fn finish(
        &mut self,
        now: Now,
        mut intake: Intake,
        scribes: &Scribes,
        received: u64,
        own: &mut Own,
        effects: &mut Effects,
    ) {
        for entry in &intake.entries {
            let stamp = entry.transaction.stamp();
            if let Some(skew_ms) = own.observe(stamp.time, now) {
                effects.events.push(Event::FutureStamp { stamp, skew_ms });
            }
            if stamp.author == own.author() {
                effects.events.extend(own.note_fork(entry.transaction.bytes()));
            }
        }
        effects.events.append(&mut intake.events);
        let node = own.author().node;
        let verdicts = effects.events.iter().filter_map(|event| Verdict::of_event(event, node));
        let refused: Vec<_> = verdicts.map(Event::Refused).collect();
        effects.events.extend(refused);

        let row = own.peer_row(self.peer);
        let has_moved =
            !self.pull.is_behind(scribes.to) && row.ladder.advance(self.pull.branch, scribes.to);
        let row = row.clone();
        if has_moved || !intake.entries.is_empty() || !intake.rows.is_empty() {
            effects.commit = Some(own.commit(intake, vec![(self.peer, row)]));
        }
        let pull = &mut self.pull;
        if pull.at.is_none() {
            pull.began = scribes.from.offset;
        }
        pull.received = received;
        pull.at = Some(scribes.to);
        pull.end = scribes.end.max(scribes.to.offset);
        if pull.bundle.is_none() {
            pull.offered = Vec::new();
        }
        // Of what a view was shown nothing has to be durable here: others' writes do not delay the answer.
        let is_skipped = pull.own_end <= scribes.from.offset && scribes.to != scribes.from;
        let sequence = if is_skipped { 0 } else { own.appended() };
        let (point, own_end) = (scribes.to, pull.own_end);
        pull.pending.push_back(Owed { sequence, point, received, own_end });
        pull.on_synced(own.synced_through());
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::AckBeforeFlush) {
            pull.on_synced(u64::MAX);
        }
    }

    fn note_caught_up(&mut self, session: SessionId, effects: &mut Effects) {
        let pull = &mut self.pull;
        let Some(at) = pull.at.filter(|_| pull.bundle.is_none()) else { return };
        let target = *pull.caught_up_at.get_or_insert(pull.end);
        if target != u64::MAX && at.offset >= target {
            pull.caught_up_at = Some(u64::MAX);
            effects.events.push(Event::CaughtUp { session, peer: self.peer });
        } else if target != u64::MAX {
            let (taken, left) = (at.offset - pull.began, target - at.offset);
            effects.events.push(Event::CatchingUp { session, peer: self.peer, taken, left });
        }
    }
}

/// Why what came after a place in a message is for the next session.
const TOO_MUCH_REFUSED: (CloseReason, &str) = (
    CloseReason::Forbidden,
    "refusing what was sent takes too much: the rest is for the next session",
);
const TOO_MANY_STATES: (CloseReason, &str) = (
    CloseReason::Flow,
    "large records were changed too often in one message: the rest is for the next session",
);

/// About so many bytes of log are read for a scribe of an echo.
const ECHO_BYTES: usize = 256;

/// The point after transactions that are in this node's own log. What is read for it is taken off the work
/// that is left for the message.
fn read_echo(
    offset: u64,
    scribes: u64,
    mut point: Point,
    work_left: &mut usize,
    own: &Own,
    view: &impl View,
) -> Result<Point, Fault> {
    let unexpected = || Fault::peer(CloseReason::Unexpected);
    let mut spend = |bytes| {
        *work_left = work_left.checked_sub(bytes).ok_or_else(unexpected)?;
        Ok::<(), Fault>(())
    };
    spend(ECHO_RUN_BYTES)?;
    if !own.has_start(offset, view)? {
        return Err(unexpected());
    }
    let (mut next, end) = (offset, offset + scribes);
    // Where the two logs are the same up to here, they are the same up to the end of the run.
    if point.offset == offset && own.has(point, view)? {
        let digest = own.digest_at(end, view)?.ok_or_else(unexpected)?;
        return Ok(Point { offset: end, digest });
    }
    while next < end {
        // No more at once than what the run is counted with for reading past its end.
        let bytes_max = ECHO_RUN_BYTES.min(ECHO_BYTES.saturating_mul((end - next) as usize));
        let (transactions, _) = own.transactions(next, bytes_max, view)?;
        if transactions.is_empty() {
            return Err(no_entry(next).into());
        }
        for transaction in transactions {
            spend(transaction.bytes().len())?;
            point = point.then(transaction.len(), transaction.bytes());
            next += transaction.len();
            if next >= end {
                break;
            }
        }
    }
    if next == end { Ok(point) } else { Err(unexpected()) }
}
