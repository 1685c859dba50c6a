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

use super::open::sync_directory_of;
use super::storage::Storage;
use super::{Opened, RedbBuilder};
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
    ) -> Result<PathBuf, StoreError> {
        let beside = named_after(path, ".salvaged");
        let storage = self.save(&beside, &opened.storage, save).inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })?;
        let kept = put_in_place(path, &beside).map_err(|error| place.blame_io(&error))?;
        let damaged = std::mem::replace(&mut opened.storage, storage);
        // Nothing is to be read there any more.
        let _ = damaged.close();
        opened.database = Some(self.open_on(opened.storage.clone(), place)?);
        opened.storage.let_go_of_locks();
        Ok(kept)
    }

    /// Fills a new file, and returns what it is kept on, locked.
    fn save(
        &self,
        beside: &Path,
        damaged: &Storage,
        save: &mut Save<'_>,
    ) -> Result<Storage, StoreError> {
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            // What was left there is of a salvage that was cut off.
            _ => {}
        }
        let fresh = Arc::new(self.clone().open(beside)?);
        save(&Leaves(damaged), fresh.clone())?;
        fresh.write(&Batch::new(), Durability::Durable)?;
        let mut opened = fresh.opened_alone();
        opened.close_locked(&fresh.place);
        Ok(opened.storage.clone())
    }
}

/// Puts a file in the place of another one, which gets another name. At every moment one of the two is there.
fn put_in_place(path: &Path, beside: &Path) -> io::Result<PathBuf> {
    let kept = (1..)
        .map(|number| match number {
            1 => named_after(path, ".damaged"),
            number => named_after(path, &format!(".damaged-{number}")),
        })
        .find(|kept| !kept.exists())
        .unwrap_or_default();
    // Not every file system knows a file by two names.
    fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop))?;
    fs::rename(beside, path)?;
    sync_directory_of(path)?;
    Ok(kept)
}

fn named_after(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// The leaves of a storage.
struct Leaves<'a>(&'a Storage);

impl Remains for Leaves<'_> {
    fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let length = self.0.len()?;
        let mut head = [0; HEAD_BYTES];
        let mut at = 0;
        while length - at >= HEAD_BYTES as u64 {
            self.0.read(at, &mut head)?;
            let end = match Leaf::read(self.0, at, length, head)? {
                Some(leaf) => leaf.each(visit)?,
                None => at,
            };
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
    fn read(
        storage: &'a Storage,
        at: u64,
        length: u64,
        head: [u8; HEAD_BYTES],
    ) -> io::Result<Option<Self>> {
        let [LEAF, _, low, high] = head else {
            return Ok(None);
        };
        let pairs = usize::from(u16::from_le_bytes([low, high]));
        let room = length - at;
        let ends_at = HEAD_BYTES as u64;
        let mut ends = vec![0; pairs * 8];
        if pairs == 0 || room < ends_at + ends.len() as u64 {
            return Ok(None);
        }
        storage.read(at + ends_at, &mut ends)?;
        let ends: Vec<u32> = ends
            .chunks_exact(4)
            .map(|end| end.iter().rev().fold(0, |int, byte| int << 8 | u32::from(*byte)))
            .collect();
        let bent = ends.windows(2).filter(|pair| pair[0] > pair[1]).count();
        Ok((bent <= BENT_MAX).then_some(Self { storage, at, room, ends }))
    }

    /// Visits the pairs, and returns where the last one ends that was known.
    fn each(&self, visit: &mut Visit<'_>) -> Result<u64, StoreError> {
        let pairs = self.ends.len() / 2;
        let mut known = self.at;
        for nth in 0..pairs {
            let key = self.piece(nth, KEY_BYTES_MAX)?;
            let value = self.piece(pairs + nth, VALUE_BYTES_MAX)?;
            if let (Some(key), Some(value)) = (key, value)
                && visit(key, value)?
            {
                known = known.max(self.at + u64::from(self.ends[pairs + nth]));
            }
        }
        Ok(known)
    }

    /// The bytes that end at one of the ends, if there can be so many.
    fn piece(&self, nth: usize, most: usize) -> io::Result<Option<Bytes>> {
        let keys_at = HEAD_BYTES + 4 * self.ends.len();
        let start = nth.checked_sub(1).map_or(keys_at as u64, |before| self.ends[before].into());
        let end = u64::from(self.ends[nth]);
        let Some(length) = end.checked_sub(start) else {
            return Ok(None);
        };
        if length > most as u64 || end > self.room {
            return Ok(None);
        }
        let mut piece = vec![0; length as usize];
        self.storage.read(self.at + start, &mut piece)?;
        Ok(Some(piece.into()))
    }
}
