//! Where a peer listens, and what it speaks there.

use std::fmt;
use std::str::FromStr;

use crate::{NetError, tcp};

/// What carries the messages at an [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// [`Frames`](crate::Frames) over a stream of bytes.
    Frames,
    /// The messages of a WebSocket.
    WebSocket,
}

/// An address as people write it.
///
/// | written | means |
/// |---|---|
/// | `host:port`, `tcp://host:port` | frames over TCP |
/// | `tls://host:port` | frames over TLS |
/// | `ws://host:port/path` | WebSocket over TCP; port 80 and path `/` if left out |
/// | `wss://host:port/path` | WebSocket over TLS; port 443 and path `/` if left out |
///
/// A user or a password in it is refused, since addresses end up in logs: credentials go into the
/// protocol's `hello`. What `Display` shows ends before the query, for the same reason.
///
/// ```
/// use syncro_net::{Address, Transport};
///
/// let address: Address = "wss://sync.example/v1?room=7".parse()?;
/// assert_eq!((address.transport(), address.is_tls()), (Transport::WebSocket, true));
/// assert_eq!((address.host(), address.authority()), ("sync.example", "sync.example:443"));
/// assert_eq!(address.path(), "/v1?room=7");
/// assert_eq!(address.to_string(), "wss://sync.example:443/v1");
/// # Ok::<(), syncro_net::NetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was given, if without a scheme.
    scheme: Option<Scheme>,
    authority: String,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Address {
    /// What carries the messages.
    pub fn transport(&self) -> Transport {
        match self.scheme {
            Some(Scheme::Ws | Scheme::Wss) => Transport::WebSocket,
            _ => Transport::Frames,
        }
    }

    /// Whether TLS is below.
    pub fn is_tls(&self) -> bool {
        matches!(self.scheme, Some(Scheme::Tls | Scheme::Wss))
    }

    /// `host:port`, what TCP connects to or listens on.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host: a name or a number, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// What a WebSocket asks for: path and query, `/` at least. Of another transport, nothing.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Address {
    type Err = NetError;

    fn from_str(addr: &str) -> Result<Self, NetError> {
        let refusal = || NetError::Address { addr: addr.to_owned() };
        let Some((scheme, rest)) = addr.split_once("://") else {
            tcp::check(addr)?;
            return Ok(Self { scheme: None, authority: addr.to_owned(), path: String::new() });
        };
        let (scheme, port) = match scheme {
            "tcp" => (Scheme::Tcp, None),
            "tls" => (Scheme::Tls, None),
            "ws" => (Scheme::Ws, Some(80)),
            "wss" => (Scheme::Wss, Some(443)),
            _ => return Err(refusal()),
        };
        let (authority, path) = match (port, rest.find(['/', '?'])) {
            (Some(_), Some(at)) => rest.split_at(at),
            _ => (rest, ""),
        };
        if let Some((_, rest)) = authority.rsplit_once('@') {
            // Not even the refusal may put a password into a log.
            return Err(NetError::Address { addr: format!("...@{rest}{path}") });
        }
        let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !rest.bytes().all(is_fit) {
            return Err(refusal());
        }
        let authority = match port {
            Some(port) if !has_port(authority) => format!("{authority}:{port}"),
            _ => authority.to_owned(),
        };
        tcp::check(&authority).map_err(|_| refusal())?;
        let path = match port {
            Some(_) if !path.starts_with('/') => format!("/{path}"),
            _ => path.to_owned(),
        };
        Ok(Self { scheme: Some(scheme), authority, path })
    }
}

/// Whether a colon of `authority` is not one of an IPv6 number.
fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Without the query, which may be nobody's business.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            None => return f.write_str(&self.authority),
            Some(Scheme::Tcp) => "tcp",
            Some(Scheme::Tls) => "tls",
            Some(Scheme::Ws) => "ws",
            Some(Scheme::Wss) => "wss",
        };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(addr: &str) -> (String, String, String) {
        let address: Address = addr.parse().unwrap();
        (address.authority().into(), address.host().into(), address.path().into())
    }

    #[test]
    fn what_is_left_out_of_a_url_is_what_browsers_take() {
        let all = |authority: &str, host: &str, path: &str| {
            (authority.to_owned(), host.to_owned(), path.to_owned())
        };
        assert_eq!(parts("peer:7"), all("peer:7", "peer", ""));
        assert_eq!(parts("tls://peer:7"), all("peer:7", "peer", ""));
        assert_eq!(parts("ws://peer"), all("peer:80", "peer", "/"));
        assert_eq!(parts("wss://peer/"), all("peer:443", "peer", "/"));
        assert_eq!(parts("ws://peer?a=/:1"), all("peer:80", "peer", "/?a=/:1"));
        assert_eq!(parts("ws://[::1]/a"), all("[::1]:80", "::1", "/a"));
        assert_eq!(parts("ws://[::1]:7/a:8"), all("[::1]:7", "::1", "/a:8"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_own_words() {
        let refused = [
            "",
            "peer",
            "http://peer/",
            "tls://peer",
            "tcp://peer/",
            "ws://",
            "ws://:7/",
            "ws://peer:x/",
            "ws://peer/#part",
            "ws://peer/ a",
            "ws://peer/\r\nHost: other",
            "WS://peer",
            "tls://peer:7/path",
        ];
        for addr in refused {
            match addr.parse::<Address>() {
                Err(NetError::Address { addr: named }) => assert_eq!(named, addr),
                other => panic!("{addr:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_password_is_refused_and_a_query_is_not_shown() {
        let refusal = "ws://ann:secret@peer/".parse::<Address>().unwrap_err().to_string();
        assert!(refusal.contains("password") && !refusal.contains("secret"), "{refusal}");
        let address: Address = "ws://peer/sync?token=secret".parse().unwrap();
        assert_eq!(address.path(), "/sync?token=secret");
        assert_eq!(address.to_string(), "ws://peer:80/sync");
    }

    #[test]
    fn an_address_without_a_scheme_is_shown_as_it_was_given() {
        assert_eq!("peer:7".parse::<Address>().unwrap().to_string(), "peer:7");
        assert_eq!("tcp://peer:7".parse::<Address>().unwrap().to_string(), "tcp://peer:7");
    }
}
