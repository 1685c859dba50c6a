//! A peer of 2010, as far as a hub can tell: records, a log, a sync point, and its faults where it meets something
//! that a good peer does not send.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::support::{create, destroy, update};

/// What two peers say to one another, message by message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruby {
    pub(crate) records: BTreeMap<String, Map<String, Json>>,
    /// The log: what was done here, and only that.
    pub(crate) log: Vec<Json>,
    /// The sync point in the hub's log.
    pub(crate) point: Option<String>,
    is_connected: bool,
    requests: u64,
    pulling: Option<u64>,
    /// What waits to be sent.
    pub(crate) out: Vec<Json>,
    /// The types of scribes that it was told.
    pub(crate) told: Vec<String>,
    /// What was destroyed here in this session: what was on its way then fails, and nobody can help it.
    destroyed: BTreeSet<String>,
}

impl Ruby {
    /// Begins a session, and asks for what is new.
    pub(crate) fn connect(&mut self) {
        (self.is_connected, self.requests) = (true, 0);
        self.destroyed.clear();
        self.out.clear();
        let from = self.point.clone();
        let id = self.request();
        self.pulling = Some(id);
        self.out.push(json!({"type": "sync", "from": from, "id": id}));
    }

    pub(crate) fn disconnect(&mut self) {
        (self.is_connected, self.pulling) = (false, None);
        self.out.clear();
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub(crate) fn create(&mut self, record: &str, name: &str) {
        let attributes =
            Map::from_iter([("id".into(), record.into()), ("name".into(), name.into())]);
        self.records.insert(record.to_owned(), attributes);
        self.record(create("", record, name));
    }

    /// Changes a record, if it is there.
    pub(crate) fn update(&mut self, record: &str, name: &str) {
        let Some(attributes) = self.records.get_mut(record) else { return };
        let before = attributes.insert("name".into(), name.into());
        if before != Some(name.into()) {
            self.record(update("", record, name));
        }
    }

    pub(crate) fn destroy(&mut self, record: &str) {
        // What would be in the answer to a pull cannot be called back.
        if self.pulling.is_none() && self.records.remove(record).is_some() {
            if self.is_connected {
                self.destroyed.insert(record.to_owned());
            }
            self.record(destroy("", record));
        }
    }

    fn record(&mut self, mut scribe: Json) {
        scribe["id"] = json!((self.log.len() + 1).to_string());
        self.log.push(scribe.clone());
        if self.is_connected {
            let id = self.request();
            self.out.push(json!({"type": "add_scribe", "scribe": scribe, "id": id}));
        }
    }

    /// Hears a message; what it says to it is in `out`.
    pub(crate) fn hear(&mut self, message: &Json) {
        let id = &message["id"];
        match message["type"].as_str() {
            Some("add_scribe") => {
                let record = message["scribe"]["data"][0].as_str().unwrap_or_default();
                if self.destroyed.contains(record) && !self.records.contains_key(record) {
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
                self.out.push(json!({"type": "response", "id": id, "result": result}));
            }
            Some("response") if id.as_u64() == self.pulling => {
                self.pulling = None;
                message["result"].as_array().unwrap().iter().for_each(|scribe| self.play(scribe));
            }
            Some("response") => assert_eq!(message["result"], true, "{message}"),
            other => panic!("{other:?} throws an exception here: {message}"),
        }
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
