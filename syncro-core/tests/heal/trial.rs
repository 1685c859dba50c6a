//! One copy, taken at one moment and woken at another, and what is demanded of it.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use bytes::Bytes;
use syncro_core::{Encoding, Event};

use super::scenario::{SCENARIO, Step, going_on};
use super::variant::{Copied, Route, Subject, Variant, Writes};
use syncro_sim::world::TestNode;
use syncro_sim::{Failure, Law, World};

/// Rounds of contact after which everybody must hold everything.
const ROUNDS_MAX: usize = 3;

/// A copy taken after `taken` steps and woken after `woken`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) variant: Variant,
    pub(super) taken: usize,
    pub(super) woken: usize,
}

/// What there was to see: trials that show nothing prove nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// One that goes on got back what it had written and only others had kept.
    pub(super) regained: usize,
    /// Something was lost that nobody else had ever had.
    pub(super) forgotten: usize,
    /// A node saw that somebody else writes in its name.
    pub(super) forked: usize,
    /// Two transactions of one stamp met.
    pub(super) collided: usize,
}

/// A world in which a copy was woken.
struct Woken {
    world: World,
    /// The copied node, and its clone if there is one.
    halves: Vec<usize>,
    /// What is lost, and may be: it was never anywhere but in what was replaced.
    forgotten: BTreeSet<Bytes>,
    /// Whether one that goes on misses what it wrote itself.
    is_behind: bool,
}

impl Trial {
    /// Every pair of moments.
    pub(super) fn all(variant: Variant) -> impl Iterator<Item = Self> {
        let moments = 0..=SCENARIO.len();
        moments.flat_map(move |woken| (0..=woken).map(move |taken| Self { variant, taken, woken }))
    }

    /// Plays it, and demands what must hold.
    pub(super) fn play(self) -> Result<Seen, Failure> {
        let Woken { mut world, halves, forgotten, is_behind } = self.wake()?;
        let route = self.route(&halves);
        if self.variant.writes != Writes::After {
            self.go_on(&mut world, 0)?;
        }
        visit_all(&mut world, &route)?;
        if self.variant.writes != Writes::Before {
            self.go_on(&mut world, 1)?;
        }
        converge(&mut world, &route, &forgotten)?;
        not_wedged(&mut world, &route)?;
        silence(&mut world, &route, 1)?;
        world.check_end()?;
        let mut events = world.nodes.iter().flat_map(|node| &node.events);
        let forked = events.clone().any(|event| matches!(event, Event::Forked { .. }));
        let collided = events.any(|event| matches!(event, Event::Collision { .. }));
        Ok(Seen {
            regained: usize::from(is_behind),
            forgotten: usize::from(!forgotten.is_empty()),
            forked: usize::from(forked),
            collided: usize::from(collided),
        })
    }

    /// The node that is copied, the one it talks to most, and the other.
    fn cast(self) -> [usize; 3] {
        match self.variant.subject {
            Subject::Leaf => [0, 1, 2],
            Subject::Hub => [1, 0, 2],
        }
    }

    /// Plays the scenario up to where the copy is woken, and wakes it.
    fn wake(self) -> Result<Woken, Failure> {
        let [subject, ..] = self.cast();
        let mut world = World::new(3)?;
        play(&mut world, &SCENARIO[..self.taken])?;
        let machine = match self.variant.copy {
            Copied::Restore | Copied::File => {
                world.nodes[subject].keep_image();
                None
            }
            Copied::Machine | Copied::SetBack => Some(world.copy_machine(subject)?),
        };
        play(&mut world, &SCENARIO[self.taken..self.woken])?;
        let mut halves = vec![subject];
        match (self.variant.copy, machine) {
            (Copied::File, _) => halves.push(world.clone_image(subject)?),
            (Copied::Machine, Some(machine)) => halves.push(world.wake(machine)?),
            (Copied::SetBack, Some(machine)) => world.set_back(subject, machine)?,
            _ => world.restore(subject)?,
        }
        let mut forgotten: BTreeSet<_> = world.ledger.causes.keys().cloned().collect();
        forgotten.retain(|it| !world.nodes.iter().any(|node| node.log.holds(it)));
        let is_behind = halves.iter().any(|half| {
            let TestNode { engine, log, .. } = &world.nodes[*half];
            let mut kept = world.nodes.iter().flat_map(|node| node.log.transactions());
            kept.any(|it| it.stamp().author.node == engine.node() && !log.holds(it.bytes()))
        });
        Ok(Woken { world, halves, forgotten, is_behind })
    }

