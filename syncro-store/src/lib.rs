//! Embedded stores for Syncro: our own encodings over a backend of bytes.
//!
//! [`LogStore`] is the store of a node, over any [`Backend`]: [`Memory`], which is gone with the process,
//! [`Redb`], one file, or, with the feature `sled`, `Sled`, a directory. Other backends prove themselves
//! with the suite in `conformance`, a feature too. The log is the truth; records and indexes follow it and can be rebuilt.

mod backend;
mod backup;
mod changes;
mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dictionary;
mod encoding;
#[cfg(test)]
mod engine_rows;
mod last_pages;
mod last_record;
mod layers;
mod log_store;
#[cfg(test)]
mod many_authors;
mod migrate;
mod noted;
mod overlay;
#[cfg(all(feature = "planted", debug_assertions))]
mod planted;
mod recover;
mod repair;
mod room;
mod rows;
mod salvage;
mod snapshot;
mod staging;
mod stamps;
mod state;
mod tail;
mod unplayed;
mod unread;
mod verify;
mod view;
#[cfg(test)]
mod world;

pub use backend::{
    Backend, Batch, Durability, Fault, KEY_BYTES_MAX, Memory, MemoryDisk, Remains, Save, Table,
    VALUE_BYTES_MAX, Visit,
};
#[cfg(feature = "redb")]
pub use backend::{Redb, RedbBuilder};
#[cfg(feature = "sled")]
pub use backend::{Sled, SledBuilder};
pub use backup::Copied;
pub use encoding::FORMAT_VERSION;
pub use log_store::{LogStore, LogStoreBuilder, Reader, Syncer};
pub use repair::Repaired;
pub use snapshot::Snapshot;
pub use verify::{Damage, Verified};
