//! What a node is about, and the end of it.

use syncro_core::Point;
use tokio::sync::watch;

use super::Core;
use crate::error::Error;

/// What a node is about, for the tasks that work for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Repairing,
    /// Its store has failed. A repair may bring it back.
    Failed,
    Closed,
}

impl Core {
    /// Tells what the node is about.
    pub(crate) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// To be held by a task that works for the node until it is closed.
    pub(crate) fn stay(&self) -> watch::Receiver<()> {
        self.staying.subscribe()
    }

    /// Returns when everything taken in so far is durable, with the end of the log that it covers.
    pub(crate) fn flush(&self) -> Result<Point, Error> {
        let (applied, end) = {
            let state = self.state();
            state.check_running()?;
            (state.applied, state.engine.end())
        };
        self.make_durable(applied)?;
        Ok(end)
    }

    /// Returns when the node is closed and whoever worked for it is done, or when its store has failed and
    /// its sessions have ended.
    pub(crate) async fn closed(&self) {
        let mut life = self.life();
        loop {
            let is_over = |life: &Life| matches!(life, Life::Failed | Life::Closed);
            // The sender lives as long as this call, so that the wait cannot fail.
            let is_closed = life.wait_for(is_over).await.is_ok_and(|life| *life == Life::Closed);
            let done = async {
                self.working.closed().await;
                if is_closed {
                    self.staying.closed().await;
                }
            };
            tokio::select! {
                () = done => return,
                _ = life.changed() => {}
            }
        }
    }

    /// Ends every wait.
    pub(super) fn announce_end(&self, life: Life) {
        self.life.send_replace(life);
        self.synced.notify_waiters();
        self.hub.close();
        self.calls.cut();
        self.topics.end(life == Life::Closed);
        self.note_progress();
    }
}
