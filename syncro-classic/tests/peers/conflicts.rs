//! Peers that change the same at the same time.

use serde_json::{Value as Json, json};
use syncro_classic::{Framing, SessionId};
use syncro_sim::Ruby;

use crate::support::{Desk, changed, confirmed, create, destroy, said, update};

const NONE: [Json; 0] = [];

/// Peers of 2010 at one hub. Messages wait on the way until they are let through.
pub(crate) struct Circle {
    pub(crate) desk: Desk,
    pub(crate) peers: Vec<Ruby>,
    pub(crate) sessions: Vec<Option<SessionId>>,
    /// What the hub has sent and a peer has not read.
    incoming: Vec<Vec<Json>>,
}

impl Circle {
    pub(crate) fn of(desk: Desk, count: usize) -> Self {
        let peers = (0..count).map(|_| Ruby::default()).collect();
        Self { desk, peers, sessions: vec![None; count], incoming: vec![Vec::new(); count] }
    }

    pub(crate) fn connect(&mut self, at: usize) {
        assert_eq!(self.sessions[at], None);
        self.peers[at].connect();
        let uid = format!("peer {at}");
        self.sessions[at] = Some(self.desk.connect_in(&uid, Framing::Stream));
    }

    pub(crate) fn disconnect(&mut self, at: usize) {
        if let Some(session) = self.sessions[at].take() {
            self.desk.hub.disconnect(session);
            self.desk.heard(session);
            self.peers[at].disconnect();
            self.incoming[at].clear();
        }
    }

    /// Lets the hub hear the next message of a peer. Returns whether there was one.
    pub(crate) fn up(&mut self, at: usize) -> bool {
        let Some(session) = self.sessions[at] else { return false };
        if self.peers[at].out.is_empty() {
            return false;
        }
        let message = self.peers[at].out.remove(0);
        self.desk.say(session, message);
        true
    }

    /// Lets a peer hear the next message of the hub. Returns whether there was one.
    pub(crate) fn down(&mut self, at: usize) -> bool {
        let Some(session) = self.sessions[at] else { return false };
        self.incoming[at].extend(self.desk.heard(session));
        if self.incoming[at].is_empty() {
            return false;
        }
        let message = self.incoming[at].remove(0);
        self.peers[at].hear(&message);
        true
    }

    /// Lets everything through.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut is_idle = true;
            for at in 0..self.peers.len() {
                is_idle &= !(self.up(at) | self.down(at));
            }
            if is_idle {
                return;
            }
        }
        panic!("they talk for ever");
    }

    /// Demands that every peer holds what the node holds.
    pub(crate) fn agree(&self) {
        let model = syncro::Name::new("Test").unwrap();
        let records = self.desk.node.list_records(&model).unwrap().into_iter();
        let held: Vec<(String, String)> = records
            .map(|(id, _)| (id.to_string(), self.desk.name(&id.to_string()).unwrap_or_default()))
            .collect();
        for (at, peer) in self.peers.iter().enumerate() {
            let name = |one: &Json| one.as_str().unwrap_or_default().to_owned();
            let theirs: Vec<(String, String)> =
                peer.records.iter().map(|(id, one)| (id.clone(), name(&one["name"]))).collect();
            assert_eq!(theirs, held, "peer {at}");
        }
    }
}

/// Two peers and one record, which both have.
fn pair() -> Circle {
    let mut circle = Circle::of(Desk::with(confirmed()), 2);
    circle.connect(0);
    circle.connect(1);
    circle.peers[0].create("r1", "");
    circle.settle();
    circle.agree();
    circle
}

/// Fault 4: each heard of the other's edit after its own, and they swapped values for ever.
#[test]
fn fault_4_edits_at_the_same_time_end_with_one_value() {
    let mut circle = pair();
    circle.peers[0].update("r1", "by 0");
    circle.peers[1].update("r1", "by 1");
    circle.settle();
    circle.agree();
    assert_eq!(circle.desk.name("r1").as_deref(), Some("by 1"));
}

/// It changes what it has asked about before it has read the answer. Only a `noop` tells the two apart.
#[test]
fn fault_4_an_edit_that_crosses_the_answer_to_a_sync_is_told_back() {
    let mut circle = pair();
    circle.disconnect(0);
    circle.peers[1].update("r1", "by 1");
    circle.settle();
    circle.connect(0);
    while circle.up(0) | circle.up(1) {}
    circle.down(0);
    while circle.up(0) {}
    circle.peers[0].update("r1", "by 0");
    circle.settle();
    circle.agree();
    assert_eq!(circle.desk.name("r1").as_deref(), Some("by 0"));
}

