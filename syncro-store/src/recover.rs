//! Opening a store: what is there is checked, and what follows from the log is brought up to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Author, Name, OwnRow, Point, Record, RecordKey, StoreError, View};

use crate::backend::{Backend, Table};
use crate::dictionary::next_number;
use crate::encoding::page::{OpenPage, Page};
use crate::encoding::{FORMAT_VERSION, damaged, key, row, seal, unseal};
use crate::overlay::Overlay;
use crate::staging::Staging;
use crate::state::{Shared, State};
use crate::view::Look;

/// Bytes of the log that are played at once.
const PLAYED_BYTES: usize = 1 << 20;

pub(crate) fn open(backend: Arc<dyn Backend>, overlay_bytes: usize) -> Result<Shared, StoreError> {
    let is_new = check_format(&*backend)?;
    let own = read(&*backend, Table::Rows, key::OWN, row::read_own)?;
    let mark = read(&*backend, Table::Rows, key::MARK, row::read_mark)?.unwrap_or_default();
    let end = own.map_or(Point::START, |own: OwnRow| own.end);
    let first_piece = backend.scan(Table::Records, &[0], Some(key::FIRST_RECORD), 1)?;
    let mut state = State {
        log: Overlay::default(),
        derived: Overlay::default(),
        checkpoint: None,
        log_bytes: 0,
        debt_bytes: 0,
        open_page: last_page(&*backend, end)?,
        next_name: next_number::<Name>(&*backend)?,
        next_author: next_number::<Author>(&*backend)?,
        has_pieces: !first_piece.is_empty(),
        backend: Some(backend),
    };
    if is_new {
        let format = seal(Table::Rows, key::FORMAT, &FORMAT_VERSION.to_be_bytes());
        state.put(Table::Rows, Bytes::from_static(key::FORMAT), Some(format));
    }
    let shared = Shared::new(state, overlay_bytes);
    // Records beyond the log, or of another, would hide what is missing in them.
    if Look::now(&shared).digest_at(mark.offset)? != Some(mark.digest) {
        return Err(damaged(Table::Rows, key::MARK));
    }
    play(&shared, mark.offset, end.offset)?;
    Ok(shared)
}

/// Plays a stretch of the log. Merging is idempotent, so what was played before does no harm.
fn play(shared: &Shared, mut from: u64, end: u64) -> Result<(), StoreError> {
    while from < end {
        let entries = Look::now(shared).entries(from, PLAYED_BYTES)?;
        let mut records: BTreeMap<RecordKey, Record> = BTreeMap::new();
        for entry in &entries {
            let stamp = entry.transaction.stamp();
            for scribe in entry.transaction.scribes() {
                if !records.contains_key(&scribe.key) {
                    let found = Look::now(shared).record(&scribe.key)?;
                    let found = found.map(Arc::unwrap_or_clone);
                    records.insert(scribe.key.clone(), found.unwrap_or_default());
                }
                if let Some(record) = records.get_mut(&scribe.key) {
                    record.merge(&scribe.as_record(stamp));
                }
            }
            from = entry.end().offset;
        }
        let mut staging = Staging::new(shared);
        for entry in &entries {
            staging.transaction(entry)?;
        }
        for (key, record) in &records {
            staging.record(key, record)?;
        }
        staging.publish(&[])?;
        let bytes = entries.iter().map(|entry| entry.transaction.bytes().len());
        shared.write().log_bytes += bytes.sum::<usize>();
        if let Some(last) = entries.last() {
            shared.checkpoint_at(last.end())?;
        }
    }
    Ok(())
}

/// Whether the store is new.
fn check_format(backend: &dyn Backend) -> Result<bool, StoreError> {
    let read_version = |content: &Bytes| Some(u32::from_be_bytes(content[..].try_into().ok()?));
    match read(backend, Table::Rows, key::FORMAT, read_version)? {
        None => Ok(true),
        Some(FORMAT_VERSION) => Ok(false),
        Some(found) => Err(StoreError::Version { found, known: FORMAT_VERSION }),
    }
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
    let content = unseal(table, key, &sealed)?;
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
    let content = unseal(Table::Log, &key, &sealed)?;
    let first = key::page_offset(&key).ok_or_else(|| damaged(Table::Log, &key))?;
    let page = OpenPage::resume(&Page::new(first, content));
    page.filter(|page| page.end() == end).ok_or_else(|| damaged(Table::Log, &key))
}
