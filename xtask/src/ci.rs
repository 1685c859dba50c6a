//! The steps of continuous integration, in order. The first that fails ends the run.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{bench, fuzz, house, sim};

/// Runs `steps` on the checkout at `top`, and says for each how long it took.
pub(crate) fn run(steps: &[&Step], top: &Path) -> Result<(), String> {
    let start = Instant::now();
    let mut skipped = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let name = step.name;
        println!("\n==> {name} ({} of {})", at + 1, steps.len());
        let step_start = Instant::now();
        let outcome = (step.run)(top);
        let seconds = step_start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed) => println!("<== {name} passed in {seconds:.1} s"),
            Ok(Outcome::Skipped(why)) => {
                println!("skip: {why}");
                skipped.push(name);
            }
            Err(why) => {
                println!("<== {name} FAILED after {seconds:.1} s");
                return Err(format!("step `{name}` failed: {why}"));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let passed = steps.len() - skipped.len();
    let skipped = match skipped.len() {
        0 => "none".to_owned(),
        _ => skipped.join(", "),
    };
    println!(
        "\nci passed in {seconds:.1} s: {passed} of {} steps; skipped: {skipped}",
        steps.len()
    );
    Ok(())
}

/// One thing that must hold of the tree.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    run: fn(&Path) -> Result<Outcome, String>,
}

impl Step {
    /// The steps called `names`, in the order in which `ci` runs them; all of them for no name.
    pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Self>, String> {
        if let Some(name) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
            return Err(format!("`ci` has no step `{name}`"));
        }
        let is_chosen =
            |step: &&Self| names.is_empty() || names.iter().any(|name| name == step.name);
        Ok(STEPS.iter().filter(is_chosen).collect())
    }
}

enum Outcome {
    Passed,
    /// What is missing, so that the log shows what nobody has checked.
    Skipped(String),
}

pub(crate) const STEPS: [Step; 11] = [
    Step { name: "test", run: test },
    Step { name: "release", run: release },
    Step { name: "old-redb", run: old_redb },
    Step { name: "fmt", run: fmt },
    Step { name: "clippy", run: clippy },
    Step { name: "doc", run: doc },
    Step { name: "example", run: example },
    Step { name: "sim", run: sim_step },
    Step { name: "fuzz", run: fuzz_step },
    Step { name: "bench", run: bench_step },
    Step { name: "house", run: house_step },
];

fn test(top: &Path) -> Result<Outcome, String> {
    carry_out(cargo(top).args(["test", "--workspace"]))
}

/// The laws once more as users build us: without overflow checks, assertions and what tests plant.
fn release(top: &Path) -> Result<Outcome, String> {
    carry_out(cargo(top).args(["test", "--release", "--package", "syncro-core", "--test", "nodes"]))
}

/// The crash tests must find what was wrong with an old database.
fn old_redb(top: &Path) -> Result<Outcome, String> {
    carry_out(cargo(top).args(["test", "--manifest-path", "syncro-store/old-redb/Cargo.toml"]))
}

fn fmt(top: &Path) -> Result<Outcome, String> {
    if !answers(cargo(top).args(["fmt", "--version"])) {
        return Ok(Outcome::Skipped("rustfmt is not installed".to_owned()));
    }
    carry_out(cargo(top).args(["fmt", "--all", "--check"]))
}

