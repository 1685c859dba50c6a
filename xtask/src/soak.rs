//! `cargo xtask soak store`: the long proofs of the store, each of which tells how much of it holds.
//! `cargo xtask soak connections`: thousands of nodes at one server.
//! `cargo xtask soak pairs`: pairs of stories that are the same to a view.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::ci::{cargo, command_line};

struct Proof {
    package: &'static str,
    test: &'static str,
    filter: &'static str,
    /// What asks for all of it.
    scope: &'static [(&'static str, &'static str)],
    /// Whether it goes on at random for `SYNCRO_SOAK` minutes.
    has_more: bool,
    /// What the lines are about that sum it up. Each must be there: a proof that did not run proves nothing.
    sums: &'static [&'static str],
}

const PROOFS: [Proof; 5] = [
    Proof {
        package: "syncro-store",
        test: "crash",
        filter: "",
        scope: &[("SYNCRO_SOAK", "0")],
        has_more: true,
        sums: &["crash images: all scenarios", "io errors: all scenarios"],
    },
    Proof {
        package: "syncro-examples",
        test: "node",
        filter: "killing::",
        scope: &[("SYNCRO_KILLS", "1000")],
        has_more: false,
        sums: &["kills"],
    },
    Proof {
        package: "syncro-examples",
        test: "node",
        filter: "full::",
        scope: &[],
        has_more: false,
        sums: &["full disk"],
    },
    Proof {
        package: "syncro-core",
        test: "nodes",
        filter: "heal::",
        scope: &[],
        has_more: true,
        sums: &["restore pairs:"],
    },
    Proof {
        package: "syncro-store",
        test: "rot",
        filter: "",
        scope: &[("SYNCRO_ROT", "100000")],
        has_more: false,
        sums: &["rotten files", "repaired files"],
    },
];

/// Runs every proof, side by side, and those that go on at random for so many minutes more.
pub(crate) fn store(top: &Path, minutes: u64) -> Result<(), String> {
    let start = Instant::now();
    PROOFS.iter().try_for_each(|proof| build(top, proof))?;
    let built = start.elapsed();
    let run = |proof| move || run(top, proof, minutes);
    let runs: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = PROOFS.iter().map(|proof| scope.spawn(run(proof))).collect();
        running.into_iter().map(|run| run.join().map_err(|_| "it panicked".to_owned())).collect()
    });
    let seconds = (start.elapsed() - built).as_secs_f32();
    println!("\nin {seconds:.0} s, after {:.0} s of building:", built.as_secs_f32());
    let mut wrong = Vec::new();
    for (proof, ran) in PROOFS.iter().zip(runs) {
        let (told, ended) = ran?;
        let sums = proof.sums.iter().map(|sum| (sum, told.iter().find(|line| is_of(line, sum))));
        for (sum, line) in sums {
            match line {
                Some(line) => println!("{line}"),
                None => wrong.push(format!("{sum}: nothing was said of them")),
            }
        }
        wrong.extend(told.into_iter().filter(|line| !is_full(line)));
        wrong.extend(ended.err());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Runs the example `connections`, with more of them than the tests have.
pub(crate) fn connections(top: &Path, args: &[String]) -> Result<(), String> {
    let mut command = cargo(top);
    command.args(["run", "--release", "--package", "syncro-examples", "--example", "connections"]);
    command.args(["--", "--connections", CONNECTIONS]).args(args);
    let line = command_line(&command);
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}

/// How many there are if nobody says. The last word is the caller's.
const CONNECTIONS: &str = "10000";

/// Plays so many pairs of stories that differ in what a view may not see, and demands that the view hears the same.
pub(crate) fn pairs(top: &Path, pairs: u64) -> Result<(), String> {
    let mut command = cargo(top);
    command.args(["test", "--release", "--package", "syncro-core", "--test", "nodes"]);
    command.args(["--", "--exact", "limits::views::hidden::hidden_activity_leaves_no_trace"]);
    command.env("SYNCRO_PAIRS", pairs.to_string());
    let line = command_line(&command);
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => {
            println!("points {pairs}/{pairs} pairs");
            Ok(())
        }
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}

/// Builds a test, and the examples that it may run.
fn build(top: &Path, proof: &Proof) -> Result<(), String> {
    let mut command = cargo(top);
    command.args(["build", "--release", "--package", proof.package, "--test", proof.test]);
    command.arg("--examples");
    let line = command_line(&command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}

/// Runs a proof, shows what it prints, and returns what it says of its points, and how it ended.
fn run(top: &Path, proof: &Proof, minutes: u64) -> (Vec<String>, Result<(), String>) {
    let mut command = cargo(top);
    command.args(["test", "--release", "--package", proof.package, "--test", proof.test]);
    command.args(["--", "--nocapture", proof.filter]);
    command.envs(proof.scope.iter().copied());
    if proof.has_more && minutes > 0 {
        command.env("SYNCRO_SOAK", minutes.to_string());
    }
    let line = command_line(&command);
    println!("$ {line}");
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(why) => return (Vec::new(), Err(format!("`{line}` did not start: {why}"))),
    };
    let mut told = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{text}");
            // A test's name may stand before it.
            let place = ["points ", "skip: "].iter().find_map(|word| text.find(word));
            told.extend(place.map(|at| text[at..].to_owned()));
        }
    }
    let ended = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}`: {why}")),
    };
    (told, ended)
}

/// Whether a line is about something: `points 7/7 kills, in 20 s` or `skip: kills, since ...`.
fn is_of(line: &str, sum: &str) -> bool {
    let rest = match line.strip_prefix("points ") {
        Some(points) => points.split_once(' ').map(|(_, rest)| rest),
        None => line.strip_prefix("skip: "),
    };
    rest.is_some_and(|rest| rest.starts_with(sum))
}

/// Whether all points of a line were made, and there were any. What is skipped has none.
fn is_full(line: &str) -> bool {
    let counts = line.strip_prefix("points ").and_then(|points| points.split(' ').next());
    match counts.and_then(|counts| counts.split_once('/')) {
        Some((made, of)) => made == of && of != "0",
        None => line.starts_with("skip: "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_full_when_all_were_made() {
        assert!(is_full("points 7/7 kills"));
        assert!(is_full("skip: full disk, since nobody may mount one"));
        for line in ["points 6/7 kills", "points 0/0 kills", "points"] {
            assert!(!is_full(line), "{line}");
        }
    }

    #[test]
    fn a_line_is_about_what_comes_after_its_points() {
        assert!(is_of("points 7/7 kills, in 20 s: ...", "kills"));
        assert!(is_of("skip: full disk, since nobody may mount one", "full disk"));
        assert!(!is_of("points 7/7 io errors: growth", "io errors: all scenarios"));
    }
}
