use proptest::prelude::*;
use syncro_core::{Store, View};

use super::*;
use crate::backend::{Backend, MemoryDisk};
use crate::log_store::LogStore;
use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    /// A change with a text of so many characters.
    Write(usize),
    /// So many, one after the other.
    WriteMany(usize),
    Sync,
    Pack,
    PackAhead,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..600_usize).prop_map(Step::Write),
        1 => (0..20_000_usize).prop_map(Step::Write),
        3 => (1..60_usize).prop_map(Step::WriteMany),
        3 => Just(Step::Sync),
        1 => Just(Step::Pack),
        2 => Just(Step::PackAhead),
        1 => Just(Step::Crash),
    ]
}

/// A log, in however many steps it came.
struct Logged {
    disk: MemoryDisk,
    world: World,
    written: usize,
}

impl Logged {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let mut world = World::on(&disk);
        world.create(0);
        Self { disk, world, written: 0 }
    }

    fn write(&mut self, length: usize) {
        self.written += 1;
        let text: String =
            (0..length).map(|at| char::from(b'a' + (at * self.written % 23) as u8)).collect();
        self.world.title(0, &format!("{} {text}", self.written));
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(length) => self.write(*length),
            Step::WriteMany(count) => (0..*count).for_each(|at| self.write(100 + at)),
            Step::Sync => self.world.store.sync().unwrap(),
            Step::Pack => self.world.store.shared.pack().unwrap(),
            Step::PackAhead => self.world.store.syncer().pack_ahead(),
            // The engine goes on in its epoch: what it writes then must be the same.
            Step::Crash => {
                self.world.store.sync().unwrap();
                self.disk = self.disk.crash();
                self.world.store = LogStore::open(self.disk.open().unwrap()).unwrap();
            }
        }
    }

    fn pages(&self) -> Vec<(Bytes, Bytes)> {
        self.disk.image().open().unwrap().scan(Table::Log, &[], None, usize::MAX).unwrap()
    }

    /// What is read of the log from a place on.
    fn check(&self, entries: &[Entry]) -> Result<(), TestCaseError> {
        let store = &self.world.store;
        for (at, entry) in entries.iter().enumerate() {
            let found = store.digest_at(entry.offset).unwrap();
            let before = at.checked_sub(1).map_or(Point::START, |last| entries[last].end());
            prop_assert_eq!(found, Some(before.digest));
            let (found, _) = store.transactions(entry.offset, 5_000).unwrap();
            let expected = entries[at..].iter().map(|entry| &entry.transaction);
            prop_assert!(!found.is_empty() && found.iter().eq(expected.take(found.len())));
        }
        prop_assert_eq!(store.reader().verify(|_, _| ()).unwrap().damage, []);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Packed bit by bit or at once, the same log is in the same pages; and wherever it lies, it is read alike.
    #[test]
    fn pages_depend_on_the_log_alone(steps in prop::collection::vec(step(), 1..40)) {
        let mut logged = Logged::new();
        steps.iter().for_each(|step| logged.take(step));
        let entries = logged.world.store.entries(0, usize::MAX).unwrap();
        logged.check(&entries)?;
        logged.world.store.sync().unwrap();
        logged.check(&entries)?;

        let mut packing = Packing::behind(OpenPage::begin(Point::START));
        let mut tail = Tail::begin(Point::START);
        entries.iter().for_each(|entry| tail.push(entry));
        let mut at_once = Vec::new();
        tail.pack(&mut packing, |(_, key, value)| match value {
            Some(Value::Sealed(sealed)) => at_once.push((key, sealed)),
            _ => unreachable!("a page is under its checksum"),
        });
        prop_assert_eq!(logged.pages(), at_once);
        prop_assert_eq!(tail.unpacked_bytes(), 0);
    }
}
