//! `cargo xtask sim`: random worlds, each from a seed.

use std::path::Path;
use std::process::Command;

use crate::ci::cargo;

/// A first seed that is another one with each commit; 0 where there is none.
fn base_of_commit(top: &Path) -> u64 {
    let mut git = Command::new("git");
    let head = git.current_dir(top).args(["rev-parse", "HEAD"]).output();
    let head = head.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let digits = head.as_deref().and_then(|head| head.get(..12));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Plays seeds that are others with each commit, for so many minutes.
pub(crate) fn fresh(top: &Path, minutes: u64) -> Result<(), String> {
    let base = base_of_commit(top);
    println!("-- fresh seeds, from {base} on");
    let args = ["--minutes", &minutes.to_string(), "--base", &base.to_string()];
    run(top, &args.map(str::to_owned))
}

/// Plays so many worlds of another sort, the same with each commit.
pub(crate) fn same(top: &Path, sort: &str, seeds: u64) -> Result<(), String> {
    println!("-- {sort}");
    run(top, &[sort, "--seeds", &seeds.to_string()].map(str::to_owned))
}

/// Runs the simulator with its own arguments. What it prints is its own: cargo is silent unless it fails.
pub(crate) fn run(top: &Path, args: &[String]) -> Result<(), String> {
    let mut command = cargo(top);
    command.args(["run", "--quiet", "--package", "syncro-sim"]);
    if args.iter().any(|arg| arg == "--planted") {
        // Bugs are planted in test builds only.
        command.args(["--features", "planted"]);
    } else {
        command.arg("--release");
    }
    let status = command.arg("--").args(args).status();
    let status = status.map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err("see above".to_owned()) }
}
