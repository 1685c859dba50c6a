//! What every byte backend promises, and what each does beyond that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "redb")]
#[path = "../crash/crash.rs"]
#[allow(dead_code, reason = "the crash tests use the rest")]
mod crash;
#[cfg(feature = "redb")]
#[path = "../crash/disk.rs"]
#[allow(dead_code, reason = "the crash tests use the rest")]
mod disk;
mod memory;
mod place;
mod planted;
#[cfg(feature = "redb")]
mod power_cuts;
#[cfg(feature = "redb")]
mod redb_crash;
#[cfg(feature = "redb")]
mod redb_file;
#[cfg(feature = "sled")]
mod sled_directory;

#[cfg(feature = "redb")]
use syncro_sim::disk::{image, operation};

syncro_store::conformance!(memory_suite, crate::place::MemoryPlace);
#[cfg(feature = "redb")]
syncro_store::conformance!(redb_suite, crate::place::RedbPlace);
#[cfg(feature = "sled")]
syncro_store::conformance!(sled_suite, crate::place::SledPlace);
