//! What the engine writes and reads: commits out, a view in.
//!
//! The engine calls no store. It reads through a [`View`] and returns [`Commit`]s; whoever drives it
//! gives them to a [`Store`]. Stores keep what they are given and know nothing of the protocol.

mod error;

use std::sync::Arc;

use bytes::Bytes;

pub use error::StoreError;

use crate::digest::{Digest, Point};
use crate::id::{Name, NodeId, RecordId, RecordKey};
use crate::ladder::Ladder;
use crate::record::Record;
use crate::scribe::{Scribe, Transaction};
use crate::stamp::{Epoch, Stamp, Time};

/// A transaction at its place in a node's log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The offset of its first scribe.
    pub offset: u64,
    /// The transaction.
    pub transaction: Transaction,
    /// The log's digest after it.
    pub digest: Digest,
}

impl Entry {
    /// The place in the log after this entry.
    pub fn end(&self) -> Point {
        Point { offset: self.offset + self.transaction.len(), digest: self.digest }
    }

    /// What the transaction changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] for an entry that the log cannot have taken in, in spite of its checksums.
    pub fn scribes(&self) -> Result<Vec<Scribe>, StoreError> {
        self.transaction.scribes().map_err(|error| {
            let what = format!("the transaction at offset {} of the log: {error}", self.offset);
            StoreError::Corrupt { what }
        })
    }
}

/// What a store has of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// No transaction has its stamp.
    No,
    /// It is in the log.
    Same {
        /// The offset of its first scribe in this node's log.
        offset: u64,
        /// The log's digest after it.
        digest: Digest,
    },
    /// It is not in the log, but others of its stamp are: a machine was cloned.
    Others,
}

/// A node's own row: who it is and where its log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRow {
    /// The node.
    pub node: NodeId,
    /// Its present epoch.
    pub epoch: Epoch,
    /// The greatest ordinary time that its clock issued or saw.
    pub clock: Time,
    /// The end of its log.
    pub end: Point,
}

/// What a node keeps of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRow {
    /// The name that the peer gave itself, for people.
    pub name: Option<Name>,
    /// The sync points in the peer's log.
    pub ladder: Ladder,
    /// Up to where the peer is known to hold this node's log. It is for people, nothing is decided by it: it
    /// is written when a point moves or the peer's last session ends, so after a crash it may lag.
    pub held: Point,
    /// The point of this node's log that the peer itself has named last, as one that it holds: it will know it again. What
    /// is to be carried to it without a connection begins there. Like `held`, it may lag.
    pub confirmed: Point,
}

/// Everything that one step of the engine writes, applied as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Counts the commits of one open, from 1. [`Input::Synced`](crate::Input::Synced) refers to it.
    pub sequence: u64,
    /// The transactions appended to the log.
    pub entries: Vec<Entry>,
    /// The records that changed, as they are now; one of which nothing is known any more is to go.
    pub records: Vec<(RecordKey, Arc<Record>)>,
    /// Whether those are all that the entries change. If not, the store [merges](Record::merge) each scribe of the entries as
    /// a [record](crate::ScribeRef::to_record) into the one of its key, before anybody reads that; only for a store that
    /// [takes](View::takes_unplayed) it. None of them is [shown](crate::Mark::is_shown).
    pub is_played: bool,
    /// The peers whose sync point moved.
    pub peers: Vec<(NodeId, PeerRow)>,
    /// The node's own row after this commit.
    pub own: OwnRow,
    /// Rows of the engine's own by key, each at most once; with nothing those that are to go. They are durable together
    /// with the entries.
    pub rows: Vec<(Bytes, Option<Bytes>)>,
}

impl Commit {
    /// About the bytes that a store takes to hold it in memory: transactions and records, and 128 for each
    /// record's row, or for each scribe that is not played.
    pub fn bytes(&self) -> usize {
        let row = if self.is_played { 0 } else { 128 };
        let entries = self.entries.iter().map(|Entry { transaction, .. }| {
            transaction.bytes().len() + row * transaction.len() as usize
        });
        let records = self.records.iter().map(|(_, record)| 128 + record.bytes());
        let rows =
            self.rows.iter().map(|(key, row)| key.len() + row.as_ref().map_or(0, Bytes::len));
        entries.chain(records).chain(rows).sum()
    }
}

