//! What a view wrote it shows until its source covers it. The simulator has the same as a law of random worlds.

use syncro_core::Value;

use super::super::town::set;
use super::{SERVER, VIEW, town};

/// Much is on its way to the view, more than the source may send at once, when the view writes: it goes on showing what
/// it wrote.
#[test]
fn what_a_view_wrote_never_flickers() {
    for list in ["a", "b"] {
        let (mut town, _) = town(&["list/a", "list/b"]);
        town.create(SERVER, 0, "a", 1);
        town.create(SERVER, 1, "b", 1);
        let link = town.connect(VIEW, SERVER, "ann");
        town.drive();
        let text = "x".repeat(200 << 10);
        for id in 10..50 {
            town.create(SERVER, id, if id % 2 == 0 { "a" } else { "b" }, 1);
            town.edit(SERVER, id, vec![set("text", Value::from(text.as_str()))]);
        }
        town.sync(SERVER);
        let id = i64::from(list == "b");
        town.retitle(VIEW, id, 7);
        loop {
            let mut is_quiet = true;
            for side in [1, 0] {
                is_quiet &= !town.step(link, side);
                town.sync(SERVER);
                town.sync(VIEW);
                assert_eq!(town.title(VIEW, id), Some(7), "it flickers");
            }
            if is_quiet {
                break;
            }
        }
        assert_eq!(town.title(SERVER, id), Some(7));
        town.drive();
        town.assert_shows(VIEW, &["list/a", "list/b"]);
    }
}

/// A source that was restored has lost what the view wrote, and says so before it gets it again.
#[test]
fn what_a_restored_source_has_lost_is_shown_again() {
    let (mut town, _) = town(&["list/a"]);
    town.create(SERVER, 0, "a", 1);
    town.visit(VIEW, SERVER, "ann");
    let image = town.image(SERVER);
    town.retitle(VIEW, 0, 7);
    town.visit(VIEW, SERVER, "ann");
    assert!(town.has_nothing_pending(VIEW));
    town.reopen(SERVER, image);
    let link = town.connect(VIEW, SERVER, "ann");
    // The server hears who calls and what it wants, and not yet what it wrote.
    for _ in 0..2 {
        assert!(town.step(link, 1));
        while town.step(link, 0) {}
    }
    assert_eq!(town.title(SERVER, 0), Some(1));
    assert_eq!(town.title(VIEW, 0), Some(7), "it is not lost");
    town.drive();
    assert_eq!(town.title(SERVER, 0), Some(7));
    town.assert_shows(VIEW, &["list/a"]);
}
