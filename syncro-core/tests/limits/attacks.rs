//! Ways around the limits that were found, and what honest nodes run into.

use syncro_core::{Access, Edit, Name, Principal, Proposal, Refusal, Value, View};

use super::refusals::server_and_client;
use super::town::{Rules, Town, key, set, writer};

/// A forgery that came again put an entry of nothing into the log, and nobody could read it any more.
#[test]
fn a_forgery_that_comes_again_leaves_nothing_in_the_log() {
    let (mut town, _, server, client) = server_and_client();
    let other = town.add("other", None);
    town.create(other, 1, "a", 5);
    town.visit(other, client, "");
    town.sync(client);
    town.create(client, 2, "a", 6); // not flushed
    let link = town.connect(client, server, "ann");
    for _ in 0..20 {
        town.step(link, 0);
        town.step(link, 1);
        town.sync(server);
    }
    assert_eq!(town.verdicts(server), 0);
    town.crash(client);
    let link = town.connect(client, server, "ann");
    town.drive();
    let (all, _) = town.nodes[server].store.transactions(0, 1 << 20).unwrap();
    assert!(all.iter().all(|t| !t.is_empty()), "an empty transaction is in the log");
    assert!(town.is_open(link));
    let third = town.add("third", None);
    let link = town.connect(third, server, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(third));
}

/// What was not here yet was destroyed in advance, and its creator told nothing.
#[test]
fn an_edit_of_what_is_not_here_yet_leaves_it_to_its_creator() {
    let (mut town, rules, server, ann) = server_and_client();
    rules.let_in("bob", writer("bob", &["list/a"]));
    let bob = town.add("bob", None);
    town.create(bob, 1, "a", 1);
    town.visit(bob, ann, "");
    town.retitle(ann, 1, 2);
    town.visit(ann, server, "ann");
    town.connect(bob, server, "bob");
    town.drive();
    assert!(
        town.values(server, 1).is_some(),
        "bob was permitted to create it, and nobody destroyed it"
    );
    assert!(town.values(bob, 1).is_some());
}

/// A refused create of the future left a tombstone above the permitted one.
#[test]
fn whoever_may_do_nothing_keeps_nobody_from_creating() {
    let (mut town, rules, server, ann) = server_and_client();
    rules.let_in("mallory", writer("mallory", &[]));
    let mallory = town.add("mallory", None);
    town.create(ann, 1, "a", 1);
    // four minutes ahead of the server
    let now = town.ms;
    town.ms += 290_000;
    town.create(mallory, 1, "x", 0);
    town.ms = now;
    town.visit(mallory, server, "mallory");
    town.ms += 60_000;
    town.retitle(ann, 1, 2);
    town.connect(ann, server, "ann");
    town.drive();
    assert_eq!(town.title(server, 1), Some(2));
}

/// A repair in the future stood above the edits that others made meanwhile.
#[test]
fn whoever_may_do_nothing_loses_nobody_an_edit() {
    let (mut town, rules, server, ann) = server_and_client();
    rules.let_in("mallory", writer("mallory", &[]));
    let mallory = town.add("mallory", None);
    town.create(server, 1, "a", 1);
    for (node, who) in [(ann, "ann"), (mallory, "mallory")] {
        town.visit(node, server, who);
    }
    let now = town.ms;
    town.ms += 290_000;
    town.retitle(mallory, 1, 7);
    town.ms = now;
    town.visit(mallory, server, "mallory");
    town.ms += 200_000;
    town.retitle(ann, 1, 2);
    town.connect(ann, server, "ann");
    town.drive();
    assert_eq!(town.title(server, 1), Some(2));
}

/// It ended every session that brought it, with all that came behind.
#[test]
fn a_transaction_that_takes_too_much_to_undo_is_refused_and_passed() {
    let (mut town, _, server, client) = server_and_client();
    let big = Value::Bytes(vec![7; 250_000]);
    for id in 0..140 {
        town.create(server, id, "b", 1);
        town.edit(server, id, vec![set("big", big.clone())]);
    }
    town.visit(client, server, "ann");
    let mut proposal = Proposal::default();
    for id in 0..140 {
        proposal.update(key(id), vec![set("title", Value::from(9_i64))]).unwrap();
    }
    town.propose(client, proposal);
    town.create(client, 1000, "a", 1);
    for _ in 0..5 {
        town.connect(client, server, "ann");
        town.drive();
    }
    assert_eq!(town.title(server, 1000), Some(1), "what follows is never taken");
}

