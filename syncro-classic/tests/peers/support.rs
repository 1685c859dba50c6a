//! A hub, its node, and what peers hear.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use syncro::{Name, Node, RecordId, RecordKey, Value};
use syncro_classic::{
    Class, Confirmation, Event, Frames, Framing, Hub, Offence, SessionId, Settings, Tables, Uid,
    frame,
};

/// A hub that works when it is told to, and keeps what it says.
pub(crate) struct Desk {
    pub(crate) hub: Hub,
    pub(crate) node: Node,
    framings: BTreeMap<SessionId, (Framing, Frames)>,
    heard: BTreeMap<SessionId, Vec<Json>>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Vec<(SessionId, Offence)>,
    /// Whether what is sent counts as written.
    pub(crate) is_writing: bool,
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

/// What lets the class `Test` be shared.
pub(crate) fn tables() -> Tables {
    Tables::default().allow(Class::new("Test").unwrap()).unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings { tables: tables(), ..Settings::default() }
}

/// What lets peers talk to the hub in any order.
pub(crate) fn confirmed() -> Settings {
    Settings { confirmation: Confirmation::Noop, ..settings() }
}

pub(crate) fn key(id: &str) -> RecordKey {
    RecordKey { model: Name::new("Test").unwrap(), id: RecordId::text(id).unwrap() }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let node = Node::in_memory("hub").unwrap();
        let hub = Hub::in_memory(node.clone(), settings).unwrap();
        Self::over(node, hub)
    }

    pub(crate) fn over(node: Node, hub: Hub) -> Self {
        let (framings, heard) = (BTreeMap::new(), BTreeMap::new());
        let (events, closed) = (Vec::new(), Vec::new());
        Self { hub, node, framings, heard, events, closed, is_writing: true }
    }

    /// Connects a client that answers nothing by itself, and takes what it is asked at first.
    pub(crate) fn connect(&mut self, text: &str) -> SessionId {
        let session = self.connect_in(text, Framing::Stream);
        let asked = self.heard(session);
        assert_eq!(asked.len(), 1, "it is pulled at once: {asked:?}");
        assert_eq!(asked[0]["type"], "sync");
        session
    }

    /// Connects a client that has answered the pull with nothing.
    pub(crate) fn connect_empty(&mut self, text: &str) -> SessionId {
        let session = self.connect(text);
        self.say(session, json!({"type": "response", "id": 1, "result": []}));
        assert_eq!(self.heard(session), [] as [Json; 0]);
        session
    }

    pub(crate) fn connect_in(&mut self, text: &str, framing: Framing) -> SessionId {
        let session = self.hub.connect(uid(text), framing).unwrap();
        self.framings.insert(session, (framing, Frames::default()));
        self.work();
        session
    }

    /// Says something, and lets the hub work.
    pub(crate) fn say(&mut self, session: SessionId, message: Json) {
        self.hand_in(session, message);
        self.work();
    }

    /// Says something that the hub does not deal with yet.
    pub(crate) fn hand_in(&mut self, session: SessionId, message: Json) {
        let text = message.to_string().into_bytes();
        match self.framings[&session].0 {
            Framing::Stream => self.hub.receive(session, &frame(&text).unwrap()),
            Framing::Messages => self.hub.receive(session, &text),
        }
    }

    pub(crate) fn bytes(&mut self, session: SessionId, bytes: &[u8]) {
        self.hub.receive(session, bytes);
        self.work();
    }

    /// Lets the hub work until it has nothing to do.
    pub(crate) fn work(&mut self) {
        for _ in 0..10_000 {
            let effects = self.hub.step().unwrap();
            let is_idle = effects.sends.is_empty() && !effects.has_more;
            for (session, bytes) in effects.sends {
                if self.is_writing {
                    self.hub.written(session, bytes.len());
                }
                self.take(session, &bytes);
            }
            for (session, offence) in effects.closes {
                self.hub.disconnect(session);
                self.closed.push((session, offence));
            }
            self.events.extend(effects.events);
            if is_idle {
                return;
            }
        }
        panic!("the hub comes to no end");
    }

    fn take(&mut self, session: SessionId, bytes: &[u8]) {
        assert!(bytes.is_ascii() || bytes[2..].is_ascii(), "only the prefix is no ASCII");
        let (framing, frames) = self.framings.get_mut(&session).unwrap();
        let heard = self.heard.entry(session).or_default();
        match framing {
            Framing::Messages => heard.push(serde_json::from_slice(bytes).unwrap()),
            Framing::Stream => {
                frames.push(bytes);
                let messages = std::iter::from_fn(|| frames.next());
                heard.extend(messages.map(|one| serde_json::from_slice::<Json>(&one).unwrap()));
            }
        }
    }

