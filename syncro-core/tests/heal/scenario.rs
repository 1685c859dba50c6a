//! Forty steps in the life of three nodes, with every sort of write.

use syncro_core::Encoding;

use syncro_sim::{Failure, World, Write};

/// A notebook, and the nodes it talks to.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(usize, Write),
    /// Connects two nodes until they have nothing more to say.
    Meet(usize, usize),
    /// Connects two nodes, and leaves them connected.
    Connect(usize, usize),
    /// Delivers one message to a node on each of its links.
    Deliver(usize),
    Settle,
    Cut,
    Sync(usize),
    Restart(usize),
}

impl Step {
    pub(super) fn happen(&self, world: &mut World) -> Result<(), Failure> {
        match self {
            Self::Write(node, write) => world.write(*node, write).map(|_| ()),
            Self::Meet(a, b) => world.visit(*a, *b, Encoding::MessagePack),
            Self::Connect(a, b) => world.connect(*a, *b, Encoding::Json).map(|_| ()),
            Self::Deliver(node) => world.deliver_to(*node),
            Self::Settle => world.settle(),
            Self::Cut => world.cut_all(),
            Self::Sync(node) => world.sync(*node),
            Self::Restart(node) => world.restart(*node),
        }
    }
}

/// What happens before and while something is copied. The steps between are what a copy has missed.
#[rustfmt::skip]
pub(super) const SCENARIO: [Step; 40] = [
    Step::Write(A, Write::Put { id: 0, field: 0, value: 1 }),
    Step::Write(A, Write::Tally { by: 5 }),
    Step::Meet(A, B),
    Step::Write(B, Write::Put { id: 1, field: 0, value: 2 }),
    Step::Write(A, Write::Add { id: 0, member: 1 }),
    Step::Sync(A),
    Step::Write(A, Write::Entry { id: 0, key: 1, value: Some(7) }),
    Step::Meet(B, C),
    Step::Write(C, Write::Raise { id: 1, by: 3 }),
    Step::Meet(A, B),
    Step::Write(A, Write::Twins { value: 1 }),
    Step::Write(B, Write::Destroy { id: 0 }),
    Step::Restart(A),
    // An update that nobody knows yet to be of a destroyed record.
    Step::Write(A, Write::Put { id: 0, field: 1, value: 4 }),
    Step::Write(A, Write::Several { id: 2, value: 3, by: -2 }),
    Step::Connect(A, B),
    Step::Write(A, Write::Raise { id: 1, by: 7 }),
    Step::Deliver(B),
    Step::Write(B, Write::Put { id: 1, field: 2, value: 9 }),
    Step::Deliver(A),
    Step::Sync(B),
    Step::Settle,
    Step::Write(B, Write::Replace { id: 1, value: 5 }),
    Step::Deliver(A),
    // The record that was destroyed begins anew.
    Step::Write(A, Write::Put { id: 0, field: 0, value: 8 }),
    Step::Cut,
    Step::Write(A, Write::Add { id: 0, member: 2 }),
    Step::Connect(C, A),
    Step::Settle,
    Step::Write(C, Write::Twins { value: 2 }),
    Step::Write(A, Write::Large { id: 2, kib: 3 }),
    Step::Deliver(A),
    Step::Deliver(C),
    Step::Cut,
    Step::Write(C, Write::Remove { id: 0, member: 2 }),
    Step::Meet(B, C),
    Step::Write(A, Write::Destroy { id: 1 }),
    Step::Write(A, Write::Entry { id: 0, key: 1, value: None }),
    Step::Restart(B),
    Step::Write(A, Write::Several { id: 0, value: 6, by: 4 }),
];

/// What a node writes when it goes on: each time something else, to records that everybody knows.
pub(super) fn going_on(node: usize, turn: usize) -> [Write; 3] {
    let value = 20 + u8::try_from(node).unwrap_or(0);
    let by = 1 << (node % 6);
    let every = [
        Write::Put { id: 0, field: 0, value },
        Write::Several { id: 2, value, by },
        Write::Raise { id: 0, by },
        Write::Destroy { id: 2 },
        Write::Add { id: 1, member: value },
        Write::Put { id: 2, field: 1, value },
        Write::Entry { id: 1, key: 1, value: Some(value) },
        Write::Replace { id: 1, value },
    ];
    let at = |place: usize| every[(turn + place) % every.len()].clone();
    [Write::Tally { by }, at(node), at(node + 3)]
}
