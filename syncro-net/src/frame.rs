//! Messages that arrive whole, over any stream of bytes.
//!
//! On the wire a frame is its length as a `u32` in big-endian order and then that many bytes,
//! at least one. A WebSocket (feature `websocket`) has messages of its own, which are read and
//! written by the same two halves.

#[cfg(feature = "websocket")]
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::codec::{
    Control, FrameCodec, KEPT_BYTES_MAX, PREFIX_BYTES, ReadCodec, Received, WriteCodec,
};
use crate::traffic::Counted;
#[cfg(feature = "websocket")]
use crate::websocket::Pongs;
use crate::{NetError, Traffic};

/// Speaks in frames over a stream: TCP, TLS, a pipe, anything with two directions.
///
/// [`split`](Frames::split) gives the halves, one for the task that reads and one for the task
/// that writes. Two tasks rather than one: a node that does not read while it writes can come to
/// a standstill against a peer that does the same.
///
/// ```
/// use bytes::Bytes;
/// use syncro_net::{Frames, NetError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), NetError> {
/// let (here, there) = tokio::io::duplex(1024);
/// let here = Frames::new(here, 4096);
/// let traffic = here.traffic();
///
/// let (_, mut writer) = here.split();
/// writer.feed(Bytes::from_static(b"one")).await?;
/// writer.feed(Bytes::from_static(b"two")).await?;
/// writer.flush().await?; // both leave together
/// assert_eq!(traffic.written_bytes(), 2 * (4 + 3));
///
/// let (mut reader, _) = Frames::new(there, 4096).split();
/// assert_eq!(reader.read().await?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(reader.read().await?.as_deref(), Some(&b"two"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Frames<R, W> {
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
    traffic: Traffic,
}

impl<S: AsyncRead + AsyncWrite> Frames<ReadHalf<S>, WriteHalf<S>> {
    /// Wraps a stream whose frames are at most `frame_bytes_max` bytes long, prefix not counted.
    ///
    /// The limit holds in both directions. A longer frame from the peer is
    /// [`NetError::FrameTooLarge`], and a longer frame to it [`NetError::UnsendableFrame`]. What
    /// a prefix cannot say, over 4 GiB less a byte, is unsendable under any limit.
    pub fn new(stream: S, frame_bytes_max: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::from_halves(reader, writer, frame_bytes_max)
    }
}

impl<R: AsyncRead, W: AsyncWrite> Frames<R, W> {
    /// Wraps two streams of one direction each, such as a child's stdout and stdin.
    ///
    /// Also the way to keep halves that know how to split themselves without a lock between
    /// them, as those of `TcpStream::into_split`. The limit is that of [`Frames::new`].
    pub fn from_halves(reader: R, writer: W, frame_bytes_max: usize) -> Self {
        let codec = FrameCodec { frame_bytes_max };
        let codecs = (ReadCodec::Prefixed(codec), WriteCodec::Prefixed(codec));
        Self::with_codecs(reader, writer, Bytes::new(), codecs)
    }

    /// Wraps two halves that speak as the codecs do, where some bytes were read already.
    pub(crate) fn with_codecs(
        reader: R,
        writer: W,
        unread: Bytes,
        (read, write): (ReadCodec, WriteCodec),
    ) -> Self {
        let traffic = Traffic::default();
        let reader = Counted::new(reader, traffic.clone()).with_unread(unread);
        let mut writer = FramedWrite::new(Counted::new(writer, traffic.clone()), write);
        writer.set_backpressure_boundary(BATCH_BYTES);
        Self {
            reader: FrameReader {
                frames: FramedRead::new(reader, read),
                has_failed: false,
                is_closed: false,
            },
            writer: FrameWriter {
                frames: writer,
                is_swollen: false,
                #[cfg(feature = "websocket")]
                pongs: None,
            },
            traffic,
        }
    }

    /// Lets the writing half answer the pings that the reading half hears.
    #[cfg(feature = "websocket")]
    pub(crate) fn answering(mut self, pongs: Arc<Pongs>) -> Self {
        self.writer.pongs = Some(pongs);
        self
    }
}

