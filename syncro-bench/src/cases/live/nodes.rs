//! Two nodes, each on a thread with a runtime of its own; what a node starts itself is on the same core.

use std::future::Future;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Instant;

use syncro::Durability;
use tokio::sync::{mpsc, oneshot};

use super::{Figures, Plan};
use crate::engines::syncro::Syncro;
use crate::measure::pin;
use crate::workload::Contents;

/// Changes after which a pipelining sender lets its session write.
const YIELD_AFTER: usize = 16;

pub(super) fn run(plan: &Plan) -> Figures {
    let (addr, listening) = blocking::channel();
    let (applied, awaited) = mpsc::unbounded_channel();
    let (finish, finished) = oneshot::channel();
    thread::scope(|threads| {
        let receiver =
            threads.spawn(|| on_core(plan.cores[1], receive(plan, addr, applied, finished)));
        let sender = threads.spawn(|| on_core(plan.cores[0], send(plan, listening, awaited)));
        let (singles, pipelined, sent) = sender.join().unwrap();
        finish.send(()).unwrap();
        Figures { singles, pipelined, contents: [sent, receiver.join().unwrap()] }
    })
}

fn on_core<T>(core: usize, work: impl Future<Output = T>) -> T {
    pin(core);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

fn open(plan: &Plan, name: &str) -> Syncro {
    match &plan.dir {
        Some(dir) => {
            let path = dir.join(format!("{name}{}.redb", plan.cores[1]));
            Syncro::open(&path, name)
        }
        None => Syncro::in_memory(name),
    }
}

async fn receive(
    plan: &Plan,
    addr: blocking::Sender<String>,
    applied: mpsc::UnboundedSender<Instant>,
    finished: oneshot::Receiver<()>,
) -> Contents {
    let replica = open(plan, "receiver");
    let mut watch = replica.node.watch_all();
    let listening = replica.node.listen("127.0.0.1:0").await.unwrap();
    addr.send(listening.local_addr().to_string()).unwrap();
    for count in 1..=plan.total() {
        watch.next().await.unwrap().expect("the node is open");
        if plan.is_awaited(count) {
            applied.send(Instant::now()).unwrap();
        }
    }
    finished.await.unwrap();
    let contents = replica.contents();
    replica.close();
    contents
}

async fn send(
    plan: &Plan,
    listening: blocking::Receiver<String>,
    mut awaited: mpsc::UnboundedReceiver<Instant>,
) -> (Vec<f64>, f64, Contents) {
    let replica = open(plan, "sender");
    plan.held.iter().for_each(|change| replica.apply(change, Durability::Deferred));
    let _connection = replica.node.connect(&listening.recv().unwrap()).unwrap();
    awaited.recv().await.unwrap();
    let mut singles = Vec::with_capacity(plan.single.len());
    for change in &plan.single {
        let start = Instant::now();
        replica.apply(change, Durability::Deferred);
        let applied = awaited.recv().await.unwrap();
        singles.push((applied - start).as_secs_f64());
    }
    let start = Instant::now();
    for some in plan.pipelined.chunks(YIELD_AFTER) {
        some.iter().for_each(|change| replica.apply(change, Durability::Deferred));
        tokio::task::yield_now().await;
    }
    let pipelined = (awaited.recv().await.unwrap() - start).as_secs_f64();
    let contents = replica.contents();
    replica.close();
    (singles, pipelined, contents)
}
