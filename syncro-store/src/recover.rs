//! Opening a store: what is there is checked, and what follows from the log is brought up to its end.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Author, Name, OwnRow, Point, StoreError, Transaction, View};

use crate::backend::{Backend, Table};
use crate::changes::Changes;
use crate::dictionary::next_number;
use crate::encoding::page::{OpenPage, Page};
use crate::encoding::row::Format;
use crate::encoding::{damaged, key, row, seal, unseal};
use crate::migrate::{Chain, Damaged};
use crate::overlay::Value;
use crate::staging::Staging;
use crate::state::{Bounds, Shared, State};
use crate::tail::{Packing, Tail};
use crate::unread::Unread;
use crate::view::{Look, TRANSACTION_BYTES};

/// Bytes of the log that are read at once, and played unless they may wait.
const PLAYED_BYTES: usize = 4 << 20;

pub(crate) fn open(
    backend: Arc<dyn Backend>,
    bounds: Bounds,
    chain: &Chain,
) -> Result<Shared, StoreError> {
    let is_new = chain.run(&*backend, Damaged::Refused)?;
    let own = read(&*backend, Table::Rows, key::OWN, row::read_own)?;
    let mark = read(&*backend, Table::Rows, key::MARK, row::read_mark)?.unwrap_or_default();
    let end = own.as_ref().map_or(Point::START, |own: &OwnRow| own.end);
    if mark == row::UNDER_REPAIR {
        return Err(StoreError::Corrupt { what: "a repair of it was cut off".to_owned() });
    }
    let first_piece = backend.scan(Table::Records, &[0], Some(key::FIRST_RECORD), 1)?;
    let mut state = State {
        tail: Tail::begin(end),
        packing: Some(Packing::behind(last_page(&*backend, end)?)),
        next_name: next_number::<Name>(&*backend)?,
        next_author: next_number::<Author>(&*backend)?,
        has_pieces: !first_piece.is_empty(),
        ..State::over(backend)
    };
    if is_new {
        let format = row::write_format(&Format::of(chain.newest));
        let format = seal(Table::Rows, key::FORMAT, &format);
        state.put(Table::Rows, Bytes::from_static(key::FORMAT), Some(Value::Sealed(format)));
    }
    let shared = Shared::new(state, bounds);
    // Records beyond the log, or of another, would hide what is missing in them.
    if Look::now(&shared).digest_at(mark.offset)? != Some(mark.digest) {
        return Err(damaged(Table::Rows, key::MARK));
    }
    if let Some(own) = own.filter(|own| own.end.offset > mark.offset) {
        let scribes = mark.offset..own.end.offset;
        let unread = Unread::of(&Look::now(&shared).rows()?, scribes.clone(), own.epoch)?;
        match unread.filter(|unread| unread.bytes_once_read() < bounds.overlay_bytes) {
            Some(unread) => shared.write().unread = Some(unread),
            None => catch_up(&shared, scribes)?,
        }
    }
    Ok(shared)
}

/// Brings what follows from the log up to its end. Merging is idempotent, so what was played before does no harm. What is
/// not too much waits to be played until somebody reads it.
fn catch_up(shared: &Shared, mut scribes: Range<u64>) -> Result<(), StoreError> {
    let mut may_wait = true;
    while !scribes.is_empty() {
        let mut staging = Staging::new(shared);
        let stretch = Stretch::read(&staging, scribes.clone())?;
        if may_wait && stretch.transactions.iter().any(|(_, it)| it.is_local()) {
            // What takes the place of what was known does not wait, nor does anything before it.
            may_wait = false;
            drop(staging);
            shared.play()?;
            continue;
        }
        scribes.start = stretch.end;
        let bytes = stretch.bytes;
        if may_wait {
            stretch.leave(&mut staging)?;
        } else {
            stretch.place(&mut staging)?;
            for (key, changes) in stretch.changes(&mut staging)?.sorted().records() {
                staging.changed(key, changes)?;
            }
        }
        staging.publish(None)?;
        shared.write().log_bytes += bytes;
        shared.play_crowded()?;
        shared.checkpoint_at(scribes.start)?;
    }
    Ok(())
}

