//! Who the node is and what it knows of its peers, until that is written.

use std::collections::BTreeMap;

use syncro_core::{Commit, NodeId, OwnRow, PeerRow};

use crate::encoding::{key, row};

/// The small rows as the last commits have left them: they change with each, and are encoded once for many.
///
/// There are none while somebody remembers the store as it was.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) own: Option<OwnRow>,
    pub(crate) peers: BTreeMap<NodeId, PeerRow>,
}

impl Noted {
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.own = Some(commit.own.clone());
        self.peers.extend(commit.peers.iter().cloned());
    }

    /// The rows, which are forgotten here.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + use<> {
        let Self { own, peers } = std::mem::take(self);
        let peers = peers.into_iter().map(|(node, row)| (key::peer(node), row::write_peer(&row)));
        peers.chain(own.map(|own| (key::OWN.to_vec(), row::write_own(&own))))
    }
}
