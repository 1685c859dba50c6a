//! TLS over TCP, with rustls and the host's configuration.
//!
//! The host decides whom it trusts and who it is, by a `ClientConfig` or a `ServerConfig`; this crate turns no
//! cryptography on by itself. `rustls` bounds the bytes of a handshake, [`HANDSHAKE_TIMEOUT`] its time.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use crate::handshake::HANDSHAKE_TIMEOUT;
use crate::handshake::in_time;
use crate::{Address, NetError, Stream};

/// Begins TLS as a client, and demands a certificate for the host of `address` by the rules of `config`.
///
/// # Errors
///
/// [`NetError::Tls`] when the two sides do not come to terms, [`NetError::HandshakeTimeout`] when they take too
/// long, [`NetError::Address`] for a host that no certificate can name.
pub async fn connect(
    stream: TcpStream,
    address: &Address,
    config: Arc<ClientConfig>,
) -> Result<Stream, NetError> {
    let no_name = |_| NetError::Address { addr: address.to_string() };
    let name = ServerName::try_from(address.host().to_owned()).map_err(no_name)?;
    in_time(async {
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    })
    .await
}

/// Begins TLS as a server, by the rules of `config`.
///
/// # Errors
///
/// [`NetError::Tls`] when the two sides do not come to terms, [`NetError::HandshakeTimeout`] when they take too
/// long.
pub async fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Stream, NetError> {
    in_time(async {
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(failed)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    })
    .await
}

fn failed(cause: std::io::Error) -> NetError {
    NetError::Tls { cause }
}
