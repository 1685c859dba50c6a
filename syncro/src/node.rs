//! The handle that applications hold.

mod builder;
mod bundles;
mod calls;
mod care;
mod network;
mod rights;

use std::collections::BTreeMap;
#[cfg(feature = "redb")]
use std::path::Path;
use std::sync::Arc;

use syncro_core::{
    Digest, Entry, Fields, Name, NodeId, PeerRow, Point, Proposal, Record, RecordId, RecordKey,
    ScribeModel, SessionStatus, StoreError, UsageError, View,
};
use syncro_store::{Memory, Reader};

use crate::changes::{Watch, WatchAll};
use crate::core::{Committed, Core, Durability};
use crate::draft::{Draft, instance};
use crate::error::Error;
use crate::notices::Notices;
use crate::peers::{PeerStatus, Receipt};

pub use builder::NodeBuilder;

/// Records read at once by a listing.
const LISTED_AT_ONCE: usize = 512;

/// A node: a participant with records, a log, and peers. A cheap handle; clones share the node, and may
/// be used from several threads.
///
/// Writes block the thread until they are on the disk, unless they are [`Durability::Deferred`]. Reads
/// see everything written. The node needs no async runtime; sessions run on the host's.
///
/// ```
/// use syncro::{Node, ScribeModel};
///
/// #[derive(ScribeModel, Clone, Debug, PartialEq)]
/// struct Todo {
///     id: String,
///     title: String,
///     done: bool,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), syncro::Error> {
/// let server = Node::in_memory("server")?;
/// let laptop = Node::in_memory("laptop")?;
/// let milk = Todo { id: "1".into(), title: "milk".into(), done: false };
/// let written = laptop.create(&milk)?.expect("a create is always recorded");
///
/// let listening = server.listen("127.0.0.1:0").await?;
/// let _connection = laptop.connect(&listening.local_addr().to_string())?;
/// laptop.confirmed_by(server.id(), written.offset).await?;
/// assert_eq!(server.get::<Todo>(&"1".to_string())?, Some(milk));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    handle: Arc<Handle>,
    core: Arc<Core>,
}

/// Closes the node with its last handle: tasks of sessions may hold the rest a little longer.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever wants to know whether the last flush worked calls `close`.
        let _ = self.0.close();
    }
}

impl Node {
    /// A handle like those that the host has.
    pub(crate) fn of(handle: Arc<Handle>) -> Self {
        Self { core: handle.0.clone(), handle }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Opens a named node in a file, which is created if it is not there.
    ///
    /// The name is who the node is: two stores under one name are one node twice, which peers take for copies
    /// of each other. Give each device a name of its own, or an id ([`NodeBuilder::id`]).
    ///
    /// Copying the file while the node is closed is a backup; a copy, opened, is the same node in another
    /// epoch, and the two converge.
    ///
    /// # Errors
    ///
    /// Like [`NodeBuilder::open`].
    #[cfg(feature = "redb")]
    pub fn open(path: impl AsRef<Path>, name: &str) -> Result<Self, Error> {
        Self::builder().name(name).open(path)
    }

    /// Opens a named node in memory, gone when the last handle is. The name is who it is, as with
    /// [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a name outside 1 to 255 bytes.
    pub fn in_memory(name: &str) -> Result<Self, Error> {
        Self::builder().name(name).open_on(Memory::new())
    }

    /// Says more about the node to be opened: with neither a name nor an id a new store gets a random one.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.core.engine(|engine| engine.node())
    }

    /// The end of the node's log: how many scribes it has, and their digest.
    pub fn end(&self) -> Point {
        self.core.engine(|engine| engine.end())
    }

    /// Creates a record. Returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// [`DataError::Exists`](crate::DataError::Exists) when a record of this id is alive.
    pub fn create<M: ScribeModel>(&self, instance: &M) -> Result<Option<Committed>, Error> {
        self.transaction(|draft| draft.create(instance))
    }

    /// Changes a record: what the closure changes is recorded, field by field; a change of nothing
    /// records nothing and returns `None`.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`](crate::DataError::Missing) when there is no such record,
    /// [`UsageError::IdChanged`] when the closure changes the id.
    pub fn update<M: ScribeModel>(
        &self,
        id: &M::Id,
        change: impl FnOnce(&mut M),
    ) -> Result<Option<Committed>, Error> {
        self.transaction(|draft| draft.update(id, change))
    }

