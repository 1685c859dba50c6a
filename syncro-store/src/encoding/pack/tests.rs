use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// What is packed, part by part, after a beginning that the reader knows.
fn packed(known: &[u8], parts: &[Vec<u8>]) -> Vec<Bytes> {
    let (mut packer, mut whole) = (Packer::after(&[]), known.to_vec());
    let after_each = parts.iter().map(|part| {
        let from = whole.len();
        whole.extend_from_slice(part);
        packer.pack(&whole, from);
        Bytes::copy_from_slice(packer.packed())
    });
    after_each.collect()
}

fn unpacked(known: &[u8], packed: &Bytes) -> Option<Vec<u8>> {
    let mut whole = known.to_vec();
    unpack(In::new(packed), &mut whole)?;
    Some(whole)
}

/// Parts that repeat themselves and each other, as transactions do, and some that do not.
fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words = prop::collection::vec(0..5_usize, 0..12).prop_map(|words| {
        let said = ["author-of-all", "todo", "aaaaaaaaaaaaaaaaaaaaaaaa", "\0\0\0\0\0\0\0", "x"];
        words.iter().flat_map(|word| said[*word].bytes()).collect()
    });
    let noise = prop::collection::vec(any::<u8>(), 0..60);
    prop::collection::vec(prop_oneof![3 => words, 1 => noise], 0..12)
}

proptest! {
    #[test]
    fn what_is_packed_reads_back_byte_for_byte(known in prop::collection::vec(any::<u8>(), 0..20), parts in parts()) {
        let mut whole = known.clone();
        let mut before = Bytes::new();
        for (packed, part) in packed(&known, &parts).iter().zip(&parts) {
            whole.extend_from_slice(part);
            let read = unpacked(&known, packed);
            prop_assert_eq!(read.as_ref(), Some(&whole));
            prop_assert!(packed.starts_with(&before), "what is packed only grows");
            before = packed.clone();
        }
    }

    #[test]
    fn any_bytes_are_refused_or_bounded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let most = UNPACKED_MAX;
        prop_assert!(unpacked(b"known", &bytes.into()).is_none_or(|whole| whole.len() <= most));
    }

    #[test]
    fn damage_is_refused_or_bounded(parts in parts(), at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        if let Some(last) = packed(b"known", &parts).pop().filter(|last| !last.is_empty()) {
            let mut damaged = last.to_vec();
            damaged[at.index(last.len())] ^= bits;
            let whole = unpacked(b"known", &damaged.into());
            prop_assert!(whole.is_none_or(|whole| whole.len() <= UNPACKED_MAX));
        }
    }
}

#[test]
fn golden_bytes() {
    let packed = packed(b"digest", &[b"Todo/one/done".to_vec(), b"Todo/one/text/done".to_vec()]);
    assert_eq!(packed[0], b"\xd0Todo/one/done".as_slice());
    assert_eq!(packed[1][packed[0].len()..], *b"\x04\x0d\x90text/done");
    let run = self::packed(&[], &[vec![b'a'; 400], vec![b'b'; 40]]);
    assert_eq!(run[1], b"\x1fa\xfb\x02\x01\x1fb\x13\x01".as_slice());
}

#[test]
fn what_is_long_reads_back() {
    let noise: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    let parts = [noise.clone(), b"in between".to_vec(), noise[70_000..200_000].to_vec()];
    let packed = packed(&[], &parts).pop().unwrap();
    assert_eq!(unpacked(&[], &packed), Some(parts.concat()));
}

#[test]
fn bytes_that_lie_are_refused() {
    let lies: [&[u8]; 9] = [
        b"\x00",                                             // a piece of nothing
        b"\x10",                                             // new bytes that are not there
        b"\x01",                                             // no place
        b"\x01\x00",                                         // here
        b"\x01\x06",                                         // before the beginning
        b"\xf0\xff\xff\xff\xff\xff\xff\xff\xff\x7f",         // more new bytes than a number can say
        b"\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", // and so of bytes from before
        b"\x0f\x80\x80\x40\x01",                             // more than may be
        b"\x0f\xff\xff\x3f\x01\x0f\xff\xff\x3f\x01",         // and together
    ];
    for lie in lies {
        assert_eq!(unpacked(b"known", &Bytes::from_static(lie)), None, "{lie:?}");
    }
    let most = b"\x0f\x80\x80\x3f\x01";
    assert!(unpacked(b"known", &Bytes::from_static(most)).is_some());
}
