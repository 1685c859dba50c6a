//! Messages over WebSocket (RFC 6455), for browsers, and for peers behind proxies that let nothing else through.
//!
//! One message of a session is one message of the WebSocket, without a length prefix: JSON travels as text,
//! MessagePack as binary. Both sides demand the subprotocol [`SUBPROTOCOL`]. What [`upgrade`] and
//! [`Acceptor::accept`] return has the same halves as [`Frames`] over a bare stream, so nothing that reads and
//! writes messages knows the difference.
//!
//! The request and its answer are bounded in bytes ([`HANDSHAKE_BYTES_MAX`]) and in time
//! ([`HANDSHAKE_TIMEOUT`]); messages by the limit that the host gives. Memory follows what has arrived, never
//! what a header announces. Pings are answered, the newest of several; a row of frames that carry nothing ends
//! the connection ([`NetError::FreeFrames`]).
//!
//! ```
//! use bytes::Bytes;
//! use syncro_net::{NetError, websocket};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), NetError> {
//! let (client, server) = tokio::io::duplex(1024); // or TCP, or TLS
//! let acceptor = websocket::Acceptor::default();
//! let address = "ws://server/".parse()?;
//! let (client, server) = tokio::try_join!(
//!     websocket::upgrade(client, &address, 4096),
//!     acceptor.accept(server, 4096),
//! )?;
//!
//! let (_, mut writer) = client.split();
//! writer.write(Bytes::from_static(b"{\"type\":\"ping\"}")).await?;
//! writer.close().await?;
//! let (mut reader, _) = server.split();
//! assert_eq!(reader.read().await?.as_deref(), Some(&b"{\"type\":\"ping\"}"[..]));
//! assert_eq!(reader.read().await?, None);
//! # Ok(())
//! # }
//! ```

mod accept;
mod codec;
mod dial;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tungstenite::handshake::machine::TryParse;

pub use accept::{Acceptor, Refusal};
use codec::Kinds;
pub use codec::Side;
pub(crate) use codec::{Pongs, ReadCodec, WriteCodec};
pub use dial::upgrade;
/// The requests and answers that [`Acceptor::answer`] speaks of.
pub use tungstenite::http;

use crate::codec::{ReadCodec as AnyRead, WriteCodec as AnyWrite};
pub use crate::handshake::HANDSHAKE_TIMEOUT;
use crate::handshake::in_time;
use crate::{Frames, NetError};

/// The subprotocol that both sides demand: whoever does not speak it has come to the wrong place.
pub const SUBPROTOCOL: &str = "syncro.v1";

/// How long a request for an upgrade, or its answer, may be. Those of browsers take about 1 KiB with the
/// cookies of a site.
pub const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;

/// Wraps a stream that was upgraded to a WebSocket by somebody else, such as the host's web server.
///
/// Nothing may have been read from it past the request or its answer. A message has at most `frame_bytes_max`
/// bytes in both directions, as with [`Frames::new`].
pub fn frames<S>(stream: S, side: Side, frame_bytes_max: usize) -> Frames<ReadHalf<S>, WriteHalf<S>>
where
    S: AsyncRead + AsyncWrite,
{
    frames_after(stream, Bytes::new(), (side, Kinds::ByContent), frame_bytes_max)
}

fn frames_after<S>(
    stream: S,
    unread: Bytes,
    (side, kinds): (Side, Kinds),
    frame_bytes_max: usize,
) -> Frames<ReadHalf<S>, WriteHalf<S>>
where
    S: AsyncRead + AsyncWrite,
{
    let pongs = Arc::new(Pongs::default());
    let read = AnyRead::WebSocket(ReadCodec::new(side, kinds, frame_bytes_max, pongs.clone()));
    let write = AnyWrite::WebSocket(WriteCodec::new(side, frame_bytes_max));
    let (reader, writer) = tokio::io::split(stream);
    Frames::with_codecs(reader, writer, unread, (read, write)).answering(pongs)
}

/// Reads a request or an answer, and whatever came with it. Where bare frames come in its place, that is said with the
/// advice for this side.
async fn read_head<T: TryParse>(
    stream: &mut (impl AsyncRead + Unpin),
    advice: &str,
) -> Result<(T, Bytes), NetError> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    loop {
        let begin = head.len();
        if begin == HANDSHAKE_BYTES_MAX {
            return Err(NetError::UpgradeTooLarge { limit: HANDSHAKE_BYTES_MAX });
        }
        let mut room = (&mut head).limit(HANDSHAKE_BYTES_MAX - begin);
        if stream.read_buf(&mut room).await? == 0 {
            return Err(fault("the other side hung up in the middle of the handshake"));
        }
        // Only a line can be the last one, and what is no HTTP shows at the first byte.
        if begin > 0 && !head[begin..].contains(&b'\n') {
            continue;
        }
        match T::try_parse(&head) {
            Ok(Some((length, parsed))) => return Ok((parsed, head.split_off(length).freeze())),
            Ok(None) => {}
            // The length of any greeting begins with a zero, and nothing of HTTP does.
            Err(_) if head.first() == Some(&0) => {
                return Err(fault(format!(
                    "a bare frame came, as of a node that speaks TCP without WebSocket; {advice}"
                )));
            }
            Err(_) => return Err(fault("what came is not of HTTP/1.1, or asks for no upgrade")),
        }
    }
}

fn fault(fault: impl Into<String>) -> NetError {
    NetError::Upgrade { fault: fault.into() }
}

/// Room for most requests.
const HEAD_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
