//! The ways that failed must fail here, too.

use syncro_core::planted::{Planted, plant};

use super::search;
use crate::world::Law;

/// Plants a bug and demands that the property finds it, by one of the laws that it breaks.
fn is_caught(planted: Planted, laws: &[Law]) {
    plant(Some(planted));
    let failure = search(4000, laws);
    plant(None);
    let failure = failure.expect("the bug was not found");
    println!("{planted:?}: {failure}");
}

#[test]
fn matching_by_lineage_alone_is_caught() {
    is_caught(Planted::LineageAlone, &[Law::Convergence, Law::Durability]);
}

#[test]
fn parking_the_second_of_two_colliding_transactions_is_caught() {
    is_caught(Planted::SecondParked, &[Law::Convergence]);
}

#[test]
fn sending_a_peer_nothing_that_its_node_wrote_is_caught() {
    is_caught(Planted::EchoByNode, &[Law::Convergence]);
}

#[test]
fn digests_over_stamps_are_caught() {
    is_caught(Planted::StampDigest, &[Law::Convergence]);
}

#[test]
fn keeping_one_point_per_peer_is_caught() {
    is_caught(Planted::OnePoint, &[Law::Silence]);
}
