//! The rows of the list.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use syncro::{Digest, Point};

use crate::attributes::Attributes;
use crate::class::{Audience, Uid};
use crate::limits::{AHEAD_MAX, RUNGS_MAX};

/// One thing that peers are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The class.
    pub(crate) klass: String,
    /// What there is to tell.
    pub(crate) what: What,
    /// The client whose scribe it was; `None` for the host and native peers.
    pub(crate) by: Option<Uid>,
    /// The row before of the same record, or 0.
    pub(crate) previous: u64,
}

impl Row {
    /// Whether a client has destroyed the record by it.
    pub(crate) fn is_destroy_by(&self, uid: &Uid) -> bool {
        let is_destroy = match &self.what {
            What::Record { to, .. } => to.is_nobody(),
            What::Gone { .. } => true,
            What::Known { .. } | What::Undone { .. } | What::Custom { .. } | What::Nothing => false,
        };
        is_destroy && self.by.as_ref() == Some(uid)
    }

    /// Whether it tells a client anew of a record that the client may lack: whatever came before may find nothing there.
    pub(crate) fn is_anew_for(&self, uid: &Uid) -> bool {
        match &self.what {
            What::Undone { to, written, .. } => written.is_empty() && to.has(uid),
            _ => false,
        }
    }

    /// To whom it says something.
    pub(crate) fn audiences(&self) -> Vec<&Audience> {
        match &self.what {
            What::Record { was, to, .. } if was == to => vec![to],
            What::Record { was, to, .. } => vec![was, to],
            What::Custom { to, .. }
            | What::Known { to, .. }
            | What::Gone { to, .. }
            | What::Undone { to, .. } => vec![to],
            What::Nothing => Vec::new(),
        }
    }
}

/// What a row tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum What {
    /// A record: an update to who held it and still does, a create to who did not, a destroy to who no longer
    /// does.
    Record {
        id: Json,
        was: Audience,
        to: Audience,
        /// What an update says.
        changed: Attributes,
        /// What a create says; `None` where nobody needs it.
        all: Option<Attributes>,
        /// Whether some may lack the record, since all of it did not fit a frame: they are told of updates by
        /// creates, which a peer takes either way.
        is_doubtful: bool,
    },
    /// A record that is about to be destroyed is created for those who may lack it, so that they can.
    Known {
        id: Json,
        to: Audience,
        /// Whether they may lack it because their client has destroyed it; else all of it did not fit a frame.
        is_of_client: bool,
    },
    /// A client has destroyed what was destroyed before: what is before this finds nothing at it. It follows a
    /// [`Known`](Self::Known), for another device of the client.
    Gone { id: Json, to: Audience },
    /// A client is told how the record is: it has written what it may not, or nobody knows what it holds.
    Undone {
        id: Json,
        to: Audience,
        /// The attributes that it has written in vain: those that the record lacks are emptied.
        written: Vec<String>,
        /// Whether the client holds the record. If not it is destroyed there, after a [`Known`](Self::Known).
        is_there: bool,
    },
    /// A scribe of the host's own.
    Custom { kind: String, data: Json, to: Audience },
    /// Nothing: the end of a state that somebody was told.
    Nothing,
}

/// What the list knows of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Who has been told of it: nobody, once it is destroyed.
    pub(crate) by: Audience,
    /// Its last row, or 0.
    pub(crate) last: u64,
    /// Whether some of them may lack it.
    pub(crate) is_doubtful: bool,
}

impl Default for Held {
    fn default() -> Self {
        Self { by: Audience::NOBODY, last: 0, is_doubtful: false }
    }
}

/// The key of a record among those that are held: the class with its length before it, and the id.
pub(crate) fn key_of(klass: &str, id: &Json) -> Vec<u8> {
    let mut key = vec![u8::try_from(klass.len()).unwrap_or(u8::MAX)];
    key.extend(klass.bytes());
    match id {
        Json::String(text) => key.extend([b"t", text.as_bytes()].concat()),
        id => key.extend([b"i", id.to_string().as_bytes()].concat()),
    }
    key
}

/// What the list begins with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: u64,
    pub(super) next: u64,
    offset: u64,
    digest: [u8; 16],
}

impl Head {
    pub(super) fn new(format: u64, next: u64, mark: Point) -> Self {
        Self { format, next, offset: mark.offset, digest: mark.digest.0 }
    }

    pub(super) fn mark(&self) -> Point {
        Point { offset: self.offset, digest: Digest(self.digest) }
    }
}

/// The sync point in a peer's log.
///
/// A point is worth something only while the node has what it covers, so each comes with the end of the node's
/// log at that time: a node that was put back goes on from a point that its log still has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    /// Past points, oldest first.
    rungs: Vec<Rung>,
    /// Scribes pushed past the point while a pull was under way, oldest first.
    pub(crate) ahead: Vec<Ahead>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rung {
    id: String,
    offset: u64,
    digest: [u8; 16],
}

/// A scribe that was played, and is not covered by the point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ahead {
    pub(crate) id: String,
    /// A CRC-32 of the whole scribe: a peer that has lost its log uses its ids again.
    pub(crate) sum: u32,
}

impl PeerRow {
    /// The point.
    pub(crate) fn point(&self) -> Option<&str> {
        self.rungs.last().map(|rung| rung.id.as_str())
    }

    /// Moves the point, where the node's log ends at `end`.
    pub(crate) fn advance(&mut self, id: String, end: Point) {
        // One rung per doubling of the distance.
        let distance = |rung: &Rung| end.offset.saturating_sub(rung.offset).checked_ilog2();
        self.rungs.dedup_by(|later, kept| distance(later) == distance(kept));
        if self.rungs.last().is_some_and(|last| last.offset >= end.offset) {
            self.rungs.pop();
        }
        self.rungs.push(Rung { id, offset: end.offset, digest: end.digest.0 });
        let surplus = self.rungs.len().saturating_sub(RUNGS_MAX);
        self.rungs.drain(..surplus);
    }

    /// Forgets the points that the node's log has lost. Returns whether there were any.
    pub(crate) fn retreat<E>(
        &mut self,
        mut has: impl FnMut(Point) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let before = self.rungs.len();
        while let Some(rung) = self.rungs.last() {
            if has(Point { offset: rung.offset, digest: Digest(rung.digest) })? {
                break;
            }
            self.rungs.pop();
        }
        let is_back = self.rungs.len() < before;
        if is_back {
            self.ahead.clear();
        }
        Ok(is_back)
    }

    /// Remembers a scribe that was played ahead of the point.
    pub(crate) fn note_ahead(&mut self, ahead: Ahead) {
        let surplus = (self.ahead.len() + 1).saturating_sub(AHEAD_MAX);
        self.ahead.drain(..surplus);
        self.ahead.push(ahead);
    }
}