fn clippy(top: &Path) -> Result<Outcome, String> {
    if !answers(cargo(top).args(["clippy", "--version"])) {
        return Ok(Outcome::Skipped("clippy is not installed".to_owned()));
    }
    carry_out(cargo(top).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Tests run with every transport that there is, which hides what one alone lacks.
    for features in ["redb", "redb,websocket", "redb,rustls", "axum"] {
        let command = ["clippy", "--package", "syncro", "--no-default-features", "--features"];
        carry_out(cargo(top).args(command).args([features, "--", "-D", "warnings"]))?;
    }
    Ok(Outcome::Passed)
}

fn doc(top: &Path) -> Result<Outcome, String> {
    carry_out(
        cargo(top)
            .args(["doc", "--workspace", "--no-deps"])
            // What docs.rs shows.
            .args(["--features", "syncro-store/conformance,syncro-store/sled"])
            .args(["--features", "syncro/axum,syncro/rustls"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The benchmark works, with next to no work, and the hot paths take no more instructions than they may. Nothing is
/// timed.
fn bench_step(top: &Path) -> Result<Outcome, String> {
    if answers(cargo(top).args(["clippy", "--version"])) {
        let manifest = ["--manifest-path", "syncro-bench/Cargo.toml", "--all-targets"];
        carry_out(cargo(top).arg("clippy").args(manifest).args(["--", "-D", "warnings"]))?;
    }
    let few = ["--n", "200", "--repetitions", "1"].map(str::to_owned);
    bench::run(top, &few)?;
    bench::run(top, &["--instructions".to_owned()]).map(|()| Outcome::Passed)
}

/// Random worlds, others with each commit; the tests demand that planted bugs are found.
fn sim_step(top: &Path) -> Result<Outcome, String> {
    sim::run(top, &["--listed".to_owned()])?;
    sim::fresh(top, 2)?;
    sim::same(top, "--classic", CLASSIC_SEEDS)?;
    sim::same(top, "--views", VIEW_SEEDS).map(|()| Outcome::Passed)
}

/// Worlds with peers of 2010 that are played: one in some thousand others is not put right, for what such peers do.
const CLASSIC_SEEDS: u64 = 500;

/// Worlds of sources and views that are played.
const VIEW_SEEDS: u64 = 5000;

/// Runs the first example as a newcomer would, and then again where it left off: a second run
/// over the same directory opens the stores that the first one closed.
fn example(top: &Path) -> Result<Outcome, String> {
    let scratch = Scratch::create()?;
    let (kept, json) = (scratch.dir("kept")?, scratch.dir("json")?);

    carry_out(&mut two_node(top, &kept))?;
    let is_empty = fs::read_dir(&kept).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Err(
            "two_node left nothing in its --dir, so a second run has nothing to go on from"
                .to_owned(),
        );
    }
    println!("-- once more, over the same directory");
    carry_out(&mut two_node(top, &kept))?;

    println!("-- with --encoding json");
    carry_out(two_node(top, &json).args(["--encoding", "json"]))
}

/// A look at each fuzz target; the tests replay the corpus.
fn fuzz_step(top: &Path) -> Result<Outcome, String> {
    let skipped = fuzz::run(top, FUZZ_SECONDS, None)?;
    Ok(skipped.map_or(Outcome::Passed, Outcome::Skipped))
}

/// How long each target is fuzzed.
const FUZZ_SECONDS: u64 = 10;

fn house_step(top: &Path) -> Result<Outcome, String> {
    house::run(top).map(|()| Outcome::Passed)
}

fn two_node(top: &Path, dir: &Path) -> Command {
    let mut command = cargo(top);
    command.args(["run", "--release", "--quiet", "--example", "two_node", "--", "--dir"]).arg(dir);
    command
}

/// The cargo that runs this, so that one toolchain does all of it.
pub(crate) fn cargo(top: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top).stdin(Stdio::null());
    command
}

/// Runs `command` to its end, its output shown as it comes.
fn carry_out(command: &mut Command) -> Result<Outcome, String> {
    let line = command_line(command);
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(Outcome::Passed),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}

/// Whether a tool is there: it says something about itself.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What one would type to run `command` by hand.
pub(crate) fn command_line(command: &Command) -> String {
    let quoted = |word: &OsStr| match word.to_string_lossy() {
        word if word.contains(' ') => format!("\"{word}\""),
        word => word.into_owned(),
    };
    let program = Path::new(command.get_program());
    command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), quoted(value?))))
        .chain([quoted(program.file_stem().unwrap_or(program.as_os_str()))])
        .chain(command.get_args().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A directory of this run alone, gone at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn create() -> Result<Self, String> {
        let nanos =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = env::temp_dir().join(format!("syncro-ci-{}-{nanos}", process::id()));
        // Refuses a directory that is there already, so nothing of an earlier run can be in it.
        fs::create_dir(&path).map_err(|why| format!("cannot create {}: {why}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        fs::create_dir(&path).map_err(|why| format!("cannot create {}: {why}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} stays behind: {why}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_stops_at_the_first_failure_and_names_it() {
        let passes = Step { name: "passes", run: |_| Ok(Outcome::Passed) };
        let fails = Step { name: "fails", run: |_| Err("it rained".to_owned()) };
        let unreachable =
            Step { name: "unreachable", run: |_| panic!("a step ran after a failure") };
        let why = run(&[&passes, &fails, &unreachable], Path::new(".")).unwrap_err();
        assert_eq!(why, "step `fails` failed: it rained");
    }

    #[test]
    fn a_skipped_step_fails_nothing() {
        let skips =
            Step { name: "skips", run: |_| Ok(Outcome::Skipped("no such tool".to_owned())) };
        assert_eq!(run(&[&skips], Path::new(".")), Ok(()));
    }

    #[test]
    fn a_command_that_fails_is_reported_as_one_would_type_it() {
        let mut command = cargo(Path::new("."));
        command.args(["no-such-subcommand", "two words"]).stderr(Stdio::null());
        let Err(why) = carry_out(&mut command) else {
            panic!("cargo has no such subcommand");
        };
        assert!(why.starts_with("`cargo no-such-subcommand \"two words\"` ended with"), "{why}");
    }

    #[test]
    fn a_program_that_is_missing_does_not_answer() {
        assert!(!answers(&mut Command::new("syncro-has-no-such-program")));
    }

    #[test]
    fn scratch_is_gone_when_dropped() {
        let scratch = Scratch::create().unwrap();
        let inside = scratch.dir("inside").unwrap();
        assert!(inside.is_dir());
        drop(scratch);
        assert!(!inside.exists());
    }
}
