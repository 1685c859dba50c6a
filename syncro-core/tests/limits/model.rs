//! Every short story of two principals, two channels and one record, against a model of rights.

use std::collections::BTreeSet;
use std::sync::Arc;

use syncro_core::{Input, Value};

use super::town::{Rules, Town, set, writer};

const SERVER: usize = 0;
const NAMES: [&str; 2] = ["ann", "bob"];
const LISTS: [&str; 2] = ["a", "b"];

/// What happens next, to one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A right is given, or taken if it was there.
    Toggle(usize, usize),
    /// It gives the record a new title, or creates it in the first list.
    Write(usize),
    /// It moves the record to the other list.
    Move(usize),
    /// It talks with the server.
    Sync(usize),
}

/// A field, and when it was written; a repair counts as the refused write that it covers.
type Field = (i64, i64);

/// The record as somebody has it: lists count by number.
#[derive(Clone, Debug, Default, PartialEq)]
struct Page {
    created: Option<i64>,
    destroyed: Option<i64>,
    list: Field,
    title: Field,
}

#[derive(Clone, Debug)]
struct Write {
    at: i64,
    creates: bool,
    list: Option<i64>,
    title: Option<i64>,
}

impl Page {
    fn is_alive(&self) -> bool {
        self.created > self.destroyed
    }

    fn take(&mut self, write: &Write) {
        if self.destroyed.is_some_and(|destroyed| destroyed > write.at) {
            return;
        }
        self.created = self.created.max(write.creates.then_some(write.at));
        self.list = self.list.max(write.list.map_or((0, 0), |list| (write.at, list)));
        self.title = self.title.max(write.title.map_or((0, 0), |title| (write.at, title)));
    }

    fn shows(&self) -> Option<(i64, i64)> {
        self.is_alive().then_some((self.list.1, self.title.1))
    }
}

/// The model of rights: who may write where, what the server has, what each has written and not brought yet.
#[derive(Default)]
struct Model {
    rights: BTreeSet<(usize, usize)>,
    server: Page,
    local: [Page; 2],
    unsent: [Vec<Write>; 2],
    refused: [usize; 2],
}

impl Model {
    fn sync(&mut self, who: usize) {
        for write in std::mem::take(&mut self.unsent[who]) {
            let (before, mut after) = (self.server.clone(), self.server.clone());
            after.take(&write);
            if after == before {
                continue;
            }
            let may = |page: &Page| self.rights.contains(&(who, page.list.1 as usize));
            let is_gone = !before.is_alive() && !write.creates;
            let is_moved = before.is_alive() != after.is_alive() || before.list.1 != after.list.1;
            let is_permitted = (!before.is_alive() || may(&before)) && may(&after);
            debug_assert!(is_moved || may(&before) == may(&after));
            if !is_gone && is_permitted {
                self.server = after;
                continue;
            }
            self.refused[who] += 1;
            // What was there, now above the refused write; of what was never heard of, nothing.
            if before.is_alive() {
                self.server.created = self.server.created.max(write.creates.then_some(write.at));
                if write.list.is_some() {
                    self.server.list.0 = self.server.list.0.max(write.at);
                }
                if write.title.is_some() {
                    self.server.title.0 = self.server.title.0.max(write.at);
                }
            } else if write.creates {
                self.server = Page { destroyed: Some(write.at), ..Page::default() };
            }
        }
        self.local[who] = self.server.clone();
    }
}

/// The town that does what the model says should happen.
struct Story {
    town: Town,
    rules: Rules,
    model: Model,
    /// Links that stay, in a story where nobody hangs up.
    links: Option<[usize; 2]>,
    at: i64,
}

impl Story {
    fn new(stays: bool) -> Self {
        let (mut town, rules) = (Town::default(), Rules::default());
        town.add("server", Some(rules.clone()));
        for name in NAMES {
            rules.let_in(name, writer(name, &[]));
            town.add(name, None);
        }
        let links = stays.then(|| [0, 1].map(|who| town.connect(1 + who, SERVER, NAMES[who])));
        town.drive();
        Self { town, rules, model: Model::default(), links, at: 0 }
    }

