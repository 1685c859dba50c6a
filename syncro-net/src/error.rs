use std::io;
use std::time::Duration;

/// Says what went wrong on the way between two nodes, whose fault it is, and what to do.
///
/// The variants stand in order of blame: first the peer, then the network between, then this
/// machine, then the calling code. The text of a `cause` is part of the message, so it is not
/// repeated as [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The peer announced a frame longer than this side takes; nothing was set aside for it.
    #[error(
        "the peer announced a frame of {length} bytes, over this side's limit of {limit}: {}",
        what_begins_so(*length)
    )]
    FrameTooLarge {
        /// The length that the peer announced, in bytes, without the prefix.
        length: usize,
        /// The longest frame that this side takes, in bytes, without the prefix.
        limit: usize,
    },

    /// The peer sent a frame of no bytes, which no message fits into.
    #[error(
        "the peer sent an empty frame, which means nothing: it speaks another protocol or has \
         a bug; close the connection"
    )]
    EmptyFrame,

    /// The peer broke the rules of WebSocket, or those by which Syncro uses it.
    #[error(
        "the peer sent {offence}: it has a bug or something between mangles its frames; close \
         the connection"
    )]
    WebSocketOffence {
        /// What it sent.
        offence: &'static str,
    },

    /// The peer sent a row of WebSocket frames that carry nothing: pings, pongs, tiny fragments.
    #[error(
        "the peer sent over {limit} frames that carry nothing and no message between them: it \
         wastes this side's time, by a bug or on purpose; close the connection"
    )]
    FreeFrames {
        /// How many such frames may come in a row.
        limit: usize,
    },

    /// The other side's part of an upgrade to a WebSocket was none, or not the one that Syncro needs.
    #[error("no upgrade to a WebSocket: {fault}")]
    Upgrade {
        /// What was wrong with it, and what to do.
        fault: String,
    },

    /// A web page of an origin that is not on the list asked for a WebSocket.
    #[error(
        "a web page of {origin} asked to connect: if it is yours, put its origin on the \
         listener's list; if not, it has been refused"
    )]
    Origin {
        /// The `Origin` header, as it came.
        origin: String,
    },

    /// The other side's part of an upgrade to a WebSocket was longer than anybody's who means well.
    #[error(
        "no upgrade to a WebSocket: the other side sent over {limit} bytes without coming to an \
         end; it speaks another protocol or is an attacker"
    )]
    UpgradeTooLarge {
        /// The longest request or answer, in bytes.
        limit: usize,
    },

    /// The two sides of a TLS handshake did not come to terms.
    #[error(
        "no TLS with the other side: {cause}; check that it speaks TLS there, the certificates, \
         the name in the address and the clocks"
    )]
    Tls {
        /// What the TLS library or the stream said.
        cause: io::Error,
    },

    /// The stream ended inside a frame; the part that had arrived is gone.
    #[error(
        "the stream ended inside a frame: the peer stopped in the middle of a message or \
         something between cut the connection; connect again"
    )]
    Truncated,

    /// The connection failed underneath the frames.
    #[error("the connection broke: {cause}; the peer or the network ended it; connect again")]
    Broken {
        /// What the operating system or the stream said.
        cause: io::Error,
    },

    /// Nobody could be reached at an address.
    #[error(
        "cannot connect to {addr}: {cause}; check the address (host:port), that the peer is \
         listening there and that no firewall is between, then try again"
    )]
    Connect {
        /// The address as the caller gave it.
        addr: String,
        /// What the operating system or the resolver said.
        cause: io::Error,
    },

    /// An address gave no answer in time, neither yes nor no.
    #[error(
        "no answer from {addr} within {limit:?}: the peer is down, the network loses packets \
         or a firewall swallows them; try again later"
    )]
    ConnectTimeout {
        /// The address as the caller gave it.
        addr: String,
        /// How long the attempt was allowed to take.
        limit: Duration,
    },

    /// A text is no address, so that connecting to it can never succeed.
    #[error(
        "{addr:?} is no address: write host:port, the host by its name or its number, \
         tls://host:port, ws://host:port/path or wss://host/path, without a user, a password or \
         a fragment (`#`)"
    )]
    Address {
        /// What the caller gave.
        addr: String,
    },

    /// An address asks for TLS, and nobody has said by which rules.
    #[error(
        "{addr} needs TLS: give the rules, a `ClientConfig` to connect or a `ServerConfig` to \
         listen, by the options' `tls`"
    )]
    NoTlsConfig {
        /// The address.
        addr: String,
    },

    /// An address asks for a transport that this program was built without.
    #[error(
        "{addr} needs the feature `{feature}`, which this program was built without: turn it on \
         in Cargo.toml"
    )]
    NotBuilt {
        /// The address.
        addr: String,
        /// The feature of the crate.
        feature: &'static str,
    },

    /// A handshake took longer than it may: the upgrade to a WebSocket, or that of TLS.
    #[error(
        "the other side did not end its part of the handshake within {limit:?}: it speaks another \
         protocol, the network loses packets, or it means no good; try again later"
    )]
    HandshakeTimeout {
        /// How long the handshake was allowed to take.
        limit: Duration,
    },

    /// A connection came while too many others were in their handshakes.
    #[error(
        "{limit} connections are in their handshakes already: an attacker holds them, or more \
         peers come than this machine can take; who was hung up on tries again"
    )]
    TooManyHandshakes {
        /// How many may be under way at once.
        limit: usize,
    },

    /// Somebody else on this machine already listens on the address.
    #[error(
        "cannot listen on {addr}: the address is already in use on this machine; stop the \
         program that listens there (perhaps another copy of this one) or choose another port \
         (port 0 lets the system choose a free one)"
    )]
    AddressInUse {
        /// The address as the caller gave it.
        addr: String,
    },

    /// An address cannot be listened on for another reason than being in use.
    #[error(
        "cannot listen on {addr}: {cause}; check that the address is host:port, that the host \
         is this machine and that this program may use the port"
    )]
    Listen {
        /// The address as the caller gave it.
        addr: String,
        /// What the operating system or the resolver said.
        cause: io::Error,
    },

    /// The listener is beyond recovery; it outlives everything else by itself.
    #[error("this listener can accept no more connections: {cause}; listen again")]
    Listener {
        /// What the operating system or the runtime said.
        cause: io::Error,
    },

    /// A frame was handed over for writing that no peer would take; nothing of it was sent and
    /// the connection is as good as before.
    #[error(
        "a frame of {length} bytes was given to be sent, but a frame holds 1 to {limit} bytes: \
         this is a mistake in the calling code; split the message or leave it out"
    )]
    UnsendableFrame {
        /// The length of the frame, in bytes, without the prefix.
        length: usize,
        /// The longest frame that may be sent, in bytes, without the prefix.
        limit: usize,
    },

    /// A connection was read again after a read had failed.
    #[error(
        "this connection has already failed and is read no further: this is a mistake in the \
         calling code; drop the connection after the first error and connect again"
    )]
    AlreadyFailed,
}

/// Says what seems to speak where four bytes make such a length, and what to do.
fn what_begins_so(length: usize) -> &'static str {
    match &u32::try_from(length).unwrap_or_default().to_be_bytes() {
        b"HTTP" => {
            "in letters that is \"HTTP\", so it answers as a web server does; write ws://host:port/path as the address \
             if a node listens there, or give the port of one that listens without WebSocket"
        }
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"PRI " => {
            "in letters that begins a request of HTTP, as of a WebSocket or a browser; let the peer write host:port as the \
             address, without ws:// and a path, or listen at ws://host:port/path"
        }
        [0x16, 0x03, ..] => {
            "that is how a handshake of TLS begins; let the peer write the address without tls:// or wss://, or listen \
             at such an address"
        }
        [0x15, 0x03, ..] => {
            "that is how an alert of TLS begins; write tls:// or wss:// before the address"
        }
        _ => {
            "it speaks another protocol or has a greater limit; close the connection, and if the peer is one of yours \
             give both sides the same limit"
        }
    }
}

/// Turns a failure of the stream under the frames into [`NetError::Broken`].
impl From<io::Error> for NetError {
    fn from(cause: io::Error) -> Self {
        Self::Broken { cause }
    }
}
