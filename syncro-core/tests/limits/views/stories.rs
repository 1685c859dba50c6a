//! Random stories of two sources and a view: writes everywhere, rights and subscriptions that change, cuts at every
//! message, crashes, restores, and a view that goes from one source to the other.

use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::{Access, CloseReason, Edit, Fields, Input, Name, Proposal, Value};
use syncro_store::MemoryDisk;

use super::super::town::{Rules, Town, key, set};
use super::{SERVER, VIEW, town, viewer};

const OTHER: usize = 2;

const LISTS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Somebody writes.
    Write(usize, Write),
    Subscribe(usize, bool),
    /// The lists that the view may see and change, as bits, and the channel of its own.
    Rights(u8),
    /// The view dials a source.
    Connect(usize),
    /// The sources meet.
    Meet,
    Cut(usize),
    /// Some messages arrive on one side of a link.
    Deliver(usize, usize, u8),
    Sync(usize),
    Drive,
    Crash(usize),
    Keep(usize),
    Restore(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Write {
    Create(i64, usize),
    Move(i64, usize),
    Retitle(i64, i64),
    Raise(i64),
    Read(i64, bool),
    Destroy(i64),
    /// Several records in one transaction.
    Swap(i64, i64),
}

fn write() -> impl Strategy<Value = Write> {
    let (id, list) = (0..5_i64, 0..LISTS.len());
    prop_oneof![
        3 => (id.clone(), list.clone()).prop_map(|(id, list)| Write::Create(id, list)),
        4 => (id.clone(), list).prop_map(|(id, list)| Write::Move(id, list)),
        3 => (id.clone(), 0..9_i64).prop_map(|(id, title)| Write::Retitle(id, title)),
        1 => id.clone().prop_map(Write::Raise),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, reads)| Write::Read(id, reads)),
        2 => id.clone().prop_map(Write::Destroy),
        1 => (id.clone(), id).prop_map(|(a, b)| Write::Swap(a, b)),
    ]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let source = prop_oneof![3 => Just(SERVER), 1 => Just(OTHER)];
    prop_oneof![
        12 => (0..3_usize, write()).prop_map(|(node, write)| Op::Write(node, write)),
        2 => (0..LISTS.len(), any::<bool>()).prop_map(|(list, is)| Op::Subscribe(list, is)),
        2 => (0..16_u8).prop_map(Op::Rights),
        4 => source.prop_map(Op::Connect),
        2 => Just(Op::Meet),
        2 => (0..4_usize).prop_map(Op::Cut),
        8 => (0..4_usize, 0..2_usize, 1..5_u8).prop_map(|(link, side, n)| Op::Deliver(link, side, n)),
        4 => (0..3_usize).prop_map(Op::Sync),
        3 => Just(Op::Drive),
        2 => (0..3_usize).prop_map(Op::Crash),
        1 => (0..3_usize).prop_map(Op::Keep),
        1 => (0..3_usize).prop_map(Op::Restore),
    ]
}

pub(super) struct Story {
    town: Town,
    rules: Rules,
    rights: u8,
    subscribed: [bool; 3],
    links: Vec<usize>,
    /// Images of the disks.
    kept: [Option<(MemoryDisk, [bool; 3])>; 3],
}

impl Story {
    pub(super) fn new() -> Self {
        let (mut town, rules) = (Town::default(), Rules::default());
        let server = viewer("server", &["*"]).may_read(Access::All).may_write(Access::All);
        rules.let_in("server", server.clone().relaying());
        rules.let_in("whom we call", server.relaying());
        town.add("server", Some(rules.clone()));
        town.add_view("view", &["list/a", "reader/ann"]);
        let mut story = Self {
            town,
            rules,
            rights: 0,
            subscribed: [true, false, false],
            links: Vec::new(),
            kept: [None, None, None],
        };
        story.town.add("other", Some(story.rules.clone()));
        story.grant(0b1011);
        story
    }

