//! A model of an application in the world.

use std::env;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use syncro_core::{
    DataError, Edit, Fields, FieldsReader, FieldsWriter, RecordId, RecordKey, ScribeModel,
};
use syncro_store::LogStore;

use crate::panics::{caught, quietly};
use crate::run::Sim;
use crate::world::{Failure, Law, Write, records};

/// Seeds that are run, unless the variable `SYNCRO_SEEDS` asks for others.
const SEEDS: u64 = 50;

/// Puts a model of yours through the world: nodes that save and destroy instances of it under faults, heal, and
/// must end with the same records, each of which reads as an instance again.
///
/// Let the strategy draw ids from a few, so that nodes meet over one record. An instance must be equal to what is read
/// of it when it has been written: of a field that is not recorded let the strategy give the default, and of a list
/// that is recorded as a set the order in which it is read.
///
/// It runs 50 seeds, some seconds of a test that is not optimised; the variable `SYNCRO_SEEDS=1000` asks for more, and
/// `SYNCRO_SEED=17` for one alone.
///
/// # Panics
///
/// At the first seed that fails, with the shortest story that does, line by line, and how to see it again.
#[track_caller]
pub fn check<M: ScribeModel + PartialEq + fmt::Debug + 'static>(
    instances: impl Strategy<Value = M> + 'static,
) {
    check_that(instances, |_| Ok(()));
}

/// Like [`check`], and whatever a node holds when everything has healed must hold: the closure is given every
/// instance that is alive, in the order of ids, and says what is wrong with them.
///
/// It should say what any merge keeps. Two nodes may each have kept to a rule of several records, or of several
/// fields that change apart, and their merge may not.
///
/// # Panics
///
/// Like [`check`].
#[track_caller]
pub fn check_that<M: ScribeModel + PartialEq + fmt::Debug + 'static>(
    instances: impl Strategy<Value = M> + 'static,
    holds: impl Fn(&[M]) -> Result<(), String> + Send + Sync + 'static,
) {
    run(writes(instances), move |store| holds(&all(store, same_again)?));
}

/// Like [`check`], for two versions of a model, of one name, in one world: nodes run one or the other, and are
/// replaced while others are not. Both must read every record, whoever wrote it, and neither may change the fields
/// that only the other knows.
///
/// ```
/// # use proptest::prelude::*;
/// # use syncro_derive::ScribeModel;
/// #[derive(ScribeModel, Debug, PartialEq)]
/// # #[scribe(crate = "syncro_core")]
/// #[scribe(model = "todo")]
/// struct Old { id: u32, title: String }
///
/// #[derive(ScribeModel, Debug, PartialEq)]
/// # #[scribe(crate = "syncro_core")]
/// #[scribe(model = "todo")]
/// struct New { id: u32, title: String, #[scribe(default)] due: Option<i64> }
///
/// let old = (0..3_u32, "[a-c]{0,3}").prop_map(|(id, title)| Old { id, title });
/// let new = (0..3_u32, "[a-c]{0,3}", any::<Option<i64>>());
/// syncro_sim::check_versions(old, new.prop_map(|(id, title, due)| New { id, title, due }));
/// ```
///
/// # Panics
///
/// Like [`check`].
#[track_caller]
pub fn check_versions<Old, New>(
    old: impl Strategy<Value = Old> + 'static,
    new: impl Strategy<Value = New> + 'static,
) where
    Old: ScribeModel + PartialEq + fmt::Debug + 'static,
    New: ScribeModel + PartialEq + fmt::Debug + 'static,
{
    assert_eq!(Old::MODEL, New::MODEL, "two versions of a model have one name");
    let both = (writes(old), writes(new));
    let both = both.prop_map(|(old, new)| Write::Either(Box::new([old, new])));
    run(both, |store| {
        all(store, instance::<Old>)?;
        all(store, instance::<New>).map(drop)
    });
}

