//! Where the suite opens our stores.

use std::io::Error;

use syncro_core::StoreError;
#[cfg(feature = "redb")]
use syncro_store::Redb;
#[cfg(feature = "sled")]
use syncro_store::Sled;
use syncro_store::conformance::{Directory, Place};
use syncro_store::{Fault, Memory, MemoryDisk};

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

    fn crashes(&self) -> Vec<Self> {
        (0..=self.0.unsynced()).map(|kept| Self(self.0.crash_keeping(kept))).collect()
    }

    fn fail_write(&self) -> bool {
        self.0.fail_write(1, Fault::Once(Error::other("worn out").into()));
        true
    }
}

#[cfg(feature = "redb")]
pub(crate) struct RedbPlace(Directory);

#[cfg(feature = "redb")]
impl Place for RedbPlace {
    type Store = Redb;
    const HISTORIES: u32 = 48;

    fn new() -> Self {
        Self(Directory::new())
    }

    fn open(&self) -> Result<Redb, StoreError> {
        Redb::open(self.0.path().join("store.redb"))
    }

    fn directory(&self) -> Option<&Directory> {
        Some(&self.0)
    }

    fn in_directory(directory: Directory) -> Option<Self> {
        Some(Self(directory))
    }
}

#[cfg(feature = "sled")]
pub(crate) struct SledPlace(Directory);

#[cfg(feature = "sled")]
impl Place for SledPlace {
    type Store = Sled;
    const HISTORIES: u32 = 24;

    fn new() -> Self {
        Self(Directory::new())
    }

    fn open(&self) -> Result<Sled, StoreError> {
        Sled::open(self.0.path())
    }

    fn directory(&self) -> Option<&Directory> {
        Some(&self.0)
    }

    fn in_directory(directory: Directory) -> Option<Self> {
        Some(Self(directory))
    }
}
