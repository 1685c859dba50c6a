//! Peers of 2010 at the first of the nodes: the hub that ships, over the engine and the store that ship.
//!
//! They change records of one model, as natives do, at any time, and hear of it when they are connected. Their lines
//! break at any byte, and the hub dies with its node. It is opened again when the next of them connects.

pub(crate) mod ground;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use serde_json::Value as Json;
use syncro_classic::limits::PATIENCE_MS;
use syncro_classic::{
    Class, Confirmation, Effects, Frames, Framing, Hub, SessionId, Settings, Tables, Uid, frame,
};
use syncro_core::{Edit, Event, Fields, Proposal, RecordId, RecordKey, Value};
use syncro_store::MemoryDisk;

use self::ground::Ground;
use super::{A, Failure, Law, Sight, World, name};
use crate::ruby::Ruby;

/// The class of their records, and its model.
pub(crate) const PAGE: &str = "sim page";

/// Peers at most.
const PEERS: usize = 3;

/// More steps than a hub takes for what these peers say.
const STEPS_MAX: usize = 10_000;

/// Something that happens to a peer of 2010, or to the records that it shares.
#[derive(Clone, Debug)]
pub enum ClassicOp {
    /// Creates a page, or changes the one that is there.
    Save(u8, u8),
    Destroy(u8),
    Connect,
    /// Breaks the line at a byte of what is under way to the hub, and to the peer.
    Cut([u32; 2]),
    /// The peer alone notices that the line is gone. The hub does when it works the next time.
    Sever,
    /// Lets so many bytes arrive at the hub, which works.
    Up(u32),
    /// Lets so many bytes arrive at the peer.
    Down(u32),
    /// Lets everything arrive on both sides.
    Talk,
    /// A node saves a page, or destroys it.
    Native(u8, u8, Option<u8>),
}

/// The hub, and its peers.
#[derive(Debug, Default)]
pub(crate) struct Classic {
    hub: Option<Hub<Ground>>,
    ground: Ground,
    /// The disk of the hub's list.
    list: Option<MemoryDisk>,
    pub(crate) peers: Vec<Peer>,
    /// Sessions whose peers are gone, and the hub does not know it yet.
    gone: Vec<SessionId>,
    /// Pages that natives have saved or destroyed.
    pub(crate) natives: usize,
    /// What peers had done that began anew since.
    pub(crate) pushed: usize,
}

/// A peer, and its line while it has one.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ruby: Ruby,
    line: Option<Line>,
    /// How often it had to begin anew.
    lives: usize,
    /// Whether the hub that it talked to has died.
    is_forgotten: bool,
    /// Pages that it changed before, and that a hub after it pulls: what the peer wrote before it heard of somebody else's
    /// change is told back to it only by a hub that remembers what it told. See "What peers of 2010 cannot do" in
    /// `docs/classic.md`.
    pub(crate) doubtful: BTreeSet<String>,
}

impl Peer {
    /// Its session has ended. Returns how much it had done, if it begins anew.
    fn disconnect(&mut self) -> usize {
        self.ruby.disconnect();
        if !self.ruby.has_failed {
            return 0;
        }
        self.lives += 1;
        self.doubtful.clear();
        std::mem::replace(&mut self.ruby, Ruby::of(PAGE)).log.len()
    }
}

#[derive(Debug)]
struct Line {
    session: SessionId,
    framing: Framing,
    opened_ms: u64,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    /// Reads at the peer.
    frames: Frames,
}

impl Line {
    /// Takes so many bytes from what is under way in one direction: the rest of a frame at most, and all of it where
    /// the transport keeps messages apart.
    fn take(way: &mut VecDeque<Bytes>, framing: Framing, bytes: usize) -> Option<Bytes> {
        let first = way.front_mut().filter(|_| bytes > 0)?;
        let part = match framing {
            Framing::Stream => first.split_to(bytes.min(first.len())),
            Framing::Messages => std::mem::take(first),
        };
        if first.is_empty() {
            way.pop_front();
        }
        Some(part)
    }

    fn bytes(way: &VecDeque<Bytes>) -> usize {
        way.iter().map(Bytes::len).sum()
    }
}

/// The key of a page.
fn page(record: u8) -> RecordKey {
    RecordKey { model: name(PAGE), id: RecordId::text(&page_id(record)).unwrap() }
}

fn page_id(record: u8) -> String {
    format!("p{}", record % 3)
}

fn title(value: u8) -> String {
    format!("title {value}")
}

fn settings() -> Settings {
    let tables = Tables::default().allow(Class::new(PAGE).unwrap()).unwrap();
    Settings { tables, confirmation: Confirmation::Noop, ..Settings::default() }
}

