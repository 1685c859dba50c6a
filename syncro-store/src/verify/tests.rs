use syncro_core::Store;

use super::*;
use crate::backend::{Backend, Batch, Durability, MemoryDisk};
use crate::log_store::LogStore;
use crate::world::World;

/// A store with records of every life, of which some rows are in the backend and some are not yet.
fn filled(records: i64) -> (World, MemoryDisk) {
    let disk = MemoryDisk::new();
    let mut world = World::on(&disk);
    for id in 0..records {
        world.create(id);
        world.title(id, &format!("title {id} ").repeat(40));
        if id % 7 == 0 {
            world.destroy(id);
        }
    }
    (world, disk)
}

fn verify(store: &LogStore) -> Verified {
    store.reader().verify(|_, _| ()).unwrap()
}

#[test]
fn a_sound_store_is_sound_whatever_is_written_behind() {
    let (mut world, disk) = filled(300);
    let mut reached = (0, 0);
    let verified = world.store.reader().verify(|at, end| reached = (at, end)).unwrap();
    assert_eq!(verified.damage, []);
    assert!(verified.transactions > 600 && verified.records == 300, "{verified:?}");
    assert_eq!(reached, (world.store.look().end().offset, world.store.look().end().offset));
    world.store.sync().unwrap();
    assert!(verify(&world.store).is_sound());
    world.store.syncer().begin_checkpoint().unwrap();
    world.store.syncer().write_behind().unwrap();
    world.create(1000);
    assert!(verify(&world.store).is_sound());
    world.store.syncer().checkpoint().unwrap();
    assert!(verify(&LogStore::open(disk.crash().open().unwrap()).unwrap()).is_sound());
    let empty = LogStore::open(MemoryDisk::new().open().unwrap()).unwrap();
    assert!(verify(&empty).is_sound());
}

/// Each row of a store in turn is taken away, bent, or put in another's place: reads need not notice, the
/// scrub must.
#[test]
fn whatever_row_is_gone_or_changed_is_found() {
    let (world, disk) = filled(40);
    world.store.syncer().checkpoint().unwrap();
    let backend = disk.image().open().unwrap();
    let mut checked = 0;
    for table in Table::ALL {
        let rows = backend.scan(table, &[], None, usize::MAX).unwrap();
        for (at, (key, sealed)) in rows.iter().enumerate() {
            // The epoch's own rows are opened before anything can be looked at.
            let other = &rows[(at + 1) % rows.len()].1;
            for bent in [None, Some(bend(sealed, at)), Some(other.clone())] {
                if bent.as_ref() == Some(sealed) {
                    continue;
                }
                let image = disk.image().open().unwrap();
                let mut batch = Batch::new();
                match bent {
                    None => batch.delete(table, key.clone()),
                    Some(bent) => batch.put(table, key.clone(), bent),
                }
                image.write(&batch, Durability::Durable).unwrap();
                checked += 1;
                match LogStore::open(image) {
                    Ok(store) => {
                        let is_sound = verify(&store).is_sound();
                        // Without a mark everything is played again, which puts all in order. A field's name
                        // that is found no more gets another number.
                        let is_name = table == Table::Names && key.starts_with(&[0, 1]);
                        let is_harmless = key == key::MARK || key == key::FORMAT || is_name;
                        assert!(!is_sound || is_harmless, "{table:?} {key:?}");
                    }
                    Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error}"),
                }
            }
        }
    }
    assert!(checked > 150, "{checked} rows");
}

/// Flips one bit.
fn bend(sealed: &Bytes, seed: usize) -> Bytes {
    let mut bytes = sealed.to_vec();
    let at = (seed * 7919) % bytes.len();
    bytes[at] ^= 1 << (seed % 8);
    bytes.into()
}

#[test]
fn damage_is_named() {
    let (world, disk) = filled(300);
    world.store.syncer().checkpoint().unwrap();
    let image = disk.image().open().unwrap();
    let pages = image.scan(Table::Log, &[], None, usize::MAX).unwrap();
    let records = image.scan(Table::Records, &[], None, usize::MAX).unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Log, pages[1].0.clone());
    batch.delete(Table::Records, records[250].0.clone());
    image.write(&batch, Durability::Durable).unwrap();
    let verified = verify(&LogStore::open(image).unwrap());
    assert!(verified.is_log_damaged());
    // The records that the lost page made are there: they are what is left of it.
    assert_eq!(verified.findings, 2, "{verified:?}");
    let (from, to) =
        (key::page_offset(&pages[1].0).unwrap(), key::page_offset(&pages[2].0).unwrap());
    assert!(verified.damage.contains(&Damage::Log { from, to }), "{verified:?}");
    let told: Vec<String> = verified.damage.iter().map(Damage::to_string).collect();
    assert!(told.contains(&"record Todo/250".to_owned()), "{told:?}");
}
