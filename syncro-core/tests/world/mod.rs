//! A deterministic world: nodes, disks, links and clocks, moved one step at a time.
//!
//! The driver follows the engine's contract to the letter and checks as it goes what must hold at every
//! moment; `check.rs` has what must hold once the world is at rest.

pub(crate) mod check;
mod failure;
mod life;
mod link;
mod node;
mod pair;
mod stranger;
pub(crate) mod wire;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use syncro_core::limits::{ECHO_DELAY_MS, FRAME_BYTES_MAX, SEND_BUFFER_BYTES};
use syncro_core::{
    Author, CloseReason, Effects, Encoding, Error, Event, Input, Now, Point, Role, SessionId, Store,
};

pub(crate) use failure::{Failure, Law};
pub(crate) use link::{End, Link, Piece};
pub(crate) use node::TestNode;
pub(crate) use pair::{A, B, Pair};
pub(crate) use stranger::{STRANGER, Stranger};
pub(crate) use write::{Write, name, note, tally};

/// Where wall clocks start: some day in 2024.
pub(crate) const WALL_MS: u64 = 1_710_000_000_000;

/// More messages than any world of these tests has to say before it is at rest.
const MESSAGES_MAX: usize = 50_000;

/// What happened in a world so far, seen from outside of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every transaction that somebody proposed.
    pub(crate) proposed: HashSet<Bytes>,
    /// By the point after it: the point before a transaction in some log, and the transaction.
    pub(crate) steps: HashMap<Point, (Point, Bytes)>,
    /// The raises of tallies, by transaction.
    pub(crate) raises: HashMap<Bytes, i64>,
    /// Authors that a snapshot clone made two engines of.
    pub(crate) shared: HashSet<Author>,
}

/// How long a machine had been up when the world began: no two for equally long, nor do clones count alike.
pub(crate) fn uptime_ms(node: usize) -> u64 {
    10_000_000 * node as u64
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) links: Vec<Link>,
    pub(crate) ledger: Ledger,
    /// Whether sync points and receipts are compared at once with what they cover. Off, a bug has to show
    /// in what becomes of the records and logs.
    pub(crate) is_strict: bool,
    /// Whether sessions of this world may end by a peer's offence: only where somebody is hostile.
    pub(crate) is_hostile: bool,
    pub(crate) now_ms: u64,
    opens: u64,
    last_session: u64,
}

impl World {
    pub(crate) fn new(nodes: usize) -> Result<Self, Failure> {
        let mut world = Self {
            nodes: Vec::new(),
            links: Vec::new(),
            ledger: Ledger::default(),
            is_strict: true,
            is_hostile: false,
            now_ms: 1_000,
            opens: 0,
            last_session: 0,
        };
        for number in 0..nodes {
            world.add_node(&format!("node {number}"))?;
        }
        Ok(world)
    }

    /// The two clocks of a node.
    pub(crate) fn now(&self, node: usize) -> Now {
        let TestNode { skew_ms, uptime_ms, .. } = self.nodes[node];
        self.clocks(skew_ms, uptime_ms)
    }

    fn clocks(&self, skew_ms: i64, uptime_ms: u64) -> Now {
        Now {
            wall_ms: (WALL_MS + self.now_ms).saturating_add_signed(skew_ms),
            monotonic_ms: self.now_ms + uptime_ms,
        }
    }

    /// Gives a node an input that must not fail, and everything that follows of itself.
    pub(crate) fn input(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        self.try_input(node, input)?.map_err(|error| {
            Law::Blame.broken(format!("node {node} blames its host for a peer's doing: {error}"))
        })
    }

