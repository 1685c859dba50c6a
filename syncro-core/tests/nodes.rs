//! Nodes that meet: the engine over a crashing disk, under virtual time.
//!
//! `syncro-sim` has the world where it happens, and random stories; here are `stories`, the laws one by one, and
//! `heal`, every moment at which a copy can be taken and put back; `life` has what is said beside the log.

// `allow-unwrap-in-tests` covers test functions only, and everything here is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod heal;
mod life;
mod limits;
mod stories;
