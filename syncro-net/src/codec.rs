use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::NetError;

/// Cuts what arrives into frames, as the transport has it.
#[derive(Debug)]
pub(crate) enum ReadCodec {
    Prefixed(FrameCodec),
    #[cfg(feature = "websocket")]
    WebSocket(crate::websocket::ReadCodec),
}

/// What arrived on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Frame(Bytes),
    /// The peer's last word, on a transport that has one.
    #[cfg_attr(not(feature = "websocket"), allow(dead_code, reason = "bare frames have none"))]
    Close,
}

impl ReadCodec {
    pub(crate) fn frame_bytes_max_mut(&mut self) -> &mut usize {
        match self {
            Self::Prefixed(codec) => &mut codec.frame_bytes_max,
            #[cfg(feature = "websocket")]
            Self::WebSocket(codec) => &mut codec.frame_bytes_max,
        }
    }
}

impl Decoder for ReadCodec {
    type Item = Received;
    type Error = NetError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Received>, NetError> {
        match self {
            Self::Prefixed(codec) => Ok(codec.decode(src)?.map(Received::Frame)),
            #[cfg(feature = "websocket")]
            Self::WebSocket(codec) => codec.decode(src),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Received>, NetError> {
        match self {
            Self::Prefixed(codec) => Ok(codec.decode_eof(src)?.map(Received::Frame)),
            #[cfg(feature = "websocket")]
            Self::WebSocket(codec) => codec.decode_eof(src),
        }
    }
}

/// Puts frames on the wire, as the transport wants them.
#[derive(Debug)]
pub(crate) enum WriteCodec {
    Prefixed(FrameCodec),
    #[cfg(feature = "websocket")]
    WebSocket(crate::websocket::WriteCodec),
}

impl Encoder<Bytes> for WriteCodec {
    type Error = NetError;

    fn encode(&mut self, frame: Bytes, dst: &mut BytesMut) -> Result<(), NetError> {
        match self {
            Self::Prefixed(codec) => codec.encode(frame, dst),
            #[cfg(feature = "websocket")]
            Self::WebSocket(codec) => codec.encode(frame, dst),
        }
    }
}

/// A word of the transport itself. Bare frames have none, and write nothing for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    #[cfg_attr(not(feature = "websocket"), allow(dead_code, reason = "bare frames have none"))]
    Pong(Bytes),
    Close,
}

impl Encoder<Control> for WriteCodec {
    type Error = NetError;

    #[cfg_attr(
        not(feature = "websocket"),
        allow(unused_variables, reason = "only a WebSocket has such words")
    )]
    fn encode(&mut self, control: Control, dst: &mut BytesMut) -> Result<(), NetError> {
        match self {
            Self::Prefixed(_) => Ok(()),
            #[cfg(feature = "websocket")]
            Self::WebSocket(codec) => codec.encode(control, dst),
        }
    }
}

/// Cuts a stream of bytes into frames: a `u32` big-endian length, then that many bytes.
///
/// `tokio_util`'s `LengthDelimitedCodec` reserves a frame's whole length as soon as it has read
/// the prefix, so a peer that sends four bytes makes us set aside as much as the limit allows.
/// This codec only ever asks for a little more room, so the buffer follows what has arrived.
///
/// It keeps no state between calls: the prefix stays in the buffer until its frame is whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameCodec {
    /// The longest frame, in bytes, without the prefix.
    pub(crate) frame_bytes_max: usize,
}

impl FrameCodec {
    /// Returns the length of the frame at the front of `src`, or `None` before the prefix is whole.
    fn announced(self, src: &[u8]) -> Result<Option<usize>, NetError> {
        let Some(prefix) = src.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(NetError::EmptyFrame);
        }
        if length > self.frame_bytes_max {
            return Err(NetError::FrameTooLarge { length, limit: self.frame_bytes_max });
        }
        Ok(Some(length))
    }
}

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = NetError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, NetError> {
        let whole = match self.announced(src)? {
            Some(length) if src.len() - PREFIX_BYTES >= length => length + PREFIX_BYTES,
            // Not the frame's length: a buffer that is full doubles, and so follows what arrives.
            _ => {
                src.reserve(READ_BYTES_MIN);
                return Ok(None);
            }
        };
        let mut frame = src.split_to(whole);
        frame.advance(PREFIX_BYTES);
        if whole > KEPT_BYTES_MAX {
            // What follows a large frame shares its allocation and would keep it alive.
            *src = BytesMut::from(&src[..]);
        }
        Ok(Some(frame.freeze()))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, NetError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(NetError::Truncated),
            frame => Ok(frame),
        }
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = NetError;

    fn encode(&mut self, frame: Bytes, dst: &mut BytesMut) -> Result<(), NetError> {
        let length = match u32::try_from(frame.len()) {
            Ok(length) if length > 0 && frame.len() <= self.frame_bytes_max => length,
            _ => {
                return Err(NetError::UnsendableFrame {
                    length: frame.len(),
                    limit: self.frame_bytes_max,
                });
            }
        };
        dst.reserve(PREFIX_BYTES + frame.len());
        dst.put_u32(length);
        dst.put_slice(&frame);
        Ok(())
    }
}

