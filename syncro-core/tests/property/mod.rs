//! What must hold whatever happens: random worlds, then peace, then the demands of `world/check.rs`.

mod op;
mod planted;

use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use crate::world::{Failure, Law};
use op::stories;

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

/// The first failure of certain laws within a number of cases of a fixed seed.
fn search(cases: u32, laws: &[Law]) -> Option<Failure> {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let mut found = None;
    let cell = std::cell::RefCell::new(&mut found);
    let _ =
        TestRunner::new_with_rng(config, rng).run(&stories(), |story| match story.play(false) {
            Err(failure) if laws.contains(&failure.law) => {
                let message = failure.to_string();
                cell.borrow_mut().get_or_insert(failure);
                Err(TestCaseError::fail(message))
            }
            _ => Ok(()),
        });
    found
}
