//! Bugs planted on purpose, to show that the tests would find them.
//!
//! Each is a way of doing things that was tried and failed. They exist only in test builds with the
//! feature `planted`, and there only on the thread that chose one. The store has some of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::digest::{Digest, Point};
use crate::ladder::Rung;
use crate::stamp::Epoch;

/// A way of doing things that loses data or never comes to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Resuming at the greatest rung in an epoch of the log's lineage, or where the lineage leaves that
    /// epoch, without comparing digests.
    LineageAlone,
    /// Setting aside the second of two transactions of one stamp.
    SecondParked,
    /// Sending a peer nothing that its node wrote.
    EchoByNode,
    /// Log digests over stamps instead of content.
    StampDigest,
    /// One sync point per peer.
    OnePoint,
    /// Acknowledging what was not flushed.
    AckBeforeFlush,
    /// Writing a peer's point before what it covers.
    PointBeforeData,
    /// Leaving the last transaction of a message out.
    SkipLast,
    /// Going on in the epoch of the life before.
    EpochReused,
    /// Following the clock of whoever is far ahead.
    FutureMovesClock,
    /// Answering a peer whose points are unknown with nothing.
    UnknownIsNothing,
    /// Moving the mark before what it covers is written.
    MarkAhead,
    /// Taking a flush that failed for done.
    FlushForgotten,
    /// Of two values of one stamp, keeping the first.
    TieByArrival,
    /// Letting an update revive a record.
    UpdateRevives,
    /// Showing a transaction without the last of its records.
    HalfTransaction,
    /// Writing on as an author that somebody else writes as, too.
    ForkIgnored,
    /// Opening with a clock that knows nothing of the life before.
    ClockForgotten,
    /// Sending back to a peer what came from it.
    EchoesForgotten,
    /// Letting a snapshot see what was written after it.
    SnapshotMoves,
    /// Taking in a bundle that begins after something that is missing.
    GapIgnored,
    /// Waiting for ever for a peer that has fallen silent.
    SilenceUnnoticed,
    /// Taking a ladder of any number of rungs.
    LadderUnbounded,
    /// Keeping what a view has of a channel that is said anew.
    ResetMerges,
    /// Keeping what is no longer shown out of the log.
    EvictionsInMemory,
    /// Not telling a view of a record that it wrote last itself.
    EnteringEcho,
    /// Taking a view's own writes for covered when they are acknowledged.
    SettledByAcks,
    /// Summing up what a view shows, own writes included.
    MergedSum,
    /// Taking what a source covered for covered when it has lost it.
    CoveredForEver,
    /// Saying what is covered before what follows from it.
    CoversAhead,
}

impl Planted {
    /// Those that the simulator finds.
    pub const ALL: [Self; 23] = [
        Self::LineageAlone,
        Self::SecondParked,
        Self::EchoByNode,
        Self::StampDigest,
        Self::OnePoint,
        Self::AckBeforeFlush,
        Self::PointBeforeData,
        Self::SkipLast,
        Self::EpochReused,
        Self::FutureMovesClock,
        Self::UnknownIsNothing,
        Self::MarkAhead,
        Self::FlushForgotten,
        Self::TieByArrival,
        Self::UpdateRevives,
        Self::HalfTransaction,
        Self::ForkIgnored,
        Self::ClockForgotten,
        Self::EchoesForgotten,
        Self::SnapshotMoves,
        Self::GapIgnored,
        Self::SilenceUnnoticed,
        Self::LadderUnbounded,
    ];

    /// Those of views.
    pub const OF_VIEWS: [Self; 7] = [
        Self::ResetMerges,
        Self::EvictionsInMemory,
        Self::EnteringEcho,
        Self::SettledByAcks,
        Self::MergedSum,
        Self::CoveredForEver,
        Self::CoversAhead,
    ];
}

thread_local! {
    static CHOSEN: Cell<Option<Planted>> = const { Cell::new(None) };
    /// By epoch: the one before it, and where the log ended when it began.
    static EPOCHS: RefCell<BTreeMap<Epoch, (Epoch, u64)>> = const { RefCell::new(BTreeMap::new()) };
}

/// Chooses the bug for everything that runs on this thread.
pub fn plant(planted: Option<Planted>) {
    CHOSEN.set(planted);
}

/// Whether a bug is the one chosen on this thread.
pub fn is_planted(planted: Planted) -> bool {
    CHOSEN.get() == Some(planted)
}

/// Writes down where an epoch began, as a log with lineage would.
pub(crate) fn note_epoch(epoch: Epoch, parent: Epoch, start: u64) {
    if is_planted(Planted::LineageAlone) {
        EPOCHS.with_borrow_mut(|epochs| epochs.insert(epoch, (parent, start)));
    }
}

/// A ladder of epochs and offsets, without digests.
pub(crate) fn lineage_offer(rungs: &[Rung]) -> Vec<Point> {
    let marked = rungs.iter().map(|rung| {
        let mut digest = Digest::EMPTY;
        digest.0[..8].copy_from_slice(&rung.epoch.0.to_be_bytes());
        Point { offset: rung.point.offset, digest }
    });
    marked.collect()
}

/// Where a log in an epoch, with an end, resumes for such a rung.
pub(crate) fn lineage_resume(rung: Point, mut epoch: Epoch, mut end: u64) -> Option<u64> {
    EPOCHS.with_borrow(|epochs| {
        while rung.digest.0[..8] != epoch.0.to_be_bytes() {
            let (parent, start) = *epochs.get(&epoch)?;
            (epoch, end) = (parent, start);
        }
        Some(rung.offset.min(end))
    })
}
