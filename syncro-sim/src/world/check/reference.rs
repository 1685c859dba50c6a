//! Records are what a small model of our own makes of the transactions.

use std::collections::{BTreeMap, HashMap};

use syncro_core::{Author, Element, Encoded, Path, RecordKey, Stamp, View};

use crate::world::write::tally;
use crate::world::{Failure, Law, World};

impl World {
    /// Whether the records are what a simple model makes of the transactions: the greatest create, the
    /// greatest destroy, and of each register the greatest write since.
    pub(crate) fn check_reference(&self) -> Result<(), Failure> {
        let node = &self.nodes[0];
        let scribes = || {
            node.log.transactions().flat_map(|transaction| {
                transaction.scribes().iter().map(move |scribe| (transaction.stamp(), scribe))
            })
        };
        let mut marks: BTreeMap<RecordKey, [Option<Stamp>; 2]> = BTreeMap::new();
        for (stamp, scribe) in scribes() {
            let [created, destroyed] = marks.entry(scribe.key.clone()).or_default();
            if scribe.mark.creates() {
                *created = (*created).max(Some(stamp));
            }
            if scribe.mark.destroys() {
                *destroyed = (*destroyed).max(Some(stamp));
            }
        }
        let mut registers: BTreeMap<(RecordKey, Path), (Stamp, Encoded)> = BTreeMap::new();
        for (stamp, scribe) in scribes() {
            if marks[&scribe.key][1] > Some(stamp) {
                continue;
            }
            for (path, value) in &scribe.fields {
                let write = (stamp, value.clone());
                let place = (scribe.key.clone(), path.clone());
                let greatest = registers.entry(place).or_insert_with(|| write.clone());
                *greatest = write.max(greatest.clone());
            }
        }
        for (key, [created, destroyed]) in marks {
            let record = node.store.record(&key)?.unwrap_or_default();
            let found: Vec<_> = record
                .registers()
                .iter()
                .map(|register| (&register.path, register.stamp, &register.value))
                .collect();
            let from = (key.clone(), found.first().map(|(path, ..)| (*path).clone()));
            let expected: Vec<_> = registers
                .iter()
                .filter(|((of, _), _)| *of == key)
                .map(|((_, path), (stamp, value))| (path, *stamp, value))
                .collect();
            let is_alive = created.is_some() && created >= destroyed;
            if found != expected || record.is_alive() != is_alive {
                let detail = format!("{from:?} is {found:?}, expected {expected:?}");
                return Err(Law::Reference.broken(detail));
            }
        }
        Ok(())
    }

    /// Whether each author's part of the tally is the sum of its raises. An author that a snapshot clone
    /// made two of is the stated exception.
    pub(crate) fn check_tally(&self) -> Result<(), Failure> {
        let node = &self.nodes[0];
        let mut sums: HashMap<Author, i64> = HashMap::new();
        for transaction in node.log.transactions() {
            let by = self.ledger.raises.get(transaction.bytes()).copied().unwrap_or(0);
            *sums.entry(transaction.stamp().author).or_default() += by;
        }
        let record = node.store.record(&tally())?.unwrap_or_default();
        for (author, sum) in sums {
            if self.ledger.shared.contains(&author) {
                continue;
            }
            let shown = record
                .registers()
                .iter()
                .find(|register| register.path.element == Some(Element::Author(author)));
            let shown = shown.map_or(0, |register| register.value.to::<i64>().unwrap());
            if shown != sum {
                let detail = format!("{author:?} raised by {sum} in all, and {shown} is shown");
                return Err(Law::Counters.broken(detail));
            }
        }
        Ok(())
    }
}
