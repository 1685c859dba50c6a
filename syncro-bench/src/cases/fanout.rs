//! One writer, a thousand live sessions in one process over real loopback sockets.
//!
//! The other ends take the handshake part and then only read and count: what is measured is the one who sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use memchr::memmem::Finder;
use syncro::Durability;
use syncro_core::limits::FRAME_BYTES_MAX;
use syncro_core::{Config, Effects, Encoding, Engine, Event, Input, Now, Role, SessionId, Store};
use syncro_net::Frames;
use syncro_store::{LogStore, Memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::loro::Loro;
use crate::engines::syncro::Syncro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Peer};
use crate::measure::{Sample, forget_peak, peak_rss_bytes};
use crate::workload::{Change, Workload};

pub const FANOUT: Family = Family {
    cases: &[case("fanout", Metric::Rate, Goal::Figure(300_000.0))],
    peers: &Peer::ALL,
    scale: 1.0,
    run,
    repetitions: 3,
};

/// What begins every title, and is counted at the other ends.
const MARK: &str = "fan-out: ";

fn run(peer: Peer, setting: &Setting) -> Samples {
    forget_peak();
    let sessions = (setting.n / 100).clamp(2, 1000);
    let mut changes = Workload::new(SEED).creates((setting.n / 100).max(10));
    for change in &mut changes {
        if let Change::Create(todo) = change {
            todo.title.insert_str(0, MARK);
        }
    }
    let work = Work { sessions, changes };
    let seconds = match peer {
        Peer::Syncro => syncro(setting, &work),
        Peer::Automerge => document::<Automerge>(&work),
        Peer::Loro => document::<Loro>(&work),
        Peer::Yrs => document::<Yrs>(&work),
        Peer::Limit => broadcast(&work, |_| Bytes::from([MARK.as_bytes(), &[7; 110]].concat())),
    };
    let ops = (work.sessions * work.changes.len()) as f64;
    vec![("fanout", Sample { seconds, ops, bytes: 0, peak_rss_bytes: peak_rss_bytes() })]
}

struct Work {
    sessions: usize,
    changes: Vec<Change>,
}

/// A runtime with one thread for all that it carries.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The seconds from the first change to the moment at which the last reader has read everything.
fn timed(work: &Work, readers: Readers, mut write: impl FnMut(&Change)) -> f64 {
    let start = Instant::now();
    work.changes.iter().for_each(&mut write);
    let end = readers.wait(work.changes.len());
    (end - start).as_secs_f64()
}

/// The other ends, on a runtime of their own. Each tells when it has read everything.
struct Readers {
    /// The runtime that carries them.
    _runtime: Runtime,
    ends: mpsc::UnboundedReceiver<Instant>,
    sessions: usize,
}

impl Readers {
    /// Connects them all; `greet` has the handshake done, and returns what has been read beyond it.
    fn connect<F>(work: &Work, addr: SocketAddr, greet: fn(TcpStream) -> F) -> Self
    where
        F: Future<Output = TcpStream> + Send + 'static,
    {
        let runtime = runtime();
        let (ready, mut readies) = mpsc::unbounded_channel();
        let (ended, ends) = mpsc::unbounded_channel();
        let finder = Arc::new(Finder::new(MARK).into_owned());
        for _ in 0..work.sessions {
            let (ready, ended, finder) = (ready.clone(), ended.clone(), finder.clone());
            let expected = work.changes.len();
            runtime.spawn(async move {
                let stream = TcpStream::connect(addr).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let stream = greet(stream).await;
                ready.send(()).unwrap();
                let stream = count(stream, &finder, expected).await;
                // Whoever has measured enough is gone.
                let _ = ended.send(Instant::now());
                // It stays open until everybody has read everything.
                ended.closed().await;
                drop(stream);
            });
        }
        for _ in 0..work.sessions {
            readies.blocking_recv().expect("every reader gets ready");
        }
        Self { _runtime: runtime, ends, sessions: work.sessions }
    }

    fn wait(mut self, changes: usize) -> Instant {
        let ends = (0..self.sessions).map(|_| self.ends.blocking_recv());
        ends.flatten().max().unwrap_or_else(|| panic!("nobody reads {changes} changes"))
    }
}

