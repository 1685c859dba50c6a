//! What is worth seeing: random stories that never show it prove nothing about it.

use syncro_core::{CloseReason, Event, Mark};

/// Something that happens in some stories and not in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A line broke between the bytes of a length.
    CutInPrefix,
    /// A line broke after a length and before the end of its message.
    CutInMessage,
    /// A node crashed with a commit handed out that was not applied.
    CrashBeforeApply,
    /// A node crashed with a commit applied, and nothing of it sent.
    CrashBeforeSend,
    /// A node crashed with a part of its messages sent.
    CrashBetweenSends,
    /// A node crashed with its messages sent.
    CrashAfterSends,
    /// A node crashed after a flush, and acknowledged nothing of it.
    CrashBeforeSynced,
    /// A crash lost transactions.
    CrashLoses,
    /// A crash lost transactions that some other node has.
    CrashLosesWhatAPeerHas,
    /// A crash kept a part of what was not flushed.
    CrashKeepsAPart,
    /// An engine heard of a flush when more had been applied since.
    SyncedLate,
    /// An older image took the place of a longer log.
    Restore,
    CloneFile,
    CloneMachine,
    Line,
    Ring,
    Star,
    Json,
    MessagePack,
    BothEncodings,
    /// Two transactions of one stamp met.
    Collision,
    /// A node saw that somebody else writes in its name.
    Forked,
    FutureStamp,
    /// A peer was given up because it was silent.
    Silent,
    /// A transport had no room for a while, and then had.
    Stall,
    /// So much waited for room that nothing more was sent.
    FullBuffer,
    /// A write of a batch failed.
    StoreFails,
    /// A crash kept some of the sectors that a database had written and not synced.
    TornDisk,
    /// Nobody was connected for days.
    Away,
    /// A disk had no room for a batch.
    FullDisk,
    /// A wall clock jumped by years.
    Jump,
    /// A program was replaced by another version.
    Upgrade,
    /// A peer was given up because it never said who it is.
    HandshakeTimeout,
    /// Bytes did not get through, without anybody's noticing.
    Blocked,
    /// A connection was gone for one side only.
    HalfOpen,
    /// A write to a disk of sectors failed.
    SectorsFail,
    /// A sync of a disk of sectors failed.
    SyncFails,
    /// A disk of sectors had no room for something.
    FullSectors,
    /// A node crashed between two writes of a checkpoint.
    CrashInCheckpoint,
    /// A watcher went on after changes that it had not seen.
    Resumed,
    /// A watcher went on after changes of which nobody was told.
    LookedUp,
    /// A watcher's point was lost in a crash, and it began with a list.
    Relisted,
    /// A reader kept to one moment while others wrote.
    LongLook,
    /// An engine that was not alone as its author became another.
    NewEpoch,
    /// A store on a disk of sectors was closed, and opened again.
    CleanClose,
    /// Two nodes had several connections at once.
    TwoLinks,
    /// A wall clock was wrong by minutes.
    Skew,
    /// Some clocks were faster than others.
    Rates,
    /// A node took in a bundle.
    Imported,
    /// Something was missing before a bundle.
    ImportGap,
    /// Only the beginning of a bundle could be read, or whoever read it crashed.
    ImportCut,
    /// A bundle was taken in twice, or long after it was made.
    ImportOld,
    /// A peer of 2010 changed something while it was not connected.
    ClassicOffline,
    /// A peer of 2010 was pulled from, and had something.
    ClassicPulled,
    /// A hub died with a session of a peer of 2010.
    ClassicCrash,
    /// A line of a peer of 2010 was gone for one side only.
    ClassicHalfOpen,
    /// A hub stopped, because its node had no room.
    ClassicFull,
    /// Somebody announced a frame beyond all limits.
    LengthBomb,
    /// Somebody announced more within a message than there was.
    LyingLength,
    /// Somebody nested without end, or said too many elements.
    ElementFlood,
    /// Somebody said a byte now and then, and never a message.
    SlowLoris,
    /// Somebody pinged again and again.
    FreeFlood,
    /// Somebody continued a log where nobody was.
    GapFlood,
    /// Somebody called and said nothing.
    EndlessHandshake,
    /// Somebody asked for everything and read nothing.
    DeafReader,
    /// Somebody said what others had said, damaged.
    MutatedReplay,
    /// Somebody asked by points that may be anywhere, in part, again and out of turn.
    LadderFlood,
    /// A node asked such a one for more points, and said all of its own when it was asked for them.
    AskedForMore,
    AskedByAll,
    /// A node that was called gave up a caller whom a dead line kept silent.
    SilentCaller,
    /// A node that had called gave up whom it had called.
    SilentCalled,
    /// A view was shown a record, or no more.
    Shown,
    Evicted,
    /// All of a channel was at a view, or none of it any more.
    ChannelCurrent,
    ChannelWithheld,
    /// A view was told that what it wrote was refused.
    Refused,
    /// What a reader may see changed while its view was connected.
    RightsInSession,
    /// A view went from one source to another.
    SourceChanged,
    /// What a view wrote was shown no longer, since its source had decided.
    TakenBack,
    /// Sources, or views, were more than one.
    TwoSources,
    TwoViews,
    /// A node that judges nothing was among them.
    Replica,
    /// A source lost what it had covered, and a view showed what it wrote all the same.
    Uncovered,
    /// A view was set back or copied, or lost something in a crash.
    ViewRewound,
    /// A record was larger than what is said at once.
    LargeState,
    /// A view at rest was compared with its source while everything went on.
    ComparedMidway,
}

