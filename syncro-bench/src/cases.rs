//! The cases: what is timed, who takes part, and what Syncro is to reach.

pub mod durable;
pub mod fanout;
pub mod live;
pub mod local;
pub mod rest;
pub mod sync;
pub mod views;

use std::path::{Path, PathBuf};

use crate::engines::Peer;
use crate::measure::Sample;

/// The seed of every workload: all peers get the same bytes.
pub const SEED: u64 = 20_260_101;

/// A figure with a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub metric: Metric,
    pub goal: Goal,
}

/// What of a sample counts; of each of them less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Seconds per operation, shown as operations per second.
    Rate,
    /// Seconds of everything.
    Time,
    /// Bytes per operation.
    BytesEach,
    /// Bytes of everything.
    Bytes,
    /// The most memory held.
    Memory,
    /// Rows and records read of a store.
    Reads,
}

impl Metric {
    /// What counts of a sample.
    pub fn cost(self, sample: &Sample) -> f64 {
        match self {
            Self::Rate => sample.seconds / sample.ops,
            Self::Time => sample.seconds,
            Self::BytesEach => sample.bytes as f64 / sample.ops,
            Self::Bytes => sample.bytes as f64,
            Self::Memory => sample.peak_rss_bytes as f64,
            Self::Reads => sample.ops,
        }
    }
}

/// What Syncro is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    None,
    /// So many times as good as yrs.
    Yrs(f64),
    /// So many times as good as the best peer.
    Best(f64),
    /// So many times as good as the limit.
    Limit(f64),
    /// At most so much, in the unit of the metric: seconds, bytes; of a rate at least so much.
    Figure(f64),
}

/// Cases that one run yields together.
pub struct Family {
    pub cases: &'static [Case],
    pub peers: &'static [Peer],
    /// How many records there are for each that is asked for: some cases are about fewer or more.
    pub scale: f64,
    /// One repetition of one peer: a sample of each case that it takes part in.
    pub run: fn(Peer, &Setting) -> Samples,
    /// Repetitions, unless somebody says otherwise.
    pub repetitions: usize,
}

pub type Samples = Vec<(&'static str, Sample)>;

/// What a repetition runs with.
pub struct Setting {
    pub n: usize,
    /// An empty directory of its own.
    pub dir: PathBuf,
    /// The cases that are asked for.
    pub wanted: Vec<&'static str>,
}

impl Setting {
    pub fn wants(&self, case: &str) -> bool {
        self.wanted.contains(&case)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.dir).join(name)
    }
}

/// Every family, in the order in which they are run and shown.
pub const FAMILIES: &[Family] = &[
    local::W1,
    local::U1,
    durable::EACH,
    durable::HUNDRED,
    durable::THOUSAND,
    durable::SUSTAINED,
    sync::COLD,
    sync::FEW,
    sync::FEW_OF_FEWER,
    sync::FEW_OF_MANY,
    sync::BOTH,
    rest::O1,
    rest::M1,
    rest::L1,
    live::P1,
    fanout::FANOUT,
    views::VIEWS,
];

const fn case(name: &'static str, metric: Metric, goal: Goal) -> Case {
    Case { name, metric, goal }
}
