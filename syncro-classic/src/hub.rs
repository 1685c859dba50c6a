//! The hub: a node's records on one side, the sessions of classic peers on the other.

mod link;
mod play;
mod record;
mod tell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde_json::Value as Json;
use syncro::store::Memory;
use syncro::{
    Backend, Change, Committed, Fields, Name, Node, Point, RecordId, RecordKey, Scribe as Logged,
    Stamp, View,
};

use crate::base::Base;
use crate::class::{Audience, DEFAULT_RPC, Open, Policy, Tables, Uid};
use crate::error::Error;
use crate::event::{Event, SessionId};
use crate::limits::{EVENTS_MAX, ORPHANS_MAX, ROWS_PER_READ, SESSIONS_MAX};
use crate::list::{List, Row, What};
use crate::message::{From, is_of_record};
use crate::session::{Framing, Input, Offence};
use link::Link;

/// What the host decides.
pub struct Settings {
    /// The classes, types and methods that peers may name: none at first.
    pub tables: Tables,
    /// Who sees and may do what.
    pub policy: Box<dyn Policy>,
    /// What a peer is told that asks for what follows an id that was never issued.
    pub unknown_from: UnknownFrom,
    /// When the answer to a `sync` counts as played.
    pub confirmation: Confirmation,
}

impl Default for Settings {
    fn default() -> Self {
        let (tables, policy) = (Tables::default(), Box::new(Open));
        let (unknown_from, confirmation) = (UnknownFrom::default(), Confirmation::default());
        Self { tables, policy, unknown_from, confirmation }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// What a peer is told that asks for what follows an unknown id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFrom {
    /// A create of every record that it may see.
    #[default]
    State,
    /// Nothing, as in the original, for ever.
    Nothing,
}

/// When a peer counts as having played the answer to its `sync`. Until then, what it changes may be undone by that
/// answer, and is told to it once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// When it is written. What the peer changes between asking and reading, and sends after that, is then lost at
    /// this peer alone: for the time that the answer is on its way.
    #[default]
    Written,
    /// When the peer has answered a `noop` that follows it. It closes that gap, for peers that answer in order.
    Noop,
}

/// What a step wants done, in this order.
#[derive(Debug, Default)]
#[must_use]
pub struct Effects {
    /// Bytes to be written. They are a frame each where the session is over a stream, a message otherwise.
    pub sends: Vec<(SessionId, Bytes)>,
    /// Sessions to be ended once that is written.
    pub closes: Vec<(SessionId, Offence)>,
    /// What happened.
    pub events: Vec<Event>,
    /// Whether another step has something to do at once.
    pub has_more: bool,
}

/// Binds the sessions of classic peers to a node.
///
/// It does no I/O but that of the node and the list: whoever drives it hands in what arrives and writes what
/// comes out. [`step`](Self::step) does the work of all inputs since the last one, with one flush for all;
/// nothing is acknowledged before. [`Classic`](crate::Classic) drives it on sockets.
///
/// ```
/// use syncro::Node;
/// use syncro_classic::{Class, Framing, Hub, Settings, Tables, Uid};
///
/// let node = Node::in_memory("hub")?;
/// let tables = Tables::default().allow(Class::new("Todo")?)?;
/// let mut hub = Hub::in_memory(node.clone(), Settings { tables, ..Settings::default() })?;
///
/// let ann = hub.connect(Uid::new("ann")?, Framing::Messages)?;
/// let push = br#"{"type":"add_scribe","id":1,"scribe":
///     {"klass":"Todo","type":"create","id":"1","data":{"id":"t1","title":"milk"}}}"#;
/// hub.receive(ann, push);
/// let effects = hub.step()?;
/// assert_eq!(effects.sends.last().map(|(_, sent)| &sent[..]),
///     Some(&br#"{"id":1,"result":true,"type":"response"}"#[..]));
/// assert_eq!(node.list_records(&syncro::Name::new("Todo")?)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hub<N: Base = Node> {
    node: N,
    watch: N::Watch,
    /// A change that was taken from the watch before its turn.
    next_change: Option<Change<Fields>>,
    list: List,
    settings: Settings,
    links: BTreeMap<SessionId, Link>,
    /// By client that is not connected: the records of which it was told last, and may not have heard.
    unheard: BTreeMap<Uid, BTreeSet<Vec<u8>>>,
    next_session: u64,
    /// Who caused the changes that the watch is about to tell, by their offset.
    played: BTreeMap<u64, Cause>,
    /// Own writes that the list did not cover at opening, for peers that send them again.
    orphans: Vec<(Stamp, Logged)>,
    /// Clients that have been pulled from since opening.
    pulled_from: BTreeSet<Uid>,
    /// Writes that are not to be recorded.
    left_out: BTreeSet<Stamp>,
    /// Whose scribes the last writes were that this hub has played.
    replays: BTreeMap<Stamp, Uid>,
    /// Answers that wait for the flush.
    answers: Vec<(SessionId, Answer)>,
    /// Changes looked at and not told of since the list was last written.
    unmarked: u64,
    effects: Effects,
}

