//! UUIDs as text: 36 characters, in lower case and with hyphens, which say no more than 16 bytes.

/// The bytes of a UUID, if a text is just what [`to_text`] makes of them.
pub(crate) fn to_bytes(text: &[u8; 36]) -> Option<[u8; 16]> {
    let mut is_uuid = HYPHENS.iter().all(|at| text[*at] == b'-');
    let mut bytes = [0; 16];
    for (part, [first, second]) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(DIGITS) {
        let mut digits = [0; 8];
        digits[..4].copy_from_slice(&text[first..first + 4]);
        digits[4..].copy_from_slice(&text[second..second + 4]);
        let digits = u64::from_be_bytes(digits);
        // Letters have this bit, and come nine after what is in their lowest ones.
        let values = (digits & 0x0f * EACH) + 9 * (digits >> 6 & EACH);
        is_uuid &= values & 0xf0 * EACH == 0 && digits == digits_of(values);
        let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
        *part = ((fours | fours >> 16) as u32).to_be_bytes();
    }
    is_uuid.then_some(bytes)
}

/// The text of a UUID.
pub(crate) fn to_text(bytes: [u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    for (part, [first, second]) in bytes.as_chunks::<4>().0.iter().zip(DIGITS) {
        let eight = u64::from(u32::from_be_bytes(*part));
        let fours = (eight | eight << 16) & 0x0000_ffff_0000_ffff;
        let pairs = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
        let digits = digits_of((pairs | pairs << 4) & 0x0f * EACH).to_be_bytes();
        text[first..first + 4].copy_from_slice(&digits[..4]);
        text[second..second + 4].copy_from_slice(&digits[4..]);
    }
    text
}

/// Where the hyphens are, and the digits of each four bytes, in fours.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const DIGITS: [[usize; 2]; 4] = [[0, 4], [9, 14], [19, 24], [28, 32]];

/// A one in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The digits of eight values below 16, all at once.
fn digits_of(values: u64) -> u64 {
    let letters = values + 6 * EACH >> 4 & EACH;
    values + u64::from(b'0') * EACH + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn the_text_of_a_uuid_is_what_everybody_writes(bytes in any::<[u8; 16]>()) {
            let text = to_text(bytes);
            prop_assert_eq!(str::from_utf8(&text), Ok(&*Uuid::from_bytes(bytes).to_string()));
            prop_assert_eq!(to_bytes(&text), Some(bytes));
        }

        #[test]
        fn what_differs_in_a_character_is_none_or_another(
            bytes in any::<[u8; 16]>(),
            at in 0..36_usize,
        ) {
            let own = to_text(bytes);
            for byte in 0..=0xff {
                let mut text = own;
                text[at] = byte;
                let parsed = str::from_utf8(&text).ok().and_then(|text| Uuid::try_parse(text).ok());
                let exact = parsed.filter(|uuid| uuid.to_string().as_bytes() == text);
                prop_assert_eq!(to_bytes(&text), exact.map(Uuid::into_bytes));
            }
        }
    }
}
