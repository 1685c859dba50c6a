//! A disk of sectors below a database: what was not synced, a crash may lose or tear.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::image::Image;
use super::operation::Operation;
use super::random;

/// A storage in memory for redb. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct BlockDisk(Arc<Mutex<Blocks>>);

#[derive(Debug, Default)]
struct Blocks {
    /// What the last sync has made durable.
    safe: Image,
    content: Image,
    unsynced: Vec<Operation>,
    failure: Option<Failure>,
    /// Whether the last operation that failed was a sync.
    has_failed_sync: bool,
    /// By how many bytes the file may grow, if there is a limit.
    room: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    operations_before: u64,
    /// Whether it is done all the same.
    is_landed: bool,
}

impl BlockDisk {
    /// A disk whose content is durable.
    pub fn holding(content: Image) -> Self {
        let blocks = Blocks { safe: content.clone(), content, ..Blocks::default() };
        Self(Arc::new(Mutex::new(blocks)))
    }

    /// What a crash leaves. Of what was not synced, it is all lost or all kept, or each sector of it as chance
    /// has it.
    pub fn crash(&self, luck: u64) -> Self {
        let blocks = self.blocks();
        let mut chance = random(luck);
        match luck % 4 {
            0 => Self::holding(blocks.safe.clone()),
            1 => Self::holding(blocks.content.clone()),
            _ => {
                let mut image = blocks.safe.clone();
                for operation in &blocks.unsynced {
                    operation.apply_sectors(&mut image, |_| chance().is_multiple_of(2));
                }
                Self::holding(image)
            }
        }
    }

    /// Whether the last operation that failed was a sync.
    pub(crate) fn has_failed_sync(&self) -> bool {
        self.blocks().has_failed_sync
    }

    /// Whether a crash may lose or tear anything.
    pub fn is_unsynced(&self) -> bool {
        !self.blocks().unsynced.is_empty()
    }

    /// A copy of what is durable.
    pub fn image(&self) -> Self {
        self.crash(0)
    }

    /// A copy of everything that the file shows.
    pub fn fork(&self) -> Self {
        self.crash(1)
    }

    /// Makes the nth operation from now fail, 1 being the next; what it does may be done all the same.
    pub fn fail(&self, nth: u64, is_landed: bool) {
        let operations_before = nth.saturating_sub(1);
        self.blocks().failure = Some(Failure { operations_before, is_landed });
    }

    /// Says by how many bytes the file may grow.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.blocks().room = bytes;
    }

    /// What a reader sees.
    pub fn content(&self) -> Image {
        self.blocks().content.clone()
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.blocks().failure = None;
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blocks {
    fn run(&mut self, operation: Operation) -> io::Result<()> {
        if let Some(failure) = &mut self.failure {
            if failure.operations_before == 0 {
                let is_landed = failure.is_landed;
                self.has_failed_sync = operation.is_sync();
                self.failure = None;
                if is_landed {
                    self.keep(operation);
                }
                return Err(io::Error::other("the disk is worn out"));
            }
            failure.operations_before -= 1;
        }
        let end = match &operation {
            Operation::Write { offset, content } => offset.saturating_add(content.len()),
            Operation::SetLen(bytes) => *bytes,
            Operation::Sync => 0,
        };
        let growth = end.saturating_sub(self.content.len()) as u64;
        match &mut self.room {
            Some(room) if growth > *room => return Err(ErrorKind::StorageFull.into()),
            Some(room) => *room -= growth,
            None => {}
        }
        self.keep(operation);
        Ok(())
    }

    fn keep(&mut self, operation: Operation) {
        operation.apply(&mut self.content);
        if operation.is_sync() {
            self.safe = self.content.clone();
            self.unsynced.clear();
        } else {
            self.unsynced.push(operation);
        }
    }
}

impl StorageBackend for BlockDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.blocks().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let is_there = self.blocks().content.read(offset as usize, out);
        if is_there { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.blocks().run(Operation::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.blocks().run(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let content = Image::holding(data);
        self.blocks().run(Operation::Write { offset: offset as usize, content })
    }
}
