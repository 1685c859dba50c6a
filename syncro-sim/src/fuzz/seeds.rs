//! The seeds of the corpus: small inputs from which a fuzzer finds the rest.

use bytes::Bytes;
use syncro_core::{Input, Point, Role, SessionId, Transaction, View, to_json};
use syncro_store::MemoryDisk;

use super::node::{Node, proposal};
use super::{classic_session, session, store_file, store_value, views, wire};

/// Target, name and bytes of each seed.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target, name: String, bytes: Vec<u8>| seeds.push((target, name, bytes));

    let transactions = transactions();
    for (at, transaction) in transactions.iter().enumerate() {
        add("transaction", format!("of-node-{at}"), transaction.bytes().to_vec());
    }
    for (name, frame) in messages(&transactions) {
        let json = to_json(&frame).unwrap();
        add("message", name.to_owned(), frame.to_vec());
        add("message", format!("{name}-json"), json.clone());
        add("json", format!("{name}-msgpack"), frame.to_vec());
        add("json", name.to_owned(), json);
    }
    let tags = r#"{"$$a":1,"b":[{"$bytes":"AQI="},{"$int":"-9007199254740992"},{"$float":"nan"},
        1.5,-1e300,"\u00e9\ud83d\ude00",null,true]}"#;
    add("json", "tags".to_owned(), tags.as_bytes().to_vec());
    for (name, steps) in conversations(&transactions) {
        add("session", name.to_owned(), steps);
    }
    for (name, steps) in classic_session::conversations() {
        add("classic_session", name.to_owned(), steps);
    }
    for (name, steps) in shows() {
        add("views", name.to_owned(), steps);
    }
    for (name, changes) in damages() {
        add("store_value", name.to_owned(), changes);
    }
    for (name, changes) in files() {
        add("store_file", name.to_owned(), changes);
    }
    for (name, steps) in lives() {
        add("two_nodes", name.to_owned(), steps);
    }
    seeds
}

/// What the nodes of the targets say something on, and watch.
pub(crate) const TOPIC: &str = "room";

/// Files that are not what they were.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |bytes: &[u8]| [&[store_file::RAW], bytes].concat();
    let flip = |page: u16, place: u16| {
        let [[a, b], [c, d]] = [page, place].map(u16::to_be_bytes);
        move |file| vec![file, 0, a, b, c, d, 3]
    };
    // The database begins at page 256, behind the journal.
    vec![
        ("sound", vec![0]),
        ("empty", raw(&[])),
        ("text", raw(b"this is no database")),
        ("zeros", raw(&[0; 512])),
        ("title-flipped", flip(0, 9)(0)),
        ("header-flipped", flip(256, 9)(0)),
        ("first-page-flipped", flip(257, 100)(0)),
        ("later-page-flipped", flip(265, 2000)(0)),
        ("pages-swapped", vec![0, 1, 1, 3, 1, 8]),
        ("piece-written", vec![0, 2, 1, 5, 0, 40, 0, 4, 255, 255, 0, 1]),
        ("killed", vec![store_file::KILLED]),
        ("entry-flipped", flip(1, 30)(store_file::KILLED)),
        ("entries-swapped", vec![store_file::KILLED, 1, 0, 1, 0, 2]),
        ("length-written", vec![store_file::KILLED, 2, 0, 1, 0, 12, 0, 4, 255, 255, 255, 255]),
    ]
}

/// Transactions of every sort that another node wrote.
pub(crate) fn transactions() -> Vec<Transaction> {
    let entries = stranger().store.entries(0, usize::MAX).unwrap();
    entries.into_iter().map(|entry| entry.transaction).collect()
}

fn stranger() -> Node {
    let mut node = Node::open("stranger", 9, MemoryDisk::new());
    for what in 0..8 {
        let proposal = proposal(&node.store, what, 41);
        let _ = node.input(5, Input::Propose(proposal));
    }
    node
}

