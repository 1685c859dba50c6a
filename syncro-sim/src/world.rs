//! A deterministic world: nodes, disks, links and clocks, moved one step at a time.
//!
//! `driver.rs` follows the engine's contract to the letter and checks as it goes what must hold at every
//! moment; `check.rs` has what that is, and what must hold once the world is at rest.

mod bundle;
mod check;
mod classic;
mod driver;
mod failure;
mod intruder;
mod life;
mod link;
mod look;
mod node;
mod pair;
mod sight;
mod stranger;
mod stream;
mod town;
mod trace;
mod watch;
pub mod wire;
mod write;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::Demand;
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use syncro_core::limits::ECHO_DELAY_MS;
use syncro_core::{
    Author, Changed, CloseReason, Encoding, Event, Input, NodeId, Now, Point, Role, SessionId,
    Stamp,
};

pub use bundle::{Read, Written};
pub use check::{Topology, at, states};
pub(crate) use check::{check_records, records};
pub use classic::ClassicOp;
pub use driver::Fuse;
pub use failure::{Failure, Law};
pub use intruder::Abuse;
pub use life::Machine;
pub use link::{End, Link};
pub use node::TestNode;
pub use pair::{A, B, Pair};
pub use sight::Sight;
pub use stranger::{STRANGER, Stranger};
pub use stream::Piece;
use town::Rules;
pub use town::{Cast, Change, memo};
pub use trace::Trace;
pub use watch::Watch;
pub use write::{Listed, Write, name, note, tally};

/// Where wall clocks start: some day in 2024.
pub const WALL_MS: u64 = 1_710_000_000_000;

/// Rounds within which a world that has healed is at rest. In each, all that is under way arrives: a session begins
/// with two, catching up takes one and its acknowledgement another, and there are five links at most from one end to
/// the other, along which all of it goes at once.
const ROUNDS_MAX: usize = 32;

/// More messages than any world of these tests has to say before it is at rest.
const MESSAGES_MAX: usize = 50_000;

/// What is known of transactions, by their bytes.
pub type ByBytes<T> = HashMap<Bytes, T, BuildHasherDefault<Beginning>>;

/// Hashes how long something is, and how it begins: transactions begin with their stamps.
#[derive(Clone, Default)]
pub struct Beginning(FxHasher);

impl Hasher for Beginning {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(&bytes[..bytes.len().min(64)]);
        self.0.write_usize(bytes.len());
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// What happened in a world so far, seen from outside of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By the point after it: the point before a transaction in some log, and the transaction.
    pub steps: FxHashMap<Point, (Point, Bytes)>,
    /// By transaction that somebody wrote: the one before it in the log of its author then; several, where halves
    /// of a cloned machine happened to write the same.
    pub causes: ByBytes<Vec<Option<Bytes>>>,
    /// Every stamp that somebody issued.
    pub issued: FxHashSet<Stamp>,
    /// Authors that some engine has begun to write as.
    pub begun: FxHashSet<Author>,
    /// By transaction that raises the tally: what its author has raised it by, all in all.
    pub totals: ByBytes<i64>,
    /// The raise of the transaction that is being proposed.
    pub raising: i64,
    /// Authors that a snapshot clone made two engines of.
    pub shared: FxHashSet<Author>,
    /// Transactions that note what a view shows, which no peer gets.
    pub local: ByBytes<()>,
    /// Nodes that were set back or copied, or lost what others have.
    pub rewound: FxHashSet<NodeId>,
}

/// How long a machine had been up when the world began: no two for equally long, nor do clones count alike.
pub fn uptime_ms(node: usize) -> u64 {
    10_000_000 * node as u64
}

