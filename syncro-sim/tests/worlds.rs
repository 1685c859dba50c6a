//! What must hold whatever happens: random worlds, bugs planted in them, and stories that once failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use syncro_derive::ScribeModel;
use syncro_sim::{Op, Sim, Story, Topology, Write};

/// Seeds of one run; the variable `SYNCRO_SEEDS` asks for more.
const SEEDS: u64 = 200;

fn seeds() -> u64 {
    let seeds = std::env::var("SYNCRO_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// Those of a commit are played by `cargo xtask sim`, in thousands.
#[test]
fn whatever_happens_nodes_converge_lose_nothing_and_come_to_rest() {
    for seed in 0..seeds() {
        if let Err(found) = Sim::default().run(seed) {
            panic!("{found}");
        }
    }
    println!("points {0}/{0} seeds", seeds());
}

#[test]
fn a_seed_played_twice_is_the_same_twice() {
    for seed in 0..seeds() / 20 {
        if let Err(found) = Sim::default().run_twice(seed) {
            panic!("{found}");
        }
    }
}

#[test]
fn whatever_happens_a_view_shows_what_it_may_see_and_what_it_wrote() {
    for seed in 0..seeds() {
        if let Err(found) = Sim::of_views().run(seed) {
            panic!("{found}");
        }
    }
    println!("points {0}/{0} seeds of views", seeds());
}

// Bugs can be planted in debug builds only.
#[cfg(debug_assertions)]
#[test]
fn every_planted_bug_is_found() {
    assert!(syncro_sim::find_planted());
}

/// Three halves of one machine, in one epoch, had the first message of their logs in common, which ended at
/// one point for all. Their peer named the branch after it, and so took two branches for one.
#[test]
fn branches_that_begin_alike_stay_apart() {
    let put = |node, value| Op::Write(node, Write::Put { id: 0, field: 0, value });
    let story = Story {
        nodes: 2,
        cast: None,
        has_sectors: false,
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
        rates_ppm: [0; 2],
        chunks: None,
    };
    story.play().unwrap();
}

/// The halves of one machine met, and began one and the same epoch. What one of them raised was lost.
#[test]
fn halves_of_a_machine_that_have_met_raise_apart() {
    let tally = |node, by| Op::Write(node, Write::Tally { by });
    let met = Story {
        nodes: 5,
        cast: None,
        has_sectors: false,
        ops: vec![
            Op::CloneMachine(0),
            Op::Connect(5, 0, false),
            Op::Settle,
            tally(0, 1),
            tally(5, 2),
        ],
        topology: Topology::Line,
        rates_ppm: [0; 2],
        chunks: None,
    };
    met.play().unwrap();
    // The same, with a half that was copied once more.
    let copied_again = Story {
        nodes: 2,
        cast: None,
        has_sectors: false,
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
        rates_ppm: [0; 2],
        chunks: None,
    };
    copied_again.play().unwrap();
}

/// A model of the name of one of the world's own met records that the world itself wrote, and could not be read.
#[test]
fn a_world_writes_nothing_but_what_the_model_says() {
    #[derive(ScribeModel, Debug, PartialEq)]
    #[scribe(crate = "syncro_core")]
    struct Note {
        id: u32,
        title: String,
        done: bool,
    }
    let notes = (0..3_u32, "[a-c]{0,3}", any::<bool>());
    syncro_sim::check(notes.prop_map(|(id, title, done)| Note { id, title, done }));
}

#[derive(ScribeModel, Debug, PartialEq)]
#[scribe(crate = "syncro_core")]
struct Tagged {
    id: u32,
    #[scribe(set)]
    tags: Vec<u8>,
}

fn tagged(tags: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Tagged> {
    (0..3_u32, tags).prop_map(|(id, tags)| Tagged { id, tags })
}

/// What a check says that fails.
fn finding(check: impl FnOnce()) -> String {
    *catch_unwind(AssertUnwindSafe(check)).unwrap_err().downcast().unwrap()
}

/// Where an instance was not what is read of it, a world without nodes was told beside it, and how that panics.
#[test]
fn what_cannot_be_written_is_told_without_a_story() {
    let unsorted = Just(vec![2, 1]);
    let found = finding(|| syncro_sim::check(tagged(unsorted)));
    assert!(found.starts_with("seed 0: Application: Tagged { id: "), "{found}");
    assert!(found.contains("tags: [2, 1] } is another when it has been written"), "{found}");
    assert!(!found.contains("overflow"), "{found}");
}

/// All panics were one: shrinking ended with whichever had the shortest story.
#[test]
fn a_panic_is_shrunk_to_none_but_itself() {
    let check = || {
        syncro_sim::check_that(tagged(Just(vec![1])), |all| {
            assert!(all.len() < 2, "too many");
            assert!(all.len() == 2, "too few");
            Ok(())
        });
    };
    let found = finding(check);
    assert!(found.contains("seed 0: Panic: too many, at syncro-sim/tests/worlds.rs:"), "{found}");
}
