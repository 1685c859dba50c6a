//! The driver: gives inputs to the engine, carries out the effects, and syncs the store once for many.

mod behind;
mod bundle;
mod life;
mod repair;
mod rights;
mod room;
mod signals;
mod tell;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use syncro_core::{
    Called, Channel, CloseReason, Config, Effects, Engine, Input, NodeId, Now, Point, Principal,
    Proposal, Role, SessionId, Stamp, Store, StoreError,
};
use syncro_store::{LogStore, Reader, Syncer};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::agenda::Agenda;
use crate::calls::Calls;
use crate::changes::{Hub, WatchAll};
use crate::error::Error;
use crate::notices::{Board, Notice};
use crate::peers::Receipts;
use crate::signals::Topics;

/// How long a deferred write may stay only in memory.
const DEFERRED_MAX: Duration = Duration::from_millis(50);

/// Bytes applied and not synced at which a writer waits for a sync, deferred or not, and a session before
/// it reads on: what is not synced is held in memory.
const UNSYNCED_BYTES_MAX: usize = 16 << 20;

/// When a write returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on the disk. Writes of several threads share a flush.
    #[default]
    Durable,
    /// At once; it is on the disk within 50 ms, or lost in a crash before, unless a peer has it.
    Deferred,
}

/// A transaction that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its stamp.
    pub stamp: Stamp,
    /// The end of this node's log with it: a peer that confirms this offset holds it.
    pub offset: u64,
}

pub(crate) use bundle::Step;
pub(crate) use life::Life;
pub use repair::Recovered;
pub(crate) use repair::seed;

/// What a session's task has to do.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Opened,
    Frame(Bytes),
    /// To be answered where it may take time.
    Called(Called),
    Close(CloseReason),
}

/// What a session's task gets from the engine.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) messages: mpsc::UnboundedReceiver<Outgoing>,
    pub(crate) end: oneshot::Receiver<CloseReason>,
    /// To be held until the task is done with its stream.
    _working: watch::Receiver<()>,
}

/// What every handle of a node shares.
pub(crate) struct Core {
    state: Mutex<State>,
    pub(crate) reader: Reader,
    syncer: Syncer,
    /// Held by the thread that makes commits durable; the others wait for what it does.
    turn: Mutex<()>,
    durable: Mutex<Durable>,
    /// Rung after each sync, and when none follows.
    synced: Notify,
    /// Whether the store has next to no room, as of the last look.
    is_short_of_room: AtomicBool,
    /// What the background thread is to do.
    agenda: Agenda,
    pub(crate) hub: Hub,
    pub(crate) receipts: Receipts,
    pub(crate) board: Board,
    pub(crate) calls: Calls,
    topics: Topics,
    /// Counts everything that may end a wait for a peer.
    pub(crate) progress: watch::Sender<u64>,
    life: watch::Sender<Life>,
    /// Whoever carries a session or writes a last time holds a receiver until it is done.
    working: watch::Sender<()>,
    /// Whoever listens or connects, which a failed store does not end, holds one too.
    staying: watch::Sender<()>,
    /// What the last repair came to, or will.
    repair: Mutex<Option<repair::Outcome>>,
    has_thread: AtomicBool,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    /// What the engine was opened with, and is again after a repair.
    config: Config,
    /// What shows peers who this node is.
    credentials: Mutex<Bytes>,
    started: Instant,
}

struct State {
    engine: Engine,
    store: LogStore,
    sessions: BTreeMap<SessionId, Line>,
    /// The sessions in which bundles are taken in, and what has come of the last frame.
    imports: BTreeMap<SessionId, Option<Step>>,
    next_session: u64,
    /// The commits of engines before this one: each counts its own from 1.
    earlier: u64,
    /// The commits applied, and the bytes of those not synced yet.
    applied: u64,
    unsynced_bytes: usize,
    /// Why nothing more is taken.
    stopped: Option<Stop>,
    /// Whether the host has closed the node, which nothing undoes.
    is_closed: bool,
    /// Counts the repairs begun.
    repairs: u64,
    /// The scribes that have come from peers since the engine was opened.
    received: u64,
    /// The peers that this node has caught up with since then.
    caught_up: BTreeMap<NodeId, CaughtUp>,
}

