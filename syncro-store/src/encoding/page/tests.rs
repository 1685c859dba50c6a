use proptest::prelude::*;

use syncro_core::{Author, Epoch, Mark, NodeId, Scribe, Stamp, Time};

use super::*;
use crate::encoding::seal;
use crate::world::todo;

fn begun(offset: u64) -> OpenPage {
    OpenPage::begin(Point { offset, digest: Digest([9; 16]) })
}

/// Appends something of so many scribes.
fn push(page: &mut OpenPage, scribes: u64, bytes: &[u8]) -> bool {
    let end = page.end().then(scribes, bytes);
    page.try_push(scribes, bytes, end)
}

fn stored(page: &OpenPage) -> Bytes {
    page.stored().into()
}

fn said(page: &Page) -> Vec<(u64, Bytes)> {
    let transactions = page.transactions().unwrap();
    transactions
        .map(|it| it.map(|(place, bytes)| (place.start, bytes)))
        .collect::<Option<_>>()
        .unwrap()
}

/// A transaction of so many scribes.
fn written(time: u64, ids: &[impl Copy + Into<i64>]) -> Transaction {
    let scribe = |id: &_| {
        let key = todo(Into::<i64>::into(*id));
        Scribe { key, mark: Mark::Create, fields: Vec::new() }
    };
    let author = Author { node: NodeId::from_bytes([1; 16]), epoch: Epoch(1) };
    let scribes: Vec<Scribe> = ids.iter().map(scribe).collect();
    let stamp = Stamp { time: Time::from_ms(time), author };
    Transaction::packed(stamp, &scribes).remove(0)
}

/// Bytes in which nothing repeats.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    next.take(length).collect()
}

