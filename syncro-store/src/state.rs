//! What the handles of a store share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use bytes::Bytes;
use syncro_core::{Author, Entry, Name, Point, StoreError};

use crate::backend::{Backend, Table};
use crate::checkpoint::{Checkpoint, Turns};
use crate::dictionary::Dictionary;
use crate::encoding::page::OpenPage;
use crate::encoding::seal;
use crate::last_pages::LastPages;
use crate::last_record::LastRecord;
use crate::layers::Layers;
use crate::noted::Noted;
use crate::overlay::{Overlay, Rows, Value};
use crate::staging::{Recent, Row, Staging};
use crate::stamps::{Alike, Stamps};
use crate::tail::{Packing, Tail};
use crate::unplayed::Unplayed;
use crate::unread::Unread;

/// How often somebody looks who has time whether nobody has the lock: for some dozen microseconds.
const TRIES: usize = 1000;

pub(crate) struct Shared {
    state: RwLock<State>,
    /// Who writes to the backend.
    pub(crate) turns: Turns,
    pub(crate) bounds: Bounds,
    /// Whether the backend has found no room, and was not opened anew since.
    pub(crate) must_reopen: AtomicBool,
    /// How often it was.
    pub(crate) reopened: AtomicU64,
}

/// How much is written behind the log, and in what portions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// About the bytes of rows that follow from the log at which a checkpoint begins.
    pub(crate) overlay_bytes: usize,
    /// Rows of one slice of a checkpoint at most: a sync may have to wait for one.
    pub(crate) slice_rows: usize,
}

impl Default for Bounds {
    /// Bytes enough that many changes of one record are one write, and so few that playing them after a crash takes
    /// a fraction of a second; rows that take some milliseconds.
    fn default() -> Self {
        Self { overlay_bytes: 64 << 20, slice_rows: 512 }
    }
}

/// What changes when a commit is applied.
pub(crate) struct State {
    /// `None` once the store is closed.
    pub(crate) backend: Option<Arc<dyn Backend>>,
    /// Why the backend is not to be touched: a repair has it, or has failed.
    pub(crate) out_of_use: Option<StoreError>,
    /// Why nothing more is written.
    pub(crate) latched: Option<String>,
    /// Counts the repairs: what belongs to the store before one must not meet the store after it.
    pub(crate) generation: u64,
    /// What is to become durable as a whole: pages of the log, and rows.
    pub(crate) log: Overlay,
    /// What follows from the log: names, records, stamps. Written behind.
    pub(crate) derived: Overlay,
    /// The checkpoint under way, which writes what is set aside above.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What of the log nobody has read since the store was opened: all that waits to be played came after it.
    pub(crate) unread: Option<Unread>,
    /// What of the log is not played yet. Nothing of it is older than a snapshot that lives.
    pub(crate) unplayed: Unplayed,
    /// Bytes of the log that no checkpoint has begun to cover: they are read at an opening after a crash.
    pub(crate) log_bytes: usize,
    /// The end of the log, of which what is packed already is in pages, too.
    pub(crate) tail: Tail,
    /// Packs it; not here while whoever has the turn to sync packs what is long.
    pub(crate) packing: Option<Packing>,
    pub(crate) next_name: u32,
    pub(crate) next_author: u32,
    /// These seven remember what was looked up.
    pub(crate) names: Dictionary<Name>,
    pub(crate) authors: Dictionary<Author>,
    pub(crate) stamps: Stamps,
    /// The place in the log whose digest was last asked for, and the first offset of its page. Echoes are checked one
    /// after the other: from here the next one is near.
    pub(crate) last_digest: Mutex<Option<(u64, Point)>>,
    /// The transactions of the stamp that was last asked for, where there are many.
    pub(crate) alike: Mutex<Option<Alike>>,
    pub(crate) last_pages: LastPages,
    pub(crate) last_record: LastRecord,
    pub(crate) recent: Recent,
    pub(crate) noted: Noted,
    /// Whether some record is, or was, too large for one row.
    pub(crate) has_pieces: bool,
    /// The snapshots that may still live.
    pub(crate) snapshots: Vec<Weak<Past>>,
}

