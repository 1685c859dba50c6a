//! The promises of [`Store`] over the backend of a place, in the order of the trait.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use syncro_core::{Entry, Held, Point, RecordId, Store, StoreError, View};

use super::history::numbers;
use super::story::{Story, show};
use super::{Place, histories, skip};
use crate::log_store::LogStore;

pub fn a_reader_never_sees_half_a_commit<P: Place>() {
    let story = Story::of(0);
    let states: BTreeSet<&String> = story.states.iter().collect();
    let place = P::new();
    let mut store = small(&place).unwrap();
    let reader = store.reader();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let seen = show(&reader.snapshot()).unwrap();
                assert!(states.contains(&seen), "a commit was seen in part");
            }
        });
        for (at, commit) in story.commits.iter().enumerate() {
            store.apply(commit).unwrap();
            work_behind(&store, at as u64);
        }
        is_over.store(true, Ordering::Release);
        reading.join().unwrap();
    });
}

pub fn every_view_shows_a_commit_at_once<P: Place>() {
    for seed in 0..stories::<P>() {
        let story = Story::of(seed);
        let place = P::new();
        let mut store = small(&place).unwrap();
        let reader = store.reader();
        for (at, commit) in story.commits.iter().enumerate() {
            let before = reader.snapshot();
            store.apply(commit).unwrap();
            assert_eq!(show(&store).unwrap(), story.states[at + 1]);
            work_behind(&store, at as u64);
            assert_eq!(show(&reader).unwrap(), story.states[at + 1]);
            assert_eq!(show(&reader.snapshot()).unwrap(), story.states[at + 1]);
            assert_eq!(show(&before).unwrap(), story.states[at]);
            for entry in &commit.entries {
                let held = Held::Same { offset: entry.offset, digest: entry.digest };
                assert_eq!(reader.held(&entry.transaction).unwrap(), held);
                assert!(!reader.is_latest(entry.transaction.stamp()).unwrap());
            }
        }
    }
}

pub fn what_was_synced_survives_a_crash<P: Place>() {
    each_crash::<P>(|story, place, moment| {
        let found = show(&small(place).unwrap()).unwrap();
        assert!(story.states[moment.synced..].contains(&found), "{moment:?}");
    });
}

pub fn a_crash_keeps_the_first_commits_and_no_others<P: Place>() {
    each_crash::<P>(|story, place, moment| {
        let found = show(&small(place).unwrap()).unwrap();
        assert!(story.states[..=moment.applied].contains(&found), "{moment:?}");
    });
}

pub fn nothing_is_written_after_a_failed_sync<P: Place>() {
    let story = Story::of(0);
    let place = P::new();
    let mut store = small(&place).unwrap();
    let (first, rest) = story.commits.split_first().unwrap();
    store.apply(first).unwrap();
    store.sync().unwrap();
    store.apply(&rest[0]).unwrap();
    if !place.fail_write() {
        return skip("cannot fail");
    }
    assert!(store.sync().is_err(), "a sync whose write failed returned `Ok`");
    for refused in [store.apply(&rest[1]), store.sync(), store.syncer().checkpoint()] {
        assert!(matches!(refused, Err(StoreError::Latched { .. })), "{refused:?}");
    }
    drop(store);

    // Whether what failed is there is unknown; what was refused is not.
    let found = show(&small(&place).unwrap()).unwrap();
    assert!(story.states[1..3].contains(&found));
}

pub fn a_point_covers_only_what_is_in_the_log<P: Place>() {
    each_crash::<P>(|story, place, moment| {
        check_points(story, &small(place).unwrap(), moment);
    });
}

pub fn a_reopened_store_shows_every_synced_commit<P: Place>() {
    for seed in 0..stories::<P>() {
        let story = Story::of(seed);
        let place = P::new();
        let mut store = small(&place).unwrap();
        for (at, commit) in story.commits.iter().enumerate() {
            store.apply(commit).unwrap();
            if at % 20 == 7 {
                store.sync().unwrap();
                drop(store);
                store = small(&place).unwrap();
                assert_eq!(show(&store).unwrap(), story.states[at + 1]);
            }
        }
        store.syncer().checkpoint().unwrap();
        store.syncer().close();
        let store = small(&place).unwrap();
        assert_eq!(Some(&show(&store).unwrap()), story.states.last());
    }
}

