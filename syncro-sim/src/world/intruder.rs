//! Somebody who means no good, and calls a node at any moment of a world.
//!
//! The session of each ends with the number that the protocol has for what it does, its node keeps no more for it than it
//! may, and nobody else notices: everything else that a world demands, it demands of a world with intruders.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use syncro_core::limits::{FRAME_BYTES_MAX, LADDER_RUNGS_MAX};
use syncro_core::{CloseReason, Digest, Input, NodeId, Point, Role, SessionId};

use super::driver::check_room;
use super::stream::{Piece, Stream};
use super::town::Part;
use super::{Failure, Law, Sight, World, wire};

/// Numbers of their sessions, beyond those of anybody else.
const FIRST_SESSION: u64 = 1 << 40;

/// Sessions of intruders in a world at once.
const INTRUDERS_MAX: usize = 16;

/// What somebody does who means no good.
#[derive(Clone, Copy, Debug)]
pub enum Abuse {
    /// Announces a frame beyond all limits.
    LengthBomb,
    /// Announces more within a message than there is, of one sort or another.
    Lie(u8),
    /// Nests without end.
    Depth,
    /// Says more elements than a message may have.
    Elements,
    /// Says a byte now and then, and never a message: before it has said who it is, or after.
    Drip(bool),
    /// Pings and signals, again and again.
    Free(u16),
    /// Continues a log where nobody was.
    Gap,
    /// Says nothing at all.
    Mute,
    /// Wants the whole log, and answers to as many pings, and reads none of it.
    Deaf(u16),
    /// Says what others have said, damaged, as the seed has it.
    Replay(u64),
    /// Comes back under one name, asks by points that may be anywhere, a part of them at first or all, and for more of them,
    /// again and out of turn, and says where it is itself, as the seed has it.
    Ask(u64),
}

#[derive(Debug)]
pub(crate) struct Intruder {
    node: usize,
    session: SessionId,
    abuse: Abuse,
    incoming: Stream,
    /// Bytes that wait for somebody who reads none.
    queued: usize,
    /// Whether its node has said that there are more points than those by which it asked.
    has_more: bool,
    /// Whether it says why it goes: that may be anything.
    has_said_bye: bool,
    /// Why its session has ended.
    closed: Option<CloseReason>,
    /// When its node last had a message of it.
    heard_ms: u64,
}

impl Abuse {
    /// The reasons for which a session of it may end at once. Everything else goes on until the clock ends it.
    fn reasons(self, part: &Part) -> &'static [CloseReason] {
        match self {
            // It shows nothing of who it is.
            _ if part.is_source() && self.is_greeted() => &[CloseReason::Denied],
            // A view asks nobody who calls for a log.
            Self::Gap if part.is_view => &[CloseReason::Unexpected],
            Self::LengthBomb => &[CloseReason::FrameTooLarge],
            Self::Lie(_) | Self::Depth | Self::Elements => &[CloseReason::Malformed],
            Self::Gap => &[CloseReason::Gap],
            Self::Drip(_) | Self::Free(_) | Self::Mute | Self::Deaf(_) => &[],
            Self::Replay(_) | Self::Ask(_) => &[],
        }
    }

    /// Whether a session of it may end for a reason at once, though it need not.
    fn may_end(self, reason: CloseReason) -> bool {
        match self {
            Self::Replay(_) => true,
            Self::Ask(_) => {
                use CloseReason::{Digest, Gap, Unexpected};
                matches!(reason, Digest | Gap | Unexpected)
            }
            _ => false,
        }
    }

    fn is_greeted(self) -> bool {
        !matches!(self, Self::Mute | Self::Drip(false))
    }

    fn sight(self) -> Sight {
        match self {
            Self::LengthBomb => Sight::LengthBomb,
            Self::Lie(_) => Sight::LyingLength,
            Self::Depth | Self::Elements => Sight::ElementFlood,
            Self::Drip(_) => Sight::SlowLoris,
            Self::Free(_) => Sight::FreeFlood,
            Self::Gap => Sight::GapFlood,
            Self::Mute => Sight::EndlessHandshake,
            Self::Deaf(_) => Sight::DeafReader,
            Self::Replay(_) => Sight::MutatedReplay,
            Self::Ask(_) => Sight::LadderFlood,
        }
    }
}

