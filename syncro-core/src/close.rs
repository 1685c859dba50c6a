//! Why a session ended: one number on the wire, in the event and in the log.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know.
            Other(u16),
        }

        impl CloseReason {
            /// The number on the wire.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// The reason of a number.
            pub const fn from_code(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for CloseReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(code) => write!(f, "reason {code}, which this version does not know"),
                }
            }
        }
    };
}

reasons! {
    /// The host ended it.
    Done = 0, "closed";
    /// The node shuts down.
    ShuttingDown = 1, "the node is shutting down";
    /// The transport ended without a `bye`. Never on the wire.
    Lost = 2, "the connection was lost";
    /// A message could not be decoded.
    Malformed = 3, "a message was malformed";
    /// A message was longer than a frame may be.
    FrameTooLarge = 4, "a message was longer than a frame may be";
    /// A message came where the protocol has no place for it.
    Unexpected = 5, "a message came out of turn";
    /// The peers have no protocol version in common.
    Version = 6, "the peers have no protocol version in common: upgrade the older one";
    /// No `hello` came in time.
    HandshakeTimeout = 7, "no hello came in time";
    /// Nothing was heard for two heartbeats.
    Silent = 8, "the peer fell silent";
    /// More was sent than was allowed.
    Flow = 9, "more was sent than the receiver had allowed";
    /// Scribes did not continue from the sync point.
    Gap = 10, "scribes did not continue from the sync point";
    /// The content did not have the digest that was stated.
    Digest = 11, "the content does not have the digest that was stated";
    /// The store failed at the end that closed, or is being repaired there.
    Store = 12, "the store failed";
    /// The node has as many sessions as it can.
    TooManySessions = 13, "the node has too many sessions";
    /// The node called itself: one of its own addresses is in its list of peers.
    Itself = 14, "the node called itself: its own address is among those it connects to";
    /// The node does not let the peer in, or not any longer: its credentials are wrong, missing or expired.
    Denied = 15, "the credentials are wrong, missing or expired";
    /// The peer did what it may not, or too much of it.
    Forbidden = 16, "what was tried is not permitted";
}
