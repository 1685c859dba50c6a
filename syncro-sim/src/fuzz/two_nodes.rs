//! Two nodes that write, meet, part, crash and go back to their backups.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use syncro_core::limits::ECHO_DELAY_MS;
use syncro_core::{CloseReason, Effects, Encoding, Error, Input, Role, SessionId};
use syncro_store::MemoryDisk;

use super::node::{Node, proposal};

/// Each step has two bytes: what happens, its high bit telling to which node, and how.
const STEPS: u8 = 11;

/// Whatever happened, once the two have talked undisturbed they hold the same, and nothing is lost that
/// one of them held before.
pub fn two_nodes(input: &[u8]) {
    let mut world = World::new();
    for step in input.chunks_exact(2).take(500) {
        world.step(usize::from(step[0] >> 7), (step[0] & 0x7f) % STEPS, step[1]);
    }
    world.converge();
}

struct World {
    nodes: [Node; 2],
    backups: [MemoryDisk; 2],
    /// What is under way to each node, while they are connected.
    inboxes: Option<[VecDeque<Bytes>; 2]>,
    session: SessionId,
    opens: u8,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let nodes =
            [1, 2].map(|seed| Node::open(NAMES[usize::from(seed) - 1], seed, MemoryDisk::new()));
        let backups = [0, 1].map(|at: usize| nodes[at].disk.image());
        Self { nodes, backups, inboxes: None, session: SessionId(0), opens: 2, now_ms: 1 }
    }

    fn step(&mut self, at: usize, step: u8, how: u8) {
        match step {
            0..=3 => {
                let proposal = proposal(&self.nodes[at].store, how >> 5, how & 0x1f);
                match self.nodes[at].try_input(self.now_ms, Input::Propose(proposal)) {
                    Ok(effects) => self.carry_out(at, effects),
                    Err(Error::Data(_)) => {}
                    Err(error) => panic!("a write failed: {error}"),
                }
            }
            4 => self.connect(if how.is_multiple_of(2) {
                Encoding::MessagePack
            } else {
                Encoding::Json
            }),
            5 => (0..=how % 8).for_each(|_| {
                self.deliver(at);
            }),
            6 => self.cut(),
            7 => self.sync(at),
            8 => {
                let disk = self.nodes[at].disk.crash();
                self.reopen(at, disk);
            }
            9 if how.is_multiple_of(2) => self.backups[at] = self.nodes[at].disk.image(),
            9 => self.reopen(at, self.backups[at].fork()),
            _ => self.wait(u64::from(how) * 150),
        }
    }

    fn connect(&mut self, encoding: Encoding) {
        if self.inboxes.is_some() {
            return;
        }
        self.session.0 += 1;
        self.inboxes = Some(Default::default());
        for (at, role) in [(1, Role::Accept), (0, Role::Dial(encoding))] {
            self.input(
                at,
                Input::Open { session: self.session, role, credentials: Default::default() },
            );
        }
    }

    /// Delivers the oldest message to a node. Returns whether there was one.
    fn deliver(&mut self, at: usize) -> bool {
        let frame = self.inboxes.as_mut().and_then(|inboxes| inboxes[at].pop_front());
        let Some(frame) = frame else { return false };
        self.input(at, Input::Receive { session: self.session, frame });
        true
    }

    fn cut(&mut self) {
        if self.inboxes.take().is_some() {
            for node in &mut self.nodes {
                let _ = node.input(self.now_ms, Input::Lost { session: self.session });
            }
        }
    }

    fn sync(&mut self, at: usize) {
        let effects = self.nodes[at].sync(self.now_ms);
        self.carry_out(at, effects);
    }

    fn reopen(&mut self, at: usize, disk: MemoryDisk) {
        self.cut();
        self.opens = self.opens.wrapping_add(1);
        self.nodes[at] = Node::open(NAMES[at], self.opens, disk);
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        for at in [0, 1] {
            self.input(at, Input::Tick);
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        let effects = self.nodes[at].input(self.now_ms, input);
        self.carry_out(at, effects);
    }

    /// Puts messages under way, and takes them off the node's hands at once.
    fn carry_out(&mut self, at: usize, effects: Effects) {
        let Effects { sends, closes, .. } = effects;
        let has_sent = !sends.is_empty();
        for (session, frame) in sends {
            if let Some(inboxes) = self.inboxes.as_mut().filter(|_| session == self.session) {
                inboxes[1 - at].push_back(frame);
            }
        }
        if let Some((_, reason)) = closes.first() {
            let is_of_time = matches!(reason, CloseReason::Silent | CloseReason::HandshakeTimeout);
            assert!(is_of_time, "a fair peer is turned away: {reason}");
            self.cut();
        } else if has_sent {
            self.input(at, Input::Room { session: self.session });
        }
    }

    fn converge(mut self) {
        let held = &self.transactions(0) | &self.transactions(1);
        self.cut();
        self.connect(Encoding::MessagePack);
        let mut messages = 0;
        loop {
            while self.deliver(0) | self.deliver(1) {
                messages += 1;
                assert!(messages < 10_000, "the nodes come to no rest");
            }
            [0, 1].into_iter().for_each(|at| self.sync(at));
            self.wait(ECHO_DELAY_MS);
            let is_quiet = self.inboxes.iter().flatten().all(VecDeque::is_empty);
            if is_quiet && self.nodes.iter().all(Node::is_synced) {
                break;
            }
        }
        assert_eq!(self.transactions(0), self.transactions(1));
        assert!(self.transactions(0).is_superset(&held), "something is lost");
        let records = [0, 1].map(|at: usize| self.nodes[at].contents().records);
        assert_eq!(records[0], records[1]);
        for node in self.nodes {
            node.assert_whole(self.now_ms);
        }
    }

    fn transactions(&self, at: usize) -> BTreeSet<Bytes> {
        self.nodes[at].contents().log.into_iter().map(|(_, bytes, ..)| bytes).collect()
    }
}

const NAMES: [&str; 2] = ["left", "right"];
