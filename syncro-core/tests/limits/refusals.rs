//! What is refused, and what becomes of it.

use syncro_core::{Edit, Encoded, Input, Name, Principal, Proposal, Refusal, Store, Value};
use syncro_sim::world::wire;

use super::town::{Node, Rules, Town, key, set, writer};

/// A server with rules, and a client that may write into list a.
pub(super) fn server_and_client() -> (Town, Rules, usize, usize) {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    let (server, client) = (town.add("server", Some(rules.clone())), town.add("client", None));
    (town, rules, server, client)
}

/// The client is told these codes, once each, in whatever order; and both hold the same.
#[track_caller]
fn settles(town: &mut Town, (server, client): (usize, usize), codes: &[u16]) {
    let link = town.connect(client, server, "ann");
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(client));
    assert_eq!(town.codes(client), codes);
    assert_eq!(town.codes(server), [0_u16; 0]);
    town.assert_equal(&[server, client]);
    town.cut(link);
    // Nothing is said twice.
    town.crash(server);
    town.crash(client);
    let link = town.connect(client, server, "ann");
    town.drive();
    assert_eq!(town.codes(client), codes);
    town.assert_equal(&[server, client]);
    town.cut(link);
}

/// What was under way held the verdict back, and the receipt for what it was about came before it.
#[test]
fn a_verdict_goes_before_the_receipt_while_a_message_is_under_way() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 2, "a", 6);
    let link = town.connect(client, server, "ann");
    town.drive();
    // It is refused.
    town.create(client, 1, "b", 5);
    let frame = town.take(link, 1).remove(0);
    let session = town.session(link, server);
    let now = town.now();
    let Node { engine, store, .. } = &mut town.nodes[server];
    // Nobody says that there is room again.
    let mut step = |input| {
        let effects = engine.handle(now, input, store).unwrap();
        if let Some(commit) = &effects.commit {
            store.apply(commit).unwrap();
            store.sync().unwrap();
        }
        effects
    };
    let mut sent_at_sync = |input| {
        let through = step(input).commit.unwrap().sequence;
        let sends = step(Input::Synced { through }).sends.into_iter();
        sends.map(|(_, frame)| wire::kind(&frame)).collect::<Vec<_>>()
    };
    let mut proposal = Proposal::default();
    proposal.update(key(2), vec![set("title", Value::from(7))]).unwrap();
    assert_eq!(sent_at_sync(Input::Propose(proposal)), ["scribes"]);
    let sent = sent_at_sync(Input::Receive { session, frame });
    assert_eq!(sent, ["scribes", "ack"]);
}

#[test]
fn what_is_permitted_is_taken() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 1, "a", 5);
    town.retitle(client, 1, 6);
    settles(&mut town, (server, client), &[]);
    assert_eq!(town.title(server, 1), Some(6));
    town.destroy(client, 1);
    settles(&mut town, (server, client), &[]);
    assert_eq!(town.values(server, 1), None);
}

#[test]
fn a_create_in_a_channel_one_may_not_write_is_undone() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 1, "b", 5);
    town.create(client, 2, "a", 6);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    assert_eq!((town.values(client, 1), town.title(client, 2)), (None, Some(6)));
    let verdict = town.refused(client)[0].clone();
    assert!(verdict.refusal.message.contains("list/b"), "{verdict:?}");
    assert_eq!(verdict.records, [key(1)]);
}

#[test]
fn an_edit_of_what_is_anothers_shows_again_what_was_there() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "b", 5);
    settles(&mut town, (server, client), &[]);
    town.retitle(client, 1, 6);
    town.edit(client, 1, vec![Edit::add(Name::new("tags").unwrap(), Encoded::TRUE).unwrap()]);
    settles(&mut town, (server, client), &[Refusal::CHANNEL; 2]);
    assert_eq!(town.title(client, 1), Some(5));
}

#[test]
fn a_record_is_moved_only_between_channels_that_one_may_write() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "b", 5);
    town.create(server, 2, "a", 6);
    settles(&mut town, (server, client), &[]);
    town.edit(client, 1, vec![set("list", Value::from("a"))]);
    town.edit(client, 2, vec![set("list", Value::from("b"))]);
    settles(&mut town, (server, client), &[Refusal::CHANNEL; 2]);
    let list = |id| town.values(server, id).unwrap()["list"].clone();
    assert_eq!((list(1), list(2)), (Value::from("b"), Value::from("a")));
}

