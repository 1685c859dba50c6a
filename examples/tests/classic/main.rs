//! The example `classic_hub` as scripts drive it: a process, classic peers on sockets, and a native node.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod hub;
mod matrix;
mod peer;
#[path = "../process/mod.rs"]
mod process;
mod stories;
