//! Opening a node.

use std::fmt;
#[cfg(feature = "redb")]
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use syncro_core::{
    CallFailure, Config, ModelChannels, Name, NodeId, Permissions, ScribeModel, Value,
};
#[cfg(feature = "redb")]
use syncro_store::Repaired;
use syncro_store::{Backend, LogStore};

use super::rights::check_credentials;
use super::{Handle, Node};
use crate::calls::{Caller, Handler};
use crate::core::{Core, seed};
use crate::error::Error;
use crate::rules::Rules;

/// Opens a [`Node`] with more to say than [`Node::open`].
#[derive(Default)]
pub struct NodeBuilder {
    node: Option<NodeId>,
    name: Option<String>,
    credentials: Bytes,
    permissions: Option<Arc<dyn Permissions>>,
    models: Vec<ModelChannels>,
    is_view: bool,
    handlers: Vec<(String, Arc<Handler>)>,
}

impl NodeBuilder {
    /// Gives the node an id. A new store otherwise gets a random one, or one derived from the name.
    pub fn id(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Names the node. The name is told to peers, for people to read; unless an id is given, the id is
    /// derived from it ([`NodeId::named`]), and then the name is who the node is: two stores under one name
    /// are one node twice.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Gives the node what shows peers who it is: at most 2,048 bytes, which it says to whomever it connects to, and to
    /// nobody who connects to it. See [`Node::set_credentials`].
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into().into();
        self
    }

    /// Limits what peers may do, by rules: whoever is let in may change what its principal and the rules permit, and
    /// nothing else. What is refused is undone, and its author is told. See [`Rules`].
    pub fn rules(mut self, rules: Rules) -> Self {
        self.models.extend(rules.models());
        self.permissions(rules)
    }

    /// Limits what peers may do, by permissions of your own making. The models whose channels they name have to be
    /// told too: [`model`](Self::model).
    pub fn permissions(mut self, permissions: impl Permissions + 'static) -> Self {
        self.permissions = Some(Arc::new(permissions));
        self
    }

    /// Records the channels of a model ([`ScribeModel::CHANNELS`]) at the opening, if they are not as they were, so that
    /// every node knows them.
    pub fn model<M: ScribeModel>(mut self) -> Self {
        self.models.push(ModelChannels::of::<M>());
        self
    }

    /// Makes the node a view: it holds what it [subscribes](Node::subscribe) to, of the first node it connects to that
    /// limits what peers see, rather than whole logs. A store is a view's from its beginning, or never.
    pub fn view(mut self) -> Self {
        self.is_view = true;
        self
    }

    /// Answers calls of a name, of 1 to 255 bytes, that peers make with [`Node::call`]. The handler is told who calls, and
    /// what with; the peer gets the value that it returns, of at most 256 KiB, or the failure, of which the application's
    /// own have numbers from [`CallFailure::APPLICATION`] on.
    ///
    /// Any peer with a session may call, so a handler looks at [`Caller::principal`] before it does what not everybody
    /// may have done. It runs in a thread for what blocks, of the runtime that carries the session: it may block, and
    /// should know an end, since nothing ends it when its time is over. Of a node's handlers 256 run at a time, 64 for
    /// one session; whoever calls then is told to come back. One that panics fails the call, and nothing else.
    ///
    /// ```
    /// use syncro::{CallFailure, Node, Value, store::Memory};
    ///
    /// let builder = Node::builder().name("server").handler("price", |caller, item| match item {
    ///     Value::Text(item) if item == "milk" => Ok(Value::from(119)),
    ///     _ => Err(CallFailure::new(CallFailure::APPLICATION, "no such item")),
    /// });
    /// let server = builder.open_on(Memory::new())?;
    /// # Ok::<(), syncro::Error>(())
    /// ```
    pub fn handler(
        mut self,
        name: &str,
        handler: impl Fn(&Caller, Value) -> Result<Value, CallFailure> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.push((name.to_owned(), Arc::new(handler)));
        self
    }

    /// Opens the node in a file, which is created if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the file is in use, damaged, of a newer version or cannot be written;
    /// [`Error::Usage`] when it belongs to a node of another id.
    #[cfg(feature = "redb")]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Node, Error> {
        self.open_on(syncro_store::Redb::open(path)?)
    }

    /// Opens the node over a backend of its own.
    ///
    /// # Errors
    ///
    /// Like [`open`](Self::open); [`Error::Data`] for a handler's name outside 1 to 255 bytes.
    pub fn open_on(self, backend: impl Backend) -> Result<Node, Error> {
        self.open_store(LogStore::open(backend)?)
    }

    /// Repairs a damaged file, and opens the node in it.
    ///
    /// What can be read stays; what was lost comes back from the peers that have it, once they are connected.
    /// A file whose database is damaged is made anew, as large as what is in it, and the damaged one kept beside it:
    /// [`Repaired::kept`]. See [`LogStoreBuilder::repair`](syncro_store::LogStoreBuilder::repair).
    ///
    /// # Errors
    ///
    /// Like [`open`](Self::open), for a file that is not there or has nothing left of a store, and for one that
    /// does not know which node it was where no [`id`](Self::id) or [`name`](Self::name) says so.
    #[cfg(feature = "redb")]
    pub fn repair(self, path: impl AsRef<Path>) -> Result<(Node, Repaired), Error> {
        let backend = syncro_store::Redb::builder().open_damaged(path)?;
        let (store, repaired) = LogStore::builder().repair(backend, self.id_of_node())?;
        Ok((self.open_store(store)?, repaired))
    }

    fn open_store(self, store: LogStore) -> Result<Node, Error> {
        let node = self.id_of_node();
        let name = self.name.as_deref().map(Name::new).transpose()?;
        check_credentials(&self.credentials)?;
        let (seed, permissions, view) = (seed()?, self.permissions, self.is_view);
        let config = Config { node, name, seed, permissions, view };
        let handlers = self.handlers.into_iter().map(|(name, it)| Ok((Name::new(&name)?, it)));
        let handlers: Vec<_> = handlers.collect::<Result<_, Error>>()?;
        let core = Core::open(store, config, self.credentials)?;
        let node = Node::of(Arc::new(Handle(core)));
        node.core.calls.work_for(&node.handle);
        handlers.into_iter().for_each(|(name, handler)| node.core.calls.handle(name, handler));
        // Which channels there are a view is told.
        let models = if view { Vec::new() } else { self.models };
        node.transaction(|draft| models.iter().try_for_each(|model| draft.save(model)))?;
        Ok(node)
    }

    fn id_of_node(&self) -> Option<NodeId> {
        self.node.or_else(|| self.name.as_deref().map(NodeId::named))
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<_> = self.handlers.iter().map(|(name, _)| name).collect();
        f.debug_struct("NodeBuilder")
            .field("node", &self.node)
            .field("name", &self.name)
            .field("permissions", &self.permissions)
            .field("handlers", &handlers)
            .finish_non_exhaustive()
    }
}
