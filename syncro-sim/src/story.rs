//! What can happen to a world, and a random succession of it.

use std::collections::BTreeSet;

use syncro_core::Encoding;

use crate::panics::caught;
use crate::world::{
    Abuse, Cast, Change, ClassicOp, Failure, Fuse, Read, Sight, Topology, Trace, World, Write,
    Written,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const YEAR_MS: i64 = 365 * DAY_MS as i64;

/// Bundles that are kept at most.
const BUNDLES_MAX: usize = 8;

/// One thing that happens. Numbers of nodes and links are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Op {
    Write(u8, Write),
    /// Several writes of one node in a row.
    Burst(u8, Vec<Write>),
    Connect(u8, u8, bool),
    /// Delivers some messages to one side of a link.
    Deliver(u8, bool, u8),
    /// Lets so many bytes arrive at one side of a link, in one chunk.
    Arrive(u8, bool, u32),
    /// Breaks a link at a byte of what is under way to each side.
    Cut(u8, [u32; 2]),
    /// Only one side notices that the connection is gone.
    Sever(u8, bool),
    HangUp(u8, bool),
    /// The transport of one side of a link has no room for what its node writes now.
    Clog(u8, bool, Vec<Write>),
    /// All transports have room again.
    Room,
    Sync(u8),
    /// A write, and a slow flush: its peers write the same before the engine hears of it.
    Flush(u8, Write),
    Advance(u16),
    /// Everybody is offline for some days.
    Away(u8),
    /// Lets everybody say everything and flush it.
    Settle,
    /// A crash that keeps some commits; what is under way to peers breaks off at a byte.
    Crash(u8, u8, u32),
    /// The same, so many steps of the driver from now.
    Fuse(u8, u8, u8, u32),
    Restart(u8),
    KeepImage(u8),
    Restore(u8),
    CloneFile(u8),
    CloneMachine(u8),
    /// A machine is copied while it runs, and both halves write at once, which is at one moment of their clocks.
    Split(u8, Write, Write),
    /// Sets a wall clock off by minutes.
    Skew(u8, i8),
    /// Sets a wall clock by so many years, from where it is.
    Jump(u8, i8),
    /// A write to the disk fails, the nth from now; what it wrote may be there or not.
    FailWrite(u8, u8, bool),
    /// The disk has room for so many bytes at a time.
    FullDisk(u8, u32),
    /// The disk has room again.
    RoomOnDisk(u8),
    /// Nothing gets through to one side of a link, or everything again.
    Block(u8, bool, bool),
    /// Somebody begins to read at length, and ends what he read before.
    Look(u8),
    /// Replaces the program by its other version.
    Upgrade(u8),
    /// One node writes a bundle for another.
    Export(u8, u8),
    /// A node takes in a bundle that somebody wrote for it, or for somebody else: the first so many frames.
    Import(u8, u8, Option<u8>),
    /// Somebody who means no good calls a node.
    Abuse(u8, Abuse),
    /// Something happens to a peer of 2010.
    Classic(u8, ClassicOp),
    /// Something happens to what views may see, or whom they follow.
    Change(Change),
}

/// A world's whole fate.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub nodes: u8,
    /// Who is in it where not everybody sees all; otherwise so many nodes, all alike.
    pub cast: Option<Cast>,
    /// Whether disks have sectors, below the database that ships.
    pub has_sectors: bool,
    pub ops: Vec<Op>,
    pub topology: Topology,
    /// By how much clocks are too fast, in millionths, in turn.
    pub rates_ppm: [i16; 2],
    /// In what chunks bytes arrive, round by round; `None` for one message after the other.
    pub chunks: Option<[u32; 2]>,
}

/// What there was to a story that ended well.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What there was to see.
    pub seen: BTreeSet<Sight>,
    /// Lines of its trace: what went into engines, stores and links, and what came of it.
    pub events: u64,
    /// Milliseconds that passed in its world.
    pub ms: u64,
    /// Rounds that it took to come to rest when all had healed.
    pub rounds: usize,
}

impl Story {
    /// Plays the story in a new world, and heals the world. Returns what there was to see.
    pub fn play(&self) -> Result<BTreeSet<Sight>, Failure> {
        let mut trace = Trace::default();
        self.play_in(World::default(), &mut trace).map(|told| told.seen)
    }

    /// Plays the story in a world without nodes, and leaves its trace, however it ends.
    pub fn play_in(&self, mut world: World, trace: &mut Trace) -> Result<Told, Failure> {
        std::mem::swap(&mut world.trace, trace);
        // A panic is a law broken, too: whoever panics took the node down.
        let played = caught(|| self.play_on(&mut world));
        std::mem::swap(&mut world.trace, trace);
        played.flatten().map(|()| Told {
            seen: world.seen,
            events: trace.events(),
            ms: world.now_ms,
            rounds: world.rounds,
        })
    }

