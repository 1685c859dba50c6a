//! What drives an engine: handle, apply, send, tell, and flush once in a while.
//!
//! The plug may be pulled between any two of these steps.

use std::collections::VecDeque;

use bytes::Bytes;
use syncro_core::limits::{FRAME_BYTES_MAX, LADDER_RUNGS_MAX, SEND_BUFFER_BYTES};
use syncro_core::{Effects, Error, Event, Input, SessionId, Store, StoreError};

use crate::disk::Disk;

use super::{A, End, Failure, Law, Link, Sight, TestNode, World, wire};

/// What a ping or a goodbye takes at most.
const SHORT_BYTES: usize = 400;

/// What a whole ladder takes at most.
const LADDER_BYTES: usize = LADDER_RUNGS_MAX * 100;

/// A crash that is going to happen between two steps of a driver.
#[derive(Clone, Copy, Debug)]
pub struct Fuse {
    /// How many steps the driver still does.
    pub steps: usize,
    /// How many commits survive without having been flushed.
    pub kept: usize,
    /// Where what is under way from the node breaks off, as for [`World::cut_at`].
    pub bytes: usize,
}

/// Whether a message may wait for room with so much that does already, itself included. One that pings or says goodbye
/// does not wait for room, nor does the ladder by which a session begins: a peer may ask for the whole of it once.
pub(super) fn check_room(queued: usize, frame: &Bytes) -> Result<(), Failure> {
    let bytes = frame.len();
    let may_wait = queued.saturating_sub(bytes) < SEND_BUFFER_BYTES || bytes <= SHORT_BYTES;
    if may_wait || bytes <= LADDER_BYTES && wire::kind(frame) == "sync" {
        return Ok(());
    }
    Err(Law::Bounds.broken(format!("{queued} bytes wait for a reader that does not read")))
}

impl World {
    /// Gives a node an input that must not fail, and everything that follows of itself.
    pub fn input(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        self.try_input(node, input)?.map_err(|error| {
            Law::Blame.broken(format!("node {node} blames its host for a peer's doing: {error}"))
        })
    }

    /// Gives a node an input, and everything that follows of itself.
    pub fn try_input(&mut self, node: usize, input: Input) -> Result<Result<(), Error>, Failure> {
        self.check_events()?;
        let now = self.now(node);
        self.note_input(node, &input);
        let is_tick = matches!(input, Input::Tick);
        let is_own = matches!(input, Input::Propose(_));
        // A hub of classic peers does not look away.
        let may_look_away = node != A || self.watched.is_none();
        let sight = self.nodes[node].look_up_or_away(may_look_away)?;
        self.seen.extend(sight);
        let TestNode { engine, store, .. } = &mut self.nodes[node];
        let effects = match engine.handle(now, input, store) {
            Ok(effects) => effects,
            Err(error) => return Ok(Err(error)),
        };
        if is_tick && effects.wake_at.is_some_and(|at| at <= now.monotonic_ms) {
            let detail = format!("node {node} wants a tick at once after a tick");
            return Err(Law::Rest.broken(detail));
        }
        let mut rooms = self.carry_out(node, effects, is_own)?;
        while let Some(session) = rooms.pop_front() {
            self.check_events()?;
            let now = self.now(node);
            let TestNode { engine, store, .. } = &mut self.nodes[node];
            let effects = engine.handle(now, Input::Room { session }, store);
            let effects = effects.map_err(|error| Law::Blame.broken(error.to_string()))?;
            rooms.extend(self.carry_out(node, effects, false)?);
        }
        Ok(Ok(()))
    }