pub fn lists_come_in_order_and_page_by_page<P: Place>() {
    let story = Story::of(1);
    let place = P::new();
    let mut store = small(&place).unwrap();
    for (at, commit) in story.commits.iter().enumerate() {
        store.apply(commit).unwrap();
        work_behind(&store, at as u64);
    }
    let models = store.models().unwrap();
    assert!(models.len() > 1 && models.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    for model in &models {
        let whole = store.records(model, None, usize::MAX).unwrap();
        assert!(whole.len() > 1 && whole.is_sorted_by(|(a, _), (b, _)| a < b));
        let mut pages = Vec::new();
        let mut after: Option<RecordId> = None;
        loop {
            let page = store.records(model, after.as_ref(), 2).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            pages.extend(page);
        }
        assert_eq!(pages, whole);
    }
    let peers = store.peers().unwrap();
    assert!(!peers.is_empty() && peers.is_sorted_by(|(a, _), (b, _)| a < b));
    let mut end = Point::START;
    while let Some(entry) = store.entries(end.offset, 1).unwrap().into_iter().next() {
        assert_eq!(entry.offset, end.offset);
        end = entry.end();
    }
    assert_eq!(Some(end), store.own().unwrap().map(|own| own.end));
}

pub fn damage_never_shows_what_was_not_written<P: Place>() {
    let story = Story::of(2);
    let place = P::new();
    let mut store = small(&place).unwrap();
    for commit in &story.commits {
        store.apply(commit).unwrap();
        store.sync().unwrap();
    }
    store.syncer().checkpoint().unwrap();
    drop(store);
    let entries = story.commits.iter().flat_map(|commit| &commit.entries);
    let named = |entry: &Entry| (entry.offset, entry.transaction.bytes().clone());
    let written: BTreeSet<_> = entries.map(named).collect();
    for seed in 0..u64::from(histories::<P>()) {
        let Some(damaged) = place.damaged(seed) else {
            return skip("cannot be damaged");
        };
        println!("damage {seed}");
        let Ok(store) = small(&damaged) else { continue };
        for entry in store.entries(0, usize::MAX).unwrap_or_default() {
            assert!(written.contains(&named(&entry)));
        }
        for model in store.models().unwrap_or_default() {
            for (id, record) in store.records(&model, None, usize::MAX).unwrap_or_default() {
                let was_written =
                    story.commits.iter().flat_map(|commit| &commit.records).any(
                        |(key, written)| key.model == model && key.id == id && *written == record,
                    );
                assert!(was_written, "{model:?} {id:?}");
            }
        }
    }
}

/// When a crash came.
#[derive(Clone, Copy, Debug)]
struct Moment {
    applied: usize,
    synced: usize,
}

/// Plays stories, syncing and writing behind now and then, and looks at what a crash leaves at moments
/// of all sorts.
fn each_crash<P: Place>(check: impl Fn(&Story, &P, Moment)) {
    if P::new().crashes().is_empty() {
        return skip("cannot crash");
    }
    for seed in 0..stories::<P>() {
        // Stands above a failure.
        println!("story {seed}");
        let story = Story::of(seed);
        let mut random = numbers(seed);
        let place = P::new();
        let mut store = small(&place).unwrap();
        let mut moment = Moment { applied: 0, synced: 0 };
        for commit in &story.commits {
            store.apply(commit).unwrap();
            moment.applied += 1;
            if work_behind(&store, random()) {
                moment.synced = moment.applied;
            }
            if random().is_multiple_of(4) {
                for crashed in place.crashes() {
                    check(&story, &crashed, moment);
                }
            }
        }
    }
}

/// Syncs or writes behind, or neither. Returns whether everything applied is durable now.
fn work_behind(store: &LogStore, choice: u64) -> bool {
    let syncer = store.syncer();
    match choice % 8 {
        0 | 1 => syncer.sync().map(|()| true),
        2 => syncer.begin_checkpoint().map(|()| true),
        3 | 4 => syncer.write_behind().map(|_| false),
        5 => syncer.checkpoint().map(|()| true),
        _ => Ok(false),
    }
    .unwrap()
}

/// The node's own point and its peer's, against the log that they speak of.
fn check_points(story: &Story, store: &LogStore, moment: Moment) {
    let Some(own) = store.own().unwrap() else {
        return assert!(store.peers().unwrap().is_empty(), "{moment:?}");
    };
    let entries = store.entries(0, usize::MAX).unwrap();
    let end = entries.last().map_or(Point::START, |entry| entry.end());
    assert_eq!(own.end, end, "{moment:?}");
    let Some(row) = store.peer(story.peer).unwrap() else { return };
    for rung in row.ladder.rungs() {
        let covered = story.peer_log.iter().filter(|entry| entry.offset < rung.point.offset);
        for entry in covered {
            let held = store.held(&entry.transaction).unwrap();
            assert!(matches!(held, Held::Same { .. }), "{moment:?}: {}", entry.offset);
        }
    }
}

/// Opens a store that writes behind after every few commits.
fn small<P: Place>(place: &P) -> Result<LogStore, StoreError> {
    LogStore::builder().overlay_bytes(OVERLAY_BYTES).open(place.open()?)
}

/// A story is some sixty steps, each of which may be a crash.
fn stories<P: Place>() -> u64 {
    u64::from(histories::<P>().div_ceil(16))
}

const OVERLAY_BYTES: usize = 16 << 10;
