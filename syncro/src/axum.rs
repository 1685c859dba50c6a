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

use ::axum::extract::{ConnectInfo, Request};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::{MethodRouter, get};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use syncro_core::{Role, limits};
use syncro_net::websocket::{self, Acceptor, Side};

use crate::node::Node;
use crate::notices::Notice;

/// A route at which peers meet a node; no browser may.
///
/// The route holds the node open. Each request is a session; what is wrong with one is answered in HTTP and told
/// in a [`Notice`]. The request's headers are bounded by the server.
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
    let node = node.clone();
    get(async move |request: Request| answer(node, &acceptor, request))
}

/// Answers a request, and carries the session in a task of its own.
fn answer(node: Node, acceptor: &Acceptor, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0);
    let request = Request::from_parts(parts, ());
    let (response, upgrade) = match (acceptor.answer(&request), upgrade) {
        (Ok(response), Some(upgrade)) => (response, upgrade),
        // A server that cannot upgrade speaks another version of HTTP than the request says.
        (Ok(_), None) => return websocket::http::StatusCode::UPGRADE_REQUIRED.into_response(),
        (Err(refusal), _) => {
            let answer = (refusal.status(), refusal.text()).into_response();
            node.post(Notice::AcceptFailed { from, error: refusal.error.to_string() });
            return answer;
        }
    };
    tokio::spawn(async move {
        // A peer that has gone before its upgrade is none.
        let Ok(stream) = upgrade.await else { return };
        let frames = websocket::frames(TokioIo::new(stream), Side::Server, limits::FRAME_BYTES_MAX);
        // A node that has stopped refuses by hanging up.
        let _ = node.run_frames(frames, Role::Accept).await;
    });
    response.map(|()| ::axum::body::Body::empty())
}
