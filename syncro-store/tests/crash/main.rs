//! Stores on a disk that crashes after each of its operations, fails at each of its calls, and crashes again
//! while they recover.
//!
//! A failure names the crash: `growth:36:lost-21`, a scenario, how many operations the disk had done, and what
//! became of those that were not synced; a second crash follows in the same way. This looks at that one, and
//! at what follows from it:
//!
//! ```text
//! SYNCRO_CRASH=growth:36:lost-21 cargo test -p syncro-store --test crash
//! ```
#![cfg(feature = "redb")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod behind;
mod crash;
#[allow(dead_code, reason = "the tests of backends use the rest")]
mod disk;
mod history;
#[allow(dead_code, reason = "the tests of backends use the rest")]
mod io_errors;
mod node;
mod peer;
mod plain;
mod plain_scenarios;
mod proof;
mod random;
mod scenarios;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::backup::{Copies, copy};
use syncro_sim::disk::{image, operation};

use crate::disk::Disk;
use crate::io_errors::fail_everywhere;
use crate::node::{Node, Settings};
use crate::proof::{Proof, Provable, Question, Tally, prove};
use crate::random::crash_at_random;
use crate::scenarios::{SCENARIOS, Scenario};

#[test]
fn a_crash_at_any_operation_keeps_what_was_acknowledged() {
    let question = question();
    let mut proofs: Vec<Box<dyn Provable>> =
        SCENARIOS.iter().map(|it| proof(it, &question)).collect();
    proofs.push(proof_of_copies(&question));
    proofs.push(behind::proof(&question));
    proofs.extend(plain_scenarios::proofs(&question));
    let mut sum = Tally::default();
    for (proof, tally) in proofs.iter().zip(prove(&proofs)) {
        println!(
            "points {}/{} crash images: {}: {tally}",
            tally.checked,
            tally.planned,
            proof.name()
        );
        sum.add(&tally);
    }
    println!("points {}/{} crash images: all scenarios: {sum}", sum.checked, sum.planned);
    if sum.failures.is_empty() {
        assert_eq!(sum.checked, sum.planned);
        return;
    }
    for failure in sum.failures.iter().take(30) {
        println!("{failure}");
    }
    panic!("{} of {} crashes; look at one with SYNCRO_CRASH=", sum.failures.len(), sum.planned);
}

#[test]
fn a_disk_that_fails_at_any_call_stops_the_store_and_loses_nothing() {
    let only = env::var("SYNCRO_IO_ERROR").ok();
    let (mut planned, mut broken) = (0, Vec::new());
    for scenario in &SCENARIOS {
        let start = Instant::now();
        let every = match only {
            Some(_) => 1,
            None if is_complete() => (scenario.weight / 16).max(1),
            None => 7 * scenario.weight,
        };
        let outcome = fail_everywhere(scenario, every, only.as_deref());
        let held = outcome.planned - outcome.broken.len();
        let (name, calls, seconds) = (scenario.name, outcome.calls, start.elapsed().as_secs_f32());
        println!(
            "points {held}/{} io errors: {name}: {calls} calls, {seconds:.1} s",
            outcome.planned
        );
        planned += outcome.planned;
        broken.extend(outcome.broken);
    }
    println!("points {}/{planned} io errors: all scenarios", planned - broken.len());
    broken.iter().take(30).for_each(|broken| println!("{broken}"));
    assert!(broken.is_empty(), "{} of {planned}; look at one with SYNCRO_IO_ERROR=", broken.len());
}

/// A failure could not be looked at again if the disk were told something else then.
#[test]
fn a_story_told_twice_tells_the_disk_the_same() {
    for scenario in &SCENARIOS {
        let [one, other] = [(), ()].map(|()| {
            let disk = Disk::default();
            (scenario.run)(&mut Node::new(scenario.settings, disk.clone())).unwrap();
            disk
        });
        assert_eq!(one.calls(), other.calls(), "{}", scenario.name);
        let is_same = one.tape().1 == other.tape().1;
        assert!(is_same, "{}", scenario.name);
    }
}

#[test]
fn a_crash_at_random_keeps_what_was_acknowledged() {
    let question = question();
    let minutes =
        env::var("SYNCRO_SOAK").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let asked = question.only.as_deref().and_then(|only| only.strip_prefix("random-"));
    let asked = asked.and_then(|only| only.split(':').next()?.parse().ok());
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let tell = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let seed = asked.unwrap_or(number);
        let is_asked = asked.is_some() && number == 0;
        let is_due = asked.is_none() && (number < STORIES || Instant::now() < end);
        if !is_asked && !is_due {
            break;
        }
        sum.lock().unwrap().add(&crash_at_random(seed, &question));
    };
    thread::scope(|threads| (0..2).for_each(|_| drop(threads.spawn(tell))));
    let sum = sum.into_inner().unwrap();
    println!("points {}/{} crash images: random stories: {sum}", sum.checked, sum.planned);
    sum.failures.iter().take(30).for_each(|failure| println!("{failure}"));
    assert!(sum.failures.is_empty(), "look at one with SYNCRO_CRASH=");
}

/// Random stories that are always told; their numbers are their seeds.
const STORIES: u64 = 12;

fn proof(scenario: &Scenario, question: &Question) -> Box<dyn Provable> {
    let mut node = Node::new(scenario.settings, Disk::default());
    (scenario.run)(&mut node).unwrap();
    let question = question.clone().lighter(scenario.weight);
    Box::new(Proof::new(scenario.name, scenario.settings, node.past(), question))
}

fn proof_of_copies(question: &Question) -> Box<dyn Provable> {
    let past = copy(Settings::TINY).unwrap();
    Box::new(Proof::new("backup", Copies(Settings::TINY), past, question.clone().lighter(2)))
}

fn question() -> Question {
    let only = env::var("SYNCRO_CRASH").ok();
    match env::var("SYNCRO_SOAK").as_deref() {
        Err(_) => Question::quick(only),
        Ok("0") => Question::complete(only, 4),
        Ok(_) => Question::complete(only, 2),
    }
}

/// Whether all of the stated scope is asked for.
fn is_complete() -> bool {
    env::var_os("SYNCRO_SOAK").is_some()
}
