//! redb in files: which it takes, and what it says of those that it does not.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, MultimapTableDefinition, TableDefinition};
use syncro_core::StoreError;
use syncro_store::conformance::Model;
use syncro_store::{Backend, Batch, Durability, Redb, Table};
use tempfile::TempDir;

use crate::crash::{Crash, Scope, Tape};
use crate::disk::Disk;

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (_directory, path) = fresh();
    let long = "a letter to a friend ".repeat(1_000);
    for text in ["dear", "dear diary", &long, "redb but not quite"] {
        fs::write(&path, text).unwrap();
        let message = refused(&path);
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, [0; 100]).unwrap();
    refused(&path);
    assert_eq!(fs::read(&path).unwrap(), [0; 100]);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_directory, path) = fresh();
    fs::write(&path, "").unwrap();
    Redb::open(&path).unwrap();
}

/// Rows of 8 MB that come in no order, written anew once, and a few more.
#[test]
fn a_file_of_which_much_was_written_is_closed_without_what_is_free() {
    let (_directory, path) = fresh();
    let put = |store: &Redb, rows: std::ops::Range<u64>, byte: u8| {
        let mut batch = Batch::new();
        for row in rows {
            let key = row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            batch.put(Table::Records, key.to_vec(), vec![byte; 400]);
        }
        store.write(&batch, Durability::Durable).unwrap();
    };
    let length = || fs::metadata(&path).unwrap().len();
    let store = Redb::open(&path).unwrap();
    for (from, byte) in (0..20_000).step_by(1_000).flat_map(|from| [(from, 1), (from, 2)]) {
        put(&store, from..from + 1_000, byte);
    }
    let open = length();
    drop(store);
    let closed = length();
    assert!(closed < open, "{open} bytes, and {closed} when it was closed");
    let store = Redb::open(&path).unwrap();
    assert_eq!(store.scan(Table::Records, &[], None, usize::MAX).unwrap().len(), 20_000);
    store.compact().unwrap();
    assert!(closed <= length() + 100_000, "{closed} bytes, and {} compacted", length());
    // A little takes no more time than it is worth.
    put(&store, 20_000..20_010, 3);
    let open = length();
    drop(store);
    assert!(length() > closed + 1_000_000, "{open} bytes, and {}", length());
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let (_directory, path) = fresh();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let foreign = TableDefinition::<u64, u64>::new("customers");
    transaction.open_table(foreign).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);

    let message = refused(&path);
    assert!(message.contains("customers"), "{message}");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    assert_eq!(transaction.list_tables().unwrap().count(), 1);
}

#[test]
fn tables_of_our_names_but_other_types_are_refused() {
    let (_directory, path) = fresh();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let rows = MultimapTableDefinition::<u64, u64>::new("rows");
    transaction.open_multimap_table(rows).unwrap();
    for table in &Table::ALL[1..] {
        let foreign = TableDefinition::<u64, u64>::new(table.name());
        transaction.open_table(foreign).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    refused(&path);
}

#[test]
fn a_file_that_was_cut_short_is_damaged() {
    let (_directory, path) = fresh();
    let store = Redb::open(&path).unwrap();
    let mut batch = Batch::new();
    for key in 0..200_u8 {
        batch.put(Table::Records, vec![key], vec![key; 5_000]);
    }
    store.write(&batch, Durability::Durable).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let middle = DATABASE_AT + (whole.len() - DATABASE_AT) / 2;
    let within = [9, 100, 320, 4_096, 8_192].map(|it| DATABASE_AT + it);
    for length in [9, 100, 4_096, DATABASE_AT, middle, whole.len() - 1].into_iter().chain(within) {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&path);
    }
    fs::write(&path, &whole).unwrap();
    Redb::open(&path).unwrap();
}

/// Two who had come to repair a file that was cut short could both write to it.
#[test]
fn a_file_that_was_cut_short_is_locked_by_whoever_opens_it_damaged() {
    let (_directory, path) = fresh();
    drop(Redb::open(&path).unwrap());
    fs::File::options().write(true).open(&path).unwrap().set_len(100_000).unwrap();
    let _first = Redb::builder().open_damaged(&path).unwrap();
    let second = Redb::builder().open_damaged(&path);
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
}

