//! Lists that have one element, nearly always.

use std::ops::{Deref, DerefMut};
use std::{fmt, mem, slice, vec};

/// A list of which most have one element, which then takes no memory of its own.
///
/// A local write is one transaction of one scribe, nearly always: one entry, one record, one event.
#[derive(Clone)]
pub struct Few<T>(Elements<T>);

#[derive(Clone)]
enum Elements<T> {
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// An empty list.
    pub const fn new() -> Self {
        Self(Elements::None)
    }

    /// Appends an element.
    pub fn push(&mut self, element: T) {
        match &mut self.0 {
            Elements::None => self.0 = Elements::One(element),
            Elements::One(_) => {
                self.reserve(1);
                self.push(element);
            }
            Elements::Many(many) => many.push(element),
        }
    }

    /// Makes room for some more.
    pub fn reserve(&mut self, more: usize) {
        if self.len() + more < 2 {
            return;
        }
        let mut many: Vec<T> = mem::take(self).into();
        if many.is_empty() {
            many.reserve_exact(more)
        } else {
            many.reserve(more)
        }
        self.0 = Elements::Many(many);
    }
}

impl<T> Few<T> {
    /// For how many there is room.
    pub(crate) fn capacity(&self) -> usize {
        match &self.0 {
            Elements::None | Elements::One(_) => 1,
            Elements::Many(many) => many.capacity(),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Elements::None => &[],
            Elements::One(element) => slice::from_ref(element),
            Elements::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Elements::None => &mut [],
            Elements::One(element) => slice::from_mut(element),
            Elements::Many(many) => many,
        }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        match self.0 {
            Elements::None => IntoIter(None, Vec::new().into_iter()),
            Elements::One(element) => IntoIter(Some(element), Vec::new().into_iter()),
            Elements::Many(many) => IntoIter(None, many.into_iter()),
        }
    }
}

/// Gives one element after the other.
#[derive(Clone, Debug)]
pub struct IntoIter<T>(Option<T>, vec::IntoIter<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self.0.take() {
            None => self.1.next(),
            one => one,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::from(self.0.is_some()) + self.1.len();
        (count, Some(count))
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Few<T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        let elements = elements.into_iter();
        self.reserve(elements.size_hint().0);
        elements.for_each(|element| self.push(element));
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut few = Self::new();
        few.extend(elements);
        few
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(many: Vec<T>) -> Self {
        Self(Elements::Many(many))
    }
}

impl<T> From<Few<T>> for Vec<T> {
    fn from(few: Few<T>) -> Self {
        match few.0 {
            Elements::None => Self::new(),
            Elements::One(element) => vec![element],
            Elements::Many(many) => many,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_however_many_elements_it_has() {
        for count in 0..5 {
            let expected: Vec<u32> = (0..count).collect();
            let mut pushed = Few::new();
            expected.iter().for_each(|element| pushed.push(*element));
            assert_eq!(*pushed, *expected);
            let mut reserved = Few::new();
            reserved.reserve(count as usize);
            reserved.extend(expected.iter().copied());
            assert_eq!(reserved, pushed);
            assert_eq!(expected.iter().copied().collect::<Few<u32>>(), pushed);
            assert_eq!(format!("{pushed:?}"), format!("{expected:?}"));
            pushed.iter_mut().for_each(|element| *element += 1);
            let added: Vec<u32> = (1..=count).collect();
            assert_eq!(pushed.clone().into_iter().collect::<Vec<_>>(), added);
            assert_eq!(Vec::from(pushed), added);
        }
    }
}
