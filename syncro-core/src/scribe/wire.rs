//! The encoding of a transaction: the same bytes on the wire, in the log and under every digest.
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

use super::{Mark, Scribe, Transaction};
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::encoding::scratch;
use crate::id::{Name, NodeId, RecordKey};
use crate::limits::{
    MEMBER_BYTES_MAX, NAME_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX,
    VALUE_BYTES_MAX,
};
use crate::record::{Element, Kind, Path, Record};
use crate::stamp::{Author, Epoch, Stamp, Time};
use crate::value::Encoded;

impl Transaction {
    /// Encodes scribes under a stamp. The fields of each scribe are in path order, as scribes have them.
    pub(crate) fn new(stamp: Stamp, scribes: &[Scribe]) -> Self {
        let mut writer = Writer(scratch::take());
        write_head(&mut writer, stamp);
        writer.array(scribes.len());
        for scribe in scribes {
            write_scribe(&mut writer, scribe, stamp.author);
        }
        let bytes = Bytes::copy_from_slice(&writer.0);
        scratch::give_back(writer.0);
        Self { stamp, scribes: scribes.len() as u32, bytes, is_local: false }
    }

    /// Encodes scribes under a stamp, in as many transactions as their limits ask for. A scribe that is over
    /// a limit by itself is left out.
    pub fn packed(stamp: Stamp, scribes: &[Scribe]) -> Vec<Self> {
        match Self::decode(Self::new(stamp, scribes).bytes) {
            Ok((transaction, _)) => vec![transaction],
            Err(_) if scribes.len() < 2 => Vec::new(),
            Err(_) => {
                let (first, second) = scribes.split_at(scribes.len() / 2);
                [first, second].into_iter().flat_map(|half| Self::packed(stamp, half)).collect()
            }
        }
    }

    /// Checks a transaction, and returns with it what it changes. Long values share the memory given, and keep all
    /// of it alive.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that no node would have written.
    pub fn decode(bytes: Bytes) -> Result<(Self, Vec<Scribe>), Malformed> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(Malformed::Limit("a transaction"));
        }
        let mut reader = Reader::new(&bytes);
        let (stamp, is_local) = read_head(&mut reader)?;
        if is_local {
            return Err(Malformed::Expected("a transaction of four parts"));
        }
        let mut input =
            Input { reader: &mut reader, bytes: &bytes, author: stamp.author, is_local };
        let scribes = input.scribes()?;
        reader.finish()?;
        if reader.is_canonical() {
            let transaction = Self { stamp, scribes: scribes.len() as u32, bytes, is_local };
            return Ok((transaction, scribes));
        }
        let transaction = Self::new(stamp, &scribes);
        if transaction.bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(Malformed::Limit("a transaction"));
        }
        Ok((transaction, scribes))
    }

    /// Notes what a view shows from here on: the states of records, or that they are gone. It is for this node's log
    /// alone, so no limits bind it.
    pub(crate) fn local(stamp: Stamp, shown: &[(RecordKey, Arc<Record>)]) -> Self {
        let mut writer = Writer::default();
        writer.array(5);
        write_stamp(&mut writer, stamp);
        writer.array(shown.len());
        for (key, record) in shown {
            write_scribe(&mut writer, &Scribe::shown(key.clone(), record), stamp.author);
        }
        writer.bool(true);
        Self { stamp, scribes: shown.len() as u32, bytes: writer.0.into(), is_local: true }
    }

    /// Checks a transaction of this node's own log, and returns with it what it changes. Long values share the memory
    /// given, and keep all of it alive.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that no node would have written.
    pub fn logged(bytes: Bytes) -> Result<(Self, Vec<Scribe>), Malformed> {
        let mut reader = Reader::new(&bytes);
        let (stamp, is_local) = read_head(&mut reader)?;
        if !is_local {
            return Self::decode(bytes);
        }
        let mut input =
            Input { reader: &mut reader, bytes: &bytes, author: stamp.author, is_local };
        let scribes = input.scribes()?;
        if reader.head()? != Head::Bool(true) {
            return Err(Malformed::Expected("a transaction of this node alone"));
        }
        reader.finish()?;
        for scribe in &scribes {
            scribe.state().transpose()?;
        }
        Ok((Self { stamp, scribes: scribes.len() as u32, bytes, is_local }, scribes))
    }

    /// Takes a transaction from this node's own log, where nothing is that was not checked.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that begin as no transaction does.
    pub fn trusted(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&bytes);
        let (stamp, is_local) = read_head(&mut reader)?;
        let scribes = read_count(&mut reader)? as u32;
        Ok(Self { stamp, scribes, bytes, is_local })
    }

    /// What it changes. Long values share its memory, and keep all of it alive.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for one that is out of a log in spite of its checksums.
    pub fn scribes(&self) -> Result<Vec<Scribe>, Malformed> {
        Ok(Self::logged(self.bytes.clone())?.1)
    }

    /// Reads the stamp alone of an encoded transaction.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that begin as no transaction does.
    pub fn read_stamp(bytes: &[u8]) -> Result<Stamp, Malformed> {
        Ok(read_head(&mut Reader::new(bytes))?.0)
    }

    /// Writes it into a message: `[time, [scribe, ...]]` where the transaction before it in the message, whose author
    /// is given, has the same author.
    pub(crate) fn write(&self, writer: &mut Writer, before: Option<Author>) {
        let mut reader = Reader::new(&self.bytes);
        if before == Some(self.stamp.author) && read_head(&mut reader).is_ok() {
            writer.array(2);
            writer.uint(self.stamp.time.bits());
            writer.encoded(reader.rest());
        } else {
            writer.encoded(&self.bytes);
        }
    }

    /// The encoding of a transaction that was written without its author.
    pub(crate) fn with_author(time: u64, author: Author, scribes: &[u8]) -> Bytes {
        let mut writer = Writer(Vec::with_capacity(HEAD_BYTES_MAX + scribes.len()));
        write_head(&mut writer, Stamp { time: Time::from_bits(time), author });
        writer.encoded(scribes);
        writer.0.into()
    }
}

