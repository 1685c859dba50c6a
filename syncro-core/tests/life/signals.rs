//! Signals: the last word of each node, wherever it is wanted, for as long as the node is there.

use serde_json::json;
use syncro_core::limits::{
    HEARTBEAT_MS, RELAYS_MAX, SIGNAL_BYTES_MAX, SIGNALS_OF_PEER_MAX, SIGNALS_OWN_MAX,
    SIGNALS_PER_SESSION_MAX, TOPICS_MAX, WORDS_BUFFER_BYTES,
};
use syncro_core::{
    Access, CloseReason, Error, Input, NodeId, Pattern, Principal, Role, UsageError, Value,
};
use syncro_sim::world::{Stranger, wire};

use super::hall::{Guests, Hall, name};

const TOPIC: &str = "room/7";

fn text(text: &str) -> Option<Value> {
    Some(Value::from(text))
}

/// What a node says, as a message.
fn signal(node: NodeId, topic: &str, time: u64, value: serde_json::Value) -> serde_json::Value {
    json!({
        "type": "signal", "topic": topic, "node": wire::bytes(node.as_bytes()), "time": time,
        "epoch": 1, "value": value, "via": [],
    })
}

#[test]
fn what_a_node_says_is_heard_where_it_is_watched_and_nowhere_else() {
    let mut hall = Hall::with(&["server", "ann", "bob", "cat"]);
    let [server, ann, bob, cat] = [0, 1, 2, 3];
    for client in [ann, bob, cat] {
        hall.meet(client, server);
    }
    hall.watch(bob, &[TOPIC]);
    hall.watch(cat, &["room/8"]);
    hall.drive();
    hall.say(ann, TOPIC, "here");
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("here"))]);
    hall.say(ann, TOPIC, "typing");
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("typing"))]);
    assert_eq!(hall.known(bob, TOPIC), [(ann, Value::from("typing"))]);
    for elsewhere in [server, ann, cat] {
        assert_eq!(hall.told(elsewhere), [], "{elsewhere}");
    }
    assert_eq!(hall.known(cat, TOPIC), [], "nothing of it came");
    let ends = hall.nodes.iter().map(|node| node.engine.end().offset);
    assert_eq!(ends.collect::<Vec<_>>(), [0; 4], "and nothing of it is in a log");
}

#[test]
fn whoever_comes_later_hears_what_was_said_last_whichever_side_dials() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut hall = Hall::with(&["a", "b"]);
        hall.watch(to, &[TOPIC]);
        hall.say(from, TOPIC, "before");
        hall.say(from, TOPIC, "here");
        hall.meet(0, 1);
        assert_eq!(hall.told(to), [(from, text("here"))]);
        hall.watch(to, &[]);
        hall.drive();
        hall.say(from, TOPIC, "unheard");
        hall.drive();
        assert_eq!(hall.told(to), []);
        hall.watch(to, &[TOPIC]);
        hall.drive();
        assert_eq!(hall.known(to, TOPIC), [(from, Value::from("unheard"))]);
    }
}

#[test]
fn a_node_that_leaves_is_gone_however_it_leaves() {
    let lose: fn(&mut Hall, usize, usize) = |hall, link, server| {
        // Its machine stops: nobody says so.
        hall.lose(link, server);
        for _ in 0..3 {
            hall.advance(HEARTBEAT_MS);
            hall.drive();
        }
    };
    let ends: [fn(&mut Hall, usize, usize); 4] = [
        |hall, link, _| hall.cut(link),
        |hall, link, server| hall.close(link, server),
        |hall, link, _| hall.close(link, 1),
        lose,
    ];
    for end in ends {
        let mut hall = Hall::with(&["server", "ann", "bob"]);
        let [server, ann, bob] = [0, 1, 2];
        let anns = hall.meet(ann, server);
        hall.meet(bob, server);
        hall.watch(bob, &[TOPIC]);
        hall.say(ann, TOPIC, "here");
        hall.drive();
        assert_eq!(hall.told(bob), [(ann, text("here"))]);
        end(&mut hall, anns, server);
        hall.drive();
        assert_eq!(hall.told(bob), [(ann, None)]);
        assert_eq!(hall.nodes[server].engine.usage().signals, 0);
        // What it says it says again when it is back.
        hall.meet(ann, server);
        assert_eq!(hall.told(bob), [(ann, text("here"))]);
    }
}

