//! What the background thread of a node is to do, and when.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::core::lock;

/// How long the thread waits at most: so that a node without handles is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Agenda {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
struct Plan {
    /// And how long after it was asked for that is.
    sync_at: Option<(Instant, Duration)>,
    tick_at: Option<Instant>,
    is_behind: bool,
    is_over: bool,
}

/// What is due now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) sync: bool,
    pub(crate) tick: bool,
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
            self.changed.notify_one();
        }
    }

    pub(crate) fn tick_by(&self, at: Instant) {
        let mut plan = lock(&self.plan);
        // A tick that comes too early asks for the next one; only an earlier one must wake the thread.
        if plan.tick_at.is_none_or(|planned| at < planned) {
            plan.tick_at = Some(at);
            self.changed.notify_one();
        }
    }

    pub(crate) fn write_behind(&self) {
        lock(&self.plan).is_behind = true;
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
            behind: std::mem::take(&mut plan.is_behind),
        };
        if due.sync {
            plan.sync_at = None;
        }
        if due.tick {
            plan.tick_at = None;
        }
        if !due.sync && !due.tick && !due.behind {
            let next = sync_at.into_iter().chain(plan.tick_at).min();
            let pause = next.map_or(PAUSE_MAX, |at| at - now).min(PAUSE_MAX);
            drop(self.changed.wait_timeout(plan, pause));
        }
        Some(due)
    }
}
