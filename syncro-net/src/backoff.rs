//! How long to wait before connecting again.

use std::time::Duration;

/// Hands out the pauses between attempts to reconnect: growing, bounded and scattered.
///
/// Each pause is drawn uniformly from zero to a ceiling that starts at `first` and doubles with
/// every attempt up to `max`. This is the "full jitter" of Marc Brooker, *Exponential Backoff
/// And Jitter* (AWS Architecture Blog, 2015): when a server comes back, its thousand clients
/// return spread over the whole interval instead of in waves, with the least work for both. The
/// price is that a single pause can be as short as nothing.
///
/// ```
/// use std::time::Duration;
/// use syncro_net::Backoff;
///
/// let mut backoff = Backoff::default();
/// assert!(backoff.next() <= Duration::from_millis(100));
/// assert!(backoff.next() <= Duration::from_millis(200));
/// backoff.reset(); // a session came about
/// assert!(backoff.next() <= Duration::from_millis(100));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    ceiling: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Creates a backoff whose pauses reach up to `first` at the start and never over `max`.
    ///
    /// A `first` over `max` counts as `max`, and a `first` of zero never pauses. Equal seeds of
    /// `rng` give equal pauses, which is what a test wants; nodes in the field need seeds of
    /// their own, or they return in step.
    pub fn new(first: Duration, max: Duration, rng: fastrand::Rng) -> Self {
        let first = first.min(max);
        Self { first, max, ceiling: first, rng }
    }

    /// Draws the next pause, uniformly from zero to `min(max, first * 2^attempt)`.
    #[allow(
        clippy::should_implement_trait,
        reason = "pauses never run out, so an `Option` around each would be noise"
    )]
    pub fn next(&mut self) -> Duration {
        let ceiling_nanos = u64::try_from(self.ceiling.as_nanos()).unwrap_or(u64::MAX);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        Duration::from_nanos(self.rng.u64(0..=ceiling_nanos))
    }

    /// Starts over at `first`.
    ///
    /// Worth calling once a session has done something useful, not at the bare connection: a
    /// peer that accepts and hangs up at once would otherwise be dialled without a pause.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// Starts at 100 ms and goes up to 5 s, seeded from the process's own randomness.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST, MAX, fastrand::Rng::new())
    }
}

/// Long enough to matter to a server that restarts, short enough to go unnoticed by a person.
const FIRST: Duration = Duration::from_millis(100);

/// A person who watches the network come back waits no longer than this, and half on average.
const MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(seed: u64) -> Backoff {
        Backoff::new(FIRST, MAX, fastrand::Rng::with_seed(seed))
    }

    /// The pauses of the n-th attempt under many seeds, sorted.
    fn pauses_of_attempt(attempt: usize) -> Vec<Duration> {
        let mut pauses: Vec<_> = (0..1000)
            .map(|seed| {
                let mut backoff = seeded(seed);
                for _ in 0..attempt {
                    backoff.next();
                }
                backoff.next()
            })
            .collect();
        pauses.sort();
        pauses
    }

    #[test]
    fn pauses_fill_the_whole_of_a_ceiling_that_doubles_up_to_its_max() {
        for (attempt, ceiling_ms) in [100, 200, 400, 800, 1600, 3200, 5000, 5000].iter().enumerate()
        {
            let ceiling = Duration::from_millis(*ceiling_ms);
            let pauses = pauses_of_attempt(attempt);
            assert!(pauses[999] <= ceiling, "attempt {attempt} went over: {:?}", pauses[999]);
            assert!(pauses[999] > ceiling * 98 / 100, "attempt {attempt} stays below its ceiling");
            assert!(pauses[0] < ceiling * 2 / 100, "attempt {attempt} stays above zero");
            let median = pauses[500];
            assert!(
                median > ceiling * 45 / 100 && median < ceiling * 55 / 100,
                "attempt {attempt} leans to one side: {median:?}"
            );
        }
    }

    #[test]
    fn a_peer_that_is_away_for_years_is_still_dialled_within_the_max() {
        let mut backoff = seeded(1);
        assert!((0..100_000).all(|_| backoff.next() <= MAX));
        let mut endless = Backoff::new(MAX, Duration::MAX, fastrand::Rng::with_seed(1));
        for _ in 0..200 {
            endless.next();
        }
    }

    #[test]
    fn a_reset_starts_over_at_the_first_ceiling() {
        let mut backoff = seeded(2);
        for _ in 0..50 {
            backoff.next();
        }
        for _ in 0..50 {
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
    }

    #[test]
    fn equal_seeds_pause_alike_and_others_do_not() {
        let pauses = |seed| {
            let mut backoff = seeded(seed);
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[test]
    fn a_first_over_the_max_counts_as_the_max() {
        let mut backoff = Backoff::new(MAX, FIRST, fastrand::Rng::with_seed(3));
        assert!((0..1000).all(|_| backoff.next() <= FIRST));
        backoff.reset();
        assert!((0..1000).all(|_| backoff.next() <= FIRST));
    }
}