    fn grant(&mut self, rights: u8) {
        self.rights = rights;
        let lists = LISTS.iter().enumerate().filter(|(list, _)| rights & 1 << list != 0);
        let mut patterns: Vec<String> = lists.map(|(_, list)| format!("list/{list}")).collect();
        patterns.extend((rights & 8 != 0).then(|| "reader/ann".to_owned()));
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let ann = viewer("ann", &patterns);
        self.rules.let_in("ann", ann.clone());
        for link in self.links.clone() {
            if self.town.is_open(link) && self.town.has(link, VIEW) {
                let source = self.town.other(link, VIEW);
                let session = self.town.session(link, source);
                let principal = Some(ann.clone().into());
                self.town.input(source, Input::Rights { session, principal });
            }
        }
    }

    fn write(&mut self, node: usize, write: &Write) {
        let mut proposal = Proposal::default();
        let list = |list: usize| set("list", Value::from(LISTS[list]));
        let proposed: Result<(), _> = match write {
            Write::Create(id, list) => {
                let fields = [("list".into(), Value::from(LISTS[*list]))].into();
                proposal.create(key(*id), &Fields::from_values(&fields).unwrap())
            }
            Write::Move(id, to) => proposal.update(key(*id), vec![list(*to)]),
            Write::Retitle(id, title) => {
                proposal.update(key(*id), vec![set("title", Value::from(*title))])
            }
            Write::Raise(id) => {
                let field = Name::new("views").unwrap();
                proposal.update(key(*id), vec![Edit::Raise { field, by: 1 }])
            }
            Write::Read(id, reads) => {
                let (field, member) = (Name::new("readers").unwrap(), Value::from("ann").encode());
                let edit = if *reads {
                    Edit::add(field, member).unwrap()
                } else {
                    Edit::remove(field, member).unwrap()
                };
                proposal.update(key(*id), vec![edit])
            }
            Write::Destroy(id) => proposal.destroy(key(*id)),
            Write::Swap(a, b) => proposal
                .update(key(*a), vec![list(0)])
                .and_then(|()| proposal.update(key(*b), vec![list(1)])),
        };
        if proposed.is_ok() {
            self.town.ms += 1;
            // What is not there cannot be written to.
            let _ = self.town.try_input(node, Input::Propose(proposal));
        }
    }

    pub(super) fn happen(&mut self, op: &Op) {
        let link = |story: &Self, number: usize| {
            (!story.links.is_empty()).then(|| story.links[number % story.links.len()])
        };
        match op {
            Op::Write(node, write) => self.write(*node, write),
            Op::Subscribe(list, is_wanted) => {
                self.subscribed[*list] = *is_wanted;
                let channel = format!("list/{}", LISTS[*list]);
                if *is_wanted {
                    self.town.subscribe(VIEW, &channel);
                } else {
                    self.town.unsubscribe(VIEW, &channel);
                }
            }
            Op::Rights(rights) => self.grant(*rights),
            Op::Connect(source) => self.links.push(self.town.connect(VIEW, *source, "ann")),
            Op::Meet => self.links.push(self.town.connect(OTHER, SERVER, "server")),
            Op::Cut(number) => {
                if let Some(link) = link(self, *number) {
                    self.town.cut(link);
                    self.links.retain(|it| *it != link);
                }
            }
            Op::Deliver(number, side, count) => {
                if let Some(link) = link(self, *number) {
                    for _ in 0..*count {
                        self.town.step(link, *side);
                    }
                }
            }
            Op::Sync(node) => self.town.sync(*node),
            Op::Drive => self.town.drive(),
            Op::Crash(node) => self.town.crash(*node),
            Op::Keep(node) => {
                self.town.sync(*node);
                self.kept[*node] = Some((self.town.image(*node), self.subscribed));
            }
            Op::Restore(node) => {
                if let Some((disk, subscribed)) = self.kept[*node].take() {
                    self.town.crash(*node);
                    self.town.reopen(*node, disk);
                    if *node == VIEW {
                        self.subscribed = subscribed;
                    }
                }
            }
        }
        let closed = self.town.closed(VIEW);
        let is_fair = |(reason, _): &(CloseReason, bool)| {
            matches!(reason, CloseReason::Lost | CloseReason::Done)
        };
        assert!(closed.iter().all(is_fair), "a false alarm: {closed:?}");
        if matches!(op, Op::Crash(node) if *node == VIEW) {
            self.subscribed = self.town.subscribed(VIEW);
        }
    }

