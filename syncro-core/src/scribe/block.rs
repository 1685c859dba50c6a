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
    /// Keeps bytes. All that will be kept after them is known to have about so many.
    pub(crate) fn keep(&mut self, bytes: &[u8], rest_bytes: usize) -> Bytes {
        if bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity((bytes.len() + rest_bytes).min(BLOCK_BYTES));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}
