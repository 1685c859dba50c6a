//! Names and ids of nodes, models and records.

mod serial;

use std::borrow::Borrow;
use std::fmt;

use smol_str::SmolStr;
use uuid::Uuid;

use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::error::DataError;
use crate::limits::NAME_BYTES_MAX;
use crate::model::ScribeModel;

/// The namespace of [`NodeId::named`].
const NODES: Uuid = Uuid::from_u128(0x6f2d_84a1_3c57_5e0b_9d1e_7a60_52c4_98f3);

/// The 128-bit GUID of a node, server or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Uuid);

impl NodeId {
    /// Derives a node's id from text (UUIDv5, RFC 9562), so that people can name their nodes.
    ///
    /// ```
    /// use syncro_core::NodeId;
    /// assert_eq!(NodeId::named("server"), NodeId::named("server"));
    /// assert_ne!(NodeId::named("server"), NodeId::named("laptop"));
    /// ```
    pub fn named(name: &str) -> Self {
        Self(Uuid::new_v5(&NODES, name.as_bytes()))
    }

    /// Makes an id of its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes, in the order in which ids compare.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for NodeId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a model or a field: 1 to 255 bytes of text, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmolStr);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`DataError::NameLength`] when the text is empty or longer than 255 bytes.
    pub fn new(text: &str) -> Result<Self, DataError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks what is to be a name.
    #[inline]
    pub(crate) fn check(text: &str) -> Result<(), DataError> {
        match text.len() {
            1..=NAME_BYTES_MAX => Ok(()),
            bytes => Err(DataError::NameLength { name: abridged(text), bytes }),
        }
    }

    /// A name that is known to be one.
    pub(crate) const fn fixed(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }

