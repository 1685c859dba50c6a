//! Taking in a bundle: one side of a session that a peer has written down, without anybody to answer to.

use bytes::Bytes;

use super::{Fault, Open, Phase, Session};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::engine::{Effects, Event, Own};
use crate::message::{Bundle, Item, Message, Scribes};
use crate::stamp::Now;
use crate::store::View;

/// How far a bundle was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Import {
    start: Point,
    end: Point,
    /// Whether it was made for this node, so that what it says of this node's log is meant for it.
    is_mine: bool,
    /// Whether it has said what of this node's log its maker has.
    has_asked: bool,
    /// Whether a piece of the peer's log has come.
    has_scribes: bool,
    is_over: bool,
    /// Scribes by which this node's log has grown.
    scribes: u64,
}

impl Import {
    /// Where the bundle ends in the peer's log.
    pub(super) fn end(&self) -> u64 {
        self.end.offset
    }
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
        let session = self.outbox.session;
        match (message, &mut self.phase, &mut self.import) {
            (Message::Bundle(Bundle { peer, start, end }), Phase::Greeting { .. }, None) => {
                let is_mine = peer == own.author().node;
                let import = Import { start, end, is_mine, ..Import::default() };
                self.import = Some(import);
            }
            (Message::Hello(hello), Phase::Greeting { .. }, Some(_)) => {
                let encoding = self.outbox.encoding;
                self.on_hello(now, hello, encoding, own, view, effects)?;
            }
            (Message::Sync { ladder }, Phase::Open(open), Some(import)) if !import.has_asked => {
                import.has_asked = true;
                if ladder.is_empty() {
                    open.pull.note_view();
                    return Ok(());
                }
                open.may_sync()?;
                if import.is_mine {
                    let at = open.push.resume_at(ladder, own, view)?;
                    let peer = open.peer;
                    let is_news = open.push.know(at);
                    open.push.note(own.peer_row(peer));
                    if is_news {
                        effects.events.push(Event::Receipt { session, peer, offset: at.offset });
                    }
                }
            }
            (Message::Scribes(mut scribes), Phase::Open(open), Some(import))
                if import.has_asked && !import.is_over =>
            {
                import.has_scribes = true;
                if open.resume_within(&mut scribes, own, view)? {
                    let before = own.end().offset;
                    let taken =
                        open.on_scribes(now, scribes, frame.len(), session, own, view, effects);
                    import.scribes += own.end().offset - before;
                    taken?;
                }
            }
            (Message::Bye { reason: CloseReason::Done, .. }, Phase::Open(open), Some(import))
                if import.has_asked && !import.is_over =>
            {
                let reached = open.pull.reached();
                let is_whole = match reached {
                    Some(at) => at == import.end,
                    // A request, or one that left a gap.
                    None => import.has_scribes || import.start == import.end,
                };
                if !is_whole {
                    return Err(Fault::peer(CloseReason::Gap));
                }
                import.is_over = true;
                let has_gap = import.has_scribes && reached.is_none();
                effects.events.push(Event::Imported {
                    session,
                    peer: open.peer,
                    name: open.name.clone(),
                    scribes: import.scribes,
                    gap: has_gap.then_some(import.start),
                });
            }
            _ => return Err(Fault::peer(CloseReason::Unexpected)),
        }
        Ok(())
    }
}

impl Open {
    /// Leaves out of a message what comes before the last point in it that is known to be held, and resumes there. A
    /// bundle begins where the peer thought that this node was, and may be imported for the second time. Returns whether
    /// the message goes on from what is held.
    fn resume_within(
        &mut self,
        scribes: &mut Scribes,
        own: &Own,
        view: &impl View,
    ) -> Result<bool, Fault> {
        let mut point = scribes.from;
        // What this node has named last may be where the two logs begin in the same way.
        let is_known =
            self.pull.is_known(point) || self.pull.reached().is_none() && own.has(point, view)?;
        #[cfg(all(feature = "planted", debug_assertions))]
        let is_known = is_known || crate::planted::is_planted(crate::planted::Planted::GapIgnored);
        let mut known = is_known.then_some((0, point));
        for (place, item) in scribes.items.iter().enumerate() {
            point = match item {
                Item::Transaction(transaction, _) => {
                    point.then(transaction.len(), transaction.bytes())
                }
                Item::Unread(unread) => point.then(unread.scribes, &unread.bytes),
                Item::Skip { scribes, digest } => {
                    Point { offset: point.offset.saturating_add(*scribes), digest: *digest }
                }
                // It says what has come in the same session, of which there is none.
                Item::Echo { .. } => return Err(Fault::peer(CloseReason::Unexpected)),
            };
            if self.pull.is_known(point) {
                known = Some((place + 1, point));
            }
        }
        if point != scribes.to {
            return Err(Fault::peer(CloseReason::Digest));
        }
        match known {
            Some((before, from)) => {
                scribes.items.drain(..before);
                scribes.from = from;
                self.pull.resume(from);
                Ok(true)
            }
            // What follows on a gap is for another time.
            None => Ok(self.pull.reached() == Some(scribes.from)),
        }
    }
}
