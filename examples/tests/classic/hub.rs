//! A running `classic_hub`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where cargo has put an example that it built with these tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "build the examples first: cargo build --examples");
    path
}

pub(crate) struct HubProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Receiver<String>,
    /// The addresses of the clients.
    pub(crate) clients: BTreeMap<String, String>,
    /// Where native peers connect.
    pub(crate) native: String,
}

impl HubProcess {
    /// Starts a hub with clients on ports of the system's choice, and waits until it is ready.
    pub(crate) fn start(clients: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(example("classic_hub"));
        command.args(["--listen", "127.0.0.1:0"]).args(more);
        for uid in clients {
            command.args(["--client", &format!("{uid}=127.0.0.1:0")]);
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // A test that has ended reads no more.
                let _ = sender.send(line);
            }
        });
        let (clients, native) = (BTreeMap::new(), String::new());
        let mut hub = Self { child, stdin, log, clients, native };
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
                None => hub.native = addr.to_owned(),
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
        assert!(self.wait().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