impl World {
    /// Somebody calls a node, and does what he does.
    pub(crate) fn abuse(&mut self, node: usize, abuse: Abuse) -> Result<(), Failure> {
        self.intruders.retain(|intruder| intruder.closed.is_none());
        if self.intruders.len() >= INTRUDERS_MAX {
            return Ok(());
        }
        self.last_session += 1;
        let session = SessionId(FIRST_SESSION + self.last_session);
        let (opens, heard_ms) = (self.opens, self.now_ms);
        self.intruders.push(Intruder {
            node,
            session,
            abuse,
            incoming: Stream::new(),
            queued: 0,
            has_more: false,
            has_said_bye: false,
            closed: None,
            heard_ms,
        });
        self.input(
            node,
            Input::Open { session, role: Role::Accept, credentials: Default::default() },
        )?;
        if abuse.is_greeted() {
            let own = match abuse {
                Abuse::Ask(_) => NodeId::named("asker"),
                _ => NodeId::named(&format!("intruder {}", session.0)),
            };
            self.intrude(session, &wire::frame(&wire::hello(own)))?;
        }
        for frame in self.offences(node, abuse) {
            let says_bye = frame.windows(3).any(|it| it == b"bye");
            let mut intruders = self.intruders.iter_mut();
            if let Some(it) = intruders.find(|it| it.session == session && says_bye) {
                it.has_said_bye = true;
            }
            self.intrude(session, &frame)?;
        }
        if let Some(bytes) = beginning(abuse) {
            self.drip(session, bytes)?;
        }
        self.seen.insert(abuse.sight());
        if self.opens != opens {
            // The node crashed over it.
            return Ok(());
        }
        let closed = self.intruder(session).and_then(|intruder| intruder.closed);
        let reasons = abuse.reasons(&self.nodes[node].part);
        if !reasons.is_empty() && !closed.is_some_and(|reason| reasons.contains(&reason)) {
            let detail = format!("node {node} ends {abuse:?} with {closed:?}");
            return Err(Law::Abuse.broken(detail));
        }
        Ok(())
    }

