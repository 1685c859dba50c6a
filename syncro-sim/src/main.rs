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
const TWICE_EVERY: u64 = 50;

/// Seeds of which every fault and every sight must be in some: what never happens proves nothing.
const ALL_SEEN_IN: u64 = 2000;

/// Seeds that are worth to be played again, each with the reason.
const LISTED: &str = include_str!("../seeds.txt");

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (sim, sights, args): (fn() -> Sim, &[Sight], _) = match &args[..] {
        ["--views", rest @ ..] => (Sim::of_views, &Sight::OF_VIEWS, rest),
        ["--classic", rest @ ..] => (Sim::of_classic, &Sight::OF_CLASSIC, rest),
        all => (Sim::default, &Sight::ALL, all),
    };
    let run = |seed_of: &(dyn Fn(u64) -> Option<u64> + Sync)| run(sim, sights, seed_of);
    let task = match Task::parse(args) {
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
        Task::Seeds { base, seeds } => {
            run(&|number| (number < seeds).then(|| base.wrapping_add(number)))
        }
        Task::Minutes { base, minutes } => {
            let end = Instant::now() + Duration::from_secs(60 * minutes);
            // What is in few worlds is in some of these.
            let is_due = |number| number < ALL_SEEN_IN || Instant::now() < end;
            run(&|number| is_due(number).then(|| base.wrapping_add(number)))
        }
        Task::Seed { seed, is_traced: false } => run(&|number| (number == 0).then_some(seed)),
        Task::Listed => {
            let listed: Vec<u64> = listed().map(|(seed, _)| seed).collect();
            run(&|number| listed.get(usize::try_from(number).ok()?).copied())
        }
        Task::Seed { seed, is_traced: true } => trace(&sim(), seed),
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
    Minutes { base: u64, minutes: u64 },
    Listed,
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
            ["--listed"] => Ok(Self::Listed),
            ["--minutes", minutes] => Ok(Self::Minutes { base: 0, minutes: number(minutes)? }),
            ["--minutes", minutes, "--base", base] => {
                Ok(Self::Minutes { base: number(base)?, minutes: number(minutes)? })
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
    rounds: usize,
    failed: Vec<Found>,
    seen: BTreeMap<Sight, u64>,
}

/// The seeds of the list, and why they are on it.
fn listed() -> impl Iterator<Item = (u64, &'static str)> {
    let lines = LISTED.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (seed, reason) = line.split_once(' ')?;
        Some((seed.parse().ok()?, reason.trim()))
    })
}

/// Plays seeds by their numbers, until there are none, on every core.
fn run(sim: fn() -> Sim, sights: &[Sight], seed_of: &(dyn Fn(u64) -> Option<u64> + Sync)) -> bool {
    let (next, is_over, sum) =
        (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sum::default()));
    let start = Instant::now();
    let play = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(seed) = seed_of(number).filter(|_| !is_over.load(Ordering::Relaxed)) else {
            return;
        };
        let sim = sim();
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
                sum.rounds = sum.rounds.max(passed.told.rounds);
                passed.told.seen.into_iter().for_each(|it| *sum.seen.entry(it).or_default() += 1)
            }
            Err(found) => {
                eprintln!("{found}");
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
    sum.tell(sights, start.elapsed())
}

impl Sum {
    /// Says what it has come to, and whether all is well.
    fn tell(&self, sights: &[Sight], took: Duration) -> bool {
        let Self { played, events, rounds, failed, seen, .. } = self;
        let counts = sights.iter().map(|sight| (*sight, seen.get(sight).copied().unwrap_or(0)));
        let counts: Vec<_> = counts.collect();
        let shown: Vec<_> = counts.iter().map(|(sight, n)| format!("{sight:?} {n}")).collect();
        println!("in so many of the worlds: {}", shown.join(", "));
        let years = self.ms as f64 / (365.25 * 24.0 * 60.0 * 60.0 * 1000.0);
        let seconds = took.as_secs_f64();
        println!(
            "{events} events in {years:.0} simulated years and {seconds:.0} s, at rest within {rounds} rounds"
        );
        let missing = counts.iter().filter(|(_, n)| *n == 0 && *played >= ALL_SEEN_IN);
        let missing: Vec<_> = missing.map(|(sight, _)| format!("{sight:?}")).collect();
        if !missing.is_empty() {
            println!("never seen, so nothing is proven of it: {}", missing.join(", "));
        }
        println!("points {}/{played} seeds", played - failed.len() as u64);
        failed.is_empty() && missing.is_empty()
    }
}

/// Failures after which a run ends.
const FAILURES_MAX: usize = 5;

/// Shows what happens in the story of a seed; where it fails, in the shortest one that does.
fn trace(sim: &Sim, seed: u64) -> bool {
    let (lines, is_well) = match sim.run_twice(seed) {
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

Usage: syncro-sim [--views | --classic] <WHAT>

  --views                Worlds of sources and views, rather than of nodes that are all alike
  --classic              Worlds in half of which there are peers of 2010, too
  --seeds N [--base B]   Play N seeds, from seed B on; the default is 0
  --minutes N [--base B] Play seeds for N minutes, and 2,000 at least
  --listed               Play the seeds of syncro-sim/seeds.txt
  --seed S               Play one seed
  --seed S --trace       Show what happens in it, line by line, and nothing else on stdout;
                         where it fails, in the shortest story that fails as it does
  --planted              Demand that every planted bug is found; test builds only
";
