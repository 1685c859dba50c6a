//! Syncro by its handle, as an application uses it.

use std::fs;
use std::path::{Path, PathBuf};

use syncro::{Durability, Error, Name, Node, ScribeModel, View};
use syncro_core::{Fields, FieldsReader};

use crate::workload::{Change, Contents, Todo};

/// Records read at once.
const READ_AT_ONCE: usize = 256;

pub struct Syncro {
    pub node: Node,
    path: Option<PathBuf>,
}

impl Syncro {
    pub fn in_memory(name: &str) -> Self {
        Self { node: Node::in_memory(name).unwrap(), path: None }
    }

    /// Over redb, in a file.
    pub fn open(path: &Path, name: &str) -> Self {
        Self { node: Node::open(path, name).unwrap(), path: Some(path.to_owned()) }
    }

    /// One change, in one transaction.
    pub fn apply(&self, change: &Change, durability: Durability) {
        let write = |draft: &mut syncro::Draft| -> Result<(), Error> {
            match change {
                Change::Create(todo) => draft.create(todo),
                Change::Update(id, edit) => draft.update::<Todo>(id, |todo| edit.make(todo)),
                Change::Destroy(id) => draft.destroy::<Todo>(id),
            }
        };
        let committed = self.node.transaction_with(durability, write).unwrap();
        assert!(committed.is_some(), "{change:?} changed nothing");
    }

    pub fn contents(&self) -> Contents {
        contents(&self.node.reader().snapshot())
    }

    /// Closes the node, and says how many bytes its file has.
    pub fn close(self) -> u64 {
        self.node.close().unwrap();
        self.path.map_or(0, |path| fs::metadata(path).unwrap().len())
    }
}

/// All records of a store.
pub fn contents(view: &impl View) -> Contents {
    let model = Name::new(Todo::MODEL).unwrap();
    let (mut contents, mut after) = (Contents::default(), None);
    loop {
        let records = view.records(&model, after.as_ref(), READ_AT_ONCE).unwrap();
        let Some((last, _)) = records.last() else {
            return contents;
        };
        after = Some(last.clone());
        for (id, record) in records.iter().filter(|(_, record)| record.is_alive()) {
            let todo: Todo = FieldsReader::instance(id, &Fields::of(record)).unwrap();
            contents.add(&todo);
        }
    }
}
