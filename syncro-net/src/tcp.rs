//! Streams over TCP: listening that outlives a bad minute, connecting that gives up in time.
//!
//! Every stream from here has `TCP_NODELAY` set: sessions write whole messages and batch them
//! themselves, so Nagle's algorithm would only hold the last one back.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::NetError;

/// How long [`connect`] waits for an answer.
///
/// Two lost packets cost a TCP handshake about 3 seconds, three cost 7: what takes longer than
/// this is not worth waiting for, only worth trying again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks that `addr` is a `host:port`, so that connecting to it may succeed one day.
///
/// # Errors
///
/// [`NetError::Address`] when it is none.
pub fn check(addr: &str) -> Result<(), NetError> {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let is_fit =
        addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
    if is_fit { Ok(()) } else { Err(NetError::Address { addr: addr.to_owned() }) }
}

/// Connects to `addr`, a `host:port` with a name or a number, within [`CONNECT_TIMEOUT`].
///
/// # Errors
///
/// Those of [`connect_within`].
pub async fn connect(addr: &str) -> Result<TcpStream, NetError> {
    connect_within(addr, CONNECT_TIMEOUT).await
}

/// Connects to `addr`, a `host:port` with a name or a number, within `limit`.
///
/// The addresses behind a name are tried one after the other. The limit is for all of that, the
/// look-up included.
///
/// # Errors
///
/// [`NetError::Connect`] when the address is malformed or unknown or nobody answers there with a
/// yes, [`NetError::ConnectTimeout`] when nobody answers at all. Most pass with time.
pub async fn connect_within(addr: &str, limit: Duration) -> Result<TcpStream, NetError> {
    in_time(addr, limit, dial(addr)).await
}

async fn in_time(
    addr: &str,
    limit: Duration,
    attempt: impl Future<Output = io::Result<TcpStream>>,
) -> Result<TcpStream, NetError> {
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(cause)) => Err(NetError::Connect { addr: addr.to_owned(), cause }),
        Err(_) => Err(NetError::ConnectTimeout { addr: addr.to_owned(), limit }),
    }
}

async fn dial(addr: &str) -> io::Result<TcpStream> {
    dialed(TcpStream::connect(addr).await?)
}

/// Makes a fresh stream fit for frames, or fails if its two ends are the same socket.
///
/// Dialling a port of this machine again and again while nobody listens there can meet itself:
/// the system may pick that very port for our end, and TCP takes the crossing for an answer. The
/// node would talk to itself, and keep the port from the server that wants it back.
fn dialed(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        let refusal = "nobody listens there (the connection met itself)";
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, refusal));
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Listens on `addr`, a `host:port`; port 0 lets the system choose ([`Listener::local_addr`]).
///
/// # Errors
///
/// [`NetError::AddressInUse`] when another socket listens there, [`NetError::Listen`] when the
/// address is malformed, not one of this machine or not allowed to this program.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), syncro_net::NetError> {
/// let listener = syncro_net::tcp::listen("127.0.0.1:0").await?;
/// println!("peers find this node at {}", listener.local_addr()?);
/// # Ok(())
/// # }
/// ```
pub async fn listen(addr: &str) -> Result<Listener, NetError> {
    match TcpListener::bind(addr).await {
        Ok(inner) => Ok(Listener { inner, faults: AtomicU64::new(0) }),
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
            Err(NetError::AddressInUse { addr: addr.to_owned() })
        }
        Err(cause) => Err(NetError::Listen { addr: addr.to_owned(), cause }),
    }
}

/// Accepts the connections of peers; made by [`listen`].
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    faults: AtomicU64,
}

impl Listener {
    /// Returns the address that peers on this machine can connect to, with the port in use.
    ///
    /// # Errors
    ///
    /// [`NetError::Listener`] if the system has forgotten the socket.
    pub fn local_addr(&self) -> Result<SocketAddr, NetError> {
        self.inner.local_addr().map_err(|cause| NetError::Listener { cause })
    }