#[test]
fn a_refused_destroy_brings_everything_back() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "b", 5);
    town.raise(server, 1, 7);
    settles(&mut town, (server, client), &[]);
    let before = town.values(server, 1);
    town.destroy(client, 1);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    assert_eq!((town.values(client, 1), before.is_some()), (before, true));
}

#[test]
fn a_transaction_is_refused_as_a_whole() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 1, "a", 1);
    settles(&mut town, (server, client), &[]);
    let mut proposal = Proposal::default();
    let fields = [("list".into(), Value::from("b"))].into();
    proposal.create(key(2), &syncro_core::Fields::from_values(&fields).unwrap()).unwrap();
    proposal.update(key(1), vec![set("title", Value::from(9_i64))]).unwrap();
    town.propose(client, proposal);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    assert_eq!((town.title(client, 1), town.values(client, 2)), (Some(1), None));
    assert_eq!(town.refused(client)[0].records.len(), 2);
}

#[test]
fn a_counter_raised_refused_and_raised_again_ends_at_the_sum_of_the_accepted_raises() {
    let (mut town, rules, server, client) = server_and_client();
    town.create(server, 1, "a", 1);
    town.raise(server, 1, 100);
    settles(&mut town, (server, client), &[]);
    town.raise(client, 1, 1);
    settles(&mut town, (server, client), &[]);
    // Raised twice while it may not, and again when it may: all of it before anybody hears of it.
    rules.let_in("ann", writer("ann", &[]));
    let link = town.connect(client, server, "ann");
    town.drive();
    town.raise(client, 1, 10);
    town.raise(client, 1, 20);
    for _ in 0..20 {
        town.step(link, 1);
    }
    let session = town.session(link, server);
    let ann = std::sync::Arc::new(writer("ann", &["list/a"]));
    town.input(server, Input::Rights { session, principal: Some(ann) });
    town.raise(client, 1, 4);
    town.drive();
    assert_eq!(town.codes(client), [Refusal::CHANNEL; 2]);
    assert_eq!((town.views(server, 1), town.views(client, 1)), (105, 105));
    town.raise(client, 1, 1000);
    town.drive();
    assert_eq!((town.views(server, 1), town.views(client, 1)), (1105, 1105));
    town.assert_equal(&[server, client]);
}

#[test]
fn the_application_is_asked_and_its_words_reach_the_author() {
    let (mut town, rules, server, client) = server_and_client();
    rules.forbid_title(13);
    town.create(client, 1, "a", 5);
    town.retitle(client, 1, 13);
    town.retitle(client, 1, 6);
    settles(&mut town, (server, client), &[Refusal::APPLICATION]);
    assert_eq!((town.title(server, 1), town.title(client, 1)), (Some(6), Some(6)));
    assert_eq!(town.refused(client)[0].refusal.message, "that is no title");
}

#[test]
fn reserved_models_are_for_authorities_but_a_verdict_may_be_dealt_with() {
    let (mut town, _, server, client) = server_and_client();
    town.create(client, 1, "b", 5);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    let verdict = |id| syncro_core::RecordKey {
        model: Name::new("syncro.verdict").unwrap(),
        id: syncro_core::RecordId::Uuid(id),
    };
    let mut proposal = Proposal::default();
    proposal.destroy(verdict(town.refused(client)[0].id)).unwrap();
    town.propose(client, proposal);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    let model = syncro_core::RecordKey {
        model: Name::new("syncro.model").unwrap(),
        id: syncro_core::RecordId::text("note").unwrap(),
    };
    let mut proposal = Proposal::default();
    proposal.destroy(model).unwrap();
    town.propose(client, proposal);
    settles(&mut town, (server, client), &[Refusal::CHANNEL, Refusal::RESERVED]);
}

#[test]
fn a_change_of_what_is_gone_is_refused() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "a", 5);
    settles(&mut town, (server, client), &[]);
    town.destroy(server, 1);
    town.retitle(client, 1, 6);
    settles(&mut town, (server, client), &[Refusal::GONE]);
    assert_eq!(town.values(client, 1), None);
}

