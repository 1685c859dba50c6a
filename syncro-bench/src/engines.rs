//! The engines, each used as its documentation recommends.

pub mod automerge;
pub mod host;
pub mod loro;
pub mod syncro;
pub mod yrs;

use std::fs::File;
use std::io::Write;
use std::iter;
use std::path::Path;

use crate::workload::{Change, Contents, Todo};

/// Whoever takes part in a case, or the limit that it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Syncro,
    Automerge,
    Loro,
    Yrs,
    /// What the machine can do at most.
    Limit,
}

impl Peer {
    pub const ALL: [Self; 5] = [Self::Syncro, Self::Automerge, Self::Loro, Self::Yrs, Self::Limit];

    pub fn name(self) -> &'static str {
        match self {
            Self::Syncro => "syncro",
            Self::Automerge => "automerge",
            Self::Loro => "loro",
            Self::Yrs => "yrs",
            Self::Limit => "limit",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// Whether it is one of those that Syncro is compared with.
    pub fn is_rival(self) -> bool {
        !matches!(self, Self::Syncro | Self::Limit)
    }
}

/// What an exchange took.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Bytes of all messages in both directions.
    pub bytes: u64,
    /// What each side has to persist of it.
    pub received: [Vec<u8>; 2],
}

impl Exchange {
    /// One that consists of pulls: the second replica takes in what it lacks of the first, and, if it is mutual, the
    /// other way round. A pull counts the bytes of its messages, and returns what has to be persisted.
    fn by<D>(
        pull: impl Fn(&mut D, &mut D, &mut u64) -> Vec<u8>,
        first: &mut D,
        second: &mut D,
        is_mutual: bool,
    ) -> Self {
        let mut exchange = Self::default();
        exchange.received[1] = pull(second, first, &mut exchange.bytes);
        if is_mutual {
            exchange.received[0] = pull(first, second, &mut exchange.bytes);
        }
        exchange
    }
}

/// A document with all records: a root map of one map for each record.
pub trait Document: Sized {
    /// What is kept of an earlier exchange with the same replica.
    type Link: Default;

    /// An empty document; a recording one keeps what has to be persisted or sent of each change.
    fn new(is_recording: bool) -> Self;

    /// Opens what [`compact`](Self::compact) made.
    fn load(bytes: &[u8]) -> Self;

    /// One change, in one commit or transaction.
    fn apply(&mut self, change: &Change);

    /// What was changed since the last call, to be appended to a file or sent. Only of a recording document.
    fn take_update(&mut self) -> Vec<u8>;

    /// Takes in what [`take_update`](Self::take_update) gave elsewhere.
    fn receive(&mut self, update: &[u8]);

    /// Exchanges what the two lack: the second gets what the first has, and, if it is to be mutual, the
    /// other way round.
    fn sync(
        first: &mut Self,
        second: &mut Self,
        link: &mut Self::Link,
        is_mutual: bool,
    ) -> Exchange;

    /// Everything as one piece of bytes, as small as it gets.
    fn compact(&mut self) -> Vec<u8>;

    fn get(&self, id: &str) -> Option<Todo>;

    fn contents(&self) -> Contents;
}

/// Appends a piece of bytes after its length.
pub fn push_piece(pieces: &mut Vec<u8>, piece: &[u8]) {
    pieces.extend_from_slice(&(piece.len() as u32).to_le_bytes());
    pieces.extend_from_slice(piece);
}

/// The pieces of what [`push_piece`] made.
pub fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        Some(piece)
    })
}

/// A file to which updates are appended.
pub struct Journal {
    file: File,
    pending: Vec<u8>,
    pub bytes: u64,
}

impl Journal {
    pub fn create(path: &Path) -> Self {
        Self { file: File::create(path).unwrap(), pending: Vec::new(), bytes: 0 }
    }

    pub fn push(&mut self, update: &[u8]) {
        self.pending.extend_from_slice(update);
    }

    /// Appends what was pushed, in one write, and waits until it is on the disk.
    pub fn persist(&mut self) {
        self.file.write_all(&self.pending).unwrap();
        self.file.sync_data().unwrap();
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
    }
}
