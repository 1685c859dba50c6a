//! The frames of RFC 6455, cut by the rules of this crate.
//!
//! `tungstenite` reads and writes the headers; its own streams set a frame's whole length aside as soon as
//! they have read its header, keep the memory of the largest frame, and count no frames that carry nothing.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::codec::{Decoder, Encoder};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control as ControlCode, Data, OpCode};

use crate::NetError;
use crate::codec::{Control, KEPT_BYTES_MAX, READ_BYTES_MIN, Received};

/// The two sides of a WebSocket, which differ in who masks what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that asked for the upgrade.
    Client,
    /// The one that was asked.
    Server,
}

impl Side {
    /// How many bytes a frame takes that this side sends, with so many in it.
    fn wire_bytes(self, length: usize) -> usize {
        let mask = (self == Self::Client).then_some([0; MASK_BYTES]);
        FrameHeader { mask, ..FrameHeader::default() }.len(length as u64) + length
    }
}

/// Which kind of frame a message has to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Text for JSON, binary for everything else.
    ByContent,
    /// Either.
    Any,
}

/// Cuts messages out of the peer's frames.
#[derive(Debug)]
pub(crate) struct ReadCodec {
    side: Side,
    kinds: Kinds,
    /// The longest message, in bytes, whether it comes in one frame or in many.
    pub(crate) frame_bytes_max: usize,
    /// What has come of a message in several frames.
    fragments: Option<(Data, BytesMut)>,
    /// Frames that carried next to nothing since the last message.
    free_frames: usize,
    pongs: Arc<Pongs>,
}

impl ReadCodec {
    pub(crate) fn new(side: Side, kinds: Kinds, frame_bytes_max: usize, pongs: Arc<Pongs>) -> Self {
        Self { side, kinds, frame_bytes_max, fragments: None, free_frames: 0, pongs }
    }

    /// How many bytes a message of this length takes on the wire, if it comes in one frame.
    pub(crate) fn wire_bytes(&self, length: usize) -> usize {
        match self.side {
            Side::Client => Side::Server.wire_bytes(length),
            Side::Server => Side::Client.wire_bytes(length),
        }
    }

    /// Says whether a frame of this header may come now; returns its length.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<usize, NetError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(offence("a frame of an extension that nobody has agreed on"));
        }
        match (self.side, header.mask) {
            (Side::Server, None) => return Err(offence("a frame of a client without a mask")),
            (Side::Client, Some(_)) => return Err(offence("a frame of a server with a mask")),
            _ => {}
        }
        match (header.opcode, &self.fragments) {
            (OpCode::Control(_), _) if !header.is_final || length > CONTROL_BYTES_MAX => {
                Err(offence("a control frame that is fragmented or too long"))
            }
            (OpCode::Control(_), _) => Ok(length),
            (OpCode::Data(Data::Continue), None) => {
                Err(offence("a fragment of a message that has not begun"))
            }
            (OpCode::Data(Data::Continue), Some((_, so_far))) => self.fit(so_far.len(), length),
            (OpCode::Data(_), Some(_)) => {
                Err(offence("a message before the one before it has ended"))
            }
            (OpCode::Data(_), None) => self.fit(0, length),
        }
    }

    fn fit(&self, so_far: usize, length: usize) -> Result<usize, NetError> {
        let whole = so_far.saturating_add(length);
        if whole > self.frame_bytes_max {
            return Err(NetError::FrameTooLarge { length: whole, limit: self.frame_bytes_max });
        }
        Ok(length)
    }

    /// Takes a whole frame; returns what it completes.
    fn on_frame(
        &mut self,
        header: &FrameHeader,
        payload: BytesMut,
    ) -> Result<Option<Received>, NetError> {
        let is_message = header.is_final && matches!(header.opcode, OpCode::Data(_));
        if !is_message && payload.len() < FREE_BYTES {
            self.free_frames += 1;
            if self.free_frames > FREE_FRAMES_MAX {
                return Err(NetError::FreeFrames { limit: FREE_FRAMES_MAX });
            }
        }
        let (kind, message) = match header.opcode {
            OpCode::Control(ControlCode::Ping) => {
                self.pongs.owe(payload);
                return Ok(None);
            }
            OpCode::Control(ControlCode::Close) => return Ok(Some(Received::Close)),
            OpCode::Control(_) => return Ok(None),
            OpCode::Data(kind) => match self.fragments.take() {
                None => (kind, payload),
                Some((kind, mut so_far)) => {
                    so_far.extend_from_slice(&payload);
                    (kind, so_far)
                }
            },
        };
        if !header.is_final {
            // Copied, or the fragment would keep alive what it was read with.
            self.fragments = Some((kind, BytesMut::from(&message[..])));
            return Ok(None);
        }
        self.free_frames = 0;
        let Some(first) = message.first() else {
            return Err(NetError::EmptyFrame);
        };
        if self.kinds == Kinds::ByContent && is_text(*first) != (kind == Data::Text) {
            return Err(offence("a text that is not JSON, or JSON that is not a text"));
        }
        Ok(Some(Received::Frame(message.freeze())))
    }
}

