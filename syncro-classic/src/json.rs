//! JSON as it is read and written: any UTF-8 in, plain ASCII out.

use std::fmt::Write as _;

use serde_json::Value as Json;

/// Reads one JSON value. Nesting beyond 127 is refused, and so bounds the recursion.
///
/// Halves of surrogate pairs, which JavaScript can write and UTF-8 cannot say, become U+FFFD: a peer with one
/// such text could otherwise never be pulled from.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| {
        match str::from_utf8(bytes).ok().and_then(without_lone_surrogates) {
            Some(mended) => serde_json::from_str(&mended),
            None => Err(error),
        }
    })
}

/// The text with U+FFFD in the place of each escape of a lone surrogate; `None` if it has none.
fn without_lone_surrogates(text: &str) -> Option<String> {
    let (mut mended, mut rest, mut is_mended) = (String::with_capacity(text.len()), text, false);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match surrogate(escape) {
            None => escape.chars().take(2).map(char::len_utf8).sum(),
            Some(0xd800..0xdc00) if matches!(surrogate(&escape[6..]), Some(0xdc00..)) => 12,
            Some(_) => {
                mended.push_str("\\ufffd");
                (rest, is_mended) = (&escape[6..], true);
                continue;
            }
        };
        mended.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    mended.push_str(rest);
    is_mended.then_some(mended)
}

/// The surrogate that a text begins with as an escape.
fn surrogate(text: &str) -> Option<u16> {
    let unit = u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// Writes JSON in ASCII, so that characters are bytes, which peers of 2010 take for granted.
pub(crate) fn ascii(json: &Json) -> String {
    let text = json.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + text.len() / 2);
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a string does not fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_ascii_and_reads_back() {
        let json = json!({"é": ["ünï", "😀", "plain", "\u{7f}\n\"\\"]});
        let text = ascii(&json);
        assert!(text.is_ascii());
        assert!(text.contains("\\ud83d\\ude00"), "{text}");
        assert_eq!(parse(text.as_bytes()).unwrap(), json);
        assert_eq!(parse("{\"é\":\"😀\"}".as_bytes()).unwrap(), json!({"é": "😀"}));
    }

    #[test]
    fn half_a_surrogate_pair_spoils_only_itself() {
        for (text, read) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83dx\ud83d\ude00""#, "\u{fffd}x😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), json!(read), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse(b"\"\\").is_err());
        assert!(parse(b"\"\\u").is_err());
        assert!(parse("\"\\é".as_bytes()).is_err());
    }
}
