//! The directory backend: one sled database.

mod blame;
mod open;
mod pieces;

use std::fmt;
use std::fs::File;
use std::path::{self, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ::sled::Tree;
use bytes::Bytes;
use syncro_core::StoreError;

use super::place::{Blame, Place};
use super::{Backend, Batch, Durability, Table};
use open::Lock;

/// The page cache of a [`Sled`] in bytes, unless its builder says otherwise. sled itself takes 1 GiB.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// A store in a directory, kept by [sled](https://docs.rs/sled) 0.34.
///
/// It keeps the promises of [`Backend`], and is the second choice: sled had no release since 2021. It
/// is here for programs that keep their other data in sled, and as the proof that a store does not depend
/// on one database. What it costs, and what it cannot do:
///
/// - A buffered write costs as much as a durable one. sled reuses room before the disk has surely written
///   what moved out of it, and a power cut between two flushes could take what was durable before both.
///   Where each batch is flushed before the next, it cannot.
/// - A directory may grow beyond what is in it: sled gives room back where everything beside it is
///   outdated as well. Its own tidying is part of a thread that also flushes, and is off.
/// - A panic in one of sled's own threads lets the write that waits for it wait for ever. Panics elsewhere
///   are caught and become [`StoreError::Corrupt`], unless the program is built with `panic = "abort"`.
/// - A batch that meets damage halfway may be found in part, after the damage.
/// - All sleds of a process take turns at writing: they share one lock, and one pool of threads.
///
/// ```
/// use syncro_store::{Backend, Batch, Durability, Sled, Table};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("store.sled");
/// let store = Sled::open(&path)?;
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// store.write(&batch, Durability::Durable)?;
/// drop(store);
///
/// let store = Sled::open(&path)?;
/// assert_eq!(store.get(Table::Rows, b"colour")?.as_deref(), Some(&b"green"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Sled {
    /// Read by everybody, and written by the batch that is being applied: one of our reads is several
    /// of sled's, which would see it grow.
    entries: RwLock<Entries>,
    /// Held by the one write that runs. Says what failed, once a write has or damage was met.
    latched: Mutex<Option<String>>,
    builder: SledBuilder,
    path: PathBuf,
    place: Place,
    /// Let go of last.
    lock: Lock,
}

/// What the database shows.
struct Entries {
    /// Gone only while closing.
    tree: Option<Tree>,
    /// The file that sled appends to.
    file: File,
    /// Whether a batch failed halfway.
    is_torn: bool,
}

