//! Stores of each version as files in the tree: whatever is built later opens them, and finds in them what was
//! written.
//!
//! `version-4.rows` has every row of a store with something of everything, cut off by a crash before the last of
//! it was written behind; `version-4.redb` is the same as a file of redb that a killed process leaves: all of it is in the
//! journal, as in `version-2-journal.redb`, while `version-2.redb` was written before there was one.
//! `version-4-pieces.rows` has a record of more than 4 MiB. They were written by the stories in `story.rs`, as those of the
//! older versions were; this writes the newest again:
//!
//! ```text
//! cargo test -p syncro-store --test format -- --ignored
//! ```
//!
//! That is for a format that nobody uses yet. A later version gets files of its own beside these, which stay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod dump;
mod pair;
mod story;

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use syncro_core::{
    Digest, Epoch, Fields, Held, Name, NodeId, OwnRow, Point, RecordKey, Rung, Stamp, Time, Value,
    View,
};
use syncro_store::{Backend, FORMAT_VERSION, LogStore, Memory};

use crate::dump::Dump;
use crate::pair::Side;
use crate::story::{LAPTOP, PHONE, SERVER, Story};

const VERSIONS: RangeInclusive<u32> = 1..=FORMAT_VERSION;

#[test]
fn rows_say_what_was_written() {
    for version in VERSIONS {
        let memory = filled(&rows(version), Memory::new());
        says_what_was_written(&LogStore::open(memory).unwrap());
    }
}

#[cfg(feature = "redb")]
#[test]
fn a_file_says_what_was_written_and_goes_on() {
    let files = VERSIONS.map(|version| (version, redb(version)));
    for (version, name) in files.chain([(2, "version-2-journal.redb".to_owned())]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        fs::copy(file(&name), &path).unwrap();
        let open = || syncro_store::Redb::open(&path).unwrap();
        assert_eq!(Dump::of(&open()), Dump::read(&file(&rows(version))));
        let store = LogStore::open(open()).unwrap();
        says_what_was_written(&store);
        drop(store);
        goes_on(open);
    }
}

#[cfg(feature = "redb")]
#[test]
fn rows_go_on_in_a_new_file() {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let open = || syncro_store::Redb::open(&path).unwrap();
        drop(filled(&rows(version), open()));
        goes_on(open);
    }
}

#[cfg(feature = "sled")]
#[test]
fn rows_go_on_in_sled() {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sled");
        let open = || syncro_store::Sled::open(&path).unwrap();
        drop(filled(&rows(version), open()));
        says_what_was_written(&LogStore::open(open()).unwrap());
        goes_on(open);
    }
}

/// A file of version 1 whose database opens no more is made a new one of what is in its pages.
#[cfg(feature = "redb")]
#[test]
fn a_file_of_version_1_is_salvaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut bytes = fs::read(file(&redb(1))).unwrap();
    bytes[..320].fill(0);
    fs::write(&path, bytes).unwrap();
    let damaged = syncro_store::Redb::builder().open_damaged(&path).unwrap();
    let (store, repaired) = LogStore::builder().repair(damaged, None).unwrap();
    assert_eq!(repaired.lost, []);
    log_is_there(&store);
    records_are_there(&store);
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
}

#[test]
fn a_record_in_pieces_is_whole() {
    VERSIONS.for_each(a_record_of_a_version_is_whole);
}

fn a_record_of_a_version_is_whole(version: u32) {
    let store = LogStore::open(filled(&pieces(version), Memory::new())).unwrap();
    let record = store.record(&story::album()).unwrap().unwrap();
    let fields = Fields::of(&record).to_values();
    let expected = (0..story::PICTURES).map(|picture| {
        let (name, bytes) = story::picture(picture);
        (name, Value::Bytes(bytes))
    });
    assert_eq!(fields, expected.collect());
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    let end = store.own().unwrap().unwrap().end;
    assert_eq!((end.offset, hex(&end.digest)), (5, PIECES_DIGEST.to_owned()));
}

