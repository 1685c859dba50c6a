//! What becomes of nodes: born, crashed, restored, cloned.

use syncro_core::{Config, Engine, Input, Name, NodeId, SessionId, View};
use syncro_store::{LogStore, MemoryDisk};

use super::node::Log;
use super::{Failure, TestNode, World};

impl World {
    pub(crate) fn add_node(&mut self, name: &str) -> Result<usize, Failure> {
        let config = Config {
            node: Some(NodeId::named(name)),
            name: Name::new(name).ok(),
            seed: self.fresh_seed(),
        };
        let (disk, log) = (MemoryDisk::new(), Log::default());
        let now =
            syncro_core::Now { wall_ms: super::WALL_MS + self.now_ms, monotonic_ms: self.now_ms };
        let (node, effects) = TestNode::open(now, config, disk, log, &[])?;
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        self.carry_out(number, effects, false)?;
        self.sync(number)?;
        Ok(number)
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
        kept: &[syncro_core::Commit],
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
        let config = Config { seed: self.fresh_seed(), ..Config::default() };
        let (mut opened, effects) = TestNode::open(self.now(node), config, disk, log, kept)?;
        let before = &mut self.nodes[node];
        opened.skew_ms = before.skew_ms;
        opened.image = before.image.clone();
        opened.events = std::mem::take(&mut before.events);
        self.nodes[node] = opened;
        self.begin(node, effects)
    }

    /// Makes the epoch durable, and looks at what the node woke up with.
    fn begin(&mut self, node: usize, effects: syncro_core::Effects) -> Result<(), Failure> {
        self.carry_out(node, effects, false)?;
        self.sync(node)?;
        self.check_points(node)?;
        self.check_twins(node)
    }

    /// Copies the data directory and starts a second node on it.
    pub(crate) fn clone_file(&mut self, node: usize) -> Result<usize, Failure> {
        let it = &self.nodes[node];
        let mut log = it.log.clone();
        let disk = it.disk.image();
        let skew_ms = it.skew_ms;
        let config = Config { seed: self.fresh_seed(), ..Config::default() };
        let (mut clone, effects) =
            TestNode::open(self.now(node), config, disk, std::mem::take(&mut log), &[])?;
        clone.skew_ms = skew_ms;
        clone.keep_image();
        self.nodes.push(clone);
        let number = self.nodes.len() - 1;
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
            syncro_core::Store::apply(&mut store, commit)?;
        }
        let author =
            store.own()?.map(|own| syncro_core::Author { node: own.node, epoch: own.epoch });
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
