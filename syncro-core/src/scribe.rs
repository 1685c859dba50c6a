//! Scribes and transactions: what is recorded, logged and exchanged.

mod wire;

use bytes::Bytes;

use crate::id::RecordKey;
use crate::record::{FEW_REGISTERS, Path, Record, Register};
use crate::stamp::Stamp;
use crate::value::Encoded;

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

    /// The word for it, as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Replace => "replace",
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
    /// The scribe as a record that knows nothing else: to play a scribe is to merge this.
    pub fn into_record(self, stamp: Stamp) -> (RecordKey, Record) {
        let Self { key, mark, fields } = self;
        let record = Record::new(
            mark.creates().then_some(stamp),
            mark.destroys().then_some(stamp),
            fields.into_iter().map(|(path, value)| Register { path, stamp, value }).collect(),
        );
        (key, record)
    }

    /// The record that the scribe makes of one: as if it were [merged](Record::merge) as a record.
    pub(crate) fn play(self, before: Option<&Record>, stamp: Stamp) -> (RecordKey, Record) {
        let Some(before) = before else {
            return self.into_record(stamp);
        };
        let mut after = before.clone();
        if self.fields.len() > FEW_REGISTERS {
            let (key, change) = self.into_record(stamp);
            after.merge(&change);
            return (key, after);
        }
        let Self { key, mark, fields } = self;
        let registers = fields.into_iter().map(|(path, value)| Register { path, stamp, value });
        after.join(mark.creates().then_some(stamp), mark.destroys().then_some(stamp), registers);
        (key, after)
    }
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
    bytes: Bytes,
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
