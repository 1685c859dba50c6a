//! This program once more, as a child that takes commands and tells what happens.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::Fault;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that does not outlive this one.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    name: String,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Result<Self, Fault> {
        let mut command = Command::new(std::env::current_exe()?);
        let pipes = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child has no pipes".into());
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let name = args.first().copied().unwrap_or_default().to_owned();
        Ok(Self { child, stdin, lines, name })
    }

    pub(crate) fn send(&mut self, command: &str) -> Result<(), Fault> {
        Ok(self.stdin.write_all(format!("{command}\n").as_bytes())?)
    }

    /// Waits for a line that begins so, and returns its rest. What comes before it is passed over.
    pub(crate) fn told(&self, start: &str) -> Result<String, Fault> {
        let mut last = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| {
                format!("the {} did not say {start:?}, but {last:?} at last", self.name)
            })?;
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
            last = line;
        }
    }

    /// Waits for a line.
    pub(crate) fn expect(&self, line: &str) -> Result<(), Fault> {
        while !self.told(line)?.is_empty() {}
        Ok(())
    }

    /// Sends a command, whose answer has to be this one.
    pub(crate) fn ask(&mut self, command: &str, answer: &str) -> Result<(), Fault> {
        self.send(command)?;
        let word = answer.split(' ').next().unwrap_or_default();
        let told = self.told(word)?;
        match format!("{word}{told}") == answer {
            true => Ok(()),
            false => Err(format!("{command}: {word}{told}, and not {answer}").into()),
        }
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Result<(), Fault> {
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("the {} ended with {status}", self.name).into()),
        }
    }

    /// Bytes of memory that it has in use, where the system shows them.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many files a process may have open, where the system shows it.
pub(crate) fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Calls with each line of stdin, until `quit` or the end.
pub(crate) fn commands(mut command: impl FnMut(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "quit" => return Ok(()),
            line => command(line)?,
        }
    }
    Ok(())
}
