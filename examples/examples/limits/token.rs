//! Tokens: who somebody is, on which node, and for how long, signed by whoever gives them out.
//!
//! A token is text, `base64url(payload).base64url(mac)`. The payload is the node's 16 bytes, the end in milliseconds since
//! 1970 in 8 bytes, big end first, and the user's name; the mac is the HMAC-SHA256 (RFC 2104) of the payload as it is
//! written. A token is a secret of its bearer's, the key one of the server's.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use syncro::NodeId;

/// What signs tokens, and verifies them. It signs nothing else, which could be taken for a token then.
pub(crate) struct Key(Hmac<Sha256>);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Who the bearer is.
    pub(crate) user: String,
    /// The only node on which it is good: a stolen one is of use to nobody who cannot pass for that node too.
    pub(crate) node: NodeId,
    /// When it ends, in milliseconds since 1970.
    pub(crate) until_ms: u64,
}

impl Key {
    /// Makes a key of a secret, which is 32 random bytes.
    pub(crate) fn new(secret: &[u8]) -> Result<Self, InvalidLength> {
        Ok(Self(Hmac::new_from_slice(secret)?))
    }

    /// Writes a token.
    pub(crate) fn sign(&self, token: &Token) -> String {
        let payload = BASE64.encode(token.to_bytes());
        let mac = self.0.clone().chain_update(&payload).finalize().into_bytes();
        format!("{payload}.{}", BASE64.encode(mac))
    }

    /// Reads a token that this key has signed for a node, and that has not ended.
    ///
    /// Every wrong one takes the same way, to its end: neither the answer nor the time until it comes says what was
    /// wrong. The time goes by the length, which whoever sent it knows.
    pub(crate) fn verify(&self, credentials: &[u8], node: NodeId, now_ms: u64) -> Option<Token> {
        // What has no dot is a payload without a mac.
        let dot = credentials.iter().position(|byte| *byte == b'.').unwrap_or(credentials.len());
        let (payload, mac) = (&credentials[..dot], credentials.get(dot + 1..).unwrap_or_default());
        let mac = BASE64.decode(mac).unwrap_or_default();
        // In constant time: a comparison that stops at the first byte that differs tells how many were right.
        let is_signed = self.0.clone().chain_update(payload).verify_slice(&mac).is_ok();
        let token = Token::from_bytes(&BASE64.decode(payload).unwrap_or_default());
        token.filter(|token| is_signed & (token.node == node) & (now_ms < token.until_ms))
    }
}

impl Token {
    fn to_bytes(&self) -> Vec<u8> {
        [self.node.as_bytes().as_slice(), &self.until_ms.to_be_bytes(), self.user.as_bytes()]
            .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (until_ms, user) = rest.split_first_chunk()?;
        let (node, until_ms) = (NodeId::from_bytes(*node), u64::from_be_bytes(*until_ms));
        Some(Self { user: String::from_utf8(user.to_vec()).ok()?, node, until_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn key() -> Key {
        Key::new(&[7; 32]).unwrap()
    }

    fn token() -> Token {
        Token { user: "ann".to_owned(), node: NodeId::named("laptop"), until_ms: NOW_MS + 1 }
    }

    fn verified(text: impl AsRef<[u8]>) -> Option<Token> {
        key().verify(text.as_ref(), NodeId::named("laptop"), NOW_MS)
    }

    #[test]
    fn a_token_says_what_was_signed() {
        assert_eq!(verified(key().sign(&token())), Some(token()));
        for user in ["", "Åsa", "a.b", &"x".repeat(1000)] {
            let token = Token { user: user.to_owned(), ..token() };
            assert_eq!(verified(key().sign(&token)), Some(token));
        }
    }

    /// Computed by another program, so that both ends of this one cannot be wrong in the same way.
    #[test]
    fn a_token_is_signed_as_anybody_would_sign_it() {
        let token = Token { node: NodeId::from_bytes([1; 16]), ..token() };
        assert_eq!(key().sign(&token), SIGNED);
    }

    const SIGNED: &str =
        "AQEBAQEBAQEBAQEBAQEBAQAAAYvP5WgBYW5u.-p4BtK2YTQf6IEGUnqrNeWaWrWwOXCZrWelnfTthxd8";

    #[test]
    fn a_token_ends_at_its_end() {
        let (text, node) = (key().sign(&token()), NodeId::named("laptop"));
        assert!(key().verify(text.as_bytes(), node, NOW_MS + 1).is_none());
        assert!(key().verify(text.as_bytes(), node, u64::MAX).is_none());
        assert!(verified(key().sign(&Token { until_ms: 0, ..token() })).is_none());
    }

    #[test]
    fn a_token_of_another_key_is_none() {
        for secret in [&[8; 32][..], &[7; 31], &[]] {
            let other = Key::new(secret).unwrap();
            assert_eq!(verified(other.sign(&token())), None);
        }
    }

    #[test]
    fn a_token_of_another_node_is_none() {
        assert_eq!(verified(key().sign(&Token { node: NodeId::named("phone"), ..token() })), None);
    }

    #[test]
    fn a_token_with_any_bit_flipped_is_none() {
        let text = key().sign(&token()).into_bytes();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verified(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_token_that_was_cut_or_goes_on_is_none() {
        let text = key().sign(&token());
        for end in 0..text.len() {
            assert_eq!(verified(&text[..end]), None, "{end} bytes");
        }
        for more in ["A", "=", ".", " ", "\0", ".AAAA"] {
            assert_eq!(verified(format!("{text}{more}")), None, "{more:?}");
            assert_eq!(verified(format!("{more}{text}")), None, "{more:?}");
        }
    }

    #[test]
    fn the_parts_of_two_tokens_make_none() {
        let (ann, bob) = (key().sign(&token()), Token { user: "bob".to_owned(), ..token() });
        let (bob, ann) = (key().sign(&bob), ann.split_once('.').unwrap().0.to_owned());
        assert_eq!(verified(format!("{ann}.{}", bob.split_once('.').unwrap().1)), None);
    }

    #[test]
    fn what_is_signed_and_no_payload_is_none() {
        for payload in ["", "AAAA", "not base64!", &BASE64.encode([0xff; 25])] {
            let mac = key().0.chain_update(payload).finalize().into_bytes();
            assert_eq!(verified(format!("{payload}.{}", BASE64.encode(mac))), None, "{payload}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut garbage = vec![0; random.usize(..200)];
            random.fill(&mut garbage);
            if random.bool() {
                let to_letter = |byte: &mut u8| *byte = LETTERS[usize::from(*byte) % LETTERS.len()];
                garbage.iter_mut().for_each(to_letter);
            }
            assert_eq!(verified(&garbage), None);
        }
    }

    /// What tokens are written in.
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_..=";
}
