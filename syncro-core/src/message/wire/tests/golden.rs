//! The bytes of every message. They may not change within a protocol version: peers of any age speak it.

use uuid::Uuid;

use super::super::*;
use crate::arbitrary::{golden, hex, name};
use crate::call::CallFailure;
use crate::channel::{Channel, Sum};
use crate::id::{RecordId, RecordKey};
use crate::message::{Call, Items, States, Told, Topics, Wanted, Word};
use crate::record::{Path, Record, Register};
use crate::scribe::{Mark, Scribe};
use crate::stamp::{Author, Stamp};
use crate::value::Value;

/// One message in its three forms.
pub(super) struct Golden {
    pub(super) what: &'static str,
    pub(super) message: Message,
    pub(super) msgpack: Bytes,
    pub(super) json: String,
}

const ZEROS: &str = "c410 00000000000000000000000000000000";
const ONES: &str = "c410 ffffffffffffffffffffffffffffffff";
const NODE: &str = "c410 000102030405060708090a0b0c0d0e0f";
const ZEROS_JSON: &str = r#"{"$bytes":"AAAAAAAAAAAAAAAAAAAAAA=="}"#;
const ONES_JSON: &str = r#"{"$bytes":"/////////////////////w=="}"#;
const NODE_JSON: &str = r#"{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="}"#;

