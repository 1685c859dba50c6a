//! A stream of bytes, read as frames.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use syncro_net::Frames;

use super::chunked::Chunked;
use super::input::Input as Bits;

/// The longest frame that is read.
const FRAME_BYTES_MAX: usize = 1024;

/// Frames are what the bytes say, in whatever chunks they come: none is longer than it may be, and what is not one is
/// an error in every chunking.
pub fn frames(input: &[u8]) {
    let mut bits = Bits(input);
    let chunks = [bits.byte(), bits.byte()].map(|bytes| usize::from(bytes).max(1));
    let stream = bits.0;
    let (whole, has_failed) = read(stream, [usize::MAX; 2]);
    assert_eq!((&whole, has_failed), (&read(stream, chunks).0, read(stream, chunks).1));
    assert!(whole.iter().all(|frame| frame.len() <= FRAME_BYTES_MAX));
    // Each has a prefix of four bytes.
    let bytes: usize = whole.iter().map(|frame| 4 + frame.len()).sum();
    assert!(bytes <= stream.len() && (has_failed || bytes == stream.len()));
}

/// The frames of a stream that comes in chunks of two lengths, in turn; and whether it ends with an error.
fn read(stream: &[u8], chunks: [usize; 2]) -> (Vec<Bytes>, bool) {
    let chunked = Chunked::new(stream, chunks);
    let (mut reader, _) = Frames::from_halves(chunked, Vec::new(), FRAME_BYTES_MAX).split();
    let mut frames = Vec::new();
    loop {
        let reading = pin!(reader.read());
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {}
            Poll::Ready(Ok(Some(frame))) => frames.push(frame),
            Poll::Ready(Ok(None)) => return (frames, false),
            Poll::Ready(Err(_)) => return (frames, true),
        }
    }
}