    fn note_input(&mut self, node: usize, input: &Input) {
        let trace = &mut self.trace;
        match input {
            Input::Receive { session, frame } => trace.note_more(
                format_args!("  {node} receives {} bytes in {}", frame.len(), session.0),
                || Some(wire::kind(frame)),
            ),
            Input::Open { session, .. } => {
                trace.note(format_args!("  {node} opens {}", session.0));
            }
            Input::Lost { session } => trace.note(format_args!("  {node} loses {}", session.0)),
            Input::Close { session, .. } => {
                trace.note(format_args!("  {node} closes {}", session.0));
            }
            Input::Room { session } => {
                trace.note(format_args!("  {node} has room in {}", session.0))
            }
            Input::Synced { through } => trace.note(format_args!("  {node} hears of {through}")),
            Input::Propose(_) => trace.note(format_args!("  {node} writes")),
            Input::Tick => {
                let now_ms = self.now_ms;
                trace.note(format_args!("  {node} wakes at {now_ms}"));
            }
            other => trace.note(format_args!("  {node}: {other:?}")),
        }
    }

    /// Carries effects out in their order. Returns the sessions whose transport has room again.
    pub fn carry_out(
        &mut self,
        node: usize,
        effects: Effects,
        is_own: bool,
    ) -> Result<VecDeque<SessionId>, Failure> {
        let Effects { commit, sends, closes, events, wake_at } = effects;
        let mut rooms = VecDeque::new();
        if let Some(commit) = commit {
            if self.burn(node, Sight::CrashBeforeApply)? {
                return Ok(VecDeque::new());
            }
            let applied = self.nodes[node].store.apply(&commit);
            self.trace.note(format_args!("  {node} applies {:?}", commit.own.end));
            if let Err(error) = applied {
                self.fail_over(node, error)?;
                return Ok(VecDeque::new());
            }
            self.check_commit(node, &commit, is_own)?;
            self.check_memory(node, &commit)?;
            self.nodes[node].unsynced.push(commit);
            if self.burn(node, Sight::CrashBeforeSend)? {
                return Ok(VecDeque::new());
            }
        }
        self.note_came(node, &events);
        let mut left = sends.len();
        for (session, frame) in sends {
            if self.send(node, session, frame)? && !rooms.contains(&session) {
                rooms.push_back(session);
            }
            left -= 1;
            let sight = if left > 0 { Sight::CrashBetweenSends } else { Sight::CrashAfterSends };
            if self.burn(node, sight)? {
                return Ok(VecDeque::new());
            }
        }
        for (session, reason) in closes {
            self.close_intruder(node, session, reason)?;
            self.end_of(node, session, |link, side| link.hang_up(side));
        }
        self.check_clock(node, &events)?;
        for event in events {
            self.check_event(node, &event)?;
            if let Event::Changed(changed) = &event
                && !self.is_hostile
            {
                let it = &mut self.nodes[node];
                if !it.looks_away
                    && let Some(saved) = it.watch.see(changed, &it.log)?
                {
                    it.saved = saved;
                }
            }
            self.note_watched(node, &event);
            self.seen.extend(Sight::of(&event));
            self.nodes[node].events.push(event);
        }
        let it = &mut self.nodes[node];
        it.wake_at = wake_at.map(|at| it.when(at));
        Ok(rooms)
    }

    /// Puts a message on its link. Returns whether the transport took it.
    fn send(&mut self, node: usize, session: SessionId, frame: Bytes) -> Result<bool, Failure> {
        let bytes = frame.len();
        let line = format_args!("  {node} says {bytes} bytes in {}", session.0);
        self.trace.note_more(line, || Some(wire::kind(&frame)));
        self.trace.note_bytes(&frame);
        self.check_echo(node, session, &frame)?;
        if bytes > FRAME_BYTES_MAX {
            return Err(Law::Bounds.broken(format!("a frame of {bytes} bytes")));
        }
        if let Some(took) = self.send_to_intruder(node, session, &frame)? {
            return Ok(took);
        }
        let place = self.end_of(node, session, |link, side| {
            let took = link.send(side, frame.clone());
            (took, link.ends[side].queued)
        });
        let Some((took, queued)) = place else { return Ok(false) };
        check_room(queued, &frame)?;
        if queued >= SEND_BUFFER_BYTES {
            self.seen.insert(Sight::FullBuffer);
        }
        Ok(took)
    }