impl Sled {
    /// Opens the store in a directory, creating it where there is none, with a cache of 64 MiB.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Locked`] while another handle or process has the directory open.
    /// - [`StoreError::Corrupt`] for a directory that is damaged, or that holds anything but a store of
    ///   this library; what is there is left as it is.
    /// - [`StoreError::Io`] if the path is a file, if the directory that it is to be in does not exist,
    ///   or if the operating system refuses it; [`StoreError::Full`] if there is no room to create it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder().open(path)
    }

    /// Starts from the defaults, to change some of them.
    pub fn builder() -> SledBuilder {
        SledBuilder { cache_bytes: CACHE_BYTES }
    }

    fn read<T>(
        &self,
        look_up: impl FnOnce(&Tree) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = {
            let entries = self.share();
            if entries.is_torn {
                return Err(self.place.latched("a batch was written in part"));
            }
            self.place.guard(|| look_up(entries.tree()?))
        };
        found.inspect_err(|error| {
            // Writing to a damaged tree only spreads the damage.
            if matches!(error, StoreError::Corrupt { .. }) {
                self.turn().get_or_insert_with(|| error.to_string());
            }
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut entries = self.alone();
        let tree = entries.tree()?;
        // Whatever is to be read is read first: from here on nothing fails but the medium.
        let ready = self.place.guard(|| pieces::prepare(tree, batch, &self.place))?;
        let applied = self.place.guard(|| tree.apply_batch(ready));
        entries.is_torn = applied.is_err();
        applied
    }

    /// Lets sled write what it holds back, and then the disk, for whose cache sled does not wait.
    fn flush(&self) -> Result<(), StoreError> {
        self.place.guard(|| {
            let entries = self.share();
            entries.tree()?.flush().map_err(|error| error.blame(&self.place))?;
            entries.file.sync_data().map_err(|error| blame::flush(&self.place, &error))
        })
    }

    /// Closes the database, and opens what is then in the directory.
    fn open_anew(&self) -> Result<(), StoreError> {
        let mut entries = self.alone();
        self.give_up(&mut entries);
        *entries = self.builder.open_in(&self.path, &self.place)?;
        Ok(())
    }

    /// Closes the database. What cannot be written at the end is lost like anything that was only buffered
    /// (B6).
    fn give_up(&self, entries: &mut Entries) {
        let tree = entries.tree.take();
        let _ = self.place.guard(|| {
            drop(tree);
            Ok::<_, StoreError>(())
        });
        self.lock.wait_for_sled();
    }

    fn share(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    // What the locks guard is whole at every moment, so a panic elsewhere does not spoil it.
    fn turn(&self) -> MutexGuard<'_, Option<String>> {
        self.latched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn tree(&self) -> Result<&Tree, StoreError> {
        self.tree.as_ref().ok_or(StoreError::Closed)
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        self.give_up(&mut self.alone());
    }
}

impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Backend for Sled {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|tree| pieces::get(tree, table, key, &self.place))
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read(|tree| pieces::scan(tree, table, start, end, limit, &self.place))
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.read(|tree| pieces::floor(tree, table, at, &self.place))
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        batch.check_limits()?;
        let mut latched = self.turn();
        if let Some(cause) = &*latched {
            let cause = cause.clone();
            return Err(StoreError::Latched { cause });
        }
        if batch.is_empty() && durability == Durability::Buffered {
            return Ok(());
        }
        // Whatever was asked for: of two batches that are not flushed, the second may overwrite what
        // the first has moved, and a power cut may keep the second alone.
        let written = self.apply(batch).and_then(|()| self.flush());
        written.inspect_err(|error| *latched = Some(error.to_string()))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut latched = self.turn();
        let opened = self.open_anew();
        *latched = opened.as_ref().err().map(ToString::to_string);
        opened
    }

    fn room(&self) -> Option<u64> {
        super::place::room_beside(&self.path)
    }
}

/// Opens a [`Sled`] with other settings than the default ones.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("store.sled");
/// use syncro_store::Sled;
///
/// let store = Sled::builder().cache_bytes(8 * 1024 * 1024).open(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SledBuilder {
    cache_bytes: u64,
}

impl SledBuilder {
    /// Sets how much memory the page cache may take, in bytes. sled counts roughly.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Opens the store in a directory, creating it where there is none.
    ///
    /// # Errors
    ///
    /// As [`Sled::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Sled, StoreError> {
        let path = path.as_ref();
        let place = Place::new(path.display().to_string(), "a sled database");
        // It is opened anew where it was, wherever the program has gone meanwhile.
        let path = path::absolute(path).map_err(|error| place.blame_io(&error))?;
        let lock = open::lock(&path, &place)?;
        let entries = RwLock::new(self.open_in(&path, &place)?);
        Ok(Sled { entries, latched: Mutex::new(None), builder: self, path, place, lock })
    }

    /// Opens the database in a directory that is locked.
    fn open_in(&self, path: &Path, place: &Place) -> Result<Entries, StoreError> {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(self.cache_bytes)
            // A thread of its own would flush and tidy at any moment, also between two steps of ours.
            .flush_every_ms(None);
        let (tree, file) = open::open(&config, path, place)?;
        Ok(Entries { tree: Some(tree), file, is_torn: false })
    }
}
