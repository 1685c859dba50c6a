//! Bringing an older store up to the format of this program, one version after the other.
//!
//! A step says what becomes of a row; the chain goes through all of them, in slices. The row `format` names the
//! next version from the first slice on, lest an older program take what is half done for its own, and says
//! with each slice how far it goes. So a migration that is cut off goes on where it was, and changes no row
//! twice.

use bytes::Bytes;
use syncro_core::StoreError;

use crate::backend::{Backend, Batch, Durability, Table};
use crate::encoding::row::Format;
use crate::encoding::{FORMAT_VERSION, damaged, key, put, row, unseal};
use crate::rows;

/// What this program can open.
pub(crate) const CHAIN: Chain = Chain {
    newest: FORMAT_VERSION,
    steps: &[pages_may_be_packed, runs_go_on_beyond_pages, pages_may_have_heads],
    slice_bytes: 1 << 20,
};

/// From version 1, whose pages are not packed. A page that is not is read as well, and stays as it is.
fn pages_may_be_packed(_: Table, _: &Bytes, _: &Bytes, _: &mut Batch) -> Option<()> {
    Some(())
}

/// From version 2, whose runs begin and end with pages. They are found alike: none is longer than runs are now.
fn runs_go_on_beyond_pages(_: Table, _: &Bytes, _: &Bytes, _: &mut Batch) -> Option<()> {
    Some(())
}

/// From version 3, whose pages have no heads. One that has none is read instead.
fn pages_may_have_heads(_: Table, _: &Bytes, _: &Bytes, _: &mut Batch) -> Option<()> {
    Some(())
}

/// The versions that can be opened, and how the older ones become the newest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) newest: u32,
    /// One for each older version, the oldest first. It is given the table, the key and the content of a row,
    /// and puts into the batch what becomes of it, or deletes it. A row that it leaves alone stays. It may meet
    /// what it has put under a key that comes later, and must know it again. What does not follow from the row
    /// alone can be deleted, if it follows from the log: a store without a mark plays all of it when it is
    /// opened. It returns `None` for a row that no program of its version wrote.
    #[allow(clippy::type_complexity, reason = "a step is no more than a function")]
    pub(crate) steps: &'static [fn(Table, &Bytes, &Bytes, &mut Batch) -> Option<()>],
    /// Bytes of a batch, beyond which the next one begins.
    pub(crate) slice_bytes: usize,
}

/// What becomes of rows that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// The migration ends with an error.
    Refused,
    /// They are given up.
    Dropped,
}

impl Chain {
    /// Makes a store one of the newest version. Returns whether it is new, and says no version yet.
    pub(crate) fn run(
        &self,
        backend: &dyn Backend,
        damaged_rows: Damaged,
    ) -> Result<bool, StoreError> {
        let Some(mut format) = self.format(backend)? else {
            return Ok(true);
        };
        while format != Format::of(self.newest) {
            format = self.step(backend, format, damaged_rows)?;
        }
        Ok(false)
    }

    /// What a store says of its version, if it is one that can be opened.
    fn format(&self, backend: &dyn Backend) -> Result<Option<Format>, StoreError> {
        let Some(sealed) = backend.get(Table::Rows, key::FORMAT)? else {
            return Ok(None);
        };
        let lost = || damaged(Table::Rows, key::FORMAT);
        let content = unseal(Table::Rows, key::FORMAT, sealed)?;
        let found = row::read_version(&content).ok_or_else(lost)?;
        if !(self.oldest()..=self.newest).contains(&found) {
            return Err(self.refused(found));
        }
        row::read_format(&content).ok_or_else(lost).map(Some)
    }

    /// Makes a store one of the next version, or goes on with that.
    fn step(
        &self,
        backend: &dyn Backend,
        format: Format,
        damaged_rows: Damaged,
    ) -> Result<Format, StoreError> {
        let (version, (first, last_key)) = match format.reached {
            Some(reached) => (format.version, reached),
            None => (format.version + 1, (Table::Rows, Bytes::new())),
        };
        let step = version.checked_sub(self.oldest() + 1);
        let step = step.and_then(|step| self.steps.get(step as usize));
        let step = step.ok_or_else(|| self.refused(version.saturating_sub(1)))?;
        let mut batch = Batch::new();
        for table in Table::ALL.into_iter().filter(|table| *table >= first) {
            let start = if table == first { rows::after(&last_key) } else { Vec::new() };
            for rows in rows::pieces(&start, |at| backend.scan(table, at, None, ROWS_AT_ONCE)) {
                for (key, sealed) in &rows? {
                    if (table, key.as_ref()) == (Table::Rows, key::FORMAT) {
                        continue;
                    }
                    let content = unseal(table, key, sealed.clone()).ok();
                    let done = content.and_then(|content| step(table, key, &content, &mut batch));
                    match (done, damaged_rows) {
                        (Some(()), _) => {}
                        (None, Damaged::Dropped) => batch.delete(table, key.clone()),
                        (None, Damaged::Refused) => return Err(damaged(table, key)),
                    }
                    if batch.bytes() >= self.slice_bytes {
                        let reached = Some((table, key.clone()));
                        write(backend, &mut batch, &Format { version, reached })?;
                    }
                }
            }
        }
        let format = Format::of(version);
        write(backend, &mut batch, &format)?;
        Ok(format)
    }

    fn oldest(&self) -> u32 {
        self.newest.saturating_sub(self.steps.len() as u32)
    }

    fn refused(&self, found: u32) -> StoreError {
        StoreError::Version { found, oldest: self.oldest(), newest: self.newest }
    }
}

/// Writes a slice, together with how far it goes.
fn write(backend: &dyn Backend, batch: &mut Batch, format: &Format) -> Result<(), StoreError> {
    put(batch, Table::Rows, key::FORMAT, &row::write_format(format));
    backend.write(&std::mem::take(batch), Durability::Durable)
}

/// Rows read at once: one may have a few MiB.
const ROWS_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
