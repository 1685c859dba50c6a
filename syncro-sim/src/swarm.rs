//! Random stories: a seed says which faults there are in its world, and how often.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;

use crate::disk::random;
use crate::story::{Op, Story};
use crate::world::{Abuse, ClassicOp, Listed, Topology, Write};

/// How often each sort of fault happens in a world; in most worlds, some never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swarm {
    weights: [u32; Fault::ALL.len()],
    ops_max: usize,
    /// Whether records grow large. They take most of the time that there is, so in most worlds they do not.
    is_large: bool,
    /// Whether disks have sectors, below a database. That takes several times as long.
    has_sectors: bool,
}

/// A sort of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Cut,
    HalfOpen,
    Blocked,
    Slow,
    Crash,
    Fuse,
    Restore,
    FileClone,
    MachineClone,
    Clock,
    Jump,
    BadDisk,
    FullDisk,
    Upgrade,
    Bundle,
    Classic,
    Abuse,
}

impl Fault {
    const ALL: [Self; 17] = [
        Self::Cut,
        Self::HalfOpen,
        Self::Blocked,
        Self::Slow,
        Self::Crash,
        Self::Fuse,
        Self::Restore,
        Self::FileClone,
        Self::MachineClone,
        Self::Clock,
        Self::Jump,
        Self::BadDisk,
        Self::FullDisk,
        Self::Upgrade,
        Self::Bundle,
        Self::Classic,
        Self::Abuse,
    ];
}

impl Default for Swarm {
    /// Everything but peers of 2010, as often as is usual.
    fn default() -> Self {
        let mut weights = [2; Fault::ALL.len()];
        weights[Fault::Classic as usize] = 0;
        Self { weights, ops_max: 60, is_large: true, has_sectors: false }
    }
}

impl Swarm {
    /// What a seed says: about half of the faults, each at a rate of its own, in a story of some length.
    pub fn of(seed: u64) -> Self {
        let mut swarm = Self::of_classic(seed);
        swarm.weights[Fault::Classic as usize] = 0;
        swarm
    }

    /// The same, with peers of 2010 in half of the worlds.
    pub fn of_classic(seed: u64) -> Self {
        let mut random = random(seed);
        let weights = [(); Fault::ALL.len()].map(|()| match random() % 4 {
            0 | 1 => 0,
            2 => 2,
            _ => 6,
        });
        let ops_max = [40, 100, 300, 800][(random() % 4) as usize];
        let is_large = random().is_multiple_of(16);
        let has_sectors = random().is_multiple_of(8);
        Self { weights, ops_max, is_large, has_sectors }
    }

    /// How many things happen at most.
    pub(crate) fn ops_max(&self) -> usize {
        self.ops_max
    }

    /// Whether records grow large.
    pub(crate) fn is_large(&self) -> bool {
        self.is_large
    }

    pub(crate) fn tame(&self, write: Write) -> Write {
        match write {
            Write::Large { id, .. } if !self.is_large => Write::Put { id, field: 0, value: 0 },
            Write::Listed(Listed::Fill { id, .. }) if !self.is_large => {
                Write::Listed(Listed::Retitle { id, title: 9 })
            }
            write => write,
        }
    }

    fn weight(&self, fault: Fault) -> u32 {
        self.weights[fault as usize]
    }
}

/// Stories of a swarm, whose writes are of one sort or another.
pub fn stories(
    swarm: Swarm,
    writes: BoxedStrategy<Write>,
    bulk: BoxedStrategy<Write>,
) -> impl Strategy<Value = Story> {
    let topology = prop_oneof![Just(Topology::Line), Just(Topology::Ring), Just(Topology::Star)];
    // A small one and a large one: a world of small ones alone would take long.
    let chunks = (1..300_u32, 1000..100_000_u32).prop_map(|(small, large)| [small, large]);
    let chunks = proptest::option::of(chunks);
    let rate = match swarm.weight(Fault::Clock) {
        0 => Just(0).boxed(),
        _ => (-30_000..30_000_i16).boxed(),
    };
    let rates = [rate.clone(), rate];
    let writes = writes.prop_map(move |write| swarm.tame(write)).boxed();
    let ops = vec(ops(swarm, writes, bulk), 1..swarm.ops_max);
    (2..=5_u8, ops, topology, rates, chunks).prop_map(
        move |(nodes, ops, topology, rates_ppm, chunks)| Story {
            nodes,
            cast: None,
            has_sectors: swarm.has_sectors,
            ops,
            topology,
            rates_ppm,
            chunks,
        },
    )
}

