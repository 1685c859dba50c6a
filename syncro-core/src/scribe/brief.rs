//! The brief form of a transaction in a message: what was said in it before is not said again.
//!
//! `[later, [scribe, ...]]` is by the author of the transaction before it, and so much later; one scribe alone goes without
//! arrays around it. A name in it that was said
//! before is a number, and an id that is a UUID as text has its bytes, in an array of one. The rest is as it is logged, so
//! that what this version cannot play has a brief form as well.

use crate::encoding::hyphenated;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::limits::{
    BRIEF_BESIDE_BYTES, BRIEF_RATIO_MAX, MESSAGE_NAME_BYTES_MAX, MESSAGE_NAMES_MAX,
};
use crate::stamp::{Stamp, Time};

/// Whether a transaction may be said by so many bytes in brief.
pub(crate) fn may_stand_for(brief_bytes: usize, bytes: usize) -> bool {
    bytes + BRIEF_BESIDE_BYTES <= BRIEF_RATIO_MAX * brief_bytes
}

/// How many scribes a brief transaction has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// One, whose parts are parts of the transaction.
    Alone,
    /// So many, in an array.
    Of(usize),
}

impl Count {
    /// Parts of a brief transaction with a scribe alone.
    pub(crate) const ALONE_PARTS: usize = 5;

    pub(crate) fn number(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Of(count) => count,
        }
    }

    /// Writes what is before the scribes.
    fn write(self, later: u64, out: &mut Writer) {
        match self {
            Self::Alone => {
                out.array(Self::ALONE_PARTS);
                out.uint(later);
            }
            Self::Of(count) => {
                out.array(2);
                out.uint(later);
                out.array(count);
            }
        }
    }
}

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

    /// Writes the brief form of a transaction of so many scribes and bytes, so much later than the one before. Returns
    /// whether it has one: if not nothing was written.
    pub(super) fn shorten(
        &mut self,
        later: u64,
        scribes: &'a [u8],
        count: usize,
        bytes: usize,
        out: &mut Writer,
    ) -> bool {
        let (start, names) = (out.0.len(), self.names.0.len());
        let count = if count == 1 { Count::Alone } else { Count::Of(count) };
        count.write(later, out);
        let body = out.0.len();
        let mut reader = Reader::new(scribes);
        let turned = self.turn::<Brief>(&mut reader, count, out, usize::MAX);
        let will_do = |out: &Writer| may_stand_for(out.0.len() - start, bytes);
        let mut is_brief = turned.and_then(|()| reader.finish()).is_ok();
        if is_brief && !will_do(out) {
            // What is too short for all that it stands for may do in an array.
            if let Count::Alone = count {
                out.0[start] = PAIR;
                out.0.splice(body..body, [ONE, FOUR]);
            }
            is_brief = will_do(out);
        }
        if !is_brief {
            out.0.truncate(start);
            self.names.0.truncate(names);
        }
        is_brief
    }

    /// Writes scribes as they are logged, of which the brief form comes next. What is written has so many bytes at most.
    pub(crate) fn expand(
        &mut self,
        reader: &mut Reader<'a>,
        count: Count,
        out: &mut Writer,
        bytes_max: usize,
    ) -> Result<(), Malformed> {
        self.turn::<Full>(reader, count, out, bytes_max)
    }

    fn turn<F: Form>(
        &mut self,
        reader: &mut Reader<'a>,
        count: Count,
        out: &mut Writer,
        bytes_max: usize,
    ) -> Result<(), Malformed> {
        let names = &mut self.names;
        let mut turning = Turning { reader: reader.clone(), names, out: &mut out.0, bytes_max };
        turning.scribes::<F>(count)?;
        *reader = turning.reader;
        Ok(())
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
    reader: Reader<'a>,
    names: &'t mut Names<'a>,
    out: &'t mut Vec<u8>,
    bytes_max: usize,
}

