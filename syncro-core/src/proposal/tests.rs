//! How changes of one record join into one, and how a proposal is seen before it is recorded.

use super::*;
use crate::arbitrary::name;
use crate::fields::Field;
use crate::id::{NodeId, RecordId};
use crate::stamp::{Author, Epoch, Time};
use crate::value::Value;

fn key(id: i64) -> RecordKey {
    RecordKey { model: name("m"), id: RecordId::Int(id) }
}

fn f() -> Path {
    Path::field(name("f"))
}

fn fields(values: &[(&str, i64)]) -> Fields {
    let values = values.iter();
    let values = values.map(|(name, int)| ((*name).to_owned(), Value::from(*int)));
    Fields::from_values(&values.collect()).unwrap()
}

fn write(field: &str, int: i64) -> Edit {
    Edit::value(name(field), Encoded::int(int))
}

fn raise(field: &str, by: i64) -> Edit {
    Edit::Raise { field: name(field), by }
}

/// What is proposed, in order: id, mark, the plain values written, the counters raised.
fn said(proposal: &Proposal) -> Vec<String> {
    let said = proposal.changes().map(|(key, change)| {
        let mut said = format!("{} {}", change.mark.as_str(), key.id);
        for (path, value) in change.writes().iter() {
            said += &format!(" {}={value:?}", path.field);
        }
        for (field, by) in &change.raises {
            said += &format!(" {field}+={by}");
        }
        said
    });
    said.collect()
}

fn missing(id: i64) -> Result<(), DataError> {
    Err(DataError::Missing { key: key(id) })
}

fn exists(id: i64) -> Result<(), DataError> {
    Err(DataError::Exists { key: key(id) })
}

#[test]
fn an_update_joins_the_create_or_update_before_it() {
    let mut proposal = Proposal::default();
    proposal.create(key(1), &fields(&[("f", 1), ("g", 1)])).unwrap();
    proposal.update(key(1), vec![write("f", 2), raise("n", 3)]).unwrap();
    proposal.update(key(2), vec![write("f", 1), raise("n", 1)]).unwrap();
    proposal.update(key(2), vec![write("g", 2), raise("n", 1)]).unwrap();
    assert_eq!(said(&proposal), ["create 1 f=2 g=1 n+=3", "update 2 f=1 g=2 n+=2"]);
}

/// Each update copied all that came before it: a map filled entry by entry took minutes.
#[test]
fn many_updates_of_one_record_are_joined_without_copying_what_is_there() {
    let mut proposal = Proposal::default();
    for n in 0..100_000 {
        let entry = Edit::entry(name("f"), &n.to_string(), Encoded::TRUE).unwrap();
        proposal.update(key(1), vec![entry, raise("n", 1)]).unwrap();
    }
    let (_, change) = proposal.changes().next().unwrap();
    assert_eq!((change.writes().len(), &change.raises[..]), (100_000, &[(name("n"), 100_000)][..]));
}

/// A draft shows the record before each update: what was said before the last one would be sorted each time.
#[test]
fn of_what_was_said_of_one_field_little_more_than_the_last_is_kept() {
    let mut proposal = Proposal::default();
    for n in 0..1000 {
        proposal.update(key(1), vec![write("g", n), write("f", -n)]).unwrap();
        let (_, change) = proposal.changes().next().unwrap();
        assert!(change.fields.len() <= FEW_WRITES);
        let written = |field: &str, int| (Path::field(name(field)), Encoded::int(int));
        assert_eq!(change.writes()[..], [written("f", -n), written("g", n)]);
    }
}

#[test]
fn a_record_is_created_once() {
    let mut proposal = Proposal::default();
    proposal.create(key(1), &fields(&[("f", 1)])).unwrap();
    assert_eq!(proposal.create(key(1), &fields(&[("f", 2)])), exists(1));
    proposal.update(key(2), vec![write("f", 1)]).unwrap();
    assert_eq!(proposal.create(key(2), &fields(&[("f", 2)])), exists(2));
    assert_eq!(said(&proposal), ["create 1 f=1", "update 2 f=1"]);
}

#[test]
fn a_record_created_and_destroyed_leaves_nothing_to_propose() {
    let mut proposal = Proposal::default();
    proposal.create(key(1), &fields(&[("f", 1)])).unwrap();
    proposal.update(key(1), vec![write("g", 1)]).unwrap();
    proposal.destroy(key(1)).unwrap();
    assert!(proposal.is_empty());
    assert_eq!(said(&proposal), [""; 0]);
    proposal.create(key(1), &fields(&[("f", 2)])).unwrap();
    assert_eq!(said(&proposal), ["create 1 f=2"]);
}

