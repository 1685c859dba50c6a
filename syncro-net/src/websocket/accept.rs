//! The side that is asked for a WebSocket.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tungstenite::error::{Error as WsError, ProtocolError};
use tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tungstenite::http::{HeaderValue, StatusCode, header};

use super::dial::has_token;
use super::{Kinds, SUBPROTOCOL, Side, fault, frames_after, in_time, read_head};
use crate::{Frames, NetError};

/// Says who gets a WebSocket, and upgrades the connections of those who do.
///
/// Without more it takes every native peer at any path, and no browser.
#[derive(Debug, Clone, Default)]
pub struct Acceptor {
    path: Option<String>,
    origins: Vec<String>,
    is_bare: bool,
}

impl Acceptor {
    /// Answers requests for this path alone, and others with 404.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Demands no subprotocol, and agrees on none: for peers that speak something else than Syncro and know nothing of
    /// subprotocols. Of them text and bytes are taken alike.
    pub fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// Lets the web pages of these origins connect too, each as browsers write it:
    /// `https://app.example`, with a port if it is not the usual one.
    ///
    /// A browser says with every request from which origin the page is that makes it, and lets any page make
    /// one: without the list, a page that a user only looks at could use a node on that user's machine or
    /// network. So a request with an origin that is not on the list is refused with 403. One without any is
    /// not of a browser, and taken; native clients may claim what they like, so the list says nothing about
    /// who they are.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }

    /// Waits for the request that comes over `stream`, answers it, and returns the WebSocket.
    ///
    /// A message has at most `frame_bytes_max` bytes in both directions, as with [`Frames::new`]. Who is
    /// refused is told so in HTTP, and the stream is closed.
    ///
    /// # Errors
    ///
    /// The other side's fault: [`NetError::Upgrade`], [`NetError::Origin`], [`NetError::UpgradeTooLarge`],
    /// [`NetError::HandshakeTimeout`]. [`NetError::Broken`] when the stream fails.
    pub async fn accept<S>(
        &self,
        stream: S,
        frame_bytes_max: usize,
    ) -> Result<Frames<ReadHalf<S>, WriteHalf<S>>, NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = in_time(self.shake(stream)).await?;
        let kinds = if self.is_bare { Kinds::Any } else { Kinds::ByContent };
        Ok(frames_after(stream, bytes::Bytes::new(), (Side::Server, kinds), frame_bytes_max))
    }

    async fn shake<S>(&self, mut stream: S) -> Result<S, NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let advice = "let it write ws://host:port/path as the address, or listen at host:port";
        let answer = match read_head::<Request>(&mut stream, advice).await {
            Ok((request, unread)) if unread.is_empty() => self.answer(&request),
            Ok(_) => Err(Refusal::bad("frames came before the answer")),
            Err(error @ (NetError::Upgrade { .. } | NetError::UpgradeTooLarge { .. })) => {
                Err(Refusal { status: StatusCode::BAD_REQUEST, error })
            }
            Err(error) => return Err(error),
        };
        let mut written = Vec::new();
        let response = match &answer {
            Ok(response) => write_response(&mut written, response),
            Err(refusal) => {
                let text = refusal.text();
                let mut response = Response::new(());
                *response.status_mut() = refusal.status;
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
                let response = write_response(&mut written, &response);
                written.extend_from_slice(text.as_bytes());
                response
            }
        };
        response.map_err(|_| fault("the answer cannot be written"))?;
        stream.write_all(&written).await?;
        stream.flush().await?;
        match answer {
            Ok(_) => Ok(stream),
            Err(refusal) => {
                // Whoever has gone before the end of the answer needs none.
                let _ = stream.shutdown().await;
                Err(refusal.error)
            }
        }
    }

    /// Says what to answer to a request: the upgrade (101), or why not. For a host whose web server has read
    /// it; [`frames`](super::frames) then takes the upgraded stream.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that the web server has to answer with.
    pub fn answer(&self, request: &Request) -> Result<Response, Refusal> {
        if self.path.as_ref().is_some_and(|path| path != request.uri().path()) {
            let error = fault(format!("nothing listens at the path {:?}", request.uri().path()));
            return Err(Refusal { status: StatusCode::NOT_FOUND, error });
        }
        let headers = request.headers();
        for origin in headers.get_all(header::ORIGIN) {
            let is_listed =
                |listed: &String| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
            if !self.origins.iter().any(is_listed) {
                let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
                let error = NetError::Origin { origin };
                return Err(Refusal { status: StatusCode::FORBIDDEN, error });
            }
        }
        let mut response = create_response(request).map_err(|error| match error {
            WsError::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => Refusal {
                status: StatusCode::UPGRADE_REQUIRED,
                error: fault("a request came that asks for no WebSocket of version 13"),
            },
            _ => Refusal::bad("a request came that is not one of RFC 6455"),
        })?;
        if self.is_bare {
            return Ok(response);
        }
        if !has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err(Refusal::bad("a request came without the subprotocol \"syncro.v1\""));
        }
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        Ok(response)
    }
}

/// A request for a WebSocket that was not granted.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    /// Why, for this side's operator.
    pub error: NetError,
}

impl Refusal {
    fn bad(why: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: fault(why) }
    }

    /// The status of the answer: 400, 403, 404 or 426.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text of the answer, which tells the other side no more than it has to know.
    pub fn text(&self) -> &'static str {
        match self.status {
            StatusCode::FORBIDDEN => "Pages of this origin may not connect.\n",
            StatusCode::NOT_FOUND => "Nothing listens at this path.\n",
            _ => "Only WebSockets with the subprotocol syncro.v1 are served here.\n",
        }
    }
}
