//! The clock that stamps local writes.

use std::collections::BTreeMap;

use crate::limits::FUTURE_MS;
use crate::stamp::Time;

/// Issues times that grow, follow the wall clock and remote stamps, and are not led astray by stamps
/// from the future.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The greatest ordinary time issued or seen.
    last: Time,
    /// Times issued above `last`, over records that carry future stamps: ranges from a time to that after
    /// their last, none touching another. Pruned as `last` passes them.
    ahead: BTreeMap<Time, Time>,
}

impl Clock {
    /// Starts from what this node issued and saw, never from others' future stamps. Wall time joins in
    /// when a time is issued: a clock that was only wrong while nothing was written leaves no trace.
    pub(crate) fn new(used: Time) -> Self {
        Self { last: used, ahead: BTreeMap::new() }
    }

    /// The greatest ordinary time, which the store keeps for the next open.
    pub(crate) fn last(&self) -> Time {
        self.last
    }

    /// The least unused time above this clock and above `floor`, the greatest in the records touched.
    /// `None` when the representable times are exhausted.
    pub(crate) fn next(&self, wall_ms: u64, floor: Option<Time>) -> Option<Time> {
        let ordinary = self.last.next().max(Time::from_ms(wall_ms));
        let least = floor.map_or(ordinary, |floor| ordinary.max(floor.next()));
        let used = self.ahead.range(..=least).next_back();
        let time = used.map_or(least, |(_, end)| least.max(*end));
        (time < Time::END).then_some(time)
    }

    /// Records that `time`, from [`next`](Self::next), was issued.
    pub(crate) fn issued(&mut self, time: Time, wall_ms: u64) {
        if Self::skew_ms(time, self.last, wall_ms) > FUTURE_MS {
            let before = self.ahead.range(..time).next_back().filter(|(_, end)| **end == time);
            let start = before.map_or(time, |(start, _)| *start);
            let end = self.ahead.remove(&time.next()).unwrap_or(time.next());
            self.ahead.insert(start, end);
        } else {
            self.advance(time);
        }
    }

    /// Follows a remote stamp, unless it lies far in the future; then returns by how many milliseconds.
    pub(crate) fn observe(&mut self, time: Time, wall_ms: u64) -> Option<u64> {
        let skew = Self::skew_ms(time, Time::default(), wall_ms);
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::FutureMovesClock) {
            self.advance(time);
            return None;
        }
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
        while let Some(first) = self.ahead.first_entry()
            && *first.get() <= self.last.next()
        {
            first.remove();
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

    /// To find a time that is free, each that was used before was tried: a hundred thousand records from a
    /// node with a fast clock took five thousand million steps to write over.
    #[test]
    fn many_records_of_one_future_stamp_are_written_over_one_after_the_other() {
        let mut clock = Clock::new(Time::default());
        let future = Time::from_ms(1000 + HOUR);
        let mut before = future;
        for _ in 0..100_000 {
            let time = clock.next(1000, Some(future)).unwrap();
            assert_eq!(time, before.next());
            clock.issued(time, 1000);
            before = time;
        }
        assert_eq!(clock.ahead.len(), 1, "they are kept as one range");
    }

    #[test]
    fn ranges_of_times_ahead_grow_together_and_are_forgotten_when_passed() {
        let mut clock = Clock::new(Time::default());
        let ahead = |n| Time::from_bits(Time::from_ms(HOUR).bits() + n);
        for n in [1, 5, 3, 2, 7, 4] {
            assert_eq!(clock.next(0, Some(ahead(n - 1))), Some(ahead(n)));
            clock.issued(ahead(n), 0);
        }
        assert_eq!(
            Vec::from_iter(clock.ahead.clone()),
            [(ahead(1), ahead(6)), (ahead(7), ahead(8))]
        );
        for n in 0..6 {
            assert_eq!(clock.next(0, Some(ahead(n))), Some(ahead(6)), "{n}");
        }
        clock.observe(ahead(4), HOUR);
        assert_eq!(clock.next(0, None), Some(ahead(6)));
        assert_eq!(clock.ahead.len(), 2);
        clock.observe(ahead(5), HOUR);
        assert_eq!(clock.ahead.len(), 1);
        clock.observe(ahead(7), HOUR);
        assert!(clock.ahead.is_empty());
    }

    #[test]
    fn no_time_is_issued_beyond_the_year_2200() {
        let clock = Clock::new(Time::default());
        assert_eq!(clock.next(1000, Some(Time::from_bits(Time::END.bits() - 1))), None);
    }
}
