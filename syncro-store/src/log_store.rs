//! A node's store over a byte backend: the log is the truth, the rest follows it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use syncro_core::{
    Author, Commit, Entry, Name, OwnRow, Point, Record, RecordKey, Store, StoreError,
};

use crate::backend::{Backend, Durability, Table};
use crate::dictionary::{Dictionary, Rows, Word, next_key};
use crate::encoding::page::{OpenPage, Page};
use crate::encoding::record::Numbers;
use crate::encoding::{FORMAT_VERSION, damaged, key, record, row, seal, unseal};
use crate::overlay::{Overlay, batch};
use crate::snapshot::Snapshot;

/// A node's store: [`Store`] for the engine that owns it, readers for everybody else.
///
/// Commits are visible when [`apply`](Store::apply) returns and durable when the next
/// [`sync`](Store::sync) does, which writes everything since the last one as one batch. Readers go on
/// while it does.
///
/// ```
/// use syncro_core::{Config, Engine, Now, Store, View};
/// use syncro_store::{LogStore, Memory};
///
/// let mut store = LogStore::open(Memory::new())?;
/// let (engine, effects) = Engine::open(Now::default(), Config::default(), &store.reader())?;
/// if let Some(commit) = effects.commit {
///     store.apply(&commit)?;
///     store.sync()?;
/// }
/// assert_eq!(store.reader().own()?.map(|own| own.node), Some(engine.node()));
/// # Ok::<(), syncro_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
}

/// Makes what was applied durable, while others apply more and read.
#[derive(Clone, Debug)]
pub struct Syncer {
    shared: Arc<Shared>,
}

impl Syncer {
    /// Makes every commit durable that was applied before this call. Calls take turns.
    ///
    /// # Errors
    ///
    /// After an error the store has stopped: nothing more is written until it is opened again.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _turn = self.shared.sync.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.guarded(|shared| {
            let (backend, writes) = {
                let mut derive = Derive::new(shared);
                let end = derive.state.open_page.end().offset.to_be_bytes();
                derive.put_open_page();
                derive.put(Table::Rows, key::FORMAT.to_vec(), &FORMAT_VERSION.to_be_bytes());
                derive.put(Table::Rows, key::MARK.to_vec(), &end);
                let backend = derive.state.backend.clone().ok_or(StoreError::Closed)?;
                (backend, derive.state.overlay.freeze())
            };
            backend.write(&batch(&writes), Durability::Durable)?;
            shared.write().overlay.thaw();
            Ok(())
        })
    }

    /// Gives the backend up, so that it can be opened again while handles on this store are left: they
    /// fail with [`StoreError::Closed`]. What was not synced is lost.
    pub fn close(&self) {
        let _turn = self.shared.sync.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.write().backend = None;
    }
}

/// A cheap handle for reading a store from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// A view of one moment: nothing is applied while it lives. Hold it briefly, and do not write to the
    /// node on the thread that holds it: the write would wait for ever.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(&self.shared)
    }
}

pub(crate) struct Shared {
    pub(crate) names: Dictionary<Name>,
    pub(crate) authors: Dictionary<Author>,
    state: RwLock<State>,
    /// Held by the one sync that is under way.
    sync: Mutex<()>,
    /// Why nothing more is written.
    latched: OnceLock<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What changes when a commit is applied.
pub(crate) struct State {
    /// `None` once the store is closed.
    backend: Option<Arc<dyn Backend>>,
    pub(crate) overlay: Overlay,
    /// The page at the end of the log. In the backend as of the last sync.
    pub(crate) open_page: OpenPage,
    next_name: u32,
    next_author: u32,
}

impl State {
    pub(crate) fn rows(&self) -> Result<Layers<'_>, StoreError> {
        let backend = self.backend.as_deref().ok_or(StoreError::Closed)?;
        Ok(Layers { overlay: &self.overlay, backend })
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("open_page", &self.open_page).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // Only `apply` writes, and a store whose `apply` failed is latched.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a write, and stops the store when it fails.
    fn guarded(
        &self,
        write: impl FnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(cause) = self.latched.get() {
            return Err(StoreError::Latched { cause: cause.clone() });
        }
        let written = write(self);
        if let Err(error) = &written {
            let _ = self.latched.set(error.to_string());
        }
        written
    }
}

/// Rows through the overlay, with checksums.
pub(crate) struct Layers<'a> {
    pub(crate) overlay: &'a Overlay,
    pub(crate) backend: &'a dyn Backend,
}