/// Reads until every change has been seen.
async fn count(mut stream: TcpStream, finder: &Finder<'_>, expected: usize) -> TcpStream {
    let mut buffer = vec![0; 64 << 10];
    // What was read last may be the beginning of a mark.
    let (mut kept, mut seen) = (0, 0);
    while seen < expected {
        let read = stream.read(&mut buffer[kept..]).await.unwrap();
        assert!(read > 0, "the stream ends after {seen} of {expected} changes");
        let end = kept + read;
        seen += finder.find_iter(&buffer[..end]).count();
        kept = end.min(MARK.len() - 1);
        buffer.copy_within(end - kept..end, 0);
    }
    assert_eq!(seen, expected);
    stream
}

fn syncro(setting: &Setting, work: &Work) -> f64 {
    let carrier = runtime();
    let hub = Syncro::open(&setting.path("hub.redb"), "hub");
    let listening = carrier.block_on(hub.node.listen("127.0.0.1:0")).unwrap();
    let readers = Readers::connect(work, listening.local_addr(), greet);
    let seconds = timed(work, readers, |change| hub.apply(change, Durability::Deferred));
    hub.close();
    carrier.block_on(async { drop(listening) });
    seconds
}

/// The handshake, by an engine over memory, up to where everything is here.
async fn greet(stream: TcpStream) -> TcpStream {
    let mut store = LogStore::open(Memory::new()).unwrap();
    let seed = std::array::from_fn(|_| fastrand::u8(..));
    let config = Config { seed, ..Config::default() };
    let now = Now { wall_ms: 1_767_225_600_000, monotonic_ms: 0 };
    let (mut engine, effects) = Engine::open(now, config, &store).unwrap();
    store.apply(&effects.commit.expect("an epoch begins")).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let session = SessionId(1);
    let mut input = Input::Open { session, role: Role::Dial(Encoding::MessagePack), credentials: Default::default() };
    let mut is_caught_up = false;
    loop {
        let effects = engine.handle(now, input, &store).unwrap();
        let Effects { commit, sends, events, .. } = effects;
        if let Some(commit) = commit {
            store.apply(&commit).unwrap();
        }
        for (_, frame) in sends {
            writer.write_all(&(frame.len() as u32).to_be_bytes()).await.unwrap();
            writer.write_all(&frame).await.unwrap();
        }
        is_caught_up |= events.iter().any(|event| matches!(event, Event::CaughtUp { .. }));
        if is_caught_up {
            return reader.reunite(writer).expect("the halves are of one stream");
        }
        let mut length = [0; 4];
        reader.read_exact(&mut length).await.unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        reader.read_exact(&mut frame).await.unwrap();
        input = Input::Receive { session, frame: frame.into() };
    }
}

fn document<D: Document>(work: &Work) -> f64 {
    let mut document = D::new(true);
    broadcast(work, |change| {
        document.apply(change);
        Bytes::from(document.take_update())
    })
}

/// What is made of each change goes to every session's task, which writes what is there.
fn broadcast(work: &Work, mut make: impl FnMut(&Change) -> Bytes) -> f64 {
    let carrier = runtime();
    let listener = carrier.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let sessions = work.sessions;
    let accepting = carrier.spawn(async move {
        let mut outboxes = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (outbox, inbox) = mpsc::unbounded_channel();
            tokio::spawn(write(stream, inbox));
            outboxes.push(outbox);
        }
        outboxes
    });
    let readers = Readers::connect(work, addr, |stream| async { stream });
    let outboxes = carrier.block_on(accepting).unwrap();
    timed(work, readers, |change| {
        let made = make(change);
        outboxes.iter().for_each(|outbox| outbox.send(made.clone()).unwrap());
    })
}

async fn write(stream: TcpStream, mut inbox: mpsc::UnboundedReceiver<Bytes>) {
    let (_, mut writer) = Frames::new(stream, FRAME_BYTES_MAX).split();
    while let Some(frame) = inbox.recv().await {
        writer.feed(frame).await.unwrap();
        while let Ok(frame) = inbox.try_recv() {
            writer.feed(frame).await.unwrap();
        }
        writer.flush().await.unwrap();
    }
}
