//! Driving a hub: one thread for it, one task per session.

#[cfg(feature = "websocket")]
mod websocket;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::class::Uid;
use crate::error::Error;
use crate::event::{Event, SessionId};
use crate::hub::Hub;
use crate::limits::{EVENTS_MAX, PATIENCE_MS, READ_BYTES};
use crate::session::Framing;

/// Drives a [`Hub`] in a thread of its own, and carries its sessions over sockets, other streams, or transports
/// of messages. A cheap handle; the hub ends with the last one, or with its node.
///
/// ```
/// use syncro::Node;
/// use syncro_classic::{Class, Classic, Hub, Settings, Tables, Uid};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::in_memory("hub")?;
/// let tables = Tables::default().allow(Class::new("Todo")?)?;
/// let settings = Settings { tables, ..Settings::default() };
/// let classic = Classic::start(Hub::in_memory(node, settings)?)?;
/// let listening = classic.listen("127.0.0.1:0", Uid::new("ann")?).await?;
/// println!("ann may connect to {}", listening.local_addr());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Classic {
    orders: Arc<Orders>,
    events: broadcast::Sender<Event>,
    stopped: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
struct Orders(mpsc::UnboundedSender<Order>);

impl Drop for Orders {
    fn drop(&mut self) {
        // A thread that has ended needs no word.
        let _ = self.0.send(Order::Stop);
    }
}

enum Order {
    Connect {
        uid: Uid,
        framing: Framing,
        line: Line,
        answer: oneshot::Sender<Result<SessionId, Error>>,
    },
    Receive {
        session: SessionId,
        bytes: Vec<u8>,
        taken: oneshot::Sender<()>,
    },
    Written {
        session: SessionId,
        bytes: usize,
    },
    LosePatience(SessionId),
    Disconnect(SessionId),
    #[cfg(feature = "websocket")]
    Fail(SessionId, crate::session::Offence),
    Do(Box<dyn FnOnce(&mut Hub) + Send>),
    Stop,
}

/// The way to a session's task: bytes to write, until it is dropped.
type Line = mpsc::UnboundedSender<Bytes>;

impl Classic {
    /// Starts the thread of a hub.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when no thread can be had.
    pub fn start(hub: Hub) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let events = broadcast::Sender::new(EVENTS_MAX);
        let (stop, stopped) = watch::channel(None);
        let driver = Driver {
            hub,
            inbox,
            events: events.clone(),
            lines: BTreeMap::new(),
            untaken: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("syncro-classic".to_owned());
        thread.spawn(move || {
            let ended = runtime.block_on(driver.run());
            stop.send_replace(Some(ended.err().map_or(String::new(), |error| error.to_string())));
        })?;
        Ok(Self { orders: Arc::new(Orders(orders)), events, stopped })
    }

    /// Takes connections of a client on a TCP address; port 0 lets the system choose. Whoever connects there is
    /// that client: the host decides who a peer is.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the address cannot be had.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and timers.
    pub async fn listen(&self, addr: &str, uid: Uid) -> Result<ClassicListening, Error> {
        let classic = self.clone();
        self.accept(addr, move |stream, _| {
            let (classic, uid) = (classic.clone(), uid.clone());
            async move {
                // What there is to say of the session was told as events.
                let _ = classic.run(uid, stream).await;
            }
        })
        .await
    }

    /// Takes connections, each carried by a task.
    async fn accept<F>(
        &self,
        addr: &str,
        carry: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> Result<ClassicListening, Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let mut stopped = self.stopped.clone();
        let task = tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stopped.wait_for(Option::is_some) => return,
                };
                match accepted {
                    Ok((stream, from)) => {
                        // Changes are small, and should not wait for more.
                        let _ = stream.set_nodelay(true);
                        tokio::spawn(carry(stream, from));
                    }
                    // Too many files are open, or the caller has gone again.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
        Ok(ClassicListening { addr, task })
    }

