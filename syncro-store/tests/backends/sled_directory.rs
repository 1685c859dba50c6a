//! sled in directories: which it takes, what it leaves there, and what a power cut may take.

use std::collections::BTreeMap;
#[cfg(unix)]
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;

use syncro_core::StoreError;
use syncro_store::conformance::{Model, numbers};
use syncro_store::{Backend, Batch, Durability, Sled, Table};
use tempfile::TempDir;

#[test]
fn a_directory_that_is_no_store_is_refused_and_left_alone() {
    let (_parent, path) = fresh();
    fs::create_dir(&path).unwrap();
    for name in ["letter.txt", "db"] {
        let file = path.join(name);
        fs::write(&file, "dear diary").unwrap();
        let message = refused(&path);
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains(name), "{message}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "dear diary");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        fs::remove_file(file).unwrap();
    }
    Sled::open(&path).unwrap();
}

#[test]
fn another_programs_database_is_refused() {
    for tree in ["customers", "__sled__default"] {
        let (_parent, path) = fresh();
        let theirs = sled::open(&path).unwrap();
        theirs.open_tree(tree).unwrap().insert("key", "value").unwrap();
        theirs.flush().unwrap();
        drop(theirs);
        let message = until_free(|| match Sled::open(&path) {
            Err(StoreError::NotAStore { what }) => Some(what),
            Err(StoreError::Locked { .. }) => None,
            other => panic!("{other:?}"),
        });
        assert!(message.contains("no store of this library"), "{message}");
        let theirs = until_free(|| sled::open(&path).ok());
        assert_eq!(theirs.open_tree(tree).unwrap().get("key").unwrap().unwrap(), "value");
    }
}

#[test]
fn a_path_that_cannot_hold_a_directory_is_explained() {
    let (_parent, path) = fresh();
    let message = io(&path.join("or").join("deeper"));
    assert!(message.contains("directory does not exist"), "{message}");
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    let message = io(&path);
    assert!(message.contains("this is a file"), "{message}");
}

#[test]
fn a_locked_directory_is_named() {
    let (_parent, path) = fresh();
    let _store = Sled::open(&path).unwrap();
    match Sled::open(&path) {
        Err(StoreError::Locked { place }) => assert_eq!(Path::new(&place), path),
        other => panic!("{other:?}"),
    }
}

/// sled lets go of its own lock when its threads are done, some time after it was dropped. A store that
/// was closed and opened at once was refused as if somebody else had it.
#[test]
fn a_store_that_was_closed_opens_at_once() {
    let (_parent, path) = fresh();
    for round in 0..30_u8 {
        let store = Sled::open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::Rows, vec![round], vec![round; 100_000]);
        store.write(&batch, Durability::Buffered).unwrap();
    }
}

/// sled keeps large pages in files that it never flushes, and recovers without those that are gone.
#[test]
fn values_of_all_sizes_stay_in_the_file_that_is_flushed() {
    let (_parent, path) = fresh();
    let store = Sled::open(&path).unwrap();
    for round in 0..40_u32 {
        let mut batch = Batch::new();
        for key in 0..30_u8 {
            let length = (u32::from(key) * 997 + round * 131) % 20_000;
            batch.put(
                Table::Records,
                [vec![key; 1_000], vec![round as u8 % 8]].concat(),
                vec![key; length as usize],
            );
        }
        batch.put(Table::Log, vec![round as u8], vec![1; 3_000_000]);
        store.write(&batch, Durability::Buffered).unwrap();
    }
    store.write(&Batch::new(), Durability::Durable).unwrap();
    assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0);
}

#[test]
fn a_value_that_shrinks_leaves_nothing_behind() {
    let (_parent, path) = fresh();
    let store = Sled::open(&path).unwrap();
    for length in [0, 1, 4_096, 4_097, 12_288, 50_000, 8_192, 5_000, 4_096, 0] {
        let value = vec![length as u8; length];
        let mut batch = Batch::new();
        batch.put(Table::Records, "key", value.clone());
        store.write(&batch, Durability::Buffered).unwrap();
        assert_eq!(store.get(Table::Records, b"key").unwrap().unwrap(), value);
    }
    let mut batch = Batch::new();
    batch.put(Table::Records, "key", vec![1; 50_000]);
    store.write(&batch, Durability::Buffered).unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Records, "key");
    store.write(&batch, Durability::Durable).unwrap();
    drop(store);
    let theirs = until_free(|| sled::open(&path).ok());
    assert_eq!(theirs.open_tree("syncro").unwrap().len(), 0);
}

#[test]
fn overwriting_the_same_rows_does_not_grow_the_file_for_ever() {
    let (_parent, path) = fresh();
    let store = Sled::open(&path).unwrap();
    let mut sizes = Vec::new();
    for round in 0..200_u32 {
        let mut batch = Batch::new();
        for key in 0..50_u8 {
            batch.put(Table::Rows, vec![key], vec![round as u8; 1_000]);
        }
        store.write(&batch, Durability::Durable).unwrap();
        sizes.push(fs::metadata(path.join("db")).unwrap().len());
    }
    assert!(sizes[199] <= 2 * sizes[99], "{} and {}", sizes[99], sizes[199]);
}