/// Runs the seeds that the environment asks for.
#[track_caller]
fn run(
    writes: impl Strategy<Value = Write> + 'static,
    holds: impl Fn(&LogStore) -> Result<(), String> + Send + Sync + 'static,
) {
    // Some of the world's own writes are among them, of records whose laws are known.
    let own = prop_oneof![
        any::<i8>().prop_map(|by| Write::Tally { by }),
        (0..4_u8).prop_map(|value| Write::Twins { value }),
    ];
    let writes = prop_oneof![8 => writes, 1 => own];
    let sim = Sim::of(writes).demanding(Demand(Arc::new(holds)), command);
    let (first, seeds) = match number("SYNCRO_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SYNCRO_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in first..first + seeds {
        let played = quietly(|| sim.run(seed));
        if let Err(found) = played {
            panic!("{found}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What plays a seed again. Cargo says which package is tested, and the thread of a test has its name.
fn command(seed: u64) -> String {
    let package = env::var("CARGO_PKG_NAME").map(|name| format!(" --package {name}"));
    let test = thread::current()
        .name()
        .filter(|name| *name != "main")
        .map(|name| format!(" {name} -- --exact"));
    let (package, test) = (package.unwrap_or_default(), test.unwrap_or_default());
    format!("SYNCRO_SEED={seed} cargo test{package}{test}")
}

/// What an application does to instances.
fn writes<M: ScribeModel + PartialEq + fmt::Debug + 'static>(
    instances: impl Strategy<Value = M> + 'static,
) -> impl Strategy<Value = Write> {
    (instances, 0..5_u8).prop_map(|(instance, choice)| {
        let written = caught(|| write_of(&instance, choice == 0)).unwrap_or_else(|panic| {
            let detail = format!("{instance:?} cannot be recorded: {}", panic.detail);
            Err(Failure { detail, ..panic })
        });
        // Strategies have no errors: whoever asks for a story catches this.
        written.unwrap_or_else(|failure| resume_unwind(Box::new(failure)))
    })
}

/// What saves an instance, or destroys it.
fn write_of<M: ScribeModel + PartialEq + fmt::Debug>(
    instance: &M,
    is_dropped: bool,
) -> Result<Write, Failure> {
    let refused = |error: DataError| {
        Law::Application.broken(format!("{instance:?} cannot be recorded: {error}"))
    };
    let key = RecordKey::of::<M>(instance.id()).map_err(refused)?;
    if is_dropped {
        return Ok(Write::Drop { key });
    }
    let fields = FieldsWriter::fields_of(instance).map_err(refused)?;
    let read = FieldsReader::instance::<M>(&key.id, &fields).map_err(refused)?;
    if read == *instance {
        return Ok(Write::Save { key, fields });
    }
    Err(Law::Application.broken(format!(
        "{instance:?} is another when it has been written and read, {read:?}: let the strategy give what is read"
    )))
}

/// Every instance that is alive, as a function reads it.
fn all<M: ScribeModel>(
    store: &LogStore,
    read: impl Fn(&RecordId, &Fields) -> Result<M, String>,
) -> Result<Vec<M>, String> {
    let records = records(store).map_err(|error| error.to_string())?;
    let alive =
        records.iter().filter(|(key, record)| key.model.as_str() == M::MODEL && record.is_alive());
    let instances = alive.map(|(RecordKey { id, .. }, record)| {
        read(id, &Fields::of(record)).map_err(|what| format!("{} {id}: {what}", M::MODEL))
    });
    instances.collect()
}

/// A record as an instance.
fn instance<M: ScribeModel>(id: &RecordId, fields: &Fields) -> Result<M, String> {
    FieldsReader::instance(id, fields).map_err(|error| error.to_string())
}

/// A record as an instance, which says the same when it is written again.
fn same_again<M: ScribeModel + fmt::Debug>(id: &RecordId, fields: &Fields) -> Result<M, String> {
    let instance: M = instance(id, fields)?;
    let written = FieldsWriter::fields_of(&instance).and_then(|written| written.edits_from(fields));
    let mut edits = written.map_err(|error| error.to_string())?;
    // A field that is not there is nil.
    edits.retain(|edit| match edit {
        Edit::Write(path, value) => !value.is_nil() || fields.get(path.field.as_str()).is_some(),
        _ => true,
    });
    if edits.is_empty() {
        return Ok(instance);
    }
    Err(format!("{instance:?}, read and written again, changes {edits:?}"))
}

/// What an application demands of every node at rest.
#[derive(Clone)]
pub(crate) struct Demand(Arc<dyn Demands>);

trait Demands: Fn(&LogStore) -> Result<(), String> + Send + Sync {}

impl<F: Fn(&LogStore) -> Result<(), String> + Send + Sync> Demands for F {}

impl Demand {
    pub(crate) fn check(&self, store: &LogStore) -> Result<(), String> {
        (self.0)(store)
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demand")
    }
}
