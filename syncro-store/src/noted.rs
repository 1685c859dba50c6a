//! Who the node is and what it knows of its peers, until that is written.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncro_core::{Commit, NodeId, OwnRow, PeerRow};

use crate::encoding::{key, row};

/// The small rows as the last commits have left them: they change with each, and are encoded once for many.
///
/// There are none while somebody remembers the store as it was.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) own: Option<OwnRow>,
    pub(crate) peers: BTreeMap<NodeId, PeerRow>,
    /// The engine's own; with nothing those that are to go.
    pub(crate) rows: BTreeMap<Bytes, Option<Bytes>>,
}

impl Noted {
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.own = Some(commit.own.clone());
        self.peers.extend(commit.peers.iter().cloned());
        self.rows.extend(commit.rows.iter().cloned());
    }

    /// The rows, which are forgotten here; those with nothing are to be deleted.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Option<Bytes>)> + use<> {
        let Self { own, peers, rows } = std::mem::take(self);
        let peers = peers.into_iter().map(|(node, row)| (key::peer(node), row::write_peer(&row)));
        let own = own.map(|own| (key::OWN.to_vec(), row::write_own(&own)));
        let rows = rows.into_iter().map(|(key, row)| (key::engine(&key), row));
        peers.chain(own).map(|(key, row)| (key, Some(row.into()))).chain(rows)
    }
}
