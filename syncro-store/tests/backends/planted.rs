//! Backends with a bug each: a suite that finds nothing in them could find nothing anywhere.

use std::io::Error;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use syncro_core::StoreError;
use syncro_store::conformance::{Place, promises};
use syncro_store::{
    Backend, Batch, Durability, Fault, Memory, MemoryDisk, Remains, Save, Table, Visit,
};

/// Changes what reaches a store in memory, or comes of it.
trait Bug: Send + Sync + 'static {
    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        store.write(batch, how)
    }

    fn scan(&self, found: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
        found
    }

    fn reopen(&self, store: &Memory) -> Result<(), StoreError> {
        store.reopen()
    }

    fn remains(&self, _: &Memory) -> Option<Box<dyn Remains>> {
        None
    }

    fn salvage(&self, _: &Memory, _: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        Ok(None)
    }

    fn new() -> Self;
}

struct Buggy<B> {
    store: Memory,
    bug: B,
}

struct BuggyPlace<B>(MemoryDisk, PhantomData<B>);

impl<B: Bug> Place for BuggyPlace<B> {
    type Store = Buggy<B>;
    const HISTORIES: u32 = 64;

    fn new() -> Self {
        Self(MemoryDisk::new(), PhantomData)
    }

    fn open(&self) -> Result<Buggy<B>, StoreError> {
        Ok(Buggy { store: self.0.open()?, bug: B::new() })
    }

    fn crashes(&self) -> Vec<Self> {
        let kept = 0..=self.0.unsynced();
        kept.map(|kept| Self(self.0.crash_keeping(kept), PhantomData)).collect()
    }

    fn fail_write(&self) -> bool {
        self.0.fail_write(1, Fault::Once(Error::other("worn out").into()));
        true
    }
}

impl<B: Bug> Backend for Buggy<B> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan(table, start, end, limit).map(|found| self.bug.scan(found))
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.store.floor(table, at)
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.bug.write(&self.store, batch, durability)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.bug.reopen(&self.store)
    }

    fn remains(&self) -> Option<Box<dyn Remains>> {
        self.bug.remains(&self.store)
    }

    fn salvage(&self, save: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        self.bug.salvage(&self.store, save)
    }
}

fn halves(batch: &Batch) -> [Batch; 2] {
    let mut halves = [Batch::new(), Batch::new()];
    for (at, (table, key, value)) in batch.iter().enumerate() {
        let half = &mut halves[usize::from(at >= batch.len() / 2)];
        match value {
            Some(value) => half.put(table, key.clone(), value.clone()),
            None => half.delete(table, key.clone()),
        }
    }
    halves
}

/// Writes a batch in two.
struct Halves;

impl Bug for Halves {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        let [first, second] = halves(batch);
        store.write(&first, Durability::Buffered)?;
        // A database takes some time to write.
        (0..100).for_each(|_| thread::yield_now());
        store.write(&second, how)
    }
}

/// Flushes one half of a batch.
struct HalfFlushed;

impl Bug for HalfFlushed {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        let [first, second] = halves(batch);
        store.write(&second, how)?;
        store.write(&first, Durability::Buffered)
    }
}

/// Puts every third buffered batch off, until after the next one.
struct Swapped {
    count: AtomicUsize,
    late: Mutex<Option<Batch>>,
}

impl Bug for Swapped {
    fn new() -> Self {
        Self { count: AtomicUsize::new(0), late: Mutex::new(None) }
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        let mut late = self.late.lock().unwrap();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if late.is_none() && how == Durability::Buffered && count.is_multiple_of(3) {
            *late = Some(batch.clone());
            return Ok(());
        }
        store.write(batch, how)?;
        late.take().map_or(Ok(()), |late| store.write(&late, how))
    }
}

/// Flushes nothing.
struct Unflushed;

impl Bug for Unflushed {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, _: Durability) -> Result<(), StoreError> {
        store.write(batch, Durability::Buffered)
    }
}

/// Puts off what is written ahead until the next durable write.
struct Behind;

impl Bug for Behind {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        let is_ahead = how == Durability::Ahead;
        store.write(batch, if is_ahead { Durability::Buffered } else { how })
    }
}

/// Takes an empty batch for nothing to do.
struct EmptyIsNothing;

impl Bug for EmptyIsNothing {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        if batch.is_empty() { Ok(()) } else { store.write(batch, how) }
    }
}