/// What the client writes next, before it has heard of the refusal, is above the repair.
#[test]
fn what_follows_a_refused_change_is_not_undone_with_it() {
    let (mut town, rules, server, client) = server_and_client();
    rules.forbid_title(13);
    town.create(client, 1, "a", 1);
    let now = town.ms;
    for title in [13, 2, 13, 3] {
        town.retitle(client, 1, title);
        // All of them in one millisecond.
        town.ms = now;
    }
    settles(&mut town, (server, client), &[Refusal::APPLICATION; 2]);
    assert_eq!((town.title(server, 1), town.title(client, 1)), (Some(3), Some(3)));
}

/// A verdict for each of them was one more thing that a client could bring to another authority, which gave one for that.
#[test]
fn a_forged_author_is_not_taken_and_the_operator_is_told_once() {
    let (mut town, _, server, client) = server_and_client();
    let other = town.add("other", None);
    town.create(other, 1, "a", 5);
    town.create(other, 3, "a", 5);
    town.visit(other, client, "");
    town.create(client, 2, "a", 6);
    let link = town.connect(client, server, "ann");
    town.drive();
    assert!(town.is_open(link));
    assert_eq!(town.forged(server), 1);
    assert_eq!((town.codes(client), town.verdicts(server)), (vec![], 0));
    assert_eq!((town.values(server, 1), town.title(server, 2)), (None, Some(6)));
    assert_eq!(town.title(client, 1), Some(5), "it is not undone: its author may bring it");
}

#[test]
fn a_relay_brings_what_others_wrote_and_carries_the_verdict_back() {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("relay", Principal::new("relay").may_read(syncro_core::Access::All).relaying());
    rules.know("ann", writer("ann", &["list/a"]));
    let server = town.add("server", Some(rules.clone()));
    let (relay, ann, bob) = (town.add("relay", None), town.add("ann", None), town.add("bob", None));
    town.create(ann, 1, "a", 1);
    town.create(ann, 2, "b", 2);
    town.create(bob, 3, "a", 3);
    town.connect(ann, relay, "");
    town.connect(bob, relay, "");
    town.connect(relay, server, "relay");
    town.drive();
    assert_eq!(
        (town.codes(ann), town.codes(bob)),
        (vec![Refusal::CHANNEL], vec![Refusal::CHANNEL])
    );
    assert_eq!(town.title(server, 1), Some(1));
    town.assert_equal(&[server, relay, ann, bob]);
}

/// Each of two authorities refuses what it gets to see first; a raise is taken off once.
#[test]
fn two_authorities_refuse_one_change_and_agree() {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    for known in ["server", "whom we call"] {
        rules.let_in(
            known,
            Principal::new("server")
                .may_read(syncro_core::Access::All)
                .may_write(syncro_core::Access::All)
                .relaying(),
        );
    }
    let servers = [town.add("one", Some(rules.clone())), town.add("two", Some(rules.clone()))];
    let client = town.add("client", None);
    town.create(servers[0], 1, "b", 1);
    for (a, b, credentials) in [(servers[0], servers[1], "server"), (client, servers[0], "ann")] {
        town.connect(a, b, credentials);
        town.drive();
    }
    for link in 0..2 {
        town.cut(link);
    }
    town.raise(client, 1, 5);
    town.retitle(client, 1, 9);
    for server in servers {
        town.visit(client, server, "ann");
    }
    town.raise(client, 1, 2);
    rules.let_in("ann", writer("ann", &["list/*"]));
    town.visit(client, servers[1], "ann");
    town.connect(servers[0], servers[1], "server");
    town.connect(client, servers[0], "ann");
    town.drive();
    assert_eq!(town.views(servers[0], 1), 2);
    assert_eq!(town.title(client, 1), Some(1));
    town.assert_equal(&[servers[0], servers[1], client]);
}

/// A backup of the authority knows nothing of what it refused.
#[test]
fn an_authority_that_was_restored_refuses_again_without_taking_off_twice() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "b", 1);
    settles(&mut town, (server, client), &[]);
    let backup = town.image(server);
    town.raise(client, 1, 5);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    town.reopen(server, backup);
    let link = town.connect(client, server, "ann");
    town.drive();
    assert_eq!((town.views(server, 1), town.views(client, 1)), (0, 0));
    town.cut(link);
}

