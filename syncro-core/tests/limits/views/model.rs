//! Every succession of a few steps, against a model of rights: two principals with a view each, two channels, one record.

use super::super::town::{Rules, Town};
use super::{SERVER, viewer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Gives a principal the rights to a channel, or takes them.
    Toggle(usize, usize),
    /// A principal writes offline, if the record is shown.
    Write(usize),
    /// The server moves the record to the other channel.
    Move,
    /// A principal's view meets the server.
    Visit(usize),
}

const STEPS: [Step; 9] = [
    Step::Toggle(0, 0),
    Step::Toggle(0, 1),
    Step::Toggle(1, 0),
    Step::Toggle(1, 1),
    Step::Write(0),
    Step::Write(1),
    Step::Move,
    Step::Visit(0),
    Step::Visit(1),
];

const LISTS: [&str; 2] = ["list/a", "list/b"];

/// What should be: who may what, where the record is, what it says, and what is written and not judged.
struct Model {
    rights: [[bool; 2]; 2],
    list: usize,
    /// When its title was written, and the title.
    title: (i64, i64),
    /// What each view shows of the record, by its title; and what was written there since.
    shown: [Option<i64>; 2],
    unsent: [Vec<i64>; 2],
}

impl Model {
    /// The writes are judged one by one, by the rights at that time; then the view shows what may be seen.
    fn visit(&mut self, who: usize) {
        let may = self.rights[who][self.list];
        for title in std::mem::take(&mut self.unsent[who]) {
            if may {
                self.title = self.title.max((title, title));
            }
        }
        self.shown[who] = may.then_some(self.title.1);
    }
}

struct Both {
    model: Model,
    town: Town,
    rules: Rules,
}

impl Both {
    fn new() -> Self {
        let (mut town, rules) = (Town::default(), Rules::default());
        town.add("server", Some(rules.clone()));
        for name in ["ann", "bob"] {
            town.add_view(name, &LISTS);
        }
        town.create(SERVER, 1, "a", 0);
        town.drive();
        let rights = [[true, false], [false, true]];
        let (shown, unsent) = ([None, None], [Vec::new(), Vec::new()]);
        let model = Model { rights, list: 0, title: (0, 0), shown, unsent };
        let mut both = Self { model, town, rules };
        for who in 0..2 {
            both.grant(who);
            both.step(Step::Visit(who), 0);
        }
        both
    }

    fn lists(&self, who: usize) -> Vec<&'static str> {
        let lists = LISTS.iter().zip(self.model.rights[who]);
        lists.filter(|(_, may)| *may).map(|(list, _)| *list).collect()
    }

    fn grant(&mut self, who: usize) {
        self.rules.let_in(["ann", "bob"][who], viewer("somebody", &self.lists(who)));
    }

    fn step(&mut self, step: Step, number: i64) {
        match step {
            Step::Toggle(who, list) => {
                self.model.rights[who][list] ^= true;
                self.grant(who);
            }
            Step::Write(who) => {
                if self.model.shown[who].is_some() {
                    self.town.retitle(1 + who, 1, number);
                    self.model.shown[who] = Some(number);
                    self.model.unsent[who].push(number);
                }
            }
            Step::Move => {
                self.model.list ^= 1;
                let list = ["a", "b"][self.model.list];
                self.town.move_to(SERVER, 1, list);
                self.town.sync(SERVER);
            }
            Step::Visit(who) => {
                self.town.visit(1 + who, SERVER, ["ann", "bob"][who]);
                self.model.visit(who);
            }
        }
        for who in 0..2 {
            assert_eq!(self.town.title(1 + who, 1), self.model.shown[who], "view {who}");
        }
        assert_eq!(self.town.title(SERVER, 1), Some(self.model.title.1), "the server");
    }

    fn end(&mut self) {
        for who in 0..2 {
            self.step(Step::Visit(who), 0);
            self.town.assert_shows(1 + who, &self.lists(who));
            assert!(self.town.has_nothing_pending(1 + who));
        }
    }
}

/// All successions of so many steps that are not another one with the principals exchanged.
fn stories(length: usize) -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    for _ in 0..length {
        let longer = all.iter().flat_map(|story: &Vec<Step>| {
            STEPS.iter().filter_map(|step| {
                let is_undone = matches!(step, Step::Toggle(..)) && story.last() == Some(step);
                let is_idle = matches!(step, Step::Visit(_)) && story.last() == Some(step);
                (!is_undone && !is_idle).then(|| [&story[..], &[*step]].concat())
            })
        });
        all = longer.collect();
    }
    let first = |step: &Step| match step {
        Step::Toggle(who, _) | Step::Write(who) | Step::Visit(who) => Some(*who),
        Step::Move => None,
    };
    all.retain(|story| story.iter().find_map(first) != Some(1));
    all
}

#[test]
fn every_succession_of_six_steps_ends_as_the_model_says() {
    // Without optimisation they take minutes.
    let length = if cfg!(debug_assertions) { 4 } else { 6 };
    for story in (1..=length).flat_map(stories) {
        let mut both = Both::new();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, step) in (1..).zip(&story) {
                both.step(*step, number);
            }
            both.end();
        }));
        assert!(told.is_ok(), "{story:?}");
    }
}