    /// Whether the step is one that the story can have here.
    fn play(&mut self, step: Step) -> bool {
        self.at += 1;
        match step {
            Step::Toggle(who, list) => {
                if !self.model.rights.remove(&(who, list)) {
                    self.model.rights.insert((who, list));
                }
                let lists = self.model.rights.iter().filter(|(owner, _)| *owner == who);
                let patterns: Vec<_> =
                    lists.map(|(_, list)| format!("list/{}", LISTS[*list])).collect();
                let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
                let principal = writer(NAMES[who], &patterns);
                self.rules.let_in(NAMES[who], principal.clone());
                if let Some(links) = self.links {
                    let session = self.town.session(links[who], SERVER);
                    let principal = Some(Arc::new(principal));
                    self.town.input(SERVER, Input::Rights { session, principal });
                }
            }
            Step::Write(who) => {
                let creates = !self.model.local[who].is_alive();
                let list = creates.then_some(0);
                self.write(who, Write { at: self.at, creates, list, title: Some(self.at) });
                match creates {
                    true => self.town.create(1 + who, 1, LISTS[0], self.at),
                    false => self.town.retitle(1 + who, 1, self.at),
                }
            }
            Step::Move(who) if !self.model.local[who].is_alive() => return false,
            Step::Move(who) => {
                let list = 1 - self.model.local[who].list.1;
                self.write(
                    who,
                    Write { at: self.at, creates: false, list: Some(list), title: None },
                );
                let edit = set("list", Value::from(LISTS[list as usize]));
                self.town.edit(1 + who, 1, vec![edit]);
            }
            Step::Sync(who) => {
                match self.links {
                    Some(links) => self.town.drive_one(links[who]),
                    None => {
                        let link = self.town.connect(1 + who, SERVER, NAMES[who]);
                        self.town.drive_one(link);
                        self.town.cut(link);
                    }
                }
                self.model.sync(who);
            }
        }
        true
    }

    fn write(&mut self, who: usize, write: Write) {
        self.model.local[who].take(&write);
        self.model.unsent[who].push(write);
    }

    fn shows(&self, node: usize) -> Option<(i64, i64)> {
        let values = self.town.values(node, 1)?;
        let list = LISTS.iter().position(|list| values["list"] == Value::from(*list)).unwrap();
        Some((list as i64, self.town.title(node, 1).unwrap_or(0)))
    }

    fn check(&self, steps: &[Step]) {
        assert_eq!(self.shows(SERVER), self.model.server.shows(), "the server after {steps:?}");
        for (who, name) in NAMES.iter().enumerate() {
            let local = &self.model.local[who];
            assert_eq!(self.shows(1 + who), local.shows(), "{name} after {steps:?}");
            let told = self.town.refused(1 + who).len();
            assert_eq!(told, self.model.refused[who], "{name} is told after {steps:?}");
        }
    }
}

fn steps() -> Vec<Step> {
    let toggles = [0, 1].into_iter().flat_map(|who| [0, 1].map(|list| Step::Toggle(who, list)));
    let each = [Step::Write, Step::Move, Step::Sync].into_iter();
    toggles.chain(each.flat_map(|step| [step(0), step(1)])).collect()
}

/// Whether a story that goes on so is not one of those that come to the same: rights change before what happens between
/// two talks, in one order and each once; the first who does anything is ann; and it ends with a talk.
fn is_needed(steps: &[Step], next: Step) -> bool {
    let since_sync = steps.iter().rev().take_while(|step| !matches!(step, Step::Sync(_)));
    match (next, steps.last()) {
        (Step::Toggle(..), Some(Step::Write(_) | Step::Move(_))) => false,
        (Step::Toggle(..), Some(last @ Step::Toggle(..))) => *last < next,
        (Step::Sync(who), Some(Step::Sync(last))) if who == *last => false,
        (Step::Write(1) | Step::Move(1), _) => {
            let is_first = |step: &&Step| matches!(step, Step::Write(_) | Step::Move(_));
            steps.iter().find(is_first).is_some()
        }
        _ => since_sync.count() <= 4,
    }
}

fn tell_all(depth: usize, stays: bool, steps: &mut Vec<Step>, told: &mut usize) {
    for next in self::steps() {
        if !is_needed(steps, next) {
            continue;
        }
        steps.push(next);
        if matches!(next, Step::Sync(_)) {
            let mut story = Story::new(stays);
            if steps.iter().all(|step| story.play(*step)) {
                story.check(steps);
                *told += 1;
            }
        }
        if steps.len() < depth {
            tell_all(depth, stays, steps, told);
        }
        steps.pop();
    }
}

#[test]
fn every_story_of_six_steps_ends_as_the_model_says() {
    for stays in [false, true] {
        let mut told = 0;
        tell_all(6, stays, &mut Vec::new(), &mut told);
        assert!(told > 10_000, "{told}");
    }
}
