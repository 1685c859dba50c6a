//! A running `node`, and talking to it.

use std::io::Write;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::process::{PATIENCE, Process, example, lines_of};

pub(crate) struct Shell {
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Receiver<String>,
    events: Vec<Json>,
}

impl Shell {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(example("node"));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(pipes.args(args));
        let stdin = process.child.stdin.take();
        let lines = lines_of(process.child.stdout.take().unwrap());
        let log = lines_of(process.child.stderr.take().unwrap());
        Self { process, stdin, lines, log, events: Vec::new() }
    }

    /// Starts a node that listens, and returns where.
    pub(crate) fn listening(args: &[&str]) -> (Self, String) {
        let shell = Self::start(&[args, &["--listen", "127.0.0.1:0"]].concat());
        let addr = shell.logged("listening on ");
        (shell, addr)
    }

    /// Waits for a line of the log that begins so, and returns the rest of it.
    pub(crate) fn logged(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).expect("it is logged");
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    pub(crate) fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The next answer; `None` when the process has ended. Events on the way are kept.
    pub(crate) fn next_answer(&mut self) -> Option<Json> {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("no answer"),
            };
            let json: Json = serde_json::from_str(&line).unwrap();
            let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
            match keys[..] {
                ["event"] => self.events.push(json["event"].clone()),
                ["ok"] | ["error"] => return Some(json),
                _ => panic!("not in the contract: {line}"),
            }
        }
    }

    /// The answers of a process that has ended. It may have been killed in the middle of a line.
    pub(crate) fn last_answers(&mut self) -> Vec<Json> {
        let mut answers = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            let Ok(json) = serde_json::from_str::<Json>(&line) else { break };
            if json.get("event").is_none() {
                answers.push(json);
            }
        }
        answers
    }

    pub(crate) fn ask(&mut self, line: &str) -> Json {
        self.send(line);
        self.next_answer().expect("it answers")
    }

    /// Asks what must succeed.
    pub(crate) fn ok(&mut self, line: &str) -> Json {
        let answer = self.ask(line);
        answer.get("ok").unwrap_or_else(|| panic!("{line}: {answer}")).clone()
    }

    /// Asks what must fail, and returns the code.
    pub(crate) fn code(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        assert!(answer["error"]["message"].is_string(), "{line}: {answer}");
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Waits for the next event.
    pub(crate) fn event(&mut self) -> Json {
        if self.events.is_empty() {
            let line = self.lines.recv_timeout(PATIENCE).expect("an event comes");
            let json: Json = serde_json::from_str(&line).unwrap();
            return json.get("event").unwrap_or_else(|| panic!("no event: {line}")).clone();
        }
        self.events.remove(0)
    }

    /// Asks until the answer is as it should be.
    pub(crate) fn until(&mut self, line: &str, is_so: impl Fn(&Json) -> bool) -> Json {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ok(line);
            if is_so(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{line} stays {answer}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn digest(&mut self) -> Json {
        self.ok("digest")
    }

    /// Ends the input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn quit(mut self) {
        assert_eq!(self.ok("quit"), true);
        assert!(self.wait().success());
        assert!(self.next_answer().is_none());
    }

    /// Kills it, and does not wait until it has gone.
    pub(crate) fn strike(&mut self) {
        self.process.child.kill().unwrap();
    }

    /// Kills it as the machine would, without a chance to say anything.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// Prints a line that is seen whether the test passes or not.
pub(crate) fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Runs a program to its end; it must not stay.
pub(crate) fn run(name: &str, args: &[&str]) -> (ExitStatus, String, String) {
    let output = Command::new(example(name)).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status, text(&output.stdout), text(&output.stderr))
}
