//! Longer stories of more nodes, at random, for as long as somebody wants to wait.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::say;
use super::trial::{converge, not_wedged, silence, visit_all};
use syncro_sim::world::Machine;
use syncro_sim::{Failure, World};
use syncro_sim::{Op, Swarm, bulk, ops, writes};

/// For how many minutes to go on, or `all` variants without random stories.
const MORE: &str = "SYNCRO_SOAK";

/// The seed to begin with; each story takes the next.
const SEED: &str = "SYNCRO_SEED";

/// Nodes of a world at most, clones included.
const NODES_MAX: usize = 7;

/// Stories that are played when nobody asks for more, to see that they can be.
const STORIES: u64 = 20;

/// What happens in a long story: what happens in any, and copies that sleep for a while.
#[derive(Clone, Debug)]
enum Turn {
    Op(Op),
    /// Copies a running machine, for later.
    Copy(u8),
    /// Lets a copied machine go on beside the others, or in the place of what it is a copy of.
    Wake(u8, bool),
    /// Starts a second node on the copy of a file that was kept.
    CloneImage(u8),
}

#[test]
fn long_stories_with_sleeping_copies_end_well() {
    let more = More::asked();
    let first = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let is_random = matches!(more, More::Until(_));
    let mut seed = first.unwrap_or(if is_random { RandomState::new().hash_one(()) } else { 1 });
    let mut played = 0;
    say(&format!("long stories from {SEED}={seed}"));
    while played < STORIES || is_random && more.is_due() {
        play_seed(seed);
        (seed, played) = (seed.wrapping_add(1), played + 1);
    }
    say(&format!("points {played}/{played} long stories"));
}

/// What is asked for after what is always done.
#[derive(Clone, Copy, Debug)]
pub(super) enum More {
    Nothing,
    All,
    Until(Instant),
}

impl More {
    pub(super) fn asked() -> Self {
        let Ok(asked) = std::env::var(MORE) else { return Self::Nothing };
        let Ok(minutes) = asked.parse::<u64>() else { return Self::All };
        Self::Until(Instant::now() + Duration::from_secs(60 * minutes))
    }

    /// Whether it is not over yet.
    pub(super) fn is_due(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Until(end) => Instant::now() < end,
        }
    }
}

/// Plays the story of a seed. One that fails is made smaller and shown.
fn play_seed(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: 1, failure_persistence: None, ..Config::default() };
    let stories = (2..=5_usize, vec(turns(), 60..200), any::<u8>());
    let outcome = TestRunner::new_with_rng(config, rng).run(&stories, |(nodes, turns, hub)| {
        let outcome = play(nodes, &turns, usize::from(hub));
        outcome.map_err(|failure| TestCaseError::fail(failure.to_string()))
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, story)) => panic!(
            "{reason}\n    {SEED}={seed} cargo test -p syncro-core --test nodes heal::soak\n{story:#?}"
        ),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn turns() -> impl Strategy<Value = Turn> {
    let at = any::<u8>;
    prop_oneof![
        30 => ops(Swarm::default(), writes().boxed(), bulk().boxed()).prop_map(Turn::Op),
        1 => at().prop_map(Turn::Copy),
        1 => (at(), any::<bool>()).prop_map(|(copy, beside)| Turn::Wake(copy, beside)),
        1 => at().prop_map(Turn::CloneImage),
    ]
}

fn play(nodes: usize, turns: &[Turn], hub: usize) -> Result<(), Failure> {
    let mut world = World::new(nodes)?;
    let mut asleep: Vec<(usize, Machine)> = Vec::new();
    for turn in turns {
        let has_room = world.nodes.len() < NODES_MAX;
        let node = |number: u8| usize::from(number) % world.nodes.len();
        match turn {
            Turn::Op(op) => op.happen(&mut world)?,
            Turn::Copy(at) => asleep.push((node(*at), world.copy_machine(node(*at))?)),
            Turn::Wake(at, beside) if !asleep.is_empty() && (has_room || !beside) => {
                let (node, machine) = asleep.swap_remove(usize::from(*at) % asleep.len());
                if *beside {
                    world.wake(machine)?;
                } else {
                    world.set_back(node, machine)?;
                }
            }
            Turn::CloneImage(at) if has_room => {
                world.clone_image(node(*at))?;
            }
            _ => {}
        }
    }
    heal(&mut world, hub)
}

/// Ends all faults, and demands what the pairs demand.
fn heal(world: &mut World, hub: usize) -> Result<(), Failure> {
    world.end_faults()?;
    world.cut_all()?;
    let mut forgotten: BTreeSet<_> = world.ledger.causes.keys().cloned().collect();
    forgotten.retain(|it| !world.nodes.iter().any(|node| node.log.holds(it)));
    let (count, hub) = (world.nodes.len(), hub % world.nodes.len());
    let star: Vec<_> = (0..count).filter(|node| *node != hub).map(|node| (node, hub)).collect();
    converge(world, &star, &forgotten)?;
    not_wedged(world, &star)?;
    silence(world, &star, 2)?;
    let all: Vec<_> = (0..count).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    visit_all(world, &all)?;
    silence(world, &all, 2)?;
    world.check_end()
}
