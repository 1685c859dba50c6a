//! The example `limits`, run as a newcomer would, and the tokens that it gives out.

// Clippy lets helpers of tests unwrap only under this attribute.
#![cfg(test)]

#[path = "../process/mod.rs"]
mod process;
#[path = "../process/run.rs"]
mod run;
// Cargo runs no tests of an example that it builds as a program, and a program is what the other tests run.
#[path = "../../examples/limits/token.rs"]
mod token;

use run::run;

/// What it tells of the first run, whatever the time and the chance.
const TOLD: [&str; 17] = [
    r#"garden-1     of ann          "Garden": "beans, and a pond""#,
    r#"kitchen-1    of bob          "Kitchen": "soup, and bread""#,
    "on his node ann's page was not to be seen, and 3 are new",
    "he guesses the id of ann's page  1: page/garden-1 is in no channel into which its author may write",
    "he writes a page in her name     1: page/letter-1: its author may not write into channel user/ann",
    "he shows her a page unasked      1: page/kitchen-1: its author may not write into channel user/ann",
    "he takes the title off his own   100: a page has a title",
    r#"garden-1     of ann          "Garden": "beans, and a pond""#,
    r#"kitchen-1    of bob          "Kitchen": "soup, and bread""#,
    r#"cellar-1     of bob          "Cellar": "apples""#,
    r#"trip-1       of ann and bob  "Trip to the sea": "Friday, by train""#,
    "one that has ended               Denied: the credentials are wrong, missing or expired",
    "one that bob has signed          Denied: the credentials are wrong, missing or expired",
    "ann's, on bob's node             Denied: the credentials are wrong, missing or expired",
    "none                             Denied: the credentials are wrong, missing or expired",
    "one that was renewed             lets bob in, with what he wrote meanwhile:",
    r#"kitchen-1    of bob          "Kitchen": "pancakes""#,
];

#[test]
fn what_nobody_may_is_undone_and_wrong_tokens_do_not_get_in() {
    assert_eq!(told(&run("limits", &[])), TOLD);
}

#[test]
fn a_second_run_goes_on_from_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--dir", dir.path().to_str().unwrap()];
    for run_number in ["-1", "-2"] {
        let expected = TOLD.map(|line| line.replace("-1", run_number));
        assert_eq!(told(&run("limits", &args)), expected);
    }
}

#[test]
fn it_says_what_it_takes() {
    assert!(run("limits", &["--help"]).contains("--dir DIR"));
}

/// The lines below headings.
fn told(printed: &str) -> Vec<&str> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("  "));
    lines.filter(|line| !line.starts_with("what is refused")).collect()
}