impl State {
    /// Says why nothing more is taken, if so.
    fn check_running(&self) -> Result<(), Error> {
        match &self.stopped {
            None => Ok(()),
            Some(stop) => Err(stop.clone().into()),
        }
    }
}

/// What there was when a node had caught up with a peer.
#[derive(Clone, Copy, Debug)]
struct CaughtUp {
    applied: u64,
    received: u64,
}

/// The way to a session's task.
struct Line {
    outbox: mpsc::UnboundedSender<Outgoing>,
    /// Fires when the session ends, past everything that is still to be written.
    ended: oneshot::Sender<CloseReason>,
    /// When it was last told how far the session has caught up.
    told_at: Option<Instant>,
}

impl Line {
    fn close(self, reason: CloseReason) {
        // A task that is gone has said so, or is about to.
        let _ = self.outbox.send(Outgoing::Close(reason));
        let _ = self.ended.send(reason);
    }
}

#[derive(Clone)]
enum Stop {
    Closed,
    Failed(StoreError),
    Repairing,
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Closed => Self::Closed,
            Stop::Failed(error) => Self::Store(error),
            Stop::Repairing => Self::Store(StoreError::UnderRepair),
        }
    }
}

struct Durable {
    through: u64,
    failed: Option<StoreError>,
    /// The commits that were applied and are not in the store that a repair has left, and why.
    lost: Vec<(RangeInclusive<u64>, StoreError)>,
}

