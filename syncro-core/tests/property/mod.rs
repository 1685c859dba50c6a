//! What must hold whatever happens: random worlds, then peace, then the demands of `world/check.rs`.

pub(crate) mod op;
// Bugs can be planted in debug builds only.
#[cfg(debug_assertions)]
mod planted;

use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use crate::world::check::Topology;
use crate::world::{Sight, Write};
use op::{Op, Story, stories};

/// Cases of one run; the environment variable `SYNCRO_CASES` asks for more.
const CASES: u32 = 1000;

/// Cases in which to look for what is rare.
const SIGHT_CASES: u32 = 300;

fn cases(default: u32) -> u32 {
    let cases = std::env::var("SYNCRO_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_happens_nodes_converge_lose_nothing_and_come_to_rest() {
    let mut runner = TestRunner::new(Config {
        cases: cases(CASES),
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/nodes.txt",
        ))),
        ..Config::default()
    });
    let outcome = runner.run(&stories(), |story| {
        story.play(true).map_err(|failure| TestCaseError::fail(failure.to_string()))?;
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, story)) => panic!("{reason}\n{story:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// What never happens proves nothing. The figures are printed; the rarest sight should be in one story of
/// fifty, and to be sure of that takes more stories than there are here.
#[test]
fn everything_that_can_happen_happens_often_enough() {
    let cases = cases(SIGHT_CASES);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut counts: BTreeMap<Sight, u32> = Sight::ALL.into_iter().map(|sight| (sight, 0)).collect();
    for _ in 0..cases {
        let story = stories().new_tree(&mut runner).unwrap().current();
        for sight in story.play(true).unwrap_or_else(|failure| panic!("{failure}\n{story:#?}")) {
            *counts.entry(sight).or_default() += 1;
        }
    }
    for (sight, count) in &counts {
        println!("{sight:?}: {:.1} %", 100.0 * f64::from(*count) / f64::from(cases));
    }
    counts.retain(|_, count| 100 * *count < cases);
    assert!(counts.is_empty(), "in under 1 % of the stories: {counts:?}");
}

/// Three halves of one machine, in one epoch, had the first message of their logs in common, which ended at
/// one point for all. Their peer named the branch after it, and so took two branches for one.
#[test]
fn branches_that_begin_alike_stay_apart() {
    let put = |node, value| Op::Write(node, Write::Put { id: 0, field: 0, value });
    let story = Story {
        nodes: 2,
        ops: vec![
            Op::CloneMachine(0),
            Op::Write(2, Write::Several { id: 0, value: 0, by: 0 }),
            put(0, 0),
            Op::Write(2, Write::Large { id: 0, kib: 64 }),
            Op::CloneMachine(2),
            put(3, 0),
            put(2, 1),
            Op::Write(3, Write::Replace { id: 0, value: 0 }),
            Op::Write(3, Write::Twins { value: 1 }),
        ],
        topology: Topology::Line,
        chunks: None,
    };
    story.play(true).unwrap();
}

/// The halves of one machine met, and began one and the same epoch. What one of them raised was lost.
#[test]
fn halves_of_a_machine_that_have_met_raise_apart() {
    let tally = |node, by| Op::Write(node, Write::Tally { by });
    let met = Story {
        nodes: 5,
        ops: vec![
            Op::CloneMachine(0),
            Op::Connect(5, 0, false),
            Op::Settle,
            tally(0, 1),
            tally(5, 2),
        ],
        topology: Topology::Line,
        chunks: None,
    };
    met.play(true).unwrap();
    // The same, with a half that was copied once more.
    let copied_again = Story {
        nodes: 2,
        ops: vec![
            Op::CloneMachine(1),
            Op::Write(2, Write::Put { id: 0, field: 0, value: 0 }),
            Op::Connect(0, 2, false),
            Op::Connect(2, 1, false),
            Op::Settle,
            Op::CloneMachine(1),
            tally(3, 1),
            tally(1, -1),
        ],
        topology: Topology::Line,
        chunks: None,
    };
    copied_again.play(true).unwrap();
}
