//! Calling peers, and answering their calls.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use syncro_core::limits::CALLS_MAX;
use syncro_core::{
    CallFailure, CallId, Called, Encoded, Input, Name, NodeId, Principal, SessionId, Value,
};
use tokio::sync::oneshot;

use crate::core::{Core, lock};
use crate::error::Error;
use crate::node::{Handle, Node};

/// Handlers of a node that run at a time: half of the threads that a tokio runtime has for what blocks, so that handlers
/// which never end leave the host the rest. Whoever calls then is told that the node is busy.
const RUNNING_MAX: usize = 256;

/// Of these those that answer calls of one session, the ones included whose time is over: as many as may be asked, so that
/// one peer that asks for what takes long keeps nobody else from being answered.
const RUNNING_OF_SESSION_MAX: usize = CALLS_MAX;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The node that is called, to be read and written as anywhere.
    pub node: Node,
    /// The peer that calls.
    pub peer: NodeId,
    /// The session over which it does.
    pub session: SessionId,
    /// Who the host says the peer is, on a node with [rules](crate::Rules).
    pub principal: Option<Arc<Principal>>,
    /// In how long it wants the answer: it is told that it is too late then, whatever the handler does.
    pub within: Duration,
}

/// How many handlers run, in all and for each session.
#[derive(Debug, Default)]
struct Running {
    all: usize,
    of_session: BTreeMap<SessionId, usize>,
}

impl Running {
    /// Whether one more may run, which is counted.
    fn begin(&mut self, session: SessionId) -> bool {
        let of_session = self.of_session.get(&session).copied().unwrap_or_default();
        let may = self.all < RUNNING_MAX && of_session < RUNNING_OF_SESSION_MAX;
        if may {
            self.all += 1;
            self.of_session.insert(session, of_session + 1);
        }
        may
    }

    fn end(&mut self, session: SessionId) {
        self.all -= 1;
        if let Some(of_session) = self.of_session.get_mut(&session) {
            *of_session -= 1;
            if *of_session == 0 {
                self.of_session.remove(&session);
            }
        }
    }
}

/// What answers calls of one name.
pub(crate) type Handler = dyn Fn(&Caller, Value) -> Result<Value, CallFailure> + Send + Sync;

type Answer = Result<Encoded, CallFailure>;

/// The calls of a node, both ways.
pub(crate) struct Calls {
    handlers: Mutex<BTreeMap<String, Arc<Handler>>>,
    /// Those who wait for what comes of this node's calls.
    waiting: Mutex<BTreeMap<CallId, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    running: Mutex<Running>,
    /// What handlers make the node of that they are given.
    handle: OnceLock<Weak<Handle>>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            handlers: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            running: Mutex::default(),
            handle: OnceLock::new(),
        }
    }

    /// Takes the node for which handlers work, once.
    pub(crate) fn work_for(&self, handle: &Arc<Handle>) {
        // There is one handle to a core.
        let _ = self.handle.set(Arc::downgrade(handle));
    }

    /// Answers calls of a name from now on.
    pub(crate) fn handle(&self, name: Name, handler: Arc<Handler>) {
        lock(&self.handlers).insert(name.as_str().to_owned(), handler);
    }

    /// Gives what came of a call to whoever waits for it.
    pub(crate) fn on_replied(&self, call: CallId, answer: Answer) {
        if let Some(waiting) = lock(&self.waiting).remove(&call) {
            // Somebody who does not wait any more has no use for it.
            let _ = waiting.send(answer);
        }
    }

    /// Answers nothing any more. A handler may hold its own node, which is let go with it.
    pub(crate) fn close(&self) {
        // Dropped when the lock is not held: with a node of its own it comes by here again.
        let handlers = std::mem::take(&mut *lock(&self.handlers));
        drop(handlers);
    }

    /// Lets nobody wait any more: the sessions have ended, and nobody else will say so.
    pub(crate) fn cut(&self) {
        lock(&self.waiting).clear();
    }
}

impl Core {
    /// Calls a peer over the newest of its sessions, and waits for the answer.
    pub(crate) async fn call(
        &self,
        peer: NodeId,
        name: Name,
        value: Encoded,
        within: Duration,
    ) -> Result<Encoded, Error> {
        let Some(session) = self.engine(|engine| engine.session_with(peer)) else {
            if let Some(error) = self.stopped() {
                return Err(error);
            }
            let message = format!("there is no session with {peer}");
            return Err(CallFailure::new(CallFailure::NOT_CONNECTED, message).into());
        };
        let call = CallId(self.calls.next.fetch_add(1, Ordering::Relaxed));
        let (replied, answer) = oneshot::channel();
        lock(&self.calls.waiting).insert(call, replied);
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let made = self.session_input(Input::Call { session, call, name, value, within_ms });
        if let Err(error) = made {
            lock(&self.calls.waiting).remove(&call);
            return Err(error);
        }
        match answer.await {
            Ok(answer) => Ok(answer?),
            // The store has failed, and the sessions with it.
            Err(_) => {
                let message = "the session ended before the answer came";
                Err(CallFailure::new(CallFailure::CUT, message).into())
            }
        }
    }

    /// Lets a thread for what blocks answer a call of a peer. To be called on the host's runtime.
    pub(crate) fn answer(&self, called: Called) {
        let (session, call) = (called.session, called.call);
        let begun = self.begin_answer(called);
        if let Err(failure) = begun {
            self.reply(session, call, Err(failure));
        }
    }

    fn begin_answer(&self, called: Called) -> Result<(), CallFailure> {
        let handler = lock(&self.calls.handlers).get(called.name.as_str()).cloned();
        let handler = handler.ok_or_else(|| {
            let message = format!("nobody answers calls of {:?} here", called.name.as_str());
            CallFailure::new(CallFailure::NO_HANDLER, message)
        })?;
        // A node that is being dropped answers no more; its session is about to say so.
        let Some(handle) = self.calls.handle.get().and_then(Weak::upgrade) else {
            return Err(CallFailure::new(CallFailure::FAILED, "the node is being closed"));
        };
        let Called { session, peer, principal, call, value, within_ms, .. } = called;
        if !lock(&self.calls.running).begin(session) {
            return Err(CallFailure::new(CallFailure::BUSY, "too many calls are being answered"));
        }
        let node = Node::of(handle);
        let within = Duration::from_millis(within_ms);
        let caller = Caller { node, peer, session, principal, within };
        tokio::task::spawn_blocking(move || {
            let core = caller.node.core().clone();
            let answer = catch_unwind(AssertUnwindSafe(|| handler(&caller, value.decode())));
            let answer = match answer {
                Ok(answer) => answer.map(|value| value.encode()),
                Err(_) => Err(CallFailure::new(CallFailure::FAILED, "the handler failed")),
            };
            lock(&core.calls.running).end(session);
            core.reply(session, call, answer);
        });
        Ok(())
    }

    fn reply(&self, session: SessionId, call: u64, answer: Answer) {
        // A node that is closed or has failed has ended the session.
        let _ = self.session_input(Input::Reply { session, call, answer });
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = lock(&self.handlers).keys().cloned().collect();
        f.debug_struct("Calls").field("handlers", &names).finish_non_exhaustive()
    }
}