    /// Who meets whom in one round of contact, in order.
    fn route(self, halves: &[usize]) -> Vec<(usize, usize)> {
        let [_, peer, third] = self.cast();
        let mut route = match (self.variant.route, halves) {
            (Route::Face, &[half, other]) => vec![(half, other), (other, peer)],
            (Route::Third, _) => halves.iter().map(|half| (*half, third)).collect(),
            _ => halves.iter().map(|half| (*half, peer)).collect(),
        };
        route.push((peer, third));
        route
    }

    /// Everybody writes.
    fn go_on(self, world: &mut World, turn: usize) -> Result<(), Failure> {
        for node in 0..world.nodes.len() {
            for write in going_on(node, turn + self.taken + self.woken) {
                world.write(node, &write)?;
            }
        }
        Ok(())
    }
}

fn play(world: &mut World, steps: &[Step]) -> Result<(), Failure> {
    steps.iter().try_for_each(|step| step.happen(world))
}

/// One round of contact.
pub(super) fn visit_all(world: &mut World, route: &[(usize, usize)]) -> Result<(), Failure> {
    route.iter().try_for_each(|(a, b)| world.visit(*a, *b, Encoding::MessagePack))
}

fn encoding(number: usize) -> Encoding {
    if number.is_multiple_of(2) { Encoding::MessagePack } else { Encoding::Json }
}

/// Demands that within some rounds everybody holds whatever anybody wrote but what may be lost.
pub(super) fn converge(
    world: &mut World,
    route: &[(usize, usize)],
    forgotten: &BTreeSet<Bytes>,
) -> Result<(), Failure> {
    let mut expected: BTreeSet<_> = world.ledger.causes.keys().cloned().collect();
    expected.retain(|transaction| !forgotten.contains(transaction));
    let holds_all = |node: &TestNode| {
        // No log has anything twice.
        node.log.entries().len() == expected.len() && expected.iter().all(|it| node.log.holds(it))
    };
    for _ in 0..ROUNDS_MAX {
        visit_all(world, route)?;
        if world.nodes.iter().all(holds_all) {
            return Ok(());
        }
    }
    let behind = world.nodes.iter().position(|node| !holds_all(node)).unwrap_or_default();
    let lost = expected.iter().find(|it| !world.nodes.iter().any(|node| node.log.holds(it)));
    if let Some(lost) = lost {
        return Err(Law::Durability.broken(format!("lost by everybody: {lost:02x?}")));
    }
    let (has, wants) = (world.nodes[behind].log.entries().len(), expected.len());
    let detail = format!("node {behind} has {has} of {wants} after {ROUNDS_MAX} rounds");
    Err(Law::Convergence.broken(detail))
}

/// Demands that what is written now reaches everybody at once, over sessions that stay.
pub(super) fn not_wedged(world: &mut World, route: &[(usize, usize)]) -> Result<(), Failure> {
    world.cut_all()?;
    for (number, (a, b)) in route.iter().enumerate() {
        world.connect(*a, *b, encoding(number + 1))?;
    }
    world.settle()?;
    for node in 0..world.nodes.len() {
        world.write(node, &going_on(node, 0)[1])?;
    }
    world.settle()?;
    let mut ends = world.links.iter().flat_map(|link| &link.ends);
    if !ends.all(|end| end.is_open) {
        return Err(Law::Rest.broken("a session between healed nodes has ended"));
    }
    let most = world.nodes.iter().map(|node| node.log.entries().len()).max();
    if let Some(node) = world.nodes.iter().position(|node| Some(node.log.entries().len()) != most) {
        return Err(
            Law::Convergence.broken(format!("node {node} does not get what is written now"))
        );
    }
    Ok(())
}

/// Demands that nobody who reconnects sends anything.
pub(super) fn silence(
    world: &mut World,
    route: &[(usize, usize)],
    reconnects: usize,
) -> Result<(), Failure> {
    world.cut_all()?;
    for round in 0..reconnects {
        for (number, (a, b)) in route.iter().enumerate() {
            let resent = world.meet(*a, *b, encoding(number + round))?;
            if resent > 0 {
                let detail = format!("nodes {a} and {b} resend {resent} transactions");
                return Err(Law::Silence.broken(detail));
            }
        }
    }
    Ok(())
}

impl Seen {
    /// Whether so much was seen that it proves something.
    pub(super) fn is_enough(self, variant: Variant) -> bool {
        let Self { regained, forgotten, forked, collided } = self;
        let counts = match variant.copy {
            Copied::Restore => vec![regained, forgotten],
            Copied::File => vec![regained],
            // Halves that first write when they know of each other write under different names.
            Copied::Machine if variant.writes == Writes::After => vec![regained, forked],
            Copied::Machine => vec![regained, forked, collided],
            Copied::SetBack => vec![regained, forgotten, forked],
        };
        counts.iter().all(|count| *count > 100)
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, more: Self) {
        self.regained += more.regained;
        self.forgotten += more.forgotten;
        self.forked += more.forked;
        self.collided += more.collided;
    }
}