/// The session ended before anybody knew in which order. The hub took what came in the next one for later than what it had
/// told in this one, and the peer had it the other way round.
#[test]
fn fault_4_an_edit_that_crossed_what_a_lost_session_told_is_told_back() {
    let mut circle = Circle::of(Desk::with(confirmed()), 1);
    circle.peers[0].create("r1", "old");
    circle.connect(0);
    circle.up(0);
    circle.desk.create("r1", "native");
    circle.down(0);
    circle.peers[0].update("r1", "new");
    circle.up(0);
    circle.down(0);
    assert_eq!(circle.peers[0].records["r1"]["name"], "old", "it has heard that after its own");
    circle.disconnect(0);
    circle.connect(0);
    circle.settle();
    circle.agree();
    assert_eq!(circle.desk.name("r1").as_deref(), Some("new"));
}

/// It had created the record and destroyed it before it heard that somebody else created the same, and the session ended. It
/// kept that one, while the hub took it for destroyed there.
#[test]
fn fault_4_a_destroy_that_crossed_a_create_of_a_lost_session_is_told_back() {
    for is_heard in [true, false] {
        let mut circle = Circle::of(Desk::with(confirmed()), 2);
        (0..2).for_each(|at| circle.connect(at));
        circle.peers[1].create("r0", "by 1");
        circle.settle();
        circle.peers[1].create("r1", "by 1");
        circle.up(1);
        circle.peers[0].create("r1", "by 0");
        circle.peers[0].destroy("r1");
        while is_heard && circle.down(0) {}
        circle.disconnect(0);
        circle.connect(0);
        circle.settle();
        circle.agree();
        assert_eq!(circle.desk.record("r1"), None);
    }
}

/// The same, of a record that is destroyed already when the hub hears of it.
#[test]
fn fault_4_a_vain_destroy_that_crossed_a_create_of_a_lost_session_is_told_back() {
    for is_heard in [true, false] {
        let mut circle = pair();
        circle.desk.destroy("r1");
        circle.desk.create("r1", "again");
        circle.peers[0].destroy("r1");
        while is_heard && circle.down(0) {}
        circle.disconnect(0);
        circle.desk.destroy("r1");
        circle.connect(0);
        circle.settle();
        circle.agree();
    }
}

/// Fault 4, message by message: the loser hears its value again as an ordinary update, once.
#[test]
fn fault_4_the_winner_is_told_its_own_value_after_the_others() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, create("1", "r1", "a"));
    desk.told(bob);
    desk.push(ann, update("2", "r1", "by ann"));
    // Bob has not read that when he writes.
    desk.say(bob, json!({"type": "add_scribe", "id": 9, "scribe": update("1", "r1", "by bob")}));
    let told: Vec<Json> =
        desk.heard(bob).into_iter().filter(|one| one["type"] == "add_scribe").collect();
    let scribes: Vec<Json> = told.iter().map(|one| one["scribe"].clone()).collect();
    assert_eq!(said(&scribes), [changed("r1", "by ann"), changed("r1", "by bob")]);
    assert_eq!(said(&desk.told(ann)), [changed("r1", "by bob")]);
    // Once he has answered, there is nothing to come back.
    for message in told {
        desk.say(bob, json!({"type": "response", "id": message["id"], "result": true}));
    }
    desk.push(bob, update("2", "r1", "again"));
    assert_eq!(desk.heard(bob), NONE);
}

#[test]
fn fault_4_edits_offline_end_with_one_value() {
    for order in [[0, 1], [1, 0]] {
        let mut circle = pair();
        circle.disconnect(0);
        circle.disconnect(1);
        circle.peers[0].update("r1", "by 0");
        circle.peers[1].update("r1", "by 1");
        for at in order {
            circle.connect(at);
            circle.settle();
        }
        circle.agree();
        assert_eq!(circle.desk.name("r1"), Some(format!("by {}", order[1])), "who comes last");
    }
}

#[test]
fn fault_4_an_edit_offline_and_one_of_a_native_peer_end_with_one_value() {
    let mut circle = pair();
    circle.disconnect(0);
    circle.peers[0].update("r1", "offline");
    circle.desk.update("r1", "native");
    circle.connect(0);
    circle.settle();
    circle.agree();
    circle.peers[0].update("r1", "at the same time");
    circle.desk.update("r1", "native again");
    circle.settle();
    circle.agree();
}

