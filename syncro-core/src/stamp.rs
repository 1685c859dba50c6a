//! Hybrid logical time, and who wrote at it.

use std::fmt;

use crate::digest::Digest;
use crate::id::NodeId;
use crate::limits::TIME_MS_END;

/// The host's two clocks at the moment of a call. The engine has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970 by the wall clock, which may jump; stamps are made of it.
    pub wall_ms: u64,
    /// Milliseconds by a clock that never goes back; timers run on it.
    pub monotonic_ms: u64,
}

/// A hybrid logical time: 48 bits of milliseconds since 1970, then a 16-bit counter that carries over
/// into them.
///
/// Source: Kulkarni et al., "Logical Physical Clocks", 2014.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The first time that is malformed: the start of the year 2200.
    pub const END: Self = Self(TIME_MS_END << 16);

    /// Returns the first time of a millisecond.
    pub const fn from_ms(ms: u64) -> Self {
        Self(if ms > TIME_MS_END { TIME_MS_END } else { ms } << 16)
    }

    /// Makes a time of its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the milliseconds since 1970.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Returns the next time.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

/// One life of a store: a random number minted at every open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A node in one epoch. Never reused, not even after a restore or a copied data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author {
    /// The node.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl Author {
    /// Under whom it is kept what was refused of this author's raises of a counter: its own totals go on containing it,
    /// and this takes it off. The same for every authority, so that two of them do not take it off twice.
    pub(crate) fn debtor(self) -> Self {
        let digest = Digest::EMPTY.then(self.node.as_bytes()).then(&self.epoch.0.to_be_bytes());
        Self { node: self.node, epoch: Epoch(digest.then(b"refused").number()) }
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}~{:?}", self.node, self.epoch)
    }
}

/// When and by whom a transaction was written. Totally ordered; an author issues none twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The hybrid logical time.
    pub time: Time,
    /// The author.
    pub author: Author,
}

impl Stamp {
    /// A stamp above every other, under which unrecorded edits are shown to those who make them.
    pub const PROVISIONAL: Self = Self {
        time: Time(u64::MAX),
        author: Author { node: NodeId::from_bytes([0xff; 16]), epoch: Epoch(u64::MAX) },
    };
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.time, self.author)
    }
}
