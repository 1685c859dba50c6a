//! Whoever is dead is given up within two heartbeats, and nobody who was heard of.

use syncro_core::SessionId;
use syncro_core::limits::HEARTBEAT_MS;

use crate::world::{End, Failure, Law, Sight, World};

/// Clocks are slow or fast by three in a hundred, and a little for the steps of the world's time.
const LATEST_MS: u64 = 2 * HEARTBEAT_MS + HEARTBEAT_MS / 12;
const EARLIEST_MS: u64 = 2 * HEARTBEAT_MS - HEARTBEAT_MS / 12;

impl World {
    /// Whether nobody still waits for a peer of whom it has heard nothing for two heartbeats.
    pub(crate) fn check_given_up(&self) -> Result<(), Failure> {
        let ends = self.links.iter().flat_map(|link| &link.ends).filter(|end| end.is_open);
        let ends = ends.map(|end| (end.node, end.session, end.heard_ms));
        for (node, session, heard_ms) in ends.chain(self.heard_of_intruders()) {
            if self.nodes.len() > node && self.now_ms > heard_ms + LATEST_MS {
                let ms = self.now_ms - heard_ms;
                let detail = format!("node {node} still waits in {}, after {ms} ms", session.0);
                return Err(Law::Liveness.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether a peer that is given up was not heard of for as long.
    pub(crate) fn check_dead_indeed(
        &mut self,
        node: usize,
        session: SessionId,
    ) -> Result<(), Failure> {
        let is_it = |end: &End| end.node == node && end.session == session;
        let mut found = self.heard_of_intruder(node, session);
        for link in &self.links {
            let Some(side) = link.ends.iter().position(is_it) else { continue };
            found = Some(link.ends[side].heard_ms);
            if link.is_broken || link.ends[side].is_blocked {
                self.seen.insert([Sight::SilentCalled, Sight::SilentCaller][side]);
            }
        }
        match found.map(|heard_ms| self.now_ms.saturating_sub(heard_ms)) {
            Some(ms @ ..EARLIEST_MS) => {
                let detail = format!("node {node} gives up {}, after {ms} ms", session.0);
                Err(Law::Liveness.broken(detail))
            }
            _ => Ok(()),
        }
    }
}
