//! The canonical encoding of transactions.

use bytes::Bytes;
use syncro_core::{Fields, Record, Transaction, from_json, to_json};

/// What is read has one canonical form, the same by way of JSON, and can be played in any order.
pub fn transaction(input: &[u8]) {
    let Ok(read) = Transaction::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let scribes = read.scribes().expect("what was checked is read");
    let json = to_json(read.bytes()).expect("a transaction nests within the limits");
    let from_json = from_json(&json).expect("what was transcribed is JSON");
    assert_eq!(from_json, *read.bytes(), "JSON says the same");

    let again = Transaction::decode(read.bytes().clone());
    let again = again.expect("canonical bytes are read");
    assert_eq!(again.bytes(), read.bytes(), "canonical bytes stay as they are");
    assert_eq!((again.stamp(), &again.scribes()), (read.stamp(), &Ok(scribes.clone())));
    assert_eq!(read.len(), scribes.len() as u64);
    let trusted = Transaction::trusted(read.bytes().clone()).expect("its head is read");
    assert_eq!((trusted.stamp(), trusted.len()), (read.stamp(), read.len()));
    assert!(!read.is_empty(), "a transaction has a scribe");

    for (scribe, part) in scribes.iter().zip(read.each()) {
        let part = part.expect("what was checked is read");
        let (key, record) = scribe.clone().into_record(read.stamp());
        assert_eq!((part.key(), part.mark()), (key, scribe.mark));
        assert_eq!(part.to_record().as_ref(), Ok(&record), "a scribe is the same either way");
    }
    let records = scribes.into_iter().map(|scribe| scribe.into_record(read.stamp()).1);
    let records: Vec<Record> = records.collect();
    let joined = join(records.iter());
    assert_eq!(joined, join(records.iter().rev()), "merging is commutative and associative");
    assert_eq!(joined, join(records.iter().chain([&joined])), "merging is idempotent");
    let _ = Fields::of(&joined).to_values();
}

/// Scribes of different records may be joined as well: the mechanism is the same.
fn join<'a>(records: impl Iterator<Item = &'a Record>) -> Record {
    records.fold(Record::default(), |mut joined, record| {
        joined.merge(record);
        joined
    })
}