impl Decoder for ReadCodec {
    type Item = Received;
    type Error = NetError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Received>, NetError> {
        loop {
            let mut cursor = Cursor::new(&src[..]);
            let parsed = FrameHeader::parse(&mut cursor);
            let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let parsed = parsed.map_err(|_| offence("a frame of an unknown kind"))?;
            let whole = match &parsed {
                Some((header, length)) => self.check(header, *length)?.saturating_add(head),
                None => usize::MAX,
            };
            let (Some((header, _)), true) = (parsed, src.len() >= whole) else {
                // Not the frame's length: a buffer that is full doubles, and so follows what arrives.
                src.reserve(READ_BYTES_MIN);
                return Ok(None);
            };
            let mut payload = src.split_to(whole);
            payload.advance(head);
            if whole > KEPT_BYTES_MAX {
                // What follows a large frame shares its allocation and would keep it alive.
                *src = BytesMut::from(&src[..]);
            }
            if let Some(mask) = header.mask {
                apply(mask, &mut payload);
            }
            if let Some(received) = self.on_frame(&header, payload)? {
                return Ok(Some(received));
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Received>, NetError> {
        match self.decode(src)? {
            None if !src.is_empty() || self.fragments.is_some() => Err(NetError::Truncated),
            received => Ok(received),
        }
    }
}

/// Puts each message into a frame of its own.
#[derive(Debug)]
pub(crate) struct WriteCodec {
    side: Side,
    frame_bytes_max: usize,
    has_closed: bool,
}

impl WriteCodec {
    pub(crate) fn new(side: Side, frame_bytes_max: usize) -> Self {
        Self { side, frame_bytes_max, has_closed: false }
    }

    fn put(&self, opcode: OpCode, payload: &[u8], dst: &mut BytesMut) -> Result<(), NetError> {
        let mask = match self.side {
            Side::Server => None,
            Side::Client => Some(getrandom::u32().map_err(std::io::Error::from)?.to_ne_bytes()),
        };
        let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
        let length = payload.len() as u64;
        dst.reserve(header.len(length) + payload.len());
        // Writing to memory does not fail.
        let _ = header.format(length, &mut dst.writer());
        let begin = dst.len();
        dst.put_slice(payload);
        if let Some(mask) = mask {
            apply(mask, &mut dst[begin..]);
        }
        Ok(())
    }

    /// How many bytes a message of this length takes on the wire.
    pub(crate) fn wire_bytes(&self, length: usize) -> usize {
        self.side.wire_bytes(length)
    }
}

impl Encoder<Bytes> for WriteCodec {
    type Error = NetError;

    fn encode(&mut self, frame: Bytes, dst: &mut BytesMut) -> Result<(), NetError> {
        match frame.first() {
            Some(first) if frame.len() <= self.frame_bytes_max => {
                let kind = if is_text(*first) { Data::Text } else { Data::Binary };
                self.put(OpCode::Data(kind), &frame, dst)
            }
            _ => {
                Err(NetError::UnsendableFrame { length: frame.len(), limit: self.frame_bytes_max })
            }
        }
    }
}

impl Encoder<Control> for WriteCodec {
    type Error = NetError;

    fn encode(&mut self, control: Control, dst: &mut BytesMut) -> Result<(), NetError> {
        match control {
            _ if self.has_closed => Ok(()),
            Control::Pong(payload) => self.put(OpCode::Control(ControlCode::Pong), &payload, dst),
            Control::Close => {
                self.has_closed = true;
                self.put(OpCode::Control(ControlCode::Close), &NORMAL_CLOSURE, dst)
            }
        }
    }
}

/// What the reading half of a connection leaves to the writing half: the answer to the peer's last ping.
///
/// One alone: RFC 6455 (5.5.3) lets an endpoint answer the newest of several, so a peer that pings and does
/// not read costs no memory.
#[derive(Debug, Default)]
pub(crate) struct Pongs {
    owed: Mutex<Option<Bytes>>,
    rung: Notify,
}

impl Pongs {
    fn owe(&self, payload: BytesMut) {
        // Copied, or it would keep alive what it was read with.
        let payload = Bytes::copy_from_slice(&payload);
        *self.lock() = Some(payload);
        self.rung.notify_one();
    }

    /// Waits until there is a ping that nobody has answered.
    pub(crate) async fn owed(&self) {
        while self.lock().is_none() {
            self.rung.notified().await;
        }
    }

    /// The answer to it.
    pub(crate) fn take(&self) -> Option<Bytes> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a message that begins with this byte is JSON: what may stand before a map, or begins one.
fn is_text(first: u8) -> bool {
    matches!(first, b'{' | b' ' | b'\t' | b'\r' | b'\n')
}

/// Masks or unmasks, which is the same.
fn apply(mask: [u8; MASK_BYTES], payload: &mut [u8]) {
    let (words, rest) = payload.as_chunks_mut::<MASK_BYTES>();
    let whole = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ whole).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

fn offence(offence: &'static str) -> NetError {
    NetError::WebSocketOffence { offence }
}

const MASK_BYTES: usize = 4;

/// Close code 1000: the session's own reason went before, in its last message.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

/// RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: usize = 125;

/// A frame that ends no message and is shorter than this counts as one that carries nothing. Longer than
/// any control frame, and shorter than the fragments of anybody who fragments for a reason.
const FREE_BYTES: usize = 256;

/// Frames that carry nothing, in a row. A node says something every 15 s at least, so this is 68 pings a
/// second, and as many empty fragments.
const FREE_FRAMES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