/// A disk without room, as far as a test can have one: the system refuses to let the file grow.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_latches_the_store_and_leaves_the_first_batches() {
    let filler = |round: u32| [b"filler", &round.to_be_bytes()[..]].concat();
    if let Some(path) = env::var_os("SYNCRO_SLED_LIMITED") {
        let store = Sled::open(path).unwrap();
        let failed = (0..1_000_u32).find_map(|round| {
            let mut batch = Batch::new();
            batch.put(Table::Rows, "round", round.to_be_bytes().to_vec());
            batch.put(Table::Records, filler(round), vec![round as u8; 60_000]);
            store.write(&batch, Durability::Durable).err()
        });
        assert!(matches!(failed, Some(StoreError::Io(_) | StoreError::Full)), "{failed:?}");
        let refused = store.write(&Batch::new(), Durability::Durable);
        assert!(matches!(refused, Err(StoreError::Latched { .. })), "{refused:?}");
        return;
    }
    let (_parent, path) = fresh();
    let name =
        "sled_directory::a_file_that_may_not_grow_latches_the_store_and_leaves_the_first_batches";
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact \"$1\" --nocapture"])
        .args([env::current_exe().unwrap().as_os_str(), name.as_ref()])
        .env("SYNCRO_SLED_LIMITED", &path)
        .output()
        .unwrap();
    assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));

    let store = Sled::open(&path).unwrap();
    let last = store.get(Table::Rows, b"round").unwrap().unwrap();
    let last = u32::from_be_bytes(last[..].try_into().unwrap());
    assert!(last > 5, "{last}");
    for round in 0..last + 2 {
        let found = store.get(Table::Records, &filler(round)).unwrap();
        assert_eq!(found.is_some(), round <= last, "{round} of {last}");
    }
}

/// sled reuses room before the disk has surely written what moved out of it. A power cut after several
/// batches that were not flushed could take what had been durable before all of them; now each is flushed
/// before the next, and a cut finds one batch at most half written.
#[test]
fn a_power_cut_within_a_batch_leaves_it_whole_or_not_at_all() {
    for seed in 0..24 {
        let (_parent, path) = fresh();
        let mut store = Sled::open(&path).unwrap();
        let mut random = numbers(seed);
        let mut model = Model::default();
        for _ in 0..4 + random() % 30 {
            let batch = any_batch(&mut random);
            store.write(&batch, Durability::Buffered).unwrap();
            model.apply(&batch);
        }
        let flushed = files(&path);
        if random().is_multiple_of(4) {
            drop(store);
            store = Sled::open(&path).unwrap();
        }
        let batch = any_batch(&mut random);
        store.write(&batch, Durability::Buffered).unwrap();
        let mut with_it = model.clone();
        with_it.apply(&batch);
        let written = files(&path);
        for _ in 0..4 {
            let (_other, cut) = fresh();
            fs::create_dir_all(cut.join("blobs")).unwrap();
            let share = random() % 101;
            let has_new_snapshot = random().is_multiple_of(2);
            for name in flushed.keys().chain(written.keys()) {
                let (old, new) = (flushed.get(name), written.get(name));
                let content = match name.starts_with("snap.") {
                    // These are written whole before they get their name.
                    true if has_new_snapshot => new.cloned(),
                    true => old.cloned(),
                    false => Some(mixed(old, new, || random() % 100 < share)),
                };
                if let Some(content) = content {
                    fs::write(cut.join(name), content).unwrap();
                }
            }
            let found = Model::of(&Sled::open(&cut).unwrap());
            assert!(found == model || found == with_it, "seed {seed}");
        }
    }
}

fn any_batch(random: &mut impl FnMut() -> u64) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + random() % 60 {
        let key = vec![(random() % 200) as u8];
        match random() % 8 {
            0 => batch.delete(Table::Records, key),
            _ => {
                let value = vec![random() as u8; (random() % 9_000) as usize];
                batch.put(Table::Records, key, value);
            }
        }
    }
    batch
}

/// The old content with some of the pages of the new.
fn mixed(
    old: Option<&Vec<u8>>,
    new: Option<&Vec<u8>>,
    mut is_kept: impl FnMut() -> bool,
) -> Vec<u8> {
    let mut content = old.cloned().unwrap_or_default();
    let pages = new.into_iter().flat_map(|new| new.chunks(4_096));
    for (start, page) in (0..).step_by(4_096).zip(pages) {
        if is_kept() {
            let end = start + page.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(page);
        }
    }
    content
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

fn until_free<T>(attempt: impl Fn() -> Option<T>) -> T {
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        std::thread::yield_now();
    }
}

fn fresh() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("store.sled");
    (parent, path)
}

fn refused(path: &Path) -> String {
    match Sled::open(path) {
        Err(error @ (StoreError::Corrupt { .. } | StoreError::NotAStore { .. })) => {
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

fn io(path: &Path) -> String {
    match Sled::open(path) {
        Err(error @ StoreError::Io(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
