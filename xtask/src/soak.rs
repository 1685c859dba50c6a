//! `cargo xtask soak store`: the long proofs of the store, each of which tells how much of it holds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
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
}

const PROOFS: [Proof; 4] = [
    Proof {
        package: "syncro-store",
        test: "crash",
        filter: "",
        scope: &[("SYNCRO_SOAK", "all")],
        has_more: true,
    },
    Proof {
        package: "syncro-store",
        test: "rot",
        filter: "",
        scope: &[("SYNCRO_ROT", "100000")],
        has_more: false,
    },
    Proof { package: "syncro-core", test: "nodes", filter: "heal::", scope: &[], has_more: true },
    Proof {
        package: "syncro-examples",
        test: "node",
        filter: "killing::",
        scope: &[("SYNCRO_KILLS", "1000")],
        has_more: false,
    },
];

/// Runs every proof, and of those that go on at random so many minutes each.
pub(crate) fn store(top: &Path, minutes: u64) -> Result<(), String> {
    let start = Instant::now();
    let mut points = Vec::new();
    for proof in &PROOFS {
        points.extend(run(top, proof, minutes)?);
    }
    println!("\nin {:.0} s:", start.elapsed().as_secs_f32());
    points.iter().for_each(|line| println!("{line}"));
    let lacking = points.iter().filter(|line| !is_full(line)).count();
    if lacking == 0 { Ok(()) } else { Err(format!("{lacking} proofs do not hold")) }
}

/// Runs a proof, shows what it prints, and returns what it says of its points.
fn run(top: &Path, proof: &Proof, minutes: u64) -> Result<Vec<String>, String> {
    let mut command = cargo(top);
    command.args(["test", "--release", "--package", proof.package, "--test", proof.test]);
    command.args(["--", "--nocapture", "--test-threads", "1", proof.filter]);
    command.envs(proof.scope.iter().copied());
    if proof.has_more && minutes > 0 {
        command.env("SYNCRO_SOAK", minutes.to_string());
    }
    let line = command_line(&command);
    println!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|why| format!("`{line}` did not start: {why}"))?;
    let mut points = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{text}");
            // A test's name may stand before it.
            points.extend(text.find("points ").map(|at| text[at..].to_owned()));
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(points),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}`: {why}")),
    }
}

/// Whether all points of a line were made.
fn is_full(line: &str) -> bool {
    let counts = line.split(' ').nth(1).and_then(|counts| counts.split_once('/'));
    counts.is_some_and(|(made, of)| made == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_full_when_all_were_made() {
        assert!(is_full("points 7/7 kills"));
        assert!(!is_full("points 6/7 kills"));
        assert!(!is_full("points"));
    }
}