/// All that the other node wrote, as it sends it.
fn sent() -> Bytes {
    let (mut node, session) = (stranger(), SessionId(1));
    let open = Input::Open { session, role: Role::Accept, credentials: Default::default() };
    let _ = node.input(8, open);
    let frame = wire::hello(syncro_core::NodeId::named("other"));
    let _ = node.input(8, Input::Receive { session, frame });
    let frame = wire::sync(Point::START);
    node.input(8, Input::Receive { session, frame }).sends.remove(0).1
}

fn messages(transactions: &[Transaction]) -> Vec<(&'static str, Bytes)> {
    let first = transactions[0].bytes();
    let at = Point::START.then(transactions[0].len(), first);
    let both = at.then(transactions[1].len(), transactions[1].bytes());
    let items = [first.clone(), transactions[1].bytes().clone()];
    let other = syncro_core::NodeId::named("other");
    let node = syncro_core::NodeId::named("node");
    vec![
        ("bundle", wire::bundle(node, Point::START, both)),
        ("hello", wire::hello(other)),
        ("sync", wire::sync(at)),
        ("sync-at-first", wire::sync_at_first(at)),
        ("more", wire::more()),
        ("scribes", wire::scribes(Point::START, both, &items)),
        ("scribes-more", wire::scribes(at, both, &items[1..])),
        ("scribes-brief", sent()),
        ("scribes-none", wire::nothing()),
        ("echo", wire::scribes(at, at, &[wire::echo(0, 1)])),
        ("ack", wire::ack(Point { offset: 1, ..at })),
        ("call", wire::call(0)),
        ("reply", wire::reply(0)),
        ("reply-failure", wire::failure(0)),
        ("topics", wire::topics(Some(TOPIC))),
        ("topics-all", wire::topics(None)),
        ("signal", wire::signal(TOPIC, other, syncro_core::NodeId::named("relay"))),
        ("ping", wire::ping()),
        ("bye", wire::bye()),
    ]
}

fn conversations(transactions: &[Transaction]) -> Vec<(&'static str, Vec<u8>)> {
    let step = |step: u8, piece: &[u8]| {
        [&[step], (piece.len() as u16).to_be_bytes().as_slice(), piece].concat()
    };
    let item = |at: usize| step(session::ITEM, transactions[at].bytes());
    let send = || step(session::SEND, &[]);
    let sync = || step(session::SYNC, &[]);
    let wait = || step(session::WAIT, &[0, 200]);
    let write = |what: u8| step(session::WRITE, &[what, 9]);
    let all = (0..transactions.len()).flat_map(item).collect::<Vec<_>>();
    vec![
        ("all-at-once", [all, send(), sync()].concat()),
        ("one-by-one", [item(0), send(), sync(), write(3), item(1), send(), wait()].concat()),
        ("the-same-twice", [item(2), item(2), send(), item(2), send(), sync()].concat()),
        ("echoes", [step(session::ECHO, &[0, 3]), item(4), send(), sync(), wait()].concat()),
        ("odd-item", [step(session::ITEM, &[0xc0]), send(), item(0), send()].concat()),
        ("frames", {
            let frames = messages(transactions).into_iter();
            frames.flat_map(|(_, frame)| step(session::FRAME, &frame)).collect()
        }),
        (
            "silence",
            [step(session::WAIT, &[0x40, 0]), write(1), step(session::WAIT, &[0x80, 0])].concat(),
        ),
    ]
}

