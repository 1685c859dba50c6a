//! Stamps follow what their author knew, and no clock is led astray by another that is far ahead.

use syncro_core::limits::FUTURE_MS;
use syncro_core::{Changed, Event, Time};

use crate::world::{Failure, Law, World};

/// What a node's clock may have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// The latest that its wall clock has shown.
    wall_ms: u64,
    /// The latest ordinary time that it wrote at.
    own_ms: u64,
    /// The latest time that it wrote at, over records from the future.
    ahead_ms: u64,
}

impl World {
    /// Whether the stamp of a local write is what its own clock, or the records that it touched, made it.
    pub(crate) fn check_clock(&mut self, node: usize, events: &[Event]) -> Result<(), Failure> {
        let wall_ms = self.now(node).wall_ms;
        let touched_ms = self.touched_ms;
        let bounds = &mut self.nodes[node].bounds;
        bounds.wall_ms = bounds.wall_ms.max(wall_ms);
        let own = || events.iter().filter_map(written);
        let Some(ms) = own().map(|changed| changed.stamp.time.ms()).max() else {
            return Ok(());
        };
        if ms <= bounds.wall_ms.max(bounds.own_ms) + FUTURE_MS {
            bounds.own_ms = bounds.own_ms.max(ms);
        } else if ms <= touched_ms.max(bounds.ahead_ms) + 1 {
            bounds.ahead_ms = bounds.ahead_ms.max(ms);
        } else {
            let detail = format!("node {node} stamps {ms}, and its clock is at {wall_ms}");
            return Err(Law::Clocks.broken(detail));
        }
        Ok(())
    }

    /// The time up to which a node's clock follows its log when an entry of that time is put there: that of the
    /// entry, unless it is far ahead. What is written must be later than what was followed, and than the wall clock.
    pub(crate) fn followed(&self, node: usize, time: Time, is_own: bool) -> Result<Time, Failure> {
        let (log, wall_ms) = (&self.nodes[node].log, self.now(node).wall_ms);
        let before = log.followed();
        if is_own && (time <= before || time.ms() < wall_ms) {
            let detail = format!(
                "node {node} stamps {time:?} at {wall_ms}, when it has followed {before:?}"
            );
            return Err(Law::Clocks.broken(detail));
        }
        let reference_ms = if is_own { wall_ms.max(before.ms()) } else { wall_ms };
        Ok(if time.ms() > reference_ms + FUTURE_MS { before } else { before.max(time) })
    }
}

/// A change that was written here.
fn written(event: &Event) -> Option<&Changed> {
    match event {
        Event::Changed(changed) if changed.session.is_none() => Some(changed),
        _ => None,
    }
}
