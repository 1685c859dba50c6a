//! Counts the instructions of the hot paths, since time is not stable on a machine that is shared.
//!
//! Callgrind runs this program twice for each path, with few operations and with many: the difference is theirs.
//! It has no instructions for SHA-256, as the processor has, so what a hash takes without them is left out.

use std::env;
use std::process::{Command, ExitCode, Stdio};

use syncro_bench::hot::{Hot, OPERATIONS, PATHS};

/// Operations of the two runs: after the first some memory is warm.
const FEW: usize = 1000;
const MANY: usize = OPERATIONS;

/// Stops counting where blocks are hashed, and goes on after them.
const NOT_COUNTED: &str = "--toggle-collect=sha2::sha256::soft::unroll::compress*";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [name, operations] = &args[..] {
        return work(name, operations);
    }
    let answers = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !answers.is_ok_and(|status| status.success()) {
        println!("skip: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let mut is_good = true;
    println!("{:8} {:>12} {:>12}  what", "path", "instructions", "at most");
    for path in &PATHS {
        match counted(path) {
            Ok(count) => {
                let word = if count <= path.ceiling { "" } else { "  TOO MANY" };
                println!("{:8} {count:>12} {:>12}  {}{word}", path.name, path.ceiling, path.what);
                is_good &= count <= path.ceiling;
            }
            Err(why) => {
                println!("{}: {why}", path.name);
                is_good = false;
            }
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does so many operations of a path.
fn work(name: &str, operations: &str) -> ExitCode {
    let path = PATHS.iter().find(|path| path.name == name);
    let (Some(path), Ok(operations)) = (path, operations.parse::<usize>()) else {
        eprintln!("there is no path `{name}`, or `{operations}` is no number");
        return ExitCode::FAILURE;
    };
    let mut operation = (path.make)();
    (0..operations.min(OPERATIONS)).for_each(&mut operation);
    // What is made ready is as much in both runs, and so is what is freed.
    ExitCode::SUCCESS
}

/// Instructions of one operation.
fn counted(path: &Hot) -> Result<u64, String> {
    let (few, many) = (callgrind(path, FEW)?, callgrind(path, MANY)?);
    Ok(many.saturating_sub(few) / (MANY - FEW) as u64)
}

fn callgrind(path: &Hot, operations: usize) -> Result<u64, String> {
    let program = env::current_exe().map_err(|why| why.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.args([NOT_COUNTED, "--collect-atstart=yes"]).arg(program);
    let output = command.args([path.name, &operations.to_string()]).output();
    let output = output.map_err(|why| why.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find_map(|line| line.split_once("Collected : "));
    let count = line.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| format!("valgrind says nothing of a count:\n{told}"))
}
