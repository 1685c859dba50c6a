//! A disk below redb that remembers every operation, so that it can crash at each of them.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// A storage in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Operations>>);

#[derive(Debug, Default)]
struct Operations {
    content: Vec<u8>,
    done: Vec<Operation>,
    /// How many operations are still to succeed, and how the later ones fail.
    failure: Option<(usize, ErrorKind)>,
}

#[derive(Clone, Debug)]
enum Operation {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
    Sync,
}

impl Disk {
    pub(crate) fn holding(content: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.operations().content = content;
        disk
    }

    /// Returns how many operations were done since the disk was made.
    pub(crate) fn done(&self) -> usize {
        self.operations().done.len()
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.operations().content.clone()
    }

    /// Makes every operation that changes the disk fail after the next `operations`.
    pub(crate) fn fail_after(&self, operations: usize, how: ErrorKind) {
        self.operations().failure = Some((operations, how));
    }

    /// Returns what a disk that started empty holds if it crashes after its first `done`
    /// operations: everything up to the last sync, and of what came after it, sector by sector,
    /// what `is_kept` says.
    pub(crate) fn crashed(&self, done: usize, mut is_kept: impl FnMut() -> bool) -> Vec<u8> {
        let operations = self.operations();
        let done = &operations.done[..done];
        let is_sync = |operation: &Operation| matches!(operation, Operation::Sync);
        let synced = done.iter().rposition(is_sync).unwrap_or(0);
        let mut content = Vec::new();
        for (at, operation) in done.iter().enumerate() {
            if at < synced {
                operation.apply(&mut content);
            } else {
                for part in operation.sectors() {
                    if is_kept() {
                        part.apply(&mut content);
                    }
                }
            }
        }
        content
    }

    fn operations(&self) -> MutexGuard<'_, Operations> {
        self.0.lock().unwrap()
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        let mut operations = self.operations();
        if let Some((left, how)) = &mut operations.failure {
            *left = left.checked_sub(1).ok_or(*how)?;
        }
        operation.apply(&mut operations.content);
        operations.done.push(operation);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.operations().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let operations = self.operations();
        let start = offset as usize;
        let found = operations.content.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(Operation::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.run(Operation::Write { offset: offset as usize, bytes: data.to_vec() })
    }
}

impl Operation {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Sync => {}
        }
    }

    /// Cuts a write into what a disk writes at once; the length of a file changes at once.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else {
            return vec![self.clone()];
        };
        let sectors = bytes.chunks(512).enumerate();
        sectors
            .map(|(at, bytes)| Self::Write { offset: offset + at * 512, bytes: bytes.to_vec() })
            .collect()
    }
}