/// Who caused a change, and how.
#[derive(Clone, Debug)]
struct Cause {
    session: SessionId,
    uid: Uid,
    is_pulled: bool,
}

/// What a peer is answered after the flush.
#[derive(Debug)]
enum Answer {
    Played { request: Json },
    Refused { code: u16 },
    Sync { request: Json, from: From },
    Call { request: Json, klass: String, method: String, args: Vec<Json> },
}

impl<N: Base> Hub<N> {
    /// Opens a hub over a node, with its list in a backend of its own, such as a file beside the node's store.
    ///
    /// # Errors
    ///
    /// [`Error::List`] and [`Error::Version`] when the list cannot be read, [`Error::Node`] when the node is
    /// closed or cannot be read.
    pub fn open(node: N, list: impl Backend, settings: Settings) -> Result<Self, Error> {
        let own = node.reader().own().map_err(syncro::Error::from)?;
        let epoch = own.map_or(0, |own| own.epoch.0);
        let list = List::open(Box::new(list), 1 + (epoch & u64::from(u32::MAX)))?;
        let (mark, is_known) = Self::known_mark(&node, &list)?;
        let mut hub = Self {
            watch: node.watch_from(mark)?,
            next_change: None,
            orphans: orphans(&node, mark)?,
            node,
            list,
            settings,
            links: BTreeMap::new(),
            unheard: BTreeMap::new(),
            next_session: 0,
            played: BTreeMap::new(),
            pulled_from: BTreeSet::new(),
            left_out: BTreeSet::new(),
            replays: BTreeMap::new(),
            answers: Vec::new(),
            unmarked: 0,
            effects: Effects::default(),
        };
        if !is_known {
            hub.compare_with_store(mark)?;
        }
        while hub.record()? {}
        Ok(hub)
    }

    /// Opens a hub whose list is gone when it is: peers are told everything again after that.
    ///
    /// # Errors
    ///
    /// Like [`open`](Self::open).
    pub fn in_memory(node: N, settings: Settings) -> Result<Self, Error> {
        Self::open(node, Memory::new(), settings)
    }

    /// The point of the node's log that the list covers, or, where the log does not have it, its end.
    fn known_mark(node: &N, list: &List) -> Result<(Point, bool), Error> {
        let mark = list.mark();
        let is_known = has(node, mark)?;
        Ok(if is_known { (mark, true) } else { (node.end(), false) })
    }

    /// The node.
    pub fn node(&self) -> &N {
        &self.node
    }

    /// Begins a session of a client, and asks it for what it has.
    ///
    /// # Errors
    ///
    /// [`Error::TooManySessions`]; [`Error::List`] when the list cannot be read.
    pub fn connect(&mut self, uid: Uid, framing: Framing) -> Result<SessionId, Error> {
        if self.links.len() >= SESSIONS_MAX {
            return Err(Error::TooManySessions);
        }
        let mut peer = self.list.peer(&uid).map_err(Error::List)?;
        let node = &self.node;
        if peer.retreat(|point| has(node, point))? {
            self.list.set_peer(&uid, &peer);
            let from = peer.point().map(str::to_owned);
            self.tell_host(Event::PulledAgain { uid: uid.clone(), from });
        }
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let unheard = self.unheard.remove(&uid).unwrap_or_default();
        let mut link = Link::new(uid.clone(), framing, self.list.end(), unheard);
        // A peer of 2010 takes the id of what it is told for its sync point. Told too early, it would lose what
        // it has missed.
        link.is_held = self.list.last_of(&uid).map_err(Error::List)?.is_some();
        self.links.insert(session, link);
        self.tell_host(Event::Opened { session, uid });
        self.give(session, Input::Pull { from: peer.point().map(str::to_owned) });
        Ok(session)
    }

