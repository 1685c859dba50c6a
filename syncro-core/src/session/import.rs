//! Taking in a bundle: one side of a session that a peer has written down, without anybody to answer to.

use bytes::Bytes;

use super::{Fault, Open, Phase, Session};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::engine::{Effects, Event, Own, SessionId};
use crate::message::{Bundle, Item, Message, Piece};
use crate::principal::Access;
use crate::stamp::Now;
use crate::store::{Held, StoreError, View};

/// How far a bundle was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Import {
    /// What it says of itself, once it has.
    head: Option<Bundle>,
    /// Where the next piece of the peer's log begins.
    at: Point,
    /// Up to where the peer holds this node's log, if that is what it was asked.
    said: Option<Point>,
    has_asked: bool,
    has_scribes: bool,
    /// Whether something was passed over that is not here.
    is_missing: bool,
    is_over: bool,
}

impl Session {
    /// Takes the next message of a bundle.
    pub(super) fn on_bundled(
        &mut self,
        now: Now,
        message: Message,
        frame: &Bytes,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let Some(import) = &mut self.import else { return Err(unexpected()) };
        let session = self.outbox.session;
        match (message, &mut self.phase, &import.head) {
            (Message::Bundle(bundle), Phase::Greeting { .. }, None) => {
                import.at = bundle.start;
                import.head = Some(bundle);
            }
            (Message::Hello(hello), Phase::Greeting { .. }, Some(_)) => {
                if hello.node == own.author().node && own.permissions().is_some() {
                    let detail =
                        "it is this node's own, and a node with rules lets nobody be itself";
                    let (reason, detail) = (CloseReason::Denied, detail.to_owned());
                    return Err(Fault::Peer { reason, detail });
                }
                let encoding = self.outbox.encoding;
                self.on_hello(now, hello, encoding, own, view, effects)?;
            }
            (Message::Sync { ladder, has_more: false }, Phase::Open(open), Some(head))
                if !import.has_asked =>
            {
                let is_mine = head.peer == own.author().node;
                if ladder.is_empty() {
                    open.pull.note_view();
                } else {
                    open.may_sync()?;
                    if is_mine {
                        import.said = open.push.resume_at(ladder, false, own, view)?;
                    }
                }
                import.has_asked = true;
                if let Some(said) = import.said.filter(|said| open.push.know(*said)) {
                    let (peer, offset) = (open.peer, said.offset);
                    open.push.note(own.peer_row(peer));
                    effects.events.push(Event::Receipt { session, peer, offset });
                }
            }
            (Message::Scribes(scribes), Phase::Open(open), Some(_))
                if import.has_asked && !import.is_over =>
            {
                let piece = scribes.read(import.at);
                let to = piece.to;
                if piece.from != import.at {
                    return Err(Fault::peer(CloseReason::Gap));
                }
                import.has_scribes = true;
                if open.take_piece(now, piece, frame, import, session, own, view, effects)? {
                    import.at = to;
                } else {
                    effects.events.push(Event::Again { session });
                }
            }
            (Message::Bye { reason: CloseReason::Done, .. }, Phase::Open(open), Some(head))
                if import.has_asked && !import.is_over =>
            {
                if import.at != head.end {
                    return Err(Fault::peer(CloseReason::Gap));
                }
                import.is_over = true;
                // Only a request takes word back: a bundle may be old.
                if let Some(said) = import.said.filter(|_| !import.has_scribes) {
                    open.push.ask(said);
                    open.push.note(own.peer_row(open.peer));
                }
                // One that is older than what is here may begin where no rung is left.
                let row = own.peer_row(open.peer);
                let mut rungs = row.ladder.rungs().iter();
                let is_old = rungs.any(|rung| rung.point.offset >= head.end.offset);
                let gap = import.has_scribes
                    && open.pull.reached().is_none()
                    && (import.is_missing || !is_old);
                effects.events.push(Event::Imported {
                    session,
                    peer: open.peer,
                    name: open.name.clone(),
                    gap: gap.then_some(head.start),
                });
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }
}

fn unexpected() -> Fault {
    Fault::peer(CloseReason::Unexpected)
}

impl Open {
    /// Takes what is new in a piece of the peer's log, or passes it over. Returns whether that is all of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only name it twice"
    )]
    fn take_piece(
        &mut self,
        now: Now,
        mut piece: Piece,
        frame: &Bytes,
        import: &mut Import,
        session: SessionId,
        own: &mut Own,
        view: &impl View,
        effects: &mut Effects,
    ) -> Result<bool, Fault> {
        if !self.resume_within(&mut piece, own, view)? {
            import.is_missing = import.is_missing || is_missing(&piece.items, view)?;
            return Ok(true);
        }
        let before = own.end();
        match self.on_scribes(now, piece, frame.len(), session, own, view, effects) {
            // What was taken is a part of it, and is known when it comes again.
            Err(Fault::Peer { reason: CloseReason::Flow, .. }) if own.end() != before => Ok(false),
            taken => taken.map(|()| true),
        }
    }

