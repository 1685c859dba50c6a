//! The bodies of the fuzz targets: plain functions of bytes that panic at what must not happen.
//!
//! The workspace `fuzz/` hands them to libFuzzer, and `tests/corpus.rs` replays the corpus.
#![allow(missing_docs, reason = "each is named after what it is given")]

mod chunked;
mod classic_session;
mod frames;
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
mod views;
mod websocket;
mod wire;

pub use classic_session::classic_session;
pub use frames::frames;
pub use json::json;
pub use message::message;
pub use seeds::seeds;
pub use session::session;
pub use store_file::store_file;
pub use store_value::store_value;
pub use transaction::transaction;
pub use two_nodes::two_nodes;
pub use views::views;
pub use websocket::websocket;
