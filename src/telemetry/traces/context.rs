//! W3C Trace Context: which trace a call belongs to (<https://www.w3.org/TR/trace-context/>, level 1).

use std::fmt;

use http::{HeaderMap, HeaderValue};

/// The id of a trace: 16 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(super) u128);

/// The id of a span: 8 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(super) u64);

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Whether the caller samples it.
    pub sampled: bool,
}

impl TraceId {
    pub(super) fn made() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl SpanId {
    pub(super) fn made() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceParent {
    /// The caller's, if it sent one and one only that is well-formed; any other counts as absent (section 3.2.3).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all("traceparent").iter();
        let line = lines.next()?;
        if lines.next().is_some() { None } else { Self::parse(line.to_str().ok()?) }
    }

    /// `00-{trace}-{span}-{flags}` in lower-case hexadecimal. A later version may have more behind it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_ascii().splitn(5, '-');
        let (version, trace) = (hex::<2>(parts.next()?)?, hex::<32>(parts.next()?)?);
        let (span, flags) = (hex::<16>(parts.next()?)?, hex::<2>(parts.next()?)?);
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace: TraceId(trace), span: SpanId(u64::try_from(span).ok()?), sampled: flags & 1 == 1 })
    }

    /// As a header.
    pub(super) fn header(self) -> HeaderValue {
        let text = format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        HeaderValue::from_str(&text).expect("hexadecimal digits and dashes")
    }
}

fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == DIGITS && text.bytes().all(lower)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(lines: &[&str]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("traceparent", line.parse().unwrap());
        }
        TraceParent::of(&headers)
    }

    #[test]
    fn a_well_formed_one_is_read_and_written_alike() {
        let parent = of(&[GOOD]).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.sampled), ("00f067aa0ba902b7", true));
        assert_eq!(parent.header(), GOOD);
        let unsampled = of(&[&GOOD.replace("-01", "-00")]).unwrap();
        assert!(!unsampled.sampled && unsampled.header().to_str().unwrap().ends_with("-00"));
        // A version that is not known yet, with more behind it.
        assert_eq!(of(&[&format!("{}-more", GOOD.replacen("00", "cc", 1))]), Some(parent));
    }

    #[test]
    fn any_other_counts_as_absent() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[GOOD, GOOD]), None);
    }
}
