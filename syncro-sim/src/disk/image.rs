//! What a disk holds, in pieces that copies share.

use std::iter;
use std::sync::{Arc, LazyLock, OnceLock};

/// The content of a disk. A copy costs a pointer for every piece, and a write the pieces that it touches.
#[derive(Clone, Debug, Default)]
pub struct Image {
    bytes: usize,
    pieces: Vec<Arc<Piece>>,
}

impl Image {
    pub fn holding(content: &[u8]) -> Self {
        let mut image = Self::default();
        image.write(0, content);
        image
    }

    /// Returns its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Returns whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut content: Vec<u8> =
            self.pieces.iter().flat_map(|piece| &piece.bytes).copied().collect();
        content.truncate(self.bytes);
        content
    }

    /// Reads what stands at an offset, if there is as much.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset.checked_add(out.len()).is_none_or(|end| end > self.bytes) {
            return false;
        }
        for (place, range) in pieces(offset, out.len()) {
            let from = &self.pieces[place.piece].bytes[place.within..][..range.len()];
            out[range].copy_from_slice(from);
        }
        true
    }

    /// Writes at an offset. What is beyond the end moves the end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.bytes < offset + bytes.len() {
            self.set_len(offset + bytes.len());
        }
        for (place, range) in pieces(offset, bytes.len()) {
            let piece = Arc::make_mut(&mut self.pieces[place.piece]);
            piece.bytes[place.within..][..range.len()].copy_from_slice(&bytes[range]);
            piece.hash = OnceLock::new();
        }
    }

    /// Writes at an offset what another image holds, whose pieces it shares where they fit.
    pub fn lay(&mut self, offset: usize, other: &Self) {
        if self.bytes < offset + other.bytes {
            self.set_len(offset + other.bytes);
        }
        let whole = if offset.is_multiple_of(PIECE_BYTES) { other.bytes / PIECE_BYTES } else { 0 };
        let first = offset / PIECE_BYTES;
        self.pieces[first..][..whole].clone_from_slice(&other.pieces[..whole]);
        let shared = whole * PIECE_BYTES;
        for (place, range) in pieces(shared, other.bytes - shared) {
            let bytes = &other.pieces[place.piece].bytes[place.within..][..range.len()];
            self.write(offset + shared + range.start, bytes);
        }
    }

    /// Returns the part of it that begins at an offset, of so many bytes at most.
    pub fn part(&self, offset: usize, bytes: usize) -> Vec<u8> {
        let mut part = vec![0; bytes.min(self.bytes - offset)];
        self.read(offset, &mut part);
        part
    }

    pub fn set_len(&mut self, bytes: usize) {
        let whole = bytes.div_ceil(PIECE_BYTES);
        self.pieces.truncate(whole);
        let missing = whole - self.pieces.len();
        self.pieces.extend(iter::repeat_n(&*BLANK, missing).cloned());
        let used = bytes % PIECE_BYTES;
        if bytes < self.bytes && used > 0 {
            let last = Arc::make_mut(&mut self.pieces[whole - 1]);
            last.bytes[used..].fill(0);
            last.hash = OnceLock::new();
        }
        self.bytes = bytes;
    }

    /// Returns a hash of the content and its length.
    pub fn hash(&self) -> u64 {
        self.pieces.iter().fold(mix(0, self.bytes as u64), |hash, piece| mix(hash, piece.hash()))
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Arc<Piece>, &Arc<Piece>)| one.bytes == other.bytes;
        self.bytes == other.bytes && self.pieces.iter().zip(&other.pieces).all(is_same)
    }
}

#[derive(Clone, Debug)]
struct Piece {
    bytes: Vec<u8>,
    hash: OnceLock<u64>,
}

impl Piece {
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let (words, _) = self.bytes.as_chunks();
            words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)))
        })
    }
}

/// Folds the product of 128 bits, as wyhash does: millions of images are told apart by it, and the hasher of
/// the standard library would take a tenth of the time that looking at them does.
fn mix(hash: u64, word: u64) -> u64 {
    let one = u128::from(hash ^ 0x9E37_79B9_7F4A_7C15);
    let product = one.wrapping_mul(u128::from(word ^ 0xBF58_476D_1CE4_E5B9));
    (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(17)
}

struct Place {
    piece: usize,
    within: usize,
}

/// Cuts a stretch of bytes where the pieces end: a place for each part, and the part.
fn pieces(offset: usize, bytes: usize) -> impl Iterator<Item = (Place, std::ops::Range<usize>)> {
    let mut done = 0;
    iter::from_fn(move || {
        if done == bytes {
            return None;
        }
        let (piece, within) = ((offset + done) / PIECE_BYTES, (offset + done) % PIECE_BYTES);
        let end = bytes.min(done + PIECE_BYTES - within);
        let range = done..end;
        done = end;
        Some((Place { piece, within }, range))
    })
}

/// A page of redb.
const PIECE_BYTES: usize = 4096;

static BLANK: LazyLock<Arc<Piece>> =
    LazyLock::new(|| Arc::new(Piece { bytes: vec![0; PIECE_BYTES], hash: OnceLock::new() }));
