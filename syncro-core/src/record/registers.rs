//! Looking at the registers of a record.

use std::fmt;
use std::iter::Zip;
use std::ops::Range;
use std::slice;

use super::authors::{Authors, NOBODY};
use super::{Cell, Path, Register};
use crate::stamp::Stamp;
use crate::value::Encoded;

/// Registers of a record, in path order.
#[derive(Clone, Copy)]
pub struct Registers<'a> {
    paths: &'a [Path],
    cells: &'a [Cell],
    authors: &'a Authors,
    /// Whether each is of a field as a whole, of which there is nothing else.
    is_plain: bool,
}

/// A register, as its record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterRef<'a> {
    /// Where.
    pub path: &'a Path,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// What was written.
    pub value: &'a Encoded,
}

impl<'a> RegisterRef<'a> {
    #[inline]
    fn new(path: &'a Path, Cell { at, value }: &'a Cell, authors: &Authors) -> Self {
        Self { path, stamp: authors.stamp(*at), value }
    }
}

impl From<RegisterRef<'_>> for Register {
    fn from(RegisterRef { path, stamp, value }: RegisterRef<'_>) -> Self {
        Self { path: path.clone(), stamp, value: value.clone() }
    }
}

impl<'a> Registers<'a> {
    /// As many paths as there are cells.
    pub(super) fn new(
        paths: &'a [Path],
        cells: &'a [Cell],
        authors: &'a Authors,
        is_plain: bool,
    ) -> Self {
        Self { paths, cells, authors, is_plain }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.cells.is_empty()
    }

    /// Them, where each is of a field as a whole, of which there is nothing else; otherwise none.
    pub(crate) fn if_plain(self) -> Self {
        if self.is_plain { self } else { self.slice(0..0) }
    }

    /// The register at a place.
    pub fn get(self, place: usize) -> Option<RegisterRef<'a>> {
        Some(RegisterRef::new(self.paths.get(place)?, self.cells.get(place)?, self.authors))
    }

    /// The path and the value at a place, for which it takes no look at who wrote it.
    #[inline]
    pub(crate) fn value_at(self, place: usize) -> Option<(&'a Path, &'a Encoded)> {
        Some((self.paths.get(place)?, &self.cells.get(place)?.value))
    }

    /// The field of the register at a place.
    pub(crate) fn field(self, place: usize) -> Option<&'a str> {
        self.paths.get(place).map(|path| path.field.as_str())
    }

    /// The value at a place, if it is that of a field as a whole, of which there is nothing else.
    #[inline]
    pub(crate) fn only(self, place: usize, field: &str) -> Option<&'a Encoded> {
        let path = self.paths.get(place)?;
        // A field as a whole comes before its elements.
        let is_alone = || path.element.is_none() && self.field(place + 1) != Some(field);
        let is_only = path.field.as_str() == field && (self.is_plain || is_alone());
        self.cells.get(place).filter(|_| is_only).map(|cell| &cell.value)
    }

    /// Those at some places.
    pub(crate) fn slice(self, places: Range<usize>) -> Self {
        Self { paths: &self.paths[places.clone()], cells: &self.cells[places], ..self }
    }

    /// The place of the first whose field has this name, or a later one.
    pub(crate) fn first_from(self, name: &str) -> usize {
        self.paths.partition_point(|path| path.field.as_str() < name)
    }

    /// One after the other.
    pub fn iter(self) -> RegistersIter<'a> {
        self.into_iter()
    }
}

impl Default for Registers<'_> {
    fn default() -> Self {
        Self { paths: &[], cells: &[], authors: &NOBODY, is_plain: false }
    }
}

impl PartialEq for Registers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Registers<'_> {}

impl fmt::Debug for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Registers<'a> {
    type Item = RegisterRef<'a>;
    type IntoIter = RegistersIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        RegistersIter { rest: self.paths.iter().zip(self.cells), authors: self.authors }
    }
}

/// Gives one register after the other.
#[derive(Clone, Debug)]
pub struct RegistersIter<'a> {
    rest: Zip<slice::Iter<'a, Path>, slice::Iter<'a, Cell>>,
    authors: &'a Authors,
}

impl<'a> Iterator for RegistersIter<'a> {
    type Item = RegisterRef<'a>;

    // Other crates go over every register that is written.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (path, cell) = self.rest.next()?;
        Some(RegisterRef::new(path, cell, self.authors))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for RegistersIter<'_> {}
