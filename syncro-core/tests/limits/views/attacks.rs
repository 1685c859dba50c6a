//! Views in trouble: much at once, little at a time, rights that change, lies, repairs, clones and slow clocks.

use bytes::Bytes;
use syncro_core::{CloseReason, Event, Input, Value, View};
use syncro_store::{Backend, Batch, Durability, LogStore, Table};

use super::super::town::{Town, set};
use super::{SERVER, VIEW, town, viewer};

/// Whoever sees the same records in two channels is told of each once: the second channel must not lose them.
#[test]
fn two_overlapping_channels_of_more_than_a_page_are_filled_at_once() {
    let (mut town, rules) = town(&["list/a", "reader/ann"]);
    rules.let_in("ann", viewer("ann", &["list/a", "reader/ann"]));
    for id in 0..200 {
        town.create(SERVER, id, "a", id);
        let add = syncro_core::Edit::add(
            syncro_core::Name::new("readers").unwrap(),
            Value::from("ann").encode(),
        );
        town.edit(SERVER, id, vec![add.unwrap()]);
    }
    town.sync(SERVER);
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
    town.assert_shows(VIEW, &["list/a", "reader/ann"]);
}

/// More channels than one message asks for: what is said of the first must not take records from the others.
#[test]
fn more_channels_than_one_message_asks_for() {
    let (mut town, rules) = town(&[]);
    rules.let_in("ann", viewer("ann", &["list/*", "reader/*"]));
    for list in 0..600 {
        town.subscribe(VIEW, &format!("list/{list}"));
    }
    for id in 0..600 {
        town.create(SERVER, id, &id.to_string(), id);
    }
    // Every tenth record is in one more channel, each in its own.
    for reader in 0..60_i64 {
        let field = syncro_core::Name::new("readers").unwrap();
        let add = syncro_core::Edit::add(field, Value::from(reader).encode()).unwrap();
        town.edit(SERVER, 10 * reader, vec![add]);
    }
    town.visit(VIEW, SERVER, "ann");
    assert_eq!(town.closed(VIEW), [(CloseReason::Lost, false)]);
    for reader in 0..60 {
        town.subscribe(VIEW, &format!("reader/{reader}"));
    }
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
}

/// A record leaves a channel that stays readable for one that is withdrawn while its state waits to be sent.
#[test]
fn a_state_that_waits_while_rights_are_withdrawn() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let (mut town, _) = town(&["list/a", "list/b"]);
        town.create(SERVER, 1, from, 1);
        let link = town.connect(VIEW, SERVER, "ann");
        town.drive();
        assert_eq!(town.title(VIEW, 1), Some(1));
        for id in 10..40 {
            town.create(SERVER, id, from, id);
            town.edit(SERVER, id, vec![set("big", Value::Bytes(vec![7; 250_000]))]);
        }
        town.move_to(SERVER, 1, to);
        town.sync(SERVER);
        // The view is slow to flush, and so to grant more.
        while town.step(link, 0) {}
        let session = town.session(link, SERVER);
        let principal = Some(viewer("ann", &[&format!("list/{from}")]).into());
        town.input(SERVER, Input::Rights { session, principal });
        town.drive();
        assert!(town.is_open(link), "{from}: {:?}", town.closed(VIEW));
        town.assert_shows(VIEW, &[&format!("list/{from}")]);
    }
}

