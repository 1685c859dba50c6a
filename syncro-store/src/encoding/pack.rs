//! Packing: what was said before is not said again.
//!
//! A transaction names its author, its model and its fields in full, as most before it did. Packed, it says where
//! they were: it is cut into pieces, each of some new bytes and some from before.
//!
//! `piece = how many, 1: new bytes in the high half, bytes from before in the low; the new bytes; where the others
//! are: so many bytes back (varint)`. A low half of 0 is none, and no place follows; any other is 5 bytes more than
//! it says. A half of 15 has more, as a varint: the high one before the new bytes, the low one before the place.
//!
//! Each part is packed to its end, so that what is packed only grows, and its length is known at any moment.

use super::{In, Out};

/// Bytes of a whole that is packed at most, so that no few bytes can ask for more memory.
pub(crate) const UNPACKED_MAX: usize = 1 << 20;

/// Bytes from before that are worth a piece, which takes 2 or 3 of its own, and time to be read.
const COPIED_MIN: usize = 6;

/// New bytes after which every second place is looked at, then every third, and so on.
const PATIENCE: usize = 2;

/// Bytes for which there is room at first: what most pages have.
const PACKED_BYTES: usize = 4 << 10;

/// The most that a half of a byte can say; the rest follows.
const HALF_MAX: usize = 15;

/// Places that are remembered: the last one for each hash of so many bytes.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 11;

/// Packs a whole, part by part.
#[derive(Debug)]
pub(crate) struct Packer {
    out: Out,
    places: Box<[u32; PLACES]>,
}

impl Packer {
    /// Packs behind what is not to be packed.
    pub(crate) fn after(first: &[u8]) -> Self {
        let mut out = Out(Vec::with_capacity(PACKED_BYTES));
        out.fixed(first);
        Self { out, places: Box::new([0; PLACES]) }
    }

    /// Begins with another whole, in the same memory.
    pub(crate) fn begin(&mut self, first: &[u8]) {
        // The same whole is packed alike, whatever there was before it.
        self.places.fill(0);
        self.out.0.clear();
        self.out.0.shrink_to(PACKED_BYTES);
        self.out.fixed(first);
    }

    /// What it was begun with, and what has been packed.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.out.0
    }

    /// Takes back what was packed beyond a length.
    pub(crate) fn truncate(&mut self, length: usize) {
        // Places in it may stay: what is there is looked at before it is believed.
        self.out.0.truncate(length);
    }

    /// Packs a whole from a place on, everything before which was packed or is known to the reader.
    pub(crate) fn pack(&mut self, whole: &[u8], from: usize) {
        let (mut at, mut new) = (from, from);
        while let Some(start) = start_at(whole, at) {
            let place = &mut self.places[hash(start)];
            // A whole that is packed has at most a MiB.
            let before = std::mem::replace(place, at as u32) as usize;
            if before >= at || start_at(whole, before) != Some(start) {
                // Where nothing was found for a while, as in an id, little will be.
                at += 1 + (at - new) / PATIENCE;
                continue;
            }
            let behind = alike_behind(&whole[new..at], &whole[..before]);
            let alike = alike(&whole[at + COPIED_MIN..], &whole[before + COPIED_MIN..]);
            self.piece(&whole[new..at - behind], behind + COPIED_MIN + alike, at - before);
            at += COPIED_MIN + alike;
            new = at;
        }
        if new < whole.len() {
            self.piece(&whole[new..], 0, 0);
        }
    }

    fn piece(&mut self, new: &[u8], copied: usize, distance: usize) {
        let low = if copied == 0 { 0 } else { copied - (COPIED_MIN - 1) };
        let halves = (new.len().min(HALF_MAX) << 4) | low.min(HALF_MAX);
        self.out.byte(halves as u8);
        if new.len() >= HALF_MAX {
            self.out.varint((new.len() - HALF_MAX) as u64);
        }
        self.out.fixed(new);
        if low >= HALF_MAX {
            self.out.varint((low - HALF_MAX) as u64);
        }
        if low > 0 {
            self.out.varint(distance as u64);
        }
    }
}

/// How many bytes two begin with alike.
fn alike(one: &[u8], other: &[u8]) -> usize {
    let eights = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let eights = 8 * eights.take_while(|(one, other)| one == other).count();
    let rest = one[eights..].iter().zip(&other[eights..]);
    eights + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes two end with alike.
fn alike_behind(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// The bytes at a place by which others like them are found.
fn start_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    Some(eight << (64 - 8 * COPIED_MIN))
}

/// The high bits of a product with 2^64 divided by the golden ratio.
fn hash(start: u64) -> usize {
    (start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_BITS)) as usize
}

/// Appends to what the packer knew before it what it packed; `None` where the bytes are none of its, or ask for
/// more than may be.
pub(crate) fn unpack(mut packed: In<'_>, whole: &mut Vec<u8>) -> Option<()> {
    while !packed.is_empty() {
        let halves = packed.byte()?;
        let new = number(&mut packed, halves >> 4)?;
        whole.extend_from_slice(packed.take(new)?);
        let low = number(&mut packed, halves & 0xf)?;
        if low == 0 && new == 0 {
            return None;
        }
        if low > 0 {
            copy(whole, low.checked_add(COPIED_MIN - 1)?, packed.varint()?)?;
        }
        if whole.len() > UNPACKED_MAX {
            return None;
        }
    }
    Some(())
}

fn number(packed: &mut In<'_>, half: u8) -> Option<usize> {
    let half = usize::from(half);
    if half < HALF_MAX {
        return Some(half);
    }
    usize::try_from(packed.varint()?).ok()?.checked_add(HALF_MAX)
}

/// Appends bytes from before, which may go on in what is being appended.
fn copy(whole: &mut Vec<u8>, length: usize, distance: u64) -> Option<()> {
    let distance = usize::try_from(distance).ok().filter(|distance| *distance > 0)?;
    let from = whole.len().checked_sub(distance)?;
    if length > UNPACKED_MAX {
        return None;
    }
    if length <= distance {
        whole.extend_from_within(from..from + length);
    } else {
        (from..from + length).for_each(|at| whole.push(whole[at]));
    }
    Some(())
}

#[cfg(test)]
mod tests;