#[derive(Debug)]
pub struct World {
    pub nodes: Vec<TestNode>,
    pub links: Vec<Link>,
    pub ledger: Ledger,
    /// Whether sessions of this world may end by a peer's offence: only where somebody is hostile.
    pub is_hostile: bool,
    pub now_ms: u64,
    /// In what chunks bytes arrive while the world settles, round by round; `None` for one message after the other.
    pub chunks: Option<[usize; 2]>,
    /// What happened that does not happen in every story.
    pub seen: BTreeSet<Sight>,
    /// What was written down for others, and may be read at any time.
    pub bundles: Vec<Written>,
    /// What an application demands of every node at rest.
    pub(crate) demand: Option<Demand>,
    /// Who may do what, in a world that has views.
    pub(crate) rules: Option<Rules>,
    /// What happened, line by line.
    pub trace: Trace,
    /// Whether disks of new nodes have sectors, below a database.
    pub has_sectors: bool,
    /// By how much the clocks of new nodes are too fast, in millionths, in turn.
    pub rates_ppm: [i64; 2],
    /// The latest time at which a record was written that the write under way touches, changed or not.
    pub(crate) touched_ms: u64,
    /// Those who mean no good.
    intruders: Vec<intruder::Intruder>,
    /// Peers of 2010, where there are any.
    classic: Option<Box<classic::Classic>>,
    /// What has changed at the node of their hub, while that listens.
    watched: Option<VecDeque<Changed>>,
    /// Rounds that the world took to come to rest when it had healed.
    pub(crate) rounds: usize,
    /// Messages delivered.
    messages: usize,
    opens: u64,
    last_session: u64,
}

impl Default for World {
    /// A world without nodes.
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            links: Vec::new(),
            ledger: Ledger::default(),
            is_hostile: false,
            now_ms: 1_000,
            chunks: None,
            seen: BTreeSet::new(),
            bundles: Vec::new(),
            demand: None,
            rules: None,
            trace: Trace::default(),
            has_sectors: false,
            rates_ppm: [0; 2],
            touched_ms: 0,
            intruders: Vec::new(),
            classic: None,
            watched: None,
            rounds: 0,
            messages: 0,
            opens: 0,
            last_session: 0,
        }
    }
}

impl World {
    /// A world with so many nodes.
    pub fn new(nodes: usize) -> Result<Self, Failure> {
        let mut world = Self::default();
        for number in 0..nodes {
            world.add_node(&format!("node {number}"))?;
        }
        Ok(world)
    }

    /// The two clocks of a node.
    pub fn now(&self, node: usize) -> Now {
        self.nodes[node].now(self.now_ms)
    }

    /// Connects two nodes, and returns the number of the link.
    pub fn connect(&mut self, a: usize, b: usize, encoding: Encoding) -> Result<usize, Failure> {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.connect_as([(a, session), (b, session)], encoding)
    }

    /// Connects two nodes, the first of which dials, in sessions of the numbers given.
    pub fn connect_as(
        &mut self,
        ends: [(usize, SessionId); 2],
        encoding: Encoding,
    ) -> Result<usize, Failure> {
        self.links.push(Link::new(ends.map(|(node, session)| End::new(node, session))));
        let heard_ms = self.now_ms;
        self.links.iter_mut().next_back().into_iter().for_each(|link| link.note_heard(heard_ms));
        let [(a, dialled), (b, session)] = ends;
        self.input(
            b,
            Input::Open { session, role: Role::Accept, credentials: Default::default() },
        )?;
        self.input(
            a,
            Input::Open {
                session: dialled,
                role: Role::Dial(encoding),
                credentials: self.nodes[a].part.credentials.clone(),
            },
        )?;
        Ok(self.links.len() - 1)
    }

    /// Delivers the oldest message under way to one side of a link, or what is missing of it. Returns
    /// whether anything was under way.
    pub fn deliver(&mut self, link: usize, side: usize) -> Result<bool, Failure> {
        let bytes = self.links[link].ends[side].incoming.bytes_to_next();
        self.arrive(link, side, bytes)
    }