fn blamed(error: &impl std::fmt::Display) -> Failure {
    Law::Classic.broken(format!("the hub fails: {error}"))
}

impl World {
    /// Whether a node has a hub.
    pub(crate) fn is_hub(&self, node: usize) -> bool {
        node == A && self.classic.is_some()
    }

    /// Lets something happen to a peer of 2010.
    pub(crate) fn classic(&mut self, at: u8, op: &ClassicOp) -> Result<(), Failure> {
        let mut it = self.classic.take().unwrap_or_default();
        while it.peers.len() < PEERS {
            let (ruby, doubtful) = (Ruby::of(PAGE), BTreeSet::new());
            it.peers.push(Peer { ruby, line: None, lives: 0, is_forgotten: false, doubtful });
        }
        if let ClassicOp::Native(node, record, value) = *op {
            it.natives += 1;
            self.classic = Some(it);
            // The node may crash over it, and the hub with it.
            let node = usize::from(node) % self.nodes.len();
            return self.save_page(node, record, value);
        }
        let at = usize::from(at) % PEERS;
        let done = self.happen_to(&mut it, at, op);
        self.classic = Some(it);
        done
    }

    fn happen_to(&mut self, it: &mut Classic, at: usize, op: &ClassicOp) -> Result<(), Failure> {
        match *op {
            ClassicOp::Save(record, value) => {
                let ruby = &mut it.peers[at].ruby;
                let id = page_id(record);
                self.seen.extend((!ruby.is_connected()).then_some(Sight::ClassicOffline));
                if ruby.records.contains_key(&id) {
                    ruby.update(&id, &title(value));
                } else {
                    ruby.create(&id, &title(value));
                }
            }
            ClassicOp::Destroy(record) => it.peers[at].ruby.destroy(&page_id(record)),
            ClassicOp::Connect => self.classic_connect(it, at)?,
            ClassicOp::Cut([up, down]) => {
                let Some(line) = &it.peers[at].line else { return Ok(()) };
                let [up, down] = [up, down].map(|bytes| usize::try_from(bytes).unwrap());
                let up = up % (Line::bytes(&line.up) + 1);
                let down = down % (Line::bytes(&line.down) + 1);
                self.carry_up(it, at, up)?;
                self.carry_down(it, at, down);
                self.classic_cut(it, at);
            }
            ClassicOp::Sever => {
                let peer = &mut it.peers[at];
                if let Some(line) = peer.line.take() {
                    self.seen.insert(Sight::ClassicHalfOpen);
                    it.pushed += peer.disconnect();
                    it.gone.push(line.session);
                }
            }
            ClassicOp::Up(bytes) => self.carry_up(it, at, usize::try_from(bytes).unwrap())?,
            ClassicOp::Down(bytes) => self.carry_down(it, at, usize::try_from(bytes).unwrap()),
            ClassicOp::Talk => {
                self.classic_talk(it, at)?;
            }
            ClassicOp::Native(..) => {}
        }
        Ok(())
    }

    pub(crate) fn save_page(
        &mut self,
        node: usize,
        record: u8,
        value: Option<u8>,
    ) -> Result<(), Failure> {
        let (key, mut proposal) = (page(record), Proposal::default());
        let is_alive = self.fields(node, &key).is_some();
        let value = value.map(|value| Value::from(title(value).as_str()));
        match value {
            Some(value) if is_alive => {
                proposal.update(key, vec![Edit::value(name("name"), value.encode())]).unwrap();
            }
            Some(value) => {
                let fields = Fields::from_values(&[("name".to_owned(), value)].into()).unwrap();
                proposal.create(key, &fields).unwrap();
            }
            None if is_alive => proposal.destroy(key).unwrap(),
            None => return Ok(()),
        }
        self.ledger.raising = 0;
        self.propose(node, proposal)
    }

    /// Calls with the hub, beside its peers.
    pub(crate) fn with_classic_hub<T>(
        &mut self,
        call: impl FnOnce(&mut Hub<Ground>) -> Result<T, syncro_classic::Error>,
    ) -> Result<Option<T>, Failure> {
        let mut it = self.classic.take().unwrap_or_default();
        let called = self.with_hub(&mut it, call);
        self.classic = Some(it);
        called
    }

