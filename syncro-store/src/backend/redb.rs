//! The file backend: one redb database.

mod blame;
mod builder;
mod gathered;
mod journal;
mod open;
mod pending;
mod salvage;
mod snapshot;
mod storage;
mod write;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ::redb::{
    Database, Durability as RedbDurability, Error as RedbError, StorageBackend, TableDefinition,
};
use bytes::Bytes;
use syncro_core::StoreError;

use super::place::Place;
use super::{Backend, Batch, Durability, Remains, Save, Table};
pub use builder::RedbBuilder;
use journal::{Appended, Journal};
use open::Found;
pub(crate) use open::sync_directory_of;
use pending::Shown;
use snapshot::Snapshot;
use storage::Storage;
use write::commit;

/// The length of files that are compacted when they are closed: for less it is not worth it, and more would take
/// seconds. A file that has just doubled is not half full.
const COMPACTED_BYTES: RangeInclusive<u64> = 4 << 20..=160 << 20;

/// A store in one file, kept by [redb](https://docs.rs/redb).
///
/// The database begins 1 MiB into the file. Before it there is a journal, to which small durable writes are appended,
/// and those [ahead](Durability::Ahead) of what is buffered:
/// they go to the database together, when it is half full and somebody [catches up](Backend::catch_up), when it is full, when something larger is
/// written, and at the end. A file that
/// begins with its database, as redb itself makes it, is taken as it is and goes without.
///
/// A durable write costs one flush, on Linux of what is written alone, and not of what the database has buffered. Opening reads the journal and some pages, after a crash as well; of a file
/// without a journal it reads everything then, to find which pages are in use.
///
/// redb trusts the pages of a file that was closed cleanly, and panics over some damage in them.
/// Such a panic is caught and becomes [`StoreError::Corrupt`], unless the program is built with
/// `panic = "abort"`. Its message, and a backtrace if one is wanted, go to stderr all the same: the
/// program's panic hook speaks before anything can catch ([`std::panic::set_hook`]). Out of reach stays damage over which redb overflows the stack or panics
/// twice: about one random damage in 50,000, met inside a write, ends the process.
///
/// ```
/// use syncro_store::{Backend, Batch, Durability, Redb, Table};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("store.redb");
/// let store = Redb::open(&path)?;
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// store.write(&batch, Durability::Durable)?;
/// drop(store);
///
/// let store = Redb::open(&path)?;
/// assert_eq!(store.get(Table::Rows, b"colour")?.as_deref(), Some(&b"green"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Redb {
    /// What reads see.
    latest: Mutex<Latest>,
    /// Written only by what must be alone with the file.
    opened: RwLock<Opened>,
    /// Held by the one write to the database that runs.
    writing: Mutex<()>,
    /// Held by the one write to the journal that runs, and while a commit of the database takes over all of it. None for
    /// a file that goes without.
    journal: Mutex<Option<Journal>>,
    /// What failed, once a write has or damage was met.
    latched: Mutex<Option<String>>,
    builder: RedbBuilder,
    /// Bytes written since it was opened or compacted.
    written: AtomicU64,
    /// The file, if there is one.
    path: Option<PathBuf>,
    place: Place,
}

/// A state of the database, and what is to be done to it.
struct Latest {
    /// Opened by the first read after a commit.
    snapshot: Option<Arc<Snapshot>>,
    /// What is in the journal, and not in the database.
    pending: Arc<Batch>,
    /// Its parts, once one half of the journal is full.
    halves: Option<Halves>,
    /// The tables to which the database has committed something that is not durable.
    buffered: BTreeSet<Table>,
}

/// What is in the half of the journal that is full, and what in the other one.
struct Halves {
    full: Arc<Batch>,
    rest: Batch,
}

/// A database, and what it is kept on.
struct Opened {
    /// None where it could not be opened, or not again. The storage is locked all the same.
    database: Option<Database>,
    /// The whole file.
    storage: Storage,
    /// Whether somebody else has the storage now, with its locks.
    is_handed_on: bool,
}

