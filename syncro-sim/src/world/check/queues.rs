//! At rest nothing waits, everybody knows it of his peers, and nobody was given up who is there.

use std::collections::BTreeSet;

use syncro_core::limits::HEARTBEAT_MS;
use syncro_core::{Event, SessionId, Usage};

use super::at;
use crate::world::{Failure, Law, World};

/// For how long nobody may go unheard before the other side gives him up, in eighths of a heartbeat: two heartbeats,
/// and some for clocks that are slow.
const EIGHTHS: usize = 18;

impl World {
    /// Whether every open session has taken in all that its peer has, and holds the receipt for all of its own log.
    pub(crate) fn check_queues(&self) -> Result<(), Failure> {
        for end in self.links.iter().flat_map(|link| &link.ends) {
            let node = &self.nodes[end.node];
            let Some(status) = node.status(end.session).filter(|_| end.is_open) else {
                let detail = format!("session {} of node {} is not open", end.session.0, end.node);
                return Err(Law::Rest.broken(detail));
            };
            let all = (0, 0, Some(node.log.end().offset));
            if (status.incoming, status.outgoing, status.receipt) != all {
                return Err(Law::Rest.broken(format!("at rest, node {} has {status:?}", end.node)));
            }
            let caught_up = node.events.iter().filter(|event| is_caught_up(event, end.session));
            let times = caught_up.count();
            if times != 1 {
                let detail = format!("node {} has caught up {times} times in {status:?}", end.node);
                return Err(Law::Rest.broken(detail));
            }
        }
        self.check_usage()
    }

    /// Whether no engine keeps in memory what nobody needs at rest.
    fn check_usage(&self) -> Result<(), Failure> {
        for (number, node) in self.nodes.iter().enumerate() {
            let peers: BTreeSet<_> = node.engine.sessions().map(|status| status.peer).collect();
            let usage = node.engine.usage();
            let sessions = node.engine.sessions().count();
            let least = Usage { sessions, peers: peers.len(), ..Usage::default() };
            if (Usage { tail_bytes: 0, ..usage }) != least {
                return Err(Law::Bounds.broken(format!("at rest, node {number} keeps {usage:?}")));
            }
        }
        Ok(())
    }

    /// Lets clocks find out which connections are dead, and demands that they have.
    pub(crate) fn check_dead(&mut self) -> Result<(), Failure> {
        for _ in 0..EIGHTHS {
            self.advance(HEARTBEAT_MS / 8)?;
            self.settle()?;
        }
        for link in self.links.iter().filter(|link| link.is_dead()) {
            if let Some(end) = link.ends.iter().find(|end| end.is_open) {
                let detail = format!("node {} still waits in session {}", end.node, end.session.0);
                return Err(Law::Rest.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether a node has what its peer had when it was let in, and the peer what the node says that it has.
    pub(crate) fn check_caught_up(&self, node: usize, session: SessionId) -> Result<(), Failure> {
        let Some((link, side)) = self.place_of(node, session) else { return Ok(()) };
        let [end, peer] = [&link.ends[side], &link.ends[1 - side]];
        // Sources leave out what they refuse, and views what is not for them.
        if !peer.is_open || self.is_hostile || self.rules.is_some() {
            return Ok(());
        }
        let [log, theirs] = [node, peer.node].map(|number| &self.nodes[number].log);
        if let Some(entry) = theirs.first_without(0..end.peer_end, |it| log.holds(it)) {
            let detail = format!("node {node} has caught up without {}", at(entry));
            return Err(Law::Points.broken(detail));
        }
        let Some(status) = self.nodes[node].status(session) else { return Ok(()) };
        let held = log.end().offset - status.outgoing;
        if let Some(entry) = log.first_without(0..held, |it| theirs.holds(it)) {
            let detail = format!("node {node} says that {} holds {}", peer.node, at(entry));
            return Err(Law::Points.broken(detail));
        }
        Ok(())
    }
}

pub(super) fn is_caught_up(event: &Event, session: SessionId) -> bool {
    matches!(event, Event::CaughtUp { session: of, .. } if *of == session)
}
