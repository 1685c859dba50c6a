//! The encodings of what the hosts say to one another: none of it is in any log.

use super::{Parts, head};
use crate::call::CallFailure;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::id::{Name, NodeId};
use crate::limits::{RELAYS_MAX, SIGNAL_BYTES_MAX, TOPICS_MAX, VALUE_BYTES_MAX};
use crate::message::{Call, Message, Topics, Word};
use crate::stamp::{Epoch, Time};
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

pub(super) fn write_topics(writer: &mut Writer, topics: &Topics) {
    head(writer, "topics", 1);
    writer.text("topics");
    match topics {
        Topics::All => writer.bool(true),
        Topics::Some(topics) => {
            writer.array(topics.len());
            topics.iter().for_each(|topic| writer.text(topic.as_str()));
        }
    }
}

/// Reads topics: names of them, or true for all.
pub(super) fn read_topics(parts: &Parts<'_>) -> Result<Topics, Malformed> {
    let mut reader = parts.get("topics")?;
    if parts.get("topics")?.head()? == Head::Bool(true) {
        return Ok(Topics::All);
    }
    let count = reader.array()?;
    if count > TOPICS_MAX {
        return Err(Malformed::Limit("a list of topics"));
    }
    let topics = (0..count).map(|_| read_name(&mut reader, "a topic"));
    Ok(Topics::Some(topics.collect::<Result<_, _>>()?))
}

pub(super) fn write_word(writer: &mut Writer, word: &Word) {
    head(writer, "signal", 6);
    writer.text("topic");
    writer.text(word.topic.as_str());
    writer.text("node");
    writer.bytes(word.node.as_bytes());
    writer.text("time");
    writer.uint(word.time.bits());
    writer.text("epoch");
    writer.uint(word.epoch.0);
    writer.text("value");
    writer.encoded(word.value.as_bytes());
    writer.text("via");
    writer.array(word.via.len());
    word.via.iter().for_each(|node| writer.bytes(node.as_bytes()));
}

pub(super) fn read_word(parts: &Parts<'_>) -> Result<Word, Malformed> {
    let mut via = parts.get("via")?;
    let count = via.array()?;
    if count >= RELAYS_MAX {
        return Err(Malformed::Limit("the relays of a signal"));
    }
    let via = (0..count).map(|_| Ok(NodeId::from_bytes(via.bytes_of()?)));
    Ok(Word {
        topic: read_name(&mut parts.get("topic")?, "a topic")?,
        node: NodeId::from_bytes(parts.get("node")?.bytes_of()?),
        time: Time::from_bits(parts.get("time")?.uint()?),
        epoch: Epoch(parts.get("epoch")?.uint()?),
        value: read_value(&parts.get("value")?, SIGNAL_BYTES_MAX)?,
        via: via.collect::<Result<_, _>>()?,
    })
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
