//! Who the node is and what it knows of its peers, until that is written.

use std::collections::BTreeMap;

use syncro_core::{Commit, Digest, NodeId, OwnRow, Parked, PeerRow};

use crate::encoding::{key, row};

/// The small rows as the last commits have left them: they change with each, and are encoded once for many.
///
/// There are none while somebody remembers the store as it was.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) own: Option<OwnRow>,
    pub(crate) peers: BTreeMap<NodeId, PeerRow>,
    /// What is set aside; with nothing what is not any more.
    pub(crate) parked: BTreeMap<Digest, Option<Parked>>,
}

impl Noted {
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.own = Some(commit.own.clone());
        self.peers.extend(commit.peers.iter().cloned());
        self.parked.extend(commit.parked.iter().cloned());
    }

    /// The rows, which are forgotten here; those with nothing are to be deleted.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + use<> {
        let Self { own, peers, parked } = std::mem::take(self);
        let peers = peers.into_iter().map(|(node, row)| (key::peer(node), row::write_peer(&row)));
        let own = own.map(|own| (key::OWN.to_vec(), row::write_own(&own)));
        let parked = parked.into_iter();
        let parked = parked.map(|(id, row)| (key::parked(id), row.map(|row| row.to_bytes())));
        peers.chain(own).map(|(key, row)| (key, Some(row))).chain(parked)
    }
}