/// The pull was cut off after the hub's change had been played: the edit before it is older than what the peer
/// holds, and comes with the next session.
#[test]
fn fault_4_an_edit_that_is_pulled_a_session_late_ends_with_one_value() {
    let mut circle = pair();
    circle.disconnect(0);
    circle.peers[0].update("r1", "offline");
    circle.desk.update("r1", "native");
    circle.connect(0);
    let session = circle.sessions[0].unwrap();
    circle.desk.hub.lose_patience(session);
    assert!(circle.up(0), "it asks to be told");
    while circle.down(0) {}
    circle.disconnect(0);
    assert_eq!(circle.peers[0].records["r1"]["name"], "native");
    circle.connect(0);
    circle.settle();
    circle.agree();
}

#[test]
fn fault_4_a_record_that_one_destroys_while_the_other_changes_it_is_destroyed() {
    for is_offline in [false, true] {
        let mut circle = pair();
        if is_offline {
            circle.disconnect(0);
        }
        circle.peers[0].destroy("r1");
        circle.peers[1].update("r1", "by 1");
        circle.up(0);
        while circle.up(1) {}
        if is_offline {
            circle.connect(0);
        }
        circle.settle();
        assert_eq!(circle.desk.record("r1"), None);
        circle.agree();
    }
}

/// Who destroys a record is not told of what happened to it before.
#[test]
fn fault_2_nobody_is_told_of_a_record_that_it_has_destroyed() {
    let mut desk = Desk::new();
    let (ann, bob) = (desk.connect_empty("ann"), desk.connect_empty("bob"));
    desk.push(ann, create("1", "r1", "a"));
    desk.told(bob);
    desk.hand_in(ann, json!({"type": "add_scribe", "id": 9, "scribe": update("2", "r1", "b")}));
    desk.hand_in(bob, json!({"type": "add_scribe", "id": 9, "scribe": destroy("1", "r1")}));
    desk.work();
    let answered = json!({"type": "response", "id": 9, "result": true});
    assert_eq!(desk.heard(bob), std::slice::from_ref(&answered));
    // Created anew by somebody else, it is told again.
    desk.create("r1", "c");
    assert_eq!(desk.told(bob).len(), 1);
}

/// It destroyed something offline that somebody else changed: that is pulled before it is told.
#[test]
fn fault_2_what_a_peer_did_offline_is_pulled_before_it_is_told() {
    let mut circle = pair();
    circle.disconnect(0);
    circle.peers[0].destroy("r1");
    circle.desk.update("r1", "native");
    circle.connect(0);
    assert!(circle.up(0), "it asks to be told");
    assert_eq!(
        circle.desk.heard(circle.sessions[0].unwrap()).len(),
        1,
        "the pull, and no answer yet"
    );
    let pull = json!({"type": "sync", "from": circle.peers[0].log[0]["id"], "id": 1});
    circle.peers[0].hear(&pull);
    circle.settle();
    assert_eq!(circle.desk.record("r1"), None);
    circle.agree();
}

#[test]
fn an_update_never_revives_what_was_destroyed_and_is_no_error() {
    let mut desk = Desk::new();
    let ann = desk.connect_empty("ann");
    desk.push(ann, create("1", "r1", "a"));
    desk.destroy("r1");
    desk.heard(ann);
    desk.push(ann, update("2", "r1", "b"));
    assert_eq!(desk.record("r1"), None);
    // Of what nobody has ever heard there is nothing to update.
    assert_eq!(desk.push_any(ann, update("3", "r9", "b")), json!({"type": "error", "code": 0}));
    desk.push(ann, destroy("4", "r9"));
}

/// It was created offline and changed before the hub had pulled it. An error would end the peer's event loop.
#[test]
fn fault_6_a_change_that_overtakes_the_pull_is_no_error() {
    let mut circle = Circle::of(Desk::with(confirmed()), 2);
    circle.connect(1);
    circle.peers[0].create("r1", "offline");
    circle.connect(0);
    circle.peers[0].update("r1", "at once");
    while circle.up(0) {}
    circle.settle();
    circle.agree();
    assert_eq!(circle.desk.name("r1").as_deref(), Some("at once"));
    circle.disconnect(0);
    circle.connect(0);
    circle.settle();
    assert_eq!(circle.desk.node.end().offset, 2, "nothing comes twice");
}

/// It was destroyed and created again before the hub had pulled the first part of that.
#[test]
fn what_is_pushed_is_not_undone_by_what_is_pulled_after_it() {
    let mut circle = Circle::of(Desk::with(confirmed()), 1);
    circle.peers[0].create("r1", "first");
    circle.peers[0].destroy("r1");
    circle.connect(0);
    circle.peers[0].records.clear();
    circle.peers[0].create("r1", "last");
    while circle.up(0) {}
    circle.settle();
    circle.agree();
}

