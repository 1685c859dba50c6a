//! One entry for everything that continuous integration does: `cargo xtask ci`.
//!
//! It needs Rust and nothing else. A tool that is not installed costs a printed `skip` line,
//! never a silent pass.

mod bench;
mod ci;
mod fuzz;
mod house;
mod sim;
mod soak;
mod verify;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match Task::parse(&args) {
        Ok(Task::Help) => {
            print!("{HELP}");
            Ok(())
        }
        Ok(Task::Bench(args)) => bench::run(&top(), &args),
        Ok(Task::Ci(steps)) => ci::run(&steps, &top()),
        Ok(Task::House) => house::run(&top()),
        Ok(Task::Sim(args)) => sim::run(&top(), &args),
        Ok(Task::Fuzz(seconds, only)) => {
            let fuzzed = fuzz::run(&top(), seconds, only.as_deref());
            fuzzed.map(|skipped| skipped.iter().for_each(|why| println!("skip: {why}")))
        }
        Ok(Task::SoakSim(hours)) => sim::fresh(&top(), 60 * hours),
        Ok(Task::SoakStore(minutes)) => soak::store(&top(), minutes),
        Ok(Task::SoakConnections(args)) => soak::connections(&top(), &args),
        Ok(Task::SoakPairs(pairs)) => soak::pairs(&top(), pairs),
        Ok(Task::Verify(file)) => verify::run(&top(), &file),
        Err(misuse) => Err(format!("{misuse}\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
enum Task {
    /// With what the benchmark is to do.
    Bench(Vec<String>),
    Ci(Vec<&'static ci::Step>),
    Help,
    House,
    /// With what the simulator is to do.
    Sim(Vec<String>),
    /// Each target for so many seconds.
    Fuzz(u64, Option<String>),
    /// With so many minutes of random extra.
    SoakStore(u64),
    /// With how many hours.
    SoakSim(u64),
    /// With how many, and over what.
    SoakConnections(Vec<String>),
    /// With how many of them.
    SoakPairs(u64),
    Verify(String),
}

impl Task {
    fn parse(args: &[String]) -> Result<Self, String> {
        let Some((task, rest)) = args.split_first() else {
            return Ok(Self::Help);
        };
        if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
            return Ok(Self::Help);
        }
        match task.as_str() {
            "bench" => Ok(Self::Bench(rest.to_vec())),
            "ci" => Ok(Self::Ci(ci::Step::chosen(rest)?)),
            "help" | "--help" | "-h" => Ok(Self::Help),
            "house" if rest.is_empty() => Ok(Self::House),
            "house" => Err(format!("`house` takes no argument, not `{}`", rest[0])),
            "sim" => Ok(Self::Sim(rest.to_vec())),
            "fuzz" => match rest {
                [] => Ok(Self::Fuzz(60, None)),
                [flag, seconds, only @ ..] if flag == "--seconds" && only.len() < 2 => {
                    match seconds.parse() {
                        Ok(seconds) => Ok(Self::Fuzz(seconds, only.first().cloned())),
                        Err(_) => Err(format!("`--seconds` takes a number, not `{seconds}`")),
                    }
                }
                _ => Err("`fuzz` takes `[--seconds N [TARGET]]`".to_owned()),
            },
            "soak" => match rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["store"] => Ok(Self::SoakStore(0)),
                ["store", "--minutes", minutes] => match minutes.parse() {
                    Ok(minutes) => Ok(Self::SoakStore(minutes)),
                    Err(_) => Err(format!("`--minutes` takes a number, not `{minutes}`")),
                },
                ["sim", "--hours", hours] => {
                    let hours: u64 =
                        hours.parse().map_err(|_| format!("`{hours}` is no number"))?;
                    Ok(Self::SoakSim(hours))
                }
                ["connections", ..] => Ok(Self::SoakConnections(rest[1..].to_vec())),
                ["pairs"] => Ok(Self::SoakPairs(10_000)),
                ["pairs", pairs] => {
                    let pairs = pairs.parse().map_err(|_| format!("`{pairs}` is no number"))?;
                    Ok(Self::SoakPairs(pairs))
                }
                _ => Err(
                    "`soak` takes `store [--minutes N]`, `sim --hours N`, `connections` or `pairs [N]`"
                        .to_owned(),
                ),
            },
            "verify" => match rest {
                [file] => Ok(Self::Verify(file.clone())),
                _ => Err("`verify` takes one file".to_owned()),
            },
            _ => Err(format!("there is no task `{task}`")),
        }
    }
}

/// The top of the checkout that this is run in. Cargo says where that is at run time; the place
/// of the build may be another one, if two checkouts share a target directory.
fn top() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

const HELP: &str = "\
Everything that continuous integration does, from one entry.

Usage: cargo xtask <TASK>

Tasks:
  ci [STEP]...  Run every step below in this order, or only those named; stop at the first failure
  bench [OPTION]...
                Measure Syncro beside its peers, in a workspace of its own; `--list` names the cases
  bench --instructions
                Count the instructions of the hot paths, with valgrind, and hold them against their limits
  house         Check the tree: long files, unfinished code, dead links, machine paths
  sim --seeds N [--base B]
                Play N random worlds; `sim --help` says what else there is
  sim --seed S [--trace]
                Play one of them; show what happens in it, line by line
  sim --planted Demand that every bug is found that is planted
  fuzz [--seconds N [TARGET]]
                Fuzz each target, or one, for N seconds, 60 if nobody says
  soak sim --hours N
                Play random worlds for N hours, others with each commit
  soak store [--minutes N]
                Prove the store by enumeration, side by side; go on at random for N minutes
  soak connections [--connections N] [--transport tcp|ws]
                Connect N nodes to one server, 10000 if nobody says, and show what holds of them
  soak pairs [N]
                Play N pairs of stories, 10000 if nobody says, that must be the same to a view
  verify FILE   Look at everything in a store, and print what is damaged
  help          Print this text

Steps of ci:
  test     cargo test --workspace
  release  cargo test --release --package syncro-core --test nodes
  old-redb cargo test --manifest-path syncro-store/old-redb/Cargo.toml
  fmt      cargo fmt --all --check
  clippy   cargo clippy --workspace --all-targets -- -D warnings
  doc      cargo doc --workspace --no-deps, warnings denied
  example  two_node, twice over one directory, then once with --encoding json
  sim      random worlds: the listed ones, four minutes of others, and 5000 of sources and views
  fuzz     cargo xtask fuzz --seconds 10
  house    the same as `cargo xtask house`

A step whose tool is not installed prints a line that starts with `skip:`.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        Task::parse(&args)
    }

