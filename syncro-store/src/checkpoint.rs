//! Writing behind: what follows from the log goes to the backend later, in slices, up to a mark.
//!
//! A checkpoint begins with a sync, so that everything in it is in the durable log already: a backend that
//! comes back after a crash with some of its batches never holds a record of a transaction that it has
//! not. Its slices are buffered writes, which cost no flush; the last one moves the mark, and is durable.
//! Until then everything is in memory as well, and where a slice finds no room the checkpoint begins anew.

use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use syncro_core::{Point, StoreError, View};

use crate::backend::{Backend, Batch, Durability, Table};
use crate::encoding::{self, damaged, key, row};
use crate::layers::Sealing;
use crate::overlay::{Rows, Value};
use crate::room::ROOM_TO_WRITE_BYTES;
use crate::staging::PIECE_BYTES;
use crate::state::Shared;
use crate::view::Look;

/// Bytes of one slice, unless a single row has more.
const SLICE_BYTES: usize = 1 << 20;

/// Bytes of slices after which one is durable. The next sync pays for what is buffered: that must not be a
/// whole checkpoint.
const BUFFERED_BYTES: usize = 8 << 20;

/// Pieces of the log that are packed without the lock: fewer are packed sooner than it is taken twice.
const PIECES_AHEAD: usize = 2;

/// How often that is done before the rest is packed while others wait.
const ROUNDS_AHEAD: usize = 4;

/// When a sync begins a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// When as much is behind as may be.
    WhenDue,
    /// When anything is behind.
    Now,
}

/// A checkpoint under way.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// Up to where the log was played when it began.
    mark: Point,
    /// The last row written.
    last: Option<(Table, Bytes)>,
    /// Bytes written since the last durable slice.
    buffered_bytes: usize,
    /// Whether only what is to be merged is left: after all the rest, where that had to be one slice.
    has_merges_left: bool,
}

/// What a slice writes.
struct Slice {
    batch: Batch,
    /// The bytes of what was applied that it writes: of a record into which something is merged, of that alone.
    applied_bytes: usize,
    /// Whether a record has become so large that it belongs in pieces.
    is_large: bool,
    is_last: bool,
}

impl Checkpoint {
    pub(crate) fn new(mark: Point) -> Self {
        Self { mark, last: None, buffered_bytes: 0, has_merges_left: false }
    }

    /// Begins anew: what was written and not made durable may be gone.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.mark);
    }

    /// The next slice of the rows.
    ///
    /// Names come first, since records refer to them.
    fn slice(
        &mut self,
        rows: &Rows,
        backend: &dyn Backend,
        shared: &Shared,
    ) -> Result<Slice, StoreError> {
        let (mut memory, mut below) = (Sealing::default(), Below::of(backend));
        // A record in pieces must not be found half old and half new.
        let first = rows.from(Table::Records, Bound::Unbounded).next();
        let has_pieces = first.is_some_and(|(key, _)| key.as_ref() < key::FIRST_RECORD);

        // None of those is in pieces, and each may be far more than what is merged into it.
        let is_merge =
            |value: &Option<Value>| value.as_ref().is_some_and(|it| it.merge().is_some());
        let is_due = |value: &Option<Value>| !has_pieces || is_merge(value) == self.has_merges_left;
        let (mut slice, mut bytes, mut applied_bytes, mut is_large) = (Vec::new(), 0, 0, false);
        let rest = rows.after(self.last.as_ref());
        let mut rest = rest.filter(|(_, _, value)| is_due(value)).peekable();
        for row in rest.by_ref() {
            let merged = row.2.as_ref().and_then(Value::merge).map(|record| record.bytes());
            let row = shared.sealed(row, &mut memory, &mut below)?;
            let (key_bytes, row_bytes) = (row.1.len(), row.2.as_ref().map_or(0, Bytes::len));
            is_large |= merged.is_some() && row_bytes > PIECE_BYTES;
            applied_bytes += key_bytes + merged.unwrap_or(row_bytes);
            bytes += key_bytes + row_bytes;
            slice.push(row);
            let is_full = slice.len() >= shared.bounds.slice_rows || bytes >= SLICE_BYTES;
            if is_full && (!has_pieces || self.has_merges_left) {
                break;
            }
        }
        let mut is_last = rest.peek().is_none();
        drop(rest);
        if let Some((table, key, _)) = slice.last() {
            self.last = Some((*table, key.clone()));
        }
        if is_last && has_pieces && !self.has_merges_left {
            (self.has_merges_left, self.last) = (true, None);
            is_last = !rows.iter().any(|(_, _, value)| is_merge(value));
        }
        let mut batch = Batch::sorted(slice);
        if is_last {
            encoding::put(&mut batch, Table::Rows, key::MARK, &row::write_mark(self.mark));
        }
        Ok(Slice { batch, applied_bytes, is_large, is_last })
    }
}

impl Shared {
    /// Makes what was applied durable, and may begin a checkpoint, unless one is under way.
    pub(crate) fn sync(&self, begin: Begin) -> Result<(), StoreError> {
        self.guarded(|shared| shared.where_room(|| shared.sync_in_turn(begin)))
    }

