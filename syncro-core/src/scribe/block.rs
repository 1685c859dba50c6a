//! Memory that short transactions of one message share.

use bytes::{Bytes, BytesMut};

/// Bytes of a block: what is left of one transaction keeps so much alive at most.
const BLOCK_BYTES: usize = 8 << 10;

/// Bytes of a transaction that may share a block. A longer one has memory of its own, which its long values share.
pub(super) const SHARED_BYTES_MAX: usize = 1 << 10;

/// Memory for one transaction after the other, so that most take none of their own.
#[derive(Debug, Default)]
pub(crate) struct Block(BytesMut);

impl Block {
    /// Keeps two pieces as one. All that will be kept after them is known to have at most so many bytes.
    pub(crate) fn keep(&mut self, first: &[u8], second: &[u8], rest_bytes: usize) -> Bytes {
        let bytes = first.len() + second.len();
        if bytes > SHARED_BYTES_MAX {
            return [first, second].concat().into();
        }
        if self.0.capacity() < bytes {
            self.0 = BytesMut::with_capacity((bytes + rest_bytes).min(BLOCK_BYTES));
        }
        self.0.extend_from_slice(first);
        self.0.extend_from_slice(second);
        self.0.split().freeze()
    }
}
