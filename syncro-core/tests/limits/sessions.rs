//! Who gets in, and for how long.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::limits::{CREDENTIALS_BYTES_MAX, HELLO_BYTES_MAX};
use syncro_core::{CloseReason, Error, Input, NodeId, Role, SessionId, UsageError};

use super::town::{Rules, Town, writer};

fn town() -> (Town, Rules, usize, usize) {
    let (mut town, rules) = (Town::default(), Rules::default());
    let (server, client) = (town.add("server", Some(rules.clone())), town.add("client", None));
    (town, rules, server, client)
}

#[test]
fn wrong_missing_and_expired_credentials_get_the_same_answer() {
    let (mut town, rules, server, client) = town();
    let now = town.now().wall_ms;
    rules.let_in("expired", writer("ann", &["*"]).until(now));
    rules.let_in("another's", writer("ann", &["*"]).of_node(NodeId::named("phone")));
    let mut answers = Vec::new();
    for credentials in ["", "wrong", "expired", "another's"] {
        let link = town.connect(client, server, credentials);
        let mut said = 0;
        while town.step(link, 1) {}
        while town.step(link, 0) {
            said += 1;
        }
        answers.push((town.closed(client).last().copied(), said, rules.asked()));
    }
    let denied = |asked| (Some((CloseReason::Denied, true)), 1, asked);
    assert_eq!(
        answers,
        [1, 2, 3, 4].map(denied),
        "a goodbye and nothing else, after one question each"
    );
    assert!(town.nodes[server].engine.sessions().next().is_none());
    rules.let_in("fine", writer("ann", &["*"]).of_node(NodeId::named("client")).until(now + 1000));
    let link = town.connect(client, server, "fine");
    town.drive();
    assert!(town.is_open(link));
}

#[test]
fn a_session_ends_when_the_rights_do() {
    let (mut town, rules, server, client) = town();
    rules.let_in("ann", writer("ann", &["*"]).until(town.now().wall_ms + 5000));
    let over_ms = town.ms + 5000;
    let link = town.connect(client, server, "ann");
    town.drive();
    let wake_at = |town: &mut Town| {
        let now = town.now();
        let node = &mut town.nodes[server];
        node.engine.handle(now, Input::Tick, &node.store).unwrap().wake_at
    };
    assert_eq!(wake_at(&mut town), Some(over_ms), "it wakes for it");
    town.ms = over_ms - 1;
    town.input(server, Input::Tick);
    assert!(town.is_open(link));
    town.ms = over_ms;
    town.input(server, Input::Tick);
    assert_eq!(town.closed(server), [(CloseReason::Denied, false)]);
}

#[test]
fn rights_are_changed_and_taken_while_a_session_is_open() {
    let (mut town, rules, server, client) = town();
    rules.let_in("ann", writer("ann", &[]));
    let link = town.connect(client, server, "ann");
    town.drive();
    town.create(client, 1, "a", 1);
    town.drive();
    assert_eq!((town.codes(client).len(), town.values(server, 1)), (1, None));
    let session = town.session(link, server);
    let principal = Some(Arc::new(writer("ann", &["list/*"])));
    town.input(server, Input::Rights { session, principal });
    town.create(client, 2, "a", 2);
    town.drive();
    assert_eq!(town.title(server, 2), Some(2));
    let status = town.nodes[server].engine.sessions().next().unwrap();
    assert_eq!(status.principal.map(|principal| principal.name.clone()), Some("ann".to_owned()));
    town.input(server, Input::Rights { session, principal: None });
    town.drive();
    assert_eq!(town.closed(client), [(CloseReason::Denied, true)]);
}

#[test]
fn nothing_larger_than_a_hello_is_read_before_the_hello() {
    let (mut town, _, server, client) = town();
    for (bytes, reason) in [
        (HELLO_BYTES_MAX, CloseReason::Malformed),
        (HELLO_BYTES_MAX + 1, CloseReason::FrameTooLarge),
    ] {
        let link = town.connect(client, server, "");
        town.deliver(link, 1, Bytes::from(vec![0xc1; bytes]));
        assert_eq!(town.closed(server).last(), Some(&(reason, false)));
    }
}

#[test]
fn credentials_that_do_not_fit_a_hello_are_the_callers_fault() {
    let (mut town, rules, server, client) = town();
    let long = "x".repeat(CREDENTIALS_BYTES_MAX);
    rules.let_in(&long, writer("ann", &["*"]));
    let link = town.connect(client, server, &long);
    town.drive();
    assert!(town.is_open(link), "{:?}", town.closed(client));
    let now = town.now();
    let node = &mut town.nodes[client];
    let credentials = Bytes::from(vec![0; CREDENTIALS_BYTES_MAX + 1]);
    let open = Input::Open { session: SessionId(99), role: Role::Accept, credentials };
    let error = node.engine.handle(now, open, &node.store).unwrap_err();
    assert!(
        matches!(error, Error::Usage(UsageError::CredentialsTooLong { bytes: 2049 })),
        "{error}"
    );
}
