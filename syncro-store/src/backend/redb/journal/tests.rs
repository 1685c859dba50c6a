use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::{Backend, Durability, Redb};

/// More than goes to the journal.
const LARGE: usize = DATABASE_AT as usize;

/// Of two of those each takes a half of the journal.
const HALF_BYTES: usize = LARGE / 2 - 3 * BLOCK_BYTES;

/// The generation of the first entry of a file.
const FIRST: u64 = NONE + 2;

/// A file in memory. Clones are the same file.
#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

impl File {
    fn of(content: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(content.to_vec())), Arc::default())
    }

    fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.0.lock().unwrap();
        let found = content.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.store(true, Ordering::Relaxed);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap()[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(key: u8, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Log, vec![key], vec![key; bytes]);
    batch
}

fn durable(redb: &Redb, batch: &Batch) {
    redb.write(batch, Durability::Durable).unwrap();
}

/// A file with a generation and some entries, of one, two, three and so many blocks, as a kill leaves it.
fn killed(entries: u8) -> Vec<u8> {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    (1..=entries).for_each(|key| durable(&redb, &put(key, usize::from(key) * 4000)));
    file.content()
}

/// The keys that a file has, which are all that were put, up to one.
fn found(content: &[u8]) -> Result<u8, syncro_core::StoreError> {
    let redb = Redb::with_backend(File::of(content))?;
    let rows = redb.scan(Table::Log, &[], None, usize::MAX)?;
    assert!(rows.iter().enumerate().all(|(nth, (key, _))| key[..] == [nth as u8]));
    Ok(rows.len() as u8 - 1)
}

/// The block that an entry of [`killed`] begins with, and the one after its last.
fn blocks(key: u8) -> Range<usize> {
    let start: usize = (1..key).map(usize::from).sum();
    start + 1..start + 1 + usize::from(key)
}

/// What is written is found by later programs.
#[test]
fn the_bytes_of_an_entry_stay_as_they_are() {
    let mut batch = Batch::new();
    batch.put(Table::Rows, "colour", "green");
    batch.delete(Table::Stamps, "shape");
    let blocks = encode(&batch, 7);
    assert_eq!(blocks.len(), BLOCK_BYTES);
    let entry = [
        &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0xce, 0xb9, 0xee, 0xd1][..],
        &[0, 6, 0],
        b"colour",
        &[5, 0, 0, 0],
        b"green",
        &[4, 5, 0],
        b"shape",
        &[255; 4],
    ];
    assert_eq!(blocks[..entry.concat().len()], entry.concat());
    assert!(blocks[entry.concat().len()..].iter().all(|byte| *byte == 0));
}

/// Entries that are durable are in the file of a process that was killed, and one that is torn is not.
#[test]
fn a_torn_entry_is_left_out() {
    let whole = killed(4);
    assert_eq!(found(&whole).unwrap(), 4);
    for block in blocks(4) {
        let mut torn = whole.clone();
        torn[block * BLOCK_BYTES..][..BLOCK_BYTES].fill(0);
        assert_eq!(found(&torn).unwrap(), 3, "{block}");
        torn[block * BLOCK_BYTES..][..BLOCK_BYTES].fill(0xee);
        assert_eq!(found(&torn).unwrap(), 3, "{block}");
    }
}

/// To take it for the end would lose what comes after it, which was acknowledged.
#[test]
fn a_damaged_entry_before_others_is_an_error() {
    let whole = killed(4);
    for block in blocks(1).start..blocks(4).start {
        for at in [0, 8, 12, 16, 100] {
            let mut damaged = whole.clone();
            damaged[block * BLOCK_BYTES + at] ^= 1;
            let error = found(&damaged).unwrap_err();
            assert!(matches!(error, syncro_core::StoreError::Corrupt { .. }), "{block}: {error}");
        }
    }
}

/// After a torn entry others are written over its beginning, and what is left of it comes after them.
#[test]
fn what_a_torn_entry_has_left_is_no_entry() {
    let mut file = killed(4);
    let first = blocks(4).start * BLOCK_BYTES;
    file[first..][..BLOCK_BYTES].copy_from_slice(&encode(&put(4, 1), FIRST));
    assert_eq!(found(&file).unwrap(), 4);
}

