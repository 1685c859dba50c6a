//! Byte backends: what keeps a store's bytes, and what it promises about them.
//!
//! A backend knows five tables of bytes and atomic batches, nothing else. Our encodings, our
//! checksums and what the tables mean live above it, so that the database below can be exchanged.

mod batch;
mod caught;
mod memory;
#[cfg(feature = "redb")]
mod partial;
#[cfg(any(feature = "redb", feature = "sled"))]
mod place;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sled")]
mod sled;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::StoreError;

pub use batch::Batch;
pub(crate) use caught::Caught;
pub use memory::{Fault, Memory, MemoryDisk};
#[cfg(feature = "redb")]
pub(crate) use partial::Partial;
#[cfg(feature = "redb")]
pub(crate) use redb::sync_directory_of;
#[cfg(feature = "redb")]
pub use redb::{Redb, RedbBuilder};
#[cfg(feature = "sled")]
pub use sled::{Sled, SledBuilder};

/// The longest key in bytes.
///
/// The longest keys above hold a model's name, a record's id and a field's path, each of at most
/// 255 bytes, and some 20 bytes of our own. A B+tree page of 4 KiB still branches with such keys.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest value in bytes: 64 MiB.
///
/// The largest values above are log pages and records. A page is at most about 8 KiB unless one
/// transaction is larger, and a transaction never exceeds a frame. A database keeps a value in one
/// piece, in memory and in the file, and rounds its room up to a power of two: a larger value would
/// hurt everything beside it.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A table of a store.
///
/// Tables share batches but no keys: one key may stand in each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The few small rows of a store: its version, its own state, one row per peer and channel.
    Rows,
    /// Pages of the log, in log order.
    Log,
    /// The dictionaries of names and authors.
    Names,
    /// Records, written behind the log.
    Records,
    /// What finds a transaction by its stamp.
    Stamps,
}

impl Table {
    /// Every table, in the order in which a batch writes them.
    pub const ALL: [Self; 5] = [Self::Rows, Self::Log, Self::Names, Self::Records, Self::Stamps];

    /// Returns the number that stands for the table in checksums. It is part of the file format.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Rows => 0,
            Self::Log => 1,
            Self::Names => 2,
            Self::Records => 3,
            Self::Stamps => 4,
        }
    }

    /// Returns the name under which a database keeps the table. It is part of the file format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Log => "log",
            Self::Names => "names",
            Self::Records => "records",
            Self::Stamps => "stamps",
        }
    }
}

/// Whether a write must survive a crash from the moment it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Visible at once, durable with the next [`Durable`](Self::Durable) write. Until then a crash may take it, and
    /// leave what was written [`Ahead`](Self::Ahead) of it.
    Buffered,
    /// On the medium before the write returns, and everything written before it too that is not buffered. Where a
    /// backend can, it does not wait for a buffered write that runs at the same time to other tables.
    Ahead,
    /// On the medium before the write returns, and everything written before it too.
    Durable,
}