    /// Carries a session of a client over a stream of bytes, with two bytes of length before each message, until
    /// it ends. Dropping the future cuts it off.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], and those of [`Hub::connect`].
    pub async fn run<S: AsyncRead + AsyncWrite>(&self, uid: Uid, stream: S) -> Result<(), Error> {
        let (session, mut outbox) = self.connect(uid, Framing::Stream).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let read = async {
            let mut buffer = vec![0; READ_BYTES];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if !session.receive(buffer[..count].to_vec()).await {
                    return;
                }
            }
        };
        let write = async {
            while let Some(bytes) = outbox.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
                session.order(|session| Order::Written { session, bytes: bytes.len() });
            }
            // The session was ended; the peer may read what it was told before.
            let _ = writer.shutdown().await;
        };
        session.carry(read, write).await;
        Ok(())
    }

    /// Carries a session of a client over a transport that keeps messages apart, such as WebSocket: each item is
    /// the JSON of one message. Text and bytes mean the same; what is sent is ASCII.
    ///
    /// # Errors
    ///
    /// Like [`run`](Self::run).
    pub async fn run_messages<T, E>(&self, uid: Uid, transport: T) -> Result<(), Error>
    where
        T: Stream<Item = Result<Bytes, E>> + Sink<Bytes>,
    {
        let (session, mut outbox) = self.connect(uid, Framing::Messages).await?;
        let (mut sink, mut stream) = futures_util::StreamExt::split(transport);
        let read = async {
            let mut stream = pin!(&mut stream);
            while let Some(Ok(message)) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                if !session.receive(message.to_vec()).await {
                    return;
                }
            }
        };
        let write = async {
            while let Some(message) = outbox.recv().await {
                let bytes = message.len();
                if futures_util::SinkExt::send(&mut sink, message).await.is_err() {
                    return;
                }
                session.order(|session| Order::Written { session, bytes });
            }
            let _ = futures_util::SinkExt::close(&mut sink).await;
        };
        session.carry(read, write).await;
        Ok(())
    }

    /// Calls with the hub, in its thread, and returns what comes of it. Nothing is played or told meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Hub) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Order::Do(Box::new(move |hub| {
            // Whoever asked may have gone.
            let _ = answer.send(call(hub));
        })))?;
        answered.await.map_err(|_| Error::Stopped)
    }

    /// Listens to what happens from now on. A listener that is slow misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Ends every session and the hub. Returns when its list is closed, with why it had stopped before, if it
    /// had.
    pub async fn close(&self) -> Option<String> {
        // A thread that has ended is what is wanted.
        let _ = self.send(Order::Stop);
        self.stopped().await
    }

    /// Returns when the hub has stopped, with why if it has failed.
    pub async fn stopped(&self) -> Option<String> {
        let mut stopped = self.stopped.clone();
        let why = stopped.wait_for(Option::is_some).await.ok()?.clone();
        why.filter(|why| !why.is_empty())
    }

    async fn connect(
        &self,
        uid: Uid,
        framing: Framing,
    ) -> Result<(Carried, mpsc::UnboundedReceiver<Bytes>), Error> {
        let ((line, outbox), (answer, answered)) = (mpsc::unbounded_channel(), oneshot::channel());
        self.send(Order::Connect { uid, framing, line, answer })?;
        let session = answered.await.map_err(|_| Error::Stopped)??;
        Ok((Carried { session, orders: self.orders.0.clone() }, outbox))
    }

    fn send(&self, order: Order) -> Result<(), Error> {
        self.orders.0.send(order).map_err(|_| Error::Stopped)
    }
}

/// Takes connections of one client until it is dropped or the hub ends; sessions that are open go on.
#[derive(Debug)]
#[must_use = "dropping it stops the listening"]
pub struct ClassicListening {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl ClassicListening {
    /// The address on which it listens: the port is a real one even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for ClassicListening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A session that a task carries. The hub hears of its end however the task ends.
struct Carried {
    session: SessionId,
    orders: mpsc::UnboundedSender<Order>,
}

impl Carried {
    fn order(&self, order: impl FnOnce(SessionId) -> Order) {
        // A hub that has stopped ends the session by dropping its line.
        let _ = self.orders.send(order(self.session));
    }

