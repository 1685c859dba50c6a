//! What a field can hold.

mod misfit;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoding::canonical::canonical;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::encoding::{json, plain, scratch};
use crate::limits::VALUE_DEPTH_MAX;

/// A value in its canonical MessagePack encoding, checked and cheap to clone.
///
/// Two values are equal when their bytes are; the order of the bytes decides ties between equal stamps.
#[derive(Clone)]
pub struct Encoded(Repr);

/// Most values are short, and then need no memory of their own.
#[derive(Clone)]
enum Repr {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Bytes),
}

/// What fits beside a tag in the 40 bytes that the long form takes in any case; a UUID as text does.
const SHORT_MAX: usize = 38;

impl Encoded {
    /// The encoding of nil, which as an element means "absent".
    pub const NIL: Self = Self::byte(0xc0);
    /// The encoding of true, which a set holds for each of its members.
    pub const TRUE: Self = Self::byte(0xc3);

    const fn byte(byte: u8) -> Self {
        let mut bytes = [0; SHORT_MAX];
        bytes[0] = byte;
        Self(Repr::Short { length: 1, bytes })
    }

    /// Takes a canonical value; a long one becomes shared bytes.
    fn new(slice: &[u8], keep: impl FnOnce(&[u8]) -> Bytes) -> Self {
        if slice.len() > SHORT_MAX {
            return Self(Repr::Long(keep(slice)));
        }
        let mut bytes = [0; SHORT_MAX];
        bytes[..slice.len()].copy_from_slice(slice);
        Self(Repr::Short { length: slice.len() as u8, bytes })
    }

    /// Encodes anything that serde can serialise into the values of MessagePack.
    ///
    /// # Errors
    ///
    /// Says in words why serde or the limits refuse the value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let mut out = Writer(scratch::take());
        let encoded = Raw::of(value, &mut out).and_then(Raw::check);
        scratch::give_back(out.0);
        encoded
    }

    /// Checks one encoded value and brings it into canonical form.
    pub(crate) fn checked(bytes: &[u8]) -> Result<Self, Malformed> {
        if is_plain(bytes) {
            return Ok(Self::new(bytes, Bytes::copy_from_slice));
        }
        let mut reader = Reader::new(bytes);
        let encoded = Self::read(&mut reader, Bytes::copy_from_slice)?;
        reader.finish()?;
        Ok(encoded)
    }

    /// Reads one value; `keep` turns its slice into shared bytes, if it is long.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<Self, Malformed> {
        let (slice, is_canonical) = reader.value_and_form(VALUE_DEPTH_MAX)?;
        if is_canonical {
            return Ok(Self::new(slice, keep));
        }
        let canonical = canonical(&mut Reader::new(slice), VALUE_DEPTH_MAX)?;
        Ok(Self::new(&canonical, Bytes::copy_from_slice))
    }

    /// Takes a piece of some bytes that is known to be one canonical value, from this node's own store. A long one
    /// shares their memory, and keeps all of it alive.
    pub fn trusted(value: &[u8], whole: &Bytes) -> Self {
        Self::new(value, |value| whole.slice_ref(value))
    }

    /// Takes what is known to be one canonical value, into memory of its own.
    pub(crate) fn copied(value: &[u8]) -> Self {
        Self::new(value, Bytes::copy_from_slice)
    }

    /// Returns the encoded bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Long(bytes) => bytes,
        }
    }

    /// The bytes that it keeps elsewhere in memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Short { .. } => 0,
            Repr::Long(bytes) => bytes.len(),
        }
    }

    /// Whether the bytes are what they should be: one value in canonical form, within the depth.
    pub(crate) fn is_canonical(&self) -> bool {
        if is_plain(self.as_bytes()) {
            return true;
        }
        let mut reader = Reader::new(self.as_bytes());
        reader.value(VALUE_DEPTH_MAX).is_ok() && reader.is_canonical() && reader.finish().is_ok()
    }

    /// Whether this is nil.
    pub fn is_nil(&self) -> bool {
        self.as_bytes() == [0xc0]
    }

    /// Decodes to a tree.
    pub fn decode(&self) -> Value {
        // Checked when it was made: nil stands in for what cannot be.
        Value::read(&mut Reader::new(self.as_bytes()), VALUE_DEPTH_MAX).unwrap_or(Value::Nil)
    }

    /// Decodes to a type.
    ///
    /// # Errors
    ///
    /// Says in words why the value does not fit.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, String> {
        let bytes = self.as_bytes();
        match plain::read(bytes) {
            Some(it) => Ok(it),
            None => rmp_serde::from_slice(bytes)
                .map_err(|error| misfit::misfit::<T>(self).unwrap_or_else(|| error.to_string())),
        }
    }

    /// The integer that this is, if it is one in the range of `i64`.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match Reader::new(self.as_bytes()).head() {
            Ok(Head::Int(int)) => i64::try_from(int).ok(),
            _ => None,
        }
    }

    /// Encodes an integer.
    pub(crate) fn int(int: i64) -> Self {
        let mut writer = Writer::default();
        writer.int(int);
        Self::new(&writer.0, Bytes::copy_from_slice)
    }
}

