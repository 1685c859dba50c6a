//! JSON of the same shape as the MessagePack, transcribed without a tree between.
//!
//! What JSON cannot say is tagged: `{"$bytes": base64}`, `{"$int": decimal}` for integers beyond
//! ±(2^53 - 1), `{"$float": "nan" | "inf" | "-inf"}`. A map key that begins with `$` is written with a
//! second `$` before it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::msgpack::{Head, Malformed, Reader, Writer};
use crate::limits::MESSAGE_DEPTH_MAX;

/// Beyond this, JavaScript's numbers skip integers.
const SAFE_INT: i128 = (1 << 53) - 1;

/// Transcribes one MessagePack value to JSON, in ASCII where the text is.
///
/// # Errors
///
/// [`Malformed`] for input that is not one value, or nests too deep.
pub fn to_json(msgpack: &[u8]) -> Result<Vec<u8>, Malformed> {
    // Checks the whole before a byte is written: depth, lengths, UTF-8, text keys.
    let mut checked = Reader::new(msgpack);
    checked.value(MESSAGE_DEPTH_MAX)?;
    checked.finish()?;

    let mut reader = Reader::new(msgpack);
    let mut out = Vec::with_capacity(msgpack.len() + msgpack.len() / 2);
    // The open arrays and maps: values left (keys included) and whether it is a map.
    let mut open: Vec<(usize, bool)> = Vec::new();
    loop {
        let head = reader.head()?;
        let is_key = matches!(open.last(), Some((left, true)) if left % 2 == 0);
        match head {
            Head::Nil => out.extend_from_slice(b"null"),
            Head::Bool(bool) => out.extend_from_slice(if bool { b"true" } else { b"false" }),
            Head::Int(int) if int.abs() <= SAFE_INT => out.extend(int.to_string().bytes()),
            Head::Int(int) => out.extend(format!("{{\"$int\":\"{int}\"}}").bytes()),
            Head::Float(float) => write_float(&mut out, float),
            Head::Text(text) if is_key && text.starts_with('$') => {
                write_text(&mut out, &format!("${text}"))
            }
            Head::Text(text) => write_text(&mut out, text),
            Head::Bytes(bytes) => {
                out.extend(format!("{{\"$bytes\":\"{}\"}}", STANDARD.encode(bytes)).bytes());
            }
            Head::Array(length) => {
                out.push(b'[');
                open.push((length + 1, false));
            }
            Head::Map(length) => {
                out.push(b'{');
                open.push((2 * length + 1, true));
            }
        }
        let is_opening = matches!(head, Head::Array(_) | Head::Map(_));
        // A value is complete: close what it completes, and separate it from the next.
        let mut is_first = is_opening;
        loop {
            let Some((left, is_map)) = open.last_mut() else {
                return Ok(out);
            };
            *left -= 1;
            if *left == 0 {
                out.push(if *is_map { b'}' } else { b']' });
                open.pop();
                is_first = false;
                continue;
            }
            if !is_first {
                out.push(if *is_map && *left % 2 == 1 { b':' } else { b',' });
            }
            break;
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn write_float(out: &mut Vec<u8>, float: f64) {
    if float.is_finite() {
        let _ = serde_json::to_writer(out, &float);
        return;
    }
    let name = if float.is_nan() {
        "nan"
    } else if float > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    out.extend(format!("{{\"$float\":\"{name}\"}}").bytes());
}

/// Transcribes one JSON value to MessagePack. Maps keep the order of their keys.
///
/// # Errors
///
/// [`Malformed`] for what is not JSON, breaks the tagging rules or nests too deep.
pub fn from_json(json: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut writer = Writer::default();
    let mut fault = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let seed = Transcribe { writer: &mut writer, depth: MESSAGE_DEPTH_MAX, fault: &mut fault };
    let read = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (read, fault) {
        (_, Some(fault)) => Err(fault),
        (Err(error), None) if error.is_eof() => Err(Malformed::Truncated),
        (Err(_), None) => Err(Malformed::Json("syntax")),
        (Ok(()), None) => Ok(writer.0),
    }
}

/// Writes the MessagePack of the JSON that it visits.
struct Transcribe<'w> {
    writer: &'w mut Writer,
    depth: usize,
    fault: &'w mut Option<Malformed>,
}

impl Transcribe<'_> {
    fn fail<E: serde::de::Error>(&mut self, fault: Malformed) -> E {
        *self.fault = Some(fault);
        E::custom("")
    }

    fn inner(&mut self) -> Transcribe<'_> {
        Transcribe { writer: self.writer, depth: self.depth - 1, fault: self.fault }
    }

    /// Puts the head before `count` values written from `start` on.
    fn put_head(&mut self, start: usize, count: usize, is_map: bool) {
        let mut head = Writer::default();
        if is_map {
            head.map(count)
        } else {
            head.array(count)
        }
        self.writer.0.splice(start..start, head.0);
    }

    fn tagged(&mut self, tag: &str, text: &str) -> Result<(), Malformed> {
        match tag {
            "$bytes" => {
                let bytes =
                    STANDARD.decode(text).map_err(|_| Malformed::Json("base64 in $bytes"))?;
                self.writer.bytes(&bytes);
            }
            "$int" => match text.parse::<i128>() {
                Ok(int) if u64::try_from(int).is_ok() => self.writer.uint(int as u64),
                Ok(int) if i64::try_from(int).is_ok() => self.writer.int(int as i64),
                _ => return Err(Malformed::Json("an integer of 64 bits in $int")),
            },
            "$float" => self.writer.float(match text {
                "nan" => f64::NAN,
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                _ => return Err(Malformed::Json("nan, inf or -inf in $float")),
            }),
            _ => return Err(Malformed::Json("an unknown tag")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Transcribe<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcribe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.writer.nil();
        Ok(())
    }
    fn visit_bool<E>(self, bool: bool) -> Result<(), E> {
        self.writer.bool(bool);
        Ok(())
    }
    fn visit_u64<E>(self, int: u64) -> Result<(), E> {
        self.writer.uint(int);
        Ok(())
    }
    fn visit_i64<E>(self, int: i64) -> Result<(), E> {
        self.writer.int(int);
        Ok(())
    }
    fn visit_f64<E>(self, float: f64) -> Result<(), E> {
        self.writer.float(float);
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.writer.text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == 0 {
            return Err(self.fail(Malformed::TooDeep));
        }
        let start = self.writer.0.len();
        let mut count = 0;
        while seq.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        self.put_head(start, count, false);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let start = self.writer.0.len();
        let mut count = 0;
        while let Some(key) = map.next_key::<String>()? {
            let is_tag = key.starts_with('$') && !key.starts_with("$$");
            if self.depth == 0 && !is_tag {
                return Err(self.fail(Malformed::TooDeep));
            }
            match key.strip_prefix('$') {
                Some(escaped) if escaped.starts_with('$') => self.writer.text(escaped),
                Some(_) => {
                    let text = map.next_value::<String>()?;
                    if count > 0 || map.next_key::<String>()?.is_some() {
                        return Err(self.fail(Malformed::Json("a tag beside other keys")));
                    }
                    return self.tagged(&key, &text).map_err(|fault| self.fail(fault));
                }
                None => self.writer.text(&key),
            }
            map.next_value_seed(self.inner())?;
            count += 1;
        }
        if self.depth == 0 {
            return Err(self.fail(Malformed::TooDeep));
        }
        self.put_head(start, count, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn json_says_what_messagepack_says_and_back() {
        let text = concat!(
            r#"{"$$bytes":1,"a":[],"b":{},"c":[null,true,false,-1,1.0,"é\n"],"#,
            r#""d":{"$bytes":"AQI="},"e":{"$int":"18446744073709551615"},"f":{"$float":"-inf"},"#,
            r#""g":{"$int":"-9007199254740992"},"h":9007199254740991,"i":[[[]],{"x":{}}]}"#
        );
        let bytes = from_json(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(to_json(&bytes).unwrap()).unwrap(), text);
    }

    #[test]
    fn tags_that_make_no_sense_are_refused() {
        for text in [
            r#"{"$int":"99999999999999999999"}"#,
            r#"{"$bytes":"%"}"#,
            r#"{"$what":"x"}"#,
            r#"{"$int":"1","a":2}"#,
            r#"{"a":2,"$int":"1"}"#,
            r#"{"$int":1}"#,
            "{",
            "[1]x",
        ] {
            assert!(from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_both_ways() {
        let deep = "[".repeat(50_000);
        assert!(from_json(deep.as_bytes()).is_err());
        assert_eq!(to_json(&[0x91; 50_000]), Err(Malformed::TooDeep));
        assert!(Value::from_json(&format!("{}{}", "[".repeat(33), "]".repeat(33))).is_err());
    }
}