impl Rows for Layers<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let sealed = self.overlay.get(self.backend, table, key)?;
        sealed.map(|sealed| unseal(table, key, &sealed)).transpose()
    }
}

impl LogStore {
    /// Opens a store over a backend, and brings records and stamps up to the end of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Version`] for a store of a newer format; [`StoreError::Corrupt`] for one that is
    /// damaged.
    pub fn open(backend: impl Backend) -> Result<Self, StoreError> {
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let overlay = Overlay::default();
        let rows = Layers { overlay: &overlay, backend: &*backend };
        let format = rows.get(Table::Rows, key::FORMAT)?;
        match format.as_deref().map(|bytes| bytes.try_into().map(u32::from_be_bytes)) {
            None | Some(Ok(FORMAT_VERSION)) => {}
            Some(Ok(found)) => {
                return Err(StoreError::Version { found, known: FORMAT_VERSION });
            }
            Some(Err(_)) => return Err(damaged(Table::Rows, key::FORMAT)),
        }
        let own = read_own(&rows)?;
        let end = own.map_or(Point::START, |own| own.end);
        let mark = read_u64(&rows, key::MARK)?.unwrap_or(0);
        if mark > end.offset {
            // Records beyond the log would hide what is missing in them.
            return Err(damaged(Table::Rows, key::MARK));
        }
        let open_page = last_page(&rows, end)?;
        let (next_name, next_author) = (next_number::<Name>(&rows)?, next_number::<Author>(&rows)?);
        let state = State { open_page, next_name, next_author, overlay, backend: Some(backend) };
        let (names, authors) = (Dictionary::new(), Dictionary::new());
        let shared = Shared {
            names,
            authors,
            state: RwLock::new(state),
            sync: Mutex::new(()),
            latched: OnceLock::new(),
        };
        let store = Self { shared: Arc::new(shared) };
        store.replay(mark, end.offset)?;
        Ok(store)
    }

    /// A handle for reading.
    pub fn reader(&self) -> Reader {
        Reader { shared: self.shared.clone() }
    }

    /// A handle for making what was applied durable.
    pub fn syncer(&self) -> Syncer {
        Syncer { shared: self.shared.clone() }
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(&self.shared)
    }

    /// Plays the log from the mark on. Merging is idempotent, so a mark that is too low does no harm.
    fn replay(&self, mut from: u64, end: u64) -> Result<(), StoreError> {
        while from < end {
            let entries = Snapshot::new(&self.shared).read_entries(from, 1 << 20)?;
            for entry in entries {
                from = entry.end().offset;
                let stamp = entry.transaction.stamp();
                for scribe in entry.transaction.scribes() {
                    let found = Snapshot::new(&self.shared).read_record(&scribe.key)?;
                    let mut record = found.unwrap_or_default();
                    record.merge(&scribe.as_record(stamp));
                    Derive::new(&self.shared).record(&scribe.key, &record)?;
                }
                Derive::new(&self.shared).stamp(&entry)?;
            }
        }
        Ok(())
    }
}

impl Store for LogStore {
    fn apply(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.shared.guarded(|shared| {
            let mut derive = Derive::new(shared);
            for entry in &commit.entries {
                derive.log(entry);
                derive.stamp(entry)?;
            }
            for (key, record) in &commit.records {
                derive.record(key, record)?;
            }
            for (node, row) in &commit.peers {
                derive.put(Table::Rows, key::peer(*node), &row::write_peer(row));
            }
            derive.put(Table::Rows, key::OWN.to_vec(), &row::write_own(&commit.own));
            Ok(())
        })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.syncer().sync()
    }
}

