//! Files that rot: a bit of a store's file is flipped, or two of its pages change places, and everything is read.
//!
//! A store may refuse such a file, or answer with an error. What it answers else must be what was written. What
//! is missing without an error, verify must find. And whatever became of it, it can be repaired.
//!
//! `SYNCRO_ROT=N` asks for N cases, and for one in 50 to be repaired; `SYNCRO_ROT_CASE=N` looks at the Nth
//! alone.
#![cfg(feature = "redb")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod file;
mod look;
mod mend;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The cases that are asked for, of so many by default.
fn cases(default: u64, part: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    match (number("SYNCRO_ROT_CASE"), number("SYNCRO_ROT")) {
        (Some(case), _) => case..case + 1,
        (None, asked) => 0..asked.map_or(default, |cases: u64| cases.div_ceil(part)),
    }
}

/// Runs the cases on all cores, in silence: redb says on stderr why it gives up, thousands of times.
fn each(cases: Range<u64>, run: impl Fn(u64) + Sync) {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Those of the tests themselves are told.
            if std::thread::current().name().is_some() {
                hook(panic);
            }
        }));
    });
    let next = AtomicU64::new(cases.start);
    let run_some = || loop {
        let case = next.fetch_add(1, Ordering::Relaxed);
        if case >= cases.end {
            break;
        }
        run(case);
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|threads| (0..cores).for_each(|_| drop(threads.spawn(run_some))));
}
