//! An example that runs to its end by itself.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::process::{PATIENCE, Process, example, lines_of};

/// Runs an example to its end, and returns what it has printed.
pub(crate) fn run(name: &str, args: &[&str]) -> String {
    let mut command = Command::new(example(name));
    let command = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process::start(command);
    let lines = lines_of(process.child.stdout.take().unwrap());
    let (mut printed, end) = (String::new(), Instant::now() + PATIENCE);
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        printed += &line;
        printed += "\n";
    }
    assert!(process.wait().success(), "{printed}");
    printed
}
