//! Disks that fail at each of their calls, or are full from there on, until there is room again.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use syncro_core::{Error, StoreError};

use crate::crash::{Crash, Fate, Tape};
use crate::disk::{Disk, Failure, Which};
use crate::node::Node;
use crate::proof::{Subject, message};
use crate::scenarios::Scenario;

/// Lets each call of a scenario's disk fail, once and for ever, or each how-many-th of them; and fills the disk
/// there.
pub(crate) fn fail_everywhere(scenario: &Scenario, every: usize, only: Option<&str>) -> Outcome {
    let disk = Disk::default();
    (scenario.run)(&mut Node::new(scenario.settings, disk.clone())).unwrap();
    let failures = (0..disk.calls()).step_by(every);
    let failures = failures.flat_map(|call| {
        [Which::Call(call), Which::CallsFrom(call), Which::RoomFrom(call), Which::CopiesFrom(call)]
    });
    let id = |which: &Which| match which {
        Which::CallsFrom(call) => format!("{}:{call}:for-ever", scenario.name),
        Which::RoomFrom(call) => format!("{}:{call}:full", scenario.name),
        Which::CopiesFrom(call) => format!("{}:{call}:full-for-copies", scenario.name),
        which => format!("{}:{}:once", scenario.name, which.number()),
    };
    let planned = failures.map(|which| (id(&which), which));
    let planned = planned.filter(|(id, _)| only.is_none_or(|only| id.starts_with(only)));
    let planned: Vec<_> = planned.filter(|(_, which)| disk.begins(*which)).collect();

    let found = Found::default();
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|threads| {
        for _ in 0..cores {
            threads.spawn(|| {
                while let Some((id, which)) = planned.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = || match which {
                        Which::RoomFrom(_) | Which::CopiesFrom(_) => fill(scenario, *which),
                        which => fail(scenario, *which, &found),
                    };
                    let held = catch_unwind(AssertUnwindSafe(run));
                    let held = held.unwrap_or_else(|panic| Err(message(&*panic)));
                    if let Err(what) = held {
                        broken.lock().unwrap().push(format!("{id}\n    {what}"));
                    }
                }
            });
        }
    });
    Outcome { calls: disk.calls(), planned: planned.len(), broken: broken.into_inner().unwrap() }
}

pub(crate) struct Outcome {
    pub(crate) calls: usize,
    pub(crate) planned: usize,
    pub(crate) broken: Vec<String>,
}

/// The states that were found, by the hashes of images. Up to a failure all runs of a story are the same, so
/// equal images are of equal histories.
#[derive(Default)]
struct Found(Mutex<HashMap<u64, usize>>);

/// Runs a scenario on a disk that fails, and opens what it leaves.
fn fail(scenario: &Scenario, which: Which, found: &Found) -> Result<(), String> {
    let disk = Disk::default();
    disk.fail(Some(Failure { which, how: ErrorKind::Other }));
    let mut node = Node::new(scenario.settings, disk.clone());
    let ran = (scenario.run)(&mut node);
    if let Err(error) = &ran {
        is_typed(error)?;
        if node.is_open() {
            match node.sync() {
                Err(Error::Store(StoreError::Latched { .. })) => {}
                other => return Err(format!("after {error} a sync gives {other:?}")),
            }
        }
    } else if matches!(which, Which::CallsFrom(_)) && node.is_open() {
        return Err("a disk that fails for ever was not noticed".to_owned());
    }
    look_after(scenario, node, &disk, found).map_err(|what| format!("after {ran:?}: {what}"))
}

/// Runs a scenario on a disk that is full from some call on, makes room, and goes on.
fn fill(scenario: &Scenario, which: Which) -> Result<(), String> {
    let disk = Disk::default();
    disk.fail(Some(Failure { which, how: ErrorKind::StorageFull }));
    let mut node = Node::new(scenario.settings, disk.clone());
    let ran = (scenario.run)(&mut node);
    match &ran {
        Ok(()) => {}
        Err(Error::Store(StoreError::Full)) => {}
        Err(other) => return Err(format!("the disk is full, and the error is {other:?}")),
    }
    if node.is_open() {
        let read = node.history().clone().find(node.store(), &node.states());
        // Where even what is there cannot be written again, the file cannot be opened.
        let may_fail = matches!(which, Which::CopiesFrom(_));
        if read != Ok(node.history().last()) && !(may_fail && read.is_err()) {
            return Err(format!("on the full disk it reads {read:?}"));
        }
        disk.fail(None);
        node.sync().map_err(|error| format!("with room again: {error}"))?;
        node.checkpoint().map_err(|error| format!("with room again: {error}"))?;
        node.propose_another().map_err(|error| format!("with room again: {error}"))?;
    }
    // It has gone on, so its history is its own.
    let found = Found::default();
    look_after(scenario, node, &disk, &found).map_err(|what| format!("after {ran:?}: {what}"))
}

/// Opens what a node left on its disk.
fn look_after(scenario: &Scenario, node: Node, disk: &Disk, found: &Found) -> Result<(), String> {
    let states = node.states();
    let history = node.history().clone();
    drop(node);

    let tape = Tape::of(disk);
    let done = tape.len();
    for fate in [Fate::AllKept, Fate::AllLost] {
        let image = tape.image(Crash { done, fate });
        let hash = image.hash();
        let known = found.0.lock().unwrap().get(&hash).copied();
        let state = match known {
            Some(state) => state,
            None => {
                let recovered = scenario.settings.recover(&image, &history, states.clone(), 1);
                recovered.map_err(|what| format!("{fate}: {what}"))?.found
            }
        };
        found.0.lock().unwrap().insert(hash, state);
        if !states.contains(&state) {
            return Err(format!("{fate}: state {state} was found of {states:?}"));
        }
    }
    Ok(())
}

/// Whether an error says that the disk failed, and blames nobody else.
fn is_typed(error: &Error) -> Result<(), String> {
    match error {
        Error::Store(StoreError::Io(_) | StoreError::Latched { .. }) => Ok(()),
        other => Err(format!("the disk failed, and the error is {other:?}")),
    }
}
