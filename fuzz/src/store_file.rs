//! A store opened on an arbitrary file: redb's own pages, changed as the input says.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use syncro_store::{Backend, Batch, Durability, LogStore, Redb};

use super::input::Input as Bits;
use super::node::Contents;
use super::store_value::rows;

/// What a page of redb has.
const PAGE_BYTES: usize = 4096;

/// More than any file of these grows to: a damaged header may ask for more than there is memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Says that the rest of the input is the file.
pub(crate) const RAW: u8 = 255;

/// Opens the file, and reads all of it: damage gives errors, and no panic gets through. Nothing is written by
/// us: inside a write, redb meets some damage by ending the process, which nobody can catch.
pub fn store_file(input: &[u8]) {
    let file = file(&mut Bits(input));
    let redb = Redb::builder().cache_bytes(256 << 10).with_backend(file);
    let Ok(store) = redb.and_then(LogStore::open) else {
        return;
    };
    let _ = Contents::read(&store);
}

/// A sound file with bits flipped and pages swapped; or the input as it is, if its first byte says so.
fn file(input: &mut Bits<'_>) -> File {
    if input.byte() == RAW {
        return File(Arc::new(Mutex::new(input.0.to_vec())));
    }
    let mut bytes = SOUND.with(Vec::clone);
    let pages = bytes.len() / PAGE_BYTES;
    while !input.is_over() {
        let (what, at) = (input.byte(), usize::from(input.short()));
        let page = at % pages * PAGE_BYTES;
        match what % 3 {
            0 => {
                let place = page + usize::from(input.short()) % PAGE_BYTES;
                bytes[place] ^= 1 << (input.byte() % 8);
            }
            1 => {
                let other = usize::from(input.short()) % pages * PAGE_BYTES;
                let (one, two) = (page.min(other), page.max(other));
                let (before, after) = bytes.split_at_mut(two);
                if one < two {
                    before[one..one + PAGE_BYTES].swap_with_slice(&mut after[..PAGE_BYTES]);
                }
            }
            _ => {
                let (place, piece) =
                    (page + usize::from(input.short()) % PAGE_BYTES, input.piece());
                let end = (place + piece.len()).min(bytes.len());
                bytes[place..end].copy_from_slice(&piece[..end - place]);
            }
        }
    }
    File(Arc::new(Mutex::new(bytes)))
}

thread_local! {
    static SOUND: Vec<u8> = sound();
}

/// The file of a small store that was closed.
fn sound() -> Vec<u8> {
    let file = File::default();
    let redb = Redb::builder().cache_bytes(256 << 10).with_backend(file.clone()).unwrap();
    let mut batch = Batch::new();
    for (table, key, sealed) in rows() {
        batch.put(table, key, sealed);
    }
    redb.write(&batch, Durability::Durable).unwrap();
    redb.compact().unwrap();
    drop(redb);
    file.0.lock().unwrap().clone()
}

/// A file in memory. Clones are the same file.
#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    /// Does something with a stretch of it, if it has that.
    fn at(&self, offset: u64, length: usize, run: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = start.checked_add(length).and_then(|end| bytes.get_mut(start..end));
        run(place.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.at(offset, out.len(), |bytes| out.copy_from_slice(bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > FILE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.at(offset, data.len(), |bytes| bytes.copy_from_slice(data))
    }
}