/// A store as the engine and applications read it: everything applied, flushed or not.
///
/// Reads return [`StoreError::Corrupt`] rather than data that differ from what was written.
pub trait View {
    /// The node's own row; `None` for a store that no node has opened yet.
    fn own(&self) -> Result<Option<OwnRow>, StoreError>;

    /// The row of one peer.
    fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError>;

    /// The rows of all peers ever met, in node order.
    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError>;

    /// One record, tombstones included.
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError>;

    /// At most `limit` records of a model in id order, tombstones included, after an id or from the first.
    fn records(
        &self,
        model: &Name,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError>;

    /// The names of all models that have records, in their byte order.
    fn models(&self) -> Result<Vec<Name>, StoreError>;

    /// The log from an offset at which a transaction begins: as many entries as have `bytes_max` bytes
    /// together, but at least one unless the log ends there.
    fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError>;

    /// Like [`entries`](Self::entries), of the transactions alone, and the log's digest after them, where that
    /// is known without hashing: then what is on its way to peers need not be hashed once more. It may end
    /// earlier than `bytes_max` says.
    fn transactions(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Result<(Vec<Transaction>, Option<Digest>), StoreError> {
        let entries = self.entries(from, bytes_max)?;
        let digest = entries.last().map(|last| last.digest);
        Ok((entries.into_iter().map(|entry| entry.transaction).collect(), digest))
    }

    /// The log's digest at an offset; `None` beyond its end and inside a transaction.
    fn digest_at(&self, offset: u64) -> Result<Option<Digest>, StoreError>;

    /// One of the engine's own rows.
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` of the engine's own rows whose keys begin in some way, in the order of their keys, after a key or
    /// from the first.
    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Whether the store takes commits that are [not played](Commit::is_played) at this moment: it does not while it would
    /// have to read each of the records, and a store that never does need not know of them.
    fn takes_unplayed(&self) -> bool {
        false
    }

    /// Whether the log is known to have nothing of an author at the time of a stamp or later: then nothing of that stamp
    /// is [held](Self::held). `false` where it would take a look at the log to tell.
    fn is_latest(&self, stamp: Stamp) -> Result<bool, StoreError> {
        let _ = stamp;
        Ok(false)
    }

    /// Whether a transaction is in the log: the same stamp and the same content.
    fn held(&self, transaction: &Transaction) -> Result<Held, StoreError>;
}

/// A store as its driver writes it.
///
/// What every store promises, S1 to S9; the feature `conformance` of `syncro-store` has a test for each:
///
/// 1. A commit is applied as a whole or not at all.
/// 2. What was applied is read at once, through this view and every other.
/// 3. [`sync`](Self::sync) makes every commit applied so far durable.
/// 4. After a crash the store holds the commits up to some point, at least up to the last sync: never a
///    later one without an earlier one, and never a part of one.
/// 5. After a failed `apply` or `sync` nothing more is written until the store is opened again.
/// 6. A point comes with what it covers: the log ends where the node's own row says, and holds what the
///    peers' sync points cover, at every moment and after every crash.
/// 7. A store that is opened again shows everything that was synced, as it was.
/// 8. Lists come in the order that their methods state, each thing once, however many are asked for at a
///    time.
/// 9. Damage is an error, or something that is missing; never something that was not written.
pub trait Store: View {
    /// Makes a commit visible.
    ///
    /// # Errors
    ///
    /// After an error nothing of the commit is visible, and the store has stopped.
    fn apply(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// Makes every applied commit durable.
    ///
    /// # Errors
    ///
    /// After an error the store has stopped; what is durable shows when it is opened again.
    fn sync(&mut self) -> Result<(), StoreError>;
}
