//! A store whose reads are counted.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Entry, Held, Name, NodeId, OwnRow, PeerRow, Record, RecordId, RecordKey, StoreError,
    Transaction, View,
};
use syncro_store::LogStore;

/// A store, and how many rows and records were read of it.
pub(super) struct Counted<'a> {
    pub(super) store: &'a LogStore,
    pub(super) reads: &'a Cell<usize>,
}

impl Counted<'_> {
    fn note(&self, reads: usize) {
        self.reads.set(self.reads.get() + reads);
    }

    fn list<T>(&self, found: Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
        self.note(1 + found.as_ref().map_or(0, Vec::len));
        found
    }
}

impl View for Counted<'_> {
    fn own(&self) -> Result<Option<OwnRow>, StoreError> {
        self.store.own()
    }
    fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError> {
        self.note(1);
        self.store.peer(node)
    }
    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
        self.list(self.store.peers())
    }
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        self.note(1);
        self.store.record(key)
    }
    fn records(
        &self,
        model: &Name,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
        self.list(self.store.records(model, after, limit))
    }
    fn models(&self) -> Result<Vec<Name>, StoreError> {
        self.list(self.store.models())
    }
    fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        self.list(self.store.entries(from, bytes_max))
    }
    fn digest_at(&self, offset: u64) -> Result<Option<syncro_core::Digest>, StoreError> {
        self.note(1);
        self.store.digest_at(offset)
    }
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.note(1);
        self.store.row(key)
    }
    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.list(self.store.rows(prefix, after, limit))
    }
    fn held(&self, transaction: &Transaction) -> Result<Held, StoreError> {
        self.note(1);
        self.store.held(transaction)
    }
}
