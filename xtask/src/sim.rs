//! `cargo xtask sim`: random worlds, each from a seed.

use std::path::Path;

use crate::ci::cargo;

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
