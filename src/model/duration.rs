//! Durations as people write them here: `250ms`, `3s`, `30m`, `24h`, `7d`. One whole number, one unit.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number and one of the units ms, s, m, h, d, such as \"250ms\" or \"24h\"")]
pub struct BadDuration;

/// Reads a duration such as `250ms` or `24h`. At most ten years, so that sums of durations never overflow.
///
/// # Errors
/// When the text is anything else.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds_each: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(BadDuration),
    };
    let number: u64 = number.parse().map_err(|_| BadDuration)?;
    let duration = number.checked_mul(milliseconds_each).map(Duration::from_millis).ok_or(BadDuration)?;
    if duration > LONGEST { Err(BadDuration) } else { Ok(duration) }
}

/// Writes a duration in the largest unit that holds it exactly, at millisecond precision: `3600s` is `1h`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    for (each, unit) in units {
        if milliseconds != 0 && milliseconds.is_multiple_of(each) {
            return format!("{}{unit}", milliseconds / each);
        }
    }
    format!("{milliseconds}ms")
}

const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, milliseconds) in [
            ("0ms", 0),
            ("250ms", 250),
            ("3s", 3_000),
            ("30m", 1_800_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for bad in [
            "",
            "5",
            "s",
            "5 parsecs",
            "5 s",
            "-5s",
            "+5s",
            "1.5s",
            "5S",
            "1h30m",
            "99999999999999999999s",
            "4000d",
        ] {
            assert_eq!(parse(bad), Err(BadDuration), "{bad}");
        }
    }

    #[test]
    fn writes_the_largest_exact_unit() {
        for text in ["0ms", "250ms", "3s", "90s", "24h", "1500ms"] {
            assert_eq!(parse(&format(parse(text).unwrap())), parse(text));
        }
        assert_eq!(format(Duration::from_secs(3600)), "1h");
        assert_eq!(format(Duration::from_millis(1500)), "1500ms");
    }
}