impl Redb {
    /// Opens the store in a file, creating it where there is none, with a cache of 8 MiB.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Locked`] while another handle or process has the file open.
    /// - [`StoreError::Corrupt`] for a file that is damaged or cut short, and [`StoreError::NotAStore`] for
    ///   another program's; such a file is left as it is.
    /// - [`StoreError::Io`] if the path is a directory, if its directory does not exist, or if the
    ///   operating system refuses it; [`StoreError::Full`] if there is no room to create it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder().open(path)
    }

    /// Opens the store on a storage of the caller's own, as a crash test does.
    ///
    /// The type of the storage follows redb's major version. Only a storage that implements redb's
    /// locks is safe from being opened twice. It is closed for each time it was opened, since
    /// [`reopen`](Backend::reopen) opens it again.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_backend(storage: impl StorageBackend) -> Result<Self, StoreError> {
        Self::builder().with_backend(storage)
    }

    /// Starts from the defaults, to change some of them.
    pub fn builder() -> RedbBuilder {
        RedbBuilder::default()
    }

    fn read<T>(
        &self,
        look_up: impl FnOnce(&Shown) -> Result<T, RedbError>,
    ) -> Result<T, StoreError> {
        let found = self.place.guard(|| {
            let opened = self.opened();
            look_up(&self.shown(&opened)?)
        });
        found.inspect_err(|error| {
            // Writing to a damaged tree only spreads the damage, and redb takes nothing more after a read that failed.
            if matches!(error, StoreError::Corrupt { .. } | StoreError::Io(_)) {
                self.latch(error);
            }
        })
    }

    /// Returns the current state, opening it if a commit has let go of the last one.
    ///
    /// It is opened under the lock: opened outside, it could be put back after a commit let go of it
    /// and hide that commit for ever.
    fn shown(&self, opened: &Opened) -> Result<Shown, RedbError> {
        let mut latest = lock(&self.latest);
        let snapshot = match &latest.snapshot {
            Some(snapshot) => Arc::clone(snapshot),
            None => {
                let snapshot = Arc::new(Snapshot::open(opened.database()?)?);
                latest.snapshot.insert(snapshot).clone()
            }
        };
        Ok(Shown { snapshot, pending: Arc::clone(&latest.pending) })
    }

    /// What is in the journal, and not in the database.
    fn pending(&self) -> Arc<Batch> {
        Arc::clone(&lock(&self.latest).pending)
    }

    // redb leaves its own state safe to meet again, see `Place::guard`.
    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads.
    fn opened_alone(&self) -> RwLockWriteGuard<'_, Opened> {
        let opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.latest).snapshot = None;
        opened
    }

    /// Lets go of the state that reads see: it is out of date, and an open one pins the pages that
    /// later commits would reuse, so that the file grows.
    fn show_anew(&self, pending: Batch) {
        *lock(&self.latest) = Latest::new(pending);
    }

    /// Appends a batch to the journal, if there is a place for it. Returns whether there was.
    fn append(&self, journal: &mut Option<Journal>, batch: &Batch) -> Result<bool, StoreError> {
        let Some(journal) = journal else { return Ok(false) };
        let appended = self.place.guard(|| journal.append(batch).map_err(RedbError::from))?;
        let mut latest = lock(&self.latest);
        match appended {
            Appended::Nowhere => return Ok(false),
            Appended::Behind => {}
            Appended::InOtherHalf => {
                let full = Arc::clone(&latest.pending);
                latest.halves = Some(Halves { full, rest: Batch::new() });
            }
        }
        if let Some(halves) = &mut latest.halves {
            halves.rest.append(batch);
        }
        Arc::make_mut(&mut latest.pending).append(batch);
        Ok(true)
    }

    /// Makes a batch durable without what is buffered. Returns whether that can be: what a table has in the journal goes
    /// over what it has in the database.
    fn write_ahead(&self, batch: &Batch) -> Result<bool, StoreError> {
        let mut journal = lock(&self.journal);
        self.unless_latched(|| {
            let is_buffered =
                batch.tables().any(|table| lock(&self.latest).buffered.contains(&table));
            Ok(!is_buffered && self.append(&mut journal, batch)?)
        })
    }

    /// Writes a batch to the database, which is as good as lost until it is followed by one that is durable. Returns whether
    /// that can be.
    fn write_buffered(&self, batch: &Batch) -> Result<bool, StoreError> {
        let _turn = lock(&self.writing);
        self.unless_latched(|| {
            if batch.is_empty() {
                return Ok(true);
            }
            if !self.note_buffered(batch) {
                return Ok(false);
            }
            self.place.guard(|| {
                let transaction = self.opened().database()?.begin_write()?;
                commit(transaction, batch, RedbDurability::None)
            })?;
            lock(&self.latest).snapshot = None;
            Ok(true)
        })
    }

    /// Notes the tables of a batch before it is committed, unless the journal has something for one of them.
    fn note_buffered(&self, batch: &Batch) -> bool {
        // What is just being appended counts.
        let _journal = lock(&self.journal);
        let mut latest = lock(&self.latest);
        let is_free = batch.tables().all(|table| latest.pending.table(table).is_empty());
        if is_free {
            latest.buffered.extend(batch.tables());
        }
        is_free
    }

    /// Makes everything durable, and a batch after it.
    fn write_durably(&self, batch: &Batch) -> Result<(), StoreError> {
        self.alone_writing(|journal| {
            let is_behind = !lock(&self.latest).buffered.is_empty();
            if is_behind || !self.append(journal, batch)? {
                self.place.guard(|| self.take_over(journal, batch))?;
            }
            Ok(())
        })
    }

    /// Commits what is in the journal, and then a batch, with all that is buffered.
    fn take_over(&self, journal: &mut Option<Journal>, batch: &Batch) -> Result<(), RedbError> {
        let opened = self.opened();
        let mut whole = Cow::Borrowed(batch);
        let pending = self.pending();
        if !pending.is_empty() {
            // Whoever reads meanwhile must not see all of it below a part of it.
            self.shown(&opened)?;
            let mut both = Batch::clone(&pending);
            both.append(batch);
            whole = Cow::Owned(both);
        }
        let mut transaction = opened.database()?.begin_write()?;
        if let Some(journal) = journal {
            journal::begin_generation(&mut transaction, journal.generation_of_all())?;
        }
        commit(transaction, &whole, RedbDurability::Immediate)?;
        self.show_anew(Batch::new());
        if let Some(journal) = journal {
            journal.taken_over();
        }
        Ok(())
    }

    /// Commits what is in the half of the journal that is full, with all that is buffered, while more is appended to the
    /// other one. To be called with the turn to write to the database.
    fn take_over_full_half(&self) -> Result<(), RedbError> {
        let (full, generation) = {
            let journal = lock(&self.journal);
            let latest = lock(&self.latest);
            let (Some(journal), Some(halves)) = (&*journal, &latest.halves) else { return Ok(()) };
            (Arc::clone(&halves.full), journal.generation())
        };
        let opened = self.opened();
        let mut transaction = opened.database()?.begin_write()?;
        journal::begin_generation(&mut transaction, generation)?;
        // Whoever reads meanwhile finds it in the journal as well, and that is the same.
        commit(transaction, &full, RedbDurability::Immediate)?;
        // Nothing is appended between the two.
        let mut journal = lock(&self.journal);
        let rest = lock(&self.latest).halves.take().map_or_else(Batch::new, |halves| halves.rest);
        self.show_anew(rest);
        if let Some(journal) = &mut *journal {
            journal.other_taken_over();
        }
        Ok(())
    }

    /// Brings the database up to the journal.
    fn take_over_all(&self, journal: &mut Option<Journal>) -> Result<(), StoreError> {
        if self.pending().is_empty() {
            return Ok(());
        }
        self.place.guard(|| self.take_over(journal, &Batch::new()))
    }

    /// Runs what writes, unless something has failed; nothing is written after it has.
    fn unless_latched<T>(
        &self,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(cause) = lock(&self.latched).clone() {
            return Err(StoreError::Latched { cause });
        }
        write().inspect_err(|error| self.latch(error))
    }

    /// Like [`unless_latched`](Self::unless_latched), while nobody else writes.
    fn alone_writing(
        &self,
        write: impl FnOnce(&mut Option<Journal>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _turn = lock(&self.writing);
        let mut journal = lock(&self.journal);
        self.unless_latched(|| write(&mut journal))
    }

    fn latch(&self, error: &StoreError) {
        // The first cause counts.
        lock(&self.latched).get_or_insert_with(|| cause(error));
    }

    /// Runs what must be alone with the file: nobody reads or writes meanwhile.
    fn alone<T>(
        &self,
        run: impl FnOnce(&mut Database) -> Result<T, RedbError>,
    ) -> Result<T, StoreError> {
        self.place.guard(|| {
            let mut opened = self.opened_alone();
            run(opened.database.as_mut().ok_or(RedbError::DatabaseClosed)?)
        })
    }

    /// Closes the database, and opens what is then on the storage.
    fn open_anew(
        &self,
        opened: &mut Opened,
        journal: &mut Option<Journal>,
    ) -> Result<(), StoreError> {
        // Nobody else may write in between, which is long where there is no room to open it.
        opened.close_locked(&self.place);
        opened.storage.go_on();
        let found = self.builder.open_on(&opened.storage, &self.place)?;
        self.go_on_with(found, opened, journal);
        Ok(())
    }

    /// Puts what was found on the storage in the place of what was open.
    fn go_on_with(&self, found: Found, opened: &mut Opened, journal: &mut Option<Journal>) {
        opened.database = Some(found.database);
        opened.storage.let_go_of_locks();
        *journal = found.journal;
        self.show_anew(found.pending);
    }
}

