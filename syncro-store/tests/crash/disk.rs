//! A disk below redb that remembers what it was told, and fails when it is told to.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::image::Image;
use crate::operation::{BLOCK_BYTES, Operation};

/// A storage in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Operations>>, Arc<Mutex<Meanwhile>>);

/// What is done before each write.
#[derive(Default)]
struct Meanwhile(Option<Box<dyn FnMut() + Send>>);

#[derive(Debug, Default)]
struct Operations {
    first: Image,
    content: Image,
    done: Vec<Operation>,
    /// Calls of every sort since the disk was made, those that change nothing included.
    calls: Vec<Sort>,
    failure: Option<Failure>,
    /// Blocks that were written since the disk was made.
    blocks: BTreeSet<usize>,
}

/// Which calls of a disk fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) which: Which,
    pub(crate) how: ErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The call of a number, whatever it is, and none after it.
    Call(usize),
    /// The call of a number, and all that come after it.
    CallsFrom(usize),
    /// What changes the disk, once so many operations are done.
    ChangesFrom(usize),
    /// What takes room, from the call of a number on: growth, and writes where nothing was written before.
    RoomFrom(usize),
    /// The same on a disk that puts whatever is written in a new place: each write takes room.
    CopiesFrom(usize),
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0.is_some()).finish()
    }
}

impl Disk {
    pub(crate) fn holding(image: Image) -> Self {
        let operations =
            Operations { first: image.clone(), content: image, ..Operations::default() };
        Self(Arc::new(Mutex::new(operations)), Arc::default())
    }

    /// Lets something be done before each write of whoever else writes.
    pub(crate) fn meanwhile(&self, run: Option<Box<dyn FnMut() + Send>>) {
        self.1.lock().unwrap().0 = run;
    }

    /// Returns how many operations were done since the disk was made.
    pub(crate) fn done(&self) -> usize {
        self.operations().done.len()
    }

    /// Returns how many calls there were since the disk was made.
    pub(crate) fn calls(&self) -> usize {
        self.operations().calls.len()
    }

    /// Returns whether the call of a failure's number would have failed. Where it would not, the first that does
    /// is a later one, and the failure is that of its number.
    pub(crate) fn begins(&self, which: Which) -> bool {
        which.concerns(self.operations().calls[which.number()])
    }

    pub(crate) fn content(&self) -> Image {
        self.operations().content.clone()
    }

    /// Returns what it held at first, and the operations since.
    pub(crate) fn tape(&self) -> (Image, Vec<Operation>) {
        let operations = self.operations();
        (operations.first.clone(), operations.done.clone())
    }

    pub(crate) fn fail(&self, failure: Option<Failure>) {
        self.operations().failure = failure;
    }

    fn operations(&self) -> MutexGuard<'_, Operations> {
        self.0.lock().unwrap()
    }

    fn call(&self, sort: Sort) -> io::Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        let call = operations.calls.len();
        operations.calls.push(sort);
        let Some(Failure { which, how }) = operations.failure else {
            return Ok(operations);
        };
        let fails = which.concerns(sort)
            && match which {
                Which::Call(number) => call == number,
                Which::ChangesFrom(number) => operations.done.len() >= number,
                Which::CallsFrom(number) | Which::RoomFrom(number) | Which::CopiesFrom(number) => {
                    call >= number
                }
            };
        if fails { Err(how.into()) } else { Ok(operations) }
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        let sort = self.operations().sort(&operation);
        let mut operations = self.call(sort)?;
        operation.apply(&mut operations.content);
        operations.blocks.extend(operation.blocks());
        let blocks = operations.content.len().div_ceil(BLOCK_BYTES);
        let _beyond_the_end = operations.blocks.split_off(&blocks);
        operations.done.push(operation);
        Ok(())
    }
}

/// What a call does to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Look,
    /// Within what the disk holds already.
    Write,
    /// Beyond that.
    Growth,
    Sync,
}

impl Operations {
    fn sort(&self, operation: &Operation) -> Sort {
        let grows = match operation {
            Operation::Sync => return Sort::Sync,
            Operation::SetLen(bytes) => *bytes > self.content.len(),
            write => write.blocks().any(|block| !self.blocks.contains(&block)),
        };
        if grows { Sort::Growth } else { Sort::Write }
    }
}

impl Which {
    /// Whether it is a call of this sort that fails.
    fn concerns(self, sort: Sort) -> bool {
        match self {
            Self::Call(_) | Self::CallsFrom(_) => true,
            Self::ChangesFrom(_) => sort != Sort::Look,
            Self::RoomFrom(_) => sort == Sort::Growth,
            Self::CopiesFrom(_) => matches!(sort, Sort::Growth | Sort::Write),
        }
    }

    pub(crate) fn number(self) -> usize {
        match self {
            Self::Call(number)
            | Self::CallsFrom(number)
            | Self::ChangesFrom(number)
            | Self::RoomFrom(number)
            | Self::CopiesFrom(number) => number,
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call(Sort::Look)?.content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let is_there = self.call(Sort::Look)?.content.read(offset as usize, out);
        if is_there { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(Operation::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let meanwhile = self.1.lock().unwrap().0.take();
        if let Some(mut run) = meanwhile {
            run();
            self.meanwhile(Some(run));
        }
        self.run(Operation::Write { offset: offset as usize, content: Image::holding(data) })
    }
}