    /// Takes bytes of a stream, cut anywhere, or one message. They are dealt with in the next step.
    pub fn receive(&mut self, session: SessionId, bytes: &[u8]) {
        self.give(session, Input::Receive(bytes));
    }

    /// Hears that the transport of a session has found fault with what came over it: the session ends.
    pub fn fail(&mut self, session: SessionId, offence: Offence) {
        self.give(session, Input::Fail(offence));
    }

    /// Hears that so many bytes of a session have been written.
    pub fn written(&mut self, session: SessionId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&session) {
            link.written(bytes);
        }
    }

    /// Hears that [`PATIENCE_MS`](crate::limits::PATIENCE_MS) have passed since a session began: whoever has not
    /// said by now from where it wants to be told is told what is new.
    pub fn lose_patience(&mut self, session: SessionId) {
        if let Some(link) = self.links.get_mut(&session) {
            (link.is_patient, link.is_held) = (false, false);
        }
    }

    /// Whether a session has taken in as much as it may: its transport is to wait.
    pub fn is_busy(&self, session: SessionId) -> bool {
        self.links.get(&session).is_some_and(Link::is_busy)
    }

    /// Hears that a session has ended. What had arrived in part is forgotten.
    pub fn disconnect(&mut self, session: SessionId) {
        let Some(link) = self.links.remove(&session) else { return };
        let (uid, is_over) = (link.uid.clone(), link.is_over);
        self.unheard.entry(uid.clone()).or_default().extend(link.into_unheard());
        if !is_over {
            self.tell_host(Event::Closed { session, uid, offence: None });
        }
    }

    /// Does what is to be done: plays what came, makes it durable, answers, and tells what is new.
    ///
    /// # Errors
    ///
    /// [`Error::Node`] and [`Error::List`] when either fails. The hub is then to be dropped: what was not
    /// answered was not acknowledged, and comes again.
    pub fn step(&mut self) -> Result<Effects, Error> {
        self.play()?;
        let has_changes = self.record()?;
        self.answer()?;
        self.tell()?;
        self.effects.has_more |= has_changes;
        Ok(std::mem::take(&mut self.effects))
    }

    /// Tells peers a scribe of the host's own, which no record is behind.
    ///
    /// # Errors
    ///
    /// [`Error::Reserved`] for a type that is the protocol's own, [`Error::Node`] for a name that is
    /// too long, [`Error::List`] when the list cannot be written.
    pub fn scribe(
        &mut self,
        klass: &str,
        kind: &str,
        data: Json,
        to: Audience,
    ) -> Result<(), Error> {
        for name in [klass, kind] {
            Name::new(name)?;
        }
        if is_of_record(kind) {
            return Err(Error::Reserved { name: kind.to_owned() });
        }
        let what = What::Custom { kind: kind.to_owned(), data, to };
        let row = Row { klass: klass.to_owned(), what, by: None, previous: 0 };
        if !row.audiences().iter().all(|to| to.is_nobody()) {
            self.list.append(&row).map_err(Error::List)?;
            self.list.write().map_err(Error::List)?;
        }
        Ok(())
    }

    /// Writes to the node without a word to classic peers: what one call on the node has recorded is left out.
    /// A crash before the next step may tell it all the same.
    ///
    /// ```
    /// # use syncro_classic::{Hub, Settings};
    /// # #[derive(syncro::ScribeModel)]
    /// # struct Todo { id: String }
    /// # let mut hub = Hub::in_memory(syncro::Node::in_memory("hub")?, Settings::default())?;
    /// hub.unrecorded(|node| node.create(&Todo { id: "1".into() }))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the closure.
    pub fn unrecorded(
        &mut self,
        write: impl FnOnce(&N) -> Result<Option<Committed>, syncro::Error>,
    ) -> Result<Option<Committed>, Error> {
        let committed = write(&self.node)?;
        self.left_out.extend(committed.map(|committed| committed.stamp));
        Ok(committed)
    }

    /// Whose scribe a write of the node was, if it is one of the last that this hub has played: what a callback
    /// asked by `am I inside a replay?` in the original. Whoever watches the node knows the stamp.
    pub fn replay_of(&self, stamp: &Stamp) -> Option<&Uid> {
        self.replays.get(stamp)
    }

    /// Takes over where a client's log ends, by its own word, without pulling what is in it: the original's
    /// `uptodate!`. Nothing happens unless it is connected.
    pub fn uptodate(&mut self, uid: &Uid) {
        let session = self.links.iter().find(|(_, link)| link.uid == *uid).map(|(id, _)| *id);
        if let Some(session) = session {
            let (klass, method) = (DEFAULT_RPC.to_owned(), "last_scribe_id".to_owned());
            self.give(session, Input::Call { klass, method, args: Vec::new() });
        }
    }

    /// Gives an input to a session, and takes care of what comes of it. Returns the number of the request, and
    /// the bytes of what was too long.
    fn give(&mut self, session: SessionId, input: Input<'_>) -> (Option<u64>, Option<usize>) {
        let Some(link) = self.links.get_mut(&session).filter(|link| !link.is_over) else {
            return (None, None);
        };
        let effects = link.session.handle(input);
        for sent in effects.sends {
            link.sent_bytes += sent.len() as u64;
            self.effects.sends.push((session, sent));
        }
        link.came.extend(effects.asks);
        if let Some(offence) = effects.offence {
            link.is_over = true;
            let uid = link.uid.clone();
            self.effects.closes.push((session, offence));
            self.tell_host(Event::Closed { session, uid, offence: Some(offence) });
        }
        (effects.request, effects.too_long)
    }

    fn tell_host(&mut self, event: Event) {
        if self.effects.events.len() < EVENTS_MAX {
            self.effects.events.push(event);
        }
    }

    /// A record as it is; `None` when it is not alive.
    fn get_record(&self, key: &RecordKey) -> Result<Option<Fields>, Error> {
        let record = self.node.reader().record(key).map_err(syncro::Error::from)?;
        Ok(record.filter(|record| record.is_alive()).map(|record| Fields::of(&record)))
    }

    /// The records of a model that are alive at one moment.
    fn list_records(&self, model: &Name) -> Result<Vec<(RecordId, Fields)>, Error> {
        let snapshot = self.node.reader().snapshot();
        let (mut alive, mut after) = (Vec::new(), None);
        loop {
            let page = snapshot.records(model, after.as_ref(), ROWS_PER_READ);
            let page = page.map_err(syncro::Error::from)?;
            let Some((last, _)) = page.last() else { return Ok(alive) };
            after = Some(last.clone());
            let page = page.into_iter().filter(|(_, record)| record.is_alive());
            alive.extend(page.map(|(id, record)| (id, Fields::of(&record))));
        }
    }

    fn sessions(&self) -> VecDeque<SessionId> {
        self.links.keys().copied().collect()
    }
}

