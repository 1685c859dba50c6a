//! A view shows what its source has of its channels, joined with what it wrote itself that the source does not cover,
//! and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncro_core::limits::SKIP_DELAY_MS;
use syncro_core::{Record, RecordKey, SessionId, View};

use super::kept::joined;
use super::{Topology, check_records, encoding, records, states};
use crate::world::{End, Failure, Law, Listed, Sight, World, Write, wire};

/// What the keys of rows begin with that a view has of what it wrote and its source does not cover, and of what its
/// source shows.
const PENDING: [&[u8]; 2] = [b"vp", b"vo"];
const SHOWN: &[u8] = b"vk";

/// Records as they should be.
type Records = BTreeMap<RecordKey, Arc<Record>>;

impl World {
    /// Ends all faults, lets everybody talk, and demands of views what must be true then.
    pub(crate) fn heal_views(&mut self, topology: Topology) -> Result<(), Failure> {
        self.end_faults()?;
        self.check_dead()?;
        let shift = topology as usize;
        // Sources that have heard of other channels are asked anew.
        self.meet_sources(shift)?;
        self.rest_long()?;
        self.meet_sources(shift)?;
        self.rounds = self.rest_long()?;
        self.check_quiet()?;
        self.check_views()?;
        self.check_sources()?;
        self.check_apart()?;
        // What was written meanwhile arrives; another time nothing does.
        self.meet_sources(shift)?;
        self.rest_long()?;
        self.check_views()?;
        self.check_nothing_is_said(shift)?;
        // Another source judges what was refused once more; then it is followed in the same way.
        self.meet_sources(shift + 1)?;
        self.rest_long()?;
        self.check_views()?;
        self.check_sources()?;
        self.check_nothing_is_said(shift + 1)
    }

    /// Lets everybody say everything, also that there was something in his log which is not for others.
    fn rest_long(&mut self) -> Result<usize, Failure> {
        let rounds = self.rest()?;
        self.advance(2 * SKIP_DELAY_MS)?;
        self.rest()?;
        Ok(rounds)
    }

    /// Connects all sources and replicas, and each view with a source.
    fn meet_sources(&mut self, shift: usize) -> Result<(), Failure> {
        self.cut_all()?;
        let sources = self.numbers(|part| part.is_source());
        let others = self.numbers(|part| !part.is_view);
        for node in others.into_iter().filter(|node| *node != sources[0]) {
            self.connect(node, sources[0], encoding(node))?;
        }
        for view in self.numbers(|part| part.is_view) {
            let source = sources[(view + shift) % sources.len()];
            self.connect(view, source, encoding(view + shift))?;
        }
        Ok(())
    }

    /// Whether every view shows what it should, of a source that it is connected to.
    fn check_views(&mut self) -> Result<(), Failure> {
        for view in self.numbers(|part| part.is_view) {
            let is_alone = self.nodes[view].engine.sessions().next().is_none();
            let Some(source) = self.source_of(view)?.filter(|_| !is_alone) else {
                return Err(Law::Rest.broken(format!("view {view} follows nobody")));
            };
            self.check_view(view, source)?;
            let it = &self.nodes[view];
            it.check_log()?;
            it.check_watch()?;
            self.end_look(view)?;
        }
        Ok(())
    }

    /// Whether a view that has heard everything shows what its source has of its channels, and nothing else.
    fn check_view(&self, view: usize, source: usize) -> Result<(), Failure> {
        let expected = self.shown_by(source, view)?;
        self.check_shown(view, source, &expected)?;
        let store = &self.nodes[view].store;
        for prefix in PENDING {
            if !store.rows(prefix, None, 1)?.is_empty() {
                let detail = format!("of what view {view} wrote, node {source} has not decided");
                return Err(Law::Views.broken(detail));
            }
        }
        let rows = store.rows(SHOWN, None, usize::MAX)?.len();
        if rows != expected.len() {
            let detail = format!("view {view} notes {rows} records of {}", expected.len());
            return Err(Law::Views.broken(detail));
        }
        Ok(())
    }

    fn check_shown(&self, view: usize, source: usize, expected: &Records) -> Result<(), Failure> {
        let shown = records(&self.nodes[view].store)?;
        let differs = |key: &&RecordKey| expected.get(*key) != shown.get(*key);
        let Some(key) = expected.keys().chain(shown.keys()).find(differs) else { return Ok(()) };
        let (expected, shown) = (expected.get(key), shown.get(key));
        let detail = format!(
            "of {key} view {view} shows {shown:?}, and by node {source} it is {expected:?}"
        );
        Err(Law::Views.broken(detail))
    }

