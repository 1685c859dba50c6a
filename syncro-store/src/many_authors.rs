//! Stories of stores with many authors, and with authors who were cloned.

use bytes::Bytes;
use syncro_core::{Held, NodeId, PeerRow, StoreError, View};

use crate::backend::{Backend, Batch, Durability, Fault, MemoryDisk, Table};
use crate::encoding::key;
use crate::log_store::LogStore;
use crate::verify::Verified;
use crate::world::relay::{Relay, transaction};

impl Relay {
    /// Comes back with everything that was under way.
    fn crash(&mut self) {
        self.disk = self.disk.crash_keeping(self.disk.unsynced());
        self.store = LogStore::open(self.disk.open().unwrap()).unwrap();
    }

    fn assert_all_held(&self) {
        for entry in &self.log {
            let same = Held::Same { offset: entry.offset, digest: entry.digest };
            assert_eq!(self.store.held(&entry.transaction).unwrap(), same, "at {}", entry.offset);
        }
    }

    pub(crate) fn verify(&self) -> Verified {
        self.store.reader().verify(|_, _| ()).unwrap()
    }

    pub(crate) fn changed(&self, change: impl FnOnce(&dyn Backend, &mut Batch)) -> MemoryDisk {
        let image = self.disk.image();
        let backend = image.open().unwrap();
        let mut batch = Batch::new();
        change(&backend, &mut batch);
        backend.write(&batch, Durability::Durable).unwrap();
        drop(backend);
        image
    }
}

/// The dictionary forgot, in the middle of a commit, the number it had given to an author in it. He got a
/// second one, and his transactions were not found any more.
#[test]
fn an_author_keeps_his_number_however_many_others_there_are() {
    let mut world = Relay::new();
    for author in 0..16_383 {
        world.append([transaction(author, 5, (author % 1000) as u16)]);
    }
    world.append([transaction(50_000, 5, 2000), transaction(50_001, 5, 2001)]);
    world.assert_all_held();
}

/// A checkpoint that was cut off had written where an author's page begins, but not a stray of his in it. The
/// stray was taken for one in order when the log was played, and was not found any more.
#[test]
fn a_stray_is_found_after_a_checkpoint_was_cut_off_before_it() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1), transaction(0, 20, 2), transaction(1, 1, 3)]);
    world.next_page();
    world.append([transaction(0, 15, 4)]);
    world.store.syncer().checkpoint().unwrap();
    world.append([transaction(0, 18, 1000), transaction(0, 25, 1001)]);
    world.append((0..509).map(|id| transaction(1, 2 + (id / 5) as u8, 2000 + id)));
    world.store.syncer().begin_checkpoint().unwrap();
    world.store.syncer().write_behind().unwrap();
    assert_eq!(world.disk.unsynced(), 1, "the first slice is not the last");
    world.crash();
    world.assert_all_held();
}

/// Words that a cut-off checkpoint leaves without their numbers were told as damage.
#[test]
fn a_checkpoint_that_was_cut_off_is_no_damage() {
    let mut world = Relay::new();
    world.append((0..300).map(|author| transaction(author, 5, author as u16)));
    world.store.syncer().begin_checkpoint().unwrap();
    world.store.syncer().write_behind().unwrap();
    world.crash();
    world.assert_all_held();
    assert!(world.verify().is_sound(), "{:?}", world.verify().damage.first());
}

/// The thousand findings that are told one by one were all of records.
#[test]
fn a_damaged_log_is_told_however_much_else_is_damaged() {
    let mut world = Relay::new();
    (0..1800).for_each(|author| world.append([transaction(author, 5, author as u16)]));
    world.store.syncer().checkpoint().unwrap();
    let image = world.changed(|backend, batch| {
        for (key, _) in backend.scan(Table::Records, &[], None, usize::MAX).unwrap() {
            batch.delete(Table::Records, key);
        }
        let pages = backend.scan(Table::Log, &[], None, usize::MAX).unwrap();
        batch.delete(Table::Log, pages[pages.len() - 2].0.clone());
    });
    world.store = LogStore::open(image.open().unwrap()).unwrap();
    let verified = world.verify();
    assert!(verified.findings > verified.damage.len() as u64 && verified.is_log_damaged());
}

/// A peer's row that cannot be read stayed, and nothing could be said to that peer any more.
#[test]
fn a_repair_forgets_a_peer_whose_row_is_damaged_and_no_other() {
    let mut world = Relay::new();
    world.append([transaction(0, 5, 1)]);
    let peers = ["lost", "kept"].map(|peer| (NodeId::named(peer), PeerRow::default()));
    world.apply(Vec::new(), Vec::new(), peers.to_vec());
    world.store.syncer().checkpoint().unwrap();
    let image = world.changed(|_, batch| {
        batch.put(Table::Rows, key::peer(NodeId::named("lost")), vec![1_u8; 40]);
    });
    world.store = LogStore::builder().repair(image.open().unwrap(), None).unwrap().0;
    assert!(world.verify().is_sound());
    assert_eq!(world.store.peers().unwrap(), [peers[1].clone()]);
}

/// Cut off among the names, a repair left a store that opened, and could write records that nobody could read.
#[test]
fn a_store_whose_repair_was_cut_off_does_not_open() {
    let mut world = Relay::new();
    world.append((0..800).map(|author| transaction(author, 5, author as u16)));
    world.store.syncer().checkpoint().unwrap();
    let damaged = world.changed(|backend, batch| {
        let record = backend.scan(Table::Records, key::FIRST_RECORD, None, 1).unwrap().remove(0);
        batch.put(Table::Records, record.0, Bytes::from_static(b"damaged"));
    });
    // The first two check the medium, and mark the store as one under repair.
    for nth in 3.. {
        let image = damaged.image();
        image.fail_write(nth, Fault::Once(StoreError::Full));
        if LogStore::builder().repair(image.open().unwrap(), None).is_ok() {
            assert!(nth > 5, "{nth} writes");
            break;
        }
        let crashed = image.crash_keeping(image.unsynced());
        crashed.heal();
        let refused = LogStore::open(crashed.open().unwrap());
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "cut off at write {nth}");
        world.store = LogStore::builder().repair(crashed.open().unwrap(), None).unwrap().0;
        assert!(world.verify().is_sound());
        world.assert_all_held();
    }
}
