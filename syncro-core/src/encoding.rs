//! The two encodings of everything: MessagePack, and JSON of the same shape.
//!
//! MessagePack is the one that counts: hashes, ties and the log are computed on its canonical form. JSON
//! is a transcription at the door of a session.

pub(crate) mod canonical;
pub(crate) mod hyphenated;
pub(crate) mod json;
pub(crate) mod msgpack;
pub(crate) mod plain;
pub(crate) mod scratch;

pub use json::{from_json, to_json};
pub use msgpack::Malformed;

#[cfg(test)]
mod tests;
