//! What a view may not see leaves no trace on its wire: the same story twice, with other hidden activity, says the same
//! to the view, byte for byte.

use proptest::collection::vec;
use proptest::prelude::*;
use syncro_core::{Fields, Input, Proposal, Value};

use super::super::town::{Rules, Town, key, set};
use super::{SERVER, VIEW, viewer};

/// Records that are never in a channel of the view.
const HIDDEN: i64 = 100;

#[derive(Clone, Debug)]
enum Op {
    Server(Write),
    View(Write),
    /// What happens to hidden records, in one run and in the other.
    Hidden([Vec<Write>; 2]),
    Rights(u8),
    Cut,
    Deliver(usize, u8),
    Sync(usize),
    Settle,
    CrashServer,
}

#[derive(Clone, Debug)]
enum Write {
    Create(i64, &'static str),
    Move(i64, &'static str),
    Retitle(i64, i64),
    Destroy(i64),
}

fn write(lists: &'static [&'static str]) -> impl Strategy<Value = Write> {
    let (id, list) = (0..4_i64, prop::sample::select(lists));
    prop_oneof![
        3 => (id.clone(), list.clone()).prop_map(|(id, list)| Write::Create(id, list)),
        3 => (id.clone(), list).prop_map(|(id, list)| Write::Move(id, list)),
        3 => (id.clone(), 0..9_i64).prop_map(|(id, title)| Write::Retitle(id, title)),
        1 => id.prop_map(Write::Destroy),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let hidden = || vec(write(&["c", "d"]), 0..4);
    prop_oneof![
        4 => write(&["a", "b", "c"]).prop_map(Op::Server),
        3 => write(&["a", "b", "c"]).prop_map(Op::View),
        6 => (hidden(), hidden()).prop_map(|(one, other)| Op::Hidden([one, other])),
        1 => (0..4_u8).prop_map(Op::Rights),
        1 => Just(Op::Cut),
        4 => (0..2_usize, 1..4_u8).prop_map(|(side, count)| Op::Deliver(side, count)),
        3 => (0..2_usize).prop_map(Op::Sync),
        2 => Just(Op::Settle),
        1 => Just(Op::CrashServer),
    ]
}

struct Run {
    town: Town,
    rules: Rules,
    link: usize,
    /// Which of the two runs it is.
    number: usize,
    step: u64,
}

impl Run {
    fn new(number: usize) -> Self {
        let (mut town, rules) = (Town::default(), Rules::default());
        town.add("server", Some(rules.clone()));
        town.add_view("view", &["list/a", "list/b"]);
        town.tape = Some((VIEW, Vec::new()));
        rules.let_in("ann", viewer("ann", &["list/a", "list/b"]));
        let link = town.connect(VIEW, SERVER, "ann");
        town.drive();
        Self { town, rules, link, number, step: 10 }
    }

    fn write(&mut self, node: usize, write: &Write, first: i64) {
        let mut proposal = Proposal::default();
        let key = |id: i64| key(first + id);
        let proposed = match write {
            Write::Create(id, list) => {
                let fields = [("list".into(), Value::from(*list))].into();
                proposal.create(key(*id), &Fields::from_values(&fields).unwrap())
            }
            Write::Move(id, to) => proposal.update(key(*id), vec![set("list", Value::from(*to))]),
            Write::Retitle(id, title) => {
                proposal.update(key(*id), vec![set("title", Value::from(*title))])
            }
            Write::Destroy(id) => proposal.destroy(key(*id)),
        };
        if proposed.is_ok() {
            let _ = self.town.try_input(node, Input::Propose(proposal));
        }
    }

    fn happen(&mut self, op: &Op) {
        // What happens in one run and not in the other takes no time.
        self.step += 1;
        self.town.ms = self.step * 1000;
        match op {
            Op::Server(write) => self.write(SERVER, write, 0),
            Op::View(write) => self.write(VIEW, write, 0),
            Op::Hidden(runs) => {
                for write in &runs[self.number] {
                    self.town.ms += 1;
                    self.write(SERVER, write, HIDDEN);
                }
                // A flush that is slow for others' sake is slow for the view: that much shows of any machine's work.
                self.town.sync(SERVER);
            }
            Op::Rights(rights) => {
                let lists = ["list/a", "list/b"].into_iter().enumerate();
                let lists = lists.filter(|(list, _)| rights & 1 << list != 0);
                let lists: Vec<&str> = lists.map(|(_, list)| list).collect();
                let ann = viewer("ann", &lists);
                self.rules.let_in("ann", ann.clone());
                if self.town.is_open(self.link) {
                    let session = self.town.session(self.link, SERVER);
                    let principal = Some(ann.into());
                    self.town.input(SERVER, Input::Rights { session, principal });
                }
            }
            Op::Cut => {
                self.town.cut(self.link);
                self.link = self.town.connect(VIEW, SERVER, "ann");
            }
            Op::Deliver(side, count) => (0..*count).for_each(|_| {
                self.town.step(self.link, *side);
            }),
            Op::Sync(node) => self.town.sync(*node),
            Op::Settle => self.town.drive(),
            Op::CrashServer => {
                // Whether anything hidden is lost must not show either.
                self.town.sync(SERVER);
                self.town.crash(SERVER);
                self.link = self.town.connect(VIEW, SERVER, "ann");
            }
        }
    }
}

/// Pairs of runs; the variable `SYNCRO_PAIRS` asks for others.
fn pairs() -> u32 {
    let pairs = std::env::var("SYNCRO_PAIRS").ok();
    pairs.and_then(|pairs| pairs.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(pairs()) })]

    #[test]
    fn hidden_activity_leaves_no_trace(ops in vec(op(), 1..40)) {
        let runs = [0, 1].map(|number| {
            let mut run = Run::new(number);
            for op in &ops {
                run.happen(op);
            }
            run.step += 1;
            run.town.ms = run.step * 1000;
            run.town.drive();
            run.town.tape.take().unwrap().1
        });
        let texts = runs.map(|frames| {
            let texts = frames.iter().map(|frame| String::from_utf8_lossy(&syncro_core::to_json(frame).unwrap()).into_owned());
            texts.collect::<Vec<_>>()
        });
        for (place, (one, other)) in texts[0].iter().zip(&texts[1]).enumerate() {
            prop_assert_eq!(one, other, "message {}", place);
        }
        prop_assert_eq!(texts[0].len(), texts[1].len());
    }
}
