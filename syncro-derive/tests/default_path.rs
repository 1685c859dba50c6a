//! Where the derived code finds the trait.

// Stands in for the crate that applications depend on, which offers the same names.
extern crate syncro_core as syncro;

use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
struct TodoItem {
    id: String,
}

#[test]
fn the_trait_is_found_in_the_crate_syncro() {
    let item = TodoItem { id: "milk".to_owned() };
    assert_eq!(<TodoItem as syncro::ScribeModel>::MODEL, "todo_item");
    assert_eq!(syncro::ScribeModel::id(&item), "milk");
}