    fn sync_in_turn(&self, begin: Begin) -> Result<(), StoreError> {
        let _turn = self.turns.for_sync();
        let end = self.read().tail.end().offset;
        let mark = self.is_due(begin).then(|| self.played(end)).transpose()?;
        self.pack_ahead_in_turn();
        let (backend, rows, log_bytes) = {
            let mut state = self.write();
            let backend = state.backend()?.clone();
            state.pack()?;
            state.put_noted();
            let log_bytes = state.log_bytes;
            if mark.is_some() {
                state.set_derived_aside();
            }
            let log_bytes = log_bytes - state.log_bytes;
            (backend, state.log.set_aside(), log_bytes)
        };
        let (mut memory, mut below) = (Sealing::default(), Below::of(&*backend));
        let rows = rows.iter().map(|row| self.sealed(row, &mut memory, &mut below));
        let batch = Batch::sorted(rows.collect::<Result<_, _>>()?);
        #[cfg(all(feature = "planted", debug_assertions))]
        let batch = crate::planted::batch(self, &*backend, batch, mark);
        // Slices go on meanwhile: what they write is of other tables, and nobody needs it to be durable yet.
        let written = self.write_if_room(&*backend, &batch, Durability::Ahead);
        #[cfg(all(feature = "planted", debug_assertions))]
        let written = crate::planted::written(&*backend, written);
        let mut state = self.write();
        if let Err(error) = written {
            state.log.put_back();
            if mark.is_some() {
                state.derived.put_back();
                state.log_bytes += log_bytes;
            }
            return Err(error);
        }
        state.log.forget();
        if let Some(mark) = mark {
            state.checkpoint = Some(Checkpoint::new(mark));
        }
        Ok(())
    }

    /// Packs all that was appended before this call.
    pub(crate) fn pack(&self) -> Result<(), StoreError> {
        let _turn = self.turns.for_sync();
        self.pack_ahead_in_turn();
        self.write().pack()
    }

    /// Packs most of what was appended, where that is long, while others apply more and read.
    pub(crate) fn pack_ahead(&self) {
        let _turn = self.turns.for_sync();
        self.pack_ahead_in_turn();
    }

    /// Whether it is time to write behind, and that is not under way.
    fn is_due(&self, begin: Begin) -> bool {
        let state = self.read();
        let is_due = begin == Begin::Now || state.behind_bytes() >= self.bounds.overlay_bytes;
        is_due && state.checkpoint.is_none() && state.behind_bytes() > 0
    }

    /// Plays what waits of the log up to an offset, but no more than may be behind, and returns a point up to which all is
    /// played.
    fn played(&self, end: u64) -> Result<Point, StoreError> {
        self.play_within(self.bounds.overlay_bytes)?;
        let look = Look::now(self);
        let offset = look.unplayed_from().map_or(end, |offset| offset.min(end));
        let digest =
            look.digest_at(offset)?.ok_or_else(|| damaged(Table::Log, &key::page(offset)))?;
        Ok(Point { offset, digest })
    }

    fn pack_ahead_in_turn(&self) {
        // What is appended meanwhile is less each time, but by those who are quicker than this.
        for _ in 0..ROUNDS_AHEAD {
            let (unpacked, mut packing) = {
                let mut state = self.write_between();
                if state.tail.unpacked_pieces() < PIECES_AHEAD {
                    return;
                }
                let Some(packing) = state.packing.take() else { return };
                (state.tail.unpacked(), packing)
            };
            let rows = packing.pack(&unpacked);
            let mut state = self.write_between();
            state.tail.on_packed(&unpacked);
            state.packing = Some(packing);
            rows.into_iter().for_each(|(table, key, value)| state.put(table, key, value));
        }
    }

    /// Lets the backend [catch up](Backend::catch_up), if it is time to. Returns whether it was.
    pub(crate) fn catch_backend_up(&self) -> Result<bool, StoreError> {
        self.guarded(|shared| {
            shared.where_room(|| {
                let _turn = shared.turns.for_slice();
                let backend = shared.read().backend()?.clone();
                let is_due = backend.is_behind()
                    && backend.room().is_none_or(|room| room >= ROOM_TO_WRITE_BYTES);
                if is_due {
                    shared.note_full(backend.catch_up())?;
                }
                Ok(is_due)
            })
        })
    }

    /// Writes the next slice of the checkpoint under way, if there is one. Returns the bytes of what was applied that it
    /// has written.
    pub(crate) fn write_slice(&self) -> Result<Option<usize>, StoreError> {
        self.guarded(|shared| shared.where_room(|| shared.write_slice_in_turn()))
    }

