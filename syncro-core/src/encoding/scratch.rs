//! Memory in which things are encoded before it is known how long they will be.

use std::cell::Cell;

/// What a thread keeps while nothing is encoded.
pub(crate) const KEPT_BYTES_MAX: usize = 4096;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes the memory of this thread, which is empty: what is encoded meanwhile, on the way, has other memory.
pub(crate) fn take() -> Vec<u8> {
    KEPT.take()
}

pub(crate) fn give_back(mut bytes: Vec<u8>) {
    bytes.clear();
    bytes.shrink_to(KEPT_BYTES_MAX);
    KEPT.set(bytes);
}
