//! P1: two threads, loopback TCP without delay: from the start of a change here to its being applied there.
//!
//! Threads are pinned, since the figures have two modes: on one core a message is a switch of threads, on two it
//! is a wake-up of a core that sleeps.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::loro::Loro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Peer};
use crate::measure::{Sample, forget_peak, peak_rss_bytes, pin, quantile};
use crate::workload::{Change, Contents, Workload};

mod nodes;

pub const P1: Family = Family {
    cases: &[
        case("P1", Metric::Time, Goal::Yrs(1.0)),
        case("P1-p99", Metric::Time, Goal::Yrs(0.5)),
        case("P1-memory", Metric::Time, Goal::None),
        case("P1-two-cores", Metric::Time, Goal::None),
        case("P1-pipelined", Metric::Rate, Goal::Yrs(1.7)),
    ],
    peers: &Peer::ALL,
    scale: 1.0,
    run,
    repetitions: 3,
};

/// What two replicas do, one core for each.
#[derive(Clone)]
struct Plan {
    held: Vec<Change>,
    /// One after the other, each when the one before has been applied there.
    single: Vec<Change>,
    /// As fast as it goes.
    pipelined: Vec<Change>,
    cores: [usize; 2],
    /// Where Syncro keeps its files; in memory without.
    dir: Option<PathBuf>,
}

impl Plan {
    fn total(&self) -> usize {
        self.held.len() + self.single.len() + self.pipelined.len()
    }

    /// Whether the sender waits for word that so many changes have been applied.
    fn is_awaited(&self, applied: usize) -> bool {
        let singles = self.held.len()..=self.held.len() + self.single.len();
        singles.contains(&applied) || applied == self.total()
    }
}

/// The seconds of each single change, and of all that were pipelined.
struct Figures {
    singles: Vec<f64>,
    pipelined: f64,
    contents: [Contents; 2],
}

fn run(peer: Peer, setting: &Setting) -> Samples {
    forget_peak();
    let mut workload = Workload::new(SEED);
    let held = (setting.n / 10).max(10);
    let plan = Plan {
        held: workload.creates(held),
        single: workload.updates(held / 2),
        pipelined: workload.updates(held),
        cores: [0, 0],
        dir: Some(setting.dir.clone()),
    };
    let contents = workload.contents();
    let measure = |plan: &Plan| {
        let figures = match peer {
            Peer::Syncro => nodes::run(plan),
            Peer::Automerge => sockets(plan, || Automerge::new(true)),
            Peer::Loro => sockets(plan, || Loro::new(true)),
            Peer::Yrs => sockets(plan, || Yrs::new(true)),
            Peer::Limit => sockets(plan, || Nothing),
        };
        if peer != Peer::Limit {
            assert_eq!(figures.contents, [contents; 2]);
        }
        figures
    };
    let on_one = measure(&plan);
    let on_two = measure(&Plan { cores: [0, 1], ..plan.clone() });
    let in_memory = match peer {
        Peer::Syncro if setting.wants("P1-memory") => {
            measure(&Plan { dir: None, ..plan.clone() }).singles
        }
        _ => on_one.singles.clone(),
    };
    let part = |singles: &[f64], part: f64| quantile(singles.to_vec(), part);
    vec![
        ("P1", sample(part(&on_one.singles, 0.5), 1)),
        ("P1-p99", sample(part(&on_one.singles, 0.99), 1)),
        ("P1-memory", sample(part(&in_memory, 0.5), 1)),
        ("P1-two-cores", sample(part(&on_two.singles, 0.5), 1)),
        ("P1-pipelined", sample(on_two.pipelined, plan.pipelined.len())),
    ]
}

fn sample(seconds: f64, ops: usize) -> Sample {
    Sample { seconds, ops: ops as f64, bytes: 0, peak_rss_bytes: peak_rss_bytes() }
}

/// Whatever sends each change over a socket and applies it at the other end.
trait Live {
    /// Makes a change, and returns what is to be sent.
    fn change(&mut self, change: &Change) -> Vec<u8>;
    fn receive(&mut self, update: &[u8]);
    fn contents(&self) -> Contents;
}

impl<D: Document> Live for D {
    fn change(&mut self, change: &Change) -> Vec<u8> {
        self.apply(change);
        self.take_update()
    }

    fn receive(&mut self, update: &[u8]) {
        Document::receive(self, update);
    }

    fn contents(&self) -> Contents {
        Document::contents(self)
    }
}

/// The limit: as many bytes as a change has, and nothing is done with them.
struct Nothing;

impl Live for Nothing {
    fn change(&mut self, _: &Change) -> Vec<u8> {
        vec![7; 119]
    }

    fn receive(&mut self, update: &[u8]) {
        assert_eq!(update.len(), 119);
    }

    fn contents(&self) -> Contents {
        Contents::default()
    }
}

fn sockets<L: Live>(plan: &Plan, new: impl Fn() -> L + Sync) -> Figures {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (applied, awaited) = mpsc::channel();
    thread::scope(|threads| {
        let receiver = threads.spawn(|| {
            pin(plan.cores[1]);
            let mut replica = new();
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut update = Vec::new();
            for count in 1..=plan.total() {
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                update.resize(u32::from_le_bytes(length) as usize, 0);
                stream.read_exact(&mut update).unwrap();
                replica.receive(&update);
                if plan.is_awaited(count) {
                    applied.send(Instant::now()).unwrap();
                }
            }
            replica.contents()
        });
        let sender = threads.spawn(|| {
            pin(plan.cores[0]);
            let awaited = awaited;
            let mut replica = new();
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut frame = Vec::new();
            let mut send = |change: &Change| {
                let update = replica.change(change);
                frame.clear();
                frame.extend_from_slice(&(update.len() as u32).to_le_bytes());
                frame.extend_from_slice(&update);
                stream.write_all(&frame).unwrap();
            };
            plan.held.iter().for_each(&mut send);
            awaited.recv().unwrap();
            let mut singles = Vec::with_capacity(plan.single.len());
            for change in &plan.single {
                let start = Instant::now();
                send(change);
                singles.push((awaited.recv().unwrap() - start).as_secs_f64());
            }
            let start = Instant::now();
            plan.pipelined.iter().for_each(&mut send);
            let pipelined = (awaited.recv().unwrap() - start).as_secs_f64();
            (singles, pipelined, replica.contents())
        });
        let (singles, pipelined, sent) = sender.join().unwrap();
        Figures { singles, pipelined, contents: [sent, receiver.join().unwrap()] }
    })
}
