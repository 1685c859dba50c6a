//! Caring for the store of a node that is open.

#[cfg(feature = "redb")]
use std::path::Path;

use syncro_core::{NodeId, UsageError};
#[cfg(feature = "redb")]
use syncro_store::Copied;
use syncro_store::Verified;

use super::Node;
use crate::core::Recovered;
use crate::error::Error;

impl Node {
    /// Copies the node's store, as it is at this moment, to a new file. The node goes on meanwhile.
    ///
    /// The copy, opened, is the same node in another epoch: what it lacks comes from its peers. Where this
    /// one lives on, the two are branches of one node, and converge when they meet. A long copy tells its
    /// progress with [`Reader::backup`](syncro_store::Reader::backup).
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("backup.redb");
    /// let node = syncro::Node::in_memory("laptop")?;
    /// let copied = node.backup(&path)?;
    /// assert_eq!(copied.end, node.end());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the file exists or cannot be written, or when the store cannot be read. No file
    /// is left then.
    #[cfg(feature = "redb")]
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<Copied, Error> {
        Ok(self.core.reader.backup(path, |_| ())?)
    }

    /// Looks at everything in the node's store, and names what is damaged. It writes what is behind, and puts the
    /// database in order as far as it can.
    ///
    /// The node goes on meanwhile, but for the time in which the database checks itself. A node whose
    /// database is damaged stops with its next write. A long look tells its progress with
    /// [`Reader::verify`](syncro_store::Reader::verify).
    ///
    /// ```
    /// let node = syncro::Node::in_memory("laptop")?;
    /// let verified = node.verify()?;
    /// assert!(verified.is_sound(), "{:?}", verified.damage);
    /// # Ok::<(), syncro::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when something could not be looked at. Damage is no error here.
    pub fn verify(&self) -> Result<Verified, Error> {
        Ok(self.core.reader.verify(|_, _| ())?)
    }

    /// Repairs the node's store in place, and waits until a peer has sent what was lost.
    ///
    /// It is for a store that [`verify`](Self::verify) or a read has found damaged, and for a node that has
    /// stopped because its store failed. Every handle stays good: clones of the node, readers, connections,
    /// listeners, watchers. What happens, in order:
    ///
    /// 1. The sessions end, with [`CloseReason::Store`](crate::CloseReason::Store). What was written and is
    ///    not on the disk yet is written there, if that is still possible, and is lost otherwise, as in a
    ///    crash. From here on reads and writes fail with
    ///    [`StoreError::UnderRepair`](crate::StoreError::UnderRepair); nothing waits.
    /// 2. The store is opened anew and repaired, as
    ///    [`LogStoreBuilder::repair`](syncro_store::LogStoreBuilder::repair) does it. This takes as long as to
    ///    read all of it. It ends by itself even when the future is dropped, and
    ///    [`close`](Self::close) waits for it. A second call meanwhile shares it.
    /// 3. A new epoch begins, and is on the disk. From here on the node reads, writes, connects and is
    ///    connected to as before, with whatever it has. [`Notice::Repaired`](crate::Notice::Repaired) tells.
    /// 4. This call, and nobody else, waits until the peer has connected and everything that it had then is
    ///    durable here, however long that takes: `tokio::time::timeout` bounds it.
    ///
    /// Offsets count what the log has left, so those of before mean something else after a loss: receipts are
    /// forgotten, and waits for one end. A watcher whose place in the log is still there goes on from it. One
    /// whose place is gone is told so once, by
    /// [`UsageError::UnknownPoint`](crate::UsageError::UnknownPoint), and goes on from the end that the repair
    /// has left: list everything, and go on with it. What comes back is told as a change once more.
    ///
    /// Of a store that is well nothing changes but the epoch.
    ///
    /// ```
    /// # use syncro::{Node, ScribeModel};
    /// # #[derive(ScribeModel, Clone, Debug, PartialEq)]
    /// # struct Todo { id: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), syncro::Error> {
    /// let (server, laptop) = (Node::in_memory("server")?, Node::in_memory("laptop")?);
    /// let listening = server.listen("127.0.0.1:0").await?;
    /// let _connection = laptop.connect(&listening.local_addr().to_string())?;
    /// server.create(&Todo { id: "1".into() })?;
    ///
    /// let recovered = laptop.repair_from(server.id()).await?;
    /// assert!(recovered.repaired.lost.is_empty());
    /// assert!(laptop.get::<Todo>(&"1".to_string())?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UsageError::OwnNode`] for the node's own id. [`Error::Closed`] when the node is closed, before or
    /// meanwhile. [`StoreError::Full`](crate::StoreError::Full) when there is too little room: a node that was
    /// well goes on, unless the room ran out on the way.
    /// [`Error::Store`] when the store cannot be repaired, or fails again: the node has stopped, and the call
    /// may be tried again.
    pub async fn repair_from(&self, peer: NodeId) -> Result<Recovered, Error> {
        if peer == self.id() {
            return Err(UsageError::OwnNode.into());
        }
        let repaired = self.core.repair().await?;
        let fetched = self.core.fetched_from(peer).await?;
        Ok(Recovered { repaired, fetched })
    }
}
