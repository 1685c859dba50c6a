//! Transactions that come from others, in whatever order.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncro_core::{
    Author, Commit, Entry, Epoch, NodeId, OwnRow, PeerRow, Point, Record, RecordKey, Stamp, Store,
    Time, Transaction,
};

use crate::backend::MemoryDisk;
use crate::log_store::{LogStore, LogStoreBuilder};
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

/// A stamp of another node.
pub(crate) fn stamp(author: u8, time: u64) -> Stamp {
    let author = Author { node: NodeId::from_bytes([author; 16]), epoch: Epoch(7) };
    Stamp { time: Time::from_ms(time), author }
}

/// `[time, node, 1, [["Todo", id, evict, []], ...], true]`.
pub(crate) fn evict(number: u64, ids: &[i64]) -> Transaction {
    let mut bytes = vec![0x95, 0xcd];
    bytes.extend((number as u16 + 1000).to_be_bytes());
    bytes.extend([0xc4, 16]);
    bytes.extend([9; 16]);
    bytes.extend([1, 0x90 | ids.len() as u8]);
    for id in ids {
        bytes.extend([0x94, 0xa4]);
        bytes.extend(b"Todo");
        bytes.extend([*id as u8, 5, 0x90]);
    }
    bytes.push(0xc3);
    Transaction::logged(bytes.into()).unwrap()
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
        Self::with(LogStore::builder())
    }

    pub(crate) fn with(builder: LogStoreBuilder) -> Self {
        let disk = MemoryDisk::new();
        let store = builder.open(disk.open().unwrap()).unwrap();
        Self { disk, store, end: Point::START, log: Vec::new() }
    }

    /// Takes transactions in as one commit, as they come from a peer. No two are of one record.
    pub(crate) fn append(&mut self, transactions: impl IntoIterator<Item = Transaction>) {
        let mut records = BTreeMap::new();
        let transactions = transactions.into_iter().inspect(|transaction| {
            let scribe = transaction.scribes().unwrap().remove(0);
            let (key, record) = scribe.into_record(transaction.stamp());
            records.insert(key, record);
        });
        let entries = self.entries(transactions.collect::<Vec<_>>());
        let records = records.into_iter().map(|(key, record)| (key, record.into())).collect();
        self.apply(entries, records, Vec::new());
    }

    /// Takes transactions in as one commit, and leaves it to the store to play them. Returns the bytes of the commit.
    pub(crate) fn leave(&mut self, transactions: impl IntoIterator<Item = Transaction>) -> usize {
        let entries = self.entries(transactions);
        let commit = Commit { is_played: false, ..self.commit(entries) };
        self.store.apply(&commit).unwrap();
        commit.bytes()
    }

    pub(crate) fn entries(
        &mut self,
        transactions: impl IntoIterator<Item = Transaction>,
    ) -> Vec<Entry> {
        let entry = |transaction: Transaction| {
            let offset = self.end.offset;
            self.end = self.end.then(transaction.len(), transaction.bytes());
            Entry { offset, transaction, digest: self.end.digest }
        };
        let entries: Vec<Entry> = transactions.into_iter().map(entry).collect();
        self.log.extend(entries.iter().cloned());
        entries
    }

    pub(crate) fn apply(
        &mut self,
        entries: Vec<Entry>,
        records: Vec<(RecordKey, Arc<Record>)>,
        peers: Vec<(NodeId, PeerRow)>,
    ) {
        let commit = Commit { records, peers, ..self.commit(entries) };
        self.store.apply(&commit).unwrap();
    }

    pub(crate) fn commit(&self, entries: Vec<Entry>) -> Commit {
        let (epoch, clock) = (Epoch(7), Time::default());
        let own = OwnRow { node: NodeId::named("server"), epoch, clock, end: self.end };
        let (records, peers, rows) = Default::default();
        let sequence = self.end.offset;
        Commit { sequence, entries, records, is_played: true, peers, own, rows }
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
