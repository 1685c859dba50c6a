//! Two nodes meet without a runtime, a socket, a thread or a clock: the engine by hand, over two `Vec<u8>`.
//!
//! ```sh
//! cargo run --example by_hand
//! ```
//!
//! This is what `syncro::Node` does below, less its threads: give an input to the engine, carry out the effects
//! in their order, and sync the store once in a while. Time is whatever the program says it is.

use std::error::Error;
use std::process::ExitCode;

use bytes::Bytes;
use syncro_core::{
    Config, Digest, Edit, Effects, Encoded, Encoding, Engine, Event, Fields, Input, Name, NodeId,
    Now, Proposal, RecordId, RecordKey, Role, SessionId, Store, View, limits,
};
use syncro_examples::ended;
use syncro_store::{LogStore, Memory};

/// Each side has this one session.
const SESSION: SessionId = SessionId(1);

/// The stream may carry what it likes at once; here little, so that messages come in pieces.
const PIECE_BYTES: usize = 100;

/// A node, and its end of a stream.
struct Peer {
    engine: Engine,
    store: LogStore,
    now: Now,
    /// What the peer has said and nobody has read as messages yet.
    heard: Vec<u8>,
    /// What this side has said, for the stream to take.
    said: Vec<u8>,
    /// The last commit that was applied, and that is not durable yet.
    unsynced: Option<u64>,
    /// When the engine wants to be asked again.
    wake_at: Option<u64>,
    is_closed: bool,
}

impl Peer {
    fn open(name: &str) -> Result<Self, Box<dyn Error>> {
        let store = LogStore::open(Memory::new())?;
        let now = Now { wall_ms: 1_700_000_000_000, monotonic_ms: 0 };
        // A program in the field takes 32 bytes of the system's randomness, anew at every open.
        let seed = Digest::EMPTY.then(name.as_bytes()).to_string().into_bytes();
        let seed = seed.try_into().map_err(|_| "a digest is written in 32 letters")?;
        let (node, name) = (Some(NodeId::named(name)), Some(Name::new(name)?));
        let config = Config { node, name, seed, ..Config::default() };
        let (engine, effects) = Engine::open(now, config, &store)?;
        let (heard, said) = (Vec::new(), Vec::new());
        let (unsynced, wake_at, is_closed) = (None, None, false);
        let mut peer = Self { engine, store, now, heard, said, unsynced, wake_at, is_closed };
        peer.carry_out(effects)?;
        peer.sync()?;
        Ok(peer)
    }

    fn handle(&mut self, input: Input) -> Result<(), Box<dyn Error>> {
        let effects = self.engine.handle(self.now, input, &self.store)?;
        self.carry_out(effects)
    }

    /// Does what the engine asks for, in the order of the fields.
    fn carry_out(&mut self, effects: Effects) -> Result<(), Box<dyn Error>> {
        if let Some(commit) = effects.commit {
            self.store.apply(&commit)?;
            self.unsynced = Some(commit.sequence);
        }
        for (_, message) in effects.sends {
            self.said.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
            self.said.extend_from_slice(&message);
        }
        self.is_closed |= !effects.closes.is_empty();
        for event in effects.events {
            println!("{}: {}", self.engine.node(), told(&event));
        }
        self.wake_at = effects.wake_at.or(self.wake_at);
        Ok(())
    }

    /// Makes durable what was applied, and says so: only then is it acknowledged.
    fn sync(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(through) = self.unsynced.take() else { return Ok(()) };
        self.store.sync()?;
        self.handle(Input::Synced { through })
    }

