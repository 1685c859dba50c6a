//! What a database is kept on, which outlives the database.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, DatabaseError, StorageBackend};

use super::journal::place_of_database;

/// A storage on which one database after the other can be opened, and nobody else's in between: all of it, or the part
/// that the database has.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    kept: Arc<Kept>,
    database_at: Option<Arc<OnceLock<u64>>>,
}

#[derive(Debug)]
struct Kept {
    storage: Box<dyn StorageBackend>,
    locks: Mutex<Locks>,
    /// The same file, opened once more: a flush that fails is told once to each.
    again: Option<File>,
    /// Held by the one flush that runs: of two at once only one is told that what both were to flush is lost.
    flushing: Mutex<()>,
    /// Whether a flush has failed. Whoever flushes next is told that all is well, and what was to be flushed may be gone:
    /// of the database, too, which would make a commit of it when it is closed.
    has_lost: AtomicBool,
}

/// The ranges that are locked, and whether they stay so whatever a database does that is closed.
#[derive(Debug, Default)]
struct Locks {
    held: Vec<(Bound<u64>, Bound<u64>)>,
    are_kept: bool,
}

impl Storage {
    pub(super) fn new(storage: impl StorageBackend) -> Self {
        Self::over(Box::new(storage), None)
    }

    fn over(storage: Box<dyn StorageBackend>, again: Option<File>) -> Self {
        let (locks, flushing, has_lost) = Default::default();
        let kept = Kept { storage, locks, again, flushing, has_lost };
        Self { kept: Arc::new(kept), database_at: None }
    }

    /// The part that the database has. Where that begins is looked at when something is to be read or written: by
    /// then redb has locked it.
    pub(super) fn of_database(&self) -> Self {
        Self { kept: self.kept.clone(), database_at: Some(Arc::default()) }
    }

    /// Where it begins on the whole storage.
    pub(super) fn first(&self) -> io::Result<u64> {
        let Some(database_at) = &self.database_at else { return Ok(0) };
        if let Some(first) = database_at.get() {
            return Ok(*first);
        }
        let whole = Self { kept: self.kept.clone(), database_at: None };
        let first = place_of_database(&whole)?;
        Ok(*database_at.get_or_init(|| first))
    }

    /// A place of it on the whole storage.
    fn place(&self, offset: u64) -> io::Result<u64> {
        Ok(self.first()?.saturating_add(offset))
    }

    pub(super) fn of_file(file: File) -> Result<Self, DatabaseError> {
        let again = through::open(&file);
        Ok(Self::over(Box::new(FileBackend::new(file)?), again))
    }

    /// Writes within the file, and makes that durable; where the system can, nothing else: a flush takes whatever
    /// the database has just written, too, and waits for one that runs.
    pub(super) fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let at = self.place(offset)?;
        if let Some(file) = &self.kept.again
            && self.flushed(through::write(file, at, data))?
        {
            return Ok(());
        }
        self.kept.storage.write(at, data)?;
        self.sync_data()
    }

    /// Refuses to write to what has lost something.
    fn check(&self) -> io::Result<()> {
        match self.kept.has_lost.load(Ordering::Relaxed) {
            true => Err(io::Error::other("a flush of the file has failed before")),
            false => Ok(()),
        }
    }

    fn flushed<T>(&self, flushed: io::Result<T>) -> io::Result<T> {
        flushed.inspect_err(|_| self.kept.has_lost.store(true, Ordering::Relaxed))
    }

    /// Goes on after a flush that failed, with what was durable before: the database is closed.
    pub(super) fn go_on(&self) {
        self.kept.has_lost.store(false, Ordering::Relaxed);
    }

    /// Keeps the locks of a database that is closed, until another one is [opened](Self::let_go_of_locks).
    pub(super) fn keep_locks(&self) {
        self.locks().are_kept = true;
    }

    /// From now on whoever closes lets go of the locks.
    pub(super) fn let_go_of_locks(&self) {
        self.locks().are_kept = false;
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        // A list is whole between any two operations.
        self.kept.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a range, unless it is held already.
    fn lock<T>(
        &self,
        range: (Bound<u64>, Bound<u64>),
        held: T,
        lock: impl FnOnce(&dyn StorageBackend) -> Result<T, BackendError>,
        is_locked: impl FnOnce(&T) -> bool,
    ) -> Result<T, BackendError> {
        if self.locks().held.contains(&range) {
            return Ok(held);
        }
        let locked = lock(&*self.kept.storage)?;
        if is_locked(&locked) {
            self.locks().held.push(range);
        }
        Ok(locked)
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.kept.storage.len()?.saturating_sub(self.first()?))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.kept.storage.read(self.place(offset)?, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.kept.storage.set_len(self.place(len)?)
    }

    /// What a failed flush leaves on the disk nobody knows, whatever it says that it lacked.
    fn sync_data(&self) -> io::Result<()> {
        let _turn = self.kept.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let synced = self.flushed(self.kept.storage.sync_data());
        synced.map_err(|error| io::Error::other(format!("the file could not be flushed: {error}")))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.kept.storage.write(self.place(offset)?, data)
    }

    fn close(&self) -> io::Result<()> {
        let mut locks = self.locks();
        if locks.are_kept {
            return Ok(());
        }
        locks.held.clear();
        drop(locks);
        self.kept.storage.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock((start, end), true, |it| it.try_lock_range(start, end), |it| *it)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.lock((start, end), true, |it| it.try_lock_shared_range(start, end), |it| *it)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((start, end), (), |it| it.lock_range(start, end), |()| true)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock((start, end), (), |it| it.lock_shared_range(start, end), |()| true)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let mut locks = self.locks();
        if locks.are_kept {
            return Ok(());
        }
        locks.held.retain(|held| *held != (start, end));
        drop(locks);
        self.kept.storage.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.kept.storage.query_lock_range(start, end)
    }
}

