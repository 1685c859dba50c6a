//! Records: join-semilattices, with one way to change them.

mod authors;
mod path;
mod registers;
mod shape;

pub use path::{Element, ElementRef, Kind, Path, PathRef};
pub use registers::{RegisterRef, Registers, RegistersIter};

use std::fmt;

use self::authors::{At, Authors};
use self::shape::{Shape, Shaping};
use crate::encoding::msgpack::Writer;
use crate::stamp::{Author, Stamp, Time};
use crate::value::Encoded;

/// A stamped value under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Where.
    pub path: Path,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// What was written.
    pub value: Encoded,
}

/// What is in a register, whose path the [shape](Shape) of its record has, and whose author is one of the record's.
#[derive(Clone, Debug)]
struct Cell {
    at: At,
    value: Encoded,
}

/// All that a node knows of one record.
///
/// [`merge`](Self::merge) is commutative, associative and idempotent: nodes that have played the same
/// scribes, in whatever order and however often, hold equal records.
///
/// Source: Shapiro et al., "Conflict-free Replicated Data Types", 2011.
#[derive(Clone, Default)]
pub struct Record {
    created: Option<At>,
    destroyed: Option<At>,
    authors: Authors,
    /// Where its registers are, and what is in each; none is older than `destroyed`.
    shape: Shape,
    cells: Vec<Cell>,
}

impl Record {
    /// Makes a record of its parts, bringing it into normal form.
    pub fn new(
        created: Option<Stamp>,
        destroyed: Option<Stamp>,
        mut registers: Vec<Register>,
    ) -> Self {
        if !registers.is_sorted_by(|a, b| a.path < b.path) {
            registers.sort_by(|a, b| {
                a.path.cmp(&b.path).then_with(|| (b.stamp, &b.value).cmp(&(a.stamp, &a.value)))
            });
            registers.dedup_by(|later, kept| later.path == kept.path);
        }
        let mut written = Written::new(Some(registers.len()));
        for Register { path, stamp, value } in registers {
            written.push(path.as_ref(), stamp, value, || path.clone());
        }
        written.into_record(created, destroyed)
    }

    /// The stamp of the greatest create, unless a greater destroy followed.
    pub fn created(&self) -> Option<Stamp> {
        self.created.map(|at| self.authors.stamp(at))
    }

    /// The stamp of the greatest destroy.
    pub fn destroyed(&self) -> Option<Stamp> {
        self.destroyed.map(|at| self.authors.stamp(at))
    }

