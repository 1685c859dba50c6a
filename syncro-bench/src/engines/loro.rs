//! loro: `get_map` and `insert_container`, `subscribe_local_update`, version vector and `export` of updates.

use std::mem;
use std::sync::{Arc, Mutex};

use ::loro::{
    Container, ExportMode, LoroDoc, LoroMap, LoroValue, Subscription, ValueOrContainer,
    VersionVector,
};

use super::{Document, Exchange, pieces, push_piece};
use crate::workload::{Change, Contents, Edit, Todo};

pub struct Loro {
    doc: LoroDoc,
    todos: LoroMap,
    updates: Arc<Mutex<Vec<u8>>>,
    /// Records as long as it lives.
    _recording: Option<Subscription>,
}

impl Document for Loro {
    type Link = ();

    fn new(is_recording: bool) -> Self {
        let mut this = Self::of(LoroDoc::new());
        if is_recording {
            let updates = this.updates.clone();
            this._recording = Some(this.doc.subscribe_local_update(Box::new(move |update| {
                push_piece(&mut updates.lock().unwrap(), update);
                true
            })));
        }
        this
    }

    fn load(bytes: &[u8]) -> Self {
        let doc = LoroDoc::new();
        doc.import(bytes).unwrap();
        Self::of(doc)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(todo) => {
                let map = self.todos.insert_container(&todo.id, LoroMap::new()).unwrap();
                map.insert("title", todo.title.as_str()).unwrap();
                map.insert("done", todo.done).unwrap();
                map.insert("priority", todo.priority).unwrap();
                map.insert("updated", todo.updated).unwrap();
            }
            Change::Update(id, edit) => {
                let map = self.map(id).expect("the record is there");
                match edit {
                    Edit::Title(title) => map.insert("title", title.as_str()),
                    Edit::Priority(priority) => map.insert("priority", *priority),
                    Edit::Updated(updated) => map.insert("updated", *updated),
                }
                .unwrap();
            }
            Change::Destroy(id) => self.todos.delete(id).unwrap(),
        }
        self.doc.commit();
    }

    fn take_update(&mut self) -> Vec<u8> {
        mem::take(&mut self.updates.lock().unwrap())
    }

    fn receive(&mut self, update: &[u8]) {
        pieces(update).for_each(|one| drop(self.doc.import(one).unwrap()));
    }

    fn sync(first: &mut Self, second: &mut Self, (): &mut (), is_mutual: bool) -> Exchange {
        Exchange::by(pull, first, second, is_mutual)
    }

    fn compact(&mut self) -> Vec<u8> {
        self.doc.export(ExportMode::Snapshot).unwrap()
    }

    fn get(&self, id: &str) -> Option<Todo> {
        Some(todo(id, &self.map(id)?))
    }

    fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        for id in self.todos.keys() {
            contents.add(&self.get(&id).expect("the record is there"));
        }
        contents
    }
}

impl Loro {
    fn of(doc: LoroDoc) -> Self {
        let todos = doc.get_map("todos");
        Self { doc, todos, updates: Arc::default(), _recording: None }
    }

    fn map(&self, id: &str) -> Option<LoroMap> {
        match self.todos.get(id)? {
            ValueOrContainer::Container(Container::Map(map)) => Some(map),
            _ => None,
        }
    }
}

/// One takes in what it lacks of another; returns it.
fn pull(to: &mut Loro, from: &mut Loro, bytes: &mut u64) -> Vec<u8> {
    let known = to.doc.oplog_vv().encode();
    let known_there = VersionVector::decode(&known).unwrap();
    let update = from.doc.export(ExportMode::updates(&known_there)).unwrap();
    to.doc.import(&update).unwrap();
    *bytes += (known.len() + update.len()) as u64;
    update
}

fn todo(id: &str, map: &LoroMap) -> Todo {
    let value = |name: &str| match map.get(name) {
        Some(ValueOrContainer::Value(value)) => value,
        _ => panic!("{name} of {id} is missing"),
    };
    let number = |name: &str| match value(name) {
        LoroValue::I64(number) => number,
        other => panic!("{name} of {id} is {other:?}"),
    };
    Todo {
        id: id.to_owned(),
        title: value("title").as_string().unwrap().to_string(),
        done: *value("done").as_bool().unwrap(),
        priority: number("priority"),
        updated: number("updated"),
    }
}