    /// Calls with the hub, which is opened for it if it must be. It dies if its node does, or has no room; then there is
    /// nothing to return.
    fn with_hub<T>(
        &mut self,
        it: &mut Classic,
        call: impl FnOnce(&mut Hub<Ground>) -> Result<T, syncro_classic::Error>,
    ) -> Result<Option<T>, Failure> {
        let opens = self.opens;
        it.ground.enter(self);
        let opened = match it.hub.take() {
            Some(hub) => Ok(hub),
            None => {
                let list = it.list.get_or_insert_with(MemoryDisk::new);
                list.open()
                    .map_err(syncro_classic::Error::List)
                    .and_then(|list| Hub::open(it.ground.clone(), list, settings()))
            }
        };
        let called = opened.and_then(|mut hub| {
            let called = call(&mut hub)?;
            it.hub = Some(hub);
            Ok(called)
        });
        it.ground.leave(self)?;
        if self.opens == opens {
            match called {
                Ok(called) => return Ok(Some(called)),
                Err(error) if ground::is_full(&error) => self.seen.insert(Sight::ClassicFull),
                Err(error) => return Err(blamed(&error)),
            };
        }
        self.hub_dies(it);
        Ok(None)
    }

    /// The hub is gone, and what it had not flushed; its peers find out.
    fn hub_dies(&mut self, it: &mut Classic) {
        self.trace.note(format_args!("  the hub is gone"));
        it.list = it.list.take().map(|list| list.crash());
        self.watched = None;
        it.gone.clear();
        for peer in &mut it.peers {
            peer.is_forgotten = true;
            if peer.line.take().is_some() {
                self.seen.insert(Sight::ClassicCrash);
                it.pushed += peer.disconnect();
            }
        }
        it.hub = None;
    }

    /// Keeps what has changed for the hub, while it listens.
    pub(super) fn note_watched(&mut self, node: usize, event: &Event) {
        if node == A
            && let (Some(watched), Event::Changed(changed)) = (&mut self.watched, event)
        {
            watched.push_back(changed.clone());
        }
    }

    /// The process of a node ends.
    pub(super) fn unplug_hub(&mut self, node: usize) {
        if node == A
            && let Some(mut it) = self.classic.take()
        {
            self.hub_dies(&mut it);
            self.classic = Some(it);
        }
    }

    fn classic_connect(&mut self, it: &mut Classic, at: usize) -> Result<(), Failure> {
        if it.peers[at].line.is_some() {
            return Ok(());
        }
        let framing = if at == 0 { Framing::Messages } else { Framing::Stream };
        let uid = Uid::new(&format!("peer {at}.{}", it.peers[at].lives)).unwrap();
        let session = self.with_hub(it, |hub| hub.connect(uid, framing))?;
        let Some(session) = session else { return Ok(()) };
        self.trace.note(format_args!("  peer {at} of 2010 connects in {}", session.0));
        let (up, down, frames) = (VecDeque::new(), VecDeque::new(), Frames::default());
        let opened_ms = self.now_ms;
        it.peers[at].ruby.connect();
        it.peers[at].line = Some(Line { session, framing, opened_ms, up, down, frames });
        self.hub_works(it)
    }

    /// Breaks a line. Both sides notice.
    fn classic_cut(&mut self, it: &mut Classic, at: usize) {
        let peer = &mut it.peers[at];
        let Some(line) = peer.line.take() else { return };
        self.trace.note(format_args!("  the line of {} breaks", line.session.0));
        it.pushed += peer.disconnect();
        if let Some(hub) = &mut it.hub {
            hub.disconnect(line.session);
        }
    }

    /// Puts what a peer has to say on its line.
    fn say(it: &mut Classic, at: usize) {
        let Peer { ruby, line: Some(line), .. } = &mut it.peers[at] else { return };
        for message in ruby.out.drain(..) {
            let text = message.to_string().into_bytes();
            line.up.push_back(match line.framing {
                Framing::Stream => frame(&text).unwrap().into(),
                Framing::Messages => text.into(),
            });
        }
    }

    fn carry_up(&mut self, it: &mut Classic, at: usize, mut bytes: usize) -> Result<(), Failure> {
        Self::say(it, at);
        while let (Some(line), Some(hub)) = (&mut it.peers[at].line, &mut it.hub) {
            if hub.is_busy(line.session) {
                self.hub_works(it)?;
                if it
                    .hub
                    .as_ref()
                    .zip(it.peers[at].line.as_ref())
                    .is_none_or(|(hub, line)| hub.is_busy(line.session))
                {
                    break;
                }
                continue;
            }
            let Some(part) = Line::take(&mut line.up, line.framing, bytes) else { break };
            bytes = bytes.saturating_sub(part.len());
            hub.receive(line.session, &part);
        }
        self.hub_works(it)
    }

