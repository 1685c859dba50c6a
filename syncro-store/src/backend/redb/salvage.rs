//! What a damaged file has left, and a new file in its place.
//!
//! redb is all or nothing: without a root whose whole tree is sound it opens no file. Its leaves can be read
//! without the tree. They begin at multiples of 4 KiB, and each holds, with all numbers little-endian:
//!
//! ```text
//! leaf = 1, unused 1, number of pairs 2, end of each key (4 each), end of each value (4 each), keys, values
//! ```
//!
//! The ends are offsets in the leaf. (redb's `docs/design.md`, "Leaf page", for keys and values without a fixed
//! width.) What is found in this way has to be proven by its own checksum, and much of it is from before.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::StorageBackend;
use bytes::Bytes;
use syncro_core::StoreError;

use super::open::{Found, sync_directory_of};
use super::storage::Storage;
use super::{Opened, RedbBuilder, journal};
use crate::backend::partial::Partial;
use crate::backend::place::Place;
use crate::backend::{
    Backend, Batch, Durability, KEY_BYTES_MAX, Remains, Save, VALUE_BYTES_MAX, Visit,
};

/// The room of the smallest page, and where pages begin.
const PAGE_BYTES: u64 = 4096;

/// What a leaf begins with.
const LEAF: u8 = 1;

/// Bytes of a leaf before the first end.
const HEAD_BYTES: usize = 4;

/// How often all of a storage may be read, at most: in what never was a leaf each page may seem to have a value of
/// many others.
const READ_TIMES: u64 = 16;

/// Ends that are less than the one before. Damage bends one or two; in what never was a leaf, half of all are.
const BENT_MAX: usize = 2;

impl RedbBuilder {
    /// Makes a file anew, whose database is closed. Returns where the damaged one is kept.
    pub(super) fn salvage(
        &self,
        path: &Path,
        opened: &mut Opened,
        save: &mut Save<'_>,
        place: &Place,
    ) -> Result<(PathBuf, Found), StoreError> {
        let (beside, storage) = self.save(path, save)?;
        let kept = keep(path).map_err(|error| place.blame_io(&error))?;
        if let Err(error) = fs::rename(&beside.0, path) {
            let _ = fs::remove_file(&kept);
            return Err(place.blame_io(&error));
        }
        // From here on it is the new file that has the name, whatever comes.
        let damaged = std::mem::replace(&mut opened.storage, storage);
        let _ = damaged.close();
        sync_directory_of(path).map_err(|error| place.blame_io(&error))?;
        let found = self.open_on(&opened.storage, place)?;
        Ok((kept, found))
    }

    /// Fills a new file beside another one, and returns what it is kept on, locked.
    fn save(&self, path: &Path, save: &mut Save<'_>) -> Result<(Partial, Storage), StoreError> {
        let beside = Partial::beside(path)?;
        // Nobody may read in it who may not read in the other.
        let file = fs::File::create_new(&beside.0)?;
        fs::set_permissions(&beside.0, fs::metadata(path)?.permissions())?;
        keep_owner(path, &beside.0);
        drop(file);
        let fresh = Arc::new(self.clone().open(&beside.0)?);
        save(fresh.clone())?;
        fresh.write(&Batch::new(), Durability::Durable)?;
        let mut opened = fresh.opened_alone();
        opened.close_locked(&fresh.place);
        opened.is_handed_on = true;
        Ok((beside, opened.storage.clone()))
    }
}

/// Gives a file the owner of another one, where one may.
#[cfg(unix)]
fn keep_owner(of: &Path, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    if let Ok(found) = fs::metadata(of) {
        let _ = std::os::unix::fs::chown(path, Some(found.uid()), Some(found.gid()));
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &Path) {}

/// Gives a file a second name, for when it loses the first one to another file.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let kept = match number {
            1 => named_after(path, ".damaged"),
            number => named_after(path, &format!(".damaged-{number}")),
        };
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            Err(_) if kept.exists() => number += 1,
            // Not every file system knows a file by two names.
            Err(_) => {
                let copied = fs::copy(path, &kept).and_then(|_| fs::File::open(&kept)?.sync_all());
                return copied.map(|()| kept.clone()).inspect_err(|_| {
                    let _ = fs::remove_file(&kept);
                });
            }
        }
    }
}

fn named_after(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// What a file has left: the leaves in it, and the entries of its journal.
pub(super) struct Left(pub(super) Storage);

impl Remains for Left {
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for entry in journal::remains(&self.0) {
            for (_, key, value) in entry.iter() {
                if let Some(value) = value {
                    visit(key.clone(), value.clone())?;
                }
            }
        }
        let length = self.0.len()?;
        let mut head = [0; HEAD_BYTES];
        let (mut at, mut budget) = (0, length.saturating_mul(READ_TIMES));
        while length - at >= HEAD_BYTES as u64 {
            let mut end = at;
            // What cannot be read has nothing left.
            if self.0.read(at, &mut head).is_ok()
                && let Some(leaf) = Leaf::read(&self.0, at, length, head)
            {
                end = leaf.each(visit, &mut budget)?;
            }
            at = (at + PAGE_BYTES).max(end.next_multiple_of(PAGE_BYTES)).min(length);
        }
        Ok(())
    }
}

