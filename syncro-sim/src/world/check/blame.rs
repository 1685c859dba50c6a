//! Nobody is blamed for what he did not do.

use syncro_core::{Author, CloseReason, Event};

use crate::world::{Failure, Law, World};

impl World {
    pub(crate) fn check_event(&mut self, node: usize, event: &Event) -> Result<(), Failure> {
        if let Event::Closed { session, reason: CloseReason::Silent, by_peer: false, .. } = event {
            self.check_dead_indeed(node, *session)?;
        }
        match event {
            Event::Closed { session, reason, by_peer, detail, .. }
                if !self.is_hostile && !Self::is_intruder(*session) =>
            {
                let is_fair = matches!(
                    reason,
                    CloseReason::Done
                        | CloseReason::Lost
                        | CloseReason::Silent
                        | CloseReason::HandshakeTimeout
                );
                if !is_fair {
                    let detail =
                        format!("node {node} closes, by peer {by_peer}: {reason}; {detail}");
                    return Err(Law::Blame.broken(detail));
                }
                Ok(())
            }
            Event::Opened { session, peer, epoch, .. } => {
                self.note_met(node, Author { node: *peer, epoch: *epoch });
                self.note_opened(node, *session);
                Ok(())
            }
            Event::CaughtUp { session, .. } => self.check_caught_up(node, *session),
            Event::Receipt { session, offset, .. } => self.check_receipt(node, *session, *offset),
            _ => Ok(()),
        }
    }
}
