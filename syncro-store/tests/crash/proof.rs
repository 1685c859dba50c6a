//! Every crash of a past, every crash of each recovery, and the verdict.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::crash::{Crash, Fate, Scope, Tape};
use crate::image::Image;

/// What lives on a disk, and has to come back after a crash.
pub(crate) trait Subject: Send + Sync {
    /// The states that it went through, from the first, which is an empty disk, to the last.
    type History: Clone + Send + Sync;

    /// Opens what a crash has left, reads all of it, and writes to it. Whatever it writes is made durable.
    ///
    /// Says which state it found, which must be one of those from the last that was acknowledged to the last
    /// that was made. `crashes` is how many crashes came before.
    fn recover(
        &self,
        image: &Image,
        history: &Self::History,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<Self::History>, String>;
}

/// What a disk was told, and what its user thought of it.
#[derive(Debug)]
pub(crate) struct Past<H> {
    pub(crate) tape: Tape,
    pub(crate) history: H,
    pub(crate) marks: Vec<Mark>,
}

/// How far things were when a disk had done so many operations; with 0, before it did any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) done: usize,
    /// The last state that was made.
    pub(crate) made: usize,
    /// The last state that was acknowledged: a sync that covers it has returned.
    pub(crate) acknowledged: usize,
}

#[derive(Debug)]
pub(crate) struct Recovered<H> {
    /// The state that was found.
    pub(crate) found: usize,
    /// What the recovery itself did.
    pub(crate) past: Past<H>,
}

impl<H> Past<H> {
    /// The states in which the disk may be found if it crashes after `done` operations.
    fn states(&self, done: usize) -> RangeInclusive<usize> {
        let after = |mark: &&Mark| mark.done <= done;
        let before = |mark: &&Mark| mark.done < done || mark.done == 0;
        let acknowledged = self.marks.iter().filter(after).map(|mark| mark.acknowledged).max();
        let made = self.marks.iter().filter(before).map(|mark| mark.made).max();
        let acknowledged = acknowledged.unwrap_or(0);
        acknowledged..=made.unwrap_or(0).max(acknowledged)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) once: Scope,
    pub(crate) twice: Scope,
    /// At each how-many-th operation there is a crash.
    pub(crate) once_every: usize,
    /// At each how-many-th operation the recoveries are crashed as well.
    pub(crate) twice_every: usize,
    pub(crate) is_complete: bool,
    /// The crashes to look at, as a failure names them; all without it.
    pub(crate) only: Option<String>,
}

/// One past under proof.
pub(crate) struct Proof<S: Subject> {
    name: String,
    subject: S,
    past: Past<S::History>,
    question: Question,
    found: Mutex<HashMap<u64, usize>>,
    found_twice: Mutex<HashMap<(u64, usize), usize>>,
    tally: Mutex<Tally>,
}

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operations: usize,
    /// Those of the operations that made the disk longer or shorter.
    pub(crate) resized: usize,
    pub(crate) planned: usize,
    pub(crate) checked: usize,
    /// Those of the planned that crash a recovery.
    pub(crate) twice: usize,
    /// Images that no other was equal to.
    pub(crate) different: usize,
    pub(crate) spent: Duration,
    pub(crate) failures: Vec<String>,
}

/// A proof, whatever it is about.
pub(crate) trait Provable: Sync {
    fn name(&self) -> &str;
    fn operations(&self) -> usize;
    /// Crashes after `done` operations.
    fn crash_at(&self, done: usize);
    /// Crashes as chance has it.
    fn crash_by(&self, seed: u64);
    fn tally(&self) -> Tally;
}

/// Proves each of them, on all cores.
pub(crate) fn prove(proofs: &[Box<dyn Provable>]) -> Vec<Tally> {
    let points =
        proofs.iter().flat_map(|proof| (0..=proof.operations()).map(move |done| (proof, done)));
    let points: Vec<_> = points.collect();
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((proof, done)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    proof.crash_at(*done);
                }
            });
        }
    });
    proofs.iter().map(|proof| proof.tally()).collect()
}

impl<S: Subject> Proof<S> {
    pub(crate) fn new(name: &str, subject: S, past: Past<S::History>, question: Question) -> Self {
        let operations = past.tape.len();
        let name = name.to_owned();
        let planned = (0..=operations).step_by(question.once_every).flat_map(|done| {
            past.tape.fates(done, &question.once).into_iter().map(move |fate| Crash { done, fate })
        });
        let planned = planned.filter(|_| question.once_every < usize::MAX);
        let planned = planned.filter(|crash| question.asks_for(&format!("{name}:{crash}"))).count();
        let resized = past.tape.resized();
        let tally = Tally { operations, resized, planned, ..Tally::default() };
        Self {
            name,
            subject,
            past,
            question,
            found: Mutex::default(),
            found_twice: Mutex::default(),
            tally: Mutex::new(tally),
        }
    }

    fn crash(&self, crash: Crash, is_twice: bool) {
        let id = format!("{}:{crash}", self.name);
        if !self.question.asks_for(&id) {
            return;
        }
        let image = self.past.tape.image(crash);
        let states = self.past.states(crash.done);
        let hash = image.hash();
        let known = lock(&self.found).get(&hash).copied();
        if let Some(found) = known.filter(|_| !is_twice) {
            return self.judge(&id, found, &states);
        }
        match self.recover(&image, &self.past.history, states.clone(), 1) {
            Err(failure) => self.fail(&id, &failure),
            Ok(recovered) => {
                if lock(&self.found).insert(hash, recovered.found).is_none() {
                    lock(&self.tally).different += 1;
                }
                self.judge(&id, recovered.found, &states);
                if is_twice {
                    self.crash_again(&id, recovered);
                }
            }
        }
    }

