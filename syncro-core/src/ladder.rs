//! What a node remembers of another node's log.

use crate::digest::{Digest, Point};
use crate::limits::{LADDER_EPOCHS, LADDER_RUNGS_MAX};
use crate::stamp::Epoch;

/// A past sync point, and the epoch in which the peer was met then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rung {
    /// The peer's epoch. Of an epoch that was forked, each branch but the first has a number of its own.
    pub epoch: Epoch,
    /// The place in the peer's log.
    pub point: Point,
}

/// The past sync points of one peer's log: about two per doubling of the distance from the newest, and
/// the newest of each of the peer's last 12 epochs.
///
/// A rung whose digest the peer finds at its offset is true for ever, on whatever branch the peer's log
/// went on since: the digest stands for the content before it, all of which is in this node's store.
/// Rungs of branches that were lost are of no use but do no harm; they are thinned out like the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    /// In the order in which they were reached; the last is the newest.
    rungs: Vec<Rung>,
}

impl Ladder {
    /// Makes a ladder of rungs in the order in which they were reached.
    pub fn new(rungs: Vec<Rung>) -> Self {
        Self { rungs }
    }

    /// The rungs in the order in which they were reached.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// The newest point.
    pub fn newest(&self) -> Option<Point> {
        self.rungs.last().map(|rung| rung.point)
    }

    /// The distinct points in the order in which the peer should try them, the greatest first: the rungs, and the end
    /// of the own log, if the peer may know of that. The start is no rung: it needs no offer.
    pub fn offer(&self, end: Option<Point>) -> Vec<Point> {
        let points = self.rungs.iter().map(|rung| rung.point);
        let mut points: Vec<Point> = points.filter(|it| *it != Point::START).chain(end).collect();
        points.sort_unstable_by(|a, b| b.cmp(a));
        points.dedup();
        points
    }

    /// How many of the points that are offered to a peer in an epoch are said at first: those down to the newest rung,
    /// and to the end of the epoch's branch.
    ///
    /// The others are lesser ones. If the peer has any of the first in its log, the greatest of those is the greatest
    /// that it has of all.
    pub(crate) fn first(&self, offer: &[Point], epoch: Epoch) -> usize {
        let ends = [self.newest(), self.end_of(epoch)].into_iter().flatten();
        let least = ends.min().unwrap_or_default();
        offer.iter().take_while(|point| **point >= least).count()
    }

    /// The branch whose newest rung is a point.
    pub(crate) fn branch_at(&self, point: Point) -> Option<Epoch> {
        let mut rungs = self.rungs.iter().rev();
        let epoch = rungs.find(|rung| rung.point == point)?.epoch;
        (self.end_of(epoch) == Some(point)).then_some(epoch)
    }

