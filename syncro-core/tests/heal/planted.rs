//! The ways that failed must fail here, too.

use syncro_core::planted::{Planted, plant};

use super::trial::Trial;

/// Each by a variant that finds it.
const PLANTED: [(Planted, &str); 5] = [
    (Planted::LineageAlone, "file-leaf-direct-both"),
    (Planted::SecondParked, "machine-leaf-direct-both"),
    (Planted::EchoByNode, "restore-leaf-direct-both"),
    (Planted::StampDigest, "machine-leaf-third-both"),
    (Planted::OnePoint, "file-leaf-third-both"),
];

#[test]
fn what_is_known_to_fail_is_caught() {
    for (planted, variant) in PLANTED {
        plant(Some(planted));
        let mut trials = Trial::all(variant.parse().unwrap());
        let failure = trials.find_map(|trial| Some((trial, trial.play().err()?)));
        plant(None);
        let (trial, failure) = failure.expect("the bug was not found");
        println!("{planted:?}: {}", super::told(trial, &failure));
    }
}
