//! The classic protocol, which the Ruby library of 2010 and its JavaScript client speak, beside a Syncro node.
//!
//! A [`Hub`] binds sessions of classic peers to a [`Node`](syncro::Node): a classic peer and native peers of
//! one node see one another's changes. The native protocol knows nothing of it. [`Classic`] drives a hub on
//! sockets, or on any stream of bytes or of messages. What is mapped to what, and what is refused, is on the page
//! `docs/classic.md` of the project.

mod attributes;
mod base;
mod class;
mod classic;
mod error;
mod event;
mod frame;
mod hub;
mod json;
pub mod limits;
mod list;
mod message;
mod session;

pub use attributes::Attributes;
pub use base::Base;
pub use class::{
    Audience, Class, Method, Open, Player, Policy, Recorded, Seen, Shape, Tables, Uid,
};
pub use classic::{Classic, ClassicListening};
pub use error::Error;
pub use event::{Event, SessionId};
pub use frame::{Frames, PREFIX_BYTES, TooLong, frame};
pub use hub::{Confirmation, Effects, Hub, Settings, UnknownFrom};
pub use message::Scribe;
pub use session::{Framing, Offence};
