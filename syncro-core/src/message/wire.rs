//! The encodings of messages: a map with text keys, of which those unknown are passed over.
//!
//! MessagePack is written and read directly; JSON is a transcription of it.

mod states;
mod words;

use bytes::Bytes;

use super::{Bundle, Encoding, Hello, Item, Message, Scribes, Unread};
use crate::close::CloseReason;
use crate::digest::{Digest, Point};
use crate::encoding::json;
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::encoding::scratch;
use crate::id::{Name, NodeId};
use crate::limits::{
    CREDENTIALS_BYTES_MAX, ECHO_RUNS_MAX, FRAME_BYTES_MAX, LADDER_RUNGS_MAX, MESSAGE_DEPTH_MAX,
    MESSAGE_SCRIBES_MAX, MESSAGE_TRANSACTIONS_BYTES_MAX, NAME_BYTES_MAX, REASON_CHARS_MAX,
};
use crate::scribe::{Block, Count, Said, Transaction, may_stand_for, write_head};
use crate::stamp::{Epoch, Time};

/// Keys that a message may have, known and unknown, and texts in a list of a `hello`.
const KEYS_MAX: usize = 32;

impl Message {
    /// Encodes the message.
    pub(crate) fn encode(&self, encoding: Encoding) -> Bytes {
        let mut writer = Writer(scratch::take());
        self.write(&mut writer);
        let frame = match encoding {
            // What is long stays where it was written: to copy it takes more than to have other memory.
            Encoding::MessagePack if writer.0.len() > scratch::KEPT_BYTES_MAX => {
                writer.0.shrink_to_fit();
                return writer.0.into();
            }
            Encoding::MessagePack => Bytes::copy_from_slice(&writer.0),
            // Own messages nest within the limits and have text for keys: they always transcribe.
            Encoding::Json => json::to_json(&writer.0).unwrap_or_default().into(),
        };
        scratch::give_back(writer.0);
        frame
    }

