//! A test that runs once more, in a process that can be killed.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Another process, which runs the same test in its other part. Killed with the value.
pub(super) struct Other {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Other {
    /// Runs the test of a full name, and nothing else, on a directory. The seed is up to the test.
    pub(super) fn start(name: &str, directory: &Path, seed: u64) -> Self {
        // The harness knows a test by its path within the crate.
        let (_, name) = name.split_once("::").unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .env(SEED, seed.to_string())
            // It ends with the process that started it, whose end of this pipe is closed then.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        Self { child, words }
    }

    /// Waits for the next word that the other process [`said`](say).
    pub(super) fn next_word(&mut self) -> String {
        loop {
            let mut line = String::new();
            let bytes = self.words.read_line(&mut line).unwrap();
            assert_ne!(bytes, 0, "the other process ended too early");
            // The harness may have begun the line.
            if let Some((_, word)) = line.split_once(MARK) {
                return word.trim_end().to_owned();
            }
        }
    }

    /// Kills it where it is, without a chance to tidy up.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Dead already, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which directory and seed this process was started for; `None` in the process that a person started.
pub(super) fn task() -> Option<(PathBuf, u64)> {
    let directory = env::var_os(DIRECTORY)?;
    let seed = env::var(SEED).ok()?.parse().ok()?;
    Some((directory.into(), seed))
}

/// Says something to the process that started this one.
pub(super) fn say(word: impl ToString) {
    println!("{MARK}{}", word.to_string());
}

/// Waits for the end of the process that started this one, which usually kills this one before.
pub(super) fn wait_for_the_end() {
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
}

const DIRECTORY: &str = "SYNCRO_CONFORMANCE_DIRECTORY";
const SEED: &str = "SYNCRO_CONFORMANCE_SEED";
const MARK: &str = "syncro-conformance: ";
