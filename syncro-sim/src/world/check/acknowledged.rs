//! Nothing that was acknowledged is lost.

use bytes::Bytes;
use syncro_core::SessionId;

use super::at;
use crate::world::{End, Failure, Law, World};

impl World {
    /// Whether a peer holds durably what it says that it holds durably. What it has said before was checked then, and
    /// is not lost by it since.
    pub(crate) fn check_receipt(
        &mut self,
        node: usize,
        session: SessionId,
        offset: u64,
    ) -> Result<(), Failure> {
        let ends = self.links.iter_mut().map(|link| &mut link.ends);
        let is_it = |ends: &&mut [_; 2]| ends.iter().any(|end: &End| end.session == session);
        let Some(ends) = ends.into_iter().find(is_it).filter(|_| !self.is_hostile) else {
            return Ok(());
        };
        let side = usize::from(ends[0].node != node);
        let peer = ends[1 - side].node;
        let from = std::mem::replace(&mut ends[side].receipt, offset);
        let has = |held: &Bytes| self.nodes[peer].log.holds_durably(held);
        let has = |held: &Bytes| has(held) || self.is_settled_aside(peer, held);
        let Some(entry) = self.nodes[node].log.first_without(from..offset, has) else {
            return Ok(());
        };
        let detail = format!("node {peer} acknowledged {offset} and has not flushed {}", at(entry));
        Err(Law::Durability.broken(detail))
    }
}
