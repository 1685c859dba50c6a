//! Content hashes: the running digest of a log.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Half of a SHA-256 hash over content, never over stamps or positions alone.
///
/// The digest of a log at an offset is `sha256(digest before ‖ transaction)`, cut to 16 bytes, over the
/// canonical encoding of each transaction in turn, from sixteen zero bytes at offset 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of an empty log.
    pub const EMPTY: Self = Self([0; 16]);

    /// Its first eight bytes as a number, big-endian.
    pub(crate) fn number(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns the digest after one more piece of content.
    #[must_use]
    pub fn then(self, content: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(content).finalize();
        let (cut, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self(*cut)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a log: every scribe before `offset` counts, and `digest` is their running hash.
///
/// A point of another node's log that a node holds is a *sync point*: everything before it is in the
/// node's own store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Point {
    /// Scribes before this place.
    pub offset: u64,
    /// The running digest there.
    pub digest: Digest,
}

impl Point {
    /// The start of every log.
    pub const START: Self = Self { offset: 0, digest: Digest::EMPTY };

    /// Returns the point after one more transaction.
    #[must_use]
    pub fn then(self, scribes: u64, content: &[u8]) -> Self {
        #[cfg(all(feature = "planted", debug_assertions))]
        let content = if crate::planted::is_planted(crate::planted::Planted::StampDigest) {
            // Time, node and epoch come first in a transaction.
            content.get(..37).unwrap_or(content)
        } else {
            content
        };
        Self { offset: self.offset.saturating_add(scribes), digest: self.digest.then(content) }
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.offset, self.digest)
    }
}
