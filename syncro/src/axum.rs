//! A node on a route of an [axum](https://docs.rs/axum/0.8) server.
//!
//! Peers connect to the route over WebSocket, with `ws://`, or `wss://` where the server, or the proxy before it,
//! has TLS.
//!
//! ```
//! use axum::Router;
//! use syncro::Node;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::in_memory("server")?;
//! let app: Router = Router::new().route("/sync", syncro::axum::node(&node));
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let addr = listener.local_addr()?;
//! let serving = tokio::spawn(async { axum::serve(listener, app).await });
//!
//! let laptop = Node::in_memory("laptop")?;
//! let _link = laptop.connect(&format!("ws://{addr}/sync"))?;
//! laptop.confirmed_by(node.id(), laptop.end().offset).await?;
//! # serving.abort();
//! # Ok(())
//! # }
//! ```
//!
//! A server that shuts down does not wait for what it has upgraded: [`Node::close`] and [`Node::closed`] end the
//! sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use ::axum::extract::{ConnectInfo, Request};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::{MethodRouter, get};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use syncro_core::{Role, limits};
use syncro_net::NetError;
use syncro_net::websocket::{self, Acceptor, HANDSHAKE_TIMEOUT, Side};
use tokio::sync::Semaphore;

use crate::listen::HANDSHAKES_MAX;
use crate::node::Node;
use crate::notices::Notice;
use crate::session::run_after;

/// A route at which peers meet a node; no browser may.
///
/// The route holds the node open. Each request is a session; what is wrong with one is answered in HTTP and told
/// in a [`Notice`]. The request's headers are bounded by the server; of those who have not said yet who they are a route
/// has as many as a listener at most, and answers 503 to others.
pub fn node<S>(node: &Node) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    node_with(node, Acceptor::default())
}

/// Like [`node`], for those whom `acceptor` lets in: web pages of some origins too.
///
/// ```
/// use syncro::websocket::Acceptor;
/// # let node = syncro::Node::in_memory("server")?;
///
/// let acceptor = Acceptor::default().origins(["https://app.example"]);
/// let app: axum::Router =
///     axum::Router::new().route("/sync", syncro::axum::node_with(&node, acceptor));
/// # Ok::<(), syncro::Error>(())
/// ```
pub fn node_with<S>(node: &Node, acceptor: Acceptor) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let door = Arc::new(Door { acceptor, handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)) });
    let node = node.clone();
    get(async move |request: Request| answer(node, &door, request))
}

/// What a request has to pass before its session begins.
struct Door {
    acceptor: Acceptor,
    /// From the answer to a request to the peer's `hello`.
    handshakes: Arc<Semaphore>,
}

/// Answers a request, and carries the session in a task of its own.
fn answer(node: Node, door: &Door, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0);
    let request = Request::from_parts(parts, ());
    let (response, upgrade) = match (door.acceptor.answer(&request), upgrade) {
        (Ok(response), Some(upgrade)) => (response, upgrade),
        // A server that cannot upgrade speaks another version of HTTP than the request says.
        (Ok(_), None) => return websocket::http::StatusCode::UPGRADE_REQUIRED.into_response(),
        (Err(refusal), _) => {
            let answer = (refusal.status(), refusal.text()).into_response();
            node.post(Notice::AcceptFailed { from, error: refusal.error.to_string() });
            return answer;
        }
    };
    let Ok(handshake) = door.handshakes.clone().try_acquire_owned() else {
        let error = NetError::TooManyHandshakes { limit: HANDSHAKES_MAX };
        node.post(Notice::AcceptFailed { from, error: error.to_string() });
        return websocket::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    tokio::spawn(async move {
        // A peer that has gone before its upgrade is none, nor one that does not take the answer.
        let upgraded = tokio::time::timeout(HANDSHAKE_TIMEOUT, upgrade).await;
        let Ok(Ok(stream)) = upgraded else { return };
        let frames = websocket::frames(TokioIo::new(stream), Side::Server, limits::FRAME_BYTES_MAX);
        let (role, never) = (Role::Accept, std::future::pending());
        // A node that has stopped refuses by hanging up.
        let _ = run_after(node.core(), frames, role, Some(handshake), never).await;
    });
    response.map(|()| ::axum::body::Body::empty())
}

#[cfg(test)]
mod tests {
    use ::axum::body::Body;

    use super::*;

    fn request() -> Request {
        Request::builder()
            .header("host", "server")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", websocket::SUBPROTOCOL)
            .body(Body::empty())
            .unwrap()
    }

    fn upgradable() -> Request {
        let mut request = request();
        let upgrade = hyper::upgrade::on(Request::new(Body::empty()));
        request.extensions_mut().insert(upgrade);
        request
    }

    /// Whoever begins handshakes at a route and ends none takes no more than their share.
    #[tokio::test]
    async fn a_full_route_says_that_it_is_full() {
        let node = Node::in_memory("server").unwrap();
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let door = Door { acceptor: Acceptor::default(), handshakes };
        let held = door.handshakes.clone().try_acquire_many_owned(HANDSHAKES_MAX as u32).unwrap();
        let mut notices = node.notices();
        let answered = answer(node.clone(), &door, upgradable());
        assert_eq!(answered.status(), websocket::http::StatusCode::SERVICE_UNAVAILABLE);
        let told = notices.next().await.unwrap();
        assert!(matches!(told, Notice::AcceptFailed { .. }), "{told:?}");
        drop(held);
        let answered = answer(node, &door, upgradable());
        assert_eq!(answered.status(), websocket::http::StatusCode::SWITCHING_PROTOCOLS);
        // That one never comes to its upgrade, and gives its place back.
        tokio::task::yield_now().await;
        assert_eq!(door.handshakes.available_permits(), HANDSHAKES_MAX);
    }
}