/// What is written is part of the format as well: an older program of this version has to read it.
#[test]
fn the_stories_are_written_today_as_they_were() {
    assert_eq!(Dump::of(&Story::everything()), Dump::read(&file(&rows(FORMAT_VERSION))));
    assert_eq!(Dump::of(&Story::pieces()), Dump::read(&file(&pieces(FORMAT_VERSION))));
}

#[test]
#[ignore = "writes the files that the other tests read"]
fn write_the_files() {
    let story = Dump::of(&Story::everything());
    story.write(&file(&rows(FORMAT_VERSION)));
    Dump::of(&Story::pieces()).write(&file(&pieces(FORMAT_VERSION)));
    #[cfg(feature = "redb")]
    {
        use syncro_store::{Batch, Durability, Redb, Table};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let backend = Redb::open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::Rows, "gone", "soon");
        backend.write(&batch, Durability::Durable).unwrap();
        backend.compact().unwrap();
        let mut batch = story.batch();
        batch.delete(Table::Rows, "gone");
        backend.write(&batch, Durability::Durable).unwrap();
        fs::copy(path, file(&redb(FORMAT_VERSION))).unwrap();
    }
}

fn rows(version: u32) -> String {
    format!("version-{version}.rows")
}

fn pieces(version: u32) -> String {
    format!("version-{version}-pieces.rows")
}

#[cfg(feature = "redb")]
fn redb(version: u32) -> String {
    format!("version-{version}.redb")
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format").join(name)
}

fn filled<B: Backend>(name: &str, backend: B) -> B {
    Dump::read(&file(name)).fill(&backend);
    backend
}

/// Everything that can be read of the store with everything.
fn says_what_was_written(store: &LogStore) {
    let own = store.own().unwrap().unwrap();
    let end = Point { offset: 31, digest: own.end.digest };
    let clock = Time::from_ms(1_710_000_000_024);
    assert_eq!(own, OwnRow { node: NodeId::named(LAPTOP), epoch: Epoch(0x12), clock, end });
    assert_eq!(hex(&own.end.digest), DIGEST);
    peers_are_there(store);
    log_is_there(store);
    records_are_there(store);
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
}

fn peers_are_there(store: &LogStore) {
    let peers: BTreeMap<_, _> = store.peers().unwrap().into_iter().collect();
    assert_eq!(peers.len(), 2);
    let server = &peers[&NodeId::named(SERVER)];
    assert_eq!(server.name, Some(Name::new(SERVER).unwrap()));
    assert_eq!(server.held, point(9, 0x99));
    let rungs = [(0x21, point(2, 0x22)), (0x21, point(70, 0x70)), (0x22, point(1 << 40, 0x40))];
    let rungs = rungs.map(|(epoch, point)| Rung { epoch: Epoch(epoch), point });
    assert_eq!(server.ladder.rungs(), rungs);
    let phone = &peers[&NodeId::named(PHONE)];
    assert_eq!((&phone.name, phone.held, phone.ladder.rungs()), (&None, Point::START, &[][..]));
}

fn log_is_there(store: &LogStore) {
    let expected = story::log();
    let entries = store.entries(0, usize::MAX).unwrap();
    assert_eq!(entries.len(), expected.len());
    let mut end = Point::START;
    for (entry, transaction) in entries.iter().zip(&expected) {
        assert_eq!(entry.transaction, *transaction, "at {}", entry.offset);
        assert_eq!(entry.offset, end.offset);
        end = end.then(transaction.len(), transaction.bytes());
        assert_eq!(entry.end(), end);
        assert_eq!(store.digest_at(end.offset).unwrap(), Some(end.digest));
        let held = Held::Same { offset: entry.offset, digest: entry.digest };
        assert_eq!(store.held(transaction).unwrap(), held);
    }
    assert_eq!(store.own().unwrap().unwrap().end, end);
}

