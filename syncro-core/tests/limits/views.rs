//! Views: what the source shows of some channels, joined with what they wrote themselves.

mod attacks;
mod hidden;
mod kept;
mod model;

use std::collections::BTreeSet;

use syncro_core::{
    Access, CloseReason, Event, Input, Name, Pattern, Principal, Proposal, RecordKey, Templates,
    Value, View,
};

use super::town::{Rules, Town, key, set};

/// A principal that may see and change what is in some channels.
fn viewer(name: &str, patterns: &[&str]) -> Principal {
    let patterns: Vec<_> = patterns.iter().map(|it| Pattern::new(it).unwrap()).collect();
    Principal::new(name).may_read(patterns.clone()).may_write(patterns)
}

const SERVER: usize = 0;
const VIEW: usize = 1;

/// A server with rules, and a view that may see the lists a and b.
fn town(channels: &[&str]) -> (Town, Rules) {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", viewer("ann", &["list/a", "list/b"]));
    town.add("server", Some(rules.clone()));
    town.add_view("view", channels);
    (town, rules)
}

impl Town {
    fn templates(&self) -> Templates {
        let mut templates = Templates::default();
        let models = Name::new("syncro.model").unwrap();
        for (id, record) in self.nodes[SERVER].store.records(&models, None, 100).unwrap() {
            templates.take(&id, &record);
        }
        templates
    }

    /// Demands that a view holds what its source has of some channels, stamps included, and nothing else.
    #[track_caller]
    fn assert_shows(&self, node: usize, channels: &[&str]) {
        let (server, view) = (&self.nodes[SERVER].store, &self.nodes[node].store);
        let templates = self.templates();
        let own = format!("node/{}", self.nodes[node].engine.node());
        let wanted: BTreeSet<&str> = channels.iter().copied().chain([own.as_str()]).collect();
        let mut expected = BTreeSet::new();
        for model in server.models().unwrap() {
            for (id, record) in server.records(&model, None, 10_000).unwrap() {
                let key = RecordKey { model: model.clone(), id };
                let channels = templates.channels(&key, Some(&record)).unwrap();
                let is_seen = channels.iter().any(|channel| wanted.contains(channel.as_str()));
                let shown = view.record(&key).unwrap();
                if is_seen {
                    assert_eq!(shown.as_ref(), Some(&record), "{key}");
                    expected.insert(key);
                } else {
                    assert_eq!(shown, None, "{key} is not in {channels:?}");
                }
            }
        }
        for model in view.models().unwrap() {
            for (id, _) in view.records(&model, None, 10_000).unwrap() {
                let key = RecordKey { model: model.clone(), id };
                assert!(expected.contains(&key), "{key} is not at the server");
            }
        }
    }

    fn move_to(&mut self, node: usize, id: i64, list: &str) {
        self.edit(node, id, vec![set("list", Value::from(list))]);
    }

    /// The channels that a node was told of as current, or withheld.
    fn told(&self, node: usize) -> Vec<String> {
        let events = self.nodes[node].events.iter().filter_map(|event| match event {
            Event::Current { channel, .. } => Some(format!("+{channel}")),
            Event::Withheld { channel, .. } => Some(format!("-{channel}")),
            _ => None,
        });
        events.collect()
    }
}

#[test]
fn a_view_shows_its_channels_and_follows_what_enters_and_leaves_them() {
    let (mut town, _) = town(&["list/a"]);
    for (id, list) in [(1, "a"), (2, "b"), (3, "c")] {
        town.create(SERVER, id, list, id);
    }
    town.sync(SERVER);
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
    assert_eq!(town.told(VIEW), ["+list/a"]);
    town.assert_shows(VIEW, &["list/a"]);
    assert_eq!((town.title(VIEW, 1), town.title(VIEW, 2)), (Some(1), None));
    town.move_to(SERVER, 2, "a");
    town.move_to(SERVER, 1, "c");
    town.retitle(SERVER, 2, 22);
    town.drive();
    assert_eq!((town.title(VIEW, 1), town.title(VIEW, 2)), (None, Some(22)));
    town.assert_shows(VIEW, &["list/a"]);
    town.subscribe(VIEW, "list/b");
    town.subscribe(VIEW, "list/c");
    town.move_to(SERVER, 3, "b");
    town.drive();
    assert_eq!(town.told(VIEW), ["+list/a", "+list/b", "-list/c"]);
    town.assert_shows(VIEW, &["list/a", "list/b"]);
    town.unsubscribe(VIEW, "list/a");
    town.drive();
    town.assert_shows(VIEW, &["list/b"]);
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
}

