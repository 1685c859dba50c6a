//! Reading one message of the peer's log: what is new in it, what is held already, and what is not to be taken.

use super::{Fault, Open, no_entry};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::encoding::Malformed;
use crate::engine::{Bearer, Intake, Own, SessionId, Taken};
use crate::limits::{ECHO_RUN_BYTES, ECHO_WORK_MAX, MESSAGE_STATES_BYTES_MAX, REPAIR_RATIO_MAX};
use crate::message::{Item, Unread};
use crate::quarantine::Parked;
use crate::scribe::Transaction;
use crate::stamp::{Author, Now};
use crate::store::View;

/// What a message comes to; nothing of it is done yet.
pub(super) struct Reading {
    pub(super) intake: Intake,
    /// The transactions of it, what became of each, and its offset in the peer's log.
    pub(super) runs: Vec<(Taken, Transaction, u64)>,
    /// The point in the peer's log that it reaches.
    pub(super) point: Point,
    /// The end of the last transaction that does not only say what the peer was shown.
    pub(super) own_end: u64,
    /// Where the message is cut, because what comes after it is for the next session.
    pub(super) cut: Option<(Point, Cut)>,
    /// Who wrote what the peer has brought, and may not.
    pub(super) forged: Option<Author>,
    /// The work that echoes may still be.
    echo_work_left: usize,
    /// Bytes written in place of what is refused, and of what is set aside; how many of the first are free, and how many of
    /// both there may be besides.
    refused: usize,
    parked: usize,
    free: usize,
    left: usize,
}

