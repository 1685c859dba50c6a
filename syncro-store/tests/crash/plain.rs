//! A database of redb's own, without a store above it.
//!
//! It is small enough that any redb of the last years runs it, and it does what no store does: it deletes, so
//! that the file shrinks.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use redb::{Database, Durability, Error, ReadableDatabase, ReadableTable, TableDefinition};

use crate::crash::Tape;
use crate::disk::Disk;
use crate::image::Image;
use crate::proof::{Mark, Past, Recovered, Subject};

/// One transaction, or what is done between two.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put { keys: Range<u64>, bytes: usize, durability: Durability },
    Delete { keys: Range<u64>, durability: Durability },
    Compact,
    Reopen,
}

/// The table before the first transaction, and after each.
#[derive(Clone, Debug)]
pub(crate) struct Rounds(Vec<Arc<BTreeMap<u64, Vec<u8>>>>);

#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) cache_bytes: usize,
}

const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("plain");

impl Plain {
    pub(crate) fn live(&self, steps: &[Step]) -> Result<Past<Rounds>, Error> {
        let disk = Disk::default();
        let mut database = Some(self.open(&disk)?);
        let mut history = vec![Arc::default()];
        let mut marks = vec![Mark { done: 0, made: 0, acknowledged: 0 }];
        let mut acknowledged = 0;
        for (round, step) in steps.iter().enumerate() {
            let (changes, durability) = step.changes(round);
            if !changes.is_empty() {
                let mut rows = BTreeMap::clone(history.last().unwrap());
                change(&mut rows, &changes);
                history.push(Arc::new(rows));
            }
            marks.push(Mark { done: disk.done(), made: history.len() - 1, acknowledged });
            match step {
                // redb makes everything durable at either.
                Step::Compact => drop(database.as_mut().unwrap().compact().unwrap()),
                Step::Reopen => {
                    drop(database.take());
                    database = Some(self.open(&disk)?);
                }
                _ => write(database.as_ref().unwrap(), &changes, durability)?,
            }
            if !matches!(durability, Durability::None) {
                acknowledged = history.len() - 1;
            }
            marks.push(Mark { done: disk.done(), made: history.len() - 1, acknowledged });
        }
        drop(database);
        Ok(Past { tape: Tape::of(&disk), history: Rounds(history), marks })
    }

    fn open(&self, disk: &Disk) -> Result<Database, Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes);
        Ok(builder.create_with_backend(disk.clone())?)
    }
}

impl Subject for Plain {
    type History = Rounds;

    fn recover(
        &self,
        image: &Image,
        history: &Rounds,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<Rounds>, String> {
        let disk = Disk::holding(image.clone());
        let database = match self.open(&disk) {
            // A creation that did not come to its end: there is nothing to lose, and redb says so.
            Err(Error::Io(error))
                if *states.start() == 0 && error.kind() == std::io::ErrorKind::InvalidData =>
            {
                let past = Past {
                    tape: Tape::of(&Disk::default()),
                    history: history.clone(),
                    marks: Vec::new(),
                };
                return Ok(Recovered { found: 0, past });
            }
            opened => opened.map_err(|error| format!("it does not open: {error}"))?,
        };
        let rows = read(&database).map_err(|error| format!("it cannot be read: {error}"))?;
        let is_it = |state: &usize| *history.0[*state] == rows;
        let found = states.clone().find(is_it).or_else(|| (0..history.0.len()).rfind(is_it));
        let found = found.ok_or("what was found was never there")?;

        let mut history = history.clone();
        history.0.truncate(found + 1);
        let changes = BTreeMap::from([(u64::MAX - crashes as u64, Some(vec![1, 2, 3]))]);
        let mut rows = rows;
        change(&mut rows, &changes);
        history.0.push(Arc::new(rows));
        let acknowledged = *states.start();
        let mut marks = vec![Mark { done: 0, made: found, acknowledged }];
        marks.push(Mark { done: disk.done(), made: found + 1, acknowledged });
        let written = write(&database, &changes, Durability::Immediate);
        written.map_err(|error| format!("it takes no write: {error}"))?;
        marks.push(Mark { done: disk.done(), made: found + 1, acknowledged: found + 1 });
        drop(database);
        Ok(Recovered { found, past: Past { tape: Tape::of(&disk), history, marks } })
    }
}

impl Step {
    fn changes(&self, round: usize) -> (BTreeMap<u64, Option<Vec<u8>>>, Durability) {
        match self {
            Self::Put { keys, bytes, durability } => {
                let value = |key: u64| vec![(key as u8) ^ (round as u8); *bytes];
                (keys.clone().map(|key| (key, Some(value(key)))).collect(), *durability)
            }
            Self::Delete { keys, durability } => {
                (keys.clone().map(|key| (key, None)).collect(), *durability)
            }
            Self::Compact | Self::Reopen => (BTreeMap::new(), Durability::Immediate),
        }
    }
}

fn change(rows: &mut BTreeMap<u64, Vec<u8>>, changes: &BTreeMap<u64, Option<Vec<u8>>>) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(*key, value.clone()),
            None => rows.remove(key),
        };
    }
}

fn write(
    database: &Database,
    changes: &BTreeMap<u64, Option<Vec<u8>>>,
    durability: Durability,
) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    let mut table = transaction.open_table(TABLE)?;
    for (key, value) in changes {
        match value {
            Some(value) => drop(table.insert(key, &value[..])?),
            None => drop(table.remove(key)?),
        }
    }
    drop(table);
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database) -> Result<BTreeMap<u64, Vec<u8>>, Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        table => table?,
    };
    let rows = table.iter()?;
    rows.map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())))
        .map(|row| Ok(row?))
        .collect()
}
