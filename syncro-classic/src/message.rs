//! What peers say, as types.

use serde_json::{Map, Value as Json, json};

use crate::json;
use crate::limits::{NAME_BYTES_MAX, REQUEST_ID_BYTES_MAX};

/// A change as it travels: what the peers of 2010 call a scribe.
#[derive(Clone, Debug, PartialEq)]
pub struct Scribe {
    /// The class of the record, or whatever the scribe is about.
    pub klass: String,
    /// `create`, `update`, `destroy`, or a type that the host has registered.
    pub kind: String,
    /// Its id in the log that issued it; `None` where it has none.
    pub id: Option<String>,
    /// All attributes, `[id, {changed}]`, `[id]`, or anything.
    pub data: Json,
}

impl Scribe {
    /// Reads a scribe. `None` for what has no class or no type, or one that is too long.
    pub(crate) fn read(json: &Json) -> Option<Self> {
        Some(Self {
            klass: name(json.get("klass")?)?,
            kind: name(json.get("type")?)?,
            id: json.get("id").and_then(scribe_id),
            data: json.get("data").cloned().unwrap_or(Json::Null),
        })
    }

    /// Writes a scribe: exactly these four keys.
    pub(crate) fn write(self) -> Json {
        json!({ "data": self.data, "id": self.id, "klass": self.klass, "type": self.kind })
    }
}

/// Whether a type is one of those that say what happens to a record; they are the protocol's own.
pub(crate) fn is_of_record(kind: &str) -> bool {
    ["create", "update", "destroy"].contains(&kind)
}

/// From where a peer wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Everything: null, the empty text, 0, or nothing at all.
    Start,
    /// What follows the scribe of an id.
    After(String),
}

