//! What happens to a node: the commits that its engine hands out, and what each leaves.

use std::collections::VecDeque;

use bytes::Bytes;
use syncro_core::{
    Commit, Config, Edit, Effects, Encoding, Engine, Entry, Fields, Input, Name, NodeId, Now,
    Proposal, RecordId, RecordKey, Role, SessionId, Store, StoreError, Value, View,
};

use super::history::numbers;
use crate::backend::Memory;
use crate::log_store::LogStore;

/// The commits of a node that writes and hears of a peer, from its first opening on.
pub(super) struct Story {
    pub(super) commits: Vec<Commit>,
    /// What a store shows after so many of the commits.
    pub(super) states: Vec<String>,
    /// The log of the peer, part of which the commits cover.
    pub(super) peer_log: Vec<Entry>,
    pub(super) peer: NodeId,
}

impl Story {
    /// Plays the story of a seed over stores in memory. In half of them what comes from the peer is left unplayed,
    /// which must come to the same.
    pub(super) fn of(seed: u64) -> Self {
        let story = Self::told(seed, true);
        if seed.is_multiple_of(2) {
            return story;
        }
        let untold = Self::told(seed, false);
        assert_eq!(untold.states, story.states);
        assert!(untold.commits.iter().any(|commit| !commit.is_played));
        untold
    }

    /// Plays it for a node that is, or is not, told of changes.
    fn told(seed: u64, is_watched: bool) -> Self {
        let mut random = numbers(seed);
        let mut below = |limit: u64| random() % limit;
        let mut pair = Pair::new();
        pair.nodes[ME].engine.set_watched(is_watched);
        for step in 0..STEPS {
            match below(8) {
                0..4 => pair.propose(ME, write(step, &mut below)),
                4..7 => pair.propose(PEER, write(step, &mut below)),
                _ => pair.exchange(),
            }
        }
        pair.exchange();
        let Pair { nodes: [me, peer], .. } = pair;
        let store = LogStore::open(Memory::new()).unwrap();
        let mut states = vec![show(&store).unwrap()];
        let mut replayed = store;
        for commit in &me.commits {
            replayed.apply(commit).unwrap();
            states.push(show(&replayed).unwrap());
        }
        assert_eq!(states[states.len() - 1], show(&me.store).unwrap());
        let peer_log = peer.store.entries(0, usize::MAX).unwrap();
        Self { commits: me.commits, states, peer_log, peer: peer.engine.node() }
    }
}

/// Everything that can be read of a store, in one text to compare.
pub(super) fn show(view: &impl View) -> Result<String, StoreError> {
    let mut text = format!("{:?}\n{:?}", view.own()?, view.peers()?);
    for model in view.models()? {
        text += &format!("\n{model:?} {:?}", view.records(&model, None, usize::MAX)?);
    }
    for entry in view.entries(0, usize::MAX)? {
        text += &format!("\n{} {:?} {:?}", entry.offset, entry.transaction.bytes(), entry.digest);
    }
    Ok(text)
}

/// One to three records of two models, written in some way.
fn write(step: u64, below: &mut impl FnMut(u64) -> u64) -> Proposal {
    let mut proposal = Proposal::default();
    for _ in 0..=below(3) {
        let model = ["note", "todo"][below(2) as usize];
        let id = below(8) as i64;
        let key = RecordKey { model: name(model), id: RecordId::Int(id) };
        // What is refused, such as the update of what is not there, leaves the proposal as it was.
        let _ = match below(8) {
            0 => proposal.destroy(key),
            1..3 => proposal.create(key, &Fields::default()),
            _ => {
                let length = [10, 300, 9_000][below(3) as usize];
                let title = Value::Text(format!("{step} {}", "x".repeat(length))).encode();
                let raise = Edit::Raise { field: name("raised"), by: 3 };
                proposal.update(key, vec![Edit::value(name("title"), title), raise])
            }
        };
    }
    proposal
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A node and its peer, with a session between them that holds as long as the story.
struct Pair {
    nodes: [Node; 2],
    /// What is under way, and to whom.
    frames: VecDeque<(usize, Bytes)>,
}

struct Node {
    engine: Engine,
    store: LogStore,
    commits: Vec<Commit>,
}

impl Pair {
    fn new() -> Self {
        let mut pair =
            Self { nodes: [Node::new("me"), Node::new("peer")], frames: VecDeque::new() };
        for (node, role) in [(ME, Role::Dial(Encoding::MessagePack)), (PEER, Role::Accept)] {
            pair.handle(
                node,
                Input::Open { session: SESSION, role, credentials: Default::default() },
            );
        }
        pair
    }

    fn propose(&mut self, node: usize, proposal: Proposal) {
        let it = &self.nodes[node];
        // What the node refuses has not happened.
        if it.engine.clone().handle(now(), Input::Propose(proposal.clone()), &it.store).is_ok() {
            self.handle(node, Input::Propose(proposal));
        }
    }

    /// Lets both say everything.
    fn exchange(&mut self) {
        while let Some((to, frame)) = self.frames.pop_front() {
            self.handle(to, Input::Receive { session: SESSION, frame });
            let through = self.nodes[to].commits.len() as u64;
            self.nodes[to].store.sync().unwrap();
            self.handle(to, Input::Synced { through });
        }
    }

    fn handle(&mut self, node: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let effects = self.nodes[node].handle(input);
            if !effects.sends.is_empty() {
                inputs.push_back(Input::Room { session: SESSION });
            }
            assert!(effects.closes.is_empty(), "the session ended: {:?}", effects.events);
            self.frames.extend(effects.sends.into_iter().map(|(_, frame)| (1 - node, frame)));
        }
    }
}

impl Node {
    fn new(name: &str) -> Self {
        let mut store = LogStore::open(Memory::new()).unwrap();
        let config = Config { node: Some(NodeId::named(name)), ..Config::default() };
        let (engine, effects) = Engine::open(now(), config, &store).unwrap();
        let commits: Vec<Commit> = effects.commit.into_iter().collect();
        commits.iter().for_each(|commit| store.apply(commit).unwrap());
        Self { engine, store, commits }
    }

    fn handle(&mut self, input: Input) -> Effects {
        let mut effects = self.engine.handle(now(), input, &self.store).unwrap();
        if let Some(commit) = effects.commit.take() {
            self.store.apply(&commit).unwrap();
            self.commits.push(commit);
        }
        effects
    }
}

/// The engine makes times of its own differ; nothing here waits for time to pass.
fn now() -> Now {
    Now { wall_ms: 1_710_000_000_000, monotonic_ms: 0 }
}

const ME: usize = 0;
const PEER: usize = 1;
const SESSION: SessionId = SessionId(1);
const STEPS: u64 = 60;