    /// Hands bytes in, and returns when there may be more; `false` when there may not.
    async fn receive(&self, bytes: Vec<u8>) -> bool {
        let (taken, is_taken) = oneshot::channel();
        self.order(|session| Order::Receive { session, bytes, taken });
        is_taken.await.is_ok()
    }

    /// Reads and writes until either ends.
    async fn carry(&self, read: impl Future<Output = ()>, write: impl Future<Output = ()>) {
        let patience = async {
            tokio::time::sleep(Duration::from_millis(PATIENCE_MS)).await;
            self.order(Order::LosePatience);
            std::future::pending::<()>().await;
        };
        let mut write = pin!(write);
        tokio::select! {
            () = &mut write => {}
            () = patience => {}
            () = read => {
                // What is written for a peer that has only stopped talking still gets there.
                self.order(Order::Disconnect);
                let _ = tokio::time::timeout(GOODBYE_MAX, write).await;
            }
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.order(Order::Disconnect);
    }
}

/// The thread's side.
struct Driver {
    hub: Hub,
    inbox: mpsc::UnboundedReceiver<Order>,
    events: broadcast::Sender<Event>,
    lines: BTreeMap<SessionId, Line>,
    /// Sessions that wait to hand in more.
    untaken: BTreeMap<SessionId, oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self) -> Result<(), Error> {
        loop {
            let order = tokio::select! {
                order = self.inbox.recv() => order,
                is_open = self.hub.changed() => match is_open? {
                    true => None,
                    false => return Ok(()),
                },
            };
            let mut next = order;
            loop {
                // Whatever has gathered shares a flush.
                for _ in 0..ORDERS_AT_ONCE {
                    match next.take().or_else(|| self.inbox.try_recv().ok()) {
                        Some(Order::Stop) => return Ok(()),
                        Some(order) => self.follow(order),
                        None => break,
                    }
                }
                if !self.step()? {
                    break;
                }
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Connect { uid, framing, line, answer } => {
                let opened = self.hub.connect(uid, framing);
                if let Ok(session) = &opened {
                    self.lines.insert(*session, line);
                }
                // A task that has gone says so by dropping its session.
                let _ = answer.send(opened);
            }
            Order::Receive { session, bytes, taken } => {
                self.hub.receive(session, &bytes);
                self.untaken.insert(session, taken);
            }
            Order::Written { session, bytes } => self.hub.written(session, bytes),
            Order::LosePatience(session) => self.hub.lose_patience(session),
            Order::Disconnect(session) => self.end(session),
            #[cfg(feature = "websocket")]
            Order::Fail(session, offence) => self.hub.fail(session, offence),
            Order::Do(call) => call(&mut self.hub),
            Order::Stop => {}
        }
    }

    /// One step. Returns whether another one has something to do.
    fn step(&mut self) -> Result<bool, Error> {
        let effects = self.hub.step()?;
        for (session, bytes) in effects.sends {
            if let Some(line) = self.lines.get(&session) {
                // A task that has gone says so by dropping its session.
                let _ = line.send(bytes);
            }
        }
        for (session, _) in effects.closes {
            self.end(session);
        }
        for event in effects.events {
            // Nobody has to listen.
            let _ = self.events.send(event);
        }
        let hub = &self.hub;
        for (_, taken) in self.untaken.extract_if(.., |session, _| !hub.is_busy(*session)) {
            let _ = taken.send(());
        }
        Ok(effects.has_more)
    }

    fn end(&mut self, session: SessionId) {
        self.hub.disconnect(session);
        self.lines.remove(&session);
        self.untaken.remove(&session);
    }
}

/// Orders followed before a step: at most so many pieces of 16 KiB.
const ORDERS_AT_ONCE: usize = 256;

/// How long a listener that cannot accept waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long what is still to be written may take when a peer has stopped talking.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