/// Rights that come while a view is connected to which a channel was withheld from the start.
#[test]
fn rights_that_come_after_a_channel_was_withheld_at_once() {
    let (mut town, rules) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    rules.let_in("ann", viewer("ann", &["list/b"]));
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    town.assert_shows(VIEW, &[]);
    let session = town.session(link, SERVER);
    let principal = Some(viewer("ann", &["list/a"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
    town.assert_shows(VIEW, &["list/a"]);
}

/// What was written while a record is shown no more goes on being shown until it is covered.
#[test]
fn an_evicted_record_with_own_writes_stays_until_they_are_covered() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    let link = town.connect(VIEW, SERVER, "ann");
    // Nothing of what the view says arrives from here on.
    town.drive();
    town.move_to(SERVER, 1, "c");
    town.retitle(VIEW, 1, 7);
    assert_eq!(town.title(VIEW, 1), Some(7));
    town.sync(SERVER);
    while town.step(link, 0) {}
    assert!(!town.has_nothing_pending(VIEW), "not covered yet");
    assert!(town.values(VIEW, 1).is_some(), "gone before it is covered");
}

#[test]
fn clones_of_one_machine_notice_one_another_as_views() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    town.sync(VIEW);
    // The whole machine is copied.
    let disk = town.image(VIEW);
    let engine = town.nodes[VIEW].engine.clone();
    let clone = town.add_view("view", &["list/a"]);
    town.reopen(clone, disk);
    town.nodes[clone].engine = engine;
    for _ in 0..3 {
        town.raise(VIEW, 1, 1);
        town.raise(clone, 1, 1);
        for node in [VIEW, clone, VIEW, clone] {
            town.visit(node, SERVER, "ann");
        }
    }
    let mut events = town.nodes[VIEW].events.iter().chain(&town.nodes[clone].events);
    assert!(events.any(|it| matches!(it, Event::Forked { .. })), "one of them gives way");
    assert!(town.views(SERVER, 1) >= 5, "{}", town.views(SERVER, 1));
}

/// A message `subscribe` that asks for channels of which the sender says it has nothing.
fn subscribe(channels: &[(u8, &str)]) -> Bytes {
    let mut out = vec![0x82, 0xa4];
    out.extend(b"type\xa9subscribe\xa8channels");
    out.extend([0xdc, 0, channels.len() as u8]);
    for (number, channel) in channels {
        out.extend([0x94, *number, 0xa0 | channel.len() as u8]);
        out.extend(channel.as_bytes());
        out.extend([0x92, 0, 0xc4, 16]);
        out.extend([0; 16]);
        out.extend([0xc4, 16]);
        out.extend([0; 16]);
    }
    out.into()
}

/// One number for two channels: what of the first one is withdrawn goes on being told by the second.
#[test]
fn a_number_used_twice_does_not_outlive_the_rights_to_its_channel() {
    let (mut town, _) = town(&[]);
    town.create(SERVER, 1, "b", 1);
    town.sync(SERVER);
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    town.deliver(link, 1, subscribe(&[(100, "list/a"), (100, "list/b")]));
    town.drive();
    if !town.is_open(link) {
        return;
    }
    let session = town.session(link, SERVER);
    let principal = Some(viewer("ann", &["list/b"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.drive();
    town.take(link, 0);
    town.edit(
        SERVER,
        1,
        vec![set("list", Value::from("a")), set("text", Value::from("secret of a"))],
    );
    town.sync(SERVER);
    for frame in town.take(link, 0) {
        let text = String::from_utf8_lossy(&frame).into_owned();
        assert!(!text.contains("secret of a"), "{text:?}");
    }
}

/// A replica that had all, and may see one list from here on.
#[test]
fn a_replica_whose_rights_shrink_gets_no_more_of_the_log() {
    let (mut town, rules) = town(&[]);
    rules.let_in("all", viewer("all", &["*"]).may_read(syncro_core::Access::All));
    let whole = town.add("whole", None);
    let link = town.connect(whole, SERVER, "all");
    town.drive();
    let session = town.session(link, SERVER);
    let principal = Some(viewer("all", &["list/a"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.drive();
    town.create(SERVER, 1, "secret", 42);
    town.drive();
    assert_eq!(town.title(whole, 1), None, "the log goes on to somebody who may not see it");
}

fn drop_rows(town: &mut Town, node: usize, is_lost: impl Fn(Table, &[u8]) -> bool) {
    let disk = town.image(node);
    let backend = disk.open().unwrap();
    let mut batch = Batch::new();
    for table in [Table::Log, Table::Rows] {
        for (key, _) in backend.scan(table, &[], None, 100_000).unwrap() {
            if is_lost(table, &key) {
                batch.put(table, key, vec![1_u8; 40]);
            }
        }
    }
    assert!(!batch.is_empty());
    backend.write(&batch, Durability::Durable).unwrap();
    drop(backend);
    let repaired = LogStore::builder().repair(disk.open().unwrap(), None).unwrap();
    drop(repaired);
    town.reopen(node, disk);
}

/// A row of the index that a repair has dropped.
#[test]
fn views_are_served_after_a_repair_of_the_source() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    town.assert_shows(VIEW, &["list/a"]);
    drop_rows(&mut town, SERVER, |table, key| {
        table == Table::Rows && key.starts_with(b"row/x") && key.get(9) == Some(&b'h')
    });
    for _ in 0..5 {
        town.visit(VIEW, SERVER, "ann");
    }
    let ends = &town.closed(VIEW)[3..];
    assert!(ends.iter().all(|(reason, _)| *reason == CloseReason::Lost), "{ends:?}");
    town.assert_shows(VIEW, &["list/a"]);
}

/// The log was lost, and records with it; the index still tells of them.
#[test]
fn views_are_served_after_a_repair_that_lost_records() {
    let (mut town, _) = town(&["list/a"]);
    town.nodes[SERVER].store.syncer().checkpoint().unwrap();
    town.create(SERVER, 1, "a", 1);
    town.sync(SERVER);
    town.drive();
    drop_rows(&mut town, SERVER, |table, _| table == Table::Log);
    assert_eq!(town.title(SERVER, 1), None);
    for _ in 0..5 {
        town.visit(VIEW, SERVER, "ann");
    }
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(VIEW));
}

/// What a view was shown is not its own to write again.
#[test]
fn a_repaired_view_makes_nothing_its_own_that_it_was_shown() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 1, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    town.nodes[VIEW].store.syncer().checkpoint().unwrap();
    town.sync(VIEW);
    drop_rows(&mut town, VIEW, |table, _| table == Table::Log);
    let (all, _) = town.nodes[VIEW].store.transactions(0, 1 << 20).unwrap();
    let server = town.nodes[SERVER].engine.node();
    assert!(
        all.iter().all(|it| it.stamp().author.node != server || it.is_local()),
        "the view's log has what the server wrote"
    );
    town.visit(VIEW, SERVER, "ann");
    assert_eq!(town.forged(SERVER), 0);
    town.assert_shows(VIEW, &["list/a"]);
}

/// A view asks nobody for a log, and takes none.
#[test]
fn a_view_takes_no_log_that_it_did_not_ask_for() {
    let (mut town, _) = town(&["list/a"]);
    let (one, other) = (town.add("one", None), town.add("other", None));
    town.create(one, 50, "a", 50);
    let link = town.connect(other, one, "");
    let mut scribes = Vec::new();
    for _ in 0..10 {
        town.step(link, 1);
        let frames = town.take(link, 0);
        for frame in frames {
            if frame.windows(7).any(|it| it == b"scribes") {
                scribes.push(frame.clone());
            }
            town.deliver(link, 0, frame);
        }
    }
    assert!(!scribes.is_empty());
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    for frame in scribes {
        town.deliver(link, 0, frame);
    }
    let author = town.nodes[one].engine.node();
    let (all, _) = town.nodes[VIEW].store.transactions(0, 1 << 20).unwrap();
    assert!(all.iter().all(|it| it.stamp().author.node != author), "in the view's log");
    assert_eq!(town.title(VIEW, 50), None);
}

/// Lets a view, whose clock is slow, and the server say everything.
fn drive_slow(town: &mut Town, link: usize) {
    for _ in 0..50 {
        for (side, node, ms) in [(0, VIEW, 100_000), (1, SERVER, 200_000)] {
            town.ms = ms;
            while town.step(link, side) {}
            town.sync(node);
            town.input(node, Input::Tick);
        }
    }
}

/// What was destroyed can be made again by whoever was told that it is gone, also with a clock that is slow.
#[test]
fn a_view_with_a_slow_clock_makes_again_what_was_destroyed() {
    let (mut town, _) = town(&["list/a"]);
    town.ms = 200_000;
    town.create(SERVER, 1, "a", 1);
    town.drive();
    town.ms = 100_000;
    let link = town.connect(VIEW, SERVER, "ann");
    drive_slow(&mut town, link);
    assert_eq!(town.title(VIEW, 1), Some(1));
    town.ms = 200_000;
    town.destroy(SERVER, 1);
    town.sync(SERVER);
    drive_slow(&mut town, link);
    assert_eq!(town.title(VIEW, 1), None, "it was told");
    town.ms = 100_000;
    town.create(VIEW, 1, "a", 2);
    town.sync(VIEW);
    drive_slow(&mut town, link);
    assert!(town.has_nothing_pending(VIEW));
    assert!(
        town.title(SERVER, 1) == Some(2) || !town.refused(VIEW).is_empty(),
        "lost without a word"
    );
}

/// A slow reader costs no more than a batch or so.
#[test]
fn what_waits_for_a_slow_view_is_bounded() {
    let (mut town, _) = town(&["list/a"]);
    for id in 0..200 {
        town.create(SERVER, id, "a", id);
        for field in ["b1", "b2", "b3", "b4"] {
            town.edit(SERVER, id, vec![set(field, Value::Bytes(vec![7; 250_000]))]);
        }
    }
    town.drive();
    let link = town.connect(VIEW, SERVER, "ann");
    while town.step(link, 1) | town.step(link, 0) {}
    let text = format!("{:?}", town.nodes[SERVER].engine);
    // Each piece that waits shows as one item of the queue.
    let waiting = text.matches("is_whole").count();
    assert!(waiting <= 4, "{waiting} pieces of 250 KB wait");
}

/// What waits is dropped with the rights to it, and must not count as waiting from then on.
#[test]
fn a_view_is_told_on_after_rights_to_what_waits_were_withdrawn() {
    let (mut town, _) = town(&["list/a", "list/b"]);
    let link = town.connect(VIEW, SERVER, "ann");
    town.drive();
    for id in 10..40 {
        town.create(SERVER, id, "a", id);
        town.edit(SERVER, id, vec![set("big", Value::Bytes(vec![7; 250_000]))]);
    }
    town.sync(SERVER);
    // The view is slow to flush, and so to grant more.
    while town.step(link, 0) {}
    let session = town.session(link, SERVER);
    let principal = Some(viewer("ann", &["list/b"]).into());
    town.input(SERVER, Input::Rights { session, principal });
    town.create(SERVER, 1, "b", 1);
    town.sync(SERVER);
    let mut frames = 0;
    for _ in 0..3 {
        town.sync(VIEW);
        while town.step(link, 1) {}
        for frame in town.take(link, 0).into_iter().take(200) {
            frames += 1;
            town.deliver(link, 0, frame);
        }
    }
    assert!(frames < 50, "{frames} messages");
    assert_eq!(town.title(VIEW, 1), Some(1));
}
