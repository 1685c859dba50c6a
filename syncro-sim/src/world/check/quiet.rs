//! Who has nothing to say says nothing.

use bytes::Bytes;
use rustc_hash::FxHashSet;
use syncro_core::limits::HEARTBEAT_MS;
use syncro_core::{Changed, Event, SessionId};

use super::encoding;
use crate::world::{Failure, Law, World, wire};

/// For how long it has to be quiet.
const HEARTBEATS: usize = 8;

/// Each side may ask and answer once in that time, and clocks are slow or fast.
const SAID_MAX: usize = 4 * (HEARTBEATS + 1);

impl World {
    /// Whether sessions that are up to date say nothing for some minutes but that they are there.
    pub(crate) fn check_quiet(&mut self) -> Result<(), Failure> {
        let sent: Vec<usize> = self.links.iter().map(|link| link.said().len()).collect();
        for _ in 0..HEARTBEATS {
            self.advance(HEARTBEAT_MS)?;
            self.settle()?;
        }
        for (number, (link, before)) in self.links.iter().zip(sent).enumerate() {
            let said = &link.said()[before..];
            if said.len() > SAID_MAX {
                let detail =
                    format!("on link {number}, where all is said, {} messages", said.len());
                return Err(Law::Silence.broken(detail));
            }
            let words = said.iter().map(|(_, frame)| wire::kind(frame));
            if let Some(word) = words.into_iter().find(|word| word != "ping" && word != "pong") {
                let detail = format!("on link {number}, where all is said, there is a {word}");
                return Err(Law::Silence.broken(detail));
            }
        }
        Ok(())
    }

    /// From now on nobody may send back what has come in the same session.
    pub(crate) fn forbid_echoes(&mut self) {
        for end in self.links.iter_mut().flat_map(|link| &mut link.ends) {
            end.came = Some(FxHashSet::default());
        }
    }

    /// What has come to a node in its sessions.
    pub(crate) fn note_came(&mut self, node: usize, events: &[Event]) {
        for event in events {
            let Event::Changed(Changed { offset, session: Some(session), .. }) = event else {
                continue;
            };
            let place = self.place_of(node, *session);
            let is_asked = place.is_some_and(|(link, side)| link.ends[side].came.is_some());
            let rest = self.nodes[node].log.entries_from(*offset);
            let begins = rest.first().filter(|entry| is_asked && entry.offset == *offset);
            let Some(entry) = begins else { continue };
            let item = wire::item(&entry.transaction).to_string();
            self.end_of(node, *session, |link, side| {
                link.ends[side].came.get_or_insert_default().insert(item);
            });
        }
    }

    /// Whether a message brings nothing back to where it came from.
    pub(crate) fn check_echo(
        &self,
        node: usize,
        session: SessionId,
        frame: &Bytes,
    ) -> Result<(), Failure> {
        let came =
            self.place_of(node, session).and_then(|(link, side)| link.ends[side].came.as_ref());
        let Some(came) = came.filter(|came| !came.is_empty()) else { return Ok(()) };
        match wire::items(frame).into_iter().find(|item| came.contains(&item.to_string())) {
            None => Ok(()),
            Some(item) => {
                let detail = format!("node {node} sends {item} back in session {}", session.0);
                Err(Law::Silence.broken(detail))
            }
        }
    }

    /// Whether peers that have met say nothing new when they meet again.
    pub fn check_silence(&mut self) -> Result<(), Failure> {
        self.cut_all()?;
        for round in 0..2 {
            for a in 0..self.nodes.len() {
                let b = (a + 1) % self.nodes.len();
                let resent = self.meet(a, b, encoding(a + round))?;
                if round == 1 && resent > 0 {
                    let detail = format!("nodes {a} and {b} resend {resent} transactions");
                    return Err(Law::Silence.broken(detail));
                }
            }
        }
        self.check_same_transactions()
    }
}
