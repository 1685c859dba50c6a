//! Bundles: what one node has for another, as bytes that can be carried by any means.

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;
use syncro_core::limits::FRAME_BYTES_MAX;
use syncro_core::{CloseReason, Export, Name, NodeId, SessionId};

use crate::core::{Core, ImportEnd};
use crate::error::Error;

/// What went into a bundle, by [`Node::export_for`](crate::Node::export_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The offset in this node's log at which it begins: up to there the peer is known to have it.
    pub start: u64,
    /// The offset at which it ends.
    pub end: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// What came out of a bundle, by [`Node::import`](crate::Node::import).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Who made it.
    pub peer: NodeId,
    /// Its name for people.
    pub name: Option<Name>,
    /// Scribes by which this node's log is longer now; none, when all of it was here, or it was a request.
    pub scribes: u64,
}

/// Why a bundle could not be written, or not be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file, or whatever it is, could not be read or written.
    #[error("the bundle could not be read or written: {0}")]
    Io(#[from] io::Error),
    /// These bytes are no bundle.
    #[error("this is no bundle of Syncro: {reason}")]
    NoBundle {
        /// What is wrong.
        reason: String,
    },
    /// It ends before its end: it was copied in part, or is still being written. What came before is taken in.
    #[error(
        "the bundle ends before its end; {scribes} scribes of it are taken in: copy it once more, and import all of it"
    )]
    CutShort {
        /// Scribes by which this node's log is longer now.
        scribes: u64,
    },
    /// Something of the peer's log is missing before it. Nothing was taken in.
    #[error(
        "something that {peer} wrote before this bundle is missing here: let {peer} import the request, and \
         export another bundle"
    )]
    Gap {
        /// Who made it.
        peer: NodeId,
        /// For that node to import. Its next bundle for this node then begins where this node is.
        request: Vec<u8>,
    },
    /// What is in it is not permitted, or its maker is not known here. What came before that is taken in.
    #[error("the bundle is refused: {reason} ({detail})")]
    Refused {
        /// Why.
        reason: CloseReason,
        /// More about it.
        detail: String,
    },
    /// The node's store was repaired meanwhile.
    #[error("the node's store was repaired meanwhile: begin anew")]
    Repaired,
}

/// Writes frames, and counts their bytes.
pub(crate) fn write(
    core: &Core,
    mut export: Export,
    mut to: impl Write,
) -> Result<Exported, Error> {
    let (start, end, mut bytes) = (export.start(), export.end(), 0);
    while let Some(frame) = core.next_exported(&mut export)? {
        // Frames are far shorter than 4 GiB.
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let written = to.write_all(&length.to_be_bytes()).and_then(|()| to.write_all(&frame));
        written.map_err(BundleError::Io)?;
        bytes += 4 + u64::from(length);
    }
    to.flush().map_err(BundleError::Io)?;
    Ok(Exported { start, end, bytes })
}

/// Reads the next frame; `None` where it is not there as a whole.
fn read(from: &mut impl BufRead) -> Result<Option<Bytes>, BundleError> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(prefix);
    if length == 0 || u64::from(length) > FRAME_BYTES_MAX as u64 {
        let reason = format!("it has a frame of {length} bytes; one has 1 to {FRAME_BYTES_MAX}");
        return Err(BundleError::NoBundle { reason });
    }
    let mut frame = Vec::new();
    // The length is somebody's word: memory follows what is there.
    let read = from.take(length.into()).read_to_end(&mut frame)?;
    Ok((u64::try_from(read).ok() == Some(length.into())).then(|| frame.into()))
}

/// Reads a bundle to its end.
pub(crate) fn import(core: &Core, from: impl Read) -> Result<Imported, Error> {
    let mut from = BufReader::new(from);
    let mut import = Import { session: Open::new(core)?, head: Vec::new(), scribes: 0 };
    loop {
        let Some(frame) = read(&mut from)? else {
            if import.head.is_empty() {
                let reason = "there is next to nothing in it".to_owned();
                return Err(BundleError::NoBundle { reason }.into());
            }
            core.finish_import()?;
            return Err(BundleError::CutShort { scribes: import.scribes }.into());
        };
        if let Some(imported) = import.take(frame)? {
            core.finish_import()?;
            return Ok(imported);
        }
    }
}

/// A bundle that is being read.
struct Import<'a> {
    session: Open<'a>,
    /// The frames before the log, with which each session begins.
    head: Vec<Bytes>,
    /// Scribes by which the node's log is longer now.
    scribes: u64,
}

/// The frames before the log: whom it is for, `hello` and `sync`.
const HEAD_FRAMES: usize = 3;

impl Import<'_> {
    /// Takes a frame. Returns what came of all, after the last one.
    fn take(&mut self, frame: Bytes) -> Result<Option<Imported>, Error> {
        let is_first = self.head.is_empty();
        if self.head.len() < HEAD_FRAMES {
            self.head.push(frame.clone());
        }
        loop {
            let core = self.session.core;
            let (scribes, end) = core.import(self.session.id, frame.clone())?;
            self.scribes += scribes;
            let (reason, detail) = match end {
                None => return Ok(None),
                Some(ImportEnd::Done { peer, name, gap: None }) => {
                    return Ok(Some(Imported { peer, name, scribes: self.scribes }));
                }
                Some(ImportEnd::Done { peer, .. }) => {
                    let mut request = Vec::new();
                    write(core, core.begin_request(peer)?, &mut request)?;
                    return Err(BundleError::Gap { peer, request }.into());
                }
                Some(ImportEnd::Closed { reason, detail }) => (reason, detail),
            };
            // One step does not change everything that a message may: the rest of it is for another session.
            if reason == CloseReason::Flow && scribes > 0 {
                self.session = Open::new(core)?;
                for frame in &self.head {
                    core.import(self.session.id, frame.clone())?;
                }
            } else if is_first {
                let reason = format!("{reason} {detail}").trim_end().to_owned();
                return Err(BundleError::NoBundle { reason }.into());
            } else {
                return Err(BundleError::Refused { reason, detail }.into());
            }
        }
    }
}

/// A session of an import, which ends with it.
struct Open<'a> {
    core: &'a Core,
    id: SessionId,
}

impl<'a> Open<'a> {
    fn new(core: &'a Core) -> Result<Self, Error> {
        Ok(Self { core, id: core.begin_import()? })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.core.end_import(self.id);
    }
}