/// A clock a year ahead would win against everybody for a year; and above the last stamp nobody could ever write.
#[test]
fn a_stamp_of_the_future_is_refused_and_leaves_no_trace_where_others_write() {
    let (mut town, _, server, client) = server_and_client();
    town.create(server, 1, "a", 1);
    settles(&mut town, (server, client), &[]);
    let now = town.ms;
    town.ms += syncro_core::limits::FUTURE_MS + 1000;
    town.retitle(client, 1, 2);
    town.sync(client);
    town.ms = now;
    let link = town.connect(client, server, "ann");
    town.drive();
    assert!(town.is_open(link));
    assert_eq!(town.codes(client), [Refusal::FUTURE]);
    assert_eq!(town.title(server, 1), Some(1));
    let newest = |town: &Town| {
        use syncro_core::View;
        let record = town.nodes[server].store.record(&key(1)).unwrap().unwrap();
        record.newest().unwrap().time.ms()
    };
    assert!(newest(&town) <= town.now().wall_ms);
}

/// What a limited peer may not bring back, a crash of the authority must not take from it.
#[test]
fn a_limited_peer_gets_nothing_that_is_not_durable() {
    let (mut town, _, server, client) = server_and_client();
    let link = town.connect(client, server, "ann");
    town.drive();
    town.create(server, 1, "a", 1);
    while town.step(link, 0) | town.step(link, 1) {}
    assert_eq!(town.values(client, 1), None);
    town.sync(server);
    while town.step(link, 0) | town.step(link, 1) {}
    assert_eq!(town.title(client, 1), Some(1));
}

/// Whoever could let a record enter a channel of its own could then do everything with it.
#[test]
fn nobody_makes_anothers_record_its_own() {
    let (mut town, rules, server, client) = server_and_client();
    rules.let_in("ann", writer("ann", &["reader/ann", "list/a"]));
    town.create(server, 1, "b", 5);
    let readers =
        |who: &str| Edit::add(Name::new("readers").unwrap(), Value::from(who).encode()).unwrap();
    town.edit(server, 1, vec![readers("bob")]);
    settles(&mut town, (server, client), &[]);
    town.edit(client, 1, vec![readers("ann")]);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    town.edit(server, 1, vec![readers("ann")]);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    town.retitle(client, 1, 6);
    settles(&mut town, (server, client), &[Refusal::CHANNEL]);
    assert_eq!(town.title(server, 1), Some(6), "whom others have let in may");
    town.edit(
        client,
        1,
        vec![Edit::remove(Name::new("readers").unwrap(), Value::from("bob").encode()).unwrap()],
    );
    settles(&mut town, (server, client), &[Refusal::CHANNEL; 2]);
}

/// Two people take turns at one machine: what it brings is judged by the rights of whoever brings it.
#[test]
fn two_principals_of_one_node_bring_what_each_may() {
    let (mut town, rules, server, client) = server_and_client();
    rules.let_in("bob", writer("bob", &["list/b"]));
    for (who, id, list) in [("ann", 1, "a"), ("bob", 2, "b"), ("ann", 3, "a")] {
        town.create(client, id, list, 1);
        let link = town.connect(client, server, who);
        town.drive();
        assert_eq!(town.title(server, id), Some(1), "{who}");
        town.cut(link);
    }
    town.create(client, 4, "a", 1);
    town.create(client, 5, "b", 1);
    let link = town.connect(client, server, "bob");
    town.drive();
    assert_eq!(town.codes(client), [Refusal::CHANNEL]);
    assert_eq!((town.values(client, 4), town.title(server, 5)), (None, Some(1)));
    town.assert_equal(&[server, client]);
    town.cut(link);
}

#[test]
fn one_principal_on_two_devices_has_one_set_of_rights_and_two_authors() {
    let (mut town, _, server, phone) = server_and_client();
    let laptop = town.add("laptop", None);
    town.create(server, 1, "a", 0);
    town.create(server, 2, "b", 0);
    let links = [phone, laptop].map(|device| town.connect(device, server, "ann"));
    town.drive();
    links.into_iter().for_each(|link| town.cut(link));
    for (device, by) in [(phone, 3), (laptop, 4)] {
        town.raise(device, 1, by);
        town.raise(device, 2, by);
        town.retitle(device, 1, by);
    }
    for device in [phone, laptop] {
        town.connect(device, server, "ann");
    }
    town.drive();
    assert_eq!((town.views(server, 1), town.title(server, 1)), (7, Some(4)));
    assert_eq!(town.views(server, 2), 0);
    for device in [phone, laptop] {
        assert_eq!(town.codes(device), [Refusal::CHANNEL], "each is told of its own");
    }
    town.assert_equal(&[server, phone, laptop]);
}
