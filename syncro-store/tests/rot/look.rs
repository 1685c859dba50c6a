//! Reading everything in a file that rots.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use syncro_core::{RecordKey, StoreError, View};
use syncro_store::LogStore;

use crate::file::{Contents, File, Filled, Rot, filled, open};
use crate::{cases, each};

/// Cases that are always tried.
const CASES: u64 = 3000;

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
fn look(intact: &Filled, rot: Rot) -> Verdict {
    let failed = |what: String| Verdict::Failed(what);
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let Ok(store) = open(&File::of(rot.spoiled(&intact.closed))) else {
            return Verdict::Refused;
        };
        let reading = Reading::all(&store, &intact.contents);
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
    let intact = filled();
    let tally = Mutex::new(Tally::default());
    let asked = cases(CASES, 1);
    let cases = asked.end - asked.start;
    each(asked, |case| {
        let rot = Rot::of(case, &intact.closed);
        let known = tally.lock().unwrap().verdicts.get(&rot).cloned();
        let verdict = known.unwrap_or_else(|| look(&intact, rot));
        tally.lock().unwrap().count(case, rot, verdict);
    });
    let Tally { verdicts, refused, noticed, scrubbed, harmless, failures } =
        tally.into_inner().unwrap();
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
