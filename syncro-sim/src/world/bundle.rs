//! Bundles: what a node has for another is written down, and read when and where it pleases, whole or in part.

use bytes::Bytes;
use syncro_core::{Error, Event, Input, NodeId, SessionId, UsageError};

use super::{Failure, Law, Sight, TestNode, World};

/// A bundle, as frames.
#[derive(Clone, Debug)]
pub struct Written {
    /// Who made it.
    pub by: NodeId,
    pub frames: Vec<Bytes>,
}

/// What came of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The node's log has so many scribes more.
    Whole { scribes: u64 },
    /// Something is missing before the bundle.
    Gap,
    /// The node was cut short, by a crash or by the end of what was readable.
    Cut,
}

impl World {
    /// What a node has for a peer; `None` where its disk has no room for what it would say that it holds.
    pub fn export(&mut self, node: usize, peer: NodeId) -> Result<Option<Written>, Failure> {
        self.write_down(node, peer, false)
    }

    /// What a node lacks of a peer.
    pub fn request(&mut self, node: usize, peer: NodeId) -> Result<Option<Written>, Failure> {
        self.write_down(node, peer, true)
    }

    fn write_down(
        &mut self,
        node: usize,
        peer: NodeId,
        is_request: bool,
    ) -> Result<Option<Written>, Failure> {
        self.sync(node)?;
        let now = self.now(node);
        let TestNode { engine, store, is_full, unsynced, .. } = &self.nodes[node];
        if *is_full || !unsynced.is_empty() {
            return Ok(None);
        }
        let begun = if is_request {
            engine.request(now, peer, Bytes::new(), store)
        } else {
            engine.export(now, peer, Bytes::new(), store)
        };
        let frames = begun.and_then(|mut export| {
            let mut frames = Vec::new();
            while let Some(frame) = export.next(now, engine, store)? {
                frames.push(frame);
            }
            Ok(frames)
        });
        let frames = frames.map_err(|error| Law::Blame.broken(error.to_string()))?;
        Ok(Some(Written { by: engine.node(), frames }))
    }

    /// Lets a node take in a bundle, or the beginning of it.
    pub fn import(&mut self, node: usize, frames: &[Bytes]) -> Result<Read, Failure> {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        match self.try_input(node, Input::Import { session })? {
            Err(Error::Usage(UsageError::TooManySessions)) => return Ok(Read::Cut),
            opened => opened.map_err(|error| Law::Blame.broken(error.to_string()))?,
        }
        let (seen, before) = (self.nodes[node].events.len(), self.nodes[node].log.end().offset);
        let mut at = 0;
        while let Some(frame) = frames.get(at) {
            let known = self.nodes[node].events.len();
            self.input(node, Input::Receive { session, frame: frame.clone() })?;
            // A node that crashed on the way has forgotten what there was to see.
            let news = self.nodes[node].events.get(known..).unwrap_or_default();
            let is_again =
                |event: &Event| matches!(event, Event::Again { session: it } if *it == session);
            at += usize::from(!news.iter().any(is_again));
        }
        let read = self.nodes[node].events.get(seen..).unwrap_or_default().iter();
        let gap = read.filter_map(|event| match event {
            Event::Imported { session: it, gap, .. } if *it == session => Some(gap.is_some()),
            _ => None,
        });
        let gap = gap.last();
        // A crash on the way, or in a moment, may leave less than there was.
        let scribes = self.nodes[node].log.end().offset.saturating_sub(before);
        self.input(node, Input::Lost { session })?;
        let read = match gap {
            None => Read::Cut,
            Some(true) => Read::Gap,
            Some(false) => Read::Whole { scribes },
        };
        self.seen.insert(match read {
            Read::Whole { .. } => Sight::Imported,
            Read::Gap => Sight::ImportGap,
            Read::Cut => Sight::ImportCut,
        });
        Ok(read)
    }

    /// Lets two nodes exchange bundles, and ask for what is missing, until neither has anything new for the other.
    pub fn carry(&mut self, a: usize, b: usize) -> Result<(), Failure> {
        for _ in 0..8 {
            let mut is_new = false;
            for (from, to) in [(a, b), (b, a)] {
                let [maker, reader] = [from, to].map(|node| self.nodes[node].engine.node());
                let Some(bundle) = self.export(from, reader)? else { continue };
                match self.import(to, &bundle.frames)? {
                    Read::Whole { scribes } => is_new |= scribes > 0,
                    Read::Cut => is_new = true,
                    Read::Gap => {
                        is_new = true;
                        let Some(request) = self.request(to, maker)? else { continue };
                        self.import(from, &request.frames)?;
                    }
                }
            }
            if !is_new {
                return Ok(());
            }
        }
        Err(Law::Rest.broken(format!("nodes {a} and {b} have always something new in bundles")))
    }
}
