//! `#[derive(ScribeModel)]` for Syncro.
//!
//! Applications take the derive from the crate `syncro`, which offers it together with the trait.

mod attributes;
mod channels;
mod expand;
mod input;
mod names;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `ScribeModel` for a struct with named fields, so that its instances are records.
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
///
/// use syncro_core::{DataError, FieldsReader, FieldsWriter, ModelId, ScribeModel};
/// use syncro_derive::ScribeModel;
///
/// #[derive(ScribeModel, Debug, PartialEq)]
/// // Needed only where the application depends on `syncro-core` and not on `syncro`.
/// #[scribe(crate = "syncro_core")]
/// #[scribe(model = "todo")]
/// struct TodoItem {
///     /// The id, by its name.
///     id: String,
///     /// A plain value: the last writer wins.
///     title: String,
///     /// A plain value that a record may lack.
///     due: Option<String>,
///     /// Members are added and removed one by one: two nodes that add a label each add both.
///     #[scribe(set)]
///     labels: BTreeSet<String>,
///     /// The last writer wins for each entry.
///     #[scribe(map)]
///     notes: BTreeMap<String, String>,
///     /// Records by how much it was raised, so that raises on two nodes add up.
///     #[scribe(counter)]
///     views: i64,
///     /// Recorded as `prio`.
///     #[scribe(rename = "prio")]
///     priority: u8,
///     /// Came with the second version: records of the first one read as `false`.
///     #[scribe(default)]
///     is_pinned: bool,
///     /// Never recorded.
///     #[scribe(skip)]
///     is_selected: bool,
/// }
///
/// # fn main() -> Result<(), DataError> {
/// let item = TodoItem {
///     id: "milk".into(),
///     title: "Buy milk".into(),
///     due: None,
///     labels: BTreeSet::from(["shop".into()]),
///     notes: BTreeMap::new(),
///     views: 3,
///     priority: 1,
///     is_pinned: true,
///     is_selected: false,
/// };
/// assert_eq!(TodoItem::MODEL, "todo");
///
/// let fields = FieldsWriter::fields_of(&item)?;
/// let id = item.id().to_record_id()?;
/// assert_eq!(FieldsReader::instance::<TodoItem>(&id, &fields)?, item);
/// # Ok(())
/// # }
/// ```
///
/// # Attributes of the struct
///
/// | attribute | meaning |
/// |---|---|
/// | `model = "todo"` | the model's name, 1 to 255 bytes; else the struct's name in snake case (`HTTPPage` is `http_page`) |
/// | `channel = "list/{list_id}"` | a channel that each record is in, by which is said who may change it; several times for several, never for `model/` and the model's name. `{list_id}` stands for the value recorded under this name, `{id}` for the id; a set makes as many channels as it has members |
/// | `crate = "syncro_core"` | where the trait is found; else `::syncro` |
///
/// The model's name is what other programs and stored records know. Give it when the struct may be
/// renamed one day.
///
/// # Attributes of a field
///
/// | attribute | type of the field | meaning |
/// |---|---|---|
/// | none | `Serialize + DeserializeOwned` | a plain value: the last writer wins; a missing one reads as nil, which fits an `Option` |
/// | `id` | `ModelId + Clone`: `String`, `Uuid`, `i64`, `i32`, `u32`, `RecordId` | the record's id; else the field named `id` is |
/// | `set` | a collection that iterates by reference and collects, such as `BTreeSet<T>` | members come and go one by one; a missing one reads as empty |
/// | `map` | the same of pairs, such as `BTreeMap<String, T>` | entries are set and removed one by one, and none may be nil; a missing one reads as empty |
/// | `counter` | `i64` | raises of all nodes add up; a missing one reads as zero |
/// | `default` | `Default` as well | a plain value that reads as the default when it is missing or nil |
/// | `rename = "prio"` | any | the field's recorded name, 1 to 255 bytes |
/// | `skip` | `Default` | not recorded; reads as the default |
///
/// A field has at most one of `set`, `map` and `counter`. A `Vec<T>` may be a set, but comes back in the
/// order of the encoded members and without duplicates; without `set` it is one plain value, which the
/// last writer replaces as a whole.
///
/// The serde attributes of the struct itself have no effect, for the struct is recorded field by field.
/// Those of the fields' types have.
///
/// # Generic structs
///
/// Parameters, bounds and where clauses pass to the implementation as they are. State what the fields
/// need, in the words of serde, which the program then depends on:
///
/// ```
/// use serde::{Serialize, de::DeserializeOwned};
/// use syncro_core::ScribeModel;
/// use syncro_derive::ScribeModel;
///
/// #[derive(ScribeModel)]
/// #[scribe(crate = "syncro_core", model = "reading")]
/// struct Reading<T: Serialize + DeserializeOwned> {
///     id: i64,
///     value: T,
/// }
/// ```
///
/// # Changing a model
///
/// Records outlive programs. A new field should be an `Option`, `default`, or of a kind that has an empty
/// value, so that older records still read. Fields that a program does not know stay in the record. To
/// rename a field in Rust, keep its recorded name with `rename`. A field that changes its kind needs a new
/// recorded name, for of two kinds under one name only the one written last shows.
///
/// # Errors
///
/// Compilation fails, at the place that is wrong and with all that is wrong at once, for anything but a
/// struct with named fields; without an id or with two; for attributes that are unknown or contradict
/// each other; for counters that are no `i64`; and for names that are empty, longer than 255 bytes, or given to two
/// fields.
#[proc_macro_derive(ScribeModel, attributes(scribe))]
pub fn derive_scribe_model(tokens: TokenStream) -> TokenStream {
    let input = parse_macro_input!(tokens as DeriveInput);
    match input::Model::of(input) {
        Ok(model) => expand::implementation(&model).into(),
        Err(errors) => errors.write_errors().into(),
    }
}
