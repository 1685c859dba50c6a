//! Bugs planted on purpose, to show that the tests would find them.
//!
//! Each is a way of doing things that was tried and failed. They exist only in test builds with the
//! feature `planted`, and there only on the thread that chose one.

use std::cell::Cell;

/// A way of doing things that loses data or never comes to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Resuming at the greatest rung within the log, by lineage alone, without comparing digests.
    LineageAlone,
    /// Setting aside the second of two transactions of one stamp.
    SecondParked,
    /// Sending a peer nothing that its node wrote.
    EchoByNode,
    /// Log digests over stamps instead of content.
    StampDigest,
    /// One sync point per peer.
    OnePoint,
}

thread_local! {
    static CHOSEN: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Chooses the bug for everything that runs on this thread.
pub fn plant(planted: Option<Planted>) {
    CHOSEN.set(planted);
}

pub(crate) fn is_planted(planted: Planted) -> bool {
    CHOSEN.get() == Some(planted)
}
