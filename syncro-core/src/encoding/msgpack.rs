//! MessagePack without extensions: a writer of the canonical form, and a reader that bounds its work.
//!
//! Canonical means: the shortest form of each integer and length, 64-bit floats with one NaN, and map
//! keys that are text, unique and in byte order.
//!
//! Source: the MessagePack specification, version of 2013.

use crate::limits::MESSAGE_DEPTH_MAX;

/// The bits of the one NaN.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// What is wrong with encoded input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The input ends inside a value.
    #[error("the input ends inside a value")]
    Truncated,
    /// There are bytes after the value.
    #[error("there are bytes after the end of the value")]
    Trailing,
    /// Another sort of value was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// An extension type or the reserved byte.
    #[error("MessagePack extensions are not values of this protocol")]
    Extension,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// A map key that occurs twice.
    #[error("a map has the same key twice")]
    DuplicateKey,
    /// Values nested too deep.
    #[error("values are nested too deep")]
    TooDeep,
    /// A number, text or list outside its limits.
    #[error("{0} is outside its limits")]
    Limit(&'static str),
    /// Not JSON, or JSON that breaks the tagging rules.
    #[error("not the JSON of this protocol: {0}")]
    Json(&'static str),
}

/// Appends canonical MessagePack to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn nil(&mut self) {
        self.0.push(0xc0);
    }

    pub(crate) fn bool(&mut self, bool: bool) {
        self.0.push(if bool { 0xc3 } else { 0xc2 });
    }

    pub(crate) fn uint(&mut self, int: u64) {
        match int {
            0..=0x7f => self.0.push(int as u8),
            0x80..=0xff => self.0.extend([0xcc, int as u8]),
            0x100..=0xffff => self.tagged(0xcd, &(int as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(int as u32).to_be_bytes()),
            _ => self.tagged(0xcf, &int.to_be_bytes()),
        }
    }

    pub(crate) fn int(&mut self, int: i64) {
        match int {
            0.. => self.uint(int as u64),
            -32..=-1 => self.0.push(int as i8 as u8),
            -0x80..=-33 => self.0.extend([0xd0, int as i8 as u8]),
            -0x8000..=-0x81 => self.tagged(0xd1, &(int as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(0xd2, &(int as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &int.to_be_bytes()),
        }
    }

    pub(crate) fn float(&mut self, float: f64) {
        let bits = if float.is_nan() { NAN } else { float.to_bits() };
        self.tagged(0xcb, &bits.to_be_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        match text.len() {
            length @ 0..=31 => self.0.push(0xa0 | length as u8),
            length @ 32..=0xff => self.0.extend([0xd9, length as u8]),
            length => self.length(length, 0xda, 0xdb),
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match bytes.len() {
            length @ 0..=0xff => self.0.extend([0xc4, length as u8]),
            length => self.length(length, 0xc5, 0xc6),
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn array(&mut self, length: usize) {
        match length {
            0..=15 => self.0.push(0x90 | length as u8),
            _ => self.length(length, 0xdc, 0xdd),
        }
    }

    pub(crate) fn map(&mut self, length: usize) {
        match length {
            0..=15 => self.0.push(0x80 | length as u8),
            _ => self.length(length, 0xde, 0xdf),
        }
    }

    /// Appends a value that is encoded already.
    pub(crate) fn encoded(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    fn length(&mut self, length: usize, short: u8, long: u8) {
        match u16::try_from(length) {
            Ok(length) => self.tagged(short, &length.to_be_bytes()),
            Err(_) => self.tagged(long, &(length as u32).to_be_bytes()),
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
    }
}

/// One head of MessagePack: a scalar, or the length of what follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Head<'a> {
    Nil,
    Bool(bool),
    /// An integer from -2^63 to 2^64-1.
    Int(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array(usize),
    Map(usize),
}

/// Reads MessagePack from a slice, without allocating.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Whether everything read so far was in canonical form.
    canonical: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input, canonical: true }
    }

    pub(crate) fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// Says that what was read has a canonical form other than its own.
    pub(crate) fn not_canonical(&mut self) {
        self.canonical = false;
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    pub(crate) fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let tag = self.take(1)?[0];
        Ok(match tag {
            0x00..=0x7f => Head::Int(i128::from(tag)),
            0x80..=0x8f => Head::Map(usize::from(tag & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(tag & 0x0f)),
            0xa0..=0xbf => self.text_of(usize::from(tag & 0x1f))?,
            0xc0 => Head::Nil,
            0xc2 | 0xc3 => Head::Bool(tag == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(tag - 0xc4, [0, 0x100, 0x1_0000])?;
                Head::Bytes(self.take(length)?)
            }
            0xca => {
                self.canonical = false;
                let bits = self.unsigned(4)? as u32;
                Head::Float(f64::from(f32::from_bits(bits)))
            }
            0xcb => {
                let float = f64::from_bits(self.unsigned(8)?);
                self.canonical &= !float.is_nan() || float.to_bits() == NAN;
                Head::Float(float)
            }
            0xcc..=0xcf => {
                let int = self.unsigned(1 << (tag - 0xcc))?;
                self.canonical &=
                    int >= [0x80, 0x100, 0x1_0000, 0x1_0000_0000][usize::from(tag - 0xcc)];
                Head::Int(i128::from(int))
            }
            0xd0..=0xd3 => {
                let width = 1 << (tag - 0xd0);
                let unused = 64 - 8 * width as u32;
                let int = ((self.unsigned(width)? << unused) as i64) >> unused;
                let limits = [-32, -0x80, -0x8000, -0x8000_0000_i64];
                self.canonical &= int < limits[usize::from(tag - 0xd0)];
                Head::Int(i128::from(int))
            }
            0xd9..=0xdb => {
                let length = self.length(tag - 0xd9, [32, 0x100, 0x1_0000])?;
                self.text_of(length)?
            }
            0xdc | 0xdd => Head::Array(self.length(tag - 0xdc + 1, [0, 16, 0x1_0000])?),
            0xde | 0xdf => Head::Map(self.length(tag - 0xde + 1, [0, 16, 0x1_0000])?),
            0xe0..=0xff => Head::Int(i128::from(tag as i8)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(Malformed::Extension),
        })
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Malformed> {
        if let Some(int) = self.small() {
            return Ok(u64::from(int));
        }
        // Times and epochs, nearly all of them.
        if let [0xcf, rest @ ..] = self.rest
            && let Some((int, rest)) = rest.split_first_chunk()
        {
            let int = u64::from_be_bytes(*int);
            self.canonical &= int > u64::from(u32::MAX);
            self.rest = rest;
            return Ok(int);
        }
        match self.head()? {
            Head::Int(int) => {
                u64::try_from(int).map_err(|_| Malformed::Expected("an unsigned integer"))
            }
            _ => Err(Malformed::Expected("an unsigned integer")),
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.head()? {
            Head::Bool(bool) => Ok(bool),
            _ => Err(Malformed::Expected("a bool")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        if let Some(text) = self.short_text() {
            return text;
        }
        match self.head()? {
            Head::Text(text) => Ok(text),
            _ => Err(Malformed::Expected("text")),
        }
    }

    /// Reads what comes next if it is a text of less than 32 bytes, as nearly all names are.
    #[inline]
    pub(crate) fn short_text(&mut self) -> Option<Result<&'a str, Malformed>> {
        let [tag @ 0xa0..=0xbf, after @ ..] = self.rest else { return None };
        let Some((text, rest)) = after.split_at_checked(usize::from(tag & 0x1f)) else {
            return Some(Err(Malformed::Truncated));
        };
        self.rest = rest;
        Some(std::str::from_utf8(text).map_err(|_| Malformed::Utf8))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        if let [0xc4, length, rest @ ..] = self.rest
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(*length))
        {
            self.rest = rest;
            return Ok(bytes);
        }
        match self.head()? {
            Head::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::Expected("bytes")),
        }
    }

    pub(crate) fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| Malformed::Expected("bytes of another length"))
    }

    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        if let [tag @ 0x90..=0x9f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(usize::from(tag & 0x0f));
        }
        match self.head()? {
            Head::Array(length) => Ok(length),
            _ => Err(Malformed::Expected("an array")),
        }
    }

    /// Takes what comes next if it is an integer of one byte.
    #[inline]
    pub(crate) fn small(&mut self) -> Option<u8> {
        let [int @ 0x00..=0x7f, rest @ ..] = self.rest else { return None };
        self.rest = rest;
        Some(*int)
    }

    /// Whether an array comes next.
    #[inline]
    pub(crate) fn is_at_array(&self) -> bool {
        matches!(self.rest, [0x90..=0x9f | 0xdc | 0xdd, ..])
    }

    pub(crate) fn map(&mut self) -> Result<usize, Malformed> {
        match self.head()? {
            Head::Map(length) => Ok(length),
            _ => Err(Malformed::Expected("a map")),
        }
    }

    /// Reads an array whose length the protocol fixes.
    pub(crate) fn array_of(
        &mut self,
        length: usize,
        expected: &'static str,
    ) -> Result<(), Malformed> {
        if self.array()? == length { Ok(()) } else { Err(Malformed::Expected(expected)) }
    }

    /// Passes over one value nested at most `depth_max` deep, checks it and returns its bytes.
    pub(crate) fn value(&mut self, depth_max: usize) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        // What most values are takes no more than this.
        if let [0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff, rest @ ..] = start {
            self.rest = rest;
            return Ok(&start[..1]);
        }
        if let Some(text) = self.short_text() {
            text?;
        } else {
            let is_nested = match self.head()? {
                Head::Array(length) => !self.scalars(length)?,
                Head::Map(_) => true,
                _ => false,
            };
            if is_nested {
                self.rest = start;
                return self.nested(depth_max);
            }
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// Passes over so many values, unless there are arrays or maps among them. Returns whether there are none.
    fn scalars(&mut self, count: usize) -> Result<bool, Malformed> {
        for _ in 0..count {
            if let Head::Array(_) | Head::Map(_) = self.head()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Passes over one value and returns its bytes. What is in it, and how deep, is for whoever reads those.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let length = match self.rest {
            // Most of what messages are made of.
            [0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff, ..] => 1,
            [tag @ 0xa0..=0xbf, ..] => 1 + usize::from(tag & 0x1f),
            [tag @ 0xcc..=0xcf, ..] => 1 + (1 << (tag - 0xcc)),
            [0xd9 | 0xc4, length, ..] => 2 + usize::from(*length),
            _ => return self.skip_any(),
        };
        self.take(length)
    }

    fn skip_any(&mut self) -> Result<&'a [u8], Malformed> {
        let (start, canonical) = (self.rest, self.canonical);
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            let tag = *self.rest.first().ok_or(Malformed::Truncated)?;
            match tag {
                // Most of what messages are made of: no need to look at it.
                0xa0..=0xbf => {
                    self.take(1 + usize::from(tag & 0x1f))?;
                }
                0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => self.rest = &self.rest[1..],
                _ => match self.head()? {
                    Head::Array(length) => left = left.saturating_add(length as u64),
                    Head::Map(length) => left = left.saturating_add(2 * length as u64),
                    _ => {}
                },
            }
        }
        self.canonical = canonical;
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// Like [`value`](Self::value), and says whether the value is in canonical form.
    pub(crate) fn value_and_form(
        &mut self,
        depth_max: usize,
    ) -> Result<(&'a [u8], bool), Malformed> {
        let before = std::mem::replace(&mut self.canonical, true);
        let value = self.value(depth_max)?;
        let is_canonical = self.canonical;
        self.canonical &= before;
        Ok((value, is_canonical))
    }

    /// The stack of open arrays and maps is an array of fixed size: input cannot make it grow.
    fn nested(&mut self, depth_max: usize) -> Result<&'a [u8], Malformed> {
        #[derive(Clone, Copy)]
        struct Open<'a> {
            /// Values left, keys of a map included.
            left: u64,
            /// For a map, the key before.
            key: Option<Option<&'a str>>,
        }
        let start = self.rest;
        let mut open = [Open { left: 0, key: None }; MESSAGE_DEPTH_MAX];
        let mut depth = 0_usize;
        loop {
            let head = match depth.checked_sub(1).map(|top| &mut open[top]) {
                Some(Open { left, key: Some(before) }) if *left % 2 == 0 => {
                    let key = self.text()?;
                    if before.is_some_and(|before| before >= key) {
                        // Out of order is for `Value` to put right, and to find duplicates in.
                        self.canonical = false;
                    }
                    *before = Some(key);
                    Head::Text(key)
                }
                _ => self.head()?,
            };
            if depth > 0 {
                open[depth - 1].left -= 1;
            }
            let inner = match head {
                Head::Array(length) => Some(Open { left: length as u64, key: None }),
                Head::Map(length) => Some(Open { left: 2 * length as u64, key: Some(None) }),
                _ => None,
            };
            if let Some(inner) = inner {
                if depth >= depth_max.min(MESSAGE_DEPTH_MAX) {
                    return Err(Malformed::TooDeep);
                }
                open[depth] = inner;
                depth += 1;
            }
            while depth > 0 && open[depth - 1].left == 0 {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(&start[..start.len() - self.rest.len()]);
            }
        }
    }

    fn text_of(&mut self, length: usize) -> Result<Head<'a>, Malformed> {
        std::str::from_utf8(self.take(length)?).map(Head::Text).map_err(|_| Malformed::Utf8)
    }

    /// Reads a length of 1, 2 or 4 bytes; below the least length of its width it is not canonical.
    fn length(&mut self, width: u8, least: [u64; 3]) -> Result<usize, Malformed> {
        let length = self.unsigned(1 << width)?;
        self.canonical &= length >= least[usize::from(width)];
        usize::try_from(length).map_err(|_| Malformed::Truncated)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, Malformed> {
        Ok(match width {
            1 => u64::from(self.take(1)?[0]),
            2 => u64::from(u16::from_be_bytes(self.take_of()?)),
            4 => u64::from(u32::from_be_bytes(self.take_of()?)),
            _ => u64::from_be_bytes(self.take_of()?),
        })
    }

    fn take_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
