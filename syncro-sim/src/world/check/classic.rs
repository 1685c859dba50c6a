//! Peers of 2010 end with the records that the nodes have, and nothing is lost or comes twice on the way.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use syncro_classic::Event;
use syncro_core::{Fields, Value};

use super::records;
use crate::world::classic::{PAGE, Peer};
use crate::world::{A, Failure, Law, Sight, World};

impl World {
    /// Whether what a hub has to say of its peers may be said of honest ones.
    pub(crate) fn check_classic_events(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            match event {
                Event::Pulled { scribes: 1.., .. } => self.seen.insert(Sight::ClassicPulled),
                Event::NotPlayed { .. } | Event::TooLong { .. } | Event::Undone { .. } => {
                    return Err(Law::Classic.broken(format!("{event}")));
                }
                _ => false,
            };
        }
        Ok(())
    }

    /// Lets peers of 2010 and the hub say everything, demands that they hold the same, and that those who connect once
    /// more have nothing to say.
    pub(crate) fn check_classic(&mut self) -> Result<(), Failure> {
        if self.classic.is_none() {
            return Ok(());
        }
        self.settle_classic()?;
        // Whoever was slow begins anew: what it has given up then comes now.
        self.cut_classic();
        self.settle_classic()?;
        self.check_pages()?;
        let end = self.nodes[A].log.end();
        for round in 0..3 {
            self.cut_classic();
            let told = self.told();
            self.settle_classic()?;
            // What it pushed itself, a later session of a client is told; its point is behind that then.
            if self.nodes[A].log.end() != end || (round > 0 && self.told() != told) {
                let detail = format!("{} scribes are told again", self.told() - told);
                return Err(Law::Classic.broken(detail));
            }
        }
        self.check_pages()
    }

    fn told(&self) -> usize {
        let peers = self.classic.iter().flat_map(|it| &it.peers);
        peers.map(|peer| peer.ruby.told.len()).sum()
    }

    fn check_pages(&mut self) -> Result<(), Failure> {
        let pages = self.pages()?;
        let Some(it) = &self.classic else { return Ok(()) };
        for (at, peer) in it.peers.iter().enumerate() {
            let theirs = names(peer);
            let differs = |id: &&String| theirs.get(*id) != pages.get(*id);
            let mut ids = theirs.keys().chain(pages.keys()).filter(differs);
            if let Some(id) = ids.find(|id| !peer.doubtful.contains(*id)) {
                let (there, here) = (theirs.get(id), pages.get(id));
                let detail =
                    format!("of {id}, peer {at} of 2010 has {there:?}, and its hub {here:?}");
                return Err(Law::Classic.broken(detail));
            }
        }
        // Each was written once, by a peer or by a native; one that was pushed while something older was pulled that was
        // played over it is written again.
        let pushed = it.peers.iter().map(|peer| peer.ruby.log.len()).sum::<usize>() + it.pushed;
        let entries = self.nodes[A].log.entries().iter();
        let of_pages = entries
            .filter(|entry| entry.scribes().iter().any(|scribe| scribe.key.model.as_str() == PAGE));
        let recorded = of_pages.count();
        if recorded > 2 * pushed + it.natives {
            let detail =
                format!("{recorded} changes of pages are recorded, and {pushed} were pushed");
            return Err(Law::Classic.broken(detail));
        }
        Ok(())
    }

    /// The names of the pages at the node of the hub.
    fn pages(&self) -> Result<BTreeMap<String, String>, Failure> {
        let all = records(&self.nodes[A].store)?.into_iter();
        let pages = all.filter(|(key, record)| key.model.as_str() == PAGE && record.is_alive());
        Ok(pages
            .map(|(key, record)| {
                let name = match Fields::of(&record).to_values().remove("name") {
                    Some(Value::Text(name)) => name,
                    other => format!("{other:?}"),
                };
                (key.id.to_string(), name)
            })
            .collect())
    }
}

fn names(peer: &Peer) -> BTreeMap<String, String> {
    let name = |one: &Json| one.as_str().unwrap_or("None").to_owned();
    peer.ruby.records.iter().map(|(id, one)| (id.clone(), name(&one["name"]))).collect()
}
