//! What must hold whatever happens: random worlds, then peace, then the demands of `world/check.rs`.

mod op;
// Bugs can be planted in debug builds only.
#[cfg(debug_assertions)]
mod planted;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};

use crate::world::Write;
use crate::world::check::Topology;
use op::{Op, Story, stories};

/// Cases of one run; the environment variable `SYNCRO_CASES` asks for more.
const CASES: u32 = 1000;

#[test]
fn whatever_happens_nodes_converge_lose_nothing_and_come_to_rest() {
    let cases = std::env::var("SYNCRO_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Config {
        cases: cases.unwrap_or(CASES),
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/nodes.txt",
        ))),
        ..Config::default()
    });
    let outcome = runner.run(&stories(), |story| {
        story.play(true).map_err(|failure| TestCaseError::fail(failure.to_string()))
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, story)) => panic!("{reason}\n{story:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
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
    };
    story.play(true).unwrap();
}