impl Latest {
    fn new(pending: Batch) -> Self {
        let (pending, buffered) = (Arc::new(pending), BTreeSet::new());
        Self { snapshot: None, pending, halves: None, buffered }
    }
}

impl Opened {
    fn database(&self) -> Result<&Database, RedbError> {
        self.database.as_ref().ok_or(RedbError::DatabaseClosed)
    }

    /// Closes the database, but not the storage.
    fn close_locked(&mut self, place: &Place) {
        self.storage.keep_locks();
        if let Some(database) = self.database.take() {
            open::close(database, place);
        }
    }
}

impl Redb {
    /// Whether much of the file was written lately. redb doubles a file that is full, and uses its end first: what is
    /// free in between it gives back only when it is compacted, which takes about as long as it took to write.
    fn is_worth_compacting(&self) -> bool {
        let length = self.opened().storage.len().unwrap_or_default();
        COMPACTED_BYTES.contains(&length) && self.written.load(Ordering::Relaxed) >= length / 4
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        // Whoever panics has no time for it, and it is as good as it was without.
        if !std::thread::panicking() {
            let _ = self.alone_writing(|journal| self.take_over_all(journal));
            if self.is_worth_compacting() {
                let _ = self.compact();
            }
        }
        let mut opened = self.opened_alone();
        if opened.is_handed_on {
            return;
        }
        opened.storage.let_go_of_locks();
        match opened.database.take() {
            Some(database) => open::close(database, &self.place),
            // It could not be opened, and has kept its locks.
            None => drop(opened.storage.close()),
        }
    }
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Backend for Redb {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|shown| shown.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read(|shown| shown.scan(table, start, end, limit))
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.read(|shown| shown.floor(table, at))
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        batch.check_limits()?;
        self.written.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        let is_written = match durability {
            Durability::Buffered => self.write_buffered(batch)?,
            Durability::Ahead => self.write_ahead(batch)?,
            Durability::Durable => false,
        };
        if is_written { Ok(()) } else { self.write_durably(batch) }
    }

