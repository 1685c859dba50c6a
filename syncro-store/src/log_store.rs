//! A node's store over a byte backend: the log is the truth, the rest follows it.

use std::sync::Arc;

use syncro_core::{Commit, Stamp, Store, StoreError, Transaction};

use crate::backend::{Backend, Caught, Table};
use crate::checkpoint::Begin;
use crate::encoding::{damaged, key};
use crate::migrate::CHAIN;
use crate::recover;
use crate::snapshot::Snapshot;
use crate::staging::Staging;
use crate::state::{Bounds, Shared};
use crate::view::Look;

/// A node's store: [`Store`] for the engine that owns it, readers for everybody else.
///
/// Commits are visible when [`apply`](Store::apply) returns and durable when the next
/// [`sync`](Store::sync) does, which writes everything since the last one as one batch. Readers go on
/// while it does.
///
/// ```
/// use syncro_core::{Config, Engine, Now, Store, View};
/// use syncro_store::{LogStore, Memory};
///
/// let mut store = LogStore::open(Memory::new())?;
/// let (engine, effects) = Engine::open(Now::default(), Config::default(), &store.reader())?;
/// if let Some(commit) = effects.commit {
///     store.apply(&commit)?;
///     store.sync()?;
/// }
/// assert_eq!(store.reader().own()?.map(|own| own.node), Some(engine.node()));
/// # Ok::<(), syncro_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LogStore {
    pub(crate) shared: Arc<Shared>,
}

/// Makes what was applied durable, while others apply more and read.
#[derive(Clone, Debug)]
pub struct Syncer {
    pub(crate) shared: Arc<Shared>,
}

impl Syncer {
    /// Makes every commit durable that was applied before this call. Calls take turns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] where there is no room: nothing is lost, and a later call may find some. After any
    /// other error the store has stopped: nothing more is written until it is opened again.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.sync(Begin::WhenDue)
    }

    /// Like [`sync`](Self::sync), and it is time to write behind, however little there is: for a moment when
    /// there is nothing better to do.
    ///
    /// # Errors
    ///
    /// Like [`sync`](Self::sync).
    pub fn begin_checkpoint(&self) -> Result<(), StoreError> {
        self.shared.sync(Begin::Now)
    }

    /// Packs most of what was applied, where that is much, so that the next [`sync`](Self::sync) has less to do. To be called
    /// from a thread that has nothing better to do, while others apply more and read.
    pub fn pack_ahead(&self) {
        self.shared.pack_ahead();
    }

    /// Lets the backend [catch up](crate::backend::Backend::catch_up), or writes the next slice of what follows from the log
    /// behind it, if it is time to. Returns whether anything was written: then there may be more. Where a full medium could not even be opened anew, that is
    /// tried again first. To be called now and then from a thread that has
    /// nothing better to do; where its backend can, a sync does not wait for it.
    ///
    /// # Errors
    ///
    /// Like [`sync`](Self::sync).
    pub fn write_behind(&self) -> Result<bool, StoreError> {
        Ok(self.shared.catch_backend_up()? || self.shared.write_slice()?.is_some())
    }

    /// Whether it is time to [write behind](Self::write_behind).
    pub fn is_due_behind(&self) -> bool {
        let state = self.shared.read();
        state.checkpoint.is_some() || state.backend.as_ref().is_some_and(|it| it.is_behind())
    }

    /// Whether the medium has so little room left that only what frees some, or tells others, should be
    /// applied: less than 1 MiB beside twice what is not written yet. `false` where nobody knows.
    pub fn is_short_of_room(&self) -> bool {
        self.shared.is_short_of_room()
    }

    /// About the bytes that are held in memory because they are not in the backend yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.shared.read().unwritten_bytes()
    }

    /// Whether anything is behind the log that no checkpoint under way is writing.
    pub fn is_behind(&self) -> bool {
        self.shared.read().behind_bytes() > 0
    }

    /// Whether a checkpoint is under way.
    pub fn is_writing_behind(&self) -> bool {
        self.shared.read().checkpoint.is_some()
    }

    /// Whether as much is behind as may be: a good time to wait for the checkpoint under way to end, or for
    /// the sync that begins one.
    pub fn is_crowded(&self) -> bool {
        self.shared.read().behind_bytes() >= self.shared.bounds.overlay_bytes
    }

    /// Where as much is behind as may be: begins a checkpoint, with a sync, or writes twice as many bytes of
    /// the one under way as its caller has applied. Returns whether it was.
    ///
    /// To be called by those who apply, when they hold no lock that others wait for. Where nobody calls it,
    /// `apply` does so itself when twice as much is behind.
    ///
    /// # Errors
    ///
    /// Like [`sync`](Self::sync).
    pub fn make_room(&self, bytes: usize) -> Result<bool, StoreError> {
        self.shared.make_room(self.shared.bounds.overlay_bytes, || bytes)
    }

    /// Writes everything that follows from the log behind it, and makes it durable: the next opening has
    /// nothing to play.
    ///
    /// # Errors
    ///
    /// Like [`sync`](Self::sync).
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.shared.checkpoint()
    }

    /// Gives the backend up, so that it can be opened again while handles on this store are left: they
    /// fail with [`StoreError::Closed`]. What was not synced is lost.
    pub fn close(&self) {
        let _alone = self.shared.turns.alone();
        let backend = self.shared.write().backend.take();
        // It may have much to tidy up, for which nobody who reads should wait.
        drop(backend);
    }
}

/// Opens a [`LogStore`] with more to say than [`LogStore::open`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LogStoreBuilder {
    bounds: Bounds,
}