/// It judged them by the rights of the relay, and undid them everywhere. Of a relay that may not do everything it takes
/// none, or that could do everything in its name.
#[test]
fn a_restored_authority_takes_its_own_writes_back_from_a_relay_that_may_do_everything() {
    for is_trusted in [false, true] {
        restored(is_trusted);
    }
}

fn restored(is_trusted: bool) {
    let (mut town, rules) = (Town::default(), Rules::default());
    let relay = Principal::new("relay").may_read(Access::All).relaying();
    rules.let_in("relay", if is_trusted { relay.may_write(Access::All) } else { relay });
    let server = town.add("server", Some(rules.clone()));
    let relay = town.add("relay", None);
    let backup = town.image(server);
    town.create(server, 1, "b", 1);
    town.visit(relay, server, "relay");
    assert_eq!(town.title(relay, 1), Some(1));
    town.reopen(server, backup);
    town.connect(relay, server, "relay");
    town.drive();
    assert_eq!(town.title(server, 1), is_trusted.then_some(1));
    assert_eq!(town.title(relay, 1), Some(1));
}

/// The second one was refused as a whole.
#[test]
fn two_may_destroy_the_same() {
    let (mut town, rules, server, ann) = server_and_client();
    rules.let_in("bob", writer("bob", &["list/a"]));
    let bob = town.add("bob", None);
    for id in 0..3 {
        town.create(server, id, "a", 1);
    }
    for (node, who) in [(ann, "ann"), (bob, "bob")] {
        town.visit(node, server, who);
    }
    town.destroy(ann, 0);
    let mut proposal = Proposal::default();
    for id in 0..3 {
        proposal.destroy(key(id)).unwrap();
    }
    town.propose(bob, proposal);
    town.connect(ann, server, "ann");
    town.connect(bob, server, "bob");
    town.drive();
    assert!((0..3).all(|id| town.values(server, id).is_none()), "both may destroy all of them");
}

/// Each left its empty fields in a record that its author may not write.
#[test]
fn refused_fields_do_not_pile_up() {
    let (mut town, rules, server, mallory) = server_and_client();
    rules.let_in("mallory", writer("mallory", &[]));
    town.create(server, 1, "b", 1);
    town.visit(mallory, server, "mallory");
    for n in 0..8 {
        let edits = (0..2000).map(|k| {
            Edit::entry(
                Name::new("junk").unwrap(),
                &format!("{n}-{k}-{}", "x".repeat(200)),
                Value::from(1_i64).encode(),
            )
            .unwrap()
        });
        town.edit(mallory, 1, edits.collect());
        town.visit(mallory, server, "mallory");
    }
    let record = town.nodes[server].store.record(&key(1)).unwrap().unwrap();
    assert!(record.bytes() < 10_000);
}

#[test]
fn a_verdict_may_be_dismissed_by_both_sides() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 1, "b", 5);
    town.visit(client, server, "ann");
    let id = town.refused(client)[0].id;
    for node in [server, client] {
        let mut proposal = Proposal::default();
        proposal
            .destroy(syncro_core::RecordKey {
                model: Name::new("syncro.verdict").unwrap(),
                id: syncro_core::RecordId::Uuid(id),
            })
            .unwrap();
        town.propose(node, proposal);
    }
    town.connect(client, server, "ann");
    town.drive();
    assert_eq!(
        town.codes(client),
        [Refusal::CHANNEL],
        "nothing new is told of a verdict that both dealt with"
    );
}

#[test]
fn an_authority_that_has_not_heard_of_a_record_destroys_it_nowhere() {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    for known in ["server", "whom we call"] {
        rules.let_in(
            known,
            Principal::new("server").may_read(Access::All).may_write(Access::All).relaying(),
        );
    }
    let servers = [town.add("one", Some(rules.clone())), town.add("two", Some(rules.clone()))];
    let ann = town.add("ann", None);
    town.create(servers[0], 1, "a", 1);
    town.visit(ann, servers[0], "ann");
    town.retitle(ann, 1, 2);
    town.visit(ann, servers[1], "ann");
    town.connect(servers[0], servers[1], "server");
    town.connect(ann, servers[0], "ann");
    town.drive();
    assert!(town.values(servers[0], 1).is_some());
}

