//! Signals: passing words of a node on a topic, of which the last one counts, and which are in no log.

use crate::id::{Name, NodeId};
use crate::value::Encoded;

/// What a node says on a topic at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The topic.
    pub topic: Name,
    /// Who says it, over however many relays it came.
    pub node: NodeId,
    /// What it says; `None` when it says nothing any more: it took it back, or has gone.
    pub value: Option<Encoded>,
}
