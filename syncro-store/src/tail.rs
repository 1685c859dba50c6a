//! The end of the log in memory, as it was appended.
//!
//! To pack a transaction takes longer than to append it, and whoever writes need not wait for it. So what is appended lies
//! here as it is, in pieces of about a page, until whoever syncs packs it into pages of the store, which end
//! elsewhere. What is packed stays here for a while: it is what peers are sent next, and what they say again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Entry, Point};

use crate::backend::Table;
use crate::encoding::page::{OpenPage, OpenPiece, Page};
use crate::encoding::{key, seal};
use crate::overlay::Value;
use crate::staging::Row;

/// Bytes that stay after they have been packed.
const KEPT_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// The last pieces of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Those that are full, one after the other.
    full: VecDeque<Arc<Piece>>,
    full_bytes: usize,
    /// The one that still grows.
    open: OpenPiece,
    transactions: Vec<Placed>,
    end: Point,
    packed: Packed,
}

/// A piece that is full.
#[derive(Debug)]
struct Piece {
    page: Page,
    transactions: Vec<Placed>,
}

/// A transaction in a piece.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// Where it ends in the piece, and its length.
    to: u32,
    length: u32,
    /// Where the log ends after it.
    end: Point,
}

/// How far the pieces are packed.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    /// So many pieces as a whole, with so many bytes.
    pieces: usize,
    bytes: usize,
    /// So many transactions of the next one.
    transactions: usize,
}

impl Tail {
    /// Begins at the end of a log that is packed.
    pub(crate) fn begin(end: Point) -> Self {
        let (full, open) = (VecDeque::new(), OpenPiece::begin(end));
        let (transactions, packed) = (Vec::new(), Packed::default());
        Self { full, full_bytes: 0, open, transactions, end, packed }
    }

    /// Appends a transaction.
    pub(crate) fn push(&mut self, entry: &Entry) {
        let bytes = entry.transaction.bytes();
        if !self.open.has_room_for(bytes) {
            self.turn();
        }
        let to = self.open.push(entry.transaction.len(), bytes);
        self.end = entry.end();
        // A transaction has some MiB at most.
        self.transactions.push(Placed { to: to as u32, length: bytes.len() as u32, end: self.end });
    }