/// Compares bytes with their sign.
struct Signed;

impl Bug for Signed {
    fn new() -> Self {
        Self
    }

    fn scan(&self, mut found: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
        found.sort_by_key(|(key, _)| key.iter().map(|byte| *byte as i8).collect::<Vec<_>>());
        found
    }
}

/// Tries again what failed, and says nothing.
struct Stubborn;

impl Bug for Stubborn {
    fn new() -> Self {
        Self
    }

    fn write(&self, store: &Memory, batch: &Batch, how: Durability) -> Result<(), StoreError> {
        let _ = store.write(batch, how);
        Ok(())
    }
}

/// Stays as it is, and says that it was opened anew.
struct Unopened;

impl Bug for Unopened {
    fn new() -> Self {
        Self
    }

    fn reopen(&self, _: &Memory) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Puts what is salvaged beside what was there.
struct Beside;

struct Rows(Vec<(Bytes, Bytes)>);

impl Remains for Rows {
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in &self.0 {
            visit(key.clone(), value.clone())?;
        }
        Ok(())
    }
}

impl Bug for Beside {
    fn new() -> Self {
        Self
    }

    fn remains(&self, store: &Memory) -> Option<Box<dyn Remains>> {
        Some(Box::new(Rows(store.scan(Table::Rows, b"", None, usize::MAX).unwrap())))
    }

    fn salvage(&self, store: &Memory, save: &mut Save<'_>) -> Result<Option<PathBuf>, StoreError> {
        let fresh = Arc::new(Memory::new());
        save(fresh.clone())?;
        let mut batch = Batch::new();
        for (key, value) in fresh.scan(Table::Rows, b"", None, usize::MAX)? {
            batch.put(Table::Rows, key, value);
        }
        store.write(&batch, Durability::Durable)?;
        Ok(Some(PathBuf::from(".")))
    }
}

/// For each: the bug, the test that must find it, and what the test says.
macro_rules! finds {
    ($($name:ident: $bug:ty, $promise:ident;)*) => {
        $(
            #[test]
            #[should_panic]
            fn $name() {
                promises::$promise::<BuggyPlace<$bug>>();
            }
        )*
    };
}

finds! {
    what_stays_beside_what_is_salvaged_is_found: Beside, a_salvage_puts_what_it_is_given_in_the_place_of_all_or_changes_nothing;
    half_a_batch_is_seen_by_readers: Halves, a_reader_never_sees_half_a_batch;
    half_a_batch_is_found_after_a_crash: Halves, a_crash_keeps_the_first_batches_and_no_others;
    half_a_commit_is_found_after_a_crash: HalfFlushed, a_crash_keeps_the_first_commits_and_no_others;
    a_late_batch_is_found_after_a_crash: Swapped, a_crash_keeps_the_first_batches_and_no_others;
    a_late_batch_is_missed_by_reads: Swapped, any_history_reads_like_a_map;
    lost_batches_are_found_after_a_crash: Unflushed, a_crash_keeps_the_first_batches_and_no_others;
    lost_commits_are_found_after_a_crash: Unflushed, what_was_synced_survives_a_crash;
    batches_that_are_not_ahead_are_found_after_a_crash: Behind, a_crash_keeps_the_first_batches_and_no_others;
    commits_that_are_not_ahead_are_found_after_a_crash: Behind, what_was_synced_survives_a_crash;
    an_empty_batch_that_flushes_nothing_is_found: EmptyIsNothing, an_empty_durable_batch_makes_what_came_before_it_durable;
    signed_keys_are_found: Signed, keys_compare_as_unsigned_bytes;
    signed_lists_are_found: Signed, any_history_reads_like_a_map;
    a_failure_that_is_hidden_is_found: Stubborn, a_failed_write_latches_the_store_until_it_is_opened_again;
    a_failed_sync_that_is_hidden_is_found: Stubborn, nothing_is_written_after_a_failed_sync;
    a_latch_that_stays_is_found: Unopened, opening_anew_ends_a_latch;
    batches_lost_at_an_opening_anew_are_found: Unflushed, opening_anew_keeps_the_first_batches_and_all_that_were_durable;
    a_breach_that_is_hidden_is_found: Stubborn, a_batch_that_breaks_a_limit_is_refused_whole_and_does_not_latch;
}
