//! Connecting again and again.

use std::net::IpAddr;
use std::sync::Arc;

use syncro_core::{CloseReason, Encoding, Role, UsageError, limits};
use syncro_net::{Address, Backoff, Frames, NetError, Stream, Transport};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::core::{Core, Life};
use crate::error::Error;
use crate::notices::Notice;
use crate::session::{Ended, SessionEnd, run};

/// Where to connect to, and how; see [`Node::connect_with`](crate::Node::connect_with).
///
/// ```
/// use syncro::{ConnectOptions, Encoding};
///
/// let options = ConnectOptions::new("127.0.0.1:7700").encoding(Encoding::Json);
/// ```
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    addr: String,
    encoding: Encoding,
    #[cfg(feature = "rustls")]
    tls: Option<Arc<syncro_net::rustls::ClientConfig>>,
}

impl ConnectOptions {
    /// Connects to an address as [`Node::connect`](crate::Node::connect) takes it, in MessagePack.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            encoding: Encoding::default(),
            #[cfg(feature = "rustls")]
            tls: None,
        }
    }

    /// Speaks in this encoding, in which the peer answers.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Takes these rules for `tls://` and `wss://` addresses, which need some: whom to trust, and who this node
    /// is if the peer asks.
    #[cfg(feature = "rustls")]
    pub fn tls(mut self, config: Arc<syncro_net::rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

/// Keeps a connection to an address, until it is closed or dropped, or the node is closed. While the node has
/// stopped it waits for a repair.
///
/// Dropping it cuts a session off without a goodbye; [`close`](Self::close) says it.
#[derive(Debug)]
#[must_use = "dropping it cuts the connection"]
pub struct Connection {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Ends the session, if there is one, and connects no more. Returns when it has ended.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // A task that panicked has ended too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The runtime that carries sessions.
pub(crate) fn runtime() -> Result<Handle, UsageError> {
    Handle::try_current().map_err(|_| UsageError::NoRuntime)
}

pub(crate) fn connect(core: Arc<Core>, options: ConnectOptions) -> Result<Connection, Error> {
    let runtime = runtime()?;
    let target = Target::new(options)?;
    let (stop, mut stopped) = watch::channel(false);
    let (mut life, staying) = (core.life(), core.stay());
    let task = runtime.spawn(async move {
        let _staying = staying;
        let mut backoff = Backoff::default();
        let mut has_warned = false;
        while !*stopped.borrow() {
            if *life.borrow_and_update() != Life::Running {
                tokio::select! {
                    _ = life.wait_for(|life| matches!(life, Life::Running | Life::Closed)) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
            if is_closed(&life.borrow()) {
                return;
            }
            if attempt(&core, &target, &mut has_warned, &mut stopped, &mut life).await {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
                // A node that was repaired connects at once.
                _ = life.changed() => backoff.reset(),
            }
        }
    });
    Ok(Connection { stop, task })
}

/// Reads an address that this program can connect to or listen on.
pub(crate) fn parse(addr: &str) -> Result<Address, NetError> {
    let address: Address = addr.parse()?;
    let missing = match (address.transport(), address.is_tls()) {
        (Transport::WebSocket, _) if !cfg!(feature = "websocket") => "websocket",
        (_, true) if !cfg!(feature = "rustls") => "rustls",
        _ => return Ok(address),
    };
    Err(NetError::NotBuilt { addr: address.to_string(), feature: missing })
}

/// The rules for TLS that an address needs: none if it has no TLS.
#[cfg(feature = "rustls")]
pub(crate) fn tls_for<T>(address: &Address, tls: Option<T>) -> Result<Option<T>, NetError> {
    match (address.is_tls(), tls) {
        (false, _) => Ok(None),
        (true, None) => Err(NetError::NoTlsConfig { addr: address.to_string() }),
        (true, tls) => Ok(tls),
    }
}

/// What a connection is made to.
struct Target {
    address: Address,
    encoding: Encoding,
    #[cfg(feature = "rustls")]
    tls: Option<Arc<syncro_net::rustls::ClientConfig>>,
}

/// The frames that a connection carries, bare or in a WebSocket.
pub(crate) type StreamFrames = Frames<ReadHalf<Stream>, WriteHalf<Stream>>;

impl Target {
    fn new(options: ConnectOptions) -> Result<Self, NetError> {
        let address = parse(&options.addr)?;
        #[cfg(feature = "rustls")]
        let tls = tls_for(&address, options.tls)?;
        Ok(Self {
            address,
            encoding: options.encoding,
            #[cfg(feature = "rustls")]
            tls,
        })
    }

    /// Connects, and warns of it once if anybody on the way can listen.
    async fn open(&self, core: &Core, has_warned: &mut bool) -> Result<StreamFrames, NetError> {
        let stream = syncro_net::tcp::connect(self.address.authority()).await?;
        let is_far = stream.peer_addr().is_ok_and(|peer| !is_loopback(peer.ip()));
        if is_far && !self.address.is_tls() && !std::mem::replace(has_warned, true) {
            core.board.post(Notice::Unencrypted { addr: self.address.to_string() });
        }
        #[cfg(feature = "rustls")]
        let stream = match &self.tls {
            Some(tls) => syncro_net::tls::connect(stream, &self.address, tls.clone()).await?,
            None => Stream::Tcp(stream),
        };
        #[cfg(not(feature = "rustls"))]
        let stream = Stream::Tcp(stream);
        match self.address.transport() {
            #[cfg(feature = "websocket")]
            Transport::WebSocket => {
                let frame_bytes_max = limits::FRAME_BYTES_MAX;
                syncro_net::websocket::upgrade(stream, &self.address, frame_bytes_max).await
            }
            _ => Ok(Frames::new(stream, limits::FRAME_BYTES_MAX)),
        }
    }
}

/// Whether what is sent to this address never leaves the machine.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

pub(crate) fn is_closed(life: &Life) -> bool {
    *life == Life::Closed
}

/// Connects once and carries the session; returns whether it opened and nobody misbehaved.
async fn attempt(
    core: &Core,
    target: &Target,
    has_warned: &mut bool,
    stopped: &mut watch::Receiver<bool>,
    life: &mut watch::Receiver<Life>,
) -> bool {
    let frames = tokio::select! {
        frames = target.open(core, has_warned) => frames,
        _ = stopped.wait_for(|stopped| *stopped) => return false,
        _ = life.wait_for(is_closed) => return false,
    };
    let addr = || target.address.to_string();
    let frames = match frames {
        Ok(frames) => frames,
        Err(error) => {
            // The notice names the address, and says that it is tried again.
            let error = match error {
                NetError::Connect { cause, .. } => cause.to_string(),
                NetError::ConnectTimeout { limit, .. } => {
                    format!("no answer within {} s", limit.as_secs())
                }
                other => other.to_string(),
            };
            core.board.post(Notice::ConnectFailed { addr: addr(), error });
            return false;
        }
    };
    let stop = async {
        // A connection whose handle was dropped is aborted instead.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let Ok(Ended { end, fault }) = run(core, frames, Role::Dial(target.encoding), stop).await
    else {
        return false;
    };
    if let Some(error) = unmet(end, fault) {
        core.board.post(Notice::ConnectFailed { addr: addr(), error });
    }
    // A session that ended by an offence would do so again: that must not go round without a pause.
    use CloseReason::{Done, Lost, ShuttingDown, Silent};
    end.was_open && matches!(end.reason, Done | Lost | ShuttingDown | Silent)
}

/// Why nobody was met on a connection that was made, if it is not that somebody closes.
fn unmet(end: SessionEnd, fault: Option<NetError>) -> Option<String> {
    use CloseReason::{Done, FrameTooLarge, HandshakeTimeout, Lost, Malformed, ShuttingDown};
    match end.reason {
        _ if end.was_open => None,
        Done | ShuttingDown => None,
        Lost => Some("it hung up without a hello".to_owned()),
        FrameTooLarge | HandshakeTimeout | Malformed => {
            let why = fault.map_or_else(|| end.reason.to_string(), |fault| fault.to_string());
            Some(format!("what answers does not speak Syncro? ({why})"))
        }
        reason => Some(reason.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_the_machine_is_loopback() {
        for here in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(here.parse().unwrap()), "{here}");
        }
        for far in ["0.0.0.0", "::", "192.168.0.1", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(!is_loopback(far.parse().unwrap()), "{far}");
        }
    }
}
