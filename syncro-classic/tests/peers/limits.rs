//! What a peer can cost.

use std::time::Duration;

use serde_json::{Value as Json, json};
use syncro_classic::{Framing, Offence, limits};

use crate::support::{Desk, create, made, said, uid};

/// A peer that does not read is told no more than fits, and holds nobody else up.
#[test]
fn a_peer_that_does_not_read_costs_a_buffer_and_then_its_own_pace() {
    let mut desk = Desk::new();
    let (slow, quick) = (desk.connect_empty("slow"), desk.connect_empty("quick"));
    desk.is_writing = false;
    for n in 0..300 {
        desk.create(&format!("r{n}"), &"x".repeat(2000));
        desk.hub.written(quick, usize::MAX >> 1);
    }
    let bytes = |told: &[Json]| told.iter().map(|one| one.to_string().len()).sum::<usize>();
    let told = desk.heard(slow);
    assert!(bytes(&told) < limits::UNWRITTEN_BYTES + limits::FRAME_BYTES_MAX, "{}", bytes(&told));
    assert_eq!(desk.heard(quick).len(), 300);
    // It goes on where it was.
    desk.is_writing = true;
    desk.hub.written(slow, usize::MAX >> 1);
    desk.work();
    let rest = desk.heard(slow);
    assert_eq!(told.len() + rest.len(), 300);
    assert_eq!(rest[0]["scribe"]["data"]["id"], format!("r{}", told.len()));
}

/// Requests of 27 bytes, each of which has an answer of 64 KiB.
#[test]
fn many_requests_at_once_are_answered_as_they_are_read() {
    let mut desk = Desk::new();
    for n in 0..600 {
        desk.create(&format!("r{n}"), &"x".repeat(100));
    }
    let greedy = desk.connect_empty("greedy");
    desk.is_writing = false;
    for id in 0..500 {
        desk.hand_in(greedy, json!({"type": "sync", "id": id}));
    }
    desk.work();
    let mut answers = desk.heard(greedy);
    answers.retain(|one| one["type"] == "response");
    assert!(answers.len() <= 3, "{}", answers.len());
    assert!(desk.hub.is_busy(greedy), "its transport waits");
    desk.create("another", "a");
    desk.is_writing = true;
    desk.hub.written(greedy, usize::MAX >> 1);
    desk.work();
    answers.extend(desk.heard(greedy));
    answers.retain(|one| one["type"] == "response");
    assert_eq!(answers.len(), 500);
    assert!(!desk.hub.is_busy(greedy));
}

/// One that answers nothing is told so many and no more, until the next session.
#[test]
fn a_peer_that_acknowledges_nothing_is_told_so_many() {
    let mut desk = Desk::new();
    let mute = desk.connect_empty("mute");
    let fields = syncro::Fields::default();
    for n in 0..5 {
        desk.node
            .transaction(|draft| {
                (0..4000).try_for_each(|at| {
                    draft.create_record(crate::support::key(&format!("{n}.{at}")), &fields)
                })
            })
            .unwrap();
        desk.work();
    }
    assert_eq!(desk.heard(mute).len(), limits::UNANSWERED_MAX);
}

#[test]
fn what_is_no_json_ends_that_session_alone() {
    let mut desk = Desk::new();
    let (bad, good) = (desk.connect_empty("bad"), desk.connect_empty("good"));
    let deep = [&[0x40, 0x00][..], "[".repeat(0x4000).as_bytes()].concat();
    for bytes in [&b"\x00\x01{"[..], b"\x00\x00", b"\x00\x02\xff\xfe", &deep] {
        let bad = if desk.closed.is_empty() { bad } else { desk.connect_empty("bad") };
        desk.bytes(bad, bytes);
        assert_eq!(desk.closed.last(), Some(&(bad, Offence::Malformed)), "{bytes:02x?}");
    }
    let web = desk.connect_in("web", Framing::Messages);
    desk.bytes(web, &vec![b' '; limits::MESSAGE_BYTES_MAX + 1]);
    assert_eq!(desk.closed.last(), Some(&(web, Offence::TooLong)));
    desk.push(good, create("1", "r1", "a"));
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    let pieces = prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "\\{\"type\":\"(sync|add_scribe|rpc|noop|response|error)\",\"id\":[0-9]{1,3}(,\"(from|scribe|result|args|code)\":(null|1|\"x\"|\\[\\]|\\{\\}|\\[\\{\\}\\]|\\{\"klass\":\"Test\",\"type\":\"(create|update|destroy|x)\",\"data\":(null|\\[1\\]|\\{\"id\":1\\}|\\[1,\\{\"a\":\\[1.5\\]\\}\\])\\}))?\\}"
                .prop_map(|text| syncro_classic::frame(text.as_bytes()).unwrap_or_default()),
        ],
        0..12,
    );
    TestRunner::default()
        .run(&pieces, |pieces| {
            let mut desk = Desk::new();
            let ann = desk.connect("ann");
            for piece in pieces {
                if desk.closed.is_empty() {
                    desk.bytes(ann, &piece);
                }
            }
            let bob = desk.connect_empty("bob");
            desk.push(bob, create("1", "fine", "a"));
            Ok(())
        })
        .unwrap();
}

#[test]
fn sessions_have_a_limit() {
    let mut desk = Desk::new();
    for _ in 0..limits::SESSIONS_MAX {
        desk.hub.connect(uid("x"), Framing::Messages).unwrap();
    }
    assert!(desk.hub.connect(uid("x"), Framing::Messages).is_err());
}

/// The driver waits for changes without a step, and then finds them.
#[tokio::test]
async fn the_hub_wakes_for_changes_of_its_node() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    let node = desk.node.clone();
    let write = tokio::task::spawn_blocking(move || {
        let fields = syncro::Fields::from_values(&[("name".into(), "a".into())].into()).unwrap();
        node.transaction(|draft| draft.create_record(crate::support::key("r1"), &fields)).unwrap();
    });
    let woken = tokio::time::timeout(Duration::from_secs(30), desk.hub.changed()).await;
    assert!(woken.unwrap().unwrap());
    write.await.unwrap();
    desk.work();
    assert_eq!(said(&desk.told(ann)), [made("r1", "a")]);
    desk.node.close().unwrap();
    assert!(!desk.hub.changed().await.unwrap(), "a closed node has no changes");
}
