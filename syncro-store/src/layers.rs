//! Reading rows through everything that lies over the backend.

use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{Author, Name, Record, StoreError};

use crate::backend::{Backend, Table};
use crate::encoding::page::Page;
use crate::encoding::record::{self, Gathered, Numbers, Words};
use crate::encoding::{Out, damaged, key, seal, unseal};
use crate::overlay::{self, Rows, Value};
use crate::staging::{PIECE_BYTES, RecentWords};
use crate::state::{Past, Shared, State};

/// Rows through all layers, with checksums.
pub(crate) struct Layers<'a> {
    pub(crate) state: &'a State,
    pub(crate) backend: &'a dyn Backend,
    pub(crate) past: Option<&'a Past>,
}

impl Layers<'_> {
    /// Calls with the layers of a table, what a snapshot remembers being the last.
    fn with<T>(&self, table: Table, look: impl FnOnce(&[&Rows]) -> T) -> T {
        let [aside, active] = self.state.layers(table);
        match self.past {
            None => look(&[aside, active]),
            Some(past) => look(&[aside, active, &past.lock()]),
        }
    }

    /// What lies over the backend under a key, as it was put.
    pub(crate) fn overlaid(&self, table: Table, key: &[u8]) -> Option<Option<Value>> {
        self.with(table, |layers| overlay::get(layers, table, key))
    }

    /// What is put under a key.
    pub(crate) fn value(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        match self.overlaid(table, key) {
            Some(value) => value.map(|value| self.whole(key, value)).transpose(),
            None => Ok(self.backend.get(table, key)?.map(Value::Sealed)),
        }
    }

    /// The content of a row.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.value(table, key)? {
            Some(Value::Sealed(sealed)) => unseal(table, key, sealed).map(Some),
            Some(Value::Record { record, .. }) => {
                let sealed = Sealing::default().seal(key, &record, self)?;
                unseal(table, key, sealed).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The number of a name that has one: whoever applies a record sees to that.
    pub(crate) fn number_of_name(&self, name: &Name) -> Result<u32, StoreError> {
        let number = self.state.names.number(name, self)?;
        number.ok_or_else(|| damaged(Table::Names, name.as_str().as_bytes()))
    }

    /// The number of an author that has one.
    pub(crate) fn number_of_author(&self, author: Author) -> Result<u32, StoreError> {
        let number = self.state.authors.number(&author, self)?;
        number.ok_or_else(|| damaged(Table::Names, &key::author(author.node, author.epoch)))
    }

    /// The record of a key.
    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<Arc<Record>>, StoreError> {
        let value = self.value(Table::Records, key)?;
        value.map(|value| self.decode(key, value)).transpose()
    }

    /// At most `limit` records with `start <= key < end`.
    pub(crate) fn records(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Arc<Record>)>, StoreError> {
        let rows = self.values(Table::Records, start, Some(end), limit)?.into_iter();
        rows.map(|(key, value)| {
            let record = self.decode(&key, value)?;
            Ok((key, record))
        })
        .collect()
    }

    /// What was put under a key, with the record that it is to be merged into.
    fn whole(&self, key: &[u8], value: Value) -> Result<Value, StoreError> {
        let Some(more) = value.merge() else { return Ok(value) };
        let below = self.backend.get(Table::Records, key)?;
        match self.merged(key, below.clone(), more) {
            Ok(record) => {
                let bytes = record.held_bytes();
                Ok(Value::whole(record, bytes))
            }
            // Whoever decodes it finds what is damaged, and others go on.
            Err(StoreError::Corrupt { .. }) if below.is_some() => {
                Ok(Value::Sealed(below.unwrap_or_default()))
            }
            Err(error) => Err(error),
        }
    }

    /// What the backend has under a key, and what is to be merged into it.
    pub(crate) fn merged(
        &self,
        key: &[u8],
        below: Option<Bytes>,
        more: &Arc<Record>,
    ) -> Result<Arc<Record>, StoreError> {
        let Some(sealed) = below else { return Ok(more.clone()) };
        // While there is anything to be merged, no record is in pieces that was there before.
        let content = unseal(Table::Records, key, sealed)?;
        let record = record::read(&content, self)?;
        let mut record = record.ok_or_else(|| damaged(Table::Records, key))?;
        record.merge(more);
        Ok(Arc::new(record))
    }

    /// The record that begins with a row. One that fills it goes on in others.
    fn decode(&self, key: &[u8], value: Value) -> Result<Arc<Record>, StoreError> {
        let mut content = match value {
            Value::Record { record, .. } => return Ok(record),
            Value::Sealed(sealed) => unseal(Table::Records, key, sealed)?,
        };
        if content.len() >= PIECE_BYTES {
            let (first, end) = (key::piece(key, 0), key::piece(key, u32::MAX));
            let more = self.scan(Table::Records, &first, Some(&end), usize::MAX)?;
            let mut whole = content.to_vec();
            for (number, (at, piece)) in (1..).zip(&more) {
                if *at != key::piece(key, number) {
                    return Err(damaged(Table::Records, key));
                }
                whole.extend_from_slice(piece);
            }
            content = whole.into();
        }
        let record = record::read(&content, self)?;
        record.map(Arc::new).ok_or_else(|| damaged(Table::Records, key))
    }

    /// At most `limit` rows with `start <= key < end`.
    pub(crate) fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let rows = self.sealed_scan(table, start, end, limit)?.into_iter();
        rows.map(|(key, sealed)| {
            let content = unseal(table, &key, sealed)?;
            Ok((key, content))
        })
        .collect()
    }

    /// At most `limit` rows with `start <= key < end`, under their checksums.
    pub(crate) fn sealed_scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let rows = self.values(table, start, end, limit)?.into_iter();
        let mut memory = Sealing::default();
        rows.map(|(key, value)| match value {
            Value::Sealed(sealed) => Ok((key, sealed)),
            Value::Record { record, .. } => {
                let sealed = memory.seal(&key, &record, self)?;
                Ok((key, sealed))
            }
        })
        .collect()
    }

    /// At most `limit` rows with `start <= key < end`; none is to be merged any more.
    fn values(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Value)>, StoreError> {
        let found =
            |layers: &[&Rows]| overlay::scan(self.backend, layers, table, start, end, limit);
        let found = self.with(table, found)?.into_iter();
        found
            .map(|(key, value)| {
                let value = self.whole(&key, value)?;
                Ok((key, value))
            })
            .collect()
    }

    /// The page that holds an offset, or a piece of the log that is not in a page yet, if the log reaches that far.
    pub(crate) fn page(&self, offset: u64) -> Result<Option<Page>, StoreError> {
        let tail = &self.state.tail;
        if offset >= tail.first() {
            return Ok(tail.page(offset));
        }
        self.stored_page(offset)
    }

    /// The page of the store that holds an offset, if what is packed reaches that far.
    pub(crate) fn stored_page(&self, offset: u64) -> Result<Option<Page>, StoreError> {
        let at = key::page(offset);
        match self.sealed_floor(Table::Log, &at)? {
            Some((key, sealed)) => self.state.last_pages.page(&key, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// The last row whose key is not after `at`.
    pub(crate) fn floor(
        &self,
        table: Table,
        at: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let Some((key, sealed)) = self.sealed_floor(table, at)? else {
            return Ok(None);
        };
        let content = unseal(table, &key, sealed)?;
        Ok(Some((key, content)))
    }

    /// The last row whose key is not after `at`, under its checksum.
    fn sealed_floor(&self, table: Table, at: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.with(table, |layers| overlay::floor(self.backend, layers, table, at))
    }
}

impl Words for Layers<'_> {
    fn name(&self, number: u32) -> Result<Option<Name>, StoreError> {
        match self.state.recent.name(number) {
            Some(name) => Ok(Some(name.clone())),
            None => self.state.names.word(number, self),
        }
    }

    fn author(&self, number: u32) -> Result<Option<Author>, StoreError> {
        match self.state.recent.author(number) {
            Some(author) => Ok(Some(*author)),
            None => self.state.authors.word(number, self),
        }
    }
}

/// What serves many records that are sealed one after the other: memory, and the numbers of their words.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    names: RecentWords<Name>,
    authors: RecentWords<Author>,
    out: Out,
    gathered: Gathered,
}

