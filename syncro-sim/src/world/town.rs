//! Who may see and change what: sources with rules, views that see less than all, and rights that change.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use syncro_core::{
    Access, Attempt, Channel, Claim, Config, FieldsWriter, Input, ModelChannels, NodeId, Pattern,
    Permissions, Principal, Proposal, RecordId, RecordKey, Refusal, Role, ScribeModel, Templates,
    VIEW_ROW, View,
};

use super::{Failure, Link, Listed, Sight, World, Write, name};

/// The lists that memos are in.
pub(crate) const LISTS: [&str; 3] = ["a", "b", "c"];

/// Nodes of a world at most, clones included.
const NODES_MAX: usize = 6;

/// Memos that a source writes in a row, each of so many KiB: more than a transport takes that does not get rid of it, and
/// than a view is told at once.
const FLOOD: Range<u8> = 10..16;
const FLOOD_KIB: u8 = 120;

/// Who reads by a view, and may be named as a reader of a memo.
pub(crate) const READERS: [&str; 3] = ["ann", "bob", "cid"];

/// What sources and replicas show to those whom they call.
const TRUSTED: &str = "trusted";

/// The model of memos.
pub(crate) const MEMO: &str = "memo";

/// The key of a memo.
pub fn memo(id: u8) -> RecordKey {
    RecordKey { model: name(MEMO), id: RecordId::Int(i64::from(id)) }
}

/// Who is in a world in which not everybody sees all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Nodes that show views what these may see, and judge what they write.
    pub sources: u8,
    /// Nodes that hold all that sources hold, and are open to everybody.
    pub replicas: u8,
    pub views: u8,
}

impl Cast {
    /// With one less of somebody.
    pub(crate) fn smaller(self) -> Vec<Self> {
        let Self { sources, replicas, views } = self;
        let fewer = [
            (replicas > 0).then(|| Self { replicas: replicas - 1, ..self }),
            (sources > 1).then(|| Self { sources: sources - 1, ..self }),
            (views > 1).then(|| Self { views: views - 1, ..self }),
        ];
        fewer.into_iter().flatten().collect()
    }
}

/// What a node is, whenever it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    rules: Option<Rules>,
    pub(crate) is_view: bool,
    /// What it shows to those whom it calls.
    pub(crate) credentials: Bytes,
}

impl Part {
    pub(crate) fn config(&self, config: Config) -> Config {
        let permissions = self.rules.clone().map(|rules| Arc::new(rules) as Arc<dyn Permissions>);
        Config { view: self.is_view, permissions, ..config }
    }

    pub(crate) fn is_source(&self) -> bool {
        self.rules.is_some()
    }
}

/// What happens to what may be seen.
#[derive(Clone, Debug)]
pub enum Change {
    /// A view follows a list from here on, or no more; after the lists comes what its reader is named in.
    Subscribe(u8, u8, bool),
    /// The lists that a reader may see and change from here on, as bits.
    Rights(u8, [u8; 2]),
    /// A view dials a source, in JSON or in MessagePack.
    Follow(u8, u8, bool),
    /// A source writes more than its transport takes into a list that a view follows, and hears what that writes.
    Flood(u8, u8),
}

/// What may be done by whom: by credentials, the same at all sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Arc<Mutex<BTreeMap<Bytes, Arc<Principal>>>>);

impl Rules {
    fn let_in(&self, credentials: &Bytes, principal: Principal) -> Arc<Principal> {
        let principal = Arc::new(principal);
        let mut principals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        principals.insert(credentials.clone(), principal.clone());
        principal
    }

    fn principal(&self, credentials: &[u8]) -> Option<Arc<Principal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(credentials).cloned()
    }
}

impl Permissions for Rules {
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>> {
        match claim.role {
            Role::Dial(_) => self.principal(TRUSTED.as_bytes()),
            Role::Accept => self.principal(claim.credentials),
        }
    }

    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal> {
        // What decides is the same at every source.
        let is_taboo = attempt.stamp.time.bits().is_multiple_of(16);
        let is_trusted = attempt.principal.name == TRUSTED;
        match is_taboo && !is_trusted {
            true => Err(Refusal::new(Refusal::APPLICATION, "not at this time")),
            false => Ok(()),
        }
    }
}

/// The channel of a list, or what a reader is named in.
fn channel(list: u8, reader: &str) -> String {
    match LISTS.get(usize::from(list) % (LISTS.len() + 1)) {
        Some(list) => format!("list/{list}"),
        None => format!("reader/{reader}"),
    }
}

