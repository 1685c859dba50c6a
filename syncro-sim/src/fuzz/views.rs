//! A view with a stranger for its source, and a source with a stranger for a view.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use syncro_core::{
    Attempt, Channel, Claim, Config, Encoding, Error, FieldsWriter, Input, ModelChannels, Name,
    NodeId, Pattern, Permissions, Point, Principal, Proposal, RecordId, RecordKey, Refusal, Role,
    ScribeModel, SessionId,
};
use syncro_store::MemoryDisk;

use super::input::Input as Bits;
use super::node::{Node, proposal};
use super::wire;
use crate::world::wire::{bytes, packed, point};

/// Each step is a byte that says what happens, and a piece that says how. What the stranger says is made of quarters:
/// four bytes each, for which see [`item`] and [`wanted`].
pub(crate) const FRAME: u8 = 0;
pub(crate) const SAY: u8 = 1;
pub(crate) const CHANNELS: u8 = 2;
pub(crate) const WRITE: u8 = 3;
pub(crate) const SYNC: u8 = 4;
pub(crate) const WAIT: u8 = 5;
pub(crate) const RIGHTS: u8 = 6;
pub(crate) const ACK: u8 = 7;
const STEPS: u8 = 8;

const LISTS: [&str; 4] = ["title/1", "title/9", "tag/9", "nothing"];

/// No step fails or panics, and the store stays whole, on whichever side of the stranger the node is.
pub fn views(input: &[u8]) {
    for is_view in [true, false] {
        let mut bits = Bits(input);
        let mut talk = Talk::new(is_view);
        while !bits.is_over() {
            let (step, piece) = (bits.byte() % STEPS, bits.piece());
            talk.step(step, piece);
        }
        talk.end();
    }
}

/// Shows everybody some channels, and lets everybody change some.
#[derive(Debug)]
struct Whims;

impl Permissions for Whims {
    fn authenticate(&self, _: &Claim<'_>) -> Option<Arc<Principal>> {
        Some(principal(0b101))
    }

    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        match attempt.stamp.time.bits().is_multiple_of(3) {
            true => Err(Refusal::new(Refusal::APPLICATION, "no")),
            false => Ok(()),
        }
    }
}

/// Whoever may see and change the lists of some bits.
fn principal(bits: u8) -> Arc<Principal> {
    let lists = LISTS.iter().enumerate().filter(|(at, _)| bits & 1 << at != 0);
    let patterns: Vec<Pattern> = lists.map(|(_, list)| Pattern::new(list).unwrap()).collect();
    Arc::new(Principal::new("stranger").may_read(patterns.clone()).may_write(patterns))
}

struct Talk {
    is_view: bool,
    node: Node,
    disk: MemoryDisk,
    now_ms: u64,
    session: u64,
}

impl Talk {
    fn new(is_view: bool) -> Self {
        let disk = MemoryDisk::new();
        let mut node = Node::open_as(disk.clone(), config(is_view, 1));
        if is_view {
            for list in &LISTS[..2] {
                let _ = node.input(1, Input::Subscribe { channel: Channel::new(list).unwrap() });
            }
        } else {
            let _ = node.input(1, Input::Propose(templates()));
        }
        for what in 0..7 {
            let proposal = proposal(&node.store, what, 9);
            let _ = node.input(1, Input::Propose(proposal));
        }
        let _ = node.sync(1);
        let mut talk = Self { is_view, node, disk, now_ms: 1, session: 0 };
        talk.call();
        talk
    }

    /// The two connect, and the stranger greets; it asks a view for its log.
    fn call(&mut self) {
        self.session += 1;
        let session = SessionId(self.session);
        let role = if self.is_view { Role::Dial(Encoding::MessagePack) } else { Role::Accept };
        let credentials = Bytes::new();
        let _ = self.node.input(self.now_ms, Input::Open { session, role, credentials });
        self.receive(wire::hello(NodeId::named("stranger")));
        if self.is_view {
            self.receive(wire::sync(Point::START));
        }
        assert_eq!(self.node.engine.sessions().count(), 1, "a fair stranger is turned away");
    }

