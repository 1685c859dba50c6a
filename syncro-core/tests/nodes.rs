//! Nodes that meet: the engine over a crashing disk, under virtual time.
//!
//! `world` is the place where it happens, `property` what must hold whatever happens, `stories` the laws
//! one by one, `heal` every moment at which a copy can be taken and put back.

// `allow-unwrap-in-tests` covers test functions only, and everything here is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod heal;
mod property;
mod stories;
mod world;