/// What a peer sent may look like a journal, wherever it lies.
#[test]
fn what_is_in_a_value_is_no_entry() {
    let mut forged = put(9, 1);
    forged.put(Table::Rows, "own", "somebody else");
    // So much of it that wherever a block begins there is one.
    let forgery = encode(&forged, FIRST)[..64].repeat(3 * BLOCK_BYTES / 64);
    for shift in 0..64 {
        let file = File::default();
        let redb = Redb::with_backend(file.clone()).unwrap();
        durable(&redb, &put(0, 1));
        let mut batch = Batch::new();
        batch.put(Table::Log, vec![1], [&vec![0; shift], &forgery[..]].concat());
        durable(&redb, &batch);
        let content = file.content();
        // A later entry of one block, as if the first one had been torn.
        let mut torn = content.clone();
        let other = encode(&put(1, 1), FIRST);
        torn[BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&other);
        for content in [content, torn] {
            assert_eq!(found(&content).unwrap(), 1);
            let left = remains(&Storage::new(File::of(&content)));
            assert_eq!(left.len(), 1);
        }
    }
}

/// A process was killed between an append and its flush, and the next one said of what it found that it is durable.
#[test]
fn what_another_process_has_left_is_flushed_before_it_is_called_durable() {
    let file = File::of(&killed(2));
    let redb = Redb::with_backend(file.clone()).unwrap();
    for is_flushed in [true, false] {
        file.1.store(false, Ordering::Relaxed);
        durable(&redb, &Batch::new());
        assert_eq!(file.1.load(Ordering::Relaxed), is_flushed);
    }
    assert_eq!(found(&file.content()).unwrap(), 2);
}

/// Entries of nothing took places, and the next commit began no generation: what was left of them looked like entries
/// that had been acknowledged.
#[test]
fn a_torn_entry_after_processes_that_wrote_nothing_is_left_out() {
    let mut content = killed(1);
    for _ in 0..2 {
        let file = File::of(&content);
        durable(&Redb::with_backend(file.clone()).unwrap(), &Batch::new());
        content = file.content();
    }
    let file = File::of(&content);
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(2, LARGE));
    let before = file.content();
    durable(&redb, &put(3, 3000));
    let mut torn = file.content();
    torn[BLOCK_BYTES + 512..][..BLOCK_BYTES]
        .copy_from_slice(&before[BLOCK_BYTES + 512..][..BLOCK_BYTES]);
    assert_eq!(found(&torn).unwrap(), 2);
}

/// redb showed the commit before the last one, over a bit of its header, and what was in the journal followed a
/// commit that was gone.
#[test]
fn entries_never_follow_what_they_were_not_written_after() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    durable(&redb, &put(1, LARGE));
    durable(&redb, &put(2, 1));
    let mut content = file.content();
    // Which of its two commits is the last one.
    content[DATABASE_AT as usize + 9] ^= 1;
    let error = found(&content).unwrap_err();
    assert!(matches!(error, syncro_core::StoreError::Corrupt { .. }), "{error}");
}

/// The same where the journal had both: what was not taken over yet, and what was written after that.
#[test]
fn entries_of_one_half_never_follow_those_of_the_other_over_a_commit() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    durable(&redb, &put(1, HALF_BYTES));
    durable(&redb, &put(2, HALF_BYTES));
    redb.catch_up().unwrap();
    durable(&redb, &put(3, LARGE));
    durable(&redb, &put(4, 1));
    assert_eq!(found(&file.content()).unwrap(), 4);
    let mut content = file.content();
    content[DATABASE_AT as usize + 9] ^= 1;
    let error = found(&content).unwrap_err();
    assert!(matches!(error, syncro_core::StoreError::Corrupt { .. }), "{error}");
}

/// A killed process left what was in the one half, and what was in the other was written over it.
#[test]
fn what_is_being_taken_over_stays_until_it_is() {
    let (file, watched) = (File::default(), Arc::<Mutex<Watch>>::default());
    let storage = Watched(file.clone(), Arc::clone(&watched));
    let redb = Arc::new(Redb::with_backend(storage).unwrap());
    durable(&redb, &put(0, 1));
    durable(&redb, &put(1, HALF_BYTES));
    durable(&redb, &put(2, HALF_BYTES));
    assert!(redb.is_behind());
    let (weak, seen) = (Arc::downgrade(&redb), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&seen);
    *watched.lock().unwrap() = Watch(Some(Box::new(move || {
        let redb = weak.upgrade().unwrap();
        // The database may not say which generation counts before it is durable.
        let appended = redb.journal.lock().unwrap().as_mut().unwrap().append(&put(3, HALF_BYTES));
        assert_eq!(appended.unwrap(), Appended::Nowhere);
        *count.lock().unwrap() += 1;
    })));
    redb.catch_up().unwrap();
    watched.lock().unwrap().0 = None;
    assert!(*seen.lock().unwrap() > 0);
    assert!(!redb.is_behind());
    // Both halves are as good as new, one after the other.
    for key in 3..6 {
        durable(&redb, &put(key, HALF_BYTES));
        redb.catch_up().unwrap();
        assert_eq!(found(&file.content()).unwrap(), key);
    }
}

