//! Opening a file, with other settings than the default ones.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};

use ::redb::{Database, Error as RedbError, StorageBackend};
use syncro_core::StoreError;

use super::journal::{self, Journal};
use super::open::{self, Found};
use super::storage::Storage;
use super::{Latest, Opened, Redb, SORT};
use crate::backend::Batch;
use crate::backend::place::Place;

/// The page cache of a [`Redb`] in bytes, unless its builder says otherwise.
///
/// redb takes 1 GiB by default, which an application that embeds us could not explain. What it has not, the system mostly has.
/// Half of the cache may hold buffered writes; those beyond are in the file before they are durable.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Opens a [`Redb`] with other settings than the default ones.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("store.redb");
/// use syncro_store::Redb;
///
/// let store = Redb::builder().cache_bytes(8 * 1024 * 1024).open(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedbBuilder {
    cache_bytes: usize,
    journal_bytes: usize,
}

impl Default for RedbBuilder {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES, journal_bytes: usize::MAX }
    }
}

impl RedbBuilder {
    /// Sets how much memory the page cache may take, in bytes. Half of it may hold buffered writes.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how much of the journal is used, in bytes, a half each of its halves. Default, and most: nearly 1 MiB. With 0
    /// each durable write is a commit of the database, which flushes twice.
    pub fn journal_bytes(mut self, bytes: usize) -> Self {
        self.journal_bytes = bytes;
        self
    }

    /// Opens the store in a file, creating it where there is none.
    ///
    /// # Errors
    ///
    /// As [`Redb::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Redb, StoreError> {
        let path = path.as_ref();
        let place = Place::new(path.display().to_string(), SORT);
        let (storage, found) = open::open_file(&self, path, &place)?;
        Ok(self.redb(storage, Ok(found?), Some(path), place))
    }

    /// Opens the store in a file that is there, even if the database in it is damaged and cannot be opened:
    /// to be repaired by [`LogStoreBuilder::repair`](crate::LogStoreBuilder::repair). Until then nothing can be
    /// read or written.
    ///
    /// # Errors
    ///
    /// As [`Redb::open`], but for damage, and for a file that is not there.
    pub fn open_damaged(self, path: impl AsRef<Path>) -> Result<Redb, StoreError> {
        let path = path.as_ref();
        let place = Place::new(path.display().to_string(), SORT);
        if let Err(error) = std::fs::metadata(path) {
            return Err(place.blame_io(&error));
        }
        let (storage, found) = open::open_file(&self, path, &place)?;
        let found = match found {
            Err(StoreError::Corrupt { what } | StoreError::NotAStore { what }) => Err(what),
            Err(error @ StoreError::Io(_)) => Err(error.to_string()),
            found => Ok(found?),
        };
        Ok(self.redb(storage, found, Some(path), place))
    }

    /// Opens the store on a storage of the caller's own.
    ///
    /// # Errors
    ///
    /// As [`Redb::with_backend`].
    pub fn with_backend(self, storage: impl StorageBackend) -> Result<Redb, StoreError> {
        let place = Place::new("the given storage".to_owned(), SORT);
        let storage = Storage::new(storage);
        let found = self.open_on(&storage, &place)?;
        Ok(self.redb(storage, Ok(found), None, place))
    }

    /// A store of what was found on a storage; or of nothing that can be read, for a cause.
    fn redb(
        self,
        storage: Storage,
        found: Result<Found, String>,
        path: Option<&Path>,
        place: Place,
    ) -> Redb {
        let (database, journal, pending, latched) = match found {
            Ok(Found { database, journal, pending }) => (Some(database), journal, pending, None),
            Err(cause) => (None, None, Batch::new(), Some(cause)),
        };
        Redb {
            latest: Mutex::new(Latest::new(pending)),
            opened: RwLock::new(Opened { database, storage, is_handed_on: false }),
            writing: Mutex::default(),
            journal: Mutex::new(journal),
            latched: Mutex::new(latched),
            builder: self,
            written: AtomicU64::new(0),
            path: path.and_then(|path| open::followed(path).ok()),
            place,
        }
    }

    /// Opens or creates the database on a storage, makes sure that it is a store, and reads its journal.
    pub(super) fn open_on(&self, storage: &Storage, place: &Place) -> Result<Found, StoreError> {
        let part = storage.of_database();
        let opened = place.guard(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(self.cache_bytes);
            builder.create_with_backend(part.clone()).map_err(RedbError::from)
        });
        let database = open::adopt(opened?, place)?;
        if part.first()? == 0 {
            return Ok(Found { database, journal: None, pending: Batch::new() });
        }
        let open_journal = || {
            journal::put_title(storage)?;
            Journal::open(storage, self.journal_bytes, &database)
        };
        match place.guard(open_journal) {
            Ok((journal, pending)) => Ok(Found { database, journal: Some(journal), pending }),
            Err(error) => {
                open::close(database, place);
                Err(error)
            }
        }
    }
}