    /// What a source has of the channels that a view follows and may see.
    fn shown_by(&self, source: usize, view: usize) -> Result<Records, Failure> {
        let (templates, seen) = (self.templates(source)?, self.seen_by(view));
        let mut all = records(&self.nodes[source].store)?;
        all.retain(|key, record| {
            let channels = templates.channels(key, Some(record)).unwrap_or_default();
            channels.iter().any(|channel| seen.contains(channel))
        });
        Ok(all)
    }

    /// Whether views that nobody hears show what they write beside what they were shown last, after a crash, too.
    fn check_apart(&mut self) -> Result<(), Failure> {
        self.cut_all()?;
        for view in self.numbers(|part| part.is_view) {
            let end = self.nodes[view].log.end().offset;
            let Some(source) = self.source_of(view)? else { continue };
            for (id, list) in (0..5).zip([0, 1, 2, 3, 0]) {
                let moves = Listed::Move { id, list };
                let creates = Listed::Create { id: id + 3, list };
                let retitles = Listed::Retitle { id, title: 77 };
                for listed in [moves, creates, retitles] {
                    self.write(view, &Write::Listed(listed))?;
                }
            }
            let mut expected = self.shown_by(source, view)?;
            for entry in self.nodes[view].log.entries_from(end) {
                for scribe in entry.scribes() {
                    let (key, part) = scribe.clone().into_record(entry.transaction.stamp());
                    let joined = joined(expected.get(&key), &part);
                    expected.insert(key, joined);
                }
            }
            self.check_shown(view, source, &expected)?;
            self.sync(view)?;
            if view.is_multiple_of(2) {
                self.crash(view, 0)?;
                self.check_shown(view, source, &expected)?;
            }
        }
        Ok(())
    }

    /// Whether views that meet a source at rest, which has what they have, are told that and no more.
    fn check_nothing_is_said(&mut self, shift: usize) -> Result<(), Failure> {
        let views = self.numbers(|part| part.is_view);
        let ends: Vec<_> = views.iter().map(|view| self.nodes[*view].log.end()).collect();
        self.meet_sources(shift)?;
        self.rest_long()?;
        self.check_views()?;
        for (view, end) in views.into_iter().zip(ends) {
            if self.nodes[view].log.end() != end {
                return Err(Law::Silence.broken(format!("view {view} is shown something anew")));
            }
        }
        for link in &self.links {
            for (from, frame) in link.said() {
                let node = link.ends[*from].node;
                let said = wire::transactions(frame) + wire::shown(frame);
                // Its own it says again to a source that it did not know, which has it from others.
                if said > 0 && !self.nodes[node].part.is_view {
                    let detail = format!("node {node} says {said} things anew");
                    return Err(Law::Silence.broken(detail));
                }
            }
        }
        Ok(())
    }

    /// Whether sources and replicas hold equal records, and each what follows from its log.
    fn check_sources(&self) -> Result<(), Failure> {
        let all = self.numbers(|part| !part.is_view);
        let first = states(&self.nodes[all[0]].store)?;
        for node in all {
            let it = &self.nodes[node];
            it.check_log()?;
            it.check_watch()?;
            check_records(it.log.played(), &records(&it.store)?)?;
            if states(&it.store)? != first {
                let detail = format!("node {node} holds other records than the first source");
                return Err(Law::Convergence.broken(detail));
            }
        }
        Ok(())
    }

    /// Compares a view with its source in the middle of a story, if nothing is in the way.
    pub(crate) fn check_settled_views(&mut self) -> Result<(), Failure> {
        let is_hindered = self.links.iter().any(|link| {
            link.is_broken || link.ends.iter().any(|end| end.is_blocked || end.is_stalled)
        });
        if self.rules.is_none() || is_hindered || self.nodes.iter().any(|node| node.is_full) {
            return Ok(());
        }
        for view in self.numbers(|part| part.is_view) {
            let Some(source) = self.source_of(view)? else { continue };
            if self.is_followed(view, source) {
                self.check_view(view, source)?;
                self.seen.insert(Sight::ComparedMidway);
            }
        }
        Ok(())
    }

    /// Whether a view is connected with a source, by the one connection that it has dialled, and no other.
    fn is_followed(&self, view: usize, source: usize) -> bool {
        let mut of_view = self.links.iter().filter(|link| link.ends[0].node == view);
        let is_it = |ends: &[End; 2]| {
            ends[1].node == source
                && ends.iter().all(|end| end.is_open)
                && self.is_caught_up(view, ends[0].session)
        };
        of_view.next().is_some_and(|link| is_it(&link.ends)) && of_view.next().is_none()
    }

    fn is_caught_up(&self, node: usize, session: SessionId) -> bool {
        self.nodes[node].events.iter().any(|event| super::queues::is_caught_up(event, session))
    }
}
