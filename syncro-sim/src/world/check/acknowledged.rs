//! Nothing that was acknowledged is lost.

use super::at;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether a peer holds durably what it says that it holds durably.
    pub(crate) fn check_receipt(
        &self,
        node: usize,
        session: u64,
        offset: u64,
    ) -> Result<(), Failure> {
        if self.is_hostile {
            return Ok(());
        }
        let ends = self.links.iter().map(|link| &link.ends);
        let Some(ends) = ends.into_iter().find(|ends| ends[0].session.0 == session) else {
            return Ok(());
        };
        let peer = if ends[0].node == node { ends[1].node } else { ends[0].node };
        for entry in self.nodes[node].log.entries() {
            let is_held = self.nodes[peer].log.holds_durably(entry.transaction.bytes());
            if entry.offset < offset && !is_held {
                let detail =
                    format!("node {peer} acknowledged {offset} and has not flushed {}", at(entry));
                return Err(Law::Durability.broken(detail));
            }
        }
        Ok(())
    }
}
