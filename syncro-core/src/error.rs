//! Errors, sorted by whose fault they are.

use crate::digest::Point;
use crate::id::{NodeId, RecordId, RecordKey};
use crate::limits::{
    CREDENTIALS_BYTES_MAX, MEMBER_BYTES_MAX, NAME_BYTES_MAX, RECORD_BYTES_MAX, SIGNAL_BYTES_MAX,
    SUBSCRIPTIONS_MAX, TOPICS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SCRIBES_MAX, VALUE_BYTES_MAX,
    VALUE_DEPTH_MAX,
};
use crate::store::StoreError;

/// Why a call to the engine did nothing.
///
/// A peer's offence is never an error: it closes that peer's session, with an event.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data given cannot be recorded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The call itself was wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with data that was to be recorded or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A text id is empty or too long.
    #[error("the id {id:?} has {bytes} bytes; an id has 1 to {NAME_BYTES_MAX}")]
    IdLength {
        /// The start of the id.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// A model name, field name or node name is empty or too long.
    #[error("the name {name:?} has {bytes} bytes; a name has 1 to {NAME_BYTES_MAX}")]
    NameLength {
        /// The start of the name.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// A value is larger than one value may be.
    #[error(
        "the value of field {field:?} has {bytes} bytes; a value has at most {VALUE_BYTES_MAX}: split it over several \
         fields or records, or keep it elsewhere and record where it is"
    )]
    ValueTooLarge {
        /// The field.
        field: String,
        /// Bytes of the encoded value.
        bytes: usize,
    },
    /// The key of a map's entry is too long.
    #[error(
        "the key {key:?} of map {field:?} has {bytes} bytes; a key has at most {NAME_BYTES_MAX}: shorten it, or make the \
         entry a record of its own"
    )]
    KeyTooLong {
        /// The field.
        field: String,
        /// The start of the key.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// A set member is larger than one may be.
    #[error(
        "a member of set {field:?} has {bytes} bytes; a member has at most {MEMBER_BYTES_MAX}: make it a record of its \
         own, and its id the member"
    )]
    MemberTooLarge {
        /// The field.
        field: String,
        /// Bytes of the encoded member.
        bytes: usize,
    },
    /// A map entry was given nil, which means "no entry".
    #[error("the entry {key:?} of map {field:?} is nil: remove the entry instead")]
    NilEntry {
        /// The field.
        field: String,
        /// The key of the entry.
        key: String,
    },
    /// A value is not one that Syncro carries.
    #[error(
        "field {field:?} cannot be recorded: {reason} (values nest at most {VALUE_DEPTH_MAX} deep)"
    )]
    BadValue {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field read from a record does not fit the type that asked for it.
    #[error("field {field:?} of {model}/{id} does not fit its type: {reason}")]
    Mismatch {
        /// The model.
        model: String,
        /// The record.
        id: RecordId,
        /// The field.
        field: String,
        /// What the type said.
        reason: String,
    },
    /// A counter would leave the range of `i64`.
    #[error("counter {field:?} would leave the range of a 64-bit integer")]
    CounterOverflow {
        /// The field.
        field: String,
    },
    /// A template or a pattern of channels cannot be read.
    #[error("{template:?} names no channels: {reason}")]
    BadTemplate {
        /// The start of the template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record to create is alive already.
    #[error("{key} exists already: update it, or choose another id")]
    Exists {
        /// The record.
        key: RecordKey,
    },
    /// A record to change or destroy is not alive.
    #[error("there is no {key}: it was never created here, or was destroyed")]
    Missing {
        /// The record.
        key: RecordKey,
    },
    /// A record would become larger than one may be.
    #[error("{key} would have {bytes} bytes; a record has at most {RECORD_BYTES_MAX}: split it up")]
    RecordTooLarge {
        /// The record.
        key: RecordKey,
        /// Bytes of the record as it would be.
        bytes: usize,
    },
    /// A transaction is larger than one may be.
    #[error(
        "the transaction has {bytes} bytes; one has at most {TRANSACTION_BYTES_MAX}: split it up"
    )]
    TransactionTooLarge {
        /// Bytes of the encoded transaction.
        bytes: usize,
    },
    /// A transaction has more scribes than one may have.
    #[error(
        "the transaction changes {scribes} records; one changes at most {TRANSACTION_SCRIBES_MAX}: split it up"
    )]
    TooManyScribes {
        /// The records that it changes.
        scribes: usize,
    },
    /// The record carries a stamp at the very end of representable time.
    #[error("{key} carries a stamp at the end of the year 2199 and cannot be written over")]
    Unwritable {
        /// The record.
        key: RecordKey,
    },
}

