//! What a proposal records, and that every peer takes what was recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{few_encoded, name};
use crate::digest::Digest;
use crate::engine::{Config, Engine, Input};
use crate::fields::{Field, Fields};
use crate::id::{Name, NodeId, RecordId};
use crate::proposal::Edit;
use crate::record::Register;
use crate::stamp::Epoch;
use crate::store::{Commit, Entry, Held, OwnRow, PeerRow, StoreError};
use crate::value::Value;

use super::*;
use crate::limits::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX};

/// Records and nothing else: a proposal reads no more.
#[derive(Default)]
struct Records(BTreeMap<RecordKey, Arc<Record>>);

impl View for Records {
    fn own(&self) -> Result<Option<OwnRow>, StoreError> {
        Ok(None)
    }
    fn peer(&self, _: NodeId) -> Result<Option<PeerRow>, StoreError> {
        Ok(None)
    }
    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
        Ok(Vec::new())
    }
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }
    fn records(
        &self,
        _: &Name,
        _: Option<&RecordId>,
        _: usize,
    ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
        Ok(Vec::new())
    }
    fn models(&self) -> Result<Vec<Name>, StoreError> {
        Ok(Vec::new())
    }
    fn entries(&self, _: u64, _: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }
    fn digest_at(&self, _: u64) -> Result<Option<Digest>, StoreError> {
        Ok(None)
    }
    fn row(&self, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
    fn rows(
        &self,
        _: &[u8],
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        Ok(Vec::new())
    }
    fn held(&self, _: &Transaction) -> Result<Held, StoreError> {
        Ok(Held::No)
    }
}

/// An engine over records.
struct Desk {
    engine: Engine,
    records: Records,
}

const NOW: Now = Now { wall_ms: 1_700_000_000_000, monotonic_ms: 0 };

impl Desk {
    fn new() -> Self {
        let records = Records::default();
        let (engine, _) = Engine::open(NOW, Config::default(), &records).unwrap();
        Self { engine, records }
    }

    /// A desk with one living record, of the registers given, all of a foreign author's.
    fn with(registers: &[(Path, u64, Value)]) -> Self {
        let mut desk = Self::new();
        let registers = registers.iter().map(|(path, time, value)| Register {
            path: path.clone(),
            stamp: at(*time),
            value: value.encode(),
        });
        let record = Record::new(Some(at(1)), None, registers.collect());
        desk.records.0.insert(key(1), Arc::new(record));
        desk
    }

    /// Records a proposal, and checks that a peer takes what was recorded.
    fn propose(&mut self, proposal: Proposal) -> Result<Option<Transaction>, Error> {
        let input = Input::Propose(proposal);
        let effects = self.engine.handle(NOW, input, &self.records)?;
        let Some(Commit { entries, records, .. }) = effects.commit else {
            return Ok(None);
        };
        self.records.0.extend(records);
        let [entry] = &entries[..] else {
            panic!("one transaction of one proposal: {entries:?}");
        };
        let transaction = entry.transaction.clone();
        let decoded = Transaction::decode(Bytes::copy_from_slice(transaction.bytes())).unwrap();
        assert_eq!(decoded, transaction);
        // What was played here is what the peer reads.
        for scribe in decoded.scribes().unwrap() {
            let (key, change) = scribe.into_record(transaction.stamp());
            let mut again = Record::clone(&self.records.0[&key]);
            again.merge(&change);
            assert_eq!(again, *self.records.0[&key]);
        }
        Ok(Some(transaction))
    }

    fn update(&mut self, edits: Vec<Edit>) -> Result<Option<Transaction>, Error> {
        let mut proposal = Proposal::default();
        proposal.update(key(1), edits).unwrap();
        self.propose(proposal)
    }

    fn create(&mut self, fields: &Fields) -> Result<Option<Transaction>, Error> {
        let mut proposal = Proposal::default();
        proposal.create(key(1), fields).unwrap();
        self.propose(proposal)
    }

    fn shown(&self) -> Fields {
        self.records.0.get(&key(1)).map(|record| Fields::of(record)).unwrap_or_default()
    }
}

/// A stamp of a foreign author.
fn at(time: u64) -> Stamp {
    Stamp {
        time: Time::from_bits(time),
        author: Author { node: NodeId::from_bytes([0xfe; 16]), epoch: Epoch(1) },
    }
}

fn key(id: i64) -> RecordKey {
    RecordKey { model: name("m"), id: RecordId::Int(id) }
}

fn f() -> Path {
    Path::field(name("f"))
}

fn plain(value: Value) -> Fields {
    Fields::from_values(&[("f".to_owned(), value)].into()).unwrap()
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::Array(Vec::new()), |value, _| Value::Array(vec![value]))
}

