//! What a node can fail with.

use syncro_core::{CallFailure, DataError, Refusal, StoreError, UsageError};
use syncro_net::NetError;

use crate::bundle::BundleError;
use crate::core::Committed;

/// Why a call on a node failed, sorted by whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data given cannot be recorded, or the data read does not fit the type.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The call itself was wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The transaction was recorded, and there is no room to make it durable: it will be as soon as there is some,
    /// or is lost if the process ends before. Do not repeat it.
    #[error(
        "recorded, but there is no room left on the disk: it will be durable as soon as some is freed, unless \
         the process ends before; do not repeat it"
    )]
    NotDurable(Committed),
    /// A peer has not answered a call.
    #[error(transparent)]
    Call(#[from] CallFailure),
    /// The node's rules refuse it to whom it was to be recorded for
    /// ([`Node::propose_as`](crate::Node::propose_as)). Nothing was recorded.
    #[error("it was refused: {0}")]
    Refused(Refusal),
    /// A bundle could not be written, or not be taken in.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The network failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The node was closed.
    #[error("the node is closed: open it again")]
    Closed,
    /// A thread could not be started.
    #[error("no thread could be started for the node: {0}")]
    Thread(std::io::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Entropy(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            // The store is closed by the node alone.
            StoreError::Closed => Self::Closed,
            error => Self::Store(error),
        }
    }
}

impl From<syncro_core::Error> for Error {
    fn from(error: syncro_core::Error) -> Self {
        match error {
            syncro_core::Error::Data(error) => Self::Data(error),
            syncro_core::Error::Usage(error) => Self::Usage(error),
            syncro_core::Error::Store(error) => error.into(),
            // The core's errors are these three; a fourth would be the caller's business.
            _ => Self::Closed,
        }
    }
}