impl Sealing {
    /// A record under its checksum.
    pub(crate) fn seal(
        &mut self,
        key: &[u8],
        record: &Record,
        lexicon: &impl Lexicon,
    ) -> Result<Bytes, StoreError> {
        let Self { names, authors, out, gathered } = self;
        out.0.clear();
        record::write(record, &mut Numbered { lexicon, names, authors }, out, gathered)?;
        Ok(seal(Table::Records, key, &out.0))
    }
}

/// Where the numbers of words are looked up.
pub(crate) trait Lexicon {
    /// Looks at the rows.
    fn look<T>(
        &self,
        look: impl FnOnce(&Layers<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;
}

impl Lexicon for Layers<'_> {
    fn look<T>(
        &self,
        look: impl FnOnce(&Layers<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        look(self)
    }
}

/// It takes the lock for one word at a time.
impl Lexicon for Shared {
    fn look<T>(
        &self,
        look: impl FnOnce(&Layers<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        look(&self.read().now()?)
    }
}

/// The numbers of words, of which the latest are remembered.
struct Numbered<'a, L> {
    lexicon: &'a L,
    names: &'a mut RecentWords<Name>,
    authors: &'a mut RecentWords<Author>,
}

impl<L: Lexicon> Numbers for Numbered<'_, L> {
    fn name(&mut self, name: &str) -> Result<u32, StoreError> {
        if let Some(number) = self.names.find(name) {
            return Ok(number);
        }
        let name = Name::new(name).map_err(|_| damaged(Table::Names, name.as_bytes()))?;
        let number = self.lexicon.look(|rows| rows.number_of_name(&name))?;
        self.names.remember(&name, number);
        Ok(number)
    }

    fn author(&mut self, author: Author) -> Result<u32, StoreError> {
        if let Some(number) = self.authors.find(&author) {
            return Ok(number);
        }
        let number = self.lexicon.look(|rows| rows.number_of_author(author))?;
        self.authors.remember(&author, number);
        Ok(number)
    }
}
