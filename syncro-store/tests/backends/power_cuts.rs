//! A node's store over redb, on a disk that loses its power and fails.

use std::io::ErrorKind;
use std::sync::Mutex;

use syncro_core::StoreError;
use syncro_store::Redb;
use syncro_store::conformance::{Place, promises};

use crate::crash::{Crash, Fate, Tape};
use crate::disk::{Disk, Failure, Which};

/// A disk of which a crash leaves what was flushed, and some of the rest, sector by sector.
struct Powered(Mutex<Disk>);

impl Place for Powered {
    type Store = Redb;
    const HISTORIES: u32 = 64;

    fn new() -> Self {
        Self(Mutex::new(Disk::default()))
    }

    fn open(&self) -> Result<Redb, StoreError> {
        Redb::builder().cache_bytes(256 * 1024).with_backend(self.0.lock().unwrap().clone())
    }

    fn crashes(&self) -> Vec<Self> {
        let tape = Tape::of(&self.0.lock().unwrap());
        let fates = [Fate::AllLost, Fate::Random(1), Fate::Random(2), Fate::AllKept];
        let crash = |fate| {
            let image = tape.image(Crash { done: tape.len(), fate });
            Self(Mutex::new(Disk::holding(image)))
        };
        // The last one keeps everything.
        fates.map(crash).into()
    }

    fn fail_write(&self) -> bool {
        let mut disk = self.0.lock().unwrap();
        disk.fail(Some(Failure { which: Which::ChangesFrom(0), how: ErrorKind::Other }));
        // Whoever opens it again finds it in order.
        *disk = Disk::holding(disk.content());
        true
    }
}

#[test]
fn a_power_cut_keeps_the_first_batches_and_no_others() {
    promises::a_crash_keeps_the_first_batches_and_no_others::<Powered>();
}

#[test]
fn a_power_cut_keeps_the_first_commits_and_no_others() {
    promises::a_crash_keeps_the_first_commits_and_no_others::<Powered>();
}

#[test]
fn what_was_synced_survives_a_power_cut() {
    promises::what_was_synced_survives_a_crash::<Powered>();
}

#[test]
fn after_a_power_cut_a_point_covers_only_what_is_in_the_log() {
    promises::a_point_covers_only_what_is_in_the_log::<Powered>();
}

#[test]
fn a_failed_write_latches_the_store_until_it_is_opened_again() {
    promises::a_failed_write_latches_the_store_until_it_is_opened_again::<Powered>();
}

#[test]
fn nothing_is_written_after_a_failed_sync() {
    promises::nothing_is_written_after_a_failed_sync::<Powered>();
}
