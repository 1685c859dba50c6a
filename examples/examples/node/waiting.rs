//! Waiting for a peer: for ever while more input may come, and not much longer.

use std::collections::VecDeque;
use std::io::BufRead;
use std::time::Duration;

use serde_json::{Value as Json, json};
use syncro::{Node, NodeId, Recovered, Repaired};
use tokio::sync::mpsc;

use crate::{Refusal, refusal};

/// Lines read ahead of the one that is answered.
const LINES_AHEAD: usize = 1024;

/// How long a peer may do nothing while a wait for it keeps the process from ending.
const AWAIT_MAX: Duration = Duration::from_secs(2);

/// Waits until everything so far is durable at every connected peer of a name.
pub(crate) async fn confirmed(node: &Node, name: &str, input: &mut Input) -> Result<Json, Refusal> {
    let peer = NodeId::named(name);
    let mut confirmed = std::pin::pin!(node.confirmed_by(peer, node.end().offset));
    tokio::select! {
        done = &mut confirmed => return Ok(done.map(|()| Json::Bool(true))?),
        () = input.ending() => {}
    }
    loop {
        let receipt = node.receipt(peer);
        match tokio::time::timeout(AWAIT_MAX, &mut confirmed).await {
            Ok(done) => return Ok(done.map(|()| Json::Bool(true))?),
            Err(_) if node.receipt(peer) == receipt => break,
            Err(_) => {}
        }
    }
    Err(refusal(
        "unconfirmed",
        format!("no peer {name:?} confirmed everything before the end of input"),
    ))
}

/// Repairs the store, and waits until it has what a peer of a name has.
pub(crate) async fn repaired(node: &Node, name: &str, input: &mut Input) -> Result<Json, Refusal> {
    let mut repaired = std::pin::pin!(async {
        let Recovered { repaired, fetched } = node.repair_from(NodeId::named(name)).await?;
        let Repaired { lost, regained, rescued, kept } = repaired;
        Ok(json!({
            "lost": lost, "regained": regained, "rescued": rescued, "fetched": fetched, "kept": kept,
        }))
    });
    tokio::select! {
        done = &mut repaired => return done,
        () = input.ending() => {}
    }
    loop {
        let end = node.end();
        match tokio::time::timeout(AWAIT_MAX, &mut repaired).await {
            Ok(done) => return done,
            Err(_) if node.end() == end => break,
            Err(_) => {}
        }
    }
    let message = format!("no peer {name:?} sent all that it has before the end of input");
    Err(refusal("unfetched", message))
}

/// The lines of stdin, of which some may be looked at before their turn.
pub(crate) struct Input {
    lines: mpsc::Receiver<Vec<u8>>,
    ahead: VecDeque<Vec<u8>>,
}

impl Input {
    pub(crate) fn new() -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        // It ends with the process, which does not wait for a line that never comes.
        std::thread::spawn(move || {
            // Input that cannot be read any more has ended.
            for line in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines, ahead: VecDeque::new() }
    }

    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.ahead.pop_front().or_else(|| self.lines.blocking_recv())
    }

    /// Returns when nothing is to come after the lines that are there: one of them is `quit`, or the input
    /// has ended.
    async fn ending(&mut self) {
        let is_quit = |line: &Vec<u8>| line.trim_ascii() == b"quit";
        while !self.ahead.iter().any(is_quit) {
            match self.lines.recv().await {
                Some(line) => self.ahead.push_back(line),
                None => return,
            }
        }
    }
}