    fn assert_shown(&self) {
        let mut channels: Vec<String> = Vec::new();
        for (list, name) in LISTS.iter().enumerate() {
            if self.subscribed[list] && self.rights & 1 << list != 0 {
                channels.push(format!("list/{name}"));
            }
        }
        channels.extend((self.rights & 8 != 0).then(|| "reader/ann".to_owned()));
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        self.town.assert_shows(VIEW, &channels);
    }

    /// Everything heals.
    pub(super) fn end(&mut self) {
        for link in std::mem::take(&mut self.links) {
            self.town.cut(link);
        }
        let link = self.town.connect(VIEW, SERVER, "ann");
        self.town.connect(OTHER, SERVER, "server");
        self.town.drive();
        assert!(self.town.is_open(link), "{:?}", self.town.closed(VIEW));
        self.assert_shown();
        assert!(self.town.has_nothing_pending(VIEW));
        self.town.cut(link);
        // A meeting at rest says nothing again.
        let before = self.town.log_end(VIEW);
        let link = self.town.connect(VIEW, SERVER, "ann");
        self.town.drive();
        assert!(self.town.is_open(link), "{:?}", self.town.closed(VIEW));
        assert_eq!(self.town.log_end(VIEW), before);
        self.assert_shown();
        self.town.cut(link);
        // Another source that has the same is followed in the same way.
        let link = self.town.connect(VIEW, OTHER, "ann");
        self.town.drive();
        assert!(self.town.is_open(link), "{:?}", self.town.closed(VIEW));
        self.assert_shown();
        assert!(self.town.has_nothing_pending(VIEW));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_shows_what_its_source_has_of_its_channels(ops in vec(op(), 1..60)) {
        let mut story = Story::new();
        ops.iter().for_each(|op| story.happen(op));
        story.end();
    }
}

/// Much is on its way to the view, more than the source may send at once, when the view writes: it goes on showing what
/// it wrote.
pub(super) fn never_flickers() {
    for list in ["a", "b"] {
        let (mut town, _) = town(&["list/a", "list/b"]);
        town.create(SERVER, 0, "a", 1);
        town.create(SERVER, 1, "b", 1);
        let link = town.connect(VIEW, SERVER, "ann");
        town.drive();
        let text = "x".repeat(200 << 10);
        for id in 10..50 {
            town.create(SERVER, id, if id % 2 == 0 { "a" } else { "b" }, 1);
            town.edit(SERVER, id, vec![set("text", Value::from(text.as_str()))]);
        }
        town.sync(SERVER);
        let id = i64::from(list == "b");
        town.retitle(VIEW, id, 7);
        loop {
            let mut is_quiet = true;
            for side in [1, 0] {
                is_quiet &= !town.step(link, side);
                town.sync(SERVER);
                town.sync(VIEW);
                assert_eq!(town.title(VIEW, id), Some(7), "it flickers");
            }
            if is_quiet {
                break;
            }
        }
        assert_eq!(town.title(SERVER, id), Some(7));
        town.drive();
        town.assert_shows(VIEW, &["list/a", "list/b"]);
    }
}

/// A source that was restored has lost what the view wrote, and says so before it gets it again.
pub(super) fn is_shown_again() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 0, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    let image = town.image(SERVER);
    town.retitle(VIEW, 0, 7);
    town.visit(VIEW, SERVER, "ann");
    assert!(town.has_nothing_pending(VIEW));
    town.reopen(SERVER, image);
    let link = town.connect(VIEW, SERVER, "ann");
    // The server hears who calls and what it wants, and not yet what it wrote.
    for _ in 0..2 {
        assert!(town.step(link, 1));
        while town.step(link, 0) {}
    }
    assert_eq!(town.title(SERVER, 0), Some(1));
    assert_eq!(town.title(VIEW, 0), Some(7), "it is not lost");
    town.drive();
    assert_eq!(town.title(SERVER, 0), Some(7));
    town.assert_shows(VIEW, &["list/a"]);
}

#[test]
fn what_a_view_wrote_never_flickers() {
    never_flickers();
}

#[test]
fn what_a_restored_source_has_lost_is_shown_again() {
    is_shown_again();
}
