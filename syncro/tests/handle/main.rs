//! Stories about the handle that applications hold: writing, reading, watching, sessions, failures.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod axum;
mod bundles;
mod calls;
mod durability;
mod failures;
mod life;
mod permissions;
mod records;
mod relay;
mod repair;
mod sessions;
mod signals;
mod status;
mod support;
mod tls;
mod transactions;
mod validation;
mod views;
mod watching;
mod websocket;
mod wire;