fn write_head(writer: &mut Writer, stamp: Stamp) {
    writer.array(4);
    write_stamp(writer, stamp);
}

fn write_stamp(writer: &mut Writer, stamp: Stamp) {
    writer.uint(stamp.time.bits());
    writer.bytes(stamp.author.node.as_bytes());
    writer.uint(stamp.author.epoch.0);
}

fn write_scribe(writer: &mut Writer, scribe: &Scribe, author: Author) {
    writer.array(4);
    scribe.key.write(writer);
    writer.uint(match scribe.mark {
        Mark::Update => 0,
        Mark::Create => 1,
        Mark::Destroy => 2,
        Mark::Replace => 3,
        Mark::State => 4,
        Mark::Evict => 5,
    });
    writer.array(2 * scribe.fields.len());
    for (path, value) in &scribe.fields {
        write_path(writer, path, author);
        writer.encoded(value.as_bytes());
    }
}

fn write_path(writer: &mut Writer, path: &Path, own: Author) {
    let field = path.field.as_str();
    let kind = u64::from(path.kind.code());
    match &path.element {
        None => writer.text(field),
        Some(element) => {
            writer.array(match element {
                Element::Author(author) if *author == own => 2,
                Element::Author(_) => 4,
                Element::Entry(_) | Element::Member(_) => 3,
            });
            writer.text(field);
            writer.uint(kind);
            match element {
                Element::Entry(key) => writer.text(key),
                Element::Member(member) => {
                    writer.array(1);
                    writer.encoded(member.as_bytes());
                }
                Element::Author(author) if *author != own => {
                    writer.bytes(author.node.as_bytes());
                    writer.uint(author.epoch.0);
                }
                Element::Author(_) => {}
            }
        }
    }
}

/// Reads a stamp, and whether the transaction is this node's alone.
fn read_head(reader: &mut Reader<'_>) -> Result<(Stamp, bool), Malformed> {
    let is_local = match reader.array()? {
        4 => false,
        5 => true,
        _ => return Err(Malformed::Expected("a transaction of four parts")),
    };
    let time = Time::from_bits(reader.uint()?);
    if time >= Time::END {
        return Err(Malformed::Limit("a stamp"));
    }
    let node = NodeId::from_bytes(reader.bytes_of()?);
    let author = Author { node, epoch: Epoch(reader.uint()?) };
    Ok((Stamp { time, author }, is_local))
}

/// Reads how many scribes follow.
fn read_count(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match reader.array()? {
        0 => Err(Malformed::Expected("a scribe")),
        count if count > TRANSACTION_SCRIBES_MAX => Err(Malformed::Limit("the number of scribes")),
        count => Ok(count),
    }
}

/// What is left of a transaction after its stamp.
struct Input<'a, 'b> {
    reader: &'b mut Reader<'a>,
    /// The whole, whose memory values share.
    bytes: &'a Bytes,
    author: Author,
    is_local: bool,
}

