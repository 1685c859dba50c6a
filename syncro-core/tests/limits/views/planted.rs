//! Ways of doing things that were tried and failed: the tests find them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use syncro_core::planted::{Planted, plant};

use super::stories::{Story, is_shown_again, never_flickers, op};

/// Stories in which what is planted has to be found.
const STORIES: usize = 5000;

/// Whether some of so many stories fail.
fn is_found_by_stories() -> bool {
    let config = ProptestConfig { cases: 1, failure_persistence: None, ..Default::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    (0..STORIES).any(|_| {
        let ops = vec(op(), 1..60).new_tree(&mut runner).unwrap().current();
        fails(|| {
            let mut story = Story::new();
            ops.iter().for_each(|op| story.happen(op));
            story.end();
        })
    })
}

fn fails(test: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(test)).is_err()
}

#[test]
fn what_was_tried_and_failed_is_found() {
    let mut missed = Vec::new();
    for planted in Planted::OF_VIEWS {
        plant(Some(planted));
        let is_found = match planted {
            Planted::SettledByAcks | Planted::CoversAhead => fails(never_flickers),
            Planted::CoveredForEver => fails(is_shown_again),
            _ => is_found_by_stories(),
        };
        plant(None);
        if !is_found {
            missed.push(planted);
        }
    }
    assert_eq!(missed, []);
}