/// A file whose writes are watched.
#[derive(Clone, Debug)]
struct Watched(File, Arc<Mutex<Watch>>);

#[derive(Default)]
struct Watch(Option<Box<dyn FnMut() + Send>>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let watch = self.1.lock().unwrap().0.take();
        if let Some(mut watch) = watch {
            watch();
            self.1.lock().unwrap().0 = Some(watch);
        }
        self.0.write(offset, data)
    }
}

/// As files had it whose journal had no halves.
#[test]
fn entries_may_go_on_from_one_half_into_the_other() {
    let mut file = killed(0);
    let mut at = BLOCK_BYTES;
    for key in 1..=10 {
        let entry = encode(&put(key, 60_000), FIRST);
        file[at..][..entry.len()].copy_from_slice(&entry);
        at += entry.len();
    }
    assert!(at > HALVES[1].start as usize);
    assert_eq!(found(&file).unwrap(), 10);
}

/// What the database has taken over is not done again: it may have changed since.
#[test]
fn entries_of_before_a_commit_mean_nothing_after_it() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    durable(&redb, &put(1, 1));
    let journal = file.content()[..DATABASE_AT as usize].to_vec();
    let mut batch = put(1, LARGE);
    batch.put(Table::Log, vec![2], "later");
    durable(&redb, &batch);
    let content = file.content();
    assert_eq!(content[..DATABASE_AT as usize], journal);
    assert_eq!(found(&content).unwrap(), 2);
    let redb = Redb::with_backend(File::of(&content)).unwrap();
    let value = redb.get(Table::Log, &[1]).unwrap().unwrap();
    assert_eq!(value.len(), LARGE);
}

/// The next durable batch would have come back without them.
#[test]
fn after_a_buffered_batch_the_next_durable_one_is_a_commit() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    durable(&redb, &put(1, 1));
    redb.write(&put(2, 1), Durability::Buffered).unwrap();
    durable(&redb, &put(3, 1));
    assert_eq!(found(&file.content()).unwrap(), 3);
    let journal = |file: &File| file.content()[..DATABASE_AT as usize].to_vec();
    let before = journal(&file);
    durable(&redb, &put(4, 1));
    assert_ne!(journal(&file), before);
    assert_eq!(found(&file.content()).unwrap(), 4);
}

/// While a checkpoint was written each group of writes was a commit, which flushed what had been written of it.
#[test]
fn what_is_ahead_goes_to_the_journal_while_other_tables_are_buffered() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    let mut record = Batch::new();
    record.put(Table::Records, "record", "buffered");
    redb.write(&record, Durability::Buffered).unwrap();
    for key in 1..4 {
        redb.write(&put(key, 1), Durability::Ahead).unwrap();
    }
    let is_there = |redb: &Redb| redb.get(Table::Records, b"record").unwrap().is_some();
    assert!(is_there(&redb));
    let killed = Redb::with_backend(File::of(&file.content())).unwrap();
    assert!(!is_there(&killed));
    assert_eq!(found(&file.content()).unwrap(), 3);

    // Done again after a crash, what is older would go over what is newer.
    redb.write(&put(4, 1), Durability::Buffered).unwrap();
    redb.write(&put(5, 1), Durability::Ahead).unwrap();
    let killed = Redb::with_backend(File::of(&file.content())).unwrap();
    assert!(is_there(&killed));
    assert_eq!(found(&file.content()).unwrap(), 5);
}

/// A group of writes waited for whatever of a checkpoint was just being written.
#[test]
fn what_is_ahead_waits_for_no_buffered_batch() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    durable(&redb, &put(0, 1));
    let shown = redb.writing.lock().unwrap();
    redb.write(&put(1, 1), Durability::Ahead).unwrap();
    drop(shown);
    assert_eq!(found(&file.content()).unwrap(), 1);
}

/// A file of a GiB took seconds to open after each crash, since redb read all of it.
#[test]
fn what_a_crash_has_left_needs_no_repair() {
    let file = File::default();
    let redb = Redb::with_backend(file.clone()).unwrap();
    let open = |content: &[u8]| {
        let storage = Storage::new(File::of(content)).of_database();
        let mut builder = Database::builder();
        builder.set_repair_callback(::redb::RepairSession::abort).create_with_backend(storage)
    };
    open(&file.content()).unwrap();
    for (key, bytes) in (0..).zip([1, 1, LARGE, 1]) {
        durable(&redb, &put(key, bytes));
        open(&file.content()).unwrap();
    }
    redb.write(&put(4, 1), Durability::Buffered).unwrap();
    open(&file.content()).unwrap();
    durable(&redb, &put(5, 1));
    open(&file.content()).unwrap();
}

