//! What a store can fail with.

use std::sync::Arc;

use crate::NodeId;

/// Why a store could not do what it was asked.
///
/// Every variant is the store's (or its disk's) fault, never the caller's data.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another handle in this one, has the store open.
    #[error("the store {place} is in use elsewhere: close it there first, or open another one")]
    Locked {
        /// The file, or the name of the store.
        place: String,
    },
    /// Something read from the store is not what was written.
    #[error(
        "the store is damaged: {what}; keep a copy of it and repair it, or restore a backup, and sync with a peer"
    )]
    Corrupt {
        /// The thing that is damaged, as precisely as it is known.
        what: String,
    },
    /// What was opened is no store of this library, or has nothing left of one.
    #[error("{what}; was another one meant? If it was a store, repair it, or restore a backup")]
    NotAStore {
        /// What it is.
        what: String,
    },
    /// The medium has no room. An open store goes on as soon as there is some.
    #[error("there is no room left for the store: free some space and try again")]
    Full,
    /// The operating system refused a read or a write.
    #[error("the store could not be read or written: {0}")]
    Io(Arc<std::io::Error>),
    /// The store was written by a newer version of this library, or by one too old for this one to know.
    #[error("the store has format version {found}, and {}", refusal(*.found, *.oldest, *.newest))]
    Version {
        /// The version that the store states.
        found: u32,
        /// The oldest version that this program opens.
        oldest: u32,
        /// The newest version that this program opens.
        newest: u32,
    },
    /// The store to be repaired is another node's.
    #[error("the store is that of node {found}, not of {wanted}: was another one meant?")]
    AnotherNode {
        /// Whose it is.
        found: NodeId,
        /// Whose it was said to be.
        wanted: NodeId,
    },
    /// The store is being repaired: nothing can be read or written until that is done.
    #[error("the store is being repaired: try again when that is done")]
    UnderRepair,
    /// The store was repaired meanwhile: what was begun before has no place in it.
    #[error("the store was repaired meanwhile: begin again")]
    Repaired,
    /// The store was closed.
    #[error("the store is closed: open it again")]
    Closed,
    /// A write or flush failed earlier: nothing more is acknowledged until the store is reopened.
    #[error("the store has stopped ({cause}): open it again, or repair it where it is damaged")]
    Latched {
        /// What failed first.
        cause: String,
    },
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

/// Why a version is not opened, and what to do.
fn refusal(found: u32, oldest: u32, newest: u32) -> String {
    if found > newest {
        return format!(
            "this program opens none above {newest}: a newer program wrote it, so upgrade this one"
        );
    }
    format!("this program opens none below {oldest}: open it once with one that knows both")
}