/// A reader who may see and change the lists of some bits.
fn reader(name: &str, [read, write]: [u8; 2]) -> Principal {
    let patterns = |bits: u8| -> Vec<Pattern> {
        let lists = (0..=LISTS.len() as u8).filter(|list| bits & 1 << list != 0);
        lists.map(|list| Pattern::new(&channel(list, name)).unwrap()).collect()
    };
    Principal::new(name).may_read(patterns(read)).may_write(patterns(write))
}

impl World {
    /// Brings in sources, replicas and views, in this order.
    pub(crate) fn populate(&mut self, cast: Cast) -> Result<(), Failure> {
        let rules = Rules::default();
        let trusted = Principal::new(TRUSTED).may_read(Access::All).may_write(Access::All);
        let credentials = Bytes::from_static(TRUSTED.as_bytes());
        rules.let_in(&credentials, trusted.relaying());
        let replica = Part { credentials, ..Part::default() };
        let source = Part { rules: Some(rules.clone()), ..replica.clone() };
        self.rules = Some(rules);
        self.seen.extend((cast.sources > 1).then_some(Sight::TwoSources));
        self.seen.extend((cast.views > 1).then_some(Sight::TwoViews));
        self.seen.extend((cast.replicas > 0).then_some(Sight::Replica));
        for number in 0..cast.sources {
            let node = self.add_part(&format!("source {number}"), source.clone())?;
            self.propose(node, templates())?;
            self.sync(node)?;
        }
        for number in 0..cast.replicas {
            self.add_part(&format!("replica {number}"), replica.clone())?;
        }
        for number in 0..cast.views {
            let who = READERS[usize::from(number) % READERS.len()];
            let credentials = Bytes::from_static(who.as_bytes());
            let part = Part { is_view: true, credentials, rules: None };
            let node = self.add_part(&format!("view {number}"), part)?;
            self.grant(node, [0b1011, 0b1011])?;
            self.subscribe(node, number, true)?;
            self.subscribe(node, LISTS.len() as u8, true)?;
        }
        // Before that they were nobody.
        for node in 0..self.nodes.len() {
            self.sync(node)?;
            self.nodes[node].keep_image();
        }
        Ok(())
    }

    pub(crate) fn change(&mut self, change: &Change) -> Result<(), Failure> {
        let views: Vec<usize> = self.numbers(|part| part.is_view);
        let sources: Vec<usize> = self.numbers(Part::is_source);
        if views.is_empty() || sources.is_empty() {
            return Ok(());
        }
        let one = |of: &[usize], number: u8| of[usize::from(number) % of.len()];
        match *change {
            Change::Subscribe(view, list, is_wanted) => {
                self.subscribe(one(&views, view), list, is_wanted)
            }
            Change::Rights(view, rights) => self.grant(one(&views, view), rights),
            Change::Flood(view, source) => self.flood(one(&views, view), one(&sources, source)),
            Change::Follow(view, source, is_json) => {
                let encoding = super::check::encoding(if is_json { 0 } else { 1 });
                if self.links.len() < 12 {
                    self.connect(one(&views, view), one(&sources, source), encoding)?;
                }
                Ok(())
            }
        }
    }

    /// The transport of a source takes nothing while there is more and more to say; then it hears what a view wrote.
    fn flood(&mut self, view: usize, source: usize) -> Result<(), Failure> {
        let seen = self.seen_by(view);
        let is_seen = |list: &str| seen.iter().any(|it| it.as_str() == format!("list/{list}"));
        let Some(list) = LISTS.iter().position(|list| is_seen(list)) else { return Ok(()) };
        let list = list as u8;
        let is_it = |link: &Link| {
            (link.ends[0].node, link.ends[1].node) == (view, source)
                && link.ends.iter().all(|end| end.is_open && !end.is_blocked)
        };
        self.give_room()?;
        self.settle()?;
        let Some(link) = self.links.iter().position(is_it) else { return Ok(()) };
        self.stall(link, 1, true)?;
        for id in FLOOD {
            self.write(source, &Write::Listed(Listed::Create { id, list }))?;
            self.write(source, &Write::Listed(Listed::Fill { id, kib: FLOOD_KIB }))?;
            self.sync(source)?;
        }
        for id in 0..5 {
            self.write(view, &Write::Listed(Listed::Retitle { id, title: 5 }))?;
        }
        while self.deliver(link, 1)? {}
        self.sync(source)
    }

