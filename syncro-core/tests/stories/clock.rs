//! Clocks that are wrong, and what is left of it.

use syncro_core::limits::FUTURE_MS;
use syncro_core::{Event, Time};

use syncro_sim::world::{A, B, Pair, WALL_MS};

const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

fn newest(pair: &Pair, node: usize) -> Time {
    pair.nodes[node].log.transactions().last().unwrap().stamp().time
}

/// A machine that came up with its clock years ahead wrote that time down at once, although nobody had
/// written anything, and stamped everything with it for ever after.
#[test]
fn an_open_under_a_clock_years_ahead_leaves_no_trace_once_the_clock_is_right() {
    for is_reopened in [true, false] {
        let mut pair = Pair::new();
        pair.put(A, 1, 1);
        pair.nodes[A].skew_ms = TEN_YEARS_MS;
        pair.restart(A).unwrap();
        // It even talks, and takes in what others wrote.
        pair.put(B, 2, 2);
        pair.meet_both();
        pair.nodes[A].skew_ms = 0;
        if is_reopened {
            pair.restart(A).unwrap();
        }
        pair.put(A, 3, 3);
        assert!(newest(&pair, A).ms() <= WALL_MS + pair.now_ms);
        pair.meet_both();
        pair.assert_equal();
        assert!(!pair.has_event(B, |event| matches!(event, Event::FutureStamp { .. })));
    }
}

#[test]
fn a_clock_years_behind_stamps_above_all_that_it_ever_used_and_saw() {
    let mut pair = Pair::new();
    pair.put(A, 1, 1);
    pair.put(B, 2, 2);
    pair.meet_both();
    let mut before = newest(&pair, A).max(newest(&pair, B));
    pair.nodes[A].skew_ms = -TEN_YEARS_MS;
    for value in 3..6 {
        pair.restart(A).unwrap();
        pair.put(A, value, value);
        assert!(newest(&pair, A) > before);
        before = newest(&pair, A);
    }
    assert!(before.ms() <= WALL_MS + pair.now_ms + FUTURE_MS);
    pair.put(A, 2, 7);
    pair.meet_both();
    pair.assert_equal();
    assert_eq!(
        pair.title(B, 2),
        Some(7),
        "it wins over what it saw, although it was written long ago"
    );
}
