use std::collections::BTreeSet;

use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
struct Contradictions {
    id: String,
    #[scribe(set, map)]
    two_kinds: BTreeSet<String>,
    #[scribe(counter, default)]
    default_of_counter: i64,
    #[scribe(skip, rename = "other")]
    skipped_but_named: bool,
}

fn main() {}
