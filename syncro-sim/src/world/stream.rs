//! One direction of a connection: a stream of bytes, in which each message is a frame.
//!
//! The receiver reads frames as real nodes do, through the reader of `syncro-net`. It needs no runtime:
//! a read that has to wait is dropped, and goes on in the middle of the frame when more has arrived.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use syncro_core::limits::FRAME_BYTES_MAX;
use syncro_net::{FrameReader, Frames, NetError};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Failure, Law};

/// What is read from a stream.
#[derive(Clone, Debug)]
pub enum Piece {
    Message(Bytes),
    /// A frame was announced that is longer than may be.
    TooLarge,
    /// The stream is over, be it in the middle of a frame.
    End,
}

#[derive(Debug)]
pub struct Stream {
    /// Frames under way, each with its prefix; of the first, what has not arrived.
    under_way: VecDeque<Bytes>,
    /// How many bytes of the first have arrived.
    begun: usize,
    /// Whether the end is under way, after the frames.
    is_ending: bool,
    /// Whether the end has been read.
    is_over: bool,
    arrivals: Arrivals,
    reader: FrameReader<Arrivals>,
}

impl Stream {
    pub fn new() -> Self {
        let arrivals = Arrivals::default();
        // Frames are written below, by hand: what is read does not depend on how we write.
        let (reader, _) =
            Frames::from_halves(arrivals.clone(), Vec::new(), FRAME_BYTES_MAX).split();
        let under_way = VecDeque::new();
        Self { under_way, begun: 0, is_ending: false, is_over: false, arrivals, reader }
    }

    pub fn write(&mut self, message: &Bytes) {
        let mut frame = BytesMut::with_capacity(4 + message.len());
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(message);
        self.under_way.push_back(frame.freeze());
    }

    /// Writes bytes that are no whole frame.
    pub(crate) fn write_part(&mut self, bytes: Bytes) {
        self.under_way.push_back(bytes);
    }

    /// Ends the stream, after what was written. It ends only once.
    pub fn end(&mut self) {
        self.is_ending = !self.is_over;
    }

    /// What is under way never arrives.
    pub fn lose(&mut self) {
        self.under_way.clear();
        self.begun = 0;
        self.is_ending = false;
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && !self.is_ending
    }

    pub fn bytes_under_way(&self) -> usize {
        self.under_way.iter().map(Bytes::len).sum()
    }

    /// What is missing of the oldest frame; 1, for the end, when there is none.
    pub fn bytes_to_next(&self) -> usize {
        self.under_way.front().map_or(1, Bytes::len)
    }

    /// How many bytes of a frame have arrived whose rest has not.
    pub fn bytes_begun(&self) -> usize {
        self.begun
    }

    /// Lets so many bytes arrive in one chunk, and the end if there are fewer.
    pub fn arrive(&mut self, mut bytes: usize) {
        let mut chunk = BytesMut::new();
        while bytes > 0
            && let Some(first) = self.under_way.front_mut()
        {
            let part = first.split_to(bytes.min(first.len()));
            bytes -= part.len();
            self.begun += part.len();
            chunk.put_slice(&part);
            if first.is_empty() {
                self.under_way.pop_front();
                self.begun = 0;
            }
        }
        let mut arrived = self.arrivals.0.borrow_mut();
        if !chunk.is_empty() {
            arrived.chunks.push_back(chunk.freeze());
        }
        if bytes > 0 {
            arrived.is_ended |= std::mem::take(&mut self.is_ending);
        }
    }

    /// Reads on; `None` until more arrives, and after the end.
    pub fn read(&mut self) -> Result<Option<Piece>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let reading = pin!(self.reader.read());
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(Some(message))) => Ok(Some(Piece::Message(message))),
            Poll::Ready(Ok(None) | Err(NetError::Truncated)) => {
                self.is_over = true;
                Ok(Some(Piece::End))
            }
            Poll::Ready(Err(NetError::FrameTooLarge { .. })) => {
                self.is_over = true;
                Ok(Some(Piece::TooLarge))
            }
            Poll::Ready(Err(error)) => Err(Law::Blame.broken(format!("a stream fails: {error}"))),
        }
    }
}

/// The receiver's end, which its reader shares.
#[derive(Clone, Debug, Default)]
struct Arrivals(Rc<RefCell<Arrived>>);

#[derive(Debug, Default)]
struct Arrived {
    chunks: VecDeque<Bytes>,
    is_ended: bool,
}

impl AsyncRead for Arrivals {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut arrived = self.0.borrow_mut();
        let Some(first) = arrived.chunks.front_mut() else {
            return if arrived.is_ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        buf.put_slice(&first.split_to(first.len().min(buf.remaining())));
        if first.is_empty() {
            arrived.chunks.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}
