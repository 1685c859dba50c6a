//! Classic peers that come over WebSocket: a message of JSON is one of the WebSocket, without a length.

use std::sync::Arc;

use syncro::websocket::Acceptor;
use syncro::{Frames, NetError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::{Classic, ClassicListening, Order};
use crate::class::Uid;
use crate::error::Error;
use crate::event::Event;
use crate::limits::{HANDSHAKES_MAX, MESSAGE_BYTES_MAX};
use crate::session::{Framing, Offence};

impl Classic {
    /// Takes connections of a client over WebSocket, on a TCP address as [`listen`](Self::listen) takes it. Whoever
    /// connects there, and is let in by `acceptor`, is that client. No subprotocol is asked for, since peers of 2010
    /// know none; web pages have to be of an origin on the list ([`Acceptor::origins`]).
    ///
    /// ```
    /// # use syncro::Node;
    /// # use syncro_classic::{Classic, Hub, Settings, Uid};
    /// use syncro::websocket::Acceptor;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let classic = Classic::start(Hub::in_memory(Node::in_memory("hub")?, Settings::default())?)?;
    /// let acceptor = Acceptor::default().path("/sync").origins(["https://app.example"]);
    /// let listening = classic.listen_websocket("127.0.0.1:0", Uid::new("ann")?, acceptor).await?;
    /// println!("ann may connect to ws://{}/sync", listening.local_addr());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the address cannot be had. What is wrong with one who comes is an [`Event::Refused`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and timers.
    pub async fn listen_websocket(
        &self,
        addr: &str,
        uid: Uid,
        acceptor: Acceptor,
    ) -> Result<ClassicListening, Error> {
        let classic = self.clone();
        let door = Arc::new((acceptor.bare(), Semaphore::new(HANDSHAKES_MAX)));
        self.accept(addr, move |stream, from| {
            let (classic, uid, door) = (classic.clone(), uid.clone(), door.clone());
            async move {
                let (acceptor, handshakes) = &*door;
                let entered = match handshakes.try_acquire() {
                    // What is sent may be longer than what is received.
                    Ok(_handshake) => acceptor.accept(stream, usize::MAX).await,
                    Err(_) => Err(NetError::TooManyHandshakes { limit: HANDSHAKES_MAX }),
                };
                match entered {
                    // What there is to say of the session is told as events.
                    Ok(frames) => drop(classic.run_frames(uid, frames).await),
                    Err(error) => {
                        let error = error.to_string();
                        // Nobody has to listen.
                        let _ = classic.events.send(Event::Refused { uid, from, error });
                    }
                }
            }
        })
        .await
    }

    /// Carries a session of a client over the frames of a WebSocket that the host has upgraded itself, each with the
    /// JSON of one message of at most [`MESSAGE_BYTES_MAX`] bytes. Dropping the future cuts it off.
    ///
    /// # Errors
    ///
    /// Like [`run`](Self::run).
    pub async fn run_frames<R, W>(&self, uid: Uid, frames: Frames<R, W>) -> Result<(), Error>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (session, mut outbox) = self.connect(uid, Framing::Messages).await?;
        let (mut reader, mut writer) = frames.split();
        reader.set_frame_bytes_max(MESSAGE_BYTES_MAX);
        let read = async {
            loop {
                let offence = match reader.read().await {
                    Ok(Some(message)) if session.receive(message.to_vec()).await => continue,
                    Ok(_) => return,
                    Err(NetError::FrameTooLarge { .. }) => Offence::TooLong,
                    // No JSON is empty.
                    Err(NetError::EmptyFrame) => Offence::Malformed,
                    Err(NetError::WebSocketOffence { .. } | NetError::FreeFrames { .. }) => {
                        Offence::Frames
                    }
                    Err(_) => return,
                };
                session.order(|session| Order::Fail(session, offence));
                return;
            }
        };
        let write = async {
            loop {
                let message = tokio::select! {
                    biased;
                    answered = writer.answer() => match answered {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                    message = outbox.recv() => message,
                };
                let Some(message) = message else { break };
                let bytes = message.len();
                if writer.write(message).await.is_err() {
                    return;
                }
                session.order(|session| Order::Written { session, bytes });
            }
            // The session was ended; the peer may read what it was told before.
            let _ = writer.close().await;
        };
        session.carry(read, write).await;
        Ok(())
    }
}