    /// The nodes at the other ends of a node's links.
    pub fn peers(&self, node: usize) -> Vec<usize> {
        let ends = self.links.iter().map(|link| [link.ends[0].node, link.ends[1].node]);
        let others = ends.filter(|ends| ends.contains(&node)).map(|[a, b]| a + b - node);
        others.collect()
    }

    /// Delivers the oldest message of each of a node's links to it.
    pub fn deliver_to(&mut self, node: usize) -> Result<(), Failure> {
        for link in 0..self.links.len() {
            for side in 0..2 {
                if self.links[link].ends[side].node == node {
                    self.deliver(link, side)?;
                }
            }
        }
        Ok(())
    }

    /// Lets so many bytes arrive at one side of a link, in one chunk. Returns whether anything was under way.
    pub fn arrive(&mut self, link: usize, side: usize, bytes: usize) -> Result<bool, Failure> {
        let end = &mut self.links[link].ends[side];
        if bytes == 0 || end.node == STRANGER || end.incoming.is_idle() {
            return Ok(false);
        }
        if end.is_blocked {
            self.seen.insert(Sight::Blocked);
            return Ok(false);
        }
        let (node, session) = (end.node, end.session);
        self.trace.note(format_args!("  {bytes} bytes arrive at {node} in {}", session.0));
        end.incoming.arrive(bytes);
        loop {
            let end = &mut self.links[link].ends[side];
            match end.incoming.read()? {
                Some(Piece::Message(frame)) => {
                    self.messages += 1;
                    if end.is_open {
                        end.heard_ms = self.now_ms;
                        self.input(node, Input::Receive { session, frame })?;
                    }
                }
                Some(Piece::End) => {
                    if std::mem::take(&mut end.is_open) {
                        self.input(node, Input::Lost { session })?;
                    }
                    return Ok(true);
                }
                Some(Piece::TooLarge) => {
                    return Err(Law::Blame.broken("a frame is too large"));
                }
                None => return Ok(true),
            }
        }
    }

    /// Breaks a link: what is under way is gone, and both sides notice.
    pub fn cut(&mut self, link: usize) -> Result<(), Failure> {
        self.sever(link, 0)?;
        self.sever(link, 1)
    }

    /// Breaks a link at a byte of what is under way to each side, modulo how many there are.
    pub fn cut_at(&mut self, link: usize, bytes: [usize; 2]) -> Result<(), Failure> {
        self.links[link].is_broken = true;
        self.links[link].ends.iter_mut().for_each(|end| end.is_blocked = false);
        for (side, bytes) in bytes.into_iter().enumerate() {
            let under_way = self.links[link].ends[side].incoming.bytes_under_way();
            self.arrive(link, side, bytes % (under_way + 1))?;
        }
        self.cut(link)
    }

    /// Breaks a link, but only one side notices; the other finds out by its clock.
    pub fn sever(&mut self, link: usize, side: usize) -> Result<(), Failure> {
        let it = &mut self.links[link];
        it.is_broken = true;
        for end in &mut it.ends {
            end.is_blocked = false;
            let sight = match end.incoming.bytes_begun() {
                0 => None,
                1..4 => Some(Sight::CutInPrefix),
                _ => Some(Sight::CutInMessage),
            };
            self.seen.extend(sight.filter(|_| end.is_open));
            end.incoming.lose();
        }
        it.ends[side].incoming.end();
        self.arrive(link, side, 1)?;
        Ok(())
    }

    pub fn cut_all(&mut self) -> Result<(), Failure> {
        for link in 0..self.links.len() {
            self.cut(link)?;
        }
        self.links.clear();
        Ok(())
    }

    /// A host ends a session.
    pub fn hang_up(&mut self, link: usize, side: usize) -> Result<(), Failure> {
        let end = &self.links[link].ends[side];
        let (node, session) = (end.node, end.session);
        self.input(node, Input::Close { session, reason: CloseReason::Done })
    }

