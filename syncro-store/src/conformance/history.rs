//! Random histories, and the plain maps that say what must come of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::SizeRange;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use syncro_core::StoreError;

use crate::backend::{Backend, Batch, Durability, Table};

/// What every table holds, in a plain map: the reference that a backend is compared with.
///
/// ```
/// use syncro_store::conformance::Model;
/// use syncro_store::{Backend, Batch, Durability, Memory, Table};
///
/// # fn main() -> Result<(), syncro_core::StoreError> {
/// let mut batch = Batch::new();
/// batch.put(Table::Rows, "colour", "green");
/// let mut model = Model::default();
/// model.apply(&batch);
///
/// let store = Memory::new();
/// store.write(&batch, Durability::Durable)?;
/// assert_eq!(Model::try_of(&store)?, model);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    entries: BTreeMap<(Table, Bytes), Bytes>,
}

impl Model {
    /// Applies a batch.
    pub fn apply(&mut self, batch: &Batch) {
        for (table, key, value) in batch.iter() {
            let place = (table, key.clone());
            match value {
                Some(value) => self.entries.insert(place, value.clone()),
                None => self.entries.remove(&place),
            };
        }
    }

    /// Reads everything that a store holds.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn of(store: &impl Backend) -> Self {
        Self::try_of(store).unwrap()
    }

    /// Reads everything that a store holds.
    ///
    /// # Errors
    ///
    /// Whatever the store fails with.
    pub fn try_of(store: &impl Backend) -> Result<Self, StoreError> {
        let mut entries = BTreeMap::new();
        for table in Table::ALL {
            for (key, value) in store.scan(table, b"", None, usize::MAX)? {
                entries.insert((table, key), value);
            }
        }
        Ok(Self { entries })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        let place = (table, Bytes::copy_from_slice(key));
        self.entries.get(&place).cloned()
    }

    pub(super) fn scan(
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

    pub(super) fn floor(&self, table: Table, at: &[u8]) -> Option<(Bytes, Bytes)> {
        self.pairs(table).filter(|(key, _)| key <= at).last()
    }

    fn pairs(&self, table: Table) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.entries
            .iter()
            .filter(move |((at, _), _)| *at == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
    }
}

/// What a random history does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Batch, Durability),
    Reopen,
    Get(Table, Vec<u8>),
    Scan(Table, Vec<u8>, Option<Vec<u8>>, usize),
    Floor(Table, Vec<u8>),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
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

/// Makes histories of 1 to `most - 1` random batches. In half of them what is written ahead and what is buffered
/// have no table in common.
///
/// Keys are few, so that batches meet the same ones again; some are long, and some values fill pages.
pub fn writes(most: usize) -> impl Strategy<Value = Vec<(Batch, Durability)>> {
    histories(1..most)
}

fn histories(lengths: impl Into<SizeRange>) -> impl Strategy<Value = Vec<(Batch, Durability)>> {
    let history = prop::collection::vec((batch(), durability()), lengths);
    (history, any::<bool>()).prop_map(|(mut history, is_parted)| {
        if is_parted {
            history.iter_mut().for_each(|(batch, durability)| *batch = part(batch, *durability));
        }
        history
    })
}

/// What a batch does to the tables of its durability.
fn part(batch: &Batch, durability: Durability) -> Batch {
    let mut part = Batch::new();
    for (table, key, value) in batch.iter() {
        let is_ahead = matches!(table, Table::Rows | Table::Log);
        match (durability, value) {
            (Durability::Ahead, _) if !is_ahead => {}
            (Durability::Buffered, _) if is_ahead => {}
            (_, Some(value)) => part.put(table, key.clone(), value.clone()),
            (_, None) => part.delete(table, key.clone()),
        }
    }
    part
}

/// The states that a crash may leave after some batches were written (B2, B3).
///
/// Where another one was under way, those with it may be left as well.
pub fn outcomes(history: &[(Batch, Durability)]) -> Vec<Model> {
    let is_durable = |(_, durability): &(Batch, Durability)| *durability == Durability::Durable;
    let durable = history.iter().rposition(is_durable).map_or(0, |at| at + 1);
    let mut first = Model::default();
    history[..durable].iter().for_each(|(batch, _)| first.apply(batch));
    let outcome = |kept: usize| {
        let mut outcome = first.clone();
        for (at, (batch, durability)) in history.iter().enumerate().skip(durable) {
            if at < kept || *durability == Durability::Ahead {
                outcome.apply(batch);
            }
        }
        outcome
    };
    (durable..=history.len()).map(outcome).collect()
}

/// The history of a seed: another process gets the same one.
pub(super) fn history_of(seed: u64, most: usize) -> Vec<(Batch, Durability)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    histories(most).new_tree(&mut runner).unwrap().current()
}

fn batch() -> impl Strategy<Value = Batch> {
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
        4 => Just(Durability::Buffered),
        3 => Just(Durability::Ahead),
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

/// Returns random numbers of a seed, by SplitMix64: the same ones at every run.
pub fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