impl<R, W> Frames<R, W> {
    /// Returns the counter of this connection's bytes, to keep and look at while it runs.
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Splits the connection into the half that reads and the half that writes.
    pub fn split(self) -> (FrameReader<R>, FrameWriter<W>) {
        (self.reader, self.writer)
    }
}

/// Reads a peer's frames in the order in which it wrote them.
#[derive(Debug)]
pub struct FrameReader<R> {
    frames: FramedRead<Counted<R>, ReadCodec>,
    has_failed: bool,
    /// Whether the peer has said its last word.
    is_closed: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Takes frames of at most so many bytes from here on, and returns how many they might have before: a peer of whom
    /// nothing is known yet gets less room than one that has said who it is.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) -> usize {
        let before = self.frames.decoder_mut().frame_bytes_max_mut();
        std::mem::replace(before, frame_bytes_max)
    }

    /// Waits for the next frame; `None` is the peer's clean end, after a whole frame, or a
    /// WebSocket's close.
    ///
    /// Cancel-safe: a `read` dropped while it waits loses nothing, and the next one goes on in
    /// the middle of the frame. Memory follows what has arrived (up to about twice as much, and
    /// 8 KiB to begin with), never what was announced. Frames that arrived together share one
    /// allocation, which lives as long as any of them: copy what is to be kept for long.
    ///
    /// # Errors
    ///
    /// The peer's fault: [`NetError::FrameTooLarge`] and [`NetError::EmptyFrame`], reported as
    /// soon as the prefix is there. Its fault or the network's: [`NetError::Truncated`] and
    /// [`NetError::Broken`]. Over a WebSocket also [`NetError::WebSocketOffence`] and
    /// [`NetError::FreeFrames`]. After any of them the place in the stream is lost, and reading
    /// again is [`NetError::AlreadyFailed`], never a clean end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, NetError> {
        if self.has_failed {
            return Err(NetError::AlreadyFailed);
        }
        if self.is_closed {
            return Ok(None);
        }
        match self.frames.next().await.transpose() {
            Ok(Some(Received::Frame(frame))) => Ok(Some(frame)),
            Ok(Some(Received::Close)) => {
                self.is_closed = true;
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.has_failed = true;
                Err(error)
            }
        }
    }

    /// Returns how many bytes a frame of `length` bytes takes on the wire, header or prefix
    /// included, if it comes in one piece.
    pub fn wire_bytes(&self, length: usize) -> usize {
        match self.frames.decoder() {
            ReadCodec::Prefixed(_) => PREFIX_BYTES + length,
            #[cfg(feature = "websocket")]
            ReadCodec::WebSocket(codec) => codec.wire_bytes(length),
        }
    }

    /// Returns whether the peer has closed the WebSocket, and waits for a
    /// [`close`](FrameWriter::close) in return. A stream that ended without a word is no such close.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Reads what still comes and throws it away, until the stream ends or fails.
    ///
    /// The last thing to do with a connection, after a [`close`](FrameWriter::close) of the other half:
    /// TCP resets a connection that is dropped with bytes unread, and the reset takes from the peer what
    /// it has not read either. It lasts as long as the peer likes, so give it a time.
    pub async fn drain(&mut self) {
        let mut unread = vec![0; READ_BYTES];
        while !matches!(self.frames.get_mut().read(&mut unread).await, Ok(0) | Err(_)) {}
    }
}

/// Writes frames to a peer, several to a system call where the caller allows it.
///
/// Dropping it throws away what was not flushed. Whether the peer then sees an end is up to the
/// stream; [`close`](FrameWriter::close) makes sure of a clean one.
#[derive(Debug)]
pub struct FrameWriter<W> {
    frames: FramedWrite<Counted<W>, WriteCodec>,
    /// Whether the buffer has grown beyond what is worth keeping once it is empty again.
    is_swollen: bool,
    #[cfg(feature = "websocket")]
    pongs: Option<Arc<Pongs>>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Queues a frame and flushes it together with everything queued before.
    ///
    /// If cancelled, the frame was either not queued or is queued whole, and the caller cannot
    /// know which; the stream stays in order either way.
    ///
    /// # Errors
    ///
    /// Those of [`feed`](FrameWriter::feed) and [`flush`](FrameWriter::flush).
    pub async fn write(&mut self, frame: Bytes) -> Result<(), NetError> {
        self.feed(frame).await?;
        self.flush().await
    }

