//! What can happen to a world, and a random succession of it.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::Encoding;

use crate::world::check::Topology;
use crate::world::{Failure, Fuse, Sight, World, Write};

/// Nodes of a world at most, clones included.
const NODES_MAX: usize = 6;

/// One thing that happens. Numbers of nodes and links are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(u8, Write),
    /// Several writes of one node in a row.
    Burst(u8, u8),
    Connect(u8, u8, bool),
    /// Delivers some messages to one side of a link.
    Deliver(u8, bool, u8),
    /// Lets so many bytes arrive at one side of a link, in one chunk.
    Arrive(u8, bool, u32),
    /// Breaks a link at a byte of what is under way to each side.
    Cut(u8, [u32; 2]),
    /// Only one side notices that the connection is gone.
    Sever(u8, bool),
    HangUp(u8, bool),
    /// The transport of one side of a link has no room for what its node writes now.
    Clog(u8, bool, u8),
    /// All transports have room again.
    Room,
    Sync(u8),
    /// A write, and a slow flush: its peers write the same before the engine hears of it.
    Flush(u8, Write),
    Advance(u16),
    /// Lets everybody say everything and flush it.
    Settle,
    /// A crash that keeps some commits; what is under way to peers breaks off at a byte.
    Crash(u8, u8, u32),
    /// The same, so many steps of the driver from now.
    Fuse(u8, u8, u8, u32),
    Restart(u8),
    KeepImage(u8),
    Restore(u8),
    CloneFile(u8),
    CloneMachine(u8),
    /// Sets a wall clock off by minutes.
    Skew(u8, i8),
}

/// A world's whole fate.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) nodes: u8,
    pub(crate) ops: Vec<Op>,
    pub(crate) topology: Topology,
    /// In what chunks bytes arrive, in turn; `None` for one message after the other.
    pub(crate) chunks: Option<[u32; 2]>,
}

