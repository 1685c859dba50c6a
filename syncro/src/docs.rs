//! The guides of the project, whose samples run as tests.
//!
//! They lie beside the crates, so they are in the documentation of a checkout and not in a published one.

#[doc = include_str!("../../docs/design.md")]
pub mod design {}
#[doc = include_str!("../../docs/protocol.md")]
pub mod protocol {}
#[doc = include_str!("../../docs/limits.md")]
pub mod limits {}
#[doc = include_str!("../../docs/storage.md")]
pub mod storage {}
#[doc = include_str!("../../docs/testing.md")]
pub mod testing {}
#[cfg(all(feature = "axum", feature = "rustls"))]
#[doc = include_str!("../../docs/transports.md")]
pub mod transports {}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
