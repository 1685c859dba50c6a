//! Files that rot: a bit of a store's file is flipped, or two of its pages change places, and everything is read.
//!
//! A store may refuse such a file, or answer with an error. What it answers else must be what was written. What
//! is missing without an error, verify must find.
//!
//! `SYNCRO_ROT=N` asks for N cases; `SYNCRO_ROT_CASE=N` looks at the Nth alone.
#![cfg(feature = "redb")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use syncro_core::{
    Config, Digest, Engine, Fields, Input, Name, NodeId, Now, Proposal, Record, RecordId,
    RecordKey, Store, StoreError, View,
};
use syncro_store::conformance::numbers;
use syncro_store::{Backend, LogStore, Redb};

/// Cases that are always tried.
const CASES: u64 = 3000;

/// Few and large: as many pages rot as with many small ones, and looking at them all takes a fraction of the time.
const RECORDS: i64 = 28;

const PAGE_BYTES: usize = 4096;

/// A file in memory. Clones are the same file.
#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

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

fn open(file: &File) -> Result<LogStore, StoreError> {
    LogStore::open(redb(file)?)
}

fn redb(file: &File) -> Result<Redb, StoreError> {
    Redb::builder().cache_bytes(256 << 10).with_backend(file.clone())
}

/// Everything that a store shows.
#[derive(Debug, PartialEq)]
struct Contents {
    log: BTreeMap<u64, (Vec<u8>, Digest)>,
    models: Vec<Name>,
    records: BTreeMap<RecordKey, Arc<Record>>,
}

/// What was read of a damaged store.
#[derive(Default)]
struct Reading {
    wrong: Vec<String>,
    has_errors: bool,
    is_short: bool,
}

impl Reading {
    fn take<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        self.has_errors |= read.is_err();
        read.ok()
    }

    fn all(store: &LogStore, intact: &Contents) -> Self {
        let mut reading = Self::default();
        let mut next = 0;
        while let Some(entries) = reading.take(store.entries(next, 4000)) {
            let Some(last) = entries.last() else { break };
            next = last.end().offset;
            for entry in entries {
                let found = (entry.transaction.bytes().to_vec(), entry.digest);
                if intact.log.get(&entry.offset) != Some(&found) {
                    reading.wrong.push(format!("the log at {}", entry.offset));
                }
            }
        }
        let end = intact.log.last_key_value().map_or(0, |(offset, _)| *offset);
        reading.is_short |= next <= end;
        let models = reading.take(store.models()).unwrap_or_default();
        reading.is_short |= models.len() < intact.models.len();
        if models.iter().any(|model| !intact.models.contains(model)) {
            reading.wrong.push("a model".to_owned());
        }
        let mut listed = 0;
        for model in &intact.models {
            for (id, record) in reading.take(store.records(model, None, 10_000)).unwrap_or_default()
            {
                listed += 1;
                let key = RecordKey { model: model.clone(), id };
                if intact.records.get(&key) != Some(&record) {
                    reading.wrong.push(format!("{key} in a list"));
                }
            }
        }
        reading.is_short |= listed < intact.records.len();
        for (key, record) in &intact.records {
            match reading.take(store.record(key)) {
                Some(Some(found)) if found != *record => reading.wrong.push(key.to_string()),
                Some(None) => reading.is_short = true,
                _ => {}
            }
        }
        reading
    }
}

/// A store of some hundred records, closed, and what is in it.
fn filled() -> (Vec<u8>, Contents) {
    let file = File::default();
    let mut store = open(&file).unwrap();
    let config = Config { node: Some(NodeId::named("server")), ..Config::default() };
    let (mut engine, effects) = Engine::open(Now::default(), config, &store).unwrap();
    store.apply(&effects.commit.unwrap()).unwrap();
    let models = ["Todo", "Person"].map(|model| Name::new(model).unwrap());
    let title = Name::new("title").unwrap();
    for id in 0..RECORDS {
        let mut proposal = Proposal::default();
        let key = RecordKey { model: models[id as usize % 2].clone(), id: RecordId::Int(id) };
        let mut fields = Fields::default();
        let text =
            syncro_core::Value::Text(format!("title {id} ").repeat(1 + id as usize * 7 % 80));
        fields.insert(title.clone(), syncro_core::Field::Value(text.encode()));
        proposal.create(key, &fields).unwrap();
        let now = Now { wall_ms: 1_710_000_000_000 + id as u64, monotonic_ms: 0 };
        let effects = engine.handle(now, Input::Propose(proposal), &store).unwrap();
        store.apply(&effects.commit.unwrap()).unwrap();
        if id % 7 == 0 {
            store.syncer().checkpoint().unwrap();
        }
    }
    store.syncer().checkpoint().unwrap();
    let log = store.entries(0, usize::MAX).unwrap();
    let log = log.iter().map(|it| (it.offset, (it.transaction.bytes().to_vec(), it.digest)));
    let records = store.models().unwrap().into_iter().flat_map(|model| {
        let records = store.records(&model, None, 10_000).unwrap();
        records
            .into_iter()
            .map(move |(id, record)| (RecordKey { model: model.clone(), id }, record))
    });
    let contents = Contents {
        log: log.collect(),
        models: store.models().unwrap(),
        records: records.collect(),
    };
    store.syncer().close();
    drop(store);
    // Pages that nothing uses could rot for ever and harm nobody.
    redb(&file).and_then(|redb| redb.compact()).unwrap();
    let bytes = file.0.lock().unwrap().clone();
    (bytes, contents)
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rot {
    /// Two pages change places.
    Swap(usize, usize),
    /// A bit of a byte is flipped.
    Flip { byte: usize, bit: usize },
}

impl Rot {
    fn of(case: u64, used: usize) -> Self {
        let mut random = numbers(case);
        let mut below = |limit: usize| (random() % limit as u64) as usize;
        if case.is_multiple_of(4) {
            let pages = used / PAGE_BYTES;
            let (one, other) = (below(pages), below(pages));
            return Self::Swap(one.min(other), one.max(other));
        }
        Self::Flip { byte: below(used), bit: below(8) }
    }

    fn spoil(self, content: &mut [u8]) {
        match self {
            Self::Swap(one, other) => {
                for at in 0..PAGE_BYTES {
                    content.swap(one * PAGE_BYTES + at, other * PAGE_BYTES + at);
                }
            }
            Self::Flip { byte, bit } => content[byte] ^= 1 << bit,
        }
    }
}

/// How a rotten file was met.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It does not open.
    Refused,
    /// A read fails, and verify finds it.
    Noticed,
    /// Only verify finds it.
    Scrubbed,
    /// All is there.
    Harmless,
    Failed(String),
}

