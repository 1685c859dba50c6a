//! Reading a store.

use std::sync::{Arc, RwLockReadGuard};

use bytes::Bytes;
use syncro_core::{
    Author, Digest, Entry, Held, Name, NodeId, OwnRow, PeerRow, Record, RecordId, RecordKey, Stamp,
    StoreError, View,
};

use crate::backend::Table;
use crate::dictionary::Rows;
use crate::encoding::page::Page;
use crate::encoding::record::Words;
use crate::encoding::{damaged, key, record, row, unseal};
use crate::log_store::{Layers, LogStore, Reader, Shared, State, read_own};

/// The rows of peers read at once: a row has at most about 4 KiB.
const PEERS_AT_ONCE: usize = 256;

/// A store as it is while this lives: nothing is applied meanwhile.
#[derive(Debug)]
pub struct Snapshot<'a> {
    shared: &'a Shared,
    state: RwLockReadGuard<'a, State>,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, state: shared.read() }
    }

    fn rows(&self) -> Result<Layers<'_>, StoreError> {
        self.state.rows()
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let rows = self.rows()?;
        let pairs = rows.overlay.scan(rows.backend, table, start, end, limit)?;
        let unsealed = pairs.into_iter().map(|(key, sealed)| {
            let content = unseal(table, &key, &sealed)?;
            Ok((key, content))
        });
        unsealed.collect()
    }

    pub(crate) fn read_record(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let key = key::record(key);
        let Some(content) = self.rows()?.get(Table::Records, &key)? else {
            return Ok(None);
        };
        self.decode(&key, &content).map(Some)
    }

    fn decode(&self, key: &[u8], content: &Bytes) -> Result<Record, StoreError> {
        record::read(content, self)?.ok_or_else(|| damaged(Table::Records, key))
    }

    /// The page that holds an offset, if the log reaches that far.
    fn page(&self, offset: u64) -> Result<Option<Page>, StoreError> {
        let open = &self.state.open_page;
        if offset >= open.first() {
            return Ok((!open.is_empty()).then(|| open.to_page()));
        }
        let rows = self.rows()?;
        let found = rows.overlay.floor(rows.backend, Table::Log, &key::page(offset))?;
        let Some((key, sealed)) = found else {
            return Ok(None);
        };
        let content = unseal(Table::Log, &key, &sealed)?;
        let first = key::page_offset(&key).ok_or_else(|| damaged(Table::Log, &key))?;
        Ok(Some(Page::new(first, content)))
    }

    pub(crate) fn read_entries(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while let Some(page) = self.page(next)? {
            let lost = || damaged(Table::Log, &key::page(page.first()));
            let mut walk = page.walk().ok_or_else(lost)?;
            while walk.at().offset < next && !walk.is_over() {
                walk.step().ok_or_else(lost)?;
            }
            if walk.is_over() && walk.at().offset == next {
                // The log ends here, or a page is missing: the caller knows where it ends.
                break;
            }
            if walk.at().offset != next {
                return Err(lost());
            }
            while !walk.is_over() {
                let entry = walk.entry().ok_or_else(lost)?;
                bytes += entry.transaction.bytes().len();
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
            }
            next = walk.at().offset;
        }
        Ok(entries)
    }
}

impl Words for Snapshot<'_> {
    fn name(&self, number: u32) -> Result<Option<Name>, StoreError> {
        self.shared.names.word(number, &self.rows()?)
    }

    fn author(&self, number: u32) -> Result<Option<Author>, StoreError> {
        self.shared.authors.word(number, &self.rows()?)
    }
}