#[test]
fn what_is_taken_back_is_gone_and_a_second_session_holds_what_the_first_let_go() {
    let mut hall = Hall::with(&["server", "ann", "bob"]);
    let [server, ann, bob] = [0, 1, 2];
    let first = hall.meet(ann, server);
    hall.meet(bob, server);
    hall.watch(bob, &[TOPIC]);
    hall.say(ann, TOPIC, "here");
    hall.meet(ann, server);
    hall.cut(first);
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("here"))], "she is still here");
    hall.say(ann, TOPIC, Value::Nil);
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, None)]);
    hall.say(ann, TOPIC, Value::Nil);
    hall.drive();
    assert_eq!(hall.told(bob), []);
}

/// Two servers tell each other what their clients say. In a ring each has it from both sides, and when the author has
/// gone nobody may go on by the word of the others.
#[test]
fn in_a_ring_of_servers_a_word_comes_to_rest_and_goes_with_its_author() {
    let mut hall = Hall::with(&["x", "y", "z", "ann", "bob"]);
    let [x, y, z, ann, bob] = [0, 1, 2, 3, 4];
    let mut links = vec![hall.meet(x, y), hall.meet(y, z), hall.meet(z, x)];
    let anns = hall.meet(ann, x);
    hall.meet(bob, z);
    hall.watch(bob, &[TOPIC]);
    hall.say(ann, TOPIC, "here");
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("here"))]);
    // One way is cut, and the other holds.
    hall.cut(links.remove(2));
    hall.say(ann, TOPIC, "typing");
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("typing"))]);
    links.push(hall.meet(x, z));
    assert_eq!(hall.told(bob), []);
    hall.cut(anns);
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, None)]);
    for server in [x, y, z] {
        assert_eq!(hall.nodes[server].engine.usage().signals, 0, "{server}");
    }
}

#[test]
fn a_word_does_not_go_where_it_came_by() {
    let mut hall = Hall::with(&["x", "y", "z", "ann"]);
    let [x, y, z, ann] = [0, 1, 2, 3];
    let _ring = [hall.meet(x, y), hall.meet(y, z), hall.meet(z, x)];
    let anns = [hall.meet(ann, x), hall.meet(ann, x)];
    hall.say(ann, TOPIC, "here");
    hall.drive();
    assert_eq!([x, y, z, ann].map(|node| hall.signals(node)), [2, 2, 2, 0], "each once from each");
    // Were it sent all the same, it would count for nothing.
    let mut word = signal(hall.id(ann), "other", 1, json!("back"));
    word["via"] = json!([wire::bytes(hall.id(y).as_bytes()), wire::bytes(hall.id(x).as_bytes())]);
    hall.hears(anns[0], x, &word);
    assert_eq!(hall.known(x, "other"), []);
}

/// It may be on its way while it is wanted again.
#[test]
fn what_is_not_wanted_any_more_is_taken_back() {
    let mut hall = Hall::with(&["a", "b"]);
    // The one that dials wants what it names.
    let link = hall.meet(1, 0);
    hall.watch(1, &[TOPIC]);
    hall.drive();
    hall.say(0, TOPIC, "here");
    hall.watch(1, &[]);
    hall.watch(1, &[TOPIC]);
    hall.say(0, TOPIC, Value::Nil);
    hall.drive();
    assert_eq!(hall.nodes[1].engine.usage().signals, 0);
    hall.say(0, TOPIC, "again");
    hall.watch(1, &[]);
    hall.drive();
    assert_eq!(hall.nodes[1].engine.usage().signals, 0, "{:?}", hall.under_way(link, 1));
}

/// She is connected to two servers; that one of them loses her says nothing of the other.
#[test]
fn whoever_is_there_twice_is_gone_when_both_ways_are() {
    let mut hall = Hall::with(&["x", "y", "ann", "bob"]);
    let [x, y, ann, bob] = [0, 1, 2, 3];
    hall.meet(x, y);
    let anns = [hall.meet(ann, x), hall.meet(ann, y)];
    hall.meet(bob, x);
    hall.watch(bob, &[TOPIC]);
    hall.say(ann, TOPIC, "here");
    hall.drive();
    hall.told(bob);
    hall.cut(anns[0]);
    hall.drive();
    assert_eq!(hall.told(bob), []);
    hall.say(ann, TOPIC, "typing");
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, text("typing"))]);
    hall.cut(anns[1]);
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, None)]);
}

