//! Reading a store.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use bytes::Bytes;
use syncro_core::{
    Digest, Entry, Held, Name, NodeId, OwnRow, PeerRow, Point, Record, RecordId, RecordKey, Stamp,
    StoreError, Transaction, View,
};

use crate::backend::Table;
use crate::encoding::{damaged, key, row};
use crate::layers::Layers;
use crate::log_store::{LogStore, Reader};
use crate::rows;
use crate::snapshot::Snapshot;
use crate::stamps::{self, Alike};
use crate::state::{Past, Shared, State};

/// What is set aside, read at once: each may have a MiB.
const ROWS_AT_ONCE: usize = 16;

/// The rows of peers read at once: a row has at most about 4 KiB.
const PEERS_AT_ONCE: usize = 256;

/// About the bytes of a transaction in the log: for as many there is room at first.
pub(crate) const TRANSACTION_BYTES: usize = 128;

/// One look at a store: nothing is applied meanwhile.
pub(crate) struct Look<'a> {
    state: RwLockReadGuard<'a, State>,
    past: Option<&'a Past>,
}

impl<'a> Look<'a> {
    pub(crate) fn now(shared: &'a Shared) -> Self {
        Self { state: shared.read(), past: None }
    }

    /// The same, for whoever lists records: nothing is unplayed.
    pub(crate) fn played(shared: &'a Shared) -> Result<Self, StoreError> {
        loop {
            let look = Self::now(shared);
            if look.state.is_played() {
                return Ok(look);
            }
            drop(look);
            shared.play()?;
        }
    }

    /// The same, for whoever looks for what is in the log: all of it has been read.
    pub(crate) fn read(shared: &'a Shared) -> Result<Self, StoreError> {
        loop {
            let look = Self::now(shared);
            if look.state.unread.is_none() {
                return Ok(look);
            }
            drop(look);
            shared.read_rest()?;
        }
    }

    /// The same, for whoever reads a record: it has been where many are read.
    pub(crate) fn for_record(shared: &'a Shared) -> Result<Self, StoreError> {
        let look = Self::now(shared);
        if look.state.unread.as_ref().is_none_or(|unread| !unread.is_worn()) {
            return Ok(look);
        }
        drop(look);
        Self::read(shared)
    }

    pub(crate) fn as_of(shared: &'a Shared, past: &'a Past) -> Self {
        Self { state: shared.read(), past: Some(past) }
    }

