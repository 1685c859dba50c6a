//! Worlds from the command line: `cargo xtask sim`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use syncro_sim::{Found, Sight, Sim};

/// Every how-manieth seed is played twice, to see that it is the same twice.
const TWICE_EVERY: u64 = 16;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let task = match Task::parse(&args) {
        Ok(task) => task,
        Err(misuse) => {
            eprintln!("error: {misuse}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    // A panic inside a world is a finding, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let is_well = match task {
        Task::Help => io::stdout().write_all(HELP.as_bytes()).is_ok(),
        Task::Seeds { base, seeds } => run(base, |played| played < seeds),
        Task::Hours { base, hours } => {
            let end = Instant::now() + Duration::from_secs(60 * 60 * hours);
            run(base, |_| Instant::now() < end)
        }
        Task::Seed { seed, is_traced: false } => run(seed, |played| played < 1),
        Task::Seed { seed, is_traced: true } => trace(seed),
        #[cfg(all(feature = "planted", debug_assertions))]
        Task::Planted => syncro_sim::find_planted(),
        #[cfg(not(all(feature = "planted", debug_assertions)))]
        Task::Planted => {
            eprintln!("error: bugs are planted in test builds only: cargo xtask sim --planted");
            false
        }
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Debug)]
enum Task {
    Help,
    Seeds { base: u64, seeds: u64 },
    Hours { base: u64, hours: u64 },
    Seed { seed: u64, is_traced: bool },
    Planted,
}

impl Task {
    fn parse(args: &[&str]) -> Result<Self, String> {
        let number =
            |text: &str| text.parse().map_err(|_| format!("`{text}` is no number of 0 or more"));
        match args {
            [] | ["--help" | "-h" | "help"] => Ok(Self::Help),
            ["--planted"] => Ok(Self::Planted),
            ["--seed", seed] => Ok(Self::Seed { seed: number(seed)?, is_traced: false }),
            ["--seed", seed, "--trace"] => Ok(Self::Seed { seed: number(seed)?, is_traced: true }),
            ["--seeds", seeds] => Ok(Self::Seeds { base: 0, seeds: number(seeds)? }),
            ["--seeds", seeds, "--base", base] => {
                Ok(Self::Seeds { base: number(base)?, seeds: number(seeds)? })
            }
            ["--hours", hours] => Ok(Self::Hours { base: 0, hours: number(hours)? }),
            ["--hours", hours, "--base", base] => {
                Ok(Self::Hours { base: number(base)?, hours: number(hours)? })
            }
            other => Err(format!("`{}` says nothing", other.join(" "))),
        }
    }
}

/// What all threads have come to.
#[derive(Default)]
struct Sum {
    played: u64,
    events: u64,
    ms: u64,
    failed: Vec<Found>,
    seen: BTreeMap<Sight, u64>,
}

/// Plays seeds from a first one on, for as long as more are wanted, on every core.
fn run(base: u64, wants: impl Fn(u64) -> bool + Sync) -> bool {
    let (next, is_over, sum) =
        (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sum::default()));
    let start = Instant::now();
    let play = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if is_over.load(Ordering::Relaxed) || !wants(number) {
            return;
        }
        let (sim, seed) = (Sim::default(), base.wrapping_add(number));
        let played = match number % TWICE_EVERY {
            0 => sim.run_twice(seed),
            _ => sim.run(seed),
        };
        let Ok(mut sum) = sum.lock() else { return };
        sum.played += 1;
        match played {
            Ok(passed) => {
                sum.events += passed.told.events;
                sum.ms += passed.told.ms;
                passed.told.seen.into_iter().for_each(|it| *sum.seen.entry(it).or_default() += 1)
            }
            Err(found) => {
                eprintln!("{found}\nto see it again: cargo xtask sim --seed {seed} --trace");
                sum.failed.push(*found);
                is_over.store(sum.failed.len() >= FAILURES_MAX, Ordering::Relaxed);
            }
        }
        if sum.played.is_multiple_of(1000) {
            eprintln!("{} seeds in {:.0} s", sum.played, start.elapsed().as_secs_f32());
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|threads| (0..cores).for_each(|_| drop(threads.spawn(play))));
    let Ok(sum) = sum.into_inner() else { return false };
    for (sight, count) in &sum.seen {
        eprintln!("{sight:?}: in {count} of {}", sum.played);
    }
    let well = sum.played - sum.failed.len() as u64;
    let days = sum.ms / (24 * 60 * 60 * 1000);
    println!("{} events in {days} simulated days", sum.events);
    println!("points {well}/{} seeds", sum.played);
    sum.failed.is_empty()
}

/// Failures after which a run ends.
const FAILURES_MAX: usize = 5;

/// Shows what happens in the story of a seed; where it fails, in the shortest one that does.
fn trace(seed: u64) -> bool {
    let sim = Sim::default();
    let (lines, is_well) = match sim.run(seed) {
        Ok(_) => (sim.lines(&sim.story(seed)), true),
        Err(found) => (found.lines, false),
    };
    let mut out = io::stdout().lock();
    // Whoever closes the pipe has seen enough.
    let _ = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    is_well
}

const HELP: &str = "\
Deterministic worlds of nodes, links, disks and clocks: one seed is one world.

Usage: syncro-sim <WHAT>

  --seeds N [--base B]   Play N seeds, from seed B on; the default is 0
  --hours N [--base B]   Play seeds for N hours
  --seed S               Play one seed
  --seed S --trace       Show what happens in it, line by line, and nothing else on stdout;
                         where it fails, in the shortest story that fails as it does
  --planted              Demand that every planted bug is found; test builds only
";
