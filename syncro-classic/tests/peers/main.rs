//! Classic peers and a node, without a socket: bytes in, bytes out.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod rows;
mod support;
