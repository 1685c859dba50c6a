//! Watching changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use syncro_core::{
    Changed, Entry, Fields, FieldsReader, Mark, Point, Record, RecordId, RecordKey, ScribeModel,
    SessionId, Stamp, StoreError, UsageError, View,
};
use syncro_store::Reader;
use tokio::sync::Notify;

use crate::core::lock;
use crate::error::Error;

/// Changes held for a watcher that has not asked yet. Beyond it the watcher reads on from the log.
const QUEUED_MAX: usize = 4096;

/// Bytes of the records in them, before and after: a large record that changes often must not fill the
/// memory.
const QUEUED_BYTES_MAX: usize = 16 << 20;

/// Bytes of the log read at once for a watcher that reads on from it.
const REPLAY_BYTES: usize = 64 << 10;

/// What one scribe did to one record: everything that a transaction did to it, as one change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<T> {
    /// The scribe's offset in this node's log.
    pub offset: u64,
    /// Where to watch from in order to go on: everything before it has been told. Keep it with what was made of
    /// that, and of nothing else.
    ///
    /// For the last scribe of a transaction it is the end of the transaction, and so after this change. For the
    /// others it is the start, and what is made of them is to be kept with a later point: a crash may take back a
    /// transaction that was not durable, and half of it would stay.
    pub resume: Point,
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

    /// Waits for the next change; `None` when the node is closed or has stopped.
    ///
    /// # Errors
    ///
    /// [`DataError::Mismatch`](crate::DataError::Mismatch) when the record, which it names, does not fit the
    /// type: the change is passed over.
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

    /// Blocks the thread until the next change; `None` when the node is closed or has stopped.
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
    hub_end: Arc<Mutex<Point>>,
    reader: Reader,
    /// What was read back from the log and not given out yet.
    replayed: VecDeque<Raw>,
}

impl WatchAll {
    /// Waits for the next change; `None` when the node is closed or has stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Change<Fields>>, Error> {
        Ok(self.next_raw().await?.map(Raw::untyped))
    }

    /// Blocks the thread until the next change; `None` when the node is closed or has stopped.
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
            let mut inbox = self.queue.lock();
            if inbox.is_over() {
                return Ok(None);
            }
            if inbox.must_wait() {
                inbox.is_awaited = true;
                drop(self.queue.woken_thread.wait(inbox));
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
        let next = self.next_replayed_or_queued();
        // A node that is closed has no log to read on from.
        if matches!(next, Err(Error::Closed)) { Ok(None) } else { next }
    }

    fn next_replayed_or_queued(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            if let Some(raw) = self.replayed.front() {
                let after = match self.reader.record(&raw.key) {
                    Err(StoreError::UnderRepair) => return Ok(None),
                    after => after,
                };
                // A record that cannot be read is told once, and passed over.
                let raw = self.replayed.pop_front();
                return Ok(raw.map(|raw| after.map(|after| Raw { after, ..raw })).transpose()?);
            }
            let (start, next, pauses) = {
                let mut inbox = self.queue.lock();
                if let Some(changed) = inbox.pop() {
                    return Ok(Some(Raw::live(changed)));
                }
                if let Some(point) = inbox.lost.take() {
                    return Err(UsageError::UnknownPoint { point }.into());
                }
                if inbox.flow == Flow::Paused {
                    return Ok(None);
                }
                // The hub's end moves before a change is handed out: one that this inbox skipped, being
                // behind, is below the end, and one that is still to come is above.
                if inbox.next >= lock(&self.hub_end).offset {
                    inbox.is_behind = false;
                }
                if !inbox.is_behind {
                    return Ok(None);
                }
                (inbox.start, inbox.next, inbox.pauses)
            };
            let entries = self.reader.entries(start.offset, REPLAY_BYTES);
            let mut inbox = self.queue.lock();
            if inbox.pauses != pauses {
                // What was read may be of another log.
                continue;
            }
            let mut end = start;
            for entry in &entries? {
                let raws = raws(entry, end)?;
                self.replayed.extend(raws.filter(|raw| raw.offset >= next));
                end = entry.end();
            }
            (inbox.start, inbox.next) = (end, end.offset);
        }
    }
}

