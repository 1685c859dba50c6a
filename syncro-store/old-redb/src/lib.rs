//! What the crash tests of the store see in an old redb.
#![cfg(test)]
#![allow(dead_code, reason = "the crash tests of the store use the rest")]

#[path = "../../tests/crash/crash.rs"]
mod crash;
#[path = "../../tests/crash/disk.rs"]
mod disk;
#[path = "../../../syncro-sim/src/disk/image.rs"]
mod image;
#[path = "../../../syncro-sim/src/disk/operation.rs"]
mod operation;
#[path = "../../tests/crash/plain.rs"]
mod plain;
#[path = "../../tests/crash/plain_scenarios.rs"]
mod plain_scenarios;
#[path = "../../tests/crash/proof.rs"]
mod proof;

use crate::plain_scenarios::proofs;
use crate::proof::{Question, prove};

/// redb 4.1 lengthened its file and then wrote a header that tells of the new length, with no sync between
/// them. Where the header was kept and the length was not, the file could never be opened again, although
/// everything that was ever committed was in it; a crash of a recovery had the same end. redb 4.2 syncs in
/// between.
///
/// The same databases on the redb of today are in the crash tests of the store, where not one image may
/// fail. What does not find this would not find the like of it there.
#[test]
fn the_crash_tests_find_what_redb_4_1_loses() {
    // Each of the images over which it gives up would print a panic.
    std::panic::set_hook(Box::new(|_| {}));
    let proofs = proofs(&Question::quick(None));
    let tallies = prove(&proofs);
    let _ = std::panic::take_hook();
    for (proof, tally) in proofs.iter().zip(tallies) {
        let lost = |failure: &&String| failure.contains("raw_file_len");
        let lost: Vec<_> = tally.failures.iter().filter(lost).collect();
        println!(
            "{}: {} of {} crashes leave a file that does not open",
            proof.name(),
            lost.len(),
            tally.planned
        );
        println!("{}", lost[0]);
        assert_eq!(tally.failures.len(), lost.len(), "{:?}", tally.failures);
    }
}
