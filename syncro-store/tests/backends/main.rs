//! What every byte backend promises, and what each does beyond that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod history;
mod memory;
mod place;
#[cfg(feature = "redb")]
mod redb_crash;
#[cfg(feature = "redb")]
mod redb_disk;
#[cfg(feature = "redb")]
mod redb_file;
mod suite;

/// Runs the whole suite on one kind of place.
macro_rules! suite {
    ($module:ident, $place:ty: $($promise:ident,)*) => {
        mod $module {
            $(
                #[test]
                fn $promise() {
                    crate::suite::$promise::<$place>();
                }
            )*
        }
    };
    ($module:ident, $place:ty) => {
        suite! {
            $module, $place:
            a_read_shows_what_was_written_before_it,
            a_later_operation_of_a_batch_replaces_an_earlier_one,
            tables_do_not_share_keys,
            a_scan_keeps_its_bounds_and_its_limit,
            floor_finds_the_greatest_key_that_is_not_after,
            a_reader_never_sees_half_a_batch,
            a_reopened_store_shows_what_was_durable,
            a_second_opener_is_refused_until_the_first_has_closed,
            keys_and_values_at_their_limits_are_kept,
            a_batch_that_breaks_a_limit_is_refused_whole_and_does_not_latch,
            any_history_reads_like_a_map,
        }
    };
}

suite!(memory_suite, crate::place::MemoryPlace);
#[cfg(feature = "redb")]
suite!(redb_suite, crate::place::RedbPlace);
