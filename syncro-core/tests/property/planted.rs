//! The ways that failed must fail here, too.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use syncro_core::planted::{Planted, plant};

use super::op::stories;
use crate::world::{Failure, Law};

/// Plants a bug and demands that the property finds it, by one of the laws that it breaks.
fn is_caught(planted: Planted, laws: &[Law]) {
    plant(Some(planted));
    let failure = search(4000, laws);
    plant(None);
    let failure = failure.expect("the bug was not found");
    println!("{planted:?}: {failure}");
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

#[test]
fn without_a_bug_the_same_search_finds_nothing() {
    assert!(search(200, &[Law::Convergence, Law::Durability, Law::Silence]).is_none());
}

#[test]
fn matching_by_lineage_alone_is_caught() {
    is_caught(Planted::LineageAlone, &[Law::Convergence, Law::Durability]);
}

#[test]
fn parking_the_second_of_two_colliding_transactions_is_caught() {
    is_caught(Planted::SecondParked, &[Law::Convergence]);
}

#[test]
fn sending_a_peer_nothing_that_its_node_wrote_is_caught() {
    is_caught(Planted::EchoByNode, &[Law::Convergence]);
}

#[test]
fn digests_over_stamps_are_caught() {
    is_caught(Planted::StampDigest, &[Law::Convergence]);
}

#[test]
fn keeping_one_point_per_peer_is_caught() {
    is_caught(Planted::OnePoint, &[Law::Silence]);
}