    /// The registers in path order. While the record is not alive they are hidden.
    pub fn registers(&self) -> Registers<'_> {
        let Self { shape, cells, authors, .. } = self;
        Registers::new(shape.paths(), cells, authors, shape.is_plain())
    }

    /// Whether both share the memory of their paths, as most records of one model do: then those are the same.
    pub fn shares_paths_with(&self, other: &Self) -> bool {
        std::ptr::eq(self.shape.paths(), other.shape.paths())
    }

    /// The register of a path.
    pub fn register(&self, path: &Path) -> Option<RegisterRef<'_>> {
        self.registers().get(self.place(path.as_ref()).ok()?)
    }

    /// Where the register of a path is, or belongs.
    fn place(&self, path: PathRef<'_>) -> Result<usize, usize> {
        let paths = self.shape.paths();
        // Among few it is quicker to compare lengths of names than to bisect.
        if paths.len() <= FEW_REGISTERS
            && let Some(place) = paths.iter().position(|it| it.is(path))
        {
            return Ok(place);
        }
        paths.binary_search_by(|it| it.as_ref().cmp(&path))
    }

    /// Whether the record was created, and not destroyed by a greater stamp.
    pub fn is_alive(&self) -> bool {
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::UpdateRevives) {
            return self.created.is_some() || !self.cells.is_empty();
        }
        self.created.is_some()
    }

    /// Whether nothing is known of the record.
    pub fn is_unknown(&self) -> bool {
        self.created.is_none() && self.destroyed.is_none() && self.cells.is_empty()
    }

    /// The greatest stamp in the record.
    pub fn newest(&self) -> Option<Stamp> {
        self.stamps().max()
    }

    /// Every stamp in the record, some more than once.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.ats().map(|at| self.authors.stamp(at))
    }

    fn ats(&self) -> impl Iterator<Item = At> {
        let marks = self.created.into_iter().chain(self.destroyed);
        marks.chain(self.cells.iter().map(|cell| cell.at))
    }

    /// Whether everything in the record was written by one author.
    pub fn is_all_by(&self, author: Author) -> bool {
        match self.authors.only() {
            Some(only) => only == author,
            None => self.stamps().all(|stamp| stamp.author == author),
        }
    }

    /// The time of the greatest stamp in the record.
    pub(crate) fn newest_time(&self) -> Option<Time> {
        self.ats().map(|at| at.time).max()
    }

    /// About the bytes that the record takes in a store: names, elements and values, and 64 for each
    /// register.
    pub fn bytes(&self) -> usize {
        self.registers().iter().map(|register| register.path.bytes_with(register.value)).sum()
    }

    /// About the bytes that the record takes in memory.
    pub fn held_bytes(&self) -> usize {
        let cells = self.cells.iter().map(|cell| size_of::<Cell>() + cell.value.heap_bytes());
        let shared = self.shape.held_bytes() + self.authors.heap_bytes();
        size_of::<Self>() + shared + cells.sum::<usize>()
    }

    /// Joins what another copy knows into this one.
    pub fn merge(&mut self, other: &Self) {
        if other.cells.len() <= FEW_REGISTERS {
            for RegisterRef { path, stamp, value } in other.registers() {
                self.join(path.as_ref(), stamp, value.clone(), || path.clone());
            }
        } else {
            self.merge_registers(other);
        }
        self.join_marks(other.created(), other.destroyed());
    }

    /// Joins one of few registers, where its path belongs; `to_path` is asked for it where there is none. Marks are to be
    /// joined after them.
    pub(crate) fn join(
        &mut self,
        path: PathRef<'_>,
        stamp: Stamp,
        value: Encoded,
        to_path: impl FnOnce() -> Path,
    ) {
        match self.place(path) {
            Ok(place) => self.cells[place].merge(stamp, value, &mut self.authors),
            Err(place) => {
                let at = self.authors.at(stamp);
                self.shape.paths_mut().insert(place, to_path());
                self.cells.insert(place, Cell { at, value });
            }
        }
    }

    /// Joins marks, and brings the record into normal form.
    pub(crate) fn join_marks(&mut self, created: Option<Stamp>, destroyed: Option<Stamp>) {
        if created > self.created() {
            self.created = created.map(|stamp| self.authors.at(stamp));
        }
        if destroyed > self.destroyed() {
            self.destroyed = destroyed.map(|stamp| self.authors.at(stamp));
        }
        self.normalise();
    }

    /// Joins many registers in path order: one walk over both lists, since to insert them one by one
    /// would move the rest each time.
    fn merge_registers(&mut self, other: &Self) {
        let ours = std::mem::take(self.shape.paths_mut()).into_iter();
        let mut ours = ours.zip(std::mem::take(&mut self.cells)).peekable();
        let most = ours.len() + other.cells.len();
        let (mut paths, mut cells) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let authors = &mut self.authors;
        let mut push = |(path, cell)| {
            paths.push(path);
            cells.push(cell);
        };
        for RegisterRef { path, stamp, value } in other.registers() {
            while let Some(before) = ours.next_if(|(ours, _)| ours < path) {
                push(before);
            }
            match ours.next_if(|(ours, _)| ours == path) {
                Some((path, mut both)) => {
                    both.merge(stamp, value.clone(), authors);
                    push((path, both));
                }
                None => {
                    let (at, value) = (authors.at(stamp), value.clone());
                    push((path.clone(), Cell { at, value }));
                }
            }
        }
        ours.for_each(push);
        (*self.shape.paths_mut(), self.cells) = (paths, cells);
    }

    /// Lets the record of a create alone have this stamp for what it had.
    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        self.authors = Authors::default();
        let at = self.authors.at(stamp);
        self.created = Some(at);
        self.cells.iter_mut().for_each(|cell| cell.at = at);
    }

    /// Appends the canonical bytes of the record's state, for digests over stores.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(std::mem::take(out));
        for mark in [self.created(), self.destroyed()] {
            match mark {
                Some(stamp) => write_stamp(&mut writer, stamp),
                None => writer.nil(),
            }
        }
        writer.array(self.cells.len());
        for register in self.registers() {
            writer.text(register.path.field.as_str());
            writer.uint(u64::from(register.path.kind.code()));
            match &register.path.element {
                None => writer.nil(),
                Some(Element::Entry(key)) => writer.text(key),
                Some(Element::Member(member)) => {
                    writer.array(1);
                    writer.encoded(member.as_bytes());
                }
                Some(Element::Author(author)) => write_author(&mut writer, *author),
            }
            write_stamp(&mut writer, register.stamp);
            writer.encoded(register.value.as_bytes());
        }
        *out = writer.0;
    }

    /// A destroy erases every register older than itself, and the create mark below it.
    fn normalise(&mut self) {
        if let Some(destroyed) = self.destroyed() {
            let authors = &self.authors;
            let is_kept = |at: At| authors.stamp(at) >= destroyed;
            self.created = self.created.filter(|created| is_kept(*created));
            if !self.cells.iter().all(|cell| is_kept(cell.at)) {
                let mut are_kept = self.cells.iter().map(|cell| is_kept(cell.at));
                self.shape.paths_mut().retain(|_| are_kept.next() == Some(true));
                self.cells.retain(|cell| is_kept(cell.at));
            }
        }
        self.shape.share();
        // Each stamp brings one at most: from here on there are no more of them than stamps.
        if self.authors.len() > self.ats().count().max(1) {
            self.forget_authors();
        }
    }

    /// Keeps those authors who have a stamp.
    fn forget_authors(&mut self) {
        let before = std::mem::take(&mut self.authors);
        let marks = self.created.iter_mut().chain(&mut self.destroyed);
        for at in marks.chain(self.cells.iter_mut().map(|cell| &mut cell.at)) {
            *at = self.authors.at(before.stamp(*at));
        }
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let marks = |it: &Self| (it.created(), it.destroyed());
        marks(self) == marks(other) && self.registers() == other.registers()
    }
}

