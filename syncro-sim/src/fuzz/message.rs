//! One message, of any bytes, to a session in each of its states.

use bytes::Bytes;
use syncro_core::limits::SEND_BUFFER_BYTES;
use syncro_core::{
    CallId, CloseReason, Effects, Encoded, Encoding, Engine, Input, Name, NodeId, OwnRow, PeerRow,
    Point, Role, SessionId, from_json, to_json,
};
use syncro_store::{LogStore, MemoryDisk};

use super::node::{Node, assert_bounded, call, now, proposal};
use super::wire;

const SESSION: SessionId = SessionId(1);

/// The message is taken or the session closed; the host is never blamed, and both encodings of a message
/// come to the same.
pub fn message(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let other = match input.first() {
        Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => from_json(input),
        _ => to_json(input),
    };
    STATES.with(|states| {
        for (state, (engine, store)) in states.iter().enumerate() {
            let outcome = receive(engine.clone(), store, frame.clone());
            if let Ok(other) = &other {
                let other = receive(engine.clone(), store, other.clone().into());
                assert_eq!(outcome, other, "in state {state}");
            }
        }
    });
}

thread_local! {
    /// Built once: a message changes a copy of the engine, and nothing of the store.
    static STATES: Vec<(Engine, LogStore)> = states();
}

/// Greeting on both sides, greeted, streaming both ways, streaming with a receipt, greeted by one that was met before, asked
/// by an unknown point, and in each frame of a bundle.
fn states() -> Vec<(Engine, LogStore)> {
    let dialled = Input::Open {
        session: SESSION,
        role: Role::Dial(Encoding::Json),
        credentials: Default::default(),
    };
    let mut states = Vec::new();
    for role in [Role::Accept, Role::Dial(Encoding::MessagePack)] {
        let mut node = written();
        let _ =
            node.input(1, Input::Open { session: SESSION, role, credentials: Default::default() });
        states.push(copy(&node));
    }
    let mut node = written();
    let _ = node.input(1, dialled);
    let hello = wire::hello(NodeId::named("stranger"));
    let _ = node.input(1, Input::Receive { session: SESSION, frame: hello });
    let _ = node.input(1, ask());
    states.push(copy(&node));

    let mut node = written();
    call(&mut node, 1, SESSION, Point::START);
    states.push(copy(&node));
    let sent = node.engine.end();
    let transaction = super::seeds::transactions().swap_remove(0);
    let to = Point::START.then(transaction.len(), transaction.bytes());
    let frames = [wire::scribes(Point::START, to, &[transaction.bytes().clone()]), wire::ack(sent)];
    for frame in frames {
        let _ = node.input(2, Input::Receive { session: SESSION, frame });
        let _ = node.sync(3);
        states.push(copy(&node));
    }
    let _ = node.input(4, Input::Lost { session: SESSION });
    let role = Role::Accept;
    let _ = node.input(4, Input::Open { session: SESSION, role, credentials: Default::default() });
    for frame in [wire::hello(NodeId::named("stranger")), wire::sync_at_first(to)] {
        let _ = node.input(4, Input::Receive { session: SESSION, frame });
        states.push(copy(&node));
    }

    let mut node = written();
    let _ = node.input(1, Input::Import { session: SESSION });
    states.push(copy(&node));
    let head = wire::bundle(node.engine.node(), Point::START, to);
    let hello = wire::hello(NodeId::named("stranger"));
    let scribes = wire::scribes(Point::START, to, &[transaction.bytes().clone()]);
    for frame in [head, hello, wire::sync(node.engine.end()), scribes] {
        let _ = node.input(2, Input::Receive { session: SESSION, frame });
        states.push(copy(&node));
    }
    states
}

/// A call, the first one of the session.
fn ask() -> Input {
    let (name, value) = (name("ask"), Encoded::NIL);
    Input::Call { session: SESSION, call: CallId(1), name, value, within_ms: 5000 }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("it is short")
}

/// A node that has written a little, and says and watches something.
fn written() -> Node {
    let mut node = Node::open("node", 1, MemoryDisk::new());
    let topic = name(super::seeds::TOPIC);
    let _ = node.input(1, Input::Topics { topics: [topic.clone()].into() });
    let _ = node.input(1, Input::Signal { topic, value: Encoded::TRUE });
    for what in 0..6 {
        let proposal = proposal(&node.store, what, 9);
        let _ = node.input(1, Input::Propose(proposal));
    }
    let _ = node.sync(1);
    node
}

fn copy(node: &Node) -> (Engine, LogStore) {
    let store = LogStore::open(node.disk.crash().open().unwrap()).unwrap();
    (node.engine.clone(), store)
}

/// What a message came to, without what depends on its encoding.
#[derive(Debug, PartialEq)]
struct Outcome {
    appended: Vec<Bytes>,
    rows: Option<(OwnRow, Vec<(NodeId, PeerRow)>)>,
    sends: usize,
    closes: Vec<(SessionId, CloseReason)>,
    events: usize,
}

fn receive(mut engine: Engine, store: &LogStore, frame: Bytes) -> Outcome {
    let bytes = frame.len();
    let input = Input::Receive { session: SESSION, frame };
    let effects = engine.handle(now(10), input, store).expect("the host is blamed");
    assert_bounded(&effects);
    let outcome = Outcome::of(effects);
    // The shortest scribe has six bytes; each makes an event, and its stamp may make two more.
    assert!(outcome.events <= 4 + bytes / 2, "{} events of {bytes} bytes", outcome.events);
    assert!(outcome.appended.len() <= bytes / 6);

    if outcome.closes.is_empty() && outcome.rows.is_none() {
        for input in [
            Input::Room { session: SESSION },
            Input::Synced { through: u64::MAX },
            Input::Tick,
            Input::Close { session: SESSION, reason: CloseReason::Done },
        ] {
            let effects = engine.handle(now(20_000), input, store).expect("the host is blamed");
            assert_bounded(&effects);
        }
    }
    assert!(engine.sessions().next().is_none() || outcome.closes.is_empty());
    outcome
}

impl Outcome {
    fn of(effects: Effects) -> Self {
        let Effects { commit, sends, closes, events, .. } = effects;
        assert!(sends.iter().map(|(_, frame)| frame.len()).sum::<usize>() <= SEND_BUFFER_BYTES);
        assert!(closes.len() <= 1);
        let (mut appended, mut rows) = (Vec::new(), None);
        if let Some(commit) = commit {
            let entries = commit.entries.iter();
            appended = entries.map(|entry| entry.transaction.bytes().clone()).collect();
            rows = Some((commit.own, commit.peers));
        }
        Self { appended, rows, sends: sends.len(), closes, events: events.len() }
    }
}
