//! A backend in memory, and the disk below it that tests may crash.

mod medium;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use syncro_core::StoreError;

use super::{Backend, Batch, Durability, Table};
use medium::{Medium, Plan};

/// A store in memory: fast, gone with the process.
///
/// It keeps every promise of [`Backend`] towards its [`MemoryDisk`], which outlives it, so it is
/// also the double on which tests crash, copy and break a store.
///
/// ```
/// use syncro_store::{Backend, Batch, Durability, Memory, Table};
///
/// # fn main() -> Result<(), syncro_core::StoreError> {
/// let store = Memory::new();
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// store.write(&batch, Durability::Durable)?;
/// assert_eq!(store.get(Table::Rows, b"colour")?.as_deref(), Some(&b"green"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Memory {
    disk: MemoryDisk,
    /// What failed, once a write has. Locked only under the lock of the medium.
    latched: Mutex<Option<String>>,
}

impl Memory {
    /// Creates an empty store on a disk of its own.
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.write_medium().is_open = true;
        Self::on(disk)
    }

    /// Returns a handle on the disk below this store.
    pub fn disk(&self) -> MemoryDisk {
        self.disk.clone()
    }

    fn on(disk: MemoryDisk) -> Self {
        Self { disk, latched: Mutex::new(None) }
    }

    fn latched(&self) -> MutexGuard<'_, Option<String>> {
        self.latched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.disk.write_medium().is_open = false;
    }
}

impl Backend for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.disk.read_medium().tables.get(table, key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let medium = self.disk.read_medium();
        let found = medium.tables.from(table, start);
        let found = found.take_while(|(key, _)| end.is_none_or(|end| &key[..] < end));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let medium = self.disk.read_medium();
        Ok(medium.tables.floor(table, at).map(|(key, value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        batch.check_limits()?;
        let mut medium = self.disk.write_medium();
        if let Some(cause) = self.latched().clone() {
            return Err(StoreError::Latched { cause });
        }
        if batch.is_empty() && durability == Durability::Buffered {
            return Ok(());
        }
        medium.write(batch, durability).inspect_err(|error| {
            *self.latched() = Some(error.to_string());
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut medium = self.disk.write_medium();
        medium.crash(0);
        *self.latched() = None;
        Ok(())
    }

    fn room(&self) -> Option<u64> {
        self.disk.read_medium().room
    }
}

/// What a [`Memory`] stores its bytes on. It outlives the store, and clones are the same disk.
///
/// A test keeps a handle while the store above is in use, and takes from it the disks that the
/// world could come to: after a crash, in a backup, in a cloned machine. Each is a disk of its own,
/// closed and without faults; the disk it was taken from goes on as if nothing had happened, so
/// every outcome can be tried from one point.
///
/// ```
/// use syncro_store::{Backend, Batch, Durability, MemoryDisk, Table};
///
/// # fn main() -> Result<(), syncro_core::StoreError> {
/// let disk = MemoryDisk::new();
/// let store = disk.open()?;
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// store.write(&batch, Durability::Buffered)?;
///
/// let crashed = disk.crash().open()?;
/// assert_eq!(crashed.get(Table::Rows, b"colour")?, None);
/// let luckier = disk.crash_keeping(1).open()?;
/// assert!(luckier.get(Table::Rows, b"colour")?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    medium: Arc<RwLock<Medium>>,
}

impl MemoryDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the store on this disk.
    ///
    /// Batches that were buffered when it was last closed are there, and are still not durable.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Locked`] while a [`Memory`] has it open.
    pub fn open(&self) -> Result<Memory, StoreError> {
        let mut medium = self.write_medium();
        if medium.is_open {
            let place = "in memory".to_owned();
            return Err(StoreError::Locked { place });
        }
        medium.is_open = true;
        Ok(Memory::on(self.clone()))
    }

    /// Returns the disk as a crash now leaves it at worst: with what is durable, and no more.
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// Returns the disk as a crash now may leave it: what is durable, and the first `batches` of
    /// the [`unsynced`](Self::unsynced) ones (all of them, if there are fewer).
    pub fn crash_keeping(&self, batches: usize) -> Self {
        let mut medium = self.read_medium().copy();
        medium.crash(batches);
        Self::of(medium)
    }

    /// Returns a copy of what is on the medium, as a backup takes it of a store in use: equal to
    /// [`crash`](Self::crash), for a different story.
    pub fn image(&self) -> Self {
        self.crash()
    }

    /// Returns a copy of everything, unsynced batches included and still unsynced, as a snapshot of
    /// the whole machine takes it.
    pub fn fork(&self) -> Self {
        Self::of(self.read_medium().copy())
    }

    /// Returns how many batches a crash could take: those that are buffered since the last durable write.
    pub fn unsynced(&self) -> usize {
        self.read_medium().buffered()
    }

    /// Makes the `nth` write from now fail, 1 being the next, in place of an earlier plan.
    ///
    /// Not counted are writes that never reach the disk: a broken limit, a latched store, an empty
    /// batch that is only buffered. 0 counts as 1.
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        let writes_before = nth.saturating_sub(1);
        self.write_medium().plan = Some(Plan { writes_before, fault });
    }

    /// Says how many bytes the disk has room for: a write with more in it fails with [`StoreError::Full`].
    /// Nothing is taken off it. Without a word the disk is never full.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.write_medium().room = bytes;
    }

    /// Ends all faults. A store that has latched stays so until it is opened again.
    pub fn heal(&self) {
        self.write_medium().plan = None;
    }

    fn of(medium: Medium) -> Self {
        Self { medium: Arc::new(RwLock::new(medium)) }
    }

    // A thread that panicked with the lock was cloning or comparing, not halfway through a batch.
    fn read_medium(&self) -> RwLockReadGuard<'_, Medium> {
        self.medium.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_medium(&self) -> RwLockWriteGuard<'_, Medium> {
        self.medium.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a write to a [`MemoryDisk`] fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This write fails and leaves nothing; once opened again, the store writes as before.
    Once(StoreError),
    /// This write and every later one fail, also in a store opened again.
    Forever(StoreError),
    /// This write fails in the eyes of its caller, but its batch has reached the disk: the case of
    /// an error that came after the bytes.
    Landed(StoreError),
}
