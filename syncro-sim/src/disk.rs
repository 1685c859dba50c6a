//! Disks: what a store keeps its bytes on, and what becomes of them.

mod blocks;
pub mod image;
pub mod operation;

use std::io;

use syncro_core::StoreError;
use syncro_store::{Fault, LogStore, LogStoreBuilder, MemoryDisk, Redb};

pub use blocks::BlockDisk;

/// Pages of a database that are kept in memory: few, so that they are read again.
const CACHE_BYTES: usize = 256 << 10;

/// Bytes of its journal that are used: few, so that they are written to the database again and again.
const JOURNAL_BYTES: usize = 64 << 10;

/// A disk of a node. Clones are the same disk.
#[derive(Clone, Debug)]
pub enum Disk {
    /// For the store's batches: a crash keeps the first of those that were not flushed.
    Batches(MemoryDisk),
    /// For the file of a database, which is the shipping redb: a crash loses and tears what was not synced.
    Blocks(BlockDisk),
}

impl Disk {
    /// An empty disk, of sectors or of batches.
    pub fn new(has_sectors: bool) -> Self {
        if has_sectors {
            Self::Blocks(BlockDisk::default())
        } else {
            Self::Batches(MemoryDisk::new())
        }
    }

    /// Opens the store on it.
    pub fn open(&self, builder: LogStoreBuilder) -> Result<LogStore, StoreError> {
        match self {
            Self::Batches(disk) => builder.open(disk.open()?),
            Self::Blocks(disk) => {
                let redb = Redb::builder().cache_bytes(CACHE_BYTES).journal_bytes(JOURNAL_BYTES);
                builder.open(redb.with_backend(disk.clone())?)
            }
        }
    }

    /// What a crash leaves: of batches that were not flushed so many, of sectors what luck has it.
    pub fn crash(&self, kept: usize, luck: u64) -> Self {
        match self {
            Self::Batches(disk) => Self::Batches(disk.crash_keeping(kept)),
            Self::Blocks(disk) => Self::Blocks(disk.crash(luck)),
        }
    }

    /// A copy of what is durable.
    pub fn image(&self) -> Self {
        match self {
            Self::Batches(disk) => Self::Batches(disk.image()),
            Self::Blocks(disk) => Self::Blocks(disk.image()),
        }
    }

    /// A copy of everything, as the snapshot of a machine has it.
    pub fn fork(&self) -> Self {
        match self {
            Self::Batches(disk) => Self::Batches(disk.fork()),
            Self::Blocks(disk) => Self::Blocks(disk.fork()),
        }
    }

    /// Makes the nth thing that is done to the disk from now on fail; it may be done all the same.
    pub fn fail(&self, nth: u64, is_landed: bool) {
        match self {
            Self::Batches(disk) => {
                let error = io::Error::other("the disk is worn out").into();
                let fault = if is_landed { Fault::Landed(error) } else { Fault::Once(error) };
                disk.fail_write(nth, fault);
            }
            Self::Blocks(disk) => disk.fail(nth, is_landed),
        }
    }

    /// Says how much room there is, in bytes: for one batch, or for the file to grow.
    pub fn set_room(&self, bytes: Option<u64>) {
        match self {
            Self::Batches(disk) => disk.set_room(bytes),
            Self::Blocks(disk) => disk.set_room(bytes),
        }
    }

    /// Ends all faults but want of room.
    pub fn heal(&self) {
        match self {
            Self::Batches(disk) => disk.heal(),
            Self::Blocks(disk) => disk.heal(),
        }
    }

    /// Whether a crash of such luck may keep some sectors of what was not synced.
    pub(crate) fn tears(&self, luck: u64) -> bool {
        matches!(self, Self::Blocks(disk) if disk.is_unsynced() && !matches!(luck % 4, 0 | 1))
    }
}

/// Numbers from a seed: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
