//! Frames, TCP, TLS, WebSocket and reconnecting for Syncro: this crate knows bytes, not records.
//!
//! A session needs three things from its transport: messages that arrive whole ([`Frames`]),
//! a stream to carry them ([`tcp`], or anything that is `AsyncRead + AsyncWrite`; TLS with
//! the feature `rustls`, WebSocket with `websocket`), and a civil pause before trying again once that stream is gone ([`Backoff`]). What is inside a frame,
//! who may connect, and when to give up are the host's business.
//!
//! ```
//! use bytes::Bytes;
//! use syncro_net::{Frames, NetError, tcp};
//!
//! const FRAME_BYTES_MAX: usize = 1 << 20;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), NetError> {
//! let listener = tcp::listen("127.0.0.1:0").await?;
//! let dialed = tcp::connect(&listener.local_addr()?.to_string()).await?;
//! let (accepted, _peer) = listener.accept().await?;
//!
//! let (_, mut to_server) = Frames::new(dialed, FRAME_BYTES_MAX).split();
//! let (mut from_client, _) = Frames::new(accepted, FRAME_BYTES_MAX).split();
//!
//! to_server.write(Bytes::from_static(b"hello")).await?;
//! to_server.close().await?;
//!
//! assert_eq!(from_client.read().await?.as_deref(), Some(&b"hello"[..]));
//! assert_eq!(from_client.read().await?, None);
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod backoff;
mod codec;
mod error;
pub mod frame;
#[cfg(any(feature = "rustls", feature = "websocket"))]
mod handshake;
pub mod stream;
pub mod tcp;
#[cfg(feature = "rustls")]
pub mod tls;
mod traffic;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use address::{Address, Transport};
pub use backoff::Backoff;
pub use error::NetError;
pub use frame::{FrameReader, FrameWriter, Frames};
#[cfg(any(feature = "rustls", feature = "websocket"))]
pub use handshake::HANDSHAKE_TIMEOUT;
pub use stream::Stream;
/// The TLS of the version that configurations have to be of.
#[cfg(feature = "rustls")]
pub use tokio_rustls::rustls;
pub use traffic::Traffic;
