//! Who a peer is, what it may see and what it may change.

use std::fmt;
use std::sync::Arc;

use crate::channel::{Channel, escaped};
use crate::engine::Role;
use crate::error::DataError;
use crate::id::{NodeId, RecordKey, abridged};
use crate::limits::NAME_BYTES_MAX;
use crate::record::Record;
use crate::scribe::Scribe;
use crate::stamp::{Epoch, Now, Stamp};

/// What a peer says in its `hello`, before anything is known of it.
#[derive(Debug)]
pub struct Claim<'a> {
    /// The node that it says it is. Whether it is that node is for the credentials to show.
    pub node: NodeId,
    /// The node's epoch.
    pub epoch: Epoch,
    /// At most 2,048 bytes that mean something to the hosts: a token, a signature. Empty when there are none.
    pub credentials: &'a [u8],
    /// This node's side of the connection. Whom it dials it has chosen itself, and who takes calls need not show
    /// credentials to every caller.
    pub role: Role,
    /// When the claim is made.
    pub now: Now,
}

/// What a host permits. A node that has been given one is an authority: it refuses what is not permitted, and undoes it.
/// A node without is open: everybody may connect and change everything.
///
/// It is asked in the middle of a step of the engine, so it answers from memory. To the same questions it gives the same
/// answers, on every node that is an authority; what it goes by may change from step to step.
pub trait Permissions: fmt::Debug + Send + Sync {
    /// Tells who a peer is, by its credentials; `None` ends its session with
    /// [`CloseReason::Denied`](crate::CloseReason::Denied), whatever was wrong.
    fn authenticate(&self, claim: &Claim<'_>) -> Option<Arc<Principal>>;

    /// Tells who the author of a transaction is that a [relay](Principal::relays) brought; `None` judges it by the
    /// relay's own rights.
    fn author(&self, node: NodeId) -> Option<Arc<Principal>> {
        let _ = node;
        None
    }

    /// Decides on a transaction that its principal's channels allow. The whole of it is taken, or nothing.
    ///
    /// # Errors
    ///
    /// The refusal, which the author's application gets to see.
    fn authorize(&self, attempt: &Attempt<'_>) -> Result<(), Refusal>;
}

/// Who the host says a peer is, what it may see and what it may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// A name for the host's own use: a user, a tenant, a service.
    pub name: String,
    /// The only node that it may be, if it may be only one.
    pub node: Option<NodeId>,
    /// The channels that it may see. Who may see less than all has to be a [view](crate::Config::view).
    pub read: Access,
    /// The channels into which it may write.
    pub write: Access,
    /// Whether it may bring transactions that other nodes wrote. Whoever may not is taken for the author of what it
    /// sends.
    pub relays: bool,
    /// When its session ends, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Principal {
    /// A principal that may see and change nothing.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            node: None,
            read: Access::Channels(Vec::new()),
            write: Access::Channels(Vec::new()),
            relays: false,
            until_ms: None,
        }
    }

    /// Lets it be one node only.
    #[must_use]
    pub fn of_node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Lets it see channels.
    #[must_use]
    pub fn may_read(mut self, read: impl Into<Access>) -> Self {
        self.read = read.into();
        self
    }

    /// Lets it write into channels.
    #[must_use]
    pub fn may_write(mut self, write: impl Into<Access>) -> Self {
        self.write = write.into();
        self
    }

    /// Lets it bring what others wrote.
    #[must_use]
    pub fn relaying(mut self) -> Self {
        self.relays = true;
        self
    }

    /// Ends its session at a time in milliseconds since 1970.
    #[must_use]
    pub fn until(mut self, ms: u64) -> Self {
        self.until_ms = Some(ms);
        self
    }

    /// When its time is over, by the monotonic clock.
    pub(crate) fn over_ms(&self, now: Now) -> Option<u64> {
        let left_ms = self.until_ms?.saturating_sub(now.wall_ms);
        Some(now.monotonic_ms.saturating_add(left_ms))
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self, now: Now) -> bool {
        self.until_ms.is_some_and(|until| now.wall_ms >= until)
    }
}

/// Channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// All of them, the reserved models too: for peers that are as good as this node.
    All,
    /// Those that match one of the patterns.
    Channels(Vec<Pattern>),
}

