//! The examples that bring a transport of their own, run as a newcomer would.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

#[path = "../process/mod.rs"]
mod process;
#[path = "../process/run.rs"]
mod run;

use process::example;
use run::run;

/// The digest that the line of `who` ends with.
fn digest(printed: &str, who: &str) -> String {
    let mut said = printed.lines().filter_map(|line| line.strip_prefix(&format!("{who} ")));
    said.find(|rest| rest.len() == 32).unwrap_or_else(|| panic!("{printed}")).to_owned()
}

#[test]
fn two_engines_by_hand_end_with_one_log() {
    let printed = run("by_hand", &[]);
    assert_eq!(digest(&printed, "laptop"), digest(&printed, "server"));
    for title in ["milk", "bread"] {
        assert_eq!(printed.matches(&format!("{title:?}")).count(), 2, "{printed}");
    }
    assert_eq!(printed, run("by_hand", &[]), "nothing in it depends on time or chance");
}

#[cfg(unix)]
#[test]
fn two_processes_converge_over_a_unix_socket() {
    let printed = run("unix_socket", &[]);
    assert_eq!(digest(&printed, "parent"), digest(&printed, "child"));
    for who in ["parent", "child"] {
        assert_eq!(printed.matches(&format!("hello from the {who}")).count(), 2, "{printed}");
    }
}

/// Errors were printed with every line break escaped.
#[test]
fn what_an_example_does_not_take_is_told_in_lines() {
    for name in ["two_node", "limits"] {
        let output = std::process::Command::new(example(name)).arg("--bad").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("{name}: ")) && !said.contains("\\n"), "{said}");
        assert!(!said.contains("Error"), "{said}");
    }
}

#[test]
fn two_nodes_converge_by_a_stick() {
    let printed = run("stick", &[]);
    let digests: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("office ")).collect();
    let theirs: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("forest ")).collect();
    assert_eq!(digests, theirs, "{printed}");
    assert_eq!(digests.len(), 2, "{printed}");
    assert!(printed.contains("ends before its end; 0 new scribes"), "{printed}");
    assert!(printed.contains("is missing here"), "{printed}");
}
