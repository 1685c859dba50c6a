//! A store opened on an arbitrary file: redb's own pages, changed as the input says.

use syncro_store::{Backend, Batch, Durability, LogStore, Redb};

use super::input::Input as Bits;
use super::node::Contents;
use super::store_value::rows;
use crate::disk::BlockDisk;
use crate::disk::image::Image;

/// What a page of redb has.
const PAGE_BYTES: usize = 4096;

/// More than any file of these grows to: a damaged header may ask for more than there is memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Says that the rest of the input is the file.
pub(crate) const RAW: u8 = 255;

/// Says that the process was killed, and its journal is in use.
pub(crate) const KILLED: u8 = 254;

/// Opens the file, and reads all of it: damage gives errors, and no panic gets through. Nothing is written by
/// us: inside a write, redb meets some damage by ending the process, which nobody can catch.
pub fn store_file(input: &[u8]) {
    let file = file(&mut Bits(input));
    file.set_room(Some(FILE_BYTES_MAX));
    let Ok(redb) = Redb::builder().cache_bytes(256 << 10).with_backend(file) else {
        return;
    };
    if let Some(remains) = redb.remains() {
        remains.each(&mut |_, _| Ok(false)).unwrap();
    }
    let Ok(store) = LogStore::open(redb) else {
        return;
    };
    let _ = Contents::read(&store);
}

/// A sound file with bits flipped and pages swapped; or the input as it is, if its first byte says so.
fn file(input: &mut Bits<'_>) -> BlockDisk {
    let mut bytes = match input.byte() {
        RAW => return BlockDisk::holding(Image::holding(input.0)),
        KILLED => SOUND.with(|sound| sound.killed.clone()),
        _ => SOUND.with(|sound| sound.closed.clone()),
    };
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
    BlockDisk::holding(Image::holding(&bytes))
}

thread_local! {
    static SOUND: Sound = sound();
}

/// The files of a small store that was closed, and of one whose process was killed.
struct Sound {
    closed: Vec<u8>,
    killed: Vec<u8>,
}

fn sound() -> Sound {
    let file = BlockDisk::default();
    let redb = Redb::builder().cache_bytes(256 << 10).with_backend(file.clone()).unwrap();
    let mut batch = Batch::new();
    for (table, key, sealed) in rows() {
        batch.put(table, key, sealed);
        redb.write(&batch, Durability::Durable).unwrap();
    }
    let killed = file.content().to_vec();
    redb.compact().unwrap();
    drop(redb);
    Sound { closed: file.content().to_vec(), killed }
}
