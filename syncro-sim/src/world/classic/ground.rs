//! What the hub is over: the first node of a world, which the hub has while it works.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use syncro::{Change, Committed, Error, Origin};
use syncro_classic::Base;
use syncro_core::{
    Changed, Fields, NodeId, Point, Principal, Proposal, Record, StoreError, UsageError, View,
};
use syncro_store::Reader;

use crate::world::{A, Failure, World};

/// A world that somebody else has, but for the time in which the hub works.
#[derive(Clone, Default)]
pub(crate) struct Ground(Rc<RefCell<Inside>>);

#[derive(Default)]
struct Inside {
    world: World,
    /// The law that was broken meanwhile.
    failed: Option<Failure>,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ground")
    }
}

/// What the hub still has to be told of the log as it was when it was opened. What comes after that, the world keeps.
#[derive(Debug)]
pub(crate) struct Replay(VecDeque<Changed>);

impl Ground {
    /// Lets the hub have the world.
    pub(super) fn enter(&self, world: &mut World) {
        std::mem::swap(&mut self.0.borrow_mut().world, world);
    }

    /// Takes the world back.
    pub(super) fn leave(&self, world: &mut World) -> Result<(), Failure> {
        let mut inside = self.0.borrow_mut();
        std::mem::swap(&mut inside.world, world);
        inside.failed.take().map_or(Ok(()), Err)
    }

    /// Does something with the world, after which the node may be another: then the hub has to go.
    fn with<T>(
        &self,
        call: impl FnOnce(&mut World) -> Result<Result<T, Error>, Failure>,
    ) -> Result<T, Error> {
        let mut inside = self.0.borrow_mut();
        let opens = inside.world.opens;
        match call(&mut inside.world) {
            Ok(_) if inside.world.opens != opens => Err(Error::Closed),
            Ok(done) => done,
            Err(failure) => {
                inside.failed = Some(failure);
                Err(Error::Closed)
            }
        }
    }
}

/// Whether a hub has failed for want of room.
pub(super) fn is_full(error: &syncro_classic::Error) -> bool {
    use syncro_classic::Error as Classic;
    matches!(error, Classic::Node(Error::Store(StoreError::Full)) | Classic::List(StoreError::Full))
}

fn fields(record: Option<Arc<Record>>) -> Option<Fields> {
    record.filter(|record| record.is_alive()).map(|record| Fields::of(&record))
}

fn change(changed: Changed, after: Option<Arc<Record>>, origin: Origin) -> Change<Fields> {
    Change {
        offset: changed.offset,
        resume: changed.resume,
        stamp: changed.stamp,
        key: changed.key,
        mark: changed.mark,
        before: fields(changed.before),
        after: fields(after),
        origin,
    }
}

impl Base for Ground {
    type Watch = Replay;

    fn id(&self) -> NodeId {
        self.0.borrow().world.nodes[A].engine.node()
    }

    fn end(&self) -> Point {
        self.0.borrow().world.nodes[A].log.end()
    }

    fn reader(&self) -> Reader {
        self.0.borrow().world.nodes[A].store.reader()
    }

    fn is_authority(&self) -> bool {
        false
    }

    fn propose(&self, _: Option<&Principal>, it: Proposal) -> Result<Option<Committed>, Error> {
        self.with(|world| {
            let before = world.nodes[A].log.end().offset;
            world.ledger.raising = 0;
            if let Err(error) = world.try_propose(A, it)? {
                return Ok(Err(error.into()));
            }
            let log = &world.nodes[A].log;
            let last = log.entries().last().filter(|entry| entry.offset >= before);
            Ok(Ok(last.map(|entry| Committed {
                stamp: entry.transaction.stamp(),
                offset: entry.end().offset,
            })))
        })
    }

    fn make_durable(&self) -> Result<Point, Error> {
        self.with(|world| {
            world.sync(A)?;
            let it = &world.nodes[A];
            Ok(if it.unsynced.is_empty() {
                Ok(it.log.end())
            } else {
                Err(Error::Store(StoreError::Full))
            })
        })
    }

    fn watch_from(&self, from: Point) -> Result<Replay, Error> {
        let mut inside = self.0.borrow_mut();
        let it = &inside.world.nodes[A];
        if it.store.digest_at(from.offset)? != Some(from.digest) {
            return Err(UsageError::UnknownPoint { point: from }.into());
        }
        let (mut replay, mut start) = (VecDeque::new(), from);
        for entry in it.log.entries_from(from.offset) {
            let end = entry.end();
            for (offset, scribe) in (entry.offset..).zip(entry.scribes()) {
                replay.push_back(Changed {
                    offset,
                    resume: if offset + 1 == end.offset { end } else { start },
                    stamp: entry.transaction.stamp(),
                    key: scribe.key.clone(),
                    mark: scribe.mark,
                    before: None,
                    after: Arc::default(),
                    session: None,
                });
            }
            start = end;
        }
        inside.world.watched = Some(VecDeque::new());
        Ok(Replay(replay))
    }

    fn next_of(&self, watch: &mut Replay) -> Result<Option<Change<Fields>>, Error> {
        let mut inside = self.0.borrow_mut();
        if let Some(changed) = watch.0.pop_front() {
            let after = inside.world.nodes[A].store.record(&changed.key)?;
            return Ok(Some(change(changed, after, Origin::Log)));
        }
        let next = inside.world.watched.as_mut().and_then(VecDeque::pop_front);
        Ok(next.map(|changed| {
            let origin = changed.session.map_or(Origin::Local, Origin::Session);
            let after = Some(changed.after.clone());
            change(changed, after, origin)
        }))
    }
}
