//! The encoding of a transaction: the same bytes in the log, under every digest and, unless they are said in brief, on the
//! wire.
//!
//! `[time, node, epoch, [scribe, ...]]`, a scribe `[model, id, mark, [path, value, path, value, ...]]`.
//! A path is a text for a plain field; `[field, 0, key]` for a map's entry, `[field, 0, [member]]` for a
//! set's member; `[field, 1]` for the transaction's author's own part of a counter, and
//! `[field, 1, node, epoch]` for another author's.
//!
//! In the log of a view there are also those of its own alone, with `true` for a fifth part: their scribes have the mark
//! 4, with a record's whole state as bytes under the path `state`, or 5, for a record that is not shown any more.

use std::sync::Arc;

use bytes::Bytes;

use super::block::SHARED_BYTES_MAX;
use super::read::{self, Begun};
use super::{Block, Mark, Said, Scribe, ScribeRef, Transaction};
use crate::encoding::canonical::canonical;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::encoding::scratch;
use crate::id::{RecordKey, is_reserved};
use crate::limits::{MESSAGE_DEPTH_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX};
use crate::record::{ElementRef, Path, PathRef, Record};
use crate::stamp::{Author, Stamp};
use crate::value::Encoded;

impl Transaction {
    /// Encodes scribes under a stamp. The fields of each scribe are in path order, as scribes have them.
    pub(crate) fn new<'a, S, I>(stamp: Stamp, scribes: I) -> Self
    where
        S: Writable + 'a,
        I: IntoIterator<Item = &'a S, IntoIter: ExactSizeIterator>,
    {
        let scribes = scribes.into_iter();
        let count = scribes.len();
        let mut writer = Writer(scratch::take());
        write_head(&mut writer, stamp);
        writer.array(count);
        let body = writer.0.len() as u32;
        for scribe in scribes {
            scribe.write(&mut writer, stamp.author);
        }
        let bytes = Bytes::copy_from_slice(&writer.0);
        scratch::give_back(writer.0);
        Self { stamp, scribes: count as u32, body, bytes, is_local: false }
    }

    /// Encodes scribes under a stamp, in as many transactions as their limits ask for. A scribe that is over
    /// a limit by itself is left out.
    pub fn packed(stamp: Stamp, scribes: &[Scribe]) -> Vec<Self> {
        match Self::decode(Self::new(stamp, scribes).bytes) {
            Ok(transaction) => vec![transaction],
            Err(_) if scribes.len() < 2 => Vec::new(),
            Err(_) => {
                let (first, second) = scribes.split_at(scribes.len() / 2);
                [first, second].into_iter().flat_map(|half| Self::packed(stamp, half)).collect()
            }
        }
    }

