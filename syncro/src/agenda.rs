//! What the background thread of a node is to do, and when.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::core::lock;

/// How long the thread waits at most: so that a node without handles is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long what a peer sent waits for more to be flushed with it, before it is acknowledged.
const GATHERED: Duration = Duration::from_millis(1);

/// How long it waits at most. Live changes come one after the other, and to flush and acknowledge every few of them would
/// keep a core busy, and those waiting that come next.
const GATHERED_MAX: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(crate) struct Agenda {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Clone, Default)]
struct Plan {
    /// And how long after it was asked for that is.
    sync_at: Option<(Instant, Duration)>,
    /// When something came from a peer, of what the next sync is for.
    came_at: Option<Instant>,
    /// How much longer than [`GATHERED`] that waits, and when that was decided.
    patience: Duration,
    synced_at: Option<Instant>,
    tick_at: Option<Instant>,
    is_unpacked: bool,
    is_behind: bool,
    is_over: bool,
}

impl Plan {
    /// Notes that something has come from a peer. Returns how long it waits for more.
    fn gather(&mut self, now: Instant) -> Duration {
        let is_first = self.came_at.replace(now).is_none();
        if is_first && self.synced_at.is_none_or(|at| now - at > GATHERED) {
            self.patience = Duration::ZERO;
        }
        GATHERED + self.patience
    }

    /// Notes that everything is being synced. Where nothing has come of late, somebody may wait for the receipt before
    /// it sends more; otherwise what comes next waits twice as long.
    fn begin_sync(&mut self, now: Instant) {
        (self.sync_at, self.synced_at) = (None, Some(now));
        let is_flowing = self.came_at.take().is_some_and(|at| now - at < GATHERED / 2);
        self.patience = match is_flowing {
            true => (2 * self.patience + GATHERED).min(GATHERED_MAX - GATHERED),
            false => Duration::ZERO,
        };
    }
}

/// What is due now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) sync: bool,
    pub(crate) tick: bool,
    /// There is something to pack.
    pub(crate) pack: bool,
    /// There is something to write behind.
    pub(crate) behind: bool,
}

impl Agenda {
    pub(crate) fn sync_within(&self, delay: Duration) {
        let mut plan = lock(&self.plan);
        // What was asked for before, with no more delay, comes first: that takes no look at the clock.
        if plan.sync_at.is_some_and(|(_, planned)| planned <= delay) {
            return;
        }
        let at = Instant::now() + delay;
        if plan.sync_at.is_none_or(|(planned, _)| at < planned) {
            plan.sync_at = Some((at, delay));
            self.wake(plan);
        }
    }

    /// Lets what a peer sent be synced soon, together with what comes meanwhile.
    pub(crate) fn gather(&self) {
        let delay = lock(&self.plan).gather(Instant::now());
        self.sync_within(delay);
    }

    pub(crate) fn tick_by(&self, at: Instant) {
        let mut plan = lock(&self.plan);
        // A tick that comes too early asks for the next one; only an earlier one must wake the thread.
        if plan.tick_at.is_none_or(|planned| at < planned) {
            plan.tick_at = Some(at);
            self.wake(plan);
        }
    }

    pub(crate) fn pack(&self) {
        lock(&self.plan).is_unpacked = true;
        self.changed.notify_one();
    }

    pub(crate) fn write_behind(&self) {
        lock(&self.plan).is_behind = true;
        self.changed.notify_one();
    }

    /// Wakes the thread, which must not find the plan locked: it would wait once more.
    fn wake(&self, plan: MutexGuard<'_, Plan>) {
        drop(plan);
        self.changed.notify_one();
    }

    /// Lets the thread end.
    pub(crate) fn end(&self) {
        lock(&self.plan).is_over = true;
        self.changed.notify_all();
    }

    /// What is due now; when nothing is, waits a while. `None` at the end.
    pub(crate) fn due(&self) -> Option<Due> {
        let mut plan = lock(&self.plan);
        if plan.is_over {
            return None;
        }
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let sync_at = plan.sync_at.map(|(at, _)| at);
        let due = Due {
            sync: is_due(sync_at),
            tick: is_due(plan.tick_at),
            pack: std::mem::take(&mut plan.is_unpacked),
            behind: std::mem::take(&mut plan.is_behind),
        };
        if due.sync {
            plan.begin_sync(now);
        }
        if due.tick {
            plan.tick_at = None;
        }
        if !due.sync && !due.tick && !due.pack && !due.behind {
            let next = sync_at.into_iter().chain(plan.tick_at).min();
            let pause = next.map_or(PAUSE_MAX, |at| at - now).min(PAUSE_MAX);
            drop(self.changed.wait_timeout(plan, pause));
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_a_row_waits_longer_and_longer_and_what_comes_alone_does_not() {
        let (mut plan, mut now) = (Plan::default(), Instant::now());
        let mut waited = Vec::new();
        for _ in 0..7 {
            let delay = plan.gather(now);
            waited.push(delay.as_millis());
            now += delay;
            plan.gather(now - GATHERED / 4);
            plan.begin_sync(now);
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 20, 20]);

        // What comes when all is long over is the first of another row.
        assert_eq!(plan.clone().gather(now + Duration::from_secs(3600)), GATHERED);

        // The last of a row is the first of those who wait for a receipt.
        now += plan.gather(now);
        plan.begin_sync(now);
        for _ in 0..3 {
            let delay = plan.gather(now);
            assert_eq!(delay, GATHERED);
            now += delay;
            plan.begin_sync(now);
        }
    }
}
