//! What becomes of nodes: born, crashed, restored, cloned.

use syncro_core::{
    Author, Commit, Config, Effects, Engine, Input, Name, NodeId, SessionId, Store, View,
};
use syncro_store::{LogStore, MemoryDisk};

use super::node::Log;
use super::{Failure, TestNode, World, uptime_ms};

impl World {
    pub(crate) fn add_node(&mut self, name: &str) -> Result<usize, Failure> {
        let config = Config {
            node: Some(NodeId::named(name)),
            name: Name::new(name).ok(),
            seed: self.fresh_seed(),
        };
        let (disk, log) = (MemoryDisk::new(), Log::default());
        let number = self.nodes.len();
        let now = self.clocks(0, uptime_ms(number));
        let (mut node, effects) = TestNode::open(now, config, disk, log, &[])?;
        node.uptime_ms = uptime_ms(number);
        self.nodes.push(node);
        self.carry_out(number, effects, false)?;
        self.sync(number)?;
        Ok(number)
    }

    /// The configuration of a node that finds its name in its store.
    fn anonymous(&mut self) -> Config {
        Config { seed: self.fresh_seed(), ..Config::default() }
    }

    fn fresh_seed(&mut self) -> [u8; 32] {
        self.opens += 1;
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.opens.to_be_bytes());
        seed
    }

    /// Pulls the plug. Of the commits since the last flush, the first `kept` happen to survive.
    pub(crate) fn crash(&mut self, node: usize, kept: usize) -> Result<(), Failure> {
        let it = &self.nodes[node];
        let (disk, log) = (it.disk.crash(), it.log.clone());
        let kept = it.unsynced[..kept.min(it.unsynced.len())].to_vec();
        self.reopen(node, disk, log, &kept)
    }

    /// Flushes, closes and opens again.
    pub(crate) fn restart(&mut self, node: usize) -> Result<(), Failure> {
        self.sync(node)?;
        self.crash(node, 0)
    }

    /// Puts the copy of the disk in place of the disk.
    pub(crate) fn restore(&mut self, node: usize) -> Result<(), Failure> {
        let (disk, log) = self.nodes[node].image.clone();
        self.reopen(node, disk.image(), log, &[])
    }

    fn reopen(
        &mut self,
        node: usize,
        disk: MemoryDisk,
        log: Log,
        kept: &[Commit],
    ) -> Result<(), Failure> {
        // The connections go with the process; peers find out.
        for link in 0..self.links.len() {
            for side in 0..2 {
                if self.links[link].ends[side].node == node {
                    self.links[link].ends[side].is_open = false;
                    self.cut(link)?;
                }
            }
        }
        let config = self.anonymous();
        let (mut opened, effects) = TestNode::open(self.now(node), config, disk, log, kept)?;
        let before = &mut self.nodes[node];
        (opened.skew_ms, opened.uptime_ms) = (before.skew_ms, before.uptime_ms);
        opened.image = before.image.clone();
        opened.events = std::mem::take(&mut before.events);
        self.nodes[node] = opened;
        self.begin(node, effects)
    }

    /// Makes the epoch durable, and looks at what the node woke up with.
    fn begin(&mut self, node: usize, effects: Effects) -> Result<(), Failure> {
        self.carry_out(node, effects, false)?;
        self.sync(node)?;
        self.check_points(node)?;
        self.check_twins(node)
    }

    /// Copies the data directory and starts a second node on it.
    pub(crate) fn clone_file(&mut self, node: usize) -> Result<usize, Failure> {
        let (number, config) = (self.nodes.len(), self.anonymous());
        let it = &self.nodes[node];
        let now = self.clocks(it.skew_ms, uptime_ms(number));
        let (mut clone, effects) =
            TestNode::open(now, config, it.disk.image(), it.log.clone(), &[])?;
        (clone.skew_ms, clone.uptime_ms) = (it.skew_ms, uptime_ms(number));
        clone.keep_image();
        self.nodes.push(clone);
        self.begin(number, effects)?;
        Ok(number)
    }

    /// Copies the machine while it runs, memory and disk. The copy finds its connections gone.
    pub(crate) fn clone_machine(&mut self, node: usize) -> Result<usize, Failure> {
        let it = &self.nodes[node];
        let engine: Engine = it.engine.clone();
        let disk = it.disk.fork();
        let mut store = LogStore::open(disk.open()?)?;
        for commit in &it.unsynced {
            store.apply(commit)?;
        }
        let author = store.own()?.map(|own| Author { node: own.node, epoch: own.epoch });
        let clone = TestNode {
            engine,
            store,
            disk,
            log: it.log.clone(),
            unsynced: it.unsynced.clone(),
            image: it.image.clone(),
            events: Vec::new(),
            wake_at: it.wake_at,
            skew_ms: it.skew_ms,
            uptime_ms: uptime_ms(self.nodes.len()),
            covered: it.covered.clone(),
        };
        let sessions: Vec<SessionId> = self
            .links
            .iter()
            .flat_map(|link| &link.ends)
            .filter(|end| end.node == node && end.is_open)
            .map(|end| end.session)
            .collect();
        self.ledger.shared.extend(author);
        self.nodes.push(clone);
        let number = self.nodes.len() - 1;
        for session in sessions {
            self.input(number, Input::Lost { session })?;
        }
        Ok(number)
    }
}
