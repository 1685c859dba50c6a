//! What the host says to peers, and hears from them, beside the log.

use std::sync::Arc;
use std::time::Duration;

use syncro_core::{CallFailure, Name, NodeId, Value};

use super::Node;
use crate::calls::Caller;
use crate::error::Error;
use crate::signals::Signals;

impl Node {
    /// Asks a peer that is connected for something of the application's own, and waits for the answer, which is there
    /// in time or an error. What peers answer they say with [`NodeBuilder::handler`](crate::NodeBuilder::handler).
    ///
    /// A call is sent once, over the newest session with the peer, and takes no part in the log: nothing of it is kept,
    /// and with the session it is lost. Whoever drops the future does not wait any more; the peer answers all the same.
    /// What is asked and what is answered may have 256 KiB each, and so many calls to one session wait at a time as
    /// [`limits::CALLS_MAX`](crate::limits::CALLS_MAX) says: 64.
    ///
    /// ```
    /// use std::time::Duration;
    /// use syncro::{Encoding, Node, Role, Value, store::Memory};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), syncro::Error> {
    /// let server = Node::builder()
    ///     .name("server")
    ///     .handler("models", |caller, _| Ok(Value::from(caller.node.models().map_or(0, |it| it.len()) as i64)))
    ///     .open_on(Memory::new())?;
    /// let laptop = Node::in_memory("laptop")?;
    /// let listening = server.listen("127.0.0.1:0").await?;
    /// let _connection = laptop.connect(&listening.local_addr().to_string())?;
    /// laptop.confirmed_by(server.id(), 0).await?;
    ///
    /// let models = laptop.call(server.id(), "models", Value::Nil, Duration::from_secs(5)).await?;
    /// assert_eq!(models, Value::from(0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when there is no answer, with a number that says why: see [`CallFailure`].
    /// [`Error::Data`] for a name outside 1 to 255 bytes, [`Error::Closed`] when the node is closed,
    /// [`Error::Store`] when its store has failed.
    pub async fn call(
        &self,
        peer: NodeId,
        name: &str,
        value: Value,
        within: Duration,
    ) -> Result<Value, Error> {
        let answer = self.core.call(peer, Name::new(name)?, value.encode(), within).await?;
        Ok(answer.decode())
    }

    /// Answers calls of a name from now on, in place of what did before; see
    /// [`NodeBuilder::handler`](crate::NodeBuilder::handler). A handler that holds a node of its own keeps it open until
    /// it is closed: [`Caller::node`] is there for that.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a name outside 1 to 255 bytes.
    pub fn set_handler(
        &self,
        name: &str,
        handler: impl Fn(&Caller, Value) -> Result<Value, CallFailure> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.core.calls.handle(Name::new(name)?, Arc::new(handler));
        Ok(())
    }

    /// Says something on a topic, in this node's name: presence, a cursor, that somebody types. Nil takes it back.
    ///
    /// It is in no log and on no disk. Peers that [listen](Self::signals) on the topic hear the last word, and those that
    /// come later too, for as long as this node is there: when its session ends, or is found dead, they are told that it
    /// has gone. Nodes that are connected to by others pass it on. What is said stays said until it is taken back or the
    /// node is closed, whoever comes and goes.
    ///
    /// Words that follow each other faster than a peer reads become the last of them.
    ///
    /// # Errors
    ///
    /// [`UsageError::SignalTooLong`](crate::UsageError::SignalTooLong) for more than 1 KiB,
    /// [`UsageError::TooManyTopics`](crate::UsageError::TooManyTopics) for a 65th topic on which something is said;
    /// [`Error::Data`] for a topic outside 1 to 255 bytes, [`Error::Closed`] when the node is closed,
    /// [`Error::Store`] when its store has failed.
    pub fn signal(&self, topic: &str, value: Value) -> Result<(), Error> {
        self.core.signal(Name::new(topic)?, value.encode())
    }

    /// Listens to what other nodes say on a topic: first to what they say already, then to each change.
    ///
    /// A peer with [rules](crate::Rules) lets this node hear of the topics that are channels which its principal may read,
    /// and be heard on those into which it may write.
    ///
    /// ```
    /// use syncro::{Node, Value};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), syncro::Error> {
    /// let (server, laptop) = (Node::in_memory("server")?, Node::in_memory("laptop")?);
    /// let mut present = server.signals("list/7")?;
    /// laptop.signal("list/7", Value::from("Ann"))?;
    ///
    /// let listening = server.listen("127.0.0.1:0").await?;
    /// let connection = laptop.connect(&listening.local_addr().to_string())?;
    /// let ann = present.next().await.expect("the node is open");
    /// assert_eq!((ann.node, ann.value), (laptop.id(), Some(Value::from("Ann"))));
    ///
    /// connection.close().await;
    /// assert_eq!(present.next().await.expect("the node is open").value, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UsageError::TooManyTopics`](crate::UsageError::TooManyTopics) for a 65th topic that is listened to;
    /// [`Error::Data`] for a topic outside 1 to 255 bytes, [`Error::Closed`] when the node is closed,
    /// [`Error::Store`] when its store has failed.
    pub fn signals(&self, topic: &str) -> Result<Signals, Error> {
        self.core.watch_topic(Name::new(topic)?)
    }
}