    /// The number of the link of a session, and the node's side of it, while that is open.
    fn number_of(&self, node: usize, session: SessionId) -> Option<(usize, usize)> {
        let is_it = |end: &End| end.is_open && end.node == node && end.session == session;
        let sides = self.links.iter().map(|link| link.ends.iter().position(is_it)).enumerate();
        sides.filter_map(|(link, side)| Some((link, side?))).next()
    }

    /// The link of a session and the node's side of it, while that is open.
    pub(crate) fn place_of(&self, node: usize, session: SessionId) -> Option<(&Link, usize)> {
        let (link, side) = self.number_of(node, session)?;
        Some((&self.links[link], side))
    }

    /// Changes the link of a session and the node's side of it, while that is open.
    pub(crate) fn end_of<T>(
        &mut self,
        node: usize,
        session: SessionId,
        then: impl FnOnce(&mut Link, usize) -> T,
    ) -> Option<T> {
        let (link, side) = self.number_of(node, session)?;
        Some(then(&mut self.links[link], side))
    }

    /// A peer was let in: what it has now the node will have when it has caught up.
    pub(crate) fn note_opened(&mut self, node: usize, session: SessionId) {
        let Some((link, side)) = self.place_of(node, session) else { return };
        let peer = link.ends[1 - side].node;
        let end = self.nodes.get(peer).map_or(0, |peer| peer.log.end().offset);
        self.end_of(node, session, |link, side| link.ends[side].peer_end = end);
    }

    /// Flushes a node's store, and says so to its engine; of a flush before, it hears first.
    pub fn sync(&mut self, node: usize) -> Result<(), Failure> {
        self.hear(node)?;
        self.flush(node)?;
        self.hear(node)
    }

    /// A store that fails is given up, and opened again on what its disk holds.
    fn fail_over(&mut self, node: usize, error: StoreError) -> Result<(), Failure> {
        if !self.nodes[node].is_disk_bad {
            return Err(error.into());
        }
        self.trace.note(format_args!("  {node} stops: {error}"));
        let it = &self.nodes[node];
        self.seen.insert(match &it.disk {
            Disk::Batches(_) => Sight::StoreFails,
            Disk::Blocks(disk) if disk.has_failed_sync() => Sight::SyncFails,
            Disk::Blocks(_) => Sight::SectorsFail,
        });
        self.crash(node, 0)
    }

    /// Flushes a node's store. More may be applied before its engine [hears](Self::hear) of it.
    pub fn flush(&mut self, node: usize) -> Result<(), Failure> {
        self.trace.note(format_args!("  {node} flushes"));
        match self.nodes[node].flush() {
            Ok(()) => {
                let it = &self.nodes[node];
                let sight = match &it.disk {
                    Disk::Batches(_) => Sight::FullDisk,
                    Disk::Blocks(_) => Sight::FullSectors,
                };
                self.seen.extend(it.is_full.then_some(sight));
                Ok(())
            }
            Err(error) => self.fail_over(node, error),
        }
    }

    /// Tells an engine of the flush before.
    pub fn hear(&mut self, node: usize) -> Result<(), Failure> {
        let Some(through) = self.nodes[node].flushed.take() else { return Ok(()) };
        if self.burn(node, Sight::CrashBeforeSynced)? {
            return Ok(());
        }
        if !self.nodes[node].unsynced.is_empty() {
            self.seen.insert(Sight::SyncedLate);
        }
        self.input(node, Input::Synced { through })
    }

    /// A step of a driver is done. Returns whether the plug was pulled after it.
    fn burn(&mut self, node: usize, sight: Sight) -> Result<bool, Failure> {
        let Some(fuse) = &mut self.nodes[node].fuse else { return Ok(false) };
        if fuse.steps > 0 {
            fuse.steps -= 1;
            return Ok(false);
        }
        let Fuse { kept, bytes, .. } = *fuse;
        self.seen.insert(sight);
        self.crash_at(node, kept, bytes)?;
        Ok(true)
    }
}
