//! What can go wrong in a world, as a value: the property runs with bugs planted, too.

use std::fmt;

use syncro_core::{Error, StoreError};

/// What a world demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Nodes that have talked hold equal records and transactions.
    Convergence,
    /// What was durable is never lost.
    Durability,
    /// Nothing is in a log that nobody wrote, and nothing twice.
    Origin,
    /// A point covers only what is in the store.
    Points,
    /// A reconnect resends nothing.
    Silence,
    /// Peers come to rest, and engines wait for time to pass.
    Rest,
    /// A transaction shows as a whole.
    Atomicity,
    /// Records are what a simple model makes of the transactions.
    Reference,
    /// Counters show the sum of what was raised.
    Counters,
    /// Nobody is blamed for what he did not do.
    Blame,
    /// Memory and messages have limits.
    Bounds,
    /// What an author held when it wrote comes before what it wrote, in every log.
    Causality,
    /// Who watches sees every change once, and ends with what a query shows.
    Watch,
    /// A program that does not know a field leaves it as it is.
    Upgrades,
    /// No clock is led astray by another's.
    Clocks,
    /// Peers of 2010 hold what the nodes hold, and nothing comes twice.
    Classic,
    /// Who is dead is given up within two heartbeats, and nobody else.
    Liveness,
    /// Who means no good is turned away with a number.
    Abuse,
    /// A story told twice is the same.
    Determinism,
    /// A view shows what its source has of its channels, and what it wrote itself that the source does not cover.
    Views,
    /// What a view wrote it shows until its source covers it.
    Kept,
    /// What an application of its own demands.
    Application,
    /// Nothing panics.
    Panic,
}

impl Law {
    pub fn broken(self, detail: impl Into<String>) -> Failure {
        Failure { law: self, detail: detail.into(), place: None }
    }
}

/// A law broken, and how.
#[derive(Clone, Debug)]
pub struct Failure {
    pub law: Law,
    pub(crate) detail: String,
    /// Where it panicked, if that is what it did.
    pub(crate) place: Option<String>,
}

impl Failure {
    /// Whether it seems to be the same mistake: two panics at one place are.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.law == other.law && self.place == other.place
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.law, self.detail)?;
        self.place.iter().try_for_each(|place| write!(f, ", at {place}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Law::Blame.broken(format!("a store failed: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Law::Blame.broken(format!("an engine failed: {error}"))
    }
}
