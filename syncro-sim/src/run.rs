//! Seeds: each is one world, one story and one verdict.

use std::fmt;

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::Demand;
use crate::panics::caught;
use crate::story::{Op, Story, Told};
use crate::swarm::{Swarm, bulk, stories, writes};
use crate::views::stories_of_views;
use crate::world::{Failure, Law, Topology, Trace, World, Write};

/// Attempts at a shorter story that fails, at most.
const SHRINKS_MAX: usize = 4_000;

/// Events of all of them together at most: some minutes' worth.
const SHRUNK_EVENTS_MAX: u64 = 30_000_000;

/// What is run for each seed: stories of writes, under a swarm of faults that the seed chooses.
#[derive(Clone, Debug)]
pub struct Sim {
    writes: BoxedStrategy<Write>,
    /// What fills a transport that takes nothing.
    bulk: BoxedStrategy<Write>,
    demand: Option<Demand>,
    sort: Sort,
    /// What plays a seed again.
    command: fn(u64) -> String,
}

/// Who is in a world.
#[derive(Clone, Copy, Debug)]
enum Sort {
    /// Nodes that are all alike.
    Alike,
    /// Some see less than all.
    Views,
    /// Some are of 2010.
    Classic,
}

/// A seed that ended well.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The hash of its trace.
    pub hash: u64,
    /// What there was to it.
    pub told: Told,
}

/// A seed whose world broke a law.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// The law, and how it was broken, in the shrunk story.
    pub failure: Failure,
    /// The shortest story that was found to break it.
    pub story: Story,
    /// What happens in it; nothing, where not even the writes could be made.
    pub lines: Vec<String>,
    /// What plays it again.
    pub command: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.failure)?;
        write!(f, "to see it again: {}", self.command)
    }
}

impl Default for Sim {
    /// Writes of every sort that the world itself has.
    fn default() -> Self {
        let command = |seed| format!("cargo xtask sim --seed {seed} --trace");
        Self {
            writes: writes().boxed(),
            bulk: bulk().boxed(),
            demand: None,
            sort: Sort::Alike,
            command,
        }
    }
}

impl Sim {
    /// Stories of sources and views.
    pub fn of_views() -> Self {
        let command = |seed| format!("cargo xtask sim --views --seed {seed} --trace");
        Self { sort: Sort::Views, command, ..Self::default() }
    }

    /// Stories in which peers of 2010 have a part.
    pub fn of_classic() -> Self {
        let command = |seed| format!("cargo xtask sim --classic --seed {seed} --trace");
        Self { sort: Sort::Classic, command, ..Self::default() }
    }

    /// Stories of other writes.
    pub fn of(writes: impl Strategy<Value = Write> + 'static) -> Self {
        let writes = writes.boxed();
        Self { bulk: writes.clone(), writes, ..Self::default() }
    }

    /// With demands of an application's own, and what plays a seed of it again.
    pub(crate) fn demanding(self, demand: Demand, command: fn(u64) -> String) -> Self {
        Self { demand: Some(demand), command, ..self }
    }

    /// Plays the story of a seed.
    ///
    /// # Errors
    ///
    /// The law that was broken, with the shortest story that breaks it. Finding that takes many times as long
    /// as playing it.
    pub fn run(&self, seed: u64) -> Result<Passed, Box<Found>> {
        let mut trace = Trace::default();
        // What makes the writes may be an application's.
        let story = caught(|| self.story(seed)).map_err(|failure| {
            // Nothing has happened yet.
            let (story, lines, command) = (Story::default(), Vec::new(), (self.command)(seed));
            Box::new(Found { seed, failure, story, lines, command })
        })?;
        match self.play(&story, &mut trace) {
            Ok(told) => Ok(Passed { hash: trace.hash(), told }),
            Err(failure) => Err(Box::new(self.shrink(seed, failure))),
        }
    }

    /// Plays the story of a seed twice, which must be the same twice.
    ///
    /// # Errors
    ///
    /// Like [`run`](Self::run).
    pub fn run_twice(&self, seed: u64) -> Result<Passed, Box<Found>> {
        let passed = self.run(seed)?;
        let again = self.run(seed)?;
        if again.hash == passed.hash {
            return Ok(passed);
        }
        let detail = format!("traces {:x} and {:x}", passed.hash, again.hash);
        let failure = Law::Determinism.broken(detail);
        let story = self.story(seed);
        Err(Box::new(self.found(seed, failure, story)))
    }

    /// The first failure of a seed, unshrunk.
    pub fn first_failure(&self, seed: u64) -> Option<Failure> {
        self.play(&self.story(seed), &mut Trace::default()).err()
    }

    /// The story of a seed.
    pub fn story(&self, seed: u64) -> Story {
        self.tree(seed).current()
    }

