//! Random lives of a store, beside a model of it: the log alone, and what it comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use syncro_core::{
    Author, Commit, Entry, Epoch, Held, Mark, NodeId, OwnRow, Point, Record, RecordKey, Scribe,
    Stamp, Store, Time, Transaction, Value, View,
};

use super::tests::{path, with_hashes};
use crate::backend::{Backend, Batch, Durability, MemoryDisk, Table};
use crate::log_store::{LogStore, LogStoreBuilder};
use crate::world::relay::evict;
use crate::world::todo;

/// Random numbers.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

type Records = BTreeMap<RecordKey, Record>;

fn play(records: &mut Records, transaction: &Transaction) {
    if transaction.is_local() {
        for key in transaction.scribes().unwrap() {
            records.remove(&key.key);
        }
        return;
    }
    for scribe in transaction.scribes().unwrap() {
        let (key, more) = scribe.into_record(transaction.stamp());
        records.entry(key).or_default().merge(&more);
    }
}

struct Life {
    dice: Dice,
    disk: MemoryDisk,
    store: LogStore,
    log: Vec<Entry>,
    end: Point,
    own: Author,
    time: u64,
    records: Records,
    durable: u64,
    is_view: bool,
}

const IDS: u64 = 12;

fn builder(dice: &mut Dice) -> LogStoreBuilder {
    let overlay = [0, 1, 500, 4000, 20_000, 64 << 20, 64 << 20, 64 << 20][dice.below(8) as usize];
    let slice = [1, 3, 512][dice.below(3) as usize];
    LogStore::builder().overlay_bytes(overlay).slice_rows(slice)
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..5).for_each(|_| _ = dice.next());
        let disk = MemoryDisk::new();
        let store = builder(&mut dice).open(disk.open().unwrap()).unwrap();
        let own = Author { node: NodeId::named("server"), epoch: Epoch(100) };
        let is_view = dice.one_in(4);
        let mut life = Self {
            dice,
            disk,
            store,
            log: Vec::new(),
            end: Point::START,
            own,
            time: 1,
            records: Records::new(),
            durable: 0,
            is_view,
        };
        life.begin_epoch();
        life
    }

    fn begin_epoch(&mut self) {
        self.own.epoch = Epoch(self.own.epoch.0 + 1);
        let commit = self.commit(Vec::new(), BTreeMap::new(), true);
        self.store.apply(&commit).unwrap();
        if !self.dice.one_in(8) {
            self.store.sync().unwrap();
            self.durable = self.end.offset;
        }
    }

    fn commit(&self, entries: Vec<Entry>, records: Records, is_played: bool) -> Commit {
        let own = OwnRow {
            node: self.own.node,
            epoch: self.own.epoch,
            clock: Time::default(),
            end: self.end,
        };
        let records = records.into_iter().map(|(key, record)| (key, Arc::new(record))).collect();
        let (peers, rows) = Default::default();
        Commit { sequence: self.end.offset, entries, records, is_played, peers, own, rows }
    }

    fn entries(&mut self, transactions: Vec<Transaction>) -> Vec<Entry> {
        let entry = |transaction: Transaction| {
            let offset = self.end.offset;
            self.end = self.end.then(transaction.len(), transaction.bytes());
            Entry { offset, transaction, digest: self.end.digest }
        };
        let entries: Vec<Entry> = transactions.into_iter().map(entry).collect();
        for entry in &entries {
            play(&mut self.records, &entry.transaction);
        }
        self.log.extend(entries.iter().cloned());
        entries
    }

    fn transaction(&mut self, author: Author, time: u64) -> Transaction {
        let many = match self.dice.below(40) {
            0 => 100,
            1 => 20,
            n => 1 + n % 5,
        };
        let mut scribes = BTreeMap::new();
        for _ in 0..many {
            let id = if many > 10 { self.dice.below(200) } else { self.dice.below(IDS) } as i64;
            let mark = [Mark::Update, Mark::Create, Mark::Destroy, Mark::Replace, Mark::Update]
                [self.dice.below(5) as usize];
            let name = ["body", "title", "note"][self.dice.below(3) as usize];
            let size = match self.dice.below(60) {
                0 => 70_000,
                1 => 5_000,
                _ => self.dice.below(90) as usize,
            };
            let fields = match mark {
                Mark::Destroy => Vec::new(),
                _ => {
                    let byte = (b'a' + self.dice.below(26) as u8) as char;
                    let text = if self.dice.one_in(3) {
                        (0..size).map(|_| (b'a' + self.dice.below(26) as u8) as char).collect()
                    } else {
                        String::from(byte).repeat(size)
                    };
                    vec![(path(name), Value::Text(text).encode())]
                }
            };
            scribes.insert(id, Scribe { key: todo(id), mark, fields });
        }
        let scribes: Vec<Scribe> = scribes.into_values().collect();
        Transaction::packed(Stamp { time: Time::from_ms(time), author }, &scribes).remove(0)
    }

    fn played(&mut self, transactions: Vec<Transaction>) {
        let mut played = Records::new();
        for key in transactions.iter().flat_map(|it| it.scribes().unwrap()).map(|it| it.key) {
            self.check_record(&key);
            let known = self.store.record(&key).unwrap().unwrap_or_default();
            played.insert(key, Arc::unwrap_or_clone(known));
        }
        transactions.iter().for_each(|it| {
            let keys: Vec<RecordKey> = it.scribes().unwrap().into_iter().map(|it| it.key).collect();
            play(&mut played, it);
            keys.into_iter().for_each(|key| _ = played.entry(key).or_default());
        });
        let entries = self.entries(transactions);
        let commit = self.commit(entries, played, true);
        self.store.apply(&commit).unwrap();
    }

    fn check_record(&self, key: &RecordKey) {
        assert_eq!(self.store.record(key).unwrap().as_deref(), self.records.get(key), "{key:?}");
    }

    fn check_list(&mut self) {
        let limit = 1 + self.dice.below(50) as usize;
        let mut seen = Records::new();
        let mut last = None;
        let model = todo(0).model;
        loop {
            let some = self.store.records(&model, last.as_ref(), limit).unwrap();
            let Some((id, _)) = some.last() else { break };
            last = Some(id.clone());
            seen.extend(some.into_iter().map(|(id, record)| {
                (RecordKey { model: model.clone(), id }, Arc::unwrap_or_clone(record))
            }));
        }
        assert_eq!(seen, self.records);
    }

    fn check_held(&self, entry: &Entry) {
        let bytes = entry.transaction.bytes();
        let first = self.log.iter().find(|it| it.transaction.bytes() == bytes).unwrap();
        let held = self.store.held(&entry.transaction).unwrap();
        let expected = Held::Same { offset: first.offset, digest: first.digest };
        assert_eq!(held, expected, "at {}", entry.offset);
        let stamp = entry.transaction.stamp();
        assert!(!self.store.is_latest(stamp).unwrap());
        let mut all: Vec<_> = self.store.reader().of_stamp(stamp).unwrap();
        let mut known: Vec<_> = self
            .log
            .iter()
            .filter(|it| it.transaction.stamp() == stamp)
            .map(|it| it.transaction.clone())
            .collect();
        all.sort_by(|one, other| one.bytes().cmp(other.bytes()));
        known.sort_by(|one, other| one.bytes().cmp(other.bytes()));
        let bytes =
            |all: &[Transaction]| all.iter().map(|it| it.bytes().clone()).collect::<Vec<_>>();
        assert_eq!(bytes(&all), bytes(&known));
    }

    /// As the engine takes what a peer sends.
    fn bring(&mut self) {
        let mut taken: Vec<Transaction> = Vec::new();
        for _ in 0..1 + self.dice.below(6) {
            if !self.log.is_empty() && self.dice.one_in(4) {
                let at = self.dice.below(self.log.len() as u64) as usize;
                let entry = self.log[at].clone();
                if !entry.transaction.is_local() {
                    self.check_held(&entry);
                }
                continue;
            }
            let author = Author {
                node: NodeId::from_bytes([self.dice.below(4) as u8; 16]),
                epoch: Epoch(1 + self.dice.below(2)),
            };
            // Sometimes as a clone does, or late.
            let time = match self.dice.below(8) {
                0 => 1 + self.dice.below(self.time),
                _ => {
                    self.time += 1;
                    self.time
                }
            };
            let transaction = self.transaction(author, time);
            let bytes = transaction.bytes();
            if taken.iter().any(|it| it.bytes() == bytes) {
                continue;
            }
            let is_known = self.log.iter().any(|it| it.transaction.bytes() == bytes);
            let is_stamp = self.log.iter().any(|it| it.transaction.stamp() == transaction.stamp());
            let held = self.store.held(&transaction).unwrap();
            match (is_known, is_stamp) {
                (true, _) => assert!(matches!(held, Held::Same { .. })),
                (_, true) => assert_eq!(held, Held::Others),
                _ => assert_eq!(held, Held::No),
            }
            if !is_known {
                taken.push(transaction);
            }
        }
        if taken.is_empty() {
            return;
        }
        if self.store.takes_unplayed() && !self.dice.one_in(5) {
            let entries = self.entries(taken);
            let commit = self.commit(entries, Records::new(), false);
            self.store.apply(&commit).unwrap();
        } else {
            self.played(taken);
        }
    }

    fn crash(&mut self) {
        let kept = match self.dice.below(3) {
            0 => 0,
            _ => self.dice.below(1 + self.disk.unsynced() as u64) as usize,
        };
        self.disk = self.disk.crash_keeping(kept);
        if self.dice.one_in(6) {
            self.strip();
        }
        self.open();
    }

    /// As if a program of before had written some of the pages.
    fn strip(&mut self) {
        let backend = self.disk.open().unwrap();
        let mut batch = Batch::new();
        let most = 1 + self.dice.below(3);
        for (at, page) in backend.scan(Table::Log, &[], None, usize::MAX).unwrap() {
            if self.dice.below(3) < most
                && let Some(page) = with_hashes(&at, &page, Vec::clear)
            {
                batch.put(Table::Log, at, page);
            }
        }
        backend.write(&batch, Durability::Durable).unwrap();
    }

    fn open(&mut self) {
        self.store = builder(&mut self.dice).open(self.disk.open().unwrap()).unwrap();
        self.end = self.store.own().unwrap().map_or(Point::START, |own| own.end);
        assert!(self.end.offset >= self.durable);
        let end = self.end.offset;
        self.log.retain(|entry| entry.offset < end);
        assert_eq!(self.log.last().map_or(Point::START, Entry::end), self.end);
        self.records = Records::new();
        for entry in &self.log {
            play(&mut self.records, &entry.transaction);
        }
        self.begin_epoch();
    }

    fn step(&mut self) {
        let step = self.dice.below(40);
        match step {
            0..8 => self.bring(),
            8..17 => {
                self.time += 1;
                let transaction = self.transaction(self.own, self.time);
                self.played(vec![transaction]);
            }
            17 if self.is_view => {
                self.time += 1;
                let ids = [self.dice.below(IDS) as i64];
                let transaction = evict(self.time, &ids);
                let gone = ids.iter().map(|id| (todo(*id), Record::default())).collect();
                let entries = self.entries(vec![transaction]);
                let commit = self.commit(entries, gone, true);
                self.store.apply(&commit).unwrap();
            }
            17..23 => {
                for _ in 0..1 + self.dice.below(8) {
                    let id = self.dice.below(IDS + 2) as i64;
                    self.check_record(&todo(id));
                }
            }
            23 => self.check_list(),
            24 => {
                let snapshot = self.store.reader().snapshot();
                for id in 0..IDS as i64 {
                    let seen = snapshot.record(&todo(id)).unwrap();
                    assert_eq!(seen.as_deref(), self.records.get(&todo(id)));
                }
            }
            25..30 => {
                self.store.sync().unwrap();
                self.durable = self.end.offset;
            }
            30 => {
                self.store.syncer().begin_checkpoint().unwrap();
                self.durable = self.end.offset;
            }
            31..33 => _ = self.store.syncer().write_behind().unwrap(),
            33 => {
                for at in 0..self.log.len() {
                    if !self.log[at].transaction.is_local() {
                        self.check_held(&self.log[at].clone());
                    }
                }
            }
            34 if self.dice.one_in(3) => {
                self.store.syncer().checkpoint().unwrap();
                self.durable = self.end.offset;
                self.store.syncer().close();
                self.disk = self.disk.image();
                self.open();
            }
            _ => {
                if self.dice.one_in(2) {
                    self.crash();
                }
            }
        }
    }

    fn end(mut self) {
        for id in 0..IDS as i64 {
            self.check_record(&todo(id));
        }
        for at in 0..self.log.len() {
            if !self.log[at].transaction.is_local() {
                self.check_held(&self.log[at].clone());
            }
        }
        self.check_list();
        if !self.is_view {
            let verified = self.store.reader().verify(|_, _| ()).unwrap();
            assert!(verified.is_sound(), "{verified:?}");
        }
        self.store.syncer().checkpoint().unwrap();
        let mark = self.store.shared.read().is_played();
        assert!(mark && self.store.shared.read().behind_bytes() == 0);
        self.durable = self.end.offset;
        self.disk = self.disk.crash();
        self.open();
        assert!(self.store.shared.read().unread.is_none());
        self.check_list();
    }
}

proptest! {
    /// Whatever was written, crashed and opened before.
    #[test]
    fn a_store_is_as_its_log_through_many_lives(seed in 1..u64::MAX, steps in 20..140_usize) {
        let mut life = Life::new(seed);
        (0..steps).for_each(|_| life.step());
        life.end();
    }
}