    /// Begins the next piece.
    pub(crate) fn turn(&mut self) {
        let page = self.open.turn(self.end);
        let next = Vec::with_capacity(self.transactions.len());
        let transactions = std::mem::replace(&mut self.transactions, next);
        self.full_bytes += page.bytes();
        self.full.push_back(Arc::new(Piece { page, transactions }));
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Point {
        self.end
    }

    /// Where the oldest piece begins.
    pub(crate) fn first(&self) -> u64 {
        self.full.front().map_or_else(|| self.open.first(), |piece| piece.page.first())
    }

    /// The piece that holds an offset which is not before the [first](Self::first) one; `None` beyond the end.
    pub(crate) fn page(&self, offset: u64) -> Option<Page> {
        if offset >= self.open.first() {
            return (!self.transactions.is_empty()).then(|| self.open.to_page());
        }
        let after = self.full.partition_point(|piece| piece.page.first() <= offset);
        self.full.get(after.checked_sub(1)?).map(|piece| piece.page.clone())
    }

    /// About the bytes that are not packed yet.
    pub(crate) fn unpacked_bytes(&self) -> usize {
        let Packed { pieces, bytes, transactions } = self.packed;
        let to = |placed: Option<&Placed>| placed.map_or(0, |placed| placed.to as usize);
        let next = self.full.get(pieces).map_or(&self.transactions, |piece| &piece.transactions);
        let part = transactions.checked_sub(1).and_then(|last| next.get(last));
        self.full_bytes + to(self.transactions.last()) - bytes - to(part)
    }

    /// How many full pieces are to be packed.
    pub(crate) fn unpacked_pieces(&self) -> usize {
        self.full.len() - self.packed.pieces
    }

    /// The full pieces that are to be packed.
    pub(crate) fn unpacked(&self) -> Unpacked {
        let pieces = self.full.iter().skip(self.packed.pieces).cloned().collect();
        Unpacked { pieces, packed: self.packed.transactions }
    }

    /// Notes that pieces were packed that were to be.
    pub(crate) fn on_packed(&mut self, unpacked: &Unpacked) {
        unpacked.pieces.iter().for_each(|piece| self.packed.piece(piece));
    }

    /// Packs what is left, and gives the rows that are to be put.
    pub(crate) fn pack(&mut self, packing: &mut Packing, mut put: impl FnMut(Row)) {
        while let Some(piece) = self.full.get(self.packed.pieces) {
            let rest = &piece.transactions[self.packed.transactions..];
            packing.append(piece.page.content(), rest, &mut put);
            self.packed.piece(piece);
        }
        let rest = &self.transactions[self.packed.transactions..];
        packing.append(self.open.content(), rest, &mut put);
        self.packed.transactions = self.transactions.len();
        packing.finish(put);
        self.trim();
    }

    /// Forgets what was packed long ago. All that is packed has been put, which the last page is not before.
    fn trim(&mut self) {
        while let Some(oldest) = self.full.front().map(|piece| piece.page.bytes())
            && self.packed.bytes > KEPT_BYTES
        {
            self.full.pop_front();
            self.full_bytes -= oldest;
            self.packed.pieces -= 1;
            self.packed.bytes -= oldest;
        }
    }
}

impl Packed {
    /// Notes that a piece is packed as a whole.
    fn piece(&mut self, piece: &Piece) {
        self.pieces += 1;
        self.bytes += piece.page.bytes();
        self.transactions = 0;
    }
}

/// Full pieces that are to be packed.
pub(crate) struct Unpacked {
    pieces: Vec<Arc<Piece>>,
    /// So many transactions of the first one are packed already.
    packed: usize,
}

/// Packs the log page by page. Where a page ends depends on what is in it, and on nothing else.
#[derive(Debug)]
pub(crate) struct Packing {
    /// The page at the end of what is packed.
    page: OpenPage,
    /// How far it has been put.
    put: u64,
}

impl Packing {
    /// Goes on with the last page of a store.
    pub(crate) fn behind(page: OpenPage) -> Self {
        let put = page.end().offset;
        Self { page, put }
    }

    /// Packs pieces, and returns the pages that are full.
    pub(crate) fn pack(&mut self, unpacked: &Unpacked) -> Vec<Row> {
        let (mut rows, mut packed) = (Vec::new(), unpacked.packed);
        for piece in &unpacked.pieces {
            let rest = &piece.transactions[packed..];
            self.append(piece.page.content(), rest, &mut |row| rows.push(row));
            packed = 0;
        }
        rows
    }

    /// Packs transactions of a piece.
    fn append(&mut self, content: &[u8], transactions: &[Placed], put: &mut impl FnMut(Row)) {
        for Placed { to, length, end } in transactions {
            let bytes = &content[(to - length) as usize..*to as usize];
            // What was packed by a call that did not come to its end is there.
            let scribes = end.offset.saturating_sub(self.page.end().offset);
            if scribes == 0 {
                continue;
            }
            while !self.page.try_push(scribes, bytes, *end) {
                put(self.row());
                self.page.turn();
            }
        }
    }

    /// Puts the last page, if it has grown.
    fn finish(&mut self, mut put: impl FnMut(Row)) {
        if self.page.end().offset > self.put {
            self.put = self.page.end().offset;
            put(self.row());
        }
    }

    /// Lets what comes next begin a page.
    #[cfg(test)]
    pub(crate) fn turn(&mut self) {
        if !self.page.is_empty() {
            self.page.turn();
        }
    }

    fn row(&self) -> Row {
        let key = key::page(self.page.first());
        let sealed = seal(Table::Log, &key, &self.page.stored());
        (Table::Log, Bytes::copy_from_slice(&key), Some(Value::Sealed(sealed)))
    }
}

#[cfg(test)]
mod tests;
