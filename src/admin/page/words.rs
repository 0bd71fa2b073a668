//! Texts, times and numbers as people read them.

use std::fmt::{self, Write};

/// Text that cannot become markup, in an element as in a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A moment in Unix seconds, in UTC, as an element.
pub(super) struct Date(pub(super) u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / 86_400);
        let of_day = self.0 % 86_400;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let (date, time) =
            (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"));
        write!(f, "<time datetime=\"{date}T{time}Z\">{date} {time} UTC</time>")
    }
}

/// The Gregorian date of a day that is so many days after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March, so that the leap day is their last; counted from 0000-03-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// A number of seconds.
pub(super) struct Span(pub(super) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0 / 60, self.0 % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        match (hours / 24, hours % 24, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, minutes) => write!(f, "{minutes} min {seconds} s"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

/// How many seconds ago.
pub(super) struct Ago(pub(super) u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 2 { f.write_str("just now") } else { write!(f, "{} ago", Span(self.0)) }
    }
}

/// Escaped text that may be broken behind a slash or an underscore.
pub(super) struct Breaking<'a>(pub(super) &'a str);

impl fmt::Display for Breaking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['/', '_']) {
            write!(f, "{}", Escaped(part))?;
            if part.ends_with(['/', '_']) {
                f.write_str("<wbr>")?;
            }
        }
        Ok(())
    }
}

/// A count, in groups of three digits.
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// How many calls a second: with a decimal where there are few.
pub(super) struct Rate(pub(super) f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate <= 0.0 => f.write_str("0"),
            rate if rate < 0.05 => f.write_str("&lt; 0.1"),
            rate if rate < 9.95 => write!(f, "{rate:.1}"),
            rate => Count(rate.round() as u64).fmt(f),
        }
    }
}

/// Milliseconds.
pub(super) struct Milliseconds(pub(super) Option<f64>);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("<span class=\"soft\">–</span>"),
            Some(ms) if ms >= 999.5 => write!(f, "{:.1} s", ms / 1e3),
            Some(ms) if ms >= 9.95 => write!(f, "{ms:.0} ms"),
            Some(ms) => write!(f, "{ms:.1} ms"),
        }
    }
}

/// A share of a whole in percent. Only all of it is 100 %, and only nothing of it 0 %.
pub(super) struct Percent(pub(super) u64, pub(super) u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, whole) = *self;
        match 100.0 * part as f64 / whole.max(1) as f64 {
            _ if part == 0 => f.write_str("0 %"),
            _ if part == whole => f.write_str("100 %"),
            share if share > 99.9 => f.write_str("99.9 %"),
            share if share < 0.1 => f.write_str("&lt; 0.1 %"),
            share => write!(f, "{share:.1} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_at_every_size() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert!(Date(seconds).to_string().starts_with(&format!("<time datetime=\"{date}\">")), "{date}");
        }
        assert!(Date(u64::MAX).to_string().contains("584554051223-11-09 07:00:15 UTC"));
        let spans = [59, 60, 3_599, 3_600, 86_399, 86_400].map(|seconds| Span(seconds).to_string());
        assert_eq!(spans, ["59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h"]);
    }

    #[test]
    fn numbers_are_told_at_every_size() {
        let counts = [0, 999, 1_000, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let rates = [0.0, 0.04, 0.05, 9.94, 9.95, 1_234.4].map(|rate| Rate(rate).to_string());
        assert_eq!(rates, ["0", "&lt; 0.1", "0.1", "9.9", "10", "1,234"]);
        let times =
            [None, Some(0.04), Some(9.9), Some(9.96), Some(999.6)].map(|ms| Milliseconds(ms).to_string());
        assert_eq!(times[1..], ["0.0 ms", "9.9 ms", "10 ms", "1.0 s"]);
        let shares = [(0, 0), (0, 9), (1, 5_000), (1, 3), (9_999, 10_000), (7, 7)];
        let shares = shares.map(|(part, whole)| Percent(part, whole).to_string());
        assert_eq!(shares, ["0 %", "0 %", "&lt; 0.1 %", "33.3 %", "99.9 %", "100 %"]);
    }
}
