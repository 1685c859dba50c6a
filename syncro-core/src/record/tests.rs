//! The merge: its laws over random records, and what they mean in single sentences.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{few_encoded, golden, hex, name, scribe, stamp, write};
use crate::id::{NodeId, RecordId, RecordKey};
use crate::scribe::{Mark, Scribe};
use crate::stamp::{Epoch, Time};
use crate::value::Value;

fn key() -> RecordKey {
    RecordKey { model: name("m"), id: RecordId::Int(1) }
}

fn register() -> impl Strategy<Value = Register> {
    (write(few_encoded()), stamp()).prop_map(|((path, value), stamp)| Register {
        path,
        stamp,
        value,
    })
}

/// Any record there can be, alive or not, with few registers or with many.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let registers = prop_oneof![vec(register(), 0..8), vec(register(), 8..40)];
    (option::of(stamp()), option::of(stamp()), registers)
        .prop_map(|(created, destroyed, registers)| Record::new(created, destroyed, registers))
}

fn stamped() -> impl Strategy<Value = (Stamp, Scribe)> {
    (stamp(), scribe(key(), few_encoded()))
}

fn joined(a: &Record, b: &Record) -> Record {
    let mut joined = a.clone();
    joined.merge(b);
    joined
}

fn played<'a>(scribes: impl IntoIterator<Item = &'a (Stamp, Scribe)>) -> Record {
    let mut record = Record::default();
    for (stamp, scribe) in scribes {
        record.merge(&scribe.clone().into_record(*stamp).1);
    }
    record
}

fn state(record: &Record) -> Vec<u8> {
    let mut state = Vec::new();
    record.write_state(&mut state);
    state
}

/// What the design says of a set of scribes, read off the whole set at once.
fn said(scribes: &[(Stamp, Scribe)]) -> (bool, Option<Stamp>, Vec<Register>) {
    let marks = |is: fn(Mark) -> bool| {
        let stamps = scribes.iter().filter(move |(_, scribe)| is(scribe.mark));
        stamps.map(|(stamp, _)| *stamp).max()
    };
    let (created, destroyed) = (marks(Mark::creates), marks(Mark::destroys));
    let mut greatest = BTreeMap::new();
    for (stamp, scribe) in scribes {
        for (path, value) in &scribe.fields {
            let ours = greatest.entry(path).or_insert((*stamp, value));
            *ours = (*ours).max((*stamp, value));
        }
    }
    let registers = greatest
        .into_iter()
        .filter(|(_, (stamp, _))| destroyed.is_none_or(|destroyed| *stamp >= destroyed))
        .map(|(path, (stamp, value))| Register { path: path.clone(), stamp, value: value.clone() });
    let is_alive = created.is_some() && created >= destroyed;
    (is_alive, destroyed, registers.collect())
}