/// A page that may be a leaf.
struct Leaf<'a> {
    storage: &'a Storage,
    at: u64,
    /// Bytes from there to the end of the storage.
    room: u64,
    /// Of the keys, and then of the values.
    ends: Vec<u32>,
}

impl<'a> Leaf<'a> {
    fn read(storage: &'a Storage, at: u64, length: u64, head: [u8; HEAD_BYTES]) -> Option<Self> {
        let [LEAF, _, low, high] = head else { return None };
        let pairs = usize::from(u16::from_le_bytes([low, high]));
        let room = length - at;
        let ends_at = HEAD_BYTES as u64;
        let mut ends = vec![0; pairs * 8];
        if pairs == 0 || room < ends_at + ends.len() as u64 {
            return None;
        }
        storage.read(at + ends_at, &mut ends).ok()?;
        let ends: Vec<u32> = ends
            .chunks_exact(4)
            .map(|end| end.iter().rev().fold(0, |int, byte| int << 8 | u32::from(*byte)))
            .collect();
        let bent = ends.windows(2).filter(|pair| pair[0] > pair[1]).count();
        (bent <= BENT_MAX).then_some(Self { storage, at, room, ends })
    }

    /// Visits the pairs, and returns where the last one ends that was known.
    fn each(&self, visit: &mut Visit<'_>, budget: &mut u64) -> Result<u64, StoreError> {
        let pairs = self.ends.len() / 2;
        let mut known = self.at;
        for nth in 0..pairs {
            if let Some(key) = self.piece(nth, KEY_BYTES_MAX, budget)
                && let Some(value) = self.piece(pairs + nth, VALUE_BYTES_MAX, budget)
                && visit(key, value)?
            {
                known = known.max(self.at + u64::from(self.ends[pairs + nth]));
            }
        }
        Ok(known)
    }

    /// The bytes that end at one of the ends, if there can be so many and they can be read.
    fn piece(&self, nth: usize, most: usize, budget: &mut u64) -> Option<Bytes> {
        let keys_at = HEAD_BYTES + 4 * self.ends.len();
        let start = nth.checked_sub(1).map_or(keys_at as u64, |before| self.ends[before].into());
        let end = u64::from(self.ends[nth]);
        let length = end.checked_sub(start)?;
        if length > most as u64 || end > self.room {
            return None;
        }
        // What lies within a page is always read.
        *budget = match budget.checked_sub(length) {
            Some(left) => left,
            None if end <= PAGE_BYTES => 0,
            None => return None,
        };
        let mut piece = vec![0; usize::try_from(length).ok()?];
        self.storage.read(self.at + start, &mut piece).ok()?;
        Some(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::backend::{Redb, Table};

    /// A file of which some bytes cannot be read.
    #[derive(Debug)]
    struct BadSector(Vec<u8>, u64);

    impl StorageBackend for BadSector {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            if (offset..offset + out.len() as u64).contains(&self.1) {
                return Err(io::Error::other("unreadable"));
            }
            out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn found(storage: impl StorageBackend) -> usize {
        let mut found = 0;
        Left(Storage::new(storage))
            .each(&mut |key, value| {
                found += usize::from(key.starts_with(b"key") && value.len() == 900);
                Ok(true)
            })
            .unwrap();
        found
    }

    /// A sector that could not be read kept a whole file from being repaired.
    #[test]
    fn what_cannot_be_read_has_nothing_left_and_the_rest_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let redb = Redb::open(&path).unwrap();
        let mut batch = Batch::new();
        for number in 100..200 {
            batch.put(Table::Log, format!("key {number}"), vec![7; 900]);
        }
        redb.write(&batch, Durability::Durable).unwrap();
        drop(redb);
        let content = fs::read(&path).unwrap();
        assert!(found(BadSector(content.clone(), u64::MAX)) >= 100);
        for at in (0..content.len() as u64).step_by(512) {
            // A page has four of them.
            assert!(found(BadSector(content.clone(), at)) >= 92, "{at}");
        }
    }

    /// Each page seemed to have a value of all that come after it: a file of a GiB would have taken hours.
    #[test]
    fn what_never_was_a_leaf_is_not_read_over_and_over() {
        let mut page = vec![0; PAGE_BYTES as usize];
        page[..4].copy_from_slice(&[LEAF, 0, 1, 0]);
        page[4..8].copy_from_slice(&13_u32.to_le_bytes());
        page[8..12].copy_from_slice(&(32_u32 << 20).to_le_bytes());
        let content = page.repeat(16 << 10);
        let (length, mut read) = (content.len(), 0);
        Left(Storage::new(BadSector(content, u64::MAX)))
            .each(&mut |key, value| {
                read += key.len() + value.len();
                Ok(false)
            })
            .unwrap();
        assert!(read > length && read <= length * 17, "{read} bytes of {length}");
    }
}
