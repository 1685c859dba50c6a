//! What a node can fail with.

use syncro_core::{DataError, StoreError, UsageError};
use syncro_net::NetError;

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
