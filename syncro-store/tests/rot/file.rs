//! A file of a store, what is in it, and how it rots.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use syncro_core::{
    Config, Digest, Engine, Fields, Input, Name, NodeId, Now, Proposal, Record, RecordId,
    RecordKey, Store, StoreError, View,
};
use syncro_store::conformance::numbers;
use syncro_store::{Backend, LogStore, Redb};

/// Few and large: as many pages rot as with many small ones, and looking at them all takes a fraction of the time.
const RECORDS: i64 = 28;

const PAGE_BYTES: usize = 4096;

/// A file in memory. Clones are the same file.
#[derive(Clone, Debug, Default)]
pub(crate) struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = start.checked_add(out.len()).and_then(|end| bytes.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        // A damaged header may ask for more than there is memory.
        if len > 1 << 30 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = start.checked_add(data.len()).and_then(|end| bytes.get_mut(start..end));
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

pub(crate) fn open(file: &File) -> Result<LogStore, StoreError> {
    LogStore::open(redb(file)?)
}

fn redb(file: &File) -> Result<Redb, StoreError> {
    Redb::builder().cache_bytes(256 << 10).with_backend(file.clone())
}

/// Everything that a store shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) log: BTreeMap<u64, (Vec<u8>, Digest)>,
    pub(crate) models: Vec<Name>,
    pub(crate) records: BTreeMap<RecordKey, Arc<Record>>,
}

/// A store, and what is in it.
pub(crate) struct Filled {
    pub(crate) contents: Contents,
    /// Its file as a process leaves it that is killed after a sync.
    pub(crate) killed: Vec<u8>,
    /// Its file when it has been closed, without pages that nothing uses: those could rot for ever and harm
    /// nobody.
    pub(crate) closed: Vec<u8>,
}

/// Writes records of some numbers with an engine, and syncs each. Now and then what follows from them is written
/// behind.
pub(crate) fn write(store: &mut LogStore, ids: std::ops::Range<i64>) {
    let config = Config { node: Some(NodeId::named("server")), ..Config::default() };
    let wall_ms = 1_710_000_000_000 + ids.start as u64;
    let opened = Engine::open(Now { wall_ms, monotonic_ms: 0 }, config, store);
    let (mut engine, effects) = opened.unwrap();
    store.apply(&effects.commit.unwrap()).unwrap();
    let models = ["Todo", "Person"].map(|model| Name::new(model).unwrap());
    let fields = ["title", "name", "note"].map(|field| Name::new(field).unwrap());
    for id in ids {
        let mut proposal = Proposal::default();
        let key = RecordKey { model: models[id as usize % 2].clone(), id: RecordId::Int(id) };
        let text =
            syncro_core::Value::Text(format!("title {id} ").repeat(1 + id as usize * 7 % 80));
        let mut written = Fields::default();
        let field = fields[id as usize % 3].clone();
        written.insert(field, syncro_core::Field::Value(text.encode()));
        proposal.create(key, &written).unwrap();
        let now = Now { wall_ms: wall_ms + id as u64, monotonic_ms: 0 };
        let effects = engine.handle(now, Input::Propose(proposal), store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        store.sync().unwrap();
        if id % 7 == 0 {
            store.syncer().checkpoint().unwrap();
        }
    }
}

/// Everything that a store shows.
pub(crate) fn contents(store: &LogStore) -> Contents {
    let log = store.entries(0, usize::MAX).unwrap();
    let log = log.iter().map(|it| (it.offset, (it.transaction.bytes().to_vec(), it.digest)));
    let records = store.models().unwrap().into_iter().flat_map(|model| {
        let records = store.records(&model, None, 10_000).unwrap();
        records
            .into_iter()
            .map(move |(id, record)| (RecordKey { model: model.clone(), id }, record))
    });
    Contents { log: log.collect(), models: store.models().unwrap(), records: records.collect() }
}

pub(crate) fn filled() -> Filled {
    let file = File::default();
    let mut store = open(&file).unwrap();
    write(&mut store, 0..RECORDS);
    let contents = contents(&store);
    let killed = file.bytes();
    store.syncer().checkpoint().unwrap();
    store.syncer().close();
    drop(store);
    redb(&file).and_then(|redb| redb.compact()).unwrap();
    Filled { contents, killed, closed: file.bytes() }
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rot {
    /// Two pages change places.
    Swap(usize, usize),
    /// A bit of a byte is flipped.
    Flip { byte: usize, bit: usize },
}

impl Rot {
    pub(crate) fn of(case: u64, content: &[u8]) -> Self {
        let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let mut random = numbers(case);
        let mut below = |limit: usize| (random() % limit as u64) as usize;
        if case.is_multiple_of(4) {
            let pages = used / PAGE_BYTES;
            let (one, other) = (below(pages), below(pages));
            return Self::Swap(one.min(other), one.max(other));
        }
        Self::Flip { byte: below(used), bit: below(8) }
    }

    pub(crate) fn spoiled(self, content: &[u8]) -> Vec<u8> {
        let mut content = content.to_vec();
        match self {
            Self::Swap(one, other) => {
                for at in 0..PAGE_BYTES {
                    content.swap(one * PAGE_BYTES + at, other * PAGE_BYTES + at);
                }
            }
            Self::Flip { byte, bit } => content[byte] ^= 1 << bit,
        }
        content
    }
}