impl Eq for Record {}

impl Cell {
    /// Joins another one of the same path: the greater stamp wins. Equal stamps of different values come of a forked
    /// machine: the greater bytes win.
    fn merge(&mut self, stamp: Stamp, value: Encoded, authors: &mut Authors) {
        let own = authors.stamp(self.at);
        #[cfg(all(feature = "planted", debug_assertions))]
        if stamp == own && crate::planted::is_planted(crate::planted::Planted::TieByArrival) {
            return;
        }
        if (stamp, &value) > (own, &self.value) {
            *self = Self { at: authors.at(stamp), value };
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("created", &self.created())
            .field("destroyed", &self.destroyed())
            .field("registers", &self.registers())
            .finish()
    }
}

/// Registers that come one after the other, at best in path order and one per path: they make a record without paths of
/// its own where others of its model have the same.
#[derive(Debug)]
pub struct Written {
    shaping: Shaping,
    cells: Vec<Cell>,
    authors: Authors,
}

impl Written {
    /// For so many registers, if that is known.
    pub fn new(count: Option<usize>) -> Self {
        Self { shaping: Shaping::new(count), cells: Vec::new(), authors: Authors::default() }
    }

    /// Takes the next one; `to_path` is asked for its path where no record before has had it.
    pub fn push(
        &mut self,
        path: PathRef<'_>,
        stamp: Stamp,
        value: Encoded,
        to_path: impl FnOnce() -> Path,
    ) {
        self.shaping.push(path, to_path);
        if self.cells.is_empty() {
            self.cells = Vec::with_capacity(self.shaping.likely());
        }
        let at = self.authors.at(stamp);
        self.cells.push(Cell { at, value });
    }

    /// Whether they have come in path order, one per path.
    pub(crate) fn is_in_order(&self) -> bool {
        self.shaping.is_in_order()
    }

    /// The record that has them, in normal form.
    pub fn into_record(self, created: Option<Stamp>, destroyed: Option<Stamp>) -> Record {
        let Self { shaping, mut cells, mut authors } = self;
        cells.shrink_to_fit();
        if !shaping.is_in_order() {
            // Whoever makes a scribe by hand may have put them together in any.
            let parts = shaping.into_paths().into_iter().zip(cells);
            let registers = parts.map(|(path, Cell { at, value })| {
                let stamp = authors.stamp(at);
                Register { path, stamp, value }
            });
            return Record::new(created, destroyed, registers.collect());
        }
        let [created, destroyed] = [created, destroyed].map(|mark| mark.map(|it| authors.at(it)));
        let shape = shaping.into_shape();
        let mut record = Record { created, destroyed, authors, shape, cells };
        record.normalise();
        record
    }
}

/// Registers that are put in one by one: what most transactions write in one record.
pub(crate) const FEW_REGISTERS: usize = 8;

fn write_stamp(writer: &mut Writer, stamp: Stamp) {
    writer.uint(stamp.time.bits());
    write_author(writer, stamp.author);
}

fn write_author(writer: &mut Writer, author: Author) {
    writer.bytes(author.node.as_bytes());
    writer.uint(author.epoch.0);
}

#[cfg(test)]
pub(crate) mod tests;