impl Input<'_, '_> {
    fn scribes(&mut self) -> Result<Vec<Scribe>, Malformed> {
        let count = read_count(self.reader)?;
        let mut scribes = Vec::with_capacity(count.min(RESERVED_MAX));
        for _ in 0..count {
            scribes.push(self.scribe()?);
        }
        if !scribes.is_sorted_by(|a, b| a.key < b.key) {
            let mut keys: Vec<&RecordKey> = scribes.iter().map(|scribe| &scribe.key).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Malformed::Expected("one scribe per record"));
            }
        }
        Ok(scribes)
    }

    fn scribe(&mut self) -> Result<Scribe, Malformed> {
        self.reader.array_of(4, "a scribe of four parts")?;
        let key = RecordKey::read(self.reader)?;
        let mark = match (self.reader.uint()?, self.is_local) {
            (0, false) => Mark::Update,
            (1, false) => Mark::Create,
            (2, false) => Mark::Destroy,
            (3, false) => Mark::Replace,
            (4, true) => Mark::State,
            (5, true) => Mark::Evict,
            _ => return Err(Malformed::Limit("a mark")),
        };
        let count = self.reader.array()?;
        let fits = match mark {
            Mark::Update => count > 0,
            Mark::Destroy | Mark::Evict => count == 0,
            Mark::Create | Mark::Replace => true,
            Mark::State => count == 2,
        };
        if count % 2 == 1 || !fits {
            return Err(Malformed::Expected("pairs of path and value that fit the mark"));
        }
        let mut fields: Vec<(Path, Encoded)> = Vec::with_capacity(self.fields_there(count / 2));
        for _ in 0..count / 2 {
            let path = self.path()?;
            let value = self.value(&path)?;
            fields.push((path, value));
        }
        if !fields.is_sorted_by(|a, b| a.0 < b.0) {
            self.reader.not_canonical();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            if fields.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(Malformed::Expected("one value per path"));
            }
        }
        Ok(Scribe { key, mark, fields })
    }

    /// For how many fields there is to be room, of so many that are announced. Many are counted first: a list that grows
    /// as they are read would take up to three times their memory.
    fn fields_there(&self, announced: usize) -> usize {
        if announced <= RESERVED_MAX {
            return announced;
        }
        let mut ahead = self.reader.clone();
        let mut is_there = || {
            let begins_path = matches!(ahead.rest(), [0x92..=0x94 | 0xa1..=0xbf | 0xd9, ..]);
            begins_path && ahead.skip().is_ok() && ahead.skip().is_ok()
        };
        (0..announced).take_while(|_| is_there()).count()
    }

    fn path(&mut self) -> Result<Path, Malformed> {
        let parts = match self.reader.head()? {
            Head::Text(field) => return Ok(Path::field(name(field)?)),
            Head::Array(parts) => parts,
            _ => return Err(Malformed::Expected("a path")),
        };
        let field = self.name()?;
        let kind = Kind::from_code(self.reader.uint()?).ok_or(Malformed::Limit("a kind"))?;
        match (kind, parts) {
            (Kind::Lww, 3) => match self.reader.head()? {
                Head::Text(key) if key.len() <= NAME_BYTES_MAX => Ok(Path::entry(field, key)),
                Head::Array(1) => {
                    let member = self.encoded()?;
                    if member.as_bytes().len() > MEMBER_BYTES_MAX {
                        return Err(Malformed::Limit("a set member"));
                    }
                    Ok(Path::member(field, member))
                }
                _ => Err(Malformed::Expected("a map key or a set member")),
            },
            (Kind::Counter, 2) => Ok(Path::counter(field, self.author)),
            (Kind::Counter, 4) => {
                let node = NodeId::from_bytes(self.reader.bytes_of()?);
                let other = Author { node, epoch: Epoch(self.reader.uint()?) };
                if other == self.author {
                    self.reader.not_canonical();
                }
                Ok(Path::counter(field, other))
            }
            _ => Err(Malformed::Expected("a path of the length of its kind")),
        }
    }

    fn value(&mut self, path: &Path) -> Result<Encoded, Malformed> {
        let value = self.encoded()?;
        match &path.element {
            Some(Element::Author(_)) if value.as_i64().is_none() => {
                Err(Malformed::Expected("a total in the range of a 64-bit integer"))
            }
            Some(Element::Member(_)) if value != Encoded::TRUE && !value.is_nil() => {
                Err(Malformed::Expected("true or nil for a set member"))
            }
            _ => Ok(value),
        }
    }

    /// Reads a value, sharing the input's memory where it is canonical.
    fn encoded(&mut self) -> Result<Encoded, Malformed> {
        let value = Encoded::read(self.reader, |slice| self.bytes.slice_ref(slice))?;
        if value.as_bytes().len() > VALUE_BYTES_MAX && !self.is_local {
            return Err(Malformed::Limit("a value"));
        }
        Ok(value)
    }

    fn name(&mut self) -> Result<Name, Malformed> {
        let text = self.reader.text()?;
        name(text)
    }
}

fn name(text: &str) -> Result<Name, Malformed> {
    Name::new(text).map_err(|_| Malformed::Limit("a name"))
}

/// Scribes for which there is room before they are read, and fields of a scribe for which there is before they are looked
/// at: what input claims to hold costs nothing until it is there.
const RESERVED_MAX: usize = 16;

/// A transaction's bytes before its scribes, at most: an array's head, two integers, a node.
const HEAD_BYTES_MAX: usize = 1 + 9 + 18 + 9;

#[cfg(test)]
mod tests;
