//! A backend whose database catches up with its journal while somebody else appends to that.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use syncro_core::StoreError;
use syncro_store::{Backend, Batch, Durability, Redb, Table};

use crate::crash::Tape;
use crate::disk::Disk;
use crate::image::Image;
use crate::node::Settings;
use crate::proof::{Mark, Past, Proof, Provable, Question, Recovered, Subject};

const SETTINGS: Settings =
    Settings { cache_bytes: 32 << 10, journal_bytes: 40 << 10, overlay_bytes: 0 };

/// Blocks of each half of the journal, and what an entry may take of one.
const HALF: usize = SETTINGS.journal_bytes / 2 / 4096;
const BLOCK_BYTES: usize = 4000;

/// Rows of the table that is written behind, and bytes of each.
const ROWS: u8 = 12;
const ROW_BYTES: usize = 3000;

/// What is done, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many blocks. More than a half has go to the database.
    Append(usize),
    Delete,
    /// A round of the other table, which may be lost.
    Buffer,
    /// A durable write, after which nothing may be lost that was before.
    Settle,
    CatchUp,
    Reopen,
    /// As after a kill.
    Abandon,
}

/// What was there before the first step, and after each that appended something.
#[derive(Clone, Debug, Default)]
pub(crate) struct States(Vec<State>);

#[derive(Clone, Debug, Default)]
struct State {
    log: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The round of the other table that is durable.
    round: u8,
}

/// A backend, and what whoever writes to it knows.
struct Writer {
    disk: Disk,
    redb: Mutex<Option<Arc<Redb>>>,
    told: Mutex<Told>,
}

struct Told {
    states: States,
    marks: Vec<Mark>,
    /// The last round of the other table, and whether it may be lost.
    round: u8,
    is_buffered: bool,
    /// Blocks of the half that is appended to which are taken.
    used: usize,
    other: Other,
}

/// The other half.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Free,
    Full,
    /// It has something of another process.
    Left,
}

/// A backend that catches up.
#[derive(Debug)]
pub(crate) struct Behind;

impl Behind {
    fn live(steps: &[Step]) -> Result<Past<States>, StoreError> {
        // A file that is complete; before its first commit there is no journal.
        let made = Disk::default();
        drop(SETTINGS.backend(&made)?);
        let writer = Arc::new(Writer::new(Disk::holding(made.content()))?);
        for step in steps {
            writer.run(*step)?;
        }
        let told = writer.told.lock().unwrap();
        let (history, marks) = (told.states.clone(), told.marks.clone());
        Ok(Past { tape: Tape::of(&writer.disk), history, marks })
    }
}

impl Writer {
    fn new(disk: Disk) -> Result<Self, StoreError> {
        let told = Told {
            states: States(vec![State::default()]),
            marks: vec![Mark { done: 0, made: 0, acknowledged: 0 }],
            round: 0,
            is_buffered: false,
            used: HALF,
            other: Other::Left,
        };
        let redb = Arc::new(SETTINGS.backend(&disk)?);
        Ok(Self { disk, redb: Mutex::new(Some(redb)), told: Mutex::new(told) })
    }