/// Puts the table together; in its texts, `ZEROS`, `ONES` and `NODE` stand for sixteen bytes.
pub(super) fn goldens() -> Vec<Golden> {
    let table = [
        (
            "a hello",
            Message::Hello(hello(Some(name("laptop")))),
            "8c a4'type'         a5'hello'
                a7'version'      01
                a4'node'         NODE
                a5'epoch'        07
                a5'clock'        cf 018bcfe568000000
                a5'nonce'        09
                a4'name'         a6'laptop'
                a5'frame'        ce 01000000
                a6'window'       ce 00100000
                a9'encodings'    91 a4'json'
                a12'capabilities' 92 a1'a' a1'b'
                a11'credentials' c4 03 010203",
            r#"{"type":"hello","version":1,"node":NODE,"epoch":7,
                "clock":{"$int":"111411200000000000"},"nonce":9,"name":"laptop","frame":16777216,
                "window":1048576,"encodings":["json"],
                "capabilities":["a","b"],"credentials":{"$bytes":"AQID"}}"#,
        ),
        (
            "a hello that says no more than it has to",
            Message::Hello(Hello {
                epoch: Epoch(u64::MAX),
                frame: 8 << 20,
                window: 4 << 20,
                encodings: vec![Encoding::MessagePack, Encoding::Json],
                capabilities: Vec::new(),
                credentials: Bytes::new(),
                ..hello(None)
            }),
            "86 a4'type'         a5'hello'
                a7'version'      01
                a4'node'         NODE
                a5'epoch'        cf ffffffffffffffff
                a5'clock'        cf 018bcfe568000000
                a5'nonce'        09",
            r#"{"type":"hello","version":1,"node":NODE,"epoch":{"$int":"18446744073709551615"},
                "clock":{"$int":"111411200000000000"},"nonce":9}"#,
        ),
        (
            "the head of a bundle",
            Message::Bundle(Bundle {
                peer: hello(None).node,
                start: point(300, 0xff),
                end: point(70_000, 0),
            }),
            "84 a4'type' a6'bundle' a4'peer' NODE a5'start' 92 cd 012c ONES
                a3'end' 92 ce 00011170 ZEROS",
            r#"{"type":"bundle","peer":NODE,"start":[300,ONES],"end":[70000,ZEROS]}"#,
        ),
        (
            "a sync of a node that was never here",
            Message::Sync { ladder: Vec::new(), has_more: false },
            "82 a4'type' a4'sync' a6'ladder' 90",
            r#"{"type":"sync","ladder":[]}"#,
        ),
        (
            "a sync",
            Message::Sync { ladder: vec![point(300, 0xff), point(0, 0)], has_more: false },
            "82 a4'type' a4'sync' a6'ladder' 92 92 cd 012c ONES 92 00 ZEROS",
            r#"{"type":"sync","ladder":[[300,ONES],[0,ZEROS]]}"#,
        ),
        (
            "a sync with more to offer",
            Message::Sync { ladder: vec![point(300, 0xff)], has_more: true },
            "83 a4'type' a4'sync' a6'ladder' 91 92 cd 012c ONES a4'more' c3",
            r#"{"type":"sync","ladder":[[300,ONES]],"more":true}"#,
        ),
        ("a more", Message::More, "81 a4'type' a4'more'", r#"{"type":"more"}"#),
        (
            "scribes that say there is nothing new",
            Message::Scribes(Scribes { from: None, to: None, end: None, items: Vec::new() }),
            "81 a4'type' a7'scribes'",
            r#"{"type":"scribes"}"#,
        ),
        (
            "scribes that begin elsewhere, and are to come",
            Message::Scribes(Scribes {
                from: Some(point(300, 0xff)),
                to: None,
                end: Some(70_000),
                items: Vec::new(),
            }),
            "83 a4'type' a7'scribes' a4'from' 92 cd 012c ONES a3'end' ce 00011170",
            r#"{"type":"scribes","from":[300,ONES],"end":70000}"#,
        ),
        (
            "scribes",
            Message::Scribes(Scribes {
                from: Some(Point::START),
                to: Some(point(7, 0xff)),
                end: Some(70_000),
                items: vec![
                    Item::from(updates()),
                    Item::Echo { offset: 1000, scribes: 2 },
                    Item::from(lives()),
                    Item::from(later()),
                ],
            }),
            "85 a4'type' a7'scribes'
                a4'from' 92 00 ZEROS
                a2'to'   92 07 ONES
                a3'end'  ce 00011170
                a12'transactions' 94
                    94 cf 018bcfe568000000 NODE 07 91
                        94 a4'todo' a2't1' 00 9c
                            92 a1'n' 01               fd
                            94 a1'n' 01 ONES 09       04
                            93 a4'tags' 00 a1'k'      c0
                            93 a4'team' 00 91 a3'ann' c3
                            93 a4'team' 00 91 a3'bob' c0
                            a5'title'                 a4'milk'
                    92 cd 03e8 02
                    92 01 93
                        94 a4'todo' 05 01 92 a5'title' a0
                        94 00 NODE 02 90
                        94 00 d1 fc18 03 90
                    95 cd 012c
                        00 91 NODE 00 94
                            93 a4'tags' 00 a1'k'      a1'v'
                            01                        a5'bread'",
            r#"{"type":"scribes","from":[0,ZEROS],"to":[7,ONES],"end":70000,"transactions":[
                [{"$int":"111411200000000000"},NODE,7,[["todo","t1",0,[
                    ["n",1],-3,["n",1,ONES,9],4,["tags",0,"k"],null,
                    ["team",0,["ann"]],true,["team",0,["bob"]],null,"title","milk"]]]],
                [1000,2],
                [1,[["todo",5,1,["title",""]],[0,NODE,2,[]],[0,-1000,3,[]]]],
                [300,0,[NODE],0,[["tags",0,"k"],"v",1,"bread"]]]}"#,
        ),
        (
            "an ack",
            Message::Ack { point: point(128, 0xff), credit: 4_194_304 },
            "83 a4'type' a3'ack' a5'point' 92 cc 80 ONES a6'credit' ce 00400000",
            r#"{"type":"ack","point":[128,ONES],"credit":4194304}"#,
        ),
        (
            "a subscribe",
            Message::Subscribe {
                channels: vec![wanted(1, None), wanted(2, Some(key(5)))],
                has_more: false,
            },
            "83 a4'type' a9'subscribe' a8'channels' 92
                94 01 a6'list/7' 92 07 ONES ZEROS
                96 02 a6'list/7' 92 07 ONES ZEROS a4'todo' 05
                a4'more' c2",
            r#"{"type":"subscribe","channels":[
                [1,"list/7",[7,ONES],ZEROS],[2,"list/7",[7,ONES],ZEROS,"todo",5]],"more":false}"#,
        ),
        (
            "an unsubscribe",
            Message::Unsubscribe { numbers: vec![3, 128] },
            "82 a4'type' a11'unsubscribe' a8'channels' 92 03 cc80",
            r#"{"type":"unsubscribe","channels":[3,128]}"#,
        ),
        (
            "states",
            Message::States(States { items: Items::new(&told()), covers: Some(300), is_end: true }),
            "84 a4'type' a6'states' a5'items' 97
                93 03 01 92 07 ONES
                96 00 a4'todo' 05 92 01 02 c3
                    94 94 NODE 07 ONES 09
                        92 cf 018bcfe568000000 00
                        c0
                        dc 0018
                        a1'n'     01 00       cf 018bcfe568000000 00 fd
                        a4'tags'  00 a1'k'    cf 018bcfe568000000 01 c0
                        a4'team'  00 91 a3'ann' cf 018bcfe568000000 00 c3
                        a5'title' 00 c0       cf 018bcfe568000001 00 a4'milk'
                94 04 01 a4'todo' 05
                92 05 01
                94 02 01 92 07 ONES ZEROS
                93 01 a4'todo' 05
                92 06 02
                a6'covers' cd 012c a3'end' c3",
            r#"{"type":"states","items":[[3,1,[7,ONES]],
                [0,"todo",5,[1,2],true,[[NODE,7,ONES,9],[{"$int":"111411200000000000"},0],null,[
                    "n",1,0,{"$int":"111411200000000000"},0,-3,
                    "tags",0,"k",{"$int":"111411200000000000"},1,null,
                    "team",0,["ann"],{"$int":"111411200000000000"},0,true,
                    "title",0,null,{"$int":"111411200000000001"},0,"milk"]]],
                [4,1,"todo",5],[5,1],[2,1,[7,ONES],ZEROS],[1,"todo",5],[6,2]],
                "covers":300,"end":true}"#,
        ),
        (
            "scribes of a view",
            Message::Scribes(Scribes {
                from: None,
                to: Some(point(7, 0xff)),
                end: None,
                items: vec![Item::Skip { scribes: 7, digest: Digest([0xff; 16]) }],
            }),
            "83 a4'type' a7'scribes' a2'to' 92 07 ONES a12'transactions' 91 92 07 ONES",
            r#"{"type":"scribes","to":[7,ONES],"transactions":[[7,ONES]]}"#,
        ),
        (
            "a call",
            Message::Call(Call {
                call: 300,
                name: name("sum"),
                value: Value::Array(vec![Value::from(1), Value::Bytes(vec![2])]).encode(),
                within_ms: 5000,
            }),
            "85 a4'type' a4'call' a4'call' cd 012c a4'name' a3'sum' a5'value' 92 01 c4 01 02
                a6'within' cd 1388",
            r#"{"type":"call","call":300,"name":"sum","value":[1,{"$bytes":"Ag=="}],"within":5000}"#,
        ),
        (
            "a reply",
            Message::Reply { call: 300, answer: Ok(Value::from(3).encode()) },
            "83 a4'type' a5'reply' a4'call' cd 012c a5'value' 03",
            r#"{"type":"reply","call":300,"value":3}"#,
        ),
        (
            "a reply that says why there is none",
            Message::Reply { call: 0, answer: Err(CallFailure::new(100, "no")) },
            "84 a4'type' a5'reply' a4'call' 00 a4'code' 64 a7'message' a2'no'",
            r#"{"type":"reply","call":0,"code":100,"message":"no"}"#,
        ),
        (
            "topics",
            Message::Topics(Topics::Some([name("room/7"), name("room/8")].into())),
            "82 a4'type' a6'topics' a6'topics' 92 a6'room/7' a6'room/8'",
            r#"{"type":"topics","topics":["room/7","room/8"]}"#,
        ),
        (
            "no topics",
            Message::Topics(Topics::default()),
            "82 a4'type' a6'topics' a6'topics' 90",
            r#"{"type":"topics","topics":[]}"#,
        ),
        (
            "every topic",
            Message::Topics(Topics::All),
            "82 a4'type' a6'topics' a6'topics' c3",
            r#"{"type":"topics","topics":true}"#,
        ),
        (
            "a signal",
            Message::Signal(Word {
                topic: name("room/7"),
                node: node(),
                time: Time::from_ms(1_700_000_000_000),
                epoch: Epoch(7),
                value: Value::from("typing").encode(),
                via: vec![NodeId::from_bytes([0xff; 16])],
            }),
            "87 a4'type'  a6'signal'
                a5'topic' a6'room/7'
                a4'node'  NODE
                a4'time'  cf 018bcfe568000000
                a5'epoch' 07
                a5'value' a6'typing'
                a3'via'   91 ONES",
            r#"{"type":"signal","topic":"room/7","node":NODE,"time":{"$int":"111411200000000000"},
                "epoch":7,"value":"typing","via":[ONES]}"#,
        ),
        (
            "a signal that is gone",
            Message::Signal(Word {
                topic: name("x"),
                node: node(),
                time: Time::default(),
                epoch: Epoch(0),
                value: Value::Nil.encode(),
                via: Vec::new(),
            }),
            "87 a4'type' a6'signal' a5'topic' a1'x' a4'node' NODE a4'time' 00 a5'epoch' 00
                a5'value' c0 a3'via' 90",
            r#"{"type":"signal","topic":"x","node":NODE,"time":0,"epoch":0,"value":null,"via":[]}"#,
        ),
        ("a ping", Message::Ping, "81 a4'type' a4'ping'", r#"{"type":"ping"}"#),
        ("a pong", Message::Pong, "81 a4'type' a4'pong'", r#"{"type":"pong"}"#),
        (
            "a bye",
            Message::Bye { reason: CloseReason::Digest, detail: "no".to_owned() },
            "83 a4'type' a3'bye' a4'code' 0b a6'detail' a2'no'",
            r#"{"type":"bye","code":11,"detail":"no"}"#,
        ),
        (
            "a bye from the future",
            Message::Bye { reason: CloseReason::Other(4000), detail: String::new() },
            "83 a4'type' a3'bye' a4'code' cd 0fa0 a6'detail' a0",
            r#"{"type":"bye","code":4000,"detail":""}"#,
        ),
    ];
    let golden = |(what, message, msgpack, json): (_, _, &str, &str)| Golden {
        what,
        message,
        msgpack: bytes_of(msgpack),
        json: text_of(json),
    };
    table.into_iter().map(golden).collect()
}

