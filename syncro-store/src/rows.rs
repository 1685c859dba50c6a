//! Rows in memory.

use std::hash::BuildHasher;
use std::ops::Bound;
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

/// The hash of a key.
pub(crate) fn hash(key: &[u8]) -> u32 {
    HASHER.hash_one(key) as u32
}

/// A key, hashed once for all the layers in which it is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'a> {
    key: &'a [u8],
    hash: u32,
}

impl<'a> Hashed<'a> {
    pub(crate) fn new(key: &'a [u8]) -> Self {
        Self { key, hash: hash(key) }
    }
}

/// A row's place in a table of hashes. It has the hash with it: the key lies elsewhere in memory, and is not looked at when
/// the table grows, nor for another that is near.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    hash: u32,
}

/// A hash as tables take it, that look at its lowest bits and its highest.
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
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
    places: HashTable<Place>,
    /// The order of the first of them.
    order: Mutex<Arc<Order>>,
}

/// Places of rows in the order of their keys, in pieces, so that a few more among millions move few others. No piece is empty.
#[derive(Clone, Debug, Default)]
struct Order {
    pieces: Vec<Vec<u32>>,
    rows: usize,
}

/// Places of one piece at most; when they are more, it is halved.
const PIECE_MAX: usize = if cfg!(test) { 4 } else { 1024 };

/// So many times as many rows as are new have to be there already, or all are put in order anew.
const FEW: usize = 16;

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
        let is_it = |place: &Place| place.hash == key.hash && self.key(place.at) == key.key;
        let place = self.places.find(spread(key.hash), is_it)?;
        Some(&self.rows[place.at as usize].1)
    }

    fn insert(&mut self, key: Bytes, value: Option<V>) -> Option<Option<V>> {
        let Self { rows, places, .. } = self;
        let Hashed { hash, .. } = Hashed::new(&key);
        let is_it = |place: &Place| place.hash == hash && rows[place.at as usize].0 == key;
        match places.entry(spread(hash), is_it, |place| spread(place.hash)) {
            Entry::Occupied(known) => {
                let place = known.get().at as usize;
                Some(std::mem::replace(&mut rows[place].1, value))
            }
            Entry::Vacant(vacant) => {
                // Long before there are so many, memory is full.
                vacant.insert(Place { at: rows.len() as u32, hash });
                rows.push((key, value));
                None
            }
        }
    }

    fn from(&self, key: Bound<&[u8]>) -> Listed<'_, V> {
        let order = self.order();
        let is_before = |place: u32| match key {
            Bound::Unbounded => false,
            Bound::Included(key) => self.key(place) < key,
            Bound::Excluded(key) => self.key(place) <= key,
        };
        let front = order.first_without(is_before);
        let back = (order.pieces.len(), 0);
        Listed { sheet: self, order, front, back }
    }

    fn up_to(&self, at: &[u8]) -> Listed<'_, V> {
        let order = self.order();
        let back = order.first_without(|place| self.key(place) <= at);
        Listed { sheet: self, order, front: (0, 0), back }
    }

    fn key(&self, place: u32) -> &[u8] {
        &self.rows[place as usize].0
    }

    /// The order of all rows.
    fn order(&self) -> Arc<Order> {
        // It is whole between any two operations.
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let known = order.rows;
        if known < self.rows.len() {
            let fresh = self.sorted(known);
            if fresh.len() * FEW > known {
                *order = Arc::new(self.merged(&order, fresh));
            } else {
                // Nobody lists them at this moment, nearly always.
                let order = Arc::make_mut(&mut order);
                fresh.into_iter().for_each(|place| self.put(order, place));
            }
        }
        order.clone()
    }

    /// Puts one more row into an order.
    fn put(&self, order: &mut Order, place: u32) {
        let key = self.key(place);
        let after = order.pieces.partition_point(|piece| self.key(piece[0]) < key);
        let at = after.saturating_sub(1);
        let piece = &mut order.pieces[at];
        let within = piece.partition_point(|known| self.key(*known) < key);
        piece.insert(within, place);
        if piece.len() > PIECE_MAX {
            let half = piece.split_off(piece.len() / 2);
            order.pieces.insert(at + 1, half);
        }
        order.rows += 1;
    }

    /// An order, and many more rows.
    fn merged(&self, order: &Order, fresh: Vec<u32>) -> Order {
        let mut known = order.pieces.iter().flatten().copied().peekable();
        let mut merged = Vec::with_capacity(self.rows.len());
        for place in fresh {
            let key = self.key(place);
            while let Some(known) = known.next_if(|known| self.key(*known) < key) {
                merged.push(known);
            }
            merged.push(place);
        }
        merged.extend(known);
        let pieces = merged.chunks(PIECE_MAX / 2).map(<[u32]>::to_vec).collect();
        Order { pieces, rows: merged.len() }
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

impl Order {
    /// The first place for which something does not hold any more: its piece, and where it is there.
    fn first_without(&self, holds: impl Fn(u32) -> bool) -> (usize, usize) {
        let piece =
            self.pieces.partition_point(|piece| piece.last().is_some_and(|last| holds(*last)));
        let within = self.pieces.get(piece);
        (piece, within.map_or(0, |piece| piece.partition_point(|place| holds(*place))))
    }
}

/// Rows of a table in the order of their keys.
struct Listed<'a, V> {
    sheet: &'a Sheet<V>,
    order: Arc<Order>,
    /// The next one, and the one after the last one.
    front: (usize, usize),
    back: (usize, usize),
}

impl<'a, V> Listed<'a, V> {
    fn row(&self, (piece, at): (usize, usize)) -> (&'a Bytes, &'a Option<V>) {
        let (key, value) = &self.sheet.rows[self.order.pieces[piece][at] as usize];
        (key, value)
    }
}

impl<'a, V> Iterator for Listed<'a, V> {
    type Item = (&'a Bytes, &'a Option<V>);

    fn next(&mut self) -> Option<Self::Item> {
        let (piece, at) = self.front;
        if self.front >= self.back {
            return None;
        }
        let is_last = at + 1 == self.order.pieces[piece].len();
        self.front = if is_last { (piece + 1, 0) } else { (piece, at + 1) };
        Some(self.row((piece, at)))
    }
}

impl<V> DoubleEndedIterator for Listed<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let (piece, at) = self.back;
        self.back = match at {
            0 => (piece - 1, self.order.pieces[piece - 1].len() - 1),
            at => (piece, at - 1),
        };
        Some(self.row(self.back))
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
        let key = || "(a long beginning that all share )?[\0abc]{0,4}".prop_map(String::into_bytes);
        prop_oneof![
            4 => (key(), any::<Option<u8>>()).prop_map(|(key, value)| Step::Put(key, value)),
            1 => (key(), any::<bool>()).prop_map(|(key, is_in)| Step::From(key, is_in)),
            1 => key().prop_map(Step::UpTo),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_found_and_listed_as_in_a_tree(steps in prop::collection::vec(step(), 0..200)) {
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
