//! Scribes and transactions: what is recorded, logged and exchanged.

mod block;
mod brief;
mod read;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::block::Block;
pub(crate) use self::brief::{Count, Said, may_stand_for};
pub use self::read::ScribeRef;
pub(crate) use self::wire::{Writable, fields_of, write_head, write_scribe};
use crate::encoding::Malformed;
use crate::id::{Name, RecordKey};
use crate::record::{Path, Record, Written};
use crate::stamp::Stamp;
use crate::state;
use crate::value::{Encoded, Value};

/// What happened to the life of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Fields changed.
    Update,
    /// The record was created, with the fields given.
    Create,
    /// The record was destroyed.
    Destroy,
    /// The record was destroyed and created anew in one transaction.
    Replace,
    /// What a view's source has of the record, and the view's own writes that are not in it, took the place of what was
    /// known. Only in the log of a view, and never sent.
    State,
    /// The view shows the record no more. Only in the log of a view, and never sent.
    Evict,
}

impl Mark {
    /// Whether the scribe creates the record.
    pub const fn creates(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }

    /// Whether the scribe destroys what was there.
    pub const fn destroys(self) -> bool {
        matches!(self, Self::Destroy | Self::Replace)
    }

    /// When a record is created and destroyed by what has a stamp.
    pub(crate) fn stamps(self, stamp: Stamp) -> (Option<Stamp>, Option<Stamp>) {
        (self.creates().then_some(stamp), self.destroys().then_some(stamp))
    }

    /// Whether the scribe takes the place of all that was known of the record, rather than being merged into it.
    pub const fn is_shown(self) -> bool {
        matches!(self, Self::State | Self::Evict)
    }

    /// The word for it, as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Replace => "replace",
            Self::State => "state",
            Self::Evict => "evict",
        }
    }
}

/// What changed in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scribe {
    /// The record.
    pub key: RecordKey,
    /// What happened to its life.
    pub mark: Mark,
    /// The values written, in path order, one per path; none with [`Mark::Destroy`].
    pub fields: Vec<(Path, Encoded)>,
}

impl Scribe {
    /// The scribe that notes what a view shows of a record.
    fn shown(key: RecordKey, record: &Record) -> Self {
        if record.is_unknown() {
            return Self { key, mark: Mark::Evict, fields: Vec::new() };
        }
        let bytes = Value::Bytes(state::to_bytes(record).to_vec()).encode();
        let fields = vec![(Path::field(Name::fixed("state")), bytes)];
        Self { key, mark: Mark::State, fields }
    }

    /// The scribe as a record that knows nothing else: to play a scribe is to merge this.
    pub fn into_record(self, stamp: Stamp) -> (RecordKey, Record) {
        if let (Mark::State, [(_, state)]) = (self.mark, &self.fields[..]) {
            let state = match state.decode() {
                Value::Bytes(bytes) => state::from_bytes(&bytes.into()).ok(),
                _ => None,
            };
            // It was read when it was checked.
            return (self.key, state.unwrap_or_default());
        }
        let Self { key, mark, fields } = self;
        let (created, destroyed) = mark.stamps(stamp);
        let mut written = Written::new(Some(fields.len()));
        for (path, value) in fields {
            written.push(path.as_ref(), stamp, value, || path.clone());
        }
        (key, written.into_record(created, destroyed))
    }
}

/// What can be played: what is about to be written, or a scribe in a transaction.
pub(crate) trait Playable {
    /// The record.
    fn key(&self) -> RecordKey;

    /// What happened to its life.
    fn mark(&self) -> Mark;

    /// The record that the scribe of a transaction with a stamp makes of one: as if it were [merged](Record::merge) as a
    /// record.
    fn play(self, before: Option<&Record>, stamp: Stamp) -> Result<Arc<Record>, Malformed>;
}

/// One or more scribes under one stamp, at most one per record: the unit of atomicity, of the log and of
/// replication. Identified by stamp *and* content.
///
/// It is its canonical encoding, which is what the log holds, digests run over and peers are sent; clones share
/// the memory. What it changes is [read](Self::scribes) from that when somebody wants to know.
#[derive(Clone, Debug)]
pub struct Transaction {
    stamp: Stamp,
    scribes: u32,
    /// Where the first scribe begins.
    body: u32,
    bytes: Bytes,
    /// Whether it says what a view shows.
    is_local: bool,
}

impl Transaction {
    /// When and by whom it was written.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The offsets that it fills in a log.
    pub fn len(&self) -> u64 {
        u64::from(self.scribes)
    }

    /// Whether it only says what this node, a view, shows from here on. Peers never get it.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Never: a transaction has a scribe.
    pub fn is_empty(&self) -> bool {
        self.scribes == 0
    }

    /// The canonical encoding.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl PartialEq for Transaction {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Transaction {}
