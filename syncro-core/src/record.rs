//! Records: join-semilattices, with one way to change them.

mod path;
mod registers;
mod shape;

pub use path::{Element, ElementRef, Kind, Path, PathRef};
pub use registers::{RegisterRef, Registers, RegistersIter};

use std::fmt;

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

/// What is in a register, whose path the [shape](Shape) of its record has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    stamp: Stamp,
    value: Encoded,
}

impl Cell {
    /// Joins another one of the same path: the greater stamp wins. Equal stamps of different values come of a forked
    /// machine: the greater bytes win.
    fn merge(&mut self, stamp: Stamp, value: Encoded) {
        #[cfg(all(feature = "planted", debug_assertions))]
        if stamp == self.stamp && crate::planted::is_planted(crate::planted::Planted::TieByArrival)
        {
            return;
        }
        if (stamp, &value) > (self.stamp, &self.value) {
            (self.stamp, self.value) = (stamp, value);
        }
    }
}

/// All that a node knows of one record.
///
/// [`merge`](Self::merge) is commutative, associative and idempotent: nodes that have played the same
/// scribes, in whatever order and however often, hold equal records.
///
/// Source: Shapiro et al., "Conflict-free Replicated Data Types", 2011.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Record {
    created: Option<Stamp>,
    destroyed: Option<Stamp>,
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
        self.created
    }

    /// The stamp of the greatest destroy.
    pub fn destroyed(&self) -> Option<Stamp> {
        self.destroyed
    }

    /// The registers in path order. While the record is not alive they are hidden.
    pub fn registers(&self) -> Registers<'_> {
        Registers::new(self.shape.paths(), &self.cells, self.shape.is_plain())
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
        let marks = self.created.into_iter().chain(self.destroyed);
        marks.chain(self.cells.iter().map(|cell| cell.stamp))
    }

    /// Whether everything in the record was written by one author.
    pub fn is_all_by(&self, author: Author) -> bool {
        let is_by = |mark: Option<Stamp>| mark.is_none_or(|stamp| stamp.author == author);
        let marks = is_by(self.created) && is_by(self.destroyed);
        marks && self.cells.iter().all(|cell| cell.stamp.author == author)
    }

    /// The time of the greatest stamp in the record.
    pub(crate) fn newest_time(&self) -> Option<Time> {
        let marks = self.created.max(self.destroyed).map(|stamp| stamp.time);
        self.cells.iter().fold(marks, |newest, cell| newest.max(Some(cell.stamp.time)))
    }

    /// About the bytes that the record takes in a store: names, elements and values, and 64 for each
    /// register.
    pub fn bytes(&self) -> usize {
        self.registers().iter().map(|register| register.path.bytes_with(register.value)).sum()
    }

    /// About the bytes that the record takes in memory.
    pub fn held_bytes(&self) -> usize {
        let cells = self.cells.iter().map(|cell| size_of::<Cell>() + cell.value.heap_bytes());
        size_of::<Self>() + self.shape.held_bytes() + cells.sum::<usize>()
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
        self.join_marks(other.created, other.destroyed);
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
            Ok(place) => self.cells[place].merge(stamp, value),
            Err(place) => {
                self.shape.paths_mut().insert(place, to_path());
                self.cells.insert(place, Cell { stamp, value });
            }
        }
    }

    /// Joins marks, and brings the record into normal form.
    pub(crate) fn join_marks(&mut self, created: Option<Stamp>, destroyed: Option<Stamp>) {
        self.created = self.created.max(created);
        self.destroyed = self.destroyed.max(destroyed);
        self.normalise();
    }

    /// Joins many registers in path order: one walk over both lists, since to insert them one by one
    /// would move the rest each time.
    fn merge_registers(&mut self, other: &Self) {
        let ours = std::mem::take(self.shape.paths_mut()).into_iter();
        let mut ours = ours.zip(std::mem::take(&mut self.cells)).peekable();
        let most = ours.len() + other.cells.len();
        let (mut paths, mut cells) = (Vec::with_capacity(most), Vec::with_capacity(most));
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
                    both.merge(stamp, value.clone());
                    push((path, both));
                }
                None => push((path.clone(), Cell { stamp, value: value.clone() })),
            }
        }
        ours.for_each(push);
        (*self.shape.paths_mut(), self.cells) = (paths, cells);
    }

    /// Lets the record of a create alone have this stamp for what it had.
    pub(crate) fn stamp(&mut self, stamp: Stamp) {
        self.created = Some(stamp);
        self.cells.iter_mut().for_each(|cell| cell.stamp = stamp);
    }

    /// Appends the canonical bytes of the record's state, for digests over stores.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(std::mem::take(out));
        for mark in [self.created, self.destroyed] {
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
        if let Some(destroyed) = self.destroyed {
            self.created = self.created.filter(|created| *created >= destroyed);
            if self.cells.iter().any(|cell| cell.stamp < destroyed) {
                let mut is_kept = self.cells.iter().map(|cell| cell.stamp >= destroyed);
                self.shape.paths_mut().retain(|_| is_kept.next() == Some(true));
                self.cells.retain(|cell| cell.stamp >= destroyed);
            }
        }
        self.shape.share();
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("created", &self.created)
            .field("destroyed", &self.destroyed)
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
}

impl Written {
    /// For so many registers, if that is known.
    pub fn new(count: Option<usize>) -> Self {
        Self { shaping: Shaping::new(count), cells: Vec::new() }
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
        self.cells.push(Cell { stamp, value });
    }

    /// Whether they have come in path order, one per path.
    pub(crate) fn is_in_order(&self) -> bool {
        self.shaping.is_in_order()
    }

    /// The record that has them, in normal form.
    pub fn into_record(self, created: Option<Stamp>, destroyed: Option<Stamp>) -> Record {
        let Self { shaping, mut cells } = self;
        cells.shrink_to_fit();
        if !shaping.is_in_order() {
            // Whoever makes a scribe by hand may have put them together in any.
            let parts = shaping.into_paths().into_iter().zip(cells);
            let registers =
                parts.map(|(path, Cell { stamp, value })| Register { path, stamp, value });
            return Record::new(created, destroyed, registers.collect());
        }
        let mut record = Record { created, destroyed, shape: shaping.into_shape(), cells };
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
