//! The example `node` as scripts drive it: a process, lines in, lines out.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod commands;
mod converging;
mod crashing;
mod full;
mod gate;
mod killing;
mod load;
#[path = "../process/mod.rs"]
mod process;
mod shell;