#[test]
fn a_destroy_forgets_the_update_before_it() {
    let mut proposal = Proposal::default();
    proposal.update(key(1), vec![write("f", 1), raise("n", 1)]).unwrap();
    proposal.destroy(key(1)).unwrap();
    assert_eq!(said(&proposal), ["destroy 1"]);
}

#[test]
fn what_was_destroyed_is_neither_updated_nor_destroyed_again() {
    let mut proposal = Proposal::default();
    proposal.destroy(key(1)).unwrap();
    assert_eq!(proposal.update(key(1), vec![write("f", 1)]), missing(1));
    assert_eq!(proposal.update(key(1), Vec::new()), missing(1));
    assert_eq!(proposal.destroy(key(1)), missing(1));
    assert_eq!(said(&proposal), ["destroy 1"]);
}

#[test]
fn a_create_after_a_destroy_replaces_the_record() {
    let mut proposal = Proposal::default();
    proposal.destroy(key(1)).unwrap();
    proposal.create(key(1), &fields(&[("f", 1)])).unwrap();
    assert_eq!(said(&proposal), ["replace 1 f=1"]);
    assert_eq!(proposal.create(key(1), &fields(&[])), exists(1));
    proposal.update(key(1), vec![write("g", 2)]).unwrap();
    assert_eq!(said(&proposal), ["replace 1 f=1 g=2"]);
    proposal.destroy(key(1)).unwrap();
    assert_eq!(said(&proposal), ["destroy 1"], "the record before is destroyed still");
}

#[test]
fn records_stay_in_the_order_in_which_they_were_first_touched() {
    let mut proposal = Proposal::default();
    for id in [3, 1, 2] {
        proposal.update(key(id), vec![write("f", id)]).unwrap();
    }
    proposal.update(key(3), vec![write("f", 4)]).unwrap();
    proposal.destroy(key(1)).unwrap();
    assert_eq!(said(&proposal), ["update 3 f=4", "destroy 1", "update 2 f=2"]);
}

#[test]
fn a_refused_change_leaves_the_proposal_as_it_was() {
    let mut proposal = Proposal::default();
    proposal.update(key(1), vec![raise("n", i64::MAX)]).unwrap();
    let overflow = Err(DataError::CounterOverflow { field: "n".to_owned() });
    let edits = vec![write("f", 1), raise("n", 1), write("g", 1)];
    assert_eq!(proposal.update(key(1), edits), overflow);
    assert_eq!(said(&proposal), [format!("update 1 n+={}", i64::MAX)]);

    let mut bad = fields(&[("f", 1)]);
    bad.insert(name("z"), Field::Map([("k".to_owned(), Encoded::NIL)].into()));
    assert!(proposal.create(key(2), &bad).is_err());
    proposal.destroy(key(3)).unwrap();
    assert!(proposal.create(key(3), &bad).is_err());
    assert_eq!(said(&proposal).len(), 2);
    assert_eq!(said(&proposal)[1], "destroy 3");
}

#[test]
fn members_and_keys_have_their_limits() {
    let member = |bytes: usize| Value::Bytes(vec![0; bytes - 3]).encode();
    assert_eq!(member(1024).as_bytes().len(), 1024);
    for edit in [Edit::add, Edit::remove] {
        assert!(edit(name("f"), member(1024)).is_ok());
        let refused = DataError::MemberTooLarge { field: "f".to_owned(), bytes: 1025 };
        assert!(refused.to_string().contains("at most 1024: make it a record"), "{refused}");
        assert_eq!(edit(name("f"), member(1025)), Err(refused));
    }
    for value in [Encoded::TRUE, Encoded::NIL] {
        assert!(Edit::entry(name("f"), &"k".repeat(255), value.clone()).is_ok());
        assert!(Edit::entry(name("f"), "", value.clone()).is_ok());
        let refused = Edit::entry(name("f"), &"k".repeat(256), value);
        let Err(refused) = refused else { panic!("it was taken") };
        assert!(matches!(refused, DataError::KeyTooLong { bytes: 256, .. }));
        let said = refused.to_string();
        assert!(said.contains("of map \"f\"") && said.contains("255: shorten it"), "{said}");
    }
}