    pub(crate) fn numbers(&self, is_it: impl Fn(&Part) -> bool) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| is_it(&self.nodes[*node].part)).collect()
    }

    /// Whether there is room for a copy of a node. Of sources there are none: views tell them apart by their ids.
    pub(crate) fn may_be_copied(&self, node: usize) -> bool {
        self.nodes.len() < NODES_MAX && !self.nodes[node].part.is_source()
    }

    /// Who dials whom if two nodes are to be connected; views know sources only.
    pub(crate) fn pairing(&self, a: usize, b: usize) -> Option<(usize, usize)> {
        let [one, other] = [a, b].map(|node| &self.nodes[node].part);
        match (one.is_view, other.is_view) {
            (true, true) => None,
            (true, false) => other.is_source().then_some((a, b)),
            (false, true) => one.is_source().then_some((b, a)),
            (false, false) => Some((a, b)),
        }
    }

    fn subscribe(&mut self, view: usize, list: u8, is_wanted: bool) -> Result<(), Failure> {
        self.free_own_of(view);
        let who = self.nodes[view].who();
        let channel = Channel::new(&channel(list, &who)).unwrap();
        self.input(
            view,
            if is_wanted { Input::Subscribe { channel } } else { Input::Unsubscribe { channel } },
        )
    }

    /// Gives the reader of a view rights, at all sources at once.
    fn grant(&mut self, view: usize, rights: [u8; 2]) -> Result<(), Failure> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let (who, credentials) =
            (self.nodes[view].who(), self.nodes[view].part.credentials.clone());
        let principal = rules.let_in(&credentials, reader(&who, rights));
        for other in 0..self.nodes.len() {
            if self.nodes[other].part.credentials == credentials {
                self.free_own_of(other);
            }
        }
        let ends = self.links.iter().flat_map(|link| [(link, 0), (link, 1)]);
        let ends = ends.filter(|(link, side)| {
            let peer = self.nodes.get(link.ends[1 - side].node);
            let is_source =
                self.nodes.get(link.ends[*side].node).is_some_and(|it| it.part.is_source());
            is_source
                && link.ends[*side].is_open
                && peer.is_some_and(|peer| peer.part.credentials == credentials)
        });
        let ends: Vec<_> =
            ends.map(|(link, side)| (link.ends[side].node, link.ends[side].session)).collect();
        for (source, session) in ends {
            if self.place_of(source, session).is_some() {
                self.seen.insert(Sight::RightsInSession);
                let principal = Some(principal.clone());
                self.input(source, Input::Rights { session, principal })?;
            }
        }
        Ok(())
    }

    /// The channels that a view follows and may see.
    pub(crate) fn seen_by(&self, view: usize) -> Vec<Channel> {
        let it = &self.nodes[view];
        let principal = self.rules.as_ref().and_then(|rules| rules.principal(&it.part.credentials));
        let own = Channel::of_node(it.engine.node());
        let all = it.engine.subscriptions().filter(|channel| {
            **channel == own || principal.as_ref().is_some_and(|it| it.read.has(channel))
        });
        all.cloned().chain([own.clone()]).collect()
    }

    /// The node that a view follows, or followed last.
    pub(crate) fn source_of(&self, view: usize) -> Result<Option<usize>, Failure> {
        let row = self.nodes[view].store.row(VIEW_ROW)?.unwrap_or_default();
        // An array of two, with an id in it, or nothing.
        let Some(id) = row.get(3..19).and_then(|id| id.try_into().ok()) else { return Ok(None) };
        let id = NodeId::from_bytes(id);
        Ok(self.nodes.iter().position(|node| node.engine.node() == id))
    }

    /// Up to where the source of a view covers its log.
    pub(crate) fn covered(&self, view: usize) -> Result<u64, Failure> {
        let row = self.nodes[view].store.row(VIEW_ROW)?.unwrap_or_default();
        // It comes last, in one byte or in some after a head.
        let number = row.get(if row.get(1) == Some(&0xc0) { 2 } else { 19 }..).unwrap_or_default();
        let digits = if number.len() > 1 { &number[1..] } else { number };
        Ok(digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
    }

    /// What the channels of a source's records follow from.
    pub(crate) fn templates(&self, source: usize) -> Result<Templates, Failure> {
        let mut templates = Templates::default();
        for (id, record) in
            self.nodes[source].store.records(&name(ModelChannels::MODEL), None, 100)?
        {
            templates.take(&id, &record);
        }
        Ok(templates)
    }
}

/// What tells nodes in which channels a memo is.
fn templates() -> Proposal {
    let model = ModelChannels {
        model: MEMO.to_owned(),
        channels: ["list/{list}", "reader/{readers}"].map(str::to_owned).to_vec(),
    };
    let mut proposal = Proposal::default();
    let key = RecordKey { model: name(ModelChannels::MODEL), id: RecordId::text(MEMO).unwrap() };
    proposal.create(key, &FieldsWriter::fields_of(&model).unwrap()).unwrap();
    proposal
}
