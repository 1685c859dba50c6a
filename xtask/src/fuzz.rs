//! `cargo xtask fuzz`: the fuzz targets, side by side.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use crate::ci::{Scratch, answers, cargo, command_line};

/// What an input may cost in seconds, beyond which it counts as a failure.
const SECONDS_MAX: &str = "-timeout=20";

/// What an input may cost in memory. A page number in a damaged file may ask for a page of 4 GiB, and redb makes room
/// before it looks whether the file has one.
fn mib_max(target: &str) -> u32 {
    if target == "store_file" { 5 * 1024 } else { 1024 }
}

/// What libFuzzer counts by, as cargo-fuzz asks for it; and our own assertions.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Runs each target, or the one that is named, for so many seconds, from the committed corpus. What the compiler
/// lacks is told in place of it.
pub(crate) fn run(top: &Path, seconds: u64, only: Option<&str>) -> Result<Option<String>, String> {
    let Some(compiler) = cxx() else {
        return Ok(Some("no C++ compiler is installed, and libfuzzer-sys needs one".to_owned()));
    };
    let targets: Vec<String> =
        targets(top)?.into_iter().filter(|it| only.is_none_or(|only| only == it)).collect();
    if targets.is_empty() {
        return Err(format!("there is no fuzz target {}", only.unwrap_or_default()));
    }
    let programs = build(top, compiler)?;
    let scratch = Scratch::create()?;
    let next = AtomicUsize::new(0);
    let run_some = || {
        let mut failed = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = scratch.dir(target);
            let ran = found.and_then(|found| fuzz(top, &programs, target, &found, seconds));
            failed.extend(ran.err());
        }
        failed
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<String> = thread::scope(|threads| {
        let running: Vec<_> = (0..cores).map(|_| threads.spawn(run_some)).collect();
        let ended = running.into_iter().map(|it| it.join());
        ended.flat_map(|it| it.unwrap_or_else(|_| vec!["it panicked".to_owned()])).collect()
    });
    println!("points {}/{} fuzz targets", targets.len() - failed.len(), targets.len());
    if failed.is_empty() { Ok(None) } else { Err(failed.join("\n")) }
}

fn targets(top: &Path) -> Result<Vec<String>, String> {
    let directory = top.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory);
    let entries = entries.map_err(|error| format!("{}: {error}", directory.display()))?;
    let names =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    let mut targets: Vec<String> = names.collect();
    targets.sort();
    Ok(targets)
}

/// Builds the targets, and returns where they are. Build scripts are not to be counted in, which takes a target of
/// their own.
fn build(top: &Path, compiler: OsString) -> Result<PathBuf, String> {
    let host = host(top)?;
    let directory = env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
    let directory = directory.join("fuzz");
    let mut command = cargo(top);
    command.args([
        "build",
        "--release",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--bins",
        "--target",
    ]);
    command.arg(&host).arg("--target-dir").arg(&directory);
    command.env("RUSTFLAGS", FLAGS).env("CXX", compiler);
    println!("$ {}", command_line(&command));
    match command.status() {
        Ok(status) if status.success() => Ok(directory.join(host).join("release")),
        Ok(status) => Err(format!("building the fuzz targets ended with {status}")),
        Err(why) => Err(format!("cargo does not start: {why}")),
    }
}

/// The machine that this compiler builds for.
fn host(top: &Path) -> Result<String, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(top).arg("-vV").output();
    let output = output.map_err(|why| format!("rustc does not start: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say for what it builds".to_owned())
}

/// New inputs go to a scratch directory, so that the corpus stays as small as it is.
fn fuzz(
    top: &Path,
    programs: &Path,
    target: &str,
    found: &Path,
    seconds: u64,
) -> Result<(), String> {
    let artifacts = top.join("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts).map_err(|why| format!("{}: {why}", artifacts.display()))?;
    let mut command = Command::new(programs.join(target));
    command.arg(found).arg(top.join("fuzz/corpus").join(target));
    command.arg(format!("-max_total_time={seconds}")).arg(SECONDS_MAX);
    command.arg(format!("-rss_limit_mb={}", mib_max(target)));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("{target} does not start: {why}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let sum = told.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("no word of an end");
    println!("{target}: {sum}");
    if output.status.success() {
        return Ok(());
    }
    let last: Vec<&str> = told.lines().rev().take(40).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!("{target} found something, see {}:\n{}", artifacts.display(), last.join("\n")))
}

/// The C++ compiler to build with: the one that the environment names, else the first that is
/// there. Build scripts look for `c++` alone, and some machines have only `g++`.
fn cxx() -> Option<OsString> {
    let is_there = |name: &&str| answers(Command::new(name).arg("--version"));
    let named = env::var_os("CXX").filter(|named| !named.is_empty());
    named.or_else(|| ["c++", "g++", "clang++"].into_iter().find(is_there).map(OsString::from))
}
