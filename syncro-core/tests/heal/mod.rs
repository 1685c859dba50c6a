//! Backups and copies: taken at every moment, woken at every later one.
//!
//! A story has forty steps ([`scenario`]). After each of them a copy of a node is taken; after each step from
//! there on it is woken. It takes the node's place, or goes on beside it ([`variant`]). Of every such pair
//! the same is demanded ([`trial`]): what anybody else ever had is at last everywhere, so is what both halves
//! of a clone wrote, three rounds of contact are enough for that, and from the second reconnect on nobody
//! sends anything. What is exempt is what the design exempts: raises of both halves of a copied machine,
//! before they know of each other.

// Bugs can be planted in debug builds only.
#[cfg(debug_assertions)]
mod planted;
mod scenario;
mod soak;
mod trial;
mod variant;

use std::io::Write;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use syncro_sim::Failure;
use trial::{Seen, Trial};
use variant::Variant;

/// What asks for one trial, `VARIANT/TAKEN/WOKEN`, or one variant.
const ONE: &str = "SYNCRO_PAIR";

/// Failures of a variant that are told in full.
const TOLD_MAX: usize = 3;

#[test]
fn whenever_a_copy_is_taken_and_put_back_nothing_that_had_a_second_home_is_lost() {
    let mut variants = Variant::in_turn();
    if let Ok(one) = std::env::var(ONE) {
        if let Ok(variant) = one.parse() {
            variants = vec![variant];
        } else {
            let trial = parse(&one).unwrap_or_else(|why| panic!("{ONE}={one}: {why}"));
            let seen = trial.play().unwrap_or_else(|failure| panic!("{}", told(trial, &failure)));
            return say(&format!("{trial:?}: {seen:?}"));
        }
    }
    let (always, more) = (Variant::always().len(), soak::More::asked());
    let is_due = |number: usize| number < always || more.is_due();
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0, 0, 0, Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(variant) = variants.get(number).filter(|_| is_due(number)) else {
                        break;
                    };
                    let outcome = every_pair(*variant);
                    say(&outcome.line(*variant));
                    let mut done = done.lock().unwrap();
                    done.0 += 1;
                    done.1 += outcome.passed;
                    done.2 += outcome.planned;
                    done.3.extend(outcome.failures);
                    if !outcome.seen.is_enough(*variant) {
                        done.3.push(format!("{variant} has seen too little: {:?}", outcome.seen));
                    }
                }
            });
        }
    });
    let (tried, passed, planned, failures) = done.into_inner().unwrap();
    let known = variants.len();
    say(&format!("points {passed}/{planned} restore pairs: {tried} of {known} variants"));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How the pairs of a variant went.
#[derive(Default)]
struct Outcome {
    passed: usize,
    planned: usize,
    seen: Seen,
    failures: Vec<String>,
}

impl Outcome {
    fn line(&self, variant: Variant) -> String {
        let Self { passed, planned, seen, .. } = self;
        let Seen { regained, forgotten, forked, collided } = seen;
        format!(
            "points {passed}/{planned} restore pairs, {variant}: {regained} regained, {forgotten} forgotten, \
             {forked} forked, {collided} collided"
        )
    }
}

fn every_pair(variant: Variant) -> Outcome {
    let mut outcome = Outcome::default();
    for trial in Trial::all(variant) {
        outcome.planned += 1;
        match trial.play() {
            Ok(seen) => {
                outcome.passed += 1;
                outcome.seen += seen;
            }
            Err(failure) if outcome.failures.len() < TOLD_MAX => {
                outcome.failures.push(told(trial, &failure));
            }
            Err(_) => {}
        }
    }
    outcome
}

/// A failure, and how to see it alone.
fn told(trial: Trial, failure: &Failure) -> String {
    let Trial { variant, taken, woken } = trial;
    format!(
        "{variant}, taken after step {taken}, woken after step {woken}: {failure}\n    \
         {ONE}={variant}/{taken}/{woken} cargo test -p syncro-core --test nodes heal::whenever"
    )
}

fn parse(one: &str) -> Result<Trial, String> {
    let [variant, taken, woken] = one.split('/').collect::<Vec<_>>()[..] else {
        return Err("it is VARIANT/TAKEN/WOKEN".to_owned());
    };
    let variant: Variant = variant.parse()?;
    let wanted =
        |trial: &Trial| trial.taken.to_string() == taken && trial.woken.to_string() == woken;
    Trial::all(variant).find(wanted).ok_or_else(|| "there is no such pair of steps".to_owned())
}

/// Prints a line that is seen whether the test passes or not.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
