//! Bundles: what a node has for a peer, to be carried there by whatever means.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Engine, SessionId};
use crate::close::CloseReason;
use crate::digest::Point;
use crate::error::{Error, UsageError};
use crate::id::NodeId;
use crate::limits::{CREDENTIALS_BYTES_MAX, SESSIONS_MAX};
use crate::message::{Bundle, Encoding, Message};
use crate::principal::Access;
use crate::session::{Session, hello, piece};
use crate::stamp::Now;
use crate::store::{PeerRow, View};

/// What is left to be written of a bundle.
///
/// A bundle is one side of a session, as frames: whom it is for, `hello`, `sync`, `scribes` and `bye`. It begins where the
/// peer was last known to be, and says up to where this node holds the peer's log.
#[derive(Clone, Debug)]
pub struct Export {
    peer: NodeId,
    head: VecDeque<Message>,
    start: Point,
    /// How far it is; `None` once all is written.
    at: Option<Point>,
    end: Point,
    /// Whether the point at which it begins has been said.
    is_begun: bool,
}

impl Export {
    /// The offset in this node's log at which it begins: up to there the peer is known to have it.
    pub fn start(&self) -> u64 {
        self.start.offset
    }

    /// The offset in this node's log at which it ends.
    pub fn end(&self) -> u64 {
        self.end.offset
    }

    /// The next frame; `None` after the last. Frames are at most [`FRAME_BYTES_MAX`](crate::limits::FRAME_BYTES_MAX)
    /// bytes long, and about 64 KiB where no single transaction is longer.
    ///
    /// The engine may do something else between two frames: the log only grows.
    ///
    /// # Errors
    ///
    /// [`UsageError::UnknownPoint`] when what was in the log is there no longer: a repair took it. Begin anew then.
    /// [`UsageError::MayNotSee`] when rights have ended meanwhile.
    /// [`StoreError`](crate::StoreError) when the log cannot be read.
    pub fn next(
        &mut self,
        now: Now,
        engine: &Engine,
        view: &impl View,
    ) -> Result<Option<Bytes>, Error> {
        engine.may_have_all(now, self.peer)?;
        let message = match (self.head.pop_front(), self.at) {
            (Some(message), _) => message,
            (None, None) => return Ok(None),
            (None, Some(at)) if at == self.end && self.is_begun => {
                self.at = None;
                Message::Bye { reason: CloseReason::Done, detail: String::new() }
            }
            (None, Some(at)) => {
                if !engine.own.has(self.end, view)? {
                    return Err(UsageError::UnknownPoint { point: self.end }.into());
                }
                let piece = piece(at, self.end, &engine.own, view)?;
                (self.at, self.is_begun) = (Some(piece.to), true);
                Message::Scribes(piece.said(at))
            }
        };
        Ok(Some(message.encode(Encoding::MessagePack)))
    }
}

impl Engine {
    /// Begins a bundle of everything that a peer is not known to hold, up to the end of this node's log as it is now. It is
    /// taken in by [`Input::Import`](crate::Input::Import). Nothing changes by it: until the peer's own
    /// bundle, or a session, says that it has it, the next one has the same and more.
    ///
    /// The store is to be synced before any of it is handed out: it says what is durable here. `credentials` show the
    /// peer who this node is, at most 2,048 bytes.
    ///
    /// # Errors
    ///
    /// [`UsageError::MayNotSee`] where the node has [`Permissions`](crate::Permissions), and they do not let that node see
    /// everything; [`UsageError::CredentialsTooLong`]; [`StoreError`](crate::StoreError) when the store cannot be read.
    pub fn export(
        &self,
        now: Now,
        peer: NodeId,
        credentials: Bytes,
        view: &impl View,
    ) -> Result<Export, Error> {
        self.begin(now, peer, credentials, false, view)
    }

    /// A bundle without anything of this node's log: it only tells the peer up to where this node holds the peer's, so that
    /// the peer's next bundle begins there. It answers one that left a [gap](crate::Event::Imported).
    ///
    /// The store is to be synced before it is handed out.
    ///
    /// # Errors
    ///
    /// Like [`export`](Self::export): what it says of the node's log shows something of all of it.
    pub fn request(
        &self,
        now: Now,
        peer: NodeId,
        credentials: Bytes,
        view: &impl View,
    ) -> Result<Export, Error> {
        self.begin(now, peer, credentials, true, view)
    }

    /// Begins a bundle, of which a request has the head alone.
    fn begin(
        &self,
        now: Now,
        peer: NodeId,
        credentials: Bytes,
        is_request: bool,
        view: &impl View,
    ) -> Result<Export, Error> {
        self.may_have_all(now, peer)?;
        if credentials.len() > CREDENTIALS_BYTES_MAX {
            return Err(UsageError::CredentialsTooLong { bytes: credentials.len() }.into());
        }
        let row = self.own.known_row(peer, view)?;
        let end = self.own.end();
        let start = if is_request { end } else { row.confirmed };
        let head = self.head(peer, &row, credentials, start, end);
        Ok(Export { peer, head, start, at: Some(start), end, is_begun: is_request })
    }

    /// Whether a peer may have everything, on a node that limits its peers.
    fn may_have_all(&self, now: Now, peer: NodeId) -> Result<(), UsageError> {
        let Some(permissions) = self.own.permissions() else { return Ok(()) };
        let sees_all =
            permissions.author(peer).is_some_and(|it| it.read == Access::All && !it.is_over(now));
        if sees_all { Ok(()) } else { Err(UsageError::MayNotSee { peer }) }
    }

    pub(super) fn on_import(&mut self, now: Now, session: SessionId) -> Result<(), Error> {
        if self.own.is_view() {
            return Err(UsageError::ViewImports.into());
        }
        if self.sessions.contains_key(&session) {
            return Err(UsageError::SessionInUse.into());
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(UsageError::TooManySessions.into());
        }
        self.sessions.insert(session, Session::import(now, session));
        Ok(())
    }

    /// The messages before the log.
    fn head(
        &self,
        peer: NodeId,
        row: &PeerRow,
        credentials: Bytes,
        start: Point,
        end: Point,
    ) -> VecDeque<Message> {
        // No session has this nonce but by an accident, which would only be asked to come again.
        let hello = hello(&self.own, 0, credentials, None);
        // A view is shown channels, and asks for no log. Anybody else has at least what its own log begins with.
        let ladder = match self.own.is_view() {
            true => Vec::new(),
            false => row.ladder.offer(Some(end)),
        };
        let bundle = Message::Bundle(Bundle { peer, start, end });
        VecDeque::from([bundle, hello, Message::Sync { ladder, has_more: false }])
    }
}
