//! What a node is told to write, and what must be there of it after a kill.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use serde_json::{Map, Value as Json, json};

/// Records at a time, so that most of them are written to again and again.
const RECORDS: u64 = 12;

/// The record that counts transactions, so that each of them shows.
const MARK: &str = "mark";

/// The writes of one node. After a kill a prefix of them is there, and all that was acknowledged is in it.
#[derive(Debug)]
pub(crate) struct Load {
    model: &'static str,
    /// What was there when all that had been sent before was accounted for.
    before: State,
    /// What was sent since.
    sent: Vec<Vec<Op>>,
    /// How many of those were acknowledged, or found in the store of a process that had just begun.
    durable: usize,
    /// The answers that are due: whether each acknowledges a write.
    due: VecDeque<bool>,
    /// Numbers titles, so that no two are equal.
    titles: u64,
}

/// The records of one node, and what it raised of the counter that all nodes share.
#[derive(Clone, Debug, Default)]
struct State {
    records: BTreeMap<String, Map<String, Json>>,
    shared: i64,
}

#[derive(Clone, Debug)]
enum Op {
    Create(String, u64),
    Update(String, u64),
    Raise(String, i64),
    Destroy(String),
    /// To a record that everybody writes to.
    Shared(i64),
}

impl Load {
    pub(crate) fn new(model: &'static str) -> Self {
        let (before, due) = (State::default(), VecDeque::new());
        Self { model, before, sent: Vec::new(), durable: 0, due, titles: 0 }
    }

    /// More to write: the lines to send. One in five writes is a transaction of several records.
    pub(crate) fn more(&mut self, rng: &mut Rng, writes: usize) -> String {
        let mut state = self.state(self.sent.len());
        let mut lines = String::new();
        for _ in 0..writes {
            let mut ops = Vec::new();
            if rng.u8(..) < 51 {
                let is_new = !state.records.contains_key(MARK);
                ops.push(match is_new {
                    true => Op::Create(MARK.to_owned(), 0),
                    false => Op::Raise(MARK.to_owned(), 1),
                });
                ops.push(Op::Shared(rng.i64(1..5)));
                let first = rng.u64(..RECORDS);
                (0..rng.u64(1..4)).for_each(|next| {
                    let id = (first + next) % RECORDS;
                    ops.push(self.op(&state, rng, id));
                });
                lines.push_str("begin\n");
                self.due.push_back(false);
            } else {
                let id = rng.u64(..RECORDS);
                ops.push(self.op(&state, rng, id));
            }
            let is_one = ops.len() == 1;
            for op in &ops {
                state.take(op);
                for line in op.lines(self.model) {
                    lines.push_str(&line);
                    self.due.push_back(is_one);
                }
            }
            if !is_one {
                lines.push_str("commit\n");
                self.due.push_back(true);
            }
            self.sent.push(ops);
        }
        lines
    }

    /// A write to a record that fits what it is.
    fn op(&mut self, state: &State, rng: &mut Rng, id: u64) -> Op {
        let id = format!("r{id}");
        self.titles += 1;
        if !state.records.contains_key(&id) {
            return Op::Create(id, self.titles);
        }
        match rng.u8(..5) {
            0 => Op::Destroy(id),
            1 => Op::Raise(id, rng.i64(1..100)),
            _ => Op::Update(id, self.titles),
        }
    }

    /// How many answers are due.
    pub(crate) fn due(&self) -> usize {
        self.due.len()
    }

    /// How many writes were sent and not settled.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many of those are known to be durable.
    pub(crate) fn durable(&self) -> usize {
        self.durable
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, answer: &Json) {
        assert!(answer.get("ok").is_some(), "{}: {answer}", self.model);
        let acknowledges = self.due.pop_front().expect("an answer was due");
        self.durable += usize::from(acknowledges);
    }

    /// The process was killed: no more answers will come.
    pub(crate) fn cut(&mut self) {
        self.due.clear();
    }

    /// What a node lists is what the writes up to some point make, and that point is not before what was
    /// acknowledged.
    pub(crate) fn check(&mut self, list: &Json) {
        let found = (self.durable..=self.sent.len()).find(|kept| self.state(*kept).list() == *list);
        let Some(kept) = found else {
            let (durable, sent) = (self.durable, self.sent.len());
            let expected = self.state(durable).list();
            panic!(
                "{}: of {sent} writes {durable} were acknowledged, and none of the states from there on is \
                 found.\nacknowledged: {expected}\nfound: {list}",
                self.model
            );
        };
        self.durable = kept;
    }

    /// Both nodes hold the same: what is there now is what there is, and the rest is forgotten.
    pub(crate) fn settle(&mut self, list: &Json) {
        self.check(list);
        self.before = self.state(self.durable);
        self.sent.clear();
        self.durable = 0;
    }

    /// What the node has raised of the shared counter, after [`settle`](Self::settle).
    pub(crate) fn shared(&self) -> i64 {
        self.before.shared
    }

    /// The state after so many of the writes that were sent.
    fn state(&self, writes: usize) -> State {
        let mut state = self.before.clone();
        self.sent[..writes].iter().flatten().for_each(|op| state.take(op));
        state
    }
}

impl State {
    fn take(&mut self, op: &Op) {
        let title = |title: &u64| ("title".to_owned(), json!(title));
        match op {
            Op::Create(id, number) => {
                self.records.insert(id.clone(), Map::from_iter([title(number)]));
            }
            Op::Update(id, number) => {
                self.records.get_mut(id).unwrap().extend([title(number)]);
            }
            Op::Raise(id, by) => {
                let record = self.records.get_mut(id).unwrap();
                let sum = record.get("n").and_then(Json::as_i64).unwrap_or(0);
                record.insert("n".to_owned(), json!(sum + by));
            }
            Op::Destroy(id) => {
                self.records.remove(id);
            }
            Op::Shared(by) => self.shared += by,
        }
    }

    fn list(&self) -> Json {
        let shown = self.records.iter().map(|(id, fields)| {
            let mut fields = fields.clone();
            fields.insert("id".to_owned(), json!(id));
            Json::Object(fields)
        });
        shown.collect()
    }
}

impl Op {
    fn lines(&self, model: &str) -> Vec<String> {
        match self {
            Self::Create(id, title) => {
                vec![format!("create {model} {id} {{\"title\":{title}}}\n")]
            }
            Self::Update(id, title) => {
                vec![format!("update {model} {id} {{\"title\":{title}}}\n")]
            }
            Self::Raise(id, by) => vec![format!("raise {model} {id} n {by}\n")],
            Self::Destroy(id) => vec![format!("destroy {model} {id}\n")],
            Self::Shared(by) => vec![
                format!("raise both shared n {by}\n"),
                format!("update both shared {{\"by\":\"{model}\"}}\n"),
            ],
        }
    }
}