/// Writes that are durable by themselves.
#[cfg(target_os = "linux")]
mod through {
    use std::fs::File;
    use std::io::{self, IoSlice};
    use std::os::fd::AsRawFd;

    use rustix::io::{Errno, ReadWriteFlags, pwritev2};

    /// Opens a file once more, whatever has become of its name. A duplicate of what is open would be one with it.
    pub(super) fn open(file: &File) -> Option<File> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        File::options().write(true).open(path).ok()
    }

    /// Returns whether the system can, and has done so.
    pub(super) fn write(file: &File, at: u64, data: &[u8]) -> io::Result<bool> {
        match pwritev2(file, &[IoSlice::new(data)], at, ReadWriteFlags::DSYNC) {
            Ok(written) => Ok(written == data.len()),
            // The last two are said by what keeps a process from calls that it does not know.
            Err(
                Errno::NOSYS
                | Errno::OPNOTSUPP
                | Errno::INVAL
                | Errno::INTR
                | Errno::PERM
                | Errno::ACCESS,
            ) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod through {
    use std::fs::File;
    use std::io;

    pub(super) fn open(_: &File) -> Option<File> {
        None
    }

    pub(super) fn write(_: &File, _: u64, _: &[u8]) -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use ::redb::Database;

    use super::*;

    /// A store was closed to be opened anew, and found no room for that. Another process opened it meanwhile,
    /// and what the first one wrote later went over its pages.
    #[test]
    fn nobody_opens_what_is_closed_to_be_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let storage = || {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path);
            Storage::of_file(file.unwrap()).unwrap()
        };
        let open = |storage: &Storage| Database::builder().create_with_backend(storage.clone());
        let (ours, theirs) = (storage(), storage());
        let database = open(&ours).unwrap();
        ours.keep_locks();
        drop(database);
        assert!(open(&theirs).is_err());
        let database = open(&ours).unwrap();
        ours.let_go_of_locks();
        assert!(open(&theirs).is_err());
        drop(database);
        open(&theirs).unwrap();
    }

    /// Notes whether two flushes ever run at once.
    #[derive(Debug, Default)]
    struct Flushed {
        running: Mutex<()>,
        are_two: Arc<AtomicBool>,
    }

    impl StorageBackend for Flushed {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            let running = self.running.try_lock();
            self.are_two.fetch_or(running.is_err(), Ordering::Relaxed);
            std::thread::yield_now();
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    /// The system said of one of two flushes that it had failed, and the other was taken for a success.
    #[test]
    fn of_two_flushes_one_waits_for_the_other() {
        let flushed = Flushed::default();
        let are_two = Arc::clone(&flushed.are_two);
        let storage = Storage::new(flushed);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| (0..1000).for_each(|_| storage.sync_data().unwrap()));
            }
        });
        assert!(!are_two.load(Ordering::Relaxed));
    }
}
