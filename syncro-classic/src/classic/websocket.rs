//! Classic peers that come over WebSocket: a message of JSON is one of the WebSocket, without a length.

use std::sync::Arc;

use syncro::websocket::Acceptor;
use syncro::{Frames, NetError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{Classic, ClassicListening, Order};
use crate::class::Uid;
use crate::error::Error;
use crate::event::Event;
use crate::limits::{HANDSHAKES_MAX, MESSAGE_BYTES_MAX};
use crate::session::{Framing, Offence};

/// What one has to pass who comes over WebSocket.
struct Door {
    acceptor: Acceptor,
    handshakes: Semaphore,
    #[cfg(feature = "rustls")]
    tls: Option<Arc<syncro::rustls::ServerConfig>>,
}

impl Door {
    fn new(acceptor: Acceptor) -> Self {
        Self {
            acceptor: acceptor.bare(),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            #[cfg(feature = "rustls")]
            tls: None,
        }
    }
}

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
        self.listen_at(addr, uid, Door::new(acceptor)).await
    }

    /// The same over TLS, by the host's rules of who this hub is, and whom to trust if peers have to say who they are:
    /// addresses that begin with `wss://`.
    ///
    /// # Errors
    ///
    /// Like [`listen_websocket`](Self::listen_websocket).
    ///
    /// # Panics
    ///
    /// Like [`listen_websocket`](Self::listen_websocket).
    #[cfg(feature = "rustls")]
    pub async fn listen_websocket_tls(
        &self,
        addr: &str,
        uid: Uid,
        acceptor: Acceptor,
        config: Arc<syncro::rustls::ServerConfig>,
    ) -> Result<ClassicListening, Error> {
        self.listen_at(addr, uid, Door { tls: Some(config), ..Door::new(acceptor) }).await
    }

    async fn listen_at(&self, addr: &str, uid: Uid, door: Door) -> Result<ClassicListening, Error> {
        let (classic, door) = (self.clone(), Arc::new(door));
        self.accept(addr, move |stream, from| {
            let (classic, uid, door) = (classic.clone(), uid.clone(), door.clone());
            async move {
                if let Err(error) = classic.let_in(&door, uid.clone(), stream).await {
                    let error = error.to_string();
                    // Nobody has to listen.
                    let _ = classic.events.send(Event::Refused { uid, from, error });
                }
            }
        })
        .await
    }

    /// Lets a stream in, and carries its session. What there is to say of that is told as events.
    async fn let_in(&self, door: &Door, uid: Uid, stream: TcpStream) -> Result<(), NetError> {
        let Ok(handshake) = door.handshakes.try_acquire() else {
            return Err(NetError::TooManyHandshakes { limit: HANDSHAKES_MAX });
        };
        // What is sent may be longer than what is received.
        let bytes_max = usize::MAX;
        #[cfg(feature = "rustls")]
        if let Some(config) = &door.tls {
            let stream = syncro::tls::accept(stream, config.clone()).await?;
            let frames = door.acceptor.accept(stream, bytes_max).await?;
            drop(handshake);
            let _ = self.run_frames(uid, frames).await;
            return Ok(());
        }
        let frames = door.acceptor.accept(stream, bytes_max).await?;
        drop(handshake);
        let _ = self.run_frames(uid, frames).await;
        Ok(())
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