fn records_are_there(store: &LogStore) {
    let mut found = String::new();
    for model in store.models().unwrap() {
        for (id, record) in store.records(&model, None, 100).unwrap() {
            let key = RecordKey { model: model.clone(), id };
            let fields = Value::Map(Fields::of(&record).to_values()).to_json();
            let marks = [record.created(), record.destroyed()].map(told);
            let registers = record.registers().len();
            found += &format!("{key} {} {} {registers} {fields}\n", marks[0], marks[1]);
        }
    }
    assert_eq!(found, RECORDS, "\n{found}");
}

/// A stamp by its second and the author's epoch.
fn told(stamp: Option<Stamp>) -> String {
    stamp.map_or("-".to_owned(), |stamp| {
        format!("{}@{:x}", stamp.time.ms() - story::BEGAN_MS, stamp.author.epoch.0)
    })
}

fn point(offset: u64, byte: u8) -> Point {
    Point { offset, digest: Digest([byte; 16]) }
}

fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node takes the store over, writes, hands everything to a new peer, takes something from it, and is opened
/// again.
fn goes_on<B: Backend>(open: impl Fn() -> B) {
    let store = LogStore::builder().overlay_bytes(2000).open(open()).unwrap();
    let mut laptop = Side::open(LAPTOP, store);
    let mut tablet = Side::open("tablet", LogStore::open(Memory::new()).unwrap());
    let before = laptop.end().offset;
    laptop.put("Todo", 1, "milk, again");
    laptop.put("Recipe", 7, "pancakes");
    tablet.put("Recipe", 8, "waffles");
    assert_eq!(laptop.end().offset, before + 2);
    pair::sync(&mut laptop, &mut tablet);
    assert_eq!(laptop.end().offset, before + 3);
    assert_eq!(laptop.records(), tablet.records());
    let (end, records) = (laptop.end(), laptop.records());
    laptop.store.syncer().checkpoint().unwrap();
    drop(laptop);
    let store = LogStore::open(open()).unwrap();
    assert!(store.reader().verify(|_, _| ()).unwrap().is_sound());
    let laptop = Side::open(LAPTOP, store);
    assert_eq!((laptop.end(), laptop.records()), (end, records));
}

const DIGEST: &str = "862e958e061a3e5d69a375287765e2cb";
const PIECES_DIGEST: &str = "2973aa4f762b95f5b4ad5e3ef494be4a";

/// Each record with its create, its destroy, how many registers it has, and the fields that show.
const RECORDS: &str = r#"Album/trip 19@32 - 3 {"place":"by the sea","votes":1,"year":2024}
Note/large - 24@12 0 {}
Note/small 16@11 - 2 {"body":"on the next page","votes":1}
Person/00010203-0405-0607-0809-0a0b0c0d0e0f 21@12 20@22 1 {"name":"Zoë again"}
Todo/-7 1@11 - 2 {"title":{"as a map":"other"}}
Todo/1 0@11 - 11 {"done":false,"homes":{"there":{"street":"b"}},"tags":[7,{"deep":[true]}],"title":"oat milk","votes":15}
Todo/2 - 9@22 1 {}
Todo/3 9@22 9@22 1 {"title":"replaced"}
Todo/4 12@11 9@22 1 {"title":"lives again"}
Todo/5 14@22 - 1 {"title":"the other half"}
Todo/6 10@22 - 2 {"done":true,"title":"out of order"}
Unborn/only updated - - 1 {}
Value/of every sort 2@21 - 14 {"array":[1,[2,"three"],null],"bytes":{"$bytes":"AP8="},"false":false,"float":1.5,"infinite":{"$float":"inf"},"int":-1,"largest":{"$int":"18446744073709551615"},"least":{"$int":"-9223372036854775808"},"map":{"a":1,"b":{"c":[]}},"nan":{"$float":"nan"},"small":5,"text":"ü 字 \n","true":true}
"#;
