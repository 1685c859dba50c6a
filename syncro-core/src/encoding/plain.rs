//! Serde for what most fields are: a number, a text, a bool, or nothing.
//!
//! rmp-serde, which takes several times as long for these, gets the same of them, and has all that is not plain.

use std::fmt::{self, Display};

use rmp_serde::MSGPACK_EXT_STRUCT_NAME;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::ser::{self, Impossible};
use serde::{Deserializer, Serialize, Serializer, forward_to_deserialize_any};

use super::msgpack::Writer;

/// Appends the canonical form of a value, if it is plain. Otherwise nothing is to be read from what was appended.
#[inline]
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Writer) -> bool {
    value.serialize(Plain(out)).is_ok()
}

/// Reads a canonical value, if it is plain and fits.
#[inline]
pub(crate) fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    T::deserialize(Plain(value)).ok()
}

/// Bytes that are written, or read.
struct Plain<B>(B);

/// Why rmp-serde is asked, which says what is wrong, if something is.
#[derive(Debug)]
struct NotPlain;

impl Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a plain value")
    }
}

impl std::error::Error for NotPlain {}

impl ser::Error for NotPlain {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

impl de::Error for NotPlain {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// Ways to write a value that is plain.
macro_rules! write_plain {
    ($($method:ident($value:ident: $type:ty) $write:expr;)*) => {$(
        #[inline]
        fn $method(self, $value: $type) -> Result<(), NotPlain> {
            $write(self.0);
            Ok(())
        }
    )*};
}

/// Ways to write one that is not.
macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        #[inline]
        fn $method(self, $(_: $type),*) -> Result<$ok, NotPlain> {
            Err(NotPlain)
        }
    )*};
}

type Never = Impossible<(), NotPlain>;

impl Serializer for Plain<&mut Writer> {
    type Ok = ();
    type Error = NotPlain;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    write_plain! {
        serialize_bool(it: bool) |out: &mut Writer| out.bool(it);
        serialize_i8(it: i8) |out: &mut Writer| out.int(it.into());
        serialize_i16(it: i16) |out: &mut Writer| out.int(it.into());
        serialize_i32(it: i32) |out: &mut Writer| out.int(it.into());
        serialize_i64(it: i64) |out: &mut Writer| out.int(it);
        serialize_u8(it: u8) |out: &mut Writer| out.uint(it.into());
        serialize_u16(it: u16) |out: &mut Writer| out.uint(it.into());
        serialize_u32(it: u32) |out: &mut Writer| out.uint(it.into());
        serialize_u64(it: u64) |out: &mut Writer| out.uint(it);
        serialize_f32(it: f32) |out: &mut Writer| out.float(it.into());
        serialize_f64(it: f64) |out: &mut Writer| out.float(it);
        serialize_char(it: char) |out: &mut Writer| out.text(it.encode_utf8(&mut [0; 4]));
        serialize_str(it: &str) |out: &mut Writer| out.text(it);
        serialize_bytes(it: &[u8]) |out: &mut Writer| out.bytes(it);
    }

    #[inline]
    fn serialize_none(self) -> Result<(), NotPlain> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<(), NotPlain> {
        it.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), NotPlain> {
        self.0.nil();
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NotPlain> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        it: &T,
    ) -> Result<(), NotPlain> {
        if name == MSGPACK_EXT_STRUCT_NAME { Err(NotPlain) } else { it.serialize(self) }
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotPlain> {
        Err(NotPlain)
    }

    refuse! {
        serialize_i128(i128) -> ();
        serialize_u128(u128) -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> Plain<&'de [u8]> {
    /// The number, the bool or the nil that it is.
    #[inline]
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match *self.0 {
            [int @ 0x00..=0x7f] => visitor.visit_u8(int),
            [int @ 0xe0..=0xff] => visitor.visit_i8(int as i8),
            [0xc2] => visitor.visit_bool(false),
            [0xc3] => visitor.visit_bool(true),
            [0xc0] => visitor.visit_unit(),
            [0xcc, int] => visitor.visit_u8(int),
            [0xcd, a, b] => visitor.visit_u16(u16::from_be_bytes([a, b])),
            [0xce, a, b, c, d] => visitor.visit_u32(u32::from_be_bytes([a, b, c, d])),
            [0xcf, ref int @ ..] => visitor.visit_u64(u64::from_be_bytes(eight(int)?)),
            [0xd0, int] => visitor.visit_i8(int as i8),
            [0xd1, a, b] => visitor.visit_i16(i16::from_be_bytes([a, b])),
            [0xd2, a, b, c, d] => visitor.visit_i32(i32::from_be_bytes([a, b, c, d])),
            [0xd3, ref int @ ..] => visitor.visit_i64(i64::from_be_bytes(eight(int)?)),
            [0xcb, ref float @ ..] => visitor.visit_f64(f64::from_be_bytes(eight(float)?)),
            _ => Err(NotPlain),
        }
    }

    /// The text that it is.
    #[inline]
    fn text(self) -> Result<&'de str, NotPlain> {
        let text = match self.0 {
            [tag @ 0xa0..=0xbf, text @ ..] if text.len() == usize::from(tag & 0x1f) => text,
            [0xd9, length, text @ ..] if text.len() == usize::from(*length) => text,
            _ => return Err(NotPlain),
        };
        std::str::from_utf8(text).map_err(|_| NotPlain)
    }
}

