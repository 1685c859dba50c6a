//! automerge: `AutoCommit`, `batch_create_object`, `save_incremental`, `sync::State`.

use ::automerge::hydrate::{Map, Value as Hydrated};
use ::automerge::sync::{Message, State, SyncDoc};
use ::automerge::transaction::Transactable;
use ::automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue, Value, hydrate_map};

use super::{Document, Exchange};
use crate::workload::{Change, Contents, Edit, Todo};

pub struct Automerge {
    doc: AutoCommit,
}

/// What each side knows of the other, as it is kept between sessions.
#[derive(Default)]
pub struct Link(Option<[Vec<u8>; 2]>);

impl Document for Automerge {
    type Link = Link;

    fn new(_: bool) -> Self {
        Self { doc: AutoCommit::new() }
    }

    fn load(bytes: &[u8]) -> Self {
        Self { doc: AutoCommit::load(bytes).unwrap() }
    }

    fn apply(&mut self, change: &Change) {
        let doc = &mut self.doc;
        match change {
            Change::Create(todo) => {
                let fields: Map = hydrate_map! {
                    "title" => todo.title.as_str(),
                    "done" => ScalarValue::Boolean(todo.done),
                    "priority" => todo.priority,
                    "updated" => todo.updated,
                };
                let fields = Hydrated::Map(fields);
                doc.batch_create_object(ROOT, todo.id.as_str(), &fields, false).unwrap();
            }
            Change::Update(id, edit) => {
                let (_, todo) = doc.get(ROOT, id.as_str()).unwrap().expect("the record is there");
                match edit {
                    Edit::Title(title) => doc.put(todo, "title", title.as_str()),
                    Edit::Priority(priority) => doc.put(todo, "priority", *priority),
                    Edit::Updated(updated) => doc.put(todo, "updated", *updated),
                }
                .unwrap();
            }
            Change::Destroy(id) => doc.delete(ROOT, id.as_str()).unwrap(),
        }
        doc.commit();
    }

    fn take_update(&mut self) -> Vec<u8> {
        self.doc.save_incremental()
    }

    fn receive(&mut self, update: &[u8]) {
        self.doc.load_incremental(update).unwrap();
    }

    fn sync(first: &mut Self, second: &mut Self, link: &mut Link, is_mutual: bool) -> Exchange {
        let mut states = match &link.0 {
            Some(saved) => saved.each_ref().map(|state| State::decode(state).unwrap()),
            None => [State::new(), State::new()],
        };
        let mut bytes = 0;
        loop {
            let [here, there] = &mut states;
            let back = send(second, there, first, here, &mut bytes);
            let forth = send(first, here, second, there, &mut bytes);
            if !back && !forth {
                break;
            }
        }
        link.0 = Some(states.map(|state| state.encode()));
        let at_first = if is_mutual { first.doc.save_incremental() } else { Vec::new() };
        let received = [at_first, second.doc.save_incremental()];
        Exchange { bytes, received }
    }

    fn compact(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    fn get(&self, id: &str) -> Option<Todo> {
        let (_, map) = self.doc.get(ROOT, id).unwrap()?;
        let scalar = |name: &str| match self.doc.get(&map, name).unwrap() {
            Some((Value::Scalar(scalar), _)) => scalar.into_owned(),
            other => panic!("{name} of {id} is {other:?}"),
        };
        Some(Todo {
            id: id.to_owned(),
            title: scalar("title").as_str().unwrap().to_owned(),
            done: scalar("done").as_bool().unwrap(),
            priority: scalar("priority").as_i64().unwrap(),
            updated: scalar("updated").as_i64().unwrap(),
        })
    }

    fn contents(&self) -> Contents {
        self.doc.keys(ROOT).filter_map(|id| self.get(&id)).collect()
    }
}

/// Sends the next message of one side to the other, if there is one.
fn send(
    from: &mut Automerge,
    state: &mut State,
    to: &mut Automerge,
    its_state: &mut State,
    bytes: &mut u64,
) -> bool {
    let Some(message) = from.doc.sync().generate_sync_message(state) else {
        return false;
    };
    let message = message.encode();
    *bytes += message.len() as u64;
    let message = Message::decode(&message).unwrap();
    to.doc.sync().receive_sync_message(its_state, message).unwrap();
    true
}