    fn run(self: &Arc<Self>, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Append(blocks) => self.append(Some(blocks * BLOCK_BYTES), Durability::Ahead),
            Step::Delete => self.append(None, Durability::Ahead),
            Step::Settle => self.append(Some(10), Durability::Durable),
            Step::Buffer => {
                let round = self.told().round + 1;
                let mut batch = Batch::new();
                (0..ROWS)
                    .for_each(|row| batch.put(Table::Records, vec![row], vec![round; ROW_BYTES]));
                self.while_appending(|redb| redb.write(&batch, Durability::Buffered))?;
                let mut told = self.told();
                (told.round, told.is_buffered) = (round, true);
                Ok(())
            }
            Step::CatchUp => {
                self.while_appending(Backend::catch_up)?;
                let mut told = self.told();
                if told.other == Other::Full {
                    (told.other, told.is_buffered) = (Other::Free, false);
                }
                Ok(())
            }
            Step::Reopen => self.open_anew(true),
            Step::Abandon => self.open_anew(false),
        }
    }

    fn open_anew(&self, is_tidy: bool) -> Result<(), StoreError> {
        let mut redb = self.redb.lock().unwrap();
        let before = redb.take();
        let mut told = self.told();
        if is_tidy {
            drop(before);
            told.closed();
        } else {
            std::mem::forget(before);
            told.abandoned();
        }
        *redb = Some(Arc::new(SETTINGS.backend(&self.disk)?));
        Ok(())
    }

    /// Does something, and before each operation of the disk meanwhile an entry is appended that finds a place.
    fn while_appending(
        self: &Arc<Self>,
        run: impl FnOnce(&Redb) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let redb = self.redb();
        let appending = Arc::downgrade(self);
        self.disk.meanwhile(Some(Box::new(move || {
            let writer = appending.upgrade().unwrap();
            let has_room = writer.told().has_room(1);
            if has_room {
                writer.append(Some(10), Durability::Ahead).unwrap();
            }
        })));
        let done = run(&redb);
        self.disk.meanwhile(None);
        done
    }

    /// Appends a value of so many bytes, or deletes one.
    fn append(&self, bytes: Option<usize>, durability: Durability) -> Result<(), StoreError> {
        let mut told = self.told();
        let number = told.states.0.len();
        let mut state = told.states.0[number - 1].clone();
        let key = vec![number as u8 % 7];
        let mut batch = Batch::new();
        match bytes {
            Some(bytes) => {
                let mut value = vec![0; bytes];
                value[..8].copy_from_slice(&(number as u64).to_le_bytes());
                batch.put(Table::Log, key.clone(), value.clone());
                Arc::make_mut(&mut state.log).insert(key, value);
            }
            None => {
                batch.delete(Table::Log, key.clone());
                Arc::make_mut(&mut state.log).remove(&key);
            }
        }
        let settles = durability == Durability::Durable;
        if settles {
            state.round = told.round;
        }
        told.states.0.push(state);
        told.mark(&self.disk, number - 1);
        self.redb().write(&batch, durability)?;
        told.mark(&self.disk, number);
        told.appended(bytes.map_or(1, |bytes| bytes.div_ceil(BLOCK_BYTES)), settles);
        Ok(())
    }

    fn redb(&self) -> Arc<Redb> {
        self.redb.lock().unwrap().clone().unwrap()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }
}

impl Told {
    /// Whether so many blocks find a place, and nobody waits for what runs meanwhile.
    fn has_room(&self, blocks: usize) -> bool {
        self.used + blocks <= HALF || (blocks <= HALF && self.other == Other::Free)
    }

    /// Notes where an entry went.
    fn appended(&mut self, blocks: usize, settles: bool) {
        if !self.has_room(blocks) || settles && self.is_buffered {
            // To the database, and all that was there before.
            (self.used, self.other, self.is_buffered) = (0, Other::Free, false);
        } else if self.used + blocks <= HALF {
            self.used += blocks;
        } else {
            (self.used, self.other) = (blocks, Other::Full);
        }
    }

    /// The next process finds nothing in the journal, and all that was buffered.
    fn closed(&mut self) {
        // Before the first commit there is no journal.
        if self.states.0.len() > 1 {
            (self.used, self.other) = (0, Other::Free);
        }
        self.is_buffered = false;
    }

    /// The next process finds what was appended, and begins with a commit; what was buffered is gone, as after a crash
    /// of the whole machine.
    fn abandoned(&mut self) {
        if (self.used, self.other) != (0, Other::Free) {
            (self.used, self.other) = (HALF, Other::Left);
        }
        (self.round, self.is_buffered) = (self.states.0[self.states.0.len() - 1].round, false);
    }