#[test]
fn an_old_word_that_comes_late_does_not_take_the_place_of_a_newer_one() {
    let mut hall = Hall::with(&["a", "b"]);
    let links = [hall.meet(0, 1), hall.meet(0, 1)];
    hall.watch(1, &[TOPIC]);
    hall.drive();
    // What goes over the second link is slow.
    hall.say(0, TOPIC, "old");
    while hall.deliver(links[0], 1) {}
    hall.say(0, TOPIC, "new");
    while hall.deliver(links[0], 1) {}
    while hall.deliver(links[1], 1) {}
    hall.drive();
    assert_eq!(hall.told(1), [(0, text("old")), (0, text("new"))]);
}

/// They are told apart by the clock of their author, which may stand still.
#[test]
fn words_of_a_node_are_in_order_whatever_its_clock_does() {
    let mut hall = Hall::with(&["a", "b"]);
    hall.meet(0, 1);
    hall.watch(1, &[TOPIC]);
    hall.drive();
    for word in ["one", "two", "three"] {
        // No time passes between them.
        hall.say(0, TOPIC, word);
        hall.drive();
        assert_eq!(hall.told(1), [(0, text(word))]);
    }
}

#[test]
fn a_flood_for_a_peer_that_does_not_read_comes_to_its_last_words() {
    let mut hall = Hall::with(&["server", "ann", "bob"]);
    let [server, ann, bob] = [0, 1, 2];
    hall.meet(ann, server);
    let bobs = hall.meet(bob, server);
    hall.watch(bob, &[TOPIC, "room/8"]);
    hall.drive();
    hall.fill(bobs, server);
    let long = "x".repeat(SIGNAL_BYTES_MAX - 100);
    for n in 0..10_000 {
        hall.say(ann, TOPIC, format!("{n}{long}").as_str());
        hall.say(ann, "room/8", n);
        while hall.deliver(0, server) {}
    }
    let under_way = hall.bytes_under_way(bobs, bob);
    assert!(under_way < WORDS_BUFFER_BYTES, "{under_way} bytes");
    assert_eq!(hall.nodes[server].engine.usage().signals_due, 2, "one word on each topic");
    hall.make_room(bobs, server);
    hall.drive();
    let told = hall.told(bob);
    assert!(told.len() < 200, "{}", told.len());
    assert_eq!(hall.known(bob, "room/8"), [(ann, Value::from(9_999))]);
}

/// Calls fill what there is, and a word is heard all the same; and the other way round.
#[test]
fn calls_and_signals_do_not_wait_for_each_other() {
    let mut hall = Hall::with(&["a", "b"]);
    let link = hall.meet(0, 1);
    hall.watch(1, &[TOPIC]);
    hall.drive();
    hall.fill(link, 0);
    let long = Value::Bytes(vec![0; 50_000]);
    (0..60).for_each(|n| hall.call(link, 0, n, &long, 1_000_000));
    for round in 0..5 {
        hall.say(0, TOPIC, round);
        hall.make_room_once(link, 0);
        let said = hall.under_way(link, 1);
        let of = |kind: &str| said.iter().filter(|it| it["type"] == kind).count();
        assert_eq!(of("signal"), round as usize + 1);
        assert!(of("call") > round as usize);
    }
}

#[test]
fn a_limited_peer_speaks_for_itself_on_its_topics_and_hears_no_others() {
    let lists = |name: &str, pattern: &str| {
        let pattern = || [Pattern::new(pattern).unwrap()];
        Principal::new(name).may_read(pattern()).may_write(pattern())
    };
    let relay = lists("relay", "*").may_read(Access::All).relaying();
    let guests = [("ann", lists("ann", "list/*")), ("bob", lists("bob", "*")), ("relay", relay)];
    let mut hall = Hall::default();
    let server = hall.add("server", Some(Guests(guests.into())));
    let [ann, bob, relay] = ["ann", "bob", "relay"].map(|name| {
        let node = if name == "relay" { hall.add(name, None) } else { hall.add_view(name) };
        hall.connect(node, server, name);
        node
    });
    hall.drive();
    for node in [ann, bob] {
        hall.watch(node, &["list/1", TOPIC]);
    }
    hall.drive();
    for topic in ["list/1", TOPIC] {
        hall.say(ann, topic, "of ann");
        hall.say(bob, topic, "of bob");
    }
    hall.drive();
    assert_eq!(hall.told(ann), [(bob, text("of bob"))], "of the list");
    assert_eq!(hall.told(bob), [(ann, text("of ann"))], "of the list");
    assert_eq!(hall.known(ann, TOPIC), [], "not of the room");

    // Nobody but a relay speaks for others.
    let third = hall.add("third", None);
    let word = |hall: &Hall| signal(hall.id(third), "list/1", 1, json!("of third"));
    let message = word(&hall);
    hall.hears(0, server, &message);
    hall.hears(1, server, &message);
    hall.drive();
    assert_eq!((hall.told(ann), hall.told(bob)), (vec![], vec![]));
    hall.hears(2, server, &message);
    hall.drive();
    assert_eq!(hall.told(ann), [(third, text("of third"))]);
    assert_eq!(hall.closed(server), []);

    // Rights that change take along what they allowed, both ways.
    let principal = Some(lists("ann", "else/*").into());
    let session = hall.session(0, server);
    hall.told(bob);
    hall.input(server, Input::Rights { session, principal });
    hall.drive();
    assert_eq!(hall.told(bob), [(ann, None)]);
    let mut gone = hall.told(ann);
    gone.sort_by_key(|(from, _)| *from);
    assert_eq!(gone, [(bob, None), (third, None)]);
    let _ = relay;
}

