//! A model of an application in the world.

use std::env;
use std::fmt;
use std::sync::Arc;

use proptest::prelude::*;
use syncro_core::{
    DataError, Fields, FieldsReader, FieldsWriter, ModelId, Name, RecordKey, ScribeModel, View,
};
use syncro_store::LogStore;

use crate::run::Sim;
use crate::world::Write;

/// Seeds that are run, unless the variable `SYNCRO_SEEDS` asks for others.
const SEEDS: u64 = 200;

/// Records read at once.
const READ_AT_ONCE: usize = 64;

/// Puts a model of yours through the world: nodes that save and destroy instances of it under faults, heal, and
/// must end with the same records, each of which reads as an instance again.
///
/// Let the strategy draw ids from a few, so that nodes meet over one record. It runs 200 seeds; the variable
/// `SYNCRO_SEEDS=1000` asks for more, and `SYNCRO_SEED=17` for one alone.
///
/// # Panics
///
/// At the first seed that fails, with the shortest story that does, line by line, and how to see it again.
#[track_caller]
pub fn check<M: ScribeModel + fmt::Debug + 'static>(instances: impl Strategy<Value = M> + 'static) {
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
pub fn check_that<M: ScribeModel + fmt::Debug + 'static>(
    instances: impl Strategy<Value = M> + 'static,
    holds: impl Fn(&[M]) -> Result<(), String> + Send + Sync + 'static,
) {
    let demand = Demand(Arc::new(move |store: &LogStore| {
        let instances: Vec<M> = all(store).map_err(|error| error.to_string())?;
        holds(&instances)
    }));
    let sim = Sim::of(writes(instances)).demanding(demand);
    let (first, seeds) = match number("SYNCRO_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SYNCRO_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in first..first + seeds {
        if let Err(found) = sim.run(seed) {
            panic!(
                "{found}\nto see it again: SYNCRO_SEED={seed} cargo test, and the name of this test"
            );
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What an application does to instances.
fn writes<M: ScribeModel + fmt::Debug + 'static>(
    instances: impl Strategy<Value = M> + 'static,
) -> impl Strategy<Value = Write> {
    (instances, 0..5_u8).prop_map(|(instance, choice)| {
        let written = || -> Result<Write, DataError> {
            let key = RecordKey { model: Name::new(M::MODEL)?, id: instance.id().to_record_id()? };
            if choice == 0 {
                return Ok(Write::Drop { key });
            }
            Ok(Write::Save { key, fields: FieldsWriter::fields_of(&instance)? })
        };
        written().unwrap_or_else(|error| panic!("{instance:?} cannot be recorded: {error}"))
    })
}

/// Every instance that is alive. Each must read as one, and say the same when it is written again.
fn all<M: ScribeModel + fmt::Debug>(store: &LogStore) -> Result<Vec<M>, syncro_core::Error> {
    let (model, mut all, mut after) = (Name::new(M::MODEL)?, Vec::new(), None);
    loop {
        let records = store.records(&model, after.as_ref(), READ_AT_ONCE)?;
        let Some((last, _)) = records.last() else {
            return Ok(all);
        };
        after = Some(last.clone());
        for (id, record) in records.iter().filter(|(_, record)| record.is_alive()) {
            let fields = Fields::of(record);
            let instance: M = FieldsReader::instance(id, &fields)?;
            let edits = FieldsWriter::fields_of(&instance)?.edits_from(&fields)?;
            assert!(edits.is_empty(), "{instance:?}, read and written again, changes {edits:?}");
            all.push(instance);
        }
    }
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