    /// The newest rungs of all branches, the greatest first.
    pub(crate) fn branch_ends(&self) -> Vec<Point> {
        let mut ends: Vec<Point> =
            self.rungs.iter().filter_map(|rung| self.end_of(rung.epoch)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.dedup();
        ends
    }

    fn end_of(&self, epoch: Epoch) -> Option<Point> {
        self.rungs.iter().rev().find(|rung| rung.epoch == epoch).map(|rung| rung.point)
    }

    /// The branch to which a point belongs that the peer reached from another, at which it had resumed in
    /// its present epoch.
    ///
    /// Within an epoch a log only grows. A peer that resumes short of where its epoch had got to is the
    /// other half of a cloned machine, and the rungs of both are of use.
    pub(crate) fn branch(&self, epoch: Epoch, from: Point, to: Point) -> Epoch {
        match self.end_of(epoch) {
            Some(end) if end != from => {
                self.branch_at(from).unwrap_or_else(|| self.fresh_branch(epoch, to.digest))
            }
            _ => epoch,
        }
    }

    /// A number that no branch has yet.
    fn fresh_branch(&self, epoch: Epoch, mut digest: Digest) -> Epoch {
        loop {
            digest = digest.then(&epoch.0.to_be_bytes());
            let branch = Epoch(digest.number());
            if self.end_of(branch).is_none() {
                return branch;
            }
        }
    }

    /// Takes in a point just reached, and thins out the others.
    ///
    /// Returns whether anything changed.
    pub fn advance(&mut self, epoch: Epoch, point: Point) -> bool {
        let rung = Rung { epoch, point };
        if self.rungs.last() == Some(&rung) {
            return false;
        }
        self.rungs.retain(|other| *other != rung);
        #[cfg(all(feature = "planted", debug_assertions))]
        if crate::planted::is_planted(crate::planted::Planted::OnePoint) {
            self.rungs.clear();
        }
        self.rungs.push(rung);
        self.thin();
        true
    }

    fn thin(&mut self) {
        let Some(newest) = self.newest() else { return };
        let distance = |rung: &Rung| newest.offset.abs_diff(rung.point.offset);
        // Nobody keeps so many.
        self.rungs.drain(..self.rungs.len().saturating_sub(LADDER_RUNGS_MAX));

        // From the newest back: which rungs are the newest of one of the last epochs? Nothing of this is allocated: it is done
        // for every live change.
        let mut epochs = [None; LADDER_EPOCHS];
        let mut is_kept = [false; LADDER_RUNGS_MAX];
        let (mut others, mut count) = ([(0, 0); LADDER_RUNGS_MAX], 0);
        for (place, rung) in self.rungs.iter().enumerate().rev() {
            let known = epochs.iter_mut().find(|known| known.is_none_or(|it| it == rung.epoch));
            match known {
                Some(free @ None) => {
                    *free = Some(rung.epoch);
                    is_kept[place] = true;
                }
                // What lies above the newest is of a branch that was lost, or has its own end above.
                _ if rung.point.offset > newest.offset => {}
                _ => {
                    others[count] = (distance(rung), place);
                    count += 1;
                }
            }
        }
        // Of the others, one goes where its two neighbours are within a doubling of the distance.
        let others = &mut others[..count];
        others.sort_by_key(|(distance, _)| *distance);
        let mut before = 1;
        for (at, (distance, place)) in others.iter().enumerate() {
            let next = others.get(at + 1);
            if next.is_none_or(|(next, _)| *next > 2 * before) {
                is_kept[*place] = true;
                before = (*distance).max(1);
            }
        }
        let mut is_kept = is_kept.into_iter();
        self.rungs.retain(|_| is_kept.next().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::{option, prelude::*};

    use super::*;
    use crate::digest::Digest;

    fn point(offset: u64) -> Point {
        Point { offset, digest: Digest::EMPTY.then(&offset.to_be_bytes()) }
    }

    #[test]
    fn a_ladder_keeps_a_rung_within_a_doubling_of_every_distance() {
        let mut ladder = Ladder::default();
        for offset in 1..=20_000 {
            ladder.advance(Epoch(1), point(offset));
        }
        assert!(ladder.rungs().len() < 40, "{} rungs", ladder.rungs().len());
        for lost in 1..15_000 {
            let resumed = ladder.offer(None).into_iter().find(|p| p.offset <= 20_000 - lost);
            let resent = 20_000 - lost - resumed.map_or(0, |p| p.offset);
            assert!(resent <= 2 * lost, "{lost} lost, {resent} sent again");
        }
    }

    #[test]
    fn the_newest_point_of_each_of_the_last_epochs_stays() {
        let mut ladder = Ladder::default();
        for round in 0..500 {
            for epoch in 0..LADDER_EPOCHS as u64 {
                ladder.advance(Epoch(epoch), point(1000 * (epoch + 1) + round));
            }
        }
        for epoch in 0..LADDER_EPOCHS as u64 {
            assert!(ladder.offer(None).contains(&point(1000 * (epoch + 1) + 499)));
        }
        assert!(ladder.rungs().len() <= LADDER_RUNGS_MAX);
    }

    proptest! {
        /// Whatever the peer has of what is offered, in any number of branches: if it has one of the points that are said
        /// at first, the greatest of those is the greatest of all.
        #[test]
        fn what_is_said_at_first_hides_no_greater_point(
            reached in vec((0..4_u64, 1..40_u64, any::<u8>()), 0..60),
            (epoch, end) in (0..5_u64, option::of(0..60_u64)),
            known in vec(any::<bool>(), 128),
        ) {
            let mut ladder = Ladder::default();
            for (epoch, offset, branch) in reached {
                let digest = Digest::EMPTY.then(&[branch % 3]);
                ladder.advance(Epoch(epoch), Point { offset, digest });
            }
            let offer = ladder.offer(end.map(point));
            let first = ladder.first(&offer, Epoch(epoch));
            let newest = ladder.newest().filter(|newest| *newest != Point::START);
            prop_assert!(newest.is_none_or(|newest| offer[..first].contains(&newest)));
            prop_assert!(offer.is_sorted_by(|a, b| a > b));
            let known = |point: &&Point| {
                let place = offer.iter().position(|it| it == *point);
                place.is_some_and(|place| known[place])
            };
            let of_first = offer[..first].iter().find(known);
            let of_all = offer.iter().filter(known).max();
            prop_assert!(of_first.is_none() || of_first == of_all);
        }
    }
}
