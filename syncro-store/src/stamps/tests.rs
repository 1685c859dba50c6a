use proptest::prelude::*;
use syncro_core::{Commit, Entry, Epoch, Held, NodeId, OwnRow, Point, Store, Transaction, View};

use super::*;
use crate::backend::MemoryDisk;
use crate::log_store::LogStore;

/// `[time, node, epoch, [["Todo", id, create, []]]]`.
fn transaction(author: u8, time: u8, id: u8) -> Transaction {
    let mut bytes = vec![0x94, time, 0xc4, 16];
    bytes.extend([author; 16]);
    bytes.extend([author, 0x91, 0x94, 0xa4]);
    bytes.extend(b"Todo");
    bytes.extend([id, 1, 0x90]);
    Transaction::decode(bytes.into()).unwrap()
}

/// A store to which transactions are given in any order.
struct World {
    disk: MemoryDisk,
    store: LogStore,
    end: Point,
    log: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let store = LogStore::open(disk.open().unwrap()).unwrap();
        Self { disk, store, end: Point::START, log: Vec::new() }
    }

    fn append(&mut self, transaction: Transaction) {
        if self.log.iter().any(|entry| entry.transaction == transaction) {
            return;
        }
        let after = self.end.then(1, transaction.bytes());
        let entry = Entry { offset: self.end.offset, transaction, digest: after.digest };
        self.end = after;
        let records = entry.transaction.scribes().iter();
        let records = records.map(|it| (it.key.clone(), it.as_record(entry.transaction.stamp())));
        let own = OwnRow {
            node: NodeId::named("server"),
            epoch: Epoch(7),
            clock: Time::default(),
            end: after,
        };
        let commit = Commit {
            sequence: after.offset,
            entries: vec![entry.clone()],
            records: records.map(|(key, record)| (key, record.into())).collect(),
            peers: Vec::new(),
            own,
        };
        self.store.apply(&commit).unwrap();
        self.log.push(entry);
    }

    /// Looks for every transaction that there may be, in the first entries of the log.
    fn check(&self, view: &impl View, entries: usize) -> Result<(), TestCaseError> {
        let log = &self.log[..entries];
        for (author, time, id) in all() {
            let wanted = transaction(author, time, id);
            let same = log.iter().find(|entry| entry.transaction == wanted);
            let is_stamp = |entry: &&Entry| entry.transaction.stamp() == wanted.stamp();
            let expected = match same {
                Some(entry) => Held::Same { offset: entry.offset, digest: entry.digest },
                None if log.iter().any(|entry| is_stamp(&entry)) => Held::Others,
                None => Held::No,
            };
            prop_assert_eq!(view.held(&wanted).unwrap(), expected, "{} {} {}", author, time, id);
        }
        Ok(())
    }
}

fn all() -> impl Iterator<Item = (u8, u8, u8)> {
    (1..3).flat_map(|author| (0..12).flat_map(move |time| (0..3).map(move |id| (author, time, id))))
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, u8, u8),
    NextPage,
    Sync,
    Slice,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..3_u8, 0..12_u8, 0..3_u8).prop_map(|(author, time, id)| Step::Append(author, time, id)),
        2 => Just(Step::NextPage),
        2 => Just(Step::Sync),
        2 => Just(Step::Slice),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever the order in which authors' transactions come, and wherever pages and checkpoints end.
    #[test]
    fn a_transaction_is_found_where_it_is(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut remembered = None;
        for step in steps {
            match step {
                Step::Append(author, time, id) => world.append(transaction(author, time, id)),
                Step::NextPage => {
                    let mut state = world.store.shared.write();
                    if !state.open_page.is_empty() {
                        state.put_open_page();
                        let end = state.open_page.end();
                        state.open_page = crate::encoding::page::OpenPage::begin(end);
                    }
                }
                Step::Sync => world.store.syncer().begin_checkpoint().unwrap(),
                Step::Slice => drop(world.store.syncer().write_behind().unwrap()),
                Step::Reopen | Step::Crash => {
                    if matches!(step, Step::Reopen) {
                        world.store.syncer().checkpoint().unwrap();
                    } else {
                        world.store.sync().unwrap();
                    }
                    world.disk = world.disk.crash();
                    world.store = LogStore::open(world.disk.open().unwrap()).unwrap();
                    remembered = None;
                }
            }
            if remembered.is_none() && world.log.len() > 3 {
                remembered = Some((world.store.reader().snapshot(), world.log.len()));
            }
        }
        world.check(&world.store, world.log.len())?;
        if let Some((snapshot, entries)) = remembered {
            world.check(&snapshot, entries)?;
        }
    }
}

/// One row per page and author, whatever the number of transactions.
#[test]
fn an_author_who_writes_in_order_takes_a_row_a_page() {
    let mut world = World::new();
    (0..100).for_each(|time| world.append(transaction(1, time, 0)));
    let state = world.store.shared.read();
    let rows = state.now().unwrap().scan(Table::Stamps, &[], None, usize::MAX).unwrap();
    assert_eq!(rows.len(), 1);
}