/// For data that is whole between any two operations, whichever thread panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Opens the engine over a store, makes its epoch durable, and starts the background thread.
    pub(crate) fn open(
        mut store: LogStore,
        config: Config,
        credentials: Bytes,
    ) -> Result<Arc<Self>, Error> {
        let started = Instant::now();
        let (engine, effects) = Engine::open(now(started), config.clone(), &store)?;
        let mut applied = 0;
        if let Some(commit) = effects.commit {
            store.apply(&commit)?;
            store.sync()?;
            applied = commit.sequence;
        }
        let core = Arc::new(Self {
            reader: store.reader(),
            syncer: store.syncer(),
            hub: Hub::new(engine.end()),
            state: Mutex::new(State {
                engine,
                store,
                sessions: BTreeMap::new(),
                imports: BTreeMap::new(),
                next_session: 0,
                earlier: 0,
                applied,
                unsynced_bytes: 0,
                stopped: None,
                is_closed: false,
                repairs: 0,
                received: 0,
                caught_up: BTreeMap::new(),
            }),
            turn: Mutex::new(()),
            durable: Mutex::new(Durable { through: applied, failed: None, lost: Vec::new() }),
            synced: Notify::new(),
            is_short_of_room: AtomicBool::new(false),
            agenda: Agenda::default(),
            receipts: Receipts::default(),
            board: Board::new(),
            calls: Calls::new(),
            topics: Topics::default(),
            progress: watch::Sender::new(0),
            life: watch::Sender::new(Life::Running),
            working: watch::Sender::new(()),
            staying: watch::Sender::new(()),
            repair: Mutex::default(),
            has_thread: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            config,
            credentials: Mutex::new(credentials),
            started,
        });
        core.on_synced(applied, 0);
        core.look_at_room();
        // What an opening on a full disk could not write.
        core.agenda.write_behind();
        core.start_thread().map_err(Error::Thread)?;
        Ok(core)
    }

    /// Starts the background thread, unless it works.
    fn start_thread(self: &Arc<Self>) -> std::io::Result<()> {
        if !self.has_thread.swap(true, Ordering::Relaxed) {
            let weak = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("syncro".to_owned());
            let started = thread.spawn(move || background(&weak));
            started.inspect_err(|_| self.has_thread.store(false, Ordering::Relaxed))?;
        }
        Ok(())
    }

    /// The state between two steps. A step that panicked has stopped the node: engine and store may differ.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            self.fail(&mut state, &panicked());
            self.state.clear_poison();
            state
        })
    }

    /// Adds a watcher, between two steps: whether there is any is asked before a step, and what it changes is told after it.
    pub(crate) fn watch(&self, from: Option<Point>) -> WatchAll {
        let _between = self.state();
        self.hub.watch(from, self.reader.clone())
    }

    /// Looks at the engine between two steps.
    pub(crate) fn engine<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.state().engine)
    }

    /// Records a transaction. `None` when there was nothing to record.
    pub(crate) fn propose(
        &self,
        proposal: Proposal,
        durability: Durability,
        principal: Option<&Principal>,
    ) -> Result<Option<Committed>, Error> {
        self.check_room(&proposal)?;
        let (applied, room, committed, unsynced_bytes) = {
            let mut state = self.state();
            self.permit(&state, principal, &proposal)?;
            let before = state.unsynced_bytes;
            let effects = self.step(&mut state, Input::Propose(proposal))?;
            let Some(commit) = &effects.commit else {
                return Ok(None);
            };
            let Some(entry) = commit.entries.last() else {
                return Ok(None);
            };
            let stamp = entry.transaction.stamp();
            let committed = Committed { stamp, offset: entry.end().offset };
            // To count the bytes takes a look at every register.
            let room = self.syncer.is_crowded().then(|| commit.bytes());
            (state.applied, room, committed, before..state.unsynced_bytes)
        };
        // Whoever took this for a refusal would write it twice.
        let recorded = |error| match error {
            Error::Store(StoreError::Full) => Error::NotDurable(committed),
            error => error,
        };
        if let Some(bytes) = room {
            self.make_room(bytes).map_err(recorded)?;
        }
        if durability == Durability::Durable || unsynced_bytes.end > UNSYNCED_BYTES_MAX {
            self.make_durable(applied).map_err(recorded)?;
        } else {
            self.agenda.sync_within(DEFERRED_MAX);
            if behind::is_worth_packing(unsynced_bytes) {
                self.agenda.pack();
            }
        }
        Ok(Some(committed))
    }

    /// Begins a session; its messages come out of the channel.
    pub(crate) fn open_session(&self, role: Role) -> Result<(SessionId, Outbox), Error> {
        let (outbox, messages) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel();
        let mut state = self.state();
        let working = self.working.subscribe();
        state.next_session += 1;
        let session = SessionId(state.next_session);
        state.sessions.insert(session, Line { outbox, ended, told_at: None });
        // Whoever calls may be anybody: only whom this node calls is told who it is.
        let credentials = match role {
            Role::Dial(_) => lock(&self.credentials).clone(),
            Role::Accept => Bytes::new(),
        };
        let opened = self.step(&mut state, Input::Open { session, role, credentials });
        if let Err(error) = opened {
            state.sessions.remove(&session);
            return Err(error);
        }
        Ok((session, Outbox { messages, end, _working: working }))
    }

    /// Changes what shows peers who this node is, from the next session on.
    pub(crate) fn set_credentials(&self, credentials: Bytes) {
        *lock(&self.credentials) = credentials;
    }

    /// The channels that the node follows, if it is a view.
    pub(crate) fn subscriptions(&self) -> Vec<Channel> {
        self.state().engine.subscriptions().cloned().collect()
    }

    /// Gives an input of a session to the engine. What it committed is synced in the background.
    pub(crate) fn session_input(&self, input: Input) -> Result<(), Error> {
        let commit = {
            let mut state = self.state();
            self.step(&mut state, input)?.commit
        };
        match commit {
            None => {}
            // Only a sync point moved: nobody waits for that.
            Some(commit) if commit.entries.is_empty() => self.agenda.sync_within(DEFERRED_MAX),
            Some(_) => self.agenda.gather(),
        }
        Ok(())
    }

    /// Returns when the store has kept up with what was taken in, so that more may be.
    pub(crate) async fn keep_pace(&self) {
        loop {
            let synced = self.synced.notified();
            if !self.is_crowded() {
                return;
            }
            synced.await;
        }
    }

    /// Whether more is applied than the store can keep up with. Where it is short of room peers send a window
    /// at most, and what they say else is to be heard.
    fn is_crowded(&self) -> bool {
        let state = self.state();
        let is_behind = || !self.is_short_of_room() && self.syncer.is_crowded();
        state.stopped.is_none() && (state.unsynced_bytes > UNSYNCED_BYTES_MAX || is_behind())
    }

    /// Ends every session, makes everything durable and gives the store up. Later calls fail.
    pub(crate) fn close(&self) -> Result<(), Error> {
        // Whoever waits for the end waits for the last flush.
        let _working = self.working.subscribe();
        let applied = {
            let mut state = self.state();
            let sessions: Vec<SessionId> = state.sessions.keys().copied().collect();
            for session in sessions {
                let reason = CloseReason::ShuttingDown;
                // A store that failed has ended the sessions already.
                let _ = self.step(&mut state, Input::Close { session, reason });
            }
            state.is_closed = true;
            // A repair under way ends first.
            state.stopped.get_or_insert(Stop::Closed);
            state.applied
        };
        self.agenda.end();
        self.announce_end(Life::Closed);
        self.calls.close();
        // Whoever closes second waits too: the store is given up when the last flush is over.
        let synced = self.make_durable(applied);
        let written = self.syncer.checkpoint();
        self.syncer.close();
        synced?;
        match written {
            // Somebody else has closed it meanwhile, with everything written; or there is no room for what the
            // next opening plays.
            Err(StoreError::Closed | StoreError::Full) => Ok(()),
            written => Ok(written?),
        }
    }

    /// Returns when so many commits are durable: syncs, unless another thread does so meanwhile.
    fn make_durable(&self, applied: u64) -> Result<(), Error> {
        if self.is_durable(applied)? {
            return Ok(());
        }
        let _turn = lock(&self.turn);
        if self.is_durable(applied)? {
            return Ok(());
        }
        self.sync_in_turn(Syncer::sync)
    }

    /// Makes everything durable that was applied. To be called with the turn.
    fn sync_in_turn(&self, sync: fn(&Syncer) -> Result<(), StoreError>) -> Result<(), Error> {
        let (applied, bytes) = {
            let state = self.state();
            (state.applied, state.unsynced_bytes)
        };
        match sync(&self.syncer) {
            Ok(()) => {
                lock(&self.durable).through = applied;
                self.look_at_room();
                self.on_synced(applied, bytes);
                if self.syncer.is_due_behind() {
                    self.agenda.write_behind();
                }
                Ok(())
            }
            Err(StoreError::Full) => {
                self.on_no_room();
                Err(StoreError::Full.into())
            }
            Err(error) => {
                lock(&self.durable).failed = Some(error.clone());
                self.fail(&mut self.state(), &error);
                Err(error.into())
            }
        }
    }

    fn is_durable(&self, applied: u64) -> Result<bool, Error> {
        let durable = lock(&self.durable);
        if let Some((_, why)) = durable.lost.iter().find(|(lost, _)| lost.contains(&applied)) {
            return Err(why.clone().into());
        }
        if durable.through >= applied {
            return Ok(true);
        }
        match &durable.failed {
            Some(error) => Err(error.clone().into()),
            None => Ok(false),
        }
    }

    /// Tells the engine, which acknowledges what peers sent.
    fn on_synced(&self, through: u64, bytes: usize) {
        let mut state = self.state();
        state.unsynced_bytes -= bytes;
        self.synced.notify_waiters();
        if !self.is_short_of_room() {
            self.tell_synced(&mut state, through);
        }
    }

    /// Tells the engine up to which commit everything is durable.
    fn tell_synced(&self, state: &mut State, through: u64) {
        let through = through.saturating_sub(state.earlier);
        // Only a node that has stopped refuses it.
        let _ = self.step(state, Input::Synced { through });
    }

    /// One step: handle, apply, send, tell.
    fn step(&self, state: &mut State, input: Input) -> Result<Effects, Error> {
        state.check_running()?;
        let is_received = matches!(input, Input::Receive { .. });
        state.engine.set_watched(self.hub.is_watched());
        let mut effects = state.engine.handle(now(self.started), input, &state.store)?;
        if let Some(commit) = &effects.commit {
            if let Err(error) = state.store.apply(commit) {
                self.fail(state, &error);
                return Err(error.into());
            }
            state.applied = state.earlier + commit.sequence;
            let bytes = commit.entries.iter().map(|entry| entry.transaction.bytes().len());
            state.unsynced_bytes += bytes.sum::<usize>();
            if is_received {
                let scribes = commit.entries.iter().map(|entry| entry.transaction.len());
                state.received += scribes.sum::<u64>();
            }
        }
        deliver(state, &mut effects);
        self.hub.advance(state.engine.end());
        for event in &effects.events {
            self.tell(state, event);
        }
        if let Some(wake_at) = effects.wake_at {
            self.agenda.tick_by(self.started + Duration::from_millis(wake_at));
        }
        Ok(effects)
    }

    /// The store has failed: nothing more is acknowledged, to nobody.
    fn fail(&self, state: &mut State, error: &StoreError) {
        if matches!(state.stopped, Some(Stop::Failed(_) | Stop::Repairing)) {
            return;
        }
        state.stopped.get_or_insert(Stop::Failed(error.clone()));
        self.board.post(Notice::StoreFailed { error: error.to_string() });
        // Peers hear why. Whatever else the engine wants cannot be done any more.
        for session in state.sessions.keys().copied().collect::<Vec<_>>() {
            let close = Input::Close { session, reason: CloseReason::Store };
            if let Ok(mut effects) = state.engine.handle(now(self.started), close, &state.store) {
                deliver(state, &mut effects);
                effects.events.into_iter().for_each(|event| self.board.post_event(event));
            }
        }
        // The step that failed may have taken a session from the engine before its line was closed.
        for (_, line) in std::mem::take(&mut state.sessions) {
            line.close(CloseReason::Store);
        }
        self.board.forget_names();
        self.announce_end(if state.is_closed { Life::Closed } else { Life::Failed });
    }

    /// Why nothing more is taken, if the node has stopped.
    pub(crate) fn stopped(&self) -> Option<Error> {
        self.state().stopped.clone().map(Error::from)
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

/// Stops the node when the thread that works for it panics: nobody else syncs and ticks.
struct FailOnPanic<'a>(&'a Core);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_thread.store(false, Ordering::Relaxed);
            self.0.fail(&mut self.0.state(), &panicked());
        }
    }
}

