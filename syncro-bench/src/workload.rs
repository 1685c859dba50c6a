//! The workload: to-do records, and changes of them, the same from every seed for every engine.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;
use syncro::ScribeModel;

/// One record. The title has 22 to 26 characters, the id is a UUID in its 36 characters.
#[derive(ScribeModel, Clone, Debug, PartialEq, Eq, Hash)]
#[scribe(model = "todo")]
pub struct Todo {
    pub id: String,
    pub title: String,
    pub done: bool,
    pub priority: i64,
    /// Milliseconds since 1970.
    pub updated: i64,
}

/// What one transaction does.
#[derive(Clone, Debug)]
pub enum Change {
    Create(Todo),
    Update(String, Edit),
    Destroy(String),
}

/// One field's new value, always another than it had.
#[derive(Clone, Debug)]
pub enum Edit {
    Title(String),
    Priority(i64),
    Updated(i64),
}

impl Edit {
    /// Makes the edit in a record at hand.
    pub fn make(&self, todo: &mut Todo) {
        match self {
            Self::Title(title) => todo.title.clone_from(title),
            Self::Priority(priority) => todo.priority = *priority,
            Self::Updated(updated) => todo.updated = *updated,
        }
    }
}

/// How many records there are, and a hash over all of them that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub count: usize,
    hash: u64,
}

impl Contents {
    pub fn add(&mut self, todo: &Todo) {
        let mut hasher = DefaultHasher::new();
        todo.hash(&mut hasher);
        self.hash = self.hash.wrapping_add(hasher.finish());
        self.count += 1;
    }
}

/// In one word, to be compared.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.count, self.hash)
    }
}

impl<T: std::borrow::Borrow<Todo>> FromIterator<T> for Contents {
    fn from_iter<I: IntoIterator<Item = T>>(todos: I) -> Self {
        let mut contents = Self::default();
        todos.into_iter().for_each(|todo| contents.add(todo.borrow()));
        contents
    }
}

/// Makes up records and changes, and knows what they come to.
pub struct Workload {
    rng: Rng,
    now_ms: i64,
    edits: u64,
    /// The ids in the order of their creation.
    pub ids: Vec<String>,
    pub todos: BTreeMap<String, Todo>,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now_ms: 1_767_225_600_000,
            edits: 0,
            ids: Vec::new(),
            todos: BTreeMap::new(),
        }
    }

    /// Another one, of the same records, whose further ones differ.
    pub fn fork(&self, seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now_ms: self.now_ms,
            edits: 0,
            ids: self.ids.clone(),
            todos: self.todos.clone(),
        }
    }

    pub fn creates(&mut self, n: usize) -> Vec<Change> {
        (0..n).map(|_| self.create()).collect()
    }

    /// Updates of pseudo-random records: title, priority and updated in turn.
    pub fn updates(&mut self, n: usize) -> Vec<Change> {
        (0..n)
            .map(|_| {
                let id = self.ids[self.rng.usize(..self.ids.len())].clone();
                let edit = self.edit(&id);
                self.update(id, edit)
            })
            .collect()
    }

    /// Updates the titles of these records.
    pub fn retitle(&mut self, ids: &[String]) -> Vec<Change> {
        ids.iter()
            .map(|id| {
                let edit = Edit::Title(self.other_title(id));
                self.update(id.clone(), edit)
            })
            .collect()
    }

    /// Updates one field of each of these records.
    pub fn update_each(&mut self, ids: &[String]) -> Vec<Change> {
        ids.iter()
            .map(|id| {
                let edit = self.edit(id);
                self.update(id.clone(), edit)
            })
            .collect()
    }

    pub fn destroy(&mut self, ids: &[String]) -> Vec<Change> {
        ids.iter()
            .map(|id| {
                self.todos.remove(id);
                Change::Destroy(id.clone())
            })
            .collect()
    }

    /// What everything made so far comes to.
    pub fn contents(&self) -> Contents {
        self.todos.values().collect()
    }

    fn create(&mut self) -> Change {
        self.now_ms += 7;
        let todo = Todo {
            id: uuid(&mut self.rng),
            title: title(&mut self.rng),
            done: self.rng.bool(),
            priority: self.rng.i64(0..10),
            updated: self.now_ms,
        };
        self.ids.push(todo.id.clone());
        self.todos.insert(todo.id.clone(), todo.clone());
        Change::Create(todo)
    }

    fn edit(&mut self, id: &str) -> Edit {
        self.edits += 1;
        self.now_ms += 7;
        match self.edits % 3 {
            1 => Edit::Title(self.other_title(id)),
            2 => Edit::Priority((self.todos[id].priority + self.rng.i64(1..10)) % 10),
            _ => Edit::Updated(self.now_ms),
        }
    }

    fn other_title(&mut self, id: &str) -> String {
        loop {
            let title = title(&mut self.rng);
            if self.todos[id].title != title {
                return title;
            }
        }
    }

    fn update(&mut self, id: String, edit: Edit) -> Change {
        if let Some(todo) = self.todos.get_mut(&id) {
            edit.make(todo);
        }
        Change::Update(id, edit)
    }
}

/// A version 4 UUID.
fn uuid(rng: &mut Rng) -> String {
    let bits = rng.u128(..);
    let bits = (bits & !(0xf << 76)) | (0x4 << 76);
    let bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Words, 22 to 26 characters of them.
fn title(rng: &mut Rng) -> String {
    loop {
        let mut title = String::with_capacity(32);
        while title.len() < 22 {
            if !title.is_empty() {
                title.push(' ');
            }
            title.push_str(WORDS[rng.usize(..WORDS.len())]);
        }
        if title.len() <= 26 {
            return title;
        }
    }
}

const WORDS: [&str; 48] = [
    "answer", "bake", "book", "bread", "bring", "buy", "call", "car", "cat", "clean", "coffee",
    "cook", "doctor", "dog", "door", "fetch", "find", "fix", "flat", "garden", "gift", "home",
    "invoice", "kettle", "lamp", "letter", "mail", "meet", "milk", "mother", "new", "old", "order",
    "paint", "paper", "pay", "phone", "plan", "plants", "read", "rent", "repair", "return",
    "school", "sell", "shoes", "water", "write",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_the_same_records() {
        let mut two = [Workload::new(1), Workload::new(1)];
        two.iter_mut().for_each(|it| drop((it.creates(50), it.updates(500))));
        assert_eq!(two[0].contents(), two[1].contents());
        assert_ne!(two[0].contents(), Workload::new(2).contents());
    }

    #[test]
    fn records_are_of_the_sizes_told() {
        let mut workload = Workload::new(3);
        workload.creates(200);
        for todo in workload.todos.values() {
            assert_eq!(todo.id.len(), 36);
            assert_eq!(&todo.id[14..15], "4");
            assert!((22..=26).contains(&todo.title.len()), "{}", todo.title);
        }
    }

    #[test]
    fn an_update_sets_another_value() {
        let mut workload = Workload::new(4);
        workload.creates(20);
        let mut before = workload.todos.clone();
        for change in workload.updates(1000) {
            let Change::Update(id, edit) = change else { continue };
            let todo = before.get_mut(&id).unwrap();
            let old = todo.clone();
            edit.make(todo);
            assert_ne!(*todo, old);
        }
    }
}