#[test]
fn nobody_is_heard_in_the_name_of_the_node_that_hears() {
    let mut hall = Hall::with(&["a", "b", "c"]);
    let link = hall.meet(0, 1);
    hall.meet(2, 1);
    hall.watch(2, &[TOPIC]);
    hall.say(1, TOPIC, "mine");
    hall.drive();
    hall.told(2);
    for value in [json!("not mine"), json!(null)] {
        let word = signal(hall.id(1), TOPIC, u64::MAX >> 1, value);
        hall.hears(link, 1, &word);
    }
    hall.drive();
    assert_eq!((hall.told(2), hall.told(1)), (vec![], vec![]));
    assert_eq!(hall.known(2, TOPIC), [(1, Value::from("mine"))]);
}

#[test]
fn a_way_over_too_many_relays_ends() {
    let names: Vec<String> = (0..RELAYS_MAX + 3).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut hall = Hall::with(&names);
    for node in 0..names.len() - 1 {
        hall.meet(node, node + 1);
    }
    hall.say(0, TOPIC, "here");
    hall.drive();
    let heard = (1..names.len()).filter(|node| !hall.known(*node, TOPIC).is_empty());
    assert_eq!(heard.count(), RELAYS_MAX + 1);
    assert!((0..names.len()).all(|node| hall.closed(node).is_empty()));
}

/// Links come and go between any, in any order of what is under way. At rest everybody knows the last word of everybody
/// whom some way leads to, and of nobody else.
#[test]
fn at_rest_everybody_knows_whom_it_reaches_and_nobody_else() {
    const NODES: usize = 6;
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut hall = Hall::with(&["a", "b", "c", "d", "e", "f"]);
        (0..NODES).for_each(|node| hall.watch(node, &[TOPIC]));
        let mut links: Vec<(usize, [usize; 2])> = Vec::new();
        let mut words: [Option<i64>; NODES] = [None; NODES];
        for step in 0..120 {
            let [a, b] = [random.usize(..NODES), random.usize(..NODES)];
            match random.u8(..8) {
                0 if a != b && links.len() < 9 => links.push((hall.connect(a, b, ""), [a, b])),
                1 if !links.is_empty() => {
                    let (link, ends) = links.swap_remove(random.usize(..links.len()));
                    if random.bool() { hall.cut(link) } else { hall.close(link, ends[0]) }
                }
                2 => {
                    words[a] = random.bool().then_some(step);
                    hall.say(a, TOPIC, words[a].map_or(Value::Nil, Value::from));
                }
                _ => {
                    if let Some((link, ends)) = random.choice(&links) {
                        let node = ends[random.usize(..2)];
                        (0..random.usize(..4)).for_each(|_| _ = hall.deliver(*link, node));
                    }
                }
            }
        }
        hall.drive();
        let mut town: Vec<usize> = (0..NODES).collect();
        for _ in 0..NODES {
            for (_, [a, b]) in &links {
                let least = town[*a].min(town[*b]);
                (town[*a], town[*b]) = (least, least);
            }
        }
        for node in 0..NODES {
            let others = (0..NODES).filter(|other| *other != node && town[*other] == town[node]);
            let known = others.filter_map(|other| Some((other, Value::from(words[other]?))));
            let known: Vec<_> = known.collect();
            assert_eq!(hall.known(node, TOPIC), known, "node {node} of seed {seed}: {links:?}");
            // What it was told comes to the same.
            let mut told: std::collections::BTreeMap<_, _> = hall.told(node).into_iter().collect();
            told.retain(|_, value| value.is_some());
            let told: Vec<_> = told.into_iter().map(|(from, it)| (from, it.unwrap())).collect();
            assert_eq!(told, known, "node {node} of seed {seed}");
        }
    }
}

