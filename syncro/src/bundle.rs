//! Bundles: what one node has for another, as bytes that can be carried by any means.

use std::io::{self, Read, Write};

use bytes::Bytes;
use syncro_core::limits::FRAME_BYTES_MAX;
use syncro_core::{CloseReason, Export, Name, NodeId, SessionId};

use crate::core::{Core, Step};
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
    #[error("this is no bundle of Syncro: {reason}; if it was to be one, copy it once more")]
    NoBundle {
        /// What is wrong.
        reason: String,
    },
    /// It ends before its end: it was copied in part, or is still being written. What came before is taken in.
    #[error(
        "the bundle ends before its end; {scribes} new scribes of it are taken in: copy it once more, and import all of it"
    )]
    CutShort {
        /// Scribes by which this node's log is longer now.
        scribes: u64,
    },
    /// It was damaged on the way. What came before that is taken in.
    #[error(
        "the bundle is damaged: {reason}; {scribes} new scribes of it are taken in: copy it once more, and import all of it"
    )]
    Damaged {
        /// Scribes by which this node's log is longer now.
        scribes: u64,
        /// What is wrong.
        reason: String,
    },
    /// Something of the peer's log is missing before it. Nothing was taken in.
    #[error(
        "something that {who} exported before this bundle is missing here: import its earlier bundles first; where \
         there are none, let {who} import what `Node::request_for` writes, and export once more; or connect the two",
        who = who(peer, name.as_ref())
    )]
    Gap {
        /// Who made it.
        peer: NodeId,
        /// The name that it gives itself.
        name: Option<Name>,
    },
    /// Its maker is not let in, or does too much that it may not. What came before that is taken in.
    #[error("the bundle is refused: {reason}")]
    Refused {
        /// Why.
        reason: CloseReason,
        /// More about it; empty where there is no more.
        detail: String,
    },
    /// The node's store was repaired meanwhile.
    #[error("the node's store was repaired meanwhile: begin anew")]
    Repaired,
}

/// A peer by its name, if it has one.
fn who(peer: &NodeId, name: Option<&Name>) -> String {
    name.map_or_else(|| peer.to_string(), |name| format!("{name} ({peer})"))
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

/// What reading a frame comes to.
enum Frame {
    Whole(Bytes),
    /// It is not there as a whole.
    Cut,
    /// No frame has such a length.
    Length(u32),
}

/// Reads the next frame, and nothing beyond it.
fn read(from: &mut impl Read) -> io::Result<Frame> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Frame::Cut),
        read => read?,
    }
    let length = u32::from_be_bytes(prefix);
    if length == 0 || u64::from(length) > FRAME_BYTES_MAX as u64 {
        return Ok(Frame::Length(length));
    }
    let mut frame = Vec::new();
    // The length is somebody's word: memory follows what is there.
    let read = from.take(length.into()).read_to_end(&mut frame)?;
    let is_whole = u64::try_from(read).is_ok_and(|read| read == u64::from(length));
    Ok(if is_whole { Frame::Whole(frame.into()) } else { Frame::Cut })
}

/// Reads a bundle to its end. What it has changed, whatever came of it, is durable then.
pub(crate) fn import(core: &Core, from: impl Read) -> Result<Imported, Error> {
    let mut import = Import { core, session: core.begin_import()?, is_begun: false, scribes: 0 };
    let imported = import.read(from);
    drop(import);
    let durable = core.finish_import();
    let imported = imported?;
    durable.map(|()| imported)
}

/// A bundle that is being read, in a session that ends with it.
struct Import<'a> {
    core: &'a Core,
    session: SessionId,
    /// Whether it is a bundle, by its first frame.
    is_begun: bool,
    /// Scribes by which the node's log is longer now.
    scribes: u64,
}

impl Import<'_> {
    fn read(&mut self, mut from: impl Read) -> Result<Imported, Error> {
        loop {
            let imported = match read(&mut from).map_err(BundleError::Io)? {
                Frame::Whole(frame) => self.take(frame)?,
                Frame::Cut if self.is_begun => {
                    return Err(BundleError::CutShort { scribes: self.scribes }.into());
                }
                Frame::Cut => return Err(self.unreadable("there is next to nothing in it".into())),
                Frame::Length(length) => {
                    let reason = format!("a frame has 1 to {FRAME_BYTES_MAX} bytes, not {length}");
                    return Err(self.unreadable(reason));
                }
            };
            if let Some(imported) = imported {
                return Ok(imported);
            }
        }
    }

    /// Takes a frame. Returns what came of all, after the last one.
    fn take(&mut self, frame: Bytes) -> Result<Option<Imported>, Error> {
        loop {
            let (scribes, step) = self.core.import(self.session, frame.clone())?;
            self.scribes += scribes;
            return match step {
                None => {
                    self.is_begun = true;
                    Ok(None)
                }
                Some(Step::Again) => continue,
                Some(Step::Done { peer, name, has_gap: false }) => {
                    Ok(Some(Imported { peer, name, scribes: self.scribes }))
                }
                Some(Step::Done { peer, name, .. }) => Err(BundleError::Gap { peer, name }.into()),
                Some(Step::Closed { reason, detail }) => Err(self.ended(reason, detail)),
            };
        }
    }

    /// Why a bundle is not read on.
    fn ended(&self, reason: CloseReason, detail: String) -> Error {
        use CloseReason::{Denied, Forbidden, ShuttingDown, Version};
        match reason {
            ShuttingDown => Error::Closed,
            Denied | Forbidden | Version => BundleError::Refused { reason, detail }.into(),
            _ if detail.is_empty() => self.unreadable(reason.to_string()),
            _ => self.unreadable(format!("{reason} ({detail})")),
        }
    }

    /// What cannot be read is no bundle, or was one.
    fn unreadable(&self, reason: String) -> Error {
        match self.is_begun {
            true => BundleError::Damaged { scribes: self.scribes, reason }.into(),
            false => BundleError::NoBundle { reason }.into(),
        }
    }
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        self.core.end_import(self.session);
    }
}
