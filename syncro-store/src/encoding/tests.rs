//! The bytes of every stored key and value, as `docs/storage.md` states them. A test that fails here
//! asks for a new format version.

use syncro_core::{
    Author, Digest, Element, Epoch, Kind, Ladder, Mark, Name, NodeId, OwnRow, Path, PeerRow, Point,
    Record, RecordId, RecordKey, Register, Rung, Scribe, Stamp, StoreError, Time, Transaction,
    Value,
};
use uuid::Uuid;

use super::record::{Numbers, Words};
use super::*;
use crate::dictionary::Dictionary;

/// `[time, node, epoch, ["Todo", 1, create, []]]`, as `docs/protocol.md` has it.
const GOLD_TRANSACTION: &[u8] =
    b"\x94\xce\x00\x01\x00\x00\xc4\x100123456789abcdef\x07\x91\x94\xa4Todo\x01\x01\x90";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn point(offset: u64, byte: u8) -> Point {
    Point { offset, digest: Digest([byte; 16]) }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Names and authors have the numbers of their places.
struct Numbered {
    names: Vec<Name>,
    authors: Vec<Author>,
}

impl Numbered {
    fn new() -> Self {
        let author = |byte| Author { node: node(byte), epoch: Epoch(u64::from(byte)) };
        let names = ["title", "labels", "tags", "votes"].map(name).to_vec();
        Self { names, authors: vec![author(0xa0), author(0xa1)] }
    }
}

impl Numbers for Numbered {
    fn name(&mut self, name: &str) -> Result<u32, StoreError> {
        Ok(self.names.iter().position(|known| known.as_str() == name).unwrap() as u32)
    }
    fn author(&mut self, author: Author) -> Result<u32, StoreError> {
        Ok(self.authors.iter().position(|known| *known == author).unwrap() as u32)
    }
}

impl Words for Numbered {
    fn name(&self, number: u32) -> Result<Option<Name>, StoreError> {
        Ok(self.names.get(number as usize).cloned())
    }
    fn author(&self, number: u32) -> Result<Option<Author>, StoreError> {
        Ok(self.authors.get(number as usize).copied())
    }
}

fn written(record: &Record, numbered: &mut Numbered) -> Vec<u8> {
    let mut out = Out::default();
    record::write(record, numbered, &mut out, &mut record::Gathered::default()).unwrap();
    out.0
}

/// A record with a register of every shape.
fn record_of_every_shape(numbered: &Numbered) -> Record {
    let [first, second] = numbered.authors[..] else { unreachable!() };
    let stamp = |ms, author| Stamp { time: Time::from_ms(ms), author };
    let text = |text: &str| Value::Text(text.into()).encode();
    let registers = [
        ("title", None, Kind::Lww, stamp(0x1000, first), text("milk")),
        (
            "labels",
            Some(Element::Entry("de".into())),
            Kind::Lww,
            stamp(0x2000, second),
            text("Milch"),
        ),
        (
            "tags",
            Some(Element::Member(text("food"))),
            Kind::Lww,
            stamp(0x1000, first),
            Value::Bool(true).encode(),
        ),
        (
            "votes",
            Some(Element::Author(second)),
            Kind::Counter,
            stamp(0x2000, second),
            Value::Int(-3).encode(),
        ),
    ];
    let registers = registers.map(|(field, element, kind, stamp, value)| Register {
        path: Path { field: name(field), element, kind },
        stamp,
        value,
    });
    Record::new(Some(stamp(0x1000, first)), Some(stamp(0x800, first)), registers.to_vec())
}

#[test]
fn a_scribe_is_written_as_the_record_that_it_makes() {
    let mut numbered = Numbered::new();
    let record = record_of_every_shape(&numbered);
    let registers = record.registers().iter();
    let mut fields: Vec<(Path, Encoded)> =
        registers.map(|register| (register.path.clone(), register.value.clone())).collect();
    let own = Path::counter(name("votes"), numbered.authors[0]);
    fields.push((own, Value::Int(300).encode()));
    fields.sort();
    let mut gathered = record::Gathered::default();
    for mark in [Mark::Create, Mark::Update, Mark::Replace, Mark::Destroy] {
        let fields = if mark == Mark::Destroy { Vec::new() } else { fields.clone() };
        let key = RecordKey { model: name("m"), id: RecordId::Int(1) };
        let stamp = Stamp { time: Time::from_ms(0x1000), author: numbered.authors[0] };
        let transaction = Transaction::packed(stamp, &[Scribe { key, mark, fields }]).remove(0);
        let scribe = transaction.each().next().unwrap().unwrap();
        let mut out = Out::default();
        record::write_scribe(&scribe, &mut numbered, &mut out, &mut gathered).unwrap().unwrap();
        assert_eq!(out.0, written(&scribe.to_record().unwrap(), &mut numbered), "{mark:?}");
    }
}

#[test]
fn golden_bytes_of_records() {
    let mut numbered = Numbered::new();
    let record = record_of_every_shape(&numbered);
    let bytes = written(&record, &mut numbered);
    assert_eq!(
        hex(&bytes),
        "0300000000000800000000000000001000000001000000002000000002010401010264650206a54d696c6368020205a4666f6f640101c300000105a46d696c6b0303010201fdc6eb12fe"
    );
    let read = record::read(&bytes.into(), &numbered).unwrap();
    assert_eq!(read, Some(record));

    let author = numbered.authors[0];
    let stamp = Stamp { time: Time::from_ms(0x1000), author };
    let tombstone = Record::new(None, Some(stamp), Vec::new());
    let bytes = written(&tombstone, &mut numbered);
    assert_eq!(hex(&bytes), "01000000000010000000000100136e098e");
    assert_eq!(record::read(&bytes.into(), &numbered).unwrap(), Some(tombstone));
}

#[test]
fn golden_bytes_of_rows() {
    let own = OwnRow {
        node: node(0x11),
        epoch: Epoch(0x2222_2222_2222_2222),
        clock: Time::from_bits(0x3333_3333_3333_3333),
        end: point(0x44, 0x55),
    };
    let bytes = row::write_own(&own);
    assert_eq!(
        hex(&bytes),
        "1111111111111111111111111111111122222222222222223333333333333333000000000000004455555555555555555555555555555555"
    );
    assert_eq!(row::read_own(&bytes.into()), Some(own));

    let rungs = vec![
        Rung { epoch: Epoch(1), point: point(2, 3) },
        Rung { epoch: Epoch(4), point: point(5, 6) },
    ];
    let (name, ladder) = (Some(name("laptop")), Ladder::new(rungs));
    let peer = PeerRow { name, ladder, held: point(7, 8), confirmed: Point::START };
    let bytes = row::write_peer(&peer);
    assert_eq!(
        hex(&bytes),
        "066c6170746f700000000000000007080808080808080808080808080808080200000000000000010000000000000002030303030303030303030303030303030000000000000004000000000000000506060606060606060606060606060606"
    );
    assert_eq!(row::read_peer(&bytes.into()), Some(peer));
    let nameless = PeerRow::default();
    assert_eq!(hex(&row::write_peer(&nameless)), "00".repeat(1 + 8 + 16 + 1));
    assert_eq!(row::read_peer(&row::write_peer(&nameless).into()), Some(nameless));

    let mark = point(0x77, 0x88);
    let bytes = row::write_mark(mark);
    assert_eq!(hex(&bytes), "000000000000007788888888888888888888888888888888");
    assert_eq!(row::read_mark(&bytes.into()), Some(mark));
}

#[test]
fn golden_bytes_of_pages() {
    let bytes = Bytes::from_static(GOLD_TRANSACTION);
    let transaction = Transaction::decode(bytes).unwrap();
    let digest = Digest([9; 16]).then(transaction.bytes());
    let mut page = page::OpenPage::begin(point(7, 9));
    assert!(page.try_push(1, transaction.bytes(), Point { offset: 8, digest }));
    let length = GOLD_TRANSACTION.len() as u8;
    let plain = [&[9; 16], [1, length].as_slice(), GOLD_TRANSACTION].concat();
    // Nothing in it repeats: a piece of new bytes.
    let piece = [0xf0, 2 + length - 15];
    let hash = crc32fast::hash(transaction.keys().next().unwrap().unwrap()).to_be_bytes();
    let head = [&[0, 16 + 2 + length, 4], &hash[..]].concat();
    let [before, expected] =
        [&[], &head[..]].map(|head| [&[9; 16], &[0][..], head, &piece, &plain[16..]].concat());
    assert_eq!(hex(&page.stored()), hex(&expected));
    for read in [plain, before, expected] {
        let read = page::Page::read(7, read.into()).unwrap();
        let entry = read.walk().unwrap().entry().unwrap();
        let expected = (7, transaction.clone(), digest);
        assert_eq!((entry.offset, entry.transaction, entry.digest), expected);
    }
}

#[test]
fn golden_bytes_of_keys() {
    let key = |id| key::record(&RecordKey { model: name("Todo"), id });
    assert_eq!(hex(&key(RecordId::Int(-2))), "04546f646f017ffffffffffffffe");
    assert_eq!(
        hex(&key(RecordId::Uuid(Uuid::from_bytes([0xab; 16])))),
        "04546f646f02abababababababababababababababab"
    );
    let text = key(RecordId::text("milk").unwrap());
    assert_eq!(hex(&text), "04546f646f036d696c6b");
    assert_eq!(hex(&key::piece(&text, 2)), "00000a04546f646f036d696c6b00000002");
    assert_eq!(hex(&key::page(0x0102)), "0000000000000102");
    let time = Time::from_bits(0x0405);
    assert_eq!(hex(&key::run(3, time)), "00000003000000000000000405");
    assert_eq!(key::run_time(&key::run(3, time), 3), Some(time));
    assert_eq!(hex(&key::stray(3, time, 6)), "000000030100000000000004050000000000000006");
    assert_eq!(key::stray_offset(&key::stray(3, time, 6)), Some(6));
    assert_eq!(hex(&key::peer(node(7))), format!("706565722f{}", hex(&[7; 16])));
    assert_eq!((key::FORMAT, key::OWN, key::MARK), (&b"format"[..], &b"own"[..], &b"mark"[..]));
    assert_eq!(hex(&key::author(node(8), Epoch(9))), format!("{}0000000000000009", hex(&[8; 16])));
}

#[test]
fn golden_bytes_of_the_dictionaries() {
    let hex_of = |rows: [(Vec<u8>, Bytes); 2]| rows.map(|(key, row)| (hex(&key), hex(&row)));
    let rows = Dictionary::new().assign(&name("title"), 3);
    let expected = [("00017469746c65", "00000003"), ("000000000003", "7469746c65")];
    assert_eq!(hex_of(rows), expected.map(|(key, row)| (key.to_owned(), row.to_owned())));

    let author = Author { node: node(0xaa), epoch: Epoch(5) };
    let word = format!("{}0000000000000005", "aa".repeat(16));
    let rows = Dictionary::new().assign(&author, 4);
    let expected =
        [(format!("0101{word}"), "00000004".to_owned()), ("010000000004".to_owned(), word)];
    assert_eq!(hex_of(rows), expected);
}

#[test]
fn golden_bytes_of_seals() {
    let golden = [
        (Table::Rows, "84c2efec636f6e74656e74"),
        (Table::Log, "454c302c636f6e74656e74"),
        (Table::Names, "dcae562d636f6e74656e74"),
        (Table::Records, "1d2089ed636f6e74656e74"),
        (Table::Stamps, "341b9c6e636f6e74656e74"),
    ];
    for (table, expected) in golden {
        let sealed = seal(table, b"key", b"content");
        assert_eq!(hex(&sealed), expected, "{}", table.name());
        assert_eq!(unseal(table, b"key", sealed.clone()).unwrap(), Bytes::from_static(b"content"));
    }
}