    /// Checks a transaction, and brings it into canonical form. It shares the memory given if it is in that.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that no node would have written.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        Ok(Self::form(&bytes)?.of(bytes))
    }

    /// Checks a transaction, and brings it into canonical form if it is in another.
    pub(crate) fn form(bytes: &[u8]) -> Result<Form, Malformed> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(Malformed::Limit("a transaction"));
        }
        let mut reader = Reader::new(bytes);
        match Self::check(&mut reader) {
            // What is over a limit in a longer form may be within it.
            Ok(_) | Err(Malformed::Limit(_)) if !reader.is_canonical() => {}
            begun => return Ok(Form { begun: begun?, other: None }),
        }
        let canonical = canonical(&mut Reader::new(bytes), MESSAGE_DEPTH_MAX)?;
        let mut bytes = read::in_order(&canonical)?;
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(Malformed::Limit("a transaction"));
        }
        bytes.shrink_to_fit();
        let begun = Self::check(&mut Reader::new(&bytes))?;
        Ok(Form { begun, other: Some(bytes.into()) })
    }

    /// Checks a transaction of which it is known how it begins, and how many scribes come after so many bytes of it, if it is
    /// in canonical form and within all limits, as nearly all are.
    pub(crate) fn of_parts(
        stamp: Stamp,
        scribes: usize,
        body: usize,
        bytes: &[u8],
    ) -> Option<Form> {
        let begun = Begun { stamp, scribes, body, is_local: false };
        let is_one = (1..=TRANSACTION_SCRIBES_MAX).contains(&scribes);
        if !is_one || bytes.len() > TRANSACTION_BYTES_MAX {
            return None;
        }
        let mut reader = Reader::new(bytes.get(body..)?);
        read::check(&mut reader, &begun).and_then(|()| reader.finish()).ok()?;
        reader.is_canonical().then_some(Form { begun, other: None })
    }

    fn check(reader: &mut Reader<'_>) -> Result<Begun, Malformed> {
        let begun = Begun::read(reader)?;
        if begun.is_local {
            return Err(Malformed::Expected("a transaction of four parts"));
        }
        read::check(reader, &begun)?;
        reader.finish()?;
        Ok(begun)
    }

    /// Notes what a view shows from here on: the states of records, or that they are gone. It is for this node's log
    /// alone, so no limits bind it.
    pub(crate) fn local(stamp: Stamp, shown: &[(RecordKey, Arc<Record>)]) -> Self {
        let mut writer = Writer::default();
        writer.array(5);
        write_stamp(&mut writer, stamp);
        writer.array(shown.len());
        let body = writer.0.len() as u32;
        for (key, record) in shown {
            Scribe::shown(key.clone(), record).write(&mut writer, stamp.author);
        }
        writer.bool(true);
        let (scribes, bytes) = (shown.len() as u32, writer.0.into());
        Self { stamp, scribes, body, bytes, is_local: true }
    }

    /// Checks a transaction of this node's own log.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that no node would have written.
    pub fn logged(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&bytes);
        let begun = Begun::read(&mut reader)?;
        if !begun.is_local {
            return match Self::form(&bytes)? {
                Form { begun, other: None } => Ok(begun.of(bytes)),
                Form { .. } => Err(Malformed::Expected("canonical form")),
            };
        }
        read::check(&mut reader, &begun)?;
        if reader.head()? != Head::Bool(true) {
            return Err(Malformed::Expected("a transaction of this node alone"));
        }
        reader.finish()?;
        let transaction = begun.of(bytes);
        transaction.each().try_for_each(|scribe| scribe?.to_record().map(drop))?;
        Ok(transaction)
    }

    /// Takes a transaction from this node's own log, where nothing is that was not checked.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that begin as no transaction does.
    pub fn trusted(bytes: Bytes) -> Result<Self, Malformed> {
        Ok(Begun::read(&mut Reader::new(&bytes))?.of(bytes))
    }

    /// What it changes, read from its bytes one after the other: [`Malformed`] where it is out of a log in spite of its
    /// checksums.
    pub fn each(&self) -> impl Iterator<Item = Result<ScribeRef<'_>, Malformed>> {
        read::scribes(self)
    }

    /// The keys of its records as they are encoded, in its order, without a look at what is said of them:
    /// as [`RecordKey::write_state`] writes them. [`Malformed`] as with [`each`](Self::each).
    pub fn keys(&self) -> impl Iterator<Item = Result<&[u8], Malformed>> {
        read::keys(self.bytes.get(self.body as usize..).unwrap_or_default(), self.scribes)
    }

    /// Whether a record of it is of a model of the engine's own.
    pub(crate) fn has_reserved(&self) -> Result<bool, Malformed> {
        for key in self.keys() {
            if is_reserved(Reader::new(key?).text()?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What it changes. Long values share its memory, and keep all of it alive.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for one that is out of a log in spite of its checksums.
    pub fn scribes(&self) -> Result<Vec<Scribe>, Malformed> {
        // Whoever asks for all of them wants to know.
        Self::logged(self.bytes.clone())?;
        self.each().map(|scribe| scribe?.to_scribe()).collect()
    }

    /// Reads the stamp alone of an encoded transaction.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that begin as no transaction does.
    pub fn read_stamp(bytes: &[u8]) -> Result<Stamp, Malformed> {
        Ok(read::head(&mut Reader::new(bytes))?.0)
    }

    /// Reads the [keys](Self::keys) alone of an encoded transaction that was checked.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that begin as no transaction does, or as one that is for this node's log alone.
    pub fn read_keys(
        bytes: &[u8],
    ) -> Result<impl Iterator<Item = Result<&[u8], Malformed>>, Malformed> {
        let mut reader = Reader::new(bytes);
        let (_, is_local) = read::head(&mut reader)?;
        if is_local {
            return Err(Malformed::Expected("a transaction of four parts"));
        }
        let scribes = reader.array()?;
        Ok(read::keys(reader.rest(), scribes as u32))
    }

    /// Writes it as what comes next in a message: in brief where that is shorter, and the author that of the transaction
    /// before it.
    pub(crate) fn write<'a>(&'a self, writer: &mut Writer, said: &mut Said<'a>) {
        let (later, count) = (said.follow(self.stamp), self.scribes as usize);
        // Of what is mostly values little would be left out, and they would be walked through.
        let later = later.filter(|_| self.bytes.len() / count.max(1) <= SHARED_BYTES_MAX);
        let scribes = self.bytes.get(self.body as usize..).unwrap_or_default();
        let bytes = self.bytes.len();
        if !later.is_some_and(|later| said.shorten(later, scribes, count, bytes, writer)) {
            writer.encoded(&self.bytes);
        }
    }

    /// Takes the transaction that comes next in a message if it is in canonical form and within all limits, as nearly all
    /// are that are whole: it is checked where it lies.
    pub(crate) fn next(reader: &mut Reader<'_>, block: &mut Block) -> Option<Self> {
        let (whole, mut ahead) = (reader.rest(), Reader::new(reader.rest()));
        let begun = Begun::read(&mut ahead).ok().filter(|begun| !begun.is_local)?;
        read::check(&mut ahead, &begun).ok()?;
        let bytes = whole.get(..whole.len() - ahead.rest().len())?;
        if !ahead.is_canonical() || bytes.len() > TRANSACTION_BYTES_MAX {
            return None;
        }
        *reader = ahead;
        Some(begun.of(block.keep(bytes, 2 * reader.rest().len())))
    }

    /// Whether it may share memory with others.
    pub(crate) fn is_short(&self) -> bool {
        self.bytes.len() <= SHARED_BYTES_MAX
    }

    /// The transaction in memory that it shares with those that are kept after it, of so many bytes at most.
    pub(crate) fn kept_in(&self, block: &mut Block, left_bytes: usize) -> Self {
        Self { bytes: block.keep(&self.bytes, left_bytes), ..*self }
    }
}

/// A transaction that was checked.
pub(crate) struct Form {
    begun: Begun,
    /// Its canonical form, where it came in another.
    other: Option<Bytes>,
}

impl Form {
    /// The transaction of the bytes that were checked.
    pub(crate) fn of(self, bytes: Bytes) -> Transaction {
        self.begun.of(self.other.unwrap_or(bytes))
    }

    /// The transaction of the bytes that were checked, in memory that it may share.
    pub(crate) fn kept(self, bytes: &[u8], block: &mut Block, left_bytes: usize) -> Transaction {
        self.begun.of(self.other.unwrap_or_else(|| block.keep(bytes, left_bytes)))
    }
}

/// Writes what a transaction begins with, up to its scribes.
pub(crate) fn write_head(writer: &mut Writer, stamp: Stamp) {
    writer.array(4);
    write_stamp(writer, stamp);
}

fn write_stamp(writer: &mut Writer, stamp: Stamp) {
    writer.uint(stamp.time.bits());
    writer.bytes(stamp.author.node.as_bytes());
    writer.uint(stamp.author.epoch.0);
}

/// What a transaction can be made of.
pub(crate) trait Writable {
    /// Writes a scribe into a transaction of an author.
    fn write(&self, writer: &mut Writer, author: Author);
}

impl Writable for Scribe {
    fn write(&self, writer: &mut Writer, author: Author) {
        write_scribe(writer, &self.key, self.mark, fields_of(&self.fields), author);
    }
}

/// Fields as they are written.
pub(crate) fn fields_of(
    fields: &[(Path, Encoded)],
) -> impl ExactSizeIterator<Item = (PathRef<'_>, &[u8])> {
    fields.iter().map(|(path, value)| (path.as_ref(), value.as_bytes()))
}

pub(crate) fn write_scribe<'a>(
    writer: &mut Writer,
    key: &RecordKey,
    mark: Mark,
    fields: impl ExactSizeIterator<Item = (PathRef<'a>, &'a [u8])>,
    author: Author,
) {
    writer.array(4);
    key.write(writer);
    writer.uint(match mark {
        Mark::Update => 0,
        Mark::Create => 1,
        Mark::Destroy => 2,
        Mark::Replace => 3,
        Mark::State => 4,
        Mark::Evict => 5,
    });
    writer.array(2 * fields.len());
    for (path, value) in fields {
        write_field(writer, path, value, author);
    }
}

/// Writes a path, of a transaction of `own`, and the encoded value.
pub(super) fn write_field(writer: &mut Writer, path: PathRef<'_>, value: &[u8], own: Author) {
    match path.element {
        None => writer.text(path.field),
        Some(element) => {
            writer.array(match element {
                ElementRef::Author(author) if author == own => 2,
                ElementRef::Author(_) => 4,
                ElementRef::Entry(_) | ElementRef::Member(_) => 3,
            });
            writer.text(path.field);
            writer.uint(u64::from(path.kind.code()));
            match element {
                ElementRef::Entry(key) => writer.text(key),
                ElementRef::Member(member) => {
                    writer.array(1);
                    writer.encoded(member);
                }
                ElementRef::Author(author) if author != own => {
                    writer.bytes(author.node.as_bytes());
                    writer.uint(author.epoch.0);
                }
                ElementRef::Author(_) => {}
            }
        }
    }
    writer.encoded(value);
}

#[cfg(test)]
mod tests;