/// What a watcher is told of a transaction of the log; the records are read when it asks for them.
fn raws(entry: &Entry, start: Point) -> Result<impl Iterator<Item = Raw> + use<>, StoreError> {
    let (stamp, end) = (entry.transaction.stamp(), entry.end());
    let scribes = entry.scribes()?;
    Ok((entry.offset..).zip(scribes).map(move |(offset, scribe)| Raw {
        offset,
        resume: if offset + 1 == end.offset { end } else { start },
        stamp,
        key: scribe.key,
        mark: scribe.mark,
        before: None,
        after: None,
        origin: Origin::Log,
    }))
}

/// A change before it is turned into what the watcher wants.
#[derive(Debug)]
struct Raw {
    offset: u64,
    resume: Point,
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
            resume: changed.resume,
            stamp: changed.stamp,
            key: changed.key,
            mark: changed.mark,
            before: changed.before,
            after: Some(changed.after),
            origin: changed.session.map_or(Origin::Local, Origin::Session),
        }
    }

    fn untyped(self) -> Change<Fields> {
        let Ok(change) = self.of(|_, record| Ok::<_, Infallible>(Fields::of(record)));
        change
    }

    fn typed<M: ScribeModel>(self) -> Result<Change<M>, Error> {
        Ok(self.of(|id, record| FieldsReader::instance_of(id, record))?)
    }

    /// The change, with what a watcher makes of records that are alive.
    fn of<T, E>(self, read: impl Fn(&RecordId, &Record) -> Result<T, E>) -> Result<Change<T>, E> {
        let read = |record: Option<Arc<Record>>| {
            let alive = record.filter(|record| record.is_alive());
            alive.map(|record| read(&self.key.id, &record)).transpose()
        };
        Ok(Change {
            before: read(self.before)?,
            after: read(self.after)?,
            offset: self.offset,
            resume: self.resume,
            stamp: self.stamp,
            key: self.key,
            mark: self.mark,
            origin: self.origin,
        })
    }
}

/// Where changes are handed out to the watchers.
#[derive(Debug)]
pub(crate) struct Hub {
    queues: Mutex<Queues>,
    /// Whether there may be any.
    is_watched: AtomicBool,
    /// The point up to which changes were handed out.
    end: Arc<Mutex<Point>>,
}

#[derive(Debug, Default)]
struct Queues {
    queues: Vec<Weak<Queue>>,
    flow: Flow,
}

/// Whether changes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Flow {
    #[default]
    Open,
    /// The store is being repaired, and must not be read.
    Paused,
    /// The node has stopped.
    Closed,
}

#[derive(Debug)]
struct Queue {
    inbox: Mutex<Inbox>,
    woken: Notify,
    woken_thread: Condvar,
}

#[derive(Debug)]
struct Inbox {
    /// Each with the bytes of its records, and those of all.
    changes: VecDeque<(Changed, usize)>,
    bytes: usize,
    /// The offset of the next change that the watcher has not got, queued ones aside.
    next: u64,
    /// Where the transaction begins in which `next` lies.
    start: Point,
    /// Whether the watcher reads on in the log from `next`; nothing is queued meanwhile.
    is_behind: bool,
    flow: Flow,
    /// Counts the repairs begun: what was read of the log before one says nothing of the log after it.
    pauses: u64,
    /// Where the watcher was in a log of which a repair has not left so much. It has not been told.
    lost: Option<Point>,
    /// Whether a thread is blocked, or was: to wake it takes a system call, with every change.
    is_awaited: bool,
}

impl Inbox {
    /// Whether nothing comes any more: what was handed out before the end is still to be had.
    fn is_over(&self) -> bool {
        self.flow == Flow::Closed && self.changes.is_empty()
    }

    /// Whether there is nothing to be had now.
    fn must_wait(&self) -> bool {
        let has_more = self.is_behind && self.flow != Flow::Paused;
        self.changes.is_empty() && self.lost.is_none() && !has_more
    }

    /// Goes on in a log that a repair has left: from where the watcher is, or, if there is no such point any
    /// more, from the end.
    fn resume(&mut self, end: Point, is_known: bool) {
        self.flow = Flow::Open;
        if !is_known {
            self.lost.get_or_insert(self.start);
            self.start = end;
        }
        // What follows may be another transaction than the one that was handed out in part.
        self.next = self.start.offset;
        self.is_behind = true;
    }

