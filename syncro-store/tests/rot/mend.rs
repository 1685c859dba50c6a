//! Repairing files that rot.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use syncro_core::{NodeId, StoreError, Transaction, View};
use syncro_store::{LogStore, Redb, Repaired};

use crate::file::{Contents, Filled, Rot, contents, filled, write};
use crate::{cases, each};

/// Cases that are always tried, each on a file of its own.
const CASES: u64 = 300;

/// When the rot set in, and what came then.
#[derive(Clone, Copy, Debug)]
enum Met {
    /// In a file that was closed: nobody has looked yet.
    Closed,
    /// The same, and a scrub has found it.
    Scrubbed,
    /// In a file whose process was killed.
    Killed,
    /// The same, when the file has been repaired before: it is full of what was once.
    Again,
}

fn repair(path: &Path) -> Result<(LogStore, Repaired), StoreError> {
    let damaged = Redb::builder().cache_bytes(256 << 10).open_damaged(path)?;
    LogStore::builder().repair(damaged, Some(NodeId::named("server")))
}

/// A file as it was before it rotted, and what was in it.
struct Before {
    content: Vec<u8>,
    contents: Contents,
}

impl Before {
    fn of(intact: &Filled, met: Met, case: u64, path: &Path) -> Self {
        let (content, contents) = match met {
            Met::Closed | Met::Scrubbed => (intact.closed.clone(), intact.contents.clone()),
            Met::Killed => (intact.killed.clone(), intact.contents.clone()),
            Met::Again => {
                fs::write(path, Rot::of(case + 1, &intact.killed).spoiled(&intact.killed)).unwrap();
                let (mut store, repaired) = repair(path).unwrap();
                repaired.kept.into_iter().for_each(|kept| fs::remove_file(kept).unwrap());
                write(&mut store, 100..105);
                let copy = (fs::read(path).unwrap(), contents(&store));
                drop(store);
                copy
            }
        };
        Self { content, contents }
    }
}

/// Repairs a file, and says what is wrong with it then.
fn mend(path: &Path, before: &Before, met: Met, rot: Rot) -> Result<Repaired, String> {
    fs::write(path, rot.spoiled(&before.content)).unwrap();
    if matches!(met, Met::Scrubbed)
        && let Ok(store) = Redb::open(path).and_then(LogStore::open)
    {
        let _ = store.reader().verify(|_, _| ());
    }
    let (store, repaired) = repair(path).map_err(|error| error.to_string())?;
    let verified = store.reader().verify(|_, _| ()).map_err(|error| error.to_string())?;
    if !verified.is_sound() {
        return Err(format!("it is still damaged: {:?}", verified.damage));
    }
    let is_lost =
        |offset: &u64| repaired.lost.iter().any(|(from, to)| (from..to).contains(&offset));
    // What a page has lost its records have left: the transactions differ then, the values do not.
    for (key, record) in &before.contents.records {
        let found = store.record(key).map_err(|error| error.to_string())?;
        let written = before.contents.log.iter().find(|(_, (transaction, _))| {
            let transaction = Transaction::decode(transaction.clone().into()).ok();
            transaction.map(|it| it.stamp()) == record.created()
        });
        // What was not written behind is in the log alone.
        let is_told = written.is_some_and(|(offset, _)| is_lost(offset));
        if found.as_ref() != Some(record) && !(is_told && found.is_none()) {
            return Err(format!("{key} is {found:?}, {repaired:?}"));
        }
    }
    let entries = store.entries(0, usize::MAX).map_err(|error| error.to_string())?;
    let left: BTreeSet<_> = entries.iter().map(|it| it.transaction.bytes().to_vec()).collect();
    if left.len() < entries.len() {
        return Err("a transaction is there twice".to_owned());
    }
    let kept = before.contents.log.iter().filter(|(offset, _)| !is_lost(offset));
    for (offset, (transaction, _)) in kept {
        if !left.contains(transaction) {
            return Err(format!("nobody says that the log at {offset} is lost, {repaired:?}"));
        }
    }
    Ok(repaired)
}

#[test]
fn whatever_has_rotted_can_be_repaired() {
    let intact = filled();
    let directory = tempfile::tempdir().unwrap();
    let asked = cases(CASES, 50);
    let cases = asked.end - asked.start;
    let (anew, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    each(asked, |case| {
        let met = [Met::Closed, Met::Scrubbed, Met::Killed, Met::Again][(case / 4 % 4) as usize];
        let path = directory.path().join(format!("{case}.redb"));
        let before = Before::of(&intact, met, case, &path);
        let rot = Rot::of(case, &before.content);
        let mended = catch_unwind(AssertUnwindSafe(|| mend(&path, &before, met, rot)));
        match mended.unwrap_or_else(|_| Err("it panics".to_owned())) {
            Ok(repaired) => {
                anew.fetch_add(repaired.kept.is_some().into(), Ordering::Relaxed);
                lost.fetch_add(u64::from(!repaired.lost.is_empty()), Ordering::Relaxed);
                repaired.kept.into_iter().for_each(|kept| fs::remove_file(kept).unwrap());
            }
            Err(what) => {
                failures.lock().unwrap().push(format!("case {case}, {met:?}, {rot:?}: {what}"));
            }
        }
        let _ = fs::remove_file(&path);
    });
    let failures = failures.into_inner().unwrap();
    println!(
        "points {}/{cases} repaired files: {} made anew of what was left, {} with a loss",
        cases - failures.len() as u64,
        anew.into_inner(),
        lost.into_inner(),
    );
    failures.iter().take(20).for_each(|failure| println!("{failure}"));
    assert!(
        failures.is_empty(),
        "{} of {cases} cases; look at one with SYNCRO_ROT_CASE=",
        failures.len()
    );
}
