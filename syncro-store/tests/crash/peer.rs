//! Another node, to which the crashing one talks.

use std::collections::VecDeque;

use bytes::Bytes;
use syncro_core::{
    Config, Effects, Encoding, Engine, Error, Input, NodeId, Now, Proposal, Role, SessionId, Store,
};
use syncro_store::{LogStore, Memory};

use crate::node::Node;

/// A node that does not crash.
#[derive(Debug)]
pub(crate) struct Peer {
    engine: Engine,
    store: LogStore,
    now_ms: u64,
}

/// One connection, as long as it lasts.
#[derive(Debug)]
pub(crate) struct Link {
    session: SessionId,
    to_node: VecDeque<Bytes>,
    to_peer: VecDeque<Bytes>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        let store = LogStore::open(Memory::new()).unwrap();
        let config =
            Config { node: Some(NodeId::named("lasting")), seed: [77; 32], ..Config::default() };
        let now_ms = 1_710_000_000_000;
        let now = Now { wall_ms: now_ms, monotonic_ms: now_ms };
        let (engine, effects) = Engine::open(now, config, &store).unwrap();
        let mut peer = Self { engine, store, now_ms };
        peer.store.apply(&effects.commit.unwrap()).unwrap();
        peer.store.sync().unwrap();
        peer
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) {
        self.input(Input::Propose(proposal), &mut Link::new(0));
    }

    /// Handles an input; everything it writes is durable at once.
    fn input(&mut self, input: Input, link: &mut Link) {
        self.now_ms += 1;
        let now = Now { wall_ms: self.now_ms, monotonic_ms: self.now_ms };
        let effects = self.engine.handle(now, input, &self.store).unwrap();
        let Effects { commit, sends, .. } = effects;
        let through = commit.as_ref().map(|commit| commit.sequence);
        if let Some(commit) = commit {
            self.store.apply(&commit).unwrap();
            self.store.sync().unwrap();
        }
        let is_sent = !sends.is_empty();
        link.to_node.extend(sends.into_iter().map(|(_, frame)| frame));
        if let Some(through) = through {
            self.input(Input::Synced { through }, link);
        }
        if is_sent {
            self.input(Input::Room { session: link.session }, link);
        }
    }
}

impl Link {
    pub(crate) fn new(session: u64) -> Self {
        let session = SessionId(session);
        Self { session, to_node: VecDeque::new(), to_peer: VecDeque::new() }
    }

    /// Lets two nodes talk until they have nothing more to say, or the node has got so many messages. The
    /// node syncs after every few messages, and then at the end.
    pub(crate) fn run(
        &mut self,
        node: &mut Node,
        peer: &mut Peer,
        messages_max: usize,
        messages_per_sync: usize,
    ) -> Result<(), Error> {
        let Self { session, .. } = *self;
        let dial = Role::Dial(Encoding::MessagePack);
        peer.input(
            Input::Open { session, role: Role::Accept, credentials: Default::default() },
            self,
        );
        self.give(node, Input::Open { session, role: dial, credentials: Default::default() })?;
        let mut got = 0;
        let mut told = 0;
        loop {
            while let Some(frame) = self.to_peer.pop_front() {
                peer.input(Input::Receive { session, frame }, self);
            }
            let frame = self.to_node.pop_front().filter(|_| got < messages_max);
            if let Some(frame) = frame {
                self.give(node, Input::Receive { session, frame })?;
                got += 1;
                if !got.is_multiple_of(messages_per_sync) {
                    continue;
                }
            } else if node.applied() == told && self.to_peer.is_empty() {
                break;
            }
            told = node.applied();
            node.sync()?;
            self.give(node, Input::Synced { through: told })?;
        }
        peer.input(Input::Lost { session }, self);
        self.give(node, Input::Lost { session })
    }

    /// Gives the node an input, and what it sends to its peer.
    fn give(&mut self, node: &mut Node, input: Input) -> Result<(), Error> {
        let mut sends = node.input(input)?.sends;
        while !sends.is_empty() {
            self.to_peer.extend(sends.into_iter().map(|(_, frame)| frame));
            sends = node.input(Input::Room { session: self.session })?.sends;
        }
        Ok(())
    }
}