proptest! {
    #[test]
    fn merging_is_commutative(a in record(), b in record()) {
        prop_assert_eq!(state(&joined(&a, &b)), state(&joined(&b, &a)));
    }

    #[test]
    fn merging_is_associative(a in record(), b in record(), c in record()) {
        let left = joined(&joined(&a, &b), &c);
        let right = joined(&a, &joined(&b, &c));
        prop_assert_eq!(state(&left), state(&right));
    }

    #[test]
    fn merging_is_idempotent(a in record(), b in record()) {
        prop_assert_eq!(state(&joined(&a, &a)), state(&a));
        let both = joined(&a, &b);
        prop_assert_eq!(state(&joined(&both, &a)), state(&both));
    }

    #[test]
    fn scribes_played_in_any_order_and_number_make_what_their_set_says(
        (scribes, again) in vec(stamped(), 0..10).prop_flat_map(|scribes| {
            let again = scribes.iter().cloned().chain(scribes.iter().take(4).cloned());
            (Just(scribes.clone()), Just(again.collect::<Vec<_>>()).prop_shuffle())
        })
    ) {
        let record = played(&scribes);
        let (is_alive, destroyed, registers) = said(&scribes);
        prop_assert_eq!(record.is_alive(), is_alive);
        prop_assert_eq!(record.destroyed(), destroyed);
        prop_assert_eq!(Vec::from_iter(record.registers().iter().map(Register::from)), registers);
        prop_assert_eq!(state(&played(&again)), state(&record));
    }

    #[test]
    fn scribes_played_in_two_halves_that_meet_make_the_same_record(
        scribes in vec(stamped(), 0..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let (here, there) = scribes.split_at(cut.index(scribes.len() + 1));
        prop_assert_eq!(joined(&played(there), &played(here)), played(&scribes));
    }

    #[test]
    fn an_update_never_changes_whether_a_record_is_alive(
        record in record(),
        (stamp, mut scribe) in stamped(),
    ) {
        scribe.mark = Mark::Update;
        let after = joined(&record, &scribe.clone().into_record(stamp).1);
        prop_assert_eq!(after.is_alive(), record.is_alive());
    }

    #[test]
    fn a_record_made_of_its_own_parts_is_itself(a in record(), b in record()) {
        let merged = joined(&a, &b);
        let mut registers: Vec<Register> = merged.registers().iter().map(Register::from).collect();
        prop_assert!(registers.is_sorted_by(|a, b| a.path < b.path));
        registers.reverse();
        let made = Record::new(merged.created(), merged.destroyed(), registers);
        prop_assert_eq!(made, merged);
    }

    #[test]
    fn parts_put_together_at_once_or_one_by_one_make_one_record(
        created in option::of(stamp()),
        destroyed in option::of(stamp()),
        registers in vec(register(), 0..10),
    ) {
        let mut record = Record::new(created, None, Vec::new());
        record.merge(&Record::new(None, destroyed, Vec::new()));
        for register in &registers {
            record.merge(&Record::new(None, None, vec![register.clone()]));
        }
        prop_assert_eq!(Record::new(created, destroyed, registers), record);
    }

    /// However many have written in it.
    #[test]
    fn a_record_knows_no_more_authors_than_it_has_stamps(
        writes in vec((0..50_u64, 0..40_u8, 0..3_usize), 0..80),
        others in vec((0..50_u64, 0..40_u8, 0..3_usize), 0..80),
    ) {
        let scribe = |(time, node, what): (u64, u8, usize)| {
            let made = [(Mark::Update, f()), (Mark::Update, g()), (Mark::Create, f())];
            let (made, path) = made[what].clone();
            (at_node(time, node), mark(made, &[(path, i64::from(node))]))
        };
        let [one, other] = [writes, others].map(|all| {
            played(&all.into_iter().map(scribe).collect::<Vec<_>>())
        });
        for record in [&one, &other, &joined(&one, &other)] {
            prop_assert!(record.authors.len() <= record.stamps().count());
            let parts = record.registers().iter().map(Register::from).collect();
            let anew = Record::new(record.created(), record.destroyed(), parts);
            prop_assert_eq!(&anew, record);
            prop_assert_eq!(state(&anew), state(record));
            let first = record.newest().map(|newest| newest.author);
            let is_all = |author| record.stamps().all(|stamp| stamp.author == author);
            prop_assert!(first.is_none_or(|first| record.is_all_by(first) == is_all(first)));
        }
    }

    #[test]
    fn many_registers_merge_as_each_of_them_would(a in record(), b in record()) {
        let mut one_by_one = joined(&a, &Record::new(b.created(), b.destroyed(), Vec::new()));
        for register in b.registers() {
            one_by_one.merge(&Record::new(None, None, vec![register.into()]));
        }
        prop_assert_eq!(joined(&a, &b), one_by_one);
    }

    #[test]
    fn records_that_differ_in_anything_differ_in_state(
        record in record(),
        extra in register(),
        mark in stamp(),
    ) {
        let others = [
            Record::new(None, None, vec![extra]),
            Record::new(Some(mark), None, Vec::new()),
            Record::new(None, Some(mark), Vec::new()),
        ];
        for other in others {
            let other = joined(&record, &other);
            prop_assert_eq!(state(&record) == state(&other), record == other);
        }
    }

    #[test]
    fn a_stamp_above_the_newest_is_above_every_part(record in record()) {
        let newest = record.newest();
        prop_assert_eq!(newest.is_none(), record.is_unknown());
        let over = Stamp { time: Time::from_bits(9), ..Stamp::PROVISIONAL };
        prop_assert!(newest < Some(over));
        for part in [record.created(), record.destroyed()].into_iter().flatten() {
            prop_assert!(newest >= Some(part));
        }
        for register in record.registers() {
            prop_assert!(newest >= Some(register.stamp));
        }
    }
}

/// A stamp of node 1, or of the node given.
fn at(time: u64) -> Stamp {
    at_node(time, 1)
}

fn at_node(time: u64, node: u8) -> Stamp {
    Stamp {
        time: Time::from_bits(time),
        author: Author { node: NodeId::from_bytes([node; 16]), epoch: Epoch(1) },
    }
}

fn f() -> Path {
    Path::field(name("f"))
}

fn g() -> Path {
    Path::field(name("g"))
}

fn mark(mark: Mark, fields: &[(Path, i64)]) -> Scribe {
    let fields = fields.iter().cloned();
    Scribe {
        key: key(),
        mark,
        fields: fields.map(|(path, int)| (path, Encoded::int(int))).collect(),
    }
}

fn value(record: &Record, path: &Path) -> Option<i64> {
    record.register(path)?.value.as_i64()
}

#[test]
fn an_update_that_overtakes_its_create_shows_once_the_create_is_there() {
    let mut record = mark(Mark::Update, &[(f(), 2)]).into_record(at(2)).1;
    assert!(!record.is_alive());
    record.merge(&mark(Mark::Create, &[(f(), 1), (g(), 1)]).into_record(at(1)).1);
    assert!(record.is_alive());
    assert_eq!((value(&record, &f()), value(&record, &g())), (Some(2), Some(1)));
}

#[test]
fn a_destroy_beats_concurrent_updates_whichever_comes_first() {
    let create = (at(1), mark(Mark::Create, &[(f(), 1)]));
    let update = (at_node(2, 2), mark(Mark::Update, &[(f(), 2)]));
    let destroy = (at(3), mark(Mark::Destroy, &[]));
    for order in [[&create, &update, &destroy], [&destroy, &update, &create]] {
        let record = played(order);
        assert!(!record.is_alive());
        assert_eq!(record.created(), None);
        assert_eq!(record.destroyed(), Some(at(3)));
        assert!(record.registers().is_empty(), "a tombstone is one stamp");
    }
}

#[test]
fn an_update_younger_than_a_destroy_stays_hidden_until_a_later_create() {
    let mut record = played(&[
        (at(1), mark(Mark::Create, &[(f(), 1), (g(), 1)])),
        (at(2), mark(Mark::Destroy, &[])),
        (at(3), mark(Mark::Update, &[(f(), 3)])),
    ]);
    assert!(!record.is_alive(), "an update never revives");
    assert_eq!(value(&record, &f()), Some(3));
    record.merge(&mark(Mark::Create, &[(f(), 4)]).into_record(at(4)).1);
    assert!(record.is_alive());
    assert_eq!((value(&record, &f()), value(&record, &g())), (Some(4), None));
}

#[test]
fn a_later_create_beats_a_destroy_and_an_earlier_one_does_not() {
    let destroy = (at(2), mark(Mark::Destroy, &[]));
    let later = (at_node(3, 2), mark(Mark::Create, &[]));
    let earlier = (at_node(1, 2), mark(Mark::Create, &[]));
    assert!(played([&later, &destroy]).is_alive());
    assert!(played([&destroy, &later]).is_alive());
    assert!(!played([&earlier, &destroy]).is_alive());
    assert!(!played([&destroy, &earlier]).is_alive());
}

#[test]
fn of_two_writes_at_one_time_the_greater_author_comes_later() {
    let create = (at_node(1, 2), mark(Mark::Create, &[]));
    let destroy = (at_node(1, 1), mark(Mark::Destroy, &[]));
    assert!(played([&create, &destroy]).is_alive());
}

#[test]
fn a_replace_leaves_the_record_alive_with_nothing_of_what_was_there() {
    let old = (at(1), mark(Mark::Create, &[(f(), 1), (g(), 1)]));
    let replace = (at(2), mark(Mark::Replace, &[(f(), 2)]));
    for order in [[&old, &replace], [&replace, &old]] {
        let record = played(order);
        assert!(record.is_alive());
        assert_eq!((value(&record, &f()), value(&record, &g())), (Some(2), None));
    }
}

#[test]
fn the_greater_stamp_wins_whatever_the_values() {
    let great = (at(1), mark(Mark::Update, &[(f(), 9)]));
    let late = (at(2), mark(Mark::Update, &[(f(), 1)]));
    assert_eq!(value(&played([&late, &great]), &f()), Some(1));
    assert_eq!(value(&played([&great, &late]), &f()), Some(1));
}

#[test]
fn of_equal_stamps_on_forked_machines_the_greater_value_bytes_win() {
    let positive = (at(1), mark(Mark::Update, &[(f(), 9)]));
    let negative = (at(1), mark(Mark::Update, &[(f(), -1)]));
    // -1 is the byte 0xff.
    assert_eq!(value(&played([&positive, &negative]), &f()), Some(-1));
    assert_eq!(value(&played([&negative, &positive]), &f()), Some(-1));
}

#[test]
fn a_destroy_and_a_create_of_one_stamp_on_forked_machines_leave_the_record_alive() {
    let create = (at(1), mark(Mark::Create, &[(f(), 1)]));
    let destroy = (at(1), mark(Mark::Destroy, &[]));
    for order in [[&create, &destroy], [&destroy, &create]] {
        assert!(played(order).is_alive());
        assert_eq!(value(&played(order), &f()), Some(1));
    }
}

#[test]
fn writes_to_different_parts_of_a_field_keep_out_of_each_others_way() {
    let paths = [
        f(),
        Path::entry(name("f"), "f"),
        Path::member(name("f"), Value::from("f").encode()),
        Path::counter(name("f"), at(1).author),
        Path::counter(name("f"), at_node(1, 2).author),
    ];
    let mut record = Record::default();
    for (int, path) in (1..).zip(&paths) {
        record.merge(&mark(Mark::Update, &[(path.clone(), int)]).into_record(at(1)).1);
    }
    for (int, path) in (1..).zip(&paths) {
        assert_eq!(value(&record, path), Some(int), "{path:?}");
    }
}

#[test]
fn each_authors_later_total_takes_the_place_of_its_own_earlier_one_only() {
    let ours = Path::counter(name("f"), at(1).author);
    let theirs = Path::counter(name("f"), at_node(1, 2).author);
    let record = played(&[
        (at(3), mark(Mark::Update, &[(ours.clone(), 5)])),
        (at_node(2, 2), mark(Mark::Update, &[(theirs.clone(), 7)])),
        (at(1), mark(Mark::Update, &[(ours.clone(), 9)])),
    ]);
    assert_eq!(value(&record, &ours), Some(5));
    assert_eq!(value(&record, &theirs), Some(7));
}

/// Each register of one record was inserted among those of the other, and moved the rest: for these two,
/// some hundred thousand times ten megabytes.
#[test]
fn two_large_records_merge_in_one_walk() {
    let of = |numbers: std::ops::Range<i64>, time| {
        let registers = numbers.map(|n| Register {
            path: Path::entry(name("f"), &format!("{:06}", n * 7919 % 100_003)),
            stamp: at(time),
            value: Encoded::int(n),
        });
        Record::new(Some(at(1)), None, registers.collect())
    };
    let merged = joined(&of(0..60_000, 1), &of(40_000..100_000, 2));
    assert_eq!(merged.registers().len(), 100_000);
    assert!(merged.registers().iter().is_sorted_by(|a, b| a.path < b.path));
    let is_younger = |register: &RegisterRef<'_>| register.stamp == at(2);
    assert_eq!(merged.registers().iter().filter(is_younger).count(), 60_000);
}

#[test]
fn a_scribe_made_by_hand_may_have_its_fields_in_any_order() {
    let field = |field, value| (Path::field(name(field)), value);
    let made = |fields: &[_]| mark(Mark::Create, fields).into_record(at(1)).1;
    let said = made(&[field("title", 1), field("done", 2), field("title", 0)]);
    let sorted = made(&[field("done", 2), field("title", 1)]);
    assert_eq!(said, sorted);
}

/// Each record of a model had all its paths for itself.
#[test]
fn records_of_one_model_share_their_paths() {
    let [one, other] = [1, 2].map(|at_time| {
        let fields = ["done", "title"].map(|field| (Path::field(name(field)), at_time as i64));
        played(&[(at(at_time), mark(Mark::Create, &fields))])
    });
    assert!(one.shares_paths_with(&other));
    let note = (at(3), mark(Mark::Update, &[(Path::field(name("note")), 3)]));
    let noted = [&one, &other].map(|record| joined(record, &played(std::slice::from_ref(&note))));
    assert!(noted[0].shares_paths_with(&noted[1]) && !noted[0].shares_paths_with(&one));
    let title = (at(4), mark(Mark::Update, &[(Path::field(name("title")), 4)]));
    assert!(joined(&noted[0], &played(&[title])).shares_paths_with(&noted[1]));
}

#[test]
fn the_state_of_a_record_has_the_bytes_it_always_had() {
    let mut record = played(&[
        (at(1), mark(Mark::Replace, &[(f(), 1)])),
        (at(2), mark(Mark::Update, &[(Path::entry(name("f"), "k"), 2)])),
    ]);
    record.merge(&played(&[(
        at(3),
        mark(Mark::Update, &[(Path::counter(name("f"), at(3).author), 3)]),
    )]));
    let member = Path::member(name("g"), Encoded::int(4));
    record.merge(&mark(Mark::Update, &[(member, 5)]).into_record(at(4)).1);
    let author = "c410 01010101010101010101010101010101 01";
    let expected = [
        "01",
        author,
        "01",
        author, // created, destroyed
        "94",
        "a1'f' 00 c0 01",
        author,
        "01",
        "a1'f' 00 a1'k' 02",
        author,
        "02",
        "a1'f' 01",
        author,
        "03",
        author,
        "03",
        "a1'g' 00 91 04 04",
        author,
        "05",
    ];
    assert_eq!(hex(&state(&record)), hex(&golden(&expected.join(" "))),);
}
