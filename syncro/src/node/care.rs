//! Caring for the store of a node that is open.

#[cfg(feature = "redb")]
use std::path::Path;

#[cfg(feature = "redb")]
use syncro_store::Copied;
use syncro_store::Verified;

use super::Node;
use crate::error::Error;

impl Node {
    /// Copies the node's store, as it is at this moment, to a new file. The node goes on meanwhile.
    ///
    /// The copy, opened, is the same node in another epoch: what it lacks comes from its peers. Where this
    /// one lives on, the two are branches of one node, and converge when they meet. A long copy tells its
    /// progress with [`Reader::backup`].
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

    /// Looks at everything in the node's store, and names what is damaged.
    ///
    /// The node goes on meanwhile, but for the time in which the database checks itself. A node whose
    /// database is damaged stops with its next write. A long look tells its progress with
    /// [`Reader::verify`].
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
}
