//! Transactions that come from others, in whatever order.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncro_core::{
    Commit, Entry, Epoch, NodeId, OwnRow, PeerRow, Point, Record, RecordKey, Store, Time,
    Transaction,
};

use crate::backend::MemoryDisk;
use crate::log_store::LogStore;
use crate::state::State;

/// `[time, node, 1, [["Todo", id, create, []]]]`.
pub(crate) fn transaction(author: u32, time: u8, id: u16) -> Transaction {
    let mut bytes = vec![0x94, time, 0xc4, 16];
    bytes.extend([9; 12]);
    bytes.extend(author.to_be_bytes());
    bytes.extend([1, 0x91, 0x94, 0xa4]);
    bytes.extend(b"Todo");
    bytes.push(0xcd);
    bytes.extend((id | 0x4000).to_be_bytes());
    bytes.extend([1, 0x90]);
    Transaction::decode(bytes.into()).unwrap()
}

/// A store that takes in what others wrote.
pub(crate) struct Relay {
    pub(crate) disk: MemoryDisk,
    pub(crate) store: LogStore,
    pub(crate) end: Point,
    pub(crate) log: Vec<Entry>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = LogStore::open(disk.open().unwrap()).unwrap();
        Self { disk, store, end: Point::START, log: Vec::new() }
    }

    /// Takes transactions in as one commit, as they come from a peer. No two are of one record.
    pub(crate) fn append(&mut self, transactions: impl IntoIterator<Item = Transaction>) {
        let (mut entries, mut records) = (Vec::new(), BTreeMap::new());
        for transaction in transactions {
            let scribe = transaction.scribes().unwrap().remove(0);
            let (key, record) = scribe.into_record(transaction.stamp());
            records.insert(key, record);
            let end = self.end.then(1, transaction.bytes());
            entries.push(Entry { offset: self.end.offset, transaction, digest: end.digest });
            self.end = end;
        }
        self.log.extend(entries.iter().cloned());
        let records = records.into_iter().map(|(key, record)| (key, record.into())).collect();
        self.apply(entries, records, Vec::new());
    }

    pub(crate) fn apply(
        &mut self,
        entries: Vec<Entry>,
        records: Vec<(RecordKey, Arc<Record>)>,
        peers: Vec<(NodeId, PeerRow)>,
    ) {
        let (epoch, clock) = (Epoch(7), Time::default());
        let own = OwnRow { node: NodeId::named("server"), epoch, clock, end: self.end };
        let sequence = self.end.offset;
        let (merges, rows) = (Vec::new(), Vec::new());
        self.store.apply(&Commit { sequence, entries, records, merges, peers, own, rows }).unwrap();
    }

    /// Lets the next transaction begin a page.
    pub(crate) fn next_page(&mut self) {
        self.store.shared.pack().unwrap();
        let mut state = self.store.shared.write();
        let State { tail, packing, .. } = &mut *state;
        packing.as_mut().unwrap().turn();
        tail.turn();
    }
}
