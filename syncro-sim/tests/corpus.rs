//! Replays the corpus of the fuzz targets, for which any compiler will do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use syncro_sim::fuzz as bodies;

/// An input that grows beyond this says too many things at once.
const INPUT_BYTES_MAX: usize = 4096;

#[test]
fn classic_session() {
    replay("classic_session", bodies::classic_session);
}

#[test]
fn frames() {
    replay("frames", bodies::frames);
}

#[test]
fn json() {
    replay("json", bodies::json);
}

#[test]
fn message() {
    replay("message", bodies::message);
}

#[test]
fn session() {
    replay("session", bodies::session);
}

#[test]
fn store_file() {
    replay("store_file", bodies::store_file);
}

#[test]
fn store_value() {
    replay("store_value", bodies::store_value);
}

#[test]
fn transaction() {
    replay("transaction", bodies::transaction);
}

#[test]
fn two_nodes() {
    replay("two_nodes", bodies::two_nodes);
}

#[test]
fn views() {
    replay("views", bodies::views);
}

#[test]
fn websocket() {
    replay("websocket", bodies::websocket);
}

#[test]
#[ignore = "writes the seeds into the corpus"]
fn seeds_are_written() {
    for (target, name, bytes) in bodies::seeds() {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(name), bytes).unwrap();
    }
}

/// Gives a target every input of its corpus. The name of the last one stands above a failure.
fn replay(target: &str, body: fn(&[u8])) {
    let inputs = fs::read_dir(corpus(target)).unwrap();
    let mut inputs: Vec<PathBuf> = inputs.map(|input| input.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for input in inputs {
        println!("{}", input.display());
        let bytes = fs::read(&input).unwrap();
        assert!(bytes.len() <= INPUT_BYTES_MAX, "{} bytes", bytes.len());
        body(&bytes);
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}
