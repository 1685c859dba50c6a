//! The clock that stamps local writes.

use std::collections::BTreeSet;

use crate::limits::FUTURE_MS;
use crate::stamp::Time;

/// Issues times that grow, follow the wall clock and remote stamps, and are not led astray by stamps
/// from the future.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The greatest ordinary time issued or seen.
    last: Time,
    /// Times issued above `last`, over records that carry future stamps. Pruned as `last` passes them.
    ahead: BTreeSet<Time>,
}

impl Clock {
    /// Starts from what this node issued and saw, never from others' future stamps. Wall time joins in
    /// when a time is issued: a clock that was only wrong while nothing was written leaves no trace.
    pub(crate) fn new(used: Time) -> Self {
        Self { last: used, ahead: BTreeSet::new() }
    }

    /// The greatest ordinary time, which the store keeps for the next open.
    pub(crate) fn last(&self) -> Time {
        self.last
    }

    /// The least unused time above this clock and above `floor`, the greatest in the records touched.
    /// `None` when the representable times are exhausted.
    pub(crate) fn next(&self, wall_ms: u64, floor: Option<Time>) -> Option<Time> {
        let ordinary = self.last.next().max(Time::from_ms(wall_ms));
        let mut time = floor.map_or(ordinary, |floor| ordinary.max(floor.next()));
        while self.ahead.contains(&time) {
            time = time.next();
        }
        (time < Time::END).then_some(time)
    }

    /// Records that `time`, from [`next`](Self::next), was issued.
    pub(crate) fn issued(&mut self, time: Time, wall_ms: u64) {
        if Self::skew_ms(time, self.last, wall_ms) > FUTURE_MS {
            self.ahead.insert(time);
        } else {
            self.advance(time);
        }
    }

    /// Follows a remote stamp, unless it lies far in the future; then returns by how many milliseconds.
    pub(crate) fn observe(&mut self, time: Time, wall_ms: u64) -> Option<u64> {
        let skew = Self::skew_ms(time, Time::default(), wall_ms);
        if skew > FUTURE_MS {
            return Some(skew);
        }
        self.advance(time);
        None
    }

    /// Forgets which times ahead were used, for a new epoch has used none.
    pub(crate) fn begin_epoch(&mut self) {
        self.ahead.clear();
    }

    fn advance(&mut self, time: Time) {
        self.last = self.last.max(time);
        while self.ahead.first().is_some_and(|first| *first <= self.last) {
            self.ahead.pop_first();
        }
    }

    /// By how much a time leads both the wall clock and a reference.
    fn skew_ms(time: Time, reference: Time, wall_ms: u64) -> u64 {
        time.ms().saturating_sub(wall_ms.max(reference.ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn times_grow_when_the_wall_clock_goes_back() {
        let mut clock = Clock::new(Time::default());
        let first = clock.next(5000, None).unwrap();
        clock.issued(first, 5000);
        let second = clock.next(10, None).unwrap();
        assert!(second > first);
    }

    #[test]
    fn a_future_stamp_moves_no_clock_and_can_still_be_overwritten() {
        let mut clock = Clock::new(Time::default());
        let future = Time::from_ms(1000 + HOUR);
        assert_eq!(clock.observe(future, 1000), Some(HOUR));
        let over = clock.next(1000, Some(future)).unwrap();
        assert!(over > future);
        clock.issued(over, 1000);
        assert_eq!(clock.next(1001, None).unwrap().ms(), 1001);
        let again = clock.next(1001, Some(future)).unwrap();
        assert!(again > over, "a time ahead is never issued twice");
    }

    #[test]
    fn a_time_ahead_is_skipped_when_the_clock_gets_there() {
        let mut clock = Clock::new(Time::default());
        let over = clock.next(1000, Some(Time::from_ms(1000 + HOUR))).unwrap();
        clock.issued(over, 1000);
        clock.observe(Time::from_ms(1000 + HOUR), 1000 + HOUR);
        assert!(clock.next(1000 + HOUR, None).unwrap() > over);
    }

    #[test]
    fn no_time_is_issued_beyond_the_year_2200() {
        let clock = Clock::new(Time::default());
        assert_eq!(clock.next(1000, Some(Time::from_bits(Time::END.bits() - 1))), None);
    }
}
