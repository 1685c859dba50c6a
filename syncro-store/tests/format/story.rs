//! What was written to the stores that are files now.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    Author, Commit, Digest, Entry, Epoch, Ladder, Name, NodeId, OwnRow, PeerRow, Point, Record,
    RecordId, RecordKey, Rung, Stamp, Store, Time, Transaction, Value, View,
};
use syncro_store::{LogStore, Memory, MemoryDisk};

/// Whose store it is.
pub(crate) const LAPTOP: &str = "laptop";
pub(crate) const SERVER: &str = "server";
pub(crate) const PHONE: &str = "phone";

pub(crate) const BEGAN_MS: u64 = 1_710_000_000_000;

/// A store in the making.
pub(crate) struct Story {
    disk: MemoryDisk,
    store: LogStore,
    end: Point,
    sequence: u64,
}

impl Story {
    /// Something of everything. What comes after the checkpoint was synced, and not written behind, when a crash
    /// ended it.
    pub(crate) fn everything() -> Memory {
        let mut story = Self::begin();
        let log = log();
        let (behind, after) = log.split_at(BEHIND);
        story.commit(&behind[..1], Vec::new(), 0x11);
        for transactions in behind[1..].chunks(3) {
            story.commit(transactions, Vec::new(), 0x11);
        }
        story.store.syncer().checkpoint().unwrap();
        story.commit(&after[..2], peers(), 0x12);
        story.store.sync().unwrap();
        story.commit(&after[2..], Vec::new(), 0x12);
        story.store.sync().unwrap();
        story.crash()
    }

    /// A record that takes more than 4 MiB.
    pub(crate) fn pieces() -> Memory {
        let mut story = Self::begin();
        for at in 0..5 {
            let pictures: Vec<_> = (at * 4..at * 4 + 4).map(picture).collect();
            let fields = pictures
                .into_iter()
                .flat_map(|(name, bytes)| [Value::Text(name), Value::Bytes(bytes)]);
            let mark = Value::Int(i128::from(at == 0));
            let (model, id) = (Value::Text("Album".to_owned()), Value::Text("trip".to_owned()));
            let scribe = Value::Array(vec![model, id, mark, Value::Array(fields.collect())]);
            let written = transaction(at, LAPTOP, 0x11, Value::Array(vec![scribe]));
            story.commit(&[written], Vec::new(), 0x11);
        }
        story.store.syncer().checkpoint().unwrap();
        story.crash()
    }

    fn begin() -> Self {
        let disk = MemoryDisk::new();
        let store = LogStore::open(disk.open().unwrap()).unwrap();
        Self { disk, store, end: Point::START, sequence: 0 }
    }

    fn crash(self) -> Memory {
        self.disk.crash().open().unwrap()
    }

    fn commit(&mut self, written: &[Transaction], peers: Vec<(NodeId, PeerRow)>, epoch: u64) {
        self.sequence += 1;
        let (mut entries, mut records) = (Vec::new(), BTreeMap::<RecordKey, Record>::new());
        for transaction in written {
            for scribe in transaction.scribes().unwrap() {
                let known = self.store.record(&scribe.key).unwrap();
                let known = || known.map(Arc::unwrap_or_clone).unwrap_or_default();
                let record = records.entry(scribe.key.clone()).or_insert_with(known);
                record.merge(&scribe.into_record(transaction.stamp()).1);
            }
            let end = self.end.then(transaction.len(), transaction.bytes());
            let (offset, transaction) = (self.end.offset, transaction.clone());
            entries.push(Entry { offset, transaction, digest: end.digest });
            self.end = end;
        }
        let clock = written.iter().map(|transaction| transaction.stamp().time).max().unwrap();
        let (node, epoch, end) = (NodeId::named(LAPTOP), Epoch(epoch), self.end);
        let own = OwnRow { node, epoch, clock, end };
        let records = records.into_iter().map(|(key, record)| (key, Arc::new(record))).collect();
        let sequence = self.sequence;
        let (is_played, rows) = (true, Vec::new());
        self.store
            .apply(&Commit { sequence, entries, records, is_played, peers, own, rows })
            .unwrap();
    }
}

/// How many transactions were written behind.
const BEHIND: usize = 19;

