//! Listening, and connecting again and again.

use std::net::SocketAddr;
use std::sync::Arc;

use syncro_core::{CloseReason, Encoding, Role, UsageError};
use syncro_net::{Backoff, NetError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::core::{Core, Life};
use crate::error::Error;
use crate::notices::Notice;
use crate::session::{SessionEnd, run};

/// Takes connections until it is closed or dropped, or the node is closed; sessions that are open go on. While
/// the node has stopped it hangs up on everybody.
#[derive(Debug)]
#[must_use = "dropping it stops the listening"]
pub struct Listening {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// The address on which it listens: the port is a real one even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections. Returns when the port is free.
    pub async fn close(mut self) {
        self.task.abort();
        // A task that was aborted has dropped its socket.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps a connection to an address, until it is closed or dropped, or the node is closed. While the node has
/// stopped it waits for a repair.
///
/// Dropping it cuts a session off without a goodbye; [`close`](Self::close) says it.
#[derive(Debug)]
#[must_use = "dropping it cuts the connection"]
pub struct Connection {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Ends the session, if there is one, and connects no more. Returns when it has ended.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // A task that panicked has ended too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The runtime that carries sessions.
pub(crate) fn runtime() -> Result<Handle, UsageError> {
    Handle::try_current().map_err(|_| UsageError::NoRuntime)
}

pub(crate) async fn listen(core: Arc<Core>, addr: &str) -> Result<Listening, Error> {
    runtime()?;
    let (mut life, staying) = (core.life(), core.stay());
    if let Some(error) = core.stopped() {
        return Err(error);
    }
    let listener = syncro_net::tcp::listen(addr).await?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(async move {
        let _staying = staying;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => return,
                },
                _ = life.wait_for(is_closed) => return,
            };
            let core = core.clone();
            tokio::spawn(async move {
                // A node that has stopped refuses by hanging up.
                let _ = run(&core, stream, Role::Accept, std::future::pending()).await;
            });
        }
    });
    Ok(Listening { addr, task })
}

pub(crate) fn connect(
    core: Arc<Core>,
    addr: String,
    encoding: Encoding,
) -> Result<Connection, Error> {
    let runtime = runtime()?;
    syncro_net::tcp::check(&addr)?;
    let (stop, mut stopped) = watch::channel(false);
    let (mut life, staying) = (core.life(), core.stay());
    let task = runtime.spawn(async move {
        let _staying = staying;
        let mut backoff = Backoff::default();
        while !*stopped.borrow() {
            if *life.borrow_and_update() != Life::Running {
                tokio::select! {
                    _ = life.wait_for(|life| matches!(life, Life::Running | Life::Closed)) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
            if is_closed(&life.borrow()) {
                return;
            }
            if attempt(&core, &addr, encoding, &mut stopped, &mut life).await {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
                // A node that was repaired connects at once.
                _ = life.changed() => backoff.reset(),
            }
        }
    });
    Ok(Connection { stop, task })
}

fn is_closed(life: &Life) -> bool {
    *life == Life::Closed
}

/// Connects once and carries the session; returns whether it opened and nobody misbehaved.
async fn attempt(
    core: &Core,
    addr: &str,
    encoding: Encoding,
    stopped: &mut watch::Receiver<bool>,
    life: &mut watch::Receiver<Life>,
) -> bool {
    let stream = tokio::select! {
        stream = syncro_net::tcp::connect(addr) => stream,
        _ = stopped.wait_for(|stopped| *stopped) => return false,
        _ = life.wait_for(is_closed) => return false,
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            // The notice names the address, and says that it is tried again.
            let error = match error {
                NetError::Connect { cause, .. } => cause.to_string(),
                NetError::ConnectTimeout { limit, .. } => {
                    format!("no answer within {} s", limit.as_secs())
                }
                other => other.to_string(),
            };
            core.board.post(Notice::ConnectFailed { addr: addr.to_owned(), error });
            return false;
        }
    };
    let stop = async {
        // A connection whose handle was dropped is aborted instead.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let Ok(end) = run(core, stream, Role::Dial(encoding), stop).await else {
        return false;
    };
    if let Some(error) = unmet(end) {
        core.board.post(Notice::ConnectFailed { addr: addr.to_owned(), error });
    }
    // A session that ended by an offence would do so again: that must not go round without a pause.
    use CloseReason::{Done, Lost, ShuttingDown, Silent};
    end.was_open && matches!(end.reason, Done | Lost | ShuttingDown | Silent)
}

/// Why nobody was met on a connection that was made, if it is not that somebody closes.
fn unmet(end: SessionEnd) -> Option<String> {
    use CloseReason::{Done, FrameTooLarge, HandshakeTimeout, Lost, Malformed, ShuttingDown};
    match end.reason {
        _ if end.was_open => None,
        Done | ShuttingDown => None,
        Lost => Some("it hung up without a hello".to_owned()),
        FrameTooLarge | HandshakeTimeout | Malformed => {
            Some(format!("what answers does not speak Syncro? ({})", end.reason))
        }
        reason => Some(reason.to_string()),
    }
}