/// What a snapshot remembers: where the log ended, and the rows that have changed since, as they were.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) end: Point,
    generation: u64,
    before: Mutex<Rows>,
    /// Why the log could not be played up to there.
    pub(crate) failed: Option<StoreError>,
}

impl Past {
    /// Keeps rows as they are, unless they have changed since the snapshot.
    pub(crate) fn keep(&self, rows: &[Row]) {
        #[cfg(all(feature = "planted", debug_assertions))]
        if syncro_core::planted::is_planted(syncro_core::planted::Planted::SnapshotMoves) {
            return;
        }
        let mut before = self.lock();
        for (table, key, value) in rows {
            before.insert_if_absent(*table, key.clone(), value.clone());
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Rows> {
        // A map is whole between any two operations.
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(crate) fn new(state: State, bounds: Bounds) -> Self {
        Self {
            state: RwLock::new(state),
            turns: Turns::default(),
            bounds,
            must_reopen: AtomicBool::new(false),
            reopened: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A thread that panicked while it changed the state has latched the store: see `guarded`.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`write`](Self::write), for whoever has time: those who write one thing after the other would be put to sleep by
    /// somebody who waits in line, and take far longer to wake up than this to find a moment between two of them.
    pub(crate) fn write_between(&self) -> RwLockWriteGuard<'_, State> {
        for _ in 0..TRIES {
            if let Ok(state) = self.state.try_write() {
                return state;
            }
            std::hint::spin_loop();
        }
        self.write()
    }

    /// Begins to remember what changes.
    pub(crate) fn remember(&self) -> Arc<Past> {
        let (mut state, failed) = loop {
            let state = self.write();
            if state.is_played() {
                break (state, None);
            }
            drop(state);
            if let Err(failed) = self.play() {
                break (self.write(), Some(failed));
            }
        };
        state.put_noted();
        let (end, generation) = (state.tail.end(), state.generation);
        let past = Arc::new(Past { end, generation, before: Mutex::default(), failed });
        let snapshots = &mut state.snapshots;
        if snapshots.len() == snapshots.capacity() {
            snapshots.retain(|past| past.strong_count() > 0);
        }
        snapshots.push(Arc::downgrade(&past));
        past
    }

    #[cfg(test)]
    pub(crate) fn remembering(&self) -> Vec<Arc<Past>> {
        self.write().remembering()
    }

    #[cfg(test)]
    pub(crate) fn snapshots_known(&self) -> usize {
        self.read().snapshots.len()
    }

    /// Runs a write, and stops the store when it fails or panics.
    pub(crate) fn guarded<T>(
        &self,
        write: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let generation = self.read().writable()?;
        self.latched(generation, || write(self))
    }

    /// Runs a change of the state like a [write](Self::guarded), with the lock that is held already.
    pub(crate) fn guarded_in<'a, T>(
        &'a self,
        state: RwLockWriteGuard<'a, State>,
        change: impl FnOnce(RwLockWriteGuard<'a, State>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let generation = state.writable()?;
        self.latched(generation, || change(state))
    }

    /// Plays all that waits when this is called, a piece at a time. Others apply more and read between any two.
    pub(crate) fn play(&self) -> Result<(), StoreError> {
        self.play_within(usize::MAX)
    }

    /// The same, until what is played and not written behind takes so many bytes, and what waits fewer.
    pub(crate) fn play_within(&self, bytes: usize) -> Result<(), StoreError> {
        self.read_rest()?;
        let mut left = self.read().unplayed.len();
        while left > 0 {
            let state = self.write();
            // What fails leaves no trace, and nothing is written: who reads does not stop the store.
            let played =
                self.unless_it_panics(state.generation, || Staging::of(state).play_first())?;
            // None where somebody else has played the rest.
            left = if played == 0 { 0 } else { left.saturating_sub(played) };
            let state = self.read();
            if state.derived.active_bytes() >= bytes && state.unplayed.bytes() < bytes {
                break;
            }
        }
        Ok(())
    }

    /// Plays what waits of records of which much does.
    pub(crate) fn play_crowded(&self) -> Result<(), StoreError> {
        let state = self.write();
        if state.unplayed.crowded().is_empty() {
            return Ok(());
        }
        self.unless_it_panics(state.generation, || Staging::of(state).play_crowded())
    }

    fn latched<T>(
        &self,
        generation: u64,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let written = self.unless_it_panics(generation, write);
        match &written {
            Ok(_) => {}
            // Nothing was written: the store had been given up before.
            Err(_) if self.read().backend().is_err() => {}
            // Nothing is lost: it is written when there is room.
            Err(StoreError::Full) => {}
            Err(error) => self.latch(generation, error.to_string()),
        }
        written
    }

    /// Runs a change, and stops the store when it panics.
    pub(crate) fn unless_it_panics<T>(&self, generation: u64, change: impl FnOnce() -> T) -> T {
        let latch = LatchOnPanic { shared: self, generation };
        let changed = change();
        std::mem::forget(latch);
        changed
    }

    /// What failed before a repair says nothing of the store after it.
    fn latch(&self, generation: u64, cause: String) {
        let mut state = self.write();
        if state.generation == generation {
            // The first cause counts.
            state.latched.get_or_insert(cause);
        }
    }

    /// Puts another store in the place of this one, for every handle at once.
    pub(crate) fn renew(&self, fresh: Self) {
        let Self { state, must_reopen, .. } = fresh;
        let fresh = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.write();
        self.must_reopen.store(must_reopen.into_inner(), Ordering::Relaxed);
        *state = State { generation: state.generation + 1, ..fresh };
    }
}

struct LatchOnPanic<'a> {
    shared: &'a Shared,
    generation: u64,
}

impl Drop for LatchOnPanic<'_> {
    fn drop(&mut self) {
        self.shared.latch(self.generation, "a write panicked".to_owned());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl State {
    /// A backend with nothing above it, and a log of which nothing is known.
    pub(crate) fn over(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend: Some(backend),
            out_of_use: None,
            latched: None,
            generation: 0,
            log: Overlay::default(),
            derived: Overlay::default(),
            checkpoint: None,
            unread: None,
            unplayed: Unplayed::default(),
            log_bytes: 0,
            tail: Tail::begin(Point::START),
            packing: Some(Packing::behind(OpenPage::begin(Point::START))),
            next_name: 0,
            next_author: 0,
            names: Dictionary::new(),
            authors: Dictionary::new(),
            stamps: Stamps::default(),
            last_digest: Mutex::default(),
            alike: Mutex::default(),
            last_pages: LastPages::default(),
            last_record: LastRecord::default(),
            recent: Recent::default(),
            noted: Noted::default(),
            has_pieces: false,
            snapshots: Vec::new(),
        }
    }

    /// Whether anybody remembers.
    pub(crate) fn has_snapshots(&self) -> bool {
        self.snapshots.iter().any(|past| past.strong_count() > 0)
    }

    /// Who remembers.
    pub(crate) fn remembering(&mut self) -> Vec<Arc<Past>> {
        if self.snapshots.is_empty() {
            return Vec::new();
        }
        let living: Vec<Arc<Past>> = self.snapshots.iter().filter_map(Weak::upgrade).collect();
        if living.len() < self.snapshots.len() {
            self.snapshots = living.iter().map(Arc::downgrade).collect();
        }
        living
    }

    /// The backend, if it may be touched.
    pub(crate) fn backend(&self) -> Result<&Arc<dyn Backend>, StoreError> {
        let backend = self.backend.as_ref().ok_or(StoreError::Closed)?;
        match &self.out_of_use {
            None => Ok(backend),
            Some(why) => Err(why.clone()),
        }
    }

    /// Whether anything may be written, and which generation it is.
    fn writable(&self) -> Result<u64, StoreError> {
        match (&self.out_of_use, &self.latched) {
            (None, None) => Ok(self.generation),
            (Some(why), _) => Err(why.clone()),
            (None, Some(cause)) => Err(StoreError::Latched { cause: cause.clone() }),
        }
    }

    /// The rows as they are now.
    pub(crate) fn now(&self) -> Result<Layers<'_>, StoreError> {
        self.as_of(None)
    }

    /// The rows as a snapshot remembers them.
    pub(crate) fn as_of<'a>(&'a self, past: Option<&'a Past>) -> Result<Layers<'a>, StoreError> {
        let backend = &**self.backend()?;
        if past.is_some_and(|past| past.generation != self.generation) {
            return Err(StoreError::Repaired);
        }
        Ok(Layers { state: self, backend, past })
    }

    /// Forgets what was looked up: some words may have been given numbers that nobody has put, and some transactions
    /// places.
    pub(crate) fn forget_looked_up(&mut self) {
        (self.names, self.authors) = (Dictionary::new(), Dictionary::new());
        self.stamps.forget();
        self.recent = Recent::default();
    }

    pub(crate) fn put(&mut self, table: Table, key: Bytes, value: Option<Value>) {
        match table {
            Table::Rows | Table::Log => self.log.put(table, key, value),
            Table::Names | Table::Records | Table::Stamps => self.derived.put(table, key, value),
        }
    }

    /// Appends to the log.
    pub(crate) fn append(&mut self, entry: &Entry) {
        self.log_bytes += entry.transaction.bytes().len();
        self.tail.push(entry);
    }

    /// Packs what was appended, and puts the pages.
    pub(crate) fn pack(&mut self) -> Result<(), StoreError> {
        let Self { tail, packing, log, .. } = self;
        let cause = || "packing the log panicked".to_owned();
        let packing = packing.as_mut().ok_or_else(|| StoreError::Latched { cause: cause() })?;
        tail.pack(packing, |(table, key, value)| log.put(table, key, value));
        Ok(())
    }

    /// Whether all of the log is played.
    pub(crate) fn is_played(&self) -> bool {
        self.unread.is_none() && self.unplayed.is_empty()
    }

    /// The offset up to which all is played, if it is not the end of the log.
    pub(crate) fn unplayed_from(&self) -> Option<u64> {
        let unread = self.unread.as_ref().map(|unread| unread.scribes().start);
        self.unplayed.offset().into_iter().chain(unread).min()
    }

    /// About the bytes that are held in memory because they are not in the backend yet.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        let derived = self.derived.bytes() + self.unplayed.bytes();
        self.tail.unpacked_bytes() + self.log.bytes() + derived
    }

    /// Puts the small rows as they are now.
    pub(crate) fn put_noted(&mut self) {
        for (key, content) in self.noted.take() {
            let sealed = content.map(|content| Value::Sealed(seal(Table::Rows, &key, &content)));
            self.put(Table::Rows, key.into(), sealed);
        }
    }

    /// About the bytes of memory, and of log to be played after a crash, that no checkpoint covers.
    pub(crate) fn behind_bytes(&self) -> usize {
        let unread = self.unread.as_ref().map_or(0, Unread::log_bytes);
        self.derived.active_bytes() + self.unplayed.bytes() + self.log_bytes + unread
    }

    /// Sets aside what follows from the log, for a checkpoint.
    pub(crate) fn set_derived_aside(&mut self) {
        self.log_bytes = self.unplayed.log_bytes();
        self.derived.set_aside();
    }

    pub(crate) fn layers(&self, table: Table) -> [&Rows; 2] {
        match table {
            Table::Rows | Table::Log => self.log.layers(),
            Table::Names | Table::Records | Table::Stamps => self.derived.layers(),
        }
    }
}
