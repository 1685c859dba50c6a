//! Random histories, and the plain maps that say what must come of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use syncro_core::StoreError;
use syncro_store::{Backend, Batch, Durability, Table};

/// What every table holds, table by table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    entries: BTreeMap<(Table, Bytes), Bytes>,
}

impl Model {
    pub(crate) fn apply(&mut self, batch: &Batch) {
        for (table, key, value) in batch.iter() {
            let place = (table, key.clone());
            match value {
                Some(value) => self.entries.insert(place, value.clone()),
                None => self.entries.remove(&place),
            };
        }
    }

    pub(crate) fn of(store: &impl Backend) -> Self {
        Self::try_of(store).unwrap()
    }

    pub(crate) fn try_of(store: &impl Backend) -> Result<Self, StoreError> {
        let mut entries = BTreeMap::new();
        for table in Table::ALL {
            for (key, value) in store.scan(table, b"", None, usize::MAX)? {
                entries.insert((table, key), value);
            }
        }
        Ok(Self { entries })
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        let place = (table, Bytes::copy_from_slice(key));
        self.entries.get(&place).cloned()
    }

    pub(crate) fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Bytes, Bytes)> {
        self.pairs(table)
            .filter(|(key, _)| key >= start && end.is_none_or(|end| key < end))
            .take(limit)
            .collect()
    }

    pub(crate) fn floor(&self, table: Table, at: &[u8]) -> Option<(Bytes, Bytes)> {
        self.pairs(table).filter(|(key, _)| key <= at).last()
    }

    fn pairs(&self, table: Table) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.entries
            .iter()
            .filter(move |((at, _), _)| *at == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Batch, Durability),
    Reopen,
    Get(Table, Vec<u8>),
    Scan(Table, Vec<u8>, Option<Vec<u8>>, usize),
    Floor(Table, Vec<u8>),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop::option::of(bound());
    let step = prop_oneof![
        6 => (batch(), durability()).prop_map(|(batch, how)| Step::Write(batch, how)),
        1 => Just(Step::Reopen),
        3 => (table(), bound()).prop_map(|(table, key)| Step::Get(table, key)),
        3 => (table(), bound(), end, 0..20_usize)
            .prop_map(|(table, start, end, limit)| Step::Scan(table, start, end, limit)),
        3 => (table(), bound()).prop_map(|(table, at)| Step::Floor(table, at)),
    ];
    prop::collection::vec(step, 1..40)
}

pub(crate) fn writes(most: usize) -> impl Strategy<Value = Vec<(Batch, Durability)>> {
    prop::collection::vec((batch(), durability()), 1..most)
}

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
    let value = prop_oneof![
        4 => Just(Some(0..40_usize)),
        1 => Just(Some(3_000..9_000)),
        2 => Just(None),
    ]
    .prop_flat_map(|len| match len {
        Some(len) => (len, any::<u8>()).prop_map(|(len, byte)| Some(vec![byte; len])).boxed(),
        None => Just(None).boxed(),
    });
    prop::collection::vec((table(), key(), value), 0..30).prop_map(|changes| {
        let mut batch = Batch::new();
        for (table, key, value) in changes {
            match value {
                Some(value) => batch.put(table, key, value),
                None => batch.delete(table, key),
            }
        }
        batch
    })
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![
        3 => Just(Durability::Buffered),
        1 => Just(Durability::Durable),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(&Table::ALL[..])
}

/// Few and short keys, so that histories meet the same ones again, and a few long ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => prop::collection::vec(prop::sample::select(&[0, 1, 127, 128, 255][..]), 1..4),
        1 => (500..1024_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

/// Where to look: a key, or what can be no key.
fn bound() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => key(),
        1 => Just(Vec::new()),
        1 => Just(vec![255; 2_000]),
    ]
}
