//! A store as it was.

use std::sync::Arc;

use syncro_core::StoreError;

use crate::state::{Past, Shared};
use crate::view::Look;

/// A store as it was at one moment, for as long as this lives.
///
/// It may be kept while the same thread writes: nobody waits for more than one of its reads. What changes
/// meanwhile is remembered for it in memory, so it should not be kept for ever.
#[derive(Clone, Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
    past: Arc<Past>,
}

impl Snapshot {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let past = shared.remember();
        Self { shared, past }
    }

    pub(crate) fn look(&self) -> Look<'_> {
        Look::as_of(&self.shared, &self.past)
    }

    pub(crate) fn look_for_record(&self) -> Result<Look<'_>, StoreError> {
        Ok(self.look())
    }

    pub(crate) fn look_read(&self) -> Result<Look<'_>, StoreError> {
        self.look_played()
    }

    /// What is unplayed came later, unless it could not be played.
    pub(crate) fn look_played(&self) -> Result<Look<'_>, StoreError> {
        match &self.past.failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(self.look()),
        }
    }
}