    /// Decodes a message, and says in which encoding it came.
    pub(crate) fn decode(frame: &Bytes) -> Result<(Self, Encoding), Malformed> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(Malformed::Limit("a frame"));
        }
        match frame.first() {
            None => Err(Malformed::Truncated),
            Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => {
                Ok((Self::read(&json::from_json(frame)?)?, Encoding::Json))
            }
            Some(_) => Ok((Self::read(frame)?, Encoding::MessagePack)),
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Bundle(bundle) => {
                head(writer, "bundle", 3);
                writer.text("peer");
                writer.bytes(bundle.peer.as_bytes());
                writer.text("start");
                write_point(writer, bundle.start);
                writer.text("end");
                write_point(writer, bundle.end);
            }
            Self::Hello(hello) => write_hello(writer, hello),
            Self::Sync { ladder, has_more } => {
                head(writer, "sync", 1 + usize::from(*has_more));
                writer.text("ladder");
                writer.array(ladder.len());
                ladder.iter().for_each(|point| write_point(writer, *point));
                if *has_more {
                    writer.text("more");
                    writer.bool(true);
                }
            }
            Self::More => head(writer, "more", 0),
            Self::Scribes(scribes) => write_scribes(writer, scribes),
            Self::Subscribe { channels, has_more } => {
                states::write_subscribe(writer, channels, *has_more);
            }
            Self::Unsubscribe { numbers } => states::write_unsubscribe(writer, numbers),
            Self::States(states) => states::write_states(writer, states),
            Self::Ack { point, credit } => {
                head(writer, "ack", 2);
                writer.text("point");
                write_point(writer, *point);
                writer.text("credit");
                writer.uint(*credit);
            }
            Self::Call(call) => words::write_call(writer, call),
            Self::Reply { call, answer } => words::write_reply(writer, *call, answer),
            Self::Topics(topics) => words::write_topics(writer, topics),
            Self::Signal(word) => words::write_word(writer, word),
            Self::Ping => head(writer, "ping", 0),
            Self::Pong => head(writer, "pong", 0),
            Self::Bye { reason, detail } => {
                head(writer, "bye", 2);
                writer.text("code");
                writer.uint(u64::from(reason.code()));
                writer.text("detail");
                writer.text(detail);
            }
        }
    }

    fn read(input: &[u8]) -> Result<Self, Malformed> {
        let parts = Parts::read(input)?;
        let name = parts.get("type")?.text()?;
        if name != "scribes" {
            parts.check_rest()?;
        }
        Ok(match name {
            "bundle" => Self::Bundle(Bundle {
                peer: NodeId::from_bytes(parts.get("peer")?.bytes_of()?),
                start: read_point(&mut parts.get("start")?)?,
                end: read_point(&mut parts.get("end")?)?,
            }),
            "hello" => Self::Hello(read_hello(&parts)?),
            "sync" => {
                let mut reader = parts.get("ladder")?;
                let count = reader.array()?;
                let is_bounded = count <= LADDER_RUNGS_MAX;
                #[cfg(all(feature = "planted", debug_assertions))]
                let is_bounded = is_bounded
                    || crate::planted::is_planted(crate::planted::Planted::LadderUnbounded);
                if !is_bounded {
                    return Err(Malformed::Limit("a ladder"));
                }
                let ladder = (0..count).map(|_| read_point(&mut reader));
                let ladder = ladder.collect::<Result<_, _>>()?;
                let has_more = parts.find("more").map(|mut more| more.bool()).transpose()?;
                Self::Sync { ladder, has_more: has_more.unwrap_or_default() }
            }
            "more" => Self::More,
            "scribes" => Self::Scribes(read_scribes(&parts)?),
            "subscribe" => states::read_subscribe(&parts)?,
            "unsubscribe" => states::read_unsubscribe(&parts)?,
            "states" => Self::States(states::read_states(&parts)?),
            "ack" => Self::Ack {
                point: read_point(&mut parts.get("point")?)?,
                credit: parts.get("credit")?.uint()?,
            },
            "call" => Self::Call(words::read_call(&parts)?),
            "reply" => words::read_reply(&parts)?,
            "topics" => Self::Topics(words::read_topics(&parts)?),
            "signal" => Self::Signal(words::read_word(&parts)?),
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "bye" => {
                let code = parts.get("code")?.uint()?;
                let code = u16::try_from(code).map_err(|_| Malformed::Limit("a close code"))?;
                let detail = parts.get("detail")?.text()?.chars().take(REASON_CHARS_MAX).collect();
                Self::Bye { reason: CloseReason::from_code(code), detail }
            }
            _ => return Err(Malformed::Expected("a message of a known type")),
        })
    }
}

/// Writes the head of a message with `keys` more keys than its type.
fn head(writer: &mut Writer, name: &str, keys: usize) {
    writer.map(keys + 1);
    writer.text("type");
    writer.text(name);
}

/// What a `hello` means that says nothing of frame or window, whatever this library takes.
const USUAL_FRAME: u64 = 8 << 20;
const USUAL_WINDOW: u64 = 4 << 20;

fn write_hello(writer: &mut Writer, hello: &Hello) {
    let has_frame = hello.frame != USUAL_FRAME;
    let has_window = hello.window != USUAL_WINDOW;
    let has_encodings = hello.encodings != Encoding::ALL;
    let has_capabilities = !hello.capabilities.is_empty();
    let has_credentials = !hello.credentials.is_empty();
    let given = [
        hello.name.is_some(),
        has_frame,
        has_window,
        has_encodings,
        has_capabilities,
        has_credentials,
    ];
    head(writer, "hello", 5 + given.into_iter().filter(|is_given| *is_given).count());
    writer.text("version");
    writer.uint(hello.version);
    writer.text("node");
    writer.bytes(hello.node.as_bytes());
    writer.text("epoch");
    writer.uint(hello.epoch.0);
    writer.text("clock");
    writer.uint(hello.clock.bits());
    writer.text("nonce");
    writer.uint(hello.nonce);
    if let Some(name) = &hello.name {
        writer.text("name");
        writer.text(name.as_str());
    }
    if has_frame {
        writer.text("frame");
        writer.uint(hello.frame);
    }
    if has_window {
        writer.text("window");
        writer.uint(hello.window);
    }
    if has_encodings {
        writer.text("encodings");
        writer.array(hello.encodings.len());
        hello.encodings.iter().for_each(|encoding| writer.text(encoding.name()));
    }
    if has_capabilities {
        writer.text("capabilities");
        writer.array(hello.capabilities.len());
        hello.capabilities.iter().for_each(|capability| writer.text(capability));
    }
    if has_credentials {
        writer.text("credentials");
        writer.bytes(&hello.credentials);
    }
}