    /// Gives a node an input, and everything that follows of itself.
    pub(crate) fn try_input(
        &mut self,
        node: usize,
        input: Input,
    ) -> Result<Result<(), Error>, Failure> {
        let now = self.now(node);
        let is_tick = matches!(input, Input::Tick);
        let is_own = matches!(input, Input::Propose(_));
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
            let now = self.now(node);
            let TestNode { engine, store, .. } = &mut self.nodes[node];
            let effects = engine.handle(now, Input::Room { session }, store);
            let effects = effects.map_err(|error| Law::Blame.broken(error.to_string()))?;
            rooms.extend(self.carry_out(node, effects, false)?);
        }
        Ok(Ok(()))
    }

    /// Carries effects out in their order. Returns the sessions whose transport has room again.
    pub(crate) fn carry_out(
        &mut self,
        node: usize,
        effects: Effects,
        is_own: bool,
    ) -> Result<VecDeque<SessionId>, Failure> {
        let Effects { commit, sends, closes, events, wake_at } = effects;
        if let Some(commit) = commit {
            let applied = self.nodes[node].store.apply(&commit);
            applied.map_err(|error| Law::Blame.broken(error.to_string()))?;
            self.check_commit(node, &commit, is_own)?;
            self.nodes[node].unsynced.push(commit);
        }
        let mut rooms = VecDeque::new();
        for (session, frame) in sends {
            if self.send(node, session, frame)? && !rooms.contains(&session) {
                rooms.push_back(session);
            }
        }
        for (session, _) in closes {
            self.end_of(node, session, |link, side| link.hang_up(side));
        }
        for event in events {
            self.check_event(node, &event)?;
            self.nodes[node].events.push(event);
        }
        let it = &mut self.nodes[node];
        it.wake_at = wake_at.map(|at| at.saturating_sub(it.uptime_ms));
        Ok(rooms)
    }

    /// Puts a frame on its link. Returns whether the transport took it.
    fn send(&mut self, node: usize, session: SessionId, frame: Bytes) -> Result<bool, Failure> {
        let bytes = frame.len();
        if bytes > FRAME_BYTES_MAX {
            return Err(Law::Bounds.broken(format!("a frame of {bytes} bytes")));
        }
        let place = self.end_of(node, session, |link, side| {
            let took = link.send(side, frame);
            (took, link.ends[side].queued)
        });
        let Some((took, queued)) = place else { return Ok(false) };
        if queued > SEND_BUFFER_BYTES + FRAME_BYTES_MAX {
            let detail = format!("{queued} bytes wait for a reader that does not read");
            return Err(Law::Bounds.broken(detail));
        }
        Ok(took)
    }

    /// Finds the end of a link by node and session, while it is open.
    fn end_of<T>(
        &mut self,
        node: usize,
        session: SessionId,
        then: impl FnOnce(&mut Link, usize) -> T,
    ) -> Option<T> {
        for link in &mut self.links {
            for side in 0..2 {
                let end = &link.ends[side];
                if end.is_open && end.node == node && end.session == session {
                    return Some(then(link, side));
                }
            }
        }
        None
    }

    /// Connects two nodes, and returns the number of the link.
    pub(crate) fn connect(
        &mut self,
        a: usize,
        b: usize,
        encoding: Encoding,
    ) -> Result<usize, Failure> {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.connect_as([(a, session), (b, session)], encoding)
    }

    /// Connects two nodes, the first of which dials, in sessions of the numbers given.
    pub(crate) fn connect_as(
        &mut self,
        ends: [(usize, SessionId); 2],
        encoding: Encoding,
    ) -> Result<usize, Failure> {
        self.links.push(Link::new(ends.map(|(node, session)| End::new(node, session))));
        let [(a, dialled), (b, session)] = ends;
        self.input(b, Input::Open { session, role: Role::Accept })?;
        self.input(a, Input::Open { session: dialled, role: Role::Dial(encoding) })?;
        Ok(self.links.len() - 1)
    }

    /// Delivers the oldest message under way to one side of a link. Returns whether there was one.
    pub(crate) fn deliver(&mut self, link: usize, side: usize) -> Result<bool, Failure> {
        let end = &mut self.links[link].ends[side];
        if end.node == STRANGER {
            return Ok(false);
        }
        let Some(piece) = end.inbox.pop_front() else { return Ok(false) };
        let (node, session) = (end.node, end.session);
        if !end.is_open {
            return Ok(true);
        }
        match piece {
            Piece::Message(frame) => self.input(node, Input::Receive { session, frame })?,
            Piece::End => {
                end.is_open = false;
                self.input(node, Input::Lost { session })?;
            }
        }
        Ok(true)
    }

    /// Breaks a link: what is under way is gone, and both sides notice.
    pub(crate) fn cut(&mut self, link: usize) -> Result<(), Failure> {
        self.sever(link, 0)?;
        self.sever(link, 1)
    }

    /// Breaks a link, but only one side notices; the other finds out by its clock.
    pub(crate) fn sever(&mut self, link: usize, side: usize) -> Result<(), Failure> {
        let link = &mut self.links[link];
        link.is_broken = true;
        link.ends.iter_mut().for_each(|end| end.inbox.clear());
        let end = &mut link.ends[side];
        if std::mem::take(&mut end.is_open) && end.node != STRANGER {
            let (node, session) = (end.node, end.session);
            self.input(node, Input::Lost { session })?;
        }
        Ok(())
    }

    pub(crate) fn cut_all(&mut self) -> Result<(), Failure> {
        for link in 0..self.links.len() {
            self.cut(link)?;
        }
        self.links.clear();
        Ok(())
    }

    /// A host ends a session.
    pub(crate) fn hang_up(&mut self, link: usize, side: usize) -> Result<(), Failure> {
        let end = &self.links[link].ends[side];
        let (node, session) = (end.node, end.session);
        self.input(node, Input::Close { session, reason: CloseReason::Done })
    }

    /// Lets the transport of one side take nothing, or everything that it left.
    pub(crate) fn stall(
        &mut self,
        link: usize,
        side: usize,
        is_stalled: bool,
    ) -> Result<(), Failure> {
        let end = &mut self.links[link].ends[side];
        end.is_stalled = is_stalled;
        let (node, session) = (end.node, end.session);
        if is_stalled || !end.is_open || std::mem::take(&mut end.queued) == 0 {
            return Ok(());
        }
        self.input(node, Input::Room { session })
    }

    /// Flushes a node's store, and says so to its engine.
    pub(crate) fn sync(&mut self, node: usize) -> Result<(), Failure> {
        let Some(through) = self.nodes[node].sync()? else { return Ok(()) };
        self.input(node, Input::Synced { through })
    }

    /// Lets time pass; engines are woken when they asked for it.
    pub(crate) fn advance(&mut self, ms: u64) -> Result<(), Failure> {
        let until = self.now_ms + ms;
        loop {
            let due = self.nodes.iter().enumerate();
            let due = due.filter_map(|(node, it)| Some((it.wake_at?, node))).min();
            let Some((at, node)) = due.filter(|(at, _)| *at <= until) else { break };
            self.now_ms = self.now_ms.max(at);
            self.input(node, Input::Tick)?;
        }
        self.now_ms = until;
        Ok(())
    }

    /// Delivers, flushes and waits until nobody has anything to say.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let mut messages = 0;
        loop {
            while self.deliver_round()? {
                messages += 1;
                if messages > MESSAGES_MAX {
                    let detail = format!("{messages} messages, and no end of it");
                    return Err(Law::Rest.broken(detail));
                }
            }
            let unsynced = |node: &TestNode| !node.unsynced.is_empty();
            if self.nodes.iter().any(unsynced) {
                for node in 0..self.nodes.len() {
                    self.sync(node)?;
                }
                continue;
            }
            self.advance(ECHO_DELAY_MS)?;
            let is_busy = |link: &Link| link.ends.iter().any(|end| !end.inbox.is_empty());
            if !self.links.iter().any(is_busy) && !self.nodes.iter().any(unsynced) {
                return Ok(());
            }
        }
    }

    /// One message to each side of each link. Returns whether there was any.
    fn deliver_round(&mut self) -> Result<bool, Failure> {
        let mut is_any = false;
        for link in 0..self.links.len() {
            is_any |= self.deliver(link, 0)? | self.deliver(link, 1)?;
        }
        Ok(is_any)
    }

    /// The events of a node since they were last taken.
    pub(crate) fn take_events(&mut self, node: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[node].events)
    }
}