/// A session ends by the monotonic clock, and what was under way was judged by the other.
#[test]
fn a_wall_clock_that_is_set_forward_undoes_nothing() {
    let (mut town, rules, server, client) = server_and_client();
    let until = town.now().wall_ms + 60_000;
    rules.let_in("ann", writer("ann", &["list/a"]).until(until));
    let link = town.connect(client, server, "ann");
    town.drive();
    town.create(client, 1, "a", 1);
    while town.step(link, 0) {}
    // NTP steps the wall clock alone.
    let it = &mut town.nodes[server];
    let _ = it;
    let frames = town.take(link, 1);
    for frame in frames {
        town.deliver_at(link, 1, frame, 120_000);
    }
    while town.step(link, 0) {}
    town.sync(server);
    town.drive();
    assert!(town.values(client, 1).is_some());
}

/// Each gave a verdict on the verdicts of the other that a client brought.
#[test]
fn a_client_of_two_authorities_comes_to_rest() {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    let servers = [town.add("one", Some(rules.clone())), town.add("two", Some(rules.clone()))];
    let ann = town.add("ann", None);
    town.create(ann, 1, "a", 1);
    for visit in 0..8 {
        town.visit(ann, servers[visit % 2], "ann");
    }
    town.connect(ann, servers[0], "ann");
    town.connect(ann, servers[1], "ann");
    town.drive();
}

#[test]
fn a_restored_authority_blames_nobody_for_what_it_has_lost() {
    let (mut town, rules) = (Town::default(), Rules::default());
    let server = town.add("server", Some(rules.clone()));
    let backup = town.image(server);
    let mut clients = Vec::new();
    for who in ["ann", "bob", "cid", "dan"] {
        rules.let_in(who, writer(who, &["list/a"]));
        clients.push((town.add(who, None), who));
    }
    for (n, (node, who)) in clients.iter().enumerate() {
        for id in 0..20 {
            town.create(*node, n as i64 * 100 + id, "a", 1);
        }
        town.connect(*node, server, who);
    }
    town.drive();
    town.reopen(server, backup);
    for link in 0..4 {
        town.cut(link);
    }
    for (node, who) in &clients {
        town.connect(*node, server, who);
    }
    town.drive();
    assert_eq!(town.verdicts(server), 0);
}

/// What somebody else has destroyed of it, as far as anybody knows, is a part that comes too late.
#[test]
fn a_permitted_transaction_is_taken_whatever_became_of_one_of_its_records() {
    let (mut town, rules, server, ann) = server_and_client();
    rules.let_in("mallory", writer("mallory", &[]));
    let mallory = town.add("mallory", None);
    let mut proposal = Proposal::default();
    for id in 1..3 {
        let fields = [("list".into(), Value::from("a"))].into();
        proposal.create(key(id), &syncro_core::Fields::from_values(&fields).unwrap()).unwrap();
    }
    town.propose(ann, proposal);
    town.create(mallory, 1, "x", 0);
    town.visit(mallory, server, "mallory");
    town.connect(ann, server, "ann");
    town.drive();
    assert!(town.values(server, 2).is_some());
    assert_eq!(town.codes(ann), [0_u16; 0]);
}

mod raw {
    //! By a peer that says what it likes.

    use super::*;
    use serde_json::{Value as Json, json};
    use syncro_core::{NodeId, Point, Transaction, from_json};
    use syncro_sim::world::wire;

    fn tx(time: u64, node: NodeId, epoch: u64, scribes: Json) -> Transaction {
        let item = json!([{"$int": time.to_string()}, wire::bytes(node.as_bytes()), {"$int": epoch.to_string()}, scribes]);
        Transaction::decode(from_json(&serde_json::to_vec(&item).unwrap()).unwrap().into()).unwrap()
    }

