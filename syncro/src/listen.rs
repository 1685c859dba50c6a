//! Taking connections.

use std::net::SocketAddr;
use std::sync::Arc;

use syncro_core::{Role, limits};
#[cfg(feature = "websocket")]
use syncro_net::Transport;
use syncro_net::{Address, Frames, NetError, Stream};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

#[cfg(feature = "rustls")]
use crate::connect::tls_for;
use crate::connect::{StreamFrames, is_closed, is_loopback, parse, runtime};
use crate::core::Core;
use crate::error::Error;
use crate::notices::Notice;
use crate::session::{Ended, SessionEnd, run_after};

/// Handshakes that a listener has under way at most, from the first byte of TLS or a WebSocket to the peer's `hello`.
/// Each step of them takes ten seconds at most, and all of it some 80 KiB, 64 of them for TLS; whoever comes to a full
/// house is hung up on, and tries again. Strangers who say nothing so take no places of sessions but these.
pub(crate) const HANDSHAKES_MAX: usize = 1024;

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
    #[cfg(feature = "rustls")]
    tls: Option<Arc<syncro_net::rustls::ServerConfig>>,
}

impl ListenOptions {
    /// Listens on an address as [`Node::listen`](crate::Node::listen) takes it.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            origins: Vec::new(),
            #[cfg(feature = "rustls")]
            tls: None,
        }
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

    /// Takes these rules for `tls://` and `wss://` addresses, which need some: who this node is, and whom to
    /// trust if peers have to say who they are.
    #[cfg(feature = "rustls")]
    pub fn tls(mut self, config: Arc<syncro_net::rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
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
    let is_tls = address.is_tls();
    let door = Arc::new(Door::new(address.clone(), options)?);
    let listener = syncro_net::tcp::listen(address.authority()).await?;
    let addr = listener.local_addr()?;
    if !is_tls && !is_loopback(addr.ip()) {
        core.board.post(Notice::Unencrypted { addr: addr.to_string() });
    }
    if !core.has_rules() && !is_loopback(addr.ip()) {
        core.board.post(Notice::Unlimited { addr: addr.to_string() });
    }
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
                    Ok((frames, handshake)) => {
                        let (role, never) = (Role::Accept, std::future::pending());
                        let ended = run_after(&core, frames, role, Some(handshake), never).await;
                        // The notice that the session has ended does not know from where it came.
                        if let Ok(Ended {
                            end: SessionEnd { was_open: false, .. },
                            fault: Some(fault),
                        }) = ended
                        {
                            let error = fault.to_string();
                            core.board.post(Notice::AcceptFailed { from: Some(from), error });
                        }
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
    address: Address,
    handshakes: Arc<Semaphore>,
    #[cfg(feature = "websocket")]
    acceptor: syncro_net::websocket::Acceptor,
    #[cfg(feature = "rustls")]
    tls: Option<Arc<syncro_net::rustls::ServerConfig>>,
}

impl Door {
    #[cfg_attr(
        not(feature = "rustls"),
        allow(clippy::unnecessary_wraps, reason = "only TLS can lack something")
    )]
    fn new(address: Address, options: ListenOptions) -> Result<Self, NetError> {
        #[cfg(feature = "rustls")]
        let tls = tls_for(&address, options.tls)?;
        #[cfg(not(feature = "websocket"))]
        drop(options.origins);
        Ok(Self {
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            #[cfg(feature = "websocket")]
            acceptor: syncro_net::websocket::Acceptor::default()
                .path(address.path().split('?').next().unwrap_or_default())
                .origins(options.origins),
            #[cfg(feature = "rustls")]
            tls,
            address,
        })
    }

    /// Lets a stream in, with its place among the handshakes: to be held until it is known whose it is.
    async fn enter(
        &self,
        stream: TcpStream,
    ) -> Result<(StreamFrames, OwnedSemaphorePermit), NetError> {
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            return Err(NetError::TooManyHandshakes { limit: HANDSHAKES_MAX });
        };
        #[cfg(feature = "rustls")]
        let stream = match &self.tls {
            Some(tls) => syncro_net::tls::accept(stream, tls.clone()).await?,
            None => Stream::Tcp(stream),
        };
        #[cfg(not(feature = "rustls"))]
        let stream = Stream::Tcp(stream);
        let frames = match self.address.transport() {
            #[cfg(feature = "websocket")]
            Transport::WebSocket => self.acceptor.accept(stream, limits::FRAME_BYTES_MAX).await?,
            _ => Frames::new(stream, limits::FRAME_BYTES_MAX),
        };
        Ok((frames, handshake))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    /// Whoever begins handshakes and ends none takes no more than their share.
    #[tokio::test]
    async fn a_full_house_hangs_up_on_whoever_comes() {
        let address = "ws://127.0.0.1:0".parse().unwrap();
        let door = Door::new(address, ListenOptions::new("ws://127.0.0.1:0")).unwrap();
        let held = door.handshakes.try_acquire_many(HANDSHAKES_MAX as u32).unwrap();
        let listener = syncro_net::tcp::listen("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let _peer = syncro_net::tcp::connect(&addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let refused = door.enter(stream).await;
        assert!(matches!(refused, Err(NetError::TooManyHandshakes { limit: HANDSHAKES_MAX })));
        drop(held);

        let peer = syncro_net::tcp::connect(&addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let upgrade = syncro_net::websocket::upgrade(peer, &door.address, 1024);
        let (entered, upgraded) = tokio::join!(door.enter(stream), upgrade);
        assert!(entered.is_ok() && upgraded.is_ok());
        assert_eq!(door.handshakes.available_permits(), HANDSHAKES_MAX - 1, "until it says hello");
        drop(entered);
        assert_eq!(door.handshakes.available_permits(), HANDSHAKES_MAX, "its share is given back");
    }

    /// Over TCP without more, strangers who said nothing took the places of sessions, all of them.
    #[tokio::test]
    async fn a_stranger_has_a_place_among_the_handshakes_until_it_says_who_it_is() {
        let [server, laptop] = ["server", "laptop"].map(|name| Node::in_memory(name).unwrap());
        let options = ListenOptions::new("127.0.0.1:0");
        let door = Door::new("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let _others = door.handshakes.try_acquire_many(HANDSHAKES_MAX as u32 - 1).unwrap();
        let listener = syncro_net::tcp::listen("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();

        let silent = syncro_net::tcp::connect(&addr).await.unwrap();
        let (frames, handshake) = door.enter(listener.accept().await.unwrap().0).await.unwrap();
        let next = syncro_net::tcp::connect(&addr).await.unwrap();
        let refused = door.enter(listener.accept().await.unwrap().0).await;
        assert!(matches!(refused, Err(NetError::TooManyHandshakes { .. })));
        drop((silent, frames, handshake, next));
        assert_eq!(door.handshakes.available_permits(), 1);

        let _connection = laptop.connect(&addr).unwrap();
        let (frames, handshake) = door.enter(listener.accept().await.unwrap().0).await.unwrap();
        assert_eq!(door.handshakes.available_permits(), 0);
        let (core, role, handshake) = (server.core().clone(), Role::Accept, Some(handshake));
        let session = run_after(&core, frames, role, handshake, std::future::pending());
        let met = async { laptop.confirmed_by(server.id(), 0).await.unwrap() };
        tokio::select! {
            _ = session => panic!("the session ended"),
            () = met => {}
        }
        assert_eq!(door.handshakes.available_permits(), 1, "while the session goes on");
    }
}
