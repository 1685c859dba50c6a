//! Every limit of the engine, with the sum that justifies it.
//!
//! They are constants: two nodes that disagree about what is too large could not exchange their logs.

/// Bytes of one message, without the length prefix.
///
/// A transaction of [`TRANSACTION_BYTES_MAX`] grows at most seven-fold as JSON (an empty byte string:
/// 2 bytes in MessagePack, 14 in JSON with its comma), which leaves 1 MiB for everything around it.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// Bytes of one transaction in its canonical encoding.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 20;

/// Scribes of one transaction: at 32 bytes each they fill [`TRANSACTION_BYTES_MAX`].
pub const TRANSACTION_SCRIBES_MAX: usize = 32_768;

/// Bytes of a record, as [`Record::bytes`](crate::Record::bytes) counts them, up to which a local write
/// may take it: sixteen transactions, and far more than is wise, since each change rewrites the record. What
/// is received is taken whatever it makes of the record, or peers that each filled it would never agree.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes of one encoded value: a quarter of a transaction, so that a record with a few large fields
/// still fits into one.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// Bytes of a model name, a field name, an id or a map key. One byte holds the length in a store's key.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of an encoded set member: part of a register's key, so it is kept small.
pub const MEMBER_BYTES_MAX: usize = 1024;

/// How deep arrays and maps may nest in a value. Deeper data is nearly always a mistake.
pub const VALUE_DEPTH_MAX: usize = 32;

/// How deep a message may nest: a value inside a field list, a scribe, a transaction and a message.
pub const MESSAGE_DEPTH_MAX: usize = VALUE_DEPTH_MAX + 8;

/// Bytes of transactions that the sender aims at in one `scribes` message: large enough that the
/// envelope (about 150 bytes) is lost in it, small enough that a point moves several times a second
/// on a 1 Mbit/s link.
pub const BATCH_BYTES: usize = 64 << 10;

/// Bytes of records in one `states` message to a view that is up to date: what one step has changed is to be shown in
/// one step, and most transactions are smaller. An item is counted with 64 bytes at least, so that these are at most
/// [`MESSAGE_ITEMS_MAX`], and as JSON it grows at most seven-fold.
pub const LIVE_BYTES: usize = 512 << 10;

/// Bytes that a session hands to its transport before it waits for room: four batches keep a link busy
/// while the host comes round.
pub const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Bytes of `scribes` messages that a receiver lets be under way: the product of 100 Mbit/s and 300 ms,
/// and above half of a frame.
pub const WINDOW_BYTES: u64 = 4 << 20;

/// Points that a session has sent and that were not acknowledged yet: a message has 80 bytes at least, so
/// more than fit [`WINDOW_BYTES`], and 1.5 MiB. A peer that grants a larger window waits here.
pub const UNACKNOWLEDGED_MAX: usize = 65_536;

/// Bytes of transactions kept in memory for the sessions that follow live.
pub const TAIL_BYTES_MAX: usize = 1 << 20;

/// Sessions of one engine. At about 1 KiB each at rest this is 64 MiB.
pub const SESSIONS_MAX: usize = 65_536;

/// Scribes of one `scribes` message: a batch of [`BATCH_BYTES`] in which each has the least bytes that one
/// can have (a list of four parts, a model of one letter, an id, a mark, no fields: 6), and one transaction
/// more. Played, a scribe takes some hundred bytes of memory, so a frame full of the least ones would take a
/// quarter of a gigabyte.
pub const MESSAGE_SCRIBES_MAX: usize = BATCH_BYTES / 6 + TRANSACTION_SCRIBES_MAX;

/// Bytes of the transactions of one `scribes` message, in their canonical encoding: a batch of
/// [`BATCH_BYTES`] and one transaction more.
pub const MESSAGE_TRANSACTIONS_BYTES_MAX: usize = BATCH_BYTES + TRANSACTION_BYTES_MAX;

/// Names in a `scribes` message that a number may stand for: one byte holds it, and 2 KiB the places of all. With five
/// fields each they are those of twenty models.
pub const MESSAGE_NAMES_MAX: usize = 128;

/// Bytes of such a name, which nearly all have.
pub const MESSAGE_NAME_BYTES_MAX: usize = 15;

/// How many times its own bytes a transaction in brief may take in memory when it is expanded, with
/// [`BRIEF_BESIDE_BYTES`]: as many as a frame may in all. One that makes more of less is said whole.
pub const BRIEF_RATIO_MAX: usize = 16;

/// Bytes of memory that a transaction takes beside those in which it is encoded.
pub const BRIEF_BESIDE_BYTES: usize = 112;

/// Bytes of memory that the states of records may take which one message makes, beyond those of its last transaction: each
/// scribe makes one, and ten thousand small changes may be of one large record. What comes after them is taken in the next
/// session.
pub const MESSAGE_STATES_BYTES_MAX: usize = 64 << 20;

/// Rungs that a `sync` message may carry: a ladder has two rungs per doubling of 2^48 scribes and the
/// newest of twelve epochs, together 108.
pub const LADDER_RUNGS_MAX: usize = 128;

/// Epochs of a peer whose newest point is kept.
pub const LADDER_EPOCHS: usize = 12;

/// Runs of a peer's own transactions that a session remembers in order not to send them back. What is
/// forgotten is sent, and recognised there.
pub const ECHO_RUNS_MAX: usize = 4096;

/// Bytes that a run of echoes counts beside those of its transactions: where it begins has to be looked up,
/// and the log is read by pages of this size.
pub const ECHO_RUN_BYTES: usize = 8 << 10;

/// Bytes that the receiver of one message has to read and hash in its own log for its echoes, each run
/// counted with [`ECHO_RUN_BYTES`]: some ten milliseconds, half a frame. It holds a run of any one
/// transaction, or five hundred runs of small ones.
pub const ECHO_WORK_MAX: usize = 4 << 20;