fn read_hello(parts: &Parts<'_>) -> Result<Hello, Malformed> {
    let encodings = match parts.find("encodings") {
        Some(names) => read_texts(names)?
            .into_iter()
            .filter_map(|name| Encoding::ALL.into_iter().find(|it| it.name() == name))
            .collect(),
        None => Encoding::ALL.to_vec(),
    };
    let uint = |key| parts.find(key).map(|mut value| value.uint()).transpose();
    let credentials = parts.find("credentials").map(|mut bytes| bytes.bytes()).transpose()?;
    let credentials = credentials.unwrap_or_default();
    if credentials.len() > CREDENTIALS_BYTES_MAX {
        return Err(Malformed::Limit("the credentials"));
    }
    Ok(Hello {
        version: parts.get("version")?.uint()?,
        node: NodeId::from_bytes(parts.get("node")?.bytes_of()?),
        epoch: Epoch(parts.get("epoch")?.uint()?),
        clock: Time::from_bits(parts.get("clock")?.uint()?),
        nonce: parts.get("nonce")?.uint()?,
        name: match parts.find("name") {
            Some(mut name) => {
                Some(Name::new(name.text()?).map_err(|_| Malformed::Limit("a node's name"))?)
            }
            None => None,
        },
        frame: uint("frame")?.unwrap_or(USUAL_FRAME),
        window: uint("window")?.unwrap_or(USUAL_WINDOW),
        encodings,
        capabilities: parts.find("capabilities").map(read_texts).transpose()?.unwrap_or_default(),
        credentials: Bytes::copy_from_slice(credentials),
    })
}

fn read_texts(mut reader: Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = reader.array()?;
    if count > KEYS_MAX {
        return Err(Malformed::Limit("a list of texts"));
    }
    let texts = (0..count).map(|_| match reader.text()? {
        text if text.len() > NAME_BYTES_MAX => Err(Malformed::Limit("a text in a list")),
        text => Ok(text.to_owned()),
    });
    texts.collect()
}

fn write_scribes(writer: &mut Writer, scribes: &Scribes) {
    let Scribes { from, to, end, items } = scribes;
    let given = [from.is_some(), to.is_some(), end.is_some(), !items.is_empty()];
    head(writer, "scribes", given.into_iter().filter(|is_given| *is_given).count());
    for (key, point) in [("from", from), ("to", to)] {
        if let Some(point) = point {
            writer.text(key);
            write_point(writer, *point);
        }
    }
    if let Some(end) = end {
        writer.text("end");
        writer.uint(*end);
    }
    if items.is_empty() {
        return;
    }
    writer.text("transactions");
    writer.array(items.len());
    let mut said = Said::default();
    let transactions = items.iter().map(|item| match item {
        Item::Transaction(transaction) => transaction.bytes().len(),
        _ => 0,
    });
    writer.0.reserve(transactions.sum());
    for item in items {
        match item {
            Item::Transaction(transaction) => transaction.write(writer, &mut said),
            // What this version cannot read it does not say in brief either.
            Item::Unread(unread) => {
                writer.encoded(&unread.bytes);
                item.stamp().map(|stamp| said.follow(stamp));
            }
            Item::Echo { offset, scribes } => {
                writer.array(2);
                writer.uint(*offset);
                writer.uint(*scribes);
            }
            Item::Skip { scribes, digest } => {
                writer.array(2);
                writer.uint(*scribes);
                writer.bytes(&digest.0);
            }
        }
    }
}

