//! What is known of the records that one step touches.

use std::collections::BTreeMap;

use crate::id::RecordKey;

/// Something for each of some records, in the order in which they were first touched.
#[derive(Clone, Debug)]
pub(crate) struct Touched<T> {
    all: Vec<(RecordKey, T)>,
    /// Where each of them is, once there are more than [`FEW`].
    places: BTreeMap<RecordKey, usize>,
}

/// Records among which it is quicker to look for one than to keep an index: most steps touch one.
const FEW: usize = 8;

impl<T> Default for Touched<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T> Touched<T> {
    pub(crate) fn get(&self, key: &RecordKey) -> Option<&T> {
        self.place(key).map(|place| &self.all[place].1)
    }

    pub(crate) fn get_mut(&mut self, key: &RecordKey) -> Option<&mut T> {
        self.place(key).map(|place| &mut self.all[place].1)
    }

    /// Adds a record that was not touched before.
    pub(crate) fn push(&mut self, key: RecordKey, value: T) {
        self.all.push((key, value));
        if self.all.len() > FEW {
            let new = self.places.len()..self.all.len();
            self.places.extend(new.map(|place| (self.all[place].0.clone(), place)));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(RecordKey, T)> {
        self.all.iter()
    }

    pub(crate) fn into_vec(self) -> Vec<(RecordKey, T)> {
        self.all
    }

    fn place(&self, key: &RecordKey) -> Option<usize> {
        if self.all.len() <= FEW {
            return self.all.iter().position(|(known, _)| known == key);
        }
        self.places.get(key).copied()
    }
}
