//! What the stories share: models, nodes, links, a backend that counts and waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use syncro::{
    Backend, Encoding, Error, MemoryDisk, Name, Node, RecordId, RecordKey, Role, ScribeModel,
    SessionEnd, SessionStatus, StoreError,
};
use syncro_store::{Batch, Durability, Memory, Table};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine before a story gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(ScribeModel, Clone, Debug, PartialEq)]
pub(crate) struct Todo {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) due: Option<String>,
    #[scribe(set)]
    pub(crate) tags: BTreeSet<String>,
    #[scribe(map)]
    pub(crate) notes: BTreeMap<String, String>,
    #[scribe(counter)]
    pub(crate) views: i64,
}

pub(crate) fn todo(id: &str) -> Todo {
    Todo {
        id: id.to_owned(),
        title: format!("the title of {id}"),
        due: None,
        tags: BTreeSet::new(),
        notes: BTreeMap::new(),
        views: 0,
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn key(model: &str, id: &str) -> RecordKey {
    RecordKey { model: name(model), id: RecordId::text(id).unwrap() }
}

pub(crate) fn id(text: &str) -> String {
    text.to_owned()
}

pub(crate) fn node(name: &str) -> Node {
    Node::in_memory(name).unwrap()
}

pub(crate) fn on(disk: &MemoryDisk, name: &str) -> Node {
    Node::builder().name(name).open_on(disk.open().unwrap()).unwrap()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until something is so, and lets the runtime work.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain until {what}"),
    }
}

/// A session between two nodes, over a pipe in memory.
#[must_use = "dropping it leaves the session running"]
pub(crate) struct Link {
    ends: [JoinHandle<Result<SessionEnd, Error>>; 2],
}

impl Link {
    /// Cuts the pipe under the session.
    pub(crate) async fn cut(self) {
        for end in &self.ends {
            end.abort();
        }
        for end in self.ends {
            let _ = end.await;
        }
    }

    /// Waits until both sides say how it ended.
    pub(crate) async fn ended(self) -> [SessionEnd; 2] {
        let [dialer, called] = self.ends;
        let dialer = soon("the dialer's session ends", dialer).await;
        let called = soon("the called one's session ends", called).await;
        [dialer.unwrap().unwrap(), called.unwrap().unwrap()]
    }
}

pub(crate) fn link(dialer: &Node, called: &Node) -> Link {
    link_in(dialer, called, Encoding::MessagePack)
}

pub(crate) fn link_in(dialer: &Node, called: &Node, encoding: Encoding) -> Link {
    let (near, far) = tokio::io::duplex(16 << 10);
    Link { ends: [run(dialer, near, Role::Dial(encoding)), run(called, far, Role::Accept)] }
}

/// Carries a session in the background; it ends with its stream, or with the node.
pub(crate) fn run<S>(node: &Node, stream: S, role: Role) -> JoinHandle<Result<SessionEnd, Error>>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let node = node.clone();
    tokio::spawn(async move { node.run(stream, role).await })
}

/// Waits until each has confirmed that it holds the other's log durably, and says that they are equal.
pub(crate) async fn converge(a: &Node, b: &Node) {
    eventually("both logs are as long", || {
        let is_behind = |node: &Node, peer: &Node| {
            let (sessions, end) = (node.sessions(), node.end().offset);
            let of_peer = sessions.iter().filter(|session| session.peer == peer.id());
            let is_behind = |s: &SessionStatus| s.incoming > 0 || s.receipt != Some(end);
            of_peer.clone().count() == 0 || of_peer.clone().any(is_behind)
        };
        !is_behind(a, b) && !is_behind(b, a)
    })
    .await;
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
}

/// A store in memory whose durable writes are counted, and wait while its gate is shut.
#[derive(Debug)]
pub(crate) struct Gated {
    memory: Memory,
    gate: Gate,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    let_through: usize,
    waiting: usize,
    durable_writes: usize,
}

impl Gate {
    pub(crate) fn over(&self, disk: &MemoryDisk) -> Gated {
        Gated { memory: disk.open().unwrap(), gate: self.clone() }
    }

    pub(crate) fn shut(&self) {
        self.shared.0.lock().unwrap().is_shut = true;
    }

    pub(crate) fn open(&self) {
        self.shared.0.lock().unwrap().is_shut = false;
        self.shared.1.notify_all();
    }

    /// Lets one more durable write through while the gate is shut.
    pub(crate) fn let_one_through(&self) {
        self.shared.0.lock().unwrap().let_through += 1;
        self.shared.1.notify_all();
    }

    /// Durable writes that have come through.
    pub(crate) fn durable_writes(&self) -> usize {
        self.shared.0.lock().unwrap().durable_writes
    }

    /// Durable writes that stand before the gate.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.0.lock().unwrap().waiting
    }

    fn pass(&self) {
        let (state, opened) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.waiting += 1;
        while state.is_shut && state.let_through == 0 {
            state = opened.wait(state).unwrap();
        }
        state.let_through = state.let_through.saturating_sub(1);
        state.waiting -= 1;
        state.durable_writes += 1;
    }
}

impl Backend for Gated {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.memory.scan(table, start, end, limit)
    }

    fn floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.memory.floor(table, at)
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        if durability != Durability::Buffered {
            self.gate.pass();
        }
        self.memory.write(batch, durability)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.memory.reopen()
    }
}