/// How a call was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The store belongs to another node.
    #[error(
        "this store belongs to node {found}, not to {wanted}: open the other file, or drop the name"
    )]
    WrongNode {
        /// The node that the store belongs to.
        found: NodeId,
        /// The node that was to be opened.
        wanted: NodeId,
    },
    /// A store that has a log of its own was opened as a view's.
    #[error(
        "this store is a whole replica's, and cannot become a view's: begin a view in a new one"
    )]
    NotAView,
    /// A view's store was opened as a whole replica's, which it is not.
    #[error("this store is a view's: open it as one, or begin a whole replica in a new one")]
    IsAView,
    /// A node was to be a view and to limit its peers.
    #[error(
        "a view limits nobody: leave the rules to the source that it follows, or open a whole replica"
    )]
    ViewLimits,
    /// A node that is no view was to subscribe to a channel.
    #[error("only a view subscribes to channels: build the node as one, in a new store")]
    NoView,
    /// A view was to take in a bundle.
    #[error(
        "a view takes in no bundles: it is shown what it may see by the source that it follows"
    )]
    ViewImports,
    /// A bundle was to be made for a node that may not see everything that would be in it.
    #[error(
        "{peer} is not known to be allowed to see everything, as a bundle shows it: let \
         `Rules::authors` or `Permissions::author` say that it is, or let it connect as a view"
    )]
    MayNotSee {
        /// The node.
        peer: NodeId,
    },
    /// A view was to follow more channels than it may.
    #[error("a view follows at most {SUBSCRIPTIONS_MAX} channels: unsubscribe from others first")]
    TooManySubscriptions,
    /// An update gave its record another id.
    #[error(
        "the update of {key} made its id {id}: a record keeps its id; create another one and \
         destroy this one"
    )]
    IdChanged {
        /// The record that was to be updated.
        key: RecordKey,
        /// The id that it was given.
        id: RecordId,
    },
    /// A session was to be carried where no tokio runtime is.
    #[error(
        "no tokio runtime is here to carry sessions: make one and call this in it, in \
         `block_on` or under `Runtime::enter`"
    )]
    NoRuntime,
    /// The engine has as many sessions as it can.
    #[error("there are too many sessions: close some first")]
    TooManySessions,
    /// A session of this id is open already.
    #[error("a session of this id is open already: give each connection an id of its own")]
    SessionInUse,
    /// The credentials for a session are longer than a `hello` carries.
    #[error("the credentials have {bytes} bytes; a hello carries at most {CREDENTIALS_BYTES_MAX}")]
    CredentialsTooLong {
        /// Their length.
        bytes: usize,
    },
    /// A signal is longer than signals may be.
    #[error("the signal has {bytes} bytes; a signal has at most {SIGNAL_BYTES_MAX}")]
    SignalTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A node says something, or wants to hear something, on more topics than it may.
    #[error(
        "these are too many topics: a node has {TOPICS_MAX} for what it says, and for what it hears"
    )]
    TooManyTopics,
    /// No transaction of this id is set aside.
    #[error("no such transaction is in quarantine: somebody has decided on it already")]
    NotParked,
    /// A transaction that was set aside can still not be played.
    #[error("the transaction can still not be played: {reason}")]
    Unplayable {
        /// Why.
        reason: String,
    },
    /// A node was to be repaired from itself, or to wait for its own receipt.
    #[error(
        "this is the node's own id: name the peer that is to send what was lost, or to confirm what it has"
    )]
    OwnNode,
    /// The log has no such point.
    #[error(
        "the log has no point {point:?}: a crash or a restore took it; take `Node::end()`, list \
         everything, then watch from that end"
    )]
    UnknownPoint {
        /// The point.
        point: Point,
    },
    /// The log was to be read from an offset within a transaction.
    #[error(
        "no transaction begins at offset {offset} of the log: read on from where the last one ended"
    )]
    UnknownOffset {
        /// The offset.
        offset: u64,
    },
}
