//! redb below a disk that crashes, fails and rots.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use proptest::prelude::*;
use syncro_core::StoreError;
use syncro_store::conformance::{Model, outcomes, writes};
use syncro_store::{Backend, Batch, Durability, Redb, Table};

use crate::crash::{Crash, Fate, Tape, numbers};
use crate::disk::{Disk, Failure, Which};
use crate::image::Image;

/// A history on a disk.
struct Past<'a> {
    disk: Disk,
    history: &'a [(Batch, Durability)],
    /// How many operations of the disk were over before each batch, and after the last one.
    done: Vec<usize>,
}

impl<'a> Past<'a> {
    fn live(history: &'a [(Batch, Durability)]) -> Self {
        let disk = Disk::default();
        let store = small(&disk).unwrap();
        let mut done = vec![disk.done()];
        for (batch, durability) in history {
            store.write(batch, *durability).unwrap();
            done.push(disk.done());
        }
        drop(store);
        Self { disk, history, done }
    }

    /// The states that a store may come back in, if its disk stops after `done` operations.
    fn outcomes(&self, done: usize) -> Vec<Model> {
        let written = self.done.iter().rposition(|before| *before <= done).unwrap();
        with_the_next(self.history, written)
    }
}

/// The states that may be left of a history of which so many batches were written, and the next one perhaps.
fn with_the_next(history: &[(Batch, Durability)], written: usize) -> Vec<Model> {
    let begun = history.len().min(written + 1);
    [outcomes(&history[..written]), outcomes(&history[..begun])].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_crash_keeps_a_prefix_that_covers_what_was_durable(
        history in writes(12),
        crashes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 12),
    ) {
        let past = Past::live(&history);
        let tape = Tape::of(&past.disk);
        let first = past.done[0];
        for (at, seed) in crashes {
            let done = first + at.index(past.disk.done() - first + 1);
            let image = tape.image(Crash { done, fate: Fate::Random(seed) });
            let store = small(&Disk::holding(image)).unwrap();
            let found = Model::of(&store);
            prop_assert!(past.outcomes(done).contains(&found), "crash after {} operations", done);
            store.write(&put("after the crash"), Durability::Durable).unwrap();
        }
    }

    #[test]
    fn a_failing_disk_latches_the_store_and_leaves_a_prefix(
        history in writes(12),
        left in 0..60_usize,
    ) {
        let disk = Disk::default();
        let store = small(&disk).unwrap();
        disk.fail(Some(failure(disk.done() + left, ErrorKind::Other)));
        let mut written = 0;
        for (batch, durability) in &history {
            if store.write(batch, *durability).is_err() {
                let refused = store.write(&put("refused"), Durability::Durable);
                let is_latched = matches!(refused, Err(StoreError::Latched { .. }));
                prop_assert!(is_latched, "{:?}", refused);
                break;
            }
            written += 1;
        }
        let outcomes = with_the_next(&history, written);
        if let Ok(found) = Model::try_of(&store) {
            prop_assert!(outcomes.contains(&found));
        }
        drop(store);
        let found = Model::of(&small(&Disk::holding(disk.content())).unwrap());
        prop_assert!(outcomes.contains(&found));
    }
}