/// Writes into the overlay, holding the lock: readers see all of it or nothing.
struct Derive<'a> {
    shared: &'a Shared,
    state: RwLockWriteGuard<'a, State>,
}

impl<'a> Derive<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, state: shared.write() }
    }

    fn put(&mut self, table: Table, key: Vec<u8>, content: &[u8]) {
        let sealed = seal(table, &key, content);
        self.state.overlay.put(table, key, sealed);
    }

    fn log(&mut self, entry: &Entry) {
        if self.state.open_page.is_full_for(entry.transaction.bytes().len()) {
            self.put_open_page();
            let at = self.state.open_page.end();
            self.state.open_page = OpenPage::begin(at);
        }
        self.state.open_page.push(entry);
    }

    fn put_open_page(&mut self) {
        if self.state.open_page.is_empty() {
            return;
        }
        let key = key::page(self.state.open_page.first());
        let sealed = seal(Table::Log, &key, self.state.open_page.content());
        self.state.overlay.put(Table::Log, key.to_vec(), sealed);
    }

    /// Notes where the transactions of a stamp are.
    fn stamp(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let stamp = entry.transaction.stamp();
        let key = key::stamp(self.author(stamp.author)?, stamp.time);
        let mut offsets = match self.state.rows()?.get(Table::Stamps, &key)? {
            Some(offsets) => offsets.to_vec(),
            None => Vec::new(),
        };
        let offset = entry.offset.to_be_bytes();
        if !offsets.chunks(8).any(|known| known == offset) {
            offsets.extend_from_slice(&offset);
            self.put(Table::Stamps, key.to_vec(), &offsets);
        }
        Ok(())
    }

    fn record(&mut self, key: &RecordKey, record: &Record) -> Result<(), StoreError> {
        let content = record::write(record, self)?;
        self.put(Table::Records, key::record(key), &content);
        Ok(())
    }

    /// Writes the rows of a new word down.
    fn assign<W: Word>(&mut self, dictionary: &Dictionary<W>, word: &W, number: u32) {
        for (key, row) in dictionary.assign(word, number) {
            self.put(Table::Names, key, &row);
        }
        self.put(Table::Names, next_key::<W>(), &(number + 1).to_be_bytes());
    }
}

impl Numbers for Derive<'_> {
    fn name(&mut self, name: &Name) -> Result<u32, StoreError> {
        let dictionary = &self.shared.names;
        if let Some(number) = dictionary.number(name, &self.state.rows()?)? {
            return Ok(number);
        }
        let number = self.state.next_name;
        self.state.next_name += 1;
        self.assign(dictionary, name, number);
        Ok(number)
    }

    fn author(&mut self, author: Author) -> Result<u32, StoreError> {
        let dictionary = &self.shared.authors;
        if let Some(number) = dictionary.number(&author, &self.state.rows()?)? {
            return Ok(number);
        }
        let number = self.state.next_author;
        self.state.next_author += 1;
        self.assign(dictionary, &author, number);
        Ok(number)
    }
}

pub(crate) fn read_own(rows: &Layers<'_>) -> Result<Option<OwnRow>, StoreError> {
    let Some(content) = rows.get(Table::Rows, key::OWN)? else {
        return Ok(None);
    };
    row::read_own(&content).map(Some).ok_or_else(|| damaged(Table::Rows, key::OWN))
}

fn read_u64(rows: &Layers<'_>, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(content) = rows.get(Table::Rows, key)? else {
        return Ok(None);
    };
    let bytes = content.as_ref().try_into().map_err(|_| damaged(Table::Rows, key))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

fn next_number<W: Word>(rows: &Layers<'_>) -> Result<u32, StoreError> {
    let key = next_key::<W>();
    let Some(content) = rows.get(Table::Names, &key)? else {
        return Ok(0);
    };
    let bytes = content.as_ref().try_into().map_err(|_| damaged(Table::Names, &key))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The last page, which must end where the node's own row says that the log does.
fn last_page(rows: &Layers<'_>, end: Point) -> Result<OpenPage, StoreError> {
    let Some((key, sealed)) = rows.backend.floor(Table::Log, &[0xff; 8])? else {
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