    /// Queues a change, if it is the watcher's next and there is room.
    fn push(&mut self, changed: &Changed) {
        if self.is_behind || changed.offset < self.next {
            return;
        }
        let bytes = bytes_of(changed);
        if self.changes.len() == QUEUED_MAX || self.bytes + bytes > QUEUED_BYTES_MAX {
            self.is_behind = true;
            return;
        }
        self.bytes += bytes;
        self.changes.push_back((changed.clone(), bytes));
        (self.start, self.next) = (changed.resume, changed.offset + 1);
    }

    fn pop(&mut self) -> Option<Changed> {
        let (changed, bytes) = self.changes.pop_front()?;
        self.bytes -= bytes;
        Some(changed)
    }
}

fn bytes_of(changed: &Changed) -> usize {
    changed.before.as_ref().map_or(0, |record| record.bytes()) + changed.after.bytes()
}

impl Queue {
    /// Does something to what the watcher gets, and wakes it.
    fn change(&self, change: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.lock();
        change(&mut inbox);
        let is_awaited = std::mem::take(&mut inbox.is_awaited);
        drop(inbox);
        self.woken.notify_waiters();
        if is_awaited {
            self.woken_thread.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }
}

impl Hub {
    pub(crate) fn new(end: Point) -> Self {
        let end = Arc::new(Mutex::new(end));
        Self { queues: Mutex::default(), is_watched: AtomicBool::new(false), end }
    }

    /// Adds a watcher, from a point of the log or from now on; between two steps of the engine.
    pub(crate) fn watch(&self, from: Option<Point>, reader: Reader) -> WatchAll {
        let mut all = lock(&self.queues);
        self.is_watched.store(true, Ordering::Relaxed);
        let Queues { queues, flow } = &mut *all;
        if queues.len() == queues.capacity() {
            queues.retain(|queue| queue.strong_count() > 0);
        }
        let start = from.unwrap_or_else(|| *lock(&self.end));
        let inbox = Inbox {
            changes: VecDeque::new(),
            bytes: 0,
            next: start.offset,
            start,
            is_behind: from.is_some(),
            flow: *flow,
            pauses: 0,
            lost: None,
            is_awaited: false,
        };
        let queue =
            Queue { inbox: Mutex::new(inbox), woken: Notify::new(), woken_thread: Condvar::new() };
        let queue = Arc::new(queue);
        queues.push(Arc::downgrade(&queue));
        WatchAll { queue, hub_end: self.end.clone(), reader, replayed: VecDeque::new() }
    }

    /// Whether there may be a watcher.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Hands a change out. [`advance`](Self::advance) has been called for it.
    pub(crate) fn push(&self, changed: &Changed) {
        if !self.is_watched() {
            return;
        }
        let queues = &mut lock(&self.queues).queues;
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else {
                return false;
            };
            queue.change(|inbox| inbox.push(changed));
            true
        });
        self.is_watched.store(!queues.is_empty(), Ordering::Relaxed);
    }

    /// Notes that everything before a point is in the log, and is handed out or about to be.
    pub(crate) fn advance(&self, end: Point) {
        *lock(&self.end) = end;
    }

    /// Lets every watcher end.
    pub(crate) fn close(&self) {
        self.each(Flow::Closed, |inbox| inbox.flow = Flow::Closed);
    }

    /// Lets every watcher wait, and forget what it is about to read: before the store is repaired.
    pub(crate) fn pause(&self) {
        self.each(Flow::Paused, |inbox| {
            inbox.flow = Flow::Paused;
            inbox.pauses += 1;
        });
    }

    /// Lets every watcher go on, also one that has ended, over a store that was repaired: its log has an end,
    /// and some of the points that it had.
    pub(crate) fn resume(&self, end: Point, is_known: impl Fn(Point) -> bool) {
        self.advance(end);
        self.each(Flow::Open, |inbox| inbox.resume(end, is_known(inbox.start)));
    }

    fn each(&self, flow: Flow, change: impl Fn(&mut Inbox)) {
        let mut all = lock(&self.queues);
        all.flow = flow;
        for queue in all.queues.iter().filter_map(Weak::upgrade) {
            queue.change(&change);
        }
    }
}

#[cfg(test)]
mod tests {
    use syncro_store::{LogStore, Memory};

    use super::*;

    #[test]
    fn watchers_that_are_gone_leave_nothing_behind_on_an_idle_node() {
        let hub = Hub::new(Point::START);
        let store = LogStore::open(Memory::new()).unwrap();
        (0..1000).for_each(|_| drop(hub.watch(None, store.reader())));
        assert!(lock(&hub.queues).queues.len() < 10);
    }
}
