//! Finding the end of a plain stretch inside a JSON string, eight bytes at a time in an ordinary register.

/// The first place at or behind `from` whose byte cannot stand in a JSON string as it is: a quotation mark, a
/// backslash or a control character. The length if there is none.
#[inline]
pub(super) fn find_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let special = special_in(u64::from_le_bytes(*eight));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| matches!(b, b'"' | b'\\' | ..0x20)).unwrap_or(rest.len())
}

/// The highest bit of each byte that is special. A byte above a special one may be marked wrongly, by a borrow from
/// below, so only the lowest mark counts.
#[inline]
fn special_in(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    // Subtracting borrows into the highest bit of a byte that was smaller; `!word` drops those that had it before.
    let zero_quote = quote.wrapping_sub(ONES) & !quote;
    let zero_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_quote | zero_backslash | control) & (ONES << 7)
}

const ONES: u64 = 0x0101_0101_0101_0101;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_judged_rightly_at_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..20 {
                let mut bytes = *b"abcdefghijklmnopqrst";
                bytes[place] = byte;
                let expected = if matches!(byte, b'"' | b'\\' | ..0x20) { place } else { 20 };
                assert_eq!(find_special(&bytes, 0), expected, "{byte} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(bytes in prop::collection::vec(prop::sample::select(vec![0, 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0xa2, 0xff]), 0..40), from in 0_usize..40) {
            let from = from.min(bytes.len());
            let plain = bytes[from..].iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\');
            prop_assert_eq!(find_special(&bytes, from), plain.map_or(bytes.len(), |found| from + found));
        }
    }
}
