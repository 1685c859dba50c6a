//! `cargo xtask fuzz`: every fuzz target in turn.

use std::fs;
use std::path::Path;

use crate::ci::{Scratch, cargo, command_line};

/// What an input may cost: seconds and MiB, beyond which it counts as a failure.
const LIMITS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=1024"];

/// Runs each target for so many seconds, from the committed corpus.
pub(crate) fn run(top: &Path, seconds: u64) -> Result<(), String> {
    let is_there = cargo(top).args(["fuzz", "--version"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        println!("skip: cargo-fuzz is not installed: cargo install cargo-fuzz");
        return Ok(());
    }
    let directory = top.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory);
    let entries = entries.map_err(|error| format!("{}: {error}", directory.display()))?;
    let names =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    let mut targets: Vec<String> = names.collect();
    targets.sort();
    let scratch = Scratch::create()?;
    for target in &targets {
        println!("\n==> {target}, for {seconds} s");
        fuzz(top, target, &scratch.dir(target)?, seconds)?;
    }
    println!("points {0}/{0} fuzz targets", targets.len());
    Ok(())
}

/// New inputs go to a scratch directory, so that the corpus stays as small as it is.
fn fuzz(top: &Path, target: &str, found: &Path, seconds: u64) -> Result<(), String> {
    let mut command = cargo(&top.join("fuzz"));
    // libFuzzer needs unstable flags, which this compiler then takes as well.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.args(["fuzz", "run", "--sanitizer", "none", target]).arg(found);
    command.arg(format!("corpus/{target}"));
    command.args(["--", &format!("-max_total_time={seconds}")]).args(LIMITS);
    let line = command_line(&command);
    let status = command.status().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line} found something")) }
}
