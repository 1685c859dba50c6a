//! L1, O1 and M1: what lies on the disk, how soon it can be read, and what it takes in memory.
//!
//! O1 and M1 run in a process of their own, that this program starts from itself.

use std::path::Path;
use std::process::{self, Command};
use std::time::Instant;
use std::{env, fs};

use syncro::Durability;
use syncro_store::LogStore;

use super::{Family, Goal, Metric, SEED, Samples, Setting, case};
use crate::engines::automerge::Automerge;
use crate::engines::host::Host;
use crate::engines::loro::Loro;
use crate::engines::syncro::Syncro;
use crate::engines::yrs::Yrs;
use crate::engines::{Document, Journal, Peer};
use crate::measure::{Sample, rss_bytes};
use crate::workload::{Change, Contents, Todo, Workload};

const EVERYBODY: &[Peer] = &[Peer::Syncro, Peer::Automerge, Peer::Loro, Peer::Yrs];

pub const L1: Family = Family {
    cases: &[
        case("L1", Metric::BytesEach, Goal::Figure(230.0)),
        case("L1-compacted", Metric::BytesEach, Goal::None),
    ],
    peers: EVERYBODY,
    scale: 1.0,
    run: at_rest,
    repetitions: 1,
};

pub const O1: Family = Family {
    cases: &[
        case("O1", Metric::Time, Goal::Figure(0.002)),
        case("O1-unapplied", Metric::Time, Goal::Best(5.0)),
    ],
    peers: EVERYBODY,
    scale: 1.0,
    run: |peer, setting| opened(peer, setting, "open", ["O1", "O1-unapplied"]),
    repetitions: 3,
};

pub const M1: Family = Family {
    cases: &[case("M1", Metric::Memory, Goal::Best(5.0))],
    peers: EVERYBODY,
    scale: 1.0,
    run: |peer, setting| opened(peer, setting, "read", ["M1", ""]),
    repetitions: 3,
};

/// Changes of a group that is persisted together.
const GROUP: usize = 1000;

/// How often a file is opened: the first time it may not be in the cache.
const OPENS: usize = 5;

fn at_rest(peer: Peer, setting: &Setting) -> Samples {
    let mut workload = Workload::new(SEED);
    let mut changes = workload.creates(setting.n);
    changes.extend(workload.updates(setting.n));
    let contents = workload.contents();
    let [written, compacted] = match peer {
        Peer::Automerge => document_at_rest::<Automerge>(setting, &changes, contents),
        Peer::Loro => document_at_rest::<Loro>(setting, &changes, contents),
        Peer::Yrs => document_at_rest::<Yrs>(setting, &changes, contents),
        _ => {
            let node = Syncro::open(&setting.path("node.redb"), "a");
            let (mut sample, bytes) = Sample::of(changes.len(), || {
                write(&node, &changes);
                assert_eq!(node.contents(), contents);
                node.close()
            });
            sample.bytes = bytes;
            // There is no compaction yet.
            [sample; 2]
        }
    };
    vec![("L1", written), ("L1-compacted", compacted)]
}

fn document_at_rest<D: Document>(
    setting: &Setting,
    changes: &[Change],
    contents: Contents,
) -> [Sample; 2] {
    let mut document = D::new(true);
    let mut journal = Journal::create(&setting.path("journal"));
    let (mut written, ()) = Sample::of(changes.len(), || {
        for group in changes.chunks(GROUP) {
            group.iter().for_each(|change| document.apply(change));
            journal.push(&document.take_update());
            journal.persist();
        }
    });
    written.bytes = journal.bytes;
    assert_eq!(document.contents(), contents);
    let compacted = Sample { bytes: document.compact().len() as u64, ..written };
    [written, compacted]
}

fn write(node: &Syncro, changes: &[Change]) {
    for group in changes.chunks(GROUP) {
        let Some((last, others)) = group.split_last() else { return };
        others.iter().for_each(|change| node.apply(change, Durability::Deferred));
        node.apply(last, Durability::Durable);
    }
}

