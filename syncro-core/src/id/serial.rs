//! Ids as fields: bytes, integers and text in MessagePack, text where people read along.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{NodeId, RecordId};

/// As 16 bytes, or as text in a format for people.
impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(IdVisitor)? {
            RecordId::Uuid(uuid) => Ok(uuid.into()),
            RecordId::Text(text) => {
                Uuid::parse_str(text.as_str()).map(Self::from).map_err(Error::custom)
            }
            RecordId::Int(_) => Err(Error::custom("a node's id is 16 bytes")),
        }
    }
}

/// As an integer, 16 bytes or text.
impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(int) => serializer.serialize_i64(*int),
            Self::Uuid(uuid) => serializer.serialize_bytes(uuid.as_bytes()),
            Self::Text(text) => serializer.serialize_str(text.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = RecordId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, 16 bytes or text")
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<RecordId, E> {
        Ok(RecordId::Int(int))
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<RecordId, E> {
        i64::try_from(int).map(RecordId::Int).map_err(E::custom)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<RecordId, E> {
        Uuid::from_slice(bytes).map(RecordId::Uuid).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RecordId, E> {
        RecordId::text(text).map_err(E::custom)
    }
}
