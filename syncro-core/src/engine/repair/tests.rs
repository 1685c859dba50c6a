//! The laws of repairs.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{few_encoded, key, name, scribe, stamp};
use crate::fields::{Field, Fields};
use crate::id::{NodeId, RecordId, RecordKey};
use crate::record::Element;
use crate::stamp::{Author, Epoch, Time};
use crate::value::Value;

fn the_key() -> RecordKey {
    RecordKey { model: name("m"), id: RecordId::Int(1) }
}

fn record() -> impl Strategy<Value = Record> {
    vec((scribe(the_key(), few_encoded()), stamp()), 0..5).prop_map(|scribes| {
        let mut record = Record::default();
        scribes.into_iter().for_each(|(scribe, stamp)| play(&mut record, scribe, stamp));
        record
    })
}

fn play(record: &mut Record, scribe: Scribe, stamp: Stamp) {
    record.merge(&scribe.into_record(stamp).1);
}

/// A change that makes a difference, of an author who raises nobody's counters but its own.
fn trial() -> impl Strategy<Value = (Trial, Stamp)> {
    let trial = (record(), scribe(the_key(), few_encoded()), stamp());
    let trial = trial.prop_map(|(before, mut scribe, stamp)| {
        scribe.fields.retain(|(path, _)| {
            !matches!(path.element, Some(Element::Author(other)) if other != stamp.author)
        });
        let mut after = before.clone();
        play(&mut after, scribe.clone(), stamp);
        (Trial { scribe, before: Some(Arc::new(before)), after: Arc::new(after) }, stamp)
    });
    trial.prop_filter("it makes a difference, to something that is there", |(trial, _)| {
        let is_different = trial.before.as_deref() != Some(&trial.after);
        is_different && (before(trial).is_alive() || trial.scribe.mark.creates())
    })
}

/// Stamps immediately above another, by an authority on either side of its author.
fn above(stamp: Stamp, node: u8, number: u64) -> Stamp {
    let author = Author { node: NodeId::from_bytes([node; 16]), epoch: Epoch(number) };
    let time = if author > stamp.author { stamp.time } else { stamp.time.next() };
    Stamp { time, author }
}

fn repaired(mut record: Record, trial: &Trial, stamp: Stamp, node: u8) -> Record {
    for (number, scribe) in (1..).zip(repair(trial, stamp)) {
        play(&mut record, scribe, above(stamp, node, number));
    }
    record
}

/// What shows of a record: of what is empty, nothing.
fn shows(record: &Record) -> Option<BTreeMap<Name, Field>> {
    let shown = record.is_alive().then(|| Fields::of(record))?;
    let present = shown.iter().filter(|(_, field)| match field {
        Field::Value(value) => !value.is_nil(),
        Field::Set(members) => !members.is_empty(),
        Field::Map(entries) => !entries.is_empty(),
        Field::Counter(sum) => *sum != 0,
    });
    Some(present.map(|(name, field)| (name.clone(), field.clone())).collect())
}

fn before(trial: &Trial) -> Record {
    trial.before.as_deref().cloned().unwrap_or_default()
}