impl Story {
    /// Plays the story in a new world, and heals the world. Returns what there was to see.
    pub(crate) fn play(&self, is_strict: bool) -> Result<BTreeSet<Sight>, Failure> {
        let mut world = World::new(usize::from(self.nodes))?;
        world.is_strict = is_strict;
        world.chunks = self.chunks.map(|chunks| chunks.map(index));
        for op in &self.ops {
            op.happen(&mut world)?;
        }
        if [Sight::Json, Sight::MessagePack].iter().all(|encoding| world.seen.contains(encoding)) {
            world.seen.insert(Sight::BothEncodings);
        }
        world.seen.insert(match self.topology {
            Topology::Line => Sight::Line,
            Topology::Ring => Sight::Ring,
            Topology::Star => Sight::Star,
        });
        world.heal(self.topology)?;
        Ok(world.seen)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

impl Op {
    pub(crate) fn happen(&self, world: &mut World) -> Result<(), Failure> {
        let node = |number: u8| usize::from(number) % world.nodes.len();
        let link = |number: u8| {
            let links = world.links.len();
            (links > 0).then(|| usize::from(number) % links)
        };
        match self {
            Self::Write(at, write) => {
                world.write(node(*at), write)?;
            }
            Self::Burst(at, count) => {
                let at = node(*at);
                for value in 0..*count {
                    world.write(at, &Write::Put { id: value % 3, field: 1, value })?;
                }
            }
            Self::Connect(a, b, is_json) => {
                let (a, b) = (node(*a), node(*b));
                let encoding = if *is_json { Encoding::Json } else { Encoding::MessagePack };
                if a != b && world.links.len() < 12 {
                    world.seen.insert(if *is_json { Sight::Json } else { Sight::MessagePack });
                    world.connect(a, b, encoding)?;
                }
            }
            Self::Deliver(at, side, count) => {
                let Some(at) = link(*at) else { return Ok(()) };
                for _ in 0..*count {
                    world.deliver(at, usize::from(*side))?;
                }
            }
            Self::Arrive(at, side, bytes) => {
                if let Some(at) = link(*at) {
                    world.arrive(at, usize::from(*side), index(*bytes))?;
                }
            }
            Self::Cut(at, bytes) => {
                if let Some(at) = link(*at) {
                    world.cut_at(at, bytes.map(index))?;
                    world.links.remove(at);
                }
            }
            Self::Sever(at, side) => {
                if let Some(at) = link(*at) {
                    world.sever(at, usize::from(*side))?;
                }
            }
            Self::HangUp(at, side) => {
                if let Some(at) = link(*at) {
                    world.hang_up(at, usize::from(*side))?;
                }
            }
            Self::Clog(at, side, count) => {
                let (Some(at), side) = (link(*at), usize::from(*side)) else { return Ok(()) };
                let end = &world.links[at].ends[side];
                if !end.is_open {
                    return Ok(());
                }
                let node = end.node;
                world.stall(at, side, true)?;
                for id in 0..*count {
                    world.write(node, &Write::Large { id, kib: 56 })?;
                }
            }
            Self::Room => give_room(world)?,
            Self::Sync(at) => world.sync(node(*at))?,
            Self::Flush(at, write) => {
                let at = node(*at);
                world.write(at, write)?;
                world.flush(at)?;
                for peer in world.peers(at) {
                    world.write(peer, write)?;
                }
                world.deliver_to(at)?;
                world.deliver_to(at)?;
                world.hear(at)?;
            }
            Self::Advance(ms) => world.advance(u64::from(*ms))?,
            Self::Settle => {
                give_room(world)?;
                world.settle()?;
            }
            Self::Crash(at, kept, bytes) => {
                world.crash_at(node(*at), usize::from(*kept), index(*bytes))?;
            }
            Self::Fuse(at, steps, kept, bytes) => {
                let [steps, kept] = [*steps, *kept].map(usize::from);
                let at = node(*at);
                world.nodes[at].fuse = Some(Fuse { steps, kept, bytes: index(*bytes) });
            }
            Self::Restart(at) => world.restart(node(*at))?,
            Self::KeepImage(at) => {
                let at = node(*at);
                world.nodes[at].keep_image();
            }
            Self::Restore(at) => world.restore(node(*at))?,
            Self::CloneFile(at) => {
                if world.nodes.len() < NODES_MAX {
                    world.clone_file(node(*at))?;
                }
            }
            Self::CloneMachine(at) => {
                if world.nodes.len() < NODES_MAX {
                    world.clone_machine(node(*at))?;
                }
            }
            Self::Skew(at, minutes) => {
                let at = node(*at);
                world.nodes[at].skew_ms = i64::from(*minutes) * 60_000;
            }
        }
        Ok(())
    }
}

fn give_room(world: &mut World) -> Result<(), Failure> {
    for link in 0..world.links.len() {
        world.stall(link, 0, false)?;
        world.stall(link, 1, false)?;
    }
    Ok(())
}

pub(crate) fn stories() -> impl Strategy<Value = Story> {
    let topology = prop_oneof![Just(Topology::Line), Just(Topology::Ring), Just(Topology::Star),];
    // A small one and a large one: a world of small ones alone would take long.
    let chunks = (1..300_u32, 1000..100_000_u32).prop_map(|(small, large)| [small, large]);
    let chunks = proptest::option::of(chunks);
    (2..=5_u8, vec(ops(), 1..60), topology, chunks)
        .prop_map(|(nodes, ops, topology, chunks)| Story { nodes, ops, topology, chunks })
}

pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let at = any::<u8>;
    let side = any::<bool>;
    prop_oneof![
        20 => (at(), writes()).prop_map(|(at, write)| Op::Write(at, write)),
        1 => (at(), 1..40_u8).prop_map(|(at, count)| Op::Burst(at, count)),
        10 => (at(), at(), side()).prop_map(|(a, b, json)| Op::Connect(a, b, json)),
        12 => (at(), side(), 1..6_u8).prop_map(|(at, side, count)| Op::Deliver(at, side, count)),
        4 => (at(), side(), bytes()).prop_map(|(at, side, bytes)| Op::Arrive(at, side, bytes)),
        4 => (at(), [bytes(), bytes()]).prop_map(|(at, bytes)| Op::Cut(at, bytes)),
        2 => (at(), side()).prop_map(|(at, side)| Op::Sever(at, side)),
        1 => (at(), side()).prop_map(|(at, side)| Op::HangUp(at, side)),
        3 => (at(), side(), 3..6_u8).prop_map(|(at, side, count)| Op::Clog(at, side, count)),
        2 => Just(Op::Room),
        4 => at().prop_map(Op::Sync),
        3 => (at(), writes()).prop_map(|(at, write)| Op::Flush(at, write)),
        2 => prop_oneof![0..10_u16, 150..400_u16, 14_000..65_000_u16].prop_map(Op::Advance),
        6 => Just(Op::Settle),
        3 => (at(), kept(), bytes()).prop_map(|(at, kept, bytes)| Op::Crash(at, kept, bytes)),
        6 => (at(), 0..8_u8, kept(), bytes())
            .prop_map(|(at, steps, kept, bytes)| Op::Fuse(at, steps, kept, bytes)),
        1 => at().prop_map(Op::Restart),
        2 => at().prop_map(Op::KeepImage),
        2 => at().prop_map(Op::Restore),
        1 => at().prop_map(Op::CloneFile),
        2 => at().prop_map(Op::CloneMachine),
        1 => (at(), any::<i8>()).prop_map(|(at, minutes)| Op::Skew(at, minutes)),
    ]
}

/// Commits that survive a crash without a flush.
fn kept() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0_u8), 0..4_u8]
}

/// Places in a stream: within a length, a short message, a long one or several.
fn bytes() -> impl Strategy<Value = u32> {
    prop_oneof![0..8_u32, 0..500_u32, 0..120_000_u32]
}

fn writes() -> impl Strategy<Value = Write> {
    let id = || 0..3_u8;
    let value = || 0..4_u8;
    prop_oneof![
        6 => (id(), 0..3_u8, value()).prop_map(|(id, field, value)| Write::Put { id, field, value }),
        2 => id().prop_map(|id| Write::Destroy { id }),
        1 => (id(), value()).prop_map(|(id, value)| Write::Replace { id, value }),
        2 => (id(), any::<i8>()).prop_map(|(id, by)| Write::Raise { id, by }),
        2 => (id(), value()).prop_map(|(id, member)| Write::Add { id, member }),
        1 => (id(), value()).prop_map(|(id, member)| Write::Remove { id, member }),
        2 => (id(), value(), proptest::option::of(value()))
            .prop_map(|(id, key, value)| Write::Entry { id, key, value }),
        3 => value().prop_map(|value| Write::Twins { value }),
        3 => any::<i8>().prop_map(|by| Write::Tally { by }),
        2 => (id(), value(), any::<i8>())
            .prop_map(|(id, value, by)| Write::Several { id, value, by }),
        1 => (id(), 30..100_u8).prop_map(|(id, kib)| Write::Large { id, kib }),
    ]
}