/// Milliseconds after which a run of echoes alone is reported, when nothing else was to be sent: at most
/// fifty reports a second, and a peer's receipt for what it wrote itself lags by no more.
pub const ECHO_DELAY_MS: u64 = 20;

/// Milliseconds after which a view reports how far its log is when all that is new in it is what it was shown: one report
/// in a second, however much changes.
pub const SKIP_DELAY_MS: u64 = 1000;

/// Milliseconds that a peer has for its `hello`.
pub const HANDSHAKE_MS: u64 = 10_000;

/// Milliseconds of silence before a `ping`; after as long again the peer counts as dead.
pub const HEARTBEAT_MS: u64 = 15_000;

/// Milliseconds by which a stamp may lead this node's clock before it counts as a future stamp.
pub const FUTURE_MS: u64 = 5 * 60 * 1000;

/// First millisecond of the year 2200: stamps from here on are malformed.
pub const TIME_MS_END: u64 = 7_258_118_400_000;

/// Bytes of a `hello`: all that is read, and kept in memory, of a peer before it is known who it is. In JSON the largest
/// credentials take 2,800 of them, and the rest about 600 besides the name.
pub const HELLO_BYTES_MAX: usize = 4096;

/// Bytes of the credentials in a `hello`: a signed token or two. Its other texts are bounded by
/// [`NAME_BYTES_MAX`], and of the text in a `bye` [`REASON_CHARS_MAX`] are kept.
pub const CREDENTIALS_BYTES_MAX: usize = 2048;

/// Channels of one record, and values that one field of a template stands for: with 255 bytes each they fill a quarter
/// of a transaction.
pub const CHANNELS_MAX: usize = 1024;

/// Templates of one model. A record has a channel for each of them, and more only by sets.
pub const TEMPLATES_MAX: usize = 64;

/// Items of one `states` message, and channels of one `subscribe`: an item takes a hundred bytes of memory, and a batch of
/// [`BATCH_BYTES`] holds as many evictions of 8 bytes.
pub const MESSAGE_ITEMS_MAX: usize = 8192;

/// Channels that a view may follow, and a source keeps the places of for one session: 300 bytes each make 5 MiB.
pub const SUBSCRIPTIONS_MAX: usize = 16_384;

/// Bytes of one piece of a record's state, unless a single value takes more: as JSON it grows at most seven-fold, so that a
/// batch and a piece fit a frame.
pub const STATE_PIECE_BYTES: usize = 256 << 10;

/// Characters of the text in a `bye`, and of the reason in a `reply`: a sentence or two, at most 1 KiB.
pub const REASON_CHARS_MAX: usize = 256;

/// Calls that a side may have under way in a session, its own that are not answered. A peer with a round trip of 100 ms
/// answers 640 in a second, and each takes a thread of its host while it is answered.
pub const CALLS_MAX: usize = 64;

/// Bytes of the values of those calls, and of replies that wait to be sent: what a session may have under way of the log,
/// too. It holds sixteen of the largest values.
pub const CALLS_BYTES_MAX: usize = WINDOW_BYTES as usize;

/// Bytes of calls, replies and signals that a session hands to its transport, beside [`SEND_BUFFER_BYTES`] of the log,
/// before it waits for room: a quarter of those, or one message that is longer. Neither waits for the other; nor do signals
/// and calls, of which the former take half at most, and go first.
pub const WORDS_BUFFER_BYTES: usize = SEND_BUFFER_BYTES / 4;

/// Topics that a side wants to hear of in a session, unless it wants all; with 255 bytes each they make 16 KiB.
pub const TOPICS_MAX: usize = 64;

/// Bytes of what is said on a topic: who is where in a document, and whether somebody types.
pub const SIGNAL_BYTES_MAX: usize = 1024;

/// Topics on which a node says something at a time.
pub const SIGNALS_OWN_MAX: usize = TOPICS_MAX;

/// Signals that are taken from a peer which speaks only for itself. Others are passed over.
pub const SIGNALS_OF_PEER_MAX: usize = SIGNALS_OWN_MAX;

/// Signals that are taken from one session with a relay: with 1.5 KiB each at most, keys included, 6 MiB.
pub const SIGNALS_PER_SESSION_MAX: usize = 4096;

/// Signals that a node knows at a time: as many as sessions, and some 100 MiB at most.
pub const SIGNALS_MAX: usize = 65_536;

/// Relays over which a signal goes. A way that is longer than the widest network ends.
pub const RELAYS_MAX: usize = 8;

/// Bytes of the reason of a refusal.
pub const REFUSAL_BYTES_MAX: usize = 1024;

/// Bytes of repairs and verdicts that an authority writes for one principal, beyond [`REPAIR_RATIO_MAX`], before it has to
/// wait: to refuse the destruction of a large record takes rewriting it, and one message could destroy thousands. Twice what
/// the largest record takes that a node may write. A single transaction that would take more is refused and not undone.
pub const REPAIR_BYTES_MAX: usize = 32 << 20;

/// Bytes of repairs and verdicts for each byte of `scribes` that has come: a verdict of 500 bytes, and a field written
/// back, for a change of 40, as it is in brief.
pub const REPAIR_RATIO_MAX: usize = 16;

/// Bytes of [`REPAIR_BYTES_MAX`] that come back in a second: what a principal may make an authority write is 5 GiB in a day.
pub const REPAIR_BYTES_PER_S: u64 = 64 << 10;

/// Milliseconds by which a refused stamp may lead the authority's clock for its transaction to be undone: good clocks
/// differ by less. Whatever others write meanwhile lies below the repair.
pub const REPAIR_LEAD_MS: u64 = 10_000;