impl Access {
    /// Whether a channel is among them.
    pub fn has(&self, channel: &Channel) -> bool {
        match self {
            Self::All => true,
            Self::Channels(patterns) => patterns.iter().any(|pattern| pattern.matches(channel)),
        }
    }
}

impl From<Vec<Pattern>> for Access {
    fn from(patterns: Vec<Pattern>) -> Self {
        Self::Channels(patterns)
    }
}

impl<const N: usize> From<[Pattern; N]> for Access {
    fn from(patterns: [Pattern; N]) -> Self {
        Self::Channels(patterns.into())
    }
}

/// A channel's name, or with `*` at its end the beginning of many: `list/7`, `list/*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    is_open: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`DataError::BadTemplate`] for one that is empty or longer than 255 bytes, or has a `*` before its end.
    pub fn new(text: &str) -> Result<Self, DataError> {
        let (start, is_open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let reason = if text.is_empty() || text.len() > NAME_BYTES_MAX {
            "a pattern has 1 to 255 bytes"
        } else if start.contains('*') {
            "a `*` stands at the end of a pattern"
        } else {
            return Ok(Self { text: start.to_owned(), is_open });
        };
        Err(DataError::BadTemplate { template: abridged(text), reason: reason.to_owned() })
    }

    /// The one channel that a template makes of a value: `Pattern::of("user/", name)` for `user/{name}`, whatever the name
    /// is made of.
    ///
    /// # Errors
    ///
    /// [`DataError::BadTemplate`] when the channel would be longer than 255 bytes.
    pub fn of(start: &str, value: &str) -> Result<Self, DataError> {
        let text = format!("{start}{}", escaped(value));
        match text.len() {
            0..=NAME_BYTES_MAX => Ok(Self { text, is_open: false }),
            _ => Self::new(&text),
        }
    }

    /// Whether a channel is one of those meant.
    pub fn matches(&self, channel: &Channel) -> bool {
        match self.is_open {
            true => channel.as_str().starts_with(&self.text),
            false => channel.as_str() == self.text,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_open { "*" } else { "" })
    }
}

/// A transaction about which [`Permissions::authorize`] decides.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// By whose rights.
    pub principal: &'a Principal,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// When it came.
    pub now: Now,
    /// What it does to each of its records.
    pub trials: &'a [Trial],
}

/// What a transaction would do to one record.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was written: the record, what becomes of its life, the fields.
    pub scribe: Scribe,
    /// The record without it; `None` when nothing is known of it.
    pub before: Option<Arc<Record>>,
    /// The record with it.
    pub after: Arc<Record>,
}

impl Trial {
    /// The record.
    pub fn key(&self) -> &RecordKey {
        &self.scribe.key
    }

    /// Whether the change makes no difference to the record: it was refused before, or comes too late.
    pub fn is_idle(&self) -> bool {
        self.before.as_ref() == Some(&self.after)
    }

    /// Whether the record was alive.
    pub fn was_alive(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.is_alive())
    }
}

/// Why a transaction was refused: a number for programs, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Below 100 one of the numbers here; from 100 on the application's own.
    pub code: u16,
    /// At most 1,024 bytes are kept.
    pub message: String,
}

impl Refusal {
    /// It writes into a channel into which its author may not.
    pub const CHANNEL: u16 = 1;
    /// It claims another author than the peer that brought it, which may not relay.
    pub const FORGED: u16 = 2;
    /// It changes records of a reserved model.
    pub const RESERVED: u16 = 3;
    /// It changes a record that is not there, or not any more.
    pub const GONE: u16 = 4;
    /// Its values do not fit their model.
    pub const MISFIT: u16 = 5;
    /// Nobody has permitted it.
    pub const SILENCE: u16 = 6;
    /// Whoever was to decide on it could not. It is not refused but set aside, until the operator of the authority has it
    /// tried again or discards it.
    pub const FAILED: u16 = 7;
    /// Its stamp lies more than five minutes in the future. It is not undone: what undoes it would lie there too.
    pub const FUTURE: u16 = 8;
    /// The first number that is the application's own.
    pub const APPLICATION: u16 = 100;

    /// A refusal with a reason for people.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}
