use proptest::prelude::*;

use super::*;

fn begun(offset: u64) -> OpenPage {
    OpenPage::begin(Point { offset, digest: Digest([9; 16]) })
}

/// Appends something of so many scribes.
fn push(page: &mut OpenPage, scribes: u64, bytes: &[u8]) -> bool {
    let end = page.end().then(scribes, bytes);
    page.try_push(scribes, bytes, end)
}

fn stored(page: &OpenPage) -> Bytes {
    Bytes::copy_from_slice(page.stored())
}

fn said(page: &Page) -> Vec<(u64, Bytes)> {
    let transactions = page.transactions().unwrap();
    transactions
        .map(|it| it.map(|(place, bytes)| (place.start, bytes)))
        .collect::<Option<_>>()
        .unwrap()
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
            prop_assert!(stored.starts_with(&early), "an earlier state is the beginning of a later one");
        }
    }

    #[test]
    fn damage_never_panics(stored in prop::collection::vec(any::<u8>(), 0..100), is_packed in any::<bool>()) {
        let head = if is_packed { vec![0; 17] } else { vec![0; 16] };
        if let Some(page) = Page::read(u64::MAX - 9, [head, stored].concat().into()) {
            let _ = (page.ends(), page.up_to(u64::MAX), OpenPage::resume(&page));
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
