//! The states that a store went through, and whether one of them is what a store holds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use syncro_core::{
    Commit, Digest, Encoded, Entry, Held, NodeId, OwnRow, Path, PeerRow, Point, Record, RecordKey,
    Register, Stamp, StoreError, View,
};

/// The states of a store: one before the first commit, and one after each.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    states: Vec<Arc<State>>,
    log: Vec<Entry>,
}

/// A store after a commit.
#[derive(Debug, Default)]
struct State {
    own: Option<OwnRow>,
    peers: BTreeMap<NodeId, PeerRow>,
    /// The entries of the log.
    entries: usize,
    /// What comes of playing them.
    records: OnceLock<BTreeMap<RecordKey, Digest>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { states: vec![Arc::default()], log: Vec::new() }
    }

    /// Returns the number of the last state.
    pub(crate) fn last(&self) -> usize {
        self.states.len() - 1
    }

    pub(crate) fn push(&mut self, commit: &Commit) {
        let before = &self.states[self.last()];
        let mut peers = before.peers.clone();
        peers.extend(commit.peers.iter().cloned());
        self.log.extend(commit.entries.iter().cloned());
        let own = Some(commit.own.clone());
        if before.own == own && before.peers == peers {
            return;
        }
        let entries = self.log.len();
        self.states.push(Arc::new(State { own, peers, entries, records: OnceLock::new() }));
    }

    /// Forgets what came after a state.
    pub(crate) fn cut(&mut self, state: usize) {
        self.states.truncate(state + 1);
        self.log.truncate(self.states[state].entries);
    }

    /// Returns the state that a view shows, in all that can be read of it.
    pub(crate) fn find(
        &self,
        view: &impl View,
        likely: &RangeInclusive<usize>,
    ) -> Result<usize, String> {
        let found = self.recognise(view, likely).map_err(unreadable("the rows"))?;
        let found = found.ok_or("its own row is that of no state")?;
        self.check_log(view, found)?;
        self.check_records(view, found)?;
        Ok(found)
    }

    /// Returns the state whose rows a view shows.
    pub(crate) fn recognise(
        &self,
        view: &impl View,
        likely: &RangeInclusive<usize>,
    ) -> Result<Option<usize>, StoreError> {
        let own = view.own()?;
        let peers = view.peers()?.into_iter().collect();
        let is_it = |number: &usize| {
            let state = &self.states[*number];
            state.own == own && state.peers == peers
        };
        Ok(likely.clone().find(is_it).or_else(|| (0..=self.last()).rfind(is_it)))
    }

    fn check_log(&self, view: &impl View, state: usize) -> Result<(), String> {
        let expected = &self.log[..self.states[state].entries];
        let mut found = Vec::new();
        let mut end = Point::START;
        loop {
            let piece = view.entries(end.offset, 256 << 10).map_err(unreadable("the log"))?;
            let Some(last) = piece.last() else { break };
            end = last.end();
            found.extend(piece);
        }
        let is_same = |(one, other): (&Entry, &Entry)| {
            one.transaction == other.transaction && one.end() == other.end()
        };
        if found.len() != expected.len() || !found.iter().zip(expected).all(is_same) {
            return Err(format!(
                "the log of state {state} should have {} entries, and has {}, to {end:?}",
                expected.len(),
                found.len()
            ));
        }
        let digest = view.digest_at(end.offset).map_err(unreadable("the digest"))?;
        if digest != Some(end.digest) {
            return Err(format!("the digest at {end:?} is {digest:?}"));
        }
        let is_light = |entry: &&Entry| entry.transaction.bytes().len() < LIGHT_BYTES;
        for entry in expected.iter().filter(is_light).chain(expected.last()) {
            let held = view.held(&entry.transaction).map_err(unreadable("the stamps"))?;
            if held != (Held::Same { offset: entry.offset, digest: entry.digest }) {
                return Err(format!("the transaction at {} is found as {held:?}", entry.offset));
            }
        }
        Ok(())
    }

    fn check_records(&self, view: &impl View, state: usize) -> Result<(), String> {
        let found = records(view).map_err(unreadable("the records"))?;
        let State { entries, records, .. } = &*self.states[state];
        let expected = records.get_or_init(|| play(&self.log[..*entries]));
        if found == *expected {
            return Ok(());
        }
        let keys = expected.keys().chain(found.keys());
        let different: Vec<_> = keys.filter(|key| expected.get(key) != found.get(key)).collect();
        Err(format!("the records of state {state} are not what the log says: {different:?}"))
    }
}

/// Transactions up to this size are all looked up by their stamps: for others whole pages are hashed.
const LIGHT_BYTES: usize = 64 << 10;

fn unreadable(what: &str) -> impl Fn(StoreError) -> String {
    move |error| format!("{what} cannot be read: {error}")
}

/// Every record, by the digest of its state.
fn records(view: &impl View) -> Result<BTreeMap<RecordKey, Digest>, StoreError> {
    let mut records = BTreeMap::new();
    for model in view.models()? {
        let mut after = None;
        loop {
            let some = view.records(&model, after.as_ref(), 64)?;
            let Some((last, _)) = some.last() else { break };
            after = Some(last.clone());
            for (id, record) in some {
                records.insert(RecordKey { model: model.clone(), id }, digest(&record));
            }
        }
    }
    Ok(records)
}

fn digest(record: &Record) -> Digest {
    let mut state = Vec::new();
    record.write_state(&mut state);
    Digest::EMPTY.then(&state)
}

/// What a simple model makes of a log: the greatest create, the greatest destroy, and of each register the
/// greatest write since.
fn play(log: &[Entry]) -> BTreeMap<RecordKey, Digest> {
    #[derive(Default)]
    struct Marks {
        created: Option<Stamp>,
        destroyed: Option<Stamp>,
        registers: BTreeMap<Path, (Stamp, Encoded)>,
    }
    let mut records: BTreeMap<RecordKey, Marks> = BTreeMap::new();
    for entry in log {
        let stamp = entry.transaction.stamp();
        for scribe in entry.scribes().unwrap() {
            let marks = records.entry(scribe.key.clone()).or_default();
            if scribe.mark.creates() {
                marks.created = marks.created.max(Some(stamp));
            }
            if scribe.mark.destroys() {
                marks.destroyed = marks.destroyed.max(Some(stamp));
            }
            for (path, value) in &scribe.fields {
                let write = (stamp, value.clone());
                let greatest = marks.registers.entry(path.clone()).or_insert_with(|| write.clone());
                *greatest = write.max(greatest.clone());
            }
        }
    }
    let played = records.into_iter().map(|(key, marks)| {
        let since =
            marks.registers.into_iter().filter(|(_, (stamp, _))| Some(*stamp) >= marks.destroyed);
        let registers = since.map(|(path, (stamp, value))| Register { path, stamp, value });
        let created = marks.created.filter(|created| Some(*created) >= marks.destroyed);
        (key.clone(), digest(&Record::new(created, marks.destroyed, registers.collect())))
    });
    played.collect()
}