impl From {
    fn read(json: Option<&Json>) -> Self {
        match json {
            None | Some(Json::Null) => Self::Start,
            Some(json) => match scribe_id(json) {
                Some(id) if id == "0" => Self::Start,
                Some(id) => Self::After(id),
                // Whatever this is, no log has issued it; the empty text is the one that is meant to be nothing.
                None if json.as_str() == Some("") => Self::Start,
                None => Self::After("?".to_owned()),
            },
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Sync {
        request: Json,
        from: From,
    },
    AddScribe {
        request: Json,
        scribe: Option<Scribe>,
    },
    Rpc {
        request: Json,
        klass: String,
        method: String,
        args: Vec<Json>,
    },
    Noop {
        request: Json,
    },
    Response {
        request: Option<u64>,
        result: Json,
    },
    Error {
        code: Option<i64>,
    },
    /// Of an unknown type or none, which is passed over.
    Other,
}

impl Message {
    /// Reads a message. An error is for what is no JSON; JSON that is no message is [`Other`](Self::Other).
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let Json::Object(mut message) = json::parse(bytes)? else {
            return Ok(Self::Other);
        };
        let request = request_id(message.get("id"));
        let text = |message: &Map<String, Json>, key: &str| {
            message.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        Ok(match message.get("type").and_then(Json::as_str) {
            Some("sync") => Self::Sync { request, from: From::read(message.get("from")) },
            Some("add_scribe") => {
                Self::AddScribe { request, scribe: message.get("scribe").and_then(Scribe::read) }
            }
            Some("rpc") => Self::Rpc {
                request,
                klass: text(&message, "klass"),
                method: text(&message, "method"),
                args: match message.remove("args") {
                    Some(Json::Array(args)) => args,
                    None | Some(Json::Null) => Vec::new(),
                    Some(arg) => vec![arg],
                },
            },
            Some("noop") => Self::Noop { request },
            Some("response") => Self::Response {
                request: request.as_u64(),
                result: message.remove("result").unwrap_or(Json::Null),
            },
            Some("error") => Self::Error { code: message.get("code").and_then(Json::as_i64) },
            _ => Self::Other,
        })
    }
}

/// The id that an answer repeats: an integer, or a short text.
fn request_id(id: Option<&Json>) -> Json {
    match id {
        Some(Json::Number(number)) if !number.is_f64() => Json::Number(number.clone()),
        Some(Json::String(text)) if text.len() <= REQUEST_ID_BYTES_MAX => {
            Json::String(text.clone())
        }
        _ => Json::Null,
    }
}

/// The id of a scribe: text, or an integer as a JavaScript peer may write it.
pub(crate) fn scribe_id(json: &Json) -> Option<String> {
    match json {
        Json::Number(number) if !number.is_f64() => Some(number.to_string()),
        json => name(json),
    }
}

fn name(json: &Json) -> Option<String> {
    let text = json.as_str()?;
    (1..=NAME_BYTES_MAX).contains(&text.len()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Message {
        Message::read(json.as_bytes()).unwrap()
    }

    /// The lines of the protocol's page, with the lengths that it gives.
    #[test]
    fn the_messages_of_2010_are_read() {
        let scribe = |id: &str, kind: &str, data: Json| {
            let (klass, kind) = ("Test".to_owned(), kind.to_owned());
            Some(Scribe { klass, kind, id: Some(id.to_owned()), data })
        };
        for (length, text, message) in [
            (
                34,
                r#"{"type":"sync","from":null,"id":1}"#,
                Message::Sync { request: json!(1), from: From::Start },
            ),
            (
                34,
                r#"{"type":"sync","from":"10","id":2}"#,
                Message::Sync { request: json!(2), from: From::After("10".into()) },
            ),
            (
                110,
                r#"{"type":"add_scribe","scribe":{"data":{"name":"a","id":"r1"},"id":"10","klass":"Test","type":"create"},"id":1}"#,
                Message::AddScribe {
                    request: json!(1),
                    scribe: scribe("10", "create", json!({"name": "a", "id": "r1"})),
                },
            ),
            (
                107,
                r#"{"type":"add_scribe","scribe":{"data":["r1",{"name":"b"}],"id":"11","klass":"Test","type":"update"},"id":2}"#,
                Message::AddScribe {
                    request: json!(2),
                    scribe: scribe("11", "update", json!(["r1", {"name": "b"}])),
                },
            ),
            (
                95,
                r#"{"type":"add_scribe","scribe":{"data":["r1"],"id":"12","klass":"Test","type":"destroy"},"id":3}"#,
                Message::AddScribe {
                    request: json!(3),
                    scribe: scribe("12", "destroy", json!(["r1"])),
                },
            ),
            (
                88,
                r#"{"type":"rpc","klass":"Syncro::RPC::Default","method":"last_scribe_id","args":[],"id":2}"#,
                Message::Rpc {
                    request: json!(2),
                    klass: "Syncro::RPC::Default".into(),
                    method: "last_scribe_id".into(),
                    args: vec![],
                },
            ),
            (22, r#"{"type":"noop","id":7}"#, Message::Noop { request: json!(7) }),
            (
                40,
                r#"{"type":"response","id":7,"result":true}"#,
                Message::Response { request: Some(7), result: json!(true) },
            ),
            (
                38,
                r#"{"type":"response","id":8,"result":[]}"#,
                Message::Response { request: Some(8), result: json!([]) },
            ),
            (27, r#"{"type":"error","code":403}"#, Message::Error { code: Some(403) }),
            (25, r#"{"type":"error","code":0}"#, Message::Error { code: Some(0) }),
        ] {
            assert_eq!(text.len(), length);
            assert_eq!(read(text), message);
        }
    }

    /// S3.
    #[test]
    fn a_sync_from_null_nothing_or_the_empty_text_is_from_the_start() {
        for from in [r#","from":null"#, r#","from":"""#, "", r#","from":0"#, r#","from":"0""#] {
            let message = read(&format!(r#"{{"type":"sync"{from}}}"#));
            assert_eq!(message, Message::Sync { request: Json::Null, from: From::Start }, "{from}");
        }
        for from in ["{}", "[1]", "1.5", "true", &format!("{:?}", "x".repeat(256))] {
            let message = read(&format!(r#"{{"type":"sync","from":{from}}}"#));
            let unknown = From::After("?".to_owned());
            assert_eq!(message, Message::Sync { request: Json::Null, from: unknown }, "{from}");
        }
    }

    /// S28.
    #[test]
    fn what_is_no_message_is_passed_over() {
        for text in ["{}", "[]", "1", "null", r#"{"type":1}"#, r#"{"type":"what","id":1}"#] {
            assert_eq!(read(text), Message::Other, "{text}");
        }
        assert!(Message::read(b"{").is_err());
        assert!(Message::read(b"").is_err());
    }

    #[test]
    fn an_id_that_would_not_fit_the_answer_is_not_repeated() {
        for id in [format!("{:?}", "x".repeat(65)), "1.5".into(), "{}".into(), "[1]".into()] {
            let message = read(&format!(r#"{{"type":"noop","id":{id}}}"#));
            assert_eq!(message, Message::Noop { request: Json::Null });
        }
        assert_eq!(read(r#"{"type":"noop","id":"a"}"#), Message::Noop { request: json!("a") });
    }

    #[test]
    fn a_scribe_needs_a_class_and_a_type() {
        for scribe in ["null", "{}", "[]", r#"{"klass":"","type":"create"}"#, r#"{"klass":"T"}"#] {
            let message = read(&format!(r#"{{"type":"add_scribe","scribe":{scribe},"id":1}}"#));
            assert_eq!(message, Message::AddScribe { request: json!(1), scribe: None }, "{scribe}");
        }
    }
}
