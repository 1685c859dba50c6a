//! The transcription between the two encodings.

use syncro_core::{from_json, to_json};

/// What one direction accepts, the other turns back, and from then on nothing changes any more.
pub fn json(input: &[u8]) {
    if let Ok(msgpack) = from_json(input) {
        let json = to_json(&msgpack).expect("what JSON said can be said in JSON");
        assert_eq!(from_json(&json).as_ref(), Ok(&msgpack));
    }
    if let Ok(json) = to_json(input) {
        let msgpack = from_json(&json).expect("what was transcribed is JSON");
        assert_eq!(to_json(&msgpack).as_ref(), Ok(&json));
    }
}