fn refusal(result: Result<Option<Transaction>, Error>) -> DataError {
    match result {
        Err(Error::Data(error)) => error,
        other => panic!("not refused for its data: {other:?}"),
    }
}

#[test]
fn only_what_is_alive_is_changed_and_only_what_is_not_is_created() {
    let mut desk = Desk::new();
    let missing = DataError::Missing { key: key(1) };
    let replace = || {
        let mut proposal = Proposal::default();
        proposal.destroy(key(1)).unwrap();
        proposal.create(key(1), &Fields::default()).unwrap();
        proposal
    };
    let destroy = || {
        let mut proposal = Proposal::default();
        proposal.destroy(key(1)).unwrap();
        proposal
    };
    for _ in ["never created", "destroyed"] {
        let write = Edit::value(name("f"), Encoded::TRUE);
        assert_eq!(refusal(desk.update(vec![write])), missing);
        assert_eq!(refusal(desk.propose(destroy())), missing);
        assert_eq!(refusal(desk.propose(replace())), missing);

        desk.create(&plain(1.into())).unwrap();
        let exists = DataError::Exists { key: key(1) };
        assert_eq!(refusal(desk.create(&plain(2.into()))), exists);
        assert_eq!(desk.shown(), plain(1.into()));
        desk.propose(replace()).unwrap();
        assert!(desk.shown().is_empty());
        desk.propose(destroy()).unwrap();
    }
}

#[test]
fn what_is_there_already_is_not_recorded_again() {
    let mut desk = Desk::with(&[
        (f(), 1, 7.into()),
        (Path::entry(name("e"), "k"), 1, Value::Nil),
        (Path::member(name("s"), Encoded::TRUE), 1, true.into()),
    ]);
    let same = vec![
        Edit::value(name("f"), Encoded::int(7)),
        Edit::value(name("none"), Encoded::NIL),
        Edit::entry(name("e"), "k", Encoded::NIL).unwrap(),
        Edit::add(name("s"), Encoded::TRUE).unwrap(),
        Edit::remove(name("s"), Encoded::NIL).unwrap(),
        Edit::Raise { field: name("n"), by: 0 },
    ];
    assert_eq!(desk.update(same.clone()).unwrap(), None);
    let other = Edit::value(name("f"), Encoded::int(8));
    let recorded = desk.update([same, vec![other]].concat()).unwrap().unwrap();
    assert_eq!(recorded.scribes().unwrap()[0].fields, [(f(), Encoded::int(8))]);
}

#[test]
fn a_write_is_stamped_above_everything_in_its_record() {
    let last = Time::END.bits() - 2;
    let mut desk = Desk::with(&[(f(), last, 7.into())]);
    let write = |int| vec![Edit::value(name("f"), Encoded::int(int))];
    let recorded = desk.update(write(8)).unwrap().unwrap();
    assert!(recorded.stamp() > at(last));
    assert_eq!(desk.shown(), plain(8.into()));
    assert_eq!(refusal(desk.update(write(9))), DataError::Unwritable { key: key(1) });
}

#[test]
fn a_create_records_its_values_even_where_a_hidden_one_is_equal() {
    let mut desk = Desk::new();
    let hidden = Register { path: f(), stamp: at(3), value: Encoded::int(7) };
    let record = Record::new(None, Some(at(2)), vec![hidden]);
    desk.records.0.insert(key(1), Arc::new(record));
    desk.create(&plain(7.into())).unwrap();
    // A destroy that is older than the create, but younger than what was hidden, arrives late.
    let mut record = Record::clone(&desk.records.0[&key(1)]);
    record.merge(&Record::new(None, Some(at(4)), Vec::new()));
    assert_eq!(Fields::of(&record), plain(7.into()));
}

#[test]
fn a_create_says_nil_where_a_hidden_value_would_show() {
    let mut desk = Desk::new();
    let hidden = Register { path: f(), stamp: at(3), value: Encoded::int(7) };
    let record = Record::new(None, Some(at(2)), vec![hidden]);
    desk.records.0.insert(key(1), Arc::new(record));
    desk.create(&plain(Value::Nil)).unwrap();
    assert_eq!(desk.shown().to_values(), BTreeMap::new());
}

#[test]
fn a_raise_adds_to_the_authors_own_total_and_leaves_the_others_alone() {
    let foreign = Path::counter(name("n"), at(1).author);
    let mut desk = Desk::with(&[(foreign, 1, 100.into())]);
    let raise = |by| vec![Edit::Raise { field: name("n"), by }];
    desk.update(raise(5)).unwrap();
    let recorded = desk.update(raise(-7)).unwrap().unwrap();
    let own = Path::counter(name("n"), recorded.stamp().author);
    assert_eq!(recorded.scribes().unwrap()[0].fields, [(own, Encoded::int(-2))]);
    assert_eq!(desk.shown().get("n"), Some(&Field::Counter(98)));
}

