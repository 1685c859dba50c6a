//! A deterministic world for Syncro: nodes, links, disks and clocks under faults, all from one seed.
//!
//! One process and one thread hold many nodes, each the shipping engine over the shipping store on a disk in
//! memory. A seed says which faults there are and what happens; then everything heals, and what must hold is
//! demanded. A seed that fails is shrunk to the shortest story that fails as it does, and told line by line.
//!
//! # Your own models
//!
//! Ten lines put a model of yours through it. Let the strategy draw ids from a few, so that nodes meet over one
//! record:
//!
//! ```
//! use proptest::prelude::*;
//! use syncro_derive::ScribeModel;
//!
//! #[derive(ScribeModel, Debug, PartialEq)]
//! #[scribe(crate = "syncro_core")] // not needed where the crate `syncro` is there
//! struct Todo {
//!     id: u32,
//!     title: String,
//!     done: bool,
//! }
//!
//! // In your tests, this is a `#[test]`.
//! fn todos_converge() {
//!     let todos = (0..3_u32, "[a-c]{0,3}", any::<bool>());
//!     syncro_sim::check(todos.prop_map(|(id, title, done)| Todo { id, title, done }));
//! }
//! # todos_converge();
//! ```
//!
//! It checks everything below, and that every record reads as an instance again, and every instance as itself, through
//! the `read` and `write` of your model. [`check_that`] demands more of them: what any merge must keep.
//! [`check_versions`] puts two versions of a model into one world.
//!
//! # What happens
//!
//! - Links carry bytes in chunks of any size, late, in any order across links; they are cut at any byte, by one
//!   side or both, block one direction in silence, or are read slowly; two nodes may have several.
//! - Nodes crash between any two steps of their driver, with none, some or all of what was not flushed; they are
//!   restarted, restored from older copies, cloned as files or as running machines, and upgraded.
//! - Writes to disks fail, with or without their bytes, and disks are full for a while.
//! - Clocks are fast or slow, wrong by minutes, and jump by up to ten years.
//!
//! # What must hold
//!
//! Each [`Law`] is checked by a file of its own in `world/check/`, at every step or at rest: nothing acknowledged
//! is lost and nothing is invented; equal transactions mean equal records, those of a small model of our own;
//! no transaction is half visible; order is causal; sync points cover what is there; who watches and resumes
//! misses and repeats nothing, and ends with what a query shows; memory, messages and queues have bounds; who is
//! up to date says nothing but that he is there; nobody is blamed for what he did not do; a story told twice is
//! the same.
//!
//! # From the command line
//!
//! ```sh
//! cargo xtask sim --seeds 1000          # a thousand worlds
//! cargo xtask sim --seed 17 --trace     # one of them, line by line
//! cargo xtask sim --planted             # bugs put in on purpose, each of which must be found
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a simulator is a test")]

#[allow(missing_docs, reason = "what becomes of bytes, the names say")]
pub mod disk;
pub mod fuzz;
mod model;
mod panics;
#[cfg(all(feature = "planted", debug_assertions))]
mod planted;
#[allow(missing_docs, reason = "a peer of another library, for tests; the names say it")]
mod ruby;
mod run;
#[allow(missing_docs, reason = "what a number in a variant is, the names beside it say")]
mod story;
mod swarm;
mod views;
#[allow(missing_docs, reason = "for stories that are told by hand; the names say it")]
pub mod world;

pub use disk::Disk;
pub use model::{check, check_that, check_versions};
#[cfg(all(feature = "planted", debug_assertions))]
pub use planted::find_planted;
pub use ruby::Ruby;
pub use run::{Found, Passed, Sim};
pub use story::{Op, Story, Told};
pub use swarm::{Swarm, bulk, ops, stories, writes};
pub use world::{
    Abuse, Cast, Change, ClassicOp, Failure, Law, Listed, Sight, Topology, Trace, World, Write,
    memo,
};
