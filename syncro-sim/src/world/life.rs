//! What becomes of nodes: born, crashed, restored, cloned.

use syncro_core::{Author, Commit, Config, Effects, Engine, Input, Name, NodeId, SessionId, View};

use crate::disk::Disk;

use super::node::{Log, catch_up, clocks, open_store};
use super::town::Part;
use super::{Failure, Sight, TestNode, World, uptime_ms};

/// A machine that was copied while it ran, memory and disk.
pub struct Machine {
    node: TestNode,
    sessions: Vec<SessionId>,
}

impl World {
    pub fn add_node(&mut self, name: &str) -> Result<usize, Failure> {
        self.add_part(name, Part::default())
    }

    /// Adds a node that is something among others.
    pub(crate) fn add_part(&mut self, name: &str, part: Part) -> Result<usize, Failure> {
        let config = part.config(Config {
            node: Some(NodeId::named(name)),
            name: Name::new(name).ok(),
            seed: self.fresh_seed(),
            ..Config::default()
        });
        let (disk, log) = (Disk::new(self.has_sectors), Log::default());
        let number = self.nodes.len();
        let rate_ppm = self.rates_ppm[number % 2];
        let now = clocks(self.now_ms, rate_ppm, 0, uptime_ms(number));
        let (mut node, effects) = TestNode::open(now, config, disk, log, &[])?;
        (node.uptime_ms, node.rate_ppm) = (uptime_ms(number), rate_ppm);
        node.part = part;
        self.nodes.push(node);
        self.carry_out(number, effects, false)?;
        self.sync(number)?;
        Ok(number)
    }

    /// The configuration of a node that finds its name in its store.
    fn anonymous(&mut self, part: &Part) -> Config {
        part.config(Config { seed: self.fresh_seed(), ..Config::default() })
    }