/// A value as serde encodes it, before anybody has to know whether it is in canonical form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    bytes: &'a [u8],
    is_canonical: bool,
}

impl<'a> Raw<'a> {
    /// Encodes anything that serde can serialise, in memory of which nothing else is needed.
    #[inline]
    pub(crate) fn of<T: Serialize + ?Sized>(
        value: &T,
        out: &'a mut Writer,
    ) -> Result<Self, String> {
        out.0.clear();
        if plain::write(value, out) {
            return Ok(Self { bytes: &out.0, is_canonical: true });
        }
        out.0.clear();
        rmp_serde::encode::write_named(&mut out.0, value).map_err(|error| error.to_string())?;
        Ok(Self { bytes: &out.0, is_canonical: false })
    }

    /// The bytes, in whatever form.
    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The value, unless it is not one.
    pub(crate) fn check(self) -> Result<Encoded, String> {
        match self.is_canonical {
            true => Ok(Encoded::copied(self.bytes)),
            false => Encoded::checked(self.bytes).map_err(|error| error.to_string()),
        }
    }
}

/// Whether the bytes are what most values are, in canonical form: that takes no walk.
fn is_plain(bytes: &[u8]) -> bool {
    match bytes {
        [0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff] => true,
        [tag @ 0xa0..=0xbf, text @ ..] => {
            text.len() == usize::from(tag & 0x1f) && std::str::from_utf8(text).is_ok()
        }
        // What needs eight bytes, such as a time.
        [0xcf, number @ ..] => number.len() == 8 && number[..4] != [0; 4],
        _ => false,
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Encoded {}

impl PartialOrd for Encoded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Encoded {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Encoded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match json::to_json(self.as_bytes()) {
            Ok(text) => f.write_str(&String::from_utf8_lossy(&text)),
            Err(_) => write!(f, "{:02x?}", self.as_bytes()),
        }
    }
}

/// A value as a tree: what MessagePack without extensions can say.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// An integer from -2^63 to 2^64-1; others are cut to this range when encoded.
    Int(i128),
    /// A 64-bit float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A map in key order.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Encodes in canonical form. The limits are checked where the value is recorded.
    pub fn encode(&self) -> Encoded {
        let mut writer = Writer::default();
        self.write(&mut writer);
        Encoded::new(&writer.0, Bytes::copy_from_slice)
    }

    /// Reads the protocol's JSON: bytes, large integers and special floats are tagged
    /// (`{"$bytes": "AQI="}`, `{"$int": "9007199254740993"}`, `{"$float": "nan"}`), and a map key that
    /// begins with `$` has a second one before it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for what is not such JSON or nests more than 32 deep.
    pub fn from_json(text: &str) -> Result<Self, Malformed> {
        let bytes = json::from_json(text.as_bytes())?;
        let mut reader = Reader::new(&bytes);
        let value = Self::read(&mut reader, VALUE_DEPTH_MAX)?;
        reader.finish()?;
        Ok(value)
    }

    /// Writes the protocol's JSON; see [`from_json`](Self::from_json).
    pub fn to_json(&self) -> String {
        let bytes = json::to_json(self.encode().as_bytes()).unwrap_or_else(|_| b"null".to_vec());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Nil => writer.nil(),
            Self::Bool(bool) => writer.bool(*bool),
            Self::Int(int) => match u64::try_from(*int) {
                Ok(int) => writer.uint(int),
                Err(_) if *int > 0 => writer.uint(u64::MAX),
                Err(_) => writer.int(i64::try_from(*int).unwrap_or(i64::MIN)),
            },
            Self::Float(float) => writer.float(*float),
            Self::Text(text) => writer.text(text),
            Self::Bytes(bytes) => writer.bytes(bytes),
            Self::Array(array) => {
                writer.array(array.len());
                array.iter().for_each(|value| value.write(writer));
            }
            Self::Map(map) => {
                writer.map(map.len());
                for (key, value) in map {
                    writer.text(key);
                    value.write(writer);
                }
            }
        }
    }

    /// Reads a tree at most `depth` deep, which also bounds the recursion.
    pub(crate) fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self, Malformed> {
        let inner = || depth.checked_sub(1).ok_or(Malformed::TooDeep);
        Ok(match reader.head()? {
            Head::Nil => Self::Nil,
            Head::Bool(bool) => Self::Bool(bool),
            Head::Int(int) => Self::Int(int),
            Head::Float(float) => Self::Float(float),
            Head::Text(text) => Self::Text(text.to_owned()),
            Head::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Head::Array(length) => {
                let inner = inner()?;
                let mut array = Vec::new();
                for _ in 0..length {
                    array.push(Self::read(reader, inner)?);
                }
                Self::Array(array)
            }
            Head::Map(length) => {
                let inner = inner()?;
                let mut map = BTreeMap::new();
                for _ in 0..length {
                    let key = reader.text()?.to_owned();
                    if map.insert(key, Self::read(reader, inner)?).is_some() {
                        return Err(Malformed::DuplicateKey);
                    }
                }
                Self::Map(map)
            }
        })
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}
impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(i128::from(int))
    }
}
impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
