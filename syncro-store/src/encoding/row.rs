//! The few small rows: who the node is, and what it knows of each peer.

use bytes::Bytes;
use syncro_core::{Digest, Epoch, Ladder, Name, NodeId, OwnRow, PeerRow, Point, Rung, Time};

use super::{In, Out};
use crate::backend::Table;

/// What the row `format` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    /// While the store is being made one of this version: the last row that it has been done for.
    pub(crate) reached: Option<(Table, Bytes)>,
}

impl Format {
    pub(crate) fn of(version: u32) -> Self {
        Self { version, reached: None }
    }
}

/// The version, which is what the row begins with in every version.
pub(crate) fn read_version(content: &Bytes) -> Option<u32> {
    Some(u32::from_be_bytes(*content.first_chunk()?))
}

/// `version 4`; during a migration then `table 1`, and a key.
pub(crate) fn write_format(format: &Format) -> Vec<u8> {
    let mut out = Out::default();
    out.fixed(&format.version.to_be_bytes());
    if let Some((table, key)) = &format.reached {
        out.byte(table.code());
        out.fixed(key);
    }
    out.0
}

pub(crate) fn read_format(content: &Bytes) -> Option<Format> {
    let version = read_version(content)?;
    let reached = match content.get(4) {
        None => None,
        Some(code) => {
            let table = Table::ALL.into_iter().find(|table| table.code() == *code)?;
            Some((table, content.slice(5..)))
        }
    };
    Some(Format { version, reached })
}

/// `node 16, epoch 8, clock 8, offset 8, digest 16`.
pub(crate) fn write_own(row: &OwnRow) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(16 + 8 + 8 + 8 + 16));
    out.fixed(row.node.as_bytes());
    out.fixed(&row.epoch.0.to_be_bytes());
    out.fixed(&row.clock.bits().to_be_bytes());
    write_point(&mut out, row.end);
    out.0
}

pub(crate) fn read_own(content: &Bytes) -> Option<OwnRow> {
    let mut row = In::new(content);
    Some(OwnRow {
        node: NodeId::from_bytes(row.fixed()?),
        epoch: Epoch(u64::from_be_bytes(row.fixed()?)),
        clock: Time::from_bits(u64::from_be_bytes(row.fixed()?)),
        end: read_point(&mut row)?,
    })
}

/// The mark of a store that is being repaired: no log reaches so far.
pub(crate) const UNDER_REPAIR: Point = Point { offset: u64::MAX, digest: Digest::EMPTY };

/// `offset 8, digest 16`.
pub(crate) fn write_mark(mark: Point) -> Vec<u8> {
    let mut out = Out::default();
    write_point(&mut out, mark);
    out.0
}

pub(crate) fn read_mark(content: &Bytes) -> Option<Point> {
    read_point(&mut In::new(content))
}

/// `name, held: offset 8, digest 16, number of rungs, rungs of epoch 8, offset 8, digest 16`, and `confirmed: offset 8,
/// digest 16` where it is not the start; an empty name is none.
pub(crate) fn write_peer(row: &PeerRow) -> Vec<u8> {
    let mut out = Out::default();
    out.bytes(row.name.as_ref().map_or(&[], |name| name.as_str().as_bytes()));
    write_point(&mut out, row.held);
    out.varint(row.ladder.rungs().len() as u64);
    for rung in row.ladder.rungs() {
        out.fixed(&rung.epoch.0.to_be_bytes());
        write_point(&mut out, rung.point);
    }
    if row.confirmed != Point::START {
        write_point(&mut out, row.confirmed);
    }
    out.0
}

pub(crate) fn read_peer(content: &Bytes) -> Option<PeerRow> {
    let mut row = In::new(content);
    let name = row.bytes()?;
    let name = match std::str::from_utf8(name).ok()? {
        "" => None,
        name => Some(Name::new(name).ok()?),
    };
    let held = read_point(&mut row)?;
    let mut rungs = Vec::new();
    for _ in 0..row.varint()? {
        let epoch = Epoch(u64::from_be_bytes(row.fixed()?));
        rungs.push(Rung { epoch, point: read_point(&mut row)? });
    }
    let confirmed = if row.is_empty() { Point::START } else { read_point(&mut row)? };
    Some(PeerRow { name, ladder: Ladder::new(rungs), held, confirmed })
}

fn write_point(out: &mut Out, point: Point) {
    out.fixed(&point.offset.to_be_bytes());
    out.fixed(&point.digest.0);
}

fn read_point(row: &mut In<'_>) -> Option<Point> {
    Some(Point { offset: u64::from_be_bytes(row.fixed()?), digest: Digest(row.fixed()?) })
}
