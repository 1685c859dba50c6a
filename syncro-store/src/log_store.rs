//! A node's store over a byte backend: the log is the truth, the rest follows it.

use std::sync::{Arc, PoisonError};

use syncro_core::{Commit, Store, StoreError};

use crate::backend::{Backend, Batch, Durability, Table};
use crate::encoding::{FORMAT_VERSION, key, row, seal};
use crate::snapshot::Snapshot;
use crate::staging::Staging;
use crate::state::Shared;
use crate::{overlay, recover};

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
    shared: Arc<Shared>,
}

impl Syncer {
    /// Makes every commit durable that was applied before this call. Calls take turns.
    ///
    /// # Errors
    ///
    /// After an error the store has stopped: nothing more is written until it is opened again.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _turn = self.shared.sync.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.guarded(|shared| {
            let mut batch = Batch::new();
            let backend = {
                let mut state = shared.write();
                state.put_open_page();
                put_row(&mut batch, key::FORMAT, &FORMAT_VERSION.to_be_bytes());
                put_row(&mut batch, key::MARK, &row::write_mark(state.open_page.end()));
                overlay::fill(&mut batch, &state.log.freeze());
                overlay::fill(&mut batch, &state.derived.freeze());
                state.backend.clone().ok_or(StoreError::Closed)?
            };
            backend.write(&batch, Durability::Durable)?;
            let mut state = shared.write();
            state.log.thaw();
            state.derived.thaw();
            Ok(())
        })
    }

    /// Gives the backend up, so that it can be opened again while handles on this store are left: they
    /// fail with [`StoreError::Closed`]. What was not synced is lost.
    pub fn close(&self) {
        let _turn = self.shared.sync.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.write().backend = None;
    }
}

/// A cheap handle for reading a store from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// A view of one moment. It holds up nobody; while it lives, what changes is remembered for it in
    /// memory.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.clone())
    }
}

impl LogStore {
    /// Opens a store over a backend, and brings records and stamps up to the end of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Version`] for a store of a newer format; [`StoreError::Corrupt`] for one that is
    /// damaged.
    pub fn open(backend: impl Backend) -> Result<Self, StoreError> {
        let shared = recover::open(Arc::new(backend))?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A handle for reading.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone() }
    }

    /// A handle for making what was applied durable.
    pub fn syncer(&self) -> Syncer {
        Syncer { shared: self.shared.clone() }
    }
}

impl Store for LogStore {
    fn apply(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.shared.guarded(|shared| {
            let mut staging = Staging::new(shared);
            for entry in &commit.entries {
                staging.transaction(entry)?;
            }
            for (key, record) in &commit.records {
                staging.record(key, record)?;
            }
            for (node, row) in &commit.peers {
                staging.put(Table::Rows, key::peer(*node), &row::write_peer(row));
            }
            staging.put(Table::Rows, key::OWN.to_vec(), &row::write_own(&commit.own));
            staging.publish(&commit.entries)
        })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.syncer().sync()
    }
}

fn put_row(batch: &mut Batch, key: &'static [u8], content: &[u8]) {
    batch.put(Table::Rows, key, seal(Table::Rows, key, content));
}

#[cfg(test)]
mod tests;