impl<'a> Turning<'a, '_> {
    /// Looks at nothing but where names and ids are.
    fn scribes<F: Form>(&mut self, count: Count) -> Result<(), Malformed> {
        for _ in 0..count.number() {
            F::head(self, count)?;
            F::name(self)?;
            F::id(self)?;
            self.same()?;
            let parts = self.array()?;
            if parts % 2 == 1 {
                return Err(Malformed::Expected("pairs of path and value"));
            }
            for _ in 0..parts / 2 {
                let parts = if self.reader.is_at_array() { self.array()? } else { 1 };
                if parts == 0 {
                    return Err(Malformed::Expected("a path"));
                }
                F::name(self)?;
                // The rest of the path, and the value.
                for _ in 0..parts {
                    self.same()?;
                }
            }
        }
        self.put(&[])
    }

    /// Takes a value as it is.
    #[inline(always)]
    fn same(&mut self) -> Result<(), Malformed> {
        if let Some(int) = self.reader.small() {
            self.out.push(int);
            return Ok(());
        }
        let value = self.reader.skip()?;
        self.put(value)
    }

    /// Takes the head of an array as it is.
    #[inline(always)]
    fn array(&mut self) -> Result<usize, Malformed> {
        let rest = self.reader.rest();
        let length = self.reader.array()?;
        match length {
            0..=15 => self.out.push(0x90 | length as u8),
            _ => self.put(&rest[..rest.len() - self.reader.rest().len()])?,
        }
        Ok(length)
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.out.len() + bytes.len() > self.bytes_max {
            return Err(Malformed::Limit("the scribes of a message"));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Into which form scribes are turned.
trait Form {
    fn head(turning: &mut Turning<'_, '_>, count: Count) -> Result<(), Malformed>;
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed>;
    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed>;
}

/// How a scribe begins, and arrays of one and of two.
const FOUR: u8 = 0x94;
const ONE: u8 = 0x91;
const PAIR: u8 = 0x92;

/// How an id that is a UUID as text begins in the log, and how in brief.
const TEXT: [u8; 2] = [0xd9, 36];
const BYTES: [u8; 3] = [0x91, 0xc4, 16];

/// How the names begin that have numbers.
const SHORT: u8 = 0xa0;
const SHORT_MAX: u8 = SHORT | MESSAGE_NAME_BYTES_MAX as u8;

struct Brief;

impl Form for Brief {
    #[inline(always)]
    fn head(turning: &mut Turning<'_, '_>, count: Count) -> Result<(), Malformed> {
        turning.reader.array_of(4, "a scribe of four parts")?;
        if let Count::Of(_) = count {
            turning.out.push(FOUR);
        }
        Ok(())
    }

    #[inline(always)]
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let name = turning.reader.skip()?;
        match name {
            [SHORT..=SHORT_MAX, ..] => match turning.names.number(name) {
                Some(number) => turning.out.push(number),
                None => turning.put(name)?,
            },
            [SHORT..=0xbf | 0xd9, ..] => turning.put(name)?,
            _ => return Err(Malformed::Expected("a name")),
        }
        Ok(())
    }

    #[inline(always)]
    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let rest = turning.reader.rest();
        if let Some((text, rest)) =
            rest.strip_prefix(&TEXT).and_then(|rest| rest.split_first_chunk())
            && let Some(uuid) = hyphenated::to_bytes(text)
        {
            turning.out.extend_from_slice(&BYTES);
            turning.out.extend_from_slice(&uuid);
            turning.reader = Reader::new(rest);
            return Ok(());
        }
        turning.same()
    }
}

struct Full;

impl Form for Full {
    #[inline(always)]
    fn head(turning: &mut Turning<'_, '_>, count: Count) -> Result<(), Malformed> {
        if let Count::Of(_) = count {
            turning.reader.array_of(4, "a scribe of four parts")?;
        }
        turning.out.push(FOUR);
        Ok(())
    }

    #[inline(always)]
    fn name(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        let rest = turning.reader.rest();
        let number = match turning.reader.small() {
            Some(number) => Some(usize::from(number)),
            None => match turning.reader.head()? {
                Head::Int(number) => usize::try_from(number).ok(),
                Head::Text(text) => {
                    let name = &rest[..rest.len() - turning.reader.rest().len()];
                    if text.len() <= MESSAGE_NAME_BYTES_MAX {
                        turning.names.say(name);
                    }
                    return turning.put(name);
                }
                _ => return Err(Malformed::Expected("a name")),
            },
        };
        let name = number.and_then(|number| turning.names.0.get(number)).copied();
        turning.put(name.ok_or(Malformed::Expected("the number of a name"))?)
    }

    #[inline(always)]
    fn id(turning: &mut Turning<'_, '_>) -> Result<(), Malformed> {
        if !turning.reader.is_at_array() {
            return turning.same();
        }
        turning.reader.array_of(1, "the bytes of an id")?;
        let uuid = turning.reader.bytes_of()?;
        turning.put(&TEXT)?;
        turning.put(&hyphenated::to_text(uuid))
    }
}
