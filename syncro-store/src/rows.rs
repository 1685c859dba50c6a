//! Rows in memory.

use std::hash::BuildHasher;
use std::ops::{Bound, Range};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use syncro_core::StoreError;

use crate::backend::Table;

/// All rows from a key on, a piece at a time, by a scan that begins where it is told. It ends with the first
/// error.
pub(crate) fn pieces<S>(
    start: &[u8],
    mut scan: S,
) -> impl Iterator<Item = Result<Vec<(Bytes, Bytes)>, StoreError>> + use<S>
where
    S: FnMut(&[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError>,
{
    let mut next = Some(start.to_vec());
    std::iter::from_fn(move || {
        let rows = match scan(&next.take()?) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        let (last, _) = rows.last()?;
        next = Some(after(last));
        Some(Ok(rows))
    })
}

/// The least key after a key.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// How keys are hashed in this process. They come from peers, who must not know.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A key, hashed once for all the layers in which it is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'a> {
    key: &'a [u8],
    hash: u64,
}

impl<'a> Hashed<'a> {
    pub(crate) fn new(key: &'a [u8]) -> Self {
        Self { key, hash: HASHER.hash_one(key) }
    }
}

/// Values by table and key; `None` where the key is gone.
#[derive(Clone, Debug)]
pub(crate) struct Rows<V> {
    tables: [Sheet<V>; Table::ALL.len()],
}

impl<V> Default for Rows<V> {
    fn default() -> Self {
        Self { tables: Default::default() }
    }
}

impl<V> Rows<V> {
    pub(crate) fn get(&self, table: Table, key: Hashed<'_>) -> Option<&Option<V>> {
        self.table(table).get(key)
    }

    pub(crate) fn insert(
        &mut self,
        table: Table,
        key: Bytes,
        value: Option<V>,
    ) -> Option<Option<V>> {
        self.tables[usize::from(table.code())].insert(key, value)
    }

    /// Keeps the value that is there already.
    pub(crate) fn insert_if_absent(&mut self, table: Table, key: Bytes, value: Option<V>) {
        if self.get(table, Hashed::new(&key)).is_none() {
            self.insert(table, key, value);
        }
    }

    /// The rows of a table from a key on.
    pub(crate) fn from(
        &self,
        table: Table,
        key: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&Bytes, &Option<V>)> {
        self.table(table).from(key)
    }

    /// The rows of a table up to a key.
    pub(crate) fn up_to(
        &self,
        table: Table,
        at: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<V>)> {
        self.table(table).up_to(at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(|sheet| sheet.rows.is_empty())
    }

    /// All rows, by table and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &Bytes, &Option<V>)> {
        self.after(None)
    }

    /// The rows after one of them.
    pub(crate) fn after(
        &self,
        last: Option<&(Table, Bytes)>,
    ) -> impl Iterator<Item = (Table, &Bytes, &Option<V>)> {
        let tables =
            Table::ALL.into_iter().filter(move |table| last.is_none_or(|(last, _)| table >= last));
        tables.flat_map(move |table| {
            let bound = match last {
                Some((last, key)) if *last == table => Bound::Excluded(&key[..]),
                _ => Bound::Unbounded,
            };
            self.from(table, bound).map(move |(key, value)| (table, key, value))
        })
    }

    fn table(&self, table: Table) -> &Sheet<V> {
        &self.tables[usize::from(table.code())]
    }
}

/// The rows of one table.
///
/// They are put and looked up by keys in no order far more often than they are listed, and in a tree each
/// comparison on the way to such a key is a miss of the cache. So they are found by hash, and their order is
/// brought up to date when somebody asks for it. None is ever taken away.
#[derive(Debug)]
struct Sheet<V> {
    /// In the order in which they were first put.
    rows: Vec<(Bytes, Option<V>)>,
    /// Where each of them is.
    places: HashTable<u32>,
    /// The places of the first of them, in key order.
    order: Mutex<Arc<Vec<u32>>>,
}

impl<V> Default for Sheet<V> {
    fn default() -> Self {
        Self { rows: Vec::new(), places: HashTable::new(), order: Mutex::default() }
    }
}

impl<V: Clone> Clone for Sheet<V> {
    fn clone(&self) -> Self {
        let (rows, places) = (self.rows.clone(), self.places.clone());
        Self { rows, places, order: Mutex::new(self.order()) }
    }
}

impl<V> Sheet<V> {
    fn get(&self, key: Hashed<'_>) -> Option<&Option<V>> {
        let place = self.places.find(key.hash, |place| self.key(*place) == key.key)?;
        Some(&self.rows[*place as usize].1)
    }

    fn insert(&mut self, key: Bytes, value: Option<V>) -> Option<Option<V>> {
        let Self { rows, places, .. } = self;
        let hash = |place: &u32| Hashed::new(&rows[*place as usize].0).hash;
        let is_it = |place: &u32| rows[*place as usize].0 == key;
        match places.entry(Hashed::new(&key).hash, is_it, hash) {
            Entry::Occupied(known) => {
                let place = *known.get() as usize;
                Some(std::mem::replace(&mut rows[place].1, value))
            }
            Entry::Vacant(vacant) => {
                // Long before there are so many, memory is full.
                vacant.insert(rows.len() as u32);
                rows.push((key, value));
                None
            }
        }
    }

    fn from(&self, key: Bound<&[u8]>) -> impl Iterator<Item = (&Bytes, &Option<V>)> {
        let order = self.order();
        let first = match key {
            Bound::Unbounded => 0,
            Bound::Included(key) => order.partition_point(|place| self.key(*place) < key),
            Bound::Excluded(key) => order.partition_point(|place| self.key(*place) <= key),
        };
        let all = order.len();
        self.listed(order, first..all)
    }

    fn up_to(&self, at: &[u8]) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<V>)> {
        let order = self.order();
        let after = order.partition_point(|place| self.key(*place) <= at);
        self.listed(order, 0..after)
    }

    /// The rows at some places of an order.
    fn listed(
        &self,
        order: Arc<Vec<u32>>,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<V>)> {
        range.map(move |at| {
            let (key, value) = &self.rows[order[at] as usize];
            (key, value)
        })
    }

    fn key(&self, place: u32) -> &[u8] {
        &self.rows[place as usize].0
    }

    /// The places of all rows, in key order.
    fn order(&self) -> Arc<Vec<u32>> {
        // It is whole between any two operations.
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.len() < self.rows.len() {
            let fresh = self.sorted(order.len());
            let known = std::mem::take(&mut *order);
            let mut merged = Vec::with_capacity(self.rows.len());
            let mut rest = &known[..];
            for place in fresh {
                let key = self.key(place);
                let (before, after) =
                    rest.split_at(rest.partition_point(|known| self.key(*known) < key));
                merged.extend_from_slice(before);
                merged.push(place);
                rest = after;
            }
            merged.extend_from_slice(rest);
            *order = Arc::new(merged);
        }
        order.clone()
    }

    /// The places of the rows from one on, in key order.
    fn sorted(&self, first: usize) -> Vec<u32> {
        let keys = self.rows[first..].iter().map(|(key, _)| &key[..]);
        let shared = shared_prefix(keys.clone());
        let mut fresh: Vec<(u64, u32)> = (first as u32..)
            .zip(keys)
            .map(|(place, key)| (leading(&key[shared..]), place))
            .collect();
        fresh.sort_unstable_by(|(one, a), (other, b)| {
            one.cmp(other).then_with(|| self.key(*a).cmp(self.key(*b)))
        });
        fresh.into_iter().map(|(_, place)| place).collect()
    }
}