impl Sight {
    pub const ALL: [Self; 66] = [
        Self::CutInPrefix,
        Self::CutInMessage,
        Self::CrashBeforeApply,
        Self::CrashBeforeSend,
        Self::CrashBetweenSends,
        Self::CrashAfterSends,
        Self::CrashBeforeSynced,
        Self::CrashLoses,
        Self::CrashLosesWhatAPeerHas,
        Self::CrashKeepsAPart,
        Self::SyncedLate,
        Self::Restore,
        Self::CloneFile,
        Self::CloneMachine,
        Self::Line,
        Self::Ring,
        Self::Star,
        Self::Json,
        Self::MessagePack,
        Self::BothEncodings,
        Self::Collision,
        Self::Forked,
        Self::FutureStamp,
        Self::Silent,
        Self::Stall,
        Self::FullBuffer,
        Self::StoreFails,
        Self::TornDisk,
        Self::Away,
        Self::FullDisk,
        Self::Jump,
        Self::Upgrade,
        Self::HandshakeTimeout,
        Self::Blocked,
        Self::HalfOpen,
        Self::SectorsFail,
        Self::SyncFails,
        Self::FullSectors,
        Self::CrashInCheckpoint,
        Self::Resumed,
        Self::LookedUp,
        Self::Relisted,
        Self::LongLook,
        Self::NewEpoch,
        Self::CleanClose,
        Self::TwoLinks,
        Self::Skew,
        Self::Rates,
        Self::Imported,
        Self::ImportGap,
        Self::ImportCut,
        Self::ImportOld,
        Self::LengthBomb,
        Self::LyingLength,
        Self::ElementFlood,
        Self::SlowLoris,
        Self::FreeFlood,
        Self::GapFlood,
        Self::EndlessHandshake,
        Self::DeafReader,
        Self::MutatedReplay,
        Self::LadderFlood,
        Self::AskedForMore,
        Self::AskedByAll,
        Self::SilentCaller,
        Self::SilentCalled,
    ];

    /// Those of worlds that have peers of 2010.
    pub const OF_CLASSIC: [Self; 5] = [
        Self::ClassicOffline,
        Self::ClassicPulled,
        Self::ClassicCrash,
        Self::ClassicHalfOpen,
        Self::ClassicFull,
    ];

    /// Those of worlds that have views.
    pub const OF_VIEWS: [Self; 47] = [
        Self::CutInPrefix,
        Self::CutInMessage,
        Self::CrashBeforeApply,
        Self::CrashBeforeSend,
        Self::CrashBetweenSends,
        Self::CrashAfterSends,
        Self::CrashBeforeSynced,
        Self::CrashLoses,
        Self::CrashLosesWhatAPeerHas,
        Self::CrashKeepsAPart,
        Self::SyncedLate,
        Self::Restore,
        Self::CloneFile,
        Self::CloneMachine,
        Self::Json,
        Self::MessagePack,
        Self::BothEncodings,
        Self::FutureStamp,
        Self::Silent,
        Self::Stall,
        Self::FullBuffer,
        Self::StoreFails,
        Self::TornDisk,
        Self::Away,
        Self::FullDisk,
        Self::Blocked,
        Self::HalfOpen,
        Self::CrashInCheckpoint,
        Self::Resumed,
        Self::LookedUp,
        Self::Relisted,
        Self::TwoLinks,
        Self::Shown,
        Self::Evicted,
        Self::ChannelCurrent,
        Self::ChannelWithheld,
        Self::Refused,
        Self::RightsInSession,
        Self::SourceChanged,
        Self::TakenBack,
        Self::TwoSources,
        Self::TwoViews,
        Self::Replica,
        Self::Uncovered,
        Self::ViewRewound,
        Self::LargeState,
        Self::ComparedMidway,
    ];

    pub(crate) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Changed(changed) if changed.mark == Mark::State => Some(Self::Shown),
            Event::Changed(changed) if changed.mark == Mark::Evict => Some(Self::Evicted),
            Event::Current { .. } => Some(Self::ChannelCurrent),
            Event::Withheld { .. } => Some(Self::ChannelWithheld),
            Event::Refused(_) => Some(Self::Refused),
            Event::Collision { .. } => Some(Self::Collision),
            Event::Forked { .. } => Some(Self::Forked),
            Event::FutureStamp { .. } => Some(Self::FutureStamp),
            Event::Closed { reason: CloseReason::Silent, .. } => Some(Self::Silent),
            Event::Closed { reason: CloseReason::HandshakeTimeout, .. } => {
                Some(Self::HandshakeTimeout)
            }
            _ => None,
        }
    }
}
