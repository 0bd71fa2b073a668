//! Sizes as people write them here: `512B`, `32KiB`, `1MiB`, `2GiB`. One whole number, one unit of 1024.

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number and one of the units B, KiB, MiB, GiB, such as \"32KiB\"")]
pub struct BadSize;

/// Reads a size such as `32KiB`, in bytes.
///
/// # Errors
/// When the text is anything else, or the size does not fit a `usize`.
pub fn parse(text: &str) -> Result<usize, BadSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes_each: usize = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(BadSize),
    };
    let number: usize = number.parse().map_err(|_| BadSize)?;
    number.checked_mul(bytes_each).ok_or(BadSize)
}

/// Writes a size in the largest unit that holds it exactly: 32768 is `32KiB`.
#[must_use]
pub fn format(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = units.into_iter().find(|&(each, _)| bytes != 0 && bytes.is_multiple_of(each));
    exact.map_or_else(|| format!("{bytes}B"), |(each, unit)| format!("{}{unit}", bytes / each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in
            [("0B", 0), ("512B", 512), ("32KiB", 32_768), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(format(bytes), text);
        }
        assert_eq!(format(1025), "1025B");
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "5",
            "KiB",
            "1 KiB",
            "-1KiB",
            "1.5MiB",
            "1kb",
            "1KB",
            "1kib",
            "1TiB",
            "99999999999999999999B",
            "99999999999999GiB",
        ] {
            assert_eq!(parse(bad), Err(BadSize), "{bad}");
        }
    }
}
