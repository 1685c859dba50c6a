//! What other nodes say at present.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use syncro_core::{Encoded, Name, NodeId, Value};
use tokio::sync::Notify;

use crate::core::{Core, lock};

/// What a node says on a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Who says it, over however many relays it came.
    pub node: NodeId,
    /// What it says from now on; `None` when it says nothing any more: it took it back, or has gone.
    pub value: Option<Value>,
}

/// What other nodes say on a topic; see [`Node::signals`](crate::Node::signals). Dropping it ends the watching.
#[derive(Debug)]
pub struct Signals {
    topic: Name,
    queue: Arc<Queue>,
    core: Weak<Core>,
}

impl Signals {
    pub(crate) fn new(topic: Name, queue: Arc<Queue>, core: &Arc<Core>) -> Self {
        Self { topic, queue, core: Arc::downgrade(core) }
    }

    /// The topic.
    pub fn topic(&self) -> &Name {
        &self.topic
    }

    /// Waits until some node says something else; `None` when the node is closed. Of what one node has said since it was
    /// asked last, the last word is told. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Signal> {
        loop {
            let changed = self.queue.changed.notified();
            {
                let mut inbox = lock(&self.queue.inbox);
                if let Some(signal) = inbox.pop() {
                    return Some(signal);
                }
                if inbox.is_over {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Returns what some node says, if it has changed.
    pub fn try_next(&mut self) -> Option<Signal> {
        lock(&self.queue.inbox).pop()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.unwatch(&self.topic, &self.queue);
        }
    }
}

/// The way to one who watches. It has no more than the last word of each node.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inbox: Mutex<Inbox>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Who says something, as it was put in.
    present: BTreeSet<NodeId>,
    /// What is to be told, the nodes in the order in which they first spoke since.
    words: BTreeMap<NodeId, Option<Encoded>>,
    order: VecDeque<NodeId>,
    is_over: bool,
}

impl Inbox {
    fn put(&mut self, node: NodeId, value: Option<Encoded>) {
        match value {
            Some(_) => self.present.insert(node),
            None => self.present.remove(&node),
        };
        if self.words.insert(node, value).is_none() {
            self.order.push_back(node);
        }
    }

    fn pop(&mut self) -> Option<Signal> {
        let node = self.order.pop_front()?;
        let value = self.words.remove(&node)?.map(|value| value.decode());
        Some(Signal { node, value })
    }
}

impl Queue {
    fn put(&self, node: NodeId, value: Option<Encoded>) {
        lock(&self.inbox).put(node, value);
        self.changed.notify_one();
    }
}

/// What the host says, and who of it watches what.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    said: BTreeMap<Name, Encoded>,
    watchers: BTreeMap<Name, Vec<Arc<Queue>>>,
    is_closed: bool,
}

impl Topics {
    /// What is watched, and one topic more.
    pub(crate) fn with(&self, topic: &Name) -> BTreeSet<Name> {
        let mut topics = self.watched();
        topics.insert(topic.clone());
        topics
    }

    pub(crate) fn watched(&self) -> BTreeSet<Name> {
        lock(&self.desk).watchers.keys().cloned().collect()
    }

    /// What the host says.
    pub(crate) fn said(&self) -> Vec<(Name, Encoded)> {
        lock(&self.desk).said.clone().into_iter().collect()
    }

    /// Notes what the host says.
    pub(crate) fn note(&self, topic: Name, value: Encoded) {
        let said = &mut lock(&self.desk).said;
        match value.is_nil() {
            true => drop(said.remove(&topic)),
            false => drop(said.insert(topic, value)),
        }
    }

    /// Adds one who watches, and who hears first what is said already.
    pub(crate) fn watch(&self, topic: &Name, present: Vec<(NodeId, Encoded)>) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        present.into_iter().for_each(|(node, value)| queue.put(node, Some(value)));
        let mut desk = lock(&self.desk);
        lock(&queue.inbox).is_over = desk.is_closed;
        desk.watchers.entry(topic.clone()).or_default().push(queue.clone());
        queue
    }

    /// Takes one away. Returns whether nobody else watches the topic.
    pub(crate) fn unwatch(&self, topic: &Name, queue: &Arc<Queue>) -> bool {
        let mut desk = lock(&self.desk);
        let Some(watchers) = desk.watchers.get_mut(topic) else {
            return false;
        };
        watchers.retain(|it| !Arc::ptr_eq(it, queue));
        let is_last = watchers.is_empty();
        if is_last {
            desk.watchers.remove(topic);
        }
        is_last
    }

    pub(crate) fn on_signal(&self, signal: &syncro_core::Signal) {
        for queue in lock(&self.desk).watchers.get(&signal.topic).into_iter().flatten() {
            queue.put(signal.node, signal.value.clone());
        }
    }

    /// Tells everybody that all nodes have gone: so have the sessions. One that is closed tells nothing after that.
    pub(crate) fn end(&self, is_closed: bool) {
        let mut desk = lock(&self.desk);
        desk.is_closed |= is_closed;
        for queue in desk.watchers.values().flatten() {
            let mut inbox = lock(&queue.inbox);
            for node in inbox.present.clone() {
                inbox.put(node, None);
            }
            inbox.is_over |= is_closed;
            queue.changed.notify_one();
        }
    }
}
