//! What the derive says to a mistake. `TRYBUILD=overwrite cargo test -p syncro-derive` records a change.

#[test]
fn each_mistake_is_shown_at_its_place_with_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
