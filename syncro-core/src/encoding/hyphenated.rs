//! UUIDs as text: 36 characters, in lower case and with hyphens, which say no more than 16 bytes.

/// The bytes of a UUID, if a text is just what [`to_text`] makes of them.
pub(crate) fn to_bytes(text: &[u8; 36]) -> Option<[u8; 16]> {
    let is_hyphened = [text[8], text[13], text[18], text[23]] == [b'-'; 4];
    let four = |at: usize| [text[at], text[at + 1], text[at + 2], text[at + 3]];
    let part = |first, second| value_of(four(first), four(second));
    let parts = [part(0, 4)?, part(9, 14)?, part(19, 24)?, part(28, 32)?];
    let mut bytes = [0; 16];
    bytes.as_chunks_mut().0.copy_from_slice(&parts);
    is_hyphened.then_some(bytes)
}

/// The text of a UUID.
pub(crate) fn to_text(bytes: [u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let parts = bytes.as_chunks().0;
    let mut part = |at: usize, first: usize, second: usize| {
        let [one, two] = digits_of(parts[at]);
        text[first..first + 4].copy_from_slice(&one);
        text[second..second + 4].copy_from_slice(&two);
    };
    part(0, 0, 4);
    part(1, 9, 14);
    part(2, 19, 24);
    part(3, 28, 32);
    text
}

/// The bytes that eight digits stand for, all at once.
#[inline(always)]
fn value_of(first: [u8; 4], second: [u8; 4]) -> Option<[u8; 4]> {
    let digits =
        (u64::from(u32::from_be_bytes(first)) << 32) | u64::from(u32::from_be_bytes(second));
    // Letters have this bit, and come nine after what is in their lowest ones.
    let values = (digits & (0x0f * EACH)) + 9 * ((digits >> 6) & EACH);
    if values & (0xf0 * EACH) != 0 || digits != written(values) {
        return None;
    }
    let pairs = (values | (values >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    Some(((fours | (fours >> 16)) as u32).to_be_bytes())
}

/// The eight digits of four bytes.
#[inline(always)]
fn digits_of(bytes: [u8; 4]) -> [[u8; 4]; 2] {
    let eight = u64::from(u32::from_be_bytes(bytes));
    let fours = (eight | (eight << 16)) & 0x0000_ffff_0000_ffff;
    let pairs = (fours | (fours << 8)) & 0x00ff_00ff_00ff_00ff;
    let digits = written((pairs | (pairs << 4)) & (0x0f * EACH));
    [((digits >> 32) as u32).to_be_bytes(), (digits as u32).to_be_bytes()]
}

/// A one in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The digits of eight values below 16.
fn written(values: u64) -> u64 {
    let letters = ((values + 6 * EACH) >> 4) & EACH;
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
