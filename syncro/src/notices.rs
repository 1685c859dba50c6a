//! What happens to a node beside changes of records: sessions, clones, clocks, a store that fails.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock};

use syncro_core::{
    Author, Channel, CloseReason, Epoch, Event, Name, NodeId, Parked, SessionId, Stamp, Verdict,
};
use syncro_store::Repaired;
use tokio::sync::broadcast;

use crate::core::lock;

/// Notices held for a listener that has not asked yet; the oldest are dropped beyond it, which
/// [`Notice::Missed`] tells.
const HELD_MAX: usize = 1024;

/// Something that an operator may want to know. `Display` says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A session opened.
    Opened {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
        /// The peer's epoch.
        epoch: Epoch,
        /// The peer's name for people.
        name: Option<Name>,
    },
    /// Of what the peer had when the session opened, a part is here. Told at most ten times a second.
    CatchingUp {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
        /// Scribes of the peer's log that have come in this session.
        taken: u64,
        /// Scribes that are still to come.
        left: u64,
    },
    /// Everything that the peer had when the session opened is here.
    CaughtUp {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: NodeId,
    },
    /// A session ended.
    Closed {
        /// The session.
        session: SessionId,
        /// The peer, if it had said who it is.
        peer: Option<NodeId>,
        /// The peer's name for people.
        name: Option<Name>,
        /// Why.
        reason: CloseReason,
        /// Whether the peer ended it.
        by_peer: bool,
        /// More about the reason.
        detail: String,
    },
    /// An attempt to connect failed, or what answered did not say who it is; the next follows by itself.
    ConnectFailed {
        /// The address.
        addr: String,
        /// Why.
        error: String,
    },
    /// A connection that came in was refused before anybody was met on it: its handshake failed, what came was in no frames,
    /// or it is of a web page whose origin is not on the list.
    AcceptFailed {
        /// Where it came from; of a web server's, if the server says so.
        from: Option<SocketAddr>,
        /// Why.
        error: String,
    },
    /// The node listens beyond this machine and has no rules: whoever connects reads and writes everything. See
    /// [`Rules`](crate::Rules).
    Unlimited {
        /// The address on which it listens.
        addr: String,
    },
    /// What this node says over an address can be read and changed by anybody on the way: it connects there, or
    /// listens, beyond this machine and without TLS. Told once for each connection and listener.
    Unencrypted {
        /// The address.
        addr: String,
    },
    /// A transaction came whose stamp lies far in the future. It was stored and played, and moved no
    /// clock.
    FutureStamp {
        /// The stamp.
        stamp: Stamp,
        /// By how many milliseconds it leads this node's clock.
        skew_ms: u64,
    },
    /// Two transactions of one stamp differ: a machine was cloned while it ran. Both are kept.
    Collision {
        /// The stamp.
        stamp: Stamp,
    },
    /// Somebody else writes in this node's name and epoch: a new epoch follows before the next write.
    Forked {
        /// The epoch that was forked.
        epoch: Epoch,
    },
    /// A peer has brought what another node wrote, and may not; it is not taken. Told once in a session. After this node
    /// was restored from a backup it may be what the backup had not: its author can bring it.
    Forged {
        /// The session.
        session: SessionId,
        /// The peer that brought it.
        peer: NodeId,
        /// The peer's name for people.
        name: Option<Name>,
        /// Who it says wrote it.
        author: Author,
    },
    /// What a peer brought could not be played, and is set aside: see [`Node::quarantine`](crate::Node::quarantine).
    Parked {
        /// What was set aside, and why.
        parked: Parked,
    },
    /// An authority has refused a transaction of this node, which is undone; or one of another node that this one may
    /// not bring.
    Refused {
        /// What was refused, and why.
        verdict: Verdict,
    },
    /// All that the source has of a channel is here. Told once in a session.
    Current {
        /// The session.
        session: SessionId,
        /// The source.
        peer: NodeId,
        /// The source's name for people.
        name: Option<Name>,
        /// The channel.
        channel: Channel,
    },
    /// The source does not let this node, a view, see a channel, or not any longer: what was in no other one is shown no
    /// more. It stays [subscribed](crate::Node::subscribe), in case that changes.
    Withheld {
        /// The session.
        session: SessionId,
        /// The source.
        peer: NodeId,
        /// The source's name for people.
        name: Option<Name>,
        /// The channel.
        channel: Channel,
    },
    /// The store failed: nothing more is written, and every session ends, until the node is repaired or opened
    /// again.
    StoreFailed {
        /// What failed.
        error: String,
    },
    /// There is next to no room for the store: only destroys are recorded, and peers wait, until there is.
    StoreFull,
    /// There is room for the store again.
    StoreHasRoom,
    /// The store was repaired while the node was open: the node goes on.
    Repaired {
        /// What was lost of the log.
        repaired: Repaired,
    },
    /// The listener was slow, and this many notices were dropped.
    Missed(u64),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { session, peer, name, .. } => {
                let name = name.as_ref().map_or("a nameless node", Name::as_str);
                write!(f, "session {} with {name} ({peer}) is open", session.0)
            }
            Self::CatchingUp { session, taken, left, .. } => {
                let all = taken + left;
                write!(f, "session {}: {taken} of {all} scribes of the peer are here", session.0)
            }
            Self::CaughtUp { session, .. } => {
                write!(f, "session {}: everything the peer had is here", session.0)
            }
            Self::Closed { session, peer, name, reason, by_peer, detail } => {
                write!(f, "session {}", session.0)?;
                match peer {
                    Some(peer) => write!(f, " with {}", Known { peer, name })?,
                    None => f.write_str(" with a peer that had not said who it is")?,
                }
                // A connection that is lost is nobody's doing.
                f.write_str(match (reason, by_peer) {
                    (CloseReason::Lost, _) => " has ended",
                    (_, true) => " was ended by the peer",
                    (_, false) => " was ended by this side",
                })?;
                write!(f, ": {reason}")?;
                if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
            }
            Self::ConnectFailed { addr, error } => {
                write!(f, "no session with {addr}: {error}; trying again")
            }
            Self::AcceptFailed { from: None, error } => write!(f, "a peer was refused: {error}"),
            Self::AcceptFailed { from: Some(from), error } => {
                write!(f, "{from} was refused: {error}")
            }
            Self::Unlimited { addr } => write!(
                f,
                "whoever connects to {addr} reads and writes everything: give the node rules, or keep strangers out"
            ),
            Self::Unencrypted { addr } => write!(
                f,
                "sessions at {addr} are not encrypted, and lead beyond this machine: whoever is on the way can \
                 read and change them; use TLS, a tunnel or a proxy that has it"
            ),
            Self::FutureStamp { stamp, skew_ms } => write!(
                f,
                "a transaction of {:?} is stamped {skew_ms} ms in the future: its clock, or this \
                 one, is wrong",
                stamp.author
            ),
            Self::Collision { stamp } => write!(
                f,
                "two transactions are stamped {stamp:?}: a machine was cloned while it ran; both \
                 are kept"
            ),
            Self::Forked { epoch } => {
                write!(
                    f,
                    "another node writes in this one's name and epoch {epoch:?}: a new one begins"
                )
            }
            Self::Forged { session, peer, name, author } => write!(
                f,
                "session {}: {} has brought what {} wrote, and may not: it is not taken",
                session.0,
                Known { peer, name },
                author.node
            ),
            Self::Current { peer, name, channel, .. } => {
                write!(f, "{channel} of {} is here", Known { peer, name })
            }
            Self::Withheld { peer, name, channel, .. } => {
                write!(f, "{} does not let this node see {channel}", Known { peer, name })
            }
            Self::Parked { parked } => {
                write!(f, "a transaction of {} is in quarantine: {}", parked.bearer, parked.reason)
            }
            Self::Refused { verdict } => {
                write!(f, "a transaction was refused: {}", verdict.refusal)
            }
            Self::StoreFailed { error } => {
                write!(f, "{error}; nothing more is written, and every session ends")
            }
            Self::StoreFull => f.write_str(
                "there is no room left for the store: free some space; until then only \
                             destroys are recorded, and peers wait",
            ),
            Self::StoreHasRoom => f.write_str("there is room for the store again"),
            Self::Repaired { repaired } => {
                let lost: u64 = repaired.lost.iter().map(|(from, to)| to - from).sum();
                let Repaired { regained, rescued, .. } = repaired;
                write!(
                    f,
                    "the store was repaired: {lost} scribes of the log were lost; {regained} transactions were \
                     found elsewhere, and the records had something left of {rescued}"
                )?;
                match &repaired.kept {
                    None => Ok(()),
                    Some(kept) => write!(f, "; the damaged file is {}", kept.display()),
                }
            }
            Self::Missed(count) => write!(f, "{count} notices were missed"),
        }
    }
}

