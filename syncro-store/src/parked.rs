//! Transactions that are set aside: small rows of the store, with no part in the log.

use bytes::Bytes;
use syncro_core::{Commit, Digest, Epoch, NodeId, OwnRow, Parked, Store, Time, View};

use crate::backend::Table;
use crate::encoding::key;
use crate::log_store::LogStore;
use crate::world::relay::{Relay, transaction};

fn parked(number: u8) -> Parked {
    Parked {
        transaction: Bytes::copy_from_slice(transaction(u32::from(number), 5, 1).bytes()),
        bearer: NodeId::named("peer"),
        principal: None,
        since_ms: u64::from(number),
        reason: format!("reason {number}"),
    }
}

impl Relay {
    fn park(&mut self, parked: Vec<(Digest, Option<Parked>)>) {
        let (epoch, clock) = (Epoch(7), Time::default());
        let own = OwnRow { node: NodeId::named("server"), epoch, clock, end: self.end };
        let (entries, records, peers) = (Vec::new(), Vec::new(), Vec::new());
        let commit = Commit { sequence: self.end.offset, entries, records, peers, own, parked };
        self.store.apply(&commit).unwrap();
    }

    #[track_caller]
    fn assert_parked(&self, expected: &[Parked]) {
        for limit in [1, 2, 100] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let some = self.store.quarantine(after, limit).unwrap();
                assert!(some.len() <= limit);
                let Some(last) = some.last() else { break };
                after = Some(last.id());
                listed.extend(some);
            }
            let reasons = |all: &[Parked]| all.iter().map(|it| it.since_ms).collect::<Vec<_>>();
            assert_eq!(reasons(&listed), reasons(expected), "by {limit}");
            assert_eq!(listed, expected);
        }
        for known in expected {
            assert_eq!(self.store.parked(known.id()).unwrap().as_ref(), Some(known));
        }
    }
}

#[test]
fn what_is_set_aside_lasts_until_it_is_not_any_more() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1)]);
    let mut all: Vec<Parked> = (0..5).map(parked).collect();
    all.sort_by_key(Parked::id);
    let ids: Vec<Digest> = all.iter().map(Parked::id).collect();
    world.park(all[..4].iter().map(|parked| (parked.id(), Some(parked.clone()))).collect());
    world.assert_parked(&all[..4]);
    world.store.sync().unwrap();
    let before = world.store.reader().snapshot();
    // Some in the store and some not yet, and one that is in it and goes.
    world.park(vec![(ids[1], None), (ids[4], Some(all[4].clone()))]);
    let rest = [all[0].clone(), all[2].clone(), all[3].clone(), all[4].clone()];
    world.assert_parked(&rest);
    assert_eq!(world.store.parked(ids[1]).unwrap(), None);
    assert_eq!(before.quarantine(None, 9).unwrap(), all[..4], "a snapshot stays as it was");
    drop(before);

    world.disk = world.disk.crash();
    world.store = LogStore::open(world.disk.open().unwrap()).unwrap();
    world.assert_parked(&all[..4]);
    world.park(vec![(ids[1], None), (ids[4], Some(all[4].clone()))]);
    world.store.sync().unwrap();
    world.disk = world.disk.crash();
    world.store = LogStore::open(world.disk.open().unwrap()).unwrap();
    world.assert_parked(&rest);
    assert!(world.verify().is_sound());
}

#[test]
fn copies_and_repairs_keep_what_can_be_read_of_it() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1)]);
    let (kept, lost) = (parked(1), parked(2));
    world.park([&kept, &lost].map(|parked| (parked.id(), Some(parked.clone()))).to_vec());
    world.store.syncer().checkpoint().unwrap();
    let copy = crate::backend::Memory::new();
    world.store.reader().copy_to(&copy, |_| ()).unwrap();
    let copied = LogStore::open(copy).unwrap();
    assert_eq!(copied.quarantine(None, 9).unwrap().len(), 2);

    let image =
        world.changed(|_, batch| batch.put(Table::Rows, key::parked(lost.id()), vec![1_u8; 40]));
    world.store = LogStore::open(image.image().open().unwrap()).unwrap();
    assert!(world.store.parked(lost.id()).is_err());
    assert!(!world.verify().is_sound());
    world.store = LogStore::builder().repair(image.open().unwrap(), None).unwrap().0;
    world.assert_parked(&[kept]);
    assert!(world.verify().is_sound());
}
