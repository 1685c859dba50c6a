//! A running `classic_hub`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::process::{PATIENCE, Process, example, lines_of};

pub(crate) struct HubProcess {
    process: Process,
    stdin: Option<ChildStdin>,
    log: Receiver<String>,
    /// The addresses of the clients.
    pub(crate) clients: BTreeMap<String, String>,
    /// Where native peers connect: first where all may, then what was asked for besides.
    pub(crate) native: Vec<String>,
}

impl HubProcess {
    /// Starts a hub with clients on ports of the system's choice, and waits until it is ready.
    pub(crate) fn start(clients: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(example("classic_hub"));
        command.args(["--listen", "127.0.0.1:0"]).args(more);
        for uid in clients {
            command.args(["--client", &format!("{uid}=127.0.0.1:0")]);
        }
        let mut process = Process::start(command.stdin(Stdio::piped()).stderr(Stdio::piped()));
        let stdin = process.child.stdin.take();
        let log = lines_of(process.child.stderr.take().unwrap());
        let (clients, native) = (BTreeMap::new(), Vec::new());
        let mut hub = Self { process, stdin, log, clients, native };
        loop {
            let line = hub.logged("");
            if line == "ready" {
                return hub;
            }
            let (what, addr) = line.rsplit_once(" on ").expect("it says where it listens");
            match what.strip_prefix("listening for ") {
                Some(uid) => {
                    hub.clients.insert(uid.to_owned(), addr.to_owned());
                }
                None => hub.native.push(addr.to_owned()),
            }
        }
    }

    /// Waits for a line of the log that has this in it.
    pub(crate) fn logged(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).expect("it is logged");
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn quit(mut self) {
        self.stdin.take().unwrap().write_all(b"quit\n").unwrap();
        assert!(self.process.wait().success());
    }

    pub(crate) fn kill(mut self) {
        self.process.child.kill().unwrap();
        self.process.wait();
    }
}