    /// A name that was checked before.
    pub(crate) fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of a reserved model, which only authorities write: those begin with `syncro.`.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

/// Whether a model is one of the engine's own.
pub(crate) fn is_reserved(model: &str) -> bool {
    model.starts_with("syncro.")
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The first characters of a text that may be long, for an error message.
pub(crate) fn abridged(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The id of a record within its model: an integer, a UUID, or text of 1 to 255 bytes.
///
/// Ids order by sort (integers, UUIDs, text) and then by value; listings follow this order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordId {
    /// An integer from -2^63 to 2^63-1.
    Int(i64),
    /// A UUID of any version.
    Uuid(Uuid),
    /// Text of 1 to 255 bytes.
    Text(Name),
}

impl RecordId {
    /// Checks and takes a text id.
    ///
    /// # Errors
    ///
    /// [`DataError::IdLength`] when the text is empty or longer than 255 bytes.
    pub fn text(text: &str) -> Result<Self, DataError> {
        match Name::new(text) {
            Ok(name) => Ok(Self::Text(name)),
            Err(_) => Err(DataError::IdLength { id: abridged(text), bytes: text.len() }),
        }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => int.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<i64> for RecordId {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<Uuid> for RecordId {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

/// What a Rust type needs to be the id of a [`ScribeModel`](crate::ScribeModel).
///
/// Implemented for `String`, `Uuid`, `i64`, `i32`, `u32` and [`RecordId`] itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the id of a record",
    note = "ids are `String`, `Uuid`, `i64`, `i32`, `u32` or `syncro::RecordId`"
)]
pub trait ModelId: Sized {
    /// Converts to a record id.
    ///
    /// # Errors
    ///
    /// [`DataError::IdLength`] for text outside 1 to 255 bytes.
    fn to_record_id(&self) -> Result<RecordId, DataError>;

    /// Converts back, or returns `None` when the record's id is of another sort.
    fn from_record_id(id: &RecordId) -> Option<Self>;

    /// Whether it converts to an id.
    fn is(&self, id: &RecordId) -> bool {
        self.to_record_id().is_ok_and(|own| own == *id)
    }
}

impl ModelId for RecordId {
    fn to_record_id(&self) -> Result<RecordId, DataError> {
        Ok(self.clone())
    }
    fn from_record_id(id: &RecordId) -> Option<Self> {
        Some(id.clone())
    }
}

impl ModelId for String {
    fn to_record_id(&self) -> Result<RecordId, DataError> {
        RecordId::text(self)
    }
    fn from_record_id(id: &RecordId) -> Option<Self> {
        match id {
            RecordId::Text(text) => Some(text.as_str().to_owned()),
            _ => None,
        }
    }
    fn is(&self, id: &RecordId) -> bool {
        matches!(id, RecordId::Text(text) if text.as_str() == self)
    }
}

impl ModelId for Uuid {
    fn to_record_id(&self) -> Result<RecordId, DataError> {
        Ok(RecordId::Uuid(*self))
    }
    fn from_record_id(id: &RecordId) -> Option<Self> {
        match id {
            RecordId::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }
}

macro_rules! integer_ids {
    ($($int:ty),*) => {$(
        impl ModelId for $int {
            fn to_record_id(&self) -> Result<RecordId, DataError> {
                Ok(RecordId::Int(i64::from(*self)))
            }
            fn from_record_id(id: &RecordId) -> Option<Self> {
                match id {
                    RecordId::Int(int) => Self::try_from(*int).ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integer_ids!(i64, i32, u32);

/// A record's place in the world: its model and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The model.
    pub model: Name,
    /// The id within the model.
    pub id: RecordId,
}

impl RecordKey {
    /// The key of a model's instance.
    ///
    /// # Errors
    ///
    /// [`DataError`] for a model or an id outside 1 to 255 bytes.
    pub fn of<M: ScribeModel>(id: &M::Id) -> Result<Self, DataError> {
        Name::check(M::MODEL)?;
        Ok(Self { model: Name::fixed(M::MODEL), id: id.to_record_id()? })
    }

    /// The key, borrowed.
    pub fn as_ref(&self) -> KeyRef<'_> {
        let id = match &self.id {
            RecordId::Int(int) => IdRef::Int(*int),
            RecordId::Uuid(uuid) => IdRef::Uuid(*uuid),
            RecordId::Text(text) => IdRef::Text(text.as_str()),
        };
        KeyRef { model: self.model.as_str(), id }
    }

    /// Appends canonical bytes of the key, which tell ids of different sorts apart, for digests over
    /// stores.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(std::mem::take(out));
        self.write(&mut writer);
        *out = writer.0;
    }

    /// Writes the model and the id.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.text(self.model.as_str());
        match &self.id {
            RecordId::Int(int) => writer.int(*int),
            RecordId::Uuid(uuid) => writer.bytes(uuid.as_bytes()),
            RecordId::Text(text) => writer.text(text.as_str()),
        }
    }

    /// Reads a model and an id.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(KeyRef::read(reader)?.to_key())
    }
}

/// A [`RecordKey`] in encoded input, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRef<'a> {
    /// The model.
    pub model: &'a str,
    /// The id within the model.
    pub id: IdRef<'a>,
}

/// A [`RecordId`] in encoded input, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdRef<'a> {
    /// An integer.
    Int(i64),
    /// A UUID.
    Uuid(Uuid),
    /// Text.
    Text(&'a str),
}

impl<'a> KeyRef<'a> {
    /// Reads a model and an id.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let is_name = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len());
        let model = reader.text()?;
        if !is_name(model) {
            return Err(Malformed::Limit("a name"));
        }
        let id = match reader.head()? {
            Head::Int(int) => {
                IdRef::Int(i64::try_from(int).map_err(|_| Malformed::Limit("an integer id"))?)
            }
            Head::Bytes(bytes) => IdRef::Uuid(
                Uuid::from_slice(bytes).map_err(|_| Malformed::Expected("a UUID of 16 bytes"))?,
            ),
            Head::Text(text) if is_name(text) => IdRef::Text(text),
            Head::Text(_) => return Err(Malformed::Limit("a text id")),
            _ => return Err(Malformed::Expected("an id")),
        };
        Ok(Self { model, id })
    }

    pub(crate) fn to_key(self) -> RecordKey {
        let id = match self.id {
            IdRef::Int(int) => RecordId::Int(int),
            IdRef::Uuid(uuid) => RecordId::Uuid(uuid),
            IdRef::Text(text) => RecordId::Text(Name::trusted(text)),
        };
        RecordKey { model: Name::trusted(self.model), id }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.id)
    }
}
