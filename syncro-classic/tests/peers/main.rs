//! Classic peers and a node, without a socket: bytes in, bytes out.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

mod conflicts;
mod crashes;
mod cuts;
mod faults;
mod limits;
mod random;
mod rights;
mod rows;
mod support;
mod values;
