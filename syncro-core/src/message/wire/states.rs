//! What views ask for, and are told.

use bytes::Bytes;

use super::{Parts, head, read_point, write_point};
use crate::channel::{Channel, Sum};
use crate::encoding::msgpack::{Head, Malformed, Reader, Writer};
use crate::id::RecordKey;
use crate::limits::{CHANNELS_MAX, MESSAGE_ITEMS_MAX, STATE_PIECE_BYTES, VALUE_BYTES_MAX};
use crate::message::{Items, Message, States, Told, Wanted};
use crate::record::Record;
use crate::state;

pub(super) fn write_subscribe(writer: &mut Writer, channels: &[Wanted], has_more: bool) {
    head(writer, "subscribe", 2);
    writer.text("channels");
    writer.array(channels.len());
    for Wanted { number, channel, point, sum, after } in channels {
        writer.array(if after.is_some() { 6 } else { 4 });
        writer.uint(*number);
        writer.text(channel.as_str());
        write_point(writer, *point);
        writer.bytes(&sum.to_bytes());
        if let Some(after) = after {
            after.write(writer);
        }
    }
    writer.text("more");
    writer.bool(has_more);
}

pub(super) fn read_subscribe(parts: &Parts<'_>) -> Result<Message, Malformed> {
    let mut reader = parts.get("channels")?;
    let mut channels = Vec::new();
    for _ in 0..count(&mut reader)? {
        let is_begun = match reader.array()? {
            4 => false,
            6 => true,
            _ => return Err(Malformed::Expected("a channel of four parts, or six")),
        };
        let number = reader.uint()?;
        let channel = Channel::new(reader.text()?);
        let channel = channel.map_err(|_| Malformed::Limit("the name of a channel"))?;
        let point = read_point(&mut reader)?;
        let sum = Sum::from_bytes(reader.bytes_of()?);
        let after = is_begun.then(|| RecordKey::read(&mut reader)).transpose()?;
        channels.push(Wanted { number, channel, point, sum, after });
    }
    let has_more = parts.get("more")?.bool()?;
    Ok(Message::Subscribe { channels, has_more })
}

pub(super) fn write_unsubscribe(writer: &mut Writer, numbers: &[u64]) {
    head(writer, "unsubscribe", 1);
    writer.text("channels");
    writer.array(numbers.len());
    numbers.iter().for_each(|number| writer.uint(*number));
}

pub(super) fn read_unsubscribe(parts: &Parts<'_>) -> Result<Message, Malformed> {
    let mut reader = parts.get("channels")?;
    let count = count(&mut reader)?;
    let mut numbers = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        numbers.push(reader.uint()?);
    }
    Ok(Message::Unsubscribe { numbers })
}

/// Bytes of a piece of a state: its aim, and a value more.
const STATE_BYTES_MAX: usize = STATE_PIECE_BYTES + VALUE_BYTES_MAX;

/// What an item begins with.
const STATE: u64 = 0;
const EVICT: u64 = 1;
const POINT: u64 = 2;
const FILL: u64 = 3;
const REACHED: u64 = 4;
const FILLED: u64 = 5;
const WITHHELD: u64 = 6;

pub(super) fn write_states(writer: &mut Writer, states: &States) {
    head(writer, "states", 3);
    writer.text("items");
    writer.array(states.items.count);
    writer.encoded(&states.items.bytes);
    writer.text("covers");
    match states.covers {
        Some(covers) => writer.uint(covers),
        None => writer.nil(),
    }
    writer.text("end");
    writer.bool(states.is_end);
}

impl Items {
    /// Encodes what is told.
    pub(crate) fn new(told: &[Told]) -> Self {
        let mut writer = Writer::default();
        told.iter().for_each(|told| write_told(&mut writer, told));
        Self { count: told.len(), bytes: writer.0.into() }
    }

