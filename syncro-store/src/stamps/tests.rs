use proptest::prelude::*;
use syncro_core::{Entry, Held, Store, View};

use super::*;
use crate::log_store::LogStore;
use crate::world::relay::{Relay, transaction};

impl Relay {
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

fn all() -> impl Iterator<Item = (u32, u8, u16)> {
    (1..3).flat_map(|author| (0..12).flat_map(move |time| (0..3).map(move |id| (author, time, id))))
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32, u8, u16),
    NextPage,
    NextRun,
    Sync,
    Slice,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..3_u32, 0..12_u8, 0..3_u16).prop_map(|(author, time, id)| Step::Append(author, time, id)),
        2 => Just(Step::NextPage),
        2 => Just(Step::NextRun),
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
        let mut world = Relay::new();
        let (mut remembered, mut others) = (None, 0);
        for step in steps {
            match step {
                Step::Append(author, time, id) => {
                    let new = transaction(author, time, id);
                    // What is held is never appended again.
                    if world.log.iter().all(|entry| entry.transaction != new) {
                        world.append([new]);
                    }
                }
                Step::NextPage => world.next_page(),
                Step::NextRun => {
                    others += 1;
                    world.append((0..120).map(|time| transaction(100 + others, time, time.into())));
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

/// One row per page and author, whatever the number of transactions, and wherever pages end.
#[test]
fn an_author_who_writes_in_order_takes_a_row_a_page() {
    let mut world = Relay::new();
    let mut bytes = 0;
    for time in 0..120 {
        let transactions = [1, 2, 3].map(|author| transaction(author, time, 0));
        bytes += transactions.iter().map(|it| bytes_in_run(it.bytes())).sum::<u64>();
        world.append(transactions);
        if time % 7 == 0 {
            world.next_page();
        }
    }
    let state = world.store.shared.read();
    let rows = state.now().unwrap().scan(Table::Stamps, &[], None, usize::MAX).unwrap();
    let runs = bytes.div_ceil(RUN_BYTES) as usize;
    assert!(runs > 1 && (3 * runs..=3 * runs + 3).contains(&rows.len()), "{} rows", rows.len());
}
