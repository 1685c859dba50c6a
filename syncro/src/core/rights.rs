//! What somebody may do for whom this node writes.

use syncro_core::{Principal, Proposal};

use super::{Core, State, now};
use crate::error::Error;

impl Core {
    /// Whether the node limits what peers do.
    pub(crate) fn has_rules(&self) -> bool {
        self.config.permissions.is_some()
    }

    /// Refuses what a principal may not do; of nobody but this node itself nothing.
    pub(super) fn permit(
        &self,
        state: &State,
        principal: Option<&Principal>,
        proposal: &Proposal,
    ) -> Result<(), Error> {
        let Some(principal) = principal else { return Ok(()) };
        let appraised =
            state.engine.appraise(now(self.started), principal, proposal, &state.store)?;
        appraised.map_err(Error::Refused)
    }
}