fn read_scribes(parts: &Parts<'_>) -> Result<Scribes, Malformed> {
    let items = parts.find("transactions").map(read_items).transpose()?.unwrap_or_default();
    let point = |key| parts.find(key).map(|mut point| read_point(&mut point)).transpose();
    let (from, to) = (point("from")?, point("to")?);
    if to.is_none() && !items.is_empty() {
        return Err(Malformed::Expected("to"));
    }
    let end = parts.find("end").map(|mut end| end.uint()).transpose()?;
    Ok(Scribes { from, to, end, items })
}

fn read_items(mut reader: Reader<'_>) -> Result<Vec<Item>, Malformed> {
    let count = reader.array()?;
    // What is no item costs no more than what is one.
    let mut items = Vec::with_capacity(count.min(reader.rest().len() / ITEM_BYTES_MIN));
    let (mut echoes, mut scribes, mut bytes) = (0, 0, 0);
    let (mut said, mut block) = (Said::default(), Block::default());
    for _ in 0..count {
        let bytes_left = MESSAGE_TRANSACTIONS_BYTES_MAX - bytes;
        let item = read_item(&mut reader, &mut said, &mut block, bytes_left)?;
        match &item {
            Item::Echo { .. } | Item::Skip { .. } => {
                echoes += 1;
                if echoes > ECHO_RUNS_MAX {
                    return Err(Malformed::Limit("the number of echoes"));
                }
            }
            Item::Transaction(transaction) => {
                scribes += transaction.len();
                bytes += transaction.bytes().len();
            }
            Item::Unread(unread) => bytes += unread.bytes.len(),
        }
        if scribes > MESSAGE_SCRIBES_MAX as u64 || bytes > MESSAGE_TRANSACTIONS_BYTES_MAX {
            return Err(Malformed::Limit("the scribes of a message"));
        }
        items.push(item);
    }
    reader.finish()?;
    Ok(items)
}

/// Bytes of the least item, which is an echo.
const ITEM_BYTES_MIN: usize = 3;

/// Reads the item that comes next. Transactions expand to so many bytes at most.
fn read_item<'a>(
    reader: &mut Reader<'a>,
    said: &mut Said<'a>,
    block: &mut Block,
    bytes_max: usize,
) -> Result<Item, Malformed> {
    let mut ahead = Reader::new(reader.rest());
    let parts = ahead.array()?;
    if parts != 2 && parts != Count::ALONE_PARTS {
        let item = match Transaction::next(reader, block) {
            Some(transaction) => transaction.into(),
            None => read_transaction(reader.skip()?)?,
        };
        if let Some(stamp) = item.stamp() {
            said.follow(stamp);
        }
        return Ok(item);
    }
    let first = ahead.uint()?;
    let (mut second, left) = (ahead.clone(), reader.rest().len());
    let mut brief = |ahead: &mut Reader<'a>, count: Count| {
        let stamp = said.later(first)?;
        let mut whole = Writer(scratch::take());
        write_head(&mut whole, stamp);
        whole.array(count.number());
        let body = whole.0.len();
        said.expand(ahead, count, &mut whole, bytes_max)?;
        if !may_stand_for(left - ahead.rest().len(), whole.0.len()) {
            return Err(Malformed::Limit("what stands for a transaction"));
        }
        let left_bytes = 2 * ahead.rest().len();
        let item = match Transaction::of_parts(stamp, count.number(), body, &whole.0) {
            Some(form) => form.kept(&whole.0, block, left_bytes).into(),
            None => read_transaction(&whole.0)?,
        };
        scratch::give_back(whole.0);
        Ok(item)
    };
    let item = match parts {
        Count::ALONE_PARTS => brief(&mut ahead, Count::Alone)?,
        _ => match ahead.head()? {
            Head::Array(count) => brief(&mut ahead, Count::Of(count))?,
            Head::Bytes(_) => Item::Skip { scribes: first, digest: Digest(second.bytes_of()?) },
            _ => Item::Echo { offset: first, scribes: second.uint()? },
        },
    };
    *reader = ahead;
    Ok(item)
}

