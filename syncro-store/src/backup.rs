//! Copying a store while it is in use.

#[cfg(feature = "redb")]
mod file;

use syncro_core::{Point, StoreError};

use crate::backend::{Backend, Batch, Durability, Table};
use crate::encoding::row::Format;
use crate::encoding::{self, FORMAT_VERSION, damaged, key, row};
use crate::log_store::Reader;
use crate::rows;
use crate::snapshot::Snapshot;

/// Rows read at once: one may have a few MiB.
const ROWS_AT_ONCE: usize = 64;

/// Bytes of a batch, beyond which the next one begins.
const BATCH_BYTES: usize = 1 << 20;

/// What a copy of a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where its log ends.
    pub end: Point,
    /// The bytes of all its keys and values.
    pub bytes: u64,
}

impl Reader {
    /// Copies the store, as it is at this moment, to a backend that is empty.
    ///
    /// Others go on reading and writing; what changes while the copy is made is kept in memory until it is
    /// done. `progress` is called now and then with the bytes written so far. The copy holds what was
    /// applied, synced or not; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// The errors of reading, and of writing to the backend, which is of no use then.
    pub fn copy_to(
        &self,
        backend: &impl Backend,
        progress: impl FnMut(u64),
    ) -> Result<Copied, StoreError> {
        let snapshot = self.snapshot();
        // The copy says of its records that they follow from all of its log.
        snapshot.look_played().map(drop)?;
        self.shared.pack()?;
        let mut copy =
            Copy { snapshot: &snapshot, backend, batch: Batch::new(), bytes: 0, progress };
        let end = copy.log()?;
        for table in [Table::Names, Table::Records, Table::Stamps] {
            copy.rows(table, &[], None)?;
        }
        copy.own(end)?;
        copy.write(Durability::Durable)?;
        Ok(Copied { end, bytes: copy.bytes })
    }
}

/// A copy in the making.
struct Copy<'a, B, P> {
    snapshot: &'a Snapshot,
    backend: &'a B,
    batch: Batch,
    bytes: u64,
    progress: P,
}

impl<B: Backend, P: FnMut(u64)> Copy<'_, B, P> {
    /// Copies the log up to the moment of the snapshot, and returns its end.
    fn log(&mut self) -> Result<Point, StoreError> {
        let end = self.snapshot.look().end();
        let mut at = 0;
        while at < end.offset {
            let page = self.snapshot.look().rows()?.stored_page(at)?;
            let lost = || damaged(Table::Log, &key::page(at));
            let page = page.filter(|page| page.first() == at).ok_or_else(lost)?;
            let (after, content) = page.up_to(end.offset).ok_or_else(lost)?;
            self.put(Table::Log, &key::page(at), &content)?;
            at = after.offset;
        }
        Ok(end)
    }

    /// Copies rows as they are.
    fn rows(&mut self, table: Table, start: &[u8], end: Option<&[u8]>) -> Result<(), StoreError> {
        let snapshot = self.snapshot;
        let scan = |start: &[u8]| snapshot.look().rows()?.scan(table, start, end, ROWS_AT_ONCE);
        for rows in rows::pieces(start, scan) {
            for (key, content) in &rows? {
                self.put(table, key, content)?;
            }
        }
        Ok(())
    }

    /// Copies who the node is and what it knows of its peers, which makes the copy a store.
    fn own(&mut self, end: Point) -> Result<(), StoreError> {
        self.rows(Table::Rows, key::PEER, Some(&key::after_peers()))?;
        self.rows(Table::Rows, key::ENGINE, Some(&key::after_engine(b"")))?;
        let own = self.snapshot.look().rows()?.get(Table::Rows, key::OWN)?;
        if let Some(own) = own {
            self.put(Table::Rows, key::OWN, &own)?;
        }
        self.put(Table::Rows, key::MARK, &row::write_mark(end))?;
        self.put(Table::Rows, key::FORMAT, &row::write_format(&Format::of(FORMAT_VERSION)))
    }

    fn put(&mut self, table: Table, key: &[u8], content: &[u8]) -> Result<(), StoreError> {
        encoding::put(&mut self.batch, table, key, content);
        if self.batch.bytes() >= BATCH_BYTES {
            self.write(Durability::Buffered)?;
        }
        Ok(())
    }

    fn write(&mut self, durability: Durability) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes += batch.bytes() as u64;
        self.backend.write(&batch, durability)?;
        (self.progress)(self.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