proptest! {
    #[test]
    fn what_is_stored_reads_back_and_goes_on(
        all in prop::collection::vec((1..300_u64, 0..400_usize, 0..3_u64), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut page = begun(7);
        let mut expected = Vec::new();
        let cut = cut.index(all.len());
        let mut early = None;
        for (nth, (scribes, length, seed)) in all.into_iter().enumerate() {
            if nth == cut {
                early = Some(stored(&page));
            }
            let (offset, bytes) = (page.end().offset, noise(length, seed));
            if !push(&mut page, scribes, &bytes) {
                break;
            }
            expected.push((offset, Bytes::from(bytes)));
        }
        let stored = stored(&page);
        let read = Page::read(7, stored.clone()).unwrap();
        prop_assert_eq!(&said(&read), &expected);
        prop_assert_eq!(read.ends().unwrap().1, page.end());
        let resumed = OpenPage::resume(&read).unwrap();
        prop_assert_eq!(resumed.stored(), page.stored());
        prop_assert_eq!(resumed.end(), page.end());
        if let Some(early) = early {
            let early = said(&Page::read(7, early).unwrap());
            prop_assert!(expected.starts_with(&early), "an earlier state says the beginning of a later one");
        }
    }

    #[test]
    fn a_page_says_its_length_and_a_hash_for_each_scribe(
        all in prop::collection::vec(prop::collection::vec(any::<i8>(), 1..5), 1..80),
        flipped in any::<prop::sample::Index>(),
    ) {
        let (mut page, mut expected) = (begun(7), Vec::new());
        for (time, ids) in (1..).zip(&all) {
            let transaction = written(time, ids);
            if !push(&mut page, transaction.len(), transaction.bytes()) {
                break;
            }
            expected.extend(transaction.keys().map(|key| key_hash(key.unwrap())));
        }
        let key = key::page(7);
        let stored = stored(&page);
        let read = Page::read(7, stored.clone()).unwrap();
        let head = Page::unseal_head(&key, &seal(Table::Log, &key, &stored)).unwrap().unwrap();
        prop_assert_eq!(head.bytes, read.bytes() as u64);
        prop_assert_eq!(head.hashes().collect::<Vec<_>>(), expected.clone());
        prop_assert!(read.is_as_it_says());
        prop_assert_eq!(OpenPage::resume(&read).unwrap().stored(), page.stored());
        // Whatever of the head is another, after the digest and what the page is.
        let varint = |int: usize| if int < 1 << 7 { 1 } else { 2 };
        let hashes = size_of::<u32>() * expected.len();
        let lengths = varint(read.bytes()) + varint(hashes);
        let mut other = stored.to_vec();
        let at = flipped.index(lengths + hashes);
        other[DIGEST_BYTES + 2 + at] ^= 1;
        let is_seen = match Page::read(7, other.into()) {
            Some(page) => !page.is_as_it_says() || page.ends().is_none(),
            None => true,
        };
        prop_assert!(is_seen);
    }

    #[test]
    fn damage_never_panics(stored in prop::collection::vec(any::<u8>(), 0..100), is_packed in any::<bool>()) {
        let head = if is_packed { vec![0; 17] } else { vec![0; 16] };
        let (key, content) = (key::page(9), [&head[..], &stored].concat());
        let _ = Page::unseal_head(&key, &seal(Table::Log, &key, &content));
        if let Some(page) = Page::read(u64::MAX - 9, [head, stored].concat().into()) {
            let _ = (page.ends(), page.up_to(u64::MAX), OpenPage::resume(&page), page.is_as_it_says());
            prop_assert!(page.bytes() <= UNPACKED_MAX);
        }
    }
}

#[test]
fn a_page_is_full_when_it_fills_a_leaf_or_has_8_kib_unpacked() {
    let fill = |length: usize, is_noise: bool| {
        let mut page = begun(0);
        let bytes = |seed| if is_noise { noise(length, seed) } else { vec![7; length] };
        let pushed = (0..).take_while(|seed| push(&mut page, 1, &bytes(*seed))).count();
        (page, pushed)
    };
    let (page, pushed) = fill(100, true);
    assert!((PACKED_BYTES - 110..=PACKED_BYTES).contains(&page.stored().len()));
    assert_eq!(page.end().offset, pushed as u64);
    let (page, _) = fill(100, false);
    assert!(
        (PAGE_BYTES - 110..=PAGE_BYTES).contains(&Page::read(0, stored(&page)).unwrap().bytes())
    );
    assert!(page.stored().len() < 1000);
    for length in [PACKED_BYTES, PAGE_BYTES, 100_000] {
        assert_eq!(fill(length, true).1, 1, "one of {length} has a page of its own");
    }
}

#[test]
fn a_page_that_refused_is_as_it_was() {
    let mut page = begun(3);
    assert!(push(&mut page, 2, &noise(3000, 1)));
    let (before, end) = (stored(&page), page.end());
    assert!(!push(&mut page, 1, &noise(3000, 2)));
    assert_eq!((stored(&page), page.end()), (before, end));
    assert!(push(&mut page, 1, &noise(500, 2)));
    let read = Page::read(3, stored(&page)).unwrap();
    assert_eq!(said(&read).len(), 2);
    assert_eq!(read.ends().unwrap().1, page.end());
}

/// Which records a view shows is not said, since it is played in order.
#[test]
fn a_page_with_something_for_this_log_alone_says_no_hashes() {
    let mut local = vec![0x95, 9, 0xc4, 16];
    local.extend([9; 16]);
    local.extend(b"\x01\x91\x94\xa4Todo\x01\x05\x90\xc3");
    let mut page = begun(0);
    assert!(push(&mut page, 1, written(1, &[1]).bytes()));
    assert!(push(&mut page, 1, &noise(3900, 1)));
    let (before, key) = (stored(&page), key::page(0));
    // One that does not fit takes nothing away.
    assert!(!push(&mut page, 1, &[&local[..], &noise(3900, 2)].concat()));
    assert_eq!(stored(&page), before);
    let mut page = begun(0);
    assert!(push(&mut page, 1, written(1, &[1]).bytes()));
    let hashes = |page: &OpenPage| {
        let head = Page::unseal_head(&key, &seal(Table::Log, &key, &page.stored())).unwrap();
        head.map(|head| head.hashes().count())
    };
    assert_eq!(hashes(&page), Some(1));
    assert!(push(&mut page, 1, &local));
    assert_eq!(hashes(&page), None);
    page.turn();
    assert!(push(&mut page, 1, written(1, &[1]).bytes()));
    assert_eq!(hashes(&page), Some(1));
}

#[test]
fn a_transaction_of_more_than_a_mib_is_not_packed() {
    for (length, is_packed) in [(UNPACKED_MAX - 100, true), (UNPACKED_MAX, false)] {
        let mut page = begun(0);
        assert!(push(&mut page, 256, &vec![7; length]));
        assert_eq!(page.stored().len() < 100, is_packed);
        let read = Page::read(0, stored(&page)).unwrap();
        assert_eq!(said(&read), [(0, Bytes::from(vec![7; length]))]);
        assert!(!push(&mut page, 1, b"more"));
    }
}

#[test]
fn a_page_of_version_1_is_read_and_goes_on_packed() {
    let mut old = Out::default();
    old.fixed(&[9; 16]);
    let mut digest = Digest([9; 16]);
    for byte in 0..50 {
        old.varint(1);
        old.bytes(&[byte; 150]);
        digest = digest.then(&[byte; 150]);
    }
    let read = Page::read(5, old.0.into()).unwrap();
    let end = Point { offset: 55, digest };
    assert_eq!(read.ends().unwrap().1, end);
    let mut open = OpenPage::resume(&read).unwrap();
    assert!(push(&mut open, 1, b"new"));
    assert_eq!(said(&Page::read(5, stored(&open)).unwrap())[..50], said(&read));
}
