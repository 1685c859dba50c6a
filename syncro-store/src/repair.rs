//! Making a damaged store usable again, with everything in it that can still be read.
//!
//! The log keeps the transactions that are whole, one after the other; what follows from it is made anew.
//! The points that others hold in what came after the first loss fit no more: they fall back to earlier
//! ones, as after a restore. This node's own points in its peers' logs promise what may be lost, so they
//! are forgotten, and the peers send everything again; what is still here is not taken twice.
//!
//! What the log has lost may still be found in what the medium has [left](crate::salvage), as it was: then it is
//! appended. Of a transaction that is found nowhere its records may have values left. They are put together to a transaction of the
//! same stamp, which is what a cloned machine would have written: should the lost one come back from a
//! peer, both are kept, and the records are as they were. (Not so where a cloned machine has used the stamp
//! twice, and one of the two is still there.)

mod lost;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use syncro_core::{NodeId, StoreError};

use crate::backend::{Backend, Caught};
use crate::log_store::{LogStore, LogStoreBuilder, Syncer};
use crate::migrate::{CHAIN, Chain};
use crate::recover;
use crate::salvage::{Salvaged, salvage};
use crate::state::Shared;

pub(crate) use work::{Repair, each_page, whole};

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The stretches of the log that were lost, by the offsets that they had, whether what was in them could be
    /// regained or rescued or not; one of no length where nobody knows how long it was. With none, all that was
    /// damaged could be made anew from the log.
    pub lost: Vec<(u64, u64)>,
    /// Lost transactions that were found whole in parts of the medium that nothing used any more, and are back.
    pub regained: u64,
    /// Lost transactions of which the records had values left.
    pub rescued: u64,
    /// Where the damaged medium is kept, if its own order was lost and a new one was made in its place.
    pub kept: Option<PathBuf>,
}

impl LogStoreBuilder {
    /// Repairs a damaged store and opens it. What was lost comes back from the peers that have it.
    ///
    /// A store that is not damaged is the same afterwards, but for what a crash had taken from it and is found again. A
    /// repair that was cut off is to be begun again;
    /// until then the store does not open. Where the backend's own order is lost, a new store is made of what can
    /// be found, if the backend can [look](Backend::salvage): [`Redb`](crate::Redb) can, also over a file that it
    /// cannot [open](crate::RedbBuilder::open_damaged). Keep a copy of the file otherwise. A store of an older format
    /// is made one of this program's first, without the rows in it that are damaged.
    ///
    /// `node` is who the node is, for a store that may not know any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] where nothing says who the node was and `node` is `None`, and where the backend itself
    /// cannot be read or written; [`StoreError::AnotherNode`] for the store of another node than `node`, which is left
    /// alone; [`StoreError::NotAStore`] where nothing of a store is left;
    /// [`StoreError::Full`] where there is no room for a new one; [`StoreError::Version`] for a store of a newer format, and of
    /// one that is too old to know.
    pub fn repair(
        self,
        backend: impl Backend,
        node: Option<NodeId>,
    ) -> Result<(LogStore, Repaired), StoreError> {
        self.repair_with(backend, node, &CHAIN)
    }

    pub(crate) fn repair_with(
        self,
        backend: impl Backend,
        node: Option<NodeId>,
        chain: &Chain,
    ) -> Result<(LogStore, Repaired), StoreError> {
        let backend: Arc<dyn Backend> = Arc::new(Caught::new(backend));
        let repaired = mend(&backend, node, chain)?;
        Ok((self.open_shared(backend)?, repaired))
    }
}

/// Repairs in place what can be read, and salvages what the backend cannot read.
fn mend(
    backend: &Arc<dyn Backend>,
    node: Option<NodeId>,
    chain: &Chain,
) -> Result<Repaired, StoreError> {
    let in_place = || Repair::begin(backend.clone(), node, chain)?.run(backend.remains());
    // To write to a damaged tree only spreads the damage.
    let sound = backend.check();
    let is_sound = sound.is_ok();
    let damage = match sound.and_then(|()| in_place()) {
        Err(error) if is_damage(&error) => error,
        done => return done,
    };
    match salvage(backend, node, chain)? {
        Salvaged::Store(repaired) => Ok(repaired),
        Salvaged::NotOffered if !is_sound => {
            backend.reopen()?;
            in_place()
        }
        Salvaged::NotOffered => Err(damage),
        Salvaged::Nothing => Err(match damage {
            StoreError::Corrupt { what } | StoreError::Latched { cause: what } => {
                StoreError::NotAStore { what: format!("nothing of a store is left in it: {what}") }
            }
            error => error,
        }),
    }
}

/// Whether a backend fails over what it holds. What it cannot read may be a bad sector.
fn is_damage(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Corrupt { .. }
            | StoreError::NotAStore { .. }
            | StoreError::Latched { .. }
            | StoreError::Io(_)
    )
}

impl Syncer {
    /// Repairs the store while handles on it are left: the backend is [reopened](Backend::reopen), which ends
    /// a latch, repaired like one that is [not open](LogStoreBuilder::repair), and every handle sees what has
    /// become of it. What was applied and not synced is lost, as in a crash.
    ///
    /// Until it is done nothing can be read or written: [`StoreError::UnderRepair`]. Snapshots of before fail
    /// with [`StoreError::Repaired`] from then on. The engine has to be opened anew over what is there.
    ///
    /// # Errors
    ///
    /// Like [`LogStoreBuilder::repair`], and [`StoreError::Full`]. Then the store fails with that error until it
    /// has been repaired, or with [`StoreError::Latched`] where it was for want of room.
    pub fn repair(&self, node: Option<NodeId>) -> Result<Repaired, StoreError> {
        let shared = &self.shared;
        let _alone = shared.turns.alone();
        let (backend, mut retired) = Retired::begin(shared)?;
        // What cannot be opened any more is salvaged.
        let reopened = match backend.reopen() {
            Err(error) if is_damage(&error) => Ok(()),
            reopened => reopened,
        };
        let mended = reopened.and_then(|()| {
            let repaired = mend(&backend, node, &CHAIN)?;
            Ok((recover::open(backend, shared.bounds, &CHAIN)?, repaired))
        });
        match mended {
            Ok((fresh, repaired)) => {
                shared.renew(fresh);
                Ok(repaired)
            }
            Err(error) => {
                retired.why = match &error {
                    // That would be a store which goes on when there is room.
                    StoreError::Full => StoreError::Latched { cause: format!("a repair: {error}") },
                    error => error.clone(),
                };
                Err(error)
            }
        }
    }
}

/// A store that nobody reads and writes while it is repaired, nor when that has failed.
struct Retired<'a> {
    shared: &'a Shared,
    why: StoreError,
}

impl<'a> Retired<'a> {
    fn begin(shared: &'a Shared) -> Result<(Arc<dyn Backend>, Self), StoreError> {
        // Whoever is reading is waited for.
        let mut state = shared.write();
        let backend = state.backend.clone().ok_or(StoreError::Closed)?;
        state.out_of_use = Some(StoreError::UnderRepair);
        let why = StoreError::Latched { cause: "a repair panicked".to_owned() };
        Ok((backend, Self { shared, why }))
    }
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        // A store that was renewed is in use.
        if let Some(why) = &mut self.shared.write().out_of_use {
            *why = self.why.clone();
        }
    }
}

#[cfg(test)]
mod tests;