    /// What is told, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Told, Malformed>> {
        let mut reader = Reader::new(&self.bytes);
        let read = |state: &mut Reader<'_>| state::read(state, &Bytes::copy_from_slice);
        (0..self.count).map(move |_| read_told(&mut reader, read))
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Items {}

fn write_told(writer: &mut Writer, told: &Told) {
    let mut begin = |parts, code| {
        writer.array(parts);
        writer.uint(code);
    };
    match told {
        Told::State { key, numbers, is_whole, record } => {
            begin(6, STATE);
            key.write(writer);
            writer.array(numbers.len());
            numbers.iter().for_each(|number| writer.uint(*number));
            writer.bool(*is_whole);
            state::write(record, writer);
        }
        Told::Evict { key } => {
            begin(3, EVICT);
            key.write(writer);
        }
        Told::Point { number, point, sum } => {
            begin(if sum.is_some() { 4 } else { 3 }, POINT);
            writer.uint(*number);
            write_point(writer, *point);
            if let Some(sum) = sum {
                writer.bytes(&sum.to_bytes());
            }
        }
        Told::Fill { number, floor } => {
            begin(3, FILL);
            writer.uint(*number);
            write_point(writer, *floor);
        }
        Told::Reached { number, key } => {
            begin(4, REACHED);
            writer.uint(*number);
            key.write(writer);
        }
        Told::Filled { number } => {
            begin(2, FILLED);
            writer.uint(*number);
        }
        Told::Withheld { number } => {
            begin(2, WITHHELD);
            writer.uint(*number);
        }
    }
}

pub(super) fn read_states(parts: &Parts<'_>) -> Result<States, Malformed> {
    let mut reader = parts.get("items")?;
    let count = count(&mut reader)?;
    let items = Items { count, bytes: Bytes::copy_from_slice(reader.rest()) };
    for _ in 0..count {
        read_told(&mut reader, |state| state::check(state).map(|()| Record::default()))?;
    }
    let covers = match parts.get("covers")?.head()? {
        Head::Nil => None,
        _ => Some(parts.get("covers")?.uint()?),
    };
    let is_end = parts.get("end")?.bool()?;
    Ok(States { items, covers, is_end })
}

fn read_told(
    reader: &mut Reader<'_>,
    read_state: impl FnOnce(&mut Reader<'_>) -> Result<Record, Malformed>,
) -> Result<Told, Malformed> {
    let parts = reader.array()?;
    Ok(match (reader.uint()?, parts) {
        (STATE, 6) => {
            let key = RecordKey::read(reader)?;
            let count = reader.array()?;
            if count > CHANNELS_MAX {
                return Err(Malformed::Limit("the channels of a record"));
            }
            let numbers = (0..count).map(|_| reader.uint()).collect::<Result<_, _>>()?;
            let is_whole = reader.bool()?;
            let whole = reader.skip()?;
            if whole.len() > STATE_BYTES_MAX {
                return Err(Malformed::Limit("a state"));
            }
            let record = read_state(&mut Reader::new(whole))?;
            Told::State { key, numbers, is_whole, record }
        }
        (EVICT, 3) => Told::Evict { key: RecordKey::read(reader)? },
        (POINT, 3 | 4) => Told::Point {
            number: reader.uint()?,
            point: read_point(reader)?,
            sum: (parts == 4).then(|| reader.bytes_of().map(Sum::from_bytes)).transpose()?,
        },
        (FILL, 3) => Told::Fill { number: reader.uint()?, floor: read_point(reader)? },
        (REACHED, 4) => Told::Reached { number: reader.uint()?, key: RecordKey::read(reader)? },
        (FILLED, 2) => Told::Filled { number: reader.uint()? },
        (WITHHELD, 2) => Told::Withheld { number: reader.uint()? },
        _ => return Err(Malformed::Expected("an item that is known")),
    })
}

fn count(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match reader.array()? {
        count if count > MESSAGE_ITEMS_MAX => Err(Malformed::Limit("the items of a message")),
        count => Ok(count),
    }
}