impl Shared {
    /// Reads what has not been read since the store was opened, and lets it wait to be played.
    pub(crate) fn read_rest(&self) -> Result<(), StoreError> {
        while self.read().unread.is_some() {
            let state = self.write();
            self.unless_it_panics(state.generation, || {
                let mut staging = Staging::of(state);
                let Some(scribes) = staging.unread() else { return Ok(()) };
                let stretch = Stretch::read(&staging, scribes)?;
                staging.read_up_to(stretch.end, stretch.bytes);
                let left = stretch.leave(&mut staging);
                left.inspect_err(|_| staging.forget_looked_up())?;
                staging.publish(None)
            })?;
            self.play_crowded()?;
        }
        Ok(())
    }
}

/// A stretch of the log, as much as is played at once.
struct Stretch {
    end: u64,
    bytes: usize,
    /// Each with its offset.
    transactions: Vec<(u64, Transaction)>,
}

impl Stretch {
    fn read(staging: &Staging<'_>, scribes: Range<u64>) -> Result<Self, StoreError> {
        let Range { start: from, end } = scribes;
        let most = (end - from).min((PLAYED_BYTES / TRANSACTION_BYTES) as u64) as usize;
        let mut stretch = Self { end: from, bytes: 0, transactions: Vec::with_capacity(most) };
        while stretch.end < end && stretch.bytes < PLAYED_BYTES {
            let lost = || damaged(Table::Log, &key::page(stretch.end));
            let page = staging.rows()?.page(stretch.end)?.ok_or_else(lost)?;
            let before = stretch.end;
            for transaction in page.transactions().ok_or_else(lost)? {
                let lost = || damaged(Table::Log, &key::page(page.first()));
                let (Range { start: offset, .. }, bytes) = transaction.ok_or_else(lost)?;
                if offset > stretch.end {
                    return Err(lost());
                }
                if offset == stretch.end {
                    let transaction = Transaction::trusted(bytes).map_err(|_| lost())?;
                    stretch.bytes += transaction.bytes().len();
                    stretch.end += transaction.len();
                    stretch.transactions.push((offset, transaction));
                }
            }
            if stretch.end == before {
                return Err(damaged(Table::Log, &key::page(before)));
            }
        }
        Ok(stretch)
    }

    /// Notes where its transactions are.
    fn place(&self, staging: &mut Staging<'_>) -> Result<(), StoreError> {
        let mut transactions = self.transactions.iter();
        transactions.try_for_each(|(offset, transaction)| staging.played(transaction, *offset))
    }

    /// Lets it wait to be played.
    fn leave(self, staging: &mut Staging<'_>) -> Result<(), StoreError> {
        self.place(staging)?;
        staging.leave(self.transactions.into_iter())
    }

    /// What it does to records.
    fn changes(&self, staging: &mut Staging<'_>) -> Result<Changes, StoreError> {
        let mut changes = Changes::default();
        for (offset, transaction) in &self.transactions {
            let lost = || damaged(Table::Log, &key::page(*offset));
            for scribe in transaction.each() {
                let scribe = scribe.map_err(|_| lost())?;
                changes.push_scribe(&scribe, staging)?.ok_or_else(lost)?;
            }
        }
        Ok(changes)
    }
}

/// A store as it is, for reading rows: nothing of it is checked, and the log has no end.
pub(crate) fn unchecked(backend: Arc<dyn Backend>) -> Shared {
    Shared::new(State::over(backend), Bounds { overlay_bytes: usize::MAX, ..Bounds::default() })
}

fn read<T>(
    backend: &dyn Backend,
    table: Table,
    key: &[u8],
    decode: impl FnOnce(&Bytes) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let Some(sealed) = backend.get(table, key)? else {
        return Ok(None);
    };
    let content = unseal(table, key, sealed)?;
    decode(&content).map(Some).ok_or_else(|| damaged(table, key))
}

/// The last page, which must end where the node's own row says that the log does.
fn last_page(backend: &dyn Backend, end: Point) -> Result<OpenPage, StoreError> {
    let Some((key, sealed)) = backend.floor(Table::Log, &[0xff; 8])? else {
        if end == Point::START {
            return Ok(OpenPage::begin(end));
        }
        return Err(StoreError::Corrupt { what: "the log is gone, but not the rest".to_owned() });
    };
    let page = OpenPage::resume(&Page::unseal(&key, &sealed)?);
    page.filter(|page| page.end() == end).ok_or_else(|| damaged(Table::Log, &key))
}