    /// Lets the transport of one side take nothing, or everything that it left.
    pub fn stall(&mut self, link: usize, side: usize, is_stalled: bool) -> Result<(), Failure> {
        let end = &mut self.links[link].ends[side];
        end.is_stalled = is_stalled;
        let (node, session) = (end.node, end.session);
        if is_stalled || !end.is_open || std::mem::take(&mut end.queued) == 0 {
            return Ok(());
        }
        self.seen.insert(Sight::Stall);
        self.input(node, Input::Room { session })
    }

    /// Lets all transports take everything that they left.
    pub fn give_room(&mut self) -> Result<(), Failure> {
        for link in 0..self.links.len() {
            self.stall(link, 0, false)?;
            self.stall(link, 1, false)?;
        }
        Ok(())
    }

    /// Lets time pass; engines are woken when they asked for it.
    pub fn advance(&mut self, ms: u64) -> Result<(), Failure> {
        let until = self.now_ms + ms;
        loop {
            let due = self.nodes.iter().enumerate();
            let due = due.filter_map(|(node, it)| Some((it.wake_at?, node))).min();
            let Some((at, node)) = due.filter(|(at, _)| *at <= until) else { break };
            self.now_ms = self.now_ms.max(at);
            self.input(node, Input::Tick)?;
        }
        self.now_ms = until;
        self.drip_all()?;
        self.check_given_up()
    }

    /// Delivers, flushes and waits until nobody has anything to say.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let messages = self.messages;
        loop {
            while self.deliver_round()? {
                let messages = self.messages - messages;
                if messages > MESSAGES_MAX {
                    let detail = format!("{messages} messages, and no end of it");
                    return Err(Law::Rest.broken(detail));
                }
            }
            if self.nodes.iter().any(TestNode::has_news) {
                for node in 0..self.nodes.len() {
                    self.sync(node)?;
                }
                continue;
            }
            // Some clocks are slow.
            self.advance(2 * ECHO_DELAY_MS)?;
            if self.is_at_rest() {
                return Ok(());
            }
        }
    }

    /// Whether nothing is under way, and nobody has anything to flush.
    fn is_at_rest(&self) -> bool {
        self.links.iter().all(Link::is_idle) && !self.nodes.iter().any(TestNode::has_news)
    }

    /// Lets everybody say everything in rounds: what is under way arrives, whoever has news flushes it, and time
    /// goes on a little. Returns how many it took.
    pub(crate) fn rest(&mut self) -> Result<usize, Failure> {
        for rounds in 0..=ROUNDS_MAX {
            if self.is_at_rest() {
                // Some clocks are slow.
                self.advance(2 * ECHO_DELAY_MS)?;
                if self.is_at_rest() {
                    return Ok(rounds);
                }
            }
            self.trace.note(format_args!("round {rounds}"));
            let under_way: Vec<_> = self.links.iter().map(Link::under_way).collect();
            for (link, bytes) in under_way.into_iter().enumerate() {
                self.arrive(link, 0, bytes[0])?;
                self.arrive(link, 1, bytes[1])?;
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].has_news() {
                    self.sync(node)?;
                }
            }
        }
        Err(Law::Rest.broken(format!("{ROUNDS_MAX} rounds, and no end of it")))
    }

    /// A chunk to each side of each link. Returns whether anything was under way.
    fn deliver_round(&mut self) -> Result<bool, Failure> {
        if let Some(chunks) = &mut self.chunks {
            chunks.reverse();
        }
        let mut is_any = false;
        for link in 0..self.links.len() {
            for side in 0..2 {
                let next = self.links[link].ends[side].incoming.bytes_to_next();
                let chunk = self.chunks.map_or(next, |chunks| chunks[0]);
                is_any |= self.arrive(link, side, chunk)?;
            }
        }
        Ok(is_any)
    }

    /// The events of a node since they were last taken.
    pub fn take_events(&mut self, node: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[node].events)
    }
}
