//! A peer of 2010, as far as a hub can tell: records, a log, a sync point, and its faults where it meets something
//! that a good peer does not send.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

/// What it says and hears, message by message. Its records have a name, and are of one class.
#[derive(Clone, Debug)]
pub struct Ruby {
    klass: String,
    pub records: BTreeMap<String, Map<String, Json>>,
    /// The log: what was done here, and only that.
    pub log: Vec<Json>,
    /// The sync point in the hub's log.
    pub point: Option<String>,
    is_connected: bool,
    requests: u64,
    pulling: Option<u64>,
    /// What waits to be sent.
    pub out: Vec<Json>,
    /// The types of scribes that it was told.
    pub told: Vec<String>,
    /// What was destroyed here in this session: what was on its way then fails, and nobody can help it.
    destroyed: BTreeSet<String>,
    /// The records that it changed since what it was last pulled from.
    pub pulled: BTreeSet<String>,
    /// Whether what it says takes so long that the hub no longer waits for it.
    pub is_slow: bool,
    /// Whether it gave up an answer, or was told of something new before what it had missed, and so takes that for the end
    /// of what it has. It can only begin anew, as another client.
    pub has_failed: bool,
}

impl Default for Ruby {
    fn default() -> Self {
        Self::of("Test")
    }
}

impl Ruby {
    /// A peer that has nothing, and whose records are of a class.
    pub fn of(klass: &str) -> Self {
        Self {
            klass: klass.to_owned(),
            records: BTreeMap::new(),
            log: Vec::new(),
            point: None,
            is_connected: false,
            requests: 0,
            pulling: None,
            out: Vec::new(),
            told: Vec::new(),
            destroyed: BTreeSet::new(),
            pulled: BTreeSet::new(),
            is_slow: false,
            has_failed: false,
        }
    }

    /// Begins a session, and asks for what is new.
    pub fn connect(&mut self) {
        (self.is_connected, self.requests, self.is_slow) = (true, 0, false);
        self.destroyed.clear();
        self.out.clear();
        let from = self.point.clone();
        let id = self.request();
        self.pulling = Some(id);
        self.out.push(json!({"type": "sync", "from": from, "id": id}));
    }

    /// Its session has ended.
    pub fn disconnect(&mut self) {
        self.has_failed |= self.is_slow && self.pulling.is_some();
        (self.is_connected, self.pulling) = (false, None);
        self.out.clear();
    }

    /// Whether it has a session.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub fn create(&mut self, record: &str, name: &str) {
        let attributes =
            Map::from_iter([("id".into(), record.into()), ("name".into(), name.into())]);
        self.records.insert(record.to_owned(), attributes);
        self.record("create", json!({"id": record, "name": name}));
    }

    /// Changes a record, if it is there.
    pub fn update(&mut self, record: &str, name: &str) {
        let Some(attributes) = self.records.get_mut(record) else { return };
        let before = attributes.insert("name".into(), name.into());
        if before != Some(name.into()) {
            self.record("update", json!([record, {"name": name}]));
        }
    }

    pub fn destroy(&mut self, record: &str) {
        // What would be in the answer to a pull cannot be called back.
        if self.pulling.is_none() && self.records.remove(record).is_some() {
            if self.is_connected {
                self.destroyed.insert(record.to_owned());
            }
            self.record("destroy", json!([record]));
        }
    }

    fn record(&mut self, kind: &str, data: Json) {
        let id = (self.log.len() + 1).to_string();
        let scribe = json!({"klass": self.klass, "type": kind, "id": id, "data": data});
        self.log.push(scribe.clone());
        if self.is_connected {
            let id = self.request();
            self.out.push(json!({"type": "add_scribe", "scribe": scribe, "id": id}));
        }
    }

    /// Hears a message; what it says to it is in `out`.
    pub fn hear(&mut self, message: &Json) {
        let id = &message["id"];
        match message["type"].as_str() {
            Some("add_scribe") => {
                let record = message["scribe"]["data"][0].as_str().unwrap_or_default();
                if (self.is_slow || self.destroyed.contains(record))
                    && !self.can_play(&message["scribe"])
                {
                    return self.out.push(json!({"type": "error", "code": 0}));
                }
                self.play(&message["scribe"]);
                self.out.push(json!({"type": "response", "id": id, "result": true}));
            }
            Some("noop") => self.out.push(json!({"type": "response", "id": id, "result": true})),
            Some("sync") => {
                let after = match message["from"].as_str() {
                    None => Some(0),
                    Some(from) => {
                        self.log.iter().position(|one| one["id"] == from).map(|at| at + 1)
                    }
                };
                // Fault 3 of the original.
                let result = after.map_or(&[][..], |after| &self.log[after..]);
                self.pulled = result.iter().filter_map(record_of).collect();
                self.out.push(json!({"type": "response", "id": id, "result": result}));
            }
            Some("response") if id.as_u64() == self.pulling => {
                self.pulling = None;
                for scribe in message["result"].as_array().unwrap() {
                    // The original gives up such an answer in the middle.
                    if self.is_slow && !self.can_play(scribe) {
                        self.has_failed = true;
                        return;
                    }
                    self.play(scribe);
                }
            }
            Some("response") => assert_eq!(message["result"], true, "{message}"),
            other => panic!("{other:?} throws an exception here: {message}"),
        }
    }

    fn can_play(&self, scribe: &Json) -> bool {
        let record = scribe["data"][0].as_str().unwrap_or_default();
        scribe["type"] == "create" || self.records.contains_key(record)
    }

    /// Plays a scribe, and fails where the original fails.
    fn play(&mut self, scribe: &Json) {
        let data = &scribe["data"];
        let kind = scribe["type"].as_str().unwrap();
        match kind {
            "create" => {
                let id = data["id"].as_str().unwrap().to_owned();
                self.records.entry(id).or_default().extend(data.as_object().unwrap().clone());
            }
            "update" => {
                let found = self.records.get_mut(data[0].as_str().unwrap());
                let record =
                    found.unwrap_or_else(|| panic!("fault 2: no record to update: {scribe}"));
                record.extend(data[1].as_object().unwrap().clone());
            }
            "destroy" => {
                let found = self.records.remove(data[0].as_str().unwrap());
                assert!(found.is_some(), "fault 2: no record to destroy: {scribe}");
            }
            other => panic!("{other}"),
        }
        self.told.push(kind.to_owned());
        let id = scribe["id"].as_str().unwrap().to_owned();
        let number = |id: &str| id.parse::<u64>().unwrap();
        assert!(number(&id) < 1 << 53, "JavaScript skips integers beyond");
        self.point = Some(id);
    }
}

/// The record that a scribe is about.
fn record_of(scribe: &Json) -> Option<String> {
    let data = &scribe["data"];
    data["id"].as_str().or_else(|| data[0].as_str()).map(str::to_owned)
}
