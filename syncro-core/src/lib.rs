//! The sans-IO heart of Syncro: records, log, sessions and the engine.
//!
//! Most applications use the crate `syncro`, which drives this one over a store and a network. Use this
//! crate to drive the [`Engine`] yourself, to write a store, or to understand.

#[cfg(test)]
mod arbitrary;
mod call;
mod channel;
mod clock;
mod close;
mod digest;
mod encoding;
mod engine;
mod error;
mod fields;
mod id;
mod ladder;
pub mod limits;
mod message;
mod model;
#[cfg(all(feature = "planted", debug_assertions))]
pub mod planted;
mod principal;
mod proposal;
mod quarantine;
mod record;
mod scribe;
mod session;
mod signal;
mod stamp;
mod state;
mod store;
mod touched;
mod value;
mod verdict;

pub use call::{CallFailure, CallId, Called};
pub use channel::{Channel, MODELS, ModelChannels, Template, Templates};
pub use close::CloseReason;
pub use digest::{Digest, Point};
pub use encoding::{Malformed, from_json, to_json};
pub use engine::{
    Changed, Config, Effects, Engine, Event, Export, INDEX_ROW, Input, Role, SessionId,
    SessionStatus, Usage, VIEW_LOST_ROW, VIEW_ROW,
};
pub use error::{DataError, Error, UsageError};
pub use fields::{Field, Fields};
pub use id::{IdRef, KeyRef, ModelId, Name, NodeId, RecordId, RecordKey};
pub use ladder::{Ladder, Rung};
#[doc(hidden)]
pub use message::is_message;
pub use message::{Encoding, PROTOCOL_VERSION};
pub use model::{FieldsReader, FieldsWriter, ScribeModel};
pub use principal::{Access, Attempt, Claim, Pattern, Permissions, Principal, Refusal, Trial};
pub use proposal::{Edit, Proposal};
pub use quarantine::Parked;
pub use record::{
    Element, ElementRef, Kind, Path, PathRef, Record, Register, RegisterRef, Registers,
    RegistersIter, Written,
};
pub use scribe::{Mark, Scribe, ScribeRef, Transaction};
pub use signal::Signal;
pub use stamp::{Author, Epoch, Now, Stamp, Time};
pub use store::{Commit, Entry, Held, OwnRow, PeerRow, Store, StoreError, View};
pub use value::{Encoded, Value};
pub use verdict::Verdict;