#[test]
fn only_registers_of_the_last_writer_are_written() {
    let author = Stamp::PROVISIONAL.author;
    let whole_counter = Path { kind: Kind::Counter, ..f() };
    let author_as_lww = Path { kind: Kind::Lww, ..Path::counter(name("f"), author) };
    for path in [whole_counter, author_as_lww, Path::counter(name("f"), author)] {
        assert!(check_write(&path, &Encoded::TRUE).is_err(), "{path:?}");
    }
    for path in [f(), Path::entry(name("f"), "k"), Path::member(name("f"), Encoded::NIL)] {
        assert!(check_write(&path, &Encoded::TRUE).is_ok(), "{path:?}");
    }
}

fn stamp(time: Time) -> Stamp {
    Stamp { time, author: Author { node: NodeId::from_bytes([1; 16]), epoch: Epoch(1) } }
}

/// A living record with the plain fields and the counter given, at a time.
fn record(time: Time, plain: &[(&str, i64)], total: i64) -> Record {
    let stamp = stamp(time);
    let plain = plain.iter();
    let mut fields: Vec<(Path, i64)> =
        plain.map(|(field, int)| (Path::field(name(field)), *int)).collect();
    fields.push((Path::counter(name("n"), stamp.author), total));
    let registers =
        fields.into_iter().map(|(path, int)| Register { path, stamp, value: Encoded::int(int) });
    Record::new(Some(stamp), None, registers.collect())
}

fn shown(proposal: &Proposal, base: &Record) -> Option<Vec<(String, Value)>> {
    let record = proposal.preview(&key(1), Some(Arc::new(base.clone()))).unwrap();
    let fields = Fields::of(&record).to_values().into_iter().collect();
    record.is_alive().then_some(fields)
}

fn values(values: &[(&str, i64)]) -> Option<Vec<(String, Value)>> {
    let values = values.iter();
    Some(values.map(|(field, int)| ((*field).to_owned(), Value::from(*int))).collect())
}

#[test]
fn one_sees_ones_own_writes_and_raises_before_they_are_recorded() {
    let base = record(Time::from_ms(1), &[("f", 1), ("g", 1)], 10);
    let mut proposal = Proposal::default();
    assert_eq!(shown(&proposal, &base), values(&[("f", 1), ("g", 1), ("n", 10)]));
    proposal.update(key(1), vec![write("f", 2), raise("n", 5)]).unwrap();
    proposal.update(key(1), vec![raise("n", -7)]).unwrap();
    assert_eq!(shown(&proposal, &base), values(&[("f", 2), ("g", 1), ("n", 8)]));
    let base = Some(Arc::new(base));
    assert_eq!(proposal.preview(&key(2), base.clone()), base, "another record is as it was");
}

#[test]
fn one_sees_ones_own_write_over_a_stamp_from_the_far_future() {
    let last = Time::from_bits(Time::END.bits() - 1);
    let base = record(last, &[("f", 1)], 10);
    let mut proposal = Proposal::default();
    proposal.update(key(1), vec![write("f", 0), raise("n", 1)]).unwrap();
    assert_eq!(shown(&proposal, &base), values(&[("f", 0), ("n", 11)]));
    proposal.destroy(key(1)).unwrap();
    assert_eq!(shown(&proposal, &base), None);
}

#[test]
fn one_sees_a_record_come_go_and_be_replaced() {
    let base = record(Time::from_ms(1), &[("f", 1), ("g", 1)], 10);
    let mut proposal = Proposal::default();
    proposal.destroy(key(1)).unwrap();
    assert_eq!(shown(&proposal, &base), None);
    proposal.create(key(1), &fields(&[("f", 2)])).unwrap();
    proposal.update(key(1), vec![raise("n", 3)]).unwrap();
    assert_eq!(shown(&proposal, &base), values(&[("f", 2), ("n", 3)]), "the old total is gone");

    let mut proposal = Proposal::default();
    proposal.create(key(1), &fields(&[("f", 3)])).unwrap();
    assert_eq!(shown(&proposal, &Record::default()), values(&[("f", 3)]));
}

#[test]
fn an_update_of_a_record_that_is_gone_does_not_show_it() {
    let mut base = record(Time::from_ms(1), &[("f", 1)], 10);
    base.merge(&Record::new(None, Some(stamp(Time::from_ms(2))), Vec::new()));
    let mut proposal = Proposal::default();
    proposal.update(key(1), vec![write("f", 2)]).unwrap();
    assert_eq!(shown(&proposal, &base), None);
}
