//! The encodings of what the hosts say to one another: none of it is in any log.

use super::{Parts, head};
use crate::call::CallFailure;
use crate::encoding::msgpack::{Malformed, Reader, Writer};
use crate::id::Name;
use crate::limits::VALUE_BYTES_MAX;
use crate::message::{Call, Message};
use crate::value::Encoded;

pub(super) fn write_call(writer: &mut Writer, call: &Call) {
    head(writer, "call", 4);
    writer.text("call");
    writer.uint(call.call);
    writer.text("name");
    writer.text(call.name.as_str());
    writer.text("value");
    writer.encoded(call.value.as_bytes());
    writer.text("within");
    writer.uint(call.within_ms);
}

pub(super) fn read_call(parts: &Parts<'_>) -> Result<Call, Malformed> {
    Ok(Call {
        call: parts.get("call")?.uint()?,
        name: read_name(&mut parts.get("name")?, "the name of a call")?,
        value: read_value(&parts.get("value")?, VALUE_BYTES_MAX)?,
        within_ms: parts.get("within")?.uint()?,
    })
}

pub(super) fn write_reply(writer: &mut Writer, call: u64, answer: &Result<Encoded, CallFailure>) {
    head(writer, "reply", if answer.is_ok() { 2 } else { 3 });
    writer.text("call");
    writer.uint(call);
    match answer {
        Ok(value) => {
            writer.text("value");
            writer.encoded(value.as_bytes());
        }
        Err(failure) => {
            writer.text("code");
            writer.uint(u64::from(failure.code));
            writer.text("message");
            writer.text(&failure.message);
        }
    }
}

/// Reads a reply: with a code it is a failure, else it has a value.
pub(super) fn read_reply(parts: &Parts<'_>) -> Result<Message, Malformed> {
    let call = parts.get("call")?.uint()?;
    let answer = match parts.find("code") {
        Some(mut code) => {
            let code = u16::try_from(code.uint()?);
            let code = code.map_err(|_| Malformed::Limit("the code of a reply"))?;
            Err(CallFailure::new(code, parts.get("message")?.text()?))
        }
        None => Ok(read_value(&parts.get("value")?, VALUE_BYTES_MAX)?),
    };
    Ok(Message::Reply { call, answer })
}

fn read_name(reader: &mut Reader<'_>, what: &'static str) -> Result<Name, Malformed> {
    Name::new(reader.text()?).map_err(|_| Malformed::Limit(what))
}

/// Reads a value, in memory of its own. What is left of the reader is the value, and nothing else. It is within the limit
/// as it came, or to bring it into canonical form could take a hundred times the limit; and in canonical form.
fn read_value(reader: &Reader<'_>, bytes_max: usize) -> Result<Encoded, Malformed> {
    let is_within = |bytes: &[u8]| bytes.len() <= bytes_max;
    let value = match is_within(reader.rest()) {
        true => Encoded::checked(reader.rest())?,
        false => return Err(Malformed::Limit("a value")),
    };
    match is_within(value.as_bytes()) {
        true => Ok(value),
        false => Err(Malformed::Limit("a value")),
    }
}