/// Looks at everything in a rotten file.
fn look(intact: &[u8], contents: &Contents, rot: Rot) -> Verdict {
    let mut content = intact.to_vec();
    rot.spoil(&mut content);
    let failed = |what: String| Verdict::Failed(what);
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let Ok(store) = open(&File(Arc::new(Mutex::new(content)))) else {
            return Verdict::Refused;
        };
        let reading = Reading::all(&store, contents);
        if let Some(wrong) = reading.wrong.first() {
            return failed(format!("{wrong} is wrong"));
        }
        let found = store.reader().verify(|_, _| ()).map_or(true, |verified| !verified.is_sound());
        match (reading.has_errors, found, reading.is_short) {
            (false, false, true) => failed("something is missing, and nobody says so".to_owned()),
            (true, false, _) => failed("a read fails, and verify finds nothing".to_owned()),
            (true, ..) => Verdict::Noticed,
            (false, true, _) => Verdict::Scrubbed,
            (false, false, false) => Verdict::Harmless,
        }
    }));
    looked.unwrap_or_else(|_| failed("it panics".to_owned()))
}

/// What was said of files so far. Two that rot in one way are looked at once: there are few pairs of pages.
#[derive(Default)]
struct Tally {
    verdicts: HashMap<Rot, Verdict>,
    refused: u64,
    noticed: u64,
    scrubbed: u64,
    harmless: u64,
    failures: Vec<String>,
}

impl Tally {
    fn count(&mut self, case: u64, rot: Rot, verdict: Verdict) {
        match &verdict {
            Verdict::Refused => self.refused += 1,
            Verdict::Noticed => self.noticed += 1,
            Verdict::Scrubbed => self.scrubbed += 1,
            Verdict::Harmless => self.harmless += 1,
            Verdict::Failed(what) => self.failures.push(format!("case {case}, {rot:?}: {what}")),
        }
        self.verdicts.insert(rot, verdict);
    }
}

#[test]
fn what_a_rotten_file_says_is_what_was_written() {
    let (intact, contents) = filled();
    let used = intact.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (first, last) = match (number("SYNCRO_ROT_CASE"), number("SYNCRO_ROT")) {
        (Some(case), _) => (case, case + 1),
        (None, cases) => (0, cases.unwrap_or(CASES)),
    };
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    // redb says on stderr why it gives up, thousands of times.
    std::panic::set_hook(Box::new(|_| {}));
    let look_at_some = || loop {
        let case = next.fetch_add(1, Ordering::Relaxed);
        if case >= last {
            break;
        }
        let rot = Rot::of(case, used);
        let known = tally.lock().unwrap().verdicts.get(&rot).cloned();
        let verdict = known.unwrap_or_else(|| look(&intact, &contents, rot));
        tally.lock().unwrap().count(case, rot, verdict);
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|threads| (0..cores).for_each(|_| drop(threads.spawn(look_at_some))));
    let _ = std::panic::take_hook();
    let Tally { verdicts, refused, noticed, scrubbed, harmless, failures } =
        tally.into_inner().unwrap();
    let cases = last - first;
    println!(
        "points {}/{cases} rotten files: {} different, {refused} refused, {noticed} noticed by reads, \
         {scrubbed} by verify alone, {harmless} harmless",
        cases - failures.len() as u64,
        verdicts.len(),
    );
    failures.iter().take(20).for_each(|failure| println!("{failure}"));
    assert!(
        failures.is_empty(),
        "{} of {cases} cases; look at one with SYNCRO_ROT_CASE=",
        failures.len()
    );
}
