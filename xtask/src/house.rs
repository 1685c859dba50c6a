//! A quick check of the tree, for what no compiler looks at.

mod links;
mod source;
mod tree;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// Prints every violation in the tree at `top`; an error says how many there were.
pub(crate) fn run(top: &Path) -> Result<(), String> {
    let tree = Tree::open(top)?;
    let violations = violations(&tree);
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("house: {} files in order", tree.files().count());
            Ok(())
        }
        count => Err(format!("the house check found {count} violation(s)")),
    }
}

fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, text) in tree.files() {
        let mut report = |line, what| found.push(Violation { file: file.to_owned(), line, what });
        if file.ends_with(".rs") {
            source::check(file, text, &mut report);
        }
        if file.ends_with(".md") {
            links::check(file, text, tree, &mut report);
        }
        check_machine_paths(text, &mut report);
    }
    found
}

/// A path of one person's machine leads nowhere on anybody else's.
fn check_machine_paths(text: &str, report: &mut impl FnMut(usize, String)) {
    for (at, line) in text.lines().enumerate() {
        if let Some(home) = HOMES.into_iter().find(|home| names_directory(line, home)) {
            report(at + 1, format!("a path of somebody's machine, under /{home}"));
        }
    }
}

/// Whether `line` holds an absolute path below the top directory `name`, rather than a relative
/// path or an address that has a part of this name.
fn names_directory(line: &str, name: &str) -> bool {
    line.match_indices(&format!("/{name}/")).any(|(at, _)| {
        let before = &line[..at];
        match before.chars().next_back() {
            Some('/') => before.ends_with("file://"),
            Some(last) => !(last.is_alphanumeric() || "._-~*})]>%@".contains(last)),
            None => true,
        }
    })
}

#[derive(Debug, PartialEq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Top directories that hold people's checkouts. Without slashes, or this file would break its
/// own rule.
const HOMES: [&str; 4] = ["work", "root", "home", "Users"];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        violations(&Tree::of(files)).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_tree_in_order_has_no_violation() {
        let files = [
            ("README.md", "# Syncro\n\nSee [the protocol](docs/protocol.md#frames).\n"),
            ("docs/protocol.md", "# Protocol\n\n## Frames\n\nBack to [the top](../README.md).\n"),
            ("syncro/src/lib.rs", "//! Syncro.\n"),
        ];
        assert_eq!(found(&files), [] as [&str; 0]);
    }

    #[test]
    fn a_violation_says_file_line_and_what() {
        let text = format!("one\n{} = 1\n", ["a = \"", "root", "x\""].join("/"));
        assert_eq!(
            found(&[("a.toml", &text)]),
            ["a.toml:2: a path of somebody's machine, under /root"]
        );
    }

    #[test]
    fn every_kind_of_file_is_searched_for_machine_paths() {
        let path = ["", "home", "me", "x"].join("/");
        for file in ["a.rs", "b.md", "c", "d/e.csv"] {
            assert_eq!(found(&[(file, &path)]).len(), 1, "{file}");
        }
    }

    #[test]
    fn only_an_absolute_path_is_a_machine_path() {
        for part in HOMES {
            for yes in ["{}x", "at ({}x)", "dir=\"{}\"", "`{}`", "file://{}x"] {
                let line = yes.replace("{}", &format!("/{part}/"));
                assert!(names_directory(&line, part), "{line}");
            }
            for no in
                ["net{}x", "../..{}x", "https://example.org{}x", "https:/{}x", "target{dir}{}x"]
            {
                let line = no.replace("{}", &format!("/{part}/"));
                assert!(!names_directory(&line, part), "{line}");
            }
        }
    }
}
