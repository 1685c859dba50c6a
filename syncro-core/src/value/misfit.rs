//! What is wrong with a value that does not fit a type, in words for those who wrote the type.
//!
//! rmp-serde names the byte at which it gave up. So the value is read once more, from its tree, by a reader whose errors
//! say what was found and what was asked for.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::de::value::{
    MapAccessDeserializer, MapDeserializer, SeqDeserializer, StringDeserializer,
};
use serde::de::{self, DeserializeOwned, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::{Encoded, Value};
use crate::id::abridged;

/// Says why a value does not fit a type; `None` if it fits when it is read so.
pub(super) fn misfit<T: DeserializeOwned>(value: &Encoded) -> Option<String> {
    T::deserialize(Tree(value.decode())).err().map(|misfit| misfit.0)
}

/// Why a value does not fit.
#[derive(Debug)]
struct Misfit(String);

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: Display>(problem: T) -> Self {
        Self(problem.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, asked: &dyn Expected) -> Self {
        Self(format!("the record has {} where the type asks for {asked}", Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, asked: &dyn Expected) -> Self {
        Self::invalid_type(found, asked)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let found = abridged(found);
        Self(format!("the record has the variant {found:?}, which is none of {known:?}"))
    }
}

/// The sort of what was found, and numbers themselves, which may be out of range.
struct Found<'a>(Unexpected<'a>);

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(_) => f.write_str("a boolean"),
            Unexpected::Unsigned(int) => write!(f, "the integer {int}"),
            Unexpected::Signed(int) => write!(f, "the integer {int}"),
            Unexpected::Float(float) => write!(f, "the float {float:?}"),
            Unexpected::Char(_) | Unexpected::Str(_) => f.write_str("a string"),
            Unexpected::Bytes(_) => f.write_str("bytes"),
            Unexpected::Unit | Unexpected::Option => f.write_str("nothing (nil)"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a map"),
            other => other.fmt(f),
        }
    }
}

/// A tree as serde reads it, in the ways of rmp-serde.
struct Tree(Value);

impl Tree {
    /// An integer of 128 bits, which MessagePack has as bytes.
    fn wide(&self) -> Option<[u8; 16]> {
        match &self.0 {
            Value::Bytes(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        }
    }
}

impl<'de> IntoDeserializer<'de, Misfit> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Misfit;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Nil => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::Int(int) => match (u64::try_from(int), i64::try_from(int)) {
                (Ok(int), _) => visitor.visit_u64(int),
                (_, Ok(int)) => visitor.visit_i64(int),
                _ => visitor.visit_i128(int),
            },
            Value::Float(float) => visitor.visit_f64(float),
            Value::Text(text) => visitor.visit_string(text),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::Array(array) => {
                visitor.visit_seq(SeqDeserializer::new(array.into_iter().map(Tree)))
            }
            Value::Map(map) => visitor.visit_map(entries(map)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.0 {
            Value::Array(array) if array.is_empty() => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Text(text) => visitor.visit_enum(StringDeserializer::<Misfit>::new(text)),
            Value::Map(map) if map.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(entries(map)))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.wide() {
            Some(int) => visitor.visit_i128(i128::from_be_bytes(int)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.wide() {
            Some(int) => visitor.visit_u128(u128::from_be_bytes(int)),
            None => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 char str string bytes byte_buf unit seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

fn entries<'de>(
    map: BTreeMap<String, Value>,
) -> MapDeserializer<'de, impl Iterator<Item = (String, Tree)>, Misfit> {
    MapDeserializer::new(map.into_iter().map(|(key, value)| (key, Tree(value))))
}
