//! What is done to a database of redb's own.

use redb::Durability::{Immediate, None as Buffered};

use crate::plain::{Plain, Step};
use crate::proof::{Proof, Provable, Question};

/// A file that grows from one megabyte to three, and shrinks a little in between.
fn growth() -> Vec<Step> {
    let round = |round: u64| {
        let keys = round * 4..round * 4 + 4;
        let few = keys.start..keys.start + 1;
        [
            Step::Put { keys, bytes: 30_000 << round, durability: Buffered },
            Step::Put { keys: few, bytes: 10, durability: Immediate },
        ]
    };
    let mut steps: Vec<_> = (0..4).flat_map(round).collect();
    steps.insert(4, Step::Reopen);
    steps
}

/// A file that shrinks, once by itself and once because it is told to.
fn shrinking() -> Vec<Step> {
    let mut steps = vec![Step::Put { keys: 0..8, bytes: 100_000, durability: Immediate }];
    steps.push(Step::Delete { keys: 1..8, durability: Immediate });
    for key in 0..3 {
        steps.push(Step::Put { keys: key..key + 1, bytes: 100, durability: Immediate });
    }
    steps.push(Step::Put { keys: 10..20, bytes: 9_000, durability: Buffered });
    steps.push(Step::Delete { keys: 10..19, durability: Immediate });
    steps.push(Step::Compact);
    steps.push(Step::Put { keys: 0..2, bytes: 100, durability: Immediate });
    steps
}

pub(crate) fn proofs(question: &Question) -> Vec<Box<dyn Provable>> {
    let scenarios =
        [("redb-growth", growth(), 256 << 10), ("redb-shrinking", shrinking(), 1 << 20)];
    let proofs = scenarios.into_iter().map(|(name, steps, cache_bytes)| {
        let plain = Plain { cache_bytes };
        let past = plain.live(&steps).unwrap();
        Box::new(Proof::new(name, plain, past, question.clone())) as Box<dyn Provable>
    });
    proofs.collect()
}