fn opened(peer: Peer, setting: &Setting, task: &str, names: [&'static str; 2]) -> Samples {
    let mut workload = Workload::new(SEED);
    let changes = workload.creates(setting.n);
    let path = setting.path("a");
    match peer {
        Peer::Automerge => keep::<Automerge>(&path, &changes),
        Peer::Loro => keep::<Loro>(&path, &changes),
        Peer::Yrs => keep::<Yrs>(&path, &changes),
        _ => {
            let node = Syncro::open(&path, "a");
            write(&node, &changes);
            node.close();
        }
    }
    drop(changes);
    let id = &workload.ids[workload.ids.len() / 2];
    let contents = workload.contents();
    let sample = in_child(task, peer, &path, id, contents);
    let mut samples = vec![(names[0], sample)];
    if !names[1].is_empty() && setting.wants(names[1]) {
        // A document has nothing to apply once it is loaded.
        let unapplied = match peer {
            Peer::Syncro => after_crash(setting, &workload, id),
            _ => sample,
        };
        samples.push((names[1], unapplied));
    }
    samples
}

fn keep<D: Document>(path: &Path, changes: &[Change]) {
    let mut document = D::new(false);
    changes.iter().for_each(|change| document.apply(change));
    fs::write(path, document.compact()).unwrap();
}

/// Opens a store whose log has everything, and whose records have nothing: as if the process had been killed
/// before any checkpoint.
fn after_crash(setting: &Setting, workload: &Workload, id: &str) -> Sample {
    let (path, copy) = (setting.path("host"), setting.path("killed"));
    let mut host = Host::open_with(LogStore::builder().overlay_bytes(4 << 30), &path, "a");
    for id in &workload.ids {
        host.apply(&Change::Create(workload.todos[id].clone()));
    }
    let _ = host.sync();
    fs::copy(&path, &copy).unwrap();
    let mut samples: Vec<Sample> = Vec::new();
    for _ in 0..OPENS {
        let killed = setting.path("opened");
        fs::copy(&copy, &killed).unwrap();
        samples.push(in_child("open-once", Peer::Syncro, &killed, id, workload.contents()));
    }
    crate::measure::median(samples).expect("it was opened")
}

/// Starts this program for one task, and reads what it says: seconds, records read, bytes of memory, and what is there.
fn in_child(task: &str, peer: Peer, path: &Path, id: &str, contents: Contents) -> Sample {
    let program = env::current_exe().unwrap();
    let output = Command::new(program).args(["--child", task, peer.name(), id]).arg(path).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut figures = told.split_whitespace();
    let mut figure = || figures.next().and_then(|it| it.parse::<f64>().ok()).expect("a figure");
    let (seconds, ops, memory) = (figure(), figure(), figure());
    assert_eq!(figures.next(), Some(contents.to_string().as_str()));
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    Sample { seconds, ops, bytes, peak_rss_bytes: memory as u64 }
}

/// What the child does: `TASK PEER ID PATH`.
pub fn child(args: &[String]) {
    let [task, peer, id, path] = args else { panic!("a child takes four arguments") };
    let path = Path::new(path);
    let Opened { seconds, ops, memory, contents } = match Peer::named(peer).expect("a peer") {
        Peer::Automerge => child_of(task, || document::<Automerge>(path), Document::get, id),
        Peer::Loro => child_of(task, || document::<Loro>(path), Document::get, id),
        Peer::Yrs => child_of(task, || document::<Yrs>(path), Document::get, id),
        _ => {
            let get = |it: &Syncro, id: &str| it.node.get::<Todo>(&id.to_owned()).unwrap();
            child_of(task, || Syncro::open(path, "a"), get, id)
        }
    };
    println!("{seconds} {ops} {memory} {contents}");
    // Nothing is closed or freed: that is not asked.
    process::exit(0);
}

fn document<D: Document>(path: &Path) -> D {
    D::load(&fs::read(path).unwrap())
}

/// What a child says.
struct Opened {
    /// Those of the median opening.
    seconds: f64,
    /// The records that the task is to read.
    ops: usize,
    memory: u64,
    contents: Contents,
}

/// Opens and reads one record, or all.
fn child_of<T: Readable>(
    task: &str,
    open: impl Fn() -> T,
    get: impl Fn(&T, &str) -> Option<Todo>,
    id: &str,
) -> Opened {
    let open_once = || {
        let start = Instant::now();
        let opened = open();
        assert!(get(&opened, id).is_some());
        (start.elapsed().as_secs_f64(), opened)
    };
    let (first, mut opened) = open_once();
    let mut all = vec![first];
    if task == "open" {
        for _ in 1..OPENS {
            // One after the other: a file has one owner.
            drop(opened);
            let (seconds, again) = open_once();
            all.push(seconds);
            opened = again;
        }
    }
    let seconds = crate::measure::quantile(all, 0.5);
    // The memory is looked at while it is open.
    let (memory, contents) = match task {
        "read" => {
            let contents = opened.read_all();
            (rss_bytes(), contents)
        }
        _ => (rss_bytes(), opened.read_all()),
    };
    std::mem::forget(opened);
    let ops = if task == "read" { contents.count } else { 1 };
    Opened { seconds, ops, memory, contents }
}

trait Readable {
    fn read_all(&self) -> Contents;
}

impl<D: Document> Readable for D {
    fn read_all(&self) -> Contents {
        self.contents()
    }
}

impl Readable for Syncro {
    fn read_all(&self) -> Contents {
        self.contents()
    }
}