    fn write_slice_in_turn(&self) -> Result<Option<usize>, StoreError> {
        let _turn = self.turns.for_slice();
        let (backend, rows, mut checkpoint) = {
            let state = self.read();
            let backend = state.backend()?.clone();
            let Some(checkpoint) = state.checkpoint.clone() else {
                return Ok(None);
            };
            (backend, state.derived.aside().clone(), checkpoint)
        };
        let Slice { batch, applied_bytes, is_large, is_last } =
            checkpoint.slice(&rows, &*backend, self)?;
        checkpoint.buffered_bytes += batch.bytes();
        let mut durability = Durability::Buffered;
        if is_last || checkpoint.buffered_bytes >= BUFFERED_BYTES {
            durability = Durability::Durable;
            checkpoint.buffered_bytes = 0;
        }
        self.write_if_room(&*backend, &batch, durability)?;
        let mut state = self.write();
        // From here on all are read before they are written, and put in pieces.
        state.has_pieces |= is_large;
        state.checkpoint = (!is_last).then_some(checkpoint);
        if is_last {
            state.derived.forget();
        }
        Ok(Some(applied_bytes))
    }

    /// A row as it is written. The lock is taken for words that did not occur before, and others go on meanwhile.
    fn sealed(
        &self,
        (table, key, value): (Table, &Bytes, &Option<Value>),
        memory: &mut Sealing,
        below: &mut Below<'_>,
    ) -> Result<(Table, Bytes, Option<Bytes>), StoreError> {
        let sealed = match value {
            None => None,
            Some(Value::Sealed(sealed)) => Some(sealed.clone()),
            Some(Value::Record { record, is_whole: true, .. }) => {
                Some(memory.seal(key, record, self)?)
            }
            Some(Value::Record { record, .. }) => {
                let known = below.row(table, key)?;
                let whole = self.read().now()?.merged(key, known, record)?;
                Some(memory.seal(key, &whole, self)?)
            }
        };
        Ok((table, key.clone(), sealed))
    }

    /// Writes everything, so that the next opening has nothing to play.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        while self.write_slice()?.is_some() {}
        loop {
            self.sync(Begin::Now)?;
            while self.write_slice()?.is_some() {}
            // More may have waited than is played for one.
            if self.read().is_played() {
                return Ok(());
            }
        }
    }

    /// While the log is read: writes what follows from it up to an offset, if as much is behind as may be.
    pub(crate) fn checkpoint_at(&self, offset: u64) -> Result<(), StoreError> {
        if self.read().behind_bytes() < self.bounds.overlay_bytes {
            return Ok(());
        }
        let mark = self.played(offset)?;
        let mut state = self.write();
        if state.checkpoint.is_none() {
            state.set_derived_aside();
            state.checkpoint = Some(Checkpoint::new(mark));
        }
        drop(state);
        loop {
            match self.write_slice() {
                Ok(Some(_)) => {}
                // Without room it stays in memory, and follows later.
                Ok(None) | Err(StoreError::Full) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Where more is behind than some bound: begins a checkpoint, or writes twice as many bytes of the one
    /// under way as its caller brings. Returns whether it was.
    pub(crate) fn make_room(
        &self,
        bound: usize,
        bytes: impl FnOnce() -> usize,
    ) -> Result<bool, StoreError> {
        let is_under_way = {
            let state = self.read();
            if state.behind_bytes() < bound {
                return Ok(false);
            }
            state.checkpoint.is_some()
        };
        if !is_under_way {
            self.sync(Begin::WhenDue)?;
            return Ok(true);
        }
        let (mut written, due) = (0, bytes().saturating_mul(2));
        while written < due {
            match self.write_slice()? {
                Some(bytes) => written += bytes,
                None => break,
            }
        }
        Ok(true)
    }
}

/// The rows of a backend, asked for in the order of their keys.
struct Below<'a> {
    backend: &'a dyn Backend,
    /// The first row that is not before the last one asked for, or that there is none: of those before it there is none
    /// either, so that many new records take one look.
    next: Option<Option<Bytes>>,
}

impl<'a> Below<'a> {
    fn of(backend: &'a dyn Backend) -> Self {
        Self { backend, next: None }
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if self.next.as_ref().is_some_and(|next| next.as_ref().is_none_or(|next| key < next)) {
            return Ok(None);
        }
        let next = self.backend.scan(table, key, None, 1)?.pop();
        self.next = Some(next.as_ref().map(|(key, _)| key.clone()));
        Ok(next.filter(|(next, _)| next == key).map(|(_, row)| row))
    }
}

/// Who may write to the backend: one sync at a time, and one slice.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    sync: Mutex<()>,
    slice: Mutex<()>,
}

/// A turn to write, until it is dropped.
pub(crate) type Turn<'a> = MutexGuard<'a, ()>;

impl Turns {
    fn for_sync(&self) -> Turn<'_> {
        Self::of(&self.sync)
    }

    fn for_slice(&self) -> Turn<'_> {
        Self::of(&self.slice)
    }

    /// Waits until nobody else writes.
    pub(crate) fn alone(&self) -> [Turn<'_>; 2] {
        // Always in this order.
        [self.for_sync(), self.for_slice()]
    }

    fn of(turns: &Mutex<()>) -> Turn<'_> {
        // They guard nothing that could be half changed.
        turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