    /// What happens in a story, line by line, up to its end or to the law that it breaks.
    pub fn lines(&self, story: &Story) -> Vec<String> {
        let mut trace = Trace::with_lines();
        let played = self.play(story, &mut trace);
        let mut lines = trace.lines().to_vec();
        lines.push(match played {
            Ok(_) => format!("all is well: trace {:016x}", trace.hash()),
            Err(failure) => failure.to_string(),
        });
        lines
    }

    fn tree(&self, seed: u64) -> impl ValueTree<Value = Story> + use<> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let written = |swarm| stories(swarm, self.writes.clone(), self.bulk.clone()).boxed();
        let stories = match self.sort {
            Sort::Alike => written(Swarm::of(seed)),
            Sort::Views => stories_of_views(Swarm::of(seed)).boxed(),
            Sort::Classic => written(Swarm::of_classic(seed)),
        };
        match stories.new_tree(&mut runner) {
            Ok(tree) => tree,
            Err(reason) => panic!("the strategy of the writes gives none: {reason}"),
        }
    }

    fn play(&self, story: &Story, trace: &mut Trace) -> Result<Told, Failure> {
        let mut world = World::default();
        world.demand = self.demand.clone();
        story.play_in(world, trace)
    }

    /// A short story that fails in the same way.
    fn shrink(&self, seed: u64, failure: Failure) -> Found {
        let story = self.story(seed);
        let mut shrinking = Shrinking { sim: self, story, failure, plays: 0, events: 0 };
        shrinking.world();
        shrinking.ops();
        shrinking.bursts();
        shrinking.ops();
        shrinking.world();
        shrinking.writes();
        let Shrinking { story, failure, .. } = shrinking;
        self.found(seed, failure, story)
    }

    fn found(&self, seed: u64, failure: Failure, story: Story) -> Found {
        let (lines, command) = (self.lines(&story), (self.command)(seed));
        Found { seed, failure, story, lines, command }
    }
}

/// A story on its way to a shorter one that fails as it does.
struct Shrinking<'a> {
    sim: &'a Sim,
    story: Story,
    failure: Failure,
    plays: usize,
    events: u64,
}

impl Shrinking<'_> {
    /// Leaves out what happens, in ever smaller stretches (delta debugging, Zeller and Hildebrandt 2002).
    fn ops(&mut self) {
        let mut length = self.story.ops.len().div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < self.story.ops.len() {
                let mut shorter = self.story.clone();
                let end = shorter.ops.len().min(at + length);
                shorter.ops.drain(at..end);
                if !self.try_out(shorter) {
                    at += length;
                }
            }
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
    }

    /// Leaves out nodes, and what is peculiar to the world.
    fn world(&mut self) {
        while self.story.nodes > 2 {
            let nodes = self.story.nodes - 1;
            if !self.try_out(Story { nodes, ..self.story.clone() }) {
                break;
            }
        }
        while let Some(cast) = self.story.cast {
            let smaller = cast.smaller().into_iter();
            let mut smaller = smaller.map(|cast| Story { cast: Some(cast), ..self.story.clone() });
            if !smaller.by_ref().collect::<Vec<_>>().into_iter().any(|story| self.try_out(story)) {
                break;
            }
        }
        self.try_out(Story { has_sectors: false, ..self.story.clone() });
        self.try_out(Story { chunks: None, ..self.story.clone() });
        self.try_out(Story { rates_ppm: [0; 2], ..self.story.clone() });
        self.try_out(Story { topology: Topology::Line, ..self.story.clone() });
    }

    /// Lets the writes of a burst happen one by one, to be left out one by one.
    fn bursts(&mut self) {
        let ops = self.story.ops.iter().flat_map(Op::apart).collect();
        self.try_out(Story { ops, ..self.story.clone() });
    }

    /// Lets there be as few different writes as it takes.
    fn writes(&mut self) {
        for at in 1..self.story.ops.len() {
            for earlier in 0..at {
                let mut plainer = self.story.clone();
                let Some(write) = plainer.ops[earlier].write_mut().cloned() else { continue };
                let Some(place) = plainer.ops[at].write_mut() else { break };
                *place = write;
                if self.try_out(plainer) {
                    break;
                }
            }
        }
    }

    /// Takes a story if it fails in the same way.
    fn try_out(&mut self, story: Story) -> bool {
        self.plays += 1;
        if self.plays > SHRINKS_MAX || self.events > SHRUNK_EVENTS_MAX {
            return false;
        }
        let mut trace = Trace::default();
        let played = self.sim.play(&story, &mut trace);
        self.events += trace.events();
        match played {
            Err(failure) if failure.is_like(&self.failure) => {
                (self.story, self.failure) = (story, failure);
                true
            }
            _ => false,
        }
    }
}