    fn step(&mut self, step: u8, piece: &[u8]) {
        self.now_ms += 1;
        let mut bits = Bits(piece);
        let quarters = piece.as_chunks::<4>().0;
        match step {
            FRAME => self.receive(Bytes::copy_from_slice(piece)),
            SAY if self.is_view => {
                let items: Vec<Value> = quarters.iter().map(|of| item(*of)).collect();
                let covers = piece.last().filter(|_| !piece.len().is_multiple_of(4));
                let states =
                    json!({ "type": "states", "items": items, "covers": covers, "end": true });
                self.receive(packed(&states));
            }
            SAY => {
                let channels: Vec<Value> = quarters.iter().map(|of| wanted(*of)).collect();
                let more = piece.len() % 4 == 3;
                let message = json!({ "type": "subscribe", "channels": channels, "more": more });
                self.receive(packed(&message));
            }
            CHANNELS if self.is_view => {
                let channel = Channel::new(list(bits.byte())).unwrap();
                let input = match bits.byte() % 2 {
                    0 => Input::Subscribe { channel },
                    _ => Input::Unsubscribe { channel },
                };
                let _ = self.node.input(self.now_ms, input);
            }
            CHANNELS => {
                self.receive(packed(&json!({ "type": "unsubscribe", "channels": piece })));
            }
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
            RIGHTS => {
                let (session, bits) = (SessionId(self.session), bits.byte());
                let principal = (bits < 128).then(|| principal(bits));
                let _ = self.node.input(self.now_ms, Input::Rights { session, principal });
            }
            ACK => self.receive(wire::ack(Point::START)),
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

    /// Everything is there again when the node was opened again.
    fn end(mut self) {
        let _ = self.node.sync(self.now_ms);
        if !self.is_view {
            return self.node.assert_whole(self.now_ms);
        }
        let (contents, end) = (self.node.contents(), self.node.engine.end());
        let followed: Vec<Channel> = self.node.engine.subscriptions().cloned().collect();
        drop(self.node);
        let node = Node::open_as(self.disk.crash(), config(true, 2));
        assert_eq!(node.contents().records, contents.records);
        assert_eq!(node.engine.end(), end);
        assert_eq!(node.engine.subscriptions().cloned().collect::<Vec<_>>(), followed);
    }
}

fn config(is_view: bool, seed: u8) -> Config {
    Config {
        node: Some(NodeId::named("node")),
        seed: [seed; 32],
        view: is_view,
        permissions: (!is_view).then(|| Arc::new(Whims) as Arc<dyn Permissions>),
        ..Config::default()
    }
}

/// Notes are in the channels of their titles and tags.
fn templates() -> Proposal {
    let channels = ["title/{title}", "tag/{tags}"].map(str::to_owned).to_vec();
    let model = ModelChannels { model: "note".to_owned(), channels };
    let id = RecordId::text("note").unwrap();
    let key = RecordKey { model: Name::new(ModelChannels::MODEL).unwrap(), id };
    let mut proposal = Proposal::default();
    proposal.create(key, &FieldsWriter::fields_of(&model).unwrap()).unwrap();
    proposal
}

fn list(number: u8) -> &'static str {
    LISTS[usize::from(number) % LISTS.len()]
}

/// A point that nobody has, or the start.
fn some_point(number: u8) -> Value {
    match number {
        0 => point(Point::START),
        _ => point(Point::START.then(u64::from(number), &[number])),
    }
}

/// What a source says: its sort, a channel, a note, and something to be in it.
fn item([sort, number, id, value]: [u8; 4]) -> Value {
    let id = id % 8;
    match sort % 8 {
        0 => {
            let author = json!([bytes(NodeId::named("stranger").as_bytes()), 77]);
            let at = u64::from(value) << 16;
            let state = json!([author, [at, 0], null, ["title", 0, null, at, 0, value]]);
            json!([0, "note", id, [number], value & 1 == 0, state])
        }
        1 => json!([1, "note", id]),
        2 => json!([2, number, some_point(value)]),
        3 => json!([3, number, some_point(value)]),
        4 => json!([4, number, "note", id]),
        5 => json!([5, number]),
        6 => json!([6, number]),
        _ => json!([2, number, some_point(value), bytes(&[0; 16])]),
    }
}

/// What a view asks for: a channel, by a number, from a point on, with or without a place in it.
fn wanted([number, channel, at, id]: [u8; 4]) -> Value {
    let sum = bytes(&[at / 2; 16]);
    match id {
        0..128 => json!([number, list(channel), some_point(at), sum]),
        _ => json!([number, list(channel), some_point(at), sum, "note", id % 8]),
    }
}
