//! The promises of a backend as tests, for whoever writes one.
//!
//! [`Backend`] makes thirteen numbered promises, B1 to B13, and a node relies on all of them; the
//! [`Store`](syncro_core::Store) that [`LogStore`](crate::LogStore) builds on it makes nine more, S1
//! to S9. Here is a test for each, to be run on any backend by one line: [`conformance!`](crate::conformance!).
//!
//! # How to run it
//!
//! Take this crate as a dev-dependency with the feature `conformance`:
//!
//! ```toml
//! [dependencies]
//! bytes = "1"
//! syncro-core = "0.1"
//! syncro-store = { version = "0.1", default-features = false }
//!
//! [dev-dependencies]
//! syncro-store = { version = "0.1", default-features = false, features = ["conformance"] }
//! ```
//!
//! Say where your stores live by implementing [`Place`], and name a module for the tests:
//!
//! ```
//! # #[cfg(feature = "redb")]
//! # mod tests {
//! use syncro_core::StoreError;
//! use syncro_store::Redb;
//! use syncro_store::conformance::{Directory, Place};
//!
//! struct RedbPlace(Directory);
//!
//! impl Place for RedbPlace {
//!     type Store = Redb;
//!
//!     fn new() -> Self {
//!         Self(Directory::new())
//!     }
//!
//!     fn open(&self) -> Result<Redb, StoreError> {
//!         Redb::open(self.0.path().join("store.redb"))
//!     }
//!
//!     fn directory(&self) -> Option<&Directory> {
//!         Some(&self.0)
//!     }
//!
//!     fn in_directory(directory: Directory) -> Option<Self> {
//!         Some(Self(directory))
//!     }
//! }
//!
//! syncro_store::conformance!(redb, RedbPlace);
//! # }
//! ```
//!
//! Then `cargo test redb` runs one test per promise, and more where a promise has several sides. Each is
//! in a module with the number of what it proves, so that a failure names the promise:
//! `redb::b7::a_second_opener_is_refused_until_the_first_has_closed`. `SYNCRO_CASES=1000` in the
//! environment asks for so many random histories.
//!
//! # What it proves
//!
//! That histories of random batches read like a map, that readers, threads, reopened stores and a
//! second process see what they may see and no more, that limits hold, and that what a node keeps above
//! the backend survives as well. What comes after a crash is proven as far as the place can crash:
//!
//! - A place in a [`Directory`] is copied while its store is open, which is what a process that dies
//!   there leaves to the next one; and a process of its own is killed while it writes.
//! - A place that can do more, such as keeping some of what was not flushed, says so with
//!   [`Place::crashes`].
//! - A place that can do neither prints that the test was skipped, and so does one that cannot fail or be
//!   damaged: `cargo test redb -- --nocapture | grep skipped` lists what was not proven.
//!
//! A power cut is none of these: only a disk that forgets what was not flushed shows what a backend
//! keeps then, and it has to be built below the backend's own database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, and says in its name what it proves"
)]

mod backend;
mod directory;
mod history;
mod process;
mod store;
mod story;

use syncro_core::StoreError;

use crate::backend::Backend;

pub use directory::Directory;
pub use history::{Model, numbers, outcomes, writes};

#[doc(hidden)]
pub mod promises {
    pub use super::backend::*;
    pub use super::store::*;
}

/// Somewhere that a store can be opened, closed and opened again.
///
/// Only [`new`](Self::new) and [`open`](Self::open) are needed. Whatever else a place can do lets the
/// suite prove more; a place in a [`Directory`] gets all of it for saying so.
pub trait Place: Sized {
    /// The backend under test.
    type Store: Backend;

    /// How many random histories are worth their time here. The variable `SYNCRO_CASES` asks for more.
    const HISTORIES: u32 = 32;

    /// Makes a place that holds nothing yet.
    fn new() -> Self;

    /// Opens the store here, a new one the first time.
    ///
    /// # Errors
    ///
    /// Whatever the backend fails with.
    fn open(&self) -> Result<Self::Store, StoreError>;

    /// Closes a store that [`open`](Self::open) returned. By default it is dropped.
    fn close(&self, store: Self::Store) {
        drop(store);
    }

    /// Returns the directory that holds everything of the place, if there is one: it can be copied,
    /// damaged, and opened by another process.
    fn directory(&self) -> Option<&Directory> {
        None
    }

    /// Returns the place in a directory that holds the files of another one. `None` if
    /// [`directory`](Self::directory) never has one.
    fn in_directory(directory: Directory) -> Option<Self> {
        let _ = directory;
        None
    }

    /// Returns the places that a crash at this moment may leave, while this one goes on: all of them,
    /// or enough to be worth looking at. None, if the place cannot crash.
    ///
    /// By default a copy of the directory: what a process that dies now leaves behind.
    fn crashes(&self) -> Vec<Self> {
        let image = self.directory().map(Directory::image);
        image.and_then(Self::in_directory).into_iter().collect()
    }

