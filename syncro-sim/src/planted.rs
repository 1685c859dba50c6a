//! Whether the world finds bugs that are there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use syncro_core::planted::{Planted, plant};

use crate::run::Sim;

/// Seeds within which each bug must be found.
const SEEDS_MAX: u64 = 20_000;

/// Plants one bug after the other, and returns whether each was found. Prints how many seeds it took.
pub fn find_planted() -> bool {
    let mut found = 0;
    for planted in Planted::ALL {
        let (next, first) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let start = Instant::now();
        let search = || {
            plant(Some(planted));
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS_MAX || seed > first.load(Ordering::Relaxed) {
                    return;
                }
                if Sim::default().first_failure(seed).is_some() {
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
        let failure = Sim::default().first_failure(seed).map(|failure| failure.to_string());
        plant(None);
        println!("{planted:?}: seed {seed}, {seconds:.1} s: {}", failure.unwrap_or_default());
        found += 1;
    }
    println!("points {found}/{} planted bugs", Planted::ALL.len());
    found == Planted::ALL.len()
}
