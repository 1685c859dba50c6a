//! A whole conversation with a stranger.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Access, Attempt, Claim, Error, Input, NodeId, Pattern, Permissions, Point, Principal, Refusal,
    SessionId, Transaction, View,
};
use syncro_store::MemoryDisk;

use super::input::Input as Bits;
use super::node::{Node, call, proposal};
use super::wire;

/// Each step is a byte that says what happens, and a piece that says how. The stranger gathers items with
/// `ITEM` and `ECHO`, and sends them with `SEND` under the right digest, which no fuzzer would guess.
/// `FRAME` sends any bytes.
pub(crate) const FRAME: u8 = 0;
pub(crate) const ITEM: u8 = 1;
pub(crate) const ECHO: u8 = 2;
pub(crate) const SEND: u8 = 3;
pub(crate) const SYNC: u8 = 4;
pub(crate) const WRITE: u8 = 5;
pub(crate) const WAIT: u8 = 6;
const STEPS: u8 = 7;

/// No step fails or panics, a fair stranger is never turned away, and the store stays whole: with a node that lets
/// everybody do everything, and with one that does not.
pub fn session(input: &[u8]) {
    for permissions in [None, Some(Arc::new(Whims) as Arc<dyn Permissions>)] {
        let mut input = Bits(input);
        let mut talk = Talk::new(permissions);
        while !input.is_over() {
            let (step, piece) = (input.byte() % STEPS, input.piece());
            talk.step(step, piece);
        }
        talk.node.assert_whole(talk.now_ms);
    }
}

/// Permits some, refuses some, and cannot decide on some.
#[derive(Debug)]
struct Whims;

impl Permissions for Whims {
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>> {
        let notes = Pattern::new("model/n*").unwrap();
        let principal =
            Principal::new("stranger").may_read(Access::All).of_node(claim.node).may_write([notes]);
        // What others wrote it may bring half of the time.
        let relays = claim.now.monotonic_ms.is_multiple_of(2);
        Some(Arc::new(if relays { principal.relaying() } else { principal }))
    }

    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        match attempt.stamp.time.bits() % 5 {
            0 => Err(Refusal::new(Refusal::FAILED, "who knows")),
            1 | 2 => Err(Refusal::new(Refusal::APPLICATION, "no")),
            _ => Ok(()),
        }
    }
}

struct Talk {
    node: Node,
    now_ms: u64,
    session: u64,
    items: Vec<Item>,
}

/// What the stranger has gathered.
enum Item {
    Transaction(Transaction),
    Echo {
        offset: u64,
        scribes: u64,
    },
    /// Bytes that are no transaction.
    Odd(Bytes),
}

impl Talk {
    fn new(permissions: Option<Arc<dyn Permissions>>) -> Self {
        let mut node = Node::open_with("node", 1, MemoryDisk::new(), permissions);
        for what in 0..7 {
            let proposal = proposal(&node.store, what, 9);
            let _ = node.input(1, Input::Propose(proposal));
        }
        let mut talk = Self { node, now_ms: 1, session: 0, items: Vec::new() };
        talk.call();
        talk
    }

    /// The stranger calls anew: at first it has nothing, later now and then everything.
    fn call(&mut self) {
        self.session += 1;
        let offered = if self.session % 2 == 1 { Point::START } else { self.node.engine.end() };
        call(&mut self.node, self.now_ms, SessionId(self.session), offered);
    }

    fn step(&mut self, step: u8, piece: &[u8]) {
        self.now_ms += 1;
        let mut bits = Bits(piece);
        match step {
            FRAME => self.receive(Bytes::copy_from_slice(piece)),
            ITEM => {
                let bytes = Bytes::copy_from_slice(piece);
                self.items.push(match Transaction::decode(bytes.clone()) {
                    Ok(transaction) => Item::Transaction(transaction),
                    Err(_) => Item::Odd(bytes),
                });
            }
            ECHO => {
                let (offset, scribes) = (u64::from(bits.byte()), u64::from(bits.byte()));
                self.items.push(Item::Echo { offset, scribes });
            }
            SEND => self.send(),
            SYNC => {
                let _ = self.node.sync(self.now_ms);
            }
            WRITE => {
                let proposal = proposal(&self.node.store, bits.byte(), bits.byte());
                match self.node.try_input(self.now_ms, Input::Propose(proposal)) {
                    Ok(_) | Err(Error::Data(_)) => {}
                    Err(error) => panic!("a write failed: {error}"),
                }
            }
            _ => {
                self.now_ms += u64::from(bits.short());
                let _ = self.node.input(self.now_ms, Input::Tick);
            }
        }
        let _ = self.node.input(self.now_ms, Input::Room { session: SessionId(self.session) });
        if self.node.engine.sessions().next().is_none() {
            self.call();
        }
    }

    fn receive(&mut self, frame: Bytes) {
        let session = SessionId(self.session);
        let _ = self.node.input(self.now_ms, Input::Receive { session, frame });
    }

    /// Sends what was gathered as the next piece of the stranger's log.
    fn send(&mut self) {
        let items = std::mem::take(&mut self.items);
        let row = self.node.store.peer(NodeId::named("stranger")).unwrap().unwrap_or_default();
        let from = row.ladder.newest().unwrap_or(Point::START);
        let mut to = from;
        let mut encoded = Vec::new();
        for item in &items {
            encoded.push(match item {
                Item::Transaction(transaction) => {
                    to = to.then(transaction.len(), transaction.bytes());
                    transaction.bytes().clone()
                }
                Item::Echo { offset, scribes } => {
                    to = self.echoed(to, *offset, *scribes);
                    wire::echo(*offset, *scribes)
                }
                Item::Odd(bytes) => bytes.clone(),
            });
        }
        self.receive(wire::scribes(from, to, &encoded));
        if items.iter().all(|item| matches!(item, Item::Transaction(_))) {
            assert_eq!(self.node.engine.sessions().count(), 1, "a fair stranger is turned away");
            let row = self.node.store.peer(NodeId::named("stranger")).unwrap().unwrap_or_default();
            assert_eq!(row.ladder.newest(), Some(to), "the sync point moves with what was taken");
        }
    }

    /// The point after what the node has in its own log, as far as it has it.
    fn echoed(&self, mut point: Point, offset: u64, scribes: u64) -> Point {
        let end = offset + scribes;
        for entry in self.node.store.entries(offset, usize::MAX).unwrap_or_default() {
            if entry.end().offset <= end {
                point = point.then(entry.transaction.len(), entry.transaction.bytes());
            }
        }
        point
    }
}
