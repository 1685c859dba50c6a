//! What a hub can fail with.

use syncro::{DataError, StoreError};

/// Why a call did nothing, or the hub has stopped. What a peer does wrong is an [`Event`](crate::Event) instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node failed, or is closed.
    #[error(transparent)]
    Node(#[from] syncro::Error),
    /// The list of scribes could not be read or written.
    #[error("the list of classic scribes: {0}")]
    List(StoreError),
    /// The file of the list was made by a newer version of this library.
    #[error(
        "the list of classic scribes is of version {found}, and this library reads {known}: use a newer one"
    )]
    Version {
        /// The version of the file.
        found: u64,
        /// The version that is understood.
        known: u64,
    },
    /// A name was registered twice.
    #[error("{name:?} is registered already")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name is the dialect's own.
    #[error("{name:?} is the protocol's own, and cannot be registered")]
    Reserved {
        /// The name.
        name: String,
    },
    /// There are as many sessions as there may be.
    #[error("there are {} sessions already", crate::limits::SESSIONS_MAX)]
    TooManySessions,
    /// The thread of the hub has ended.
    #[error("the hub has stopped")]
    Stopped,
    /// A listener or a thread could not be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Self::Node(error.into())
    }
}
