use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts the bytes that crossed one connection, in each direction.
///
/// Prefixes count, and so does the part of a frame that has crossed before its rest. Clones
/// share the two numbers, so a host keeps one and looks at it while the session runs; looking
/// costs an atomic load. The two are not read together: a sum may be a moment old on one side.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    counts: Arc<Counts>,
}

impl Traffic {
    /// Returns how many bytes were read from the stream so far.
    pub fn read_bytes(&self) -> u64 {
        self.counts.read.load(Ordering::Relaxed)
    }

    /// Returns how many bytes the stream took so far; what still waits for a flush is not in it.
    pub fn written_bytes(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
}

/// A stream, or half of one, whose bytes are counted as they cross.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    traffic: Traffic,
    /// What somebody has read from the stream already.
    unread: Bytes,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, traffic: Traffic) -> Self {
        Self { stream, traffic, unread: Bytes::new() }
    }

    /// Gives out these bytes before those of the stream.
    pub(crate) fn with_unread(mut self, unread: Bytes) -> Self {
        self.unread = unread;
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let taken = buf.remaining().min(self.unread.len());
            buf.put_slice(&self.unread.split_to(taken));
        }
        count(&self.traffic.counts.read, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        count(&self.traffic.counts.written, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn count(sum: &AtomicU64, bytes: usize) {
    sum.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// `read_exact` offers one buffer again and again, with what has arrived still in it.
    #[tokio::test]
    async fn bytes_that_come_in_pieces_are_counted_once() {
        let (here, mut there) = duplex(3);
        let traffic = Traffic::default();
        let mut counted = Counted::new(here, traffic.clone());
        let mut bytes = [0; 10];
        let (read, written) =
            tokio::join!(counted.read_exact(&mut bytes), there.write_all(b"0123456789"));
        assert!(read.is_ok() && written.is_ok());
        assert_eq!((traffic.read_bytes(), traffic.written_bytes()), (10, 0));
    }
}
