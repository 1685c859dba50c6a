//! Whether the world finds bugs that are there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use syncro_core::planted::{Planted, plant};

use crate::run::Sim;
use crate::world::Law;

/// Seeds within which each bug must be found.
const SEEDS_MAX: u64 = 20_000;

/// The laws that a bug breaks, one of which is the first to be seen broken.
fn laws(planted: Planted) -> &'static [Law] {
    match planted {
        Planted::LineageAlone => &[Law::Points, Law::Silence, Law::Causality, Law::Convergence],
        Planted::SecondParked => &[Law::Causality, Law::Convergence, Law::Points, Law::Rest],
        Planted::EchoByNode => &[Law::Causality, Law::Convergence, Law::Points],
        Planted::StampDigest => &[Law::Points, Law::Convergence, Law::Causality],
        Planted::OnePoint => &[Law::Silence],
        Planted::AckBeforeFlush => &[Law::Durability],
        Planted::PointBeforeData => &[Law::Points],
        Planted::SkipLast => &[Law::Points, Law::Causality],
        Planted::EpochReused => &[Law::Origin],
        Planted::FutureMovesClock => &[Law::Clocks],
        // The peer sees that it misses something.
        Planted::UnknownIsNothing => &[Law::Blame],
        Planted::MarkAhead => &[Law::Watch, Law::Reference],
        // What is lost, or a store in which something is missing.
        Planted::FlushForgotten => &[Law::Durability, Law::Blame],
        Planted::TieByArrival => &[Law::Convergence, Law::Reference],
        Planted::UpdateRevives => &[Law::Reference],
        Planted::HalfTransaction => &[Law::Atomicity, Law::Watch],
        Planted::SnapshotMoves => &[Law::Atomicity],
        Planted::ForkIgnored => &[Law::Origin],
        Planted::ClockForgotten => &[Law::Clocks],
        Planted::EchoesForgotten => &[Law::Silence],
        Planted::GapIgnored => &[Law::Points, Law::Durability, Law::Causality, Law::Convergence],
        Planted::SilenceUnnoticed => &[Law::Liveness, Law::Rest, Law::Abuse],
        Planted::LadderUnbounded => &[Law::Abuse],
        // The sums of both sides differ, or the view does not have what it should.
        Planted::ResetMerges | Planted::EnteringEcho => &[Law::Views, Law::Blame],
        Planted::EvictionsInMemory => &[Law::Views, Law::Watch],
        Planted::SettledByAcks | Planted::CoversAhead | Planted::CoveredForEver => &[Law::Kept],
        Planted::MergedSum => &[Law::Blame],
    }
}

/// Plants one bug after the other, and returns whether each was found. Prints how many seeds it took.
pub fn find_planted() -> bool {
    let mut found = 0;
    let all = Planted::OF_VIEWS.into_iter().chain(Planted::ALL);
    let count = all.clone().count();
    for planted in all {
        let sim = || match Planted::OF_VIEWS.contains(&planted) {
            true => Sim::of_views(),
            false => Sim::default(),
        };
        let (next, first) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let start = Instant::now();
        let search = || {
            plant(Some(planted));
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS_MAX || seed > first.load(Ordering::Relaxed) {
                    return;
                }
                if sim().first_failure(seed).is_some() {
                    first.fetch_min(seed, Ordering::Relaxed);
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|threads| (0..cores).for_each(|_| drop(threads.spawn(search))));
        let (seed, seconds) = (first.into_inner(), start.elapsed().as_secs_f32());
        if seed == u64::MAX {
            println!("{planted:?}: not found in {SEEDS_MAX} seeds, {seconds:.1} s");
            continue;
        }
        plant(Some(planted));
        let failure = sim().first_failure(seed);
        plant(None);
        let Some(failure) = failure else { continue };
        println!("{planted:?}: seed {seed}, {seconds:.1} s: {failure}");
        if !laws(planted).contains(&failure.law) {
            println!("{planted:?}: it breaks {:?}, and another law is broken", laws(planted));
        } else if let Some(failure) = sim().first_failure(seed) {
            println!("{planted:?}: seed {seed} fails without it, too: {failure}");
        } else {
            found += 1;
        }
    }
    println!("points {found}/{count} planted bugs");
    found == count
}