/// The point of a peer that has destroyed a record is before that, until it is told of something later.
#[test]
fn fault_2_what_a_client_has_destroyed_is_not_destroyed_at_it_in_a_later_session() {
    for is_twice in [false, true] {
        let mut circle = pair();
        if is_twice {
            circle.disconnect(0);
            circle.peers[1].update("r1", "by 1");
            circle.peers[1].destroy("r1");
            circle.settle();
        }
        circle.peers[0].destroy("r1");
        if is_twice {
            circle.connect(0);
            circle.down(0);
            circle.peers[0].out.reverse();
        }
        circle.up(0);
        circle.disconnect(0);
        circle.connect(0);
        circle.settle();
        circle.agree();
    }
}

/// Whoever is told the whole story is told it as it was, and another device as it happens.
#[test]
fn what_a_client_has_destroyed_is_told_as_it_was_to_who_begins_anew() {
    let mut desk = Desk::new();
    let (phone, laptop) = (desk.connect_empty("ann"), desk.connect_empty("ann"));
    desk.push(phone, create("1", "r1", "a"));
    desk.push(phone, destroy("2", "r1"));
    let story = [crate::support::made("r1", "a"), crate::support::gone("r1")];
    assert_eq!(said(&desk.told(laptop)), story);
    let late = desk.connect_empty("ann");
    assert_eq!(said(&desk.sync(late, json!(null))), story);
}

/// Nothing older had been played over it, and yet it was played again, over what somebody else had written since.
#[test]
fn what_was_pushed_before_the_pull_is_answered_is_not_played_over_what_came_since() {
    let mut desk = Desk::new();
    let ann = desk.connect("ann");
    let mut log = [create("1", "r1", "a"), update("2", "r1", "b")];
    log.iter().for_each(|scribe| desk.push(ann, scribe.clone()));
    desk.update("r1", "c");
    desk.say(ann, json!({"type": "response", "id": 1, "result": log}));
    assert_eq!(desk.name("r1").as_deref(), Some("c"));
    // Where something older is played over it, it is.
    desk.hub.disconnect(ann);
    let ann = desk.connect("ann");
    desk.push(ann, update("4", "r1", "e"));
    log = [update("3", "r1", "d"), update("4", "r1", "e")];
    desk.say(ann, json!({"type": "response", "id": 1, "result": log}));
    assert_eq!(desk.name("r1").as_deref(), Some("e"));
}

/// It was told while its request to be told was on its way, and once more in the answer to that, which it gave up.
#[test]
fn fault_2_what_is_destroyed_before_an_answer_is_not_destroyed_in_the_answer() {
    let mut circle = pair();
    circle.disconnect(0);
    circle.desk.update("r1", "native");
    circle.desk.create("r2", "native");
    circle.connect(0);
    circle.desk.hub.lose_patience(circle.sessions[0].unwrap());
    circle.desk.destroy("r1");
    circle.desk.destroy("r2");
    circle.desk.create("r3", "native");
    // It lacks the second one, and says `error`.
    circle.peers[0].is_slow = true;
    circle.settle();
    circle.agree();
    circle.desk.create("r1", "again");
    circle.desk.update("r1", "and again");
    circle.settle();
    circle.agree();
    assert_eq!(circle.peers[0].told.last().map(String::as_str), Some("update"));
}

/// It had created it again since, and pushed that before it was pulled. The hub took it for destroyed there.
#[test]
fn what_is_created_again_before_a_vain_destroy_is_pulled_is_destroyed_there() {
    for is_cut in [false, true] {
        let mut circle = pair();
        circle.peers[0].destroy("r1");
        circle.disconnect(0);
        circle.connect(0);
        circle.peers[0].create("r1", "again");
        while circle.up(0) {}
        circle.desk.destroy("r1");
        if is_cut {
            circle.disconnect(0);
            circle.connect(0);
        }
        circle.settle();
        circle.agree();
        assert_eq!(circle.desk.record("r1"), None);
    }
}

/// The answer said nothing of it, and so ended before it. A later session went on from there, and met it again.
#[test]
fn fault_2_what_is_destroyed_before_an_answer_is_not_destroyed_in_a_later_session() {
    for is_answered in [false, true] {
        let mut circle = pair();
        circle.desk.create("r0", "native");
        circle.settle();
        circle.disconnect(0);
        circle.desk.create("r2", "native");
        circle.connect(0);
        circle.desk.hub.lose_patience(circle.sessions[0].unwrap());
        circle.peers[0].is_slow = true;
        circle.desk.destroy("r1");
        while circle.up(0) {}
        while circle.down(0) {}
        circle.settle();
        if is_answered {
            circle.agree();
        }
        circle.disconnect(0);
        circle.connect(0);
        circle.settle();
        circle.agree();
    }
}