    /// What a session has heard since it was last asked.
    pub(crate) fn heard(&mut self, session: SessionId) -> Vec<Json> {
        self.heard.remove(&session).unwrap_or_default()
    }

    /// Takes the first message that a session has heard, and leaves the others.
    pub(crate) fn hub_answer(&mut self, session: SessionId) -> Json {
        self.heard.get_mut(&session).unwrap().remove(0)
    }

    /// The scribes that a session was told since it was last asked, which it acknowledges.
    pub(crate) fn told(&mut self, session: SessionId) -> Vec<Json> {
        let mut told = Vec::new();
        for message in self.heard(session) {
            assert_eq!(message["type"], "add_scribe", "{message}");
            told.push(message["scribe"].clone());
            let answer = json!({"type": "response", "id": message["id"], "result": true});
            self.say(session, answer);
        }
        told
    }

    /// Asks to be told, and returns the answer.
    pub(crate) fn sync(&mut self, session: SessionId, from: Json) -> Vec<Json> {
        self.say(session, json!({"type": "sync", "from": from, "id": 77}));
        let mut heard = self.heard(session);
        heard.retain(|message| message["type"] != "noop");
        assert_eq!(heard.len(), 1, "{heard:?}");
        let answer = heard.remove(0);
        assert_eq!((&answer["type"], &answer["id"]), (&json!("response"), &json!(77)));
        answer["result"].as_array().unwrap().clone()
    }

    /// Pushes a scribe, which must be acknowledged.
    pub(crate) fn push(&mut self, session: SessionId, scribe: Json) {
        let answer = self.push_any(session, scribe);
        assert_eq!(answer, json!({"type": "response", "id": 55, "result": true}));
    }

    /// Pushes a scribe, and returns the answer.
    pub(crate) fn push_any(&mut self, session: SessionId, scribe: Json) -> Json {
        self.say(session, json!({"type": "add_scribe", "scribe": scribe, "id": 55}));
        let mut heard = self.heard(session);
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    /// Writes a record natively.
    pub(crate) fn create(&mut self, id: &str, name: &str) {
        let fields = syncro::Fields::from_values(&[("name".into(), Value::from(name))].into());
        self.node.transaction(|draft| draft.create_record(key(id), &fields.unwrap())).unwrap();
        self.work();
    }

    pub(crate) fn update(&mut self, id: &str, name: &str) {
        self.edit(id, "name", Value::from(name));
    }

    pub(crate) fn edit(&mut self, id: &str, field: &str, value: Value) {
        let edit = syncro::Edit::value(Name::new(field).unwrap(), value.encode());
        self.node.transaction(|draft| draft.update_record(key(id), vec![edit])).unwrap();
        self.work();
    }

    pub(crate) fn destroy(&mut self, id: &str) {
        self.node.transaction(|draft| draft.destroy_record(key(id))).unwrap();
        self.work();
    }

    /// The plain fields of a record at the node; `None` when it is not alive.
    pub(crate) fn record(&self, id: &str) -> Option<BTreeMap<String, Value>> {
        self.node.get_record(&key(id)).unwrap().map(|fields| fields.to_values())
    }

    pub(crate) fn name(&self, id: &str) -> Option<String> {
        match self.record(id)?.remove("name") {
            Some(Value::Text(name)) => Some(name),
            other => panic!("the name of {id} is {other:?}"),
        }
    }
}

/// A scribe as a peer pushes it.
pub(crate) fn scribe(id: &str, kind: &str, data: Json) -> Json {
    json!({"klass": "Test", "type": kind, "id": id, "data": data})
}

pub(crate) fn create(id: &str, record: &str, name: &str) -> Json {
    scribe(id, "create", json!({"id": record, "name": name}))
}

pub(crate) fn update(id: &str, record: &str, name: &str) -> Json {
    scribe(id, "update", json!([record, {"name": name}]))
}

pub(crate) fn destroy(id: &str, record: &str) -> Json {
    scribe(id, "destroy", json!([record]))
}

/// What scribes say, without their ids.
pub(crate) fn said(scribes: &[Json]) -> Vec<(String, Json)> {
    scribes
        .iter()
        .map(|one| (one["type"].as_str().unwrap().to_owned(), one["data"].clone()))
        .collect()
}

pub(crate) fn made(id: &str, name: &str) -> (String, Json) {
    ("create".to_owned(), json!({"id": id, "name": name}))
}

pub(crate) fn changed(id: &str, name: &str) -> (String, Json) {
    ("update".to_owned(), json!([id, {"name": name}]))
}

pub(crate) fn gone(id: &str) -> (String, Json) {
    ("destroy".to_owned(), json!([id]))
}

/// The id of the last of some scribes.
pub(crate) fn last_id(scribes: &[Json]) -> Json {
    scribes.last().unwrap()["id"].clone()
}