    /// Creates a record, or changes the one that is there to be like this one.
    ///
    /// # Errors
    ///
    /// Whatever makes the data unfit to be recorded.
    pub fn save<M: ScribeModel>(&self, instance: &M) -> Result<Option<Committed>, Error> {
        self.transaction(|draft| draft.save(instance))
    }

    /// Destroys a record.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`](crate::DataError::Missing) when there is no such record.
    pub fn destroy<M: ScribeModel>(&self, id: &M::Id) -> Result<Option<Committed>, Error> {
        self.transaction(|draft| draft.destroy::<M>(id))
    }

    /// Records several changes together or not at all. An error of the closure records nothing.
    ///
    /// What it does to one record is one scribe and one change to a watcher, as it is at the end: a create
    /// and an update of one record are one create; see [`Draft`].
    ///
    /// # Errors
    ///
    /// The closure's, or whatever keeps the transaction from being recorded.
    pub fn transaction(
        &self,
        write: impl FnOnce(&mut Draft) -> Result<(), Error>,
    ) -> Result<Option<Committed>, Error> {
        self.transaction_with(Durability::Durable, write)
    }

    /// Like [`transaction`](Self::transaction), with a choice of when it returns.
    ///
    /// # Errors
    ///
    /// Like [`transaction`](Self::transaction).
    pub fn transaction_with(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut Draft) -> Result<(), Error>,
    ) -> Result<Option<Committed>, Error> {
        let mut draft = Draft::new(self.core.reader.clone());
        write(&mut draft)?;
        self.propose(draft.into_proposal(), durability)
    }

    /// Begins a transaction to be handed to [`commit`](Self::commit); dropping it records nothing.
    pub fn draft(&self) -> Draft {
        Draft::new(self.core.reader.clone())
    }

    /// Records a transaction begun with [`draft`](Self::draft).
    ///
    /// # Errors
    ///
    /// Like [`transaction`](Self::transaction).
    pub fn commit(&self, draft: Draft, durability: Durability) -> Result<Option<Committed>, Error> {
        self.propose(draft.into_proposal(), durability)
    }

    /// Records a proposal made by hand. `None` when it changes nothing.
    ///
    /// # Errors
    ///
    /// Like [`transaction`](Self::transaction).
    pub fn propose(
        &self,
        proposal: Proposal,
        durability: Durability,
    ) -> Result<Option<Committed>, Error> {
        self.core.propose(proposal, durability, None)
    }

    /// Makes everything durable that was written or received so far, and returns the end of the log that this
    /// covers. It is for a host that tells others of changes who cannot check, after a crash, whether they are
    /// still there.
    ///
    /// ```
    /// # let node = syncro::Node::in_memory("laptop")?;
    /// # #[derive(syncro::ScribeModel)]
    /// # struct Todo { id: String }
    /// use syncro::Durability;
    ///
    /// let note = |id: &str| {
    ///     let todo = Todo { id: id.to_owned() };
    ///     node.transaction_with(Durability::Deferred, |draft| draft.create(&todo))
    /// };
    /// (note("1")?, note("2")?);
    /// assert_eq!(node.make_durable()?.offset, 2, "one flush for both");
    /// # Ok::<(), syncro::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the store fails or is [full](StoreError::Full); [`Error::Closed`] when the node is
    /// closed.
    pub fn make_durable(&self) -> Result<Point, Error> {
        self.core.flush()
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`](crate::DataError::Mismatch) when it does not fit the type.
    pub fn get<M: ScribeModel>(&self, id: &M::Id) -> Result<Option<M>, Error> {
        let key = RecordKey::of::<M>(id)?;
        match self.core.reader.record(&key)? {
            Some(record) => instance(&key, &record),
            None => Ok(None),
        }
    }

    /// Lists the records of a model that pass a filter, in id order, as they are at one moment.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`](crate::DataError::Mismatch) when one does not fit the type. It names the
    /// record; [`list_records`](Self::list_records) reads every one, whatever it holds.
    pub fn list<M: ScribeModel>(&self, keep: impl Fn(&M) -> bool) -> Result<Vec<M>, Error> {
        let model = Name::new(M::MODEL)?;
        let mut listed = Vec::new();
        for (id, record) in self.alive(&model)? {
            let found = syncro_core::FieldsReader::instance_of(&id, &record)?;
            if keep(&found) {
                listed.push(found);
            }
        }
        Ok(listed)
    }

    /// Reads a record of any model, registered here or not.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when it cannot be read.
    pub fn get_record(&self, key: &RecordKey) -> Result<Option<Fields>, Error> {
        let record = self.core.reader.record(key)?;
        Ok(record.filter(|record| record.is_alive()).map(|record| Fields::of(&record)))
    }

    /// Lists the records of any model, in id order, as they are at one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn list_records(&self, model: &Name) -> Result<Vec<(RecordId, Fields)>, Error> {
        let alive = self.alive(model)?.into_iter();
        Ok(alive.map(|(id, record)| (id, Fields::of(&record))).collect())
    }

    /// The names of all models that have, or had, records.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn models(&self) -> Result<Vec<Name>, Error> {
        Ok(self.core.reader.models()?)
    }

    /// A digest over all live records, equal on nodes that hold equal records: stamps included, which say who
    /// wrote what and when. Two nodes on which the same was written twice, each on its own, have two digests.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn digest(&self) -> Result<Digest, Error> {
        let snapshot = self.core.reader.snapshot();
        let mut digest = Digest::EMPTY;
        let mut state = Vec::new();
        for model in snapshot.models()? {
            let mut after = None;
            loop {
                let records = snapshot.records(&model, after.as_ref(), LISTED_AT_ONCE)?;
                let Some((last, _)) = records.last() else {
                    break;
                };
                after = Some(last.clone());
                for (id, record) in records.iter().filter(|(_, record)| record.is_alive()) {
                    let key = RecordKey { model: model.clone(), id: id.clone() };
                    state.clear();
                    key.write_state(&mut state);
                    record.write_state(&mut state);
                    digest = digest.then(&state);
                }
            }
        }
        Ok(digest)
    }

    /// Reads the log from an offset at which a transaction begins: about `bytes_max` bytes of it, and
    /// nothing from its end on.
    ///
    /// # Errors
    ///
    /// [`UsageError::UnknownOffset`] for an offset within a transaction; [`Error::Store`] when the log cannot
    /// be read.
    pub fn log(&self, from: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        let reader = &self.core.reader;
        if from <= self.end().offset && reader.digest_at(from)?.is_none() {
            return Err(UsageError::UnknownOffset { offset: from }.into());
        }
        Ok(reader.entries(from, bytes_max)?)
    }

    /// A handle for reading everything that the store has.
    pub fn reader(&self) -> Reader {
        self.core.reader.clone()
    }

    /// Watches the changes of a model from now on: one for each record that a transaction touched.
    pub fn watch<M: ScribeModel>(&self) -> Watch<M> {
        Watch::new(self.watch_all())
    }

    /// Watches the changes of a model from a point of the log on: [`Change::resume`] of the last change
    /// that was dealt with, or what [`end`](Self::end) was before the records were listed.
    ///
    /// Changes are told before they are durable, so that a point may be gone after a crash; what was made
    /// of the changes before it is then to be made anew.
    ///
    /// ```
    /// # #[derive(syncro::ScribeModel)]
    /// # struct Todo { id: String }
    /// # let node = syncro::Node::in_memory("laptop")?;
    /// let mut resume = node.end();
    /// // List everything, and then go on from there.
    /// let mut watch = node.watch_from::<Todo>(resume)?;
    /// node.create(&Todo { id: "1".into() })?;
    /// while let Some(change) = watch.try_next()? {
    ///     resume = change.resume;
    /// }
    /// assert!(node.watch_from::<Todo>(resume)?.try_next()?.is_none());
    /// # Ok::<(), syncro::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UsageError::UnknownPoint`] when the log has no such point, [`Error::Store`] when it cannot be
    /// read.
    ///
    /// [`Change::resume`]: crate::Change::resume
    pub fn watch_from<M: ScribeModel>(&self, from: Point) -> Result<Watch<M>, Error> {
        Ok(Watch::new(self.watch_all_from(from)?))
    }

    /// Watches the changes of every model from now on.
    pub fn watch_all(&self) -> WatchAll {
        self.core.watch(None)
    }

    /// Watches the changes of every model from a point of the log on, like
    /// [`watch_from`](Self::watch_from).
    ///
    /// # Errors
    ///
    /// Like [`watch_from`](Self::watch_from).
    pub fn watch_all_from(&self, from: Point) -> Result<WatchAll, Error> {
        let watch = self.core.watch(Some(from));
        // Whatever a repair does from here on, the watcher is told.
        if self.core.reader.digest_at(from.offset)? != Some(from.digest) {
            return Err(UsageError::UnknownPoint { point: from }.into());
        }
        Ok(watch)
    }

    /// Listens to what happens from now on beside changes: sessions, failed connections, cloned machines,
    /// stamps from the future, a store that fails.
    pub fn notices(&self) -> Notices {
        self.core.board.listen()
    }

    /// Every peer ever met, in the order of their ids.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when they cannot be read.
    pub fn peers(&self) -> Result<Vec<PeerStatus>, Error> {
        let (sessions, end) = (self.sessions(), self.end().offset);
        let mut rows: BTreeMap<NodeId, PeerRow> = self.core.reader.peers()?.into_iter().collect();
        for session in &sessions {
            rows.entry(session.peer).or_default();
        }
        // Who imports a bundle of its own has met itself.
        rows.remove(&self.id());
        let status = rows.into_iter().map(|(node, mut row)| {
            if self.core.reader.digest_at(row.held.offset)? != Some(row.held.digest) {
                row.held = Point::START;
            }
            Ok(PeerStatus::new(node, row, &sessions, end, self.core.receipts.of(node)))
        });
        status.collect()
    }

    /// The open sessions. Two may be of one peer: a store that was copied, or a second connection.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.core.engine(|engine| engine.sessions().collect())
    }

    /// The last receipt of a peer since this node opened.
    pub fn receipt(&self, peer: NodeId) -> Option<Receipt> {
        self.core.receipts.of(peer)
    }

    /// Waits until a peer is connected and every session of it has confirmed that it holds this node's
    /// log up to an offset durably, however long that takes: `tokio::time::timeout` bounds it.
    ///
    /// # Errors
    ///
    /// [`UsageError::OwnNode`] for the node's own id, which is no peer's: [`make_durable`](Self::make_durable) is for
    /// what is durable here. [`Error::Closed`] when the node is closed first, [`Error::Store`] when its store fails or
    /// is repaired: then the offset may be that of something else.
    pub async fn confirmed_by(&self, peer: NodeId, offset: u64) -> Result<(), Error> {
        if peer == self.id() {
            return Err(UsageError::OwnNode.into());
        }
        let mut progress = self.core.progress.subscribe();
        let repairs = self.core.repairs();
        loop {
            // Nothing that borrows may live across the wait, or no task could be spawned with it.
            let mut sessions = self.sessions();
            sessions.retain(|session| session.peer == peer);
            if self.core.repairs() != repairs {
                return Err(StoreError::Repaired.into());
            }
            let has_confirmed = |session: &SessionStatus| session.receipt >= Some(offset);
            if !sessions.is_empty() && sessions.iter().all(has_confirmed) {
                return Ok(());
            }
            if let Some(error) = self.core.stopped() {
                return Err(error);
            }
            if progress.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Ends every session, makes everything durable and closes the node for all its handles. Peers are
    /// told by the tasks of the sessions, on the host's runtime: wait for [`closed`](Self::closed) before
    /// that ends.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the last flush failed.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.0.close()
    }

    /// Returns when the node is [closed](Self::close), and its sessions, connections and listeners have ended:
    /// goodbyes are written, and ports are free. Also when its store has failed and its sessions have ended;
    /// connections and listeners then wait for a [repair](Self::repair_from), or for the closing.
    ///
    /// Each goodbye has a second at most. Without them peers believe that the connection was lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), syncro::Error> {
    /// # let node = syncro::Node::in_memory("server")?;
    /// node.close()?;
    /// node.closed().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn closed(&self) {
        self.core.closed().await;
    }

    /// The living records of a model as they are at one moment. The store's lock is held while they are
    /// read, and not while the caller looks at them: it may use the node as it likes.
    fn alive(&self, model: &Name) -> Result<Vec<(RecordId, Arc<Record>)>, Error> {
        let snapshot = self.core.reader.snapshot();
        let (mut alive, mut after) = (Vec::new(), None);
        loop {
            let records = snapshot.records(model, after.as_ref(), LISTED_AT_ONCE)?;
            let Some((last, _)) = records.last() else {
                return Ok(alive);
            };
            after = Some(last.clone());
            alive.extend(records.into_iter().filter(|(_, record)| record.is_alive()));
        }
    }
}
