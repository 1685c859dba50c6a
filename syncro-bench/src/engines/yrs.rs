//! yrs: a transaction per change, `observe_update_v1`, state vector and `encode_diff_v1`.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex};

use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Any, Doc, Map, MapPrelim, MapRef, Out, ReadTxn, StateVector, Transact, Update};

use super::{Document, Exchange, pieces, push_piece};
use crate::workload::{Change, Contents, Edit, Todo};

pub struct Yrs {
    doc: Doc,
    todos: MapRef,
    updates: Arc<Mutex<Vec<u8>>>,
}

impl Document for Yrs {
    type Link = ();

    fn new(is_recording: bool) -> Self {
        let doc = Doc::new();
        let todos = doc.get_or_insert_map("todos");
        let updates = Arc::new(Mutex::new(Vec::new()));
        if is_recording {
            let updates = updates.clone();
            let record = move |_: &yrs::TransactionMut, event: &yrs::UpdateEvent| {
                push_piece(&mut updates.lock().unwrap(), &event.update);
            };
            doc.observe_update_v1("record", record).unwrap();
        }
        Self { doc, todos, updates }
    }

    fn load(bytes: &[u8]) -> Self {
        let this = Self::new(false);
        this.apply_update(bytes);
        this
    }

    fn apply(&mut self, change: &Change) {
        let mut txn = self.doc.transact_mut();
        match change {
            Change::Create(todo) => {
                let fields = MapPrelim::from([
                    ("title", Any::from(todo.title.as_str())),
                    ("done", Any::from(todo.done)),
                    ("priority", Any::from(todo.priority)),
                    ("updated", Any::from(todo.updated)),
                ]);
                self.todos.insert(&mut txn, todo.id.as_str(), fields);
            }
            Change::Update(id, edit) => {
                let Some(Out::YMap(todo)) = self.todos.get(&txn, id) else {
                    panic!("there is no {id}")
                };
                match edit {
                    Edit::Title(title) => todo.insert(&mut txn, "title", title.as_str()),
                    Edit::Priority(priority) => todo.insert(&mut txn, "priority", *priority),
                    Edit::Updated(updated) => todo.insert(&mut txn, "updated", *updated),
                };
            }
            Change::Destroy(id) => {
                self.todos.remove(&mut txn, id);
            }
        }
    }

    fn take_update(&mut self) -> Vec<u8> {
        mem::take(&mut self.updates.lock().unwrap())
    }

    fn receive(&mut self, update: &[u8]) {
        pieces(update).for_each(|one| self.apply_update(one));
    }

    fn sync(first: &mut Self, second: &mut Self, (): &mut (), is_mutual: bool) -> Exchange {
        Exchange::by(pull, first, second, is_mutual)
    }

    fn compact(&mut self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    fn get(&self, id: &str) -> Option<Todo> {
        let txn = self.doc.transact();
        match self.todos.get(&txn, id)? {
            Out::YMap(map) => Some(todo(id, &map, &txn)),
            _ => None,
        }
    }

    fn contents(&self) -> Contents {
        let txn = self.doc.transact();
        let maps = self.todos.iter(&txn).map(|(id, out)| match out {
            Out::YMap(map) => todo(id, &map, &txn),
            other => panic!("{id} is {other:?}"),
        });
        maps.collect()
    }
}

impl Yrs {
    fn apply_update(&self, bytes: &[u8]) {
        let update = Update::decode_v1(bytes).unwrap();
        self.doc.transact_mut().apply_update(update).unwrap();
    }
}

/// One takes in what it lacks of another; returns it.
fn pull(to: &mut Yrs, from: &mut Yrs, bytes: &mut u64) -> Vec<u8> {
    let known = to.doc.transact().state_vector().encode_v1();
    let known_there = StateVector::decode_v1(&known).unwrap();
    let update = from.doc.transact().encode_diff_v1(&known_there);
    to.apply_update(&update);
    *bytes += (known.len() + update.len()) as u64;
    update
}

fn todo<T: ReadTxn>(id: &str, map: &MapRef, txn: &T) -> Todo {
    let mut fields: HashMap<&str, Out> = map.iter(txn).collect();
    let mut any = |name: &str| match fields.remove(name) {
        Some(Out::Any(any)) => any,
        other => panic!("{name} of {id} is {other:?}"),
    };
    Todo {
        id: id.to_owned(),
        title: any("title").to_string(),
        done: any("done") == Any::Bool(true),
        priority: any("priority").cast().unwrap(),
        updated: any("updated").cast().unwrap(),
    }
}