#[test]
fn a_path_that_cannot_hold_a_file_is_explained() {
    let (directory, path) = fresh();
    let message = io(directory.path());
    assert!(message.contains("this is a directory"), "{message}");
    let message = io(&path.join("or").join("deeper"));
    assert!(message.contains("directory does not exist"), "{message}");
    assert!(!path.exists());
}

#[test]
fn a_locked_file_is_named() {
    let (_directory, path) = fresh();
    let _store = Redb::open(&path).unwrap();
    match Redb::open(&path) {
        Err(StoreError::Locked { place }) => assert_eq!(Path::new(&place), path),
        other => panic!("{other:?}"),
    }
}

/// redb writes the magic number of a new file last. A machine that lost power before that kept a
/// file that redb refused at every later start, although it never held anything: the application
/// could not be used until somebody deleted the file by hand. Such a file now starts afresh, also one of
/// which nothing but the header is left: it is exactly as long as that.
#[test]
fn a_crash_at_any_moment_of_the_creation_leaves_a_file_that_opens() {
    let disk = Disk::default();
    drop(Redb::with_backend(disk.clone()).unwrap());
    let tape = Tape::of(&disk);
    let scope = Scope { lost_max: usize::MAX, torn_max: 0, tears_alone: false };
    let (_directory, path) = fresh();
    for done in 0..=tape.len() {
        for fate in tape.fates(done, &scope) {
            fs::write(&path, tape.image(Crash { done, fate }).to_vec()).unwrap();
            let store = Redb::open(&path).unwrap();
            assert_eq!(Model::of(&store), Model::default(), "{done}:{fate}");
        }
    }
}

#[test]
fn overwriting_the_same_rows_does_not_grow_the_file() {
    let (_directory, path) = fresh();
    let store = Redb::open(&path).unwrap();
    let mut sizes = Vec::new();
    for round in 0..300_u32 {
        let mut batch = Batch::new();
        for key in 0..50_u8 {
            batch.put(Table::Rows, vec![key], vec![round as u8; 1_000]);
        }
        store.write(&batch, Durability::Durable).unwrap();
        // A reader that keeps its state open would pin every page that the next round frees.
        store.get(Table::Rows, &[7]).unwrap();
        sizes.push(fs::metadata(&path).unwrap().len());
    }
    // redb may give the end of the file back, and take it again.
    assert!(sizes[100..].iter().max() <= sizes[..100].iter().max(), "{sizes:?}");
}

fn fresh() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    (directory, path)
}

fn refused(path: &Path) -> String {
    match Redb::open(path) {
        Err(error @ (StoreError::Corrupt { .. } | StoreError::NotAStore { .. })) => {
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

fn io(path: &Path) -> String {
    match Redb::open(path) {
        Err(error @ StoreError::Io(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Bends the header, so that redb takes it for no database, and salvages it with nothing in it.
fn salvaged(path: &Path) -> PathBuf {
    let mut content = fs::read(path).unwrap();
    content[DATABASE_AT] ^= 1;
    fs::write(path, content).unwrap();
    let redb = Redb::builder().open_damaged(path).unwrap();
    assert!(matches!(redb.get(Table::Rows, b"key"), Err(StoreError::Latched { .. })));
    let kept = redb.salvage(&mut |fresh| fresh.write(&put("key"), Durability::Buffered));
    assert!(redb.get(Table::Rows, b"key").unwrap().is_some());
    kept.unwrap().unwrap()
}

/// Where the database of a file begins.
const DATABASE_AT: usize = 1 << 20;

fn put(key: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Rows, key, "value");
    batch
}

/// What nobody else could read, everybody could after a salvage; and a link to a file became a file.
#[cfg(unix)]
#[test]
fn a_salvaged_file_keeps_its_permissions_and_the_links_to_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (directory, path) = fresh();
    drop(Redb::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let kept = salvaged(&link);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for path in [&path, &kept] {
        let metadata = fs::symlink_metadata(path).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    assert_eq!(kept.parent(), path.parent().map(|it| it.canonicalize().unwrap()).as_deref());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}