/// What may happen in a swarm: single writes, and writes that fill a transport which takes nothing.
pub fn ops(
    swarm: Swarm,
    writes: BoxedStrategy<Write>,
    bulk: BoxedStrategy<Write>,
) -> Union<BoxedStrategy<Op>> {
    let at = any::<u8>;
    let side = any::<bool>;
    let mut ops = vec![
        (20, (at(), writes.clone()).prop_map(|(at, write)| Op::Write(at, write)).boxed()),
        (
            1,
            (at(), vec(writes.clone(), 1..40))
                .prop_map(|(at, writes)| Op::Burst(at, writes))
                .boxed(),
        ),
        (10, (at(), at(), side()).prop_map(|(a, b, json)| Op::Connect(a, b, json)).boxed()),
        (
            12,
            (at(), side(), 1..6_u8)
                .prop_map(|(at, side, count)| Op::Deliver(at, side, count))
                .boxed(),
        ),
        (
            4,
            (at(), side(), bytes())
                .prop_map(|(at, side, bytes)| Op::Arrive(at, side, bytes))
                .boxed(),
        ),
        (4, at().prop_map(Op::Sync).boxed()),
        (3, (at(), writes.clone()).prop_map(|(at, write)| Op::Flush(at, write)).boxed()),
        (2, prop_oneof![0..10_u16, 150..400_u16, 14_000..65_000_u16].prop_map(Op::Advance).boxed()),
        (1, (0..30_u8).prop_map(Op::Away).boxed()),
        (6, Just(Op::Settle).boxed()),
        (1, (at(), side()).prop_map(|(at, side)| Op::HangUp(at, side)).boxed()),
        (1, at().prop_map(Op::Restart).boxed()),
        (2, at().prop_map(Op::Look).boxed()),
    ];
    for fault in Fault::ALL {
        let weight = swarm.weight(fault);
        ops.extend(
            faults(fault, &writes, &bulk).into_iter().map(|(share, op)| (share * weight, op)),
        );
    }
    ops.retain(|(weight, _)| *weight > 0);
    Union::new_weighted(ops)
}