    fn mark(&mut self, disk: &Disk, acknowledged: usize) {
        let made = self.states.0.len() - 1;
        self.marks.push(Mark { done: disk.done(), made, acknowledged });
    }
}

impl Subject for Behind {
    type History = States;

    fn recover(
        &self,
        image: &Image,
        history: &States,
        states: RangeInclusive<usize>,
        crashes: usize,
    ) -> Result<Recovered<States>, String> {
        let disk = Disk::holding(image.clone());
        let redb = SETTINGS.backend(&disk).map_err(|error| format!("it does not open: {error}"))?;
        let unreadable = |error: StoreError| format!("it cannot be read: {error}");
        let log = redb.scan(Table::Log, &[], None, usize::MAX).map_err(unreadable)?;
        let log = log.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let is_it = |state: &usize| *history.0[*state].log == log;
        let found = states.clone().find(is_it).or_else(|| (0..history.0.len()).rfind(is_it));
        let found = found.ok_or("what was found was never there")?;
        let rows = redb.scan(Table::Records, &[], None, usize::MAX).map_err(unreadable)?;
        let round = rows.first().map_or(0, |(_, row)| row[0]);
        if round < history.0[found].round {
            return Err(format!("of the other table round {round} was found"));
        }
        if rows.iter().any(|(_, row)| row[..] != [round; ROW_BYTES]) {
            return Err("of the other table two rounds were found".to_owned());
        }

        let mut history = history.clone();
        history.0.truncate(found + 1);
        let mut state = history.0[found].clone();
        let (key, value) = (vec![u8::MAX - crashes as u8], vec![1, 2, 3]);
        Arc::make_mut(&mut state.log).insert(key.clone(), value.clone());
        history.0.push(state);
        let acknowledged = *states.start();
        let mut marks = vec![Mark { done: 0, made: found, acknowledged }];
        marks.push(Mark { done: disk.done(), made: found + 1, acknowledged });
        let mut batch = Batch::new();
        batch.put(Table::Log, key, value);
        let written = redb.write(&batch, Durability::Durable);
        written.map_err(|error| format!("it takes no write: {error}"))?;
        marks.push(Mark { done: disk.done(), made: found + 1, acknowledged: found + 1 });
        drop(redb);
        Ok(Recovered { found, past: Past { tape: Tape::of(&disk), history, marks } })
    }
}

/// A half is full while the other table is written, and another one while the database catches up.
const STEPS: [Step; 22] = [
    Step::Append(1),
    Step::Append(2),
    Step::Append(3),
    Step::Buffer,
    Step::Append(2),
    Step::CatchUp,
    Step::Append(4),
    Step::Delete,
    Step::Append(1),
    Step::CatchUp,
    Step::Append(9),
    Step::Append(2),
    Step::Append(3),
    Step::Abandon,
    Step::CatchUp,
    Step::Append(1),
    Step::Append(3),
    Step::Append(3),
    Step::Buffer,
    Step::CatchUp,
    Step::Settle,
    Step::Reopen,
];

pub(crate) fn proof(question: &Question) -> Box<dyn Provable> {
    let past = Behind::live(&STEPS).unwrap();
    Box::new(Proof::new("behind", Behind, past, question.clone()))
}

/// Steps as chance has them.
pub(crate) fn random_proof(
    name: &str,
    random: &mut impl FnMut() -> u64,
    question: Question,
) -> Proof<Behind> {
    let steps = (0..20 + random() % 30).map(|_| match random() % 16 {
        0..6 => Step::Append(1 + random() as usize % 4),
        6 => Step::Append(1 + random() as usize % 20),
        7 => Step::Delete,
        8..10 => Step::Buffer,
        10 => Step::Settle,
        11 => Step::Reopen,
        12 => Step::Abandon,
        _ => Step::CatchUp,
    });
    let past = Behind::live(&steps.collect::<Vec<_>>()).unwrap();
    Proof::new(name, Behind, past, question)
}