impl Hub {
    /// Waits until the node has changed; `false` when it is closed. It may be dropped at any time.
    ///
    /// # Errors
    ///
    /// [`Error::Node`] when its log cannot be read.
    pub async fn changed(&mut self) -> Result<bool, Error> {
        if self.next_change.is_none() {
            match self.watch.next().await {
                Err(error) => self.on_watch_error(error)?,
                Ok(None) => return Ok(false),
                Ok(change) => self.next_change = change,
            }
        }
        Ok(true)
    }
}

/// Whether a node's log has a point.
fn has(node: &impl Base, point: Point) -> Result<bool, Error> {
    let digest = node.reader().digest_at(point.offset).map_err(syncro::Error::from)?;
    Ok(digest == Some(point.digest))
}

/// The node's own writes after a point.
fn orphans(node: &impl Base, from: Point) -> Result<Vec<(Stamp, Logged)>, Error> {
    let (reader, mut orphans, mut next) = (node.reader(), Vec::new(), from.offset);
    loop {
        let entries = reader.entries(next, 1 << 16).map_err(syncro::Error::from)?;
        let Some(last) = entries.last() else { return Ok(orphans) };
        next = last.end().offset;
        for entry in &entries {
            let stamp = entry.transaction.stamp();
            if stamp.author.node == node.id() {
                let scribes = entry.scribes().map_err(syncro::Error::from)?;
                orphans.extend(scribes.into_iter().map(|scribe| (stamp, scribe)));
            }
        }
        let surplus = orphans.len().saturating_sub(ORPHANS_MAX);
        orphans.drain(..surplus);
    }
}
