//! Every limit of the dialect, with the sum that justifies it.

/// Bytes of one message over a stream: what a prefix of two bytes can say. It counts bytes, not characters.
pub const FRAME_BYTES_MAX: usize = 65_535;

/// Bytes of one received message where the transport keeps messages apart. A transaction of the node has 1 MiB
/// at most, and what JSON adds to text that is not all controls and quotes is less than as much again. Parsed,
/// the worst of it (a list of single digits) takes sixteen times its bytes: 32 MiB.
pub const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Bytes of the answer to a `sync` where messages may have any length: some thousand scribes, so that live
/// changes need not wait for it. What does not fit follows as `add_scribe`.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes of a uid, a scribe's id, a class, a type or the name of a method: those of a name of the node.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of the text that a request may have for an id; numbers of 64 bits are ids too. It is repeated in the
/// answer, which must fit a frame.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Bytes that wait to be written to one session, beyond which nothing more is done for it: two answers to a
/// `sync` over a stream. One answer over a transport of messages may exceed it.
pub const UNWRITTEN_BYTES: usize = 128 << 10;

/// Bytes of a session that are read at once. The smallest message that has to be answered has 22 bytes with its
/// prefix, so this is some seven hundred requests that wait, of a few hundred bytes each in memory.
pub const READ_BYTES: usize = 16 << 10;

/// Requests to be told that wait for the end of a pull, or for room: more than one makes little sense.
pub const ASKED_MAX: usize = 64;

/// Scribes that a peer was told and has not answered, beyond which it is told no more: with the record's hash
/// some 100 bytes each, so 1.6 MiB. A peer that never answers is told so many in a session.
pub const UNANSWERED_MAX: usize = 16_384;

/// Runs of scribes that came from a session and are not told to it: 16 bytes each. What is forgotten is told
/// once more, if the session asks for it, and says nothing new.
pub const OWN_RUNS_MAX: usize = 16_384;

/// Scribes played in one step, for all sessions: each writes a record, at some ten microseconds. One flush
/// follows for all of them.
pub const PLAYED_AT_ONCE: usize = 1024;

/// Rows of the list read in one step for one session: at 200 bytes each some 3 MiB, or ten milliseconds. A peer
/// that may see none of a long list must not stop the others.
pub const ROWS_AT_ONCE: usize = 16_384;

/// Rows read from the list by one call: at 64 KiB each 16 MiB, at 200 bytes a page or two.
pub const ROWS_PER_READ: usize = 256;

/// Changes of the node put into the list before what was made of them is written: at 64 KiB each 64 MiB, at
/// 200 bytes some 200 KiB.
pub const CHANGES_AT_ONCE: usize = 1024;

/// Changes of models that no classic peer shares, after which the list says once how far it has looked.
/// Opening looks at so many again.
pub const UNMARKED_MAX: u64 = 4096;

/// Scribes pushed while a pull is under way whose ids are kept, so that the answer does not play them twice: 300
/// bytes each at most, and rewritten with each push. The oldest beyond this may be played twice.
pub const AHEAD_MAX: usize = 512;

/// Past sync points kept per peer: one per doubling of the distance, over 2^48 scribes.
pub const RUNGS_MAX: usize = 48;

/// Own writes found in the log at opening that the list does not cover, of which the text is kept to recognise
/// them when their peers send them again. A step plays at most [`PLAYED_AT_ONCE`] before it is covered, and the
/// host's own writes come between them.
pub const ORPHANS_MAX: usize = 4 * PLAYED_AT_ONCE;

/// Writes of which is known whose scribe they were: those of a few steps, at some 100 bytes each.
pub const REPLAYS_MAX: usize = 4 * PLAYED_AT_ONCE;

/// Steps along the history of one record, to see what its client has done to it since.
pub const HISTORY_STEPS_MAX: usize = 64;

/// Records of which a peer is told the state because its sync point is unknown: their ids are held while it is
/// told, at some 64 bytes each, so 64 MiB. A larger store answers with its history instead.
pub const STATE_RECORDS_MAX: usize = 1 << 20;

/// Milliseconds that a peer has to say from where it wants to be told, and to answer what it was asked, before
/// it is told what is new: a round trip, also over a mobile network. Peers of 2010 do both at once.
pub const PATIENCE_MS: u64 = 250;

/// Sessions of one hub: at some 4 KiB each at rest this is 64 MiB.
pub const SESSIONS_MAX: usize = 16_384;

/// Events held for a host that does not take them; the oldest go.
pub const EVENTS_MAX: usize = 1024;

/// Requests for a WebSocket that a listener has under way at most: each takes ten seconds and 16 KiB at most. Whoever
/// comes to a full house is hung up on.
pub const HANDSHAKES_MAX: usize = 1024;
