//! What a hub is over.

use std::fmt::Debug;

use syncro::{
    Change, Committed, Durability, Error, Fields, Node, NodeId, Point, Principal, Proposal, Reader,
    WatchAll,
};

/// What a [`Hub`](crate::Hub) is over: a [`Node`], or what stands for one where time and crashes are in the hands of a
/// test. `syncro-sim` puts a hub over each node of its worlds that has classic peers.
pub trait Base: Debug {
    /// Tells of changes, one by one.
    type Watch: Debug;

    /// Who it is.
    fn id(&self) -> NodeId;

    /// Where its log ends.
    fn end(&self) -> Point;

    /// Reads its store.
    fn reader(&self) -> Reader;

    /// Whether it limits what peers may do.
    fn is_authority(&self) -> bool;

    /// Records a proposal, by the rights of a principal if there is one. It need not be durable.
    ///
    /// # Errors
    ///
    /// Those of [`Node::propose_as`].
    fn propose(&self, by: Option<&Principal>, it: Proposal) -> Result<Option<Committed>, Error>;

    /// Makes everything durable so far, and returns the end of the log that this covers.
    ///
    /// # Errors
    ///
    /// Those of [`Node::make_durable`].
    fn make_durable(&self) -> Result<Point, Error>;

    /// Watches all changes from a point of the log on.
    ///
    /// # Errors
    ///
    /// Those of [`Node::watch_all_from`].
    fn watch_from(&self, from: Point) -> Result<Self::Watch, Error>;

    /// The next change, if there is one already.
    ///
    /// # Errors
    ///
    /// Those of [`WatchAll::try_next`].
    fn next_of(&self, watch: &mut Self::Watch) -> Result<Option<Change<Fields>>, Error>;
}

impl Base for Node {
    type Watch = WatchAll;

    fn id(&self) -> NodeId {
        Self::id(self)
    }

    fn end(&self) -> Point {
        Self::end(self)
    }

    fn reader(&self) -> Reader {
        Self::reader(self)
    }

    fn is_authority(&self) -> bool {
        Self::is_authority(self)
    }

    fn propose(&self, by: Option<&Principal>, it: Proposal) -> Result<Option<Committed>, Error> {
        match by {
            Some(principal) => self.propose_as(principal, it, Durability::Deferred),
            None => Self::propose(self, it, Durability::Deferred),
        }
    }

    fn make_durable(&self) -> Result<Point, Error> {
        Self::make_durable(self)
    }

    fn watch_from(&self, from: Point) -> Result<WatchAll, Error> {
        self.watch_all_from(from)
    }

    fn next_of(&self, watch: &mut WatchAll) -> Result<Option<Change<Fields>>, Error> {
        watch.try_next()
    }
}