    #[test]
    fn ci_alone_means_every_step() {
        let Ok(Task::Ci(steps)) = parse("ci") else {
            panic!("`ci` is a task");
        };
        assert_eq!(steps.len(), ci::STEPS.len());
    }

    #[test]
    fn named_steps_run_in_the_order_of_ci() {
        let Ok(Task::Ci(steps)) = parse("ci house fmt") else {
            panic!("`ci` takes steps");
        };
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["fmt", "house"]);
    }

    #[test]
    fn a_mistyped_word_is_an_error_that_repeats_it() {
        for (line, word) in [
            ("cii", "cii"),
            ("ci fnt", "fnt"),
            ("house x", "`x`"),
            ("soak store --minutes x", "`x`"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn asking_for_help_anywhere_runs_nothing() {
        for line in ["", "help", "--help", "-h", "ci --help", "house -h"] {
            assert!(matches!(parse(line), Ok(Task::Help)), "{line}");
        }
    }

    #[test]
    fn what_bench_is_to_do_is_not_read_here() {
        let Ok(Task::Bench(args)) = parse("bench --case W1 --n 1000") else {
            panic!("`bench` is a task");
        };
        assert_eq!(args, ["--case", "W1", "--n", "1000"]);
    }

    #[test]
    fn the_help_names_every_step() {
        for step in &ci::STEPS {
            assert!(HELP.contains(&format!("\n  {} ", step.name)), "{}", step.name);
        }
    }
}
