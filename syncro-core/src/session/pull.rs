//! Taking the peer's log in.

use std::collections::VecDeque;

use super::reading::Reading;
use super::{Fault, Open};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::engine::{Effects, Event, Intake, Own, SessionId};
use crate::ladder::Ladder;
use crate::limits::{FRAME_BYTES_MAX, WINDOW_BYTES};
use crate::message::{Message, Piece, Scribes};
use crate::stamp::Epoch;
use crate::stamp::Now;
use crate::store::{StoreError, View};
use crate::verdict::Verdict;

/// How far this node is in the peer's log.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    /// The rungs that are offered, the greatest first, until the peer has resumed at one; and how many of them are said
    /// at first.
    offered: Vec<Point>,
    first: usize,
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
#[derive(Clone, Copy, Debug, Default)]
struct Bundled {
    /// Whether it is of a view.
    is_of_view: bool,
    /// Whether the ladder has moved by it: it makes one branch at most.
    has_branch: bool,
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
    /// Begins to take in what a peer sends, or has written into a bundle.
    pub(super) fn new(offered: Vec<Point>, first: usize, is_import: bool) -> Self {
        Self {
            first: first.min(offered.len()),
            offered,
            bundle: is_import.then(Bundled::default),
            at: None,
            branch: Epoch(0),
            end: 0,
            began: 0,
            caught_up_at: None,
            received: 0,
            granted: WINDOW_BYTES,
            pending: VecDeque::new(),
            ack: None,
            own_end: 0,
            durable: None,
        }
    }

    /// Asks for the peer's log, by the rungs that are said at first.
    pub(super) fn ask(&self) -> Message {
        let (first, rest) = self.offered.split_at(self.first);
        Message::Sync { ladder: first.to_vec(), has_more: !rest.is_empty() }
    }

    /// Whether the peer knows where its log goes on here, or has been told all that there is to know.
    pub(super) fn has_said_enough(&self) -> bool {
        self.first >= self.offered.len()
    }

    /// Asks by all of them, since the peer knew none of the first.
    pub(super) fn on_more(&mut self) -> Result<Message, Fault> {
        if self.has_said_enough() {
            return Err(Fault::peer(CloseReason::Unexpected));
        }
        self.first = self.offered.len();
        Ok(self.ask())
    }

    /// The piece of the peer's log that is meant. Where it begins goes without saying where the last one ended, or at first
    /// at the first point by which was asked.
    pub(super) fn read(&self, scribes: Scribes) -> Piece {
        let asked = || self.offered.first().copied().unwrap_or_default();
        scribes.read(self.at.unwrap_or_else(asked))
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

    pub(super) fn is_of_view(&self) -> bool {
        self.bundle.is_some_and(|bundle| bundle.is_of_view)
    }

    /// Lets a bundle be resumed at a point that is known.
    pub(super) fn resume(&mut self) {
        self.at = None;
    }

    /// Whether the ladder moves to a point that is reached. That of a bundle may be an old one: it counts if something was
    /// new up to there, or if it is beyond all others.
    fn moves(&mut self, ladder: &Ladder, to: Point, is_new: bool) -> bool {
        let Some(bundle) = &mut self.bundle else { return true };
        let is_beyond = || ladder.rungs().iter().all(|rung| rung.point.offset < to.offset);
        let moves = is_new || is_beyond();
        bundle.has_branch |= moves;
        moves
    }

    /// Bytes received in all, with those of one message more.
    pub(super) fn received(&self, bytes: usize) -> Result<u64, Fault> {
        let received = self.received + bytes as u64;
        // Nobody has to be told how much of a bundle may come.
        match self.bundle.is_none() && received > self.granted + FRAME_BYTES_MAX as u64 {
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
        mut piece: Piece,
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
            // It was looked for.
            _ if pull.bundle.is_some() => true,
            Some(at) => piece.from == at,
            None => piece.from == Point::START || pull.offered.contains(&piece.from),
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
            None if pull.bundle.is_some_and(|bundle| bundle.has_branch) => pull.branch,
            None => self.branch(&piece, own, view)?,
        };
        let own_end = self.pull.at.map_or(piece.from.offset, |_| self.pull.own_end);
        let items = std::mem::take(&mut piece.items);
        let left = own.repair_left(self.principal.as_deref(), now);
        let mut reading =
            Reading::new(own.intake().of_peer(view), piece.from, own_end, bytes, left);
        self.read(now, &mut reading, items, session, own, view)?;
        let spent = reading.spent();
        let Reading { mut intake, runs, point, own_end, cut, forged, .. } = reading;
        #[cfg(all(feature = "planted", debug_assertions))]
        // That design took the sender's word for the point.
        let point = match crate::planted::is_planted(crate::planted::Planted::EchoByNode) {
            true => piece.to,
            false => point,
        };
        if point != piece.to {
            return Err(Fault::peer(CloseReason::Digest));
        }
        own.note_changes(&mut intake, view)?;
        // What was taken before the cut is as sure as the rest: all of it had the digest that was stated.
        piece.to = cut.map_or(point, |(cut, _)| cut);
        if let Some(principal) = &self.principal {
            own.spend_repair(principal, spent, now);
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
        self.finish(now, intake, &piece, received, own, effects);
        for (taken, transaction, theirs) in runs {
            let Some((offset, digest)) = taken.place().filter(|_| self.pull.bundle.is_none())
            else {
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

    /// The branch of the peer's ladder that goes on where the peer has resumed. If that was the end of this
    /// node's own log, the branch is the one whose end is the last in this log.
    fn branch(&self, piece: &Piece, own: &mut Own, view: &impl View) -> Result<Epoch, StoreError> {
        let ladder = own.peer_row(self.peer).ladder.clone();
        let mut from = piece.from;
        if !ladder.rungs().iter().any(|rung| rung.point == from) {
            for end in ladder.branch_ends() {
                if end.offset <= from.offset && own.has(end, view)? {
                    from = end;
                    break;
                }
            }
        }
        Ok(ladder.branch(self.epoch, from, piece.to))
    }

    /// From here on nothing fails.
    fn finish(
        &mut self,
        now: Now,
        mut intake: Intake,
        piece: &Piece,
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
        match effects.events.is_empty() {
            true => effects.events = std::mem::take(&mut intake.events),
            false => effects.events.extend(std::mem::take(&mut intake.events)),
        }
        let node = own.author().node;
        let verdicts = effects.events.iter().filter_map(|event| Verdict::of_event(event, node));
        let refused: Vec<_> = verdicts.map(Event::Refused).collect();
        effects.events.extend(refused);

        let row = own.peer_row(self.peer);
        let is_new = !intake.entries.is_empty() || !intake.rows.is_empty();
        let has_moved = self.pull.moves(&row.ladder, piece.to, is_new)
            && row.ladder.advance(self.pull.branch, piece.to);
        let row = row.clone();
        if has_moved || is_new {
            effects.commit = Some(own.commit(intake, vec![(self.peer, row)]));
        }
        let pull = &mut self.pull;
        if pull.at.is_none() {
            pull.began = piece.from.offset;
        }
        pull.received = received;
        pull.at = Some(piece.to);
        pull.end = piece.end.max(piece.to.offset);
        pull.offered = Vec::new();
        if pull.bundle.is_some() {
            // Nobody waits for a receipt.
            return;
        }
        // Of what a view was shown nothing has to be durable here: others' writes do not delay the answer.
        let is_skipped = pull.own_end <= piece.from.offset && piece.to != piece.from;
        let sequence = if is_skipped { 0 } else { own.appended() };
        let (point, own_end) = (piece.to, pull.own_end);
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
