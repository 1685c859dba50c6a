//! Who this node is to others, and what others may do here.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::limits::CREDENTIALS_BYTES_MAX;
use syncro_core::{Input, NodeId, Principal, UsageError, Verdict};

use super::Node;
use crate::core::Committed;
use crate::error::Error;

impl Node {
    /// Changes what shows peers who this node is. Sessions that are open go on; the next ones say it.
    ///
    /// # Errors
    ///
    /// [`UsageError::CredentialsTooLong`] for more than 2,048 bytes.
    pub fn set_credentials(&self, credentials: impl Into<Vec<u8>>) -> Result<(), Error> {
        let credentials = Bytes::from(credentials.into());
        check_credentials(&credentials)?;
        self.core.set_credentials(credentials);
        Ok(())
    }

    /// Changes what a peer may do in the sessions that it has, or with `None` ends them. What it may do in its next
    /// session the [`Permissions`](crate::Permissions) say when it comes.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the node is closed, [`Error::Store`] when its store has failed.
    pub fn set_principal(&self, peer: NodeId, principal: Option<Principal>) -> Result<(), Error> {
        let principal = principal.map(Arc::new);
        for status in self.sessions().into_iter().filter(|status| status.peer == peer) {
            let (session, principal) = (status.session, principal.clone());
            self.core.session_input(Input::Rights { session, principal })?;
        }
        Ok(())
    }

    /// What authorities have refused of this node's transactions, and nobody has [dismissed](Self::dismiss) yet. New
    /// ones are told as [`Notice::Refused`](crate::Notice::Refused), once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn verdicts(&self) -> Result<Vec<Verdict>, Error> {
        let own = self.id();
        self.list(|verdict: &Verdict| verdict.to == own)
    }

    /// Destroys a verdict that has been dealt with.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`](crate::DataError::Missing) when it is dismissed already.
    pub fn dismiss(&self, verdict: &Verdict) -> Result<Option<Committed>, Error> {
        self.destroy::<Verdict>(&verdict.id)
    }
}

pub(super) fn check_credentials(credentials: &Bytes) -> Result<(), Error> {
    let bytes = credentials.len();
    match bytes > CREDENTIALS_BYTES_MAX {
        true => Err(UsageError::CredentialsTooLong { bytes }.into()),
        false => Ok(()),
    }
}
