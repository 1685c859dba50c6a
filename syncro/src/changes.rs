//! Watching changes.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use syncro_core::{
    Changed, DataError, Entry, Fields, FieldsReader, Mark, Record, RecordKey, ScribeModel,
    SessionId, Stamp, View,
};
use syncro_store::Reader;
use tokio::sync::Notify;

use crate::error::Error;

/// Changes held for a watcher that has not asked yet. Beyond it the watcher reads on from the log.
const QUEUED_MAX: usize = 4096;

/// Bytes of the log read at once for a watcher that reads on from it.
const REPLAY_BYTES: usize = 64 << 10;

/// What one scribe did to one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<T> {
    /// The scribe's offset in this node's log; watch from the next one to go on after it.
    pub offset: u64,
    /// When it was written and by whom: `stamp.author.node` is this node's for its own writes.
    pub stamp: Stamp,
    /// The record.
    pub key: RecordKey,
    /// What happened to the record's life.
    pub mark: Mark,
    /// The record before; `None` when it was not alive, and always when replayed.
    pub before: Option<T>,
    /// The record after; `None` when it is not alive. When replayed, the record as it is now.
    pub after: Option<T>,
    /// Where the watcher has it from.
    pub origin: Origin,
}

/// How a change came to a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Live: this node wrote it.
    Local,
    /// Live: it came over a session, whoever wrote it.
    Session(SessionId),
    /// Replayed: it was read back from the log, for a watcher that was away or too slow.
    Log,
}

/// A stream of changes of one model; see [`Node::watch`](crate::Node::watch).
#[derive(Debug)]
pub struct Watch<M> {
    all: WatchAll,
    model: PhantomData<fn() -> M>,
}

impl<M: ScribeModel> Watch<M> {
    pub(crate) fn new(all: WatchAll) -> Self {
        Self { all, model: PhantomData }
    }

    /// Waits for the next change; `None` when the node is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] when the record does not fit the type: the change is passed over.
    /// [`Error::Store`] when the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Change<M>>, Error> {
        loop {
            match self.all.next_raw().await? {
                Some(raw) if raw.key.model.as_str() == M::MODEL => return raw.typed().map(Some),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Blocks the thread until the next change; `None` when the node is closed.
    ///
    /// # Errors
    ///
    /// Like [`next`](Self::next).
    pub fn next_blocking(&mut self) -> Result<Option<Change<M>>, Error> {
        while let Some(raw) = self.all.next_raw_blocking()? {
            if raw.key.model.as_str() == M::MODEL {
                return raw.typed().map(Some);
            }
        }
        Ok(None)
    }

    /// Returns the next change if there is one already.
    ///
    /// # Errors
    ///
    /// Like [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<Change<M>>, Error> {
        while let Some(raw) = self.all.try_next_raw()? {
            if raw.key.model.as_str() == M::MODEL {
                return raw.typed().map(Some);
            }
        }
        Ok(None)
    }
}

/// A stream of changes of every model; see [`Node::watch_all`](crate::Node::watch_all).
#[derive(Debug)]
pub struct WatchAll {
    queue: Arc<Queue>,
    hub_end: Arc<AtomicU64>,
    reader: Reader,
    /// What was read back from the log and not given out yet.
    replayed: VecDeque<Raw>,
}

impl WatchAll {
    /// Waits for the next change; `None` when the node is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Change<Fields>>, Error> {
        Ok(self.next_raw().await?.map(Raw::untyped))
    }

    /// Blocks the thread until the next change; `None` when the node is closed.
    ///
    /// # Errors
    ///
    /// Like [`next`](Self::next).
    pub fn next_blocking(&mut self) -> Result<Option<Change<Fields>>, Error> {
        Ok(self.next_raw_blocking()?.map(Raw::untyped))
    }

    fn next_raw_blocking(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            if let Some(raw) = self.try_next_raw()? {
                return Ok(Some(raw));
            }
            let inbox = self.queue.lock();
            if inbox.is_over() {
                return Ok(None);
            }
            if inbox.changes.is_empty() && !inbox.is_behind {
                drop(self.queue.woken_threads.wait(inbox));
            }
        }
    }

    /// Returns the next change if there is one already.
    ///
    /// # Errors
    ///
    /// Like [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<Change<Fields>>, Error> {
        Ok(self.try_next_raw()?.map(Raw::untyped))
    }

    async fn next_raw(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            let queue = self.queue.clone();
            let woken = queue.woken.notified();
            if let Some(raw) = self.try_next_raw()? {
                return Ok(Some(raw));
            }
            if self.queue.lock().is_over() {
                return Ok(None);
            }
            woken.await;
        }
    }

    fn try_next_raw(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            if let Some(raw) = self.replayed.pop_front() {
                return Ok(Some(raw));
            }
            let from = {
                let mut inbox = self.queue.lock();
                if let Some(changed) = inbox.changes.pop_front() {
                    return Ok(Some(Raw::live(changed)));
                }
                // The hub's end moves before a change is handed out: one that this inbox skipped, being
                // behind, is below the end, and one that is still to come is above.
                if inbox.next >= self.hub_end.load(Ordering::Acquire) {
                    inbox.is_behind = false;
                }
                if !inbox.is_behind {
                    return Ok(None);
                }
                inbox.next
            };
            match self.replay(from) {
                // A node that is closed has no log to read on from.
                Err(Error::Closed) => return Ok(None),
                replayed => replayed?,
            }
        }
    }

    /// Reads a piece of the log, from the transaction in which an offset lies.
    fn replay(&mut self, from: u64) -> Result<(), Error> {
        let snapshot = self.reader.snapshot();
        let mut start = from;
        while snapshot.digest_at(start)?.is_none() && start > 0 {
            start -= 1;
        }
        let entries = snapshot.entries(start, REPLAY_BYTES)?;
        let end = entries.last().map_or(from, |entry| entry.end().offset);
        for entry in &entries {
            for (offset, raw) in raws(entry, &snapshot)? {
                if offset >= from {
                    self.replayed.push_back(raw);
                }
            }
        }
        self.queue.lock().next = end;
        Ok(())
    }
}