/// What a sort of fault consists of, each with its share.
fn faults(
    fault: Fault,
    writes: &BoxedStrategy<Write>,
    bulk: &BoxedStrategy<Write>,
) -> Vec<(u32, BoxedStrategy<Op>)> {
    let at = any::<u8>;
    let side = any::<bool>;
    let one = |op: BoxedStrategy<Op>| vec![(1, op)];
    match fault {
        Fault::Cut => {
            let cut = (at(), [bytes(), bytes()]).prop_map(|(at, bytes)| Op::Cut(at, bytes));
            vec![(2, cut.boxed())]
        }
        Fault::HalfOpen => one((at(), side()).prop_map(|(at, side)| Op::Sever(at, side)).boxed()),
        Fault::Blocked => {
            let blocks = (at(), side(), side());
            one(blocks.prop_map(|(at, side, is_blocked)| Op::Block(at, side, is_blocked)).boxed())
        }
        Fault::Slow => {
            let clogs = (at(), side(), vec(bulk.clone(), 3..6));
            let clogs = clogs.prop_map(|(at, side, writes)| Op::Clog(at, side, writes));
            vec![(1, clogs.boxed()), (1, Just(Op::Room).boxed())]
        }
        Fault::Crash => {
            let crashes = (at(), kept(), bytes());
            one(crashes.prop_map(|(at, kept, bytes)| Op::Crash(at, kept, bytes)).boxed())
        }
        Fault::Fuse => {
            let fuses = (at(), 0..8_u8, kept(), bytes());
            let fuses = fuses.prop_map(|(at, steps, kept, bytes)| Op::Fuse(at, steps, kept, bytes));
            vec![(2, fuses.boxed())]
        }
        Fault::Restore => {
            vec![(1, at().prop_map(Op::KeepImage).boxed()), (1, at().prop_map(Op::Restore).boxed())]
        }
        Fault::FileClone => one(at().prop_map(Op::CloneFile).boxed()),
        Fault::MachineClone => {
            let split = (at(), writes.clone(), writes.clone());
            let split = split.prop_map(|(at, here, there)| Op::Split(at, here, there));
            vec![(1, at().prop_map(Op::CloneMachine).boxed()), (1, split.boxed())]
        }
        Fault::Clock => {
            one((at(), any::<i8>()).prop_map(|(at, minutes)| Op::Skew(at, minutes)).boxed())
        }
        Fault::Jump => one((at(), -10..=10_i8).prop_map(|(at, years)| Op::Jump(at, years)).boxed()),
        Fault::BadDisk => {
            let fails = (at(), 1..6_u8, any::<bool>());
            one(fails.prop_map(|(at, nth, is_landed)| Op::FailWrite(at, nth, is_landed)).boxed())
        }
        Fault::FullDisk => {
            let fills = (at(), prop_oneof![0..100_u32, 0..20_000_u32]);
            let fills = fills.prop_map(|(at, room)| Op::FullDisk(at, room));
            vec![(1, fills.boxed()), (1, at().prop_map(Op::RoomOnDisk).boxed())]
        }
        Fault::Classic => {
            vec![(8, (at(), classic()).prop_map(|(at, op)| Op::Classic(at, op)).boxed())]
        }
        Fault::Abuse => one((at(), abuse()).prop_map(|(at, abuse)| Op::Abuse(at, abuse)).boxed()),
        Fault::Upgrade => one(at().prop_map(Op::Upgrade).boxed()),
        Fault::Bundle => {
            let frames = proptest::option::of(0..8_u8);
            let imports = (at(), at(), frames);
            let imports = imports.prop_map(|(at, which, frames)| Op::Import(at, which, frames));
            let exports = (at(), at()).prop_map(|(at, peer)| Op::Export(at, peer));
            vec![(1, exports.boxed()), (2, imports.boxed())]
        }
    }
}

/// What somebody does who means no good.
fn abuse() -> impl Strategy<Value = Abuse> {
    prop_oneof![
        1 => Just(Abuse::LengthBomb),
        1 => any::<u8>().prop_map(Abuse::Lie),
        1 => Just(Abuse::Depth),
        1 => Just(Abuse::Elements),
        1 => any::<bool>().prop_map(Abuse::Drip),
        1 => (1..600_u16).prop_map(Abuse::Free),
        1 => Just(Abuse::Gap),
        1 => Just(Abuse::Mute),
        1 => (0..600_u16).prop_map(Abuse::Deaf),
        1 => any::<u64>().prop_map(Abuse::Replay),
        2 => any::<u64>().prop_map(Abuse::Ask),
    ]
}

/// What happens to peers of 2010, and to the records that they share.
fn classic() -> impl Strategy<Value = ClassicOp> {
    let (record, value) = (|| 0..3_u8, any::<u8>);
    prop_oneof![
        4 => (record(), value()).prop_map(|(record, value)| ClassicOp::Save(record, value)),
        1 => record().prop_map(ClassicOp::Destroy),
        3 => Just(ClassicOp::Connect),
        1 => [bytes(), bytes()].prop_map(ClassicOp::Cut),
        1 => Just(ClassicOp::Sever),
        3 => bytes().prop_map(ClassicOp::Up),
        3 => bytes().prop_map(ClassicOp::Down),
        2 => Just(ClassicOp::Talk),
        2 => (value(), record(), proptest::option::weighted(0.8, value()))
            .prop_map(|(node, record, value)| ClassicOp::Native(node, record, value)),
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

/// Large writes of the world itself.
pub fn bulk() -> impl Strategy<Value = Write> {
    (0..6_u8, 50..60_u8).prop_map(|(id, kib)| Write::Large { id, kib })
}

/// Writes of every sort that the world itself has.
pub fn writes() -> impl Strategy<Value = Write> {
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
        2 => (id(), value()).prop_map(|(id, value)| Write::Card { id, value }),
        1 => (id(), 30..100_u8).prop_map(|(id, kib)| Write::Large { id, kib }),
    ]
}
