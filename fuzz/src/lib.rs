//! The bodies of the fuzz targets: plain functions of bytes that panic at what must not happen.
//!
//! `fuzz_targets/` hands them to libFuzzer. `syncro-store/tests/corpus.rs` takes this file in as a module,
//! and replays the corpus.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "here a panic is a finding; and what is public in a crate is not in a module of a test"
)]

mod input;
mod json;
mod message;
mod node;
mod seeds;
mod session;
mod store_file;
mod store_value;
mod transaction;
mod two_nodes;
mod wire;

pub use json::json;
pub use message::message;
pub use seeds::seeds;
pub use session::session;
pub use store_file::store_file;
pub use store_value::store_value;
pub use transaction::transaction;
pub use two_nodes::two_nodes;
