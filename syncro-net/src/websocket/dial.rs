//! The side that asks for a WebSocket.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tungstenite::handshake::client::{Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::{HeaderMap, Request, StatusCode, header};

use super::{Kinds, SUBPROTOCOL, Side, fault, frames_after, in_time, read_head};
use crate::{Address, Frames, NetError};

/// Asks the server at the other end of `stream` for a WebSocket at the path of `address`.
///
/// The stream is one to the address's host, with TLS below if the address says so: this function speaks the
/// upgrade alone, over whatever it is given. It sends no `Origin`, which is for browsers, and no credentials,
/// which travel in the session's `hello`. A message has at most `frame_bytes_max` bytes in both directions, as
/// with [`Frames::new`].
///
/// # Errors
///
/// [`NetError::Upgrade`] when the server says no, and [`NetError::UpgradeTooLarge`],
/// [`NetError::HandshakeTimeout`] or [`NetError::Broken`] when it says nothing that makes sense.
pub async fn upgrade<S>(
    stream: S,
    address: &Address,
    frame_bytes_max: usize,
) -> Result<Frames<ReadHalf<S>, WriteHalf<S>>, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, unread) = in_time(shake(stream, address)).await?;
    Ok(frames_after(stream, unread, (Side::Client, Kinds::ByContent), frame_bytes_max))
}

async fn shake<S>(mut stream: S, address: &Address) -> Result<(S, Bytes), NetError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(address.path())
        .header(header::HOST, address.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(());
    let no_request = |_| NetError::Address { addr: address.to_string() };
    let (request, key) =
        request.map_err(tungstenite::Error::from).and_then(generate_request).map_err(no_request)?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let advice = "write host:port as the address, without ws:// and a path";
    let (response, unread) = read_head::<Response>(&mut stream, advice).await?;
    check(&response, &key)?;
    Ok((stream, unread))
}

/// Holds the answer to RFC 6455, section 4.1, and to our subprotocol.
fn check(response: &Response, key: &str) -> Result<(), NetError> {
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let advice = match status {
            StatusCode::NOT_FOUND => "check the path of the address",
            StatusCode::FORBIDDEN => "the server does not want this node",
            _ if status.is_redirection() => "give the address that it leads to",
            _ => "check that a node listens there",
        };
        return Err(fault(format!("the server answered {status}; {advice}")));
    }
    let headers = response.headers();
    let accept = derive_accept_key(key.as_bytes());
    let is_upgrade = has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade")
        && text(headers, &header::SEC_WEBSOCKET_ACCEPT) == Some(&accept)
        && !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    if !is_upgrade {
        return Err(fault("the server's answer is not one to this request; check what is between"));
    }
    match text(headers, &header::SEC_WEBSOCKET_PROTOCOL) {
        Some(SUBPROTOCOL) => Ok(()),
        other => Err(fault(format!(
            "the server speaks {:?} and not {SUBPROTOCOL:?}; check that a node listens there",
            other.unwrap_or_default()
        ))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a header that is a list has an element.
pub(super) fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|each| each.trim().eq_ignore_ascii_case(token))
}
