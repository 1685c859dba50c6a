//! What has to be over before the first frame.

use std::time::Duration;

use crate::NetError;

/// How long the handshake of TLS may take, and how long the upgrade to a WebSocket, from the first byte to
/// the last.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Gives a handshake its time.
pub(crate) async fn in_time<T>(
    shake: impl Future<Output = Result<T, NetError>>,
) -> Result<T, NetError> {
    let limit = HANDSHAKE_TIMEOUT;
    let in_time = tokio::time::timeout(limit, shake).await;
    in_time.unwrap_or(Err(NetError::HandshakeTimeout { limit }))
}
