//! What a stretch of the log does to records.

use bytes::Bytes;
use syncro_core::{Mark, Record, RecordKey, ScribeRef, StoreError};

use crate::encoding::record::{self, Gathered, Numbers};
use crate::encoding::{Out, key};
use crate::rows::{leading, shared_prefix};

/// Scribes in little memory, each as the row of a record of which nothing else is known.
///
/// Many are gathered before they are played: then they are sorted, so that each record is read and written
/// once, in the order in which rows are kept.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Key and content of one change after the other.
    memory: Out,
    changes: Vec<Change>,
    gathered: Gathered,
}

/// Where a change is.
#[derive(Clone, Copy, Debug)]
struct Change {
    key: usize,
    content: usize,
    end: usize,
    /// Whether it takes the place of what was known.
    is_shown: bool,
}

impl Changes {
    /// Adds what a scribe of a record, with its mark, makes of one of which nothing else is known.
    pub(crate) fn push(
        &mut self,
        record_key: &RecordKey,
        mark: Mark,
        record: &Record,
        numbers: &mut impl Numbers,
    ) -> Result<(), StoreError> {
        let key = self.memory.0.len();
        let is_shown = mark.is_shown();
        key::write_record(record_key.as_ref(), &mut self.memory);
        let content = self.memory.0.len();
        record::write(record, numbers, &mut self.memory, &mut self.gathered)?;
        self.changes.push(Change { key, content, end: self.memory.0.len(), is_shown });
        Ok(())
    }

    /// Adds a scribe of a transaction in the log; `None` where it cannot be read.
    pub(crate) fn push_scribe(
        &mut self,
        scribe: &ScribeRef<'_>,
        numbers: &mut impl Numbers,
    ) -> Result<Option<()>, StoreError> {
        if scribe.mark().is_shown() {
            let Ok(record) = scribe.to_record() else { return Ok(None) };
            return self.push(&scribe.key(), scribe.mark(), &record, numbers).map(Some);
        }
        let key = self.memory.0.len();
        key::write_record(scribe.key_ref(), &mut self.memory);
        let content = self.memory.0.len();
        let Self { memory, gathered, .. } = self;
        let written = record::write_scribe(scribe, numbers, memory, gathered)?;
        self.changes.push(Change { key, content, end: self.memory.0.len(), is_shown: false });
        Ok(written)
    }

    /// Sorts the changes by their records.
    pub(crate) fn sorted(self) -> SortedChanges {
        let Self { memory, changes, .. } = self;
        let memory = Bytes::from(memory.0);
        let key = |change: &Change| &memory[change.key..change.content];
        let shared = shared_prefix(changes.iter().map(key));
        // What follows in a key after what all begin with decides nearly every comparison, without a look at the rest.
        let leading = changes.iter().map(|change| leading(&key(change)[shared..]));
        let mut order: Vec<(u64, u32)> = leading.zip(0..).collect();
        order.sort_unstable();
        for alike in order.chunk_by_mut(|(one, _), (other, _)| one == other) {
            alike.sort_by_key(|(_, place)| key(&changes[*place as usize]));
        }
        let changes = order.iter().map(|(_, place)| changes[*place as usize]).collect();
        SortedChanges { memory, changes }
    }
}

/// Changes in the order of their records.
#[derive(Debug)]
pub(crate) struct SortedChanges {
    memory: Bytes,
    changes: Vec<Change>,
}

impl SortedChanges {
    /// The key of each record, and in the order of the log what is to be merged into it, or to take its place.
    pub(crate) fn records(
        &self,
    ) -> impl Iterator<Item = (&[u8], impl ExactSizeIterator<Item = (Bytes, bool)>)> {
        let key = |change: &Change| &self.memory[change.key..change.content];
        let records = self.changes.chunk_by(move |one, other| key(one) == key(other));
        records.filter_map(move |changes| {
            let contents = changes.iter();
            let contents = contents.map(|it| (self.memory.slice(it.content..it.end), it.is_shown));
            Some((key(changes.first()?), contents))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use syncro_core::{Author, Epoch, Name, NodeId, RecordId, Stamp, Time};

    use super::*;
    use crate::encoding::record::Words;

    /// One author, and no names.
    struct Nobody;

    const AUTHOR: Author = Author { node: NodeId::from_bytes([7; 16]), epoch: Epoch(7) };

    impl Numbers for Nobody {
        fn name(&mut self, _: &str) -> Result<u32, StoreError> {
            unreachable!()
        }
        fn author(&mut self, _: Author) -> Result<u32, StoreError> {
            Ok(0)
        }
    }

    impl Words for Nobody {
        fn name(&self, _: u32) -> Result<Option<Name>, StoreError> {
            unreachable!()
        }
        fn author(&self, _: u32) -> Result<Option<Author>, StoreError> {
            Ok(Some(AUTHOR))
        }
    }

    fn record_key() -> impl Strategy<Value = RecordKey> {
        // Keys that begin with one another, or differ late.
        let model = prop::sample::select(vec!["a", "ab", "b", "a much longer name"]);
        let text = "[\0a]{1,3}|a much longer id than eight bytes [ab]?\0{0,2}";
        let id = prop_oneof![
            (-2_i64..3).prop_map(RecordId::Int),
            text.prop_map(|text| RecordId::text(&text).unwrap()),
        ];
        (model, id).prop_map(|(model, id)| RecordKey { model: Name::new(model).unwrap(), id })
    }

    proptest! {
        #[test]
        fn each_record_comes_once_in_order_with_all_of_its_changes(
            keys in prop::collection::vec(record_key(), 0..40),
        ) {
            let mut changes = Changes::default();
            let mut expected: BTreeMap<Vec<u8>, Record> = BTreeMap::new();
            for (time, record_key) in (1..).zip(keys) {
                let stamp = Stamp { time: Time::from_bits(time), author: AUTHOR };
                let bytes = key::record(&record_key);
                let record = Record::new(Some(stamp), None, Vec::new());
                expected.entry(bytes).or_default().merge(&record);
                changes.push(&record_key, Mark::Create, &record, &mut Nobody).unwrap();
            }
            let sorted = changes.sorted();
            let played = sorted.records().map(|(key, changes)| {
                let mut record = Record::default();
                for (change, _) in changes {
                    record.merge(&record::read(&change, &Nobody).unwrap().unwrap());
                }
                (key.to_vec(), record)
            });
            prop_assert_eq!(played.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