    /// Leaves out of a piece what comes before the last point in it that is known to be held, and resumes there: a bundle
    /// begins where the peer thought that this node was, and may come for the second time. Returns whether the piece goes
    /// on from what is held.
    fn resume_within(
        &mut self,
        piece: &mut Piece,
        own: &mut Own,
        view: &impl View,
    ) -> Result<bool, Fault> {
        // As it is now: there may be a session beside.
        let end = own.end();
        let mut held = own.peer_row(self.peer).ladder.offer(Some(end));
        held.reverse();
        let is_held = |point: Point| point == Point::START || held.binary_search(&point).is_ok();
        let mut point = piece.from;
        // What this node has named last may be where the two logs begin in the same way.
        let is_known = is_held(point) || self.pull.reached().is_none() && own.has(point, view)?;
        #[cfg(all(feature = "planted", debug_assertions))]
        let is_known = is_known || crate::planted::is_planted(crate::planted::Planted::GapIgnored);
        let mut known = is_known.then_some((0, point));
        let may_skip = self.pull.is_of_view();
        for (place, item) in piece.items.iter().enumerate() {
            point = match item {
                Item::Transaction(transaction) => {
                    point.then(transaction.len(), transaction.bytes())
                }
                Item::Unread(unread) => point.then(unread.scribes, &unread.bytes),
                // Only a view has been shown anything.
                Item::Skip { scribes, digest } if may_skip => {
                    Point { offset: point.offset.saturating_add(*scribes), digest: *digest }
                }
                // An echo is of what has come in the same session, of which there is none.
                Item::Skip { .. } | Item::Echo { .. } => return Err(unexpected()),
            };
            if is_held(point) {
                known = Some((place + 1, point));
            }
        }
        if point != piece.to {
            return Err(Fault::peer(CloseReason::Digest));
        }
        match known {
            Some((before, from)) => {
                piece.items.drain(..before);
                piece.from = from;
                self.pull.resume();
                Ok(true)
            }
            None => Ok(self.pull.reached() == Some(piece.from)),
        }
    }

    /// Whether what the peer brings has gone nowhere else. A bundle of a view that may see everything may have.
    pub(super) fn is_view(&self) -> bool {
        let sees_all = self.principal.as_ref().is_none_or(|it| it.read == Access::All);
        self.feed.is_some() || self.pull.is_of_view() && !sees_all
    }
}

/// Whether something of what is passed over is not here.
fn is_missing(items: &[Item], view: &impl View) -> Result<bool, StoreError> {
    for item in items {
        let is_here = match item {
            Item::Transaction(transaction) => {
                matches!(view.held(transaction)?, Held::Same { .. })
            }
            Item::Unread(_) => false,
            Item::Skip { .. } | Item::Echo { .. } => true,
        };
        if !is_here {
            return Ok(true);
        }
    }
    Ok(false)
}