#[test]
fn what_a_view_writes_is_shown_until_its_source_covers_it() {
    let (mut town, rules) = town(&["list/a", "list/b"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    town.retitle(VIEW, 1, 5);
    town.create(VIEW, 2, "b", 2);
    town.create(VIEW, 3, "c", 3);
    assert_eq!((town.title(VIEW, 1), town.title(VIEW, 3)), (Some(5), Some(3)));
    town.retitle(SERVER, 1, 6);
    rules.forbid_title(2);
    town.visit(VIEW, SERVER, "ann");
    assert_eq!(town.title(SERVER, 1), Some(6), "the later one wins");
    town.assert_shows(VIEW, &["list/a", "list/b"]);
    assert_eq!(
        (town.title(VIEW, 1), town.values(VIEW, 2), town.values(VIEW, 3)),
        (Some(6), None, None)
    );
    let codes: BTreeSet<u16> = town.codes(VIEW).into_iter().collect();
    assert_eq!(codes, [1, 100].into(), "{:?}", town.refused(VIEW));
}

#[test]
fn rights_that_change_show_and_hide_what_they_are_about() {
    let (mut town, rules) = town(&["list/a", "list/b"]);
    for (id, list) in [(1, "a"), (2, "b")] {
        town.create(SERVER, id, list, id);
    }
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    town.retitle(VIEW, 2, 9);
    let session = town.session(link, SERVER);
    let principal = Some(viewer("ann", &["list/a"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.drive();
    town.assert_shows(VIEW, &["list/a"]);
    assert_eq!(town.told(VIEW), ["+list/a", "+list/b", "-list/b"]);
    assert_eq!(town.codes(VIEW), [1], "what was not sent yet is refused, and told");
    let principal = Some(viewer("ann", &["list/b"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.drive();
    town.assert_shows(VIEW, &["list/b"]);
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
    rules.let_in("ann", viewer("ann", &["list/a"]));
    town.visit(VIEW, SERVER, "ann");
    town.assert_shows(VIEW, &["list/b"]);
    town.cut(link);
    town.visit(VIEW, SERVER, "ann");
    town.assert_shows(VIEW, &["list/a"]);
}

#[test]
fn who_may_see_some_channels_only_gets_no_log() {
    let (mut town, rules) = town(&[]);
    let whole = town.add("whole", None);
    town.connect(whole, SERVER, "ann");
    town.drive();
    assert_eq!(town.closed(whole), [(CloseReason::Forbidden, true)]);
    rules.let_in("server", viewer("server", &["*"]).may_read(Access::All));
    town.create(SERVER, 1, "a", 1);
    town.visit(whole, SERVER, "server");
    assert_eq!(town.title(whole, 1), Some(1));
}

#[test]
fn a_view_keeps_what_it_was_shown_over_a_crash() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    town.assert_shows(VIEW, &["list/a"]);
    town.crash(VIEW);
    town.assert_shows(VIEW, &["list/a"]);
    town.retitle(VIEW, 1, 2);
    town.sync(VIEW);
    town.crash(VIEW);
    assert_eq!(town.title(VIEW, 1), Some(2));
    town.visit(VIEW, SERVER, "ann");
    town.move_to(SERVER, 1, "b");
    town.visit(VIEW, SERVER, "ann");
    town.crash(VIEW);
    town.assert_shows(VIEW, &["list/a"]);
}

/// What was said of a channel between the place up to which it was confirmed and a cut was taken for what has left it
/// when it was said again: the sums differed, and the channel was said anew from its beginning.
#[test]
fn the_filling_of_a_channel_goes_on_where_it_was_cut() {
    let text = "x".repeat(70 << 10);
    for messages in 1.. {
        let (mut town, _) = town(&["list/a"]);
        for id in 0..6 {
            town.create(SERVER, id, "a", 1);
            town.edit(SERVER, id, vec![set("text", Value::from(text.as_str()))]);
        }
        town.drive();
        let link = town.connect(VIEW, SERVER, "ann");
        let mut left = messages;
        while left > 0 && (town.step(link, 1) || town.step(link, 0)) {
            left -= 1;
        }
        town.sync(VIEW);
        town.cut(link);
        town.tape = Some((VIEW, Vec::new()));
        let shown = town.log_end(VIEW);
        let link = town.connect(VIEW, SERVER, "ann");
        town.drive();
        assert!(town.is_open(link), "after {messages}: {:?}", town.closed(VIEW));
        town.assert_shows(VIEW, &["list/a"]);
        assert_eq!(town.log_end(VIEW), 6, "after {messages} of which {shown} were shown");
        let said: usize = town.tape.take().unwrap().1.iter().map(|frame| frame.len()).sum();
        let least = text.len() * (6 - shown as usize);
        assert!(said < least + text.len() + 4096, "after {messages}: {said} of {least}");
        if left > 0 {
            return;
        }
    }
}

/// What a server reads to show a view its channel: at first, after a change of it, and after one of another.
fn reads_among(channels: i64) -> [usize; 3] {
    let (mut town, _) = town(&["list/a"]);
    for id in 0..10 {
        town.create(SERVER, id, "a", id);
    }
    for channel in 0..channels {
        town.create(SERVER, 100 + channel, &format!("{channel}"), 1);
    }
    town.drive();
    let mut before = 0;
    let mut read = |town: &Town| {
        let reads = town.nodes[SERVER].reads.get() - before;
        before += reads;
        reads
    };
    read(&town);
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive_one(link);
    town.assert_shows(VIEW, &["list/a"]);
    let first = read(&town);
    town.retitle(SERVER, 3, 33);
    town.drive_one(link);
    let second = read(&town);
    town.retitle(SERVER, 100, 2);
    town.drive_one(link);
    town.assert_shows(VIEW, &["list/a"]);
    [first, second, read(&town)]
}

#[test]
fn who_follows_one_channel_costs_nothing_of_the_others() {
    let among_few = reads_among(2);
    assert_eq!(reads_among(100_000), among_few);
    assert!(among_few[0] < 200 && among_few[1] < 40 && among_few[2] < 40, "{among_few:?}");
}

#[test]
fn of_what_a_view_raises_all_counts_but_what_was_refused() {
    let (mut town, rules) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    let reads = |write: &[&str]| {
        let ann = viewer("ann", write);
        rules.let_in("ann", ann.may_read([Pattern::new("list/a").unwrap()]));
    };
    for (by, may) in [(1, true), (2, false), (4, true), (8, false), (16, true)] {
        reads(if may { &["list/a"] } else { &[] });
        town.raise(VIEW, 1, by);
        town.visit(VIEW, SERVER, "ann");
        assert_eq!(town.views(VIEW, 1), town.views(SERVER, 1), "after {by}");
    }
    assert_eq!(town.views(SERVER, 1), 21);
    town.assert_shows(VIEW, &["list/a"]);
}

/// Many records of two channels in one transaction: a view sees all of it or nothing, and so do its watchers.
#[test]
fn what_a_transaction_moves_moves_in_one_step_of_the_view() {
    let (mut town, _) = town(&["list/a", "list/b"]);
    let ids = || 0..400_i64;
    let long = Value::from("x".repeat(500).as_str());
    for id in ids() {
        town.create(SERVER, id, if id % 2 == 0 { "a" } else { "c" }, id);
        town.edit(SERVER, id, vec![set("note", long.clone())]);
    }
    town.sync(SERVER);
    town.connect(VIEW, SERVER, "ann");
    town.drive();
    let before = town.nodes[VIEW].engine.end().offset;
    // Of these a half leaves for the other channel, and a half enters.
    let mut proposal = Proposal::default();
    for id in ids() {
        proposal.update(key(id), vec![set("list", Value::from("b"))]).unwrap();
    }
    town.propose(SERVER, proposal);
    town.drive();
    town.assert_shows(VIEW, &["list/a", "list/b"]);
    let view = &town.nodes[VIEW].store;
    let steps = view.entries(before, usize::MAX).unwrap();
    assert_eq!(
        steps.len(),
        1,
        "{:?}",
        steps.iter().map(|it| it.transaction.len()).collect::<Vec<_>>()
    );
}