    fn play_on(&self, world: &mut World) -> Result<(), Failure> {
        world.rates_ppm = self.rates_ppm.map(i64::from);
        world.seen.extend((self.rates_ppm[0] != self.rates_ppm[1]).then_some(Sight::Rates));
        world.has_sectors = self.has_sectors;
        world.chunks = self.chunks.map(|chunks| chunks.map(index));
        match self.cast {
            Some(cast) => world.populate(cast)?,
            None => {
                for number in 0..self.nodes {
                    world.add_node(&format!("node {number}"))?;
                }
            }
        }
        for op in &self.ops {
            world.trace.note(format_args!("{op:?}"));
            op.happen(world)?;
        }
        if [Sight::Json, Sight::MessagePack].iter().all(|encoding| world.seen.contains(encoding)) {
            world.seen.insert(Sight::BothEncodings);
        }
        world.seen.insert(match self.topology {
            Topology::Line => Sight::Line,
            Topology::Ring => Sight::Ring,
            Topology::Star => Sight::Star,
        });
        world.trace.note(format_args!("everything heals"));
        world.heal(self.topology)
    }
}

/// Lets a node take in one of the bundles that are there; what is missing before it is asked for by another.
fn import(
    world: &mut World,
    node: usize,
    which: usize,
    frames: Option<usize>,
) -> Result<(), Failure> {
    let Written { by, frames: all } = world.bundles[which].clone();
    world.seen.extend((which + 1 < world.bundles.len()).then_some(Sight::ImportOld));
    let readable = frames.map_or(all.len(), |frames| frames.min(all.len()));
    if world.import(node, &all[..readable])? == Read::Gap {
        let request = world.request(node, by)?;
        world.bundles.extend(request);
    }
    Ok(())
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

impl Op {
    /// The same, one write after the other where there are several.
    pub(crate) fn apart(&self) -> Vec<Self> {
        match self {
            Self::Burst(at, writes) => {
                writes.iter().map(|write| Self::Write(*at, write.clone())).collect()
            }
            op => vec![op.clone()],
        }
    }

    /// What is written, where that is one write of one node.
    pub(crate) fn write_mut(&mut self) -> Option<&mut Write> {
        match self {
            Self::Write(_, write) | Self::Flush(_, write) => Some(write),
            _ => None,
        }
    }

    pub fn happen(&self, world: &mut World) -> Result<(), Failure> {
        let node = |number: u8| usize::from(number) % world.nodes.len();
        let link = |number: u8| {
            let links = world.links.len();
            (links > 0).then(|| usize::from(number) % links)
        };
        match self {
            Self::Write(at, write) => {
                world.write(node(*at), write)?;
            }
            Self::Burst(at, writes) => {
                let at = node(*at);
                for write in writes {
                    world.write(at, write)?;
                }
            }
            Self::Connect(a, b, is_json) => {
                let Some((a, b)) = world.pairing(node(*a), node(*b)) else { return Ok(()) };
                let encoding = if *is_json { Encoding::Json } else { Encoding::MessagePack };
                if a != b && world.links.len() < 12 {
                    world.seen.insert(if *is_json { Sight::Json } else { Sight::MessagePack });
                    if world.peers(a).contains(&b) {
                        world.seen.insert(Sight::TwoLinks);
                    }
                    world.connect(a, b, encoding)?;
                }
            }
            Self::Deliver(at, side, count) => {
                let Some(at) = link(*at) else { return Ok(()) };
                for _ in 0..*count {
                    world.deliver(at, usize::from(*side))?;
                }
            }
            Self::Arrive(at, side, bytes) => {
                if let Some(at) = link(*at) {
                    world.arrive(at, usize::from(*side), index(*bytes))?;
                }
            }
            Self::Cut(at, bytes) => {
                if let Some(at) = link(*at) {
                    world.cut_at(at, bytes.map(index))?;
                    world.links.remove(at);
                }
            }
            Self::Sever(at, side) => {
                if let Some(at) = link(*at) {
                    if world.links[at].ends.iter().all(|end| end.is_open) {
                        world.seen.insert(Sight::HalfOpen);
                    }
                    world.sever(at, usize::from(*side))?;
                }
            }
            Self::HangUp(at, side) => {
                if let Some(at) = link(*at) {
                    world.hang_up(at, usize::from(*side))?;
                }
            }
            Self::Clog(at, side, writes) => {
                let (Some(at), side) = (link(*at), usize::from(*side)) else { return Ok(()) };
                let end = &world.links[at].ends[side];
                if !end.is_open {
                    return Ok(());
                }
                let node = end.node;
                world.stall(at, side, true)?;
                for write in writes {
                    world.write(node, write)?;
                }
            }
            Self::Room => world.give_room()?,
            Self::Sync(at) => world.sync(node(*at))?,
            Self::Flush(at, write) => {
                let at = node(*at);
                world.write(at, write)?;
                world.flush(at)?;
                for peer in world.peers(at) {
                    world.write(peer, write)?;
                }
                world.deliver_to(at)?;
                world.deliver_to(at)?;
                world.hear(at)?;
            }
            Self::Advance(ms) => world.advance(u64::from(*ms))?,
            Self::Away(days) => {
                world.cut_all()?;
                world.seen.insert(Sight::Away);
                world.advance(u64::from(*days) * DAY_MS)?;
            }
            Self::Settle => {
                world.give_room()?;
                world.settle()?;
                world.check_settled_views()?;
            }
            Self::Crash(at, kept, bytes) => {
                world.crash_at(node(*at), usize::from(*kept), index(*bytes))?;
            }
            Self::Fuse(at, steps, kept, bytes) => {
                let [steps, kept] = [*steps, *kept].map(usize::from);
                let at = node(*at);
                world.nodes[at].fuse = Some(Fuse { steps, kept, bytes: index(*bytes) });
            }
            Self::Restart(at) => world.restart(node(*at))?,
            Self::KeepImage(at) => {
                let at = node(*at);
                world.nodes[at].keep_image();
            }
            // What a hub has told of what is lost so, nobody takes back.
            Self::Restore(at) if world.is_hub(node(*at)) => {}
            Self::Restore(at) => world.restore(node(*at))?,
            Self::CloneFile(at) => {
                if world.may_be_copied(node(*at)) {
                    world.clone_file(node(*at))?;
                }
            }
            Self::CloneMachine(at) => {
                if world.may_be_copied(node(*at)) {
                    world.clone_machine(node(*at))?;
                }
            }
            Self::Split(at, here, there) => {
                if world.may_be_copied(node(*at)) {
                    let at = node(*at);
                    let half = world.clone_machine(at)?;
                    world.write(at, here)?;
                    world.write(half, there)?;
                }
            }
            Self::Skew(at, minutes) => {
                let at = node(*at);
                world.nodes[at].skew_ms = i64::from(*minutes) * 60_000;
                world.seen.extend((*minutes != 0).then_some(Sight::Skew));
            }
            Self::Jump(at, years) => {
                let at = node(*at);
                let it = &mut world.nodes[at];
                let before_ms = it.skew_ms;
                it.skew_ms += i64::from(*years) * YEAR_MS;
                // Stamps end with the year 2200, and began with 1970.
                it.skew_ms = it.skew_ms.clamp(-50 * YEAR_MS, 150 * YEAR_MS);
                let has_jumped = it.skew_ms.abs_diff(before_ms) >= YEAR_MS.unsigned_abs();
                world.seen.extend(has_jumped.then_some(Sight::Jump));
            }
            Self::FailWrite(at, nth, is_landed) => {
                let at = node(*at);
                let it = &mut world.nodes[at];
                it.is_disk_bad = true;
                it.disk.fail(u64::from(*nth), *is_landed);
            }
            Self::FullDisk(at, room) => {
                let at = node(*at);
                world.nodes[at].disk.set_room(Some(u64::from(*room)));
            }
            Self::RoomOnDisk(at) => {
                let at = node(*at);
                world.nodes[at].disk.set_room(None);
                world.nodes[at].is_full = false;
            }
            Self::Block(at, side, is_blocked) => {
                if let Some(at) = link(*at) {
                    world.links[at].ends[usize::from(*side)].is_blocked = *is_blocked;
                }
            }
            Self::Look(at) => {
                world.look(node(*at))?;
            }
            // Only who comes back is told of points that were kept for him.
            Self::Abuse(at, Abuse::Ask(seed)) => {
                let at = node(*at);
                for visit in 0..3 {
                    world.abuse(at, Abuse::Ask(seed.wrapping_add(visit)))?;
                }
            }
            Self::Abuse(at, abuse) => world.abuse(node(*at), *abuse)?,
            // A hub asks for the principals of its peers, which those worlds do not have.
            Self::Classic(..) if world.rules.is_some() => {}
            Self::Classic(at, op) => world.classic(*at, op)?,
            Self::Upgrade(at) => {
                let at = node(*at);
                world.seen.insert(Sight::Upgrade);
                world.nodes[at].version ^= 1;
                world.restart(at)?;
            }
            // What may be carried to whom in a file is not told here of who sees less than all.
            Self::Export(..) | Self::Import(..) if world.rules.is_some() => {}
            Self::Export(at, peer) => {
                let peer = world.nodes[node(*peer)].engine.node();
                let bundle = world.export(node(*at), peer)?;
                world.bundles.extend(bundle);
                let forgotten = world.bundles.len().saturating_sub(BUNDLES_MAX);
                world.bundles.drain(..forgotten);
            }
            Self::Import(at, which, frames) => {
                if !world.bundles.is_empty() {
                    let which = usize::from(*which) % world.bundles.len();
                    import(world, node(*at), which, frames.map(usize::from))?;
                }
            }
            Self::Change(change) => world.change(change)?,
        }
        Ok(())
    }
}