    fn fresh_seed(&mut self) -> [u8; 32] {
        self.opens += 1;
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.opens.to_be_bytes());
        seed
    }

    /// Pulls the plug. Of the commits since the last flush, the first `kept` happen to survive; nothing
    /// that is under way arrives.
    pub fn crash(&mut self, node: usize, kept: usize) -> Result<(), Failure> {
        self.crash_at(node, kept, 0)
    }

    /// Pulls the plug, and what is under way to peers breaks off at a byte, as for
    /// [`cut_at`](Self::cut_at).
    pub fn crash_at(&mut self, node: usize, kept: usize, bytes: usize) -> Result<(), Failure> {
        self.nodes[node].fuse = None;
        self.trace.note(format_args!("  {node} crashes"));
        let it = &mut self.nodes[node];
        let luck = self.trace.hash();
        if it.disk.tears(luck) {
            self.seen.insert(Sight::TornDisk);
        }
        if it.store.syncer().is_writing_behind() {
            self.seen.insert(Sight::CrashInCheckpoint);
        }
        let (disk, log) = (it.disk.crash(kept, luck), it.log.clone());
        let (kept, lost) = it.unsynced.split_at(kept.min(it.unsynced.len()));
        let (kept, lost) = (kept.to_vec(), lost.to_vec());
        self.unplug(node, bytes)?;
        self.note_crash(node, &kept, &lost);
        self.reopen(node, disk, log, &kept)
    }

    fn note_crash(&mut self, node: usize, kept: &[Commit], lost: &[Commit]) {
        let lost: Vec<_> = lost.iter().flat_map(|commit| &commit.entries).collect();
        if lost.is_empty() {
            return;
        }
        self.seen.insert(Sight::CrashLoses);
        self.note_rewound(self.nodes[node].engine.node());
        if kept.iter().any(|commit| !commit.entries.is_empty()) {
            self.seen.insert(Sight::CrashKeepsAPart);
        }
        let mut peers = self.nodes.iter().enumerate().filter(|(number, _)| *number != node);
        if peers.any(|(_, peer)| lost.iter().any(|it| peer.log.holds(it.transaction.bytes()))) {
            self.seen.insert(Sight::CrashLosesWhatAPeerHas);
        }
    }

    /// Flushes, closes and opens again.
    pub fn restart(&mut self, node: usize) -> Result<(), Failure> {
        self.sync(node)?;
        let it = &mut self.nodes[node];
        let (Disk::Blocks(disk), true) = (&it.disk, it.unsynced.is_empty()) else {
            return self.crash(node, 0);
        };
        // A database writes to its file when it is closed.
        let (disk, log) = (disk.clone(), it.log.clone());
        it.store.syncer().close();
        self.seen.insert(Sight::CleanClose);
        self.unplug(node, 0)?;
        self.reopen(node, Disk::Blocks(disk.fork()), log, &[])
    }

    /// Puts the copy of the disk in place of the disk.
    pub fn restore(&mut self, node: usize) -> Result<(), Failure> {
        self.unplug(node, 0)?;
        self.trace.note(format_args!("  {node} is restored"));
        self.note_rewound(self.nodes[node].engine.node());
        let it = &self.nodes[node];
        let (disk, log) = it.image.clone();
        if log.entries().len() < it.log.entries().len() {
            self.seen.insert(Sight::Restore);
        }
        self.reopen(node, disk.image(), log, &[])
    }

    /// A node's connections go with its process. Some of what is under way still arrives; then its peers
    /// find out.
    fn unplug(&mut self, node: usize, bytes: usize) -> Result<(), Failure> {
        self.unplug_hub(node);
        self.unplug_intruders(node);
        let ends = self.links.iter_mut().enumerate().flat_map(|(link, it)| {
            it.ends.iter_mut().enumerate().map(move |(side, end)| (link, side, end))
        });
        let mut lines = Vec::new();
        for (link, side, end) in ends.filter(|(.., end)| end.node == node) {
            end.is_open = false;
            lines.push((link, if side == 0 { [0, bytes] } else { [bytes, 0] }));
        }
        for (link, bytes) in lines {
            self.cut_at(link, bytes)?;
        }
        Ok(())
    }

    fn reopen(
        &mut self,
        node: usize,
        disk: Disk,
        log: Log,
        kept: &[Commit],
    ) -> Result<(), Failure> {
        let part = self.nodes[node].part.clone();
        let config = self.anonymous(&part);
        let (mut opened, effects) = TestNode::open(self.now(node), config, disk, log, kept)?;
        let before = &mut self.nodes[node];
        (opened.skew_ms, opened.uptime_ms) = (before.skew_ms, before.uptime_ms);
        (opened.rate_ppm, opened.version) = (before.rate_ppm, before.version);
        opened.largest_commit = before.largest_commit;
        opened.bounds = before.bounds;
        opened.part = part;
        let (watch, how) = before.saved.clone().resume(&opened.store)?;
        opened.watch = watch;
        self.seen.extend(how);
        opened.watch.check(&opened.store)?;
        opened.saved = opened.watch.clone();
        opened.flushes = before.flushes;
        opened.image = before.image.clone();
        opened.events = std::mem::take(&mut before.events);
        self.nodes[node] = opened;
        self.begin(node, effects)
    }

    /// Makes the epoch durable, and looks at what the node woke up with.
    fn begin(&mut self, node: usize, effects: Effects) -> Result<(), Failure> {
        self.list_own_writes(node)?;
        self.carry_out(node, effects, false)?;
        self.sync(node)?;
        self.check_points(node)?;
        self.check_twins(node)
    }

    /// Copies the data directory and starts a second node on it.
    pub fn clone_file(&mut self, node: usize) -> Result<usize, Failure> {
        let it = &self.nodes[node];
        let copy = (it.disk.image(), it.log.clone());
        self.start_file(node, copy)
    }

    /// Starts a second node on the copy of the disk that was kept.
    pub fn clone_image(&mut self, node: usize) -> Result<usize, Failure> {
        let (disk, log) = self.nodes[node].image.clone();
        self.start_file(node, (disk.image(), log))
    }

    fn start_file(&mut self, node: usize, copy: (Disk, Log)) -> Result<usize, Failure> {
        self.seen.insert(Sight::CloneFile);
        self.note_rewound(self.nodes[node].engine.node());
        let part = self.nodes[node].part.clone();
        let (number, config) = (self.nodes.len(), self.anonymous(&part));
        let TestNode { skew_ms, rate_ppm, version, .. } = self.nodes[node];
        let now = clocks(self.now_ms, rate_ppm, skew_ms, uptime_ms(number));
        let (disk, log) = copy;
        let (mut clone, effects) = TestNode::open(now, config, disk, log, &[])?;
        (clone.skew_ms, clone.uptime_ms) = (skew_ms, uptime_ms(number));
        (clone.rate_ppm, clone.version) = (rate_ppm, version);
        clone.bounds = self.nodes[node].bounds;
        clone.part = part;
        clone.largest_commit = self.nodes[node].largest_commit;
        clone.keep_image();
        self.nodes.push(clone);
        self.trace.note(format_args!("  {number} begins on a copy of {node}'s disk"));
        self.begin(number, effects)?;
        Ok(number)
    }

    /// Copies the machine while it runs, memory and disk. The copy finds its connections gone.
    pub fn clone_machine(&mut self, node: usize) -> Result<usize, Failure> {
        let (copy, number) = (self.copy_machine(node)?, self.nodes.len());
        self.trace.note(format_args!("  {number} goes on as a copy of {node}"));
        self.wake(copy)
    }

    /// Copies memory and disk of a machine that runs.
    pub fn copy_machine(&self, node: usize) -> Result<Machine, Failure> {
        let it = &self.nodes[node];
        let engine: Engine = it.engine.clone();
        let disk = it.disk.fork();
        let mut store = open_store(&disk)?;
        catch_up(&mut store, &it.unsynced)?;
        let copy = TestNode {
            engine,
            store,
            disk,
            log: it.log.clone(),
            unsynced: it.unsynced.clone(),
            flushed: it.flushed,
            fuse: None,
            image: it.image.clone(),
            events: Vec::new(),
            wake_at: it.wake_at,
            skew_ms: it.skew_ms,
            uptime_ms: it.uptime_ms,
            rate_ppm: it.rate_ppm,
            version: it.version,
            is_disk_bad: it.is_disk_bad,
            is_full: it.is_full,
            largest_commit: it.largest_commit,
            largest_flush: it.largest_flush,
            bounds: it.bounds,
            watch: it.watch.clone(),
            looks_away: it.looks_away,
            saved: it.saved.clone(),
            flushes: it.flushes,
            covered: it.covered.clone(),
            confirmed: it.confirmed.clone(),
            pen: it.pen,
            look: None,
            part: it.part.clone(),
            own_writes: it.own_writes.clone(),
            followed: it.followed,
            covered_log: it.covered_log,
        };
        let ends = self.links.iter().flat_map(|link| &link.ends);
        let open = ends.filter(|end| end.node == node && end.is_open);
        let open = open.map(|end| end.session).chain(self.intruders_of(node));
        Ok(Machine { node: copy, sessions: open.collect() })
    }

    /// Lets the copy of a machine go on beside all others.
    pub fn wake(&mut self, mut copy: Machine) -> Result<usize, Failure> {
        self.seen.insert(Sight::CloneMachine);
        let number = self.nodes.len();
        copy.node.uptime_ms = uptime_ms(number);
        self.nodes.push(copy.node);
        self.resume(number, copy.sessions)?;
        Ok(number)
    }

    /// Sets a machine back to its copy.
    pub fn set_back(&mut self, node: usize, copy: Machine) -> Result<(), Failure> {
        self.unplug(node, 0)?;
        self.nodes[node] = copy.node;
        self.resume(node, copy.sessions)
    }

    /// A copied machine finds its connections gone. From here on, two engines have been its author.
    fn resume(&mut self, node: usize, sessions: Vec<SessionId>) -> Result<(), Failure> {
        let own = self.nodes[node].store.own()?;
        self.note_rewound(self.nodes[node].engine.node());
        self.ledger.shared.extend(own.map(|own| Author { node: own.node, epoch: own.epoch }));
        for session in sessions {
            self.input(node, Input::Lost { session })?;
        }
        Ok(())
    }
}
