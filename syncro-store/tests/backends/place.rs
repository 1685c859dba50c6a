//! Where the suite opens its stores.

use syncro_core::StoreError;
use syncro_store::{Backend, Memory, MemoryDisk};

/// Somewhere that a store can be opened, closed and opened again.
pub(crate) trait Place {
    type Store: Backend;
    /// How many random histories are worth their time here.
    const HISTORIES: u32;

    fn new() -> Self;
    fn open(&self) -> Result<Self::Store, StoreError>;
}

pub(crate) struct MemoryPlace(MemoryDisk);

impl Place for MemoryPlace {
    type Store = Memory;
    const HISTORIES: u32 = 256;

    fn new() -> Self {
        Self(MemoryDisk::new())
    }

    fn open(&self) -> Result<Memory, StoreError> {
        self.0.open()
    }
}

#[cfg(feature = "redb")]
pub(crate) use file::RedbPlace;

#[cfg(feature = "redb")]
mod file {
    use syncro_core::StoreError;
    use syncro_store::Redb;
    use tempfile::TempDir;

    use super::Place;

    pub(crate) struct RedbPlace(TempDir);

    impl Place for RedbPlace {
        type Store = Redb;
        const HISTORIES: u32 = 48;

        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> Result<Redb, StoreError> {
            Redb::open(self.0.path().join("store.redb"))
        }
    }
}