fn panicked() -> StoreError {
    StoreError::Latched { cause: "a thread of the node panicked".to_owned() }
}

/// Syncs and ticks until the node is gone.
fn background(core: &Weak<Core>) {
    while let Some(core) = core.upgrade() {
        let _fail = FailOnPanic(&core);
        let Some(due) = core.agenda.due() else { return };
        if due.tick {
            let _ = core.session_input(Input::Tick);
        }
        if due.sync {
            // A failure has stopped the node; whoever calls next is told.
            let _ = core.sync_what_is_applied();
        }
        if due.pack {
            core.syncer.pack_ahead();
        }
        if due.behind {
            core.write_behind();
        }
    }
}

/// Hands what is to be sent and closed to the sessions' tasks.
fn deliver(state: &mut State, effects: &mut Effects) {
    for (session, frame) in effects.sends.drain(..) {
        send(state, session, Outgoing::Frame(frame));
    }
    for (session, reason) in effects.closes.drain(..) {
        if let Some(line) = state.sessions.remove(&session) {
            line.close(reason);
        }
    }
}

fn send(state: &State, session: SessionId, outgoing: Outgoing) {
    if let Some(line) = state.sessions.get(&session) {
        // A task that is gone has said so, or is about to.
        let _ = line.outbox.send(outgoing);
    }
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        monotonic_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Adds to a counter of bytes.
pub(crate) fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
