//! Records: join-semilattices, with one way to change them.

mod path;

pub use path::{Element, ElementRef, Kind, Path, PathRef};

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

impl Register {
    /// Joins another register of the same path: the greater stamp wins. Equal stamps of different values
    /// come of a forked machine: the greater bytes win.
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
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    created: Option<Stamp>,
    destroyed: Option<Stamp>,
    /// In path order, one per path, none older than `destroyed`.
    registers: Vec<Register>,
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
        Self::in_order(created, destroyed, registers)
    }

    /// Like [`new`](Self::new), of registers in path order, one per path.
    pub(crate) fn in_order(
        created: Option<Stamp>,
        destroyed: Option<Stamp>,
        registers: Vec<Register>,
    ) -> Self {
        let mut record = Self { created, destroyed, registers };
        record.normalise();
        record
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
    pub fn registers(&self) -> &[Register] {
        &self.registers
    }

    /// The register of a path.
    pub fn register(&self, path: &Path) -> Option<&Register> {
        self.registers.get(self.place(path.as_ref()).ok()?)
    }

    /// Where the register of a path is, or belongs.
    fn place(&self, path: PathRef<'_>) -> Result<usize, usize> {
        // Among few it is quicker to compare lengths of names than to bisect.
        if self.registers.len() <= FEW_REGISTERS
            && let Some(place) = self.registers.iter().position(|it| it.path.as_ref() == path)
        {
            return Ok(place);
        }
        self.registers.binary_search_by(|register| register.path.as_ref().cmp(&path))
    }

    /// Whether the record was created, and not destroyed by a greater stamp.
    pub fn is_alive(&self) -> bool {
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::UpdateRevives) {
            return self.created.is_some() || !self.registers.is_empty();
        }
        self.created.is_some()
    }

    /// Whether nothing is known of the record.
    pub fn is_unknown(&self) -> bool {
        self.created.is_none() && self.destroyed.is_none() && self.registers.is_empty()
    }

    /// The greatest stamp in the record.
    pub fn newest(&self) -> Option<Stamp> {
        let marks = self.created.into_iter().chain(self.destroyed);
        marks.chain(self.registers.iter().map(|register| register.stamp)).max()
    }

    /// Every stamp in the record, some more than once.
    pub(crate) fn stamps(&self) -> impl Iterator<Item = Stamp> {
        let marks = self.created.into_iter().chain(self.destroyed);
        marks.chain(self.registers.iter().map(|register| register.stamp))
    }

    /// The time of the greatest stamp in the record.
    pub(crate) fn newest_time(&self) -> Option<Time> {
        let marks = self.created.max(self.destroyed).map(|stamp| stamp.time);
        self.registers.iter().fold(marks, |newest, it| newest.max(Some(it.stamp.time)))
    }

    /// About the bytes that the record takes in a store: names, elements and values, and 64 for each
    /// register.
    pub fn bytes(&self) -> usize {
        self.registers.iter().map(|register| register.path.bytes_with(&register.value)).sum()
    }

    /// About the bytes that the record takes in memory.
    pub fn held_bytes(&self) -> usize {
        let registers = self.registers.iter().map(|register| {
            let element = match &register.path.element {
                None | Some(Element::Author(_)) => 0,
                Some(Element::Entry(key)) => key.len(),
                Some(Element::Member(member)) => member.heap_bytes(),
            };
            size_of::<Register>() + element + register.value.heap_bytes()
        });
        size_of::<Self>() + registers.sum::<usize>()
    }

    /// Joins what another copy knows into this one.
    pub fn merge(&mut self, other: &Self) {
        if other.registers.len() <= FEW_REGISTERS {
            for Register { path, stamp, value } in &other.registers {
                self.join(path.as_ref(), *stamp, value.clone(), || path.clone());
            }
        } else {
            self.merge_registers(&other.registers);
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
            Ok(place) => self.registers[place].merge(stamp, value),
            Err(place) => self.registers.insert(place, Register { path: to_path(), stamp, value }),
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
    fn merge_registers(&mut self, theirs: &[Register]) {
        let mut ours = std::mem::take(&mut self.registers).into_iter().peekable();
        let joined = &mut self.registers;
        joined.reserve(ours.len() + theirs.len());
        for theirs in theirs {
            while let Some(before) = ours.next_if(|ours| ours.path < theirs.path) {
                joined.push(before);
            }
            match ours.next_if(|ours| ours.path == theirs.path) {
                Some(mut both) => {
                    both.merge(theirs.stamp, theirs.value.clone());
                    joined.push(both);
                }
                None => joined.push(theirs.clone()),
            }
        }
        joined.extend(ours);
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
        writer.array(self.registers.len());
        for register in &self.registers {
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
        let Some(destroyed) = self.destroyed else {
            return;
        };
        self.registers.retain(|register| register.stamp >= destroyed);
        self.created = self.created.filter(|created| *created >= destroyed);
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