/// A peer as people know it.
struct Known<'a> {
    peer: &'a NodeId,
    name: &'a Option<Name>,
}

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{name} ({})", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

/// A stream of notices; see [`Node::notices`](crate::Node::notices).
#[derive(Debug)]
pub struct Notices {
    receiver: broadcast::Receiver<Notice>,
}

impl Notices {
    /// Waits for the next notice; `None` when the node is gone.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.receiver.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Returns the next notice if there is one already.
    pub fn try_next(&mut self) -> Option<Notice> {
        match self.receiver.try_recv() {
            Ok(notice) => Some(notice),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(_) => None,
        }
    }
}

/// Where notices are given out.
#[derive(Debug)]
pub(crate) struct Board {
    /// Once somebody listens: room for so many is memory.
    sender: OnceLock<broadcast::Sender<Notice>>,
    /// What the peers of the open sessions are called.
    names: Mutex<BTreeMap<SessionId, Name>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { sender: OnceLock::new(), names: Mutex::default() }
    }

    pub(crate) fn listen(&self) -> Notices {
        let sender = self.sender.get_or_init(|| broadcast::Sender::new(HELD_MAX));
        Notices { receiver: sender.subscribe() }
    }

    pub(crate) fn post(&self, notice: Notice) {
        // Nobody has to listen.
        if let Some(sender) = self.sender.get() {
            let _ = sender.send(notice);
        }
    }

    /// Gives out what an event of the engine has to say to an operator.
    pub(crate) fn post_event(&self, event: Event) {
        self.post(match event {
            Event::Opened { session, peer, epoch, name } => {
                if let Some(name) = &name {
                    self.names().insert(session, name.clone());
                }
                Notice::Opened { session, peer, epoch, name }
            }
            Event::CatchingUp { session, peer, taken, left } => {
                Notice::CatchingUp { session, peer, taken, left }
            }
            Event::CaughtUp { session, peer } => Notice::CaughtUp { session, peer },
            Event::Closed { session, peer, reason, by_peer, detail } => {
                let name = self.names().remove(&session);
                Notice::Closed { session, peer, name, reason, by_peer, detail }
            }
            Event::FutureStamp { stamp, skew_ms } => Notice::FutureStamp { stamp, skew_ms },
            Event::Collision { stamp } => Notice::Collision { stamp },
            Event::Forked { epoch } => Notice::Forked { epoch },
            Event::Forged { session, peer, author } => {
                Notice::Forged { session, peer, name: self.name(session), author }
            }
            Event::Parked(parked) => Notice::Parked { parked },
            Event::Refused(verdict) => Notice::Refused { verdict },
            Event::Current { session, peer, channel } => {
                Notice::Current { session, peer, name: self.name(session), channel }
            }
            Event::Withheld { session, peer, channel } => {
                Notice::Withheld { session, peer, name: self.name(session), channel }
            }
            // Changes have their watchers, receipts those who wait for them.
            _ => return,
        });
    }

    /// Forgets what the peers are called, when every session has ended.
    pub(crate) fn forget_names(&self) {
        self.names().clear();
    }

    fn name(&self, session: SessionId) -> Option<Name> {
        self.names().get(&session).cloned()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<SessionId, Name>> {
        lock(&self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was not said whose session it was, and that "this side" had ended it: "the connection was lost".
    #[test]
    fn who_ends_a_session_and_whose_it_was_is_said_and_what_is_lost_was_ended_by_nobody() {
        let (session, peer) = (SessionId(3), NodeId::named("server"));
        let known = format!("session 3 with server ({peer})");
        let unnamed = format!("session 3 with {peer}");
        let unknown = "session 3 with a peer that had not said who it is".to_owned();
        let (name, detail) = (Name::new("server").ok(), String::new());
        let closed = |peer, name, reason, by_peer| {
            let detail = detail.clone();
            Notice::Closed { session, peer, name, reason, by_peer, detail }.to_string()
        };
        use CloseReason::{Lost, Silent, Store};
        assert_eq!(
            closed(Some(peer), name.clone(), Lost, false),
            format!("{known} has ended: the connection was lost")
        );
        assert_eq!(
            closed(Some(peer), None, Store, true),
            format!("{unnamed} was ended by the peer: the store failed")
        );
        assert_eq!(
            closed(None, None, Silent, false),
            format!("{unknown} was ended by this side: the peer fell silent")
        );
    }

    #[test]
    fn peers_are_called_by_their_names_while_their_sessions_are_open() {
        let (board, name) = (Board::new(), Name::new("server").unwrap());
        let (session, peer, channel) =
            (SessionId(3), NodeId::named("server"), Channel::new("a").unwrap());
        let mut notices = board.listen();
        let epoch = Epoch(1);
        board.post_event(Event::Opened { session, peer, epoch, name: Some(name) });
        board.post_event(Event::Current { session, peer, channel: channel.clone() });
        board.post_event(Event::Withheld { session, peer, channel });
        let (reason, detail) = (CloseReason::Done, String::new());
        board.post_event(Event::Closed {
            session,
            peer: Some(peer),
            reason,
            by_peer: true,
            detail,
        });
        for end in [
            " is open",
            " is here",
            " does not let this node see a",
            " was ended by the peer: closed",
        ] {
            let said = notices.try_next().unwrap().to_string();
            assert!(said.contains(&format!("server ({peer}){end}")), "{said}");
        }
        assert!(lock(&board.names).is_empty());
    }
}