/// How many bytes all keys begin with.
pub(crate) fn shared_prefix<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let first = keys.next().unwrap_or_default();
    keys.fold(first.len(), |shared, key| {
        let alike = first.iter().zip(key).take(shared);
        alike.take_while(|(one, other)| one == other).count()
    })
}

/// What decides nearly every comparison of keys that differ from here on: their next eight bytes, as a number.
pub(crate) fn leading(rest: &[u8]) -> u64 {
    let mut leading = [0; 8];
    leading.iter_mut().zip(rest).for_each(|(leading, byte)| *leading = *byte);
    u64::from_be_bytes(leading)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>, Option<u8>),
        From(Vec<u8>, bool),
        UpTo(Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Keys that begin with one another, or differ late.
        let key = || "(a long beginning that all share )?[\0ab]{0,3}".prop_map(String::into_bytes);
        prop_oneof![
            4 => (key(), any::<Option<u8>>()).prop_map(|(key, value)| Step::Put(key, value)),
            1 => (key(), any::<bool>()).prop_map(|(key, is_in)| Step::From(key, is_in)),
            1 => key().prop_map(Step::UpTo),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_found_and_listed_as_in_a_tree(steps in prop::collection::vec(step(), 0..60)) {
            let (mut rows, mut tree) = (Rows::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        let (key, value) = (Bytes::from(key), value.map(|it| Bytes::from(vec![it])));
                        let before = tree.insert(key.clone(), value.clone());
                        prop_assert_eq!(rows.get(Table::Log, Hashed::new(&key)), before.as_ref());
                        prop_assert_eq!(rows.insert(Table::Log, key, value), before);
                    }
                    Step::From(key, is_in) => {
                        let bound = if is_in { Bound::Included(&key[..]) } else { Bound::Excluded(&key[..]) };
                        let listed = tree.range::<[u8], _>((bound, Bound::Unbounded));
                        prop_assert!(rows.from(Table::Log, bound).eq(listed));
                    }
                    Step::UpTo(key) => {
                        let up_to = (Bound::Unbounded, Bound::Included(&key[..]));
                        let listed = tree.range::<[u8], _>(up_to).rev();
                        prop_assert!(rows.up_to(Table::Log, &key).rev().eq(listed));
                    }
                }
            }
            prop_assert!(rows.iter().eq(tree.iter().map(|(key, value)| (Table::Log, key, value))));
            prop_assert_eq!(rows.is_empty(), tree.is_empty());
        }
    }
}
