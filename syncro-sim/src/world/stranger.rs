//! A peer that says whatever the test wants.

use serde_json::Value;
use syncro_core::{CloseReason, Event, Input, NodeId, Point, Role, SessionId};

use super::{A, End, Link, Piece, World, wire};

/// Stands for a stranger where a link names its nodes.
pub const STRANGER: usize = usize::MAX;

/// A world with the node [`A`] and a stranger that has called it.
#[derive(Debug)]
pub struct Stranger {
    pub world: World,
    link: usize,
}

impl Default for Stranger {
    fn default() -> Self {
        Self::calls(World::new(1).unwrap())
    }
}

impl Stranger {
    /// Calls A, and says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls the node A of a world that goes on without its links.
    pub fn calls(mut world: World) -> Self {
        world.is_hostile = true;
        let session = SessionId(1_000_000 + world.links.len() as u64);
        world.links.push(Link::new([STRANGER, A].map(|node| End::new(node, session))));
        let link = world.links.len() - 1;
        world
            .input(A, Input::Open { session, role: Role::Accept, credentials: Default::default() })
            .unwrap();
        Self { world, link }
    }

    /// Calls A and greets it; A's greeting is passed over.
    pub fn greeted() -> Self {
        let mut stranger = Self::new();
        stranger.says(&wire::hello(NodeId::named("stranger")));
        stranger.hears();
        stranger
    }

    /// Calls A, greets it, and asks for its log from the start.
    pub fn synced() -> Self {
        let mut stranger = Self::greeted();
        stranger.says(&wire::sync(&[]));
        stranger.hears();
        stranger
    }

    /// Says a message in JSON.
    #[track_caller]
    pub fn says(&mut self, message: &Value) {
        self.sends(wire::frame(message));
    }

    /// Sends any bytes.
    #[track_caller]
    pub fn sends(&mut self, frame: bytes::Bytes) {
        let session = self.world.links[self.link].ends[1].session;
        if let Err(failure) = self.world.input(A, Input::Receive { session, frame }) {
            panic!("{failure}");
        }
    }

    /// What A has said since.
    pub fn hears(&mut self) -> Vec<Value> {
        let incoming = &mut self.world.links[self.link].ends[0].incoming;
        incoming.arrive(usize::MAX);
        let messages = std::iter::from_fn(|| match incoming.read().unwrap()? {
            Piece::Message(message) => Some(wire::read(&message)),
            Piece::TooLarge | Piece::End => None,
        });
        messages.collect()
    }

    /// Why A has closed the session, and whether because the stranger did.
    pub fn closed(&self) -> Option<(CloseReason, bool)> {
        self.world.nodes[A].events.iter().find_map(|event| match event {
            Event::Closed { reason, by_peer, .. } => Some((*reason, *by_peer)),
            _ => None,
        })
    }

    /// Demands that A has closed the session for a reason, and has said so.
    #[track_caller]
    pub fn assert_closed(&mut self, reason: CloseReason) {
        assert_eq!(self.closed(), Some((reason, false)));
        let last = self.hears().pop().expect("a bye");
        assert_eq!(
            (last["type"].as_str(), last["code"].as_u64()),
            (Some("bye"), Some(u64::from(reason.code())))
        );
        assert!(self.world.nodes[A].engine.sessions().next().is_none());
    }

    pub fn end(&self) -> Point {
        self.world.nodes[A].engine.end()
    }
}