fn raws(entry: &Entry, view: &impl View) -> Result<Vec<(u64, Raw)>, Error> {
    let raws = (entry.offset..).zip(entry.transaction.scribes()).map(|(offset, scribe)| {
        let raw = Raw {
            offset,
            stamp: entry.transaction.stamp(),
            key: scribe.key.clone(),
            mark: scribe.mark,
            before: None,
            after: view.record(&scribe.key)?,
            origin: Origin::Log,
        };
        Ok((offset, raw))
    });
    raws.collect()
}

/// A change before it is turned into what the watcher wants.
#[derive(Debug)]
struct Raw {
    offset: u64,
    stamp: Stamp,
    key: RecordKey,
    mark: Mark,
    before: Option<Arc<Record>>,
    after: Option<Arc<Record>>,
    origin: Origin,
}

impl Raw {
    fn live(changed: Changed) -> Self {
        Self {
            offset: changed.offset,
            stamp: changed.stamp,
            key: changed.key,
            mark: changed.mark,
            before: changed.before,
            after: Some(changed.after),
            origin: changed.session.map_or(Origin::Local, Origin::Session),
        }
    }

    fn untyped(self) -> Change<Fields> {
        let fields = |record: Option<Arc<Record>>| {
            record.filter(|record| record.is_alive()).map(|record| Fields::of(&record))
        };
        Change {
            offset: self.offset,
            stamp: self.stamp,
            before: fields(self.before),
            after: fields(self.after),
            key: self.key,
            mark: self.mark,
            origin: self.origin,
        }
    }

    fn typed<M: ScribeModel>(self) -> Result<Change<M>, Error> {
        let change = self.untyped();
        let id = change.key.id.clone();
        let instance = |fields: Option<Fields>| -> Result<Option<M>, DataError> {
            fields.map(|fields| FieldsReader::instance(&id, &fields)).transpose()
        };
        Ok(Change {
            offset: change.offset,
            stamp: change.stamp,
            before: instance(change.before)?,
            after: instance(change.after)?,
            key: change.key,
            mark: change.mark,
            origin: change.origin,
        })
    }
}

/// Where changes are handed out to the watchers.
#[derive(Debug)]
pub(crate) struct Hub {
    queues: Mutex<Vec<Weak<Queue>>>,
    /// The offset up to which changes were handed out.
    end: Arc<AtomicU64>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    inbox: Mutex<Inbox>,
    woken: Notify,
    woken_threads: Condvar,
}

#[derive(Debug)]
struct Inbox {
    changes: VecDeque<Changed>,
    /// The offset of the next change that the watcher has not got, queued ones aside.
    next: u64,
    /// Whether the watcher reads in the log from `next` on; nothing is queued meanwhile.
    is_behind: bool,
    is_closed: bool,
}

impl Inbox {
    /// Whether nothing comes any more: what was handed out before the end is still to be had.
    fn is_over(&self) -> bool {
        self.is_closed && self.changes.is_empty()
    }
}

impl Queue {
    fn wake(&self) {
        self.woken.notify_waiters();
        self.woken_threads.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    pub(crate) fn new(end: u64) -> Self {
        let end = Arc::new(AtomicU64::new(end));
        Self { queues: Mutex::default(), end, is_closed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a watcher, from an offset of the log or from now on.
    pub(crate) fn watch(&self, from: Option<u64>, reader: Reader) -> WatchAll {
        let mut queues = self.lock();
        let end = self.end.load(Ordering::Acquire);
        let inbox = Inbox {
            changes: VecDeque::new(),
            next: from.map_or(end, |from| from.min(end)),
            is_behind: from.is_some(),
            is_closed: self.is_closed.load(Ordering::Acquire),
        };
        let queue =
            Queue { inbox: Mutex::new(inbox), woken: Notify::new(), woken_threads: Condvar::new() };
        let queue = Arc::new(queue);
        queues.push(Arc::downgrade(&queue));
        WatchAll { queue, hub_end: self.end.clone(), reader, replayed: VecDeque::new() }
    }

    /// Hands a change out. [`advance`](Self::advance) has been called for it.
    pub(crate) fn push(&self, changed: &Changed) {
        self.lock().retain(|queue| {
            let Some(queue) = queue.upgrade() else {
                return false;
            };
            let mut inbox = queue.lock();
            if !inbox.is_behind && changed.offset >= inbox.next {
                if inbox.changes.len() < QUEUED_MAX {
                    inbox.changes.push_back(changed.clone());
                    inbox.next = changed.offset + 1;
                } else {
                    inbox.is_behind = true;
                }
            }
            drop(inbox);
            queue.wake();
            true
        });
    }

    /// Notes that everything before an offset is in the log, and is handed out or about to be.
    pub(crate) fn advance(&self, end: u64) {
        self.end.fetch_max(end, Ordering::AcqRel);
    }

    /// Lets every watcher end.
    pub(crate) fn close(&self) {
        let queues = self.lock();
        self.is_closed.store(true, Ordering::Release);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.lock().is_closed = true;
            queue.wake();
        }
    }
}