    pub(crate) fn rows(&self) -> Result<Layers<'_>, StoreError> {
        self.state.as_of(self.past)
    }

    /// The offset up to which all is played, if it is not the end of the log.
    pub(crate) fn unplayed_from(&self) -> Option<u64> {
        self.state.unplayed_from()
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Point {
        self.past.map_or_else(|| self.state.tail.end(), |past| past.end)
    }

    /// A record with what is not played, where this is what is known of it otherwise.
    fn unplayed_over(
        &self,
        rows: &Layers<'_>,
        key: &RecordKey,
        known: Option<Arc<Record>>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let known = match &self.state.unread {
            Some(unread) => unread.over(rows, key, known)?,
            None => known,
        };
        self.state.unplayed.over(key, known)
    }

    /// The transactions of a stamp in the log, each with its offset.
    pub(crate) fn of_stamp(&self, stamp: Stamp) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let rows = self.rows()?;
        match self.state.authors.number(&stamp.author, &rows)? {
            Some(author) if !self.state.stamps.is_new(author, stamp.time) => {
                stamps::of_stamp(&rows, author, stamp, self.end().offset)
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl View for Look<'_> {
    fn own(&self) -> Result<Option<OwnRow>, StoreError> {
        let rows = self.rows()?;
        if let Some(own) = &self.state.noted.own {
            return Ok(Some(own.clone()));
        }
        let Some(content) = rows.get(Table::Rows, key::OWN)? else {
            return Ok(None);
        };
        row::read_own(&content).map(Some).ok_or_else(|| damaged(Table::Rows, key::OWN))
    }

    fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError> {
        let (rows, key) = (self.rows()?, key::peer(node));
        if let Some(row) = self.state.noted.peers.get(&node) {
            return Ok(Some(row.clone()));
        }
        let Some(content) = rows.get(Table::Rows, &key)? else {
            return Ok(None);
        };
        row::read_peer(&content).map(Some).ok_or_else(|| damaged(Table::Rows, &key))
    }

    fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
        let mut peers = BTreeMap::new();
        let (layers, end) = (self.rows()?, key::after_peers());
        let scan = |start: &[u8]| layers.scan(Table::Rows, start, Some(&end), PEERS_AT_ONCE);
        for rows in rows::pieces(key::PEER, scan) {
            for (key, content) in &rows? {
                let peer = key::peer_node(key).zip(row::read_peer(content));
                peers.extend([peer.ok_or_else(|| damaged(Table::Rows, key))?]);
            }
        }
        peers.extend(self.state.noted.peers.clone());
        Ok(peers.into_iter().collect())
    }

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let rows = self.rows()?;
        match self.state.noted.rows.get(key) {
            Some(noted) => Ok(noted.clone()),
            None => rows.get(Table::Rows, &key::engine(key)),
        }
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let noted = &self.state.noted.rows;
        let mut found = BTreeMap::new();
        let (layers, end) = (Look::rows(self)?, key::after_engine(prefix));
        let start = match after {
            None => key::engine(prefix),
            Some(after) => rows::after(&key::engine(after)),
        };
        let scan =
            |start: &[u8]| layers.scan(Table::Rows, start, Some(&end), limit.min(ROWS_AT_ONCE));
        'rows: for rows in rows::pieces(&start, scan) {
            for (key, content) in rows? {
                if found.len() >= limit {
                    break 'rows;
                }
                let key = key.slice(key::ENGINE.len()..);
                if !noted.contains_key(&key) {
                    found.insert(key, content);
                }
            }
        }
        let first = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let noted = noted.range::<[u8], _>((first, Bound::Unbounded));
        let noted = noted.take_while(|(key, _)| key.starts_with(prefix));
        found.extend(noted.filter_map(|(key, row)| Some((key.clone(), row.clone()?))));
        Ok(found.into_iter().take(limit).collect())
    }

    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        let (rows, last) = (self.rows()?, &self.state.last_record);
        if let Some(past) = self.past {
            let record = key::with_record(key, |at| rows.record(at))?;
            return match past.failed {
                Some(_) => self.unplayed_over(&rows, key, record),
                None => Ok(record),
            };
        }
        if let Some(known) = last.get(key) {
            return Ok(known);
        }
        let record = key::with_record(key, |at| rows.record(at))?;
        let record = self.unplayed_over(&rows, key, record)?;
        last.set(key, &record);
        Ok(record)
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
                rows::after(&key::record(&RecordKey { model: model.clone(), id: id.clone() }))
            }
        };
        let found = self.rows()?.records(&start, &key::after_model(model), limit)?.into_iter();
        found
            .map(|(key, record)| {
                let found = key::read_record(&key).ok_or_else(|| damaged(Table::Records, &key))?;
                Ok((found.id, record))
            })
            .collect()
    }

    fn models(&self) -> Result<Vec<Name>, StoreError> {
        let mut models = Vec::new();
        let mut start = key::FIRST_RECORD.to_vec();
        while let Some((key, _)) = self.rows()?.scan(Table::Records, &start, None, 1)?.pop() {
            let found = key::read_record(&key).ok_or_else(|| damaged(Table::Records, &key))?;
            start = key::after_model(&found.model);
            models.push(found.model);
        }
        models.sort_unstable();
        Ok(models)
    }

    fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let end = self.end().offset;
        let mut entries: Vec<Entry> = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while next < end {
            let missing = || damaged(Table::Log, &key::page(next));
            let page = self.rows()?.page(next)?.ok_or_else(missing)?;
            let lost = || damaged(Table::Log, &key::page(page.first()));
            let mut walk = page.walk().ok_or_else(lost)?;
            while walk.at().offset < next && !walk.is_over() {
                walk.step().ok_or_else(lost)?;
            }
            let follows = entries.last().is_none_or(|last| last.end() == walk.at());
            if walk.at().offset != next || walk.is_over() || !follows {
                return Err(missing());
            }
            while !walk.is_over() && walk.at().offset < end {
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

    fn transactions(
        &self,
        from: u64,
        bytes_max: usize,
    ) -> Result<(Vec<Transaction>, Option<Digest>), StoreError> {
        let (rows, end) = (self.rows()?, self.end());
        let scribes = end.offset.saturating_sub(from).min((bytes_max / TRANSACTION_BYTES) as u64);
        let mut found = Vec::with_capacity(scribes as usize);
        let (mut next, mut bytes) = (from, 0);
        // A piece that ends with a page ends at a digest that the next page begins with.
        while next < end.offset {
            let before = next;
            let lost = || damaged(Table::Log, &key::page(before));
            let page = rows.page(next)?.ok_or_else(lost)?;
            if !found.is_empty() && page.first() == next && bytes + page.bytes() > bytes_max {
                let begins = page.begins().ok_or_else(lost)?;
                return Ok((found, Some(begins.digest)));
            }
            for transaction in page.transactions().ok_or_else(lost)? {
                let (Range { start: offset, .. }, content) = transaction.ok_or_else(lost)?;
                if offset < next {
                    continue;
                }
                bytes += content.len();
                if offset > next {
                    return Err(lost());
                }
                if offset >= end.offset || (bytes > bytes_max && !found.is_empty()) {
                    return Ok((found, (offset == end.offset).then_some(end.digest)));
                }
                let transaction = Transaction::trusted(content).map_err(|_| lost())?;
                next += transaction.len();
                found.push(transaction);
            }
            if next == before {
                return Err(lost());
            }
        }
        Ok((found, (next == end.offset).then_some(end.digest)))
    }

    fn digest_at(&self, offset: u64) -> Result<Option<Digest>, StoreError> {
        if offset == 0 {
            return Ok(Some(Digest::EMPTY));
        }
        let (rows, end) = (self.rows()?, self.end());
        if offset >= end.offset {
            return Ok((offset == end.offset).then_some(end.digest));
        }
        let Some(page) = rows.page(offset)? else {
            return Ok(None);
        };
        if page.first() == offset {
            let begins = page.begins().ok_or_else(|| damaged(Table::Log, &key::page(offset)))?;
            return Ok(Some(begins.digest));
        }
        let lost = || damaged(Table::Log, &key::page(page.first()));
        let mut last = self.state.last_digest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.filter(|(first, at)| *first == page.first() && at.offset <= offset);
        let walk = known.map_or_else(|| page.walk(), |(_, at)| page.walk_from(at));
        let mut walk = walk.ok_or_else(lost)?;
        while walk.at().offset < offset && !walk.is_over() {
            walk.step().ok_or_else(lost)?;
        }
        if walk.at().offset != offset {
            return Ok(None);
        }
        *last = Some((page.first(), walk.at()));
        Ok(Some(walk.at().digest))
    }

    fn takes_unplayed(&self) -> bool {
        // Each snapshot keeps whole records, and so do pieces.
        self.past.is_none() && !self.state.has_pieces && !self.state.has_snapshots()
    }

    fn is_latest(&self, stamp: Stamp) -> Result<bool, StoreError> {
        let author = self.state.authors.number(&stamp.author, &self.rows()?)?;
        Ok(author.is_none_or(|author| self.state.stamps.is_new(author, stamp.time)))
    }

    fn held(&self, transaction: &Transaction) -> Result<Held, StoreError> {
        let (stamp, end, bytes) = (transaction.stamp(), self.end().offset, transaction.bytes());
        let mut alike = self.state.alike.lock().unwrap_or_else(PoisonError::into_inner);
        let known = alike.as_ref().and_then(|alike| alike.find(stamp, end, bytes));
        let offset = match known {
            Some(Some(offset)) => offset,
            Some(None) => return Ok(Held::Others),
            None => {
                let of_stamp = self.of_stamp(stamp)?;
                *alike = Alike::of(stamp, end, &of_stamp);
                match of_stamp.iter().find(|(_, known)| known == bytes) {
                    Some((offset, _)) => *offset,
                    None if of_stamp.is_empty() => return Ok(Held::No),
                    None => return Ok(Held::Others),
                }
            }
        };
        let lost = || damaged(Table::Log, &key::page(offset));
        let digest = self.digest_at(offset + transaction.len())?.ok_or_else(lost)?;
        Ok(Held::Same { offset, digest })
    }
}

macro_rules! view_through {
    ($($type:ty),*) => {$(
        impl View for $type {
            fn own(&self) -> Result<Option<OwnRow>, StoreError> {
                self.look().own()
            }
            fn peer(&self, node: NodeId) -> Result<Option<PeerRow>, StoreError> {
                self.look().peer(node)
            }
            fn peers(&self) -> Result<Vec<(NodeId, PeerRow)>, StoreError> {
                self.look().peers()
            }
            fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
                View::row(&self.look(), key)
            }
            fn rows(
                &self,
                prefix: &[u8],
                after: Option<&[u8]>,
                limit: usize,
            ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
                View::rows(&self.look(), prefix, after, limit)
            }
            fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
                self.look_for_record()?.record(key)
            }
            fn records(
                &self,
                model: &Name,
                after: Option<&RecordId>,
                limit: usize,
            ) -> Result<Vec<(RecordId, Arc<Record>)>, StoreError> {
                self.look_played()?.records(model, after, limit)
            }
            fn models(&self) -> Result<Vec<Name>, StoreError> {
                self.look_played()?.models()
            }
            fn entries(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
                self.look().entries(from, bytes_max)
            }
            fn transactions(
                &self,
                from: u64,
                bytes_max: usize,
            ) -> Result<(Vec<Transaction>, Option<Digest>), StoreError> {
                self.look().transactions(from, bytes_max)
            }
            fn digest_at(&self, offset: u64) -> Result<Option<Digest>, StoreError> {
                self.look().digest_at(offset)
            }
            fn takes_unplayed(&self) -> bool {
                self.look().takes_unplayed()
            }
            fn is_latest(&self, stamp: Stamp) -> Result<bool, StoreError> {
                self.look_read()?.is_latest(stamp)
            }
            fn held(&self, transaction: &Transaction) -> Result<Held, StoreError> {
                self.look_read()?.held(transaction)
            }
        }
    )*};
}
view_through!(Snapshot, Reader, LogStore);
