//! Who the peers are, how far they are, and what they have confirmed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use syncro_core::{Name, NodeId, PeerRow, SessionStatus};

/// Word from a peer that it holds everything up to an offset of this node's log durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The offset.
    pub offset: u64,
    /// When the word came.
    pub at: SystemTime,
}

/// One peer, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// The name that the peer gave itself.
    pub name: Option<Name>,
    /// How many sessions it has open with this node.
    pub sessions: usize,
    /// Scribes of its log that are not here yet; while it is not connected, as far as known: 0.
    pub incoming: u64,
    /// Scribes of this node's log that it is not known to hold: it has neither confirmed them, ever, nor
    /// sent them itself. After a crash of this node they may be more than it lacks, until it connects.
    ///
    /// What a peer has sent may still be lost in a crash there; what is surely durable says the receipt.
    pub outgoing: u64,
    /// The last receipt since this node opened.
    pub receipt: Option<Receipt>,
}

impl PeerStatus {
    /// Whether the peer is connected.
    pub fn is_connected(&self) -> bool {
        self.sessions > 0
    }

    /// The status of a peer of some sessions; of several, the one that is furthest behind counts.
    pub(crate) fn new(
        node: NodeId,
        row: PeerRow,
        sessions: &[SessionStatus],
        end: u64,
        receipt: Option<Receipt>,
    ) -> Self {
        let sessions: Vec<_> = sessions.iter().filter(|session| session.peer == node).collect();
        let lacking = end.saturating_sub(row.held.offset);
        Self {
            node,
            name: sessions.first().and_then(|session| session.name.clone()).or(row.name),
            sessions: sessions.len(),
            incoming: sessions.iter().map(|session| session.incoming).max().unwrap_or(0),
            outgoing: sessions.iter().map(|session| session.outgoing).max().unwrap_or(lacking),
            receipt,
        }
    }
}

/// The last receipt of each peer since the node opened.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    last: Mutex<BTreeMap<NodeId, Receipt>>,
}

impl Receipts {
    pub(crate) fn note(&self, peer: NodeId, offset: u64) {
        let receipt = Receipt { offset, at: SystemTime::now() };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, receipt);
    }

    pub(crate) fn clear(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn of(&self, peer: NodeId) -> Option<Receipt> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }
}
