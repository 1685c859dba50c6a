//! Reading and writing a node's store, as the engine sees it.

mod error;

pub use error::StoreError;