impl LogStoreBuilder {
    /// How many bytes of log and of what follows from it may be behind before a checkpoint begins. Default:
    /// 64 MiB.
    ///
    /// In memory there are at most about three times as many, while one checkpoint is written and more
    /// comes; about as many bytes of log are read at an opening after a crash.
    pub fn overlay_bytes(mut self, bytes: usize) -> Self {
        self.bounds.overlay_bytes = bytes;
        self
    }

    /// How many rows a checkpoint writes at once, at most. Default: 512, of which a sync may have to
    /// wait for some milliseconds.
    pub fn slice_rows(mut self, rows: usize) -> Self {
        self.bounds.slice_rows = rows.max(1);
        self
    }

    /// Opens a store over a backend.
    ///
    /// # Errors
    ///
    /// Like [`LogStore::open`].
    pub fn open(self, backend: impl Backend) -> Result<LogStore, StoreError> {
        self.open_shared(Arc::new(Caught::new(backend)))
    }

    pub(crate) fn open_shared(self, backend: Arc<dyn Backend>) -> Result<LogStore, StoreError> {
        let shared = recover::open(backend, self.bounds, &CHAIN)?;
        Ok(LogStore { shared: Arc::new(shared) })
    }
}

/// A cheap handle for reading a store from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// A view of one moment. While it lives, what changes is remembered for it in memory.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.clone())
    }

    /// The transactions of a stamp in the log: one, or several where a machine was cloned.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the log cannot be read.
    pub fn of_stamp(&self, stamp: Stamp) -> Result<Vec<Transaction>, StoreError> {
        let found = self.look_read()?.of_stamp(stamp)?.into_iter();
        let damaged = |offset| damaged(Table::Log, &key::page(offset));
        found
            .map(|(offset, bytes)| Transaction::trusted(bytes).map_err(|_| damaged(offset)))
            .collect()
    }

    pub(crate) fn look(&self) -> Look<'_> {
        Look::now(&self.shared)
    }

    pub(crate) fn look_for_record(&self) -> Result<Look<'_>, StoreError> {
        Look::for_record(&self.shared)
    }

    pub(crate) fn look_read(&self) -> Result<Look<'_>, StoreError> {
        Look::read(&self.shared)
    }

    pub(crate) fn look_played(&self) -> Result<Look<'_>, StoreError> {
        Look::played(&self.shared)
    }
}

impl LogStore {
    /// Opens a store over a backend, and reads what of its log records do not show yet. A store of an older
    /// format is made one of this program's first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Version`] for a store of a newer format, and of one that is too old to know;
    /// [`StoreError::Corrupt`] for one that is damaged.
    pub fn open(backend: impl Backend) -> Result<Self, StoreError> {
        Self::builder().open(backend)
    }

    /// Starts from the defaults, to change some of them.
    pub fn builder() -> LogStoreBuilder {
        LogStoreBuilder { bounds: Bounds::default() }
    }

    /// A handle for reading.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone() }
    }

    /// A handle for making what was applied durable.
    pub fn syncer(&self) -> Syncer {
        Syncer { shared: self.shared.clone() }
    }

    pub(crate) fn look(&self) -> Look<'_> {
        Look::now(&self.shared)
    }

    pub(crate) fn look_for_record(&self) -> Result<Look<'_>, StoreError> {
        Look::for_record(&self.shared)
    }

    pub(crate) fn look_read(&self) -> Result<Look<'_>, StoreError> {
        Look::read(&self.shared)
    }

    pub(crate) fn look_played(&self) -> Result<Look<'_>, StoreError> {
        Look::played(&self.shared)
    }
}

impl Store for LogStore {
    fn apply(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let bound = self.shared.bounds.overlay_bytes.saturating_mul(2);
        let mut state = self.shared.write();
        if state.behind_bytes() >= bound {
            drop(state);
            match self.shared.make_room(bound, || commit.bytes()) {
                // It is held in memory, until whoever syncs is told.
                Ok(_) | Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
            // What waits is all that was ever said of a record.
            if self.shared.read().unplayed.bytes() >= self.shared.bounds.overlay_bytes {
                self.shared.guarded(Shared::play)?;
            }
            state = self.shared.write();
        }
        if !state.unplayed.crowded().is_empty() {
            drop(state);
            self.shared.guarded(Shared::play_crowded)?;
            state = self.shared.write();
        }
        // What a view shows takes the place of what is before it in the log.
        let is_shown = || commit.entries.iter().any(|entry| entry.transaction.is_local());
        if !state.is_played() && is_shown() {
            drop(state);
            self.shared.guarded(Shared::play)?;
            state = self.shared.write();
        }
        // What waits is in the order of the log, and so is what an author has written.
        if state.unread.as_ref().is_some_and(|unread| !unread.may_be_followed_by(commit)) {
            drop(state);
            self.shared.guarded(Shared::read_rest)?;
            state = self.shared.write();
        }
        self.shared.guarded_in(state, |state| {
            let mut staging = Staging::of(state);
            for entry in &commit.entries {
                staging.transaction(entry)?;
            }
            #[cfg(all(feature = "planted", debug_assertions))]
            let commit = &crate::planted::halved(commit);
            if !commit.is_played {
                let entries = commit.entries.iter();
                staging.leave(entries.map(|entry| (entry.offset, entry.transaction.clone())))?;
            }
            // What is played of what is not as a whole is whole.
            for (key, record) in &commit.records {
                staging.record(key, record)?;
            }
            staging.publish(Some(commit))
        })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.syncer().sync()
    }
}

#[cfg(test)]
mod tests;
