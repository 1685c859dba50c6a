//! Running a session over frames.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use syncro_core::limits::HELLO_BYTES_MAX;
use syncro_core::{CloseReason, Input, Role, SessionId};
use syncro_net::{FrameReader, FrameWriter, Frames, NetError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::core::{Core, Outbox, Outgoing, count};
use crate::error::Error;

/// How long the last messages of a session may take to be written, and the peer to hang up.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why.
    pub reason: CloseReason,
    /// Whether the peer had said who it is.
    pub was_open: bool,
}

/// How a session ended, and what was wrong with the peer's framing if that was why.
pub(crate) struct Ended {
    pub(crate) end: SessionEnd,
    pub(crate) fault: Option<NetError>,
}

/// Carries one session until it ends, or `stop` does. Dropping the future loses the connection, and
/// nothing else.
pub(crate) async fn run<R, W>(
    core: &Core,
    frames: Frames<R, W>,
    role: Role,
    stop: impl Future<Output = ()>,
) -> Result<Ended, Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    run_after(core, frames, role, None, stop).await
}

/// Like [`run`], with the place in a listener's handshakes that is given back when the peer has said who it is.
pub(crate) async fn run_after<R, W>(
    core: &Core,
    frames: Frames<R, W>,
    role: Role,
    handshake: Option<OwnedSemaphorePermit>,
    stop: impl Future<Output = ()>,
) -> Result<Ended, Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (session, mut outbox) = core.open_session(role)?;
    let _lost = LostOnDrop { core, session };
    let (mut reader, mut writer) = frames.split();
    let mut greeting = Greeting { was_open: false, _handshake: handshake };
    let mut reading = Reading { core, session, reader: &mut reader, fault: None };
    let conversation = converse(&mut reading, &mut outbox, &mut writer, &mut greeting, stop);
    let reason = conversation.await;
    let fault = reading.fault;
    if reason == CloseReason::Lost && reader.is_closed() {
        // The peer closed a WebSocket, with or without a goodbye, and waits for the same.
        let _ = tokio::time::timeout(GOODBYE_MAX, writer.close()).await;
    }
    Ok(Ended { end: SessionEnd { reason, was_open: greeting.was_open }, fault })
}

/// Whether the peer has said who it is, and what it holds until then.
struct Greeting {
    was_open: bool,
    /// Given back by being dropped.
    _handshake: Option<OwnedSemaphorePermit>,
}

/// Carries messages both ways until one side ends it, and says goodbye.
async fn converse<R, W>(
    reading: &mut Reading<'_, R>,
    Outbox { messages, end, .. }: &mut Outbox,
    writer: &mut FrameWriter<W>,
    greeting: &mut Greeting,
    stop: impl Future<Output = ()>,
) -> CloseReason
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (core, session) = (reading.core, reading.session);
    let written = async {
        let Err(reason) = (Writing { core, session, messages, writer, greeting }).run().await;
        reason
    };
    tokio::pin!(written);
    // Reading and writing go on side by side: neither peer may wait for the other to read.
    let (reason, is_written) = tokio::select! {
        reason = &mut written => (reason, true),
        reason = &mut *end => (reason.unwrap_or(CloseReason::Lost), false),
        () = stop => (close(core, session, CloseReason::Done), false),
        read = reading.run() => (match (end.try_recv(), read) {
            // The peer's goodbye came just before the end of its stream, or the node is closed.
            (Ok(reason), _) => reason,
            (Err(_), Ok(None)) => CloseReason::Lost,
            (Err(_), Ok(Some(reason))) => close(core, session, reason),
            (Err(_), Err(_)) => close(core, session, CloseReason::Store),
        }, false),
    };
    if reason != CloseReason::Lost {
        // What the peer is still writing is read to its end, or TCP would throw the goodbye away with it.
        let goodbye = async {
            let written = async {
                if !is_written {
                    written.await;
                }
            };
            tokio::join!(written, reading.reader.drain())
        };
        // A goodbye is worth a second, if the peer still reads.
        let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
    }
    reason
}

fn close(core: &Core, session: SessionId, reason: CloseReason) -> CloseReason {
    // A node that is closed or has failed has ended its sessions.
    let _ = core.session_input(Input::Close { session, reason });
    reason
}

/// Reads what the peer sends.
struct Reading<'a, R> {
    core: &'a Core,
    session: SessionId,
    reader: &'a mut FrameReader<R>,
    /// What was wrong with its framing.
    fault: Option<NetError>,
}