fn bytes_of(notation: &str) -> Bytes {
    let notation = notation
        .replace("a12'", "ac'")
        .replace("a11'", "ab'")
        .replace("ZEROS", ZEROS)
        .replace("ONES", ONES)
        .replace("NODE", NODE);
    golden(&notation).into()
}

fn text_of(json: &str) -> String {
    let lines: String = json.lines().map(str::trim).collect();
    lines.replace("ZEROS", ZEROS_JSON).replace("ONES", ONES_JSON).replace("NODE", NODE_JSON)
}

fn point(offset: u64, byte: u8) -> Point {
    Point { offset, digest: Digest([byte; 16]) }
}

fn node() -> NodeId {
    NodeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

fn hello(name: Option<Name>) -> Hello {
    Hello {
        version: 1,
        node: node(),
        epoch: Epoch(7),
        clock: Time::from_ms(1_700_000_000_000),
        nonce: 9,
        name,
        frame: 16 << 20,
        window: 1 << 20,
        encodings: vec![Encoding::Json],
        capabilities: vec!["a".to_owned(), "b".to_owned()],
        credentials: Bytes::from_static(&[1, 2, 3]),
    }
}

fn stamp(counter: u64) -> Stamp {
    Stamp {
        time: Time::from_bits((1_700_000_000_000 << 16) + counter),
        author: Author { node: node(), epoch: Epoch(7) },
    }
}

fn scribe(id: RecordId, mark: Mark, fields: Vec<(Path, Value)>) -> Scribe {
    let fields = fields.into_iter();
    Scribe {
        key: RecordKey { model: name("todo"), id },
        mark,
        fields: fields.map(|(path, value)| (path, value.encode())).collect(),
    }
}

fn key(id: i64) -> RecordKey {
    RecordKey { model: name("todo"), id: RecordId::Int(id) }
}

fn wanted(number: u64, after: Option<RecordKey>) -> Wanted {
    let channel = Channel::new("list/7").unwrap();
    Wanted { number, channel, point: point(7, 0xff), sum: Sum::default(), after }
}

/// An item of every sort.
fn told() -> Vec<Told> {
    let other = Author { node: NodeId::from_bytes([0xff; 16]), epoch: Epoch(9) };
    let by_other = Stamp { author: other, ..stamp(0) };
    let team = Path::member(name("team"), Value::from("ann").encode());
    let register = |path, stamp, value: Value| Register { path, stamp, value: value.encode() };
    let registers = vec![
        register(Path::counter(name("n"), stamp(0).author), stamp(0), Value::from(-3)),
        register(Path::entry(name("tags"), "k"), by_other, Value::Nil),
        register(team, stamp(0), Value::from(true)),
        register(Path::field(name("title")), stamp(1), Value::from("milk")),
    ];
    let record = Record::new(Some(stamp(0)), None, registers);
    vec![
        Told::Fill { number: 1, floor: point(7, 0xff) },
        Told::State { key: key(5), numbers: vec![1, 2], is_whole: true, record },
        Told::Reached { number: 1, key: key(5) },
        Told::Filled { number: 1 },
        Told::Point { number: 1, point: point(7, 0xff), sum: Some(Sum::default()) },
        Told::Evict { key: key(5) },
        Told::Withheld { number: 2 },
    ]
}

/// A transaction of every sort of path.
fn updates() -> Transaction {
    let other = Author { node: NodeId::from_bytes([0xff; 16]), epoch: Epoch(9) };
    let team = |member: &str| Path::member(name("team"), Value::from(member).encode());
    let fields = vec![
        (Path::counter(name("n"), stamp(0).author), Value::from(-3)),
        (Path::counter(name("n"), other), Value::from(4)),
        (Path::entry(name("tags"), "k"), Value::Nil),
        (team("ann"), Value::from(true)),
        (team("bob"), Value::Nil),
        (Path::field(name("title")), Value::from("milk")),
    ];
    let id = RecordId::text("t1").unwrap();
    Transaction::new(stamp(0), &[scribe(id, Mark::Update, fields)])
}

/// A transaction of every other mark, with every other sort of id.
fn lives() -> Transaction {
    let title = (Path::field(name("title")), Value::from(""));
    let uuid = Uuid::from_bytes(*node().as_bytes());
    Transaction::new(
        stamp(1),
        &[
            scribe(RecordId::Int(5), Mark::Create, vec![title]),
            scribe(RecordId::Uuid(uuid), Mark::Destroy, Vec::new()),
            scribe(RecordId::Int(-1000), Mark::Replace, Vec::new()),
        ],
    )
}

/// A transaction of a record whose id is a UUID as text, with a name that was said before and one that was not.
fn later() -> Transaction {
    let fields = vec![
        (Path::entry(name("tags"), "k"), Value::from("v")),
        (Path::field(name("title")), Value::from("bread")),
    ];
    let id = RecordId::text("00010203-0405-0607-0809-0a0b0c0d0e0f").unwrap();
    Transaction::new(stamp(301), &[scribe(id, Mark::Update, fields)])
}

#[test]
fn every_message_has_the_bytes_it_always_had() {
    for golden in goldens() {
        let msgpack = golden.message.encode(Encoding::MessagePack);
        assert_eq!(hex(&msgpack), hex(&golden.msgpack), "{}", golden.what);
        let json = golden.message.encode(Encoding::Json);
        assert_eq!(String::from_utf8(json.to_vec()).unwrap(), golden.json, "{}", golden.what);
    }
}

#[test]
fn every_message_is_read_in_both_encodings_and_says_which() {
    for golden in goldens() {
        let read = Message::decode(&golden.msgpack);
        let expected = (golden.message.clone(), Encoding::MessagePack);
        assert_eq!(read, Ok(expected), "{}", golden.what);
        let read = Message::decode(&Bytes::from(golden.json));
        assert_eq!(read, Ok((golden.message, Encoding::Json)), "{}", golden.what);
    }
}

#[test]
fn the_codes_of_a_reply_have_the_numbers_they_always_had() {
    let codes = [
        CallFailure::NO_HANDLER,
        CallFailure::FAILED,
        CallFailure::BUSY,
        CallFailure::EXPIRED,
        CallFailure::TOO_LARGE,
        CallFailure::CUT,
        CallFailure::UNKNOWN,
        CallFailure::NOT_CONNECTED,
    ];
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(CallFailure::APPLICATION, 100);
}

#[test]
fn the_reasons_of_a_bye_have_the_numbers_they_always_had() {
    let reasons = [
        CloseReason::Done,
        CloseReason::ShuttingDown,
        CloseReason::Lost,
        CloseReason::Malformed,
        CloseReason::FrameTooLarge,
        CloseReason::Unexpected,
        CloseReason::Version,
        CloseReason::HandshakeTimeout,
        CloseReason::Silent,
        CloseReason::Flow,
        CloseReason::Gap,
        CloseReason::Digest,
        CloseReason::Store,
        CloseReason::TooManySessions,
        CloseReason::Itself,
        CloseReason::Denied,
        CloseReason::Forbidden,
    ];
    for (code, reason) in (0..).zip(reasons) {
        assert_eq!(reason.code(), code);
        assert_eq!(CloseReason::from_code(code), reason);
    }
    let next = reasons.len() as u16;
    assert_eq!(CloseReason::from_code(next), CloseReason::Other(next), "pin it above");
}