    /// The frames that it says, after who it is.
    fn offences(&self, node: usize, abuse: Abuse) -> Vec<Bytes> {
        let point = Point { offset: 3, digest: Digest([9; 16]) };
        match abuse {
            Abuse::LengthBomb | Abuse::Mute | Abuse::Drip(_) => Vec::new(),
            Abuse::Lie(sort) => vec![lie(sort)],
            Abuse::Depth => {
                let nested = "[".repeat(5000);
                vec![Bytes::from(format!(r#"{{"type":"ping","x":{nested}"#))]
            }
            Abuse::Elements => vec![wire::packed(&wire::sync(&[point; LADDER_RUNGS_MAX + 1]))],
            Abuse::Free(count) => {
                let ping = wire::frame(&json!({ "type": "ping" }));
                vec![ping; usize::from(count)]
            }
            Abuse::Gap => {
                let sync = wire::frame(&wire::sync(&[]));
                let gap = wire::frame(&wire::scribes(point, point, Vec::new()));
                vec![sync, gap.clone(), gap]
            }
            Abuse::Deaf(pings) => {
                let ping = wire::frame(&json!({ "type": "ping" }));
                let sync = wire::frame(&wire::sync(&[]));
                std::iter::once(sync).chain(vec![ping; usize::from(pings)]).collect()
            }
            Abuse::Replay(seed) => self.replay(seed),
            Abuse::Ask(seed) => self.ask(node, seed),
        }
    }

    /// Points of a node's log, true or not, and pieces of it, most of which go on from the one before.
    fn ask(&self, node: usize, seed: u64) -> Vec<Bytes> {
        let mut random = crate::disk::random(seed);
        let mut next = |below: usize| (random() % below as u64) as usize;
        let log = self.nodes[node].log.entries();
        let place = |place: usize| place.checked_sub(1).map_or(Point::START, |it| log[it].end());
        let somewhere = |next: &mut dyn FnMut(usize) -> usize| {
            let point = place(next(log.len() + 1));
            match next(4) {
                0 => Point { digest: Digest([next(3) as u8; 16]), ..point },
                1 => Point { offset: point.offset + 1 + next(3) as u64, ..point },
                _ => point,
            }
        };
        let (mut frames, mut reached) = (Vec::new(), 0);
        for _ in 0..=next(8) {
            let message = match next(8) {
                0 | 1 => {
                    // In any order, and some of them twice.
                    let mut ladder: Vec<Point> =
                        (0..next(4)).map(|_| somewhere(&mut next)).collect();
                    ladder.extend_from_within(..next(ladder.len() + 1));
                    let mut sync = wire::sync(&ladder);
                    sync["more"] = json!(next(3) != 0);
                    sync
                }
                2 => json!({ "type": "more" }),
                3 => json!({ "type": "scribes" }),
                4 => json!({ "type": "scribes", "from": wire::point(somewhere(&mut next)) }),
                // What the node has itself.
                _ => {
                    let at = if next(8) == 0 { next(log.len() + 1) } else { reached };
                    let count = if self.nodes[node].part.is_view { 0 } else { next(4) };
                    let items = log[at..].iter().take(count);
                    let items = items.take_while(|it| it.transaction.bytes().len() <= 1000);
                    let items: Vec<_> = items.map(|it| wire::item(&it.transaction)).collect();
                    reached = at + items.len();
                    wire::scribes(place(at), place(reached), items)
                }
            };
            frames.push(wire::frame(&message));
        }
        frames
    }

    /// What others have said on some line, but for who they are, with some bytes of it changed.
    fn replay(&self, seed: u64) -> Vec<Bytes> {
        let mut random = crate::disk::random(seed);
        let mut next = |below: usize| (random() % below.max(1) as u64) as usize;
        if self.links.is_empty() {
            return Vec::new();
        }
        let said = self.links[next(self.links.len())].said();
        let said: Vec<&Bytes> = said.iter().map(|(_, frame)| frame).skip(2).collect();
        let mut frames = Vec::new();
        for _ in 0..next(6) {
            let Some(frame) = said.get(next(said.len())) else { break };
            let mut bytes = frame.to_vec();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes.truncate(at.max(1)),
                    _ => bytes[at] ^= 1 << next(8),
                }
            }
            frames.push(bytes.into());
        }
        frames
    }

    fn intruder(&self, session: SessionId) -> Option<&Intruder> {
        self.intruders.iter().find(|intruder| intruder.session == session)
    }

    fn intrude(&mut self, session: SessionId, frame: &Bytes) -> Result<(), Failure> {
        let mut intruders = self.intruders.iter_mut();
        if let Some(it) = intruders.find(|it| it.session == session) {
            it.incoming.write(frame);
        }
        self.listen(session)
    }

    /// Lets bytes arrive that are no frame yet.
    fn drip(&mut self, session: SessionId, bytes: Bytes) -> Result<(), Failure> {
        let mut intruders = self.intruders.iter_mut();
        if let Some(it) = intruders.find(|it| it.session == session) {
            it.incoming.write_part(bytes);
        }
        self.listen(session)
    }

    /// Lets all that an intruder has said arrive, and does what a driver does with it.
    fn listen(&mut self, session: SessionId) -> Result<(), Failure> {
        loop {
            let now_ms = self.now_ms;
            let mut intruders = self.intruders.iter_mut();
            let it = intruders.find(|it| it.session == session && it.closed.is_none());
            let Some(it) = it else { return Ok(()) };
            it.incoming.arrive(usize::MAX);
            let node = it.node;
            match it.incoming.read()? {
                Some(Piece::Message(frame)) => {
                    it.heard_ms = now_ms;
                    self.input(node, Input::Receive { session, frame })?;
                }
                Some(Piece::TooLarge) => {
                    let reason = CloseReason::FrameTooLarge;
                    self.input(node, Input::Close { session, reason })?;
                }
                Some(Piece::End) | None => return Ok(()),
            }
        }
    }

    /// Takes a message for an intruder. Returns whether its transport took it; `None` for a session of somebody else.
    pub(super) fn send_to_intruder(
        &mut self,
        node: usize,
        session: SessionId,
        frame: &Bytes,
    ) -> Result<Option<bool>, Failure> {
        let mut intruders = self.intruders.iter_mut();
        let is_it = |it: &&mut Intruder| (it.node, it.session) == (node, session);
        let it = intruders.find(is_it).filter(|it| it.closed.is_none());
        let Some(it) = it else { return Ok(None) };
        if let Abuse::Ask(_) = it.abuse {
            let message = wire::read(frame);
            let has_all = message["type"] == "sync" && message["more"].is_null();
            if message["type"] == "more" {
                self.seen.insert(Sight::AskedForMore);
            }
            self.seen.extend((has_all && it.has_more).then_some(Sight::AskedByAll));
            it.has_more |= message["more"] == true;
        }
        if !matches!(it.abuse, Abuse::Deaf(_)) {
            return Ok(Some(true));
        }
        it.queued += frame.len();
        check_room(it.queued, frame)?;
        Ok(Some(false))
    }

    /// Notes that a node ends the session of an intruder.
    pub(super) fn close_intruder(
        &mut self,
        node: usize,
        session: SessionId,
        reason: CloseReason,
    ) -> Result<(), Failure> {
        let mut intruders = self.intruders.iter_mut();
        // A copy of its machine has the session, too, and loses it.
        let is_it = |it: &&mut Intruder| (it.node, it.session) == (node, session);
        let Some(it) = intruders.find(is_it).filter(|it| it.closed.is_none()) else {
            return Ok(());
        };
        it.closed = Some(reason);
        let reasons = it.abuse.reasons(&self.nodes[node].part);
        let is_fair = match reason {
            _ if it.has_said_bye => true,
            CloseReason::Silent | CloseReason::HandshakeTimeout => reasons.is_empty(),
            CloseReason::Other(_) | CloseReason::Lost | CloseReason::Store => false,
            _ => reasons.contains(&reason) || it.abuse.may_end(reason),
        };
        if !is_fair {
            let detail = format!("node {} ends {:?} with {reason}", it.node, it.abuse);
            return Err(Law::Abuse.broken(detail));
        }
        Ok(())
    }

    /// Whether a session is that of an intruder.
    pub(super) fn is_intruder(session: SessionId) -> bool {
        session.0 > FIRST_SESSION
    }

    /// The sessions of intruders that a node has.
    pub(super) fn intruders_of(&self, node: usize) -> impl Iterator<Item = SessionId> {
        let of = self.intruders.iter().filter(move |it| it.node == node && it.closed.is_none());
        of.map(|it| it.session)
    }

    /// The process of a node ends, and with it the sessions of intruders.
    pub(super) fn unplug_intruders(&mut self, node: usize) {
        self.intruders.retain(|intruder| intruder.node != node);
    }

    /// Those who say a byte now and then say one.
    pub(super) fn drip_all(&mut self) -> Result<(), Failure> {
        let dripping = self.intruders.iter().filter(|it| matches!(it.abuse, Abuse::Drip(_)));
        let sessions: BTreeSet<_> = dripping.map(|it| it.session).collect();
        sessions.into_iter().try_for_each(|session| self.drip(session, Bytes::from_static(b" ")))
    }

    /// When a node last heard of an intruder, where one is still there.
    pub(super) fn heard_of_intruders(&self) -> impl Iterator<Item = (usize, SessionId, u64)> {
        let open = self.intruders.iter().filter(|it| it.closed.is_none());
        open.map(|it| (it.node, it.session, it.heard_ms))
    }

    /// When a node last heard of the intruder of a session.
    pub(super) fn heard_of_intruder(&self, node: usize, session: SessionId) -> Option<u64> {
        self.intruder(session).filter(|it| it.node == node).map(|it| it.heard_ms)
    }

    /// Demands that no intruder is left, when clocks have had their time.
    pub(crate) fn check_intruders(&self) -> Result<(), Failure> {
        match self.intruders.iter().find(|intruder| intruder.closed.is_none()) {
            None => Ok(()),
            Some(it) => {
                let detail = format!("node {} still has {:?}", it.node, it.abuse);
                Err(Law::Abuse.broken(detail))
            }
        }
    }
}

/// What is said before the first whole frame, or instead of one.
fn beginning(abuse: Abuse) -> Option<Bytes> {
    match abuse {
        Abuse::LengthBomb => Some(Bytes::copy_from_slice(&u32::MAX.to_be_bytes())),
        Abuse::Drip(is_greeted) => {
            let length = if is_greeted { FRAME_BYTES_MAX as u32 } else { 4000 };
            Some(Bytes::copy_from_slice(&length.to_be_bytes()))
        }
        _ => None,
    }
}

/// A message in which a length is not kept: that of an array, a map, a text, bytes or an extension.
fn lie(sort: u8) -> Bytes {
    let head = [0xdd, 0xdf, 0xdb, 0xc6, 0xc9][usize::from(sort) % 5];
    let (kind, part) =
        [("sync", "ladder"), ("scribes", "transactions"), ("bye", "detail")][usize::from(sort) % 3];
    let mut frame = BytesMut::new();
    let mut text = |text: &str| {
        frame.put_u8(0xa0 | text.len() as u8);
        frame.put_slice(text.as_bytes());
    };
    text("type");
    text(kind);
    text(part);
    let mut lie = BytesMut::from(&[0x82][..]);
    lie.put(frame);
    lie.put_u8(head);
    lie.put_u32(u32::MAX - u32::from(sort));
    lie.freeze()
}