/// Reads a transaction, in memory of its own: what is kept of a message may be a small part of it.
fn read_transaction(bytes: &[u8]) -> Result<Item, Malformed> {
    match Transaction::form(bytes) {
        Ok(form) => Ok(form.of(Bytes::copy_from_slice(bytes)).into()),
        // Another version may know more kinds than this one, and bear more.
        Err(error @ Malformed::Limit(reason)) => match unread(bytes, reason) {
            Some(unread) => Ok(Item::Unread(Box::new(unread))),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Takes what has the shape of a transaction, and is canonical: of what it does not know this version could not make
/// it so.
fn unread(bytes: &[u8], reason: &'static str) -> Option<Unread> {
    Transaction::read_stamp(bytes).ok()?;
    let mut reader = Reader::new(bytes);
    let (_, is_canonical) = reader.value_and_form(MESSAGE_DEPTH_MAX).ok()?;
    reader.finish().ok()?;
    let mut parts = Reader::new(bytes);
    parts.array_of(4, "a transaction of four parts").ok()?;
    for _ in 0..3 {
        parts.skip().ok()?;
    }
    let scribes = parts.array().ok()? as u64;
    let unread = || Unread { bytes: Bytes::copy_from_slice(bytes), scribes, reason };
    (is_canonical && scribes > 0).then(unread)
}

fn write_point(writer: &mut Writer, point: Point) {
    writer.array(2);
    writer.uint(point.offset);
    writer.bytes(&point.digest.0);
}

fn read_point(reader: &mut Reader<'_>) -> Result<Point, Malformed> {
    reader.array_of(2, "a point of offset and digest")?;
    Ok(Point { offset: reader.uint()?, digest: Digest(reader.bytes_of()?) })
}

/// The values of a message by key, each still encoded.
struct Parts<'a> {
    parts: Vec<(&'a str, &'a [u8])>,
    /// Whether the last of them was not looked at: it is nearly all of a message, and is checked when it is read.
    is_open: bool,
}

impl<'a> Parts<'a> {
    fn read(input: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input);
        let count = reader.map()?;
        if count > KEYS_MAX {
            return Err(Malformed::Limit("the keys of a message"));
        }
        let mut parts: Vec<(&str, &[u8])> = Vec::with_capacity(count);
        for left in (0..count).rev() {
            let key = reader.text()?;
            if parts.iter().any(|(known, _)| *known == key) {
                return Err(Malformed::DuplicateKey);
            }
            // Nearly all of a message: what is in it is checked, once, when it is read.
            let value = match key {
                "transactions" if left == 0 => {
                    parts.push((key, reader.rest()));
                    return Ok(Self { parts, is_open: true });
                }
                "transactions" | "items" => reader.skip()?,
                _ => reader.value(MESSAGE_DEPTH_MAX - 1)?,
            };
            parts.push((key, value));
        }
        reader.finish()?;
        Ok(Self { parts, is_open: false })
    }

    /// Checks that the last value is one, where nobody reads it.
    fn check_rest(&self) -> Result<(), Malformed> {
        let Some((_, rest)) = self.parts.last().filter(|_| self.is_open) else { return Ok(()) };
        let mut reader = Reader::new(rest);
        reader.skip()?;
        reader.finish()
    }

    fn find(&self, key: &str) -> Option<Reader<'a>> {
        self.parts.iter().find(|(known, _)| *known == key).map(|(_, value)| Reader::new(value))
    }

    fn get(&self, key: &'static str) -> Result<Reader<'a>, Malformed> {
        self.find(key).ok_or(Malformed::Expected(key))
    }
}

#[cfg(test)]
mod tests;