    fn is_behind(&self) -> bool {
        lock(&self.latest).halves.is_some()
    }

    fn catch_up(&self) -> Result<(), StoreError> {
        let _turn = lock(&self.writing);
        self.unless_latched(|| self.place.guard(|| self.take_over_full_half()))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.alone_writing(|journal| {
            self.take_over_all(journal)?;
            let is_sound = self.alone(|database| Ok(database.check_integrity()?))?;
            // redb has put itself in order, at the price of what was on the damaged pages.
            if is_sound {
                Ok(())
            } else {
                Err(self.place.corrupt("its pages fail their checksums"))
            }
        })
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.written.store(0, Ordering::Relaxed);
        self.alone_writing(|journal| {
            self.take_over_all(journal)?;
            self.alone(|database| {
                while database.compact()? {}
                Ok(())
            })
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let _turn = lock(&self.writing);
        let mut journal = lock(&self.journal);
        let mut opened = self.opened_alone();
        let reopened = self.open_anew(&mut opened, &mut journal);
        *lock(&self.latched) = reopened.as_ref().err().map(cause);
        reopened
    }

    fn remains(&self) -> Option<Box<dyn Remains>> {
        Some(Box::new(salvage::Left(self.opened().storage.clone())))
    }

    fn salvage(&self, save: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let _turn = lock(&self.writing);
        let mut journal = lock(&self.journal);
        let mut opened = self.opened_alone();
        opened.close_locked(&self.place);
        let salvaged = self.builder.salvage(path, &mut opened, save, &self.place);
        *lock(&self.latched) = salvaged.as_ref().err().map(cause);
        let (kept, found) = salvaged?;
        self.go_on_with(found, &mut opened, &mut journal);
        Ok(Some(kept))
    }

    fn room(&self) -> Option<u64> {
        // What is in the journal is to be written to the database, too, which copies what it changes.
        let room = super::place::room_beside(self.path.as_deref()?)?;
        Some(room.saturating_sub(2 * self.pending().bytes() as u64))
    }
}

/// What failed, for the errors that come after.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Corrupt { what } => what.clone(),
        error => error.to_string(),
    }
}

/// What a file is that belongs to another program.
const SORT: &str = "a redb database";

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

// What the locks guard is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