/// What sources show and views ask for.
fn shows() -> Vec<(&'static str, Vec<u8>)> {
    let step = |step: u8, piece: &[u8]| {
        [&[step], (piece.len() as u16).to_be_bytes().as_slice(), piece].concat()
    };
    let say = |quarters: &[[u8; 4]]| step(views::SAY, quarters.as_flattened());
    let sync = || step(views::SYNC, &[]);
    let write = || step(views::WRITE, &[1, 9]);
    let (fill, filled) = ([3, 2, 0, 1], [5, 2, 0, 0]);
    vec![
        (
            "filled",
            [say(&[fill, [0, 2, 1, 8], [4, 2, 1, 0], filled, [2, 2, 0, 1]]), sync()].concat(),
        ),
        ("evicted", [say(&[[0, 1, 1, 8]]), sync(), say(&[[1, 0, 1, 0]]), sync()].concat()),
        ("wrong-sum", [say(&[[0, 1, 1, 8], [7, 1, 0, 2]]), say(&[[0, 1, 1, 6]])].concat()),
        ("in-pieces", [say(&[[0, 1, 1, 9], [0, 1, 1, 8]]), sync()].concat()),
        ("reached-out-of-turn", [say(&[[4, 1, 1, 0]]), say(&[filled])].concat()),
        ("withheld", [say(&[[0, 1, 1, 8], [6, 1, 0, 0]]), write(), sync()].concat()),
        ("covered", [write(), sync(), step(views::SAY, &[9]), step(views::SAY, &[200])].concat()),
        (
            "channels",
            [
                step(views::CHANNELS, &[2, 0]),
                say(&[[1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 0, 0]]),
                step(views::ACK, &[]),
                write(),
                sync(),
                step(views::CHANNELS, &[1, 1]),
            ]
            .concat(),
        ),
        (
            "rights",
            [
                say(&[[1, 0, 0, 0], [2, 1, 3, 0], [3, 2, 1, 130]]),
                step(views::RIGHTS, &[2]),
                write(),
                sync(),
                step(views::RIGHTS, &[7]),
                step(views::WAIT, &[0, 200]),
                step(views::RIGHTS, &[200]),
            ]
            .concat(),
        ),
        ("asked-twice", [say(&[[1, 1, 0, 0]]), say(&[[1, 1, 0, 0]])].concat()),
        ("asks-for-ever", [step(views::SAY, &[1, 1, 0, 0, 1, 1, 1]), write(), sync()].concat()),
    ]
}

/// Changes of a sound store, and rows of one alone.
fn damages() -> Vec<(&'static str, Vec<u8>)> {
    let piece = |bytes: &[u8]| [(bytes.len() as u16).to_be_bytes().as_slice(), bytes].concat();
    let rows = store_value::rows();
    let all = rows.len() as u8;
    let copies = rows.iter().filter(|(_, _, sealed)| sealed.len() < 200).take(24);
    let copies = copies.flat_map(|(table, key, sealed)| {
        [[store_value::PUT, *table as u8].to_vec(), piece(key), piece(&sealed[4..])].concat()
    });
    vec![
        ("sound", vec![0]),
        ("rows-alone", [1].into_iter().chain(copies).collect()),
        (
            "unsealed",
            [vec![0, store_value::PUT_UNSEALED, 0], piece(b"own"), piece(&[1; 60])].concat(),
        ),
        ("patched", {
            let patches = (0..all).map(|row| {
                [vec![store_value::PATCH, row, 0, row], piece(&[row.wrapping_mul(37)])].concat()
            });
            [0].into_iter().chain(patches.take(12).flatten()).collect()
        }),
        ("emptied", [vec![0, store_value::REPLACE, all - 1], piece(&[])].concat()),
        ("played-from-the-log", vec![0, store_value::DELETE, 1]),
        ("a-record-less", vec![0, store_value::DELETE, all - 2]),
    ]
}

fn lives() -> Vec<(&'static str, Vec<u8>)> {
    const RIGHT: u8 = 0x80;
    vec![
        ("nothing", vec![]),
        ("a-write-each", vec![0, 1, RIGHT, 2]),
        ("live", vec![4, 0, 5, 7, RIGHT | 5, 7, 0, 1, RIGHT, 0x61, 5, 7, RIGHT | 5, 7, 7, 0]),
        ("crash", vec![0, 1, 7, 0, 4, 1, RIGHT | 5, 7, 5, 7, 0, 2, RIGHT | 5, 7, 8, 0, 0, 3]),
        ("restore", vec![0, 1, 7, 0, 9, 0, 4, 0, RIGHT | 5, 7, 5, 7, 0, 2, 5, 7, 9, 1, 0, 0xe5]),
        (
            "silence",
            vec![4, 0, 10, 255, 0, 9, 4, 1, 5, 7, RIGHT | 5, 7, 10, 200, 6, 0, RIGHT, 0xe1],
        ),
    ]
}