    /// Crashes a recovery.
    fn crash_again(&self, id: &str, first: Recovered<S::History>) {
        let Recovered { found, past } = first;
        for done in 0..=past.tape.len() {
            for fate in past.tape.fates(done, &self.question.twice) {
                let crash = Crash { done, fate };
                let id = format!("{id}:{crash}");
                if !self.question.asks_for(&id) {
                    continue;
                }
                let mut tally = lock(&self.tally);
                (tally.planned, tally.twice) = (tally.planned + 1, tally.twice + 1);
                drop(tally);
                let image = past.tape.image(crash);
                let states = past.states(done);
                let place = (image.hash(), found);
                let known = lock(&self.found_twice).get(&place).copied();
                if let Some(found) = known {
                    self.judge(&id, found, &states);
                    continue;
                }
                match self.recover(&image, &past.history, states.clone(), 2) {
                    Err(failure) => self.fail(&id, &failure),
                    Ok(recovered) => {
                        if lock(&self.found_twice).insert(place, recovered.found).is_none() {
                            lock(&self.tally).different += 1;
                        }
                        self.judge(&id, recovered.found, &states);
                    }
                }
            }
        }
    }

    fn recover(
        &self,
        image: &Image,
        history: &S::History,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<S::History>, String> {
        let recover = || self.subject.recover(image, history, states, crashes);
        catch_unwind(AssertUnwindSafe(recover)).unwrap_or_else(|panic| Err(message(&*panic)))
    }

    fn judge(&self, id: &str, found: usize, states: &RangeInclusive<usize>) {
        if states.contains(&found) {
            lock(&self.tally).checked += 1;
        } else {
            self.fail(id, &format!("state {found} was found, and expected one of {states:?}"));
        }
    }

    fn fail(&self, id: &str, failure: &str) {
        let mut tally = lock(&self.tally);
        tally.failures.push(format!("{id}\n    {failure}"));
    }
}

impl<S: Subject> Provable for Proof<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn operations(&self) -> usize {
        self.past.tape.len()
    }

    fn crash_at(&self, done: usize) {
        if !done.is_multiple_of(self.question.once_every) {
            return;
        }
        let start = Instant::now();
        for fate in self.past.tape.fates(done, &self.question.once) {
            let is_whole = matches!(fate, Fate::AllKept | Fate::AllLost);
            let is_turn = done.is_multiple_of(self.question.twice_every);
            self.crash(Crash { done, fate }, is_whole && is_turn);
        }
        lock(&self.tally).spent += start.elapsed();
    }

    fn crash_by(&self, seed: u64) {
        let done = crate::crash::numbers(seed)() as usize % (self.past.tape.len() + 1);
        let crash = Crash { done, fate: Fate::Random(seed) };
        if self.question.asks_for(&format!("{}:{crash}", self.name)) {
            let start = Instant::now();
            lock(&self.tally).planned += 1;
            self.crash(crash, seed.is_multiple_of(32));
            lock(&self.tally).spent += start.elapsed();
        }
    }

    fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}

impl Question {
    /// A part of what is conceivable, for every day.
    pub(crate) fn quick(only: Option<String>) -> Self {
        Self {
            once: Scope { lost_max: 16, torn_max: 16, tears_alone: false },
            twice: Scope { lost_max: 8, torn_max: 0, tears_alone: false },
            once_every: 1,
            twice_every: 8,
            is_complete: false,
            only,
        }
    }

    /// All that is claimed, and of the second crashes those at each how-many-th operation.
    pub(crate) fn complete(only: Option<String>, twice_every: usize) -> Self {
        Self {
            once: Scope { lost_max: 64, torn_max: 16, tears_alone: true },
            twice: Scope { lost_max: 8, torn_max: 0, tears_alone: false },
            once_every: 1,
            twice_every,
            is_complete: true,
            only,
        }
    }

    /// Asks less of what is dear to look at: of its recoveries, or of everything.
    pub(crate) fn lighter(mut self, weight: usize) -> Self {
        self.twice_every *= weight;
        if !self.is_complete {
            self.once_every = (weight / 8).max(1);
            self.once.lost_max = (self.once.lost_max / weight).max(4);
            self.once.torn_max = (self.once.torn_max / weight).max(4);
        }
        self
    }

    /// Asks for nothing but the crashes that chance chooses.
    pub(crate) fn for_random(mut self) -> Self {
        self.once_every = usize::MAX;
        self
    }

    /// Whether a crash is one of those to look at, or leads to one, or follows from one.
    fn asks_for(&self, id: &str) -> bool {
        let Some(only) = &self.only else { return true };
        id.split(':').zip(only.split(':')).all(|(one, other)| one == other)
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.resized += other.resized;
        self.planned += other.planned;
        self.checked += other.checked;
        self.twice += other.twice;
        self.different += other.different;
        self.spent += other.spent;
        self.failures.extend(other.failures.iter().cloned());
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, resized, twice, different, .. } = self;
        let seconds = self.spent.as_secs_f32();
        write!(
            f,
            "{operations} operations, {resized} of them lengths, {twice} images in recoveries, \
             {different} different, {seconds:.1} s"
        )
    }
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("for no reason given"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
