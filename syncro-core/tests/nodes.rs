//! Nodes that meet: the engine over a crashing disk, under virtual time.
//!
//! `world` is the place where it happens, `property` what must hold whatever happens, `stories` the laws
//! one by one.

// `allow-unwrap-in-tests` covers test functions only, and everything here is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod property;
mod stories;
mod world;