#[test]
fn a_total_stays_within_64_bits() {
    let mut desk = Desk::with(&[]);
    let raise = |by| vec![Edit::Raise { field: name("n"), by }];
    desk.update(raise(i64::MAX)).unwrap();
    let overflow = DataError::CounterOverflow { field: "n".to_owned() };
    assert_eq!(refusal(desk.update(raise(1))), overflow);
    assert_eq!(desk.shown().get("n"), Some(&Field::Counter(i64::MAX)));
}

#[test]
fn values_and_transactions_are_recorded_up_to_their_limits() {
    let filler = |bytes: usize| Value::Bytes(vec![0; bytes - 5]);
    assert!(Desk::new().create(&plain(filler(VALUE_BYTES_MAX))).is_ok());
    let too_large = DataError::ValueTooLarge { field: "f".to_owned(), bytes: VALUE_BYTES_MAX + 1 };
    assert_eq!(refusal(Desk::new().create(&plain(filler(VALUE_BYTES_MAX + 1)))), too_large);
    let said = too_large.to_string();
    assert!(said.contains("at most 262144: split it over"), "{said}");

    assert!(Desk::new().create(&plain(nested(VALUE_DEPTH_MAX))).is_ok());
    let refused = refusal(Desk::new().create(&plain(nested(VALUE_DEPTH_MAX + 1))));
    assert!(matches!(refused, DataError::BadValue { field, .. } if field == "f"));

    let four = |last: usize| {
        let full = || Field::Value(filler(VALUE_BYTES_MAX).encode());
        let mut fields = Fields::default();
        ["a", "b", "c"].into_iter().for_each(|field| fields.insert(name(field), full()));
        fields.insert(name("d"), Field::Value(filler(last).encode()));
        fields
    };
    let base = Desk::new().create(&four(100_000)).unwrap().unwrap().bytes().len();
    let last = 100_000 + TRANSACTION_BYTES_MAX - base;
    let largest = Desk::new().create(&four(last)).unwrap().unwrap();
    assert_eq!(largest.bytes().len(), TRANSACTION_BYTES_MAX);
    let bytes = TRANSACTION_BYTES_MAX + 1;
    let refused = refusal(Desk::new().create(&four(last + 1)));
    assert_eq!(refused, DataError::TransactionTooLarge { bytes });
}

#[test]
fn a_member_that_peers_would_refuse_is_not_recorded() {
    let deep = Edit::add(name("s"), nested(VALUE_DEPTH_MAX + 1).encode());
    let mut desk = Desk::with(&[]);
    let refused = desk.update(vec![deep.unwrap()]);
    assert!(matches!(refusal(refused), DataError::BadValue { .. }));
}

#[test]
fn an_edit_made_by_hand_that_peers_would_refuse_is_not_recorded() {
    let long = Value::from(&*"x".repeat(2000)).encode();
    for (path, value) in [
        (Path::member(name("s"), Encoded::TRUE), Encoded::int(5)),
        (Path::member(name("s"), long), Encoded::TRUE),
        (Path::entry(name("e"), &"x".repeat(256)), Encoded::TRUE),
    ] {
        let mut desk = Desk::with(&[]);
        refusal(desk.update(vec![Edit::Write(path, value)]));
    }
}

#[test]
fn a_write_that_gives_a_field_its_earlier_shape_again_is_recorded() {
    // One version of a program keeps `f` as a set, another as a plain value. The first adds a member
    // that the set, hidden under the plain value, has already.
    let member = Encoded::int(1);
    let mut desk = Desk::with(&[
        (Path::member(name("f"), member.clone()), 1, true.into()),
        (f(), 2, 7.into()),
    ]);
    let mut wanted = Fields::default();
    wanted.insert(name("f"), Field::Set([member].into()));
    let edits = wanted.edits_from(&desk.shown()).unwrap();
    desk.update(edits).unwrap();
    assert_eq!(desk.shown(), wanted);
}

#[test]
fn a_record_grows_to_its_limit_and_no_further() {
    let mut desk = Desk::with(&[]);
    let value = Value::Bytes(vec![0; VALUE_BYTES_MAX - 5]).encode();
    let field = |n: usize| Edit::value(name(&format!("f{n:03}")), value.clone());
    let full = RECORD_BYTES_MAX / (VALUE_BYTES_MAX + 64);
    for n in 0..full {
        desk.update(vec![field(n)]).unwrap();
    }
    let refused = refusal(desk.update(vec![field(full)]));
    assert!(matches!(refused, DataError::RecordTooLarge { bytes, .. } if bytes > RECORD_BYTES_MAX));
    let mut proposal = Proposal::default();
    proposal.destroy(key(1)).unwrap();
    desk.propose(proposal).unwrap();
    assert_eq!(desk.records.0[&key(1)].bytes(), 0);
}

