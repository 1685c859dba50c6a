//! Nothing is invented: a log holds what somebody wrote, once, in one unbroken row.

use syncro_core::{Commit, Entry};

use super::at;
use crate::world::{Failure, Law, World};

impl World {
    /// Sources undo, and views note what they are shown, in their own names.
    fn note_undone(&mut self, entry: &Entry, commit: &Commit) {
        let transaction = &entry.transaction;
        if self.rules.is_some() && transaction.stamp().author.node == commit.own.node {
            self.ledger.causes.entry(transaction.bytes().clone()).or_default();
        }
        if transaction.is_local() {
            self.ledger.local.insert(transaction.bytes().clone(), ());
        }
    }

    pub(crate) fn check_commit(
        &mut self,
        node: usize,
        commit: &Commit,
        is_own: bool,
    ) -> Result<(), Failure> {
        self.check_author(node, commit, is_own)?;
        for entry in &commit.entries {
            let bytes = entry.transaction.bytes().clone();
            self.note_undone(entry, commit);
            if !is_own && self.rules.is_none() {
                self.check_cause(node, entry)?;
            }
            let followed = self.followed(node, entry.transaction.stamp().time, is_own)?;
            let it = &mut self.nodes[node];
            if is_own {
                let stamp = entry.transaction.stamp();
                let is_first = self.ledger.issued.insert(stamp);
                if !is_first && !self.ledger.shared.contains(&stamp.author) {
                    return Err(Law::Origin.broken(format!("{stamp:?} was issued before")));
                }
                let cause = it.log.transactions().last().map(|last| last.bytes().clone());
                self.ledger.causes.entry(bytes.clone()).or_default().push(cause);
            } else if !self.is_hostile && !self.ledger.causes.contains_key(&bytes) {
                return Err(Law::Origin.broken(format!("nobody wrote {}", at(entry))));
            }
            self.ledger.steps.insert(entry.end(), (it.log.end(), bytes));
            it.log.push(entry, followed)?;
        }
        let end = self.nodes[node].log.end();
        if commit.own.end != end {
            let detail = format!("the log ends at {end:?}, not {:?}", commit.own.end);
            return Err(Law::Origin.broken(detail));
        }
        let mut changed = commit.records.iter().map(|(key, _)| key);
        if !commit.is_played || changed.any(|key| key.model.as_str() == "sim twin") {
            self.check_twins(node)?;
        }
        if !commit.peers.is_empty() {
            self.check_points(node)?;
        }
        self.check_kept(node, commit)
    }
}
