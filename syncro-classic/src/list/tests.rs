use serde_json::json;
use syncro::{Digest, Memory, MemoryDisk};

use super::*;
use crate::limits::AHEAD_MAX;
fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

fn row(to: Audience) -> Row {
    let what = What::Custom { kind: "t".to_owned(), data: json!({"a": [1.5, null]}), to };
    Row { klass: "T".to_owned(), what, by: Some(uid("ann")), previous: 0 }
}

fn open(disk: &MemoryDisk, distance: u64) -> List {
    List::open(Box::new(disk.open().unwrap()), distance).unwrap()
}

fn point(offset: u64) -> Point {
    Point { offset, digest: Digest([u8::try_from(offset).unwrap(); 16]) }
}

#[test]
fn what_is_written_together_is_there_together_or_not_at_all() {
    let disk = MemoryDisk::new();
    let mut list = open(&disk, 1);
    list.append(&row(Audience::Everyone)).unwrap();
    list.cover(point(1));
    list.write().unwrap();
    let last = list.append(&row(Audience::Everyone)).unwrap();
    list.cover(point(2));
    assert!(list.row(last).unwrap().is_some(), "what is staged can be read");
    assert!(list.rows(0, 10).unwrap().len() == 1, "and is told nobody");
    let list = open(&disk.crash(), 1);
    assert_eq!((list.rows(0, 10).unwrap().len(), list.mark()), (1, point(1)));
}

#[test]
fn numbers_grow_and_are_not_issued_again_after_a_loss() {
    let disk = MemoryDisk::new();
    let mut list = open(&disk, 7);
    assert_eq!(list.append(&row(Audience::Everyone)).unwrap(), 8);
    list.write().unwrap();
    let backup = disk.crash();
    assert_eq!(list.append(&row(Audience::Everyone)).unwrap(), 9);
    let mut list = open(&backup, 1000);
    assert_eq!(list.append(&row(Audience::Everyone)).unwrap(), 1009);
    // They stay what JavaScript can count.
    let mut list = open(&MemoryDisk::new(), u64::MAX);
    assert!(list.append(&row(Audience::Everyone)).unwrap() <= NUMBER_MAX);
}

#[test]
fn each_client_has_a_last_row_that_it_is_told() {
    let mut list = open(&MemoryDisk::new(), 0);
    assert_eq!(list.last_of(&uid("ann")).unwrap(), None);
    list.append(&row(Audience::Everyone)).unwrap();
    list.append(&row(Audience::Only([uid("ann"), uid("bob")].into()))).unwrap();
    list.append(&row(Audience::Only([uid("bob")].into()))).unwrap();
    let last = |text: &str| list.last_of(&uid(text)).unwrap();
    assert_eq!((last("ann"), last("bob"), last("eve")), (Some(2), Some(3), Some(1)));
}

#[test]
fn damage_is_an_error_and_a_newer_list_is_refused() {
    let disk = MemoryDisk::new();
    let mut list = open(&disk, 0);
    list.append(&row(Audience::Everyone)).unwrap();
    list.write().unwrap();
    let backend = disk.crash().open().unwrap();
    let value = backend.get(Table::Log, &1_u64.to_be_bytes()).unwrap().unwrap();
    for at in 0..value.len() {
        let mut value = value.to_vec();
        value[at] ^= 1;
        let backend = disk.crash().open().unwrap();
        let mut batch = Batch::new();
        batch.put(Table::Log, 1_u64.to_be_bytes().to_vec(), value);
        backend.write(&batch, Durability::Durable).unwrap();
        let list = List::open(Box::new(backend), 0).unwrap();
        assert!(list.row(1).is_err(), "byte {at}");
        assert!(list.rows(0, 10).is_err(), "byte {at}");
    }
    let mut list = List::open(Box::new(Memory::new()), 0).unwrap();
    list.put(Table::Rows, HEAD, &row::Head::new(FORMAT + 1, 1, Point::START));
    let List { backend, batch, .. } = list;
    backend.write(&batch, Durability::Durable).unwrap();
    let error = List::open(backend, 0).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1 }), "{error}");
}

#[test]
fn keys_of_records_do_not_meet() {
    let keys = [
        key_of("A", &json!("1")),
        key_of("A", &json!(1)),
        key_of("At", &json!("1")),
        key_of("A", &json!("t1")),
        key_of("", &json!("A1")),
    ];
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len());
    let longest = key_of(&"k".repeat(255), &json!("i".repeat(255)));
    assert!(longest.len() <= syncro::store::KEY_BYTES_MAX);
}

/// A node that was put back goes on from a point that it has, and not too far before.
#[test]
fn the_points_kept_of_a_peer_are_few_and_reach_back() {
    let mut peer = PeerRow::default();
    let point = |offset: u64| Point { offset, digest: Digest(u128::from(offset).to_be_bytes()) };
    for offset in 1..=5000 {
        peer.advance(offset.to_string(), point(offset));
    }
    assert_eq!(peer.point(), Some("5000"));
    let kept = serde_json::to_value(&peer).unwrap()["rungs"].as_array().unwrap().len();
    assert!((10..=20).contains(&kept), "{kept}");
    for end in [4999, 4990, 4500, 2600, 100, 0] {
        let mut peer = peer.clone();
        let has = |point: Point| Ok::<_, ()>(point.offset <= end);
        assert!(peer.retreat(has).unwrap());
        let back = peer.point().map_or(0, |id| id.parse().unwrap());
        assert!(back <= end && 5000 - back <= 4 * (5000 - end), "{back} for {end}");
    }
    assert!(!peer.retreat(|_| Ok::<_, ()>(true)).unwrap());
}

#[test]
fn only_so_many_pushes_ahead_of_a_pull_are_remembered() {
    let mut peer = PeerRow::default();
    for n in 0..2000 {
        peer.note_ahead(Ahead { id: n.to_string(), sum: n });
    }
    assert_eq!((peer.ahead.len(), peer.ahead[0].sum), (AHEAD_MAX, 2000 - AHEAD_MAX as u32));
}
