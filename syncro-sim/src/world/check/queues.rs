//! At rest nothing waits, and everybody knows it of his peers.

use crate::world::{Failure, Law, World};

impl World {
    /// Whether every open session has taken in all that its peer has, and holds the receipt for all of its own log.
    pub(crate) fn check_queues(&self) -> Result<(), Failure> {
        for end in self.links.iter().flat_map(|link| &link.ends).filter(|end| end.is_open) {
            let node = &self.nodes[end.node];
            let status = node.engine.sessions().find(|status| status.session == end.session);
            let Some(status) = status else {
                let detail = format!("session {} of node {} is not open", end.session.0, end.node);
                return Err(Law::Rest.broken(detail));
            };
            let all = (0, 0, Some(node.log.end().offset));
            if (status.incoming, status.outgoing, status.receipt) != all {
                return Err(Law::Rest.broken(format!("at rest, node {} has {status:?}", end.node)));
            }
        }
        Ok(())
    }
}
