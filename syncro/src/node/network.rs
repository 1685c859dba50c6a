//! How a node meets its peers.

use std::sync::atomic::Ordering;

use syncro_core::{Encoding, Role, limits};
use syncro_net::Frames;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Node;
use crate::connect::{self, ConnectOptions, Connection};
use crate::error::Error;
use crate::listen::{self, ListenOptions, Listening};
use crate::session::{self, SessionEnd};

impl Node {
    /// Takes connections on an address; port 0 lets the system choose.
    ///
    /// | address | sessions over |
    /// |---|---|
    /// | `host:port`, `tcp://host:port` | TCP |
    /// | `ws://host:port/path` | WebSocket, feature `websocket`; the path is `/` if left out |
    /// | `tls://host:port` | TLS, feature `rustls` |
    /// | `wss://host:port/path` | WebSocket over TLS, both features |
    ///
    /// TLS needs [options](Self::listen_with) that say by which rules. Without it, beyond this machine, a
    /// [`Notice::Unencrypted`](crate::Notice::Unencrypted) warns. Browsers may connect only where [`ListenOptions::origins`] lets them.
    ///
    /// # Errors
    ///
    /// [`Error::Net`] when the address is none, is in use or cannot be had, or needs a feature or options that
    /// are not there, [`UsageError::NoRuntime`](crate::UsageError::NoRuntime) outside of a tokio runtime,
    /// [`Error::Closed`] when the node is closed, [`Error::Store`] when its store has failed.
    ///
    /// # Panics
    ///
    /// When the runtime has no I/O.
    pub async fn listen(&self, addr: &str) -> Result<Listening, Error> {
        self.listen_with(ListenOptions::new(addr)).await
    }

    /// Like [`listen`](Self::listen), with more to say.
    ///
    /// # Errors
    ///
    /// Like [`listen`](Self::listen).
    pub async fn listen_with(&self, options: ListenOptions) -> Result<Listening, Error> {
        listen::listen(self.core.clone(), options).await
    }

    /// Connects to an address now, and again whenever the connection is lost: after 100 ms, doubling
    /// to at most 5 s, at random within that. What fails on the way is a [`Notice`](crate::Notice).
    ///
    /// The addresses are those of [`listen`](Self::listen); for TLS, again, there are
    /// [options](Self::connect_with). Credentials have no place in them.
    ///
    /// # Errors
    ///
    /// [`Error::Net`] for an address that is none, or needs a feature or options that are not
    /// there, [`UsageError::NoRuntime`](crate::UsageError::NoRuntime) outside of a tokio runtime.
    ///
    /// # Panics
    ///
    /// In its task, when the runtime has no timers or no I/O.
    pub fn connect(&self, addr: &str) -> Result<Connection, Error> {
        self.connect_with(ConnectOptions::new(addr))
    }

    /// Like [`connect`](Self::connect), in an encoding of your choice.
    ///
    /// # Errors
    ///
    /// Like [`connect`](Self::connect).
    pub fn connect_in(&self, addr: &str, encoding: Encoding) -> Result<Connection, Error> {
        self.connect_with(ConnectOptions::new(addr).encoding(encoding))
    }

    /// Like [`connect`](Self::connect), with more to say.
    ///
    /// # Errors
    ///
    /// Like [`connect`](Self::connect).
    pub fn connect_with(&self, options: ConnectOptions) -> Result<Connection, Error> {
        connect::connect(self.core.clone(), options)
    }

    /// Carries a session over any stream of bytes until it ends.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when there are too many sessions or no tokio runtime is here, [`Error::Closed`] when the node is closed,
    /// [`Error::Store`] when its store has failed.
    ///
    /// # Panics
    ///
    /// When the runtime has no timers.
    pub async fn run<S>(&self, stream: S, role: Role) -> Result<SessionEnd, Error>
    where
        S: AsyncRead + AsyncWrite,
    {
        self.run_frames(Frames::new(stream, limits::FRAME_BYTES_MAX), role).await
    }

    /// Carries a session until it ends, over two streams of one direction each
    /// ([`Frames::from_halves`]), or over a WebSocket that the host has upgraded itself
    /// (`websocket::frames`).
    ///
    /// Messages may be up to [`limits::FRAME_BYTES_MAX`] bytes long, so frames must be too.
    ///
    /// ```
    /// use syncro::{Encoding, Frames, Node, Role, limits};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), syncro::Error> {
    /// let (server, laptop) = (Node::in_memory("server")?, Node::in_memory("laptop")?);
    /// let (up, down) = (tokio::io::simplex(4096), tokio::io::simplex(4096));
    /// let at_server = Frames::from_halves(up.0, down.1, limits::FRAME_BYTES_MAX);
    /// let at_laptop = Frames::from_halves(down.0, up.1, limits::FRAME_BYTES_MAX);
    /// tokio::select! {
    ///     end = server.run_frames(at_server, Role::Accept) => println!("{end:?}"),
    ///     end = laptop.run_frames(at_laptop, Role::Dial(Encoding::Json)) => println!("{end:?}"),
    ///     met = laptop.confirmed_by(server.id(), 0) => met?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Like [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// When the runtime has no timers.
    pub async fn run_frames<R, W>(
        &self,
        frames: Frames<R, W>,
        role: Role,
    ) -> Result<SessionEnd, Error>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        connect::runtime()?;
        let ended = session::run(&self.core, frames, role, std::future::pending()).await?;
        Ok(ended.end)
    }

    /// Bytes read and written on all connections since the node was opened, length prefixes and the headers
    /// of WebSocket frames included.
    pub fn traffic(&self) -> (u64, u64) {
        let read = self.core.read_bytes.load(Ordering::Relaxed);
        (read, self.core.written_bytes.load(Ordering::Relaxed))
    }

    /// Tells the listeners to notices.
    #[cfg(feature = "axum")]
    pub(crate) fn post(&self, notice: crate::notices::Notice) {
        self.core.board.post(notice);
    }
}