    fn says(
        town: &mut Town,
        dummy: usize,
        server: usize,
        node: NodeId,
        credentials: &str,
        txs: &[Transaction],
    ) -> usize {
        let link = town.connect(dummy, server, "");
        let mut hello = wire::hello(node);
        hello["credentials"] = wire::bytes(credentials.as_bytes());
        town.deliver(link, 1, wire::frame(&hello));
        town.deliver(link, 1, wire::frame(&wire::sync(&[])));
        let to = txs.iter().fold(Point::START, |at, it| at.then(it.len(), it.bytes()));
        let items = txs.iter().map(wire::item).collect();
        town.deliver(link, 1, wire::frame(&wire::scribes(Point::START, to, items)));
        link
    }

    fn time(town: &Town) -> u64 {
        town.now().wall_ms << 16
    }

    #[test]
    fn a_forgery_twice_in_one_message_leaves_nothing_in_the_log() {
        let (mut town, rules, server, client) = server_and_client();
        rules.let_in("mallory", writer("mallory", &[]));
        let dummy = town.add("dummy", None);
        let forged = tx(time(&town), NodeId::named("x"), 1, json!([["note", 1, 1, []]]));
        says(
            &mut town,
            dummy,
            server,
            NodeId::named("mallory"),
            "mallory",
            &[forged.clone(), forged],
        );
        town.sync(server);

        let link = town.connect(client, server, "ann");
        town.drive();
        assert!(town.is_open(link), "{:?} {:?}", town.closed(client), town.closed(server));
    }

    #[test]
    fn a_counter_is_not_made_wrong_by_raises_in_anothers_name() {
        let (mut town, rules, server, bob) = server_and_client();
        rules.let_in("bob", writer("bob", &["list/a"]));
        rules.let_in("mallory", writer("mallory", &[]));
        let dummy = town.add("dummy", None);
        town.create(server, 1, "a", 1);
        let link = town.connect(bob, server, "bob");
        town.drive();
        town.raise(bob, 1, 10);
        town.drive();
        town.cut(link);
        assert_eq!(town.views(server, 1), 10);
        // Epochs are in every transaction that everybody reads.
        let epoch = town.nodes[bob].engine.epoch().0;
        let forged = tx(
            time(&town) + (1 << 16),
            NodeId::named("bob"),
            0,
            json!([["note", 1, 0, [["views", 1], 1000]]]),
        );
        let _ = forged;
        let forged = tx(
            time(&town) + (1 << 16),
            NodeId::named("bob"),
            epoch,
            json!([["note", 1, 0, [["views", 1], 1000]]]),
        );
        says(&mut town, dummy, server, NodeId::named("client"), "mallory", &[forged]);
        town.sync(server);
        assert_eq!(town.views(server, 1), 10);
        town.ms += 10;
        town.raise(bob, 1, 5); // offline
        town.connect(bob, server, "bob");
        town.drive();
        assert_eq!((town.views(server, 1), town.views(bob, 1)), (15, 15));
    }

    /// It was undone nowhere behind the relay.
    #[test]
    fn a_raise_in_anothers_name_is_undone_behind_the_relay_too() {
        let (mut town, rules) = (Town::default(), Rules::default());
        rules.let_in("relay", Principal::new("relay").may_read(Access::All).relaying());
        rules.know("mallory", writer("mallory", &["list/a"]));
        let server = town.add("server", Some(rules.clone()));
        let (relay, dummy) = (town.add("relay", None), town.add("dummy", None));
        town.create(server, 1, "a", 1);
        town.raise(server, 1, 10);
        town.visit(relay, server, "relay");
        let (node, epoch) = (NodeId::named("server"), town.nodes[server].engine.epoch().0);
        let path = json!(["views", 1, wire::bytes(node.as_bytes()), {"$int": epoch.to_string()}]);
        let bad = tx(
            time(&town) + (1 << 16),
            NodeId::named("mallory"),
            1,
            json!([["note", 1, 0, [path, 0]]]),
        );
        says(&mut town, dummy, relay, NodeId::named("mallory"), "", &[bad]);
        assert_eq!(town.views(relay, 1), 0);
        town.connect(relay, server, "relay");
        town.drive();
        assert_eq!((town.views(server, 1), town.views(relay, 1)), (10, 10));
    }
}
