//! The brief form of a transaction in a message: what was said in it before is not said again.
//!
//! `[later, [scribe, ...]]` is by the author of the transaction before it, and so much later. A name in it that was said
//! before is a number, and an id that is a UUID as text has its bytes, in an array of one. The rest is as it is logged, so
//! that what this version cannot play has a brief form as well.

use crate::encoding::hyphenated;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::limits::{MESSAGE_NAME_BYTES_MAX, MESSAGE_NAMES_MAX};
use crate::stamp::{Stamp, Time};

/// What was said in a message so far.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    /// When and by whom the last transaction was written.
    last: Option<Stamp>,
    names: Names<'a>,
}

impl<'a> Said<'a> {
    /// Notes a transaction. Returns how much later it was written than the one before, if that is by the same author.
    pub(crate) fn follow(&mut self, stamp: Stamp) -> Option<u64> {
        let last = self.last.replace(stamp).filter(|last| last.author == stamp.author)?;
        stamp.time.bits().checked_sub(last.time.bits())
    }

    /// Reads how much later something is than the transaction before it.
    pub(crate) fn later(&mut self, later: u64) -> Result<Stamp, Malformed> {
        let nobody = Malformed::Expected("an author, before a transaction without one");
        let last = self.last.as_mut().ok_or(nobody)?;
        let time = last.time.bits().checked_add(later).map(Time::from_bits);
        last.time = time.filter(|time| *time < Time::END).ok_or(Malformed::Limit("a stamp"))?;
        Ok(*last)
    }

    /// Writes the brief form of scribes. Returns whether they have one: if not nothing was said, whatever was written.
    pub(super) fn shorten(&mut self, scribes: &'a [u8], count: usize, out: &mut Writer) -> bool {
        let names = self.names.0.len();
        let mut reader = Reader::new(scribes);
        let turned = self.turn::<Brief>(&mut reader, count, out, usize::MAX);
        let is_brief = turned.and_then(|()| reader.finish()).is_ok();
        if !is_brief {
            self.names.0.truncate(names);
        }
        is_brief
    }

    /// Writes scribes as they are logged, of which the brief form comes next. What is written has so many bytes at most.
    pub(crate) fn expand(
        &mut self,
        reader: &mut Reader<'a>,
        count: usize,
        out: &mut Writer,
        bytes_max: usize,
    ) -> Result<(), Malformed> {
        self.turn::<Full>(reader, count, out, bytes_max)
    }

    fn turn<F: Form>(
        &mut self,
        reader: &mut Reader<'a>,
        count: usize,
        out: &mut Writer,
        bytes_max: usize,
    ) -> Result<(), Malformed> {
        let run = reader.rest();
        let mut turning = Turning { reader, run, names: &mut self.names, out, bytes_max };
        turning.scribes::<F>(count)
    }
}

/// Names that were said, in the order of their numbers, as they are encoded.
#[derive(Debug, Default)]
struct Names<'a>(Vec<&'a [u8]>);

impl<'a> Names<'a> {
    /// The number of a name, if it has one by now; if not it gets the next one.
    fn number(&mut self, name: &'a [u8]) -> Option<u8> {
        let known = self.0.iter().position(|known| *known == name);
        if known.is_none() {
            self.say(name);
        }
        known.map(|number| number as u8)
    }

    /// Gives a name that is said the next number, if there is one.
    fn say(&mut self, name: &'a [u8]) {
        if self.0.len() < MESSAGE_NAMES_MAX {
            self.0.push(name);
        }
    }
}

/// Scribes on their way from one form to the other.
struct Turning<'a, 't> {
    reader: &'t mut Reader<'a>,
    /// Begins with what stays as it is, and was not written yet.
    run: &'a [u8],
    names: &'t mut Names<'a>,
    out: &'t mut Writer,
    bytes_max: usize,
}

impl<'a> Turning<'a, '_> {
    /// Looks at nothing but where names and ids are.
    fn scribes<F: Form>(&mut self, count: usize) -> Result<(), Malformed> {
        for _ in 0..count {
            self.reader.array_of(4, "a scribe of four parts")?;
            F::name(self)?;
            F::id(self)?;
            self.reader.skip()?;
            let parts = self.reader.array()?;
            if parts % 2 == 1 {
                return Err(Malformed::Expected("pairs of path and value"));
            }
            for _ in 0..parts / 2 {
                let parts = if self.reader.is_at_array() { self.reader.array()? } else { 1 };
                if parts == 0 {
                    return Err(Malformed::Expected("a path"));
                }
                F::name(self)?;
                // The rest of the path, and the value.
                for _ in 0..parts {
                    self.reader.skip()?;
                }
            }
        }
        self.put(self.reader.rest(), &[])
    }

    /// Writes what stays as it is up to `rest`, and then something in place of what was read from there on.
    fn put(&mut self, rest: &'a [u8], other: &[u8]) -> Result<(), Malformed> {
        let same = &self.run[..self.run.len() - rest.len()];
        if self.out.0.len() + same.len() + other.len() > self.bytes_max {
            return Err(Malformed::Limit("the scribes of a message"));
        }
        self.out.encoded(same);
        self.out.encoded(other);
        self.run = self.reader.rest();
        Ok(())
    }
}

/// Into which form scribes are turned.
trait Form {
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed>;
    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed>;
}

/// An id that is a UUID as text begins so in the log, and so in brief.
const TEXT: [u8; 2] = [0xd9, 36];
const BYTES: [u8; 3] = [0x91, 0xc4, 16];

struct Brief;

impl Form for Brief {
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let rest = turning.reader.rest();
        let name = turning.reader.skip()?;
        match name.first() {
            Some(0xa0..=0xbf) => {}
            Some(0xd9) => return Ok(()),
            _ => return Err(Malformed::Expected("a name")),
        }
        match turning.names.number(name) {
            Some(number) => turning.put(rest, &[number]),
            None => Ok(()),
        }
    }

    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let rest = turning.reader.rest();
        let id = turning.reader.skip()?;
        let text = id.strip_prefix(&TEXT).and_then(|text| text.try_into().ok());
        match text.and_then(hyphenated::to_bytes) {
            Some(uuid) => {
                let mut bytes = [0; 19];
                bytes[..3].copy_from_slice(&BYTES);
                bytes[3..].copy_from_slice(&uuid);
                turning.put(rest, &bytes)
            }
            None => Ok(()),
        }
    }
}

struct Full;

impl Form for Full {
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let rest = turning.reader.rest();
        let number = match turning.reader.head()? {
            Head::Int(number) => usize::try_from(number).ok(),
            Head::Text(text) => {
                if text.len() <= MESSAGE_NAME_BYTES_MAX {
                    turning.names.say(&rest[..rest.len() - turning.reader.rest().len()]);
                }
                return Ok(());
            }
            _ => return Err(Malformed::Expected("a name")),
        };
        let name = number.and_then(|number| turning.names.0.get(number)).copied();
        turning.put(rest, name.ok_or(Malformed::Expected("the number of a name"))?)
    }

    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        if !turning.reader.is_at_array() {
            turning.reader.skip()?;
            return Ok(());
        }
        let rest = turning.reader.rest();
        turning.reader.array_of(1, "the bytes of an id")?;
        let mut text = [0; 38];
        text[..2].copy_from_slice(&TEXT);
        text[2..].copy_from_slice(&hyphenated::to_text(turning.reader.bytes_of()?));
        turning.put(rest, &text)
    }
}