impl<R: AsyncRead + Unpin> Reading<'_, R> {
    /// Reads until the stream ends (`None`) or the peer breaks the framing.
    async fn run(&mut self) -> Result<Option<CloseReason>, Error> {
        let Self { core, session, reader, fault } = self;
        // Of whom nothing is known yet, no more is read than its greeting.
        let mut frame_bytes_max = Some(reader.set_frame_bytes_max(HELLO_BYTES_MAX));
        loop {
            // A peer that sends faster than the store writes waits in its own transport.
            core.keep_pace().await;
            let frame: Bytes = match reader.read().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) => {
                    let reason = match error {
                        NetError::FrameTooLarge { .. } => CloseReason::FrameTooLarge,
                        NetError::EmptyFrame
                        | NetError::FreeFrames { .. }
                        | NetError::WebSocketOffence { .. } => CloseReason::Malformed,
                        _ => return Ok(None),
                    };
                    *fault = Some(error);
                    return Ok(Some(reason));
                }
            };
            count(&core.read_bytes, reader.wire_bytes(frame.len()));
            core.session_input(Input::Receive { session: *session, frame })?;
            if let Some(bytes) = frame_bytes_max.take() {
                reader.set_frame_bytes_max(bytes);
            }
        }
    }
}

/// Writes what the engine sends.
struct Writing<'a, W> {
    core: &'a Core,
    session: SessionId,
    messages: &'a mut UnboundedReceiver<Outgoing>,
    writer: &'a mut FrameWriter<W>,
    greeting: &'a mut Greeting,
}

impl<W: AsyncWrite + Unpin> Writing<'_, W> {
    /// Writes until the engine closes the session, or the stream does.
    async fn run(mut self) -> Result<Infallible, CloseReason> {
        // Whether the engine waits to hear that what it sent was taken.
        let mut is_room_owed = false;
        loop {
            let first = tokio::select! {
                biased;
                answered = self.writer.answer() => {
                    answered.map_err(|_| CloseReason::Lost)?;
                    continue;
                }
                () = std::future::ready(()), if is_room_owed => None,
                first = self.messages.recv() => Some(first.ok_or(CloseReason::Lost)?),
            };
            if first.is_some() && !self.take(first).await? {
                continue;
            }
            // What has come meanwhile leaves with the rest. A node that is closed or has failed sends its goodbyes
            // through the channel.
            let _ = self.core.session_input(Input::Room { session: self.session });
            is_room_owed = self.take(None).await?;
            self.writer.flush().await.map_err(|_| CloseReason::Lost)?;
        }
    }

    /// Takes what is in the channel, without waiting for more. Returns whether some of it is to be flushed; the error is
    /// why the session is over.
    async fn take(&mut self, first: Option<Outgoing>) -> Result<bool, CloseReason> {
        let (mut next, mut has_frames) = (first, false);
        while let Some(outgoing) = next.take().or_else(|| self.messages.try_recv().ok()) {
            match outgoing {
                Outgoing::Opened => *self.greeting = Greeting { was_open: true, _handshake: None },
                Outgoing::Frame(frame) => {
                    count(&self.core.written_bytes, self.writer.wire_bytes(frame.len()));
                    self.writer.feed(frame).await.map_err(|_| CloseReason::Lost)?;
                    has_frames = true;
                }
                Outgoing::Called(called) => self.core.answer(called),
                Outgoing::Close(reason) => {
                    // A peer that is gone needs no goodbye.
                    let _ = self.writer.close().await;
                    return Err(reason);
                }
            }
        }
        Ok(has_frames)
    }
}

/// Tells the engine that the connection is gone, however the future ended.
struct LostOnDrop<'a> {
    core: &'a Core,
    session: SessionId,
}

impl Drop for LostOnDrop<'_> {
    fn drop(&mut self) {
        // An engine that has closed the session does not know it any more, and says nothing.
        let _ = self.core.session_input(Input::Lost { session: self.session });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use syncro_core::{Config, limits};
    use syncro_store::{LogStore, Memory};
    use tokio::io::AsyncReadExt;

    use super::*;

    /// A caller that came to a full node was hung up on without a word.
    #[tokio::test]
    async fn a_caller_is_told_that_the_node_is_full() {
        let core =
            Core::open(LogStore::open(Memory::new()).unwrap(), Config::default(), Bytes::new())
                .unwrap();
        let open = |_| core.open_session(Role::Accept).unwrap();
        let _held: Vec<_> = (0..limits::SESSIONS_MAX).map(open).collect();
        let (near, mut far) = tokio::io::duplex(4096);
        let caller = async move {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let frames = Frames::new(near, limits::FRAME_BYTES_MAX);
        let (end, heard) = tokio::join!(run(&core, frames, Role::Accept, pending()), caller);
        assert_eq!(end.unwrap().end.reason, CloseReason::TooManySessions);
        let bye = b"\xa3bye\xa4code\x0d";
        assert!(heard.windows(bye.len()).any(|window| window == bye), "{heard:x?}");
    }
}
