//! How a node meets a peer by what somebody carries between them.

use std::io::{Read, Write};

use syncro_core::NodeId;

use super::Node;
use crate::bundle::{self, Exported, Imported};
use crate::error::Error;

impl Node {
    /// Writes everything that a peer is not known to hold: a bundle, for [`import`](Self::import) there. It is carried by
    /// whatever means: a file on a stick, a mail, an object in a bucket.
    ///
    /// A bundle begins where the peer has last said that it is, in a session or in a bundle of its own; with a peer that was
    /// never heard of, at the beginning. So it is small where bundles go both ways, and has everything that was
    /// written since where they go one way: nobody says that they arrive. What a peer has said tells
    /// [`peers`](Self::peers). It ends where the log ended when the call began, and the node goes on meanwhile. Bytes may be
    /// counted in the writer, to show how far it is.
    ///
    /// Nothing changes by it. A bundle may get lost, or be imported twice, by others too. Whoever has it can read all that
    /// is in it, and it carries this node's [credentials](Self::set_credentials): keep it as you would keep the store.
    ///
    /// The call blocks the thread: in an async program, `spawn_blocking` is for that. Give it a buffered writer, and see to
    /// it that what was written is on the disk (`File::sync_all`).
    ///
    /// ```
    /// # use syncro::{Node, ScribeModel};
    /// # #[derive(ScribeModel, Clone, Debug, PartialEq)]
    /// # struct Todo { id: String, title: String }
    /// let (desk, cabin) = (Node::in_memory("desk")?, Node::in_memory("cabin")?);
    /// desk.create(&Todo { id: "1".into(), title: "wood".into() })?;
    ///
    /// let mut stick = Vec::new();
    /// desk.export_for(cabin.id(), &mut stick)?;
    /// let imported = cabin.import(&stick[..])?;
    /// assert_eq!((imported.peer, imported.scribes), (desk.id(), 1));
    ///
    /// // And back: what the cabin has, and word that it has all that was on the stick.
    /// let mut stick = Vec::new();
    /// cabin.export_for(desk.id(), &mut stick)?;
    /// desk.import(&stick[..])?;
    /// assert_eq!(desk.export_for(cabin.id(), std::io::sink())?.start, 1);
    /// # Ok::<(), syncro::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BundleError::Io`](crate::BundleError::Io) when it cannot be written;
    /// [`UsageError::MayNotSee`](crate::UsageError::MayNotSee) on a node with rules, unless
    /// [`Permissions::author`](crate::Permissions::author) says that the peer may see everything: who may see some channels
    /// only has to connect; [`BundleError::Repaired`](crate::BundleError::Repaired); [`Error::Closed`]; [`Error::Store`].
    pub fn export_for(&self, peer: NodeId, to: impl Write) -> Result<Exported, Error> {
        bundle::write(&self.core, self.core.begin_export(peer)?, to)
    }

    /// Takes in a bundle that a peer has [exported](Self::export_for). Returns when it is on the disk.
    ///
    /// It is as if the peer had connected: the same is checked, the same is permitted, watchers see the same. What was
    /// here before is passed over, so it does no harm to import a bundle twice, or an old one, or one that was cut off
    /// before its end: the whole one then goes on from there.
    ///
    /// A bundle that begins after something that is missing here is not taken in: [`request_for`](Self::request_for) is for
    /// that. On a node with rules the peer's credentials, which are in it, have to be good when it is imported.
    ///
    /// The call blocks the thread, and reads no further than the bundle goes. Memory does not grow with it.
    ///
    /// # Errors
    ///
    /// [`BundleError`](crate::BundleError), with what was wrong with the bundle and what to do;
    /// [`UsageError::ViewImports`](crate::UsageError::ViewImports) on a view; [`Error::Closed`]; [`Error::Store`]. Whatever
    /// was taken in before an error stays.
    pub fn import(&self, from: impl Read) -> Result<Imported, Error> {
        bundle::import(&self.core, from)
    }

    /// Writes up to where this node holds what a peer has: a request, which is a bundle with nothing else in it. When the peer has
    /// [imported](Self::import) it, its next bundle for this node begins there. It is what to send when a bundle has left a
    /// [gap](crate::BundleError::Gap), or to say that everything has arrived, without what is new here.
    ///
    /// This node's [credentials](Self::set_credentials) are in it, as in every bundle.
    ///
    /// ```
    /// # use syncro::{BundleError, Error, Node, ScribeModel};
    /// # #[derive(ScribeModel, Clone, Debug, PartialEq)]
    /// # struct Todo { id: String }
    /// # let (desk, cabin) = (Node::in_memory("desk")?, Node::in_memory("cabin")?);
    /// # desk.create(&Todo { id: "1".into() })?;
    /// # let mut stick = Vec::new();
    /// # desk.export_for(cabin.id(), &mut stick)?;
    /// # cabin.import(&stick[..])?;
    /// # let mut word = Vec::new();
    /// # cabin.request_for(desk.id(), &mut word)?;
    /// # desk.import(&word[..])?;
    /// # desk.create(&Todo { id: "2".into() })?;
    /// # let mut stick = Vec::new();
    /// # desk.export_for(cabin.id(), &mut stick)?;
    /// # let cabin = Node::in_memory("cabin")?;
    /// if let Err(Error::Bundle(BundleError::Gap { peer, .. })) = cabin.import(&stick[..]) {
    ///     let mut request = Vec::new();
    ///     cabin.request_for(peer, &mut request)?;
    ///     desk.import(&request[..])?;
    ///     stick.clear();
    ///     desk.export_for(cabin.id(), &mut stick)?;
    ///     assert_eq!(cabin.import(&stick[..])?.scribes, 2);
    /// }
    /// # else { panic!("it is missing") }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Like [`export_for`](Self::export_for).
    pub fn request_for(&self, peer: NodeId, to: impl Write) -> Result<(), Error> {
        bundle::write(&self.core, self.core.begin_request(peer)?, to)?;
        Ok(())
    }
}