#[test]
fn a_refused_proposal_begins_no_epoch() {
    let mut desk = Desk::new();
    assert!(desk.engine.own.note_fork(b"a clone").is_some());
    let epoch = desk.engine.epoch();
    let mut fields = Fields::default();
    for field in ["a", "b", "c", "d", "e"] {
        let value = Value::Bytes(vec![0; VALUE_BYTES_MAX - 5]).encode();
        fields.insert(name(field), Field::Value(value));
    }
    let refused = refusal(desk.create(&fields));
    assert!(matches!(refused, DataError::TransactionTooLarge { .. }));
    assert_eq!(desk.engine.epoch(), epoch, "an error means that nothing happened");
    let recorded = desk.create(&Fields::default()).unwrap().unwrap();
    assert_ne!(recorded.stamp().author.epoch, epoch, "the forked epoch writes no more");
}

/// One change of one of two records, each field of one shape.
fn change() -> impl Strategy<Value = (i64, u8, Vec<Edit>)> {
    let field = |text: &'static str| Just(name(text));
    let edit = prop_oneof![
        (field("v"), few_encoded()).prop_map(|(field, value)| Edit::value(field, value)),
        (field("e"), prop::sample::select(vec!["a", "b"]), few_encoded())
            .prop_map(|(field, key, value)| Edit::entry(field, key, value).unwrap()),
        (field("s"), few_encoded()).prop_map(|(field, member)| Edit::add(field, member).unwrap()),
        (field("s"), few_encoded())
            .prop_map(|(field, member)| Edit::remove(field, member).unwrap()),
        (field("n"), -2..3_i64).prop_map(|(field, by)| Edit::Raise { field, by }),
    ];
    (1..3_i64, 0..8_u8, vec(edit, 1..4))
}

/// What shows of a record, sets and maps without anything in them left out.
fn visible(record: &Record) -> (bool, BTreeMap<String, Value>) {
    let mut values = Fields::of(record).to_values();
    values.retain(|_, value| {
        !matches!(value, Value::Array(list) if list.is_empty())
            && !matches!(value, Value::Map(map) if map.is_empty())
            && *value != Value::from(0)
    });
    (record.is_alive(), values)
}

proptest! {
    #[test]
    fn what_was_previewed_is_what_shows_once_recorded(
        proposals in vec(vec(change(), 1..5), 1..6)
    ) {
        let mut desk = Desk::new();
        for changes in proposals {
            let mut proposal = Proposal::default();
            for (id, mark, edits) in changes {
                // What the proposal or the record refuses is not part of the story.
                let is_alive = |proposal: &Proposal| {
                    let record = desk.records.0.get(&key(id)).cloned();
                    proposal.preview(&key(id), record).is_some_and(|record| record.is_alive())
                };
                match (mark, is_alive(&proposal)) {
                    (0, true) => proposal.destroy(key(id)).unwrap(),
                    (_, true) => proposal.update(key(id), edits).unwrap(),
                    (_, false) => {
                        proposal.create(key(id), &Fields::default()).unwrap();
                        proposal.update(key(id), edits).unwrap();
                    }
                }
            }
            let previews = [1, 2].map(|id| {
                let record = desk.records.0.get(&key(id)).cloned();
                visible(&proposal.preview(&key(id), record).unwrap_or_default())
            });
            prop_assert!(desk.propose(proposal).is_ok());
            let recorded = [1, 2].map(|id| {
                visible(&desk.records.0.get(&key(id)).cloned().unwrap_or_default())
            });
            prop_assert_eq!(recorded, previews);
        }
    }
}

#[test]
fn what_nobody_wants_to_know_is_recorded_all_the_same() {
    let recorded = |is_watched: bool| {
        let mut desk = Desk::new();
        desk.engine.set_watched(is_watched);
        let mut proposal = Proposal::default();
        proposal.create(key(1), &Fields::default()).unwrap();
        let effects = desk.engine.handle(NOW, Input::Propose(proposal), &desk.records).unwrap();
        let commit = effects.commit.unwrap();
        let entry = &commit.entries[0];
        (effects.events.len(), (entry.digest, entry.transaction.clone(), commit.records))
    };
    let (told, untold) = (recorded(true), recorded(false));
    assert_eq!((told.0, untold.0), (1, 0));
    assert_eq!(told.1, untold.1);
}
