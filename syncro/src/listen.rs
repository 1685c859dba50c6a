//! Taking connections.

use std::net::SocketAddr;
use std::sync::Arc;

use syncro_core::{Role, limits};
use syncro_net::{Address, Frames, NetError, Transport};
use tokio::net::TcpStream;
#[cfg(feature = "websocket")]
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::connect::{TcpFrames, is_closed, is_loopback, parse, runtime};
use crate::core::Core;
use crate::error::Error;
use crate::notices::Notice;
use crate::session::run;

/// Handshakes that a listener has under way at most, of WebSockets. Each takes some kilobytes, and ten seconds
/// at most; whoever comes to a full house is hung up on, and tries again.
#[cfg(feature = "websocket")]
const HANDSHAKES_MAX: usize = 1024;

/// Where to listen, and for whom; see [`Node::listen_with`](crate::Node::listen_with).
///
/// ```
/// use syncro::ListenOptions;
///
/// let options = ListenOptions::new("ws://127.0.0.1:7700/sync").origins(["https://app.example"]);
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    addr: String,
    origins: Vec<String>,
}

impl ListenOptions {
    /// Listens on an address as [`Node::listen`](crate::Node::listen) takes it.
    pub fn new(addr: impl Into<String>) -> Self {
        Self { addr: addr.into(), origins: Vec::new() }
    }

    /// Lets the web pages of these origins connect over WebSocket, each as browsers write it:
    /// `https://app.example`, with a port if it is not the usual one. Without any, no browser may.
    ///
    /// A browser says with every request from which origin the page is that makes it, and lets any page make
    /// one; so an origin that is not on the list is refused with 403. Native peers say none, and are taken.
    /// The list protects users of browsers from pages that they look at, and says nothing of who else comes.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }
}

/// Takes connections until it is closed or dropped, or the node is closed; sessions that are open go on. While
/// the node has stopped it hangs up on everybody.
#[derive(Debug)]
#[must_use = "dropping it stops the listening"]
pub struct Listening {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// The address on which it listens: the port is a real one even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections. Returns when the port is free.
    pub async fn close(mut self) {
        self.task.abort();
        // A task that was aborted has dropped its socket.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn listen(core: Arc<Core>, options: ListenOptions) -> Result<Listening, Error> {
    runtime()?;
    let (mut life, staying) = (core.life(), core.stay());
    if let Some(error) = core.stopped() {
        return Err(error);
    }
    let address = parse(&options.addr)?;
    let listener = syncro_net::tcp::listen(address.authority()).await?;
    let addr = listener.local_addr()?;
    if !is_loopback(addr.ip()) {
        core.board.post(Notice::Unencrypted { addr: addr.to_string() });
    }
    let door = Arc::new(Door::new(&address, options));
    let task = tokio::spawn(async move {
        let _staying = staying;
        loop {
            let (stream, from) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(_) => return,
                },
                _ = life.wait_for(is_closed) => return,
            };
            let (core, door) = (core.clone(), door.clone());
            tokio::spawn(async move {
                let mut life = core.life();
                let entered = tokio::select! {
                    entered = door.enter(stream) => entered,
                    _ = life.wait_for(is_closed) => return,
                };
                match entered {
                    // A node that has stopped refuses by hanging up.
                    Ok(frames) => {
                        let _ = run(&core, frames, Role::Accept, std::future::pending()).await;
                    }
                    Err(error) => core
                        .board
                        .post(Notice::AcceptFailed { from: Some(from), error: error.to_string() }),
                }
            });
        }
    });
    Ok(Listening { addr, task })
}

/// What a connection has to pass before its session begins.
struct Door {
    transport: Transport,
    #[cfg(feature = "websocket")]
    handshakes: Semaphore,
    #[cfg(feature = "websocket")]
    acceptor: syncro_net::websocket::Acceptor,
}

impl Door {
    fn new(address: &Address, options: ListenOptions) -> Self {
        #[cfg(not(feature = "websocket"))]
        drop(options);
        Self {
            transport: address.transport(),
            #[cfg(feature = "websocket")]
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            #[cfg(feature = "websocket")]
            acceptor: syncro_net::websocket::Acceptor::default()
                .path(address.path())
                .origins(options.origins),
        }
    }

    async fn enter(&self, stream: TcpStream) -> Result<TcpFrames, NetError> {
        match self.transport {
            #[cfg(feature = "websocket")]
            Transport::WebSocket => {
                let limit = HANDSHAKES_MAX;
                let Ok(_handshake) = self.handshakes.try_acquire() else {
                    return Err(NetError::TooManyHandshakes { limit });
                };
                self.acceptor.accept(stream, limits::FRAME_BYTES_MAX).await
            }
            _ => Ok(Frames::new(stream, limits::FRAME_BYTES_MAX)),
        }
    }
}
