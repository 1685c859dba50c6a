//! An author is one engine: only the halves of a machine that was copied share one, until they know of each other.

use syncro_core::{Author, Commit, NodeId};

use crate::world::{Failure, Law, Sight, TestNode, World, Write};

/// Whom an engine writes as.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pen {
    author: Option<Author>,
    /// Whether its engine has seen somebody else write as this author, or met him.
    is_shared: bool,
    /// What it has raised the tally by as this author.
    raised: i64,
}

impl World {
    /// Whether the author of a commit is one that nobody else is, or at least nobody that its engine knows of.
    pub(crate) fn check_author(
        &mut self,
        node: usize,
        commit: &Commit,
        is_own: bool,
    ) -> Result<(), Failure> {
        let author = Author { node: commit.own.node, epoch: commit.own.epoch };
        let pen = &mut self.nodes[node].pen;
        if pen.author != Some(author) {
            if pen.is_shared {
                self.seen.insert(Sight::NewEpoch);
            }
            *pen = Pen { author: Some(author), ..Pen::default() };
            if !self.ledger.begun.insert(author) {
                return Err(
                    Law::Origin.broken(format!("node {node} begins as {author:?}, as another did"))
                );
            }
        }
        for entry in &commit.entries {
            let stamp = entry.transaction.stamp();
            if !is_own {
                // Sources undo, and views note what they are shown, in their own names.
                pen.is_shared |= stamp.author == author && self.rules.is_none();
                continue;
            }
            if stamp.author != author || pen.is_shared {
                let detail =
                    format!("node {node} writes {stamp:?}, and knows that it is not alone in that");
                return Err(Law::Origin.broken(detail));
            }
            let by = std::mem::take(&mut self.ledger.raising);
            if by != 0 {
                pen.raised += by;
                self.ledger.totals.insert(entry.transaction.bytes().clone(), pen.raised);
            }
        }
        Ok(())
    }

    /// An engine has met one that calls itself so.
    pub(crate) fn note_met(&mut self, node: usize, other: Author) {
        let pen = &mut self.nodes[node].pen;
        pen.is_shared |= pen.author == Some(other);
    }

    /// Lets everybody write, when all are connected and have heard what was written before: each must come to all
    /// others, and they must be authors of their own.
    pub(crate) fn check_life_goes_on(&mut self) -> Result<(), Failure> {
        for node in (0..self.nodes.len()).chain(0..self.nodes.len()) {
            self.write(node, &Write::Tally { by: 1 })?;
            self.settle()?;
        }
        let mut pens: Vec<_> = self.nodes.iter().map(|node| node.pen.author).collect();
        pens.sort_unstable();
        pens.dedup();
        if pens.len() < self.nodes.len() {
            let detail = "two nodes have written for all to hear, and are one author still";
            return Err(Law::Origin.broken(detail));
        }
        Ok(())
    }

    /// A node was set back, copied, or lost what others have: what it once held it may not hold.
    pub(crate) fn note_rewound(&mut self, node: NodeId) {
        let is_it = |other: &TestNode| other.engine.node() == node && other.part.is_view;
        self.seen.extend(self.nodes.iter().any(is_it).then_some(Sight::ViewRewound));
        self.ledger.rewound.insert(node);
    }
}