/// Whatever the two threads do at the same time, and wherever the power goes.
#[test]
fn what_is_ahead_survives_beside_what_is_buffered() {
    let disk = Disk::default();
    let store = small(&disk).unwrap();
    store.write(&put("first"), Durability::Durable).unwrap();
    let first = disk.done();
    let slices = || {
        for slice in 0..40_u8 {
            let mut batch = Batch::new();
            for at in 0..10_u8 {
                batch.put(Table::Records, vec![at, slice], vec![at; 2000]);
            }
            let is_last = slice % 16 == 15;
            let how = if is_last { Durability::Durable } else { Durability::Buffered };
            store.write(&batch, how).unwrap();
        }
    };
    let returned: Vec<usize> = thread::scope(|scope| {
        scope.spawn(slices);
        let syncs = (0..200_u8).map(|sync| {
            let mut batch = Batch::new();
            // So much that the journal is full now and then.
            batch.put(Table::Log, vec![sync], vec![sync; 5000]);
            store.write(&batch, Durability::Ahead).unwrap();
            disk.done()
        });
        syncs.collect()
    });
    let tape = Tape::of(&disk);
    let mut random = numbers(1);
    for _ in 0..60 {
        let done = first + random() as usize % (disk.done() - first + 1);
        let image = tape.image(Crash { done, fate: Fate::Random(random()) });
        let store = small(&Disk::holding(image)).unwrap();
        let syncs = store.scan(Table::Log, &[], None, usize::MAX).unwrap();
        assert!(syncs.iter().zip(0_u8..).all(|((key, _), at)| key[..] == [at]));
        let durable = returned.iter().filter(|at| **at <= done).count();
        assert!((durable..=durable + 1).contains(&syncs.len()), "{durable}, {}", syncs.len());
        let records = store.scan(Table::Records, &[], None, usize::MAX).unwrap();
        let slices = records.len() / 10;
        let is_kept = |key: &[u8]| usize::from(key[1]) < slices;
        assert!(records.len() == slices * 10 && records.iter().all(|(key, _)| is_kept(key)));
    }
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    for (how, is_full) in [(ErrorKind::StorageFull, true), (ErrorKind::TimedOut, false)] {
        let disk = Disk::default();
        let store = small(&disk).unwrap();
        disk.fail(Some(failure(0, how)));
        match store.write(&put("a"), Durability::Durable) {
            Err(StoreError::Full) => assert!(is_full),
            Err(StoreError::Io(error)) => assert!(!is_full && error.kind() == how),
            other => panic!("{other:?}"),
        }
        match store.write(&put("b"), Durability::Durable) {
            Err(StoreError::Latched { cause }) => assert_eq!(cause.contains("no room"), is_full),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_damaged_file_gives_errors_or_other_bytes_but_never_a_panic() {
    let intact = filled();
    for seed in 0..300 {
        let mut content = intact.clone();
        damage(&mut content, seed);
        let unwound = catch_unwind(AssertUnwindSafe(|| visit(content)));
        assert!(unwound.is_ok(), "seed {seed}");
    }
}

/// Uses a store in every way that there is, whatever it answers.
fn visit(content: Vec<u8>) {
    let Ok(store) = small(&Disk::holding(Image::holding(&content))) else {
        return;
    };
    let mut is_noticed = false;
    for table in Table::ALL {
        let all = store.scan(table, b"", None, usize::MAX).err();
        let one = store.get(table, &[3, 7]).err();
        let last = store.floor(table, &[9, 9]).err();
        let mut errors = all.into_iter().chain(one).chain(last);
        is_noticed |= errors.any(|error| matches!(error, StoreError::Corrupt { .. }));
    }
    for durability in [Durability::Buffered, Durability::Durable] {
        let mut batch = put("after the damage");
        for at in 0..200_u8 {
            batch.put(Table::Records, vec![at, 3], vec![at; 100]);
            batch.delete(Table::Log, vec![at, 7]);
        }
        let written = store.write(&batch, durability);
        let is_latched = matches!(written, Err(StoreError::Latched { .. }));
        assert!(is_latched || !is_noticed, "a damaged store was written");
    }
}

fn filled() -> Vec<u8> {
    let disk = Disk::default();
    let store = small(&disk).unwrap();
    for round in 0..8_u8 {
        let mut batch = Batch::new();
        for at in 0..200_u8 {
            batch.put(Table::Records, vec![at, round], vec![at; 100]);
            batch.put(Table::Log, vec![round, at], vec![at; 300]);
        }
        batch.put(Table::Rows, "end", vec![round]);
        store.write(&batch, Durability::Durable).unwrap();
    }
    drop(store);
    disk.content().to_vec()
}

/// Flips bits, in the header or anywhere, or blanks a page.
///
/// A page in another's place is left out: it can make redb's tree a circle, on which redb's
/// recursion overflows the stack, and against that there is no help from outside.
fn damage(content: &mut [u8], seed: u64) {
    let mut random = numbers(seed);
    let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let mut below = |limit: usize| (random() % limit as u64) as usize;
    let page = |at: usize| at * 4096..(at + 1) * 4096;
    match below(3) {
        0 => content[page(below(used / 4096))].fill(0),
        1 => content[below(320)] ^= 1 << below(8),
        _ => {
            for _ in 0..=below(8) {
                content[below(used)] ^= 1 << below(8);
            }
        }
    }
}

fn small(disk: &Disk) -> Result<Redb, StoreError> {
    let builder = Redb::builder().cache_bytes(256 * 1024);
    builder.with_backend(disk.clone())
}

fn put(key: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rows, key, "value");
    batch
}

/// The disk is done after so many changes of it.
fn failure(changes: usize, how: ErrorKind) -> Failure {
    Failure { which: Which::ChangesFrom(changes), how }
}
