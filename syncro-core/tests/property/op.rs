//! What can happen to a world, and a random succession of it.

use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::Encoding;

use crate::world::check::Topology;
use crate::world::{Failure, World, Write};

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
    Cut(u8),
    /// Only one side notices that the connection is gone.
    Sever(u8, bool),
    HangUp(u8, bool),
    Stall(u8, bool, bool),
    Sync(u8),
    Advance(u16),
    /// Lets everybody say everything and flush it.
    Settle,
    Crash(u8, u8),
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
}

impl Story {
    /// Plays the story in a new world, and heals the world.
    pub(crate) fn play(&self, is_strict: bool) -> Result<(), Failure> {
        let mut world = World::new(usize::from(self.nodes))?;
        world.is_strict = is_strict;
        for op in &self.ops {
            op.happen(&mut world)?;
        }
        world.heal(self.topology)
    }
}

impl Op {
    fn happen(&self, world: &mut World) -> Result<(), Failure> {
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
                    world.connect(a, b, encoding)?;
                }
            }
            Self::Deliver(at, side, count) => {
                let Some(at) = link(*at) else { return Ok(()) };
                for _ in 0..*count {
                    world.deliver(at, usize::from(*side))?;
                }
            }
            Self::Cut(at) => {
                if let Some(at) = link(*at) {
                    world.cut(at)?;
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
            Self::Stall(at, side, is_stalled) => {
                if let Some(at) = link(*at) {
                    world.stall(at, usize::from(*side), *is_stalled)?;
                }
            }
            Self::Sync(at) => world.sync(node(*at))?,
            Self::Advance(ms) => world.advance(u64::from(*ms))?,
            Self::Settle => world.settle()?,
            Self::Crash(at, kept) => world.crash(node(*at), usize::from(*kept))?,
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

pub(crate) fn stories() -> impl Strategy<Value = Story> {
    let topology = prop_oneof![Just(Topology::Line), Just(Topology::Ring), Just(Topology::Star),];
    (2..=5_u8, vec(ops(), 1..60), topology).prop_map(|(nodes, ops, topology)| Story {
        nodes,
        ops,
        topology,
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let at = any::<u8>;
    let side = any::<bool>;
    prop_oneof![
        20 => (at(), writes()).prop_map(|(at, write)| Op::Write(at, write)),
        1 => (at(), 1..40_u8).prop_map(|(at, count)| Op::Burst(at, count)),
        10 => (at(), at(), side()).prop_map(|(a, b, json)| Op::Connect(a, b, json)),
        12 => (at(), side(), 1..6_u8).prop_map(|(at, side, count)| Op::Deliver(at, side, count)),
        3 => at().prop_map(Op::Cut),
        1 => (at(), side()).prop_map(|(at, side)| Op::Sever(at, side)),
        1 => (at(), side()).prop_map(|(at, side)| Op::HangUp(at, side)),
        1 => (at(), side(), side()).prop_map(|(at, side, is)| Op::Stall(at, side, is)),
        6 => at().prop_map(Op::Sync),
        2 => prop_oneof![0..10_u16, 150..400_u16, 14_000..40_000_u16].prop_map(Op::Advance),
        6 => Just(Op::Settle),
        3 => (at(), 0..4_u8).prop_map(|(at, kept)| Op::Crash(at, kept)),
        1 => at().prop_map(Op::Restart),
        2 => at().prop_map(Op::KeepImage),
        2 => at().prop_map(Op::Restore),
        1 => at().prop_map(Op::CloneFile),
        2 => at().prop_map(Op::CloneMachine),
        1 => (at(), any::<i8>()).prop_map(|(at, minutes)| Op::Skew(at, minutes)),
    ]
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