    fn carry_down(&mut self, it: &mut Classic, at: usize, mut bytes: usize) {
        while let Peer { ruby, line: Some(line), is_forgotten, doubtful, .. } = &mut it.peers[at]
            && let Some(part) = Line::take(&mut line.down, line.framing, bytes)
        {
            bytes = bytes.saturating_sub(part.len());
            if let Some(hub) = &mut it.hub {
                hub.written(line.session, part.len());
            }
            let messages: Vec<Vec<u8>> = match line.framing {
                Framing::Messages => vec![part.to_vec()],
                Framing::Stream => {
                    line.frames.push(&part);
                    std::iter::from_fn(|| line.frames.next()).collect()
                }
            };
            for message in messages {
                self.trace.note_more(format_args!("  peer {at} of 2010 hears"), || {
                    Some(String::from_utf8_lossy(&message).into_owned())
                });
                let message: Json = serde_json::from_slice(&message).unwrap();
                ruby.hear(&message);
                if message["type"] == "sync" && std::mem::take(is_forgotten) {
                    doubtful.extend(ruby.pulled.iter().cloned());
                }
            }
        }
    }

    /// Lets everything arrive at one peer and from it. Returns whether anything was under way.
    fn classic_talk(&mut self, it: &mut Classic, at: usize) -> Result<bool, Failure> {
        Self::say(it, at);
        let is_idle = |line: &Line| line.up.is_empty() && line.down.is_empty();
        let is_any = it.peers[at].line.as_ref().is_some_and(|line| !is_idle(line));
        self.carry_up(it, at, usize::MAX)?;
        self.carry_down(it, at, usize::MAX);
        Ok(is_any)
    }

    /// Lets the hub do what it has to do.
    fn hub_works(&mut self, it: &mut Classic) -> Result<(), Failure> {
        if it.hub.is_none() {
            return Ok(());
        }
        if let Some(hub) = &mut it.hub {
            it.gone.drain(..).for_each(|session| hub.disconnect(session));
            for peer in &mut it.peers {
                let Some(line) = &peer.line else { continue };
                if self.now_ms >= line.opened_ms + PATIENCE_MS && !peer.ruby.is_slow {
                    peer.ruby.is_slow = true;
                    hub.lose_patience(line.session);
                }
            }
        }
        for _ in 0..STEPS_MAX {
            let Some(effects) = self.with_hub(it, Hub::step)? else { return Ok(()) };
            let is_idle = effects.sends.is_empty() && !effects.has_more;
            self.carry_out_classic(it, effects)?;
            if is_idle {
                return Ok(());
            }
        }
        Err(Law::Classic.broken(format!("{STEPS_MAX} steps of the hub, and no end of it")))
    }

    fn carry_out_classic(&mut self, it: &mut Classic, effects: Effects) -> Result<(), Failure> {
        for (session, bytes) in effects.sends {
            let mut lines = it.peers.iter_mut().filter_map(|peer| peer.line.as_mut());
            if let Some(line) = lines.find(|line| line.session == session) {
                self.trace.note_more(format_args!("  the hub says in {}", session.0), || {
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                });
                self.trace.note_bytes(&bytes);
                line.down.push_back(bytes);
            }
        }
        if let Some((session, offence)) = effects.closes.first() {
            let detail = format!("the hub blames session {}: {offence}", session.0);
            return Err(Law::Classic.broken(detail));
        }
        self.check_classic_events(&effects.events)
    }

    /// Connects all peers, and lets everybody talk to the end, natives too.
    pub(crate) fn settle_classic(&mut self) -> Result<(), Failure> {
        let Some(mut it) = self.classic.take() else { return Ok(()) };
        let settled = self.settle_peers(&mut it);
        self.classic = Some(it);
        settled
    }

    fn settle_peers(&mut self, it: &mut Classic) -> Result<(), Failure> {
        for _ in 0..STEPS_MAX {
            for at in 0..PEERS {
                self.classic_connect(it, at)?;
            }
            self.hub_works(it)?;
            let mut is_any = false;
            for at in 0..PEERS {
                is_any |= self.classic_talk(it, at)?;
            }
            if is_any {
                continue;
            }
            let end = self.nodes[A].log.end();
            self.rest()?;
            self.hub_works(it)?;
            let lines = it.peers.iter().filter_map(|peer| peer.line.as_ref());
            let is_idle = lines.map(|line| line.down.len()).sum::<usize>() == 0;
            if is_idle && self.nodes[A].log.end() == end {
                return Ok(());
            }
        }
        Err(Law::Rest.broken("peers of 2010 talk, and no end of it"))
    }

    /// Ends every session of a peer of 2010.
    pub(crate) fn cut_classic(&mut self) {
        let Some(mut it) = self.classic.take() else { return };
        (0..PEERS).for_each(|at| self.classic_cut(&mut it, at));
        self.classic = Some(it);
    }
}
