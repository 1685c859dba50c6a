//! `cargo xtask bench`: the workload, for Syncro and its peers; or the instructions of the hot paths.

use std::path::Path;

use crate::ci::{cargo, command_line};

/// Builds what is in `syncro-bench`, its peers included, and runs it.
pub(crate) fn run(top: &Path, args: &[String]) -> Result<(), String> {
    let mut command = cargo(top);
    command.args(["run", "--release", "--manifest-path", "syncro-bench/Cargo.toml"]);
    match args {
        [only] if only == "--instructions" => {
            command.args(["--bin", "instructions"]);
        }
        _ => {
            command.arg("--").args(args);
        }
    }
    let line = command_line(&command);
    // Standard output may be JSON.
    eprintln!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}