proptest! {
    #[test]
    fn after_its_repair_it_makes_no_difference_whether_the_change_arrived(
        (trial, stamp) in trial(),
        node in prop::sample::select(vec![0_u8, 9]),
    ) {
        let without = repaired(before(&trial), &trial, stamp, node);
        let with = repaired(trial.after.as_ref().clone(), &trial, stamp, node);
        prop_assert_eq!(&without, &with);
        prop_assert_eq!(shows(&without), shows(&before(&trial)));
        let mut late = without.clone();
        play(&mut late, trial.scribe.clone(), stamp);
        prop_assert_eq!(late, without);
    }

    #[test]
    fn whatever_its_author_writes_next_stands_above_the_repair(
        (trial, stamp) in trial(),
        next in scribe(the_key(), few_encoded()),
        node in prop::sample::select(vec![0_u8, 9]),
    ) {
        let later = Stamp { time: stamp.time.next(), ..stamp };
        let mut record = repaired(before(&trial), &trial, stamp, node);
        let was_alive = record.is_alive();
        play(&mut record, next.clone(), later);
        for (path, value) in &next.fields {
            let register = record.register(path).unwrap();
            let is_old = trial.before.as_ref().unwrap().register(path).is_some_and(|it| it.stamp >= later);
            prop_assert!(is_old || (register.stamp, register.value) == (later, value));
        }
        let marks = before(&trial);
        if marks.created().max(marks.destroyed()).is_none_or(|mark| mark < later) {
            let is_alive = match next.mark {
                Mark::Destroy => false,
                Mark::Create | Mark::Replace => true,
                Mark::Update | Mark::State | Mark::Evict => was_alive,
            };
            prop_assert_eq!(record.is_alive(), is_alive);
        }
    }

    #[test]
    fn of_what_an_author_raises_all_counts_but_what_was_refused(
        raises in vec((1..5_i64, any::<bool>()), 1..8),
        destroys in any::<bool>(),
        node in prop::sample::select(vec![0_u8, 9]),
    ) {
        let author = Author { node: NodeId::from_bytes([5; 16]), epoch: Epoch(7) };
        let field = name("f");
        let path = Path::counter(field, author);
        let mut record = Record::default();
        let first = Stamp { time: Time::from_bits(1), author };
        play(&mut record, Scribe { key: the_key(), mark: Mark::Create, fields: Vec::new() }, first);
        let (mut total, mut accepted) = (0, 0);
        for (time, (by, is_refused)) in (2..).zip(raises) {
            let stamp = Stamp { time: Time::from_bits(time), author };
            let is_destroy = destroys && is_refused && by == 1;
            total = if is_destroy { 0 } else { total + by };
            let scribe = match is_destroy {
                true => Scribe { key: the_key(), mark: Mark::Destroy, fields: Vec::new() },
                false => Scribe {
                    key: the_key(),
                    mark: if by == 2 { Mark::Create } else { Mark::Update },
                    fields: vec![(path.clone(), Encoded::int(total))],
                },
            };
            let mut after = record.clone();
            play(&mut after, scribe.clone(), stamp);
            if is_refused {
                let before = Some(Arc::new(record.clone()));
                let trial = Trial { scribe, before, after: Arc::new(after) };
                record = repaired(record, &trial, stamp, node);
            } else {
                (record, accepted) = (after, accepted + by);
            }
            let shown = shows(&record).unwrap();
            let expected = (accepted != 0).then_some(Field::Counter(accepted));
            prop_assert_eq!(shown.get("f").cloned(), expected);
        }
    }

    #[test]
    fn a_large_record_is_written_back_in_pieces_that_fit(
        sizes in vec(1..250_000_usize, 1..16),
        keys in vec(key(), 1..4),
    ) {
        let author = Author { node: NodeId::from_bytes([5; 16]), epoch: Epoch(7) };
        let stamp = Stamp { time: Time::from_bits(9), author };
        let first = Stamp { time: Time::from_bits(1), author };
        let fields: Vec<_> = (0..).zip(&sizes).map(|(number, size)| {
            let path = Path::entry(name("f"), &format!("{number:05}"));
            (path, Value::Bytes(vec![7; *size]).encode())
        }).collect();
        let mut record = Record::default();
        play(&mut record, Scribe { key: the_key(), mark: Mark::Create, fields }, first);
        let before = Arc::new(record.clone());
        let trials = keys.iter().map(|key| {
            let scribe = Scribe { key: key.clone(), mark: Mark::Destroy, fields: Vec::new() };
            let mut after = record.clone();
            play(&mut after, scribe.clone(), stamp);
            Trial { scribe, before: Some(before.clone()), after: Arc::new(after) }
        });
        let trials: Vec<_> = trials.collect();
        let packs = packed(trials.iter().flat_map(|trial| repair(trial, stamp)).collect());
        for pack in &packs {
            let bytes = crate::scribe::Transaction::new(stamp, pack).bytes().clone();
            prop_assert!(bytes.len() <= TRANSACTION_BYTES_MAX, "{}", bytes.len());
        }
        for key in &keys {
            let mut again = trials[0].after.as_ref().clone();
            for (number, pack) in (1..).zip(&packs) {
                for scribe in pack.iter().filter(|scribe| scribe.key == *key) {
                    play(&mut again, scribe.clone(), above(stamp, 9, number));
                }
            }
            prop_assert_eq!(shows(&again), shows(&record));
        }
    }
}