/// A frame's length goes before it in this many bytes.
pub(crate) const PREFIX_BYTES: usize = size_of::<u32>();

/// A read is offered at least this much room, so that small frames share one.
///
/// Below the 8 KiB of a fresh buffer: when the frames read so far are still held elsewhere,
/// making room means a new buffer, and one per small frame would be a waste.
pub(crate) const READ_BYTES_MIN: usize = 2 * 1024;

/// Buffers that grew beyond this for one large frame are given back after it, so that thousands
/// of idle connections do not each keep the largest thing they ever carried.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same rules read off the whole input at once: the frames, and how it ends.
    fn frames_at_once(mut input: &[u8], limit: usize) -> (Vec<Vec<u8>>, &'static str) {
        let mut frames = Vec::new();
        loop {
            if input.is_empty() {
                return (frames, "end");
            }
            if input.len() < 4 {
                return (frames, "truncated");
            }
            let (prefix, rest) = input.split_at(4);
            let length = prefix.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            match length {
                0 => return (frames, "empty"),
                _ if length > limit => return (frames, "too large"),
                _ if length > rest.len() => return (frames, "truncated"),
                _ => frames.push(rest[..length].to_vec()),
            }
            input = &rest[length..];
        }
    }

    fn frames_in_pieces(
        input: &[u8],
        pieces: &[usize],
        limit: usize,
    ) -> (Vec<Vec<u8>>, &'static str) {
        let mut codec = FrameCodec { frame_bytes_max: limit };
        let mut pieces = pieces.iter().cycle();
        let (mut input, mut buffer, mut frames) = (input, BytesMut::new(), Vec::new());
        loop {
            let step = if input.is_empty() {
                codec.decode_eof(&mut buffer)
            } else {
                codec.decode(&mut buffer)
            };
            match step {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) if input.is_empty() => return (frames, "end"),
                Ok(None) => {
                    let (piece, rest) = input.split_at(input.len().min(*pieces.next().unwrap()));
                    buffer.extend_from_slice(piece);
                    input = rest;
                }
                Err(NetError::EmptyFrame) => return (frames, "empty"),
                Err(NetError::FrameTooLarge { .. }) => return (frames, "too large"),
                Err(NetError::Truncated) => return (frames, "truncated"),
                Err(other) => unreachable!("a decoder has no such fault: {other}"),
            }
        }
    }

    proptest! {
        /// Prefixes are mostly small, so that inputs reach frames, offences and ragged ends alike.
        #[test]
        fn any_bytes_in_any_pieces_mean_what_they_mean_at_once(
            parts in prop::collection::vec((0u32..12, prop::collection::vec(any::<u8>(), 0..12)), 0..8),
            tail in prop::collection::vec(any::<u8>(), 0..6),
            pieces in prop::collection::vec(1usize..9, 1..5),
        ) {
            let mut input = Vec::new();
            for (announced, bytes) in &parts {
                // Two parts in three keep their word.
                let length = if announced % 3 == 0 { *announced } else { bytes.len() as u32 };
                input.extend_from_slice(&length.to_be_bytes());
                input.extend_from_slice(bytes);
            }
            input.extend_from_slice(&tail);
            prop_assert_eq!(frames_in_pieces(&input, &pieces, 10), frames_at_once(&input, 10));
        }
    }

    #[test]
    fn a_frame_is_its_length_in_four_big_endian_bytes_and_itself() {
        let mut wire = BytesMut::new();
        let mut codec = FrameCodec { frame_bytes_max: 300 };
        codec.encode(Bytes::from_static(b"abc"), &mut wire).unwrap();
        assert_eq!(&wire[..], b"\0\0\0\x03abc");

        wire.clear();
        codec.encode(Bytes::from(vec![7; 258]), &mut wire).unwrap();
        assert_eq!(&wire[..5], b"\0\0\x01\x02\x07");
    }

    /// Looks past `capacity`, which hides the part of an allocation before the cursor.
    #[test]
    fn what_follows_a_large_frame_does_not_keep_its_memory() {
        let large = 1024 * 1024;
        let mut codec = FrameCodec { frame_bytes_max: large };
        let mut buffer = BytesMut::new();
        codec.encode(Bytes::from(vec![1; large]), &mut buffer).unwrap();
        codec.encode(Bytes::from_static(b"next"), &mut buffer).unwrap();

        drop(codec.decode(&mut buffer).unwrap().unwrap());
        assert!(!buffer.try_reclaim(large / 2), "the megabyte is still there");
        assert_eq!(codec.decode(&mut buffer).unwrap().unwrap(), "next");
    }

    #[test]
    fn a_limit_beyond_what_a_prefix_can_say_still_reads_frames() {
        let mut codec = FrameCodec { frame_bytes_max: usize::MAX };
        let mut buffer = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        assert!(buffer.capacity() < 16 * 1024);
    }
}
