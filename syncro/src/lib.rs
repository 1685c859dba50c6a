//! Syncro makes an application work offline and converge with its peers.
//!
//! Every participant is a [`Node`] with an id of its own, the server included. A node writes what changed
//! into an append-only log in an embedded store; two nodes that meet exchange what the other lacks, and
//! end with equal records.
//!
//! ```
//! use syncro::{Node, ScribeModel};
//!
//! #[derive(ScribeModel, Clone, Debug, PartialEq)]
//! struct Todo {
//!     id: String,
//!     title: String,
//!     done: bool,
//!     #[scribe(set)]
//!     tags: Vec<String>,
//! }
//!
//! # fn main() -> Result<(), syncro::Error> {
//! let node = Node::in_memory("laptop")?;
//! node.create(&Todo { id: "1".into(), title: "milk".into(), done: false, tags: vec![] })?;
//! node.update::<Todo>(&"1".to_string(), |todo| todo.done = true)?;
//! assert!(node.get::<Todo>(&"1".to_string())?.is_some_and(|todo| todo.done));
//! # Ok(())
//! # }
//! ```
//!
//! Connecting two nodes takes a line at each end: [`Node::listen`] and [`Node::connect`], over TCP or WebSocket,
//! or [`Node::run`] over any stream of bytes.
//!
//! | feature | what it adds |
//! |---|---|
//! | `redb` (default) | nodes in files |
//! | `websocket` | addresses that begin with `ws://` |
//! | `rustls` | TLS, for addresses that begin with `tls://` and, with `websocket`, `wss://` |
//! | `axum` | a node on a route of an [axum](https://docs.rs/axum/0.8) 0.8 server |

mod agenda;
#[cfg(feature = "axum")]
pub mod axum;
mod bundle;
mod calls;
mod changes;
mod connect;
mod core;
// The guides lie outside of the package, so only a checkout has them.
#[cfg(any(doctest, all(doc, not(docsrs))))]
pub mod docs;
mod draft;
mod error;
mod listen;
mod node;
mod notices;
mod peers;
mod rules;
mod session;
mod signals;

pub use bundle::{BundleError, Exported, Imported};
pub use calls::Caller;
pub use changes::{Change, Origin, Watch, WatchAll};
pub use connect::{ConnectOptions, Connection};
pub use core::{Committed, Durability, Recovered};
pub use draft::Draft;
pub use error::Error;
pub use listen::{ListenOptions, Listening};
pub use node::{Node, NodeBuilder};
pub use notices::{Notice, Notices};
pub use peers::{PeerStatus, Receipt};
pub use rules::{Proposed, Rules};
pub use session::SessionEnd;
pub use signals::{Signal, Signals};

pub use syncro_core::{
    Access, Attempt, Author, CallFailure, Channel, Claim, CloseReason, DataError, Digest, Edit,
    Element, Encoded, Encoding, Entry, Epoch, Field, Fields, FieldsReader, FieldsWriter, Malformed,
    Mark, ModelId, Name, NodeId, Parked, Path, Pattern, Permissions, Point, Principal, Proposal,
    Record, RecordId, RecordKey, Refusal, Role, Scribe, ScribeModel, SessionId, SessionStatus,
    Stamp, StoreError, Time, Transaction, Trial, UsageError, Value, Verdict, View, limits,
};
pub use syncro_derive::ScribeModel;
/// The TLS of the version that configurations have to be of.
#[cfg(feature = "rustls")]
pub use syncro_net::rustls;
/// The handshake of TLS, for a host that does it itself.
#[cfg(feature = "rustls")]
pub use syncro_net::tls;
/// The upgrade of a stream to a WebSocket, for a host that does it itself.
#[cfg(feature = "websocket")]
pub use syncro_net::websocket;
pub use syncro_net::{Backoff, Frames, NetError};
/// Everything that a backend of one's own needs.
pub use syncro_store as store;
pub use syncro_store::{
    Backend, Copied, Damage, Memory, MemoryDisk, Reader, Repaired, Snapshot, Verified,
};
#[cfg(feature = "redb")]
pub use syncro_store::{Redb, RedbBuilder};