    /// Returns a copy of this place, whose store is closed, with some damage that follows from the seed.
    /// `None`, if it cannot be damaged.
    ///
    /// By default a copy of the directory with bits flipped, a sector blanked, or a file cut short.
    fn damaged(&self, seed: u64) -> Option<Self> {
        self.directory().map(|directory| directory.damaged(seed)).and_then(Self::in_directory)
    }

    /// Lets the next write reach the medium and fail there, once, and returns `true`; `false` if the
    /// place has no means to.
    fn fail_write(&self) -> bool {
        false
    }
}

/// How many random histories a test plays: what the place says, or the variable `SYNCRO_CASES`.
fn histories<P: Place>() -> u32 {
    let asked = std::env::var("SYNCRO_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(P::HISTORIES)
}

/// Says, where a test has nothing to test, what the place lacks.
fn skip(what: &str) {
    println!("skipped: this place {what}");
}

/// Makes a module of tests, one or more for each promise of a [`Backend`](crate::Backend) and of the
/// [`Store`](syncro_core::Store) above it, run on a [`Place`](crate::conformance::Place).
///
/// Takes a name for the module and the type of the place. See
/// [the module of the same name](mod@crate::conformance) for how and why.
#[macro_export]
macro_rules! conformance {
    ($module:ident, $place:ty $(,)?) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance! {
                @promises $place;
                b1 "B1, atomic":
                    a_later_operation_of_a_batch_replaces_an_earlier_one
                    a_reader_never_sees_half_a_batch;
                b2 "B2, prefix order":
                    a_crash_keeps_the_first_batches_and_no_others;
                b3 "B3, durable":
                    an_empty_durable_batch_makes_what_came_before_it_durable;
                b4 "B4, read your writes":
                    a_read_shows_what_was_written_before_it
                    another_thread_reads_what_was_written_before_it
                    any_history_reads_like_a_map;
                b5 "B5, order":
                    a_scan_keeps_its_bounds_and_its_limit
                    floor_finds_the_greatest_key_that_is_not_after
                    keys_compare_as_unsigned_bytes
                    tables_do_not_share_keys;
                b6 "B6, reopening":
                    a_reopened_store_shows_what_was_durable;
                b7 "B7, one at a time":
                    a_second_opener_is_refused_until_the_first_has_closed;
                b8 "B8, latched":
                    a_failed_write_latches_the_store_until_it_is_opened_again;
                b9 "B9, limits":
                    a_batch_that_breaks_a_limit_is_refused_whole_and_does_not_latch
                    keys_and_values_at_their_limits_are_kept
                    the_bounds_of_a_scan_may_be_of_any_length;
                b10 "B10, damage":
                    a_damaged_medium_gives_errors_and_no_panic;
                b11 "B11, check":
                    checking_and_compacting_change_no_pair_and_make_all_durable;
                b12 "B12, opening anew":
                    opening_anew_ends_a_latch
                    opening_anew_keeps_the_first_batches_and_all_that_were_durable;
                b13 "B13, salvage":
                    a_salvage_puts_what_it_is_given_in_the_place_of_all_or_changes_nothing;
                s1 "S1, whole commits":
                    a_reader_never_sees_half_a_commit;
                s2 "S2, read your commits":
                    every_view_shows_a_commit_at_once;
                s3 "S3, durable":
                    what_was_synced_survives_a_crash;
                s4 "S4, prefix order":
                    a_crash_keeps_the_first_commits_and_no_others;
                s5 "S5, latched":
                    nothing_is_written_after_a_failed_sync;
                s6 "S6, points":
                    a_point_covers_only_what_is_in_the_log;
                s7 "S7, reopening":
                    a_reopened_store_shows_every_synced_commit;
                s8 "S8, order":
                    lists_come_in_order_and_page_by_page;
                s9 "S9, damage":
                    damage_never_shows_what_was_not_written;
            }

            $crate::conformance! {
                @processes $place;
                b2_killed "B2 and B3, when a process is killed":
                    a_killed_process_leaves_the_first_batches_and_all_that_were_durable;
                b7_killed "B7, between processes":
                    another_process_is_refused_until_this_one_was_killed;
            }
        }
    };
    (@promises $place:ty; $($module:ident $promise:literal: $($test:ident)+;)+) => {
        $(
            #[doc = $promise]
            mod $module {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[test]
                    fn $test() {
                        $crate::conformance::promises::$test::<$place>();
                    }
                )+
            }
        )+
    };
    (@processes $place:ty; $($module:ident $promise:literal: $($test:ident)+;)+) => {
        $(
            #[doc = $promise]
            mod $module {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[test]
                    fn $test() {
                        let name = concat!(module_path!(), "::", stringify!($test));
                        $crate::conformance::promises::$test::<$place>(name);
                    }
                )+
            }
        )+
    };
}