    /// Queues a frame to leave with the next [`flush`](FrameWriter::flush).
    ///
    /// Waits only if 64 KiB or more are already queued, which are then flushed first: the queue
    /// never holds more than that and one frame, however many are fed. A cancelled `feed` has
    /// not queued its frame.
    ///
    /// # Errors
    ///
    /// The caller's fault: [`NetError::UnsendableFrame`] for a frame that is empty or over the
    /// limit; it is left out, and the connection can go on. Otherwise those of
    /// [`flush`](FrameWriter::flush).
    pub async fn feed(&mut self, frame: Bytes) -> Result<(), NetError> {
        self.frames.feed(frame).await?;
        self.is_swollen |= self.frames.write_buffer().len() > KEPT_BYTES_MAX;
        Ok(())
    }

    /// Hands everything queued to the stream, and waits while the stream has no room.
    ///
    /// Cancel-safe: what was not written stays queued and leaves with the next flush. A stream
    /// that took the bytes has not brought them to the peer; only the peer's answer says so.
    ///
    /// # Errors
    ///
    /// [`NetError::Broken`] when the stream fails; the connection is then good for nothing.
    pub async fn flush(&mut self) -> Result<(), NetError> {
        SinkExt::<Bytes>::flush(&mut self.frames).await?;
        if self.is_swollen {
            *self.frames.write_buffer_mut() = BytesMut::new();
            self.is_swollen = false;
        }
        Ok(())
    }

    /// Waits until the peer asks something of the transport itself, and answers it: a WebSocket's
    /// ping. Bare frames have nothing like it, and wait for ever.
    ///
    /// Cancel-safe: what was not answered stays so, and an answer that was queued leaves with the
    /// next flush. To be awaited beside whatever else the writing task waits for.
    ///
    /// # Errors
    ///
    /// Those of [`flush`](FrameWriter::flush).
    pub async fn answer(&mut self) -> Result<(), NetError> {
        #[cfg(feature = "websocket")]
        if let Some(pongs) = self.pongs.clone() {
            pongs.owed().await;
            // Now there is room, so that nothing taken is lost between here and the queue.
            self.flush().await?;
            if let Some(payload) = pongs.take() {
                self.frames.feed(Control::Pong(payload)).await?;
            }
            return self.flush().await;
        }
        std::future::pending().await
    }

    /// Flushes, then ends this direction, so that the peer reads a clean end after the last frame.
    /// A WebSocket says that it closes, with code 1000.
    ///
    /// The other direction stays open.
    ///
    /// # Errors
    ///
    /// [`NetError::Broken`] when the stream fails; the peer may then miss the last frames.
    pub async fn close(&mut self) -> Result<(), NetError> {
        self.frames.feed(Control::Close).await?;
        SinkExt::<Bytes>::close(&mut self.frames).await
    }

    /// Returns how many bytes a frame of `length` bytes takes on the wire, header or prefix included.
    pub fn wire_bytes(&self, length: usize) -> usize {
        match self.frames.encoder() {
            WriteCodec::Prefixed(_) => PREFIX_BYTES + length,
            #[cfg(feature = "websocket")]
            WriteCodec::WebSocket(codec) => codec.wire_bytes(length),
        }
    }
}

/// This much is gathered before a `feed` flushes by itself: a system call per 64 KiB is already
/// cheap beside the copying, and more would only delay the peer and cost memory.
const BATCH_BYTES: usize = 64 * 1024;

/// What is thrown away is read in pieces of this size.
const READ_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests;
