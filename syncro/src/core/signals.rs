//! What the host says and hears on topics, as the engine is told.

use std::sync::Arc;

use syncro_core::{Encoded, Input, Name};

use super::{Core, State};
use crate::error::Error;
use crate::signals::{Queue, Signals};

impl Core {
    /// Says something on a topic, or with nil takes it back.
    pub(crate) fn signal(&self, topic: Name, value: Encoded) -> Result<(), Error> {
        let mut state = self.state();
        let input = Input::Signal { topic: topic.clone(), value: value.clone() };
        let said = self.step(&mut state, input).map(drop);
        if said.is_ok() {
            self.topics.note(topic, value);
        }
        said
    }

    /// Begins to watch a topic.
    pub(crate) fn watch_topic(self: &Arc<Self>, topic: Name) -> Result<Signals, Error> {
        let mut state = self.state();
        let topics = self.topics.with(&topic);
        let _ = self.step(&mut state, Input::Topics { topics })?;
        // Nothing comes between this and what follows, under the lock.
        let queue = self.topics.watch(&topic, state.engine.signals(&topic));
        Ok(Signals::new(topic, queue, self))
    }

    /// Ends the watching of one.
    pub(crate) fn unwatch(&self, topic: &Name, queue: &Arc<Queue>) {
        let mut state = self.state();
        if self.topics.unwatch(topic, queue) {
            let topics = self.topics.watched();
            // A node that has stopped hears nothing anyway.
            let _ = self.step(&mut state, Input::Topics { topics });
        }
    }

    /// Says and watches what the host does, with an engine that knows nothing of it.
    pub(super) fn speak_again(&self, state: &mut State) {
        let topics = self.topics.watched();
        let _ = self.step(state, Input::Topics { topics });
        for (topic, value) in self.topics.said() {
            let _ = self.step(state, Input::Signal { topic, value });
        }
    }
}
