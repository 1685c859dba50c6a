//! What is known of the records that one step touches.

use std::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

use crate::id::RecordKey;

/// Something for each of some records, in the order in which they were first touched.
#[derive(Clone, Debug)]
pub(crate) struct Touched<T> {
    all: Vec<(RecordKey, T)>,
    /// Where each of them is, once there are more than [`FEW`]; apart, since mostly there are not.
    index: Option<Box<Index>>,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Index {
    places: HashTable<u32>,
    secret: Secret,
}

/// What it takes to know which keys collide.
#[derive(Clone, Debug)]
struct Secret {
    seed: u64,
    /// Made of the seed. Of the ones that the hash has by itself everybody knows which keys collide, whatever else
    /// it is seeded with.
    shared: SharedSeed,
}

impl Secret {
    fn new(seed: u64) -> Self {
        Self { seed, shared: SharedSeed::from_u64(seed) }
    }

    fn hash(&self, key: &RecordKey) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// A record that was not found, and its hash where that was needed for looking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    hash: Option<u64>,
}

/// Records among which it is quicker to look for one than to keep an index: most steps touch one.
const FEW: usize = 8;

impl<T> Touched<T> {
    /// For keys that may be chosen by somebody who wishes that they collide, but does not know the seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { all: Vec::new(), index: None, seed }
    }

    /// Makes room for some more. For few it is not more than that, since most steps add no others.
    pub(crate) fn reserve(&mut self, more: usize) {
        reserve(&mut self.all, more);
    }

    pub(crate) fn get(&self, key: &RecordKey) -> Option<&T> {
        self.find(key).ok().map(|place| &self.all[place].1)
    }

    pub(crate) fn get_mut(&mut self, key: &RecordKey) -> Option<&mut T> {
        self.find(key).ok().map(|place| self.at(place))
    }

    /// Looks for a record that is to be changed or added.
    pub(crate) fn find(&self, key: &RecordKey) -> Result<usize, Missing> {
        let Some(index) = &self.index else {
            let place = self.all.iter().position(|(known, _)| known == key);
            return place.ok_or(Missing { hash: None });
        };
        let Index { places, secret } = &**index;
        let hash = secret.hash(key);
        let place = places.find(hash, |place| self.all[*place as usize].0 == *key);
        place.map(|place| *place as usize).ok_or(Missing { hash: Some(hash) })
    }

    /// What is known of a record that was found.
    pub(crate) fn at(&mut self, place: usize) -> &mut T {
        &mut self.all[place].1
    }

    /// Adds a record that was not found, and nothing since.
    pub(crate) fn add(&mut self, Missing { hash }: Missing, key: RecordKey, value: T) {
        self.reserve(1);
        self.all.push((key, value));
        let Self { all, index, seed } = self;
        if all.len() <= FEW {
            return;
        }
        let index = index.get_or_insert_with(|| {
            // Whoever has made room for some will add as many.
            let places = HashTable::with_capacity(all.capacity());
            Box::new(Index { places, secret: Secret::new(*seed) })
        });
        let Index { places, secret } = &mut **index;
        let hash_at = |place: &u32| secret.hash(&all[*place as usize].0);
        // A step touches far fewer than there are numbers.
        for place in places.len() as u32..all.len() as u32 {
            places.insert_unique(hash.unwrap_or_else(|| hash_at(&place)), place, hash_at);
        }
    }

    /// Notes something of a record, whether or not something was known of it.
    pub(crate) fn set(&mut self, key: RecordKey, value: T) {
        match self.find(&key) {
            Ok(place) => *self.at(place) = value,
            Err(missing) => self.add(missing, key, value),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(RecordKey, T)> {
        self.all.iter()
    }

    pub(crate) fn into_vec(self) -> Vec<(RecordKey, T)> {
        self.all
    }
}

/// Makes room for some more, and at first for no others.
#[inline]
pub(crate) fn reserve<T>(all: &mut Vec<T>, more: usize) {
    match all.capacity() {
        // Which takes half the time.
        0 => *all = Vec::with_capacity(more),
        _ => all.reserve(more),
    }
}

/// For keys that are chosen here.
impl<T> Default for Touched<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::BuildHasher;

    use foldhash::quality::FixedState;
    use uuid::Uuid;

    use super::*;
    use crate::id::{Name, RecordId};

    #[test]
    fn records_are_found_however_many_there_are_and_come_as_they_were_touched() {
        let key = |id: i64| RecordKey { model: Name::new("m").unwrap(), id: RecordId::Int(id) };
        let (mut touched, mut tree, mut order) = (Touched::new(7), BTreeMap::new(), Vec::new());
        for step in 0..400_i64 {
            let id = step * step % 97;
            assert_eq!(touched.get(&key(id)), tree.get(&id), "{step}");
            touched.set(key(id), step);
            if tree.insert(id, step).is_none() {
                order.push(id);
            }
        }
        assert!(order.len() > FEW);
        let expected: Vec<_> = order.into_iter().map(|id| (key(id), tree[&id])).collect();
        assert_eq!(touched.iter().cloned().collect::<Vec<_>>(), expected);
        assert_eq!(touched.into_vec(), expected);
    }

    #[test]
    fn keys_that_collide_by_the_hash_alone_do_not_collide_by_the_secret() {
        // What the hash multiplies the first half of a UUID with is nothing if the other half is this.
        let half = 0x3f84_d5b5_b547_0917_u64.to_ne_bytes();
        let keys = (0..1000_u64).map(|n| {
            let bytes = [n.to_ne_bytes(), half].concat().try_into().unwrap();
            let id = RecordId::Uuid(Uuid::from_bytes(bytes));
            RecordKey { model: Name::new("m").unwrap(), id }
        });
        let keys: Vec<RecordKey> = keys.collect();
        let hashes = |hash: &dyn Fn(&RecordKey) -> u64| -> usize {
            keys.iter().map(hash).collect::<BTreeSet<u64>>().len()
        };
        for seed in [7, 8] {
            let (fixed, secret) = (FixedState::with_seed(seed), Secret::new(seed));
            assert_eq!(hashes(&|key| fixed.hash_one(key)), 1, "the attack works");
            assert_eq!(hashes(&|key| secret.hash(key)), keys.len());
        }
    }
}