    /// Takes bytes from the stream, however they were cut.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        self.heard.extend_from_slice(bytes);
        while let Some((prefix, rest)) = self.heard.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*prefix))?;
            if length > limits::FRAME_BYTES_MAX {
                return Err("that is no message of Syncro".into());
            }
            let Some(message) = rest.get(..length) else { break };
            let frame = Bytes::copy_from_slice(message);
            self.heard.drain(..4 + length);
            self.handle(Input::Receive { session: SESSION, frame })?;
        }
        Ok(())
    }

    /// Takes bytes off for the stream to carry. With none left there is room for more.
    fn speak(&mut self) -> Result<Vec<u8>, Box<dyn Error>> {
        let bytes: Vec<u8> = self.said.drain(..self.said.len().min(PIECE_BYTES)).collect();
        if self.said.is_empty() && !self.is_closed {
            self.handle(Input::Room { session: SESSION })?;
        }
        Ok(bytes)
    }

    /// Whether this node holds all of the peer's log, and the peer has confirmed all of this one's.
    fn is_done(&self) -> bool {
        let end = Some(self.engine.end().offset);
        let mut sessions = self.engine.sessions();
        sessions.any(|session| session.incoming == 0 && session.receipt == end)
    }

    /// Over the records, stamps included: equal on nodes that hold the same.
    fn digest(&self, model: &Name) -> Result<Digest, Box<dyn Error>> {
        let mut state = Vec::new();
        for (id, record) in self.store.records(model, None, usize::MAX)? {
            RecordKey { model: model.clone(), id }.write_state(&mut state);
            record.write_state(&mut state);
        }
        Ok(Digest::EMPTY.then(&state))
    }

    /// Lets time pass until the engine asked to be woken.
    fn sleep(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(wake_at) = self.wake_at.take() else { return Ok(()) };
        let passed = wake_at.saturating_sub(self.now.monotonic_ms);
        self.now.monotonic_ms += passed;
        self.now.wall_ms += passed;
        self.handle(Input::Tick)
    }
}

/// Carries bytes both ways until neither side has anything left to say.
fn converse(a: &mut Peer, b: &mut Peer) -> Result<usize, Box<dyn Error>> {
    let mut carried = 0;
    loop {
        let (from_a, from_b) = (a.speak()?, b.speak()?);
        carried += from_a.len() + from_b.len();
        a.hear(&from_b)?;
        b.hear(&from_a)?;
        if !from_a.is_empty() || !from_b.is_empty() {
            continue;
        }
        let is_silent = a.unsynced.is_none() && b.unsynced.is_none();
        if is_silent && a.is_done() && b.is_done() {
            return Ok(carried);
        }
        if is_silent {
            // What waits for company, such as word of a peer's own changes, goes out after a while.
            a.sleep()?;
            b.sleep()?;
        }
        a.sync()?;
        b.sync()?;
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Changed(changed) => format!("{:?} has changed", changed.key),
        Event::Receipt { peer, offset, .. } => format!("{peer} holds the log up to {offset}"),
        other => format!("{other:?}"),
    }
}

fn key(id: &str) -> Result<RecordKey, Box<dyn Error>> {
    Ok(RecordKey { model: Name::new("todo")?, id: RecordId::text(id)? })
}

fn main() -> ExitCode {
    ended("by_hand", start())
}

fn start() -> Result<(), Box<dyn Error>> {
    let (mut laptop, mut server) = (Peer::open("laptop")?, Peer::open("server")?);
    for (peer, id, title) in [(&mut laptop, "1", "milk"), (&mut server, "2", "bread")] {
        let mut proposal = Proposal::default();
        proposal.create(key(id)?, &Fields::default())?;
        let title = Edit::value(Name::new("title")?, Encoded::of(title)?);
        proposal.update(key(id)?, vec![title])?;
        peer.handle(Input::Propose(proposal))?;
        peer.sync()?;
    }

    for (peer, role) in [(&mut server, Role::Accept), (&mut laptop, Role::Dial(Encoding::Json))] {
        peer.handle(Input::Open { session: SESSION, role, credentials: Bytes::new() })?;
    }
    let carried = converse(&mut laptop, &mut server)?;
    let model = Name::new("todo")?;
    for peer in [&laptop, &server] {
        for (id, record) in peer.store.records(&model, None, usize::MAX)? {
            println!("{} has {id:?}: {:?}", peer.engine.node(), Fields::of(&record).to_values());
        }
    }
    println!("{carried} bytes");
    println!("laptop {}", laptop.digest(&model)?);
    println!("server {}", server.digest(&model)?);
    Ok(())
}
