//! A stream of bytes, read as the frames of a WebSocket (RFC 6455), beside a reader that sees all of it at once.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use syncro_net::websocket::{Side, frames};

use super::chunked::Chunked;
use super::input::Input as Bits;

/// The longest message that is read.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Frames that carry nothing, in a row, that are borne: `FREE_FRAMES_MAX` and `FREE_BYTES` of the codec.
const FREE_FRAMES_MAX: usize = 1024;
const FREE_BYTES: usize = 256;

/// What a stream comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    messages: Vec<Bytes>,
    end: End,
    /// The payload of the newest ping.
    ping: Option<Vec<u8>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    /// The stream ended after a whole message.
    Clean,
    /// The peer has said that it closes.
    Closed,
    #[default]
    Failed,
}

/// Messages are what the bytes say, in whatever chunks they come: none is longer than it may be, pings are answered, the
/// newest of them, and what breaks the rules is an error in every chunking. What was read can be written, and is read again.
pub fn websocket(input: &[u8]) {
    let mut bits = Bits(input);
    let side = if bits.byte().is_multiple_of(2) { Side::Server } else { Side::Client };
    let chunks = [bits.byte(), bits.byte()].map(|bytes| usize::from(bytes).max(1));
    let expected = at_once(side, bits.0);
    for chunks in [chunks, [usize::MAX; 2]] {
        assert_eq!(read(side, bits.0, chunks), expected);
    }
    assert!(expected.messages.iter().all(|message| message.len() <= MESSAGE_BYTES_MAX));
    let written = write(side, &expected.messages);
    let again = at_once(other(side), &written);
    assert_eq!((again.messages, again.end), (expected.messages, End::Closed));
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

/// Reads by the codec, in chunks.
fn read(side: Side, stream: &[u8], chunks: [usize; 2]) -> Read {
    let chunked = Chunked::new(stream, chunks);
    let written = chunked.written();
    let (mut reader, mut writer) = frames(chunked, side, MESSAGE_BYTES_MAX).split();
    let mut messages = Vec::new();
    let end = loop {
        let polled = poll(pin!(reader.read()));
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(Some(message))) => messages.push(message),
            Poll::Ready(Ok(None)) if reader.is_closed() => break End::Closed,
            Poll::Ready(Ok(None)) => break End::Clean,
            Poll::Ready(Err(_)) => break End::Failed,
        }
    };
    let is_answered = poll(pin!(writer.answer())).is_ready();
    let pong = is_answered.then(|| pong(&written.bytes(), other(side)));
    Read { messages, end, ping: pong }
}

/// The frames in which a side writes messages, with its goodbye.
fn write(side: Side, messages: &[Bytes]) -> Vec<u8> {
    let chunked = Chunked::new(&[], [1; 2]);
    let written = chunked.written();
    let (_, mut writer) = frames(chunked, side, MESSAGE_BYTES_MAX).split();
    for message in messages {
        assert!(matches!(poll(pin!(writer.write(message.clone()))), Poll::Ready(Ok(()))));
    }
    assert!(matches!(poll(pin!(writer.close())), Poll::Ready(Ok(()))));
    written.bytes()
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The payload of a pong that `side` is sent.
fn pong(bytes: &[u8], side: Side) -> Vec<u8> {
    match Frame::cut(bytes, side) {
        Some((Frame { opcode: 0xa, is_final: true, payload }, [])) => payload,
        other => panic!("no pong: {other:?}"),
    }
}

#[derive(Debug)]
struct Frame {
    opcode: u8,
    is_final: bool,
    payload: Vec<u8>,
}

impl Frame {
    /// Cuts off the first frame that a side is sent; `None` if there is none that is whole and keeps the rules.
    fn cut(bytes: &[u8], side: Side) -> Option<(Self, &[u8])> {
        let ([first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                rest.split_first_chunk().map(|(b, rest)| (u16::from_be_bytes(*b).into(), rest))?
            }
            127 => rest.split_first_chunk().map(|(b, rest)| (u64::from_be_bytes(*b), rest))?,
            length => (u64::from(length), rest),
        };
        let is_masked = second & 0x80 != 0;
        if first & 0x70 != 0 || is_masked != (side == Side::Server) {
            return None;
        }
        let (mask, rest) = if is_masked { rest.split_first_chunk()? } else { (&[0; 4], rest) };
        let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let masked = payload.iter().zip(mask.iter().cycle());
        let payload = masked.map(|(byte, mask)| byte ^ mask).collect();
        Some((Self { opcode: first & 0xf, is_final: first & 0x80 != 0, payload }, rest))
    }
}

/// Reads everything at once, by the words of the standard and the rules of the project.
fn at_once(side: Side, mut bytes: &[u8]) -> Read {
    let (mut read, mut begun, mut free) = (Read::default(), None::<(u8, Vec<u8>)>, 0);
    while !bytes.is_empty() {
        let Some((frame, rest)) = Frame::cut(bytes, side) else { return read };
        bytes = rest;
        let Frame { opcode, is_final, payload } = frame;
        let is_control = opcode >= 8;
        let has_place = match opcode {
            0 => begun.is_some(),
            1 | 2 => begun.is_none(),
            8..=10 => is_final && payload.len() <= 125,
            _ => false,
        };
        let before = begun.as_ref().map_or(0, |(_, begun)| begun.len());
        if !has_place || (!is_control && before + payload.len() > MESSAGE_BYTES_MAX) {
            return read;
        }
        if (is_control || !is_final) && payload.len() < FREE_BYTES {
            free += 1;
            if free > FREE_FRAMES_MAX {
                return read;
            }
        }
        match opcode {
            8 => {
                read.end = End::Closed;
                return read;
            }
            9 => read.ping = Some(payload),
            10 => {}
            _ => {
                let (kind, message) = begun.get_or_insert((opcode, Vec::new()));
                message.extend(payload);
                if !is_final {
                    continue;
                }
                free = 0;
                // Text is JSON, and JSON is text.
                let is_json = message.first().map(|first| b"{ \t\r\n".contains(first));
                if is_json != Some(*kind == 1) {
                    return read;
                }
                read.messages.extend(begun.take().map(|(_, message)| Bytes::from(message)));
            }
        }
    }
    if begun.is_none() {
        read.end = End::Clean;
    }
    read
}