/// The log of the store with everything.
#[rustfmt::skip]
pub(crate) fn log() -> Vec<Transaction> {
    let large = format!(r#"[["Note","large",1,["body","{}"]]]"#, "x".repeat(9000));
    let written = [
        // Every sort of id, and every sort of value.
        (0, LAPTOP, 0x11, r#"[["Todo",1,1,["done",false,"title","milk"]]]"#),
        (1, LAPTOP, 0x11, r#"[["Todo",-7,1,["title","minus seven"]],["Person",{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},1,["name","Zoë"]]]"#),
        (2, SERVER, 0x21, r#"[["Value","of every sort",1,["array",[1,[2,"three"],null],"bytes",{"$bytes":"AP8="},"false",false,"float",1.5,"infinite",{"$float":"inf"},"int",-1,"largest",{"$int":"18446744073709551615"},"least",{"$int":"-9223372036854775808"},"map",{"a":1,"b":{"c":[]}},"nan",{"$float":"nan"},"nil",null,"small",5,"text","ü 字 \n","true",true]]]"#),
        // Sets, maps and counters.
        (3, LAPTOP, 0x11, r#"[["Todo",1,0,[["homes",0,"here"],"a",["homes",0,"there"],{"street":"b"},["tags",0,["red"]],true,["tags",0,[7]],true]]]"#),
        (4, LAPTOP, 0x11, r#"[["Todo",1,0,[["votes",1],3]]]"#),
        (5, SERVER, 0x21, r#"[["Todo",1,0,[["homes",0,"here"],null,["tags",0,["red"]],null,["votes",1],4]]]"#),
        (6, PHONE, 0x31, r#"[["Todo",1,0,[["tags",0,[{"deep":[true]}]],true,["votes",1],-2]]]"#),
        // One field in two shapes, of which the younger shows.
        (7, PHONE, 0x31, r#"[["Todo",-7,0,[["title",0,"as a map"],"other"]]]"#),
        // The lives of records.
        (8, LAPTOP, 0x11, r#"[["Todo",2,1,["title","to be destroyed"]],["Todo",3,1,["title","to be replaced"]],["Todo",4,1,["title","to live again"]]]"#),
        (9, SERVER, 0x22, r#"[["Todo",2,2,[]],["Todo",3,3,["title","replaced"]],["Todo",4,2,[]]]"#),
        (11, PHONE, 0x31, r#"[["Todo",2,0,["title","younger than the destroy, and hidden"]]]"#),
        (12, LAPTOP, 0x11, r#"[["Todo",4,1,["title","lives again"]]]"#),
        (13, PHONE, 0x31, r#"[["Unborn","only updated",0,["title","nobody created it"]]]"#),
        // Cloned machines: one stamp twice, and one author's times out of order.
        (14, SERVER, 0x22, r#"[["Todo",5,1,["title","one half"]]]"#),
        (14, SERVER, 0x22, r#"[["Todo",5,1,["title","the other half"]]]"#),
        (10, SERVER, 0x22, r#"[["Todo",6,1,["title","out of order"]]]"#),
        // A page of its own.
        (15, LAPTOP, 0x11, large.as_str()),
        (16, LAPTOP, 0x11, r#"[["Note","small",1,["body","on the next page"]]]"#),
        (17, PHONE, 0x31, r#"[["Note","small",0,[["votes",1],1]]]"#),
        // Behind the mark: new names, authors and records, and old ones.
        (18, LAPTOP, 0x12, r#"[["Todo",1,0,["title","oat milk",["votes",1],10]]]"#),
        (19, PHONE, 0x32, r#"[["Album","trip",1,["place","by the sea",["votes",1],1]]]"#),
        (20, SERVER, 0x22, r#"[["Album","trip",0,["year",2024]],["Person",{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},2,[]]]"#),
        (21, LAPTOP, 0x12, r#"[["Person",{"$bytes":"AAECAwQFBgcICQoLDA0ODw=="},1,["name","Zoë again"]]]"#),
        (10, SERVER, 0x22, r#"[["Todo",6,0,["done",true]]]"#),
        (24, LAPTOP, 0x12, r#"[["Note","large",2,[]]]"#),
    ];
    let read = |scribes: &str| Value::from_json(scribes).unwrap();
    written
        .into_iter()
        .map(|(ms, node, epoch, scribes)| transaction(ms, node, epoch, read(scribes)))
        .collect()
}

/// One peer that is known well, and one that was only met.
fn peers() -> Vec<(NodeId, PeerRow)> {
    let rung = |epoch, offset, byte| Rung {
        epoch: Epoch(epoch),
        point: Point { offset, digest: Digest([byte; 16]) },
    };
    let rungs = vec![rung(0x21, 2, 0x22), rung(0x21, 70, 0x70), rung(0x22, 1 << 40, 0x40)];
    let server = PeerRow {
        name: Some(Name::new(SERVER).unwrap()),
        ladder: Ladder::new(rungs),
        held: Point { offset: 9, digest: Digest([0x99; 16]) },
        confirmed: Point::START,
    };
    vec![(NodeId::named(SERVER), server), (NodeId::named(PHONE), PeerRow::default())]
}

/// `[time, node, epoch, [scribe, ...]]`, as `docs/protocol.md` has it.
fn transaction(ms: u64, node: &str, epoch: u64, scribes: Value) -> Transaction {
    let author = Author { node: NodeId::named(node), epoch: Epoch(epoch) };
    let stamp = Stamp { time: Time::from_ms(BEGAN_MS + ms), author };
    let parts = vec![
        Value::Int(stamp.time.bits().into()),
        Value::Bytes(author.node.as_bytes().to_vec()),
        Value::Int(epoch.into()),
        scribes,
    ];
    let bytes = Bytes::copy_from_slice(Value::Array(parts).encode().as_bytes());
    Transaction::decode(bytes).unwrap()
}

pub(crate) fn album() -> RecordKey {
    RecordKey { model: Name::new("Album").unwrap(), id: RecordId::text("trip").unwrap() }
}

pub(crate) const PICTURES: u64 = 20;

/// A field of an album and what is in it, which a dump can say in a few letters.
pub(crate) fn picture(number: u64) -> (String, Vec<u8>) {
    (format!("picture {number:02}"), vec![number as u8; 220 << 10])
}
