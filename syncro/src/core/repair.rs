//! Repairing the store of a node that goes on: with its handles, its connections and its watchers.
//!
//! Whoever repairs holds the turn to sync from the first moment to the last, so that nothing becomes durable
//! in between. What belongs to the store before a repair is kept from the store after it by counting:
//! commits go on from the last one, and those that the repaired store does not have are named.

use std::sync::Arc;

use syncro_core::{
    CloseReason, Config, Engine, Error as CoreError, Input, NodeId, Store, StoreError, View,
};
use syncro_store::Repaired;
use tokio::sync::watch;

use super::{Core, Life, State, Stop, lock, now, panicked};
use crate::error::Error;
use crate::notices::Notice;

/// What a repair came to; `None` while it is under way.
pub(super) type Outcome = watch::Receiver<Option<Result<Repaired, Stop>>>;

/// What became of a node's log by [`Node::repair_from`](crate::Node::repair_from).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What was lost, and what the records had left of it.
    pub repaired: Repaired,
    /// Scribes that have come since, from the peer and from others: what was lost, as far as they had it, and
    /// whatever else was new.
    pub fetched: u64,
}

impl Core {
    /// Repairs the store, or waits for the repair that is under way.
    pub(crate) async fn repair(self: &Arc<Self>) -> Result<Repaired, Error> {
        let mut outcome = self.begin_repair()?;
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(repaired))) => Ok(repaired.clone()),
            Ok(Some(Err(stop))) => Err(stop.clone().into()),
            // Its thread has panicked.
            Ok(None) | Err(_) => Err(panicked().into()),
        }
    }

    /// Counts the repairs begun.
    pub(crate) fn repairs(&self) -> u64 {
        self.state().repairs
    }

    /// Like [`fail`](Self::fail), unless a repair has begun since: what failed was the store before it.
    pub(super) fn fail_since(&self, repairs: u64, error: &StoreError) {
        let mut state = self.state();
        if state.repairs == repairs {
            self.fail(&mut state, error);
        }
    }

    /// Repairs in a thread of its own: it takes as long as to read the store, and it is not to be left half
    /// done by a task that is dropped.
    fn begin_repair(self: &Arc<Self>) -> Result<Outcome, Error> {
        let mut last = lock(&self.repair);
        let is_under_way = |last: &&Outcome| last.borrow().is_none() && last.has_changed().is_ok();
        if let Some(last) = last.as_ref().filter(is_under_way) {
            return Ok(last.clone());
        }
        let seed = seed()?;
        let (done, outcome) = watch::channel(None);
        let (core, working) = (self.clone(), self.working.subscribe());
        let thread = std::thread::Builder::new().name("syncro repair".to_owned());
        let repair = move || {
            let repaired = core.repair_in_turn(seed);
            drop(working);
            done.send_replace(Some(repaired));
        };
        thread.spawn(repair).map_err(Error::Thread)?;
        *last = Some(outcome.clone());
        Ok(outcome)
    }

    fn repair_in_turn(self: &Arc<Self>, seed: [u8; 32]) -> Result<Repaired, Stop> {
        let _turn = lock(&self.turn);
        // Of a node that is well nothing is to be lost, and a repair takes room.
        let synced = self.sync_a_last_time();
        if matches!(synced, Err(StoreError::Full)) || self.syncer.is_short_of_room() {
            self.on_no_room();
            return Err(Stop::Failed(StoreError::Full));
        }
        self.stop_for_repair()?;
        let mut end = EndOnDrop { core: self, outcome: Some(Err(panicked())) };
        let (engine, repaired) = match self.mend(seed) {
            Ok((engine, repaired)) => (Ok(engine), Ok(repaired)),
            Err(error) => (Err(stopping(error.clone())), Err(Stop::Failed(error))),
        };
        end.outcome = Some(engine);
        drop(end);
        if self.state().is_closed {
            return Err(Stop::Closed);
        }
        if let Ok(repaired) = &repaired {
            self.board.post(Notice::Repaired { repaired: repaired.clone() });
        }
        repaired
    }

    /// Ends the sessions, and lets nobody write.
    fn stop_for_repair(&self) -> Result<(), Stop> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Stop::Closed);
        }
        let reason = CloseReason::Store;
        for session in state.sessions.keys().copied().collect::<Vec<_>>() {
            // A store that fails here has ended them all.
            let _ = self.step(&mut state, Input::Close { session, reason });
        }
        for (_, line) in std::mem::take(&mut state.sessions) {
            line.close(reason);
        }
        state.imports.clear();
        state.stopped = Some(Stop::Repairing);
        state.repairs += 1;
        self.life.send_replace(Life::Repairing);
        self.hub.pause();
        self.synced.notify_waiters();
        self.note_progress();
        Ok(())
    }

    /// Repairs the store, and opens an engine over it, whose epoch is durable.
    fn mend(&self, seed: [u8; 32]) -> Result<(Engine, Repaired), StoreError> {
        // What failed is lost, as in a crash; whoever waits for it is told.
        if let Err(error) = self.sync_a_last_time() {
            lock(&self.durable).failed.get_or_insert(error);
        }
        let node = self.engine(Engine::node);
        let repaired = self.syncer.repair(Some(node))?;
        self.give_up_unsynced();
        let config = Config { node: Some(node), seed, ..self.config.clone() };
        let opened = Engine::open(now(self.started), config, &self.reader);
        let (engine, effects) = opened.map_err(|error| match error {
            CoreError::Store(error) => error,
            // That of another node, for one.
            other => StoreError::Corrupt { what: other.to_string() },
        })?;
        if let Some(commit) = &effects.commit {
            self.state().store.apply(commit)?;
            self.syncer.sync()?;
        }
        Ok((engine, repaired))
    }

    /// Says of what was applied and is not in the repaired store that it is lost, whatever comes next.
    fn give_up_unsynced(&self) {
        let applied = self.state().applied;
        let mut durable = lock(&self.durable);
        if durable.through < applied {
            let lost = durable.through + 1..=applied;
            let why = durable.failed.clone().unwrap_or(StoreError::Repaired);
            durable.lost.push((lost, why));
            durable.through = applied;
        }
    }

    fn sync_a_last_time(&self) -> Result<(), StoreError> {
        let (applied, bytes) = {
            let state = self.state();
            (state.applied, state.unsynced_bytes)
        };
        self.syncer.sync()?;
        lock(&self.durable).through = applied;
        self.on_synced(applied, bytes);
        Ok(())
    }

    /// Goes on with the engine of the repaired store, or stops for good.
    fn end_repair(self: &Arc<Self>, repaired: Result<Engine, StoreError>) {
        let mut state = self.state();
        let failed = match repaired {
            Ok(engine) => {
                self.go_on_with(&mut state, engine);
                self.start_thread().map_err(StoreError::from)
            }
            Err(error) => Err(error),
        };
        state.stopped = state.is_closed.then_some(Stop::Closed);
        match failed {
            Ok(()) if state.is_closed => {}
            Ok(()) => self.begin_again(&mut state),
            Err(error) => self.fail(&mut state, &error),
        }
        drop(state);
        self.look_at_room();
        self.agenda.write_behind();
        self.synced.notify_waiters();
        self.note_progress();
    }

    fn go_on_with(&self, state: &mut State, engine: Engine) {
        {
            let mut durable = lock(&self.durable);
            state.earlier = state.applied;
            // The new engine has committed its epoch.
            state.applied += 1;
            durable.through = state.applied;
            durable.failed = None;
        }
        state.engine = engine;
        state.unsynced_bytes = 0;
        state.received = 0;
        state.caught_up.clear();
        self.receipts.clear();
    }

    fn begin_again(&self, state: &mut State) {
        let applied = state.applied;
        self.tell_synced(state, applied);
        self.speak_again(state);
        let reader = &self.reader;
        self.hub.resume(state.engine.end(), |point| {
            reader.digest_at(point.offset).is_ok_and(|digest| digest == Some(point.digest))
        });
        self.life.send_replace(Life::Running);
    }

    /// Waits until everything is durable here that a peer has at its first session since the last repair.
    /// Returns how many scribes have come until then.
    pub(crate) async fn fetched_from(&self, peer: NodeId) -> Result<u64, Error> {
        let mut progress = self.progress.subscribe();
        loop {
            let synced = self.synced.notified();
            if let Some(fetched) = self.fetched(peer)? {
                return Ok(fetched);
            }
            tokio::select! {
                // The sender lives as long as this call.
                _ = progress.changed() => {}
                () = synced => {}
            }
        }
    }

    fn fetched(&self, peer: NodeId) -> Result<Option<u64>, Error> {
        let caught_up = {
            let state = self.state();
            match &state.stopped {
                _ if state.is_closed => return Err(Error::Closed),
                None | Some(Stop::Repairing) => state.caught_up.get(&peer).copied(),
                Some(stop) => return Err(stop.clone().into()),
            }
        };
        match caught_up {
            Some(caught_up) if self.is_durable(caught_up.applied)? => Ok(Some(caught_up.received)),
            _ => Ok(None),
        }
    }
}

/// What stops a node whose repair has failed. Full would be one that goes on when there is room.
fn stopping(error: StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Latched { cause: format!("a repair: {error}") },
        error => error,
    }
}

/// Ends a repair whatever happens, or the node would wait for it for ever.
struct EndOnDrop<'a> {
    core: &'a Arc<Core>,
    outcome: Option<Result<Engine, StoreError>>,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.core.end_repair(outcome);
        }
    }
}

/// The only entropy that an engine gets.
pub(crate) fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Entropy(error.to_string()))?;
    Ok(seed)
}