/// What a damaged medium has left.
pub trait Remains {
    /// Calls with every key and value that can be found: also with those that were deleted or replaced, with
    /// some more than once, and, by chance, with what never was a pair. Which table one is of is not told.
    ///
    /// `visit` says whether it knows a pair for one of its own. What lies within such a pair is its value, and is
    /// not taken for pairs.
    ///
    /// # Errors
    ///
    /// Ends with the first error of `visit`. A part of the medium that cannot be read has nothing left.
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

/// Looks at a key and a value, and says whether they are what they seem.
pub type Visit<'a> = dyn FnMut(Bytes, Bytes) -> Result<bool, StoreError> + 'a;

/// Writes into an empty store what is worth to be kept of a damaged one.
pub type Save<'a> = dyn FnMut(Arc<dyn Backend>) -> Result<(), StoreError> + 'a;

/// Keeps bytes in tables: one open store of one medium.
///
/// Dropping a backend closes it. Its methods may be called from several threads at once; writes
/// take turns.
///
/// What every backend promises:
///
/// - **B1, atomic.** A batch is found whole or not at all: by a reader, after a crash, and after a
///   write that failed. One call reads one state; it never sees half a batch.
/// - **B2, prefix order.** After a crash the store holds the first *n* batches that were written,
///   for some *n*, and those after them that were written [`Ahead`](Durability::Ahead), up to one of these: never
///   a buffered batch without all those before it, nor another one without all those before it that are not buffered.
/// - **B3, durable.** That *n* covers the last [`Durability::Durable`] write that returned `Ok`, and the last of
///   the others is that of [`Durability::Ahead`] that did. An empty batch counts: written durably, it makes
///   everything before it durable.
/// - **B4, read your writes.** When a write has returned `Ok`, every read that starts later shows
///   it, whatever its durability and on whichever thread.
/// - **B5, order.** Keys compare as unsigned bytes, a prefix before what it is a prefix of. A scan
///   yields each key once, ascending.
/// - **B6, reopening.** Opening again shows what B2 and B3 say. Nothing but a `Durable` write is
///   sure to make buffered batches durable: closing tries to, and may not say that it failed.
/// - **B7, one at a time.** While a store is open, opening it again is refused with
///   [`StoreError::Locked`], also by another process; once it is closed, or its process is dead, it
///   is admitted.
/// - **B8, latched.** After a write that failed on the medium, or a read that met damage, every
///   later write is refused with [`StoreError::Latched`] until the store is opened again. Whether
///   the failed batch is there then is unknown; B1 and B2 hold. Until then reads may fail, and show
///   what was written with or without the failed batch.
/// - **B9, limits.** A key is 1 to [`KEY_BYTES_MAX`] bytes long, a value 0 to [`VALUE_BYTES_MAX`].
///   A batch that breaks a limit is refused before any of it is written, with [`StoreError::Io`] of
///   kind [`InvalidInput`](std::io::ErrorKind::InvalidInput), and does not latch: see [`Batch::check_limits`]. The bounds of a
///   scan may be of any length.
/// - **B10, damage.** A damaged medium gives an error and no panic: [`StoreError::Corrupt`] where it
///   is noticed. It is not always noticed: what is read may be wrong, which is why each value above
///   carries a checksum.
/// - **B11, check.** [`check`](Self::check) finds the damage that the medium's own checksums show, met
///   by a read or not. [`compact`](Self::compact) changes no pair.
/// - **B12, opening anew.** [`reopen`](Self::reopen) ends a latch (B8). It shows what opening after a crash
///   would: everything durable, and the first of the buffered batches, perhaps none.
/// - **B13, salvage.** [`salvage`](Self::salvage) puts what it is given in the place of everything that was
///   there, whole and durable, and ends a latch (B8); or it fails, and the medium is as it was. Either way its
///   lock is kept. [`remains`](Self::remains) gives every pair that was durable, if not too much is damaged.
pub trait Backend: Send + Sync + 'static {
    /// Reads the value of one key, or `None`.
    ///
    /// # Errors
    ///
    /// Fails if the medium cannot be read or is seen to be damaged.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Reads at most `limit` pairs with `start <= key < end`, ascending.
    ///
    /// Without an `end` it reads up to the end of the table. An `end` that is not after `start`
    /// gives nothing. All pairs are held in memory at once: `limit` is the caller's bound on it.
    ///
    /// # Errors
    ///
    /// Fails if the medium cannot be read or is seen to be damaged.
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Reads the pair with the greatest key that is not after `at`.
    ///
    /// # Errors
    ///
    /// Fails if the medium cannot be read or is seen to be damaged.
    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError>;

    /// Applies a batch, whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails if the batch breaks a limit (B9), if an earlier write failed (B8), or if the medium
    /// has no room or cannot be written, which latches the backend (B8).
    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError>;

    /// Whether durable writes have left something in a place of its own that has no room for much more: then it is time to
    /// [catch up](Self::catch_up).
    fn is_behind(&self) -> bool {
        false
    }

    /// Brings what durable writes have left in a place of its own to where it belongs, while others write and read, so that
    /// no write has to. To be called from a thread that has nothing better to do.
    ///
    /// # Errors
    ///
    /// Like [`write`](Self::write).
    fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Checks the whole medium against its own checksums, where it has any, and makes what is buffered
    /// durable. Others may have to wait meanwhile: it reads everything.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] over damage, which latches the backend (B8).
    fn check(&self) -> Result<(), StoreError> {
        self.write(&Batch::new(), Durability::Durable)
    }

    /// Gives room back that nothing uses any more, where the medium can. Others may have to wait
    /// meanwhile: it may move everything.
    ///
    /// # Errors
    ///
    /// Like [`write`](Self::write).
    fn compact(&self) -> Result<(), StoreError> {
        self.write(&Batch::new(), Durability::Durable)
    }

    /// Closes the medium and opens it again, as after a crash (B12). Others may have to wait meanwhile.
    ///
    /// # Errors
    ///
    /// Whatever opening may fail with; then the backend stays latched, and reads may fail as well.
    fn reopen(&self) -> Result<(), StoreError>;

    /// Returns what can be found on the medium beside its own order, also where that is damaged; `None` where the
    /// backend cannot look. It only reads, also while the backend is written to.
    fn remains(&self) -> Option<Box<dyn Remains>> {
        None
    }

    /// Makes the medium anew, for a store whose medium has lost its own order (B13).
    ///
    /// `save` is called with an empty store to write into, of which it keeps no handle. Nobody else can read or
    /// write meanwhile. The damaged medium is kept: the path returned is where. `None` is for a backend that cannot
    /// do this, which does not call `save`.
    ///
    /// # Errors
    ///
    /// The error of `save`; [`StoreError::Full`] where there is no room for both; and the like.
    fn salvage(&self, save: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        let _ = save;
        Ok(None)
    }

    /// Returns how many bytes the medium has room for, or `None` where nobody knows. It is a hint: others
    /// may use the room, and writing takes more than what is written.
    fn room(&self) -> Option<u64> {
        None
    }
}