impl View for Snapshot<'_> {
    fn own(&self) -> Result<Option<OwnRow>, StoreError> {
        read_own(&self.rows()?)
    }

    fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError> {
        let key = key::peer(node);
        let Some(content) = self.rows()?.get(Table::Rows, &key)? else {
            return Ok(None);
        };
        row::read_peer(&content).map(Some).ok_or_else(|| damaged(Table::Rows, &key))
    }

    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
        let mut peers = Vec::new();
        let mut start = key::PEER.to_vec();
        let end = [key::PEER, &[0xff; 17]].concat();
        loop {
            let rows = self.scan(Table::Rows, &start, Some(&end), PEERS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else {
                return Ok(peers);
            };
            start = [last, [0].as_slice()].concat();
            for (key, content) in &rows {
                let peer = key::peer_node(key).zip(row::read_peer(content));
                peers.push(peer.ok_or_else(|| damaged(Table::Rows, key))?);
            }
        }
    }

    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.read_record(key)?.map(Arc::new))
    }

    fn records(
        &self,
        model: &Name,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
        let start = match after {
            None => key::model(model),
            Some(id) => {
                let mut key = key::record(&RecordKey { model: model.clone(), id: id.clone() });
                key.push(0);
                key
            }
        };
        let pairs = self.scan(Table::Records, &start, Some(&key::after_model(model)), limit)?;
        let records = pairs.iter().map(|(key, content)| {
            let found = key::read_record(key).ok_or_else(|| damaged(Table::Records, key))?;
            Ok((found.id, Arc::new(self.decode(key, content)?)))
        });
        records.collect()
    }

    fn models(&self) -> Result<Vec<Name>, StoreError> {
        let mut models = Vec::new();
        let mut start = Vec::new();
        while let Some((key, _)) = self.scan(Table::Records, &start, None, 1)?.pop() {
            let found = key::read_record(&key).ok_or_else(|| damaged(Table::Records, &key))?;
            start = key::after_model(&found.model);
            models.push(found.model);
        }
        models.sort_unstable();
        Ok(models)
    }

    fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(from, bytes_max)
    }

    fn digest_at(&self, offset: u64) -> Result<Option<Digest>, StoreError> {
        if offset == 0 {
            return Ok(Some(Digest::EMPTY));
        }
        // The digest at an offset is the one after the transaction before it.
        let Some(page) = self.page(offset - 1)? else {
            return Ok(None);
        };
        let lost = || damaged(Table::Log, &key::page(page.first()));
        let mut walk = page.walk().ok_or_else(lost)?;
        while walk.at().offset < offset && !walk.is_over() {
            walk.step().ok_or_else(lost)?;
        }
        Ok((walk.at().offset == offset).then(|| walk.at().digest))
    }

    fn held(&self, stamp: Stamp) -> Result<Vec<Held>, StoreError> {
        let Some(author) = self.shared.authors.number(&stamp.author, &self.rows()?)? else {
            return Ok(Vec::new());
        };
        let key = key::stamp(author, stamp.time);
        let Some(offsets) = self.rows()?.get(Table::Stamps, &key)? else {
            return Ok(Vec::new());
        };
        let held = offsets.chunks(8).map(|offset| {
            let lost = || damaged(Table::Stamps, &key);
            let offset = u64::from_be_bytes(offset.try_into().map_err(|_| lost())?);
            let page = self.page(offset)?.ok_or_else(lost)?;
            let mut walk = page.walk().ok_or_else(lost)?;
            loop {
                let (at, bytes) = walk.step().ok_or_else(lost)?;
                if at == offset {
                    return Ok(Held { offset, bytes, digest: walk.at().digest });
                }
            }
        });
        held.collect()
    }
}

macro_rules! view_through {
    ($($type:ty),*) => {$(
        impl View for $type {
            fn own(&self) -> Result<Option<OwnRow>, StoreError> {
                self.snapshot().own()
            }
            fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError> {
                self.snapshot().peer(node)
            }
            fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
                self.snapshot().peers()
            }
            fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
                self.snapshot().record(key)
            }
            fn records(
                &self,
                model: &Name,
                after: Option<&RecordId>,
                limit: usize,
            ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
                self.snapshot().records(model, after, limit)
            }
            fn models(&self) -> Result<Vec<Name>, StoreError> {
                self.snapshot().models()
            }
            fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
                self.snapshot().entries(from, bytes_max)
            }
            fn digest_at(&self, offset: u64) -> Result<Option<Digest>, StoreError> {
                self.snapshot().digest_at(offset)
            }
            fn held(&self, stamp: Stamp) -> Result<Vec<Held>, StoreError> {
                self.snapshot().held(stamp)
            }
        }
    )*};
}
view_through!(Reader, LogStore);