/// Whoever came second looked at an empty file, and laid out another one over that of the first.
#[test]
fn what_a_file_is_is_looked_at_when_it_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    for has_journal in [true, false] {
        let path = directory.path().join(format!("store-{has_journal}"));
        let options = || {
            let mut options = std::fs::File::options();
            options.read(true).write(true).create(true).truncate(false).open(&path)
        };
        let second = Storage::of_file(options().unwrap()).unwrap();
        assert_eq!(second.len().unwrap(), 0);
        if !has_journal {
            drop(::redb::Database::create(&path).unwrap());
        }
        let first = Redb::open(&path).unwrap();
        durable(&first, &put(0, 1));
        let open = || {
            let database = Database::builder().create_with_backend(second.of_database());
            database.map(drop)
        };
        assert!(open().is_err());
        drop(first);
        open().unwrap();
        assert_eq!(found(&std::fs::read(&path).unwrap()).unwrap(), 0);
    }
}

/// Nobody could write while somebody read, nor read after that.
#[test]
fn whoever_reads_for_long_holds_nobody_up() {
    let redb = Redb::with_backend(File::default()).unwrap();
    (0..2).for_each(|key| durable(&redb, &put(key, 1)));
    let shown = redb.shown(&redb.opened()).unwrap();
    durable(&redb, &put(2, 1));
    assert!(redb.get(Table::Log, &[2]).unwrap().is_some());
    assert!(shown.get(Table::Log, &[2]).unwrap().is_none());
    assert!(shown.get(Table::Log, &[1]).unwrap().is_some());
}

/// It is for what is small: large batches would be written twice.
#[test]
fn a_file_that_begins_with_its_database_goes_without() {
    let file = File::default();
    let database = ::redb::Database::builder().create_with_backend(file.clone()).unwrap();
    drop(database);
    let redb = Redb::with_backend(file.clone()).unwrap();
    (0..3).for_each(|key| durable(&redb, &put(key, 1)));
    let content = file.content();
    assert!(content.starts_with(MAGIC));
    assert_eq!(found(&content).unwrap(), 2);
}

/// As Linux does it: a flush that fails says so once, and what it did not bring to the disk is clean from then on.
#[derive(Clone, Debug, Default)]
struct Cached(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    cache: Vec<u8>,
    disk: Vec<u8>,
    dirty: Vec<(usize, Vec<u8>)>,
    fails: bool,
}

impl StorageBackend for Cached {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cache.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.0.lock().unwrap().cache[offset as usize..][..out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        pages.cache.resize(len as usize, 0);
        pages.disk.resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        let dirty = std::mem::take(&mut pages.dirty);
        if std::mem::take(&mut pages.fails) {
            return Err(io::Error::other("EIO"));
        }
        for (at, data) in dirty {
            let end = pages.disk.len().min(at + data.len());
            pages.disk[at..end].copy_from_slice(&data[..end - at]);
        }
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = self.0.lock().unwrap();
        pages.cache[offset as usize..][..data.len()].copy_from_slice(data);
        pages.dirty.push((offset as usize, data.to_vec()));
        Ok(())
    }
}

/// The journal was told that pages of the database were lost, and the database, when it was closed, put a commit over them.
#[test]
fn what_a_flush_of_the_journal_has_lost_is_not_committed() {
    for is_reopened in [true, false] {
        let file = Cached::default();
        let open =
            |file: &Cached| Redb::builder().cache_bytes(256 << 10).with_backend(file.clone());
        let redb = open(&file).unwrap();
        let records = |value: u8| {
            let mut batch = Batch::new();
            for key in 0..400_u16 {
                batch.put(Table::Records, key.to_be_bytes().to_vec(), vec![value; 1000]);
            }
            batch
        };
        durable(&redb, &records(1));
        durable(&redb, &put(0, 1));
        redb.write(&records(2), Durability::Buffered).unwrap();
        file.0.lock().unwrap().fails = true;
        redb.write(&put(1, 1), Durability::Ahead).unwrap_err();
        if is_reopened {
            redb.reopen().unwrap();
            durable(&redb, &put(2, 1));
            std::mem::forget(redb);
        } else {
            drop(redb);
        }
        let disk = file.0.lock().unwrap().disk.clone();
        let pages = Pages { cache: disk.clone(), disk, ..Pages::default() };
        let redb = open(&Cached(Arc::new(Mutex::new(pages)))).unwrap();
        assert_eq!(redb.scan(Table::Records, &[], None, 999).unwrap().len(), 400);
        assert_eq!(redb.get(Table::Log, &[2]).unwrap().is_some(), is_reopened);
    }
}