    /// Waits for the next connection and returns it with the address it comes from.
    ///
    /// Outlives what passes. A connection that died before it was accepted is skipped. When the
    /// process is out of file descriptors, or the system of memory, the connection stays in the
    /// system's queue, so asking again at once would only burn a core: this pauses for 100 ms and
    /// then tries again, until somebody closes something. [`faults`](Listener::faults) counts all
    /// of these. Cancel-safe: a dropped `accept` loses no connection.
    ///
    /// # Errors
    ///
    /// [`NetError::Listener`] when the socket listens no more or the runtime is shutting down.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), NetError> {
        loop {
            let (stream, addr) = outlive(&self.faults, || self.inner.accept()).await?;
            // Some systems refuse options on a connection that is already gone: on to the next.
            match stream.set_nodelay(true) {
                Ok(()) => return Ok((stream, addr)),
                Err(_) => self.faults.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    /// Returns how many failures [`accept`](Listener::accept) has outlived so far.
    ///
    /// A number that grows by ten a second means that the process has run out of file
    /// descriptors: raise its limit or admit fewer peers.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}

/// Repeats `accept` until it succeeds or fails for good, counting the failures in between.
async fn outlive<T, F: Future<Output = io::Result<T>>>(
    faults: &AtomicU64,
    mut accept: impl FnMut() -> F,
) -> Result<T, NetError> {
    loop {
        let cause = match accept().await {
            Ok(accepted) => return Ok(accepted),
            Err(cause) => cause,
        };
        let recovery = Recovery::from(&cause);
        if recovery == Recovery::None {
            return Err(NetError::Listener { cause });
        }
        faults.fetch_add(1, Ordering::Relaxed);
        if recovery == Recovery::Later {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// When it makes sense to accept again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    AtOnce,
    Later,
    None,
}

impl From<&io::Error> for Recovery {
    /// Most failures have no `ErrorKind` of their own, so only what surely concerns one
    /// connection, and what surely ends the listener, is told apart; the rest is tried again.
    fn from(failure: &io::Error) -> Self {
        match failure.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted => Self::AtOnce,
            // EINVAL: the socket was shut down and listens no more.
            io::ErrorKind::InvalidInput => Self::None,
            // Not from the system but from the runtime, which is shutting down.
            _ if failure.raw_os_error().is_none() => Self::None,
            _ => Self::Later,
        }
    }
}

/// Short enough that peers hardly notice once there is room again, long enough to cost nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::time::Instant;

    const ANY_PORT: &str = "127.0.0.1:0";

    #[tokio::test]
    async fn two_nodes_meet_and_neither_side_holds_small_messages_back() {
        let listener = listen(ANY_PORT).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut dialed = connect(&addr.to_string()).await.unwrap();
        let (mut accepted, from) = listener.accept().await.unwrap();

        assert_eq!(from, dialed.local_addr().unwrap());
        assert!(dialed.nodelay().unwrap() && accepted.nodelay().unwrap());
        dialed.write_all(b"hello").await.unwrap();
        drop(dialed);
        let mut heard = Vec::new();
        accepted.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"hello");
        assert_eq!(listener.faults(), 0);
    }

    #[tokio::test]
    async fn a_second_listener_is_told_who_is_in_the_way_and_what_to_do() {
        let first = listen(ANY_PORT).await.unwrap();
        let addr = first.local_addr().unwrap().to_string();
        let refusal = listen(&addr).await.unwrap_err();
        assert!(matches!(&refusal, NetError::AddressInUse { addr: taken } if *taken == addr));
        let message = refusal.to_string();
        assert!(message.contains(&addr) && message.contains("choose another port"), "{message}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_not_taken_for_one_in_use() {
        assert!(matches!(listen("nonsense").await, Err(NetError::Listen { .. })));
        assert!(matches!(connect("nonsense").await, Err(NetError::Connect { .. })));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for addr in ["peer:7", "127.0.0.1:0", "[::1]:65535"] {
            check(addr).unwrap();
        }
        for addr in ["", "nonsense", "peer:", ":7", "peer:x", "peer:65536", "http://peer/"] {
            let message = check(addr).unwrap_err().to_string();
            assert!(message.contains(addr) && message.contains("host:port"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_refuses_and_the_message_says_which() {
        // Bound, so that no other test gets the port, but not listening.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind(ANY_PORT.parse().unwrap()).unwrap();
        let addr = silent.local_addr().unwrap().to_string();
        match connect(&addr).await {
            Err(error @ NetError::Connect { .. }) => assert!(error.to_string().contains(&addr)),
            other => panic!("{other:?}"),
        }
    }

    /// Only Linux lets a socket meet itself this readily; the check is the same everywhere.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_that_met_itself_is_refused() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(ANY_PORT.parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        assert_eq!(dialed(stream).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answers_is_given_up_when_the_time_is_over() {
        let start = Instant::now();
        match in_time("peer:7", CONNECT_TIMEOUT, std::future::pending()).await {
            Err(NetError::ConnectTimeout { addr, limit }) => {
                assert_eq!((addr.as_str(), limit), ("peer:7", CONNECT_TIMEOUT));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(start.elapsed(), CONNECT_TIMEOUT);
    }

    /// Runs `outlive` over these failures and then a success; returns it with its cost in time.
    async fn outlive_all(
        failures: Vec<io::Error>,
    ) -> (Result<&'static str, NetError>, Duration, u64) {
        let (start, faults) = (Instant::now(), AtomicU64::new(0));
        let mut failures = failures.into_iter();
        let accepted =
            outlive(&faults, || std::future::ready(failures.next().map_or(Ok("a peer"), Err)));
        (accepted.await, start.elapsed(), faults.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_died_in_the_queue_are_skipped_without_a_pause() {
        let failures = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
        let (accepted, took, faults) = outlive_all(failures.map(io::Error::from).into()).await;
        assert_eq!((accepted.unwrap(), took, faults), ("a peer", Duration::ZERO, 2));
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_process_without_file_descriptors_waits_for_one_and_does_not_spin() {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        let failures = [EMFILE, ENFILE, EMFILE].map(io::Error::from_raw_os_error);
        let (accepted, took, faults) = outlive_all(failures.into()).await;
        assert_eq!((accepted.unwrap(), took, faults), ("a peer", 3 * ACCEPT_PAUSE, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_is_no_more_says_so_instead_of_trying_for_ever() {
        for failure in [io::ErrorKind::InvalidInput.into(), io::Error::other("shutting down")] {
            let (accepted, took, faults) = outlive_all(vec![failure]).await;
            assert!(matches!(accepted, Err(NetError::Listener { .. })), "{accepted:?}");
            assert_eq!((took, faults), (Duration::ZERO, 0));
        }
    }

    #[tokio::test]
    async fn accepting_and_connecting_can_be_spawned_on_any_thread() {
        fn assert_send(_: impl Send) {}
        let listener = listen(ANY_PORT).await.unwrap();
        assert_send(listener.accept());
        assert_send(connect("peer:7"));
        assert_send(listen("peer:7"));
    }
}
