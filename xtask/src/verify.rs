//! `cargo xtask verify FILE`: the example of that name, on a file of the caller's.

use std::path::{Path, absolute};

use crate::ci::{cargo, command_line};

pub(crate) fn run(top: &Path, file: &str) -> Result<(), String> {
    let file = absolute(file).map_err(|why| format!("{file}: {why}"))?;
    let mut command = cargo(top);
    command.args(["run", "--release", "--quiet", "--example", "verify", "--"]).arg(file);
    let line = command_line(&command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(1) => Err("the store is damaged".to_owned()),
        Ok(status) if status.code() == Some(2) => Err("nothing was looked at".to_owned()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(why) => Err(format!("`{line}` did not start: {why}")),
    }
}