/// Why what comes after a place in a message is for the next session.
pub(super) type Cut = (CloseReason, &'static str);

const TOO_MUCH_REFUSED: Cut = (
    CloseReason::Forbidden,
    "refusing what was sent takes too much: the rest is for the next session",
);
const TOO_MANY_STATES: Cut = (
    CloseReason::Flow,
    "large records were changed too often in one message: the rest is for the next session",
);

impl Reading {
    /// Begins a message of so many bytes at a point. So much more may be written in place of what is refused.
    pub(super) fn new(
        intake: Intake,
        from: Point,
        own_end: u64,
        bytes: usize,
        left: usize,
    ) -> Self {
        Self {
            intake,
            runs: Vec::new(),
            point: from,
            own_end,
            cut: None,
            forged: None,
            echo_work_left: ECHO_WORK_MAX,
            refused: 0,
            parked: 0,
            free: REPAIR_RATIO_MAX * bytes,
            left,
        }
    }

    /// Bytes written in place of what is refused, or set aside, beyond those that are free.
    pub(super) fn spent(&self) -> usize {
        self.refused.saturating_sub(self.free) + self.parked
    }

    /// Cuts the message here if it has come to too much.
    fn bound(&mut self) {
        if self.spent() > self.left {
            self.cut = Some((self.point, TOO_MUCH_REFUSED));
        } else if self.intake.states_bytes > MESSAGE_STATES_BYTES_MAX {
            self.cut = Some((self.point, TOO_MANY_STATES));
        }
    }
}

impl Open {
    /// Reads the items of a message.
    pub(super) fn read(
        &self,
        now: Now,
        reading: &mut Reading,
        items: Vec<Item>,
        session: SessionId,
        own: &mut Own,
        view: &impl View,
    ) -> Result<(), Fault> {
        #[cfg(all(feature = "planted", debug_assertions))]
        let mut left = items.len();
        let is_transaction = |item: &&Item| matches!(item, Item::Transaction(_));
        let transactions = items.iter().filter(is_transaction).count();
        reading.runs.reserve_exact(transactions);
        reading.intake.reserve(transactions);
        for item in items {
            let is_skip = matches!(item, Item::Skip { .. });
            match item {
                Item::Transaction(transaction) => {
                    #[cfg(all(feature = "planted", debug_assertions))]
                    if left == 1
                        && !reading.runs.is_empty()
                        && crate::planted::is_planted(crate::planted::Planted::SkipLast)
                    {
                        reading.point = reading.point.then(transaction.len(), transaction.bytes());
                        break;
                    }
                    self.read_transaction(now, reading, *transaction, session, own, view)?;
                }
                Item::Unread(unread) => {
                    self.read_unread(now, reading, *unread, session, own, view)?;
                }
                Item::Echo { offset, scribes } => {
                    if scribes == 0 || !self.push.has_sent(offset, scribes) {
                        return Err(Fault::peer(CloseReason::Unexpected));
                    }
                    let work_left = &mut reading.echo_work_left;
                    reading.point =
                        read_echo(offset, scribes, reading.point, work_left, own, view)?;
                }
                Item::Skip { scribes, digest } => {
                    if scribes == 0 {
                        return Err(Fault::peer(CloseReason::Unexpected));
                    }
                    let offset = reading.point.offset.saturating_add(scribes);
                    reading.point = Point { offset, digest };
                }
            }
            if !is_skip {
                reading.own_end = reading.point.offset;
            }
            #[cfg(all(feature = "planted", debug_assertions))]
            {
                left -= 1;
            }
        }
        let is_new = |(taken, ..): &(Taken, _, _)| matches!(taken, Taken::New { .. });
        if reading.runs.len() < transactions || !reading.runs.iter().all(is_new) {
            reading.intake.settle();
        }
        Ok(())
    }

    fn read_transaction(
        &self,
        now: Now,
        reading: &mut Reading,
        transaction: Transaction,
        session: SessionId,
        own: &mut Own,
        view: &impl View,
    ) -> Result<(), Fault> {
        let Reading { intake, point, .. } = reading;
        let theirs = *point;
        if reading.cut.is_some() {
            *point = theirs.then(transaction.len(), transaction.bytes());
            return Ok(());
        }
        // Two logs that are the same up to here, and go on in the same way, are hashed once.
        let is_same = theirs == intake.end;
        let taken = match self.bearer(session) {
            None => intake.take(&transaction, session, view)?,
            Some(bearer) => own.take_judged(now, intake, &transaction, bearer, view)?,
        };
        *point = match taken {
            Taken::New { .. } if is_same => intake.end,
            _ => theirs.then(transaction.len(), transaction.bytes()),
        };
        match taken {
            Taken::Aside { bytes } => reading.refused += bytes,
            Taken::Forged => reading.forged = Some(transaction.stamp().author),
            Taken::Parked => reading.parked += transaction.bytes().len(),
            _ => {}
        }
        reading.bound();
        reading.runs.push((taken, transaction, theirs.offset));
        Ok(())
    }

    /// Sets aside what this version cannot read.
    fn read_unread(
        &self,
        now: Now,
        reading: &mut Reading,
        unread: Unread,
        session: SessionId,
        own: &Own,
        view: &impl View,
    ) -> Result<(), Fault> {
        reading.point = reading.point.then(unread.scribes, &unread.bytes);
        if reading.cut.is_some() {
            return Ok(());
        }
        let bearer = self.bearer(session);
        let author = unread.stamp()?.author;
        if bearer.is_some_and(|bearer| !own.may_bring(bearer, author)) {
            reading.forged = Some(author);
            return Ok(());
        }
        reading.parked += unread.bytes.len();
        let parked = Parked {
            transaction: unread.bytes,
            bearer: self.peer,
            principal: self.principal.as_deref().cloned(),
            since_ms: now.wall_ms,
            reason: format!("this version cannot play it: {}", Malformed::Limit(unread.reason)),
        };
        reading.intake.park(parked, view)?;
        reading.bound();
        Ok(())
    }

    /// Who brings what comes, if the node limits what that may be.
    fn bearer(&self, session: SessionId) -> Option<Bearer<'_>> {
        let principal = self.principal.as_deref()?;
        let (peer, is_view) = (self.peer, self.is_view());
        Some(Bearer { session, peer, principal, is_view })
    }
}

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