fn eight(bytes: &[u8]) -> Result<[u8; 8], NotPlain> {
    bytes.try_into().map_err(|_| NotPlain)
}

/// Ways to ask for a number.
macro_rules! read_numbers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
            self.number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Plain<&'de [u8]> {
    type Error = NotPlain;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match self.0 {
            [0xa0..=0xbf | 0xd9, ..] => visitor.visit_borrowed_str(self.text()?),
            _ => self.number(visitor),
        }
    }

    read_numbers! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        if *self.0 == [0xc0] { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        if name == MSGPACK_EXT_STRUCT_NAME {
            return Err(NotPlain);
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.text()?))
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit identifier ignored_any i128 u128 unit_struct seq tuple tuple_struct map struct
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;
    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;
    use crate::value::Encoded;

    #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
    enum Colour {
        Red,
        Rgb(u8, u8, u8),
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Wrapped<T>(T);

    #[derive(Debug, Serialize, Deserialize)]
    struct Unit;

    /// What rmp-serde makes of a value, in canonical form.
    fn slowly<T: Serialize>(value: &T) -> Encoded {
        let mut bytes = Vec::new();
        rmp_serde::encode::write_named(&mut bytes, value).unwrap();
        Encoded::checked(&bytes).unwrap()
    }

    fn read_slowly<T: DeserializeOwned>(value: &Encoded) -> Option<T> {
        rmp_serde::from_slice(value.as_bytes()).ok()
    }

    /// Whether a value is written here, which is then as rmp-serde does.
    fn is_written(value: &impl Serialize) -> bool {
        let mut out = Writer::default();
        let is_written = write(value, &mut out);
        if is_written {
            assert_eq!(out.0, slowly(value).as_bytes());
        }
        is_written
    }

    /// Whether a value is read here, which is then as rmp-serde does. `NaN` is no number, but the same text.
    fn is_read<T: DeserializeOwned + Debug>(value: &Encoded) -> bool {
        let read: Option<T> = read(value.as_bytes());
        if let Some(read) = &read {
            let slowly: T = read_slowly(value).unwrap();
            assert_eq!(format!("{read:?}"), format!("{slowly:?}"), "{value:?}");
        }
        read.is_some()
    }

    /// Lets all types read a value, each as rmp-serde does or not at all.
    fn read_each(value: &Encoded) {
        macro_rules! read_each {
            ($($type:ty)*) => {$(
                is_read::<$type>(value);
                is_read::<Option<$type>>(value);
                is_read::<Wrapped<$type>>(value);
                is_read::<Option<Option<Wrapped<Option<$type>>>>>(value);
            )*};
        }
        read_each! {
            () (u8, u8) bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char String Unit Uuid
            Colour Vec<u8> BTreeMap<String, u8> serde_json::Value
        }
    }

    #[test]
    fn what_most_fields_are_is_plain_both_ways() {
        macro_rules! plain {
            ($($type:ty: $($value:expr),*;)*) => {$($(
                let value: $type = $value;
                assert!(is_written(&value) && is_written(&Some(&value)), "{value:?}");
                let encoded = slowly(&value);
                assert!(is_read::<$type>(&encoded) && is_read::<Option<$type>>(&encoded), "{value:?}");
                read_each(&encoded);
            )*)*};
        }
        plain! {
            bool: true, false;
            i8: i8::MIN, -33, -32, 0, i8::MAX;
            i16: i16::MIN, -129, i16::MAX;
            i32: i32::MIN, i32::MAX;
            i64: i64::MIN, -1, 0, 127, 128, 255, 256, 65_535, 65_536, 1 << 32, i64::MAX;
            u64: 0, u64::MAX;
            f64: 0.0, -0.5, f64::NAN, f64::INFINITY;
            f32: 0.1, -f32::NAN;
            char: 'a', 'é';
            String: String::new(), "é".repeat(15), "a".repeat(32), "a".repeat(255);
            (): ();
            Colour: Colour::Red;
            Wrapped<i64>: Wrapped(7);
        }
        assert!(is_read::<Option<String>>(&Encoded::NIL));
        assert!(is_written(&"a".repeat(70_000)) && is_written(&Uuid::nil()));
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        assert!(!is_written(&vec![1, 2]) && !is_written(&(1, "a")) && !is_written(&Unit));
        assert!(!is_written(&Colour::Rgb(1, 2, 3)) && !is_written(&1_i128));
        assert!(!is_written(&BTreeMap::from([("a", 1)])));
    }

    proptest! {
        #[test]
        fn whatever_there_is_is_read_alike_or_not_at_all(
            int in any::<i64>(), float in any::<f64>(), text in ".{0,40}", bytes in any::<Vec<u8>>(),
        ) {
            for shift in 0..64 {
                prop_assert!(is_written(&(int >> shift)));
                read_each(&slowly(&(int >> shift)));
            }
            for value in [slowly(&float), slowly(&text), slowly(&bytes), slowly(&Colour::Rgb(1, 2, 3))] {
                read_each(&value);
            }
        }
    }
}
