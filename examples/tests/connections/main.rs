//! The example `connections`: two thousand nodes at one server.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

#[path = "../process/mod.rs"]
mod process;

use std::process::{Command, Stdio};

use process::{Process, example, lines_of};

/// What it shows, in its order. A line that it skips says so, and the others are there all the same.
const SHOWN: [&str; 7] = [
    "are open after",
    "memory",
    "one change is at all of them",
    "changes of",
    "do not read are at all others",
    "all are back",
    "all hold the same",
];

fn shows_all(connections: &str, transport: &str) {
    let mut command = Command::new(example("connections"));
    command.args(["--connections", connections, "--transport", transport]);
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    // How long each thing may take it knows itself.
    let printed: Vec<_> = lines_of(process.child.stdout.take().unwrap()).iter().collect();
    assert!(process.wait().success(), "{printed:#?}");
    let printed = printed.join("\n");
    println!("{printed}");
    if printed.starts_with("skip: ") {
        return;
    }
    for what in SHOWN {
        assert!(printed.contains(what), "{what:?} is not in\n{printed}");
    }
}

/// One after the other: what they measure is the time, too.
#[test]
fn two_thousand_connections_at_one_server() {
    shows_all("2000", "tcp");
    shows_all("500", "ws");
}