#[test]
fn more_than_a_peer_may_say_is_passed_over() {
    let mut hall = Hall::default();
    let any = Principal::new("ann").may_write([Pattern::new("*").unwrap()]);
    let any = any.may_read(Access::All);
    let server = hall.add("server", Some(Guests([("ann", any)].into())));
    let open = hall.add("open", None);
    let ann = hall.add("ann", None);
    let limited = hall.connect(ann, server, "ann");
    let free = hall.connect(ann, open, "");
    hall.drive();
    for (link, node, most) in
        [(limited, server, SIGNALS_OF_PEER_MAX), (free, open, SIGNALS_PER_SESSION_MAX)]
    {
        for n in 0..most + 10 {
            let word = signal(hall.id(ann), &format!("t{n}"), 1, json!(1));
            hall.hears(link, node, &word);
        }
        assert_eq!(hall.nodes[node].engine.usage().signals, most);
        // What is known goes on, and what goes makes room.
        let word = signal(hall.id(ann), "t0", 2, json!(null));
        hall.hears(link, node, &word);
        let word = signal(hall.id(ann), "new", 2, json!(1));
        hall.hears(link, node, &word);
        assert_eq!(hall.known(node, "new"), [(ann, Value::from(1))]);
        assert_eq!(hall.closed(node), []);
    }
}

#[test]
fn a_host_that_says_or_watches_too_much_is_told_so() {
    let mut world = syncro_sim::World::new(1).unwrap();
    world.is_hostile = true;
    let mut refused = |input| match world.try_input(0, input).unwrap() {
        Err(Error::Usage(error)) => Some(error),
        other => other.map(|_| None).unwrap(),
    };
    let say = |topic: usize, bytes: usize| Input::Signal {
        topic: name(&format!("t{topic}")),
        value: Value::Bytes(vec![0; bytes - 3]).encode(),
    };
    assert_eq!(refused(say(0, SIGNAL_BYTES_MAX)), None);
    let bytes = SIGNAL_BYTES_MAX + 1;
    assert_eq!(refused(say(0, bytes)), Some(UsageError::SignalTooLong { bytes }));
    (1..SIGNALS_OWN_MAX).for_each(|topic| assert_eq!(refused(say(topic, 10)), None));
    assert_eq!(refused(say(SIGNALS_OWN_MAX, 10)), Some(UsageError::TooManyTopics));
    assert_eq!(refused(say(0, 10)), None, "what is said may be said anew");
    let topic = name("t0");
    assert_eq!(refused(Input::Signal { topic, value: Value::Nil.encode() }), None);
    assert_eq!(refused(say(SIGNALS_OWN_MAX, 10)), None, "there is room again");
    let watch = |count: usize| Input::Topics {
        topics: (0..count).map(|topic| name(&format!("t{topic}"))).collect(),
    };
    assert_eq!(refused(watch(TOPICS_MAX)), None);
    assert_eq!(refused(watch(TOPICS_MAX + 1)), Some(UsageError::TooManyTopics));
}

/// It would close the session over a message that it does not know.
#[test]
fn a_peer_of_a_version_without_signals_hears_none() {
    let mut stranger = Stranger::greeted();
    let topic = name(TOPIC);
    let say = Input::Signal { topic: topic.clone(), value: Value::from(1).encode() };
    stranger.world.input(0, say).unwrap();
    stranger.world.input(0, Input::Topics { topics: [topic].into() }).unwrap();
    assert_eq!(stranger.hears(), Vec::<serde_json::Value>::new());
    stranger.says(&signal(NodeId::named("stranger"), TOPIC, 1, json!(1)));
    stranger.says(&json!({ "type": "topics", "topics": true }));
    assert_eq!((stranger.hears().len(), stranger.closed()), (0, None), "nor is it heard");
}

#[test]
fn nothing_is_said_before_the_hello() {
    for message in [
        signal(NodeId::named("stranger"), TOPIC, 1, json!(1)),
        json!({ "type": "topics", "topics": true }),
    ] {
        let mut stranger = Stranger::new();
        stranger.says(&message);
        stranger.assert_closed(CloseReason::Unexpected);
    }
    let mut hall = Hall::with(&["a"]);
    let session = syncro_core::SessionId(1);
    let (role, credentials) = (Role::Accept, Default::default());
    hall.input(0, Input::Open { session, role, credentials });
    hall.say(0, TOPIC, 1);
    assert_eq!(hall.nodes[0].engine.usage().signals, 1);
}
